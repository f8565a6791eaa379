/* SPDX-License-Identifier: MIT
 * Rows 33 to 35: the double-word compare-and-swap, waiting between attempts, counted references. */
#include <pthread.h>

#include "harness/epoch.h"

#include "lethe/backoff.h"
#include "lethe/pair.h"
#include "lethe/ref.h"

static bool same(struct lethe_pair a, uint64_t lo, uint64_t hi) { return a.lo == lo && a.hi == hi; }

/* ---- row 33 --------------------------------------------------------------------------------- */

static void a_pair_changes_both_words_or_none(void **state) {
  struct lethe_pair cell = {1, 2}, expected = {1, 3};
  (void)state;
  assert_false(lethe_pair_cas(&cell, &expected, (struct lethe_pair){8, 9}));
  assert_true(same(expected, 1, 2)); /* what is there */
  assert_true(same(cell, 1, 2));
  assert_true(lethe_pair_cas(&cell, &expected, (struct lethe_pair){8, 9}));
  assert_true(same(expected, 1, 2));
  assert_true(same(cell, 8, 9));
  expected = (struct lethe_pair){7, 9};
  assert_false(lethe_pair_cas(&cell, &expected, (struct lethe_pair){0, 0}));
  assert_true(same(expected, 8, 9));
}

static void a_pair_is_loaded_stored_and_exchanged(void **state) {
  struct lethe_pair cell = {0, 0};
  (void)state;
  lethe_pair_store(&cell, (struct lethe_pair){UINT64_MAX, 5});
  assert_true(same(lethe_pair_load(&cell), UINT64_MAX, 5));
  assert_true(same(cell, UINT64_MAX, 5)); /* a load changes nothing */
  assert_true(same(lethe_pair_exchange(&cell, (struct lethe_pair){3, 4}), UINT64_MAX, 5));
  assert_true(same(lethe_pair_load(&cell), 3, 4));
}

static void each_word_is_fetched_and_changed_by_its_own_operand(void **state) {
  struct lethe_pair cell = {UINT64_MAX, 10};
  (void)state;
  assert_true(same(lethe_pair_fetch_add(&cell, (struct lethe_pair){2, 5}), UINT64_MAX, 10));
  assert_true(same(cell, 1, 15)); /* nothing is carried over */
  assert_true(same(lethe_pair_fetch_sub(&cell, (struct lethe_pair){2, 5}), 1, 15));
  assert_true(same(cell, UINT64_MAX, 10));
  lethe_pair_store(&cell, (struct lethe_pair){12, 10});
  assert_true(same(lethe_pair_fetch_and(&cell, (struct lethe_pair){10, 6}), 12, 10));
  assert_true(same(lethe_pair_fetch_or(&cell, (struct lethe_pair){1, 8}), 8, 2));
  assert_true(same(lethe_pair_fetch_xor(&cell, (struct lethe_pair){9, 1}), 9, 10));
  assert_true(same(cell, 0, 11));
}

static void a_pair_is_aligned_to_16_bytes_wherever_it_lies(void **state) {
  struct {
    char before;
    struct lethe_pair pair;
    char after;
  } two[2];
  (void)state;
  for (int i = 0; i < 2; i++) assert_int_equal((uintptr_t)&two[i].pair % 16, 0);
  assert_int_equal(sizeof(struct lethe_pair), 16);
}

enum { THREADS = 3 };
static struct lethe_pair shared;
static uint64_t rounds;

/* The words always are n and ~n; whoever sees anything else saw half a change. */
static void *count_pairs(void *torn) {
  struct lethe_backoff wait = {0};
  for (uint64_t i = 0; i < rounds; i++) {
    struct lethe_pair old = lethe_pair_load(&shared);
    for (;;) {
      if (old.hi != ~old.lo) return torn;
      if (lethe_pair_cas(&shared, &old, (struct lethe_pair){old.lo + 1, ~(old.lo + 1)})) break;
      lethe_backoff(&wait);
    }
    if (i % 4 == 0) wait = (struct lethe_backoff){0};
    lethe_pair_fetch_add(&shared, (struct lethe_pair){1, UINT64_MAX});
  }
  return NULL;
}

static void threads_change_a_pair_together(void **state) {
  pthread_t threads[THREADS];
  (void)state;
  rounds = work(20000);
  shared = (struct lethe_pair){0, UINT64_MAX};
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, count_pairs, &shared);
  for (int i = 0; i < THREADS; i++) {
    void *complaint;
    pthread_join(threads[i], &complaint);
    assert_null(complaint);
  }
  assert_true(same(shared, 2 * THREADS * rounds, ~(2 * THREADS * rounds)));
}

/* ---- row 34 --------------------------------------------------------------------------------- */

static void backing_off_doubles_up_to_a_bound(void **state) {
  struct lethe_backoff wait = {0};
  (void)state;
  lethe_cpu_pause();
  lethe_thread_yield();
  for (uint32_t n = 1; n <= LETHE_BACKOFF_PAUSES; n *= 2) {
    lethe_backoff(&wait);
    assert_int_equal(wait.pauses, n);
  }
  for (int i = 0; i < 10; i++) lethe_backoff(&wait); /* gives the processor away from now on */
  assert_int_equal(wait.pauses, LETHE_BACKOFF_PAUSES);
}

/* ---- row 35 --------------------------------------------------------------------------------- */

struct counted {
  struct lethe_ref ref;
  int ended;
};

static void put_counted(void *object, void *ud) {
  struct counted *c = object;
  (void)ud;
  if (c && lethe_ref_put(&c->ref)) c->ended++;
}

static void references_that_are_retired_balance(void **state) {
  struct place p;
  struct counted c = {.ended = 0};
  (void)state;
  open_manual(&p);
  lethe_ref_init(&c.ref);
  for (int i = 0; i < 5; i++) {
    lethe_ref_get(&c.ref);
    retire_pinned(p.r, &c, put_counted, NULL, 0);
  }
  retire_pinned(p.r, NULL, put_counted, NULL, 0); /* nothing: harmless */
  lethe_epoch_advance(p.m);
  lethe_epoch_advance(p.m);
  assert_int_equal(lethe_epoch_reclaim(p.r), 6);
  assert_int_equal(c.ended, 0);
  retire_pinned(p.r, &c, put_counted, NULL, 0); /* the first holder's */
  close_place(&p);
  assert_int_equal(c.ended, 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_pair_changes_both_words_or_none),
      cmocka_unit_test(a_pair_is_loaded_stored_and_exchanged),
      cmocka_unit_test(each_word_is_fetched_and_changed_by_its_own_operand),
      cmocka_unit_test(a_pair_is_aligned_to_16_bytes_wherever_it_lies),
      cmocka_unit_test(threads_change_a_pair_together),
      cmocka_unit_test(backing_off_doubles_up_to_a_bound),
      cmocka_unit_test(references_that_are_retired_balance),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
