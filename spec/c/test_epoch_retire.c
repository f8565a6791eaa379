/* SPDX-License-Identifier: MIT
 * Pins, retiring and neutralizing in manual mode, row by row of what the manager is measured
 * against. */

#include "harness/epoch.h"
#include "harness/fallback.h"

/* ---- rows 9, 10, 12: pins ------------------------------------------------------------------- */

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

/* ---- rows 14 to 17: retiring ---------------------------------------------------------------- */

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
  struct lethe_epoch_garbage batch[N];
  int freed = 0;
  (void)state;
  open_manual(&p);
  for (int i = 0; i < N; i++)
    batch[i] = (struct lethe_epoch_garbage){i % 4 == 3 ? NULL : &freed, count_one};
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

/* ---- rows 24 to 27 -------------------------------------------------------------------------- */

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

int main(void) {
  const struct CMUnitTest tests[] = {
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
  };
  return run_both_ways(tests);
}
