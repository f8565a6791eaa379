/* SPDX-License-Identifier: MIT
 * Counted references and weak maps over them: what a death does, and every call of both indexes. */
#include "harness/unit.h"

#include <string.h>

#include "harness/alloc.h"
#include "lethe/weakmap_inl.h"

/* ---- objects --------------------------------------------------------------------------------- */

static struct { int ended, freed; } heard;

struct thing {
  struct lethe_counted refs;
  int number;
  struct lethe_counted *other; /* a strong reference that it ends with */
};

static void thing_end(struct lethe_counted *c) {
  struct thing *t = lethe_container_of(c, struct thing, refs);
  assert_true(lethe_list_empty(&c->entries));
  heard.ended++;
  if (t->other) lethe_strong_put(t->other);
}

static void thing_free(struct lethe_counted *c) {
  heard.freed++;
  free(lethe_container_of(c, struct thing, refs));
}

static const struct lethe_counted_class plain = {false, thing_end, thing_free};
static const struct lethe_counted_class atomic = {true, thing_end, thing_free};

static struct lethe_counted *thing_of(const struct lethe_counted_class *class) {
  struct thing *t = calloc(1, sizeof *t);
  assert_non_null(t);
  lethe_counted_init(&t->refs, class);
  heard.ended = heard.freed = 0;
  return &t->refs;
}

static struct lethe_counted *thing(void) { return thing_of(&plain); }

/* ---- references ------------------------------------------------------------------------------ */

static void check_references(const struct lethe_counted_class *class) {
  struct lethe_counted *c = thing_of(class);
  assert_false(lethe_weak_expired(c));
  lethe_strong_get(c);
  lethe_weak_get(c);
  lethe_strong_put(c);
  assert_true(lethe_weak_upgrade(c));
  lethe_strong_put(c);
  assert_int_equal(heard.ended, 0);
  lethe_strong_put(c);
  assert_int_equal(heard.ended, 1);
  assert_int_equal(heard.freed, 0); /* the weak one keeps the memory */
  assert_true(lethe_weak_expired(c));
  assert_false(lethe_weak_upgrade(c));
  lethe_weak_put(c);
  assert_int_equal(heard.freed, 1);
}

static void plain_references_count(void **state) {
  (void)state;
  check_references(&plain);
}

static void atomic_references_count(void **state) {
  (void)state;
  check_references(&atomic);
}

/* ---- maps ------------------------------------------------------------------------------------ */

static struct test_alloc memory;

struct form {
  bool ordered, atomic;
};
static const struct form forms[] = {{true, false}, {false, false}, {true, true}, {false, true}};

static const struct lethe_counted_class *class_of(const struct form *f) {
  return f->atomic ? &atomic : &plain;
}

static struct lethe_weakmap *map_of(const struct form *f) {
  struct lethe_weakmap *m;
  struct lethe_weakmap_options o = {.ordered = f->ordered, .atomic = f->atomic};
  assert_int_equal(lethe_weakmap_new(&m, &memory.alloc, &o), LETHE_OK);
  return m;
}

static int set_up(void **state) {
  (void)state;
  test_alloc_init(&memory);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  return memory.bytes == 0 && memory.blocks == 0 ? 0 : -1;
}

static struct lethe_weak_key key(int64_t i) { return lethe_weak_integer(i); }

static void put(struct lethe_weakmap *m, int64_t i, struct lethe_counted *c) {
  struct lethe_weak_key k = key(i);
  assert_int_equal(lethe_weakmap_insert(m, &k, c, NULL), LETHE_OK);
}

static struct lethe_counted *look(struct lethe_weakmap *m, int64_t i) {
  struct lethe_weak_key k = key(i);
  struct lethe_counted *c = lethe_weakmap_get(m, &k);
  assert_ptr_equal(lethe_weakmap_get_integer(m, i), c); /* the same, inline */
  if (c) {
    lethe_strong_put(c);
    lethe_strong_put(c);
  }
  return c;
}

static void each_form(void (*check)(const struct form *f)) {
  for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) check(&forms[i]);
}

