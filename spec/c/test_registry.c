/* SPDX-License-Identifier: MIT
 * The finalization registry without Lua: a collector is played by notes in any order. */
#include <string.h>

#include "harness/unit.h"

#include "harness/alloc.h"
#include "harness/random.h"
#include "lethe/registry.h"

static const char kind_a, kind_b;

struct log {
  uint64_t ids[64];
  void *whats[64];
  const void *kinds[64];
  size_t n;
};

static void write_log(void *ud, uint64_t id, void *what, const void *kind) {
  struct log *l = ud;
  if (l->n >= 64) return;
  l->ids[l->n] = id;
  l->whats[l->n] = what;
  l->kinds[l->n++] = kind;
}

static void what_was_noted_is_taken_once_in_slot_order(void **state) {
  (void)state;
  struct lethe_registry r;
  struct log l = {.n = 0};
  uint64_t ids[5];
  int things[5];
  lethe_registry_init(&r, &lethe_alloc_libc);
  for (int i = 0; i < 5; i++)
    ids[i] = lethe_registry_add(&r, &things[i], i % 2 ? &kind_b : &kind_a);
  assert_int_equal(lethe_registry_live(&r), 5);
  static const int order[] = {3, 0, 4, 1};
  for (int i = 0; i < 4; i++) assert_true(lethe_registry_note(&r, ids[order[i]]));
  assert_int_equal(r.dead, 4);
  assert_int_equal(lethe_registry_live(&r), 1);
  assert_int_equal(lethe_registry_take(&r, write_log, &l), 4);
  static const int expected[] = {0, 1, 3, 4};
  for (size_t i = 0; i < 4; i++) {
    assert_int_equal(l.ids[i], ids[expected[i]]);
    assert_ptr_equal(l.whats[i], &things[expected[i]]);
    assert_ptr_equal(l.kinds[i], expected[i] % 2 ? &kind_b : &kind_a);
  }
  assert_int_equal(lethe_registry_take(&r, write_log, &l), 0);
  assert_int_equal(r.dead, 0);
  assert_int_equal(lethe_registry_live(&r), 1);
  assert_int_equal(r.registered, 5);
  assert_int_equal(r.finalized, 4);
  assert_int_equal(r.taken, 4);
  lethe_registry_destroy(&r);
}

/* Which slots are free to be used again depends on the collector; the order must not. */
static void a_slot_that_is_used_anew_counts_anew(void **state) {
  (void)state;
  struct lethe_registry r;
  struct log l = {.n = 0};
  uint64_t ids[6];
  lethe_registry_init(&r, &lethe_alloc_libc);
  for (int i = 0; i < 4; i++) ids[i] = lethe_registry_add(&r, NULL, NULL);
  lethe_registry_remove(&r, ids[0]);
  lethe_registry_remove(&r, ids[2]);
  for (int i = 4; i < 6; i++) ids[i] = lethe_registry_add(&r, NULL, NULL);
  assert_true((uint32_t)ids[4] < 5 && (uint32_t)ids[5] < 5);
  lethe_registry_note_all(&r);
  assert_int_equal(lethe_registry_take(&r, write_log, &l), 4);
  static const int expected[] = {1, 3, 4, 5};
  for (size_t i = 0; i < 4; i++) assert_int_equal(l.ids[i], ids[expected[i]]);
  lethe_registry_destroy(&r);
}

static void a_note_is_news_only_once(void **state) {
  (void)state;
  struct lethe_registry r;
  struct log l = {.n = 0};
  lethe_registry_init(&r, &lethe_alloc_libc);
  uint64_t a = lethe_registry_add(&r, NULL, NULL);
  assert_true(lethe_registry_note(&r, a));
  assert_false(lethe_registry_note(&r, a));
  assert_int_equal(lethe_registry_take(&r, write_log, &l), 1);
  assert_false(lethe_registry_note(&r, a)); /* stale */
  assert_false(lethe_registry_note(&r, 0));
  assert_false(lethe_registry_note(&r, UINT64_MAX));
  uint64_t b = lethe_registry_add(&r, NULL, NULL); /* the same slot */
  assert_int_equal((uint32_t)a, (uint32_t)b);
  assert_false(lethe_registry_note(&r, a));
  assert_int_equal(r.dead, 0);
  assert_true(lethe_registry_note(&r, b));
  assert_int_equal(r.finalized, 2);
  lethe_registry_destroy(&r);
}

