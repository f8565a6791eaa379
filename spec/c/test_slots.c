/* SPDX-License-Identifier: MIT
 * Slot tables without Lua: bodies are numbers, and the test plays the collector. */
#include <string.h>

#include "harness/unit.h"

#include "harness/alloc.h"
#include "harness/random.h"
#include "lethe/slots.h"

static struct lethe_slots *new_table(void) {
  struct lethe_slots *t;
  assert_int_equal(lethe_slots_new(&t, &lethe_alloc_libc), LETHE_OK);
  return t;
}

static struct lethe_vref vref(const char *text) {
  struct lethe_vref v;
  assert_int_equal(lethe_vref_parse(text, strlen(text), &v), LETHE_OK);
  return v;
}

static uint32_t find(const struct lethe_slots *t, const char *text) {
  struct lethe_vref v = vref(text);
  return lethe_slots_find(t, &v);
}

/* The name is delivered and gets a body, whose generation is told. */
static uint32_t import(struct lethe_slots *t, const char *text, uint32_t *slot) {
  struct lethe_vref v = vref(text);
  uint32_t generation;
  assert_int_equal(lethe_slots_add(t, &v, slot), LETHE_OK);
  assert_int_equal(lethe_slots_enter(t, *slot, &generation), LETHE_OK);
  lethe_slots_deliver(t, *slot);
  return generation;
}

/* A name that was delivered, and whose body is gone. */
static uint32_t import_dead(struct lethe_slots *t, const char *text) {
  uint32_t slot;
  uint32_t generation = import(t, text, &slot);
  lethe_slots_note(t, slot, generation);
  return slot;
}

static void run_all(struct lethe_slots *t) {
  while (lethe_slots_queued(t)) lethe_slots_run(t, 0);
}

/* Adds a word, after a space if it is not the first. */
static void append(char *text, size_t room, const char *word) {
  size_t n = strlen(text);
  snprintf(text + n, room - n, "%s%s", n ? " " : "", word);
}

/* What is to be said of the names of one list. */
static void append_list(struct lethe_slots *t, char *text, size_t room, unsigned verdict,
                        const char *word) {
  bool first = true;
  for (size_t i = 0; i < lethe_slots_backlog(t); i++) {
    uint32_t slot;
    char name[LETHE_VREF_MAX];
    struct lethe_vref v;
    if (!(lethe_slots_verdict(t, i, &slot) & verdict)) continue;
    lethe_slots_name(t, slot, &v);
    lethe_vref_text(&v, name);
    if (first) append(text, room, word);
    append(text, room, name);
    first = false;
  }
}

/* Everything that is to be said, as "drop o-1 retire o-1 o-2"; then it was said. */
static const char *bring(struct lethe_slots *t, char *text, size_t room) {
  text[0] = '\0';
  lethe_slots_judge(t);
  for (uint32_t slot = 0; (slot = lethe_slots_dead_own(t, 0));) lethe_slots_bury(t, slot);
  assert_int_equal(lethe_slots_gather(t), LETHE_OK);
  append_list(t, text, room, LETHE_VERDICT_DROP, "drop");
  append_list(t, text, room, LETHE_VERDICT_RETIRE, "retire");
  append_list(t, text, room, LETHE_VERDICT_RETIRE_OWN, "own");
  lethe_slots_commit(t, lethe_slots_backlog(t));
  lethe_slots_trim(t);
  return text;
}

#define BRING(t) bring(t, (char[2000]){""}, 2000)

/* ---- names ----------------------------------------------------------------------------------- */

static void names_are_read_and_written_one_way(void **state) {
  (void)state;
  static const char *const good[] = {"o+0",
                                     "o-1",
                                     "p+5",
                                     "d-12",
                                     "o-999999999999999",
                                     "o+v3/4",
                                     "o+d10/0:7",
                                     "p-0",
                                     "o+v999999999999999/999999999:999999999"};
  static const char *const bad[] = {"",
                                    "o",
                                    "o-",
                                    "o-01",
                                    "x-1",
                                    "o-1 ",
                                    "o-1/1",
                                    "o+d1",
                                    "o+v1/",
                                    "o+v1/2:",
                                    "o-v1/2",
                                    "p+d1/2",
                                    "o-1000000000000000",
                                    "w1",
                                    "o+v1/1000000000",
                                    "o--1",
                                    "o-1|",
                                    "o+v1/01",
                                    "+1",
                                    "o1"};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    char text[LETHE_VREF_MAX];
    struct lethe_vref v = vref(good[i]);
    assert_int_equal(lethe_vref_text(&v, text), strlen(good[i]));
    assert_string_equal(text, good[i]);
  }
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct lethe_vref v;
    assert_int_equal(lethe_vref_parse(bad[i], strlen(bad[i]), &v), LETHE_EINVAL);
  }
}