static void check_test_basic(const struct form *f) {
  struct lethe_weakmap *m = map_of(f);
  struct lethe_counted *one = thing_of(class_of(f)), *two = thing_of(class_of(f));
  put(m, 1, one);
  put(m, 2, two);
  assert_int_equal(lethe_weakmap_len(m), 2);
  lethe_strong_put(two);
  assert_int_equal(lethe_weakmap_len(m), 1);
  assert_ptr_equal(look(m, 1), one);
  assert_null(look(m, 2));
  lethe_strong_put(one);
  assert_int_equal(lethe_weakmap_len(m), 0);
  lethe_weakmap_put_ref(m);
}

static void test_basic_as_it_is_there(void **state) {
  (void)state;
  each_form(check_test_basic);
}

static void check_test_cleanup(const struct form *f) {
  struct lethe_weakmap *m = map_of(f);
  for (int i = 0; i < 10000; i++) {
    struct lethe_counted *c = thing_of(class_of(f));
    put(m, i, c);
    lethe_strong_put(c);
    assert_int_equal(lethe_weakmap_len(m), 0);
  }
  lethe_weakmap_put_ref(m);
}

static void test_cleanup_leaves_none_where_the_model_leaves_one(void **state) {
  (void)state;
  each_form(check_test_cleanup);
}

enum { MANY = 3000 };

/* W03: with reads only, what dies is given back at once, to the byte. */
static void check_bytes_at_once(const struct form *f) {
  static struct lethe_counted *things[MANY];
  struct lethe_weakmap *m = map_of(f);
  size_t bytes = memory.bytes, blocks = memory.blocks;
  for (int i = 0; i < MANY; i++) put(m, i * 7 % MANY, things[i] = thing_of(class_of(f)));
  for (int i = 0; i < MANY; i++) {
    size_t before = memory.bytes;
    assert_non_null(look(m, i * 7 % MANY));
    lethe_strong_put(things[i]);
    assert_int_equal(heard.freed, i + 1);
    assert_true(memory.bytes < before);
    assert_null(look(m, i * 7 % MANY));
  }
  assert_int_equal(memory.bytes, bytes);
  assert_int_equal(memory.blocks, blocks);
  lethe_weakmap_put_ref(m);
}

static void bytes_are_back_at_the_last_strong_drop(void **state) {
  (void)state;
  each_form(check_bytes_at_once);
}

static void an_object_may_be_in_many_maps_under_many_keys(void **state) {
  (void)state;
  struct lethe_weakmap *a = map_of(&forms[0]), *b = map_of(&forms[1]);
  struct lethe_counted *c = thing();
  for (int i = 0; i < 100; i++) {
    put(a, i, c);
    put(b, -i, c);
  }
  struct lethe_weak_key k = key(50);
  assert_true(lethe_weakmap_remove(a, &k, NULL));
  assert_int_equal(lethe_weakmap_len(a), 99);
  lethe_strong_put(c);
  assert_int_equal(lethe_weakmap_len(a), 0);
  assert_int_equal(lethe_weakmap_len(b), 0);
  lethe_weakmap_put_ref(a);
  lethe_weakmap_put_ref(b);
}

static void a_map_may_go_before_its_objects(void **state) {
  (void)state;
  for (int i = 0; i < 4; i++) {
    struct lethe_weakmap *m = map_of(&forms[i]);
    struct lethe_counted *c = thing_of(class_of(&forms[i]));
    put(m, 1, c);
    put(m, 2, c);
    lethe_weakmap_put_ref(m);
    assert_true(lethe_list_empty(&c->entries));
    lethe_strong_put(c);
    assert_int_equal(heard.freed, 1);
  }
}

