/* SPDX-License-Identifier: MIT
 * The quota tracker without Lua: policies. The built-in ones, ranking again and by order, failure
 * and the sterner call, the plan, and policies whose loop is another one. */
#include "quota_world.h"

enum { N = 6 };

struct six {
  struct world w;
  uint64_t a[N];
  struct part p[N];
};

static void six_begin(struct six *s, const int64_t *holds, const double *ages) {
  world_begin(&s->w, 100 * MIB, -1);
  for (int i = 0; i < N; i++) {
    s->a[i] = account_with(&s->w, 0, (struct lethe_quota_account_config){.priority = i % 3});
    part_holding(&s->w, &s->p[i], s->a[i], ages[i], holds[i]);
  }
}

static void six_end(struct six *s) {
  for (int i = 0; i < N; i++) {
    part_close(&s->p[i]);
    close_account(&s->w, s->a[i]);
  }
  world_end(&s->w);
}

static void set_policy(struct world *w, struct lethe_quota_policy *policy) {
  struct lethe_quota_change c = {.policy = policy};
  const char *why;
  assert_non_null(policy);
  assert_int_equal(lethe_quota_configure(w->t, &c, &why), 0);
  lethe_quota_policy_put(policy);
}

static void set_builtin(struct world *w, const char *name) {
  set_policy(w, lethe_quota_policy_builtin(&w->memory.alloc, name, w->t));
}

/* The index of the k-th victim. */
static int victim(struct six *s, size_t k) {
  const struct lethe_quota_event *e = event_of(&s->w, LETHE_QUOTA_VICTIM, k);
  for (int i = 0; e && i < N; i++)
    if (s->a[i] == e->account) return i;
  return -1;
}

/* Everything goes, in this order; and the plan says so before. */
static void check_order(struct six *s, const int *order) {
  struct lethe_quota_planned plan[N];
  size_t planned = 0;
  int64_t before = used(&s->w);
  assert_int_equal(lethe_quota_plan(s->w.t, s->w.m, INT64_MAX, plan, N, &planned), 0);
  assert_int_equal(planned, N);
  assert_int_equal(used(&s->w), before);
  world_check(&s->w);
  by_hand(&s->w, 1000 * (int64_t)MIB);
  for (size_t k = 0; k < N; k++) {
    assert_int_equal(victim(s, k), order[k]);
    assert_int_equal(plan[k].account, s->a[order[k]]);
    const struct lethe_quota_event *e = event_of(&s->w, LETHE_QUOTA_VICTIM, k);
    assert_true(plan[k].score == e->value);
    assert_int_equal(plan[k].used, e->bytes);
    assert_int_equal(plan[k].participants, 1);
  }
  six_end(s);
}

static const int64_t some[N] = {3 * MIB, 1 * MIB, 5 * MIB, 2 * MIB, 3 * MIB, 4 * MIB};
static const double ages[N] = {-3, -1, -5, -6, -2, -4};

/* ---- built-ins ------------------------------------------------------------------------------- */

static void the_builtins_have_names(void **state) {
  static const char *const names[] = {"oldest", "largest", "oldest_weighted", "fair_share",
                                      "priority"};
  struct world w;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  for (size_t i = 0; i < 5; i++) {
    assert_string_equal(lethe_quota_policy_names[i], names[i]);
    set_builtin(&w, names[i]);
  }
  assert_null(lethe_quota_policy_names[5]);
  assert_null(lethe_quota_policy_builtin(&w.memory.alloc, "newest", w.t));
  world_end(&w);
}

static void oldest_goes_by_age(void **state) {
  struct six s;
  (void)state;
  six_begin(&s, some, ages);
  check_order(&s, (const int[]){3, 2, 5, 0, 4, 1});
}

static void largest_goes_by_used_and_then_by_id(void **state) {
  struct six s;
  (void)state;
  six_begin(&s, some, ages);
  set_builtin(&s.w, "largest");
  check_order(&s, (const int[]){2, 5, 0, 4, 3, 1});
}