static void a_facet_has_the_slot_of_its_object(void **state) {
  (void)state;
  struct lethe_slots *t = new_table();
  uint32_t slot, other;
  struct lethe_vref v = vref("o+d3/7:1"), w = vref("o+d3/8");
  assert_int_equal(lethe_slots_add(t, &v, &slot), LETHE_OK);
  assert_int_equal(find(t, "o+d3/7"), slot);
  assert_int_equal(find(t, "o+d3/7:2"), slot);
  assert_int_equal(lethe_slots_add(t, &w, &other), LETHE_OK);
  assert_int_not_equal(slot, other);
  assert_int_equal(find(t, "o+v3/7"), 0);
  lethe_slots_delete(t);
}

enum { SCATTERED = 3000 };

/* Neighbours, names far apart, numbers that differ in high bits alone, what is stored. */
static struct lethe_vref scattered(uint32_t i) {
  static const char types[] = "oopd";
  uint64_t n = i / 6;
  struct lethe_vref v = {.type = types[i % 4], .own = i % 3 == 0};
  v.id = i % 6 < 3 ? n : i % 6 == 3 ? n << 39 : n * 104729 % 999999999999999;
  if (i % 6 == 5) {
    v = (struct lethe_vref){.type = 'o', .own = true, .form = LETHE_VREF_VIRTUAL, .id = n % 3};
    v.instance = (uint32_t)n;
  }
  return v;
}

static bool is_same(const struct lethe_vref *v, const struct lethe_vref *w) {
  return w->type == v->type && w->own == v->own && w->form == v->form && w->id == v->id &&
         w->instance == v->instance;
}

static void each_name_is_found_and_no_other(void **state) {
  (void)state;
  struct lethe_slots *t = new_table();
  struct test_random random = test_seed("slots");
  static uint32_t slots[SCATTERED], firsts[SCATTERED]; /* some of them are the same name */
  memset(slots, 0, sizeof slots);
  for (uint32_t i = 0; i < SCATTERED; i++) {
    struct lethe_vref v = scattered(i);
    for (firsts[i] = 0;; firsts[i]++) {
      struct lethe_vref w = scattered(firsts[i]);
      if (is_same(&v, &w)) break;
    }
  }
  for (int step = 0; step < 30000; step++) {
    uint32_t i = (uint32_t)test_below(&random, SCATTERED);
    struct lethe_vref v = scattered(i);
    uint32_t found = lethe_slots_find(t, &v), first = firsts[i];
    assert_int_equal(found, slots[first]);
    if (found) {
      lethe_slots_at(t, found)->bits = LETHE_SLOT_USED;
      lethe_slots_settle(t, found);
      slots[first] = 0;
    } else {
      assert_int_equal(lethe_slots_add(t, &v, &slots[first]), LETHE_OK);
      struct lethe_vref w;
      lethe_slots_name(t, slots[first], &w);
      assert_true(is_same(&v, &w));
      lethe_slots_deliver(t, slots[first]);
    }
    if (step % 5000 == 0) lethe_slots_trim(t);
  }
  lethe_slots_delete(t);
}

/* ---- the state machine ----------------------------------------------------------------------- */

