/* SPDX-License-Identifier: MIT
 * The quota tracker without Lua: participants, claims and releases, caches and account limits (rows
 * D, E and G6 of its sheet). */
#include "quota_world.h"

static int try_claim(struct part *p, int64_t n) { return lethe_quota_claim(&p->h, n); }

static int state_of(struct part *p) { return lethe_quota_handle_state(&p->h); }

/* One tracker, one account, one participant. */
struct one {
  struct world w;
  uint64_t a;
  struct part p;
};

static void one_begin(struct one *o) {
  world_begin(&o->w, 20 * MIB, -1);
  o->a = account(&o->w, "a");
  part_open(&o->w, &o->p, o->a, 1);
}

static void one_end(struct one *o) {
  part_close(&o->p);
  close_account(&o->w, o->a);
  assert_int_equal(used(&o->w), 0);
  world_end(&o->w);
}

/* ---- D: participants ------------------------------------------------------------------------- */

static void D1_registering_claims_a_cache(void **state) {
  struct one o;
  (void)state;
  one_begin(&o);
  assert_int_equal(used(&o.w), LETHE_QUOTA_CACHE);
  assert_int_equal(lethe_quota_handle_used(&o.p.h), 0);
  assert_int_equal(lethe_quota_handle_participant(&o.p.h), o.p.id);
  assert_int_equal(lethe_quota_handle_account(&o.p.h), o.a);
  one_end(&o);
}

static void D1_registering_fails_where_the_account_is_closed(void **state) {
  struct world w;
  struct part p;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account(&w, "a");
  close_account(&w, a);
  assert_int_equal(lethe_quota_handle_open(&p.h, w.m, a, &p, false, &p.id), LETHE_EACCOUNT);
  lethe_quota_shutdown(w.t);
  assert_int_equal(lethe_quota_handle_open(&p.h, w.m, a, &p, false, &p.id), LETHE_ESHUTDOWN);
  world_end(&w);
}

static void D3_a_clone_has_an_empty_cache(void **state) {
  struct one o;
  struct lethe_quota_handle clone;
  (void)state;
  one_begin(&o);
  lethe_quota_handle_clone(&clone, &o.p.h);
  assert_int_equal(used(&o.w), LETHE_QUOTA_CACHE);
  assert_int_equal(lethe_quota_handle_participant(&clone), o.p.id);
  assert_int_equal(lethe_quota_claim(&clone, 1), LETHE_OK);
  assert_int_equal(used(&o.w), LETHE_QUOTA_CACHE + 1 + 12288);
  lethe_quota_handle_close(&clone);
  assert_int_equal(used(&o.w), LETHE_QUOTA_CACHE + 1); /* what it claimed stays the participant's */
  assert_int_equal(lethe_quota_handle_used(&o.p.h), 1);
  world_check(&o.w);
  one_end(&o);
}

static void D3_a_clone_of_a_dead_participant_is_dead(void **state) {
  struct one o;
  struct lethe_quota_handle clone;
  (void)state;
  one_begin(&o);
  lethe_quota_handle_destroy(&o.p.h);
  lethe_quota_handle_clone(&clone, &o.p.h);
  assert_int_equal(lethe_quota_claim(&clone, 0), LETHE_EPARTICIPANT);
  assert_int_equal(lethe_quota_handle_account(&clone), o.a);
  lethe_quota_handle_close(&clone);
  one_end(&o);
}

static void D4_a_clone_releases_what_another_claimed(void **state) {
  struct one o;
  struct lethe_quota_handle b, c;
  (void)state;
  one_begin(&o);
  lethe_quota_handle_clone(&b, &o.p.h);
  lethe_quota_handle_clone(&c, &o.p.h);
  claim(&o.p, 50000);
  assert_int_equal(lethe_quota_claim(&b, 30000), LETHE_OK);
  lethe_quota_release(&c, 75000);
  world_check(&o.w);
  assert_int_equal(lethe_quota_handle_used(&c), 5000);
  assert_int_equal(events_of(&o.w, LETHE_QUOTA_OVER_RELEASE), 0);
  assert_int_equal(lethe_quota_handle_close(&o.p.h), 0);
  lethe_quota_release(&c, 5000);
  assert_int_equal(lethe_quota_handle_used(&b), 0);
  assert_int_equal(lethe_quota_handle_close(&c), 0);
  assert_int_equal(lethe_quota_handle_close(&b), 0);
  assert_int_equal(used(&o.w), 0);
  one_end(&o);
}