static void what_was_removed_is_never_reported(void **state) {
  (void)state;
  struct lethe_registry r;
  struct log l = {.n = 0};
  lethe_registry_init(&r, &lethe_alloc_libc);
  uint64_t a = lethe_registry_add(&r, NULL, NULL), b = lethe_registry_add(&r, NULL, NULL);
  assert_true(lethe_registry_remove(&r, a));
  assert_false(lethe_registry_remove(&r, a));
  assert_false(lethe_registry_note(&r, a));
  assert_true(lethe_registry_note(&r, b));
  assert_false(lethe_registry_remove(&r, b)); /* it is dead already: its death stands */
  assert_false(lethe_registry_remove(&r, 0));
  assert_int_equal(lethe_registry_take(&r, write_log, &l), 1);
  assert_int_equal(l.ids[0], b);
  assert_int_equal(lethe_registry_live(&r), 0);
  lethe_registry_destroy(&r);
}

static void a_slot_may_come_before_what_it_stands_for(void **state) {
  (void)state;
  struct lethe_registry r;
  struct log l = {.n = 0};
  int thing;
  lethe_registry_init(&r, &lethe_alloc_libc);
  uint64_t a = lethe_registry_add(&r, NULL, &kind_a);
  lethe_registry_hold(&r, a, &thing);
  lethe_registry_hold(&r, a + 1, NULL); /* no such slot */
  lethe_registry_note(&r, a);
  lethe_registry_take(&r, write_log, &l);
  assert_ptr_equal(l.whats[0], &thing);
  lethe_registry_destroy(&r);
}

/* ---- callbacks that use the registry --------------------------------------------------------- */

struct meddler {
  struct lethe_registry *r;
  uint64_t ids[10];
  struct log outer, inner;
};

/* In the first call: others of the batch cannot be noted or removed again, the slot is free to be
 * used, what is noted now belongs to the take inside. */
static void meddle(void *ud, uint64_t id, void *what, const void *kind) {
  struct meddler *m = ud;
  write_log(&m->outer, id, what, kind);
  if (m->outer.n > 1) return;
  assert_false(lethe_registry_note(m->r, id));
  assert_false(lethe_registry_note(m->r, m->ids[3]));
  assert_false(lethe_registry_remove(m->r, m->ids[3]));
  assert_true(lethe_registry_note(m->r, m->ids[9]));
  uint64_t fresh = lethe_registry_add(m->r, m, kind);
  assert_int_equal((uint32_t)fresh, (uint32_t)id);
  assert_true(lethe_registry_note(m->r, fresh));
  assert_int_equal(lethe_registry_take(m->r, write_log, &m->inner), 2);
}

static void callbacks_may_note_add_and_take(void **state) {
  (void)state;
  struct lethe_registry r;
  struct meddler m = {.r = &r};
  lethe_registry_init(&r, &lethe_alloc_libc);
  for (int i = 0; i < 10; i++) m.ids[i] = lethe_registry_add(&r, NULL, NULL);
  for (int i = 5; i > 0; i--) lethe_registry_note(&r, m.ids[i]);
  assert_int_equal(lethe_registry_take(&r, meddle, &m), 5);
  assert_int_equal(m.outer.n, 5);
  for (size_t i = 0; i < 5; i++) assert_int_equal(m.outer.ids[i], m.ids[i + 1]);
  assert_int_equal(m.inner.n, 2);
  assert_int_equal(m.inner.ids[0], m.ids[9]); /* the slot was used anew: it comes later */
  assert_int_equal((uint32_t)m.inner.ids[1], (uint32_t)m.ids[1]);
  assert_int_equal(r.dead, 0);
  assert_int_equal(lethe_registry_live(&r), 4);
  lethe_registry_destroy(&r);
}

static void the_end_notes_all_that_is_alive(void **state) {
  (void)state;
  struct lethe_registry r;
  struct log l = {.n = 0};
  uint64_t ids[8];
  lethe_registry_init(&r, &lethe_alloc_libc);
  for (int i = 0; i < 8; i++) ids[i] = lethe_registry_add(&r, NULL, NULL);
  lethe_registry_remove(&r, ids[2]);
  lethe_registry_note(&r, ids[6]);
  lethe_registry_note_all(&r);
  lethe_registry_note_all(&r);
  assert_int_equal(lethe_registry_live(&r), 0);
  assert_int_equal(lethe_registry_take(&r, write_log, &l), 7);
  for (size_t i = 0; i < 7; i++) assert_int_equal(l.ids[i], ids[i < 2 ? i : i + 1]);
  lethe_registry_destroy(&r);
  lethe_registry_init(&r, &lethe_alloc_libc);
  lethe_registry_note_all(&r); /* of an empty registry */
  assert_int_equal(lethe_registry_take(&r, write_log, &l), 0);
  lethe_registry_destroy(&r);
}