static void oldest_weighted_goes_by_age_times_used(void **state) {
  struct six s;
  (void)state;
  six_begin(&s, some, ages); /* the clock shows 0: ages of 1 to 6 seconds */
  set_builtin(&s.w, "oldest_weighted");
  check_order(&s, (const int[]){2, 5, 3, 0, 4, 1});
}

static void fair_share_goes_by_used_over_the_reserve_or_an_equal_share(void **state) {
  struct six s;
  uint64_t r;
  struct part p;
  (void)state;
  six_begin(&s, some, ages);
  set_builtin(&s.w, "fair_share");
  r = account_with(&s.w, 0, (struct lethe_quota_account_config){.reserve = 1000});
  part_holding(&s.w, &p, r, 1, 20000); /* 20 times its own */
  by_hand(&s.w, 50000000);
  assert_int_equal(event_of(&s.w, LETHE_QUOTA_VICTIM, 0)->account, r);
  assert_true(event_of(&s.w, LETHE_QUOTA_VICTIM, 0)->value == 20);
  static const int order[] = {2, 5, 0, 4, 3, 1};
  for (size_t k = 0; k < N; k++) assert_int_equal(victim(&s, k + 1), order[k]);
  part_close(&p);
  close_account(&s.w, r);
  six_end(&s);
}

static void priority_goes_by_priority_and_then_by_age(void **state) {
  struct six s;
  (void)state;
  six_begin(&s, some, ages);
  set_builtin(&s.w, "priority");
  check_order(&s, (const int[]){3, 0, 4, 1, 2, 5});
}

static void a_liar_is_first_under_every_builtin(void **state) {
  (void)state;
  for (size_t k = 0; lethe_quota_policy_names[k]; k++) {
    struct world w;
    struct part p, q;
    if (k == 1 || k == 3 || k == 4) continue; /* those do not look at ages first */
    world_begin(&w, 20 * MIB, -1);
    set_builtin(&w, lethe_quota_policy_names[k]);
    uint64_t a = account(&w, "a"), b = account(&w, "b");
    part_holding(&w, &p, a, -1e300, 10 * MIB);
    part_holding(&w, &q, b, NAN, 100000);
    by_hand(&w, 100000);
    assert_int_equal(q.asked, 1);
    assert_int_equal(p.asked, 0);
    part_close(&p);
    part_close(&q);
    close_account(&w, a);
    close_account(&w, b);
    world_end(&w);
  }
}

/* ---- a policy of the tests ------------------------------------------------------------------- */

struct policy {
  struct lethe_quota_policy base;
  struct world *w;
  int destroyed;
  int starts, victims, stops, scores, orders;
  int64_t freed;
  enum lethe_quota_outcome outcome;
  int fail_at; /* 1 start, 2 score, 3 order, 4 victim, 5 stop; while `fails` lasts */
  int fails;
  bool spare_all, spare_unless_degraded, reverse, drop_half, bad_index;
  uint32_t tried; /* the highest seen */
  int64_t freed_before;
  bool saw_degraded;
};

static int result(struct policy *p, int at) {
  if (p->fail_at != at || p->fails == 0) return LETHE_OK;
  p->fails--;
  snprintf(p->base.message, sizeof p->base.message, "failed at %d", at);
  return LETHE_EPOLICY;
}

static struct policy *of(struct lethe_quota_policy *b) {
  return lethe_container_of(b, struct policy, base);
}

static void policy_destroy(struct lethe_quota_policy *b) {
  of(b)->destroyed++;
  lethe_quota_used(of(b)->w->t); /* no lock is held */
}

static int policy_start(struct lethe_quota_policy *b) {
  of(b)->starts++;
  return result(of(b), 1);
}

static int policy_score(struct lethe_quota_policy *b, const struct lethe_quota_candidate *c,
                        size_t n, double *scores) {
  struct policy *p = of(b);
  p->scores += (int)n;
  for (size_t i = 0; i < n; i++) {
    scores[i] = (double)c[i].info.used;
    if (c[i].tried > p->tried) p->tried = c[i].tried;
    if (c[i].freed > p->freed_before) p->freed_before = c[i].freed;
    if (c[i].degraded) p->saw_degraded = true;
    if (p->spare_all || (p->spare_unless_degraded && !c[i].degraded)) scores[i] = NAN;
  }
  return result(p, 2);
}

