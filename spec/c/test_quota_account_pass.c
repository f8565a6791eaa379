/* SPDX-License-Identifier: MIT
 * The quota tracker without Lua: passes over one account, which a claim past its max starts. */
#include "quota_world.h"

static void a_refused_claim_starts_a_pass_over_its_tree(void **state) {
  struct world w;
  struct part p, q, other;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t top =
      account_with(&w, 0, (struct lethe_quota_account_config){.name = "top", .max = 4 * MIB});
  uint64_t a = child(&w, top), b = child(&w, top), c = account(&w, "c");
  part_holding(&w, &other, c, 0, 5 * MIB);
  part_holding(&w, &p, a, 1, 2 * MIB);
  part_holding(&w, &q, b, 2, 1 * MIB);
  assert_int_equal(lethe_quota_claim(&q.h, 2 * MIB), LETHE_ELIMIT);
  world_turn(&w);
  const struct lethe_quota_event *e = event_of(&w, LETHE_QUOTA_RECLAIM_START, 0);
  assert_int_equal(e->reason, LETHE_QUOTA_BY_ACCOUNT);
  assert_int_equal(e->account, top);
  assert_string_equal(e->name, "top");
  assert_int_equal(e->goal, 1 * MIB);
  assert_int_equal(p.asked, 1);
  assert_int_equal(p.request.reason, LETHE_QUOTA_BY_ACCOUNT);
  assert_int_equal(p.request.goal, 1 * MIB);
  assert_int_equal(q.asked, 0);
  assert_int_equal(other.asked + other.ages, 0);
  assert_int_equal(event_of(&w, LETHE_QUOTA_RECLAIM_STOP, 0)->outcome, LETHE_QUOTA_COMPLETE);
  assert_int_equal(lethe_quota_claim(&q.h, 2 * MIB), LETHE_OK);
  part_close(&p);
  part_close(&q);
  part_close(&other);
  close_account(&w, a);
  close_account(&w, b);
  close_account(&w, c);
  close_account(&w, top);
  world_end(&w);
}

static void a_claim_above_the_max_itself_starts_none(void **state) {
  struct world w;
  struct part p;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account_with(&w, 0, (struct lethe_quota_account_config){.max = MIB});
  part_holding(&w, &p, a, 1, 1000);
  assert_int_equal(lethe_quota_claim(&p.h, MIB + 1), LETHE_ELIMIT);
  world_turn(&w);
  assert_int_equal(stats(&w).reclaims, 0);
  part_close(&p);
  close_account(&w, a);
  world_end(&w);
}

static void a_refusal_that_is_settled_meanwhile_starts_none(void **state) {
  struct world w;
  struct part p;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account_with(&w, 0, (struct lethe_quota_account_config){.max = MIB});
  part_holding(&w, &p, a, 1, MIB);
  assert_int_equal(lethe_quota_claim(&p.h, 1000), LETHE_ELIMIT);
  lethe_quota_release(&p.h, MIB);
  world_turn(&w);
  assert_int_equal(p.asked, 0);
  assert_int_equal(stats(&w).reclaims, 0);
  part_close(&p);
  close_account(&w, a);
  world_end(&w);
}

static void an_account_pass_can_get_stuck(void **state) {
  struct world w;
  struct part p;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account_with(&w, 0, (struct lethe_quota_account_config){.max = MIB});
  part_holding(&w, &p, a, 1, MIB);
  p.manner = STAYS;
  assert_int_equal(lethe_quota_claim(&p.h, 1000), LETHE_ELIMIT);
  world_turn(&w);
  assert_int_equal(event_of(&w, LETHE_QUOTA_RECLAIM_STOP, 0)->outcome, LETHE_QUOTA_IS_STUCK);
  assert_int_equal(event_of(&w, LETHE_QUOTA_STUCK, 0)->account, a);
  assert_int_equal(p.asked, 1);
  assert_int_equal(lethe_quota_claim(&p.h, 1000), LETHE_ELIMIT); /* every refusal tries anew */
  world_turn(&w);
  assert_int_equal(p.asked, 2);
  part_close(&p);
  close_account(&w, a);
  world_end(&w);
}

static void refused_claims_do_not_keep_the_tracker_from_its_own_pass(void **state) {
  struct world w;
  struct part p, q;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account_with(&w, 0, (struct lethe_quota_account_config){.max = MIB});
  uint64_t b = account(&w, "b");
  part_holding(&w, &p, a, 9, MIB);
  p.manner = LATER;
  part_holding(&w, &q, b, 1, 18 * MIB);
  assert_int_equal(lethe_quota_claim(&p.h, 1000), LETHE_ELIMIT);
  world_turn(&w);
  claim(&q, 3 * MIB);
  assert_int_equal(lethe_quota_claim(&p.h, 1000),
                   LETHE_ELIMIT); /* the next refusal is in already */
  lethe_quota_answer(p.call, true);
  world_turn(&w);
  assert_int_equal(q.asked, 1); /* before the account's turn comes again */
  lethe_quota_answer(p.call, true);
  part_close(&p);
  part_close(&q);
  close_account(&w, a);
  close_account(&w, b);
  world_end(&w);
}

