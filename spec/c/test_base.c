/* SPDX-License-Identifier: MIT
 * runtime/base without Lua: errors, memory, fault points, slot tables, lists, references, time. */
#include <string.h>

#include "harness/unit.h"

#include "harness/alloc.h"
#include "harness/random.h"
#include "lethe/atomic.h"
#include "lethe/base.h"
#include "lethe/list.h"
#include "lethe/ref.h"
#include "lethe/slab.h"

/* ---- errors ---------------------------------------------------------------------------------- */

static void every_error_has_a_word_and_a_message(void **state) {
  (void)state;
  for (int code = 0; code >= LETHE_ELAST; code--) {
    const char *name = lethe_errname(code);
    assert_non_null(name);
    assert_true(strlen(lethe_strerror(code)) > 0);
    for (const char *c = name; *c; c++) assert_true((*c >= 'a' && *c <= 'z') || *c == '_');
    for (int other = 0; other > code; other--) assert_string_not_equal(name, lethe_errname(other));
  }
}

static void words_are_those_of_the_contract(void **state) {
  (void)state;
  static const struct {
    int code;
    const char *word;
  } words[] = {{LETHE_ENOMEM, "no_memory"},
               {LETHE_ECLOSED, "closed"},
               {LETHE_ESHUTDOWN, "tracker_shutdown"},
               {LETHE_EACCOUNT, "account_closed"},
               {LETHE_EPARTICIPANT, "participant_shutdown"},
               {LETHE_ELIMIT, "over_limit"},
               {LETHE_EDUPLICATE, "duplicate_child"},
               {LETHE_ECYCLE, "cycle"},
               {LETHE_EFOREIGN, "other_tracker"},
               {LETHE_ELIMITS, "bad_limits"},
               {LETHE_EPOLICY, "bad_policy"},
               {LETHE_ETIMEOUT, "timeout"},
               {LETHE_ECANCELLED, "cancelled"},
               {LETHE_EBROKEN, "broken"}};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    assert_string_equal(lethe_errname(words[i].code), words[i].word);
  assert_string_equal(lethe_strerror(LETHE_ENOMEM), "not enough memory");
}

static void a_foreign_code_is_unknown(void **state) {
  (void)state;
  static const int codes[] = {1, LETHE_ELAST - 1, INT32_MIN, INT32_MAX};
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
    assert_string_equal(lethe_errname(codes[i]), "unknown");
    assert_string_equal(lethe_strerror(codes[i]), "unknown error");
  }
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void libc_allocates_as_lua_does(void **state) {
  (void)state;
  const struct lethe_alloc *a = &lethe_alloc_libc;
  char *p = lethe_zalloc(a, 100);
  assert_non_null(p);
  for (int i = 0; i < 100; i++) assert_int_equal(p[i], 0);
  memset(p, 7, 100);
  p = a->realloc(a->ud, p, 100, 10);
  assert_non_null(p);
  p = a->realloc(a->ud, p, 10, 1000);
  for (int i = 0; i < 10; i++) assert_int_equal(p[i], 7);
  lethe_free(a, p, 1000);
  lethe_free(a, NULL, 0);
  assert_null(a->realloc(a->ud, NULL, 0, 0));
}

static void grow_doubles_and_keeps_what_is_there(void **state) {
  (void)state;
  struct test_alloc t;
  void *array = NULL;
  size_t room = 0;
  test_alloc_init(&t);
  assert_int_equal(lethe_grow(&t.alloc, &array, &room, 0, sizeof(int)), 0);
  assert_null(array);
  for (size_t i = 0; i < 1000; i++) {
    assert_int_equal(lethe_grow(&t.alloc, &array, &room, i + 1, sizeof(int)), 0);
    assert_true(room > i);
    ((int *)array)[i] = (int)i;
  }
  for (size_t i = 0; i < 1000; i++) assert_int_equal(((int *)array)[i], i);
  assert_int_equal(room, 1024);
  assert_true(t.requests <= 8);
  assert_int_equal(lethe_grow(&t.alloc, &array, &room, 5000, sizeof(int)), 0);
  assert_true(room >= 5000);
  lethe_free(&t.alloc, array, room * sizeof(int));
  assert_int_equal(t.bytes, 0);
}

static void grow_without_memory_leaves_all_as_it_was(void **state) {
  (void)state;
  struct test_alloc t;
  void *array = NULL;
  size_t room = 0;
  test_alloc_init(&t);
  assert_int_equal(lethe_grow(&t.alloc, &array, &room, 8, 16), 0);
  void *before = array;
  test_alloc_fail(&t, 1);
  assert_int_equal(lethe_grow(&t.alloc, &array, &room, 9, 16), LETHE_ENOMEM);
  assert_ptr_equal(array, before);
  assert_int_equal(room, 8);
  lethe_free(&t.alloc, array, room * 16);
}

