/* SPDX-License-Identifier: MIT
 * The ordered index where keys come in order, and its memo: what looks found, told at once, and the
 * truth whatever comes, goes and dies meanwhile. */
#include "harness/unit.h"

#include <string.h>

#include "harness/alloc.h"
#include "harness/random.h"
#include "lethe/weakmap_inl.h"

static struct test_alloc memory;

static void stays(struct lethe_counted *c) { (void)c; }
static const struct lethe_counted_class plain = {false, NULL, stays};
static const struct lethe_counted_class atomic = {true, NULL, stays};

enum { MANY = 4000, WORTH = 256 /* entries of which a memo is made */ };
static struct lethe_counted object[MANY];
static struct lethe_counted *model[MANY]; /* what is under a key */

static void make_objects(const struct lethe_counted_class *class) {
  for (int i = 0; i < MANY; i++) lethe_counted_init(&object[i], class);
}

static int set_up(void **state) {
  (void)state;
  test_alloc_init(&memory);
  make_objects(&plain);
  memset(model, 0, sizeof model);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  return memory.bytes == 0 && memory.blocks == 0 ? 0 : -1;
}

static struct test_random draws;

static int draw(int n) { return (int)test_below(&draws, (uint64_t)n); }

static struct lethe_weakmap *new_map(bool threads) {
  struct lethe_weakmap *m;
  struct lethe_weakmap_options o = {.ordered = true, .atomic = threads};
  assert_int_equal(lethe_weakmap_new(&m, &memory.alloc, &o), LETHE_OK);
  return m;
}

/* Every third key is a float. */
static struct lethe_weak_key key(int i) {
  return i % 3 ? lethe_weak_integer(i) : lethe_weak_number(i);
}

static void put(struct lethe_weakmap *m, int i, struct lethe_counted *c) {
  struct lethe_weak_key k = key(i);
  assert_int_equal(lethe_weakmap_insert(m, &k, c, NULL), LETHE_OK);
  model[i] = c;
}

static void take(struct lethe_weakmap *m, int i) {
  struct lethe_weak_key k = key(i);
  assert_int_equal(lethe_weakmap_remove(m, &k, NULL), model[i] != NULL);
  model[i] = NULL;
}

static void fill(struct lethe_weakmap *m, int n) {
  for (int i = 0; i < n; i++) put(m, i, &object[i]);
}

static void look(struct lethe_weakmap *m, int i) {
  assert_ptr_equal(lethe_weakmap_borrow_integer(m, i), model[i]);
}

static void look_at_all(struct lethe_weakmap *m, int n, int times) {
  for (int t = 0; t < times; t++)
    for (int i = 0; i < n; i++) look(m, i);
}

static const struct lethe_weak_quick *quick(struct lethe_weakmap *m) {
  return (const struct lethe_weak_quick *)(const void *)m;
}

/* ---- keys in order --------------------------------------------------------------------------- */

/* 30 entries and 31 children in a node, where the half would make another level. */
static void ascending_keys_fill_nodes(void **state) {
  (void)state;
  struct lethe_weakmap *m = new_map(false);
  for (int i = 0; i < 26000; i++) {
    struct lethe_weak_key k = lethe_weak_integer(i);
    assert_int_equal(lethe_weakmap_insert(m, &k, &object[0], NULL), LETHE_OK);
    assert_true(lethe_weakmap_moved(m) <= LETHE_WEAKMAP_NODE * lethe_weakmap_height(m));
  }
  assert_true(lethe_weakmap_is_valid(m));
  assert_int_equal(lethe_weakmap_height(m), 3);
  lethe_weakmap_put_ref(m);
}

