/* SPDX-License-Identifier: MIT
 * Operations, from their start to their end.
 *
 * While an operation is under way it holds its loop, which so stays alive, and a reference to its
 * backend. A timer that never fires tells it when the loop closes; backends with timeouts start
 * the same timer anew. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "backend_internal.h"

void lethe_backend_init(struct lethe_backend *b, const struct lethe_backend_class *class,
                        const struct lethe_alloc *a) {
  b->class = class;
  b->alloc = a;
  lethe_ref_init(&b->refs);
}

struct lethe_backend *lethe_backend_get(struct lethe_backend *b) {
  lethe_ref_get(&b->refs);
  return b;
}

void lethe_backend_put(struct lethe_backend *b) {
  if (lethe_ref_put(&b->refs)) b->class->free(b);
}

/* ---- start and end --------------------------------------------------------------------------- */

static void never(struct lethe_timer *t) { (void)t; }

static void on_loop_closed(struct lethe_timer *t) {
  struct lethe_backend_op *op = lethe_container_of(t, struct lethe_backend_op, timer);
  if (op->backend->class->forget(op->backend, op)) lethe_op_end_now(op, true);
}

static void on_end(struct lethe_message *m, bool closed) {
  lethe_op_end_now(lethe_container_of(m, struct lethe_backend_op, end), closed);
}

bool lethe_backend_start(struct lethe_backend *b, struct lethe_loop *loop,
                         struct lethe_backend_op *op) {
  op->timer = (struct lethe_timer){.idle = true, .closed = on_loop_closed};
  lethe_timer_start(loop, &op->timer, HUGE_VAL, 0, never);
  if (!op->timer.loop) return false;
  op->backend = lethe_backend_get(b);
  op->loop = lethe_loop_get(loop);
  lethe_loop_hold(loop);
  op->alloc = b->alloc;
  op->end.run = on_end;
  op->rc = LETHE_OK;
  op->message[0] = '\0';
  op->value = op->at = NULL;
  op->hops = 0;
  op->busy = op->landed = op->again = op->asking = op->late = false;
  lethe_list_init(&op->node);
  lethe_list_init(&op->turn);
  b->class->start(b, op);
  return true;
}

/* Once done was called the operation's memory may be gone. The backend goes after it: its free may
 * end other things on this loop. */
void lethe_op_end_now(struct lethe_backend_op *op, bool closed) {
  struct lethe_backend *b = op->backend;
  struct lethe_loop *loop = op->loop;
  lethe_timer_stop(&op->timer);
  lethe_loop_release(loop);
  op->done(op, closed);
  lethe_backend_put(b);
  lethe_loop_put(loop);
}

void lethe_op_end(struct lethe_backend_op *op) {
  lethe_timer_stop(&op->timer);
  if (!lethe_loop_post(op->loop, &op->end)) lethe_op_end_now(op, true);
}

/* ---- results --------------------------------------------------------------------------------- */

static void note(struct lethe_backend_op *op, int rc, const char *format, va_list ap) {
  op->rc = rc;
  vsnprintf(op->message, sizeof op->message, format, ap);
}

void lethe_op_wrong(struct lethe_backend_op *op, int rc, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  note(op, rc, format, ap);
  va_end(ap);
}

void lethe_op_fail(struct lethe_backend_op *op, int rc, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  note(op, rc, format, ap);
  va_end(ap);
  lethe_op_end(op);
}

void lethe_op_value(struct lethe_backend_op *op, const void *bytes, size_t n) {
  void *copy = lethe_malloc(op->alloc, n ? n : 1);
  if (!copy) {
    lethe_op_wrong(op, LETHE_ENOMEM, "%s", lethe_strerror(LETHE_ENOMEM));
    return;
  }
  if (n) memcpy(copy, bytes, n);
  op->value = copy;
  op->size = n;
  op->rc = LETHE_OK;
}

void lethe_backend_value_free(struct lethe_backend_op *op) {
  if (op->value) lethe_free(op->alloc, op->value, op->size ? op->size : 1);
  op->value = NULL;
}

struct lethe_op_key lethe_op_key(const struct lethe_backend_key *key) {
  struct lethe_op_key name;
  if (!key->text)
    snprintf(name.text, sizeof name.text, "%lld", (long long)key->number);
  else
    snprintf(name.text, sizeof name.text, "\"%.*s\"", key->length < 40 ? (int)key->length : 40,
             key->text);
  return name;
}