static int policy_order(struct lethe_quota_policy *b, const struct lethe_quota_candidate *c,
                        size_t n, uint32_t *ranking, size_t *ranked) {
  struct policy *p = of(b);
  p->orders++;
  *ranked = p->drop_half ? n / 2 : n;
  for (size_t i = 0; i < *ranked; i++) ranking[i] = (uint32_t)(p->reverse ? n - 1 - i : i);
  if (p->bad_index && n > 0) ranking[0] = (uint32_t)n;
  for (size_t i = 0; i < n; i++)
    if (c[i].tried > p->tried) p->tried = c[i].tried;
  return result(p, 3);
}

static int policy_victim(struct lethe_quota_policy *b, const struct lethe_quota_candidate *c,
                         int64_t freed) {
  (void)c;
  of(b)->victims++;
  of(b)->freed += freed;
  return result(of(b), 4);
}

static int policy_stop(struct lethe_quota_policy *b, enum lethe_quota_outcome outcome) {
  of(b)->stops++;
  of(b)->outcome = outcome;
  return result(of(b), 5);
}

static void policy_make(struct policy *p, struct world *w) {
  *p = (struct policy){.w = w, .fails = 1};
  lethe_ref_init(&p->base.refs);
  p->base.destroy = policy_destroy;
  p->base.start = policy_start;
  p->base.score = policy_score;
  p->base.victim = policy_victim;
  p->base.stop = policy_stop;
}

static void hooks_are_called_in_their_places(void **state) {
  struct six s;
  struct policy p;
  (void)state;
  six_begin(&s, some, ages);
  policy_make(&p, &s.w);
  set_policy(&s.w, &p.base);
  by_hand(&s.w, 100); /* caches were enough: the policy hears nothing */
  assert_int_equal(p.starts + p.stops + p.scores, 0);
  by_hand(&s.w, 8 * MIB);
  assert_int_equal(p.starts, 1);
  assert_int_equal(p.scores, N);
  assert_int_equal(p.victims, 2);
  assert_int_equal(p.freed, 9 * MIB);
  assert_int_equal(p.stops, 1);
  assert_int_equal(p.outcome, LETHE_QUOTA_MANUAL);
  set_builtin(&s.w, "oldest");
  assert_int_equal(p.destroyed, 1);
  six_end(&s);
}

static void a_partial_victim_comes_back_with_a_fresh_score(void **state) {
  struct six s;
  struct policy p;
  (void)state;
  six_begin(&s, some, ages);
  policy_make(&p, &s.w);
  set_policy(&s.w, &p.base);
  for (int i = 0; i < N; i++) {
    s.p[i].manner = STAYS;
    s.p[i].gives = 1 * MIB + 1;
  }
  by_hand(&s.w, 1); /* caches */
  by_hand(&s.w, 4 * MIB);
  /* 5 4 3 3 2 1: largest first, and what stays is ranked again. */
  assert_int_equal(victim(&s, 0), 2);
  assert_int_equal(victim(&s, 1), 5);
  assert_int_equal(victim(&s, 2), 2); /* just below the two of 3 MiB: no, they are larger */
  six_end(&s);
}

static void an_ordering_policy_decides_alone(void **state) {
  struct six s;
  struct policy p;
  (void)state;
  six_begin(&s, some, ages);
  policy_make(&p, &s.w);
  p.base.order = policy_order;
  p.reverse = true;
  set_policy(&s.w, &p.base);
  check_order(&s, (const int[]){1, 3, 4, 0, 5, 2});
  assert_true(p.orders >= 2); /* the plan's and the pass's */
  assert_int_equal(p.destroyed, 1);
}

static void equal_scores_go_by_age_where_the_policy_says_so(void **state) {
  static const int64_t equal[N] = {MIB, MIB, MIB, MIB, MIB, MIB};
  (void)state;
  for (int orders = 0; orders < 2; orders++) {
    struct six s;
    struct policy p;
    six_begin(&s, equal, ages);
    policy_make(&p, &s.w);
    if (orders) p.base.order = policy_order;
    p.base.then_oldest = true;
    set_policy(&s.w, &p.base);
    check_order(&s, (const int[]){3, 2, 5, 0, 4, 1});
  }
}

