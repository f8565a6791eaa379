/* SPDX-License-Identifier: MIT
 * Built-in eviction policies, each by itself: the misses that the published simulator counts on its
 * trace, what happens to handles and to victims that are refused, limits that change. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/unit.h"

#include "harness/alloc.h"
#include "lethe/replay.h"

enum { NAMES = 14 };

static struct lethe_evict *policy(const char *name, int64_t limit) {
  struct lethe_evict *e = NULL;
  const struct lethe_evict_ops *ops = lethe_evict_find(name, true);
  assert_non_null(ops);
  assert_int_equal(lethe_evict_new_with(&e, &lethe_alloc_libc, ops, NULL, limit, 1), LETHE_OK);
  return e;
}

static void sound(const struct lethe_evict *e) {
  char why[200] = "";
  if (lethe_evict_check(e, why, sizeof why) != LETHE_OK) fail_msg("%s: %s", e->ops->name, why);
}

/* ---- the trace ------------------------------------------------------------------------------- */

enum { RECORD = 24, FOOTPRINT_OBJECTS = 48974 };
static const int64_t footprint = 2029769728;

static struct lethe_request *trace;
static size_t requests;

static int read_trace(void **state) {
  (void)state;
  unsigned char b[RECORD];
  FILE *f = fopen("../shared/data/cloudPhysicsIO.oracleGeneral.bin", "rb");
  if (!f) {
    printf("../shared/data is not there: its trace is not replayed\n");
    return 0;
  }
  trace = calloc(120000, sizeof *trace);
  while (trace && requests < 120000 && fread(b, 1, RECORD, f) == RECORD) {
    uint32_t time, size;
    struct lethe_request *r = &trace[requests];
    memcpy(&time, b, 4);
    memcpy(&r->id, b + 4, 8);
    memcpy(&size, b + 12, 4);
    memcpy(&r->next, b + 16, 8);
    r->time = time;
    r->size = size;
    r->cost = 1;
    requests += size > 0;
  }
  fclose(f);
  return trace && requests == 113872 ? 0 : -1;
}

static int drop_trace(void **state) {
  (void)state;
  free(trace);
  return 0;
}

static struct lethe_replay *replayed(const char *name, int64_t limit, bool unit) {
  struct lethe_replay *r = NULL;
  assert_int_equal(lethe_replay_new(&r, policy(name, limit), unit), LETHE_OK);
  assert_int_equal(lethe_replay_run(r, trace, requests), LETHE_OK);
  assert_int_equal(r->requests, requests);
  sound(r->policy);
  assert_true(r->policy->used <= limit);
  return r;
}

static uint64_t misses(const char *name, int64_t limit, bool unit) {
  struct lethe_replay *r = replayed(name, limit, unit);
  uint64_t n = r->misses;
  lethe_replay_delete(r);
  return n;
}

/* The byte miss ratio in units of 10^-4, rounded. */
static uint64_t missed_bytes(const char *name, int64_t limit) {
  struct lethe_replay *r = replayed(name, limit, false);
  uint64_t n = (r->missed * 100000 / r->bytes + 5) / 10;
  lethe_replay_delete(r);
  return n;
}

static void misses_are_those_of_the_published_simulator(void **state) {
  (void)state;
  static const struct {
    const char *name;
    uint64_t one, ten, bytes, ratio;
  } rows[] = {
      {"fifo", 96518, 91716, 91954, 9509},  {"lru", 95420, 91657, 92200, 9518},
      {"clock", 95332, 91599, 92082, 9520}, {"lfu", 96765, 90040, 89993, 9296},
      {"slru", 94590, 90011, 88640, 9200},  {"twoq", 94573, 88160, 87627, 9017},
      {"sieve", 94419, 90040, 89993, 9296}, {"s3fifo", 94559, 85691, 83764, 8619},
      {"arc", 94229, 88002, 87541, 9026},   {"gdsf", 94688, 91389, 86335, 9509},
      {"lirs", 94680, 85609, 84149, 8730},  {"belady", 90263, 71620, 74162, 7320},
  };
  if (!trace) return;
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    const char *name = rows[i].name;
    assert_int_equal(misses(name, FOOTPRINT_OBJECTS / 100, true), rows[i].one);
    assert_int_equal(misses(name, FOOTPRINT_OBJECTS / 10, true), rows[i].ten);
    assert_int_equal(misses(name, footprint / 10, false), rows[i].bytes);
    assert_int_equal(missed_bytes(name, footprint / 10), rows[i].ratio);
  }
}

static bool within(uint64_t n, uint64_t expected, double part) {
  double off = ((double)n - (double)expected) / (double)expected;
  return off < part && off > -part;
}