static void a_name_goes_through_its_states(void **state) {
  (void)state;
  struct lethe_slots *t = new_table();
  uint32_t slot;
  uint32_t first = import(t, "o-1", &slot);
  assert_int_equal(lethe_slots_state(t, slot), LETHE_SLOT_IS_UP);
  lethe_slots_note(t, slot, first);
  assert_int_equal(lethe_slots_state(t, slot), LETHE_SLOT_IS_COLLECTED);
  assert_string_equal(BRING(t), ""); /* counts as up */
  assert_int_equal(lethe_slots_queued(t), 1);
  assert_true(lethe_slots_run(t, 0));
  assert_int_equal(lethe_slots_state(t, slot), LETHE_SLOT_IS_FINALIZED);
  assert_string_equal(BRING(t), "drop o-1 retire o-1");
  assert_int_equal(find(t, "o-1"), 0);
  assert_int_equal(lethe_slots_state(t, 0), LETHE_SLOT_IS_UNKNOWN);
  assert_string_equal(BRING(t), "");
  lethe_slots_delete(t);
}

/* An old callback finalizes a newer body that is gone, and its own does nothing then. */
static void a_callback_looks_at_the_slot_not_at_whom_it_was_queued_for(void **state) {
  (void)state;
  struct lethe_slots *t = new_table();
  uint32_t slot;
  uint32_t first = import(t, "o-5", &slot);
  lethe_slots_note(t, slot, first);
  uint32_t second = import(t, "o-5", &slot);
  assert_int_not_equal(first, second);
  assert_int_equal(lethe_slots_state(t, slot), LETHE_SLOT_IS_UP);
  lethe_slots_note(t, slot, second);
  assert_true(lethe_slots_run(t, 0));
  assert_int_equal(lethe_slots_state(t, slot), LETHE_SLOT_IS_FINALIZED);
  assert_false(lethe_slots_run(t, 0));
  assert_string_equal(BRING(t), "drop o-5 retire o-5");
  lethe_slots_delete(t);
}

static void a_note_of_an_older_body_changes_nothing(void **state) {
  (void)state;
  struct lethe_slots *t = new_table();
  uint32_t slot, again;
  uint32_t first = import(t, "o-1", &slot);
  import(t, "o-1", &again); /* the collector cleared the first, whose finalizer is to come */
  assert_int_equal(slot, again);
  lethe_slots_note(t, slot, first);
  assert_int_equal(lethe_slots_state(t, slot), LETHE_SLOT_IS_UP);
  assert_false(lethe_slots_run(t, 0));
  assert_int_equal(lethe_slots_state(t, slot), LETHE_SLOT_IS_UP);
  lethe_slots_delete(t);
}

static void delivery_cancels_a_drop_even_after_it_was_judged(void **state) {
  (void)state;
  struct lethe_slots *t = new_table();
  uint32_t slot, other;
  uint32_t a = import(t, "o-1", &slot), b = import(t, "o-2", &other);
  lethe_slots_note(t, slot, a);
  lethe_slots_note(t, other, b);
  run_all(t);
  lethe_slots_judge(t);
  assert_int_equal(lethe_slots_gather(t), LETHE_OK);
  assert_int_equal(lethe_slots_backlog(t), 2);
  import(t, "o-1", &slot);
  uint32_t of;
  assert_int_equal(lethe_slots_verdict(t, 0, &of), LETHE_VERDICT_NONE);
  assert_int_equal(lethe_slots_verdict(t, 1, &of), LETHE_VERDICT_DROP | LETHE_VERDICT_RETIRE);
  lethe_slots_commit(t, 2);
  assert_int_equal(lethe_slots_state(t, slot), LETHE_SLOT_IS_UP);
  assert_int_equal(find(t, "o-2"), 0);
  lethe_slots_delete(t);
}

/* While it waits in the backlog a name may be delivered and die once more. */
static void a_name_that_dies_again_in_the_backlog_is_judged_again(void **state) {
  (void)state;
  struct lethe_slots *t = new_table();
  import_dead(t, "o-1");
  run_all(t);
  lethe_slots_judge(t);
  assert_int_equal(lethe_slots_gather(t), LETHE_OK);
  import_dead(t, "o-1");
  run_all(t);
  lethe_slots_commit(t, 1);
  assert_int_not_equal(find(t, "o-1"), 0);
  assert_string_equal(BRING(t), "drop o-1 retire o-1");
  lethe_slots_delete(t);
}

