/* SPDX-License-Identifier: MIT
 * Eviction policies: who should leave a cache when it is full.
 *
 * A policy belongs to one cache and knows keys (64 bits, a hash will do), sizes and accesses, never
 * values. A cache limited by entries says size 1 for each. Entries have handles, generation << 32 |
 * slot, so that a handle which outlived its entry names nothing; 0 never names anything. In the
 * order in which a cache makes the calls:
 *
 *   lethe_evict_new(&e, alloc, "sieve", limit, seed)
 *   an access that finds it:  lethe_evict_hit(e, handle)
 *   one that does not:        request = { key, size, cost, owner }
 *                             lethe_evict_admit(e, &request)         false: not worth a place
 *                             while (lethe_evict_full(e, &request))
 *                               lethe_evict_remove(e, lethe_evict_victim(e, &request), true)
 *                             lethe_evict_insert(e, &request, &handle)
 *   lethe_evict_refuse(e, h)  that victim is in use, or being written: the next best is offered,
 *   lethe_evict_offer(e, h)   until it may be a victim again
 *   lethe_evict_delete
 *
 * Between admit and insert anything may happen to other entries, and other requests may be
 * admitted: what a policy found out about a request is in the request. A victim is a proposal.
 * Asked again, nothing having changed, a policy without dice proposes it again; it is forgotten, or
 * remembered in a ghost list, when it is removed.
 *
 * The 14 that are built in are written from their papers, and count the misses that their authors'
 * and other independent implementations count. Another policy is another struct lethe_evict_ops.
 *
 * Invariants:
 *   I1  A node is the policy's from insert to remove; its generation is odd then, and only then.
 *   I2  len and used are the number and the sizes of the nodes, refused ones included.
 *   I3  victim finds one as long as there is a node that is not refused.
 *   I4  Only new, insert and what resize keeps aside take memory. insert fails whole; where a ghost
 *       list finds no memory, the key is not remembered, and nothing else differs.
 *
 * Synchronization: none; one thread at a time for each policy, which shares nothing with another.
 * Progress: no call blocks. hit, victim, refuse, offer and remove are O(1), amortized over the
 * accesses, but for the policies with a heap (gdsf: O(log n)) and with samples (64 looks). */
#ifndef LETHE_EVICT_H
#define LETHE_EVICT_H

#include "lethe/base.h"

struct lethe_evict_ops;

/* One entry. A policy's own nodes begin with it. */
struct lethe_evict_node {
  uint32_t generation;
  uint32_t next, prev; /* slots, in a list of the policy's; 0: none. Of a free one: the next free */
  uint8_t refused;     /* 1 + the hits since it was refused (at most 255); 0: it is not */
  uint8_t queue, mark; /* the policy's */
  uint64_t key;
  int64_t size;
  void *owner; /* the cache's */
};

/* What a cache has no entry of. Zero what is not said. */
struct lethe_evict_request {
  uint64_t key;
  int64_t size; /* at least 0 */
  double cost;  /* of getting it: seconds, or 1 */
  void *owner;
  uint64_t found; /* by admit, for victim and insert; 0: nothing */
};

struct lethe_evict {
  const struct lethe_evict_ops *ops;
  const struct lethe_alloc *alloc;
  char *nodes;         /* `room` of them, `stride` bytes each; the array moves when it grows */
  uint32_t stride;     /* ops->node */
  uint32_t room, high; /* slots that exist; that were ever used. Slot 0 never is */
  uint32_t free;       /* the first free slot, 0: none below high */
  uint32_t len;
  int64_t used, limit;
  uint64_t now;    /* accesses so far: hits and admits */
  uint64_t random; /* state of lethe_evict_random */
  bool surplus;    /* a hit has left too much in a list: see lethe_evict_full */
  bool dropped;    /* a hit said that its entry leaves: it is full, and that is the next victim */
  bool exact;      /* see lethe_evict_admit */
  int64_t next; /* when what is accessed now is accessed next, for belady; 0: never, or unknown */
};

/* How a policy decides. Slots are of nodes in use. `request` may be NULL for victim: room is wanted
 * for nothing in particular. No call may call the policy's public functions. */
