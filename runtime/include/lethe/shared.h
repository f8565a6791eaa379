/* SPDX-License-Identifier: MIT
 * Structures that threads share without locks, on an epoch manager: a hash map, a queue, a stack.
 *
 * Keys and values are blocks of bytes, copied in and out. A read never blocks and takes no lock. A
 * writer that stops anywhere stops nobody: every step that others need is finished by whoever comes
 * across it. Each call takes the caller's record and pins on it by itself; inside a pin of the
 * caller's that was ejected it answers LETHE_ENEUTRALIZED, else an ejection only makes it begin
 * anew.
 *
 * Map: O. Shalev, N. Shavit, Split-Ordered Lists (JACM 2006), on M. Michael's list (SPAA 2002): all
 * entries are one list sorted by hash, whose upper bits name the buckets (there they are the lower
 * ones, and the list is sorted by reversed hash); growing adds shortcuts into it and moves nothing,
 * so a walk in list order sees every key that stays exactly once. Queue: M. Michael, M. Scott (PODC
 * 1996). Stack: R. K. Treiber (1986).
 *
 * Invariants:
 *   S1  A pointer field that is compared-and-swapped carries a counter that grows with every
 *       change, so a block that was freed and used again in the same place is never mistaken for
 *       the old one.
 *   S2  A node is touched, and its fields are swapped, only inside a guarded read of it; but what a
 *       dummy, which never leaves, points to may be read without.
 *   S3  Whoever unlinks a node, and nobody else, retires it.
 *
 * Synchronization: every call may be made from any number of threads at once, each with its own
 * record. Progress: lock-free; get and the step of a walk are wait-free but for ejections and other
 * writers' deletions in the same place. */
#ifndef LETHE_SHARED_H
#define LETHE_SHARED_H

#include "lethe/epoch.h"
#include "lethe/ref.h"

/* Bytes that a call hands out, in memory that grows; zeroed before the first use. */
struct lethe_buffer {
  const struct lethe_alloc *alloc;
  unsigned char *p;
  size_t n, room;
};
LETHE_API void lethe_buffer_free(struct lethe_buffer *b);

/* ---- map ------------------------------------------------------------------------------------- */

struct lethe_map;

/* One reference; it keeps the manager. Memory of entries comes from `a`, from any thread. */
LETHE_API int lethe_map_new(struct lethe_map **out, const struct lethe_alloc *a,
                            struct lethe_epoch *m);
LETHE_API struct lethe_map *lethe_map_get_ref(struct lethe_map *map);
LETHE_API void lethe_map_put_ref(struct lethe_map *map);
LETHE_API struct lethe_epoch *lethe_map_epoch(const struct lethe_map *map);
/* Entries; exact when nobody writes. */
LETHE_API uint64_t lethe_map_len(const struct lethe_map *map);

/* The value into *value. LETHE_ENOTFOUND, LETHE_ENEUTRALIZED, LETHE_ENOMEM. */
LETHE_API int lethe_map_get(struct lethe_map *map, struct lethe_epoch_rec *r, const void *key,
                            size_t n, struct lethe_buffer *value);

enum lethe_map_verdict { LETHE_MAP_KEEP, LETHE_MAP_REPLACE, LETHE_MAP_DELETE };
/* Decides what becomes of an entry: `old` is a copy of its value, NULL if there is none; for
 * REPLACE *value and *n are the new one (REPLACE without an old one adds). May be asked again when
 * another writer was first. A negative LETHE_E* code ends the update with it. Outside guarded
 * reads. */
typedef int lethe_map_decide(void *ud, const struct lethe_buffer *old, const void **value,
                             size_t *n);
LETHE_API int lethe_map_update(struct lethe_map *map, struct lethe_epoch_rec *r, const void *key,
                               size_t n, lethe_map_decide *decide, void *ud);

/* The entry after *key in the order of the walk (n = 0: the first): replaces *key and fills *value.
 * LETHE_ENOTFOUND at the end. */
LETHE_API int lethe_map_next(struct lethe_map *map, struct lethe_epoch_rec *r,
                             struct lethe_buffer *key, struct lethe_buffer *value);

/* ---- queue and stack ------------------------------------------------------------------------- */

struct lethe_queue;
struct lethe_stack;

/* capacity 0: unbounded. */
LETHE_API int lethe_queue_new(struct lethe_queue **out, const struct lethe_alloc *a,
                              struct lethe_epoch *m, uint64_t capacity);
LETHE_API struct lethe_queue *lethe_queue_get_ref(struct lethe_queue *q);
LETHE_API void lethe_queue_put_ref(struct lethe_queue *q);
LETHE_API struct lethe_epoch *lethe_queue_epoch(const struct lethe_queue *q);
/* LETHE_EFULL, LETHE_ENOMEM, LETHE_ENEUTRALIZED. */
LETHE_API int lethe_queue_push(struct lethe_queue *q, struct lethe_epoch_rec *r, const void *value,
                               size_t n);
/* LETHE_EEMPTY, LETHE_ENOMEM (then it is still there), LETHE_ENEUTRALIZED. */
LETHE_API int lethe_queue_pop(struct lethe_queue *q, struct lethe_epoch_rec *r,
                              struct lethe_buffer *value);

LETHE_API int lethe_stack_new(struct lethe_stack **out, const struct lethe_alloc *a,
                              struct lethe_epoch *m);
LETHE_API struct lethe_stack *lethe_stack_get_ref(struct lethe_stack *s);
LETHE_API void lethe_stack_put_ref(struct lethe_stack *s);
LETHE_API struct lethe_epoch *lethe_stack_epoch(const struct lethe_stack *s);
LETHE_API int lethe_stack_push(struct lethe_stack *s, struct lethe_epoch_rec *r, const void *value,
                               size_t n);
LETHE_API int lethe_stack_pop(struct lethe_stack *s, struct lethe_epoch_rec *r,
                              struct lethe_buffer *value);

#ifdef LETHE_FAULTS
/* Test builds call this wherever a writer may be stopped: point names the place. NULL: nothing. */
extern void (*_Atomic lethe_shared_pause)(int point);
enum {
  LETHE_PAUSE_MAP_LINKED,   /* a new entry is in the list, not counted yet */
  LETHE_PAUSE_MAP_DEAD,     /* an entry has lost its value */
  LETHE_PAUSE_MAP_MARKED,   /* and is marked, still linked */
  LETHE_PAUSE_MAP_UNLINKED, /* unlinked, not retired yet */
  LETHE_PAUSE_MAP_TAKEN,    /* a bucket's dummy is taken, not in the list yet */
  LETHE_PAUSE_MAP_LISTED,   /* it is in the list, not said to be */
  LETHE_PAUSE_QUEUE_LINKED, /* a value is linked, the tail does not show it */
  LETHE_PAUSE_QUEUE_TAKEN,  /* the head has moved, the old node is not retired */
  LETHE_PAUSE_STACK_TAKEN,
  LETHE_PAUSE_COUNT
};
#endif

#endif
