/* SPDX-License-Identifier: MIT
 * The quota tracker without Lua: claims that wait. Order and priority, room at max and at an
 * account's max, passes that make room, and every way in which a wait can end. */
#include "quota_world.h"

struct waiter {
  struct lethe_quota_wait wait;
  int rc; /* of claim_wait */
  int code;
  bool done;
  int place; /* among those that were done */
};

static int places;

static void on_done(struct lethe_quota_wait *w, int code) {
  struct waiter *x = lethe_container_of(w, struct waiter, wait);
  assert_false(x->done);
  x->done = true;
  x->code = code;
  x->place = ++places;
}

static int claim_wait(struct waiter *x, struct part *p, int64_t n) {
  *x = (struct waiter){0};
  return x->rc = lethe_quota_claim_wait(&p->h, n, &x->wait, on_done);
}

static bool granted(const struct waiter *x) { return x->done && x->code == LETHE_OK; }

/* A tracker of 20 MiB that a participant which stays fills up to `room` below max. */
struct full {
  struct world w;
  uint64_t a;
  struct part filler;
};

static void full_begin(struct full *f, int64_t room) {
  places = 0;
  world_begin(&f->w, 20 * MIB, 19 * MIB);
  f->a = account(&f->w, "filler");
  f->filler = (struct part){.w = &f->w, .says = 0};
  assert_int_equal(
      lethe_quota_handle_open(&f->filler.h, f->w.m, f->a, &f->filler, true, &f->filler.id), 0);
  claim(&f->filler, 20 * MIB - room);
}

static void full_end(struct full *f) {
  part_close(&f->filler);
  close_account(&f->w, f->a);
  assert_int_equal(used(&f->w), 0);
  world_end(&f->w);
}

/* One in an account of its own, without a cache. */
static uint64_t open_in(struct full *f, struct part *p, struct lethe_quota_account_config c) {
  uint64_t a = account_with(&f->w, 0, c);
  *p = (struct part){.w = &f->w};
  assert_int_equal(lethe_quota_handle_open(&p->h, f->w.m, a, p, true, &p->id), 0);
  return a;
}

static void room_is_claimed_at_once(void **state) {
  struct full f;
  struct part p;
  struct waiter x;
  (void)state;
  full_begin(&f, 1000);
  uint64_t a = open_in(&f, &p, (struct lethe_quota_account_config){0});
  assert_int_equal(claim_wait(&x, &p, 400), LETHE_OK);
  assert_int_equal(claim_wait(&x, &p, 600), LETHE_OK);
  assert_int_equal(used(&f.w), 20 * MIB);
  assert_int_equal(lethe_quota_handle_used(&p.h), 1000);
  assert_int_equal(claim_wait(&x, &p, 1), 1);
  world_turn(&f.w);
  assert_false(x.done);
  lethe_quota_release(&f.filler.h, 1);
  world_turn(&f.w);
  assert_true(granted(&x));
  assert_int_equal(lethe_quota_handle_used(&p.h), 1001);
  assert_int_equal(used(&f.w), 20 * MIB);
  part_close(&p);
  close_account(&f.w, a);
  full_end(&f);
}

static void first_come_first_served_and_no_small_one_passes(void **state) {
  struct full f;
  struct part p, q;
  struct waiter big, small, last;
  (void)state;
  full_begin(&f, 100);
  uint64_t a = open_in(&f, &p, (struct lethe_quota_account_config){0});
  uint64_t b = open_in(&f, &q, (struct lethe_quota_account_config){0});
  assert_int_equal(claim_wait(&big, &p, 1000), 1);
  assert_int_equal(claim_wait(&small, &q, 10), 1); /* it would fit */
  assert_int_equal(claim_wait(&last, &p, 50), 1);
  world_turn(&f.w);
  assert_true(!big.done && !small.done && !last.done);
  lethe_quota_release(&f.filler.h, 899);
  world_turn(&f.w);
  assert_true(!big.done && !small.done);
  lethe_quota_release(&f.filler.h, 1);
  world_turn(&f.w);
  assert_true(granted(&big) && !small.done);
  lethe_quota_release(&f.filler.h, 60);
  world_turn(&f.w);
  assert_true(granted(&small) && granted(&last));
  assert_true(big.place < small.place && small.place < last.place);
  part_close(&p);
  part_close(&q);
  close_account(&f.w, a);
  close_account(&f.w, b);
  full_end(&f);
}

