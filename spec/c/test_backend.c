/* SPDX-License-Identifier: MIT
 * Memory as a backend, and a faulty one around it: every action of a plan, the log with its
 * moments, and both where the n-th allocation fails. */
#include "harness/backend.h"

struct place {
  struct test_alloc alloc;
  struct lethe_loop *loop;
  struct lethe_backend *memory, *faulty;
};

static void open_place(struct place *p, const struct lethe_faulty_step *steps, size_t n) {
  test_alloc_init(&p->alloc);
  p->loop = make_loop(LETHE_CLOCK_VIRTUAL, NULL);
  assert_int_equal(lethe_memory_new(&p->memory, &p->alloc.alloc), LETHE_OK);
  assert_int_equal(lethe_faulty_new(&p->faulty, &p->alloc.alloc, p->memory, steps, n), LETHE_OK);
}

static void close_place(struct place *p) {
  if (p->faulty) lethe_backend_put(p->faulty);
  if (p->memory) lethe_backend_put(p->memory);
  end_loop(p->loop);
  assert_int_equal(p->alloc.blocks, 0);
  assert_int_equal(p->alloc.bytes, 0);
}

static int put(struct place *p, struct lethe_backend *b, int64_t k, const char *text) {
  return do_flush(b, p->loop, number_key(k), text, strlen(text));
}

