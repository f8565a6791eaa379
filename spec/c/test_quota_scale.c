/* SPDX-License-Identifier: MIT
 * The quota tracker without Lua: many accounts, many participants in one, large trees. Whatever the
 * size, no lock hold of a pass looks at more than 64 accounts and participants. */
#include "quota_world.h"

#include <time.h>

struct crowd {
  struct world w;
  uint64_t *a;
  struct lethe_quota_handle *h;
  size_t n;
};

/* The older the earlier registered; everybody collapses but who has an odd number. */
static int crowd_oldest(void *member_ud, uint64_t id, void *ud, double *age) {
  (void)member_ud;
  (void)ud;
  *age = (double)(uint32_t)id;
  return 1;
}

static void crowd_reclaim(void *member_ud, uint64_t id, void *ud,
                          const struct lethe_quota_request *request,
                          struct lethe_quota_call *call) {
  struct crowd *c = member_ud;
  (void)id;
  (void)ud;
  (void)request;
  c->w.calls++;
  lethe_quota_answer(call, false);
}

static const struct lethe_quota_member_ops crowd_ops = {crowd_oldest, crowd_reclaim, NULL};

static void crowd_begin(struct crowd *c, size_t n, int64_t max) {
  memset(c, 0, sizeof *c);
  test_alloc_init(&c->w.memory);
  assert_int_equal(lethe_loop_new(&c->w.loop, &c->w.memory.alloc, LETHE_CLOCK_VIRTUAL, NULL), 0);
  world_tracker(&c->w, max, -1);
  assert_int_equal(lethe_quota_member_new(&c->w.m, c->w.t, c->w.loop, &crowd_ops, c), 0);
  c->n = n;
  c->a = calloc(n, sizeof *c->a);
  c->h = calloc(n, sizeof *c->h);
}

static void crowd_join(struct crowd *c, size_t i, uint64_t a, int64_t n) {
  uint64_t id;
  c->a[i] = a;
  assert_int_equal(lethe_quota_handle_open(&c->h[i], c->w.m, a, NULL, false, &id), 0);
  assert_int_equal(lethe_quota_claim(&c->h[i], n), 0);
}

static void crowd_end(struct crowd *c, bool own_accounts) {
  for (size_t i = 0; i < c->n; i++) lethe_quota_handle_close(&c->h[i]);
  for (size_t i = 0; own_accounts && i < c->n; i++) close_account(&c->w, c->a[i]);
  assert_int_equal(used(&c->w), 0);
  world_end(&c->w);
  free(c->a);
  free(c->h);
}

static void check_holds(struct crowd *c) {
  struct lethe_quota_stats s = stats(&c->w);
  printf("  %u records, %.0f us in the longest hold of a pass\n", s.longest_hold,
         s.longest_hold_time * 1e6);
  assert_true(s.longest_hold > 0);
  assert_true(s.longest_hold <= LETHE_QUOTA_SLICE);
}

static void a_million_accounts(void **state) {
  const size_t n = 1000000;
  struct crowd c;
  (void)state;
  crowd_begin(&c, n, 1 << 30);
  for (size_t i = 0; i < n; i++) crowd_join(&c, i, account(&c.w, NULL), 100);
  int64_t caches = used(&c.w) - (int64_t)n * 100;
  assert_true(caches > 0);
  assert_int_equal(by_hand(&c.w, caches + 100 * 1000), caches + 100 * 1000);
  assert_int_equal(c.w.calls, 1000);
  for (size_t i = 0; i < 1002; i++) assert_int_equal(lives(&c.w, c.a[i]), i >= 1000);
  assert_int_equal(used(&c.w), (int64_t)n * 100 - 100 * 1000);
  check_holds(&c);
  crowd_end(&c, true);
}

static void a_hundred_thousand_in_one_account(void **state) {
  const size_t n = 100000;
  struct crowd c;
  (void)state;
  crowd_begin(&c, n, 1 << 30);
  uint64_t a = account(&c.w, "crowded");
  for (size_t i = 0; i < n; i++) crowd_join(&c, i, a, 100);
  by_hand(&c.w, 1 << 30);
  assert_int_equal(c.w.calls, n);
  assert_false(lives(&c.w, a));
  assert_int_equal(stats(&c.w).condemned, n * 100);
  check_holds(&c);
  close_account(&c.w, a);
  crowd_end(&c, false);
}

/* A root with many children, a chain below one of them, and a claim that is refused at the root. */
static void a_large_tree(void **state) {
  const size_t n = 100000, chain = 300;
  struct crowd c;
  uint64_t root;
  (void)state;
  crowd_begin(&c, n, 1 << 30);
  root = account_with(&c.w, 0, (struct lethe_quota_account_config){.max = 100 * (int64_t)n});
  for (size_t i = 0; i < n; i++) {
    uint64_t parent = i > 0 && i < chain ? c.a[i - 1] : i % 7 == 0 && i > n / 2 ? c.a[i / 2] : root;
    c.a[i] = child(&c.w, parent);
  }
  for (size_t i = 0; i < n; i++) crowd_join(&c, i, c.a[i], 100);
  assert_int_equal(lethe_quota_claim(&c.h[n - 1], 500), LETHE_ELIMIT);
  world_turn(&c.w);
  assert_int_equal(event_of(&c.w, LETHE_QUOTA_RECLAIM_STOP, 0)->outcome, LETHE_QUOTA_COMPLETE);
  assert_int_equal(stats(&c.w).victims, 1);
  assert_int_equal(c.w.calls, chain); /* the first takes the chain below it along */
  assert_int_equal(lethe_quota_claim(&c.h[n - 1], 500), LETHE_OK);
  check_holds(&c);
  assert_int_equal(lethe_quota_account_upgrade(c.w.t, root), 0);
  by_hand(&c.w, 1 << 30);
  assert_int_equal(used(&c.w), 0);
  check_holds(&c);
  close_account(&c.w, root);
  close_account(&c.w, root);
  crowd_end(&c, true);
}

static void idle_caches_of_many_handles_after_a_pass(void **state) {
  const size_t n = 100000;
  struct crowd c;
  (void)state;
  crowd_begin(&c, n, 64 * MIB);
  uint64_t a = account(&c.w, NULL);
  for (size_t i = 0; i < n; i++) crowd_join(&c, i, a, 0);
  int64_t before = used(&c.w);
  by_hand(&c.w, 1);
  assert_true(used(&c.w) * 100 <= 64 * MIB);
  printf("  caches of %zu idle handles: %lld bytes, after a pass %lld\n", n, (long long)before,
         (long long)used(&c.w));
  check_holds(&c);
  close_account(&c.w, a);
  crowd_end(&c, false);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_million_accounts),
      cmocka_unit_test(a_hundred_thousand_in_one_account),
      cmocka_unit_test(a_large_tree),
      cmocka_unit_test(idle_caches_of_many_handles_after_a_pass),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
