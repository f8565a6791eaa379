/* SPDX-License-Identifier: MIT
 * The quota tracker without Lua: passes (rows F of its sheet), partial reclaim, deadlines,
 * reserves, and passes by hand. */
#include "quota_world.h"

/* ---- F --------------------------------------------------------------------------------------- */

static void F1_only_claims_that_reach_the_tracker_wake(void **state) {
  struct many m;
  (void)state;
  many_begin(&m);
  struct part *p = many_add(&m, 1, 20 * MIB - 16384);
  assert_int_equal(used(&m.w), 20 * MIB);
  world_turn(&m.w);
  assert_int_equal(stats(&m.w).reclaims, 0); /* at max is not above it */
  claim(p, 16000);                           /* cached */
  world_turn(&m.w);
  assert_int_equal(stats(&m.w).reclaims, 0);
  claim(p, 1000);
  claim(p, 1000); /* two wakes are one pass */
  world_turn(&m.w);
  assert_int_equal(stats(&m.w).reclaims, 1);
  many_end(&m);
}

static void F1_registering_wakes_too(void **state) {
  struct many m;
  (void)state;
  many_begin(&m);
  many_add(&m, 1, 20 * MIB - 16384);
  many_add(&m, 2, 0); /* its cache is one too many */
  world_turn(&m.w);
  assert_int_equal(stats(&m.w).reclaims, 1);
  many_end(&m);
}

static void F2_a_pass_ends_at_low_water(void **state) {
  struct many m;
  (void)state;
  many_begin(&m);
  for (int i = 0; i < 5; i++) many_add(&m, i, 5 * MIB);
  world_turn(&m.w);
  assert_int_equal(used(&m.w), 15 * MIB); /* inclusive: the third stays */
  assert_false(lives(&m.w, m.a[0]));
  assert_false(lives(&m.w, m.a[1]));
  assert_true(lives(&m.w, m.a[2]));
  assert_int_equal(many_stop(&m, 0)->outcome, LETHE_QUOTA_COMPLETE);
  assert_int_equal(many_stop(&m, 0)->victims, 2);
  assert_int_equal(many_stop(&m, 0)->bytes, 10 * MIB + 5 * 16384); /* with the caches called back */
  claim(&m.p[3], 3 * MIB); /* between the two nothing starts */
  world_turn(&m.w);
  assert_int_equal(stats(&m.w).reclaims, 1);
  many_end(&m);
}

static void F3_lost_quiet_and_lying_participants(void **state) {
  struct many m;
  (void)state;
  many_begin(&m);
  many_add(&m, 1, 7 * MIB);
  struct part *lost = many_add(&m, 0, 1 * MIB), *quiet = many_add(&m, NAN, 16384);
  struct part *liar = many_add(&m, NAN, 13 * MIB);
  lost->says = -1;
  world_turn(&m.w);
  assert_int_equal(lost->asked, 0);
  assert_int_equal(lethe_quota_handle_state(&lost->h), LETHE_EPARTICIPANT);
  assert_true(lives(&m.w, m.a[1]));
  assert_int_equal(quiet->asked, 0);
  assert_int_equal(liar->asked, 1); /* before every real age */
  assert_false(lives(&m.w, m.a[3]));
  assert_true(lives(&m.w, m.a[0]));
  many_end(&m);
}

static void F3_one_cache_for_each_handle_is_plausible(void **state) {
  struct many m;
  struct lethe_quota_handle clone;
  (void)state;
  many_begin(&m);
  struct part *p = many_add(&m, NAN, 0);
  lethe_quota_handle_clone(&clone, &p->h);
  claim(p, 32768);
  by_hand(&m.w, 10 * MIB);
  assert_int_equal(p->asked, 0);
  claim(p, 1);
  by_hand(&m.w, 10 * MIB);
  assert_int_equal(p->asked, 1);
  lethe_quota_handle_close(&clone);
  many_end(&m);
}

