/* SPDX-License-Identifier: MIT
 * The shared map, queue and stack on one thread: what each call answers, growth, walks, want of
 * memory, and what an ejected pin of the caller's sees. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "harness/alloc.h"
#include "lethe/shared.h"

struct fixture {
  struct test_alloc counting;
  struct lethe_epoch *m;
  struct lethe_epoch_rec *r;
  struct lethe_map *map;
  struct lethe_buffer value;
};

static int set_up(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  test_alloc_init(&f->counting);
  assert_int_equal(lethe_epoch_new(&f->m, &f->counting.alloc, &(struct lethe_epoch_config){0}), 0);
  assert_int_equal(lethe_epoch_register(f->m, &f->r), 0);
  assert_int_equal(lethe_map_new(&f->map, &f->counting.alloc, f->m), 0);
  *state = f;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *f = *state;
  lethe_buffer_free(&f->value);
  lethe_map_put_ref(f->map);
  lethe_epoch_unregister(f->r);
  lethe_epoch_put(f->m);
  assert_int_equal(f->counting.bytes, 0);
  free(f);
  return 0;
}

/* ---- updates in one line each ---------------------------------------------------------------- */

static int put(void *ud, const struct lethe_buffer *old, const void **value, size_t *n) {
  (void)old;
  *value = ud;
  *n = strlen(ud);
  return LETHE_MAP_REPLACE;
}

static int drop(void *ud, const struct lethe_buffer *old, const void **value, size_t *n) {
  (void)value;
  (void)n;
  *(bool *)ud = old != NULL;
  return old ? LETHE_MAP_DELETE : LETHE_MAP_KEEP;
}

static void *text(const char *s) { return (void *)(uintptr_t)s; }

static int set(struct fixture *f, const char *key, const char *value) {
  return lethe_map_update(f->map, f->r, key, strlen(key), put, text(value));
}

static bool delete (struct fixture *f, const char *key) {
  bool there = false;
  assert_int_equal(lethe_map_update(f->map, f->r, key, strlen(key), drop, &there), 0);
  return there;
}

static int get(struct fixture *f, const char *key) {
  return lethe_map_get(f->map, f->r, key, strlen(key), &f->value);
}

static void assert_value(const struct fixture *f, const char *want) {
  assert_int_equal(f->value.n, strlen(want));
  assert_memory_equal(f->value.p, want, f->value.n);
}

/* ---- the map --------------------------------------------------------------------------------- */

static void map_sets_gets_deletes(void **state) {
  struct fixture *f = *state;
  assert_int_equal(get(f, "a"), LETHE_ENOTFOUND);
  assert_int_equal(set(f, "a", "one"), 0);
  assert_int_equal(get(f, "a"), 0);
  assert_value(f, "one");
  assert_int_equal(set(f, "a", "a longer one"), 0);
  assert_int_equal(get(f, "a"), 0);
  assert_value(f, "a longer one");
  assert_int_equal(lethe_map_len(f->map), 1);
  assert_true(delete (f, "a"));
  assert_false(delete (f, "a"));
  assert_int_equal(get(f, "a"), LETHE_ENOTFOUND);
  assert_int_equal(lethe_map_len(f->map), 0);
}

static void map_keys_are_bytes(void **state) {
  struct fixture *f = *state;
  char zero[2] = {'x', '\0'};
  assert_int_equal(lethe_map_update(f->map, f->r, zero, 2, put, text("two bytes")), 0);
  assert_int_equal(lethe_map_update(f->map, f->r, zero, 1, put, text("one byte")), 0);
  assert_int_equal(lethe_map_update(f->map, f->r, zero, 0, put, text("none")), 0);
  assert_int_equal(lethe_map_get(f->map, f->r, zero, 2, &f->value), 0);
  assert_value(f, "two bytes");
  assert_int_equal(lethe_map_get(f->map, f->r, zero, 1, &f->value), 0);
  assert_value(f, "one byte");
  assert_int_equal(lethe_map_get(f->map, f->r, zero, 0, &f->value), 0);
  assert_value(f, "none");
}

