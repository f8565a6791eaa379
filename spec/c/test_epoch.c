/* SPDX-License-Identifier: MIT
 * The epoch manager in manual mode: the model's steps and numbers, row by row of what it is measured
 * against. */
#include <pthread.h>
#include <string.h>

#include "harness/epoch.h"
#include "harness/fallback.h"

/* ---- rows 1, 18 to 23: the epoch and the rule --------------------------------------------------- */

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

/* ---- rows 9, 10, 12: pins ----------------------------------------------------------------------- */

static void unpin_tells_whether_the_pin_was_ejected_and_the_next_pin_is_whole(void **state) {
  struct place p;
  (void)state;
  open_manual(&p);
  lethe_epoch_pin(p.r);
  for (int i = 0; i < 4; i++) lethe_epoch_advance(p.m);
  assert_int_equal(lethe_epoch_neutralize(p.m, NULL, 2), 1);
  assert_true(lethe_epoch_neutralized(p.r));
  assert_true(lethe_epoch_pinned(p.r));
  assert_false(lethe_epoch_unpin(p.r));
  assert_false(lethe_epoch_neutralized(p.r));
  lethe_epoch_pin(p.r);
  assert_false(lethe_epoch_neutralized(p.r));
  assert_true(lethe_epoch_unpin(p.r));
  assert_false(lethe_epoch_pinned(p.r));
  close_place(&p);
}

static void pins_nest_and_the_outermost_shows_the_epoch(void **state) {
  struct place p;
  (void)state;
  open_manual(&p);
  lethe_epoch_pin(p.r);
  lethe_epoch_advance(p.m);
  lethe_epoch_pin(p.r);
  lethe_epoch_pin(p.r);
  assert_int_equal(lethe_epoch_safe(p.m), 1);
  assert_true(lethe_epoch_unpin(p.r));
  assert_true(lethe_epoch_unpin(p.r));
  assert_true(lethe_epoch_pinned(p.r));
  assert_int_equal(lethe_epoch_safe(p.m), 1);
  assert_true(lethe_epoch_unpin(p.r));
  assert_int_equal(lethe_epoch_safe(p.m), 2);
  close_place(&p);
}

static void a_nested_pin_of_an_ejected_one_is_ejected_too(void **state) {
  struct place p;
  (void)state;
  open_manual(&p);
  lethe_epoch_pin(p.r);
  for (int i = 0; i < 4; i++) lethe_epoch_advance(p.m);
  lethe_epoch_neutralize(p.m, NULL, 2);
  lethe_epoch_pin(p.r);
  assert_true(lethe_epoch_neutralized(p.r));
  assert_false(lethe_epoch_unpin(p.r));
  assert_false(lethe_epoch_unpin(p.r));
  close_place(&p);
}

static void repin_shows_the_current_epoch_and_ends_an_ejection(void **state) {
  struct place p;
  int object = 0;
  (void)state;
  open_manual(&p);
  lethe_epoch_pin(p.r);
  for (int i = 0; i < 4; i++) lethe_epoch_advance(p.m);
  lethe_epoch_neutralize(p.m, NULL, 2);
  assert_false(lethe_epoch_read_begin(p.r, &object));
  lethe_epoch_repin(p.r);
  assert_int_equal(lethe_epoch_safe(p.m), 5);
  assert_false(lethe_epoch_neutralized(p.r));
  bool read = false;
  LETHE_EPOCH_READ(p.r, &object) read = true;
  assert_true(read);
  assert_true(lethe_epoch_unpin(p.r));
  close_place(&p);
}

/* ---- rows 14 to 17: retiring --------------------------------------------------------------------- */

/* By the epoch that it is retired in, not by that of the pin. */
static void an_object_is_stamped_with_the_epoch_of_its_retirement(void **state) {
  struct place p;
  int freed = 0;
  (void)state;
  open_manual(&p);
  lethe_epoch_pin(p.r); /* at 1 */
  for (int i = 0; i < 3; i++) lethe_epoch_advance(p.m);
  assert_int_equal(lethe_epoch_retire(p.r, &freed, count_one, NULL, 0), LETHE_OK); /* in 4 */
  lethe_epoch_unpin(p.r);
  lethe_epoch_advance(p.m);
  assert_int_equal(lethe_epoch_reclaim(p.r), 0); /* safe 5 */
  lethe_epoch_advance(p.m);
  assert_int_equal(lethe_epoch_reclaim(p.r), 1);
  close_place(&p);
}