static void F4_equal_ages_go_by_account_id(void **state) {
  struct many m;
  (void)state;
  many_begin(&m);
  for (int i = 0; i < 5; i++) many_add(&m, 7, 5 * MIB);
  world_turn(&m.w);
  for (int i = 0; i < 5; i++) assert_int_equal(lives(&m.w, m.a[i]), i >= 2);
  many_end(&m);
}

static void F5_the_victim_set_is_everything_below(void **state) {
  struct world w;
  struct part p[5];
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account(&w, "a"), b = child(&w, a), c = child(&w, b), d = child(&w, a);
  part_holding(&w, &p[0], a, 1, 10 * MIB);
  part_holding(&w, &p[1], a, NAN, 100); /* quiet ones go along */
  part_holding(&w, &p[2], b, 5, 5 * MIB);
  part_holding(&w, &p[3], c, 6, 5 * MIB);
  part_holding(&w, &p[4], d, 7, 5 * MIB);
  world_turn(&w);
  for (int i = 0; i < 5; i++) assert_int_equal(p[i].asked, 1);
  for (int i = 0; i < 5; i++) assert_int_equal(p[i].collapsed, 1);
  assert_true(!lives(&w, a) && !lives(&w, b) && !lives(&w, c) && !lives(&w, d));
  assert_int_equal(used(&w), 0);
  assert_int_equal(stats(&w).victims, 1);
  assert_int_equal(event_of(&w, LETHE_QUOTA_VICTIM, 0)->account, a);
  assert_int_equal(event_of(&w, LETHE_QUOTA_VICTIM, 0)->bytes, 25 * MIB + 100);
  for (int i = 0; i < 5; i++) part_close(&p[i]);
  close_account(&w, a);
  close_account(&w, b);
  close_account(&w, c);
  close_account(&w, d);
  world_end(&w);
}

static void F5_the_pass_waits_for_all_answers(void **state) {
  struct many m;
  (void)state;
  many_begin(&m);
  struct part *p = many_add(&m, 1, 12 * MIB), *q = many_add(&m, 2, 12 * MIB);
  p->manner = LATER;
  world_turn(&m.w);
  assert_non_null(p->call);
  assert_int_equal(q->asked, 0);
  lethe_loop_advance(m.w.loop, 4.9);
  assert_int_equal(used(&m.w), 24 * MIB);
  lethe_quota_answer(p->call, false);
  world_turn(&m.w);
  assert_int_equal(used(&m.w), 12 * MIB);
  assert_int_equal(q->asked, 0);
  many_end(&m);
}

static void F6_a_collapsed_account_is_gone_whether_its_memory_is_or_not(void **state) {
  struct many m;
  (void)state;
  many_begin(&m);
  struct part *p = many_add(&m, 1, 21 * MIB);
  world_turn(&m.w);
  assert_int_equal(used(&m.w), 0);
  assert_int_equal(stats(&m.w).condemned, 21 * MIB);
  assert_int_equal(lethe_quota_claim(&p->h, 1), LETHE_EACCOUNT);
  assert_int_equal(lethe_quota_account_upgrade(m.w.t, m.a[0]), LETHE_EACCOUNT);
  many_end(&m);
}

static void F7_an_empty_account_below_a_victim_is_closed(void **state) {
  struct world w;
  struct part p, q;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account(&w, "a"), empty = child(&w, a), c = child(&w, empty);
  part_holding(&w, &p, a, 1, 21 * MIB);
  part_holding(&w, &q, c, 2, 100);
  world_turn(&w);
  assert_true(!lives(&w, a) && !lives(&w, empty) && !lives(&w, c));
  part_close(&p);
  part_close(&q);
  close_account(&w, a);
  close_account(&w, empty);
  close_account(&w, c);
  world_end(&w);
}

