/* SPDX-License-Identifier: MIT
 * Counted references with strong and weak counts, in two flavours behind one interface.
 *
 * An object begins with struct lethe_counted. Strong references keep it alive; weak ones keep only
 * its memory. The last strong reference that goes is its death: its entries leave every weak map
 * (lethe/weakmap.h), then its class ends what it held. Entries of maps do not count: without other
 * weak references its memory goes at once. An object of a plain class belongs to one thread; of an
 * atomic one, to any number.
 *
 *   struct image { struct lethe_counted refs; ... };
 *   lethe_counted_init(&image->refs, &image_class);   one strong reference
 *   lethe_strong_get(&image->refs);                   another, for who has one
 *   lethe_weak_get(&image->refs);                     a weak one, for who has either
 *   if (lethe_weak_upgrade(&image->refs)) ...         a strong one, unless it has died
 *   lethe_weak_put(&image->refs);
 *   lethe_strong_put(&image->refs);                   the last: end(), then free()
 *
 * Two references are to the same object if their pointers are equal.
 *
 * Synchronization, atomic classes: every call may be made from any number of threads at once, each
 * with a reference of its own; end() and free() are called on the thread that put the last one, and
 * no lock is held. Progress: wait-free but for upgrade, which is lock-free, and the last strong
 * put, which takes the locks of the maps that the object is in. */
#ifndef LETHE_WEAKREF_H
#define LETHE_WEAKREF_H

#include "lethe/atomic.h"
#include "lethe/list.h"

struct lethe_counted;

struct lethe_counted_class {
  bool atomic;
  /* Optional: it has died, and is in no map any more. It may make and drop references to others. */
  void (*end)(struct lethe_counted *c);
  /* No reference is left: its memory. */
  void (*free)(struct lethe_counted *c);
};

struct lethe_counted {
  _Atomic uint32_t strong;
  _Atomic uint32_t weak;   /* and one that all strong references have together */
  _Atomic uint32_t locked; /* atomic classes: guards `entries` */
  const struct lethe_counted_class *class;
  struct lethe_list entries; /* of weak maps, in the order in which they were made */
};

static inline void lethe_counted_init(struct lethe_counted *c,
                                      const struct lethe_counted_class *class) {
  store_rlx(&c->strong, 1);
  store_rlx(&c->weak, 1);
  store_rlx(&c->locked, 0);
  c->class = class;
  lethe_list_init(&c->entries);
}

/* What the last put leads to; of puts, not of callers. */
LETHE_API void lethe_counted_died(struct lethe_counted *c);

static inline void lethe_strong_get(struct lethe_counted *c) {
  if (c->class->atomic)
    add_rlx(&c->strong, 1);
  else
    store_rlx(&c->strong, load_rlx(&c->strong) + 1);
}

/* Acquire-release: pairs with the other holders' puts, so that the last one sees all they wrote. */
static inline uint32_t lethe_count_down(const struct lethe_counted *c, _Atomic uint32_t *count) {
  if (c->class->atomic) return sub_acqrel(count, 1) - 1;
  uint32_t left = load_rlx(count) - 1;
  store_rlx(count, left);
  return left;
}

static inline void lethe_strong_put(struct lethe_counted *c) {
  if (lethe_count_down(c, &c->strong) == 0) lethe_counted_died(c);
}

static inline void lethe_weak_get(struct lethe_counted *c) {
  if (c->class->atomic)
    add_rlx(&c->weak, 1);
  else
    store_rlx(&c->weak, load_rlx(&c->weak) + 1);
}

static inline void lethe_weak_put(struct lethe_counted *c) {
  if (lethe_count_down(c, &c->weak) == 0) c->class->free(c);
}

/* True once no strong reference is left; then for ever. */
static inline bool lethe_weak_expired(const struct lethe_counted *c) {
  return load_rlx(&c->strong) == 0;
}

/* A strong reference for who has a weak one; false if it has died. */
static inline bool lethe_weak_upgrade(struct lethe_counted *c) {
  uint32_t n = load_rlx(&c->strong);
  if (!c->class->atomic) {
    if (n) store_rlx(&c->strong, n + 1);
    return n != 0;
  }
  /* Relaxed: whoever has a weak reference already sees what it leads to. */
  while (n && !atomic_compare_exchange_weak_explicit(&c->strong, &n, n + 1, memory_order_relaxed,
                                                     memory_order_relaxed)) {
  }
  return n != 0;
}

#endif