/* From the left, the right, or anywhere, with others put behind all meanwhile or not. */
static void nodes_at_the_edge_may_be_short(void **state) {
  (void)state;
  for (int way = 0; way < 6; way++) {
    struct lethe_weakmap *m = new_map(false);
    int low = 0, high = 1100;
    fill(m, high);
    assert_true(lethe_weakmap_is_valid(m));
    for (int left = high; left > 0 && high < MANY; left--) {
      int at = way % 3 == 0 ? low : way % 3 == 1 ? high - 1 : low + draw(high - low);
      while (!model[at]) at = way % 3 == 1 ? at - 1 : low + (at + 1 - low) % (high - low);
      take(m, at);
      while (low < high && !model[low]) low++;
      if (way >= 3 && left % 2) {
        put(m, high, &object[high]);
        high++;
        left++;
      }
      assert_true(lethe_weakmap_is_valid(m));
    }
    lethe_weakmap_put_ref(m);
    memset(model, 0, sizeof model);
  }
}

/* The entry between a node of 15 and one of two at the edge. */
static void what_is_before_a_short_node_may_go(void **state) {
  (void)state;
  struct lethe_weakmap *m = new_map(false);
  fill(m, 32);
  assert_int_equal(lethe_weakmap_height(m), 2);
  for (int i = 0; i < 14; i++) take(m, i);
  assert_int_equal(lethe_weakmap_height(m), 2);
  for (int i = 29; i < 32; i++) {
    take(m, i);
    assert_true(lethe_weakmap_is_valid(m));
  }
  lethe_weakmap_put_ref(m);
}

/* No node but those at the edge is short: not the last child of another one either, before whose
 * end, which is where 30 leaves of 30 keys end, these are put. */
static void keys_may_ascend_in_the_midst(void **state) {
  (void)state;
  struct lethe_weakmap *m = new_map(false);
  fill(m, MANY);
  for (int i = 0; i < 3000; i++) {
    struct lethe_weak_key k = lethe_weak_number(898 + 0.0001 * (i + 1));
    assert_int_equal(lethe_weakmap_insert(m, &k, &object[i], NULL), LETHE_OK);
    assert_true((i > 100 && i % 8) || lethe_weakmap_is_valid(m));
  }
  lethe_weakmap_put_ref(m);
}

/* ---- the memo -------------------------------------------------------------------------------- */

static void many_looks_make_a_memo(void **state) {
  (void)state;
  struct lethe_weakmap *m = new_map(false);
  fill(m, MANY);
  size_t bare = memory.bytes;
  look_at_all(m, MANY, 4);
  assert_false(quick(m)->is);
  assert_int_equal(memory.bytes, bare);
  look_at_all(m, MANY, 4);
  assert_true(quick(m)->is);
  assert_true(quick(m)->buckets >= MANY / 2 && quick(m)->buckets <= MANY);
  assert_true(lethe_weakmap_is_valid(m));
  uint64_t requests = memory.requests;
  look_at_all(m, MANY, 4);
  assert_int_equal(memory.requests, requests);
  lethe_weakmap_clear(m);
  assert_false(quick(m)->is);
  lethe_weakmap_put_ref(m);
}

static void small_maps_and_those_of_threads_have_none(void **state) {
  (void)state;
  for (int threads = 0; threads < 2; threads++) {
    make_objects(threads ? &atomic : &plain);
    struct lethe_weakmap *m = new_map(threads);
    int n = threads ? MANY : WORTH - 1;
    fill(m, n);
    size_t bare = memory.bytes;
    for (int t = 0; t < 20; t++) {
      for (int i = 0; i < n; i++) {
        struct lethe_weak_key k = lethe_weak_integer(i);
        assert_true(lethe_weakmap_contains(m, &k));
      }
    }
    assert_false(quick(m)->is);
    assert_int_equal(memory.bytes, bare);
    lethe_weakmap_put_ref(m);
  }
}

/* Its memory goes step by step, and all of it before the last entry's. */
static void a_memo_goes_as_entries_go(void **state) {
  (void)state;
  struct lethe_weakmap *m = new_map(false);
  fill(m, MANY);
  look_at_all(m, MANY, 8);
  assert_true(quick(m)->is);
  for (int i = 0; i < MANY - 1; i++) {
    size_t blocks = memory.blocks;
    lethe_strong_put(&object[i]);
    model[i] = NULL;
    assert_true(memory.blocks + 12 > blocks);
    look(m, i);
    look(m, draw(MANY));
    assert_true(i % 64 || lethe_weakmap_is_valid(m));
  }
  assert_false(quick(m)->is);
  assert_int_equal(quick(m)->buckets, 0);
  lethe_strong_put(&object[MANY - 1]);
  assert_int_equal(lethe_weakmap_len(m), 0);
  lethe_weakmap_put_ref(m);
}