static void F8_no_candidate_is_left_the_pass_is_stuck_and_the_tracker_works_on(void **state) {
  struct many m;
  (void)state;
  many_begin(&m);
  struct part *p = many_add(&m, 1, 21 * MIB);
  p->manner = STAYS;
  world_turn(&m.w);
  assert_int_equal(many_stop(&m, 0)->outcome, LETHE_QUOTA_IS_STUCK);
  assert_int_equal(stats(&m.w).stuck, 1);
  assert_int_equal(events_of(&m.w, LETHE_QUOTA_STUCK), 1);
  assert_int_equal(event_of(&m.w, LETHE_QUOTA_STUCK, 0)->goal, 6 * MIB);
  claim(p, 100);
  lethe_quota_release(&p->h, 100);
  assert_int_equal(p->asked, 1);
  p->manner = COLLAPSES;
  lethe_loop_advance(m.w.loop, 2);
  claim(p, 20000);
  world_turn(&m.w);
  assert_int_equal(used(&m.w), 0);
  many_end(&m);
}

static void F9_claims_go_on_during_a_pass(void **state) {
  struct many m;
  (void)state;
  many_begin(&m);
  struct part *p = many_add(&m, 1, 21 * MIB), *q = many_add(&m, 2, 1 * MIB);
  p->manner = LATER;
  world_turn(&m.w);
  claim(q, 30 * MIB);
  claim(q, 1);
  lethe_quota_release(&q->h, 30 * MIB + 1);
  assert_int_equal(q->h.cache, 0); /* nothing is cached meanwhile */
  assert_int_equal(used(&m.w), 22 * MIB);
  lethe_quota_answer(p->call, false);
  world_turn(&m.w);
  assert_int_equal(q->asked, 0);
  claim(q, 1);
  assert_int_equal(q->h.cache, 12288); /* and again after it */
  p = many_add(&m, 3, 21 * MIB);
  p->manner = LATER;
  world_turn(&m.w);
  assert_int_equal(many_add(&m, 4, 0)->h.cache, 0); /* nor by a newcomer */
  lethe_quota_answer(p->call, false);
  world_turn(&m.w);
  many_end(&m);
}

/* ---- caches first ---------------------------------------------------------------------------- */

static void a_pass_calls_caches_back_and_ends_if_that_was_enough(void **state) {
  enum { N = 200 };
  struct world w;
  static struct part p[N];
  struct part q;
  (void)state;
  world_begin(&w, 20 * MIB, 19 * MIB);
  uint64_t a = account(&w, "a");
  part_holding(&w, &q, a, 1, 18 * MIB);
  for (int i = 0; i < N; i++) part_open(&w, &p[i], a, 1);
  assert_true(used(&w) > 20 * MIB);
  world_turn(&w);
  assert_int_equal(used(&w), 18 * MIB);
  assert_int_equal(q.asked, 0);
  assert_int_equal(q.ages, 0); /* nobody was even asked how old */
  assert_int_equal(event_of(&w, LETHE_QUOTA_RECLAIM_STOP, 0)->outcome, LETHE_QUOTA_COMPLETE);
  assert_int_equal(event_of(&w, LETHE_QUOTA_RECLAIM_STOP, 0)->victims, 0);
  world_check(&w);
  for (int i = 0; i < N; i++) part_close(&p[i]);
  part_close(&q);
  close_account(&w, a);
  world_end(&w);
}

/* ---- partial --------------------------------------------------------------------------------- */

static void a_partial_victim_is_asked_again_only_if_it_gave_something(void **state) {
  struct many m;
  (void)state;
  many_begin(&m);
  struct part *p = many_add(&m, 1, 12 * MIB), *q = many_add(&m, 2, 12 * MIB);
  p->manner = q->manner = STAYS;
  p->gives = 1 * MIB;
  q->gives = 0;
  world_turn(&m.w);
  /* p gives 9 MiB, a MiB at a time, until low water is reached. */
  assert_int_equal(p->asked, 9);
  assert_int_equal(q->asked, 0);
  assert_int_equal(used(&m.w), 15 * MIB);
  assert_int_equal(many_stop(&m, 0)->victims, 9);
  assert_int_equal(p->request.goal, 1 * MIB);
  assert_int_equal(info(&m.w, m.a[0]).reclaims, 9);
  lethe_loop_advance(m.w.loop, 10);
  claim(q, 6 * MIB);
  p->gives = 0;
  world_turn(&m.w);
  assert_int_equal(p->asked, 10);
  assert_int_equal(q->asked, 1);
  assert_int_equal(many_stop(&m, 1)->outcome, LETHE_QUOTA_IS_STUCK);
  many_end(&m);
}