static void D4_the_last_handle_releases_all(void **state) {
  struct one o;
  struct lethe_quota_handle clone;
  (void)state;
  one_begin(&o);
  lethe_quota_handle_clone(&clone, &o.p.h);
  claim(&o.p, 100000);
  assert_int_equal(lethe_quota_handle_close(&o.p.h), 0);
  assert_int_equal(used(&o.w), 100000);
  assert_int_equal(lethe_quota_handle_close(&clone), 100000);
  assert_int_equal(used(&o.w), 0);
  assert_int_equal(stats(&o.w).participants, 0);
  assert_int_equal(lethe_quota_handle_close(&clone), 0); /* again */
  one_end(&o);
}

static void D5_destroy_ends_every_clone(void **state) {
  struct one o;
  struct lethe_quota_handle clone;
  (void)state;
  one_begin(&o);
  lethe_quota_handle_clone(&clone, &o.p.h);
  claim(&o.p, 100000);
  lethe_quota_handle_destroy(&o.p.h);
  assert_int_equal(used(&o.w), 0);
  assert_int_equal(try_claim(&o.p, 1), LETHE_EPARTICIPANT);
  assert_int_equal(lethe_quota_claim(&clone, 0), LETHE_EPARTICIPANT);
  lethe_quota_release(&clone, 100);
  lethe_quota_handle_destroy(&clone);
  assert_true(lives(&o.w, o.a));
  assert_int_equal(lethe_quota_handle_account(&clone), o.a);
  assert_int_equal(lethe_quota_account_upgrade(o.w.t, lethe_quota_handle_account(&clone)),
                   LETHE_OK);
  close_account(&o.w, o.a);
  assert_int_equal(lethe_quota_handle_close(&clone), 0);
  one_end(&o);
}

static void D6_a_lost_participant_is_torn_down_by_the_next_pass(void **state) {
  struct one o;
  (void)state;
  one_begin(&o);
  claim(&o.p, 5 * MIB);
  o.p.says = -1;
  world_turn(&o.w);
  assert_int_equal(state_of(&o.p), LETHE_OK); /* no pass, nobody knows */
  by_hand(&o.w, 1 * MIB);
  assert_int_equal(used(&o.w), 0);
  assert_int_equal(state_of(&o.p), LETHE_EPARTICIPANT);
  assert_int_equal(o.p.asked, 0);
  assert_true(lives(&o.w, o.a));
  const struct lethe_quota_event *e = event_of(&o.w, LETHE_QUOTA_PARTICIPANT_LOST, 0);
  assert_int_equal(e->account, o.a);
  assert_string_equal(e->name, "a");
  assert_int_equal(e->bytes, 5 * MIB);
  assert_int_equal(stats(&o.w).condemned, 0);
  one_end(&o);
}

/* ---- E: claim and release -------------------------------------------------------------------- */

static void E1_a_cached_claim_changes_no_sum(void **state) {
  struct one o;
  (void)state;
  one_begin(&o);
  for (int i = 0; i < 16384; i++) claim(&o.p, 1);
  assert_int_equal(used(&o.w), 16384);
  claim(&o.p, 1);
  assert_int_equal(used(&o.w), 16384 + 1 + 12288);
  one_end(&o);
}

static void E1_a_dead_handle_refuses_at_once_even_what_is_cached(void **state) {
  struct one o;
  (void)state;
  one_begin(&o);
  lethe_quota_account_clone(o.w.t, o.a);
  close_account(&o.w, o.a);
  close_account(&o.w, o.a);
  assert_int_equal(try_claim(&o.p, 0), LETHE_EACCOUNT);
  assert_int_equal(try_claim(&o.p, 1), LETHE_EACCOUNT);
  part_close(&o.p);
  world_end(&o.w);
}

