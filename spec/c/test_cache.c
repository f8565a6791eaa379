/* SPDX-License-Identifier: MIT
 * The cache, call by call, on a backend that answers when it is told to. */
#include "cache_world.h"

static struct world w;

static int setup(void **state) {
  (void)state;
  world_open(&w);
  return 0;
}
static int teardown(void **state) {
  (void)state;
  world_close(&w);
  return 0;
}
static void end(struct lethe_cache *c) {
  check_cache(c);
  lethe_cache_close(c);
  lethe_cache_put_ref(c);
}

/* ---- loading --------------------------------------------------------------------------------- */

static void a_miss_loads_and_a_hit_does_not(void **state) {
  struct lethe_cache *c = world_cache(&w, 10);
  struct asked a;
  (void)state;
  assert_int_equal(ask_get(c, 1, &a), LETHE_OK);
  assert_int_equal(a.number, 1001);
  assert_int_equal(ask_get(c, 1, &a), LETHE_OK);
  assert_int_equal(a.number, 1001);
  struct lethe_cache_stats s = stats_of(c);
  assert_int_equal(s.hits, 1);
  assert_int_equal(s.misses, 1);
  assert_int_equal(s.loads, 1);
  assert_int_equal(s.entries, 1);
  end(c);
}

static void a_thousand_waiters_are_one_load(void **state) {
  static struct asked a[1000];
  struct lethe_cache *c = world_cache(&w, 10);
  (void)state;
  w.disk.gated[ON_LOAD] = true;
  for (int i = 0; i < 1000; i++) assert_int_equal(ask_get(c, 1, &a[i]), LETHE_CACHE_WAITS);
  assert_int_equal(w.disk.count[ON_LOAD], 1);
  disk_answer(&w.disk, 0);
  for (int i = 0; i < 1000; i++) assert_int_equal(a[i].number, 1001);
  assert_int_equal(w.disk.count[ON_LOAD], 1);
  end(c);
}

static void a_failure_is_shared(void **state) {
  static struct asked a[100];
  struct lethe_cache *c = world_cache(&w, 10);
  (void)state;
  w.disk.gated[ON_LOAD] = true;
  for (int i = 0; i < 100; i++) ask_get(c, 1, &a[i]);
  disk_fail(&w.disk, 0, LETHE_ESYSTEM, "broken");
  for (int i = 0; i < 100; i++) assert_int_equal(a[i].code, LETHE_ELOAD);
  assert_int_equal(w.disk.count[ON_LOAD], 1);
  end(c);
}

/* ---- eviction -------------------------------------------------------------------------------- */

static void the_least_recently_used_leaves(void **state) {
  struct lethe_cache *c = world_cache(&w, 2);
  struct asked a;
  (void)state;
  ask_get(c, 1, &a);
  ask_get(c, 2, &a);
  ask_get(c, 1, &a);
  ask_get(c, 3, &a);
  assert_int_equal(do_peek(c, 1), 1001);
  assert_int_equal(do_peek(c, 2), 0);
  assert_int_equal(do_peek(c, 3), 1003);
  end(c);
}

static void a_dirty_victim_stays_readable_until_it_is_written(void **state) {
  struct lethe_cache *c = world_cache(&w, 1);
  struct asked a, b;
  (void)state;
  w.disk.gated[ON_FLUSH] = true;
  assert_int_equal(ask_insert(&w, c, 1, 7, &a), LETHE_OK);
  assert_int_equal(ask_get(c, 2, &b), LETHE_CACHE_WAITS);
  assert_int_equal(do_peek(c, 1), 7);
  disk_answer(&w.disk, 0);
  assert_int_equal(b.code, LETHE_OK);
  assert_int_equal(b.number, 1002);
  assert_int_equal(do_peek(c, 1), 0);
  assert_int_equal(w.disk.stored[1], 7);
  end(c);
}

static void when_all_is_in_use_it_waits_in_turn(void **state) {
  struct lethe_cache *c = world_cache(&w, 1);
  struct asked h, a, b;
  (void)state;
  assert_int_equal(ask_hold(c, 1, &h), LETHE_OK);
  assert_int_equal(ask_get(c, 2, &a), LETHE_CACHE_WAITS);
  assert_int_equal(ask_get(c, 3, &b), LETHE_CACHE_WAITS);
  lethe_loop_advance(w.loop, 3);
  lethe_cache_release(c, h.w.held);
  assert_int_equal(a.number, 1002);
  assert_int_equal(b.number, 1003);
  assert_int_equal(ask_hold(c, 1, &h), LETHE_OK);
  assert_int_equal(ask_get(c, 2, &a), LETHE_CACHE_WAITS);
  lethe_loop_advance(w.loop, 5);
  assert_int_equal(a.code, LETHE_EALLINUSE);
  lethe_cache_release(c, h.w.held);
  end(c);
}

static unsigned asked_for_victims;

static uint32_t counted_victim(struct lethe_evict *e, const struct lethe_evict_request *r) {
  asked_for_victims++;
  return lethe_evict_find("lru", false)->victim(e, r);
}