static void an_ordering_policy_needs_no_score(void **state) {
  struct six s;
  struct policy p;
  (void)state;
  six_begin(&s, some, ages);
  policy_make(&p, &s.w);
  p.base.order = policy_order;
  p.base.score = NULL;
  set_policy(&s.w, &p.base);
  check_order(&s, (const int[]){0, 1, 2, 3, 4, 5});
}

static void who_is_not_in_the_order_is_spared(void **state) {
  struct six s;
  struct policy p;
  (void)state;
  six_begin(&s, some, ages);
  policy_make(&p, &s.w);
  p.base.order = policy_order;
  p.drop_half = true;
  set_policy(&s.w, &p.base);
  by_hand(&s.w, 100 * MIB);
  assert_int_equal(stats(&s.w).victims, 3);
  assert_int_equal(p.outcome, LETHE_QUOTA_IS_STUCK);
  six_end(&s);
}

static void a_stayer_is_ordered_again_with_the_others(void **state) {
  struct six s;
  struct policy p;
  (void)state;
  six_begin(&s, some, ages);
  policy_make(&p, &s.w);
  p.base.order = policy_order;
  set_policy(&s.w, &p.base);
  for (int i = 0; i < N; i++) {
    s.p[i].manner = STAYS;
    s.p[i].gives = 3 * MIB;
  }
  by_hand(&s.w, 1);
  by_hand(&s.w, 12 * MIB);
  static const int order[] = {2, 5, 0, 4};
  for (size_t k = 0; k < 4; k++) assert_int_equal(victim(&s, k), order[k]);
  assert_int_equal(p.orders, 4);
  assert_int_equal(p.tried, 1);
  assert_int_equal(stats(&s.w).victims, 4);
  world_check(&s.w);
  six_end(&s);
}

static void a_bad_ranking_is_a_failure(void **state) {
  struct six s;
  struct policy p;
  struct lethe_quota_planned plan[N];
  size_t planned;
  (void)state;
  six_begin(&s, some, ages);
  policy_make(&p, &s.w);
  p.base.order = policy_order;
  p.bad_index = true;
  set_policy(&s.w, &p.base);
  assert_int_equal(lethe_quota_plan(s.w.t, s.w.m, INT64_MAX, plan, N, &planned), 0);
  assert_int_equal(plan[0].account, s.a[3]); /* as "oldest" would */
  by_hand(&s.w, 2 * MIB);
  assert_int_equal(stats(&s.w).policy_failures, 1);
  assert_int_equal(victim(&s, 0), 3);
  six_end(&s);
}

/* ---- failure --------------------------------------------------------------------------------- */

static void a_failure_hands_the_pass_to_oldest(void **state) {
  (void)state;
  for (int at = 1; at <= 2; at++) {
    struct six s;
    struct policy p;
    six_begin(&s, some, ages);
    policy_make(&p, &s.w);
    p.fail_at = at;
    set_policy(&s.w, &p.base);
    by_hand(&s.w, 7 * MIB);
    assert_int_equal(stats(&s.w).policy_failures, 1);
    const struct lethe_quota_event *e = event_of(&s.w, LETHE_QUOTA_POLICY_FAILED, 0);
    char message[40];
    snprintf(message, sizeof message, "failed at %d", at);
    assert_string_equal(e->message, message);
    assert_int_equal(victim(&s, 0), 3);
    assert_int_equal(victim(&s, 1), 2);
    assert_int_equal(p.victims + p.stops, 0); /* it is out of this pass */
    by_hand(&s.w, 1 * MIB);                   /* and in charge again in the next */
    assert_int_equal(victim(&s, 2), 5);
    assert_int_equal(stats(&s.w).policy_failures, 1);
    assert_int_equal(p.victims, 1);
    six_end(&s);
  }
}

