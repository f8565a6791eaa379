/* SPDX-License-Identifier: MIT
 * The quota tracker without Lua: configuration (rows B of its sheet), noop trackers and figures. */
#include "quota_world.h"

static int make(int64_t max, int64_t low, const char **why) {
  struct lethe_quota_config config = {.max = max, .low_water = low};
  struct lethe_quota *t = NULL;
  *why = NULL;
  int rc = lethe_quota_new(&t, &lethe_alloc_libc, &config, NULL, NULL, why);
  if (rc == LETHE_OK) lethe_quota_put(t);
  return rc;
}

static int64_t auto_low(int64_t max) {
  struct lethe_quota_config config = {.max = max, .low_water = -1};
  struct lethe_quota *t = NULL;
  struct lethe_quota_stats s;
  const char *why;
  if (lethe_quota_new(&t, &lethe_alloc_libc, &config, NULL, NULL, &why)) return -1;
  lethe_quota_read_stats(t, &s);
  lethe_quota_put(t);
  assert_int_equal(s.max, max);
  return s.low_water;
}

static void B1_each_limit_is_auto_or_explicit(void **state) {
  struct world w;
  (void)state;
  world_begin(&w, 20 * MIB, 15 * MIB);
  assert_int_equal(stats(&w).max, 20 * MIB);
  assert_int_equal(stats(&w).low_water, 15 * MIB);
  world_end(&w);
  world_begin(&w, -1, -1);
  assert_int_equal(stats(&w).max, lethe_quota_auto_max(lethe_quota_machine_memory()));
  world_end(&w);
}

static void B2_low_water_is_three_quarters_in_single_precision(void **state) {
  (void)state;
  assert_int_equal(auto_low(4 * MIB), 3 * MIB);
  assert_int_equal(auto_low(218454), 163840);
  assert_int_equal(auto_low(1000000007), 750000000);  /* 750000005 in double precision */
  assert_int_equal(auto_low(8589934591), 6442450944); /* the float of it is 2^33 */
  assert_int_equal(auto_low(64 * KIB), 48 * KIB);
  assert_int_equal(auto_low(1), 0);
}

static void B3_limits_that_do_not_fit_are_refused_with_a_reason(void **state) {
  const char *why;
  (void)state;
  assert_int_equal(make(-1, 4 * MIB, &why), LETHE_ELIMITS);
  assert_string_equal(why, "max is \"auto\", but low_water is set to a number of bytes");
  assert_int_equal(make(MIB, 163839, &why), LETHE_ELIMITS);
  assert_string_equal(why, "low_water must be at least 163840");
  assert_int_equal(make(100 * MIB, 99 * MIB, &why), LETHE_ELIMITS);
  assert_string_equal(why, "low_water / max must be <= 0.98");
  assert_int_equal(make(4 * MIB, 4 * MIB, &why), LETHE_ELIMITS);
  assert_string_equal(why, "low_water must be below max");
  assert_int_equal(make(0, -1, &why), LETHE_ELIMITS);
  assert_string_equal(why, "max must be above 0");
  assert_int_equal(make(100 * MIB, 98 * MIB, &why), LETHE_OK);
  assert_int_equal(make(MIB, 163840, &why), LETHE_OK);
}

static void B3_below_a_mebibyte_low_water_only_lies_below_max(void **state) {
  const char *why;
  (void)state;
  assert_int_equal(make(64 * KIB, 10, &why), LETHE_OK);
  assert_int_equal(make(64 * KIB, 64 * KIB - 1, &why), LETHE_OK);
  assert_int_equal(make(64 * KIB, 0, &why), LETHE_OK);
  assert_int_equal(make(64 * KIB, 64 * KIB, &why), LETHE_ELIMITS);
}

static void B2_the_greatest_max_counts_and_never_reclaims(void **state) {
  struct world w;
  struct part p;
  const char *why;
  enum lethe_quota_level level;
  (void)state;
  assert_int_equal(make(LETHE_QUOTA_NO_LIMIT, 4 * MIB, &why), LETHE_ELIMITS);
  assert_string_equal(why,
                      "low_water is set to a number of bytes, but max says that there is no limit");
  world_begin(&w, LETHE_QUOTA_NO_LIMIT, -1);
  uint64_t a = account(&w, "a");
  part_holding(&w, &p, a, 1, INT64_MAX / 4);
  world_turn(&w);
  assert_int_equal(stats(&w).reclaims, 0);
  assert_int_equal(lethe_quota_handle_used(&p.h), INT64_MAX / 4);
  assert_true(lethe_quota_pressure(w.t, &level) == 0 && level == LETHE_QUOTA_NORMAL);
  struct lethe_quota_change c = {.set_max = true,
                                 .to.max = 4 * MIB}; /* and may get a limit again */
  assert_int_equal(lethe_quota_configure(w.t, &c, &why), 0);
  world_turn(&w);
  assert_int_equal(p.asked, 1);
  part_close(&p);
  close_account(&w, a);
  world_end(&w);
}