/* ---- many ------------------------------------------------------------------------------------ */

enum { MANY = 100000 };

struct order {
  uintptr_t last;
  size_t n;
  bool sorted;
};

/* `what` is a serial number here. */
static void check_order(void *ud, uint64_t id, void *what, const void *kind) {
  struct order *o = ud;
  (void)id;
  (void)kind;
  o->sorted = o->sorted && (uintptr_t)what > o->last;
  o->last = (uintptr_t)what;
  o->n++;
}

static uint64_t add_next(struct lethe_registry *r) {
  return lethe_registry_add(r, (void *)(uintptr_t)(r->registered + 1), NULL);
}

static void many_deaths_in_random_order_are_taken_in_order_of_registration(void **state) {
  (void)state;
  static uint64_t ids[MANY];
  struct lethe_registry r;
  struct test_random random = test_seed("registry");
  lethe_registry_init(&r, &lethe_alloc_libc);
  for (size_t i = 0; i < MANY; i++) ids[i] = add_next(&r);
  for (int round = 0; round < 3; round++) {
    size_t noted = 0;
    for (size_t i = MANY - 1; i > 0; i--) {
      size_t j = (size_t)test_below(&random, i + 1);
      uint64_t id = ids[i];
      ids[i] = ids[j];
      ids[j] = id;
    }
    for (size_t i = 0; i < MANY; i++)
      if (round == 2 || test_below(&random, 2)) noted += lethe_registry_note(&r, ids[i]);
    assert_int_equal(r.dead, noted);
    struct order o = {.sorted = true};
    assert_int_equal(lethe_registry_take(&r, check_order, &o), noted);
    assert_true(o.sorted);
    assert_int_equal(o.n, noted);
    for (size_t i = 0; i < MANY; i++)
      if (!lethe_slab_find(&r.slots, ids[i])) ids[i] = add_next(&r);
    assert_int_equal(lethe_registry_live(&r), MANY);
  }
  lethe_registry_destroy(&r);
}

/* Memory for a death is set aside with the slot: once add succeeded, nothing asks for memory. */
static void without_memory_add_says_so_and_deaths_go_on(void **state) {
  (void)state;
  for (uint64_t n = 1;; n++) {
    struct test_alloc t;
    struct lethe_registry r;
    uint64_t ids[1000];
    size_t added = 0, refused = 0;
    test_alloc_init(&t);
    test_alloc_fail(&t, n);
    lethe_registry_init(&r, &t.alloc);
    for (int i = 0; i < 1000; i++) {
      ids[added] = add_next(&r);
      if (ids[added])
        added++;
      else
        refused++;
    }
    assert_int_equal(refused, t.failed);
    assert_int_equal(r.registered, added);
    uint64_t failed = t.failed, requests = t.requests;
    struct order o = {.sorted = true};
    for (size_t i = added; i-- > 0;) assert_true(lethe_registry_note(&r, ids[i]));
    assert_int_equal(lethe_registry_take(&r, check_order, &o), added);
    assert_true(o.sorted);
    assert_int_equal(t.requests, requests);
    lethe_registry_destroy(&r);
    assert_int_equal(t.bytes, 0);
    if (failed == 0) return;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_was_noted_is_taken_once_in_slot_order),
      cmocka_unit_test(a_slot_that_is_used_anew_counts_anew),
      cmocka_unit_test(a_note_is_news_only_once),
      cmocka_unit_test(what_was_removed_is_never_reported),
      cmocka_unit_test(a_slot_may_come_before_what_it_stands_for),
      cmocka_unit_test(callbacks_may_note_add_and_take),
      cmocka_unit_test(the_end_notes_all_that_is_alive),
      cmocka_unit_test(many_deaths_in_random_order_are_taken_in_order_of_registration),
      cmocka_unit_test(without_memory_add_says_so_and_deaths_go_on),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
