/* SPDX-License-Identifier: MIT
 * The quota tracker without Lua: trackers, accounts and their graph (rows A and C of its sheet),
 * and what can be read of accounts. */
#include "quota_world.h"

static int upgrade(struct world *w, uint64_t a) { return lethe_quota_account_upgrade(w->t, a); }

static int try_claim(struct part *p, int64_t n) { return lethe_quota_claim(&p->h, n); }

static int new_account(struct world *w, uint64_t parent, uint64_t *id) {
  struct lethe_quota_account_config c = {.max = LETHE_QUOTA_NO_LIMIT};
  return lethe_quota_account_new(w->t, &c, parent, id);
}

static int add_parent(struct world *w, uint64_t a, uint64_t parent) {
  int rc = lethe_quota_account_add_parent(w->t, a, parent);
  world_check(w);
  return rc;
}

/* ---- A: ownership ---------------------------------------------------------------------------- */

static void A1_ids_are_never_reused(void **state) {
  struct world w;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account(&w, "a");
  close_account(&w, a);
  uint64_t b = account(&w, "b");
  assert_true(a != b);
  assert_false(lives(&w, a));
  assert_int_equal(upgrade(&w, a), LETHE_EACCOUNT);
  close_account(&w, b);
  world_end(&w);
}

static void A3_an_account_keeps_the_tracker(void **state) {
  struct world w;
  struct part p;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account(&w, "a");
  part_open(&w, &p, a, 1);
  lethe_quota_put(w.t); /* the account is left */
  assert_int_equal(try_claim(&p, 100000), LETHE_OK);
  assert_int_equal(info(&w, a).used, 116384);
  close_account(&w, a); /* the last one: now it shuts down */
  assert_int_equal(try_claim(&p, 1), LETHE_ESHUTDOWN);
  assert_int_equal(lethe_quota_handle_state(&p.h), LETHE_ESHUTDOWN);
  lethe_quota_member_delete(w.m);
  part_close(&p);
  w.t = NULL;
  world_end(&w);
}

static void A3_a_handle_on_a_collapsed_account_keeps_the_tracker(void **state) {
  struct world w;
  struct part p;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account(&w, "a"), b;
  part_holding(&w, &p, a, 1, 21 * MIB);
  world_turn(&w);
  assert_false(lives(&w, a));
  lethe_quota_put(w.t);
  assert_int_equal(new_account(&w, 0, &b), LETHE_OK); /* it works on */
  close_account(&w, b);
  close_account(&w, a);
  assert_int_equal(try_claim(&p, 1), LETHE_ESHUTDOWN);
  lethe_quota_member_delete(w.m);
  part_close(&p);
  w.t = NULL;
  world_end(&w);
}

static void A5_children_do_not_keep_their_parents(void **state) {
  struct world w;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account(&w, "a"), b = child(&w, a), c = child(&w, b);
  close_account(&w, b);
  assert_true(lives(&w, a) && !lives(&w, b) && lives(&w, c));
  world_check(&w);
  close_account(&w, a);
  close_account(&w, c);
  world_end(&w);
}

/* ---- C: accounts ----------------------------------------------------------------------------- */

static void C2_used_is_all_that_is_claimed_and_all_caches(void **state) {
  struct world w;
  struct part p, q;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account(&w, "a"), b = account(&w, "b");
  part_open(&w, &p, a, 1);
  part_open(&w, &q, b, 1);
  assert_int_equal(used(&w), 32768);
  claim(&p, 100);
  assert_int_equal(used(&w), 32768);
  assert_int_equal(info(&w, a).used, 16384);
  assert_int_equal(lethe_quota_handle_used(&p.h), 100);
  part_close(&p);
  part_close(&q);
  assert_int_equal(used(&w), 0);
  close_account(&w, a);
  close_account(&w, b);
  world_end(&w);
}

static void C3_a_closed_parent_is_refused(void **state) {
  struct world w;
  uint64_t a, b = 77;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  a = account(&w, "a");
  close_account(&w, a);
  assert_int_equal(new_account(&w, a, &b), LETHE_EACCOUNT);
  assert_int_equal(b, 77); /* results are written on success alone */
  lethe_quota_shutdown(w.t);
  assert_int_equal(new_account(&w, 0, &b), LETHE_ESHUTDOWN);
  world_end(&w);
}