/* An end that drops the last reference to another object of the same map. */
static void deaths_may_nest(void **state) {
  (void)state;
  struct lethe_weakmap *m = map_of(&forms[0]);
  struct lethe_counted *c[100];
  for (int i = 0; i < 100; i++) {
    c[i] = thing();
    lethe_container_of(c[i], struct thing, refs)->other = i > 0 ? c[i - 1] : NULL;
    put(m, i, c[i]);
  }
  lethe_strong_put(c[99]);
  assert_int_equal(heard.freed, 100);
  assert_int_equal(lethe_weakmap_len(m), 0);
  lethe_weakmap_put_ref(m);
}

static void an_insert_gives_back_what_was_there(void **state) {
  (void)state;
  for (int i = 0; i < 4; i++) {
    struct lethe_weakmap *m = map_of(&forms[i]);
    struct lethe_counted *a = thing_of(class_of(&forms[i])), *b = thing_of(class_of(&forms[i]));
    struct lethe_counted *old = a;
    struct lethe_weak_key k = key(1), same = lethe_weak_number(1.0);
    assert_int_equal(lethe_weakmap_insert(m, &k, a, &old), LETHE_OK);
    assert_null(old);
    assert_int_equal(lethe_weakmap_insert(m, &same, b, &old), LETHE_OK);
    assert_ptr_equal(old, a);
    lethe_strong_put(old);
    assert_int_equal(lethe_weakmap_len(m), 1);
    if (!forms[i].atomic) { /* the new key object has taken the old one's place (W08) */
      struct lethe_weak_item item;
      assert_true(lethe_weakmap_borrow_next(m, NULL, false, false, &item));
      assert_int_equal(item.key.kind, LETHE_WEAK_FLOAT);
    }
    assert_true(lethe_weakmap_remove(m, &k, &old));
    assert_ptr_equal(old, b);
    lethe_strong_put(old);
    assert_false(lethe_weakmap_remove(m, &k, &old));
    assert_null(old);
    lethe_strong_put(a);
    lethe_strong_put(b);
    lethe_weakmap_put_ref(m);
  }
}

static void flavours_and_kinds_do_not_mix(void **state) {
  (void)state;
  struct lethe_weakmap *p = map_of(&forms[0]), *t = map_of(&forms[2]);
  struct lethe_counted *c = thing(), *d = thing_of(&atomic);
  struct lethe_weak_key k = key(1), text = lethe_weak_bytes("a", 1),
                        nan = lethe_weak_number(__builtin_nan(""));
  assert_int_equal(lethe_weakmap_insert(p, &k, d, NULL), LETHE_EINVAL);
  assert_int_equal(lethe_weakmap_insert(t, &k, c, NULL), LETHE_EINVAL);
  assert_int_equal(lethe_weakmap_insert(p, &nan, c, NULL), LETHE_EINVAL);
  assert_int_equal(lethe_weakmap_insert(p, &text, c, NULL), LETHE_OK);
  assert_int_equal(lethe_weakmap_insert(p, &k, c, NULL), LETHE_EINVAL);
  assert_false(lethe_weakmap_contains(p, &k));
  lethe_weakmap_clear(p);
  assert_int_equal(lethe_weakmap_insert(p, &k, c, NULL), LETHE_OK);
  assert_int_equal(lethe_weakmap_append(p, t), LETHE_EINVAL);
  assert_int_equal(lethe_weakmap_append(p, p), LETHE_EINVAL);
  lethe_strong_put(c);
  lethe_strong_put(d);
  lethe_weakmap_put_ref(p);
  lethe_weakmap_put_ref(t);
}

/* ---- strong maps ----------------------------------------------------------------------------- */

static void a_strong_map_holds_until_it_lets_go(void **state) {
  (void)state;
  struct lethe_weakmap *m, *w = map_of(&forms[0]);
  struct lethe_weakmap_options o = {.ordered = true, .strong = true};
  struct lethe_weak_key k = key(5);
  for (int i = 0; i < 10; i++) {
    struct lethe_counted *c = thing();
    put(w, i, c);
    if (i == 0) {
      assert_int_equal(lethe_weakmap_copy(w, &o, &m), LETHE_OK);
    } else {
      put(m, i, c);
    }
    lethe_strong_put(c);
  }
  assert_int_equal(lethe_weakmap_len(w), 10);
  assert_true(lethe_weakmap_equal(w, m));
  assert_true(lethe_weakmap_remove(m, &k, NULL));
  assert_int_equal(lethe_weakmap_len(w), 9);
  put(m, 6, look(m, 7)); /* the old object of key 6 dies */
  assert_int_equal(lethe_weakmap_len(w), 8);
  lethe_weakmap_clear(m);
  assert_int_equal(lethe_weakmap_len(w), 0);
  lethe_weakmap_put_ref(m);
  lethe_weakmap_put_ref(w);
}

