/* SPDX-License-Identifier: MIT
 * A backend around another, which does to its n-th call what a plan says, and keeps a log that
 * tells, of every write and barrier, what had ended when it began: from that a test knows which
 * writes a power failure may have lost.
 *
 * A call becomes an operation of the inner backend's; a torn one becomes two, a load of what is
 * there and a flush of half and half. */
#include <string.h>

#include "backend_internal.h"

struct faulty {
  struct lethe_backend base;
  struct lethe_backend *inner;
  struct lethe_faulty_step *steps;
  size_t n_steps;
  struct lethe_faulty_record *log;
  size_t calls, room;
  uint64_t moment;
  bool crashed;
};

/* What stands in for an operation at the inner backend. */
struct proxy {
  struct lethe_backend_op op;
  struct lethe_backend_op *outer;
  struct faulty *f;
  size_t record;
  enum lethe_faulty_action action;
  struct lethe_timer timer; /* of a delay */
  char *torn;               /* what is written of a torn flush */
};

/* ---- the log --------------------------------------------------------------------------------- */

static void *copy(const struct lethe_alloc *a, const void *bytes, size_t n) {
  void *p = lethe_malloc(a, n ? n : 1);
  if (p && n) memcpy(p, bytes, n);
  return p;
}

static void free_record(const struct lethe_alloc *a, const struct lethe_faulty_record *r) {
  if (r->key.text) lethe_free(a, (void *)r->key.text, r->key.length ? r->key.length : 1);
  if (r->data) lethe_free(a, (void *)r->data, r->size ? r->size : 1);
}

/* The call's record, which nothing but its moments changes; false without memory. */
static bool record(struct faulty *f, const struct lethe_backend_op *op,
                   enum lethe_faulty_action action) {
  const struct lethe_alloc *a = f->base.alloc;
  if (lethe_grow(a, (void **)&f->log, &f->room, f->calls + 1, sizeof *f->log) != LETHE_OK)
    return false;
  struct lethe_faulty_record *r = &f->log[f->calls];
  *r = (struct lethe_faulty_record){
      .call = f->calls + 1, .kind = op->kind, .action = action, .key = op->key};
  r->key.text = op->key.text ? copy(a, op->key.text, op->key.length) : NULL;
  bool whole = !op->key.text || r->key.text;
  if (op->kind == LETHE_BACKEND_FLUSH) {
    r->size = op->size;
    r->data = copy(a, op->data, op->size);
    whole = whole && r->data;
  }
  if (!whole) {
    free_record(a, r);
    return false;
  }
  r->begun = ++f->moment;
  f->calls++;
  return true;
}

const struct lethe_faulty_record *lethe_faulty_log(struct lethe_backend *b, size_t *n) {
  const struct faulty *f = (const struct faulty *)b;
  *n = f->calls;
  return f->log;
}

static void ended(struct faulty *f, size_t index, int rc) {
  f->log[index].ended = ++f->moment;
  f->log[index].rc = rc;
}

/* ---- calls ----------------------------------------------------------------------------------- */

static void end_proxy(struct proxy *p, bool closed) {
  struct lethe_backend_op *outer = p->outer;
  const struct lethe_alloc *a = p->f->base.alloc;
  ended(p->f, p->record, outer->rc);
  lethe_backend_value_free(&p->op);
  if (p->torn) lethe_free(a, p->torn, outer->size ? outer->size : 1);
  outer->at = NULL;
  lethe_free(a, p, sizeof *p);
  if (closed)
    lethe_op_end_now(outer, true);
  else
    lethe_op_end(outer);
}

static void fail(struct proxy *p, int rc, const char *what, bool closed) {
  lethe_op_wrong(p->outer, rc, "call %llu %s", (unsigned long long)p->record + 1, what);
  end_proxy(p, closed);
}

static void on_done(struct lethe_backend_op *op, bool closed) {
  struct proxy *p = lethe_container_of(op, struct proxy, op);
  struct lethe_backend_op *outer = p->outer;
  if (p->action == LETHE_FAULTY_CANCEL) {
    fail(p, LETHE_ECANCELLED, "was cancelled, as planned", closed);
    return;
  }
  outer->rc = op->rc;
  memcpy(outer->message, op->message, sizeof outer->message);
  if (op->rc == LETHE_OK && op->kind == LETHE_BACKEND_LOAD)
    lethe_op_value(outer, op->value, op->size);
  end_proxy(p, closed);
}

/* Passes it on. What it points to is the outer operation's. */
static void pass(struct proxy *p) {
  const struct lethe_backend_op *outer = p->outer;
  p->op.kind = outer->kind;
  p->op.key = outer->key;
  p->op.data = outer->data;
  p->op.size = outer->size;
  p->op.done = on_done;
  if (!lethe_backend_start(p->f->inner, outer->loop, &p->op))
    fail(p, LETHE_ECLOSED, "came after the loop was closed", true);
}

static void on_torn(struct lethe_backend_op *op, bool closed) {
  fail(lethe_container_of(op, struct proxy, op), LETHE_ESYSTEM, "was torn, as planned", closed);
}

/* With what is there now: the first half of the new bytes and, where there is more of the old,
 * that. */
