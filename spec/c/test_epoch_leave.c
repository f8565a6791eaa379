/* SPDX-License-Identifier: MIT
 * What outlives its maker in the epoch manager: orphans, bags of idle owners, records and
 * managers that a destructor leaves; and want of memory. */
#include <unistd.h>

#include "harness/epoch.h"
#include "harness/fallback.h"

/* ---- orphans -------------------------------------------------------------------------------- */

/* Everything a thread left behind is freed within three seals of another one. */
static void orphans_are_adopted_and_freed(void **state) {
  struct place p;
  struct lethe_epoch_rec *dying;
  _Atomic uint64_t freed = 0, own = 0;
  (void)state;
  open_auto(&p);
  lethe_epoch_register_extra(p.m, &dying);
  lethe_epoch_pin(p.r);
  retire_many(dying, 5 * 256 + 7, &freed, 0);
  lethe_epoch_unregister(dying);
  lethe_epoch_unpin(p.r);
  assert_int_equal(stats_of(p.m).orphans, 5 * 256 + 7);
  assert_int_equal(stats_of(p.m).limbo, 5 * 256 + 7);
  retire_many(p.r, 3 * 256, &own, 0);
  assert_int_equal(stats_of(p.m).orphans, 0);
  assert_int_equal(load_rlx(&freed), 5 * 256 + 7);
  close_place(&p);
}

/* What is adopted may be older than what is there, and does not wait behind it. */
static void bags_are_freed_in_the_order_of_their_stamps(void **state) {
  struct place p;
  struct lethe_epoch_rec *reader, *dying;
  _Atomic uint64_t old = 0, young = 0;
  (void)state;
  open_auto(&p);
  lethe_epoch_register_extra(p.m, &reader);
  lethe_epoch_register_extra(p.m, &dying);
  lethe_epoch_pin(reader); /* at 1 */
  retire_many(dying, 1, &old, 0);
  lethe_epoch_flush(dying); /* stamped 1 */
  retire_many(p.r, 1, &young, 0);
  lethe_epoch_flush(p.r); /* stamped 2 */
  assert_int_equal(lethe_epoch_now(p.m), 2);
  lethe_epoch_unregister(dying);
  lethe_epoch_unpin(reader);
  lethe_epoch_pin(reader); /* at 2 */
  assert_int_equal(lethe_epoch_advance(p.m), 3);
  assert_int_equal(lethe_epoch_reclaim(p.r), 1);
  assert_int_equal(load_rlx(&old), 1);
  lethe_epoch_unregister(reader);
  close_place(&p);
}

static void what_idle_owners_hold_is_freed_by_busy_ones(void **state) {
  struct place p;
  struct lethe_epoch_rec *idle;
  _Atomic uint64_t freed = 0, own = 0;
  (void)state;
  open_auto(&p);
  lethe_epoch_register_extra(p.m, &idle);
  retire_many(idle, 700, &freed, 0);
  retire_many(p.r, 256 * 20, &own, 0);
  assert_true(load_rlx(&freed) < 700); /* its owner may go on any moment */
  usleep(110000);
  retire_many(p.r, 256 * 40, &own, 0);
  assert_int_equal(load_rlx(&freed), 700);
  retire_many(idle, 5, &freed, 0); /* works on */
  lethe_epoch_unregister(idle);
  close_place(&p);
  assert_int_equal(load_rlx(&freed), 705);
}

/* ---- destructors ---------------------------------------------------------------------------- */

struct chain {
  struct place p;
  uint64_t freed, left;
};

static void retire_next(void *object, void *ud) {
  struct chain *c = ud;
  c->freed++;
  if (c->left == 0) return;
  c->left--;
  retire_pinned(c->p.r, object, retire_next, c, 0);
  lethe_epoch_reclaim(c->p.r);
  if (c->left % 3 == 0) lethe_epoch_flush(c->p.r);
}

static void destructors_may_retire_and_reclaim(void **state) {
  struct chain c = {.left = 20000};
  (void)state;
  open_auto(&c.p);
  for (int i = 0; i < 300; i++) retire_pinned(c.p.r, &c, retire_next, &c, 0);
  for (int i = 0; i < 30000 && c.freed < 20300; i++) lethe_epoch_flush(c.p.r);
  assert_int_equal(c.freed, 20300);
  assert_int_equal(stats_of(c.p.m).limbo, 0);
  close_place(&c.p);
}

static void unregister_here(void *object, void *ud) {
  struct place *p = ud;
  ++*(int *)object;
  if (!p->r) return;
  struct lethe_epoch_rec *r = p->r;
  p->r = NULL;
  lethe_epoch_unregister(r);
  assert_int_equal(lethe_epoch_register(p->m, &r),
                   LETHE_OK); /* another one: that is not free yet */
  lethe_epoch_unregister(r);
}

static void a_destructor_may_unregister_its_own_record(void **state) {
  struct place p;
  int freed = 0;
  (void)state;
  for (int last = 0; last < 2; last++) {
    freed = 0;
    open_auto(&p);
    for (int i = 0; i < 100; i++) retire_pinned(p.r, &freed, unregister_here, &p, 0);
    size_t n = lethe_epoch_flush(p.r);
    assert_null(p.r);
    assert_true(n > 0);
    if (last) assert_int_equal(lethe_epoch_register(p.m, &p.r), LETHE_OK);
    if (last) lethe_epoch_flush(p.r);
    close_place(&p);
    assert_int_equal(freed, 100);
  }
}

