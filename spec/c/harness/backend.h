/* SPDX-License-Identifier: MIT
 * What the tests of backends share: operations that note their end, and a loop that is turned until
 * they have ended. */
#ifndef SPEC_HARNESS_BACKEND_H
#define SPEC_HARNESS_BACKEND_H

#include <stdlib.h>
#include <string.h>

#include "lethe/backend.h"

#include "alloc.h"
#include "unit.h"

struct test_op {
  struct lethe_backend_op op;
  int ended, order; /* how often; as which one */
  bool closed;
};

static int test_ops_ended;

static inline void test_op_done(struct lethe_backend_op *op, bool closed) {
  struct test_op *t = lethe_container_of(op, struct test_op, op);
  t->ended++;
  t->order = ++test_ops_ended;
  t->closed = closed;
}

static inline struct lethe_backend_key number_key(int64_t n) {
  return (struct lethe_backend_key){.number = n};
}
static inline struct lethe_backend_key text_key(const char *text) {
  return (struct lethe_backend_key){.text = text, .length = strlen(text)};
}

static inline void start_op(struct lethe_backend *b, struct lethe_loop *l, struct test_op *t,
                            enum lethe_backend_kind kind, struct lethe_backend_key key,
                            const void *data, size_t size) {
  *t = (struct test_op){
      .op = {.kind = kind, .key = key, .data = data, .size = size, .done = test_op_done}};
  assert_true(lethe_backend_start(b, l, &t->op));
}
static inline void start_load(struct lethe_backend *b, struct lethe_loop *l, struct test_op *t,
                              struct lethe_backend_key key) {
  start_op(b, l, t, LETHE_BACKEND_LOAD, key, NULL, 0);
}
static inline void start_flush(struct lethe_backend *b, struct lethe_loop *l, struct test_op *t,
                               struct lethe_backend_key key, const void *data, size_t size) {
  start_op(b, l, t, LETHE_BACKEND_FLUSH, key, data, size);
}
static inline void start_barrier(struct lethe_backend *b, struct lethe_loop *l, struct test_op *t) {
  start_op(b, l, t, LETHE_BACKEND_BARRIER, number_key(0), NULL, 0);
}

/* Until nothing is under way on the loop. */
static inline void run_loop(struct lethe_loop *l) {
  while (lethe_loop_alive(l))
    if (lethe_loop_turn(l) == 0 && lethe_loop_alive(l)) lethe_loop_block(&l, 1);
}

static inline void run_until(struct lethe_loop *l, const struct test_op *t) {
  while (!t->ended)
    if (lethe_loop_turn(l) == 0 && !t->ended) lethe_loop_block(&l, 1);
}

/* One operation from start to end; its code. */
static inline int do_load(struct lethe_backend *b, struct lethe_loop *l,
                          struct lethe_backend_key key, char *out, size_t room) {
  struct test_op t;
  start_load(b, l, &t, key);
  assert_int_equal(t.ended, 0); /* never inside the call that starts it */
  run_until(l, &t);
  if (t.op.rc == LETHE_OK) {
    assert_true(t.op.size < room);
    if (t.op.size) memcpy(out, t.op.value, t.op.size);
    out[t.op.size] = '\0';
  } else {
    assert_null(t.op.value);
  }
  lethe_backend_value_free(&t.op);
  return t.op.rc;
}
static inline int do_flush(struct lethe_backend *b, struct lethe_loop *l,
                           struct lethe_backend_key key, const void *data, size_t size) {
  struct test_op t;
  start_flush(b, l, &t, key, data, size);
  assert_int_equal(t.ended, 0);
  run_until(l, &t);
  return t.op.rc;
}
static inline int do_barrier(struct lethe_backend *b, struct lethe_loop *l) {
  struct test_op t;
  start_barrier(b, l, &t);
  assert_int_equal(t.ended, 0);
  run_until(l, &t);
  return t.op.rc;
}

static inline struct lethe_loop *make_loop(enum lethe_clock clock, struct lethe_loop *host) {
  struct lethe_loop *l = NULL;
  assert_int_equal(lethe_loop_new(&l, &lethe_alloc_libc, clock, host), LETHE_OK);
  return l;
}
static inline void end_loop(struct lethe_loop *l) {
  lethe_loop_close(l);
  lethe_loop_put(l);
}

#endif
