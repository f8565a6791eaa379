/* SPDX-License-Identifier: MIT
 * The quota tracker without Lua: members of several loops. A member belongs to the thread that made
 * it, so one that a short-lived thread made is reached by messages alone, and the test turns its
 * loop when it likes: what threads do to each other, step by step. The real ones are in
 * test_mt_quota.c. */
#include <pthread.h>

#include "quota_world.h"

/* A world, and a second member on a loop of its own, as if of another thread. */
struct two {
  struct world w;
  struct lethe_loop *loop;
  struct lethe_quota_member *m;
  uint64_t a, b; /* of the world's member, of the other */
  struct part p, q;
};

static void *join(void *ud) {
  struct two *t = ud;
  assert_int_equal(lethe_quota_member_new(&t->m, t->w.t, t->loop, &part_ops, &t->w), 0);
  return NULL;
}

static void join_from_elsewhere(struct two *t) {
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, join, t), 0);
  pthread_join(thread, NULL);
}

static void open_elsewhere(struct two *t, struct part *p, uint64_t a, double age, int64_t n) {
  *p = (struct part){.w = &t->w, .says = 1, .age = age};
  assert_int_equal(lethe_quota_handle_open(&p->h, t->m, a, p, false, &p->id), 0);
  claim(p, n);
}

static void two_begin(struct two *t) {
  memset(t, 0, sizeof *t);
  world_begin(&t->w, 20 * MIB, -1);
  assert_int_equal(lethe_loop_new(&t->loop, &t->w.memory.alloc, LETHE_CLOCK_VIRTUAL, NULL), 0);
  join_from_elsewhere(t);
  t->a = account(&t->w, "a");
  t->b = account(&t->w, "b");
  part_open(&t->w, &t->p, t->a, 2);
  open_elsewhere(t, &t->q, t->b, 1, 10 * MIB);
}

static void turn_other(struct two *t) {
  while (lethe_loop_ready(t->loop)) lethe_loop_turn(t->loop);
}

/* Until neither has anything to do. */
static void turn_both(struct two *t) {
  while (lethe_loop_ready(t->w.loop) || lethe_loop_ready(t->loop)) {
    world_turn(&t->w);
    turn_other(t);
  }
}

static void two_end(struct two *t) {
  part_close(&t->p);
  part_close(&t->q);
  close_account(&t->w, t->a);
  close_account(&t->w, t->b);
  assert_int_equal(used(&t->w), 0);
  turn_both(t);
  if (t->m) lethe_quota_member_delete(t->m);
  turn_other(t);
  lethe_loop_close(t->loop);
  lethe_loop_put(t->loop);
  world_end(&t->w);
}

/* ---- ages ------------------------------------------------------------------------------------ */

static void ages_come_by_message_and_the_pass_waits_a_little(void **state) {
  struct two t;
  (void)state;
  two_begin(&t);
  claim(&t.p, 11 * MIB);
  world_turn(&t.w);
  assert_int_equal(t.p.ages, 1);
  assert_int_equal(t.q.ages, 0);
  assert_int_equal(t.p.asked, 0);
  turn_other(&t);
  assert_int_equal(t.q.ages, 1);
  world_turn(&t.w); /* all have told: the older one is asked, over there */
  assert_int_equal(t.q.asked, 0);
  turn_other(&t);
  assert_int_equal(t.q.asked, 1);
  turn_both(&t);
  assert_int_equal(t.p.asked, 0);
  assert_int_equal(used(&t.w), 11 * MIB);
  assert_int_equal(t.q.collapsed, 1); /* word of it came by message too */
  two_end(&t);
}