static void E2_errors_come_in_their_order(void **state) {
  struct one o;
  (void)state;
  one_begin(&o);
  lethe_quota_handle_destroy(&o.p.h);
  assert_int_equal(try_claim(&o.p, 1), LETHE_EPARTICIPANT);
  close_account(&o.w, o.a);
  assert_int_equal(try_claim(&o.p, 1), LETHE_EACCOUNT);
  lethe_quota_shutdown(o.w.t);
  assert_int_equal(try_claim(&o.p, 1), LETHE_ESHUTDOWN);
  part_close(&o.p);
  world_end(&o.w);
}

static void E2_an_absurd_claim_changes_nothing(void **state) {
  struct one o;
  (void)state;
  one_begin(&o);
  assert_int_equal(try_claim(&o.p, INT64_MAX), LETHE_ELIMIT);
  assert_int_equal(try_claim(&o.p, INT64_MAX / 2), LETHE_ELIMIT);
  assert_int_equal(used(&o.w), 16384);
  world_turn(&o.w);
  assert_int_equal(stats(&o.w).reclaims, 0);
  one_end(&o);
}

static void E4_a_claim_far_above_max_succeeds_and_wakes(void **state) {
  struct one o;
  (void)state;
  one_begin(&o);
  claim(&o.p, 1000 * (int64_t)MIB);
  assert_int_equal(used(&o.w), 1000 * (int64_t)MIB + 16384);
  assert_int_equal(o.p.asked, 0);
  world_turn(&o.w);
  assert_int_equal(o.p.asked, 1);
  assert_int_equal(used(&o.w), 0);
  one_end(&o);
}

static void E5_release_through_a_dead_handle_is_harmless(void **state) {
  struct one o;
  (void)state;
  one_begin(&o);
  claim(&o.p, 1000);
  lethe_quota_shutdown(o.w.t);
  lethe_quota_release(&o.p.h, 1000);
  lethe_quota_release(&o.p.h, INT64_MAX);
  assert_int_equal(used(&o.w), 0);
  part_close(&o.p);
  close_account(&o.w, o.a);
  world_end(&o.w);
}

static void E6_golden_trajectory(void **state) {
  static const int64_t n[] = {1, 1000, 14384, 3000, 16384, 16383, 16385, 0};
  static const int64_t after_claim[] = {16384, 16384, 16384, 30673, 47057, 63440, 79825, 79825};
  static const int64_t released[] = {1, 1000, 14384, 3000, 16384, 16383, 16385};
  static const int64_t after_release[] = {79825, 79825, 56248, 56248, 36864, 20481, 4096};
  struct one o;
  (void)state;
  one_begin(&o);
  assert_int_equal(used(&o.w), 16384);
  for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
    claim(&o.p, n[i]);
    assert_int_equal(used(&o.w), after_claim[i]);
  }
  for (size_t i = 0; i < sizeof released / sizeof *released; i++) {
    lethe_quota_release(&o.p.h, released[i]);
    assert_int_equal(used(&o.w), after_release[i]);
  }
  part_close(&o.p);
  assert_int_equal(used(&o.w), 0);
  close_account(&o.w, o.a);
  world_end(&o.w);
}

static void E6_golden_trajectory_down_to_a_max_of_one_mebibyte(void **state) {
  struct world w;
  struct part p;
  (void)state;
  world_begin(&w, MIB, -1);
  uint64_t a = account(&w, "a");
  part_open(&w, &p, a, 1);
  claim(&p, 15385);
  claim(&p, 3000);
  assert_int_equal(used(&w), 30673);
  part_close(&p);
  close_account(&w, a);
  world_end(&w);
}

static void E7_the_invariants_hold_after_every_operation(void **state) {
  struct one o;
  struct lethe_quota_handle clone;
  int64_t held = 0;
  (void)state;
  one_begin(&o);
  lethe_quota_handle_clone(&clone, &o.p.h);
  for (int64_t i = 1; i < 3000; i++) {
    struct lethe_quota_handle *h = i % 3 ? &o.p.h : &clone;
    int64_t n = i * 7919 % 20000;
    if (i % 2 || held < n) {
      assert_int_equal(lethe_quota_claim(h, n), LETHE_OK);
      held += n;
    } else {
      lethe_quota_release(h, n);
      held -= n;
    }
    if (used(&o.w) > 19 * MIB) {
      lethe_quota_release(h, held);
      held = 0;
    }
    assert_true(o.p.h.cache <= LETHE_QUOTA_CACHE && clone.cache <= LETHE_QUOTA_CACHE);
    assert_int_equal(used(&o.w), held + o.p.h.cache + clone.cache);
    world_check(&o.w);
  }
  lethe_quota_handle_close(&clone);
  one_end(&o);
}