/* ---- the dead -------------------------------------------------------------------------------- */

static int notified;
static void notify(void *ud) {
  (void)ud;
  notified++;
}

static void the_dead_wait_in_order_and_come_once(void **state) {
  (void)state;
  struct lethe_weakmap *m;
  struct lethe_weakmap_options o = {.ordered = true, .keeps_dead = true, .notify = notify};
  struct lethe_counted *c[5];
  struct lethe_weak_key k;
  struct lethe_weak_dead *d;
  assert_int_equal(lethe_weakmap_new(&m, &memory.alloc, &o), LETHE_OK);
  notified = 0;
  for (int i = 0; i < 5; i++) put(m, i, c[i] = thing());
  put(m, 3, c[4]); /* replaced: 3 is no death of c[3] */
  k = key(0);
  assert_true(lethe_weakmap_remove(m, &k, NULL)); /* nor is what was removed */
  for (int i = 3; i >= 0; i--) lethe_strong_put(c[i]);
  assert_int_equal(notified, 1);
  for (int i = 2; i > 0; i--) {
    assert_int_equal(lethe_weakmap_dead_len(m), i);
    assert_non_null(d = lethe_weakmap_dead(m));
    lethe_weak_dead_key(d, &k);
    assert_int_equal(k.u.integer, i);
    lethe_weak_dead_free(m, d);
  }
  assert_null(lethe_weakmap_dead(m));
  lethe_strong_put(c[4]); /* keys 3 and 4; nobody asks: they go with the map */
  assert_int_equal(notified, 2);
  lethe_weakmap_put_ref(m);
}

/* ---- walks and whole maps -------------------------------------------------------------------- */

static void a_walk_survives_any_change(void **state) {
  (void)state;
  for (int form = 0; form < 4; form++) {
    struct lethe_weakmap *m = map_of(&forms[form]);
    struct lethe_counted *c[200];
    struct lethe_weak_walk w;
    int seen[400] = {0}, rc;
    for (int i = 0; i < 200; i++) put(m, 2 * i, c[i] = thing_of(class_of(&forms[form])));
    assert_int_equal(lethe_weak_walk_begin(&w, m, NULL, NULL, false), LETHE_OK);
    for (int n = 0; (rc = lethe_weak_walk_step(&w)) == LETHE_OK; n++) {
      int64_t at = w.key.u.integer;
      seen[at]++;
      if (at % 2 == 0 && at % 3 == 0) { /* the entry that it is at, and one ahead or behind */
        lethe_strong_put(c[at / 2]);
        c[at / 2] = NULL;
      }
      if (at % 2 == 0) put(m, at + 1, w.object);
    }
    assert_int_equal(rc, LETHE_ENOTFOUND);
    lethe_weak_walk_end(&w);
    for (int i = 0; i < 400; i++) assert_true(seen[i] <= 1 && (i % 2 || seen[i] == 1));
    for (int i = 0; i < 200; i++)
      if (c[i]) lethe_strong_put(c[i]);
    assert_int_equal(lethe_weakmap_len(m), 0);
    lethe_weakmap_put_ref(m);
  }
}