static void a_batch_skips_nulls_and_counts_the_rest(void **state) {
  enum { N = 200 };
  struct place p;
  struct lethe_epoch_pair_of batch[N];
  int freed = 0;
  (void)state;
  open_manual(&p);
  for (int i = 0; i < N; i++)
    batch[i] = (struct lethe_epoch_pair_of){i % 4 == 3 ? NULL : &freed, count_one};
  lethe_epoch_pin(p.r);
  assert_int_equal(lethe_epoch_retire_batch(p.r, batch, N), LETHE_OK);
  assert_int_equal(lethe_epoch_retire_batch(p.r, batch, 0), LETHE_OK);
  lethe_epoch_unpin(p.r);
  assert_int_equal(stats_of(p.m).limbo, 150);
  lethe_epoch_advance(p.m);
  lethe_epoch_advance(p.m);
  assert_int_equal(lethe_epoch_reclaim(p.r), 150);
  assert_int_equal(freed, 150);
  close_place(&p);
}

static void an_object_without_destructor_still_counts(void **state) {
  struct place p;
  int object = 0;
  (void)state;
  open_manual(&p);
  retire_pinned(p.r, &object, NULL, NULL, 0);
  lethe_epoch_advance(p.m);
  lethe_epoch_advance(p.m);
  assert_int_equal(lethe_epoch_reclaim(p.r), 1);
  assert_int_equal(stats_of(p.m).reclaimed, 1);
  close_place(&p);
}

/* 64 objects fill a bag; the 65th needs the second. Spent bags are used again. */
static void a_bag_holds_64_objects(void **state) {
  struct place p;
  int freed = 0;
  (void)state;
  open_manual(&p);
  size_t before = p.alloc.blocks;
  for (int i = 0; i < 64; i++) retire_pinned(p.r, &freed, count_one, NULL, 0);
  assert_int_equal(p.alloc.blocks, before + 1);
  retire_pinned(p.r, &freed, count_one, NULL, 0);
  assert_int_equal(p.alloc.blocks, before + 2);
  for (int round = 0; round < 10; round++) {
    lethe_epoch_advance(p.m);
    lethe_epoch_advance(p.m);
    assert_int_equal(lethe_epoch_reclaim(p.r), 65);
    for (int i = 0; i < 65; i++) retire_pinned(p.r, &freed, count_one, NULL, 0);
    assert_int_equal(p.alloc.blocks, before + 2);
  }
  close_place(&p);
  assert_int_equal(freed, 65 * 11);
}

/* Oldest first. */
static struct { int n, of[300]; } order;

static void note_order(void *object, void *ud) {
  (void)ud;
  order.of[order.n++] = *(int *)object;
}

static void objects_are_freed_in_the_order_of_their_retirement(void **state) {
  static int numbers[300];
  struct place p;
  (void)state;
  open_manual(&p);
  order.n = 0;
  for (int i = 0; i < 300; i++) {
    numbers[i] = i;
    retire_pinned(p.r, &numbers[i], note_order, NULL, 0);
    if (i % 50 == 49) lethe_epoch_advance(p.m);
    if (i == 200) lethe_epoch_reclaim(p.r);
  }
  close_place(&p); /* the rest as the manager goes */
  assert_int_equal(order.n, 300);
  for (int i = 0; i < 300; i++) assert_int_equal(order.of[i], i);
}

/* ---- rows 24 to 27 ------------------------------------------------------------------------------- */

static void retire_and_reclaim_is_both_unless_told_otherwise(void **state) {
  struct place p;
  int freed = 0;
  size_t n = 9;
  (void)state;
  open_manual(&p);
  for (int i = 0; i < 3; i++) {
    assert_int_equal(lethe_epoch_retire_and_reclaim(p.r, &freed, count_one, NULL, 0, false, &n), 0);
    assert_int_equal(n, 0);
    lethe_epoch_advance(p.m);
  }
  assert_int_equal(lethe_epoch_retire_and_reclaim(p.r, &freed, count_one, NULL, 0, true, &n), 0);
  assert_int_equal(n, 2); /* of 1 and 2, at safe epoch 4 */
  assert_int_equal(lethe_epoch_retire_and_reclaim(p.r, &freed, count_one, NULL, 0, true, NULL), 0);
  assert_false(lethe_epoch_pinned(p.r));
  close_place(&p);
}

