/* SPDX-License-Identifier: MIT
 * The hash index where keys are chosen against it: the hash of a free place, hashes whose upper
 * halves are the same, and keys in steps. */
#include "harness/unit.h"

#include "harness/alloc.h"
#include "lethe/weakmap_inl.h"

static struct test_alloc memory;

static void stays(struct lethe_counted *c) { (void)c; }
static const struct lethe_counted_class plain = {false, NULL, stays};

enum { MANY = 64 };
static struct lethe_counted object[MANY];

static int set_up(void **state) {
  (void)state;
  test_alloc_init(&memory);
  for (int i = 0; i < MANY; i++) lethe_counted_init(&object[i], &plain);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  return memory.bytes == 0 && memory.blocks == 0 ? 0 : -1;
}

static struct lethe_weakmap *new_map(void) {
  struct lethe_weakmap *m;
  struct lethe_weakmap_options o = {.ordered = false};
  assert_int_equal(lethe_weakmap_new(&m, &memory.alloc, &o), LETHE_OK);
  return m;
}

static void put(struct lethe_weakmap *m, int64_t i, struct lethe_counted *c) {
  struct lethe_weak_key k = lethe_weak_integer(i);
  assert_int_equal(lethe_weakmap_insert(m, &k, c, NULL), LETHE_OK);
}

static bool take(struct lethe_weakmap *m, int64_t i) {
  struct lethe_weak_key k = lethe_weak_integer(i);
  return lethe_weakmap_remove(m, &k, NULL);
}

/* Both ways of looking. */
static struct lethe_counted *look(struct lethe_weakmap *m, int64_t i) {
  struct lethe_weak_key k = lethe_weak_integer(i);
  struct lethe_counted *c = lethe_weakmap_borrow(m, &k);
  assert_ptr_equal(lethe_weakmap_borrow_integer(m, i), c);
  return c;
}

static uint64_t seed_of(struct lethe_weakmap *m) {
  return ((const struct lethe_weak_quick *)(const void *)m)->seed;
}

/* The number that has the hash in a map of that seed. */
static int64_t key_of(uint64_t hash, uint64_t seed) {
  const uint64_t factor = UINT64_C(0x9e3779b97f4a7c15);
  uint64_t z = hash ^ __builtin_bswap32((uint32_t)(hash >> 32)), inverse = factor;
  for (int i = 0; i < 5; i++) inverse *= 2 - factor * inverse; /* as many right bits again */
  return (int64_t)(z * inverse ^ seed);
}

static void a_key_may_have_the_hash_of_a_free_place(void **state) {
  (void)state;
  struct lethe_weakmap *m = new_map();
  int64_t none = key_of(0, seed_of(m));
  assert_int_equal(none, (int64_t)seed_of(m));
  for (int i = 0; i < 200; i++) {
    assert_null(look(m, none));
    put(m, none, &object[0]);
    assert_ptr_equal(look(m, none), &object[0]);
    assert_true(lethe_weakmap_is_valid(m));
    assert_true(take(m, none));
    put(m, i % 100, &object[1]);
  }
  lethe_weakmap_put_ref(m);
}

/* All in one bucket, where only the first of those with the upper half is looked at quickly. */
static void check_alike(struct lethe_weakmap *m, uint64_t upper) {
  int64_t keys[MANY];
  for (int i = 0; i < MANY; i++) keys[i] = key_of(upper << 32 | (uint64_t)i << 20 | 5, seed_of(m));
  for (int i = 0; i < MANY; i++) {
    assert_null(look(m, keys[i]));
    put(m, keys[i], &object[i]);
    assert_true(lethe_weakmap_is_valid(m));
    for (int j = 0; j <= i; j++) assert_ptr_equal(look(m, keys[j]), &object[j]);
  }
  assert_int_equal(lethe_weakmap_height(m), MANY);
  for (int i = 0; i < MANY; i++) {
    int at = (i * 7 + 3) % MANY;
    assert_true(take(m, keys[at]));
    assert_true(lethe_weakmap_is_valid(m));
    for (int j = 0; j < MANY; j++)
      if (look(m, keys[j])) assert_ptr_equal(look(m, keys[j]), &object[j]);
    assert_null(look(m, keys[at]));
  }
  assert_int_equal(lethe_weakmap_len(m), 0);
}

static void hashes_may_have_the_same_upper_half(void **state) {
  (void)state;
  struct lethe_weakmap *m = new_map();
  check_alike(m, 0);
  check_alike(m, UINT32_MAX);
  check_alike(m, 12345);
  lethe_weakmap_put_ref(m);
}

/* Whatever the step, and whatever the seed: addresses, pages, numbers with a mark in their highest
 * bits. With a lower half that is not mixed, steps of 2^40 would all be in one bucket. */
static void keys_in_steps_are_spread(void **state) {
  (void)state;
  static const int64_t odd[] = {3, 24, 48, 100, 1000, 1001, 4097, 10007, 65537, 1000000007};
  for (int s = 0; s < 54 + (int)(sizeof odd / sizeof *odd); s++) {
    int64_t step = s < 54 ? INT64_C(1) << s : odd[s - 54];
    struct lethe_weakmap *m = new_map();
    for (int64_t i = 0; i < 512; i++) put(m, i * step, &object[0]);
    assert_true(lethe_weakmap_height(m) <= 32);
    lethe_weakmap_put_ref(m);
  }
}

#define MAP_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      MAP_TEST(a_key_may_have_the_hash_of_a_free_place),
      MAP_TEST(hashes_may_have_the_same_upper_half),
      MAP_TEST(keys_in_steps_are_spread),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