static void C4_the_last_handle_ends_the_account_and_its_bytes(void **state) {
  struct world w;
  struct part p, q;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account(&w, "a");
  part_holding(&w, &p, a, 1, 5 * MIB);
  part_holding(&w, &q, a, 1, 1000);
  lethe_quota_account_clone(w.t, a);
  assert_int_equal(lethe_quota_account_close(w.t, a), 0);
  assert_true(lives(&w, a));
  assert_int_equal(try_claim(&p, 50000), LETHE_OK);
  assert_int_equal(lethe_quota_account_close(w.t, a), 5 * MIB + 51000); /* unspent caches apart */
  assert_int_equal(used(&w), 0);
  assert_int_equal(try_claim(&p, 1), LETHE_EACCOUNT);
  assert_int_equal(try_claim(&q, 0), LETHE_EACCOUNT);
  lethe_quota_release(&p.h, 10);
  assert_int_equal(lethe_quota_handle_used(&p.h), 0);
  world_check(&w);
  part_close(&p);
  part_close(&q);
  world_end(&w);
}

static void C4_clones_of_an_ended_account_are_harmless(void **state) {
  struct world w;
  struct part p;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account(&w, "a");
  part_holding(&w, &p, a, 1, 21 * MIB);
  world_turn(&w);
  lethe_quota_account_clone(w.t, a);
  assert_int_equal(upgrade(&w, a), LETHE_EACCOUNT);
  close_account(&w, a);
  close_account(&w, a);
  part_close(&p);
  world_end(&w);
}

static void C5_upgrade_says_what_became_of_it(void **state) {
  struct world w;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account(&w, "a"), b = account(&w, "b");
  assert_int_equal(upgrade(&w, a), LETHE_OK);
  close_account(&w, a);
  close_account(&w, a);
  assert_int_equal(upgrade(&w, a), LETHE_EACCOUNT);
  lethe_quota_shutdown(w.t);
  assert_int_equal(upgrade(&w, b), LETHE_ESHUTDOWN);
  close_account(&w, b);
  world_end(&w);
}

static void C6_checks_of_add_parent_in_their_order(void **state) {
  struct world w;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account(&w, "a"), b = child(&w, a), c = child(&w, b), d = account(&w, "d");
  uint64_t gone = account(&w, "gone");
  close_account(&w, gone);
  assert_int_equal(add_parent(&w, a, gone), LETHE_EACCOUNT);
  assert_int_equal(add_parent(&w, gone, a), LETHE_EACCOUNT); /* the model said Ok */
  assert_int_equal(add_parent(&w, a, a), LETHE_ECYCLE);
  assert_int_equal(add_parent(&w, a, b), LETHE_ECYCLE);
  assert_int_equal(add_parent(&w, a, c), LETHE_ECYCLE);
  assert_int_equal(add_parent(&w, b, a), LETHE_EDUPLICATE);
  assert_int_equal(add_parent(&w, c, d), LETHE_OK);
  assert_int_equal(add_parent(&w, c, d), LETHE_EDUPLICATE);
  assert_int_equal(add_parent(&w, d, c), LETHE_ECYCLE);
  assert_int_equal(add_parent(&w, c, a), LETHE_OK); /* a second way to the same one */
  assert_int_equal(add_parent(&w, d, a), LETHE_OK);
  lethe_quota_shutdown(w.t);
  assert_int_equal(add_parent(&w, a, d), LETHE_ESHUTDOWN);
  close_account(&w, a);
  close_account(&w, b);
  close_account(&w, c);
  close_account(&w, d);
  world_end(&w);
}

static void C6_children_used_counts_each_account_once(void **state) {
  struct world w;
  struct part p;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t top = account(&w, "top"), left = child(&w, top), right = child(&w, top);
  uint64_t bottom = child(&w, left);
  assert_int_equal(add_parent(&w, bottom, right), LETHE_OK); /* a diamond */
  part_open(&w, &p, bottom, 1);
  claim(&p, 2 * MIB);
  int64_t sum = info(&w, bottom).used;
  assert_int_equal(sum, 2 * MIB + 16384);
  assert_int_equal(info(&w, top).children_used, sum);
  assert_int_equal(info(&w, left).children_used, sum);
  assert_int_equal(info(&w, right).children_used, sum);
  close_account(&w, left); /* one way is left */
  assert_int_equal(info(&w, top).children_used, sum);
  world_check(&w);
  close_account(&w, right);
  assert_int_equal(info(&w, top).children_used, 0);
  world_check(&w);
  part_close(&p);
  close_account(&w, bottom);
  close_account(&w, top);
  world_end(&w);
}