struct lethe_evict_ops {
  const char *name;
  size_t size; /* of the instance, which begins with struct lethe_evict and is zeroed before init */
  size_t node; /* of a node, which begins with struct lethe_evict_node; zeroed before insert */
  /* Optional: `arg` is lethe_evict_new_with's. On failure it has given back what it took. */
  int (*init)(struct lethe_evict *e, void *arg);
  void (*destroy)(struct lethe_evict *e); /* optional; also after nodes are gone */
  /* Optional: room for parallel arrays of that many slots. LETHE_ENOMEM: as it was. */
  int (*reserve)(struct lethe_evict *e, uint32_t room);
  /* Optional: a miss. Counts, looks into ghosts, says whether to store; default: size <= limit. */
  bool (*admit)(struct lethe_evict *e, struct lethe_evict_request *r);
  /* Optional: room must be made first, also where used + size <= limit. */
  bool (*full)(struct lethe_evict *e, const struct lethe_evict_request *r);
  /* The node is filled and counted in len and used. LETHE_ENOMEM, or LETHE_ELIMIT where the policy
   * has no place for it: then it is taken back. */
  int (*insert)(struct lethe_evict *e, uint32_t slot, const struct lethe_evict_request *r);
  void (*hit)(struct lethe_evict *e, uint32_t slot);
  uint32_t (*victim)(struct lethe_evict *e, const struct lethe_evict_request *r); /* 0: none */
  /* It goes; evicted: as a victim, so that a ghost list remembers it. Not refused. */
  void (*leave)(struct lethe_evict *e, uint32_t slot, bool evicted);
  /* Out of the way of victim, keeping what is known of it; and back, as the next victim of its
   * kind. A refused node gets no other call but offer and weigh. */
  void (*refuse)(struct lethe_evict *e, uint32_t slot);
  void (*offer)(struct lethe_evict *e, uint32_t slot);
  void (*weigh)(struct lethe_evict *e, uint32_t slot, int64_t by); /* optional: size has grown by */
  void (*resize)(struct lethe_evict *e);                           /* optional: limit has changed */
  void (*forget)(struct lethe_evict *e); /* optional: no nodes are left; empties ghosts as well */
  /* Optional: fn for each node that is not refused, the likeliest victims first. Default: by slot.
   * */
  void (*each)(struct lethe_evict *e, void (*fn)(void *ud, uint32_t slot), void *ud);
  /* Optional: LETHE_EBROKEN and what is wrong. */
  int (*check)(const struct lethe_evict *e, char *why, size_t n);
};

/* ---- making one ------------------------------------------------------------------------------ */

/* lru fifo clock sieve s3fifo slru twoq arc lfu lirs gdsf wtinylfu hyperbolic random, NULL-ended.
 * */
LETHE_API extern const char *const lethe_evict_names[];
/* A built-in by name, NULL for another; "belady", which wants to be told `next`, only where asked.
 * */
LETHE_API const struct lethe_evict_ops *lethe_evict_find(const char *name, bool belady);
/* limit: entries or bytes, at least 0. LETHE_EUNKNOWN, LETHE_ENOMEM. */
LETHE_API int lethe_evict_new(struct lethe_evict **out, const struct lethe_alloc *a,
                              const char *name, int64_t limit, uint64_t seed);
LETHE_API int lethe_evict_new_with(struct lethe_evict **out, const struct lethe_alloc *a,
                                   const struct lethe_evict_ops *ops, void *arg, int64_t limit,
                                   uint64_t seed);
LETHE_API void lethe_evict_delete(struct lethe_evict *e); /* NULL is allowed */

/* ---- the hot path ---------------------------------------------------------------------------- */

