/* SPDX-License-Identifier: MIT
 * The epoch manager in auto mode: what happens by itself, what flush, poll and barrier add, and the
 * bounds on what is in limbo. */
#include <string.h>

#include "harness/epoch.h"
#include "harness/fallback.h"

/* ---- by itself ------------------------------------------------------------------------------ */

static void retiring_alone_advances_and_frees(void **state) {
  struct place p;
  _Atomic uint64_t freed = 0;
  (void)state;
  open_auto(&p);
  uint64_t peak = 0;
  for (int i = 0; i < 100; i++) {
    retire_many(p.r, 256, &freed, 0);
    uint64_t limbo = stats_of(p.m).limbo;
    if (limbo > peak) peak = limbo;
  }
  assert_true(lethe_epoch_now(p.m) > 90);
  assert_true(peak <= 4 * 256);
  struct lethe_epoch_rec_stats r;
  assert_int_equal(lethe_epoch_records(p.m, &r, 1), 1);
  assert_true(r.peak >= peak && r.peak <= 5 * 256);
  assert_int_equal(r.retired, 25600);
  assert_int_equal(r.reclaimed, load_rlx(&freed));
  assert_int_equal(r.limbo, 25600 - load_rlx(&freed));
  assert_int_equal(stats_of(p.m).ejections, 0);
  close_place(&p);
  assert_int_equal(load_rlx(&freed), 25600);
}

static void bags_are_used_again(void **state) {
  struct place p;
  _Atomic uint64_t freed = 0;
  (void)state;
  open_auto(&p);
  retire_many(p.r, 256 * 20, &freed, 0);
  uint64_t requests = p.alloc.requests;
  retire_many(p.r, 256 * 100, &freed, 0);
  assert_int_equal(p.alloc.requests, requests);
  close_place(&p);
}

static void flush_frees_what_nobody_can_see(void **state) {
  struct place p;
  _Atomic uint64_t freed = 0;
  (void)state;
  open_auto(&p);
  retire_many(p.r, 10, &freed, 0);
  assert_int_equal(lethe_epoch_flush(p.r), 10);
  assert_int_equal(load_rlx(&freed), 10);
  lethe_epoch_pin(p.r);
  assert_int_equal(lethe_epoch_retire(p.r, &p, count_in, &freed, 0), LETHE_OK);
  assert_int_equal(lethe_epoch_flush(p.r), 0); /* its own pin may have seen it */
  assert_int_equal(lethe_epoch_flush(p.r), 0);
  lethe_epoch_unpin(p.r);
  assert_int_equal(lethe_epoch_flush(p.r), 1);
  close_place(&p);
}

/* The documented rule holds in auto mode, too, for what this thread retired and advanced itself. */
static void reclaim_frees_after_two_advances(void **state) {
  struct place p;
  _Atomic uint64_t freed = 0;
  (void)state;
  open_auto(&p);
  retire_many(p.r, 5, &freed, 0);
  assert_int_equal(lethe_epoch_reclaim(p.r), 0);
  assert_int_equal(lethe_epoch_advance(p.m), 2);
  assert_int_equal(lethe_epoch_reclaim(p.r), 0);
  assert_int_equal(lethe_epoch_advance(p.m), 3);
  assert_int_equal(lethe_epoch_reclaim(p.r), 5);
  close_place(&p);
}

static void advance_waits_for_pins(void **state) {
  struct place p;
  (void)state;
  open_auto(&p);
  lethe_epoch_pin(p.r);
  assert_int_equal(lethe_epoch_advance(p.m), 2);
  assert_int_equal(lethe_epoch_advance(p.m), 2);
  lethe_epoch_repin(p.r);
  assert_int_equal(lethe_epoch_advance(p.m), 3);
  assert_true(lethe_epoch_unpin(p.r));
  close_place(&p);
}

/* ---- grace periods -------------------------------------------------------------------------- */

static void a_cookie_passes_when_the_pins_of_its_time_are_over(void **state) {
  struct place p;
  struct lethe_epoch_rec *reader;
  (void)state;
  open_auto(&p);
  lethe_epoch_register_extra(p.m, &reader);
  lethe_epoch_pin(reader);
  uint64_t cookie = lethe_epoch_start_poll(p.m);
  for (int i = 0; i < 5; i++) assert_false(lethe_epoch_poll(p.m, cookie));
  lethe_epoch_unpin(reader);
  assert_true(lethe_epoch_poll(p.m, cookie));
  assert_true(lethe_epoch_poll(p.m, cookie)); /* and stays so */
  lethe_epoch_unregister(reader);
  close_place(&p);
}