static void higher_priority_is_served_first(void **state) {
  enum { N = 5 };
  static const int32_t priority[N] = {0, 5, -3, 5, 1};
  static const int order[N] = {1, 3, 4, 0, 2};
  struct full f;
  struct part p[N];
  struct waiter x[N];
  uint64_t a[N];
  (void)state;
  full_begin(&f, 0);
  for (int i = 0; i < N; i++) {
    a[i] = open_in(&f, &p[i], (struct lethe_quota_account_config){.priority = priority[i]});
    assert_int_equal(claim_wait(&x[i], &p[i], 100), 1);
  }
  for (int k = 0; k < N; k++) {
    lethe_quota_release(&f.filler.h, 100);
    world_turn(&f.w);
    for (int i = 0; i < N; i++) assert_int_equal(x[order[i]].done, i <= k);
  }
  for (int i = 0; i < N; i++) {
    part_close(&p[i]);
    close_account(&f.w, a[i]);
  }
  full_end(&f);
}

static void a_higher_one_passes_who_waits(void **state) {
  struct full f;
  struct part p, q;
  struct waiter x, y;
  (void)state;
  full_begin(&f, 100);
  uint64_t a = open_in(&f, &p, (struct lethe_quota_account_config){0});
  uint64_t b = open_in(&f, &q, (struct lethe_quota_account_config){.priority = 1});
  assert_int_equal(claim_wait(&x, &p, 1000), 1);
  assert_int_equal(claim_wait(&y, &q, 100), LETHE_OK);
  assert_true(lethe_quota_wait_cancel(&x.wait));
  part_close(&p);
  part_close(&q);
  close_account(&f.w, a);
  close_account(&f.w, b);
  full_end(&f);
}

static void over_limit_at_once_when_it_can_never_fit(void **state) {
  struct full f;
  struct part p;
  struct waiter x;
  (void)state;
  full_begin(&f, 1000);
  uint64_t top = account_with(&f.w, 0, (struct lethe_quota_account_config){.max = 5000});
  uint64_t a = account_with(&f.w, top, (struct lethe_quota_account_config){.max = 9000});
  p = (struct part){.w = &f.w};
  assert_int_equal(lethe_quota_handle_open(&p.h, f.w.m, a, &p, true, &p.id), 0);
  assert_int_equal(claim_wait(&x, &p, 5001), LETHE_ELIMIT);
  assert_int_equal(claim_wait(&x, &p, 20 * MIB + 1), LETHE_ELIMIT);
  assert_int_equal(claim_wait(&x, &p, 5000), 1);
  assert_true(lethe_quota_wait_cancel(&x.wait));
  assert_false(lethe_quota_wait_cancel(&x.wait));
  world_turn(&f.w);
  assert_false(x.done);
  part_close(&p);
  close_account(&f.w, a);
  close_account(&f.w, top);
  full_end(&f);
}

static void a_cancelled_wait_lets_those_behind_it_go(void **state) {
  struct full f;
  struct part p;
  struct waiter x, y;
  (void)state;
  full_begin(&f, 100);
  uint64_t a = open_in(&f, &p, (struct lethe_quota_account_config){0});
  assert_int_equal(claim_wait(&x, &p, 1000), 1);
  assert_int_equal(claim_wait(&y, &p, 10), 1);
  assert_true(lethe_quota_wait_cancel(&x.wait));
  world_turn(&f.w);
  assert_true(granted(&y) && !x.done);
  part_close(&p);
  close_account(&f.w, a);
  full_end(&f);
}

static void a_granted_wait_cannot_be_cancelled(void **state) {
  struct full f;
  struct part p;
  struct waiter x;
  (void)state;
  full_begin(&f, 0);
  uint64_t a = open_in(&f, &p, (struct lethe_quota_account_config){0});
  assert_int_equal(claim_wait(&x, &p, 10), 1);
  lethe_quota_release(&f.filler.h, 10);
  world_check(&f.w); /* charged, and not yet in its handle */
  assert_int_equal(lethe_quota_handle_used(&p.h), 10);
  assert_false(lethe_quota_wait_cancel(&x.wait));
  world_turn(&f.w);
  assert_true(granted(&x));
  assert_false(lethe_quota_wait_cancel(&x.wait));
  part_close(&p);
  close_account(&f.w, a);
  full_end(&f);
}

