/* SPDX-License-Identifier: MIT
 * What the tests of the epoch manager share: managers on a counting allocator, and destructors that
 * count. */
#ifndef SPEC_HARNESS_EPOCH_H
#define SPEC_HARNESS_EPOCH_H

#include <stdlib.h>

#include "lethe/epoch.h"

#include "alloc.h"
#include "unit.h"

/* One test's manager and its only record. */
struct place {
  struct test_alloc alloc;
  struct lethe_epoch *m;
  struct lethe_epoch_rec *r;
};

static inline struct lethe_epoch *new_manager(const struct lethe_alloc *a,
                                              const struct lethe_epoch_config *config) {
  struct lethe_epoch *m = NULL;
  assert_int_equal(lethe_epoch_new(&m, a, config), LETHE_OK);
  return m;
}

static inline void open_place(struct place *p, const struct lethe_epoch_config *config) {
  test_alloc_init(&p->alloc);
  p->m = new_manager(&p->alloc.alloc, config);
  assert_int_equal(lethe_epoch_register(p->m, &p->r), LETHE_OK);
}

/* Everything goes, and everything that was allocated is given back. */
static inline void close_place(struct place *p) {
  assert_true(lethe_epoch_is_valid(p->m));
  if (p->r) lethe_epoch_unregister(p->r);
  lethe_epoch_put(p->m);
  assert_int_equal(p->alloc.blocks, 0);
  assert_int_equal(p->alloc.bytes, 0);
}

static inline void open_manual(struct place *p) {
  open_place(p, &(struct lethe_epoch_config){.mode = LETHE_EPOCH_MANUAL});
}
static inline void open_auto(struct place *p) {
  open_place(p, &(struct lethe_epoch_config){.mode = LETHE_EPOCH_AUTO});
}

/* A destructor: counts in *object, or in the counter that `ud` is. */
static inline void count_one(void *object, void *ud) {
  (void)ud;
  if (object) ++*(int *)object;
}
static inline void count_in(void *object, void *ud) {
  (void)object;
  add_rlx((_Atomic uint64_t *)ud, 1);
}

/* Retires under a pin of its own. */
static inline void retire_pinned(struct lethe_epoch_rec *r, void *object, lethe_epoch_free *fn,
                                 void *ud, size_t bytes) {
  lethe_epoch_pin(r);
  assert_int_equal(lethe_epoch_retire(r, object, fn, ud, bytes), LETHE_OK);
  lethe_epoch_unpin(r);
}

/* Objects that are nothing but counted in *freed. */
static inline void retire_many(struct lethe_epoch_rec *r, int n, _Atomic uint64_t *freed,
                               size_t bytes) {
  for (int i = 0; i < n; i++) retire_pinned(r, &n, count_in, freed, bytes);
}

static inline struct lethe_epoch_stats stats_of(struct lethe_epoch *m) {
  struct lethe_epoch_stats stats;
  lethe_epoch_read_stats(m, &stats);
  return stats;
}

/* The amount of work, by LETHE_WORK: 1 unless set. At least one. */
static inline uint64_t work(double amount) {
  const char *text = getenv("LETHE_WORK");
  double n = amount * (text ? strtod(text, NULL) : 1);
  return n < 1 ? 1 : (uint64_t)n;
}

#endif