static void who_does_not_answer_in_time_stands_as_last_told(void **state) {
  struct two t;
  (void)state;
  two_begin(&t);
  t.p.manner = LATER;
  claim(&t.p, 11 * MIB);
  world_turn(&t.w);
  lethe_loop_advance(t.w.loop, 0.04);
  assert_int_equal(t.p.asked, 0);
  lethe_loop_advance(t.w.loop, 0.02);
  assert_int_equal(t.p.asked, 1); /* the other one never told an age: no candidate */
  turn_other(&t);
  assert_int_equal(t.q.ages, 1); /* the answer that came too late is kept */
  lethe_quota_answer(t.p.call, false);
  world_turn(&t.w);
  assert_int_equal(used(&t.w), 10 * MIB);
  struct part r;
  uint64_t c = account(&t.w, "c");
  part_holding(&t.w, &r, c, 2, 11 * MIB);
  world_turn(&t.w);
  lethe_loop_advance(t.w.loop, 0.1);
  assert_int_equal(r.asked, 0); /* the other one is older, by what it told before */
  turn_both(&t);
  assert_int_equal(t.q.asked, 1);
  part_close(&r);
  close_account(&t.w, c);
  two_end(&t);
}

static void the_other_leaves(struct part *p);
static struct two *leaving;

static void who_leaves_without_an_answer_is_not_waited_for(void **state) {
  struct two t;
  (void)state;
  two_begin(&t);
  leaving = &t;
  claim(&t.p, 11 * MIB);
  t.p.manner = STAYS;
  world_turn(&t.w);
  claim(&t.p, 10 * MIB);
  assert_int_equal(t.p.asked, 0);
  the_other_leaves(NULL);
  world_turn(&t.w); /* at once */
  assert_int_equal(t.p.asked, 1);
  two_end(&t);
}

static void a_late_answer_serves_the_next_pass(void **state) {
  struct two t;
  struct by_hand h[2];
  (void)state;
  two_begin(&t);
  by_hand_ask(&t.w, &h[0], 5 * MIB);
  world_turn(&t.w);
  lethe_loop_advance(t.w.loop, 0.1);
  assert_true(h[0].done); /* stuck: nobody has told an age that counts */
  by_hand_ask(&t.w, &h[1], 5 * MIB);
  world_turn(&t.w); /* the message is still on its way, and one is enough */
  turn_both(&t);
  assert_int_equal(t.q.ages, 1);
  assert_int_equal(t.q.asked, 1);
  assert_true(h[1].done && h[1].freed == 10 * MIB);
  two_end(&t);
}

static void a_member_without_participants_is_not_waited_for(void **state) {
  struct two t;
  (void)state;
  two_begin(&t);
  part_close(&t.q);
  claim(&t.p, 21 * MIB);
  world_turn(&t.w);
  assert_int_equal(t.p.asked, 1);
  two_end(&t);
}

/* ---- requests -------------------------------------------------------------------------------- */

static void a_deadline_counts_from_the_posting(void **state) {
  struct two t;
  (void)state;
  two_begin(&t);
  claim(&t.p, 11 * MIB);
  world_turn(&t.w);
  turn_other(&t);
  world_turn(&t.w); /* posted */
  lethe_loop_advance(t.w.loop, 4.9);
  assert_int_equal(used(&t.w), 21 * MIB);
  lethe_loop_advance(t.w.loop, 0.2);
  assert_int_equal(used(&t.w), 11 * MIB); /* never turned: collapsed */
  turn_both(&t);
  assert_int_equal(t.q.asked, 0); /* the request found it condemned */
  two_end(&t);
}

static void a_closed_loop_is_an_answer(void **state) {
  struct two t;
  (void)state;
  two_begin(&t);
  claim(&t.p, 11 * MIB);
  world_turn(&t.w);
  turn_other(&t);
  lethe_loop_close(t.loop);
  world_turn(&t.w);
  assert_int_equal(used(&t.w), 11 * MIB);
  assert_int_equal(t.q.asked, 0);
  lethe_loop_advance(t.w.loop, 1);
  by_hand(&t.w, 1); /* and not asked again */
  two_end(&t);
}

static void a_request_on_its_way_when_the_loop_closes_is_answered(void **state) {
  struct two t;
  (void)state;
  two_begin(&t);
  claim(&t.p, 11 * MIB);
  world_turn(&t.w);
  turn_other(&t);
  world_turn(&t.w);
  lethe_loop_close(t.loop);
  world_turn(&t.w);
  assert_int_equal(used(&t.w), 11 * MIB);
  two_end(&t);
}