/* ---- endings --------------------------------------------------------------------------------- */

static void waits_end_with_their_participant(void **state) {
  struct full f;
  struct part p;
  struct waiter x, y;
  (void)state;
  full_begin(&f, 5);
  uint64_t a = open_in(&f, &p, (struct lethe_quota_account_config){0});
  assert_int_equal(claim_wait(&x, &p, 10), 1);
  lethe_quota_handle_destroy(&p.h);
  assert_int_equal(claim_wait(&y, &p, 10), LETHE_EPARTICIPANT);
  world_turn(&f.w);
  assert_true(x.done);
  assert_int_equal(x.code, LETHE_EPARTICIPANT);
  part_close(&p);
  close_account(&f.w, a);
  full_end(&f);
}

static void waits_end_with_their_account(void **state) {
  struct full f;
  struct part p, q;
  struct waiter x, y;
  (void)state;
  full_begin(&f, 5);
  uint64_t a = open_in(&f, &p, (struct lethe_quota_account_config){0});
  uint64_t b = open_in(&f, &q, (struct lethe_quota_account_config){0});
  assert_int_equal(claim_wait(&x, &p, 10), 1);
  assert_int_equal(claim_wait(&y, &q, 5), 1);
  close_account(&f.w, a);
  world_turn(&f.w);
  assert_true(x.done);
  assert_int_equal(x.code, LETHE_EACCOUNT);
  assert_true(granted(&y)); /* it was held up by that one alone */
  part_close(&p);
  part_close(&q);
  close_account(&f.w, b);
  full_end(&f);
}

static void waits_end_with_the_tracker(void **state) {
  struct full f;
  struct part p;
  struct waiter x, y;
  (void)state;
  full_begin(&f, 5);
  uint64_t a = open_in(&f, &p, (struct lethe_quota_account_config){0});
  assert_int_equal(claim_wait(&x, &p, 10), 1);
  assert_int_equal(claim_wait(&y, &p, 10), 1);
  lethe_quota_shutdown(f.w.t);
  assert_false(lethe_quota_wait_cancel(&x.wait));
  part_close(&p); /* before the answer is there */
  world_turn(&f.w);
  assert_true(x.done && y.done);
  assert_int_equal(x.code, LETHE_ESHUTDOWN);
  assert_int_equal(y.code, LETHE_ESHUTDOWN);
  close_account(&f.w, a);
  full_end(&f);
}

static void a_handle_that_closes_ends_its_own_waits(void **state) {
  struct full f;
  struct part p;
  struct lethe_quota_handle *clone = malloc(sizeof *clone);
  struct waiter x, y = {0};
  (void)state;
  full_begin(&f, 5);
  uint64_t a = open_in(&f, &p, (struct lethe_quota_account_config){0});
  lethe_quota_handle_clone(clone, &p.h);
  assert_int_equal(claim_wait(&x, &p, 10), 1);
  assert_int_equal(lethe_quota_claim_wait(clone, 20, &y.wait, on_done), 1);
  lethe_quota_handle_close(clone);
  free(clone); /* the answer must not look at it */
  world_turn(&f.w);
  assert_true(y.done && !x.done);
  assert_int_equal(y.code, LETHE_EPARTICIPANT);
  lethe_quota_release(&f.filler.h, 5);
  world_turn(&f.w);
  assert_true(granted(&x));
  part_close(&p);
  close_account(&f.w, a);
  full_end(&f);
}