static void grow_past_the_address_space_is_refused(void **state) {
  (void)state;
  struct test_alloc t;
  void *array = NULL;
  size_t room = 0;
  test_alloc_init(&t);
  assert_int_equal(lethe_grow(&t.alloc, &array, &room, SIZE_MAX, 1), LETHE_ENOMEM);
  assert_int_equal(lethe_grow(&t.alloc, &array, &room, SIZE_MAX / 4, 8), LETHE_ENOMEM);
  assert_int_equal(lethe_grow(&t.alloc, &array, &room, SIZE_MAX / 2 + 1, 2), LETHE_ENOMEM);
  assert_int_equal(t.requests, 0);
  assert_null(array);
}

/* ---- fault points ---------------------------------------------------------------------------- */

static void a_fault_point_fails_the_nth_time_once(void **state) {
  (void)state;
#ifdef LETHE_FAULTS
  for (int point = 0; point < LETHE_FAULT_COUNT; point++) {
    lethe_fault_arm((enum lethe_fault)point, 3);
    for (int i = 1; i <= 6; i++) assert_int_equal(lethe_fault((enum lethe_fault)point), i == 3);
    assert_int_equal(lethe_fault_passed((enum lethe_fault)point), 6);
    lethe_fault_arm((enum lethe_fault)point, 0);
    for (int i = 0; i < 6; i++) assert_false(lethe_fault((enum lethe_fault)point));
  }
  lethe_fault_arm(LETHE_FAULT_ALLOC, 2);
  void *p = lethe_malloc(&lethe_alloc_libc, 8);
  assert_non_null(p);
  assert_null(lethe_alloc_libc.realloc(NULL, p, 8, 16));
  p = lethe_alloc_libc.realloc(NULL, p, 8, 4); /* shrinking is no fault point */
  assert_non_null(p);
  lethe_free(&lethe_alloc_libc, p, 4);
  lethe_fault_arm(LETHE_FAULT_ALLOC, 0);
#else
  assert_false(lethe_fault(LETHE_FAULT_ALLOC));
#endif
}

/* ---- slot tables ----------------------------------------------------------------------------- */

struct item {
  uint32_t generation, unused;
  uint64_t value[3];
};

static void ids_outlive_their_records(void **state) {
  (void)state;
  struct lethe_slab s;
  uint64_t a, b;
  lethe_slab_init(&s, &lethe_alloc_libc, sizeof(struct item));
  assert_null(lethe_slab_find(&s, 0));
  assert_null(lethe_slab_used(&s, 0));
  assert_null(lethe_slab_used(&s, 1));
  struct item *i = lethe_slab_take(&s, &a);
  assert_true(a != 0);
  assert_int_equal((uint32_t)a, 1);
  i->value[2] = 5;
  assert_ptr_equal(lethe_slab_find(&s, a), i);
  assert_int_equal(lethe_slab_id(i, (uint32_t)a), a);
  lethe_slab_give(&s, a);
  assert_null(lethe_slab_find(&s, a));
  assert_null(lethe_slab_used(&s, (uint32_t)a));
  assert_int_equal(s.live, 0);
  struct item *again = lethe_slab_take(&s, &b);
  assert_ptr_equal(again, i); /* the slot is used again, under another id, zeroed */
  assert_int_equal((uint32_t)a, (uint32_t)b);
  assert_true(a != b);
  assert_int_equal(again->value[2], 0);
  assert_null(lethe_slab_find(&s, a));
  lethe_slab_give(&s, a); /* stale: nothing happens */
  lethe_slab_give(&s, 0);
  assert_int_equal(s.live, 1);
  assert_ptr_equal(lethe_slab_find(&s, b), again);
  assert_null(lethe_slab_find(&s, b + 1)); /* a slot that never was */
  lethe_slab_destroy(&s);
  assert_null(lethe_slab_find(&s, b));
}

static void a_slot_whose_ids_are_used_up_is_used_no_more(void **state) {
  (void)state;
  struct lethe_slab s;
  uint64_t first, last, next;
  lethe_slab_init(&s, &lethe_alloc_libc, sizeof(struct item));
  struct item *i = lethe_slab_take(&s, &first);
  i->generation = UINT32_MAX; /* as after 2^31 lives */
  last = lethe_slab_id(i, 1);
  lethe_slab_give(&s, last);
  assert_null(lethe_slab_find(&s, last));
  assert_non_null(lethe_slab_take(&s, &next));
  assert_int_equal((uint32_t)next, 2);
  assert_null(lethe_slab_find(&s, first));
  lethe_slab_destroy(&s);
}