/* Keys of nine bytes are Lua's integers: of a tag and a word, both count. */
static void keys_of_nine_bytes_are_told_apart(void **state) {
  struct fixture *f = *state;
  enum { WORDS = 300 };
  unsigned char key[9];
  char value[24];
  for (int round = 0; round < 2; round++)
    for (uint64_t i = 0; i < 3 * WORDS; i++) {
      uint64_t word = i % 3 == 0 ? i / 3 : i % 3 == 1 ? ~(i / 3) : (i / 3) << 40;
      for (unsigned char tag = 'i'; tag <= 's'; tag += 's' - 'i') {
        key[0] = tag;
        memcpy(key + 1, &word, sizeof word);
        snprintf(value, sizeof value, "%c%llx", tag, (unsigned long long)word);
        if (round == 0) {
          assert_int_equal(lethe_map_update(f->map, f->r, key, sizeof key, put, value), 0);
        } else {
          assert_int_equal(lethe_map_get(f->map, f->r, key, sizeof key, &f->value), 0);
          assert_value(f, value);
        }
      }
    }
  assert_int_equal(lethe_map_len(f->map), 2 * (3 * WORDS - 1)); /* 0 is there twice */
}

static int refuse(void *ud, const struct lethe_buffer *old, const void **value, size_t *n) {
  (void)ud;
  (void)value;
  (void)n;
  return old ? LETHE_EEXISTS : LETHE_ENUMBER;
}

static void map_update_passes_on_what_decide_answers(void **state) {
  struct fixture *f = *state;
  assert_int_equal(lethe_map_update(f->map, f->r, "k", 1, refuse, NULL), LETHE_ENUMBER);
  assert_int_equal(lethe_map_len(f->map), 0);
  assert_int_equal(set(f, "k", "v"), 0);
  assert_int_equal(lethe_map_update(f->map, f->r, "k", 1, refuse, NULL), LETHE_EEXISTS);
  assert_int_equal(get(f, "k"), 0);
  assert_value(f, "v");
}

enum { MANY = 20000 };

static void map_grows(void **state) {
  struct fixture *f = *state;
  char key[16];
  for (int i = 0; i < MANY; i++) {
    snprintf(key, sizeof key, "%d", i);
    assert_int_equal(set(f, key, key), 0);
  }
  assert_int_equal(lethe_map_len(f->map), MANY);
  for (int i = 0; i < MANY; i++) {
    snprintf(key, sizeof key, "%d", i);
    assert_int_equal(get(f, key), 0);
    assert_value(f, key);
    if (i % 2) assert_true(delete (f, key));
  }
  assert_int_equal(lethe_map_len(f->map), MANY / 2);
}

static void walk_sees_what_stays_exactly_once(void **state) {
  struct fixture *f = *state;
  struct lethe_buffer key = {0};
  unsigned char seen[1000] = {0};
  char text[16];
  for (int i = 0; i < 1000; i++) {
    snprintf(text, sizeof text, "%d", i);
    assert_int_equal(set(f, text, "x"), 0);
  }
  /* While it goes on, others come and go, and the map doubles twice. */
  for (int step = 0; lethe_map_next(f->map, f->r, &key, &f->value) == 0; step++) {
    char digits[16] = {0};
    memcpy(digits, key.p, key.n);
    int i = atoi(digits);
    if (i < 1000) seen[i]++;
    if (step >= 1000) continue;
    for (int j = 0; j < 4; j++) {
      snprintf(text, sizeof text, "%d", 1000 + 4 * step + j);
      assert_int_equal(set(f, text, "y"), 0);
    }
    snprintf(text, sizeof text, "%d", 1000 + 4 * step);
    assert_true(delete (f, text));
  }
  for (int i = 0; i < 1000; i++) assert_int_equal(seen[i], 1);
  lethe_buffer_free(&key);
}

