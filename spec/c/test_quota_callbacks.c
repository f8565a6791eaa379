/* SPDX-License-Identifier: MIT
 * The quota tracker without Lua: callbacks that do anything, in every place from which one is
 * called. Each act is tried in each place, under sanitizers, with the sums checked after it. */
#include "quota_world.h"

enum { N = 12 };

/* A world with a small forest: 0..3 have accounts of their own, the rest are below 0 and 1. */
struct forest {
  struct world w;
  uint64_t a[N];
  struct part p[N];
  bool open[N], account_open[N];
  struct part extra;
  uint64_t extra_account;
  struct lethe_quota_handle clones[4];
  int cloned;
  struct lethe_quota_wait waits[4];
  int waited, answered;
  struct by_hand hand;
  bool planted, acted;
  int skip; /* times that the place is passed before */
  int act, place;
};

static struct forest *f; /* the one at work */

/* ---- acts ------------------------------------------------------------------------------------ */

static void on_wait(struct lethe_quota_wait *w, int code) {
  (void)w;
  (void)code;
  f->answered++;
}

static void close_part(int i) {
  if (f->open[i]) part_close(&f->p[i]);
  f->open[i] = false;
}

static void close_an_account(int i) {
  if (f->account_open[i]) close_account(&f->w, f->a[i]);
  f->account_open[i] = false;
}

static void delete_member(void) {
  for (int i = 0; i < N; i++) close_part(i);
  for (int i = 0; i < f->cloned; i++) lethe_quota_handle_close(&f->clones[i]);
  f->cloned = 0;
  if (f->extra.h.tracker) part_close(&f->extra);
  lethe_quota_member_delete(f->w.m);
  f->w.m = NULL;
}

enum act {
  NOTHING,
  CLOSE_OWN,
  CLOSE_ALL,
  DESTROY,
  CLOSE_OWN_ACCOUNT,
  CLOSE_ACCOUNTS,
  CLONE,
  CLAIM,
  RELEASE,
  REGISTER,
  WAIT,
  WAIT_AND_CANCEL,
  ASK_BY_HAND,
  PLAN,
  CONFIGURE,
  SHUTDOWN,
  DELETE_MEMBER,
  DELETE_AND_JOIN,
  TURN,
  ADVANCE,
  ADD_PARENT,
  READ,
  MUTE,
  ACTS
};

static void act_on_accounts(int i) {
  switch (f->act) {
  case CLOSE_OWN_ACCOUNT:
    close_an_account(i);
    break;
  case CLOSE_ACCOUNTS:
    for (int k = 0; k < N; k++) close_an_account(k);
    break;
  case ADD_PARENT:
    lethe_quota_account_add_parent(f->w.t, f->a[i], f->a[(i + 1) % N]);
    break;
  case SHUTDOWN:
    lethe_quota_shutdown(f->w.t);
    break;
  case READ: {
    struct lethe_quota_account_info top[3];
    lethe_quota_top(f->w.t, top, 3);
    stats(&f->w);
    world_check(&f->w);
    break;
  }
  default:
    break;
  }
}

static void act_on_handles(int i) {
  struct part *p = &f->p[i];
  switch (f->act) {
  case CLOSE_OWN:
    close_part(i);
    break;
  case CLOSE_ALL:
    for (int k = 0; k < N; k++) close_part(k);
    break;
  case DESTROY:
    if (f->open[i]) lethe_quota_handle_destroy(&p->h);
    break;
  case CLONE:
    if (f->open[i] && f->cloned < 4) lethe_quota_handle_clone(&f->clones[f->cloned++], &p->h);
    break;
  case CLAIM:
    for (int k = 0; k < N; k++)
      if (f->open[k]) lethe_quota_claim(&f->p[k].h, 3000000 + k);
    break;
  case RELEASE:
    for (int k = 0; k < N; k++)
      if (f->open[k]) lethe_quota_release(&f->p[k].h, 700000 + k);
    break;
  case REGISTER:
    if (f->w.m && !f->extra.h.tracker) {
      f->extra = (struct part){.w = &f->w, .says = 1, .age = 3};
      if (lethe_quota_handle_open(&f->extra.h, f->w.m, f->a[3], &f->extra, false, &f->extra.id))
        f->extra.h.tracker = NULL;
      else
        lethe_quota_claim(&f->extra.h, 16 * MIB);
    }
    break;
  case WAIT:
  case WAIT_AND_CANCEL:
    if (f->open[i] && f->waited < 4) {
      struct lethe_quota_wait *w = &f->waits[f->waited];
      if (lethe_quota_claim_wait(&p->h, 12 * MIB, w, on_wait) != 1) break;
      f->waited++;
      if (f->act == WAIT_AND_CANCEL && lethe_quota_wait_cancel(w)) f->answered++;
    }
    break;
  default:
    break;
  }
}