static void a_cookie_of_manual_mode_passes_by_the_callers_advances(void **state) {
  struct place p;
  (void)state;
  open_manual(&p);
  uint64_t cookie = lethe_epoch_start_poll(p.m);
  assert_false(lethe_epoch_poll(p.m, cookie));
  lethe_epoch_advance(p.m);
  assert_false(lethe_epoch_poll(p.m, cookie));
  lethe_epoch_advance(p.m);
  assert_true(lethe_epoch_poll(p.m, cookie));
  assert_int_equal(lethe_epoch_now(p.m), 3);
  close_place(&p);
}

/* Steps until it is done, at most n. */
static bool barrier(struct place *p, int n) {
  uint64_t cookie = lethe_epoch_start_poll(p->m);
  for (int i = 0; i < n; i++)
    if (lethe_epoch_barrier_step(p->m, p->r, cookie)) return true;
  return false;
}

static void a_barrier_frees_what_idle_records_hold(void **state) {
  struct place p;
  struct lethe_epoch_rec *idle;
  _Atomic uint64_t freed = 0;
  (void)state;
  for (int manual = 0; manual < 2; manual++) {
    store_rlx(&freed, 0);
    open_place(&p, &(struct lethe_epoch_config){.mode = (enum lethe_epoch_mode)manual});
    lethe_epoch_register_extra(p.m, &idle);
    retire_many(idle, 300, &freed, 0);
    retire_many(p.r, 30, &freed, 0);
    assert_true(barrier(&p, 3));
    assert_int_equal(load_rlx(&freed), 330);
    assert_true(barrier(&p, 3)); /* of nothing */
    lethe_epoch_unregister(idle);
    close_place(&p);
  }
}

/* The open bag of another record was begun before the cookie and is sealed after more epochs. */
static void a_barrier_waits_for_bags_that_were_open_when_it_began(void **state) {
  struct place p;
  struct lethe_epoch_rec *other;
  _Atomic uint64_t before = 0, after = 0;
  (void)state;
  open_auto(&p);
  lethe_epoch_register_extra(p.m, &other);
  retire_many(other, 3, &before, 0);
  uint64_t cookie = lethe_epoch_start_poll(p.m);
  for (int i = 0; i < 5; i++) lethe_epoch_advance(p.m);
  retire_many(other, 1, &after, 0); /* into the same bag */
  bool done = false;
  for (int i = 0; i < 4 && !done; i++) done = lethe_epoch_barrier_step(p.m, p.r, cookie);
  assert_true(done);
  assert_int_equal(load_rlx(&before), 3);
  lethe_epoch_unregister(other);
  close_place(&p);
}

/* The work that a destructor leaves to others counts for those barriers whose turns began after
 * it. */
static void a_barrier_waits_for_what_is_away(void **state) {
  (void)state;
  struct place p;
  uint64_t first = 0, second = 0, third = 0;
  open_auto(&p);
  int a = lethe_epoch_away(p.m);
  assert_false(lethe_epoch_barrier_turn(p.m, &first));
  int b = lethe_epoch_away(p.m);
  assert_int_not_equal(a, b);
  assert_false(lethe_epoch_barrier_turn(p.m, &second));
  assert_int_equal(second, 0); /* it waits for the first one's, before its turn can begin */
  lethe_epoch_back(p.m, a);
  assert_true(lethe_epoch_barrier_turn(p.m, &first));
  assert_false(lethe_epoch_barrier_turn(p.m, &second));
  assert_int_not_equal(second, 0);
  int c = lethe_epoch_away(p.m);
  assert_true(lethe_epoch_barrier_turn(p.m, &first)); /* whatever has gone since */
  lethe_epoch_back(p.m, b);
  assert_true(lethe_epoch_barrier_turn(p.m, &second));
  lethe_epoch_back(p.m, c);
  assert_true(lethe_epoch_barrier_turn(p.m, &third));
  close_place(&p);
}

static void a_barrier_waits_for_readers_and_ejects_nobody(void **state) {
  struct place p;
  struct lethe_epoch_rec *reader;
  _Atomic uint64_t freed = 0;
  (void)state;
  for (int manual = 0; manual < 2; manual++) {
    store_rlx(&freed, 0);
    open_place(&p, &(struct lethe_epoch_config){.mode = (enum lethe_epoch_mode)manual});
    lethe_epoch_register_extra(p.m, &reader);
    lethe_epoch_pin(reader);
    retire_many(p.r, 30, &freed, 0);
    uint64_t cookie = lethe_epoch_start_poll(p.m);
    for (int i = 0; i < 10; i++) assert_false(lethe_epoch_barrier_step(p.m, p.r, cookie));
    assert_int_equal(load_rlx(&freed), 0);
    assert_true(lethe_epoch_now(p.m) <= 3); /* it does not run away */
    assert_true(lethe_epoch_unpin(reader));
    bool done = false;
    for (int i = 0; i < 3 && !done; i++) done = lethe_epoch_barrier_step(p.m, p.r, cookie);
    assert_true(done);
    assert_int_equal(load_rlx(&freed), 30);
    lethe_epoch_unregister(reader);
    close_place(&p);
  }
}