static void a_failure_at_a_victim_or_at_the_end(void **state) {
  (void)state;
  for (int at = 4; at <= 5; at++) {
    struct six s;
    struct policy p;
    six_begin(&s, some, ages);
    policy_make(&p, &s.w);
    p.fail_at = at;
    set_policy(&s.w, &p.base);
    by_hand(&s.w, 7 * MIB);
    assert_int_equal(stats(&s.w).policy_failures, 1);
    assert_int_equal(victim(&s, 0), 2);
    assert_int_equal(victim(&s, 1), at == 4 ? 3 : 5);
    six_end(&s);
  }
}

static void degraded_is_called_once_before_oldest(void **state) {
  struct six s;
  struct policy p;
  (void)state;
  six_begin(&s, some, ages);
  policy_make(&p, &s.w);
  p.base.degraded = true;
  p.fail_at = 2;
  set_policy(&s.w, &p.base);
  by_hand(&s.w, 2 * MIB);
  assert_true(p.saw_degraded);
  assert_int_equal(victim(&s, 0), 2); /* still its own choice */
  assert_int_equal(stats(&s.w).policy_failures, 1);
  p.fails = 2;
  by_hand(&s.w, 2 * MIB);
  assert_int_equal(victim(&s, 1), 3); /* both failed */
  assert_int_equal(stats(&s.w).policy_failures, 3);
  six_end(&s);
}

static void degraded_takes_reserves_when_no_candidate_is_left(void **state) {
  struct world w;
  struct part p, q;
  struct policy policy;
  struct lethe_quota_planned plan[4];
  size_t planned;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  policy_make(&policy, &w);
  policy.base.degraded = true;
  set_policy(&w, &policy.base);
  uint64_t a = account_with(&w, 0, (struct lethe_quota_account_config){.reserve = 5 * MIB});
  uint64_t b = account(&w, "b");
  part_holding(&w, &p, a, 1, 5 * MIB);
  part_holding(&w, &q, b, 2, 2 * MIB);
  assert_int_equal(lethe_quota_plan(w.t, w.m, 6 * MIB, plan, 4, &planned), 0);
  assert_int_equal(planned, 2);
  assert_int_equal(plan[0].account, b);
  assert_int_equal(plan[1].account, a);
  by_hand(&w, 6 * MIB);
  assert_int_equal(q.asked, 1);
  assert_int_equal(p.asked, 1);
  assert_int_equal(policy.outcome, LETHE_QUOTA_MANUAL);
  assert_int_equal(stats(&w).policy_failures, 0);
  part_close(&p);
  part_close(&q);
  close_account(&w, a);
  close_account(&w, b);
  world_end(&w);
}

static void who_spares_everyone_ends_stuck(void **state) {
  struct six s;
  struct policy p;
  (void)state;
  six_begin(&s, some, ages);
  policy_make(&p, &s.w);
  p.spare_all = true;
  set_policy(&s.w, &p.base);
  by_hand(&s.w, 7 * MIB);
  assert_int_equal(p.outcome, LETHE_QUOTA_IS_STUCK);
  assert_int_equal(stats(&s.w).victims, 0);
  assert_int_equal(stats(&s.w).policy_failures, 0);
  p.base.degraded = true; /* also where the sterner call spares them after a failure */
  p.fail_at = 2;
  p.fails = 1;
  by_hand(&s.w, 7 * MIB);
  assert_int_equal(stats(&s.w).policy_failures, 1);
  assert_int_equal(stats(&s.w).victims, 0);
  assert_int_equal(p.outcome, LETHE_QUOTA_IS_STUCK);
  p.spare_all = false;
  p.spare_unless_degraded = true;
  by_hand(&s.w, 7 * MIB);
  assert_int_equal(stats(&s.w).victims, 2);
  six_end(&s);
}

static void a_policy_may_be_replaced_while_it_is_at_work(void **state);

static struct policy *replaced;
static int replacing_score(struct lethe_quota_policy *b, const struct lethe_quota_candidate *c,
                           size_t n, double *scores) {
  struct policy *p = of(b);
  if (p->scores == 0) {
    replaced = p;
    set_builtin(p->w, "oldest");
    assert_int_equal(p->destroyed, 0); /* the pass keeps it */
  }
  return policy_score(b, c, n, scores);
}