static void what_was_granted_goes_back_if_the_handle_closes_first(void **state) {
  struct full f;
  struct part p;
  struct lethe_quota_handle *clone = malloc(sizeof *clone);
  struct waiter y = {0};
  (void)state;
  full_begin(&f, 0);
  uint64_t a = open_in(&f, &p, (struct lethe_quota_account_config){0});
  lethe_quota_handle_clone(clone, &p.h);
  assert_int_equal(lethe_quota_claim_wait(clone, 20, &y.wait, on_done), 1);
  lethe_quota_release(&f.filler.h, 20);
  assert_int_equal(lethe_quota_handle_used(&p.h), 20);
  lethe_quota_handle_close(clone);
  free(clone);
  assert_int_equal(lethe_quota_handle_used(&p.h), 0);
  world_check(&f.w);
  world_turn(&f.w);
  assert_true(y.done);
  assert_int_equal(y.code, LETHE_EPARTICIPANT);
  part_close(&p);
  close_account(&f.w, a);
  full_end(&f);
}

static void what_was_granted_goes_back_if_the_account_ends_first(void **state) {
  struct full f;
  struct part p;
  struct waiter x;
  (void)state;
  full_begin(&f, 0);
  uint64_t a = open_in(&f, &p, (struct lethe_quota_account_config){0});
  assert_int_equal(claim_wait(&x, &p, 20), 1);
  lethe_quota_release(&f.filler.h, 20);
  close_account(&f.w, a);
  world_turn(&f.w);
  assert_int_equal(x.code, LETHE_EACCOUNT);
  assert_int_equal(used(&f.w), 20 * MIB - 20);
  part_close(&p);
  full_end(&f);
}

static void a_collapse_fails_the_wait_and_condemns_none_of_it(void **state) {
  struct world w;
  struct part p, q;
  struct waiter x;
  (void)state;
  world_begin(&w, 20 * MIB, 15 * MIB);
  uint64_t a = account(&w, "a");
  part_holding(&w, &p, a, 1, 10 * MIB);
  part_holding(&w, &q, a, 2,
               9 * MIB); /* it collapses first: that makes room, and the wait is granted */
  assert_int_equal(claim_wait(&x, &p, 5 * MIB), 1);
  world_turn(&w);
  assert_true(x.done);
  assert_int_equal(x.code, LETHE_EACCOUNT);
  assert_int_equal(used(&w), 0);
  assert_int_equal(stats(&w).condemned, 19 * MIB);
  part_close(&p);
  part_close(&q);
  close_account(&w, a);
  world_end(&w);
}

/* ---- room ------------------------------------------------------------------------------------ */

static void a_wait_for_max_starts_a_pass_for_no_more_than_it_needs(void **state) {
  struct world w;
  struct part p, q;
  struct waiter x;
  (void)state;
  world_begin(&w, 20 * MIB, 10 * MIB);
  uint64_t a = account(&w, "a"), b = account(&w, "b");
  part_holding(&w, &p, a, 1, 18 * MIB);
  part_open(&w, &q, b, 2);
  p.manner = STAYS;
  p.gives = 1 * MIB;
  world_turn(&w);
  assert_int_equal(stats(&w).reclaims, 0);
  assert_int_equal(claim_wait(&x, &q, 5 * MIB), 1);
  world_turn(&w);
  assert_true(granted(&x));
  assert_int_equal(p.asked, 3);
  assert_int_equal(used(&w), 20 * MIB);
  assert_int_equal(event_of(&w, LETHE_QUOTA_RECLAIM_STOP, 0)->outcome, LETHE_QUOTA_COMPLETE);
  assert_int_equal(event_of(&w, LETHE_QUOTA_RECLAIM_START, 0)->reason, LETHE_QUOTA_BY_MAX);
  part_close(&p);
  part_close(&q);
  close_account(&w, a);
  close_account(&w, b);
  world_end(&w);
}

static void unspent_caches_are_room_for_waits(void **state) {
  enum { N = 64 };
  struct world w;
  static struct part p[N];
  struct part q;
  struct waiter x;
  (void)state;
  world_begin(&w, MIB, -1);
  uint64_t a = account(&w, "a");
  part_open(&w, &q, a, 1);
  for (int i = 0; i < N; i++) part_open(&w, &p[i], a, 1);
  assert_true(used(&w) > MIB / 3);
  assert_int_equal(claim_wait(&x, &q, MIB), 1);
  world_turn(&w);
  assert_true(granted(&x));
  assert_int_equal(q.asked, 0);
  assert_int_equal(used(&w), MIB);
  for (int i = 0; i < N; i++) part_close(&p[i]);
  part_close(&q);
  close_account(&w, a);
  world_end(&w);
}