static void a_walk_may_have_bounds_and_go_down(void **state) {
  (void)state;
  struct lethe_weakmap *m = map_of(&forms[0]), *h = map_of(&forms[1]);
  struct lethe_counted *c = thing();
  struct lethe_weak_walk w;
  struct lethe_weak_key lo = lethe_weak_bytes("b", 1), hi = lethe_weak_bytes("dd", 2);
  const char *names[] = {"a", "b", "ba", "c", "dd", "dda", "e"};
  for (int i = 0; i < 7; i++) {
    struct lethe_weak_key k = lethe_weak_bytes(names[i], strlen(names[i]));
    assert_int_equal(lethe_weakmap_insert(m, &k, c, NULL), LETHE_OK);
  }
  assert_int_equal(lethe_weak_walk_begin(&w, m, &lo, &hi, false), LETHE_OK);
  for (int i = 1; i <= 4; i++) {
    assert_int_equal(lethe_weak_walk_step(&w), LETHE_OK);
    assert_memory_equal(w.key.bytes, names[i], strlen(names[i]));
  }
  assert_int_equal(lethe_weak_walk_step(&w), LETHE_ENOTFOUND);
  lethe_weak_walk_end(&w);
  assert_int_equal(lethe_weak_walk_begin(&w, m, &hi, &lo, true), LETHE_OK);
  for (int i = 4; i >= 1; i--) {
    assert_int_equal(lethe_weak_walk_step(&w), LETHE_OK);
    assert_int_equal(w.key.u.n, strlen(names[i]));
  }
  assert_int_equal(lethe_weak_walk_step(&w), LETHE_ENOTFOUND);
  lethe_weak_walk_end(&w);
  assert_int_equal(lethe_weak_walk_begin(&w, h, &lo, NULL, false), LETHE_EINVAL);
  assert_int_equal(lethe_weak_walk_begin(&w, h, NULL, NULL, true), LETHE_EINVAL);
  lethe_strong_put(c);
  lethe_weakmap_put_ref(m);
  lethe_weakmap_put_ref(h);
}

static void maps_split_and_append(void **state) {
  (void)state;
  for (int strong = 0; strong < 2; strong++) {
    struct lethe_weakmap_options o = {.ordered = true, .strong = strong};
    struct lethe_weakmap *m, *high;
    struct lethe_counted *c[100];
    struct lethe_weak_key k = key(60);
    assert_int_equal(lethe_weakmap_new(&m, &memory.alloc, &o), LETHE_OK);
    for (int i = 0; i < 100; i++) put(m, i, c[i] = thing());
    assert_int_equal(lethe_weakmap_split_off(m, &k, &o, &high), LETHE_OK);
    assert_int_equal(lethe_weakmap_len(m), 60);
    assert_int_equal(lethe_weakmap_len(high), 40);
    assert_true(lethe_weakmap_is_valid(m) && lethe_weakmap_is_valid(high));
    for (int i = 0; i < 100; i++) assert_ptr_equal(look(i < 60 ? m : high, i), c[i]);
    put(m, 70, c[0]);
    assert_false(lethe_weakmap_equal(m, high));
    assert_int_equal(lethe_weakmap_append(m, high), LETHE_OK);
    assert_int_equal(lethe_weakmap_len(high), 0);
    assert_int_equal(lethe_weakmap_len(m), 100);
    assert_ptr_equal(look(m, 70), c[70]); /* the other's value wins */
    for (int i = 0; i < 100; i++) lethe_strong_put(c[i]);
    assert_int_equal(lethe_weakmap_len(m), strong ? 100 : 0);
    lethe_weakmap_put_ref(m);
    lethe_weakmap_put_ref(high);
    assert_int_equal(heard.freed, 100);
  }
}

/* W01: both ways, whatever is missing. */
static void equality_is_symmetric(void **state) {
  (void)state;
  struct lethe_weakmap *a = map_of(&forms[0]), *b = map_of(&forms[1]);
  struct lethe_counted *c = thing(), *d = thing();
  assert_true(lethe_weakmap_equal(a, b) && lethe_weakmap_equal(b, a));
  put(a, 1, c);
  assert_false(lethe_weakmap_equal(a, b) || lethe_weakmap_equal(b, a));
  put(b, 1, c);
  put(b, 2, d);
  assert_false(lethe_weakmap_equal(a, b) || lethe_weakmap_equal(b, a));
  put(a, 2, c);
  assert_false(lethe_weakmap_equal(a, b) || lethe_weakmap_equal(b, a));
  put(a, 2, d);
  assert_true(lethe_weakmap_equal(a, b) && lethe_weakmap_equal(b, a));
  put(a, 3, d);
  lethe_strong_put(d);
  assert_true(lethe_weakmap_equal(a, b) && lethe_weakmap_equal(b, a));
  lethe_strong_put(c);
  lethe_weakmap_put_ref(a);
  lethe_weakmap_put_ref(b);
}

