/* SPDX-License-Identifier: MIT
 * The epoch manager between threads: births and deaths, bounds while a reader sleeps, barriers,
 * thieves. Runs under ThreadSanitizer too. */
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "harness/epoch.h"
#include "harness/fallback.h"

static struct lethe_epoch *m;
static _Atomic uint64_t freed, retired;
static _Atomic bool stop;

static void begin(const struct lethe_epoch_config *config) {
  m = new_manager(&lethe_alloc_libc, config);
  store_rlx(&freed, 0);
  store_rlx(&retired, 0);
  store_rlx(&stop, false);
}

/* Everything that was retired is freed with the manager, and exactly once. */
static void finish(void) {
  assert_true(lethe_epoch_is_valid(m));
  assert_int_equal(stats_of(m).threads, 0);
  lethe_epoch_put(m);
  assert_int_equal(load_rlx(&freed), load_rlx(&retired));
}

static struct lethe_epoch_rec *join_in(void) {
  struct lethe_epoch_rec *r = NULL;
  assert_int_equal(lethe_epoch_register(m, &r), LETHE_OK);
  return r;
}

static void free_block(void *object, void *ud) {
  free(object);
  count_in(object, ud);
}

/* Memory of its own, so that a leak is one. */
static void retire_block(struct lethe_epoch_rec *r) {
  retire_pinned(r, malloc(16), free_block, &freed, 16);
  add_rlx(&retired, 1);
}

/* ---- births and deaths ---------------------------------------------------------------------- */

static void *short_life(void *ud) {
  uintptr_t n = (uintptr_t)ud;
  struct lethe_epoch_rec *r = join_in(), *extra;
  for (uintptr_t i = 0; i < n % 7 * 9; i++) retire_block(r);
  if (n % 5 == 0) {
    assert_int_equal(lethe_epoch_register_extra(m, &extra), LETHE_OK);
    retire_block(extra);
    lethe_epoch_pin(extra);
  }
  if (n % 3 == 0) lethe_epoch_pin(r);
  if (n % 2 == 0) lethe_epoch_unregister(r);
  return NULL; /* else as it ends, maybe pinned */
}

static void ten_thousand_threads_come_and_go(void **state) {
  enum { AT_ONCE = 4 };
  pthread_t threads[AT_ONCE];
  uint64_t lives = work(5000); /* in each mode */
  (void)state;
  for (int manual = 0; manual < 2; manual++) {
    begin(&(struct lethe_epoch_config){
        .mode = (enum lethe_epoch_mode)manual, .bag_size = 16, .max_threads = AT_ONCE + 1});
    struct lethe_epoch_rec *r = join_in();
    for (uintptr_t i = 0; i < lives / AT_ONCE; i++) {
      for (uintptr_t k = 0; k < AT_ONCE; k++)
        pthread_create(&threads[k], NULL, short_life, (void *)(i * AT_ONCE + k));
      for (int k = 0; k < AT_ONCE; k++) pthread_join(threads[k], NULL);
      if (i % 10 == 0) {
        lethe_epoch_advance(m);
        lethe_epoch_reclaim(r);
      }
    }
    assert_int_equal(stats_of(m).threads, 1);
    assert_true(load_rlx(&freed) > load_rlx(&retired) / 2); /* while it lasted */
    lethe_epoch_unregister(r);
    finish();
  }
}

static pthread_barrier_t all_here;

static void *wait_registered(void *ud) {
  struct lethe_epoch_rec *r = join_in();
  pthread_barrier_wait(&all_here);
  pthread_barrier_wait(&all_here);
  lethe_epoch_unregister(r);
  return ud;
}

static void sixty_four_threads_fit_unless_told_otherwise(void **state) {
  pthread_t threads[LETHE_EPOCH_THREADS];
  struct lethe_epoch_rec *r = NULL;
  (void)state;
  begin(&(struct lethe_epoch_config){0});
  pthread_barrier_init(&all_here, NULL, LETHE_EPOCH_THREADS + 1);
  for (int i = 0; i < LETHE_EPOCH_THREADS; i++)
    pthread_create(&threads[i], NULL, wait_registered, NULL);
  pthread_barrier_wait(&all_here);
  assert_int_equal(stats_of(m).threads, LETHE_EPOCH_THREADS);
  assert_int_equal(lethe_epoch_register(m, &r), LETHE_EFULL);
  assert_int_equal(lethe_epoch_register_extra(m, &r), LETHE_OK); /* they count for nothing */
  lethe_epoch_unregister(r);
  pthread_barrier_wait(&all_here);
  for (int i = 0; i < LETHE_EPOCH_THREADS; i++) pthread_join(threads[i], NULL);
  pthread_barrier_destroy(&all_here);
  finish();
}