static void a_policy_may_be_replaced_while_it_is_at_work(void **state) {
  struct six s;
  struct policy p;
  (void)state;
  six_begin(&s, some, ages);
  policy_make(&p, &s.w);
  p.base.score = replacing_score;
  set_policy(&s.w, &p.base);
  by_hand(&s.w, 7 * MIB);
  assert_int_equal(victim(&s, 0), 2);
  assert_int_equal(p.stops, 1);
  assert_int_equal(p.destroyed, 1);
  six_end(&s);
}

/* ---- loops ----------------------------------------------------------------------------------- */

static void a_policy_of_another_loop_is_called_there(void **state) {
  struct six s;
  struct policy p;
  struct lethe_loop *other;
  struct by_hand h;
  (void)state;
  six_begin(&s, some, ages);
  assert_int_equal(lethe_loop_new(&other, &s.w.memory.alloc, LETHE_CLOCK_VIRTUAL, NULL), 0);
  policy_make(&p, &s.w);
  p.base.loop = other;
  p.base.degraded = true;
  set_policy(&s.w, &p.base);
  by_hand_ask(&s.w, &h, 7 * MIB);
  for (int i = 0; i < 20; i++) {
    world_turn(&s.w);
    if (h.done) break;
    assert_int_equal(p.starts, i > 0); /* only when its own loop is turned */
    lethe_loop_turn(other);
  }
  assert_true(h.done);
  assert_int_equal(p.starts, 1);
  assert_int_equal(p.victims, 2);
  assert_int_equal(p.stops, 1);
  assert_int_equal(victim(&s, 0), 2);
  assert_int_equal(stats(&s.w).policy_failures, 0);
  lethe_loop_close(other);
  lethe_loop_put(other);
  six_end(&s);
}

static void a_policy_whose_loop_does_not_answer_fails(void **state) {
  struct six s;
  struct policy p;
  struct lethe_loop *other;
  struct by_hand h;
  (void)state;
  six_begin(&s, some, ages);
  assert_int_equal(lethe_loop_new(&other, &s.w.memory.alloc, LETHE_CLOCK_VIRTUAL, NULL), 0);
  policy_make(&p, &s.w);
  p.base.loop = other;
  p.base.degraded = true;
  set_policy(&s.w, &p.base);
  by_hand_ask(&s.w, &h, 7 * MIB);
  world_turn(&s.w);
  lethe_loop_advance(s.w.loop, 4.9);
  assert_false(h.done);
  lethe_loop_advance(s.w.loop, 0.2);
  assert_true(h.done);
  assert_int_equal(stats(&s.w).policy_failures, 1);
  assert_int_equal(victim(&s, 0), 3);
  assert_string_equal(event_of(&s.w, LETHE_QUOTA_POLICY_FAILED, 0)->message,
                      "the state that set the policy does not answer");
  lethe_loop_turn(other); /* the call that was given up comes to nothing */
  assert_int_equal(p.starts, 0);
  by_hand_ask(&s.w, &h, 1 * MIB); /* the next pass asks again */
  world_turn(&s.w);
  lethe_loop_turn(other);
  assert_int_equal(p.starts, 1);
  lethe_loop_close(other); /* the rest of this one is without it */
  world_turn(&s.w);
  assert_true(h.done);
  by_hand(&s.w, 1 * MIB);
  assert_int_equal(stats(&s.w).policy_failures, 3);
  lethe_loop_put(other);
  six_end(&s);
}

static void a_plan_cannot_call_the_policy_of_another_loop(void **state) {
  struct six s;
  struct policy p;
  struct lethe_loop *other;
  struct lethe_quota_planned plan[N];
  size_t planned;
  (void)state;
  six_begin(&s, some, ages);
  assert_int_equal(lethe_loop_new(&other, &s.w.memory.alloc, LETHE_CLOCK_VIRTUAL, NULL), 0);
  policy_make(&p, &s.w);
  p.base.loop = other;
  set_policy(&s.w, &p.base);
  assert_int_equal(lethe_quota_plan(s.w.t, s.w.m, MIB, plan, N, &planned), 0);
  assert_int_equal(plan[0].account, s.a[3]);
  assert_int_equal(p.scores, 0);
  lethe_loop_close(other);
  lethe_loop_put(other);
  six_end(&s);
}