static void the_other_leaves(struct part *p) {
  (void)p;
  lethe_quota_handle_close(&leaving->q.h);
  lethe_quota_member_delete(leaving->m);
  leaving->m = NULL;
}

static void a_member_that_leaves_before_it_is_asked_has_answered(void **state) {
  struct two t;
  struct part r;
  (void)state;
  two_begin(&t);
  leaving = &t;
  part_close(&t.q);
  open_elsewhere(&t, &t.q, t.a, 5, 4 * MIB); /* in the account of p, which is asked first */
  part_holding(&t.w, &r, t.a, 1, 17 * MIB);
  r.on_reclaim = the_other_leaves;
  world_turn(&t.w);
  turn_other(&t);
  world_turn(&t.w);
  assert_int_equal(r.asked, 1);
  assert_int_equal(t.q.asked, 0);
  assert_false(lives(&t.w, t.a)); /* nothing is waited for */
  part_close(&r);
  two_end(&t);
}

static void a_member_that_leaves_while_it_is_asked_has_answered(void **state) {
  struct two t;
  (void)state;
  two_begin(&t);
  leaving = &t;
  t.q.manner = LATER;
  claim(&t.p, 11 * MIB);
  turn_both(&t);
  assert_non_null(t.q.call);
  assert_true(lethe_quota_call_stands(t.q.call));
  the_other_leaves(NULL);
  assert_false(lethe_quota_call_stands(t.q.call));
  world_turn(&t.w);
  assert_int_equal(stats(&t.w).victims, 1);
  assert_int_equal(used(&t.w), 11 * MIB);
  lethe_quota_answer(t.q.call, true); /* for its memory */
  two_end(&t);
}

/* ---- leaving --------------------------------------------------------------------------------- */

static void participants_that_are_left_end_with_their_member(void **state) {
  struct two t;
  (void)state;
  two_begin(&t);
  lethe_quota_member_delete(t.m);
  t.m = NULL;
  assert_int_equal(lethe_quota_handle_state(&t.q.h), LETHE_EPARTICIPANT);
  assert_int_equal(used(&t.w), 16384);
  assert_int_equal(stats(&t.w).participants, 1);
  join_from_elsewhere(&t); /* it takes the place of the one that left, not its participants */
  by_hand(&t.w, 20 * MIB);
  assert_int_equal(t.q.ages, 0);
  two_end(&t);
}

static void passes_by_hand_are_answered_before_their_loop_leaves(void **state) {
  struct two t;
  struct by_hand running, queued;
  (void)state;
  two_begin(&t);
  t.p.manner = LATER;
  claim(&t.p, 5 * MIB);
  memset(&running, 0, sizeof running);
  memset(&queued, 0, sizeof queued);
  assert_int_equal(lethe_quota_reclaim(t.w.t, &running.manual, t.loop, 16 * MIB, by_hand_done), 0);
  assert_int_equal(lethe_quota_reclaim(t.w.t, &queued.manual, t.loop, 1, by_hand_done), 0);
  t.q.age = 9;
  turn_both(&t);
  assert_non_null(t.p.call);
  leaving = &t;
  the_other_leaves(NULL);
  turn_other(&t);
  assert_true(running.done && running.freed == -1);
  assert_true(queued.done && queued.freed == -1);
  lethe_quota_answer(t.p.call, true); /* the pass itself goes on */
  world_turn(&t.w);
  assert_int_equal(events_of(&t.w, LETHE_QUOTA_RECLAIM_STOP), 1);
  two_end(&t);
}