static void a_partial_victim_is_ranked_anew(void **state) {
  struct many m;
  (void)state;
  many_begin(&m);
  struct part *p = many_add(&m, 1, 12 * MIB), *q = many_add(&m, 2, 12 * MIB);
  p->manner = q->manner = STAYS;
  p->gives = q->gives = 2 * MIB;
  world_turn(&m.w);
  assert_int_equal(p->asked, 5);
  p->age = 3; /* what it has left is younger: the other one is first */
  claim(p, 7 * MIB);
  world_turn(&m.w);
  assert_int_equal(p->asked, 5);
  assert_int_equal(q->asked, 3);
  many_end(&m);
}

static void the_request_says_what_may_go(void **state) {
  struct many m;
  (void)state;
  many_begin(&m);
  struct part *p = many_add(&m, 1.5, 12 * MIB), *q = many_add(&m, 2.5, 12 * MIB);
  world_turn(&m.w);
  assert_int_equal(p->request.goal, 9 * MIB);
  assert_true(p->request.older_than == 2.5);
  assert_true(p->request.deadline == 5);
  assert_int_equal(p->request.reason, LETHE_QUOTA_BY_MAX);
  by_hand(&m.w, 100);
  assert_int_equal(q->request.goal, 100);
  assert_true(isnan(q->request.older_than));
  assert_int_equal(q->request.reason, LETHE_QUOTA_BY_HAND);
  many_end(&m);
}

static void an_account_stays_while_one_participant_stays(void **state) {
  struct world w;
  struct part p, q;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account(&w, "a");
  part_holding(&w, &p, a, 1, 12 * MIB);
  part_holding(&w, &q, a, 2, 12 * MIB);
  q.manner = STAYS;
  world_turn(&w);
  assert_true(lives(&w, a));
  assert_int_equal(used(&w), 12 * MIB);
  assert_int_equal(lethe_quota_handle_state(&p.h), LETHE_EPARTICIPANT);
  assert_int_equal(lethe_quota_handle_state(&q.h), LETHE_OK);
  assert_int_equal(info(&w, a).participants, 1);
  part_close(&p);
  part_close(&q);
  close_account(&w, a);
  world_end(&w);
}

static void who_destroyed_itself_and_stays_leaves_its_account_alive(void **state) {
  struct world w;
  struct part p;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account(&w, "a");
  part_holding(&w, &p, a, 1, 21 * MIB);
  p.manner = LATER;
  world_turn(&w);
  lethe_quota_handle_destroy(&p.h);
  lethe_quota_answer(p.call, true);
  world_turn(&w);
  assert_true(lives(&w, a));
  assert_int_equal(stats(&w).condemned, 0);
  assert_int_equal(event_of(&w, LETHE_QUOTA_VICTIM, 0)->bytes, 21 * MIB);
  part_close(&p);
  close_account(&w, a);
  world_end(&w);
}

/* ---- deadline -------------------------------------------------------------------------------- */

static void a_stuck_reclaimer_counts_as_collapsing_at_the_deadline(void **state) {
  struct many m;
  const char *why;
  struct lethe_quota_change c = {.set_deadline = true, .to.deadline = 0.5};
  (void)state;
  many_begin(&m);
  assert_int_equal(lethe_quota_configure(m.w.t, &c, &why), 0);
  struct part *p = many_add(&m, 1, 12 * MIB), *q = many_add(&m, 2, 12 * MIB);
  p->manner = NEVER;
  world_turn(&m.w);
  assert_true(p->request.deadline == 0.5);
  lethe_loop_advance(m.w.loop, 0.4);
  assert_true(lives(&m.w, m.a[0]));
  lethe_loop_advance(m.w.loop, 0.2);
  assert_false(lives(&m.w, m.a[0]));
  assert_int_equal(p->collapsed, 1);
  assert_int_equal(used(&m.w), 12 * MIB);
  assert_int_equal(stats(&m.w).reclaims, 1);
  lethe_quota_answer(p->call, true); /* too late */
  world_turn(&m.w);
  assert_false(lives(&m.w, m.a[0]));
  assert_int_equal(q->asked, 0);
  many_end(&m);
}

