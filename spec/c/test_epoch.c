/* SPDX-License-Identifier: MIT
 * The epoch manager in manual mode: the model's steps and numbers, row by row of what it is
 * measured against; and who may register. */
#include <pthread.h>

#include "harness/epoch.h"
#include "harness/fallback.h"

/* ---- rows 1, 18 to 23: the epoch and the rule ----------------------------------------------- */

static void a_new_manager_is_at_epoch_1_with_nothing_in_it(void **state) {
  struct place p;
  (void)state;
  test_alloc_init(&p.alloc);
  p.m = new_manager(&p.alloc.alloc, &(struct lethe_epoch_config){.mode = LETHE_EPOCH_MANUAL});
  p.r = NULL;
  struct lethe_epoch_stats s = stats_of(p.m);
  assert_int_equal(lethe_epoch_now(p.m), 1);
  assert_int_equal(lethe_epoch_safe(p.m), 1);
  assert_int_equal(s.epoch, 1);
  assert_int_equal(s.threads + s.retired + s.reclaimed + s.limbo + s.orphans + s.advances, 0);
  assert_int_equal(lethe_epoch_records(p.m, NULL, 0), 0);
  close_place(&p);
}

static void advance_adds_1_whatever_anybody_shows(void **state) {
  struct place p;
  (void)state;
  open_manual(&p);
  lethe_epoch_pin(p.r);
  for (uint64_t i = 2; i < 10; i++) {
    assert_int_equal(lethe_epoch_advance(p.m), i);
    assert_int_equal(lethe_epoch_now(p.m), i);
  }
  assert_int_equal(stats_of(p.m).advances, 8);
  lethe_epoch_unpin(p.r);
  close_place(&p);
}

static void advance_every_counts_for_each_record_alone(void **state) {
  struct place p;
  struct lethe_epoch_rec *other;
  (void)state;
  open_manual(&p);
  assert_int_equal(lethe_epoch_register_extra(p.m, &other), LETHE_OK);
  for (int i = 1; i <= 9; i++) {
    assert_int_equal(lethe_epoch_advance_every(p.r, 3), i % 3 == 0);
    if (i % 2) assert_int_equal(lethe_epoch_advance_every(other, 5), i == 9);
  }
  assert_int_equal(lethe_epoch_now(p.m), 1 + 3 + 1);
  assert_true(lethe_epoch_advance_every(p.r, 1));
  lethe_epoch_unregister(other);
  close_place(&p);
}

static void safe_is_the_least_epoch_that_a_pinned_record_shows(void **state) {
  struct place p;
  struct lethe_epoch_rec *other;
  (void)state;
  open_manual(&p);
  lethe_epoch_register_extra(p.m, &other);
  lethe_epoch_pin(p.r); /* at 1 */
  lethe_epoch_advance(p.m);
  lethe_epoch_advance(p.m);
  lethe_epoch_pin(other); /* at 3 */
  lethe_epoch_advance(p.m);
  assert_int_equal(lethe_epoch_safe(p.m), 1);
  lethe_epoch_unpin(p.r);
  assert_int_equal(lethe_epoch_safe(p.m), 3);
  lethe_epoch_unpin(other);
  assert_int_equal(lethe_epoch_safe(p.m), 4);
  lethe_epoch_unregister(other);
  close_place(&p);
}

/* E < safe - 1: an object of epoch 1 goes at safe epoch 3 and not before. */
static void what_was_retired_in_e_goes_at_safe_e_plus_2(void **state) {
  struct place p;
  int freed = 0;
  (void)state;
  open_manual(&p);
  retire_pinned(p.r, &freed, count_one, NULL, 0);
  assert_int_equal(lethe_epoch_reclaim(p.r), 0); /* safe 1: blocked */
  lethe_epoch_advance(p.m);
  assert_int_equal(lethe_epoch_safe(p.m), 2);
  assert_int_equal(lethe_epoch_reclaim(p.r), 0); /* ready, and nothing can go */
  lethe_epoch_advance(p.m);
  assert_int_equal(lethe_epoch_reclaim(p.r), 1);
  assert_int_equal(freed, 1);
  assert_int_equal(lethe_epoch_reclaim(p.r), 0);
  close_place(&p);
}

static void reclaiming_while_pinned_is_bounded_by_ones_own_pin(void **state) {
  struct place p;
  int freed = 0;
  (void)state;
  open_manual(&p);
  retire_pinned(p.r, &freed, count_one, NULL, 0);
  lethe_epoch_pin(p.r);
  for (int i = 0; i < 5; i++) lethe_epoch_advance(p.m);
  assert_int_equal(lethe_epoch_reclaim(p.r), 0);
  lethe_epoch_unpin(p.r);
  assert_int_equal(lethe_epoch_reclaim(p.r), 1);
  close_place(&p);
}