/* ---- caches ---------------------------------------------------------------------------------- */

static void caches_shrink_with_the_number_of_handles(void **state) {
  enum { N = 100 };
  struct world w;
  struct part p[N];
  (void)state;
  world_begin(&w, MIB, -1);
  uint64_t a = account(&w, "a");
  int64_t sum = 0;
  for (int i = 0; i < N; i++) {
    part_open(&w, &p[i], a, 1);
    int64_t expected = MIB / (8 * (i + 1));
    if (expected > 16384) expected = 16384;
    sum += expected;
    assert_int_equal(p[i].h.cache, expected);
    assert_int_equal(used(&w), sum);
  }
  claim(&p[0], 20000); /* an old handle learns of it on its slow path */
  assert_int_equal(p[0].h.cap, MIB / (8 * N));
  for (int i = 0; i < N; i++) part_close(&p[i]);
  close_account(&w, a);
  world_end(&w);
}

static void caches_are_bounded_by_every_max_above(void **state) {
  struct world w;
  struct part p, q;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t top = account_with(&w, 0, (struct lethe_quota_account_config){.max = 64000});
  uint64_t mid = child(&w, top), a = child(&w, mid);
  part_open(&w, &p, a, 1);
  assert_int_equal(p.h.cap, 8000);
  assert_int_equal(used(&w), 8000);
  part_open(&w, &q, mid, 1);
  assert_int_equal(q.h.cap, 4000);
  claim(&p, 8001);
  assert_int_equal(p.h.cap, 4000);
  world_check(&w);
  part_close(&p);
  part_close(&q);
  close_account(&w, a);
  close_account(&w, mid);
  close_account(&w, top);
  world_end(&w);
}

static void tiny_trackers_are_legal(void **state) {
  struct world w;
  struct part p;
  (void)state;
  world_begin(&w, 4, 1);
  uint64_t a = account(&w, "a");
  part_open(&w, &p, a, 1);
  assert_int_equal(used(&w), 0);
  claim(&p, 1);
  claim(&p, 3);
  assert_int_equal(used(&w), 4);
  lethe_quota_release(&p.h, 4);
  assert_int_equal(used(&w), 0);
  part_close(&p);
  close_account(&w, a);
  world_end(&w);
}

static void exact_participants_have_no_cache_and_are_never_asked(void **state) {
  struct one o;
  struct part x;
  (void)state;
  one_begin(&o);
  uint64_t b = account(&o.w, "b");
  x = (struct part){.w = &o.w, .says = 1};
  assert_int_equal(lethe_quota_handle_open(&x.h, o.w.m, b, &x, true, &x.id), 0);
  assert_int_equal(info(&o.w, b).used, 0);
  for (int64_t i = 1; i < 100; i++) {
    claim(&x, i);
    assert_int_equal(info(&o.w, b).used, i);
    lethe_quota_release(&x.h, i - 1);
    assert_int_equal(info(&o.w, b).used, 1);
    lethe_quota_release(&x.h, 1);
  }
  claim(&x, 30 * MIB);
  world_turn(&o.w);
  assert_int_equal(x.ages, 0);
  assert_int_equal(x.asked, 0);
  assert_int_equal(event_of(&o.w, LETHE_QUOTA_RECLAIM_STOP, 0)->outcome, LETHE_QUOTA_IS_STUCK);
  assert_true(lives(&o.w, b));
  part_close(&x);
  close_account(&o.w, b);
  one_end(&o);
}

static void exact_participants_go_with_their_account(void **state) {
  struct world w;
  struct part p, x;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account(&w, "a");
  part_holding(&w, &p, a, 1, 18 * MIB);
  x = (struct part){.w = &w, .says = 1};
  assert_int_equal(lethe_quota_handle_open(&x.h, w.m, a, &x, true, &x.id), 0);
  claim(&x, 3 * MIB);
  world_turn(&w);
  assert_false(lives(&w, a));
  assert_int_equal(x.asked, 0);
  assert_int_equal(x.collapsed, 1);
  assert_true(lethe_quota_handle_condemned(&x.h));
  assert_int_equal(stats(&w).condemned, 21 * MIB);
  lethe_quota_release(&x.h, 3 * MIB); /* the allocator has them back */
  assert_false(lethe_quota_handle_condemned(&x.h));
  assert_int_equal(stats(&w).condemned, 18 * MIB);
  part_close(&x);
  part_close(&p);
  close_account(&w, a);
  world_end(&w);
}