static void caches_below_an_account_are_room_at_once(void **state) {
  struct world w;
  struct part p, q;
  struct waiter x;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t top = account_with(&w, 0, (struct lethe_quota_account_config){.max = 100000});
  uint64_t a = child(&w, top), b = child(&w, top);
  part_open(&w, &p, a, 1);
  part_open(&w, &q, b, 1);
  assert_int_equal(claim_wait(&x, &q, 100000), 1);
  assert_int_equal(info(&w, b).used, 100000); /* charged already */
  world_turn(&w);
  assert_true(granted(&x));
  assert_int_equal(stats(&w).reclaims, 0);
  part_close(&p);
  part_close(&q);
  close_account(&w, a);
  close_account(&w, b);
  close_account(&w, top);
  world_end(&w);
}

static void nobody_caches_what_somebody_waits_for(void **state) {
  struct world w;
  struct part p, q;
  struct waiter x;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t top = account_with(&w, 0, (struct lethe_quota_account_config){.max = MIB});
  uint64_t a = child(&w, top), b = child(&w, top);
  part_holding(&w, &p, a, 1, MIB - 1000);
  p.manner = STAYS;
  part_open(&w, &q, b, NAN);
  assert_int_equal(claim_wait(&x, &q, 11000), 1);
  world_turn(&w);
  for (int i = 0; i < 9999; i++) lethe_quota_release(&p.h, 1); /* any cache could hold these */
  world_turn(&w);
  assert_false(x.done);
  lethe_quota_release(&p.h, 1);
  world_turn(&w);
  assert_true(granted(&x));
  part_close(&p);
  part_close(&q);
  close_account(&w, a);
  close_account(&w, b);
  close_account(&w, top);
  world_end(&w);
}

static void waits_for_one_account_do_not_hold_up_another(void **state) {
  struct full f;
  struct part p, q;
  struct waiter x, y, z;
  (void)state;
  full_begin(&f, 1000);
  uint64_t a = open_in(&f, &p, (struct lethe_quota_account_config){.max = 100});
  uint64_t b = open_in(&f, &q, (struct lethe_quota_account_config){0});
  claim(&p, 100);
  assert_int_equal(claim_wait(&x, &p, 60), 1);
  assert_int_equal(claim_wait(&z, &p, 10), 1);
  assert_int_equal(claim_wait(&y, &q, 500), 1);
  world_turn(&f.w);
  assert_true(granted(&y) && !x.done);
  lethe_quota_release(&p.h, 20);
  world_turn(&f.w);
  assert_true(!x.done && !z.done); /* nor does the small one pass in the same account */
  lethe_quota_release(&p.h, 50);
  world_turn(&f.w);
  assert_true(granted(&x) && granted(&z));
  part_close(&p);
  part_close(&q);
  close_account(&f.w, a);
  close_account(&f.w, b);
  full_end(&f);
}

static void every_wait_for_an_account_gets_its_pass(void **state) {
  enum { N = 6 };
  struct world w;
  struct part p, q;
  struct waiter x[N];
  (void)state;
  places = 0;
  world_begin(&w, 20 * MIB, -1);
  uint64_t top = account_with(&w, 0, (struct lethe_quota_account_config){.max = 4 * MIB});
  uint64_t a = child(&w, top), b = child(&w, top);
  part_holding(&w, &p, a, 1, 4 * MIB);
  p.manner = STAYS;
  p.gives = 100000;
  part_open(&w, &q, b, 9);
  for (int i = 0; i < N; i++) assert_int_equal(claim_wait(&x[i], &q, 300000 + i), 1);
  world_turn(&w);
  for (int i = 0; i < N; i++) assert_true(granted(&x[i]) && x[i].place == i + 1);
  assert_int_equal(info(&w, a).used, 4 * MIB - 100000 * 19);
  assert_int_equal(event_of(&w, LETHE_QUOTA_RECLAIM_START, 0)->account, top);
  world_check(&w);
  part_close(&p);
  part_close(&q);
  close_account(&w, a);
  close_account(&w, b);
  close_account(&w, top);
  world_end(&w);
}

