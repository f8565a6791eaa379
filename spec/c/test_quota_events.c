/* SPDX-License-Identifier: MIT
 * The quota tracker without Lua: what is told of it (pressure, events), and condemned bytes. */
#include "quota_world.h"

/* ---- pressure -------------------------------------------------------------------------------- */

static void pressure_is_linear_and_levels_have_hysteresis(void **state) {
  static const struct {
    int64_t used;
    double value;
    enum lethe_quota_level level;
  } steps[] = {{700, 0, LETHE_QUOTA_NORMAL},    {800, 0, LETHE_QUOTA_NORMAL},
               {810, 0.05, LETHE_QUOTA_SOFT},   {899, 0.495, LETHE_QUOTA_SOFT},
               {900, 0.5, LETHE_QUOTA_HIGH},    {891, 0.455, LETHE_QUOTA_HIGH},
               {889, 0.445, LETHE_QUOTA_SOFT},  {999, 0.995, LETHE_QUOTA_HIGH},
               {1000, 1, LETHE_QUOTA_CRITICAL}, {991, 0.955, LETHE_QUOTA_CRITICAL},
               {989, 0.945, LETHE_QUOTA_HIGH},  {1000, 1, LETHE_QUOTA_CRITICAL},
               {801, 0.005, LETHE_QUOTA_SOFT},  {800, 0, LETHE_QUOTA_NORMAL},
               {1000, 1, LETHE_QUOTA_CRITICAL}, {100, 0, LETHE_QUOTA_NORMAL}};
  struct world w;
  struct part x = {.w = &w};
  enum lethe_quota_level level, was = LETHE_QUOTA_NORMAL;
  int64_t holds = 0;
  (void)state;
  world_begin(&w, 1000, 800);
  uint64_t a = account(&w, "a");
  assert_int_equal(lethe_quota_handle_open(&x.h, w.m, a, &x, true, &x.id), 0);
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    if (steps[i].used > holds)
      claim(&x, steps[i].used - holds);
    else
      lethe_quota_release(&x.h, holds - steps[i].used);
    holds = steps[i].used;
    double value = lethe_quota_pressure(w.t, &level);
    assert_true(fabs(value - (steps[i].value > 0.05 ? (double)(holds - 800) / 200
                                                    : steps[i].value)) < 1e-9);
    assert_int_equal(level, steps[i].level);
    if (level != was) {
      const struct lethe_quota_event *e = &w.events[w.n - 1];
      assert_int_equal(e->type, LETHE_QUOTA_PRESSURE);
      assert_int_equal(e->level, level);
      assert_true(e->value == value);
      assert_int_equal(e->used, holds);
    }
    was = level;
  }
  assert_int_equal(events_of(&w, LETHE_QUOTA_PRESSURE), 11);
  lethe_quota_handle_close(&x.h);
  close_account(&w, a);
  world_end(&w);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void events_come_in_order_with_their_fields(void **state) {
  struct many m;
  (void)state;
  many_begin(&m);
  many_add(&m, 4, 12 * MIB);
  many_add(&m, 5, 12 * MIB);
  m.w.n = 0;
  world_turn(&m.w);
  const struct lethe_quota_event *e = m.w.events;
  assert_int_equal(m.w.n, 4);
  assert_int_equal(e[0].type, LETHE_QUOTA_RECLAIM_START);
  assert_int_equal(e[0].reason, LETHE_QUOTA_BY_MAX);
  assert_int_equal(e[0].goal, 9 * MIB + 2 * 16384);
  assert_int_equal(e[0].account, 0);
  assert_int_equal(e[1].type, LETHE_QUOTA_PRESSURE);
  assert_int_equal(e[1].level, LETHE_QUOTA_NORMAL);
  assert_int_equal(e[2].type, LETHE_QUOTA_VICTIM);
  assert_int_equal(e[2].account, m.a[0]);
  assert_int_equal(e[2].bytes, 12 * MIB);
  assert_int_equal(e[2].used, 12 * MIB);
  assert_true(e[2].value == -4);
  assert_int_equal(e[3].type, LETHE_QUOTA_RECLAIM_STOP);
  assert_int_equal(e[3].outcome, LETHE_QUOTA_COMPLETE);
  assert_int_equal(e[3].victims, 1);
  assert_int_equal(e[3].bytes, 12 * MIB + 2 * 16384);
  struct lethe_quota_stats s = stats(&m.w);
  assert_int_equal(s.reclaims, 1);
  assert_int_equal(s.victims, 1);
  assert_int_equal(s.freed, 12 * MIB);
  many_end(&m);
}

static void a_victims_name_survives_it(void **state) {
  struct world w;
  struct part p;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account(&w, "sessions");
  part_holding(&w, &p, a, 1, 21 * MIB);
  world_turn(&w);
  assert_string_equal(event_of(&w, LETHE_QUOTA_VICTIM, 0)->name, "sessions");
  part_close(&p);
  close_account(&w, a);
  world_end(&w);
}

static void muted_trackers_deliver_nothing(void **state) {
  struct many m;
  (void)state;
  many_begin(&m);
  lethe_quota_mute(m.w.t);
  many_add(&m, 1, 21 * MIB);
  world_turn(&m.w);
  assert_int_equal(m.w.n, 0);
  assert_int_equal(used(&m.w), 0);
  many_end(&m);
}