static void recognizers_and_data_hold_back_what_they_should(void **state) {
  (void)state;
  struct lethe_slots *t = new_table();
  uint32_t a, b;
  uint32_t generation_a = import(t, "o-1", &a), generation_b = import(t, "o-2", &b);
  lethe_slots_recognize(t, a);
  lethe_slots_recognize(t, a);
  lethe_slots_store(t, b);
  lethe_slots_note(t, a, generation_a);
  lethe_slots_note(t, b, generation_b);
  run_all(t);
  assert_string_equal(BRING(t), "drop o-1");
  assert_int_equal(lethe_slots_state(t, a), LETHE_SLOT_IS_UNKNOWN);
  lethe_slots_unrecognize(t, a);
  assert_string_equal(BRING(t), "");
  lethe_slots_unrecognize(t, a);
  assert_string_equal(BRING(t), "retire o-1");
  lethe_slots_unstore(t, b);
  assert_string_equal(BRING(t), "drop o-2 retire o-2");
  assert_int_equal(find(t, "o-2"), 0);
  lethe_slots_delete(t);
}

static void what_the_kernel_retired_is_not_retired_again(void **state) {
  (void)state;
  struct lethe_slots *t = new_table();
  uint32_t a;
  uint32_t generation = import(t, "o-8", &a);
  lethe_slots_recognize(t, a);
  assert_int_equal(lethe_slots_retire_import(t, a), LETHE_EINVAL); /* not dropped */
  lethe_slots_note(t, a, generation);
  run_all(t);
  assert_string_equal(BRING(t), "drop o-8");
  lethe_slots_unrecognize(t, a);
  assert_int_equal(lethe_slots_retire_import(t, a), LETHE_OK);
  assert_int_equal(lethe_slots_retire_import(t, a), LETHE_EINVAL);
  assert_string_equal(BRING(t), "");
  assert_int_equal(find(t, "o-8"), 0);
  lethe_slots_delete(t);
}

static void exports_are_retired_unless_the_kernel_did(void **state) {
  (void)state;
  struct lethe_slots *t = new_table();
  uint32_t a, b, c;
  uint32_t generations[] = {import(t, "o+10", &a), import(t, "o+11", &b), import(t, "o+12", &c)};
  lethe_slots_at(t, c)->bits &= ~(unsigned)(LETHE_SLOT_REACHABLE | LETHE_SLOT_RECOGNIZABLE);
  assert_int_equal(lethe_slots_retire_export(t, a), LETHE_EINVAL);
  assert_int_equal(lethe_slots_drop_export(t, a), LETHE_OK);
  assert_int_equal(lethe_slots_drop_export(t, a), LETHE_EINVAL);
  assert_int_equal(lethe_slots_drop_export(t, b), LETHE_OK);
  assert_int_equal(lethe_slots_retire_export(t, b), LETHE_OK);
  lethe_slots_note(t, a, generations[0]);
  lethe_slots_note(t, b, generations[1]);
  lethe_slots_note(t, c, generations[2]); /* never left */
  run_all(t);
  assert_string_equal(BRING(t), "own o+10");
  assert_string_equal(BRING(t), "");
  assert_int_equal(find(t, "o+10") + find(t, "o+11") + find(t, "o+12"), 0);
  lethe_slots_delete(t);
}

/* ---- order ----------------------------------------------------------------------------------- */

