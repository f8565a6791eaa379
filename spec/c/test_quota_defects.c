/* SPDX-License-Identifier: MIT
 * The quota tracker without Lua: the defects of its model (rows X of its sheet), each with the
 * scenario that showed it there. X7, a parent of another tracker, is refused by whoever turns
 * objects into ids. */
#include "quota_world.h"

static void X1_idle_participants_with_full_caches_do_not_poison(void **state) {
  enum { N = 1281 };
  struct world w;
  static struct part p[N];
  struct part q;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account(&w, "idle"), b = account(&w, "busy");
  for (int i = 0; i < N; i++) part_open(&w, &p[i], a, NAN);
  part_holding(&w, &q, b, 1, 20 * MIB);
  world_turn(&w);
  assert_int_equal(stats(&w).stuck, 0);
  assert_int_equal(used(&w), 0); /* the caches went first, and then the one that holds something */
  for (int i = 0; i < N; i++) assert_int_equal(p[i].asked, 0);
  claim(&p[7], 1000);
  uint64_t c = account(&w, "new"); /* everything works on */
  close_account(&w, c);
  world_check(&w);
  for (int i = 0; i < N; i++) part_close(&p[i]);
  part_close(&q);
  close_account(&w, a);
  close_account(&w, b);
  world_end(&w);
}

static void X2_newcomers_during_a_slow_reclaim_enter_the_pass(void **state) {
  struct world w;
  struct part slow, idle, newcomer;
  (void)state;
  world_begin(&w, 20 * MIB, 15 * MIB);
  uint64_t a = account(&w, "slow"), b = account(&w, "idle"), c;
  part_holding(&w, &slow, a, 1, 21 * MIB);
  part_open(&w, &idle, b, NAN);
  slow.manner = LATER;
  world_turn(&w);
  assert_non_null(slow.call);
  c = account(&w, "newcomer");
  part_holding(&w, &newcomer, c, 5, 16 * MIB); /* above low water by itself */
  idle.says = 1;                               /* and one that was idle at the scan wakes up */
  idle.age = 4;
  claim(&idle, 16 * MIB);
  lethe_quota_answer(slow.call, false);
  world_turn(&w);
  assert_int_equal(idle.asked, 1);
  assert_int_equal(newcomer.asked, 1);
  assert_int_equal(stats(&w).stuck, 0);
  assert_int_equal(stats(&w).reclaims, 1);
  assert_int_equal(event_of(&w, LETHE_QUOTA_RECLAIM_STOP, 0)->outcome, LETHE_QUOTA_COMPLETE);
  assert_int_equal(used(&w), 0);
  part_close(&slow);
  part_close(&idle);
  part_close(&newcomer);
  close_account(&w, a);
  close_account(&w, b);
  close_account(&w, c);
  world_end(&w);
}

/* In C there is no raising; the fault point fails the callback before it is called. */
static void X3_a_callback_that_fails_at_once_ends_only_its_participant(void **state) {
#ifdef LETHE_FAULTS
  for (uint64_t n = 1; n <= 4; n++) { /* two ages, two requests */
    struct world w;
    struct part p, q;
    world_begin(&w, 20 * MIB, 15 * MIB);
    uint64_t a = account(&w, "a"), b = account(&w, "b");
    part_holding(&w, &p, a, 1, 16 * MIB);
    part_holding(&w, &q, b, 2, 16 * MIB);
    lethe_fault_arm(LETHE_FAULT_CALLBACK, n);
    world_turn(&w);
    lethe_fault_arm(LETHE_FAULT_CALLBACK, 0);
    assert_int_equal(stats(&w).stuck, 0);
    assert_true(used(&w) <= 15 * MIB);
    uint64_t c = account(&w, "c");
    struct part r;
    part_holding(&w, &r, c, 3, 1000 * (int64_t)MIB); /* the quota is not off */
    world_turn(&w);
    assert_int_equal(r.asked, 1);
    part_close(&p);
    part_close(&q);
    part_close(&r);
    close_account(&w, a);
    close_account(&w, b);
    close_account(&w, c);
    world_end(&w);
  }
#endif
  (void)state;
}

static void X4_an_over_release_costs_only_who_did_it(void **state) {
  struct world w;
  struct part p, q;
  (void)state;
  world_begin(&w, 20 * MIB, 15 * MIB);
  uint64_t a = account(&w, "a"), b = account(&w, "b");
  part_holding(&w, &p, a, 1, 10 * MIB);
  part_open(&w, &q, b, 2);
  int64_t before = used(&w) - info(&w, b).used;
  lethe_quota_release(&q.h, 8 * MIB);
  assert_int_equal(used(&w) - info(&w, b).used, before);
  assert_int_equal(event_of(&w, LETHE_QUOTA_OVER_RELEASE, 0)->account, b);
  world_check(&w);
  part_close(&p);
  part_close(&q);
  close_account(&w, a);
  close_account(&w, b);
  world_end(&w);
}