static void on_old(struct lethe_backend_op *op, bool closed) {
  struct proxy *p = lethe_container_of(op, struct proxy, op);
  const struct lethe_backend_op *outer = p->outer;
  size_t half = outer->size / 2, old = op->rc == LETHE_OK ? op->size : 0;
  p->torn = closed ? NULL : lethe_zalloc(p->f->base.alloc, outer->size ? outer->size : 1);
  if (!p->torn) {
    fail(p, LETHE_ENOMEM, "could not be torn", closed);
    return;
  }
  if (old > half)
    memcpy(p->torn + half, (const char *)op->value + half,
           (old < outer->size ? old : outer->size) - half);
  if (half) memcpy(p->torn, outer->data, half);
  lethe_backend_value_free(op);
  *op = (struct lethe_backend_op){.kind = LETHE_BACKEND_FLUSH,
                                  .key = outer->key,
                                  .data = p->torn,
                                  .size = outer->size,
                                  .done = on_torn};
  if (!lethe_backend_start(p->f->inner, outer->loop, op))
    fail(p, LETHE_ECLOSED, "came after the loop was closed", true);
}

static void tear(struct proxy *p) {
  if (p->outer->kind != LETHE_BACKEND_FLUSH) {
    fail(p, LETHE_ESYSTEM, "was torn, as planned", false);
    return;
  }
  p->op.kind = LETHE_BACKEND_LOAD;
  p->op.key = p->outer->key;
  p->op.done = on_old;
  if (!lethe_backend_start(p->f->inner, p->outer->loop, &p->op))
    fail(p, LETHE_ECLOSED, "came after the loop was closed", true);
}

static void on_delay(struct lethe_timer *t) { pass(lethe_container_of(t, struct proxy, timer)); }

static const struct lethe_faulty_step *step_of(const struct faulty *f) {
  static const struct lethe_faulty_step crash = {.action = LETHE_FAULTY_CRASH}, none = {0};
  if (f->crashed) return &crash;
  for (size_t i = 0; i < f->n_steps; i++)
    if (f->steps[i].call == f->calls + 1) return &f->steps[i];
  return &none;
}

static void start(struct lethe_backend *b, struct lethe_backend_op *op) {
  struct faulty *f = (struct faulty *)b;
  const struct lethe_faulty_step *step = step_of(f);
  struct proxy *p = lethe_zalloc(f->base.alloc, sizeof *p);
  if (!p || !record(f, op, step->action)) {
    lethe_free(f->base.alloc, p, sizeof *p);
    lethe_op_fail(op, LETHE_ENOMEM, "%s", lethe_strerror(LETHE_ENOMEM));
    return;
  }
  p->outer = op;
  p->f = f;
  p->record = f->calls - 1;
  p->action = step->action;
  op->at = p;
  switch (step->action) {
  case LETHE_FAULTY_PASS:
  case LETHE_FAULTY_CANCEL:
    pass(p);
    break;
  case LETHE_FAULTY_DELAY:
    lethe_timer_start(op->loop, &p->timer, step->seconds, 0, on_delay);
    break;
  case LETHE_FAULTY_TEAR:
    tear(p);
    break;
  case LETHE_FAULTY_FAIL:
    fail(p, LETHE_ESYSTEM, "failed, as planned", false);
    break;
  case LETHE_FAULTY_CRASH:
    f->crashed = true;
    fail(p, LETHE_ESYSTEM, "came after the crash", false);
    break;
  }
}

/* ---- the backend ----------------------------------------------------------------------------- */

/* What was passed on hears of it at the inner backend, and ends with that. */
static bool forget(struct lethe_backend *b, struct lethe_backend_op *op) {
  struct faulty *f = (struct faulty *)b;
  struct proxy *p = op->at;
  if (p && p->op.backend) return false;
  lethe_op_wrong(op, LETHE_ECLOSED, "the loop was closed");
  if (p) {
    lethe_timer_stop(&p->timer);
    ended(f, p->record, op->rc);
    lethe_free(f->base.alloc, p, sizeof *p);
  }
  return true;
}

static void free_faulty(struct lethe_backend *b) {
  struct faulty *f = (struct faulty *)b;
  const struct lethe_alloc *a = f->base.alloc;
  for (size_t i = 0; i < f->calls; i++) free_record(a, &f->log[i]);
  lethe_free(a, f->log, f->room * sizeof *f->log);
  lethe_free(a, f->steps, f->n_steps * sizeof *f->steps);
  lethe_backend_put(f->inner);
  lethe_free(a, f, sizeof *f);
}

static const struct lethe_backend_class faulty_class = {
    .start = start, .forget = forget, .free = free_faulty};

int lethe_faulty_new(struct lethe_backend **out, const struct lethe_alloc *a,
                     struct lethe_backend *inner, const struct lethe_faulty_step *steps, size_t n) {
  struct faulty *f = lethe_zalloc(a, sizeof *f);
  if (!f) return LETHE_ENOMEM;
  f->steps = n ? copy(a, steps, n * sizeof *steps) : NULL;
  if (n && !f->steps) {
    lethe_free(a, f, sizeof *f);
    return LETHE_ENOMEM;
  }
  lethe_backend_init(&f->base, &faulty_class, a);
  f->n_steps = n;
  f->inner = lethe_backend_get(inner);
  *out = &f->base;
  return LETHE_OK;
}