static void a_stuck_account_pass_is_not_repeated_for_the_same_wait(void **state) {
  struct world w;
  struct part p;
  struct waiter x, y;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account_with(&w, 0, (struct lethe_quota_account_config){.max = MIB});
  part_holding(&w, &p, a, 1, MIB);
  p.manner = STAYS;
  assert_int_equal(claim_wait(&x, &p, 1000), 1);
  world_turn(&w);
  assert_int_equal(stats(&w).stuck, 1);
  world_turn(&w);
  lethe_loop_advance(w.loop, 10);
  assert_int_equal(stats(&w).stuck, 1);
  assert_int_equal(claim_wait(&y, &p, 10), 1); /* who comes anew may try anew */
  world_turn(&w);
  assert_int_equal(stats(&w).stuck, 2);
  lethe_quota_release(&p.h, 1010);
  world_turn(&w);
  assert_true(granted(&x) && granted(&y));
  part_close(&p);
  close_account(&w, a);
  world_end(&w);
}

static void news_below_a_stuck_account_start_another_pass(void **state) {
  struct world w;
  struct part p;
  struct waiter x;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account_with(&w, 0, (struct lethe_quota_account_config){.max = MIB});
  part_holding(&w, &p, a, 1, MIB);
  p.manner = STAYS;
  assert_int_equal(claim_wait(&x, &p, 1000), 1);
  world_turn(&w);
  assert_int_equal(stats(&w).stuck, 1);
  p.gives = 1000;
  lethe_quota_release(&p.h, 500);
  world_turn(&w);
  assert_int_equal(p.asked, 1); /* less is no news */
  claim(&p, 400);
  lethe_quota_release(&p.h, 1);
  world_turn(&w);
  assert_int_equal(p.asked, 2);
  assert_true(granted(&x));
  part_close(&p);
  close_account(&w, a);
  world_end(&w);
}

static void a_raised_max_lets_waits_through(void **state) {
  struct full f;
  struct part p;
  struct waiter x;
  const char *why;
  (void)state;
  full_begin(&f, 0);
  uint64_t a = open_in(&f, &p, (struct lethe_quota_account_config){0});
  assert_int_equal(claim_wait(&x, &p, MIB), 1);
  world_turn(&f.w);
  assert_false(x.done);
  struct lethe_quota_change c = {.set_max = true, .to.max = 21 * MIB};
  assert_int_equal(lethe_quota_configure(f.w.t, &c, &why), 0);
  world_turn(&f.w);
  assert_true(granted(&x));
  part_close(&p);
  close_account(&f.w, a);
  full_end(&f);
}

static void a_wait_that_new_limits_rule_out_is_refused(void **state) {
  struct full f;
  struct part p, q;
  struct waiter x, y, z;
  const char *why;
  (void)state;
  full_begin(&f, 100);
  uint64_t a = open_in(&f, &p, (struct lethe_quota_account_config){0});
  uint64_t b = open_in(&f, &q, (struct lethe_quota_account_config){0});
  uint64_t small = account_with(&f.w, 0, (struct lethe_quota_account_config){.max = 5000});
  assert_int_equal(claim_wait(&x, &p, 19 * MIB), 1);
  assert_int_equal(claim_wait(&y, &q, 6000), 1);
  assert_int_equal(claim_wait(&z, &p, 50), 1);
  struct lethe_quota_change c = {
      .set_max = true, .set_low_water = true, .to = {.max = 18 * MIB, .low_water = 17 * MIB}};
  assert_int_equal(lethe_quota_configure(f.w.t, &c, &why), 0);
  world_turn(&f.w);
  assert_true(x.done && x.code == LETHE_ELIMIT && !y.done && !z.done);
  assert_int_equal(lethe_quota_account_add_parent(f.w.t, b, small), LETHE_OK);
  world_turn(&f.w);
  assert_true(y.done && y.code == LETHE_ELIMIT && !z.done);
  lethe_quota_release(&f.filler.h, 3 * MIB);
  world_turn(&f.w);
  assert_true(granted(&z)); /* who was behind them need not wait for them */
  part_close(&p);
  part_close(&q);
  close_account(&f.w, a);
  close_account(&f.w, b);
  close_account(&f.w, small);
  full_end(&f);
}