static inline struct lethe_evict_node *lethe_evict_at(const struct lethe_evict *e, uint32_t slot) {
  return (struct lethe_evict_node *)(void *)(e->nodes + (size_t)slot * e->stride);
}
static inline uint64_t lethe_evict_handle(const struct lethe_evict *e, uint32_t slot) {
  return (uint64_t)lethe_evict_at(e, slot)->generation << 32 | slot;
}
/* The node of a handle, or NULL when it names nothing. */
static inline struct lethe_evict_node *lethe_evict_get(const struct lethe_evict *e, uint64_t h) {
  uint32_t slot = (uint32_t)h;
  if (slot == 0 || slot > e->high) return NULL;
  struct lethe_evict_node *n = lethe_evict_at(e, slot);
  return n->generation == h >> 32 && n->generation & 1 ? n : NULL;
}
/* An access to what is there. A stale handle counts as an access and does nothing else. */
static inline void lethe_evict_hit(struct lethe_evict *e, uint64_t h) {
  struct lethe_evict_node *n = lethe_evict_get(e, h);
  e->now++;
  if (!n) return;
  if (n->refused)
    n->refused = (uint8_t)(n->refused + (n->refused < 255)); /* told when it is offered again */
  else
    e->ops->hit(e, (uint32_t)h);
}
/* An access to what is not there: may it be stored? Policies whose lists have limits of their own
 * refuse what is larger than those if `exact` is set, as the published simulators do; else, in a
 * live cache, they find another list for it. */
static inline bool lethe_evict_admit(struct lethe_evict *e, struct lethe_evict_request *r) {
  e->now++;
  return e->ops->admit ? e->ops->admit(e, r) : r->size <= e->limit;
}
/* Must a victim leave before the request's entry may be inserted? A cache with an account of its
 * own of what is used asks that as well. NULL: must one leave as it is? That may be so after a
 * resize, and after a hit where `surplus` says so (slru, for entries of unequal sizes); it may wait
 * until the next request is asked about. */
static inline bool lethe_evict_full(struct lethe_evict *e, const struct lethe_evict_request *r) {
  int64_t more = r ? r->size : 0;
  return e->len && (more > e->limit - e->used || (e->ops->full && e->ops->full(e, r)));
}
/* Who should leave, for a request or (NULL) for no other reason than that room is wanted; 0 if all
 * that there is was refused. */
static inline uint64_t lethe_evict_victim(struct lethe_evict *e,
                                          const struct lethe_evict_request *r) {
  uint32_t slot = e->len ? e->ops->victim(e, r) : 0;
  return slot ? lethe_evict_handle(e, slot) : 0;
}
/* An entry comes, whether it was admitted or not. LETHE_ENOMEM; LETHE_ELIMIT: this policy, full of
 * victims or not, has no place for it (s3fifo, for what is as large as its small queue). */
LETHE_API int lethe_evict_insert(struct lethe_evict *e, const struct lethe_evict_request *r,
                                 uint64_t *handle);
/* An entry leaves: as a victim (evicted), or because the cache drops it. False for a stale handle.
 * */
LETHE_API bool lethe_evict_remove(struct lethe_evict *e, uint64_t h, bool evicted);
/* That victim cannot go now. It stays what it is, is hit and removed as others are, and is not
 * offered as a victim until lethe_evict_offer. Each does nothing where it is so already. */
LETHE_API void lethe_evict_refuse(struct lethe_evict *e, uint64_t h);
LETHE_API void lethe_evict_offer(struct lethe_evict *e, uint64_t h);

/* ---- what changes now and then --------------------------------------------------------------- */

/* An entry has another size. */
LETHE_API void lethe_evict_weigh(struct lethe_evict *e, uint64_t h, int64_t size);
/* Another limit; it may be below what is used, then victims must leave (see lethe_evict_full). */
LETHE_API void lethe_evict_resize(struct lethe_evict *e, int64_t limit);
/* All entries leave, and what was remembered is forgotten. */
LETHE_API void lethe_evict_clear(struct lethe_evict *e);
/* fn for each entry, refused ones last, the likeliest victims first: to insert them into another
 * policy in that order. fn may not call this one. */
LETHE_API void lethe_evict_each(struct lethe_evict *e,
                                void (*fn)(void *ud, const struct lethe_evict_node *n), void *ud);

/* ---- for policies ---------------------------------------------------------------------------- */

/* splitmix64 over the instance's seed. */
static inline uint64_t lethe_evict_random(struct lethe_evict *e) {
  uint64_t z = e->random += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

/* Audits what can be seen: LETHE_EBROKEN, with what is wrong in `why`. Linear. */
LETHE_API int lethe_evict_check(const struct lethe_evict *e, char *why, size_t n);

#endif