/* ---- plan ------------------------------------------------------------------------------------ */

static void a_plan_ends_with_its_goal_and_counts_caches_first(void **state) {
  struct six s;
  struct lethe_quota_planned plan[N];
  size_t planned = 7;
  (void)state;
  six_begin(&s, some, ages);
  int64_t caches = N * 16384;
  assert_int_equal(lethe_quota_plan(s.w.t, s.w.m, caches, plan, N, &planned), 0);
  assert_int_equal(planned, 0);
  assert_int_equal(lethe_quota_plan(s.w.t, s.w.m, 0, plan, N, &planned), 0);
  assert_int_equal(planned, 0);
  assert_int_equal(lethe_quota_plan(s.w.t, s.w.m, caches + 1, plan, N, &planned), 0);
  assert_int_equal(planned, 1);
  assert_int_equal(plan[0].used, 2 * MIB);
  assert_int_equal(lethe_quota_plan(s.w.t, s.w.m, caches + 2 * MIB + 1, plan, N, &planned), 0);
  assert_int_equal(planned, 2);
  assert_int_equal(lethe_quota_plan(s.w.t, s.w.m, INT64_MAX, plan, 3, &planned), 0);
  assert_int_equal(planned, 3);
  assert_int_equal(by_hand(&s.w, caches + 2 * MIB + 1), caches + 7 * MIB);
  six_end(&s);
}

static void a_plan_touches_nothing(void **state) {
  struct six s;
  struct lethe_quota_planned plan[N];
  size_t planned, events;
  (void)state;
  six_begin(&s, some, ages);
  s.p[0].says = -1;
  int64_t before = used(&s.w);
  events = s.w.n;
  assert_int_equal(lethe_quota_plan(s.w.t, s.w.m, INT64_MAX, plan, N, &planned), 0);
  assert_int_equal(planned, N - 1); /* one is lost, but only a pass tears it down */
  assert_int_equal(used(&s.w), before);
  assert_int_equal(s.w.n, events);
  assert_int_equal(lethe_quota_handle_state(&s.p[0].h), LETHE_OK);
  for (int i = 0; i < N; i++) assert_int_equal(s.p[i].asked, 0);
  assert_int_equal(lethe_quota_plan(s.w.t, NULL, INT64_MAX, plan, N, &planned), 0);
  assert_int_equal(planned, N - 1); /* ages as told last */
  claim(&s.p[1], 16384);            /* what is cached can still be claimed */
  assert_int_equal(used(&s.w), before);
  six_end(&s);
}

static void a_plan_takes_each_account_once(void **state) {
  struct world w;
  struct part p[4];
  struct lethe_quota_planned plan[8];
  size_t planned;
  (void)state;
  world_begin(&w, 100 * MIB, -1);
  uint64_t a = account(&w, "a"), b = account(&w, "b"), c = child(&w, a);
  uint64_t kept = account_with(&w, a, (struct lethe_quota_account_config){.reserve = 4 * MIB});
  assert_int_equal(lethe_quota_account_add_parent(w.t, c, b), LETHE_OK);
  part_holding(&w, &p[0], a, 2, 1 * MIB);
  part_holding(&w, &p[1], b, 3, 2 * MIB);
  part_holding(&w, &p[2], c, 4, 4 * MIB);
  part_holding(&w, &p[3], kept, 1, 4 * MIB); /* at its reserve but for the cache */
  assert_int_equal(lethe_quota_plan(w.t, w.m, INT64_MAX, plan, 8, &planned), 0);
  assert_int_equal(planned, 2);
  assert_int_equal(plan[0].account, a);
  assert_int_equal(plan[0].used, 5 * MIB);
  assert_int_equal(plan[0].participants, 2);
  assert_int_equal(plan[1].account, b);
  assert_int_equal(plan[1].used, 2 * MIB);
  by_hand(&w, 50 * MIB);
  assert_int_equal(event_of(&w, LETHE_QUOTA_VICTIM, 0)->bytes, 5 * MIB);
  assert_int_equal(event_of(&w, LETHE_QUOTA_VICTIM, 1)->bytes, 2 * MIB);
  assert_int_equal(stats(&w).victims, 2);
  for (int i = 0; i < 4; i++) part_close(&p[i]);
  close_account(&w, a);
  close_account(&w, b);
  close_account(&w, c);
  close_account(&w, kept);
  world_end(&w);
}