/* What memory has under the key, as text; "-" for nothing. */
static const char *stored(struct place *p, int64_t k) {
  static char out[64];
  size_t size = 0;
  struct lethe_backend_key key = number_key(k);
  const void *bytes = lethe_memory_peek(p->memory, &key, &size);
  if (!bytes) return "-";
  memcpy(out, bytes, size);
  out[size] = '\0';
  return out;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void memory_keeps_bytes_under_numbers_and_texts(void **state) {
  struct place p;
  char out[64], name[16];
  (void)state;
  open_place(&p, NULL, 0);
  struct lethe_backend *m = p.memory;
  assert_int_equal(do_load(m, p.loop, number_key(1), out, sizeof out), LETHE_ENOTFOUND);
  for (int i = 0; i < 500; i++) {
    snprintf(name, sizeof name, "%d", i);
    assert_int_equal(do_flush(m, p.loop, text_key(name), name, strlen(name)), LETHE_OK);
    assert_int_equal(do_flush(m, p.loop, number_key(i), &name[1], strlen(name) - 1), LETHE_OK);
  }
  for (int i = 0; i < 500; i++) {
    snprintf(name, sizeof name, "%d", i);
    assert_int_equal(do_load(m, p.loop, text_key(name), out, sizeof out), LETHE_OK);
    assert_string_equal(out, name);
    assert_int_equal(do_load(m, p.loop, number_key(i), out, sizeof out), LETHE_OK);
    assert_string_equal(out, &name[1]); /* an empty one is one too */
  }
  assert_int_equal(put(&p, m, 7, "another"), LETHE_OK);
  assert_string_equal(stored(&p, 7), "another");
  assert_int_equal(do_barrier(m, p.loop), LETHE_OK);
  close_place(&p);
}

/* ---- plans ----------------------------------------------------------------------------------- */

static void each_action_does_what_it_says(void **state) {
  const struct lethe_faulty_step plan[] = {{2, LETHE_FAULTY_FAIL, 0},
                                           {3, LETHE_FAULTY_TEAR, 0},
                                           {4, LETHE_FAULTY_CANCEL, 0},
                                           {6, LETHE_FAULTY_TEAR, 0},
                                           {8, LETHE_FAULTY_CRASH, 0}};
  struct place p;
  char out[64];
  (void)state;
  open_place(&p, plan, sizeof plan / sizeof *plan);
  assert_int_equal(put(&p, p.faulty, 1, "AAAAAA"), LETHE_OK);
  assert_int_equal(put(&p, p.faulty, 1, "BBBBBB"), LETHE_ESYSTEM);
  assert_string_equal(stored(&p, 1), "AAAAAA");
  assert_int_equal(put(&p, p.faulty, 1, "CCCCCC"), LETHE_ESYSTEM);
  assert_string_equal(stored(&p, 1), "CCCAAA");
  assert_int_equal(put(&p, p.faulty, 1, "DDDDDD"), LETHE_ECANCELLED);
  assert_string_equal(stored(&p, 1), "DDDDDD");
  assert_int_equal(do_load(p.faulty, p.loop, number_key(1), out, sizeof out), LETHE_OK);
  assert_string_equal(out, "DDDDDD");
  assert_int_equal(do_barrier(p.faulty, p.loop), LETHE_ESYSTEM);
  assert_int_equal(do_load(p.faulty, p.loop, number_key(2), out, sizeof out), LETHE_ENOTFOUND);
  assert_int_equal(put(&p, p.faulty, 1, "E"), LETHE_ESYSTEM);
  assert_int_equal(put(&p, p.faulty, 1, "F"), LETHE_ESYSTEM);
  assert_int_equal(do_load(p.faulty, p.loop, number_key(1), out, sizeof out), LETHE_ESYSTEM);
  assert_string_equal(stored(&p, 1), "DDDDDD");
  close_place(&p);
}

static void a_delay_is_one_of_the_operations_clock(void **state) {
  const struct lethe_faulty_step plan[] = {{1, LETHE_FAULTY_DELAY, 10}};
  struct place p;
  struct test_op slow, quick;
  (void)state;
  open_place(&p, plan, 1);
  start_flush(p.faulty, p.loop, &slow, number_key(1), "s", 1);
  start_flush(p.faulty, p.loop, &quick, number_key(2), "q", 1);
  lethe_loop_advance(p.loop, 9);
  assert_int_equal(quick.ended, 1);
  assert_int_equal(slow.ended, 0);
  assert_string_equal(stored(&p, 1), "-");
  lethe_loop_advance(p.loop, 1);
  assert_int_equal(slow.ended, 1);
  assert_string_equal(stored(&p, 1), "s");
  close_place(&p);
}

static void a_loop_that_closes_ends_what_is_delayed(void **state) {
  const struct lethe_faulty_step plan[] = {{1, LETHE_FAULTY_DELAY, 10}};
  struct place p;
  struct test_op slow, sent;
  (void)state;
  open_place(&p, plan, 1);
  start_flush(p.faulty, p.loop, &slow, number_key(1), "s", 1);
  start_flush(p.faulty, p.loop, &sent, number_key(2), "q", 1);
  lethe_loop_close(p.loop);
  assert_true(slow.ended == 1 && slow.closed && slow.op.rc == LETHE_ECLOSED);
  assert_true(sent.ended == 1 && sent.closed);
  assert_string_equal(stored(&p, 1), "-");
  close_place(&p);
}

static void the_log_tells_what_had_ended_when_what_began(void **state) {
  const struct lethe_faulty_step plan[] = {{1, LETHE_FAULTY_DELAY, 5}, {3, LETHE_FAULTY_FAIL, 0}};
  struct place p;
  struct test_op slow;
  size_t n;
  (void)state;
  open_place(&p, plan, 2);
  start_flush(p.faulty, p.loop, &slow, text_key("slow"), "value", 5);
  assert_int_equal(put(&p, p.faulty, 2, "q"), LETHE_OK);
  const struct lethe_faulty_record *log = lethe_faulty_log(p.faulty, &n);
  assert_int_equal(n, 2);
  assert_true(log[0].begun == 1 && log[0].ended == 0);
  assert_true(log[1].begun == 2 && log[1].ended == 3);
  assert_int_equal(do_barrier(p.faulty, p.loop), LETHE_ESYSTEM);
  lethe_loop_advance(p.loop, 5);
  log = lethe_faulty_log(p.faulty, &n);
  assert_int_equal(n, 3);
  assert_true(log[0].ended == 6 && log[0].action == LETHE_FAULTY_DELAY);
  assert_memory_equal(log[0].data, "value", 5);
  assert_memory_equal(log[0].key.text, "slow", 4);
  assert_true(log[2].kind == LETHE_BACKEND_BARRIER && log[2].action == LETHE_FAULTY_FAIL);
  assert_int_equal(log[2].rc, LETHE_ESYSTEM);
  close_place(&p);
}

/* ---- allocations ----------------------------------------------------------------------------- */

/* One life of both, in which every call may end with no memory; then what is stored is the old or
 * the new, and the log has it or has not. */
static bool one_life(uint64_t n) {
  const struct lethe_faulty_step plan[] = {{2, LETHE_FAULTY_TEAR, 0}};
  struct place p = {.loop = make_loop(LETHE_CLOCK_VIRTUAL, NULL)};
  char out[64];
  test_alloc_init(&p.alloc);
  test_alloc_fail(&p.alloc, n);
  int rc = lethe_memory_new(&p.memory, &p.alloc.alloc);
  if (rc == LETHE_OK) rc = lethe_faulty_new(&p.faulty, &p.alloc.alloc, p.memory, plan, 1);
  if (rc == LETHE_OK) {
    int first = do_flush(p.faulty, p.loop, text_key("k"), "AAAA", 4);
    int second = do_flush(p.faulty, p.loop, text_key("k"), "BBBB", 4);
    int third = do_load(p.faulty, p.loop, text_key("k"), out, sizeof out);
    assert_true(first == LETHE_OK || first == LETHE_ENOMEM);
    if (p.alloc.failed == 0) {
      assert_true(second == LETHE_ESYSTEM && third == LETHE_OK);
      assert_string_equal(out, "BBAA");
    }
  } else {
    assert_int_equal(rc, LETHE_ENOMEM);
  }
  bool failed = p.alloc.failed > 0;
  close_place(&p);
  return failed;
}

static void any_one_allocation_may_fail(void **state) {
  uint64_t n = 1;
  (void)state;
  while (one_life(n)) n++;
  assert_true(n > 15);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(memory_keeps_bytes_under_numbers_and_texts),
      cmocka_unit_test(each_action_does_what_it_says),
      cmocka_unit_test(a_delay_is_one_of_the_operations_clock),
      cmocka_unit_test(a_loop_that_closes_ends_what_is_delayed),
      cmocka_unit_test(the_log_tells_what_had_ended_when_what_began),
      cmocka_unit_test(any_one_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