/* However many entries there are: one question for each that leaves. */
static void a_miss_asks_for_one_victim(void **state) {
  struct lethe_evict_ops ops = *lethe_evict_find("lru", false);
  (void)state;
  ops.victim = counted_victim;
  for (int limit = 2; limit <= 128; limit *= 8) {
    struct lethe_cache_config config = world_config(&w, limit);
    struct asked a;
    assert_int_equal(lethe_evict_new_with(&config.policy, &w.alloc.alloc, &ops, NULL, limit, 1),
                     LETHE_OK);
    struct lethe_cache *c = world_cache_with(&w, config);
    for (int k = 0; k < limit; k++) ask_get(c, k, &a);
    asked_for_victims = 0;
    for (int k = 0; k < 100; k++) ask_get(c, limit + k, &a);
    assert_int_equal(asked_for_victims, 100);
    end(c);
  }
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static int64_t weigh_number(void *ud, const struct lethe_cache_key *key,
                            struct lethe_cache_value *v) {
  (void)ud;
  (void)key;
  return number_of(v);
}

static const struct lethe_cache_hooks weighing = {.weigh = weigh_number};

static void bytes_are_never_above_the_limit_and_what_is_held(void **state) {
  struct lethe_cache_config config = world_config(&w, LETHE_CACHE_NO_LIMIT);
  struct asked a, h;
  (void)state;
  config.bytes = 100;
  config.hooks = &weighing;
  config.wait = 0;
  for (int k = 0; k < KEYS; k++) w.disk.stored[k] = 1 + k % 60;
  struct lethe_cache *c = world_cache_with(&w, config);
  for (int k = 0; k < 200; k++) {
    assert_int_equal(ask_get(c, k, &a), LETHE_OK);
    assert_true(stats_of(c).bytes <= 100);
  }
  assert_int_equal(ask_insert(&w, c, 1, 101, &a), LETHE_EALLINUSE); /* it never fits */
  assert_int_equal(ask_hold(c, 59, &h), LETHE_OK);                  /* 60 */
  lethe_cache_set(c, h.w.held, value_of(&w, 150)); /* what is held may grow past the limit */
  assert_int_equal(stats_of(c).bytes, 150);
  assert_int_equal(ask_get(c, 1, &a), LETHE_EALLINUSE);
  lethe_cache_set(c, h.w.held, value_of(&w, 30));
  assert_int_equal(ask_get(c, 1, &a), LETHE_OK);
  lethe_cache_release(c, h.w.held);
  assert_int_equal(ask_flush(c, &a), LETHE_OK);
  end(c);
}

/* Two large values want room at once, and each has reserved a part: both get it in the end. */
static void two_halves_do_not_wait_for_each_other(void **state) {
  struct lethe_cache_config config = world_config(&w, LETHE_CACHE_NO_LIMIT);
  struct asked a, b;
  (void)state;
  config.bytes = 100;
  config.hooks = &weighing;
  struct lethe_cache *c = world_cache_with(&w, config);
  for (int k = 0; k < 4; k++) assert_int_equal(ask_insert(&w, c, k, 25, &a), LETHE_OK);
  w.disk.stored[10] = w.disk.stored[11] = 80;
  w.disk.gated[ON_FLUSH] = true;
  assert_int_equal(ask_get(c, 10, &a), LETHE_CACHE_WAITS);
  assert_int_equal(ask_get(c, 11, &b), LETHE_CACHE_WAITS);
  while (w.disk.n > 0) disk_answer(&w.disk, w.disk.n - 1);
  assert_int_equal(a.code, LETHE_OK);
  assert_int_equal(b.code, LETHE_OK);
  assert_int_equal(stats_of(c).bytes, 80);
  end(c);
}

/* ---- flushing -------------------------------------------------------------------------------- */

static void a_change_during_a_write_stays_dirty(void **state) {
  struct lethe_cache *c = world_cache(&w, 4);
  struct asked h, f;
  (void)state;
  assert_int_equal(ask_hold(c, 1, &h), LETHE_OK);
  lethe_cache_set(c, h.w.held, value_of(&w, 5));
  w.disk.gated[ON_FLUSH] = true;
  assert_int_equal(ask_flush(c, &f), LETHE_CACHE_WAITS);
  lethe_cache_set(c, h.w.held, value_of(&w, 6));
  disk_answer(&w.disk, 0);
  assert_int_equal(f.code, LETHE_OK);
  assert_int_equal(w.disk.stored[1], 5);
  assert_int_equal(stats_of(c).dirty, 1);
  assert_int_equal(ask_flush(c, &f), LETHE_CACHE_WAITS);
  disk_answer(&w.disk, 0);
  assert_int_equal(w.disk.stored[1], 6);
  assert_int_equal(stats_of(c).dirty, 0);
  lethe_cache_release(c, h.w.held);
  end(c);
}

static void every_entry_is_tried_whatever_another_does(void **state) {
  struct lethe_cache *c = world_cache(&w, 10);
  struct asked a;
  (void)state;
  for (int k = 1; k <= 5; k++) ask_insert(&w, c, k, k, &a);
  w.disk.broken[1] = w.disk.broken[3] = true;
  assert_int_equal(ask_flush(c, &a), LETHE_EFLUSH);
  assert_int_equal(a.failed, 2);
  assert_int_equal(stats_of(c).dirty, 2);
  w.disk.broken[1] = w.disk.broken[3] = false;
  assert_int_equal(ask_flush(c, &a), LETHE_OK);
  assert_int_equal(stats_of(c).dirty, 0);
  end(c);
}

/* ---- order ----------------------------------------------------------------------------------- */

static void what_it_depends_on_is_written_first(void **state) {
  struct lethe_cache *x = world_cache(&w, 10), *y = world_cache(&w, 10);
  struct asked a;
  (void)state;
  ask_insert(&w, x, 1, 1, &a);
  ask_insert(&w, y, 2, 2, &a);
  assert_int_equal(ask_depend(x, y, &a), LETHE_OK);
  assert_int_equal(ask_flush(x, &a), LETHE_OK);
  assert_string_equal(w.disk.log, "f2 b f1");
  end(x);
  end(y);
}

static void a_cycle_is_flushed_first(void **state) {
  struct lethe_cache *c[3];
  struct asked a;
  (void)state;
  for (int i = 0; i < 3; i++) {
    c[i] = world_cache(&w, 10);
    ask_insert(&w, c[i], i, i + 1, &a);
  }
  for (int i = 0; i < 3; i++) assert_int_equal(ask_depend(c[i], c[(i + 1) % 3], &a), LETHE_OK);
  assert_string_equal(w.disk.log, "f2 b f1 b f0");
  assert_int_equal(ask_flush(c[2], &a), LETHE_OK);
  for (int i = 0; i < 3; i++) end(c[i]);
}

static void itself_is_flushed(void **state) {
  struct lethe_cache *c = world_cache(&w, 10);
  struct asked a;
  (void)state;
  ask_insert(&w, c, 1, 1, &a);
  assert_int_equal(ask_depend(c, c, &a), LETHE_OK);
  assert_string_equal(w.disk.log, "f1");
  end(c);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void a_shutdown_writes_and_closes(void **state) {
  struct lethe_cache *c = world_cache(&w, 10);
  struct asked a;
  (void)state;
  ask_insert(&w, c, 1, 1, &a);
  w.disk.broken[1] = true;
  assert_int_equal(ask_shutdown(c, &a), LETHE_EFLUSH);
  assert_false(lethe_cache_is_closed(c));
  w.disk.broken[1] = false;
  assert_int_equal(ask_shutdown(c, &a), LETHE_OK);
  assert_true(lethe_cache_is_closed(c));
  assert_int_equal(ask_get(c, 1, &a), LETHE_ECLOSED);
  lethe_cache_put_ref(c);
}

static void an_abandoned_cache_writes_what_is_dirty(void **state) {
  struct lethe_cache *c = world_cache(&w, 10);
  struct asked a;
  (void)state;
  ask_insert(&w, c, 1, 5, &a);
  w.disk.gated[ON_FLUSH] = true;
  lethe_cache_abandon(c);
  lethe_cache_put_ref(c);
  disk_answer(&w.disk, 0);
  assert_int_equal(w.disk.stored[1], 5);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_miss_loads_and_a_hit_does_not, setup, teardown),
      cmocka_unit_test_setup_teardown(a_thousand_waiters_are_one_load, setup, teardown),
      cmocka_unit_test_setup_teardown(a_failure_is_shared, setup, teardown),
      cmocka_unit_test_setup_teardown(the_least_recently_used_leaves, setup, teardown),
      cmocka_unit_test_setup_teardown(a_dirty_victim_stays_readable_until_it_is_written, setup,
                                      teardown),
      cmocka_unit_test_setup_teardown(when_all_is_in_use_it_waits_in_turn, setup, teardown),
      cmocka_unit_test_setup_teardown(a_miss_asks_for_one_victim, setup, teardown),
      cmocka_unit_test_setup_teardown(bytes_are_never_above_the_limit_and_what_is_held, setup,
                                      teardown),
      cmocka_unit_test_setup_teardown(two_halves_do_not_wait_for_each_other, setup, teardown),
      cmocka_unit_test_setup_teardown(a_change_during_a_write_stays_dirty, setup, teardown),
      cmocka_unit_test_setup_teardown(every_entry_is_tried_whatever_another_does, setup, teardown),
      cmocka_unit_test_setup_teardown(what_it_depends_on_is_written_first, setup, teardown),
      cmocka_unit_test_setup_teardown(a_cycle_is_flushed_first, setup, teardown),
      cmocka_unit_test_setup_teardown(itself_is_flushed, setup, teardown),
      cmocka_unit_test_setup_teardown(a_shutdown_writes_and_closes, setup, teardown),
      cmocka_unit_test_setup_teardown(an_abandoned_cache_writes_what_is_dirty, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