static void walk_survives_the_deletion_of_where_it_stands(void **state) {
  struct fixture *f = *state;
  struct lethe_buffer key = {0};
  char text[16];
  int n = 0;
  for (int i = 0; i < 100; i++) {
    snprintf(text, sizeof text, "%d", i);
    assert_int_equal(set(f, text, "x"), 0);
  }
  while (lethe_map_next(f->map, f->r, &key, &f->value) == 0) {
    bool there = false;
    assert_int_equal(lethe_map_update(f->map, f->r, key.p, key.n, drop, &there), 0);
    assert_true(there);
    n++;
  }
  assert_int_equal(n, 100);
  assert_int_equal(lethe_map_len(f->map), 0);
  lethe_buffer_free(&key);
}

static void an_ejected_pin_of_the_caller_answers_neutralized(void **state) {
  struct fixture *f = *state;
  struct fixture manual = {.value = {0}};
  const struct lethe_epoch_config config = {.mode = LETHE_EPOCH_MANUAL};
  assert_int_equal(lethe_epoch_new(&manual.m, &f->counting.alloc, &config), 0);
  assert_int_equal(lethe_epoch_register(manual.m, &manual.r), 0);
  assert_int_equal(lethe_map_new(&manual.map, &f->counting.alloc, manual.m), 0);
  assert_int_equal(set(&manual, "k", "v"), 0);
  assert_int_equal(get(&manual, "k"), 0);
  lethe_epoch_pin(manual.r);
  for (int i = 0; i < 5; i++) lethe_epoch_advance(manual.m);
  assert_int_equal(lethe_epoch_neutralize(manual.m, NULL, 2), 1);
  assert_int_equal(get(&manual, "k"), LETHE_ENEUTRALIZED);
  for (char key[2] = "a"; key[0] <= 'z'; key[0]++) /* in empty buckets as well */
    assert_int_equal(get(&manual, key), LETHE_ENEUTRALIZED);
  assert_int_equal(set(&manual, "k", "w"), LETHE_ENEUTRALIZED);
  assert_false(lethe_epoch_unpin(manual.r));
  assert_int_equal(get(&manual, "k"), 0);
  assert_value(&manual, "v");
  lethe_buffer_free(&manual.value);
  lethe_map_put_ref(manual.map);
  lethe_epoch_unregister(manual.r);
  lethe_epoch_put(manual.m);
}

/* ---- queue and stack ------------------------------------------------------------------------- */

static void queue_is_first_in_first_out(void **state) {
  struct fixture *f = *state;
  struct lethe_queue *q;
  assert_int_equal(lethe_queue_new(&q, &f->counting.alloc, f->m, 2), 0);
  assert_int_equal(lethe_queue_pop(q, f->r, &f->value), LETHE_EEMPTY);
  assert_int_equal(lethe_queue_push(q, f->r, "one", 3), 0);
  assert_int_equal(lethe_queue_push(q, f->r, "", 0), 0);
  assert_int_equal(lethe_queue_push(q, f->r, "three", 5), LETHE_EFULL);
  assert_int_equal(lethe_queue_pop(q, f->r, &f->value), 0);
  assert_value(f, "one");
  assert_int_equal(lethe_queue_push(q, f->r, "three", 5), 0);
  assert_int_equal(lethe_queue_pop(q, f->r, &f->value), 0);
  assert_value(f, "");
  assert_int_equal(lethe_queue_pop(q, f->r, &f->value), 0);
  assert_value(f, "three");
  assert_int_equal(lethe_queue_pop(q, f->r, &f->value), LETHE_EEMPTY);
  assert_int_equal(lethe_queue_push(q, f->r, "left over", 9), 0);
  lethe_queue_put_ref(q);
}

static void stack_is_last_in_first_out(void **state) {
  struct fixture *f = *state;
  struct lethe_stack *s;
  assert_int_equal(lethe_stack_new(&s, &f->counting.alloc, f->m), 0);
  assert_int_equal(lethe_stack_pop(s, f->r, &f->value), LETHE_EEMPTY);
  assert_int_equal(lethe_stack_push(s, f->r, "one", 3), 0);
  assert_int_equal(lethe_stack_push(s, f->r, "two", 3), 0);
  assert_int_equal(lethe_stack_pop(s, f->r, &f->value), 0);
  assert_value(f, "two");
  assert_int_equal(lethe_stack_pop(s, f->r, &f->value), 0);
  assert_value(f, "one");
  assert_int_equal(lethe_stack_push(s, f->r, "left over", 9), 0);
  lethe_stack_put_ref(s);
}