/* ---- account limits -------------------------------------------------------------------------- */

static void limit_is_exact_to_the_byte(void **state) {
  struct world w;
  struct part p;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account_with(&w, 0, (struct lethe_quota_account_config){.max = 100000});
  part_open(&w, &p, a, NAN);
  assert_int_equal(try_claim(&p, 100001), LETHE_ELIMIT);
  for (int i = 0; i < 100000 / 100; i++) claim(&p, 100);
  assert_int_equal(try_claim(&p, 1), LETHE_ELIMIT);
  assert_int_equal(info(&w, a).used, 100000);
  assert_int_equal(try_claim(&p, 0), LETHE_OK);
  lethe_quota_release(&p.h, 1);
  assert_int_equal(try_claim(&p, 2), LETHE_ELIMIT);
  assert_int_equal(try_claim(&p, 1), LETHE_OK);
  world_turn(&w);
  world_check(&w);
  part_close(&p);
  close_account(&w, a);
  world_end(&w);
}

static void limit_calls_unspent_caches_of_others_back(void **state) {
  enum { N = 100 };
  struct world w;
  struct part p[N], q;
  uint64_t b[N];
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t top = account_with(&w, 0, (struct lethe_quota_account_config){.max = MIB});
  uint64_t a = child(&w, top);
  for (int i = 0; i < N; i++) part_open(&w, &p[i], b[i] = child(&w, a), NAN);
  assert_true(info(&w, top).children_used > MIB / 4);
  part_open(&w, &q, top, NAN);
  assert_int_equal(try_claim(&q, MIB + 1), LETHE_ELIMIT);
  assert_int_equal(try_claim(&q, MIB), LETHE_OK);
  assert_int_equal(info(&w, top).children_used, 0);
  assert_int_equal(info(&w, top).used, MIB);
  assert_int_equal(try_claim(&p[5], 1), LETHE_ELIMIT);
  lethe_quota_release(&q.h, 10);
  assert_int_equal(try_claim(&p[5], 10), LETHE_OK);
  world_check(&w);
  part_close(&q);
  for (int i = 0; i < N; i++) {
    part_close(&p[i]);
    close_account(&w, b[i]);
  }
  close_account(&w, a);
  close_account(&w, top);
  world_end(&w);
}

static void limit_behind_a_limit_calls_caches_back_of_both(void **state) {
  struct world w;
  struct part p, q, r;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t top = account_with(&w, 0, (struct lethe_quota_account_config){.max = 200000});
  uint64_t a = account_with(&w, top, (struct lethe_quota_account_config){.max = 150000});
  uint64_t b = child(&w, top);
  part_open(&w, &p, a, NAN);
  part_open(&w, &q, a, NAN);
  part_open(&w, &r, b, NAN);
  claim(&r, 50000);
  assert_true(info(&w, b).used > 50000);
  assert_int_equal(try_claim(&p, 150000), LETHE_OK); /* first a's caches, then those below top */
  assert_int_equal(info(&w, b).used, 50000);
  world_check(&w);
  part_close(&p);
  part_close(&q);
  part_close(&r);
  close_account(&w, a);
  close_account(&w, b);
  close_account(&w, top);
  world_end(&w);
}

static void limit_of_a_diamond_counts_once(void **state) {
  struct world w;
  struct part p;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t top = account_with(&w, 0, (struct lethe_quota_account_config){.max = 100000});
  uint64_t left = child(&w, top), right = child(&w, top), a = child(&w, left);
  assert_int_equal(lethe_quota_account_add_parent(w.t, a, right), LETHE_OK);
  part_open(&w, &p, a, NAN);
  assert_int_equal(try_claim(&p, 100000), LETHE_OK);
  assert_int_equal(try_claim(&p, 1), LETHE_ELIMIT);
  part_close(&p);
  close_account(&w, a);
  close_account(&w, left);
  close_account(&w, right);
  close_account(&w, top);
  world_end(&w);
}