static void a_late_answer_does_not_disturb_the_next_victim(void **state) {
  struct many m;
  (void)state;
  many_begin(&m);
  struct part *p = many_add(&m, 1, 8 * MIB), *q = many_add(&m, 2, 8 * MIB),
              *r = many_add(&m, 3, 8 * MIB);
  p->manner = q->manner = NEVER;
  world_turn(&m.w);
  lethe_loop_advance(m.w.loop, 5);
  assert_non_null(q->call); /* 16 MiB are still above low water */
  lethe_quota_answer(p->call, true);
  world_turn(&m.w);
  assert_true(lives(&m.w, m.a[1]));
  lethe_quota_answer(q->call, true);
  world_turn(&m.w);
  assert_int_equal(r->asked, 1);
  assert_int_equal(used(&m.w), 8 * MIB);
  many_end(&m);
}

/* ---- reserves -------------------------------------------------------------------------------- */

static void a_reserve_protects_candidates_and_descendants(void **state) {
  struct world w;
  struct part p, q, r, s;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account(&w, "a");
  uint64_t kept = account_with(&w, a, (struct lethe_quota_account_config){.reserve = 3 * MIB});
  uint64_t over = account_with(&w, a, (struct lethe_quota_account_config){.reserve = 3 * MIB});
  uint64_t low = account_with(&w, 0, (struct lethe_quota_account_config){.reserve = 3 * MIB});
  part_holding(&w, &p, a, 5, 10 * MIB);
  part_holding(&w, &q, kept, 1, 3 * MIB); /* at its reserve, once caches are back */
  part_holding(&w, &r, over, 6, 3 * MIB + 1);
  part_holding(&w, &s, low, 2, 3 * MIB);
  claim(&s, 0);
  claim(&p, 2 * MIB);
  world_turn(&w);
  assert_int_equal(q.asked, 0);
  assert_int_equal(s.asked, 0);
  assert_true(lives(&w, kept) && lives(&w, low));
  assert_true(!lives(&w, a) && !lives(&w, over));
  assert_int_equal(used(&w), 6 * MIB);
  world_check(&w);
  by_hand(&w, 10 * MIB);
  assert_int_equal(used(&w), 6 * MIB);
  part_close(&p);
  part_close(&q);
  part_close(&r);
  part_close(&s);
  close_account(&w, a);
  close_account(&w, kept);
  close_account(&w, over);
  close_account(&w, low);
  world_end(&w);
}

/* ---- by hand --------------------------------------------------------------------------------- */

static void by_hand_without_a_goal_goes_down_to_low_water(void **state) {
  struct many m;
  (void)state;
  many_begin(&m);
  for (int i = 0; i < 3; i++) many_add(&m, i, 6 * MIB);
  int64_t caches = 3 * 16384;
  assert_int_equal(by_hand(&m.w, 0), 6 * MIB + caches);
  assert_int_equal(used(&m.w), 12 * MIB);
  assert_int_equal(many_stop(&m, 0)->outcome, LETHE_QUOTA_MANUAL);
  assert_int_equal(event_of(&m.w, LETHE_QUOTA_RECLAIM_START, 0)->reason, LETHE_QUOTA_BY_HAND);
  assert_int_equal(by_hand(&m.w, 0), 0); /* it is there */
  assert_int_equal(many_stop(&m, 1)->outcome, LETHE_QUOTA_MANUAL);
  many_end(&m);
}

