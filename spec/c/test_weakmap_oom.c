/* SPDX-License-Identifier: MIT
 * Weak maps under want of memory: the n-th allocation of each call fails, for every n, and then
 * nothing has changed, or what the call's description says; deaths never ask for memory. */
#include <string.h>

#include "harness/unit.h"

#include "harness/alloc.h"
#include "lethe/weakmap.h"

enum { MANY = 700 }; /* entries: several levels of a tree, several segments of a table */

static struct test_alloc memory;

static void thing_free(struct lethe_counted *c) { free(c); }
static const struct lethe_counted_class class = {false, NULL, thing_free};

static struct lethe_counted *thing(void) {
  struct lethe_counted *c = malloc(sizeof *c);
  assert_non_null(c);
  lethe_counted_init(c, &class);
  return c;
}

static struct lethe_counted *things[MANY];

static struct lethe_weak_key key(int i, char *room) {
  int n = snprintf(room, 64, "a key that takes some room %04d", i);
  return lethe_weak_bytes(room, (size_t)n);
}

static int put(struct lethe_weakmap *m, int i, struct lethe_counted *c) {
  char room[64];
  struct lethe_weak_key k = key(i, room);
  return lethe_weakmap_insert(m, &k, c, NULL);
}

static bool has(struct lethe_weakmap *m, int i) {
  char room[64];
  struct lethe_weak_key k = key(i, room);
  return lethe_weakmap_contains(m, &k);
}

static struct lethe_weakmap *map_of(bool ordered, bool strong) {
  struct lethe_weakmap_options o = {.ordered = ordered, .strong = strong};
  struct lethe_weakmap *m;
  assert_int_equal(lethe_weakmap_new(&m, &memory.alloc, &o), LETHE_OK);
  return m;
}

static void inserts_fail_whole(bool ordered) {
  test_alloc_init(&memory);
  struct lethe_weakmap *m = map_of(ordered, false);
  for (int i = 0; i < MANY; i++) {
    things[i] = thing();
    for (uint64_t n = 1;; n++) {
      test_alloc_fail(&memory, n);
      int rc = put(m, i * 11 % MANY, things[i]);
      bool failed = memory.failed > 0;
      memory.fail_at = 0;
      assert_true(lethe_weakmap_is_valid(m));
      if (rc == LETHE_OK) {
        assert_int_equal(lethe_weakmap_len(m), i + 1);
        if (!failed) break;
        char room[64]; /* a hash index does without a bucket more */
        struct lethe_weak_key k = key(i * 11 % MANY, room);
        assert_true(lethe_weakmap_remove(m, &k, NULL));
        continue;
      }
      assert_int_equal(rc, LETHE_ENOMEM);
      assert_int_equal(lethe_weakmap_len(m), i);
      assert_false(has(m, i * 11 % MANY));
    }
  }
  uint64_t requests = memory.requests;
  memory.fail_at = requests + 1; /* from here on nothing may ask */
  memory.sticky = true;
  for (int i = 0; i < MANY; i++) {
    lethe_strong_put(things[i]);
    assert_int_equal(lethe_weakmap_len(m), MANY - 1 - i);
  }
  assert_int_equal(memory.requests, requests);
  memory.fail_at = 0;
  lethe_weakmap_put_ref(m);
  assert_int_equal(memory.bytes, 0);
}

static void inserts_into_a_tree_fail_whole(void **state) {
  (void)state;
  inserts_fail_whole(true);
}
static void inserts_into_a_table_fail_whole(void **state) {
  (void)state;
  inserts_fail_whole(false);
}

static void making_fails_whole(void **state) {
  (void)state;
  struct lethe_weakmap_options o = {.ordered = true};
  struct lethe_weakmap *m = NULL;
  test_alloc_init(&memory);
  test_alloc_fail(&memory, 1);
  assert_int_equal(lethe_weakmap_new(&m, &memory.alloc, &o), LETHE_ENOMEM);
  assert_null(m);
  assert_int_equal(memory.bytes, 0);
}

enum { FEW = 80 };

static void check_kept(struct lethe_weakmap *m) {
  assert_int_equal(lethe_weakmap_len(m), FEW);
  assert_true(lethe_weakmap_is_valid(m));
  for (int i = 0; i < FEW; i++) assert_true(has(m, i));
}