/* Chunks hold 256 slots, of which slot 0 is never handed out. */
static void records_do_not_move_at_chunk_boundaries(void **state) {
  (void)state;
  enum { N = 3 * LETHE_SLAB_CHUNK + 1 };
  struct test_alloc t;
  struct lethe_slab s;
  static uint64_t ids[N];
  static struct item *at[N];
  test_alloc_init(&t);
  lethe_slab_init(&s, &t.alloc, sizeof(struct item));
  for (size_t i = 0; i < N; i++) {
    at[i] = lethe_slab_take(&s, &ids[i]);
    assert_non_null(at[i]);
    assert_int_equal((uint32_t)ids[i], i + 1);
    at[i]->value[0] = i;
    size_t chunks = (i + 1) / LETHE_SLAB_CHUNK + 1;
    assert_int_equal(t.blocks, chunks + 1);
    if (i + 2 == 255 || i + 2 == 256 || i + 2 == 257) assert_int_equal(s.slots, i + 2);
  }
  for (size_t i = 0; i < N; i++) {
    assert_ptr_equal(lethe_slab_find(&s, ids[i]), at[i]);
    assert_int_equal(at[i]->value[0], i);
  }
  lethe_slab_destroy(&s);
  assert_int_equal(t.bytes, 0);
  assert_int_equal(t.blocks, 0);
}

static void records_of_whole_lines_begin_where_lines_do(void **state) {
  (void)state;
  struct lethe_slab s;
  uint64_t id;
  lethe_slab_init(&s, &lethe_alloc_libc, 2 * 64);
  for (size_t i = 0; i < 2 * LETHE_SLAB_CHUNK; i++)
    assert_int_equal((uintptr_t)lethe_slab_take(&s, &id) % 64, 0);
  lethe_slab_destroy(&s);
}

static void a_walk_sees_what_is_in_use(void **state) {
  (void)state;
  struct lethe_slab s;
  uint64_t ids[600];
  lethe_slab_init(&s, &lethe_alloc_libc, sizeof(struct item));
  for (size_t i = 0; i < 600; i++) ((struct item *)lethe_slab_take(&s, &ids[i]))->value[1] = i;
  for (size_t i = 0; i < 600; i += 3) lethe_slab_give(&s, ids[i]);
  size_t seen = 0;
  for (uint32_t slot = 0; slot < s.slots; slot++) {
    struct item *i = lethe_slab_used(&s, slot);
    if (!i) continue;
    assert_int_equal(i->value[1] + 1, slot);
    assert_true(i->value[1] % 3 != 0);
    seen++;
  }
  assert_int_equal(seen, 400);
  assert_int_equal(s.live, 400);
  lethe_slab_destroy(&s);
}

static void without_memory_nothing_is_taken(void **state) {
  (void)state;
  for (uint64_t n = 1;; n++) {
    struct test_alloc t;
    struct lethe_slab s;
    uint64_t ids[1100], id = 42;
    size_t taken = 0, refused = 0;
    test_alloc_init(&t);
    test_alloc_fail(&t, n);
    lethe_slab_init(&s, &t.alloc, 8);
    while (taken < 1100) {
      if (lethe_slab_take(&s, &id)) {
        ids[taken++] = id;
      } else {
        refused++;
        assert_int_equal(s.live, taken);
      }
    }
    for (size_t i = 0; i < taken; i++) assert_non_null(lethe_slab_find(&s, ids[i]));
    assert_int_equal(refused, t.failed);
    lethe_slab_destroy(&s);
    assert_int_equal(t.bytes, 0);
    if (t.failed == 0) {
      assert_true(n > 6); /* the array of chunks, five chunks */
      return;
    }
  }
}

static void random_takes_and_gives_against_a_plain_array(void **state) {
  (void)state;
  enum { N = 2000 };
  static uint64_t live[N], stale[N];
  size_t count = 0;
  struct lethe_slab s;
  struct test_random r = test_seed("slab");
  lethe_slab_init(&s, &lethe_alloc_libc, sizeof(struct item));
  memset(stale, 0, sizeof stale);
  for (int i = 0; i < 100000; i++) {
    if (count < N && (count == 0 || test_below(&r, 2))) {
      struct item *it = lethe_slab_take(&s, &live[count]);
      it->value[0] = live[count++];
    } else {
      size_t k = (size_t)test_below(&r, count);
      struct item *it = lethe_slab_find(&s, live[k]);
      assert_int_equal(it->value[0], live[k]);
      lethe_slab_give(&s, live[k]);
      stale[test_below(&r, N)] = live[k];
      live[k] = live[--count];
    }
    assert_int_equal(s.live, count);
    assert_null(lethe_slab_find(&s, stale[test_below(&r, N)]));
  }
  lethe_slab_destroy(&s);
}

