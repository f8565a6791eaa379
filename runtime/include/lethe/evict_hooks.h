/* SPDX-License-Identifier: MIT
 * Hook policies: the third form of lethe/evict_script.h, for what neither a score nor declared
 * queues can say. Callbacks decide; the order is kept here.
 *
 * A hook gets handles. With them it keeps entries in queues, which it names (an entry stands in one
 * at most), marks them, and remembers keys in ghost lists. on_evict names victims; it need not take
 * them out of their queue, an entry that leaves is taken out anyway.
 *
 *   lethe_evict_new_hooks(&e, alloc, &config, limit, seed, why, n)
 *   in a hook:  lethe_evict_hooks_queue(e, "main", &q)
 *               lethe_evict_hooks_push_front(e, q, handle)
 *               lethe_evict_hooks_scan(e, q, &hand, &victim, &steps)
 *
 * Calls that take a handle return LETHE_EINVAL for one that names nothing; lethe_evict_hooks_fault
 * then says why. An entry that the cache has refused as a victim is out of sight of front, back,
 * next, prev and scan until it is offered again, at the back of its queue; len counts it. */
#ifndef LETHE_EVICT_HOOKS_H
#define LETHE_EVICT_HOOKS_H

#include "lethe/evict_script.h"

enum {
  LETHE_EVICT_VICTIMS = 32,     /* that one call of on_evict is asked for */
  LETHE_EVICT_HOOK_QUEUES = 64, /* that one policy may name; index 0 is "main" */
  LETHE_EVICT_HOOK_GHOSTS = 16,
  LETHE_EVICT_GHOST_FACTOR =
      16, /* keys that a ghost list remembers at most, for each entry there was */
  LETHE_EVICT_GHOST_LEAST = 1024
};

/* All optional. Callbacks return LETHE_OK, or a code as in struct lethe_evict_script. */
struct lethe_evict_hooks {
  struct lethe_evict_script script;
  int (*insert)(void *ud, uint64_t h); /* NULL: to the front of main */
  /* NULL: likewise. *crowded: `full` is to be asked now, not only when the next entry comes. */
  int (*hit)(void *ud, uint64_t h, bool *crowded);
  int (*remove)(void *ud, uint64_t h); /* it leaves, as a victim or otherwise */
  /* Up to `want` victims, *n of them, which may say more than was wanted. NULL: the back of
   * main. */
  int (*evict)(void *ud, unsigned want, uint64_t *victims, unsigned *n);
  /* Must a victim leave though what is asked for would fit? NULL: no. */
  int (*full)(void *ud, bool *yes);
};

LETHE_API int lethe_evict_new_hooks(struct lethe_evict **out, const struct lethe_alloc *a,
                                    const struct lethe_evict_hooks *config, int64_t limit,
                                    uint64_t seed, char *why, size_t n);

/* ---- what is asked for and not there --------------------------------------------------------- */

/* In admit, full, insert and evict, where these are about a miss; else NULL. */
LETHE_API const struct lethe_evict_request *lethe_evict_hooks_request(const struct lethe_evict *e);
/* In admit: what the others get as its `found`. Nothing elsewhere. */
LETHE_API void lethe_evict_hooks_find(struct lethe_evict *e, uint64_t found);

/* ---- entries --------------------------------------------------------------------------------- */

struct lethe_evict_info {
  uint64_t key;
  void *owner;
  int64_t size;
  double freq, cost;
  uint64_t inserted, last; /* accesses; in a hook of a hit, last is the one before */
  bool mark, refused;
};
LETHE_API int lethe_evict_hooks_info(const struct lethe_evict *e, uint64_t h,
                                     struct lethe_evict_info *out);
LETHE_API int lethe_evict_hooks_mark(struct lethe_evict *e, uint64_t h, bool mark);
/* Why a handle names nothing: "stale handle ..." or "handle ... is none of this cache's". */
LETHE_API void lethe_evict_hooks_fault(const struct lethe_evict *e, uint64_t h, char *why,
                                       size_t n);

/* ---- queues ---------------------------------------------------------------------------------- */

/* The queue of that name, made if it is not there: LETHE_ENOMEM, LETHE_ELIMIT. */
LETHE_API int lethe_evict_hooks_queue(struct lethe_evict *e, const char *name, unsigned *index);
/* From wherever it is. */
LETHE_API int lethe_evict_hooks_push_front(struct lethe_evict *e, unsigned q, uint64_t h);
LETHE_API int lethe_evict_hooks_push_back(struct lethe_evict *e, unsigned q, uint64_t h);
/* *was: it was in that queue. */
LETHE_API int lethe_evict_hooks_remove(struct lethe_evict *e, unsigned q, uint64_t h, bool *was);
LETHE_API int lethe_evict_hooks_has(const struct lethe_evict *e, unsigned q, uint64_t h, bool *has);
/* Handles, or 0. */
LETHE_API uint64_t lethe_evict_hooks_front(const struct lethe_evict *e, unsigned q);
LETHE_API uint64_t lethe_evict_hooks_back(const struct lethe_evict *e, unsigned q);
/* Toward the back, toward the front; 0 at the end, and of an entry that is not in the queue. */
LETHE_API int lethe_evict_hooks_next(const struct lethe_evict *e, unsigned q, uint64_t h,
                                     uint64_t *out);
LETHE_API int lethe_evict_hooks_prev(const struct lethe_evict *e, unsigned q, uint64_t h,
                                     uint64_t *out);
LETHE_API uint32_t lethe_evict_hooks_len(const struct lethe_evict *e, unsigned q);
LETHE_API int64_t lethe_evict_hooks_used(const struct lethe_evict *e, unsigned q);
/* From the hand toward the front, around the end, to the next entry whose mark is clear, clearing
 * marks on the way: *victim, or 0 if the queue is empty, and *hand, the entry in front of it or 0.
 * A hand of 0, or of an entry that is no more in the queue, is the back. Returns the entries looked
 * at. */
LETHE_API uint32_t lethe_evict_hooks_scan(struct lethe_evict *e, unsigned q, uint64_t *hand,
                                          uint64_t *victim);

/* ---- ghosts ---------------------------------------------------------------------------------- */

/* The ghost list of that name, made if it is not there, of the last `most` keys. */
LETHE_API int lethe_evict_hooks_ghost(struct lethe_evict *e, const char *name, uint64_t most,
                                      unsigned *index);
/* The key of an entry, as the newest. Without memory it is not remembered. */
LETHE_API int lethe_evict_hooks_ghost_add(struct lethe_evict *e, unsigned g, uint64_t h);
/* Handle 0: the key that is asked for and not there. */
LETHE_API int lethe_evict_hooks_ghost_has(const struct lethe_evict *e, unsigned g, uint64_t h,
                                          bool *has);
/* Forgets it; *was: it was there. Handle 0 likewise. */
LETHE_API int lethe_evict_hooks_ghost_remove(struct lethe_evict *e, unsigned g, uint64_t h,
                                             bool *was);
/* Forgets the oldest; its size, or -1 if there is none. */
LETHE_API int64_t lethe_evict_hooks_ghost_drop(struct lethe_evict *e, unsigned g);
LETHE_API size_t lethe_evict_hooks_ghost_len(const struct lethe_evict *e, unsigned g);
LETHE_API int64_t lethe_evict_hooks_ghost_used(const struct lethe_evict *e, unsigned g);

#endif