static void a_plan_during_a_pass_does_not_disturb_it(void **state) {
  struct six s;
  struct lethe_quota_planned plan[N];
  size_t planned;
  struct by_hand h;
  (void)state;
  six_begin(&s, some, ages);
  s.p[3].manner = LATER;
  by_hand_ask(&s.w, &h, 10 * MIB);
  world_turn(&s.w);
  assert_int_equal(lethe_quota_plan(s.w.t, s.w.m, INT64_MAX, plan, N, &planned), 0);
  assert_int_equal(planned, N);
  lethe_quota_answer(s.p[3].call, false);
  world_turn(&s.w);
  assert_true(h.done);
  static const int order[] = {3, 2, 5};
  for (size_t k = 0; k < 3; k++) assert_int_equal(victim(&s, k), order[k]);
  assert_int_equal(stats(&s.w).victims, 3);
  six_end(&s);
}

static void cost_is_what_reclaims_took_per_byte(void **state) {
  struct six s;
  struct lethe_quota_planned plan[N];
  size_t planned;
  (void)state;
  six_begin(&s, some, ages);
  s.p[3].manner = LATER;
  s.p[3].gives = 1 * MIB;
  struct by_hand h;
  by_hand_ask(&s.w, &h, N * 16384 + 1000);
  world_turn(&s.w);
  lethe_loop_advance(s.w.loop, 2);
  lethe_quota_answer(s.p[3].call, true);
  world_turn(&s.w);
  assert_true(h.done);
  assert_int_equal(info(&s.w, s.a[3]).reclaims, 1);
  assert_int_equal(lethe_quota_plan(s.w.t, s.w.m, MIB, plan, N, &planned), 0);
  six_end(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_builtins_have_names),
      cmocka_unit_test(oldest_goes_by_age),
      cmocka_unit_test(largest_goes_by_used_and_then_by_id),
      cmocka_unit_test(oldest_weighted_goes_by_age_times_used),
      cmocka_unit_test(fair_share_goes_by_used_over_the_reserve_or_an_equal_share),
      cmocka_unit_test(priority_goes_by_priority_and_then_by_age),
      cmocka_unit_test(a_liar_is_first_under_every_builtin),
      cmocka_unit_test(hooks_are_called_in_their_places),
      cmocka_unit_test(a_partial_victim_comes_back_with_a_fresh_score),
      cmocka_unit_test(an_ordering_policy_decides_alone),
      cmocka_unit_test(equal_scores_go_by_age_where_the_policy_says_so),
      cmocka_unit_test(an_ordering_policy_needs_no_score),
      cmocka_unit_test(who_is_not_in_the_order_is_spared),
      cmocka_unit_test(a_stayer_is_ordered_again_with_the_others),
      cmocka_unit_test(a_bad_ranking_is_a_failure),
      cmocka_unit_test(a_failure_hands_the_pass_to_oldest),
      cmocka_unit_test(a_failure_at_a_victim_or_at_the_end),
      cmocka_unit_test(degraded_is_called_once_before_oldest),
      cmocka_unit_test(degraded_takes_reserves_when_no_candidate_is_left),
      cmocka_unit_test(who_spares_everyone_ends_stuck),
      cmocka_unit_test(a_policy_may_be_replaced_while_it_is_at_work),
      cmocka_unit_test(a_policy_of_another_loop_is_called_there),
      cmocka_unit_test(a_policy_whose_loop_does_not_answer_fails),
      cmocka_unit_test(a_plan_cannot_call_the_policy_of_another_loop),
      cmocka_unit_test(a_plan_ends_with_its_goal_and_counts_caches_first),
      cmocka_unit_test(a_plan_touches_nothing),
      cmocka_unit_test(a_plan_takes_each_account_once),
      cmocka_unit_test(a_plan_during_a_pass_does_not_disturb_it),
      cmocka_unit_test(cost_is_what_reclaims_took_per_byte),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