/* ---- condemned ------------------------------------------------------------------------------- */

static void condemned_bytes_stand_until_they_are_released_or_buried(void **state) {
  struct many m;
  (void)state;
  many_begin(&m);
  struct part *p = many_add(&m, 1, 11 * MIB), *q = many_add(&m, 2, 11 * MIB);
  by_hand(&m.w, 22 * MIB);
  assert_int_equal(used(&m.w), 0);
  assert_int_equal(stats(&m.w).condemned, 22 * MIB);
  assert_true(lethe_quota_handle_condemned(&p->h));
  lethe_quota_release(&p->h, 1 * MIB);
  assert_int_equal(stats(&m.w).condemned, 21 * MIB);
  lethe_quota_release(&p->h, 100 * MIB); /* clamped */
  assert_int_equal(stats(&m.w).condemned, 11 * MIB);
  assert_false(lethe_quota_handle_condemned(&p->h));
  lethe_quota_buried(m.w.t, q->id);
  assert_int_equal(stats(&m.w).condemned, 0);
  lethe_quota_buried(m.w.t, q->id);
  lethe_quota_buried(m.w.t, 12345);
  world_check(&m.w);
  lethe_loop_advance(m.w.loop, 10);
  assert_int_equal(events_of(&m.w, LETHE_QUOTA_NOT_FREED), 0);
  assert_false(lethe_loop_alive(m.w.loop)); /* no timer is left behind either */
  many_end(&m);
}

static void watched_bytes_stay_condemned_without_handles(void **state) {
  struct many m;
  (void)state;
  many_begin(&m);
  struct part *p = many_add(&m, 1, 3 * MIB), *q = many_add(&m, 2, 2 * MIB),
              *r = many_add(&m, 3, 1 * MIB);
  lethe_quota_watch(m.w.t, p->id);
  by_hand(&m.w, 22 * MIB);
  lethe_quota_watch(m.w.t, q->id); /* also later */
  assert_int_equal(stats(&m.w).condemned, 6 * MIB);
  part_close(p);
  part_close(q);
  part_close(r);
  assert_int_equal(stats(&m.w).condemned, 5 * MIB);
  world_check(&m.w);
  lethe_loop_advance(m.w.loop, 5);
  assert_int_equal(events_of(&m.w, LETHE_QUOTA_NOT_FREED), 2);
  lethe_quota_buried(m.w.t, p->id);
  lethe_quota_buried(m.w.t, q->id);
  assert_int_equal(stats(&m.w).condemned, 0);
  lethe_quota_watch(m.w.t, p->id);
  many_end(&m);
}

static void destroy_of_a_condemned_one_lets_its_bytes_go(void **state) {
  struct many m;
  (void)state;
  many_begin(&m);
  struct part *p = many_add(&m, 1, 3 * MIB);
  by_hand(&m.w, 22 * MIB);
  lethe_quota_handle_destroy(&p->h);
  assert_int_equal(stats(&m.w).condemned, 0);
  many_end(&m);
}

static void not_freed_is_reported_one_deadline_later(void **state) {
  struct many m;
  (void)state;
  many_begin(&m);
  struct part *p = many_add(&m, 1, 8 * MIB), *q = many_add(&m, 2, 8 * MIB);
  lethe_loop_advance(m.w.loop, 0.1);
  by_hand(&m.w, 8 * MIB);
  lethe_loop_advance(m.w.loop, 2);
  by_hand(&m.w, 8 * MIB);
  lethe_loop_advance(m.w.loop, 2.9);
  assert_int_equal(events_of(&m.w, LETHE_QUOTA_NOT_FREED), 0);
  lethe_quota_release(&p->h, 1);
  lethe_loop_advance(m.w.loop, 0.2);
  assert_int_equal(events_of(&m.w, LETHE_QUOTA_NOT_FREED), 1);
  const struct lethe_quota_event *e = event_of(&m.w, LETHE_QUOTA_NOT_FREED, 0);
  assert_int_equal(e->account, m.a[0]);
  assert_int_equal(e->bytes, 8 * MIB - 1);
  lethe_quota_handle_close(&q->h); /* its object goes in time */
  lethe_loop_advance(m.w.loop, 10);
  assert_int_equal(events_of(&m.w, LETHE_QUOTA_NOT_FREED), 1); /* once */
  assert_int_equal(stats(&m.w).condemned, 8 * MIB - 1);
  many_end(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(pressure_is_linear_and_levels_have_hysteresis),
      cmocka_unit_test(events_come_in_order_with_their_fields),
      cmocka_unit_test(a_victims_name_survives_it),
      cmocka_unit_test(muted_trackers_deliver_nothing),
      cmocka_unit_test(condemned_bytes_stand_until_they_are_released_or_buried),
      cmocka_unit_test(watched_bytes_stay_condemned_without_handles),
      cmocka_unit_test(destroy_of_a_condemned_one_lets_its_bytes_go),
      cmocka_unit_test(not_freed_is_reported_one_deadline_later),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