static void act_on_tracker(void) {
  struct lethe_quota_planned plan[N];
  size_t planned;
  const char *why;
  struct lethe_quota_change c = {.set_max = true, .to.max = 19 * MIB};
  switch (f->act) {
  case ASK_BY_HAND:
    by_hand_ask(&f->w, &f->hand, 9 * MIB);
    break;
  case PLAN:
    lethe_quota_plan(f->w.t, f->w.m, 30 * MIB, plan, N, &planned);
    break;
  case CONFIGURE:
    lethe_quota_configure(f->w.t, &c, &why);
    break;
  case DELETE_MEMBER:
  case DELETE_AND_JOIN:
    if (f->w.m) delete_member();
    if (f->act == DELETE_AND_JOIN)
      assert_int_equal(lethe_quota_member_new(&f->w.m, f->w.t, f->w.loop, &part_ops, &f->w), 0);
    break;
  case TURN:
    lethe_loop_turn(f->w.loop);
    break;
  case ADVANCE:
    lethe_loop_advance(f->w.loop, 6);
    break;
  case MUTE:
    lethe_quota_mute(f->w.t);
    break;
  default:
    break;
  }
}

/* Once, in its place: what a callback of participant i does. */
static void act(int place, int i) {
  if (place != f->place || f->acted || !f->planted || f->skip-- > 0) return;
  f->acted = true;
  act_on_handles(i);
  act_on_accounts(i);
  act_on_tracker();
}

/* ---- places ---------------------------------------------------------------------------------- */

enum place {
  IN_AGE,
  IN_RECLAIM,
  IN_COLLAPSED,
  IN_SCORE,
  IN_VICTIM,
  IN_START,
  IN_STOP,
  IN_EVENT, /* and one for each type of event */
  PLACES = IN_EVENT + LETHE_QUOTA_NOT_FREED + 1
};

static int index_of(const struct part *p) { return p == &f->extra ? 3 : (int)(p - f->p); }
static void in_age(struct part *p) { act(IN_AGE, index_of(p)); }
static void in_reclaim(struct part *p) { act(IN_RECLAIM, index_of(p)); }
static void in_collapsed(struct part *p) { act(IN_COLLAPSED, index_of(p)); }
static void in_event(struct world *w, const struct lethe_quota_event *e) {
  (void)w;
  act(IN_EVENT + (int)e->type, 5);
}

static int score(struct lethe_quota_policy *b, const struct lethe_quota_candidate *c, size_t n,
                 double *scores) {
  (void)b;
  for (size_t i = 0; i < n; i++) scores[i] = -c[i].info.oldest;
  act(IN_SCORE, 1);
  return LETHE_OK;
}
static int order(struct lethe_quota_policy *b, const struct lethe_quota_candidate *c, size_t n,
                 uint32_t *ranking, size_t *ranked) {
  (void)b;
  (void)c;
  for (*ranked = 0; *ranked < n; ++*ranked) ranking[*ranked] = (uint32_t)*ranked;
  act(IN_SCORE, 1);
  return LETHE_OK;
}
static int victim(struct lethe_quota_policy *b, const struct lethe_quota_candidate *c,
                  int64_t freed) {
  (void)b;
  (void)c;
  (void)freed;
  act(IN_VICTIM, 2);
  return LETHE_OK;
}
static int start(struct lethe_quota_policy *b) {
  (void)b;
  act(IN_START, 3);
  return LETHE_OK;
}
static int stop(struct lethe_quota_policy *b, enum lethe_quota_outcome outcome) {
  (void)b;
  (void)outcome;
  act(IN_STOP, 4);
  return LETHE_OK;
}
static void destroy(struct lethe_quota_policy *b) { (void)b; }

static struct lethe_quota_policy policy;

static void set_policy(struct world *w, bool orders) {
  struct lethe_quota_change c = {.policy = &policy};
  const char *why;
  policy = (struct lethe_quota_policy){
      .destroy = destroy, .score = score, .victim = victim, .start = start, .stop = stop};
  if (orders) policy.order = order;
  lethe_ref_init(&policy.refs);
  assert_int_equal(lethe_quota_configure(w->t, &c, &why), 0);
  lethe_quota_policy_put(&policy);
}

/* ---- one try --------------------------------------------------------------------------------- */