static void B4_auto_max_follows_the_memory(void **state) {
  const int64_t mib = MIB, gib = 1024 * mib;
  (void)state;
  assert_int_equal(lethe_quota_auto_max(-1), 8 * gib);
  assert_int_equal(lethe_quota_auto_max(0), 256 * mib);
  assert_int_equal(lethe_quota_auto_max(300 * mib), 256 * mib);
  assert_int_equal(lethe_quota_auto_max(4 * gib), 3 * gib);
  assert_int_equal(lethe_quota_auto_max(8 * gib - 4), (8 * gib - 4) / 4 * 3);
  assert_int_equal(lethe_quota_auto_max(8 * gib), (int64_t)((double)(8 * gib) * 0.4));
  assert_int_equal(lethe_quota_auto_max(64 * gib), 8 * gib);
  assert_true(lethe_quota_machine_memory() > 0);
}

static int configure(struct world *w, struct lethe_quota_change c) {
  const char *why = NULL;
  int rc = lethe_quota_configure(w->t, &c, &why);
  if (rc == LETHE_ELIMITS) assert_non_null(why);
  return rc;
}

static void B5_configure_is_all_or_nothing(void **state) {
  struct world w;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  assert_int_equal(
      configure(&w, (struct lethe_quota_change){.set_max = true,
                                                .set_low_water = true,
                                                .to = {.max = 10 * MIB, .low_water = 10 * MIB}}),
      LETHE_ELIMITS);
  assert_int_equal(stats(&w).max, 20 * MIB);
  assert_int_equal(stats(&w).low_water, 15 * MIB);
  assert_int_equal(events_of(&w, LETHE_QUOTA_RECONFIGURED), 0);
  assert_int_equal(configure(&w, (struct lethe_quota_change){.set_max = true, .to.max = 40 * MIB}),
                   0);
  assert_int_equal(stats(&w).max, 40 * MIB);
  assert_int_equal(stats(&w).low_water, 30 * MIB); /* it was auto, and stays it */
  assert_int_equal(events_of(&w, LETHE_QUOTA_RECONFIGURED), 1);
  world_end(&w);
}

static void B5_configure_of_max_alone_keeps_an_explicit_low_water(void **state) {
  struct world w;
  (void)state;
  world_begin(&w, 20 * MIB, 8 * MIB);
  assert_int_equal(configure(&w, (struct lethe_quota_change){.set_max = true, .to.max = 10 * MIB}),
                   0);
  assert_int_equal(stats(&w).low_water, 8 * MIB);
  assert_int_equal(configure(&w, (struct lethe_quota_change){.set_max = true, .to.max = 8 * MIB}),
                   LETHE_ELIMITS);
  assert_int_equal(
      configure(&w, (struct lethe_quota_change){.set_low_water = true, .to.low_water = -1}), 0);
  assert_int_equal(stats(&w).low_water, 7864320);
  world_end(&w);
}

static void B5_auto_is_computed_once(void **state) {
  struct world w;
  (void)state;
  world_begin(&w, -1, -1);
  int64_t max = stats(&w).max;
  assert_int_equal(
      configure(&w, (struct lethe_quota_change){.set_deadline = true, .to.deadline = 3}), 0);
  assert_int_equal(stats(&w).max, max);
  assert_int_equal(
      configure(&w, (struct lethe_quota_change){.set_low_water = true, .to.low_water = MIB}),
      LETHE_ELIMITS);
  world_end(&w);
}

static void B5_a_lowered_max_starts_a_pass(void **state) {
  struct world w;
  struct part p;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account(&w, "a");
  part_holding(&w, &p, a, 1, 8 * MIB);
  world_turn(&w);
  assert_int_equal(p.asked, 0);
  assert_int_equal(configure(&w, (struct lethe_quota_change){.set_max = true, .to.max = 4 * MIB}),
                   0);
  world_turn(&w);
  assert_int_equal(p.asked, 1);
  assert_int_equal(used(&w), 0);
  part_close(&p);
  close_account(&w, a);
  world_end(&w);
}