/* Both members are of this thread, with a clock each. */
static void the_next_home_drives_on_with_the_time_that_was_left(void **state) {
  struct two t;
  struct part r, s;
  (void)state;
  two_begin(&t);
  part_close(&t.q);
  lethe_quota_member_delete(t.m);
  join(&t);
  open_elsewhere(&t, &r, t.b, 1, 12 * MIB);
  open_elsewhere(&t, &s, t.b, 1, 1 * MIB);
  lethe_loop_advance(t.loop, 100);
  t.q.h.tracker = NULL;
  r.manner = NEVER;
  claim(&t.p, 9 * MIB);
  world_turn(&t.w);
  assert_non_null(r.call);
  assert_int_equal(t.p.asked, 0);
  lethe_loop_advance(t.w.loop, 3); /* of five seconds */
  part_close(&t.p);
  lethe_quota_member_delete(t.w.m);
  t.w.m = NULL;
  lethe_loop_advance(t.w.loop, 100);
  turn_other(&t);
  lethe_loop_advance(t.loop, 1.9);
  assert_true(lives(&t.w, t.b));
  lethe_loop_advance(t.loop, 0.2);
  assert_false(lives(&t.w, t.b));
  assert_int_equal(event_of(&t.w, LETHE_QUOTA_RECLAIM_STOP, 0)->outcome, LETHE_QUOTA_COMPLETE);
  lethe_loop_advance(t.loop, 5); /* the watch over what is condemned goes on too */
  assert_int_equal(events_of(&t.w, LETHE_QUOTA_NOT_FREED), 2);
  lethe_quota_answer(r.call, false);
  part_close(&r);
  part_close(&s);
  two_end(&t);
}

static void a_home_made_by_another_thread_drives_where_its_loop_is_turned(void **state) {
  struct two t;
  struct part r;
  (void)state;
  two_begin(&t);
  part_close(&t.p);
  lethe_quota_member_delete(t.w.m);
  t.w.m = NULL;
  uint64_t c = account(&t.w, "c");
  open_elsewhere(&t, &r, c, 0, 11 * MIB);
  turn_other(&t);
  assert_int_equal(r.asked, 1);
  assert_int_equal(used(&t.w), 10 * MIB);
  part_close(&r);
  close_account(&t.w, c);
  two_end(&t);
}

static void a_pass_without_anybody_to_drive_it_ends(void **state) {
  struct two t;
  struct by_hand h;
  (void)state;
  two_begin(&t);
  leaving = &t;
  the_other_leaves(NULL);
  t.p.manner = NEVER;
  claim(&t.p, 5 * MIB);
  by_hand_ask(&t.w, &h, 1 * MIB);
  world_turn(&t.w);
  assert_non_null(t.p.call);
  /* A member on the same loop asked; with the last one gone nobody is left. */
  lethe_quota_member_delete(t.w.m);
  t.w.m = NULL;
  world_turn(&t.w);
  assert_true(h.done);
  lethe_quota_answer(t.p.call, false);
  assert_int_equal(events_of(&t.w, LETHE_QUOTA_RECLAIM_STOP), 0);
  uint64_t c = account(&t.w, "c");
  assert_int_equal(lethe_quota_member_new(&t.w.m, t.w.t, t.w.loop, &part_ops, &t.w), 0);
  struct part r;
  part_holding(&t.w, &r, c, 1, 21 * MIB);
  world_turn(&t.w); /* a new member drives again */
  assert_int_equal(r.asked, 1);
  part_close(&r);
  close_account(&t.w, c);
  two_end(&t);
}

static void what_is_wanted_without_a_member_is_done_by_the_next_one(void **state) {
  struct world w;
  struct part x = {.w = &w};
  const char *why;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  lethe_quota_member_delete(w.m);
  struct lethe_quota_change c = {.set_max = true, .to.max = 2 * MIB};
  assert_int_equal(lethe_quota_configure(w.t, &c, &why), 0);
  assert_int_equal(lethe_quota_member_new(&w.m, w.t, w.loop, &part_ops, &w), 0);
  uint64_t a = account(&w, "a");
  assert_int_equal(lethe_quota_handle_open(&x.h, w.m, a, &x, true, &x.id), 0);
  claim(&x, 5 * MIB); /* above max, and no member's loop turns before it leaves */
  struct lethe_quota_member *m = w.m;
  assert_int_equal(lethe_quota_member_new(&w.m, w.t, w.loop, &part_ops, &w), 0);
  part_close(&x);
  lethe_quota_member_delete(m);
  world_turn(&w);
  close_account(&w, a);
  world_end(&w);
}

