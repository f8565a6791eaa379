/* SPDX-License-Identifier: MIT
 * Weak maps against a naive reference: random inserts, removes, deaths, splits and appends on two
 * maps at once, for numbers and for bytes, in every form of one thread; and the bound on what a
 * single insert moves, however long the map is. */
#include <string.h>

#include "harness/unit.h"

#include "harness/alloc.h"
#include "harness/random.h"
#include "lethe/weakmap_inl.h"

enum { KEYS = 400, THINGS = 120 };

static uint64_t steps(void) {
  const char *text = getenv("LETHE_WORK");
  double work = text ? strtod(text, NULL) : 1;
  return (uint64_t)(100000 * (work > 0 ? work : 1));
}

struct thing {
  struct lethe_counted refs;
  int number;
};

/* What a map should hold: for each key the number of its thing, or -1. */
struct reference {
  int16_t at[KEYS];
};

struct world {
  struct test_random random;
  struct test_alloc memory;
  struct lethe_weakmap_options options;
  bool bytes;
  struct lethe_weakmap *map[2];
  struct reference should[2];
  struct thing *things[THINGS];
  int freed;
};

static struct world *world;

static void thing_free(struct lethe_counted *c) {
  struct thing *t = lethe_container_of(c, struct thing, refs);
  world->freed++;
  world->things[t->number] = NULL;
  free(t);
}

static const struct lethe_counted_class class = {false, NULL, thing_free};

/* ---- keys ------------------------------------------------------------------------------------ */

/* Rising with i, and of many shapes. Half of the numbers' ranks are shared by two keys, most of the
 * strings' by twenty. */
static struct lethe_weak_key key_of(const struct world *w, int i, char *room) {
  if (!w->bytes) {
    int64_t base = (INT64_C(1) << 55) + i / 2;
    if (i < KEYS / 2) return i % 3 ? lethe_weak_number(i * 0.5) : lethe_weak_integer(i / 2);
    return lethe_weak_integer(base * 2 + i % 2);
  }
  int n = snprintf(room, 32, "%03d common prefix", i / 20);
  memset(room + n, 'x', (size_t)(i % 20));
  return lethe_weak_bytes(room, (size_t)(n + i % 20));
}

/* Numbers of the lower half that are odd multiples of 3 would be equal to their neighbours. */
static bool is_key(const struct world *w, int i) {
  return w->bytes || i >= KEYS / 2 || i % 3 || i % 2 == 0;
}

static int random_key(struct world *w) {
  for (;;) {
    int i = (int)test_below(&w->random, KEYS);
    if (is_key(w, i)) return i;
  }
}

/* ---- comparing ------------------------------------------------------------------------------- */

static size_t expected_len(const struct world *w, int m) {
  size_t n = 0;
  for (int i = 0; i < KEYS; i++) n += w->should[m].at[i] >= 0;
  return n;
}

static int index_of(const struct world *w, const struct lethe_weak_key *k) {
  char room[64];
  for (int i = 0; i < KEYS; i++) {
    struct lethe_weak_key other = key_of(w, i, room);
    if (is_key(w, i) && lethe_weak_compare(k, &other) == 0) return i;
  }
  return -1;
}

static void check_one(struct world *w, int m, int i) {
  char room[64];
  struct lethe_weak_key k = key_of(w, i, room);
  bool inlined = k.kind == LETHE_WEAK_INTEGER && test_below(&w->random, 2);
  struct lethe_counted *c = inlined ? lethe_weakmap_get_integer(w->map[m], k.u.integer)
                                    : lethe_weakmap_get(w->map[m], &k);
  int is = c ? lethe_container_of(c, struct thing, refs)->number : -1;
  if (c) lethe_strong_put(c);
  assert_int_equal(is, w->should[m].at[i]);
}

/* All of it, by a walk in order. */
static void check_all(struct world *w, int m) {
  struct lethe_weak_walk walk;
  bool down = w->options.ordered && test_below(&w->random, 2);
  int last = down ? KEYS : -1, rc;
  size_t n = 0;
  assert_true(lethe_weakmap_is_valid(w->map[m]));
  assert_int_equal(lethe_weak_walk_begin(&walk, w->map[m], NULL, NULL, down), LETHE_OK);
  while ((rc = lethe_weak_walk_step(&walk)) == LETHE_OK) {
    int i = index_of(w, &walk.key);
    assert_true(i >= 0);
    assert_int_equal(lethe_container_of(walk.object, struct thing, refs)->number,
                     w->should[m].at[i]);
    if (w->options.ordered) assert_true(down ? i < last : i > last);
    last = i;
    n++;
  }
  assert_int_equal(rc, LETHE_ENOTFOUND);
  lethe_weak_walk_end(&walk);
  assert_int_equal(n, expected_len(w, m));
  assert_int_equal(n, lethe_weakmap_len(w->map[m]));
}