static void B5_a_closed_tracker_cannot_be_configured(void **state) {
  struct world w;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  lethe_quota_shutdown(w.t);
  assert_int_equal(configure(&w, (struct lethe_quota_change){.set_max = true, .to.max = 4 * MIB}),
                   LETHE_ESHUTDOWN);
  world_end(&w);
}

static void A6_noop_every_claim_succeeds_and_nothing_is_counted(void **state) {
  struct world w;
  struct part p;
  struct lethe_quota_handle clone;
  uint64_t a;
  struct lethe_quota_wait wait;
  enum lethe_quota_level level;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  lethe_quota_member_delete(w.m);
  lethe_quota_put(w.t);
  assert_int_equal(lethe_quota_noop(&w.t, &w.memory.alloc), 0);
  assert_int_equal(lethe_quota_member_new(&w.m, w.t, w.loop, &part_ops, &w), 0);
  assert_true(lethe_quota_is_noop(w.t));
  a = account(&w, "a");
  part_open(&w, &p, a, 1);
  claim(&p, 1000 * (int64_t)MIB);
  claim(&p, INT64_MAX);
  lethe_quota_release(&p.h, 5);
  assert_int_equal(lethe_quota_claim_wait(&p.h, INT64_MAX, &wait, NULL), LETHE_OK);
  lethe_quota_handle_clone(&clone, &p.h);
  assert_int_equal(lethe_quota_claim(&clone, 7), LETHE_OK);
  assert_int_equal(lethe_quota_handle_close(&clone), 0);
  assert_int_equal(used(&w), 0);
  assert_int_equal(lethe_quota_handle_used(&p.h), 0);
  assert_int_equal(lethe_quota_handle_state(&p.h), LETHE_OK);
  assert_true(lethe_quota_pressure(w.t, &level) == 0 && level == LETHE_QUOTA_NORMAL);
  assert_int_equal(lethe_quota_account_upgrade(w.t, a), LETHE_OK);
  assert_int_equal(lethe_quota_account_add_parent(w.t, a, a), LETHE_OK);
  assert_int_equal(by_hand(&w, 1000), 0);
  struct lethe_quota_change limits = {.set_max = true, .to.max = 4 * MIB}, nothing = {0};
  const char *why = NULL;
  assert_int_equal(lethe_quota_configure(w.t, &nothing, &why), LETHE_OK);
  assert_int_equal(lethe_quota_configure(w.t, &limits, &why), LETHE_ELIMITS);
  assert_string_equal(why, "a noop tracker has no limits");
  assert_int_equal(info(&w, a).used, 0);
  lethe_quota_handle_destroy(&p.h);
  claim(&p, 1);
  part_close(&p);
  close_account(&w, a);
  close_account(&w, a);
  world_end(&w);
}

static void stats_and_peak_follow_the_claims(void **state) {
  struct world w;
  struct part p;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account(&w, "a");
  part_holding(&w, &p, a, 1, 3 * MIB);
  lethe_quota_release(&p.h, 3 * MIB);
  struct lethe_quota_stats s = stats(&w);
  assert_int_equal(s.used, 4096); /* what a release leaves in the cache */
  assert_int_equal(s.peak, 3 * MIB + 16384);
  assert_int_equal(s.accounts, 1);
  assert_int_equal(s.participants, 1);
  assert_int_equal(info(&w, a).peak, 3 * MIB + 16384);
  assert_int_equal(s.reclaims + s.victims + s.stuck + s.policy_failures, 0);
  assert_true(s.untracked > 0);
  part_close(&p);
  close_account(&w, a);
  assert_int_equal(stats(&w).accounts, 0);
  world_end(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(B1_each_limit_is_auto_or_explicit),
      cmocka_unit_test(B2_low_water_is_three_quarters_in_single_precision),
      cmocka_unit_test(B3_limits_that_do_not_fit_are_refused_with_a_reason),
      cmocka_unit_test(B3_below_a_mebibyte_low_water_only_lies_below_max),
      cmocka_unit_test(B2_the_greatest_max_counts_and_never_reclaims),
      cmocka_unit_test(B4_auto_max_follows_the_memory),
      cmocka_unit_test(B5_configure_is_all_or_nothing),
      cmocka_unit_test(B5_configure_of_max_alone_keeps_an_explicit_low_water),
      cmocka_unit_test(B5_auto_is_computed_once),
      cmocka_unit_test(B5_a_lowered_max_starts_a_pass),
      cmocka_unit_test(B5_a_closed_tracker_cannot_be_configured),
      cmocka_unit_test(A6_noop_every_claim_succeeds_and_nothing_is_counted),
      cmocka_unit_test(stats_and_peak_follow_the_claims),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