/* ---- bounds --------------------------------------------------------------------------------- */

static void a_stalled_reader_is_ejected_past_8_bags(void **state) {
  struct place p;
  struct lethe_epoch_rec *reader;
  _Atomic uint64_t freed = 0;
  (void)state;
  open_auto(&p);
  lethe_epoch_register_extra(p.m, &reader);
  lethe_epoch_pin(reader);
  retire_many(p.r, 8 * 256, &freed, 0);
  assert_int_equal(load_rlx(&freed), 0);
  assert_false(lethe_epoch_neutralized(reader));
  retire_many(p.r, 256, &freed, 0);
  assert_true(lethe_epoch_neutralized(reader));
  assert_int_equal(stats_of(p.m).ejections, 1);
  retire_many(p.r, 256 * 50, &freed, 0);
  struct lethe_epoch_rec_stats r[2];
  assert_int_equal(lethe_epoch_records(p.m, r, 2), 2);
  uint64_t peak = r[0].peak > r[1].peak ? r[0].peak : r[1].peak;
  assert_true(peak <= (LETHE_EPOCH_BAGS + 2) * LETHE_EPOCH_BAG + 1);
  assert_true(load_rlx(&freed) > 256 * 50);
  assert_false(lethe_epoch_read_begin(reader, &p));
  assert_false(lethe_epoch_unpin(reader));
  lethe_epoch_unregister(reader);
  close_place(&p);
}

/* What its hazard shows is kept, to the object, as long as it is shown. */
static void what_a_hazard_shows_is_kept(void **state) {
  struct place p;
  struct lethe_epoch_rec *reader;
  _Atomic uint64_t freed = 0;
  int held[LETHE_EPOCH_HAZARDS] = {0};
  (void)state;
  open_auto(&p);
  lethe_epoch_register_extra(p.m, &reader);
  lethe_epoch_pin(reader);
  for (unsigned i = 0; i < LETHE_EPOCH_HAZARDS; i++)
    assert_true(lethe_epoch_hold(reader, i, &held[i]));
  for (unsigned i = 0; i < LETHE_EPOCH_HAZARDS; i++)
    retire_pinned(p.r, &held[i], count_one, NULL, 8);
  retire_many(p.r, 256 * 100, &freed, 0);
  assert_true(lethe_epoch_neutralized(reader));
  assert_true(load_rlx(&freed) > 256 * 90);
  for (int i = 0; i < LETHE_EPOCH_HAZARDS; i++) assert_int_equal(held[i], 0);
  lethe_epoch_release(reader, 1);
  assert_false(lethe_epoch_hold(reader, 1, &p)); /* nothing new can be held */
  retire_many(p.r, 256 * 10, &freed, 0);
  for (int i = 0; i < LETHE_EPOCH_HAZARDS; i++) assert_int_equal(held[i], i == 1);
  lethe_epoch_flush(p.r);
  assert_int_equal(held[0], 0);
  lethe_epoch_read_end(reader);
  lethe_epoch_flush(p.r);
  assert_int_equal(held[0], 1);
  assert_int_equal(held[2], 0);
  assert_true(lethe_epoch_is_valid(p.m));
  lethe_epoch_unpin(reader); /* the section is over: so are its hazards */
  lethe_epoch_flush(p.r);
  assert_int_equal(held[2] + held[3], 2);
  lethe_epoch_unregister(reader);
  close_place(&p);
}

static struct { int64_t now, peak; } charged;

static void charge(void *ud, int64_t by) {
  (void)ud;
  charged.now += by;
  assert_true(charged.now >= 0);
  if (charged.now > charged.peak) charged.peak = charged.now;
}

static void limbo_bytes_are_bounded_and_charged(void **state) {
  struct place p;
  struct lethe_epoch_rec *reader;
  _Atomic uint64_t freed = 0;
  int64_t max = 100000;
  (void)state;
  memset(&charged, 0, sizeof charged);
  open_place(&p, &(struct lethe_epoch_config){.max_limbo = max, .charge = charge});
  lethe_epoch_register_extra(p.m, &reader);
  lethe_epoch_pin(reader);
  retire_many(p.r, 90, &freed, 1000);
  assert_int_equal(charged.now, 90000);
  assert_false(lethe_epoch_neutralized(reader));
  retire_many(p.r, 11, &freed, 1000);
  assert_true(lethe_epoch_neutralized(reader));
  retire_many(p.r, 5000, &freed, 1000);
  assert_true(charged.peak <= max + 4000);
  assert_int_equal(stats_of(p.m).limbo_bytes, charged.now);
  lethe_epoch_unpin(reader);
  retire_many(p.r, 1000, &freed, 0);
  retire_many(reader, 20, &freed, 77);
  lethe_epoch_unregister(reader); /* orphans are charged, too */
  assert_int_equal(stats_of(p.m).limbo_bytes, charged.now);
  lethe_epoch_flush(p.r);
  retire_many(p.r, 30, &freed, 1);
  close_place(&p);
  assert_int_equal(charged.now, 0);
  assert_int_equal(load_rlx(&freed), 90 + 11 + 5000 + 1000 + 20 + 30);
}