static void registering_in_a_full_account_succeeds_with_an_empty_cache(void **state) {
  struct world w;
  struct part p, q;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account_with(&w, 0, (struct lethe_quota_account_config){.max = 100000});
  part_open(&w, &p, a, NAN);
  claim(&p, 100000);
  part_open(&w, &q, a, NAN);
  assert_int_equal(q.h.cache, 0);
  assert_int_equal(info(&w, a).used, 100000);
  part_close(&p);
  part_close(&q);
  close_account(&w, a);
  world_end(&w);
}

/* ---- over-release ---------------------------------------------------------------------------- */

static void G6_over_release_is_clamped_and_blamed(void **state) {
  struct one o;
  struct part q;
  (void)state;
  one_begin(&o);
  uint64_t b = account(&o.w, "culprit");
  part_open(&o.w, &q, b, 1);
  claim(&o.p, 10 * MIB);
  claim(&q, 1000);
  lethe_quota_release(&q.h, 8 * MIB);
  world_check(&o.w);
  assert_int_equal(lethe_quota_handle_used(&o.p.h), 10 * MIB);
  assert_int_equal(lethe_quota_handle_used(&q.h), 0);
  assert_int_equal(info(&o.w, o.a).used, 10 * MIB + 16384);
  const struct lethe_quota_event *e = event_of(&o.w, LETHE_QUOTA_OVER_RELEASE, 0);
  assert_int_equal(e->account, b);
  assert_string_equal(e->name, "culprit");
  assert_int_equal(e->bytes, 8 * MIB - 1000);
  lethe_quota_release(&q.h, 1);
  assert_int_equal(event_of(&o.w, LETHE_QUOTA_OVER_RELEASE, 1)->bytes, 1);
  claim(&q, 500);
  assert_int_equal(lethe_quota_handle_used(&q.h), 500);
  part_close(&q);
  close_account(&o.w, b);
  one_end(&o);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(D1_registering_claims_a_cache),
      cmocka_unit_test(D1_registering_fails_where_the_account_is_closed),
      cmocka_unit_test(D3_a_clone_has_an_empty_cache),
      cmocka_unit_test(D3_a_clone_of_a_dead_participant_is_dead),
      cmocka_unit_test(D4_a_clone_releases_what_another_claimed),
      cmocka_unit_test(D4_the_last_handle_releases_all),
      cmocka_unit_test(D5_destroy_ends_every_clone),
      cmocka_unit_test(D6_a_lost_participant_is_torn_down_by_the_next_pass),
      cmocka_unit_test(E1_a_cached_claim_changes_no_sum),
      cmocka_unit_test(E1_a_dead_handle_refuses_at_once_even_what_is_cached),
      cmocka_unit_test(E2_errors_come_in_their_order),
      cmocka_unit_test(E2_an_absurd_claim_changes_nothing),
      cmocka_unit_test(E4_a_claim_far_above_max_succeeds_and_wakes),
      cmocka_unit_test(E5_release_through_a_dead_handle_is_harmless),
      cmocka_unit_test(E6_golden_trajectory),
      cmocka_unit_test(E6_golden_trajectory_down_to_a_max_of_one_mebibyte),
      cmocka_unit_test(E7_the_invariants_hold_after_every_operation),
      cmocka_unit_test(caches_shrink_with_the_number_of_handles),
      cmocka_unit_test(caches_are_bounded_by_every_max_above),
      cmocka_unit_test(tiny_trackers_are_legal),
      cmocka_unit_test(exact_participants_have_no_cache_and_are_never_asked),
      cmocka_unit_test(exact_participants_go_with_their_account),
      cmocka_unit_test(limit_is_exact_to_the_byte),
      cmocka_unit_test(limit_calls_unspent_caches_of_others_back),
      cmocka_unit_test(limit_behind_a_limit_calls_caches_back_of_both),
      cmocka_unit_test(limit_of_a_diamond_counts_once),
      cmocka_unit_test(registering_in_a_full_account_succeeds_with_an_empty_cache),
      cmocka_unit_test(G6_over_release_is_clamped_and_blamed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