static void retire_on_cas_retires_what_it_displaced(void **state) {
  struct place p;
  int first = 0, second = 0;
  _Atomic(void *) cell = NULL;
  void *expected = NULL;
  (void)state;
  open_manual(&p);
  lethe_epoch_pin(p.r);
  assert_int_equal(lethe_epoch_retire_on_cas(p.r, &cell, &expected, &first, count_one), 1);
  assert_int_equal(stats_of(p.m).retired, 0); /* there was nothing */
  expected = &second;
  assert_int_equal(lethe_epoch_retire_on_cas(p.r, &cell, &expected, &second, count_one), 0);
  assert_ptr_equal(expected, &first);
  assert_ptr_equal(load_rlx(&cell), &first);
  assert_int_equal(stats_of(p.m).retired, 0);
  assert_int_equal(lethe_epoch_retire_on_cas(p.r, &cell, &expected, &second, count_one), 1);
  assert_int_equal(stats_of(p.m).retired, 1);
  lethe_epoch_unpin(p.r);
  lethe_epoch_advance(p.m);
  lethe_epoch_advance(p.m);
  lethe_epoch_reclaim(p.r);
  assert_int_equal(first, 1);
  assert_int_equal(second, 0);
  close_place(&p);
}

static void retire_on_publish_retires_what_it_displaced(void **state) {
  struct place p;
  int first = 0, second = 0;
  _Atomic(void *) cell = NULL;
  (void)state;
  open_manual(&p);
  lethe_epoch_pin(p.r);
  assert_int_equal(lethe_epoch_retire_on_publish(p.r, &cell, &first, count_one), LETHE_OK);
  assert_int_equal(lethe_epoch_retire_on_publish(p.r, &cell, &second, count_one), LETHE_OK);
  assert_int_equal(lethe_epoch_retire_on_publish(p.r, &cell, NULL, count_one), LETHE_OK);
  lethe_epoch_unpin(p.r);
  assert_null(load_rlx(&cell));
  assert_int_equal(stats_of(p.m).retired, 2);
  close_place(&p);
  assert_int_equal(first + second, 2);
}

/* More than `lag` epochs behind, never the one given. */
static void neutralize_ejects_who_is_further_behind_than_the_lag(void **state) {
  struct place p;
  struct lethe_epoch_rec *old, *young;
  (void)state;
  open_manual(&p);
  lethe_epoch_register_extra(p.m, &old);
  lethe_epoch_register_extra(p.m, &young);
  lethe_epoch_pin(old); /* at 1 */
  lethe_epoch_pin(p.r);
  for (int i = 0; i < 2; i++) lethe_epoch_advance(p.m);
  lethe_epoch_pin(young);                                   /* at 3 */
  assert_int_equal(lethe_epoch_neutralize(p.m, p.r, 2), 0); /* 1 is 2 behind */
  assert_int_equal(lethe_epoch_neutralize(p.m, p.r, 5), 0); /* more than there are */
  lethe_epoch_advance(p.m);
  assert_int_equal(lethe_epoch_neutralize(p.m, p.r, 2), 1);
  assert_int_equal(lethe_epoch_neutralize(p.m, p.r, 2), 0); /* once */
  assert_true(lethe_epoch_neutralized(old));
  assert_false(lethe_epoch_neutralized(young));
  assert_false(lethe_epoch_neutralized(p.r));
  assert_int_equal(lethe_epoch_safe(p.m), 1); /* the caller's own pin */
  assert_int_equal(stats_of(p.m).ejections, 1);
  assert_int_equal(lethe_epoch_neutralize(p.m, NULL, 0), 2);
  assert_int_equal(lethe_epoch_safe(p.m), 4);
  lethe_epoch_unregister(old);
  lethe_epoch_unregister(young);
  lethe_epoch_unpin(p.r);
  close_place(&p);
}

/* ---- rows 5 and 36: registering and what can fail ------------------------------------------------ */

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
      cmocka_unit_test(unpin_tells_whether_the_pin_was_ejected_and_the_next_pin_is_whole),
      cmocka_unit_test(pins_nest_and_the_outermost_shows_the_epoch),
      cmocka_unit_test(a_nested_pin_of_an_ejected_one_is_ejected_too),
      cmocka_unit_test(repin_shows_the_current_epoch_and_ends_an_ejection),
      cmocka_unit_test(an_object_is_stamped_with_the_epoch_of_its_retirement),
      cmocka_unit_test(a_batch_skips_nulls_and_counts_the_rest),
      cmocka_unit_test(an_object_without_destructor_still_counts),
      cmocka_unit_test(a_bag_holds_64_objects),
      cmocka_unit_test(objects_are_freed_in_the_order_of_their_retirement),
      cmocka_unit_test(retire_and_reclaim_is_both_unless_told_otherwise),
      cmocka_unit_test(retire_on_cas_retires_what_it_displaced),
      cmocka_unit_test(retire_on_publish_retires_what_it_displaced),
      cmocka_unit_test(neutralize_ejects_who_is_further_behind_than_the_lag),
      cmocka_unit_test(registering_says_why_it_fails),
      cmocka_unit_test(managers_have_nothing_to_do_with_each_other),
  };
  return run_both_ways(tests);
}