static void samples_miss_as_often_within_three_thousandths(void **state) {
  (void)state;
  if (!trace) return;
  assert_true(within(misses("hyperbolic", FOOTPRINT_OBJECTS / 100, true), 95072, 0.003));
  assert_true(within(misses("hyperbolic", FOOTPRINT_OBJECTS / 10, true), 91245, 0.003));
  assert_true(within(misses("hyperbolic", footprint / 10, false), 91435, 0.003));
  assert_true(within(missed_bytes("hyperbolic", footprint / 10), 9482, 0.003));
}

/* One key for each entry, not one for each byte; a window of one entry at least. */
static void a_sketch_is_for_entries_and_a_window_is_never_empty(void **state) {
  (void)state;
  if (!trace) return;
  struct test_alloc t;
  struct lethe_evict *e = NULL;
  struct lethe_replay *r = NULL;
  test_alloc_init(&t);
  assert_int_equal(lethe_evict_new(&e, &t.alloc, "wtinylfu", footprint / 10, 1), LETHE_OK);
  assert_int_equal(lethe_replay_new(&r, e, false), LETHE_OK);
  assert_int_equal(lethe_replay_run(r, trace, requests), LETHE_OK);
  assert_true(t.bytes < 4 << 20);
  assert_true(r->misses < 87000);
  lethe_replay_delete(r);
  assert_int_equal(t.blocks, 0);
  assert_true(misses("wtinylfu", 48, true) < requests - 8000);
}

static void what_comes_next_is_found_from_the_end(void **state) {
  (void)state;
  struct lethe_request few[] = {{.id = 7}, {.id = 8}, {.id = 7}, {.id = 7}, {.id = 9}, {.id = 8}};
  static const int64_t expected[] = {3, 6, 4, -1, -1, -1};
  assert_int_equal(lethe_replay_fill_next(few, 6, &lethe_alloc_libc), LETHE_OK);
  for (size_t i = 0; i < 6; i++) assert_int_equal(few[i].next, expected[i]);
  if (!trace) return;
  struct lethe_request *copy = malloc(requests * sizeof *copy);
  assert_non_null(copy);
  memcpy(copy, trace, requests * sizeof *copy);
  assert_int_equal(lethe_replay_fill_next(copy, requests, &lethe_alloc_libc), LETHE_OK);
  for (size_t i = 0; i < requests; i++) assert_int_equal(copy[i].next, trace[i].next);
  free(copy);
}

/* ---- names ----------------------------------------------------------------------------------- */

static void names_are_those_of_the_contract(void **state) {
  (void)state;
  static const char *const names[] = {"lru",  "fifo",     "clock",      "sieve", "s3fifo",
                                      "slru", "twoq",     "arc",        "lfu",   "lirs",
                                      "gdsf", "wtinylfu", "hyperbolic", "random"};
  struct lethe_evict *e = NULL;
  for (int i = 0; i < NAMES; i++) {
    assert_string_equal(lethe_evict_names[i], names[i]);
    assert_string_equal(lethe_evict_find(names[i], false)->name, names[i]);
  }
  assert_null(lethe_evict_names[NAMES]);
  assert_int_equal(lethe_evict_new(&e, &lethe_alloc_libc, "belady", 5, 1), LETHE_EUNKNOWN);
  assert_int_equal(lethe_evict_new(&e, &lethe_alloc_libc, "lur", 5, 1), LETHE_EUNKNOWN);
  assert_null(lethe_evict_find("belady", false));
  assert_non_null(lethe_evict_find("belady", true));
}

/* ---- handles and victims, policy by policy --------------------------------------------------- */

static uint64_t add(struct lethe_evict *e, uint64_t key) {
  struct lethe_evict_request r = {.key = key, .size = 1, .cost = 1};
  uint64_t h = 0;
  lethe_evict_admit(e, &r);
  while (lethe_evict_full(e, &r))
    assert_true(lethe_evict_remove(e, lethe_evict_victim(e, &r), true));
  assert_int_equal(lethe_evict_insert(e, &r, &h), LETHE_OK);
  return h;
}

/* fn for each policy, which has entries with the keys 1 to 40 in a cache of 40. */
static void each_policy(void (*fn)(struct lethe_evict *e, uint64_t *handles)) {
  static uint64_t handles[64];
  for (int i = 0; i <= NAMES; i++) {
    struct lethe_evict *e = policy(i < NAMES ? lethe_evict_names[i] : "belady", 40);
    for (uint64_t k = 1; k <= 40; k++) handles[k] = add(e, k);
    assert_int_equal(e->len, 40);
    fn(e, handles);
    sound(e);
    lethe_evict_delete(e);
  }
}