/* The destructor's unregister gives up the last reference: the manager outlives the outer call. */
static void put_here(void *object, void *ud) {
  struct lethe_epoch_rec *r = *(struct lethe_epoch_rec **)ud;
  ++*(int *)object;
  if (!r) return;
  *(struct lethe_epoch_rec **)ud = NULL;
  lethe_epoch_unregister(r);
}

static void the_manager_outlives_a_destructor_that_leaves_it_last(void **state) {
  struct test_alloc alloc;
  struct lethe_epoch_rec *r;
  int freed = 0;
  (void)state;
  test_alloc_init(&alloc);
  struct lethe_epoch *m = new_manager(&alloc.alloc, &(struct lethe_epoch_config){0});
  lethe_epoch_register(m, &r);
  lethe_epoch_put(m);
  struct lethe_epoch_rec *shared = r;
  for (int i = 0; i < 300; i++) retire_pinned(r, &freed, put_here, &shared, 0);
  lethe_epoch_flush(r);
  assert_int_equal(freed, 300);
  assert_int_equal(alloc.blocks, 0);
}

/* ---- want of memory ------------------------------------------------------------------------- */

static int use_manager(struct test_alloc *alloc, _Atomic uint64_t *freed, uint64_t *retired) {
  struct lethe_epoch *m;
  struct lethe_epoch_rec *r = NULL, *extra = NULL;
  struct lethe_epoch_garbage batch[600];
  _Atomic(void *) cell = NULL;
  void *expected = NULL;
  int failures = 0, dummy = 0;
  if (lethe_epoch_new(&m, &alloc->alloc, &(struct lethe_epoch_config){0}) != LETHE_OK) return 1;
  failures += lethe_epoch_register(m, &r) != LETHE_OK;
  failures += lethe_epoch_register_extra(m, &extra) != LETHE_OK;
  for (int i = 0; i < 600; i++) batch[i] = (struct lethe_epoch_garbage){&dummy, count_one};
  if (r) {
    lethe_epoch_pin(r);
    for (int i = 0; i < 700; i++) {
      int rc = lethe_epoch_retire(r, &dummy, count_in, freed, 1);
      if (rc == LETHE_OK) ++*retired;
      failures += rc != LETHE_OK;
    }
    uint64_t before = stats_of(m).retired;
    int rc = lethe_epoch_retire_batch(r, batch, 600);
    assert_int_equal(stats_of(m).retired - before, rc == LETHE_OK ? 600 : 0);
    failures += rc != LETHE_OK;
    rc = lethe_epoch_retire_on_cas(r, &cell, &expected, &dummy, count_one);
    assert_ptr_equal(load_rlx(&cell), rc == 1 ? &dummy : NULL);
    failures += rc != 1;
    rc = lethe_epoch_retire_on_publish(r, &cell, &batch, count_one);
    failures += rc != LETHE_OK;
    lethe_epoch_unpin(r);
    assert_true(lethe_epoch_is_valid(m));
    lethe_epoch_unregister(r);
  }
  if (extra) lethe_epoch_unregister(extra);
  lethe_epoch_put(m);
  return failures;
}

static void the_nth_allocation_may_fail_and_nothing_is_lost(void **state) {
  struct test_alloc alloc;
  uint64_t n = 1;
  (void)state;
  for (;; n++) {
    _Atomic uint64_t freed = 0;
    uint64_t retired = 0;
    test_alloc_init(&alloc);
    test_alloc_fail(&alloc, n);
    int failures = use_manager(&alloc, &freed, &retired);
    assert_int_equal(load_rlx(&freed), retired);
    assert_int_equal(alloc.blocks, 0);
    if (alloc.failed == 0) break;
    assert_true(failures > 0);
  }
  assert_true(n > 6);
}

static void what_is_reserved_cannot_fail(void **state) {
  struct place p;
  _Atomic uint64_t freed = 0;
  (void)state;
  for (int manual = 0; manual < 2; manual++) {
    open_place(&p, &(struct lethe_epoch_config){.mode = (enum lethe_epoch_mode)manual});
    for (int round = 0; round < 5; round++) {
      assert_int_equal(lethe_epoch_reserve(p.r, 500), LETHE_OK);
      test_alloc_fail(&p.alloc, 1);
      p.alloc.sticky = true;
      lethe_epoch_pin(p.r);
      for (int i = 0; i < 500; i++) {
        assert_int_equal(lethe_epoch_retire(p.r, &p, count_in, &freed, 0), LETHE_OK);
        if (manual) lethe_epoch_advance(p.m);
      }
      lethe_epoch_unpin(p.r);
      test_alloc_fail(&p.alloc, 0);
    }
    close_place(&p);
  }
  assert_int_equal(load_rlx(&freed), 5000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(orphans_are_adopted_and_freed),
      cmocka_unit_test(bags_are_freed_in_the_order_of_their_stamps),
      cmocka_unit_test(what_idle_owners_hold_is_freed_by_busy_ones),
      cmocka_unit_test(destructors_may_retire_and_reclaim),
      cmocka_unit_test(a_destructor_may_unregister_its_own_record),
      cmocka_unit_test(the_manager_outlives_a_destructor_that_leaves_it_last),
      cmocka_unit_test(the_nth_allocation_may_fail_and_nothing_is_lost),
      cmocka_unit_test(what_is_reserved_cannot_fail),
  };
  return run_both_ways(tests);
}