static bool expected_equal(const struct world *w) {
  return memcmp(&w->should[0], &w->should[1], sizeof w->should[0]) == 0;
}

/* ---- operations ------------------------------------------------------------------------------ */

static void died(struct world *w, int number) {
  for (int m = 0; m < 2; m++)
    for (int i = 0; i < KEYS; i++)
      if (w->should[m].at[i] == number) w->should[m].at[i] = -1;
}

static void check_moved(struct world *w, int m) {
  size_t moved = lethe_weakmap_moved(w->map[m]);
  if (w->options.ordered)
    assert_true(moved <= (LETHE_WEAKMAP_NODE + 1) * (lethe_weakmap_height(w->map[m]) + 1));
  else
    assert_true(moved <= 64);
}

static void insert(struct world *w, int m) {
  char room[64];
  int i = random_key(w), number = (int)test_below(&w->random, THINGS), was = w->should[m].at[i];
  struct lethe_weak_key k = key_of(w, i, room);
  struct lethe_counted *old;
  struct thing *t = w->things[number];
  if (!t) {
    t = w->things[number] = calloc(1, sizeof *t);
    assert_non_null(t);
    t->number = number;
    lethe_counted_init(&t->refs, &class);
  }
  if (test_below(&w->random, 50) == 0) { /* nothing changes without memory */
    test_alloc_fail(&w->memory, 1 + test_below(&w->random, 3));
    w->memory.sticky = true;
  }
  int rc = lethe_weakmap_insert(w->map[m], &k, &t->refs, &old);
  w->memory.fail_at = 0;
  if (rc == LETHE_ENOMEM) return;
  assert_int_equal(rc, LETHE_OK);
  check_moved(w, m);
  assert_int_equal(old ? lethe_container_of(old, struct thing, refs)->number : -1, was);
  if (old) lethe_strong_put(old);
  w->should[m].at[i] = (int16_t)number;
}

static void remove_key(struct world *w, int m) {
  char room[64];
  int i = random_key(w);
  struct lethe_weak_key k = key_of(w, i, room);
  assert_int_equal(lethe_weakmap_remove(w->map[m], &k, NULL), w->should[m].at[i] >= 0);
  check_moved(w, m);
  w->should[m].at[i] = -1;
}

static void kill(struct world *w) {
  int number = (int)test_below(&w->random, THINGS);
  if (!w->things[number]) return;
  int freed = w->freed;
  lethe_strong_put(&w->things[number]->refs);
  assert_int_equal(w->freed, freed + 1);
  died(w, number);
}

static void split_and_append(struct world *w) {
  char room[64];
  int i = random_key(w);
  struct lethe_weak_key k = key_of(w, i, room);
  struct lethe_weakmap *upper;
  if (!w->options.ordered || lethe_weakmap_split_off(w->map[0], &k, &w->options, &upper)) return;
  for (int j = i; j < KEYS; j++) {
    if (w->should[0].at[j] >= 0) w->should[1].at[j] = w->should[0].at[j];
    w->should[0].at[j] = -1;
  }
  assert_int_equal(lethe_weakmap_append(w->map[1], upper), LETHE_OK);
  assert_int_equal(lethe_weakmap_len(upper), 0);
  lethe_weakmap_put_ref(upper);
}

static void copy(struct world *w) {
  struct lethe_weakmap *other;
  assert_int_equal(lethe_weakmap_copy(w->map[0], &w->options, &other), LETHE_OK);
  assert_true(lethe_weakmap_equal(w->map[0], other));
  assert_int_equal(lethe_weakmap_equal(w->map[0], w->map[1]), expected_equal(w));
  assert_int_equal(lethe_weakmap_equal(w->map[1], w->map[0]), expected_equal(w));
  lethe_weakmap_put_ref(w->map[1]);
  w->map[1] = other;
  w->should[1] = w->should[0];
}