static void stale(struct lethe_evict *e, uint64_t *h) {
  assert_true(lethe_evict_remove(e, h[5], false));
  assert_null(lethe_evict_get(e, h[5]));
  assert_false(lethe_evict_remove(e, h[5], true));
  lethe_evict_hit(e, h[5]);
  lethe_evict_refuse(e, h[5]);
  lethe_evict_offer(e, h[5]);
  lethe_evict_weigh(e, h[5], 9);
  assert_int_equal(e->len, 39);
  assert_int_equal(e->used, 39);
  uint64_t again = add(e, 5);
  assert_int_not_equal(again, h[5]);
  assert_int_equal((uint32_t)again, (uint32_t)h[5]); /* the same slot, another life */
  assert_null(lethe_evict_get(e, h[5]));
  assert_non_null(lethe_evict_get(e, again));
  assert_null(lethe_evict_get(e, 0));
  assert_null(lethe_evict_get(e, UINT64_C(1) << 32 | 4000));
}

static void a_stale_handle_names_nothing(void **state) {
  (void)state;
  each_policy(stale);
}

static void all_refused(struct lethe_evict *e, uint64_t *h) {
  uint64_t seen[41];
  for (int i = 0; i < 40; i++) {
    seen[i] = lethe_evict_victim(e, NULL);
    assert_non_null(lethe_evict_get(e, seen[i]));
    for (int k = 0; k < i; k++) assert_int_not_equal(seen[i], seen[k]);
    lethe_evict_refuse(e, seen[i]);
    lethe_evict_refuse(e, seen[i]); /* which does nothing */
    sound(e);
  }
  assert_int_equal(lethe_evict_victim(e, NULL), 0);
  assert_int_equal(e->len, 40);
  lethe_evict_hit(e, seen[3]);
  lethe_evict_offer(e, seen[9]);
  lethe_evict_offer(e, seen[9]);
  assert_int_equal(lethe_evict_victim(e, NULL), seen[9]);
  assert_true(lethe_evict_remove(e, seen[9], true));
  assert_int_equal(lethe_evict_victim(e, NULL), 0);
  assert_true(lethe_evict_remove(e, seen[3], true)); /* refused, and leaves all the same */
  for (int i = 0; i < 40; i++) lethe_evict_offer(e, seen[i]);
  assert_int_equal(e->len, 38);
  (void)h;
}

static void a_refused_victim_is_offered_when_the_cache_says_so(void **state) {
  (void)state;
  each_policy(all_refused);
}

static void hits_of_a_refused_entry_count(void **state) {
  (void)state;
  struct lethe_evict *e = policy("lru", 4);
  uint64_t h[5];
  for (uint64_t k = 1; k <= 4; k++) h[k] = add(e, k);
  lethe_evict_refuse(e, h[1]);
  lethe_evict_refuse(e, h[2]);
  lethe_evict_hit(e, h[1]);
  lethe_evict_offer(e, h[1]);
  lethe_evict_offer(e, h[2]);
  assert_int_equal(lethe_evict_victim(e, NULL), h[2]);
  lethe_evict_remove(e, h[2], true);
  assert_int_equal(lethe_evict_victim(e, NULL), h[3]); /* h[1] was accessed last */
  lethe_evict_delete(e);
}

static void proposed_twice(struct lethe_evict *e, uint64_t *h) {
  (void)h;
  if (strcmp(e->ops->name, "random") == 0 || strcmp(e->ops->name, "hyperbolic") == 0) return;
  for (int i = 0; i < 40; i++) {
    struct lethe_evict_request r = {.key = 100, .size = 1};
    uint64_t victim = lethe_evict_victim(e, &r);
    assert_int_equal(lethe_evict_victim(e, &r), victim);
    assert_true(lethe_evict_remove(e, victim, true));
    sound(e);
  }
  assert_int_equal(e->len, 0);
  assert_int_equal(lethe_evict_victim(e, NULL), 0);
}

static void a_victim_is_proposed_again_until_it_leaves(void **state) {
  (void)state;
  each_policy(proposed_twice);
}

/* ---- limits ---------------------------------------------------------------------------------- */

static void shrunk_and_grown(struct lethe_evict *e, uint64_t *h) {
  for (int i = 1; i <= 40; i++) lethe_evict_hit(e, h[i]);
  lethe_evict_resize(e, 7);
  sound(e);
  while (lethe_evict_full(e, NULL)) lethe_evict_remove(e, lethe_evict_victim(e, NULL), true);
  assert_true(e->len <= 7);
  sound(e);
  lethe_evict_resize(e, 100);
  for (uint64_t k = 200; k < 400; k++) add(e, k);
  assert_true(e->len <= 100 && e->len > 70);
  sound(e);
  lethe_evict_clear(e);
  assert_int_equal(e->len, 0);
  assert_int_equal(e->used, 0);
  assert_false(lethe_evict_full(e, NULL));
  add(e, 1);
}

static void limits_change(void **state) {
  (void)state;
  each_policy(shrunk_and_grown);
}

static void collect(void *ud, const struct lethe_evict_node *n) {
  uint64_t *list = ud;
  list[++list[0]] = n->key;
}