static void names_come_in_the_order_of_their_bytes(void **state) {
  (void)state;
  static const char *const names[] = {"o+1",
                                      "o+10",
                                      "o+100",
                                      "o+2",
                                      "o+20",
                                      "o+9",
                                      "o+d1/1",
                                      "o+d1/10",
                                      "o+d1/2",
                                      "o+d10/1",
                                      "o+d2/1",
                                      "o+v1/1",
                                      "o+v9/1",
                                      "o-1",
                                      "o-10",
                                      "o-100",
                                      "o-1000000000000",
                                      "o-100000000000000",
                                      "o-100000000000001",
                                      "o-11",
                                      "o-2",
                                      "o-20",
                                      "o-3",
                                      "o-999999999999999"};
  enum { N = sizeof names / sizeof *names };
  struct lethe_slots *t = new_table();
  struct test_random random = test_seed("slots");
  size_t order[N] = {0};
  for (size_t i = 0; i < N; i++) {
    size_t j = (size_t)test_below(&random, i + 1);
    order[i] = order[j];
    order[j] = i;
  }
  for (size_t i = 0; i < N; i++) import_dead(t, names[order[i]]);
  lethe_slots_order(t, 0);
  for (uint32_t i = 0; i < N; i++) {
    char text[LETHE_VREF_MAX];
    struct lethe_vref v;
    lethe_slots_name(t, lethe_slots_peek(t, i), &v);
    lethe_vref_text(&v, text);
    assert_string_equal(text, names[i]);
  }
  run_all(t);
  lethe_slots_judge(t);
  assert_int_equal(lethe_slots_gather(t), LETHE_OK);
  for (size_t i = 1; i < lethe_slots_backlog(t); i++) {
    char a[LETHE_VREF_MAX], b[LETHE_VREF_MAX];
    struct lethe_vref v;
    uint32_t slot;
    lethe_slots_verdict(t, i - 1, &slot);
    lethe_slots_name(t, slot, &v);
    lethe_vref_text(&v, a);
    lethe_slots_verdict(t, i, &slot);
    lethe_slots_name(t, slot, &v);
    lethe_vref_text(&v, b);
    assert_true(strcmp(a, b) < 0);
  }
  lethe_slots_delete(t);
}

/* Names that differ after the fifteenth character alone: stored objects with long numbers. */
static void long_names_come_in_order_too(void **state) {
  (void)state;
  struct lethe_slots *t = new_table();
  char said[400];
  static const char *const names[] = {"o+v123456789012345/2", "o+v123456789012345/10",
                                      "o+v123456789012345/1", "o+v123456789012345/100000000"};
  for (size_t i = 0; i < 4; i++) {
    uint32_t slot;
    uint32_t generation = import(t, names[i], &slot);
    assert_int_equal(lethe_slots_drop_export(t, slot), LETHE_OK);
    lethe_slots_note(t, slot, generation);
  }
  run_all(t);
  assert_string_equal(bring(t, said, sizeof said),
                      "own o+v123456789012345/1 o+v123456789012345/10 "
                      "o+v123456789012345/100000000 o+v123456789012345/2");
  lethe_slots_delete(t);
}

static void callbacks_keep_their_order_when_one_is_picked(void **state) {
  (void)state;
  struct lethe_slots *t = new_table();
  uint32_t expected[40], n = 40;
  struct test_random random = test_seed("slots");
  for (uint32_t i = 0; i < 40; i++) {
    char name[16];
    snprintf(name, sizeof name, "o-%u", i);
    expected[i] = import_dead(t, name);
  }
  while (n > 0) {
    uint32_t pick = (uint32_t)test_below(&random, n);
    assert_int_equal(lethe_slots_peek(t, pick), expected[pick]);
    assert_true(lethe_slots_run(t, pick));
    memmove(expected + pick, expected + pick + 1, (--n - pick) * sizeof *expected);
    assert_int_equal(lethe_slots_queued(t), n);
    for (uint32_t i = 0; i < n; i++) assert_int_equal(lethe_slots_peek(t, i), expected[i]);
  }
  lethe_slots_delete(t);
}

/* ---- memory ---------------------------------------------------------------------------------- */

enum { MANY = 20000 };

static void memory_goes_back_when_names_do(void **state) {
  (void)state;
  struct test_alloc a;
  struct lethe_slots *t;
  static uint32_t generations[MANY], slots[MANY];
  test_alloc_init(&a);
  assert_int_equal(lethe_slots_new(&t, &a.alloc), LETHE_OK);
  size_t empty = a.bytes;
  for (int round = 0; round < 3; round++) {
    for (uint32_t i = 0; i < MANY; i++) {
      char name[16];
      snprintf(name, sizeof name, "o-%u", i);
      generations[i] = import(t, name, &slots[i]);
    }
    struct lethe_slots_stats s;
    lethe_slots_read_stats(t, &s);
    assert_int_equal(s.bytes, a.bytes);
    assert_int_equal(s.slots, MANY);
    assert_true(a.bytes < MANY * 72);
    uint32_t kept = round == 1 ? 50 : 0; /* few that lie together */
    for (uint32_t i = kept; i < MANY; i++) lethe_slots_note(t, slots[i], generations[i]);
    run_all(t);
    lethe_slots_judge(t);
    assert_int_equal(lethe_slots_gather(t), LETHE_OK);
    lethe_slots_commit(t, lethe_slots_backlog(t));
    lethe_slots_trim(t);
    if (kept == 0)
      assert_int_equal(a.bytes, empty);
    else
      assert_true(a.bytes < 40000);
    for (uint32_t i = 0; i < kept; i++) lethe_slots_note(t, slots[i], generations[i]);
    run_all(t);
    lethe_slots_judge(t);
    assert_int_equal(lethe_slots_gather(t), LETHE_OK);
    lethe_slots_commit(t, lethe_slots_backlog(t));
    lethe_slots_trim(t);
    assert_int_equal(a.bytes, empty);
  }
  lethe_slots_delete(t);
  assert_int_equal(a.bytes, 0);
}