/* Splits and copies fail whole; an append leaves each entry in one of the maps. */
static void whole_maps(bool strong) {
  struct lethe_weakmap_options o = {.ordered = true, .strong = strong};
  char room[64];
  struct lethe_weak_key k = key(30, room);
  test_alloc_init(&memory);
  struct lethe_weakmap *m = map_of(true, strong), *other;
  for (int i = 0; i < FEW; i++) assert_int_equal(put(m, i, things[i] = thing()), LETHE_OK);
  for (uint64_t n = 1;; n++) {
    test_alloc_fail(&memory, n);
    int rc = lethe_weakmap_copy(m, &o, &other);
    memory.fail_at = 0;
    check_kept(m);
    if (rc == LETHE_OK) break;
    assert_int_equal(rc, LETHE_ENOMEM);
  }
  lethe_weakmap_put_ref(other);
  for (uint64_t n = 1;; n++) {
    test_alloc_fail(&memory, n);
    int rc = lethe_weakmap_split_off(m, &k, &o, &other);
    memory.fail_at = 0;
    if (rc == LETHE_OK) break;
    assert_int_equal(rc, LETHE_ENOMEM);
    check_kept(m);
  }
  assert_int_equal(lethe_weakmap_len(other), FEW - 30);
  for (uint64_t n = 1;; n++) {
    test_alloc_fail(&memory, n);
    int rc = lethe_weakmap_append(m, other);
    memory.fail_at = 0;
    assert_int_equal(lethe_weakmap_len(m) + lethe_weakmap_len(other), FEW);
    assert_true(lethe_weakmap_is_valid(m) && lethe_weakmap_is_valid(other));
    for (int i = 0; i < FEW; i++) assert_true(has(m, i) != has(other, i));
    if (rc == LETHE_OK) break;
    assert_int_equal(rc, LETHE_ENOMEM);
  }
  check_kept(m);
  for (int i = 0; i < FEW; i++) lethe_strong_put(things[i]);
  lethe_weakmap_put_ref(m);
  lethe_weakmap_put_ref(other);
  assert_int_equal(memory.bytes, 0);
}

static void weak_maps_split_and_append(void **state) {
  (void)state;
  whole_maps(false);
}
static void strong_maps_split_and_append(void **state) {
  (void)state;
  whole_maps(true);
}

static void a_step_of_a_walk_may_be_tried_again(void **state) {
  (void)state;
  test_alloc_init(&memory);
  struct lethe_weakmap *m = map_of(true, false);
  struct lethe_counted *c = thing();
  struct lethe_weak_walk w;
  char room[64], end[64];
  struct lethe_weak_key from = key(3, room), to = key(FEW, end);
  int seen = 0, rc;
  for (int i = 0; i < FEW; i++) assert_int_equal(put(m, i, c), LETHE_OK);
  for (uint64_t n = 1; n <= 2; n++) {
    test_alloc_fail(&memory, n);
    assert_int_equal(lethe_weak_walk_begin(&w, m, &from, &to, false), LETHE_ENOMEM);
  }
  memory.fail_at = 0;
  assert_int_equal(lethe_weak_walk_begin(&w, m, NULL, NULL, false), LETHE_OK);
  test_alloc_fail(&memory, 1);
  assert_int_equal(lethe_weak_walk_step(&w), LETHE_ENOMEM);
  while ((rc = lethe_weak_walk_step(&w)) == LETHE_OK) seen++;
  assert_int_equal(rc, LETHE_ENOTFOUND);
  assert_int_equal(seen, FEW);
  lethe_weak_walk_end(&w);
  lethe_strong_put(c);
  lethe_weakmap_put_ref(m);
  assert_int_equal(memory.bytes, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(making_fails_whole),
      cmocka_unit_test(inserts_into_a_tree_fail_whole),
      cmocka_unit_test(inserts_into_a_table_fail_whole),
      cmocka_unit_test(weak_maps_split_and_append),
      cmocka_unit_test(strong_maps_split_and_append),
      cmocka_unit_test(a_step_of_a_walk_may_be_tried_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