static void walked(struct lethe_evict *e, uint64_t *h) {
  uint64_t list[64] = {0};
  for (int i = 2; i <= 40; i += 3) lethe_evict_hit(e, h[i]);
  lethe_evict_refuse(e, h[17]);
  lethe_evict_each(e, collect, list);
  assert_int_equal(list[0], 40);
  assert_int_equal(list[40], 17);
  for (int i = 1; i <= 40; i++)
    for (int k = 1; k < i; k++) assert_int_not_equal(list[i], list[k]);
  if (strcmp(e->ops->name, "lru") && strcmp(e->ops->name, "lfu")) return;
  for (uint64_t i = 1; i <= 10; i++) { /* those that were not hit, as they came */
    uint64_t victim = lethe_evict_victim(e, NULL);
    assert_int_equal(lethe_evict_get(e, victim)->key, list[i]);
    lethe_evict_remove(e, victim, true);
  }
}

static void entries_are_shown_the_likeliest_victims_first(void **state) {
  (void)state;
  each_policy(walked);
}

/* A cache of a few entries has no tenth for a queue of newcomers: entries go where there is room.
 * */
static void a_live_cache_stores_whatever_fits(void **state) {
  (void)state;
  for (int64_t limit = 1; limit < 30; limit++)
    for (int i = 0; i < NAMES; i++) {
      struct lethe_evict *e = policy(lethe_evict_names[i], limit);
      for (uint64_t k = 0; k < 100; k++) {
        uint64_t h = add(e, k % 37);
        if (k % 3) lethe_evict_hit(e, h);
      }
      assert_in_range(e->len, (limit + 1) / 2, limit);
      sound(e);
      lethe_evict_delete(e);
    }
}

/* ---- want of memory -------------------------------------------------------------------------- */

/* 40 accesses of a replay; how many misses. */
static uint64_t short_replay(struct test_alloc *t, const char *name, int *code) {
  struct lethe_request few[200];
  struct lethe_evict *e = NULL;
  struct lethe_replay *r = NULL;
  uint64_t n = 0;
  for (size_t i = 0; i < 200; i++)
    few[i] = (struct lethe_request){
        .id = i * i % 83, .size = (int64_t)(i % 5 + 1), .next = (int64_t)i + 9};
  *code = lethe_evict_new_with(&e, &t->alloc, lethe_evict_find(name, true), NULL, 90, 1);
  if (*code) return 0;
  *code = lethe_replay_new(&r, e, false);
  if (*code) {
    lethe_evict_delete(e);
    return 0;
  }
  size_t from = 0;
  while (from < 200) {
    int rc = lethe_replay_run(r, few + from, 200 - from);
    if (rc) *code = rc;
    sound(r->policy);
    from = (size_t)r->requests;
  }
  n = r->misses;
  lethe_replay_delete(r);
  return n;
}

static void without_memory_a_call_fails_whole(void **state) {
  (void)state;
  for (int i = 0; i <= NAMES; i++) {
    const char *name = i < NAMES ? lethe_evict_names[i] : "belady";
    struct test_alloc t;
    int code;
    test_alloc_init(&t);
    uint64_t n = short_replay(&t, name, &code), all = t.requests, failures = 0;
    assert_int_equal(code, LETHE_OK);
    for (uint64_t at = 1; at <= all; at++) {
      test_alloc_fail(&t, at);
      uint64_t m = short_replay(&t, name, &code);
      assert_int_equal(t.failed, 1);
      assert_int_equal(t.blocks, 0);
      assert_true(code == LETHE_OK || code == LETHE_ENOMEM);
      failures += code == LETHE_ENOMEM;
      if (m) assert_in_range(m, n - 20, n + 20); /* one entry, or one key remembered, less */
    }
    assert_true(failures >= 4);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(misses_are_those_of_the_published_simulator),
      cmocka_unit_test(samples_miss_as_often_within_three_thousandths),
      cmocka_unit_test(a_sketch_is_for_entries_and_a_window_is_never_empty),
      cmocka_unit_test(what_comes_next_is_found_from_the_end),
      cmocka_unit_test(names_are_those_of_the_contract),
      cmocka_unit_test(a_stale_handle_names_nothing),
      cmocka_unit_test(a_refused_victim_is_offered_when_the_cache_says_so),
      cmocka_unit_test(hits_of_a_refused_entry_count),
      cmocka_unit_test(a_victim_is_proposed_again_until_it_leaves),
      cmocka_unit_test(limits_change),
      cmocka_unit_test(entries_are_shown_the_likeliest_victims_first),
      cmocka_unit_test(a_live_cache_stores_whatever_fits),
      cmocka_unit_test(without_memory_a_call_fails_whole),
  };
  return cmocka_run_group_tests_name("evict", tests, read_trace, drop_trace);
}