static void kept_bytes_are_charged_until_they_are_freed(void **state) {
  struct place p;
  struct lethe_epoch_rec *reader;
  _Atomic uint64_t freed = 0;
  int held = 0;
  (void)state;
  memset(&charged, 0, sizeof charged);
  open_place(&p, &(struct lethe_epoch_config){.charge = charge});
  lethe_epoch_register_extra(p.m, &reader);
  lethe_epoch_pin(reader);
  lethe_epoch_read_begin(reader, &held);
  retire_pinned(p.r, &held, count_one, NULL, 123);
  retire_many(p.r, 256 * 12, &freed, 1);
  lethe_epoch_unregister(p.r); /* its kept bag is an orphan now */
  p.r = NULL;
  assert_int_equal(held, 0);
  assert_true(charged.now >= 123);
  lethe_epoch_unregister(reader);
  close_place(&p);
  assert_int_equal(held, 1);
  assert_int_equal(charged.now, 0);
}

/* One pin that retires without end holds back its own objects; nothing else can be done for it. */
static void a_long_pin_of_its_own_is_not_ejected(void **state) {
  struct place p;
  _Atomic uint64_t freed = 0;
  (void)state;
  open_place(&p, &(struct lethe_epoch_config){.max_limbo = 1000});
  lethe_epoch_pin(p.r);
  retire_many(p.r, 256 * 20, &freed, 10);
  assert_false(lethe_epoch_neutralized(p.r));
  assert_int_equal(load_rlx(&freed), 0);
  assert_true(lethe_epoch_unpin(p.r));
  assert_int_equal(lethe_epoch_flush(p.r), 256 * 20);
  close_place(&p);
}

static void a_hard_pin_is_not_ejected_before_it_is_soft(void **state) {
  struct place p;
  struct lethe_epoch_rec *reader;
  struct lethe_epoch_rec_stats r[2];
  _Atomic uint64_t freed = 0;
  (void)state;
  open_auto(&p);
  lethe_epoch_register_extra(p.m, &reader);
  lethe_epoch_pin(reader);
  assert_true(lethe_epoch_harden(reader));
  assert_true(lethe_epoch_harden(reader));
  retire_many(p.r, 256 * 30, &freed, 0);
  lethe_epoch_soften(reader);
  assert_int_equal(lethe_epoch_neutralize(p.m, NULL, 0), 0);
  assert_int_equal(load_rlx(&freed), 0);
  lethe_epoch_records(p.m, r, 2);
  assert_true(r[0].hard != r[1].hard);
  assert_int_equal(stats_of(p.m).hardened, 1);
  lethe_epoch_soften(reader);
  retire_many(p.r, 256 * 10, &freed, 0);
  assert_true(load_rlx(&freed) > 256 * 20);
  assert_false(lethe_epoch_harden(reader)); /* too late */
  assert_false(lethe_epoch_unpin(reader));
  lethe_epoch_unregister(reader);
  close_place(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(retiring_alone_advances_and_frees),
      cmocka_unit_test(bags_are_used_again),
      cmocka_unit_test(flush_frees_what_nobody_can_see),
      cmocka_unit_test(reclaim_frees_after_two_advances),
      cmocka_unit_test(advance_waits_for_pins),
      cmocka_unit_test(a_cookie_passes_when_the_pins_of_its_time_are_over),
      cmocka_unit_test(a_cookie_of_manual_mode_passes_by_the_callers_advances),
      cmocka_unit_test(a_barrier_frees_what_idle_records_hold),
      cmocka_unit_test(a_barrier_waits_for_bags_that_were_open_when_it_began),
      cmocka_unit_test(a_barrier_waits_for_what_is_away),
      cmocka_unit_test(a_barrier_waits_for_readers_and_ejects_nobody),
      cmocka_unit_test(a_stalled_reader_is_ejected_past_8_bags),
      cmocka_unit_test(what_a_hazard_shows_is_kept),
      cmocka_unit_test(limbo_bytes_are_bounded_and_charged),
      cmocka_unit_test(kept_bytes_are_charged_until_they_are_freed),
      cmocka_unit_test(a_long_pin_of_its_own_is_not_ejected),
      cmocka_unit_test(a_hard_pin_is_not_ejected_before_it_is_soft),
  };
  return run_both_ways(tests);
}