static void C6_add_parent_under_one_without_room(void **state) {
  struct world w;
  struct part p, q;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t full = account_with(&w, 0, (struct lethe_quota_account_config){.max = 100000});
  uint64_t mid = child(&w, full), a = account(&w, "a");
  part_holding(&w, &p, full, 1, 60000);
  part_holding(&w, &q, a, 1, 40001);
  assert_int_equal(add_parent(&w, a, mid), LETHE_ELIMIT);
  assert_int_equal(info(&w, full).children_used, 0);
  lethe_quota_release(&q.h, 1);
  /* Now it fits to the byte, once unspent caches on both sides were called back. */
  assert_int_equal(add_parent(&w, a, mid), LETHE_OK);
  assert_int_equal(info(&w, full).used, 60000);
  assert_int_equal(info(&w, full).children_used, 40000);
  assert_int_equal(try_claim(&q, 1), LETHE_ELIMIT);
  part_close(&p);
  part_close(&q);
  close_account(&w, a);
  close_account(&w, mid);
  close_account(&w, full);
  world_end(&w);
}

static void C6_add_parent_calls_caches_back_all_over_the_grandparent(void **state) {
  struct world w;
  struct part p, q;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t full = account_with(&w, 0, (struct lethe_quota_account_config){.max = 1 * MIB});
  uint64_t left = child(&w, full), right = child(&w, full), a = account(&w, "a");
  part_holding(&w, &p, left, 1, MIB - 100000);
  part_holding(&w, &q, a, 1, 100000);
  assert_true(info(&w, left).used > MIB - 100000); /* an unspent cache is in the way */
  assert_int_equal(add_parent(&w, a, right), LETHE_OK);
  assert_int_equal(info(&w, full).children_used, MIB);
  part_close(&p);
  part_close(&q);
  close_account(&w, a);
  close_account(&w, left);
  close_account(&w, right);
  close_account(&w, full);
  world_end(&w);
}

static void C7_a_walk_stops_at_a_dead_account(void **state) {
  struct world w;
  struct part p, q;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account(&w, "a"), b = child(&w, a), c = child(&w, b);
  part_holding(&w, &p, a, 1, 21 * MIB);
  part_holding(&w, &q, c, 2, 1000);
  assert_int_equal(info(&w, a).children_used, info(&w, c).used);
  close_account(&w, b);
  assert_int_equal(info(&w, a).children_used, 0);
  world_turn(&w);
  assert_false(lives(&w, a));
  assert_true(lives(&w, c));
  assert_int_equal(q.asked, 0);
  part_close(&p);
  part_close(&q);
  close_account(&w, a);
  close_account(&w, c);
  world_end(&w);
}

static void C8_reclaiming_one_parent_takes_the_shared_child_once(void **state) {
  struct world w;
  struct part p, q, r;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account(&w, "a"), b = account(&w, "b"), c = child(&w, a);
  assert_int_equal(add_parent(&w, c, b), LETHE_OK);
  part_holding(&w, &p, a, 1, 18 * MIB);
  part_holding(&w, &q, b, 2, 1 * MIB);
  part_holding(&w, &r, c, 3, 2 * MIB);
  world_turn(&w);
  assert_false(lives(&w, a));
  assert_false(lives(&w, c));
  assert_true(lives(&w, b));
  assert_int_equal(p.asked, 1);
  assert_int_equal(r.asked, 1);
  assert_int_equal(q.asked, 0);
  assert_int_equal(info(&w, b).children_used, 0);
  part_close(&p);
  part_close(&q);
  part_close(&r);
  close_account(&w, a);
  close_account(&w, b);
  close_account(&w, c);
  world_end(&w);
}

/* ---- reading --------------------------------------------------------------------------------- */

static void read_tells_all_of_an_account(void **state) {
  struct world w;
  struct part p;
  char name[100];
  (void)state;
  memset(name, 'x', sizeof name);
  name[99] = '\0';
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account_with(&w, 0,
                            (struct lethe_quota_account_config){
                                .name = name, .max = 9 * MIB, .reserve = 7, .priority = -3});
  struct lethe_quota_account_info i = info(&w, a);
  assert_int_equal(strlen(i.name), 63);
  assert_int_equal(i.limit, 9 * MIB);
  assert_int_equal(i.reserve, 7);
  assert_int_equal(i.priority, -3);
  assert_true(isinf(i.oldest) && i.oldest > 0);
  part_holding(&w, &p, a, 42, 100);
  assert_int_equal(info(&w, a).participants, 1);
  assert_true(info(&w, a).oldest == INFINITY); /* not asked yet */
  by_hand(&w, 1 * MIB);
  assert_int_equal(p.ages, 1);
  part_close(&p);
  close_account(&w, a);
  assert_int_equal(lethe_quota_account_read(w.t, a, &i), LETHE_EACCOUNT);
  lethe_quota_shutdown(w.t);
  assert_int_equal(lethe_quota_account_read(w.t, a, &i), LETHE_ESHUTDOWN);
  world_end(&w);
}