static void X5_a_stuck_reclaimer_does_not_stop_the_others(void **state) {
  struct world w;
  struct part stuck, p;
  (void)state;
  world_begin(&w, 20 * MIB, 15 * MIB);
  uint64_t a = account(&w, "stuck"), b = account(&w, "b");
  part_holding(&w, &stuck, a, 1, 16 * MIB);
  part_holding(&w, &p, b, 2, 16 * MIB);
  stuck.manner = NEVER;
  world_turn(&w);
  assert_int_equal(p.asked, 0);
  lethe_loop_advance(w.loop, 5);
  assert_int_equal(p.asked, 1);
  assert_int_equal(used(&w), 0);
  lethe_quota_answer(stuck.call, false);
  part_close(&stuck);
  part_close(&p);
  close_account(&w, a);
  close_account(&w, b);
  world_end(&w);
}

static void X6_idle_caches_do_not_thrash(void **state) {
  enum { N = 2000 };
  struct world w;
  static struct part p[N];
  struct part q;
  (void)state;
  world_begin(&w, 20 * MIB, 15 * MIB);
  uint64_t a = account(&w, "idle"), b = account(&w, "real");
  for (int i = 0; i < N; i++) part_open(&w, &p[i], a, NAN);
  part_open(&w, &q, b, 1);
  world_turn(&w);
  uint64_t passes = stats(&w).reclaims;
  for (int i = 0; i < 1000; i++) {
    claim(&q, 1000); /* real claims, and nobody is evicted to pay for idle caches */
    world_turn(&w);
  }
  assert_true(stats(&w).reclaims <= passes + 1);
  assert_int_equal(q.asked, 0);
  assert_int_equal(lethe_quota_handle_state(&q.h), LETHE_OK);
  for (int i = 0; i < N; i++) part_close(&p[i]);
  part_close(&q);
  close_account(&w, a);
  close_account(&w, b);
  world_end(&w);
}

static void X8_one_byte_does_not_cost_an_account(void **state) {
  struct world w;
  struct part p, sibling;
  (void)state;
  world_begin(&w, 20 * MIB, 15 * MIB);
  uint64_t a = account(&w, "a");
  part_holding(&w, &p, a, 1, 12 * MIB);
  part_holding(&w, &sibling, a, NAN, 1000);
  p.manner = sibling.manner = STAYS;
  p.gives = 1;
  by_hand(&w, 1); /* caches */
  assert_int_equal(by_hand(&w, 1), 1);
  assert_true(lives(&w, a));
  assert_int_equal(lethe_quota_handle_used(&p.h), 12 * MIB - 1);
  assert_int_equal(lethe_quota_handle_used(&sibling.h), 1000);
  part_close(&p);
  part_close(&sibling);
  close_account(&w, a);
  world_end(&w);
}

static void X9_condemned_and_not_freed(void **state) {
  struct world w;
  struct part p;
  (void)state;
  world_begin(&w, 20 * MIB, 15 * MIB);
  uint64_t a = account(&w, "a");
  part_holding(&w, &p, a, 1, 21 * MIB);
  world_turn(&w);
  assert_int_equal(used(&w), 0);
  assert_int_equal(stats(&w).condemned, 21 * MIB);
  assert_int_equal(p.collapsed, 1);
  lethe_loop_advance(w.loop, 5);
  assert_int_equal(event_of(&w, LETHE_QUOTA_NOT_FREED, 0)->bytes, 21 * MIB);
  lethe_quota_buried(w.t, p.id);
  assert_int_equal(stats(&w).condemned, 0);
  part_close(&p);
  close_account(&w, a);
  world_end(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(X1_idle_participants_with_full_caches_do_not_poison),
      cmocka_unit_test(X2_newcomers_during_a_slow_reclaim_enter_the_pass),
      cmocka_unit_test(X3_a_callback_that_fails_at_once_ends_only_its_participant),
      cmocka_unit_test(X4_an_over_release_costs_only_who_did_it),
      cmocka_unit_test(X5_a_stuck_reclaimer_does_not_stop_the_others),
      cmocka_unit_test(X6_idle_caches_do_not_thrash),
      cmocka_unit_test(X8_one_byte_does_not_cost_an_account),
      cmocka_unit_test(X9_condemned_and_not_freed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