static void a_safe_epoch_that_was_read_before_is_the_bound(void **state) {
  struct place p;
  int freed = 0;
  (void)state;
  open_manual(&p);
  for (int i = 0; i < 4; i++) {
    retire_pinned(p.r, &freed, count_one, NULL, 0); /* in 1, 2, 3, 4 */
    lethe_epoch_advance(p.m);
  }
  uint64_t safe = lethe_epoch_safe(p.m);
  assert_int_equal(safe, 5);
  for (int i = 0; i < 4; i++) lethe_epoch_advance(p.m);
  assert_int_equal(lethe_epoch_reclaim_below(p.r, 1), 0);
  assert_int_equal(lethe_epoch_reclaim_below(p.r, 3), 1);
  assert_int_equal(lethe_epoch_reclaim_below(p.r, safe), 2);
  assert_int_equal(lethe_epoch_reclaim(p.r), 1);
  close_place(&p);
}

/* The model's example: 50 operations, an advance every fifth, a reclaim every tenth. */
static void periodic_reclamation_frees_1_and_then_10_each(void **state) {
  struct place p;
  int freed = 0;
  size_t counts[5] = {0};
  (void)state;
  open_manual(&p);
  for (int i = 0; i < 50; i++) {
    retire_pinned(p.r, &freed, count_one, NULL, 0);
    if (i % 5 == 0) lethe_epoch_advance(p.m);
    if (i % 10 == 9) {
      assert_true(lethe_epoch_safe(p.m) > 1); /* ready */
      counts[i / 10] = lethe_epoch_reclaim(p.r);
    }
  }
  assert_int_equal(counts[0], 1);
  for (int i = 1; i < 5; i++) assert_int_equal(counts[i], 10);
  assert_int_equal(freed, 41);
  close_place(&p);
  assert_int_equal(freed, 50);
}

/* ---- rows 5 and 36: registering and what can fail ------------------------------------------- */

static void *register_here(void *ud) {
  struct lethe_epoch_rec *r = NULL;
  int rc = lethe_epoch_register(ud, &r);
  if (rc == LETHE_OK) lethe_epoch_unregister(r);
  return (void *)(intptr_t)rc;
}

static int register_elsewhere(struct lethe_epoch *m) {
  pthread_t thread;
  void *rc;
  pthread_create(&thread, NULL, register_here, m);
  pthread_join(thread, &rc);
  return (int)(intptr_t)rc;
}

static void registering_says_why_it_fails(void **state) {
  struct place p;
  struct lethe_epoch_rec *again = NULL;
  (void)state;
  open_place(&p, &(struct lethe_epoch_config){.max_threads = 1, .mode = LETHE_EPOCH_MANUAL});
  assert_ptr_equal(lethe_epoch_current(p.m), p.r);
  assert_int_equal(lethe_epoch_register(p.m, &again), LETHE_EREGISTERED);
  assert_int_equal(register_elsewhere(p.m), LETHE_EFULL);
  assert_null(again);
  uint64_t generation = p.r->generation;
  lethe_epoch_unregister(p.r);
  assert_null(lethe_epoch_current(p.m));
  assert_int_equal(register_elsewhere(p.m), LETHE_OK);
  assert_int_equal(lethe_epoch_register(p.m, &p.r), LETHE_OK);
  assert_true(p.r->generation > generation); /* so a handle that is stale is told from this one */
  lethe_epoch_close(p.m);
  assert_int_equal(register_elsewhere(p.m), LETHE_ECLOSED);
  lethe_epoch_pin(p.r); /* the live record works on */
  assert_true(lethe_epoch_unpin(p.r));
  close_place(&p);
}

static void managers_have_nothing_to_do_with_each_other(void **state) {
  struct place a, b;
  int freed = 0;
  (void)state;
  open_manual(&a);
  open_manual(&b);
  lethe_epoch_pin(a.r);
  retire_pinned(b.r, &freed, count_one, NULL, 0);
  for (int i = 0; i < 3; i++) lethe_epoch_advance(b.m);
  assert_int_equal(lethe_epoch_neutralize(b.m, NULL, 0), 0);
  assert_int_equal(lethe_epoch_reclaim(b.r), 1);
  assert_true(lethe_epoch_unpin(a.r));
  assert_int_equal(lethe_epoch_now(a.m), 1);
  close_place(&a);
  close_place(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_new_manager_is_at_epoch_1_with_nothing_in_it),
      cmocka_unit_test(advance_adds_1_whatever_anybody_shows),
      cmocka_unit_test(advance_every_counts_for_each_record_alone),
      cmocka_unit_test(safe_is_the_least_epoch_that_a_pinned_record_shows),
      cmocka_unit_test(what_was_retired_in_e_goes_at_safe_e_plus_2),
      cmocka_unit_test(reclaiming_while_pinned_is_bounded_by_ones_own_pin),
      cmocka_unit_test(a_safe_epoch_that_was_read_before_is_the_bound),
      cmocka_unit_test(periodic_reclamation_frees_1_and_then_10_each),
      cmocka_unit_test(registering_says_why_it_fails),
      cmocka_unit_test(managers_have_nothing_to_do_with_each_other),
  };
  return run_both_ways(tests);
}
