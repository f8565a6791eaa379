/* SPDX-License-Identifier: MIT
 * The quota tracker without Lua: no memory at any allocation, callbacks that fail at any call, and
 * an audit that names each sum that was put off. */
#include "quota_world.h"

/* A world in which every operation has something to work on. */
struct ground {
  struct world w;
  uint64_t top, a, b, c; /* a and b are below top, whose max leaves no room; c stands alone */
  struct part p, q, r;
  struct lethe_quota_handle clone;
  uint64_t made;
  struct part opened;
  struct lethe_quota *tracker;
  struct lethe_quota_member *member;
  struct lethe_quota_policy *policy;
  struct lethe_quota_wait wait;
  int waits;
  struct by_hand hand;
};

static void on_wait(struct lethe_quota_wait *w, int code) {
  struct ground *g = lethe_container_of(w, struct ground, wait);
  (void)code;
  g->waits--;
}

static void ground_begin(struct ground *g) {
  memset(g, 0, sizeof *g);
  world_begin(&g->w, 20 * MIB, -1);
  struct lethe_quota_account_config c = {.name = "top", .max = 4 * MIB};
  g->top = account_with(&g->w, 0, c);
  g->a = child(&g->w, g->top);
  g->b = child(&g->w, g->top);
  g->c = account(&g->w, NULL);
  part_holding(&g->w, &g->p, g->a, 1, 2 * MIB);
  part_holding(&g->w, &g->q, g->b, 2, 2 * MIB);
  part_open(&g->w, &g->r, g->c, 3);
  g->p.manner = STAYS;
  g->p.gives = 300000;
  lethe_quota_handle_clone(&g->clone, &g->q.h);
  g->w.n = 0;
}

static void ground_end(struct ground *g) {
  world_turn(&g->w);
  lethe_loop_advance(g->w.loop, 20);
  world_check(&g->w);
  if (g->waits > 0 && lethe_quota_wait_cancel(&g->wait)) g->waits--;
  lethe_quota_handle_close(&g->clone);
  if (g->opened.h.tracker) part_close(&g->opened);
  part_close(&g->p);
  part_close(&g->q);
  part_close(&g->r);
  if (g->made) close_account(&g->w, g->made);
  close_account(&g->w, g->top);
  close_account(&g->w, g->a);
  close_account(&g->w, g->b);
  close_account(&g->w, g->c);
  if (g->member) lethe_quota_member_delete(g->member);
  if (g->policy) lethe_quota_policy_put(g->policy);
  if (g->tracker) lethe_quota_put(g->tracker);
  assert_int_equal(g->waits, 0);
  assert_int_equal(used(&g->w), 0);
  world_end(&g->w);
}

/* ---- operations ------------------------------------------------------------------------------ */

static int make_tracker(struct ground *g) {
  struct lethe_quota_config c = {.max = -1, .low_water = -1};
  const char *why;
  return lethe_quota_new(&g->tracker, &g->w.memory.alloc, &c, NULL, NULL, &why);
}
static int make_noop(struct ground *g) { return lethe_quota_noop(&g->tracker, &g->w.memory.alloc); }
static int make_member(struct ground *g) {
  return lethe_quota_member_new(&g->member, g->w.t, g->w.loop, &part_ops, &g->w);
}
static int make_policy(struct ground *g) {
  g->policy = lethe_quota_policy_builtin(&g->w.memory.alloc, "largest", g->w.t);
  return g->policy ? LETHE_OK : LETHE_ENOMEM;
}
static int new_account(struct ground *g, struct lethe_quota_account_config c, uint64_t parent) {
  c.max = c.max ? c.max : LETHE_QUOTA_NO_LIMIT;
  return lethe_quota_account_new(g->w.t, &c, parent, &g->made);
}
static int make_account(struct ground *g) {
  return new_account(g, (struct lethe_quota_account_config){0}, 0);
}
static int make_named(struct ground *g) {
  return new_account(g, (struct lethe_quota_account_config){.name = "n", .reserve = 1}, 0);
}
static int make_child(struct ground *g) {
  return new_account(g, (struct lethe_quota_account_config){.name = "n"}, g->c);
}
static int link_accounts(struct ground *g) {
  return lethe_quota_account_add_parent(g->w.t, g->a, g->c);
}
static int link_without_room(struct ground *g) {
  int rc = lethe_quota_account_add_parent(g->w.t, g->c, g->top);
  return rc == LETHE_ELIMIT ? LETHE_OK
                            : rc; /* there is room, once caches are back, or there is not */
}
static int open_participant(struct ground *g, uint64_t a) {
  g->opened = (struct part){.w = &g->w, .says = 1, .age = 9};
  return lethe_quota_handle_open(&g->opened.h, g->w.m, a, &g->opened, false, &g->opened.id);
}
static int open_first(struct ground *g) {
  g->made = account(&g->w, NULL);
  return open_participant(g, g->made);
}
static int open_second(struct ground *g) { return open_participant(g, g->c); }
static int claim_slowly(struct ground *g) { return lethe_quota_claim(&g->r.h, 100000); }
static int claim_refused(struct ground *g) {
  int rc = lethe_quota_claim(&g->q.h, 1000000);
  world_turn(&g->w);
  return rc == LETHE_ELIMIT ? LETHE_OK : rc;
}
static int release_too_much(struct ground *g) {
  lethe_quota_release(&g->q.h, 3 * MIB);
  return LETHE_OK;
}
static int claim_and_wait(struct ground *g) {
  int rc = lethe_quota_claim_wait(&g->q.h, 1000000, &g->wait, on_wait);
  if (rc == 1) g->waits = 1;
  world_turn(&g->w);
  return rc == 1 ? LETHE_OK : rc;
}
static int pass_by_max(struct ground *g) {
  claim(&g->r, 21 * MIB);
  world_turn(&g->w);
  return LETHE_OK;
}
static int pass_by_hand(struct ground *g) {
  by_hand_ask(&g->w, &g->hand, 100 * MIB);
  world_turn(&g->w);
  assert_true(g->hand.done);
  return LETHE_OK;
}
static int order(struct lethe_quota_policy *p, const struct lethe_quota_candidate *c, size_t n,
                 uint32_t *ranking, size_t *ranked) {
  (void)p;
  (void)c;
  for (*ranked = 0; *ranked < n; ++*ranked) ranking[*ranked] = (uint32_t)*ranked;
  return LETHE_OK;
}
static void keep(struct lethe_quota_policy *p) { (void)p; }
static struct lethe_quota_policy ordering = {.destroy = keep, .order = order};