/* ---- a reader that sleeps ------------------------------------------------------------------- */

static _Atomic int asleep; /* 1: fell asleep pinned; 2: may wake */

static void *sleeper(void *ud) {
  struct lethe_epoch_rec *r = join_in();
  bool *sound = ud;
  lethe_epoch_pin(r);
  store_rel(&asleep, 1);
  while (load_acq(&asleep) == 1) usleep(1000);
  *sound = lethe_epoch_unpin(r);
  lethe_epoch_unregister(r);
  return NULL;
}

static void *retire_blocks(void *ud) {
  struct lethe_epoch_rec *r = join_in();
  uint64_t peak = 0;
  for (uintptr_t i = 0; i < (uintptr_t)ud; i++) retire_block(r);
  struct lethe_epoch_rec_stats all[8];
  uint32_t n = lethe_epoch_records(m, all, 8);
  for (uint32_t i = 0; i < n; i++)
    if (all[i].peak > peak) peak = all[i].peak;
  pthread_barrier_wait(&all_here); /* nobody adopts what another leaves */
  lethe_epoch_unregister(r);
  return (void *)(uintptr_t)peak;
}

/* Counted in objects, not in time: whatever the sleeper does, a thread that retires never holds
 * more than (8 + 2) bags and one object for each thread. */
static void a_sleeping_reader_delays_nobody(void **state) {
  enum { RETIRERS = 2 };
  pthread_t victim, threads[RETIRERS];
  bool sound = true;
  (void)state;
  for (int run = 0; run < 5; run++) {
    begin(&(struct lethe_epoch_config){0});
    store_rlx(&asleep, 0);
    pthread_barrier_init(&all_here, NULL, RETIRERS);
    pthread_create(&victim, NULL, sleeper, &sound);
    while (load_acq(&asleep) == 0) sched_yield();
    for (int i = 0; i < RETIRERS; i++)
      pthread_create(&threads[i], NULL, retire_blocks, (void *)(uintptr_t)work(30000));
    for (int i = 0; i < RETIRERS; i++) {
      void *peak;
      pthread_join(threads[i], &peak);
      assert_in_range((uintptr_t)peak, 1, (LETHE_EPOCH_BAGS + 2) * LETHE_EPOCH_BAG + RETIRERS);
    }
    assert_true(load_rlx(&freed) > 0); /* and the victim is still asleep */
    store_rel(&asleep, 2);
    pthread_join(victim, NULL);
    assert_false(sound);
    pthread_barrier_destroy(&all_here);
    finish();
  }
}

/* ---- barriers ------------------------------------------------------------------------------- */

enum { RETIRERS = 3 };
static struct { alignas(64) _Atomic uint64_t retired, freed; } each[RETIRERS];

static void free_of(void *object, void *ud) {
  (void)object;
  add_rlx(&each[(uintptr_t)ud].freed, 1);
}

/* The objects of a thread are freed in any order, but those before a barrier have all gone after
 * it: so the thread sends numbers, and the destructor keeps the books. */
static void *retire_and_pause(void *ud) {
  uintptr_t self = (uintptr_t)ud;
  struct lethe_epoch_rec *r = join_in();
  for (uint64_t i = 1; !load_rlx(&stop); i++) {
    lethe_epoch_pin(r);
    lethe_epoch_retire(r, &each[self], free_of, ud, 1);
    lethe_epoch_unpin(r);
    add_acqrel(&each[self].retired, 1);
    if (i % 400 == 0) usleep(100); /* with bags half full */
    if (i % 3000 == 0) lethe_epoch_flush(r);
  }
  lethe_epoch_unregister(r);
  return NULL;
}

static void *barriers(void *ud) {
  struct lethe_epoch_rec *r = join_in();
  uint64_t *passed = ud;
  while (!load_rlx(&stop)) {
    uint64_t before[RETIRERS];
    for (int i = 0; i < RETIRERS; i++) before[i] = load_acq(&each[i].retired);
    uint64_t cookie = lethe_epoch_start_poll(m);
    while (!lethe_epoch_barrier_step(m, r, cookie)) sched_yield();
    for (int i = 0; i < RETIRERS; i++)
      if (load_acq(&each[i].freed) < before[i]) abort();
    ++*passed;
  }
  lethe_epoch_unregister(r);
  return NULL;
}