static void stall_seconds_is_the_time_in_which_somebody_waited(void **state) {
  struct full f;
  struct part p;
  struct waiter x, y;
  (void)state;
  full_begin(&f, 0);
  uint64_t a = open_in(&f, &p, (struct lethe_quota_account_config){0});
  lethe_loop_advance(f.w.loop, 3);
  assert_true(stats(&f.w).stall_seconds == 0);
  assert_int_equal(claim_wait(&x, &p, 10), 1);
  lethe_loop_advance(f.w.loop, 2);
  assert_int_equal(claim_wait(&y, &p, 10), 1);
  lethe_loop_advance(f.w.loop, 1);
  assert_true(fabs(stats(&f.w).stall_seconds - 3) < 1e-6);
  lethe_quota_release(&f.filler.h, 10);
  lethe_loop_advance(f.w.loop, 1.5);
  lethe_quota_release(&f.filler.h, 10);
  lethe_loop_advance(f.w.loop, 10);
  assert_true(fabs(stats(&f.w).stall_seconds - 4.5) < 1e-6);
  part_close(&p);
  close_account(&f.w, a);
  full_end(&f);
}

static void no_wait_that_fits_starves(void **state) {
  enum { N = 300 };
  static struct waiter x[N];
  struct full f;
  struct part p;
  (void)state;
  full_begin(&f, 0);
  uint64_t a = open_in(&f, &p, (struct lethe_quota_account_config){0});
  int64_t sum = 0;
  for (int i = 0; i < N; i++) {
    int64_t n = 1 + i * 37 % 101;
    sum += n;
    assert_int_equal(claim_wait(&x[i], &p, n), 1);
  }
  for (int64_t freed = 0; freed < sum; freed += 7) {
    lethe_quota_release(&f.filler.h, sum - freed < 7 ? sum - freed : 7);
    world_turn(&f.w);
    assert_true(used(&f.w) <= 20 * MIB);
  }
  for (int i = 0; i < N; i++) assert_true(granted(&x[i]) && x[i].place == i + 1);
  part_close(&p);
  close_account(&f.w, a);
  full_end(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(room_is_claimed_at_once),
      cmocka_unit_test(first_come_first_served_and_no_small_one_passes),
      cmocka_unit_test(higher_priority_is_served_first),
      cmocka_unit_test(a_higher_one_passes_who_waits),
      cmocka_unit_test(over_limit_at_once_when_it_can_never_fit),
      cmocka_unit_test(a_cancelled_wait_lets_those_behind_it_go),
      cmocka_unit_test(a_granted_wait_cannot_be_cancelled),
      cmocka_unit_test(waits_end_with_their_participant),
      cmocka_unit_test(waits_end_with_their_account),
      cmocka_unit_test(waits_end_with_the_tracker),
      cmocka_unit_test(a_handle_that_closes_ends_its_own_waits),
      cmocka_unit_test(what_was_granted_goes_back_if_the_handle_closes_first),
      cmocka_unit_test(what_was_granted_goes_back_if_the_account_ends_first),
      cmocka_unit_test(a_collapse_fails_the_wait_and_condemns_none_of_it),
      cmocka_unit_test(a_wait_for_max_starts_a_pass_for_no_more_than_it_needs),
      cmocka_unit_test(unspent_caches_are_room_for_waits),
      cmocka_unit_test(caches_below_an_account_are_room_at_once),
      cmocka_unit_test(nobody_caches_what_somebody_waits_for),
      cmocka_unit_test(waits_for_one_account_do_not_hold_up_another),
      cmocka_unit_test(every_wait_for_an_account_gets_its_pass),
      cmocka_unit_test(a_stuck_account_pass_is_not_repeated_for_the_same_wait),
      cmocka_unit_test(news_below_a_stuck_account_start_another_pass),
      cmocka_unit_test(a_raised_max_lets_waits_through),
      cmocka_unit_test(a_wait_that_new_limits_rule_out_is_refused),
      cmocka_unit_test(stall_seconds_is_the_time_in_which_somebody_waited),
      cmocka_unit_test(no_wait_that_fits_starves),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