static void ask_learns_ages_and_tears_nobody_down(void **state) {
  struct world w;
  struct part p, q;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  uint64_t a = account(&w, "a");
  part_holding(&w, &p, a, 42, 100);
  part_holding(&w, &q, a, 7, 100);
  q.says = -1;
  lethe_quota_ask(w.t, a);
  assert_int_equal(p.ages, 1);
  assert_true(info(&w, a).oldest == 42);
  assert_int_equal(lethe_quota_handle_state(&q.h), LETHE_OK);
  p.manner = LATER;
  claim(&p, 21 * MIB);
  world_turn(&w);
  assert_non_null(p.call);
  lethe_quota_ask(w.t, a); /* a pass asks for itself */
  assert_int_equal(p.ages, 2);
  lethe_quota_answer(p.call, false);
  world_turn(&w);
  lethe_quota_ask(w.t, a); /* it is gone */
  part_close(&p);
  part_close(&q);
  close_account(&w, a);
  world_end(&w);
}

static void top_lists_the_largest_and_equals_by_id(void **state) {
  enum { N = 40 };
  struct world w;
  struct part p[N];
  uint64_t a[N];
  struct lethe_quota_account_info top[N + 5];
  (void)state;
  world_begin(&w, 200 * MIB, -1);
  for (int i = 0; i < N; i++) a[i] = account(&w, NULL);
  for (int i = N; i-- > 0;) part_holding(&w, &p[i], a[i], 1, 100000 + i / 2 * 3000);
  for (size_t n = 0; n <= N + 5; n++) {
    size_t have = lethe_quota_top(w.t, top, n);
    assert_int_equal(have, n < N ? n : N);
    for (size_t k = 1; k < have; k++) {
      assert_true(top[k - 1].used > top[k].used ||
                  (top[k - 1].used == top[k].used && top[k - 1].account < top[k].account));
    }
    if (n >= 2) assert_int_equal(top[0].account, a[N - 2]);
    if (n >= 2) assert_int_equal(top[1].account, a[N - 1]);
  }
  for (int i = 0; i < N; i++) {
    part_close(&p[i]);
    close_account(&w, a[i]);
  }
  assert_int_equal(lethe_quota_top(w.t, top, 3), 0);
  world_end(&w);
}

static void next_account_walks_over_what_lives(void **state) {
  struct world w;
  uint64_t a[5];
  uint32_t cursor = 0;
  struct lethe_quota_account_info i;
  (void)state;
  world_begin(&w, 20 * MIB, -1);
  for (int k = 0; k < 5; k++) a[k] = account(&w, "a");
  close_account(&w, a[1]);
  close_account(&w, a[4]);
  for (int k = 0; k < 5; k++) {
    if (k == 1 || k == 4) continue;
    assert_true(lethe_quota_next_account(w.t, &cursor, &i));
    assert_int_equal(i.account, a[k]);
  }
  assert_false(lethe_quota_next_account(w.t, &cursor, &i));
  close_account(&w, a[0]);
  close_account(&w, a[2]);
  close_account(&w, a[3]);
  world_end(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(A1_ids_are_never_reused),
      cmocka_unit_test(A3_an_account_keeps_the_tracker),
      cmocka_unit_test(A3_a_handle_on_a_collapsed_account_keeps_the_tracker),
      cmocka_unit_test(A5_children_do_not_keep_their_parents),
      cmocka_unit_test(C2_used_is_all_that_is_claimed_and_all_caches),
      cmocka_unit_test(C3_a_closed_parent_is_refused),
      cmocka_unit_test(C4_the_last_handle_ends_the_account_and_its_bytes),
      cmocka_unit_test(C4_clones_of_an_ended_account_are_harmless),
      cmocka_unit_test(C5_upgrade_says_what_became_of_it),
      cmocka_unit_test(C6_checks_of_add_parent_in_their_order),
      cmocka_unit_test(C6_children_used_counts_each_account_once),
      cmocka_unit_test(C6_add_parent_under_one_without_room),
      cmocka_unit_test(C6_add_parent_calls_caches_back_all_over_the_grandparent),
      cmocka_unit_test(C7_a_walk_stops_at_a_dead_account),
      cmocka_unit_test(C8_reclaiming_one_parent_takes_the_shared_child_once),
      cmocka_unit_test(read_tells_all_of_an_account),
      cmocka_unit_test(ask_learns_ages_and_tears_nobody_down),
      cmocka_unit_test(top_lists_the_largest_and_equals_by_id),
      cmocka_unit_test(next_account_walks_over_what_lives),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