/* Whatever fails for want of memory has changed nothing, and a note never wants any. */
static void want_of_memory_loses_nothing(void **state) {
  (void)state;
  for (uint64_t n = 1;; n++) {
    struct test_alloc a;
    struct lethe_slots *t;
    uint32_t slots[600], generations[600], made = 0;
    test_alloc_init(&a);
    test_alloc_fail(&a, n);
    if (lethe_slots_new(&t, &a.alloc) != LETHE_OK) {
      assert_int_equal(a.bytes, 0);
      continue;
    }
    for (uint32_t i = 0; i < 600; i++) {
      char name[16];
      snprintf(name, sizeof name, "o-%u", i);
      struct lethe_vref v = vref(name);
      uint32_t slot;
      if (lethe_slots_add(t, &v, &slot) != LETHE_OK) {
        assert_int_equal(lethe_slots_find(t, &v), 0);
        continue;
      }
      if (lethe_slots_enter(t, slot, &generations[made]) != LETHE_OK) {
        lethe_slots_settle(t, slot);
        assert_int_equal(lethe_slots_find(t, &v), 0);
        continue;
      }
      lethe_slots_deliver(t, slot);
      slots[made++] = slot;
    }
    assert_true(made + a.failed >= 600);
    uint64_t requests = a.requests, failed = a.failed;
    for (uint32_t i = 0; i < made; i++) lethe_slots_note(t, slots[i], generations[i]);
    run_all(t);
    lethe_slots_judge(t);
    assert_int_equal(a.requests, requests); /* none of this wants memory */
    if (lethe_slots_gather(t) != LETHE_OK) {
      assert_int_equal(lethe_slots_backlog(t), 0);
      assert_int_equal(lethe_slots_gather(t), LETHE_OK);
    }
    assert_int_equal(lethe_slots_backlog(t), made);
    failed = a.failed;
    lethe_slots_commit(t, made);
    lethe_slots_trim(t);
    struct lethe_slots_stats s;
    lethe_slots_read_stats(t, &s);
    assert_int_equal(s.slots, 0);
    assert_int_equal(s.dropped, made);
    lethe_slots_delete(t);
    assert_int_equal(a.bytes, 0);
    if (failed == 0) return;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names_are_read_and_written_one_way),
      cmocka_unit_test(a_facet_has_the_slot_of_its_object),
      cmocka_unit_test(each_name_is_found_and_no_other),
      cmocka_unit_test(a_name_goes_through_its_states),
      cmocka_unit_test(a_callback_looks_at_the_slot_not_at_whom_it_was_queued_for),
      cmocka_unit_test(a_note_of_an_older_body_changes_nothing),
      cmocka_unit_test(delivery_cancels_a_drop_even_after_it_was_judged),
      cmocka_unit_test(a_name_that_dies_again_in_the_backlog_is_judged_again),
      cmocka_unit_test(recognizers_and_data_hold_back_what_they_should),
      cmocka_unit_test(what_the_kernel_retired_is_not_retired_again),
      cmocka_unit_test(exports_are_retired_unless_the_kernel_did),
      cmocka_unit_test(names_come_in_the_order_of_their_bytes),
      cmocka_unit_test(long_names_come_in_order_too),
      cmocka_unit_test(callbacks_keep_their_order_when_one_is_picked),
      cmocka_unit_test(memory_goes_back_when_names_do),
      cmocka_unit_test(want_of_memory_loses_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