static void after_a_barrier_all_that_came_before_is_freed(void **state) {
  pthread_t threads[RETIRERS], two[2];
  uint64_t passed[2] = {0, 0};
  (void)state;
  begin(&(struct lethe_epoch_config){.bag_size = 64});
  memset(each, 0, sizeof each);
  for (uintptr_t i = 0; i < RETIRERS; i++)
    pthread_create(&threads[i], NULL, retire_and_pause, (void *)i);
  for (int i = 0; i < 2; i++) pthread_create(&two[i], NULL, barriers, &passed[i]);
  usleep((useconds_t)work(400000));
  store_rlx(&stop, true);
  for (int i = 0; i < RETIRERS; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < 2; i++) pthread_join(two[i], NULL);
  assert_true(passed[0] > 0 && passed[1] > 0);
  finish();
  for (int i = 0; i < RETIRERS; i++)
    assert_int_equal(load_rlx(&each[i].retired), load_rlx(&each[i].freed));
}

/* ---- thieves, idle owners, statistics ------------------------------------------------------- */

static void *now_and_then(void *ud) {
  struct lethe_epoch_rec *r = join_in();
  while (!load_rlx(&stop)) {
    for (int i = 0; i < 40; i++) retire_block(r);
    usleep(120000); /* idle: its bags are taken meanwhile */
  }
  lethe_epoch_unregister(r);
  return ud;
}

static void *look(void *ud) {
  while (!load_rlx(&stop)) {
    struct lethe_epoch_rec_stats r[8];
    uint32_t n = lethe_epoch_records(m, r, 8);
    for (uint32_t i = 0; i < n && i < 8; i++) assert_true(r[i].pinned_for >= 0);
    struct lethe_epoch_stats s = stats_of(m);
    assert_true(s.safe_epoch <= lethe_epoch_now(m));
    usleep(500);
  }
  return ud;
}

static void bags_are_stolen_while_their_owners_work(void **state) {
  pthread_t threads[3], watcher;
  (void)state;
  begin(&(struct lethe_epoch_config){.bag_size = 8});
  pthread_create(&watcher, NULL, look, NULL);
  for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, now_and_then, NULL);
  struct lethe_epoch_rec *r = join_in();
  double end = lethe_clock_monotonic() + 0.4;
  while (lethe_clock_monotonic() < end) retire_block(r);
  uint64_t held = stats_of(m).limbo;
  assert_true(held < 2000);
  store_rlx(&stop, true);
  for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
  pthread_join(watcher, NULL);
  lethe_epoch_unregister(r);
  finish();
}

/* ---- pins and their age --------------------------------------------------------------------- */

static void a_pins_age_counts_from_when_it_was_first_seen(void **state) {
  struct lethe_epoch_rec_stats s;
  (void)state;
  begin(&(struct lethe_epoch_config){0});
  struct lethe_epoch_rec *r = join_in();
  lethe_epoch_pin(r);
  lethe_epoch_records(m, &s, 1);
  assert_true(s.pinned && s.pinned_for < 0.01);
  usleep(20000);
  lethe_epoch_records(m, &s, 1);
  assert_true(s.pinned_for >= 0.02);
  lethe_epoch_unpin(r);
  lethe_epoch_pin(r); /* another pin, in the same epoch */
  lethe_epoch_records(m, &s, 1);
  assert_true(s.pinned && s.pinned_for < 0.02);
  assert_true(lethe_epoch_unpin(r));
  lethe_epoch_records(m, &s, 1);
  assert_false(s.pinned);
  lethe_epoch_unregister(r);
  finish();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ten_thousand_threads_come_and_go),
      cmocka_unit_test(sixty_four_threads_fit_unless_told_otherwise),
      cmocka_unit_test(a_sleeping_reader_delays_nobody),
      cmocka_unit_test(after_a_barrier_all_that_came_before_is_freed),
      cmocka_unit_test(bags_are_stolen_while_their_owners_work),
      cmocka_unit_test(a_pins_age_counts_from_when_it_was_first_seen),
  };
  return run_both_ways(tests);
}