static void by_hand_with_a_goal_ends_when_it_is_freed(void **state) {
  struct many m;
  (void)state;
  many_begin(&m);
  for (int i = 0; i < 4; i++) many_add(&m, i, MIB);
  assert_int_equal(by_hand(&m.w, 1), 4 * 16384); /* caches were enough */
  assert_int_equal(by_hand(&m.w, 2 * MIB), 2 * MIB);
  assert_int_equal(used(&m.w), 2 * MIB);
  m.p[2].manner = m.p[3].manner = STAYS;
  m.p[2].gives = 100;
  assert_int_equal(by_hand(&m.w, 150), 200); /* a victim's own releases count */
  assert_int_equal(m.p[2].asked, 2);
  m.p[2].gives = 0;
  assert_int_equal(by_hand(&m.w, 150), 0);
  assert_int_equal(many_stop(&m, 3)->outcome, LETHE_QUOTA_IS_STUCK);
  many_end(&m);
}

static void several_by_hand_are_served_in_order(void **state) {
  struct many m;
  struct by_hand h[3];
  (void)state;
  many_begin(&m);
  for (int i = 0; i < 3; i++) many_add(&m, i, 5 * MIB);
  for (int i = 0; i < 3; i++) by_hand_ask(&m.w, &h[i], 4 * MIB);
  world_turn(&m.w);
  for (int i = 0; i < 3; i++) assert_true(h[i].done && h[i].freed >= 5 * MIB);
  assert_int_equal(stats(&m.w).reclaims, 3);
  assert_int_equal(used(&m.w), 0);
  many_end(&m);
}

static void by_hand_without_anybody_to_ask(void **state) {
  struct many m;
  struct by_hand h;
  (void)state;
  many_begin(&m);
  lethe_quota_member_delete(m.w.m);
  m.w.m = NULL;
  by_hand_ask(&m.w, &h, 100);
  world_turn(&m.w);
  assert_true(h.done && h.freed == 0);
  lethe_quota_shutdown(m.w.t);
  by_hand_ask(&m.w, &h, 100);
  world_turn(&m.w);
  assert_true(h.done && h.freed == -1);
  many_end(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(F1_only_claims_that_reach_the_tracker_wake),
      cmocka_unit_test(F1_registering_wakes_too),
      cmocka_unit_test(F2_a_pass_ends_at_low_water),
      cmocka_unit_test(F3_lost_quiet_and_lying_participants),
      cmocka_unit_test(F3_one_cache_for_each_handle_is_plausible),
      cmocka_unit_test(F4_equal_ages_go_by_account_id),
      cmocka_unit_test(F5_the_victim_set_is_everything_below),
      cmocka_unit_test(F5_the_pass_waits_for_all_answers),
      cmocka_unit_test(F6_a_collapsed_account_is_gone_whether_its_memory_is_or_not),
      cmocka_unit_test(F7_an_empty_account_below_a_victim_is_closed),
      cmocka_unit_test(F8_no_candidate_is_left_the_pass_is_stuck_and_the_tracker_works_on),
      cmocka_unit_test(F9_claims_go_on_during_a_pass),
      cmocka_unit_test(a_pass_calls_caches_back_and_ends_if_that_was_enough),
      cmocka_unit_test(a_partial_victim_is_asked_again_only_if_it_gave_something),
      cmocka_unit_test(a_partial_victim_is_ranked_anew),
      cmocka_unit_test(the_request_says_what_may_go),
      cmocka_unit_test(an_account_stays_while_one_participant_stays),
      cmocka_unit_test(who_destroyed_itself_and_stays_leaves_its_account_alive),
      cmocka_unit_test(a_stuck_reclaimer_counts_as_collapsing_at_the_deadline),
      cmocka_unit_test(a_late_answer_does_not_disturb_the_next_victim),
      cmocka_unit_test(a_reserve_protects_candidates_and_descendants),
      cmocka_unit_test(by_hand_without_a_goal_goes_down_to_low_water),
      cmocka_unit_test(by_hand_with_a_goal_ends_when_it_is_freed),
      cmocka_unit_test(several_by_hand_are_served_in_order),
      cmocka_unit_test(by_hand_without_anybody_to_ask),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