static int pass_by_order(struct ground *g) {
  struct lethe_quota_change c = {.policy = &ordering};
  const char *why;
  assert_int_equal(lethe_quota_configure(g->w.t, &c, &why), 0);
  return pass_by_hand(g);
}
/* Another loop's: the way there needs memory too. */
static int pass_elsewhere(struct ground *g) {
  struct lethe_loop *loop;
  struct lethe_quota_policy policy = {.destroy = keep, .order = order};
  struct lethe_quota_change c = {.policy = &policy};
  const char *why;
  if (lethe_loop_new(&loop, &g->w.memory.alloc, LETHE_CLOCK_VIRTUAL, NULL)) return LETHE_ENOMEM;
  lethe_ref_init(&policy.refs);
  policy.loop = loop;
  assert_int_equal(lethe_quota_configure(g->w.t, &c, &why), 0);
  by_hand_ask(&g->w, &g->hand, 100 * MIB);
  for (int i = 0; i < 20 && !g->hand.done; i++) {
    world_turn(&g->w);
    lethe_loop_turn(loop);
  }
  assert_true(g->hand.done);
  lethe_loop_close(loop);
  lethe_loop_put(loop);
  c.policy = lethe_quota_policy_builtin(&lethe_alloc_libc, "oldest", g->w.t);
  assert_int_equal(lethe_quota_configure(g->w.t, &c, &why), 0);
  lethe_quota_policy_put(c.policy);
  return LETHE_OK;
}
static int plan(struct ground *g) {
  struct lethe_quota_planned out[4];
  size_t n;
  return lethe_quota_plan(g->w.t, g->w.m, INT64_MAX, out, 4, &n);
}
static int plan_by_order(struct ground *g) {
  struct lethe_quota_change c = {.policy = &ordering};
  const char *why;
  assert_int_equal(lethe_quota_configure(g->w.t, &c, &why), 0);
  return plan(g);
}
static int top(struct ground *g) {
  struct lethe_quota_account_info out[4];
  return lethe_quota_top(g->w.t, out, 4) == 4 ? LETHE_OK : LETHE_ENOMEM;
}
static int configure(struct ground *g) {
  struct lethe_quota_change c = {.set_max = true, .to.max = 2 * MIB};
  const char *why;
  int rc = lethe_quota_configure(g->w.t, &c, &why);
  world_turn(&g->w);
  return rc;
}
static int end_an_account(struct ground *g) {
  lethe_quota_account_clone(g->w.t, g->top);
  close_account(&g->w, g->top);
  close_account(&g->w, g->a);
  lethe_quota_account_clone(g->w.t, g->a); /* for the end, and of an ended account */
  return LETHE_OK;
}

static const struct {
  const char *name;
  int (*run)(struct ground *g);
} operations[] = {{"make_tracker", make_tracker},
                  {"make_noop", make_noop},
                  {"make_member", make_member},
                  {"make_policy", make_policy},
                  {"make_account", make_account},
                  {"make_named", make_named},
                  {"make_child", make_child},
                  {"link_accounts", link_accounts},
                  {"link_without_room", link_without_room},
                  {"open_first", open_first},
                  {"open_second", open_second},
                  {"claim_slowly", claim_slowly},
                  {"claim_refused", claim_refused},
                  {"release_too_much", release_too_much},
                  {"claim_and_wait", claim_and_wait},
                  {"pass_by_max", pass_by_max},
                  {"pass_by_hand", pass_by_hand},
                  {"pass_by_order", pass_by_order},
                  {"pass_elsewhere", pass_elsewhere},
                  {"plan", plan},
                  {"plan_by_order", plan_by_order},
                  {"top", top},
                  {"configure", configure},
                  {"end_an_account", end_an_account}};