static void numbers_compare_exactly(void **state) {
  (void)state;
  const int64_t big = INT64_C(1) << 53;
  const struct lethe_weak_key rising[] = {lethe_weak_number(-__builtin_inf()),
                                          lethe_weak_number(-0x1p64),
                                          lethe_weak_integer(INT64_MIN),
                                          lethe_weak_integer(INT64_MIN + 1),
                                          lethe_weak_number(-1.5),
                                          lethe_weak_integer(-1),
                                          lethe_weak_number(-0.5),
                                          lethe_weak_number(0.0),
                                          lethe_weak_number(5e-324),
                                          lethe_weak_integer(1),
                                          lethe_weak_integer(big),
                                          lethe_weak_integer(big + 1),
                                          lethe_weak_number(0x1p53 + 2),
                                          lethe_weak_integer(big + 3),
                                          lethe_weak_integer(INT64_MAX - 1),
                                          lethe_weak_integer(INT64_MAX),
                                          lethe_weak_number(0x1p63),
                                          lethe_weak_number(__builtin_inf())};
  enum { N = sizeof rising / sizeof *rising };
  for (int i = 0; i < 2; i++) {
    struct lethe_weakmap *m = map_of(&forms[i]);
    struct lethe_counted *c[N];
    for (int j = 0; j < N; j++) {
      int k = (j * 7) % N;
      c[k] = thing();
      assert_int_equal(lethe_weakmap_insert(m, &rising[k], c[k], NULL), LETHE_OK);
    }
    assert_int_equal(lethe_weakmap_len(m), N);
    for (int j = 0; j < N; j++) {
      assert_ptr_equal(lethe_weakmap_borrow(m, &rising[j]), c[j]);
      for (int k = 0; k < N; k++) {
        int order = lethe_weak_compare(&rising[j], &rising[k]);
        assert_int_equal((order > 0) - (order < 0), (j > k) - (j < k));
      }
    }
    struct lethe_weak_key zero = lethe_weak_number(-0.0), none = key(0);
    assert_ptr_equal(lethe_weakmap_borrow(m, &zero), c[7]);
    assert_ptr_equal(lethe_weakmap_borrow(m, &none), c[7]);
    assert_true(lethe_weakmap_is_valid(m));
    for (int j = 0; j < N; j++) lethe_strong_put(c[j]);
    lethe_weakmap_put_ref(m);
  }
}

#define MAP_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(plain_references_count),
      cmocka_unit_test(atomic_references_count),
      MAP_TEST(test_basic_as_it_is_there),
      MAP_TEST(test_cleanup_leaves_none_where_the_model_leaves_one),
      MAP_TEST(bytes_are_back_at_the_last_strong_drop),
      MAP_TEST(an_object_may_be_in_many_maps_under_many_keys),
      MAP_TEST(a_map_may_go_before_its_objects),
      MAP_TEST(deaths_may_nest),
      MAP_TEST(an_insert_gives_back_what_was_there),
      MAP_TEST(flavours_and_kinds_do_not_mix),
      MAP_TEST(a_strong_map_holds_until_it_lets_go),
      MAP_TEST(the_dead_wait_in_order_and_come_once),
      MAP_TEST(a_walk_survives_any_change),
      MAP_TEST(a_walk_may_have_bounds_and_go_down),
      MAP_TEST(maps_split_and_append),
      MAP_TEST(equality_is_symmetric),
      MAP_TEST(numbers_compare_exactly),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