/* ---- odds and ends --------------------------------------------------------------------------- */

static void references_keep_the_tracker(void **state) {
  struct world w;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  assert_ptr_equal(lethe_quota_get(w.t), w.t);
  lethe_quota_put(w.t);
  uint64_t a = account(&w, "a");
  close_account(&w, a);
  uint64_t b = account(&w, "b"); /* it lives on, though its last account went */
  close_account(&w, b);
  world_end(&w);
}

static void emitted_events_reach_the_sink(void **state) {
  struct world w;
  struct lethe_quota_event e = {.type = LETHE_QUOTA_COLLECTED, .bytes = 7};
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  lethe_quota_emit(w.t, &e);
  assert_int_equal(event_of(&w, LETHE_QUOTA_COLLECTED, 0)->bytes, 7);
  lethe_quota_mute(w.t);
  lethe_quota_emit(w.t, &e);
  assert_int_equal(w.n, 1);
  world_end(&w);
}

static struct world *slow_world;

static int slow_score(struct lethe_quota_policy *p, const struct lethe_quota_candidate *c, size_t n,
                      double *scores) {
  (void)p;
  for (size_t i = 0; i < n; i++) scores[i] = (double)c[i].info.used;
  lethe_loop_advance(slow_world->loop, 30); /* six deadlines */
  return LETHE_OK;
}
static void keep(struct lethe_quota_policy *p) { (void)p; }

static void a_policy_at_work_is_waited_for(void **state) {
  struct two t;
  struct lethe_quota_policy policy = {.destroy = keep, .score = slow_score};
  struct lethe_quota_change c = {.policy = &policy};
  const char *why;
  (void)state;
  two_begin(&t);
  slow_world = &t.w;
  policy.loop = t.loop;
  lethe_ref_init(&policy.refs);
  assert_int_equal(lethe_quota_configure(t.w.t, &c, &why), 0);
  claim(&t.p, 11 * MIB);
  turn_both(&t);
  assert_int_equal(stats(&t.w).policy_failures, 0);
  assert_int_equal(t.p.asked, 1); /* the larger one */
  c.policy = lethe_quota_policy_builtin(&lethe_alloc_libc, "oldest", t.w.t);
  assert_int_equal(lethe_quota_configure(t.w.t, &c, &why), 0);
  lethe_quota_policy_put(c.policy);
  two_end(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ages_come_by_message_and_the_pass_waits_a_little),
      cmocka_unit_test(who_does_not_answer_in_time_stands_as_last_told),
      cmocka_unit_test(who_leaves_without_an_answer_is_not_waited_for),
      cmocka_unit_test(a_late_answer_serves_the_next_pass),
      cmocka_unit_test(a_member_without_participants_is_not_waited_for),
      cmocka_unit_test(a_deadline_counts_from_the_posting),
      cmocka_unit_test(a_closed_loop_is_an_answer),
      cmocka_unit_test(a_request_on_its_way_when_the_loop_closes_is_answered),
      cmocka_unit_test(a_member_that_leaves_before_it_is_asked_has_answered),
      cmocka_unit_test(a_member_that_leaves_while_it_is_asked_has_answered),
      cmocka_unit_test(participants_that_are_left_end_with_their_member),
      cmocka_unit_test(passes_by_hand_are_answered_before_their_loop_leaves),
      cmocka_unit_test(the_next_home_drives_on_with_the_time_that_was_left),
      cmocka_unit_test(a_home_made_by_another_thread_drives_where_its_loop_is_turned),
      cmocka_unit_test(a_pass_without_anybody_to_drive_it_ends),
      cmocka_unit_test(what_is_wanted_without_a_member_is_done_by_the_next_one),
      cmocka_unit_test(references_keep_the_tracker),
      cmocka_unit_test(emitted_events_reach_the_sink),
      cmocka_unit_test(a_policy_at_work_is_waited_for),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