static void who_fell_out_of_the_scope_is_left_alone(void **state) {
  struct world w;
  struct part r, p, q;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t root = account_with(&w, 0, (struct lethe_quota_account_config){.max = 4 * MIB});
  uint64_t mid = child(&w, root), leaf = child(&w, mid);
  part_holding(&w, &r, root, 9, 2 * MIB);
  part_holding(&w, &p, mid, 1, 1 * MIB);
  part_holding(&w, &q, leaf, 5, 1 * MIB);
  r.manner = q.manner = STAYS;
  q.gives = 1000;
  assert_int_equal(lethe_quota_claim(&r.h, 3 * MIB), LETHE_ELIMIT);
  world_turn(&w);
  assert_int_equal(p.asked, 1);
  assert_int_equal(q.asked, 1); /* with mid, which was all that led from root to it */
  assert_int_equal(r.asked, 1);
  assert_true(lives(&w, leaf));
  assert_int_equal(info(&w, root).children_used, 0);
  part_close(&r);
  part_close(&p);
  part_close(&q);
  close_account(&w, leaf);
  close_account(&w, mid);
  close_account(&w, root);
  world_end(&w);
}

static void newcomers_enter_an_account_pass(void **state) {
  struct world w;
  struct part p, q;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t top = account_with(&w, 0, (struct lethe_quota_account_config){.max = 4 * MIB});
  uint64_t a = child(&w, top);
  part_holding(&w, &p, a, 1, 4 * MIB);
  p.manner = LATER;
  p.gives = 2 * MIB;
  assert_int_equal(lethe_quota_claim(&p.h, 3 * MIB), LETHE_ELIMIT);
  world_turn(&w);
  uint64_t b = child(&w, top); /* it was not there when the tree was walked */
  part_holding(&w, &q, b, 2, 2 * MIB);
  p.manner = STAYS;
  lethe_quota_answer(p.call, true);
  world_turn(&w);
  assert_int_equal(p.asked, 3); /* gave all in two, and then nothing */
  assert_int_equal(q.asked, 1);
  part_close(&p);
  part_close(&q);
  close_account(&w, a);
  close_account(&w, b);
  close_account(&w, top);
  world_end(&w);
}

static struct part *others;

/* The walk stands on the next one, whose record a stranger gets. */
static void the_next_one_leaves(struct part *p) {
  struct part *next = p - 1;
  uint64_t a = lethe_quota_handle_account(&others[4].h);
  part_close(next);
  part_open(p->w, next, a, 5);
}

static void a_walk_goes_on_when_the_next_one_leaves(void **state) {
  struct world w;
  struct part p[5]; /* the latest comes first */
  (void)state;
  others = p;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account_with(&w, 0, (struct lethe_quota_account_config){.max = 4 * MIB});
  uint64_t b = account(&w, "stranger");
  part_holding(&w, &p[4], b, 1, 1000);
  for (int i = 0; i < 4; i++) part_holding(&w, &p[i], a, 10 + i, MIB);
  for (int i = 0; i < 4; i++) p[i].manner = STAYS;
  p[3].on_age = the_next_one_leaves;
  assert_int_equal(lethe_quota_claim(&p[1].h, 2 * MIB), LETHE_ELIMIT);
  world_turn(&w);
  assert_int_equal(p[3].ages, 1);
  assert_int_equal(p[2].ages + p[4].ages, 0); /* not in the scope */
  assert_int_equal(p[1].ages, 1);
  assert_int_equal(p[0].ages, 1);
  for (int i = 0; i < 5; i++) part_close(&p[i]);
  close_account(&w, a);
  close_account(&w, b);
  world_end(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_refused_claim_starts_a_pass_over_its_tree),
      cmocka_unit_test(a_claim_above_the_max_itself_starts_none),
      cmocka_unit_test(a_refusal_that_is_settled_meanwhile_starts_none),
      cmocka_unit_test(an_account_pass_can_get_stuck),
      cmocka_unit_test(refused_claims_do_not_keep_the_tracker_from_its_own_pass),
      cmocka_unit_test(who_fell_out_of_the_scope_is_left_alone),
      cmocka_unit_test(newcomers_enter_an_account_pass),
      cmocka_unit_test(a_walk_goes_on_when_the_next_one_leaves),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