/* ---- lists ----------------------------------------------------------------------------------- */

struct knot {
  int number;
  struct lethe_list node;
};

static void expect_list(struct lethe_list *head, const char *numbers) {
  char found[64] = "";
  size_t n = 0;
  LETHE_LIST_EACH(node, head) {
    found[n++] = (char)('0' + lethe_container_of(node, struct knot, node)->number);
    assert_ptr_equal(node->next->prev, node);
    assert_ptr_equal(node->prev->next, node);
  }
  found[n] = '\0';
  assert_string_equal(found, numbers);
  assert_int_equal(lethe_list_empty(head), n == 0);
}

static void lists_keep_their_order(void **state) {
  (void)state;
  struct lethe_list head, other;
  struct knot k[5];
  lethe_list_init(&head);
  expect_list(&head, "");
  assert_null(lethe_list_shift(&head));
  for (int i = 0; i < 5; i++) {
    k[i].number = i;
    lethe_list_push(&head, &k[i].node);
  }
  expect_list(&head, "01234");
  lethe_list_remove(&k[2].node);
  lethe_list_remove(&k[2].node); /* it is in no list any more: nothing happens */
  expect_list(&head, "0134");
  lethe_list_insert(&k[3].node, &k[2].node);
  expect_list(&head, "01234");
  assert_ptr_equal(lethe_list_shift(&head), &k[0].node);
  lethe_list_push(&head, &k[0].node);
  expect_list(&head, "12340");
  lethe_list_move(&other, &head);
  expect_list(&head, "");
  expect_list(&other, "12340");
  lethe_list_move(&head, &other);
  LETHE_LIST_EACH_SAFE(node, &head) {
    if (lethe_container_of(node, struct knot, node)->number % 2 == 0) lethe_list_remove(node);
  }
  expect_list(&head, "13");
  lethe_list_init(&other);
  lethe_list_move(&head, &other); /* an empty one moves too; what was in `head` is cut off */
  expect_list(&head, "");
}

/* ---- references, fences, time ---------------------------------------------------------------- */

static void the_last_put_says_so(void **state) {
  (void)state;
  struct lethe_ref r;
  lethe_ref_init(&r);
  lethe_ref_get(&r);
  lethe_ref_get(&r);
  assert_false(lethe_ref_put(&r));
  assert_false(lethe_ref_put(&r));
  assert_true(lethe_ref_put(&r));
}

static void the_fence_finds_its_flavour_once(void **state) {
  (void)state;
  lethe_fence_init();
  bool found = lethe_fence_asymmetric;
  lethe_fence_init();
  assert_int_equal(lethe_fence_asymmetric, found);
  lethe_fence_light();
  lethe_fence_heavy();
}

static void the_clock_does_not_go_back(void **state) {
  (void)state;
  double before = lethe_clock_monotonic();
  for (int i = 0; i < 1000; i++) {
    double now = lethe_clock_monotonic();
    assert_true(now >= before);
    before = now;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_error_has_a_word_and_a_message),
      cmocka_unit_test(words_are_those_of_the_contract),
      cmocka_unit_test(a_foreign_code_is_unknown),
      cmocka_unit_test(libc_allocates_as_lua_does),
      cmocka_unit_test(grow_doubles_and_keeps_what_is_there),
      cmocka_unit_test(grow_without_memory_leaves_all_as_it_was),
      cmocka_unit_test(grow_past_the_address_space_is_refused),
      cmocka_unit_test(a_fault_point_fails_the_nth_time_once),
      cmocka_unit_test(ids_outlive_their_records),
      cmocka_unit_test(a_slot_whose_ids_are_used_up_is_used_no_more),
      cmocka_unit_test(records_do_not_move_at_chunk_boundaries),
      cmocka_unit_test(records_of_whole_lines_begin_where_lines_do),
      cmocka_unit_test(a_walk_sees_what_is_in_use),
      cmocka_unit_test(without_memory_nothing_is_taken),
      cmocka_unit_test(random_takes_and_gives_against_a_plain_array),
      cmocka_unit_test(lists_keep_their_order),
      cmocka_unit_test(the_last_put_says_so),
      cmocka_unit_test(the_fence_finds_its_flavour_once),
      cmocka_unit_test(the_clock_does_not_go_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