static void plant(enum manner manner, bool orders) {
  struct lethe_quota_change c = {.set_deadline = true, .to.deadline = 1};
  const char *why;
  world_begin(&f->w, 20 * MIB, 15 * MIB);
  f->w.on_event = in_event;
  assert_int_equal(lethe_quota_configure(f->w.t, &c, &why), 0);
  set_policy(&f->w, orders);
  for (int i = 0; i < N; i++) {
    f->a[i] = i < 4 ? account(&f->w, "root") : child(&f->w, f->a[i % 2]);
    part_open(&f->w, &f->p[i], f->a[i], i < 2 ? i : 10 - i % 7); /* families go first */
    f->p[i].on_age = in_age;
    f->p[i].on_reclaim = in_reclaim;
    f->p[i].on_collapsed = in_collapsed;
    f->p[i].manner = i % 3 == 1 ? STAYS : manner;
    f->p[i].gives = i % 3 == 1 ? 300000 : 0;
    f->open[i] = f->account_open[i] = true;
  }
  f->p[5].says = -1;
  for (int i = 0; i < N; i++) lethe_quota_claim(&f->p[i].h, 2 * MIB + i);
  f->planted = true;
  lethe_quota_configure(f->w.t, &c, &why);
}

static void answer_calls(void) {
  for (int i = 0; i < N; i++) {
    if (f->p[i].call) lethe_quota_answer(f->p[i].call, i % 2);
    f->p[i].call = NULL;
  }
}

static void uproot(void) {
  answer_calls();
  if (f->w.m) world_check(&f->w);
  for (int i = 0; i < f->cloned; i++) lethe_quota_handle_close(&f->clones[i]);
  for (int i = 0; i < N; i++) close_part(i);
  if (f->extra.h.tracker) part_close(&f->extra);
  for (int i = 0; i < N; i++) close_an_account(i);
  world_turn(&f->w);
  answer_calls();
  assert_int_equal(f->answered, f->waited);
  assert_true(!f->hand.manual.done || f->hand.done || !f->w.m);
  assert_int_equal(used(&f->w), 0);
  world_end(&f->w);
}

static bool try_act(int act_of, int place, int skip, enum manner manner, bool orders) {
  struct forest forest = {.act = act_of, .place = place, .skip = skip};
  f = &forest;
  plant(manner, orders);
  world_turn(&f->w);
  answer_calls();
  world_turn(&f->w);
  lethe_loop_advance(f->w.loop, 3);
  world_check(&f->w);
  uproot();
  return forest.acted;
}

static void every_act_in_every_place(void **state) {
  int acted[PLACES] = {0};
  (void)state;
  for (int place = 0; place < PLACES; place++)
    for (int what = 0; what < ACTS; what++)
      for (int way = 0; way < 18; way++) {
        enum manner manner = way % 3 == 0 ? COLLAPSES : way % 3 == 1 ? LATER : NEVER;
        acted[place] += try_act(what, place, way / 6 * 2, manner, way % 6 >= 3);
      }
  for (int place = 0; place < PLACES; place++) {
    if (place == IN_EVENT + LETHE_QUOTA_POLICY_FAILED) continue; /* none of these fails */
    if (place == IN_EVENT + LETHE_QUOTA_OVER_RELEASE) continue;
    if (place == IN_EVENT + LETHE_QUOTA_STUCK) continue;
    if (acted[place] == 0) fail_msg("place %d was never reached", place);
  }
}

/* ---- shutting down between any two steps ----------------------------------------------------- */

static void shutdown_between_any_two_turns(void **state) {
  (void)state;
  for (int turns = 0; turns < 8; turns++)
    for (int way = 0; way < 3; way++) {
      struct forest forest = {.place = -1};
      f = &forest;
      plant(way == 0 ? COLLAPSES : way == 1 ? LATER : NEVER, false);
      by_hand_ask(&f->w, &f->hand, 30 * MIB);
      for (int i = 0; i < turns; i++) {
        lethe_loop_turn(f->w.loop);
        if (i == 3) lethe_loop_advance(f->w.loop, 1);
      }
      lethe_quota_shutdown(f->w.t);
      world_turn(&f->w);
      assert_true(f->hand.done);
      uproot();
    }
}

static struct world *nesting;
static int depth, deepest;

static void configure_in_event(struct world *w, const struct lethe_quota_event *e) {
  struct lethe_quota_change c = {.set_deadline = true, .to.deadline = 2};
  const char *why;
  if (e->type != LETHE_QUOTA_RECONFIGURED || depth >= 3) return;
  if (++depth > deepest) deepest = depth;
  assert_int_equal(lethe_quota_configure(w->t, &c, &why), 0); /* an event in an event */
  depth--;
}

static void events_may_cause_events(void **state) {
  struct world w;
  struct lethe_quota_change c = {.set_deadline = true, .to.deadline = 2};
  const char *why;
  (void)state;
  nesting = &w;
  world_begin(&w, 20 * MIB, -1);
  w.on_event = configure_in_event;
  assert_int_equal(lethe_quota_configure(w.t, &c, &why), 0);
  assert_int_equal(deepest, 3);
  assert_int_equal(events_of(&w, LETHE_QUOTA_RECONFIGURED), 4);
  world_end(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_act_in_every_place),
      cmocka_unit_test(shutdown_between_any_two_turns),
      cmocka_unit_test(events_may_cause_events),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