/* What is looked up is what is there, whatever happens between two looks. */
static void a_memo_is_right(void **state) {
  (void)state;
  struct lethe_weakmap *m = new_map(false);
  int memos = 0;
  bool had = false;
  for (long step = 0; step < 400000; step++) {
    int at = draw(MANY), what = draw(1000);
    bool writes = step / 40000 % 3 == 2 ? what < 600 : what < 5;
    if (writes && (what & 1 || !model[at]))
      put(m, at, &object[draw(MANY)]);
    else if (writes)
      take(m, at);
    else
      look(m, at);
    memos += quick(m)->is && !had;
    had = quick(m)->is;
    assert_true(step % 4000 || lethe_weakmap_is_valid(m));
  }
  assert_true(memos > 1);
  lethe_weakmap_put_ref(m);
}

/* What other maps' entries do to it: splitting, appending, and objects that change places. */
static void a_memo_follows_whole_maps(void **state) {
  (void)state;
  struct lethe_weakmap *m = new_map(false), *other = new_map(false), *upper;
  struct lethe_weakmap_options o = {.ordered = true};
  fill(m, MANY);
  look_at_all(m, MANY, 8);
  for (int i = 0; i < MANY; i += 5) put(other, i, &object[MANY - 1 - i]);
  assert_int_equal(lethe_weakmap_append(m, other), LETHE_OK);
  assert_true(quick(m)->is);
  assert_true(lethe_weakmap_is_valid(m));
  look_at_all(m, MANY, 2);
  struct lethe_weak_key half = lethe_weak_integer(MANY / 2);
  assert_int_equal(lethe_weakmap_split_off(m, &half, &o, &upper), LETHE_OK);
  for (int i = 0; i < MANY / 2; i++) look(m, i);
  for (int i = MANY / 2; i < MANY; i++) {
    assert_null(lethe_weakmap_borrow_integer(m, i));
    look(upper, i);
  }
  assert_true(lethe_weakmap_is_valid(m) && lethe_weakmap_is_valid(upper));
  lethe_weakmap_put_ref(m);
  lethe_weakmap_put_ref(other);
  lethe_weakmap_put_ref(upper);
}

static void without_memory_looks_do_without(void **state) {
  (void)state;
  struct lethe_weakmap *m = new_map(false);
  fill(m, MANY);
  memory.fail_at = memory.requests + 1;
  memory.sticky = true;
  look_at_all(m, MANY, 10);
  assert_true(memory.failed > 0);
  assert_false(quick(m)->is);
  for (uint64_t n = 1; n < 40; n++) { /* the n-th alone */
    memory.sticky = false;
    memory.fail_at = memory.requests + n;
    look_at_all(m, MANY, 1);
    assert_true(lethe_weakmap_is_valid(m));
  }
  assert_true(quick(m)->is);
  lethe_weakmap_put_ref(m);
}

#define MAP_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
  draws = test_seed("ordered index");
  const struct CMUnitTest tests[] = {
      MAP_TEST(ascending_keys_fill_nodes),
      MAP_TEST(nodes_at_the_edge_may_be_short),
      MAP_TEST(what_is_before_a_short_node_may_go),
      MAP_TEST(keys_may_ascend_in_the_midst),
      MAP_TEST(many_looks_make_a_memo),
      MAP_TEST(small_maps_and_those_of_threads_have_none),
      MAP_TEST(a_memo_goes_as_entries_go),
      MAP_TEST(a_memo_is_right),
      MAP_TEST(a_memo_follows_whole_maps),
      MAP_TEST(without_memory_looks_do_without),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