/* ---- want of memory -------------------------------------------------------------------------- */

/* Everything once; the first code that is not what it should be. */
static int all_of_it(const struct lethe_alloc *a) {
  struct lethe_epoch *m = NULL;
  struct lethe_epoch_rec *r = NULL;
  struct lethe_map *map = NULL;
  struct lethe_queue *q = NULL;
  struct lethe_stack *s = NULL;
  struct lethe_buffer value = {0}, key = {0};
  bool there = false;
  int rc = lethe_epoch_new(&m, a, &(struct lethe_epoch_config){.bag_size = 2});
  if (rc == 0) rc = lethe_epoch_register(m, &r);
  if (rc == 0) rc = lethe_map_new(&map, a, m);
  if (rc == 0) rc = lethe_queue_new(&q, a, m, 0);
  if (rc == 0) rc = lethe_stack_new(&s, a, m);
  for (int i = 0; i < 40 && rc == 0; i++) {
    char name[8];
    size_t n = (size_t)snprintf(name, sizeof name, "%d", i);
    rc = lethe_map_update(map, r, name, n, put, text("value"));
    if (rc == 0) rc = lethe_map_get(map, r, name, n, &value);
    if (rc == 0 && i % 3 == 0) rc = lethe_map_update(map, r, name, n, drop, &there);
    if (rc == 0) rc = lethe_queue_push(q, r, name, n);
    if (rc == 0) rc = lethe_stack_push(s, r, name, n);
    if (rc == 0 && i % 2) rc = lethe_queue_pop(q, r, &value);
    if (rc == 0 && i % 2) rc = lethe_stack_pop(s, r, &value);
  }
  while (rc == 0) rc = lethe_map_next(map, r, &key, &value);
  lethe_buffer_free(&value);
  lethe_buffer_free(&key);
  if (map) lethe_map_put_ref(map);
  if (q) lethe_queue_put_ref(q);
  if (s) lethe_stack_put_ref(s);
  if (r) lethe_epoch_unregister(r);
  if (m) lethe_epoch_put(m);
  return rc;
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  struct test_alloc counting;
  int rc, n = 0, survived = 0;
  do { /* a shortcut of the map that cannot be made is done without */
    test_alloc_init(&counting);
    counting.fail_at = (uint64_t)++n;
    rc = all_of_it(&counting.alloc);
    assert_true(rc == LETHE_ENOMEM || rc == LETHE_ENOTFOUND); /* the end of the walk */
    if (rc == LETHE_ENOTFOUND) survived++;
    assert_int_equal(counting.bytes, 0);
  } while (counting.failed > 0);
  assert_true(n > 100);
  assert_true(survived < n / 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(map_sets_gets_deletes, set_up, tear_down),
      cmocka_unit_test_setup_teardown(map_keys_are_bytes, set_up, tear_down),
      cmocka_unit_test_setup_teardown(keys_of_nine_bytes_are_told_apart, set_up, tear_down),
      cmocka_unit_test_setup_teardown(map_update_passes_on_what_decide_answers, set_up, tear_down),
      cmocka_unit_test_setup_teardown(map_grows, set_up, tear_down),
      cmocka_unit_test_setup_teardown(walk_sees_what_stays_exactly_once, set_up, tear_down),
      cmocka_unit_test_setup_teardown(walk_survives_the_deletion_of_where_it_stands, set_up,
                                      tear_down),
      cmocka_unit_test_setup_teardown(an_ejected_pin_of_the_caller_answers_neutralized, set_up,
                                      tear_down),
      cmocka_unit_test_setup_teardown(queue_is_first_in_first_out, set_up, tear_down),
      cmocka_unit_test_setup_teardown(stack_is_last_in_first_out, set_up, tear_down),
      cmocka_unit_test(every_allocation_may_fail)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