/* Swings between growing and shrinking, so that trees and tables come and go whole. */
static void step(struct world *w, uint64_t n) {
  int m = (int)test_below(&w->random, 2), grows = n / 2000 % 2 ? 25 : 70;
  int dice = (int)test_below(&w->random, 100);
  if (dice < grows)
    insert(w, m);
  else if (dice < 85)
    remove_key(w, m);
  else if (dice < 97)
    kill(w);
  else if (dice < 99)
    check_one(w, m, random_key(w));
  else if (test_below(&w->random, 10) == 0)
    split_and_append(w);
  if (n % 500 == 0) check_all(w, m);
  if (n % 5000 == 0) copy(w);
}

static void run(bool ordered, bool bytes) {
  static struct world w;
  memset(&w, 0, sizeof w);
  world = &w;
  w.random = test_seed("weakmap model");
  w.options.ordered = ordered;
  w.bytes = bytes;
  test_alloc_init(&w.memory);
  memset(w.should, -1, sizeof w.should);
  for (int m = 0; m < 2; m++)
    assert_int_equal(lethe_weakmap_new(&w.map[m], &w.memory.alloc, &w.options), LETHE_OK);
  for (uint64_t n = 0; n < steps(); n++) step(&w, n);
  for (int i = 0; i < THINGS; i++)
    if (w.things[i]) lethe_strong_put(&w.things[i]->refs);
  for (int m = 0; m < 2; m++) {
    assert_int_equal(lethe_weakmap_len(w.map[m]), 0);
    lethe_weakmap_put_ref(w.map[m]);
  }
  assert_int_equal(w.memory.bytes, 0);
}

static void ordered_numbers(void **state) {
  (void)state;
  run(true, false);
}
static void ordered_bytes(void **state) {
  (void)state;
  run(true, true);
}
static void hashed_numbers(void **state) {
  (void)state;
  run(false, false);
}
static void hashed_bytes(void **state) {
  (void)state;
  run(false, true);
}

/* ---- what one insert moves ------------------------------------------------------------------- */

enum { LONG = 200000 };

/* Weakness 1: a write that costs what the map is long. Rising, falling and mixed keys. */
static void no_insert_moves_more_than_a_node_for_each_level(void **state) {
  (void)state;
  struct thing t = {.number = 0};
  lethe_counted_init(&t.refs, &class);
  for (int ordered = 0; ordered < 2; ordered++) {
    for (int way = 0; way < 3; way++) {
      struct lethe_weakmap *m;
      struct lethe_weakmap_options o = {.ordered = ordered};
      size_t most = 0, total = 0;
      assert_int_equal(lethe_weakmap_new(&m, &lethe_alloc_libc, &o), LETHE_OK);
      for (int64_t i = 0; i < LONG; i++) {
        struct lethe_weak_key k = lethe_weak_integer(way == 0   ? i
                                                     : way == 1 ? -i
                                                                : i * 7919 % LONG);
        assert_int_equal(lethe_weakmap_insert(m, &k, &t.refs, NULL), LETHE_OK);
        size_t moved = lethe_weakmap_moved(m);
        if (moved > most) most = moved;
        total += moved;
      }
      assert_int_equal(lethe_weakmap_len(m), LONG);
      if (ordered) {
        assert_true(lethe_weakmap_height(m) <= 5);
        assert_true(most <= LETHE_WEAKMAP_NODE * (size_t)lethe_weakmap_height(m));
      } else {
        assert_true(most <= 32); /* a chain */
      }
      assert_true(total <= (size_t)LONG * LETHE_WEAKMAP_NODE);
      for (int64_t i = 0; i < LONG; i++) { /* nor does a removal */
        struct lethe_weak_key k = lethe_weak_integer(way == 1 ? -i : i);
        assert_true(lethe_weakmap_remove(m, &k, NULL));
        assert_true(lethe_weakmap_moved(m) <= (LETHE_WEAKMAP_NODE + 3) * 6);
      }
      lethe_weakmap_put_ref(m);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(ordered_numbers),
      cmocka_unit_test(ordered_bytes),
      cmocka_unit_test(hashed_numbers),
      cmocka_unit_test(hashed_bytes),
      cmocka_unit_test(no_insert_moves_more_than_a_node_for_each_level),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