/* One try whose n-th allocation fails, alone or with all after it. False: it did not get so far. */
static bool try_failing(size_t k, uint64_t n, bool sticky) {
  struct ground g;
  ground_begin(&g);
  g.w.memory.sticky = sticky;
  test_alloc_fail(&g.w.memory, n);
  int rc = operations[k].run(&g);
  bool failed = g.w.memory.failed > 0;
  test_alloc_fail(&g.w.memory, 0);
  if (rc != LETHE_OK && rc != LETHE_ENOMEM)
    fail_msg("%s, allocation %d: %s", operations[k].name, (int)n, lethe_errname(rc));
  if (rc != LETHE_OK) assert_true(failed);
  world_check(&g.w);
  /* Whatever failed, the tracker works on: a pass frees everything that is not a stayer's. */
  world_turn(&g.w);
  lethe_loop_advance(g.w.loop, 20);
  by_hand(&g.w, 1000 * (int64_t)MIB);
  ground_end(&g);
  return failed;
}

static void no_memory_at_any_allocation(void **state) {
  (void)state;
  lethe_ref_init(&ordering.refs);
  for (size_t k = 0; k < sizeof operations / sizeof *operations; k++)
    for (int sticky = 0; sticky < 2; sticky++) {
      uint64_t n = 1;
      while (try_failing(k, n, sticky)) n++;
      assert_true(n < 1000);
    }
}

/* ---- callbacks ------------------------------------------------------------------------------- */

static void callbacks_that_fail_at_any_call(void **state) {
#ifdef LETHE_FAULTS
  for (size_t k = 12; k < sizeof operations / sizeof *operations; k++) {
    bool reached = true;
    for (uint64_t n = 1; reached; n++) {
      struct ground g;
      ground_begin(&g);
      lethe_fault_arm(LETHE_FAULT_CALLBACK, n);
      assert_int_equal(operations[k].run(&g), LETHE_OK);
      reached = lethe_fault_passed(LETHE_FAULT_CALLBACK) >= n;
      lethe_fault_arm(LETHE_FAULT_CALLBACK, 0);
      ground_end(&g);
    }
  }
#endif
  (void)state;
}

/* ---- the audit ------------------------------------------------------------------------------- */

static void the_audit_names_each_sum_that_is_off(void **state) {
#ifdef LETHE_FAULTS
  static const char *const names[] = {
      "used of tracker",        "condemned of tracker",     "handles of tracker",
      "used of account",        "children_used of account", "handles of account",
      "peak of account",        "used of participant",      "handles of participant",
      "own handles of account", "participants of tracker"};
  for (int which = 0; which < 11; which++)
    for (int64_t delta = -1; delta <= 1; delta += 2) {
      struct ground g;
      char why[200] = "";
      if (which == 6 && delta < 0) continue; /* a peak above what is used is no fault */
      ground_begin(&g);
      assert_true(lethe_quota_corrupt(g.w.t, which, delta));
      assert_int_equal(lethe_quota_check(g.w.t, why, sizeof why), LETHE_EBROKEN);
      if (strncmp(why, names[which], strlen(names[which])) != 0)
        fail_msg("expected \"%s\", got \"%s\"", names[which], why);
      assert_non_null(strstr(why, "its parts add up to"));
      if (which == 6)
        claim(&g.p, 0); /* an account's peak mends itself with its next charge */
      else
        assert_true(lethe_quota_corrupt(g.w.t, which, -delta));
      if (which == 6) lethe_quota_corrupt(g.w.t, which, 0);
      world_check(&g.w);
      ground_end(&g);
    }
  struct world w;
  world_begin(&w, 20 * MIB, -1);
  assert_false(lethe_quota_corrupt(w.t, 3, 1)); /* there is nothing to corrupt */
  assert_false(lethe_quota_corrupt(w.t, 7, 1));
  assert_false(lethe_quota_corrupt(w.t, 99, 1));
  world_end(&w);
#endif
  (void)state;
}

static void a_size_class_that_is_off_is_found(void **state) {
#ifdef LETHE_FAULTS
  struct ground g;
  char why[200];
  ground_begin(&g);
  /* The sums agree with each other, but the account is in the list of another size. */
  assert_true(lethe_quota_corrupt(g.w.t, 11, 0));
  assert_int_equal(lethe_quota_check(g.w.t, why, sizeof why), LETHE_EBROKEN);
  assert_non_null(strstr(why, "size class of account"));
  assert_true(lethe_quota_corrupt(g.w.t, 11, 0));
  world_check(&g.w);
  ground_end(&g);
#endif
  (void)state;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(no_memory_at_any_allocation),
      cmocka_unit_test(callbacks_that_fail_at_any_call),
      cmocka_unit_test(the_audit_names_each_sum_that_is_off),
      cmocka_unit_test(a_size_class_that_is_off_is_found),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
