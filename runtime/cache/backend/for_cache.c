/* SPDX-License-Identifier: MIT
 * A backend as a cache asks for one: each call of the cache is an operation. Keys and bytes are
 * borrowed from the call, which outlives it. */
#include "backend_internal.h"

struct bridge {
  struct lethe_cache_backend base;
  struct lethe_backend *to;
};

struct crossing {
  struct lethe_backend_op op;
  struct lethe_cache_call *call;
  const struct lethe_alloc *alloc;
};

static void on_done(struct lethe_backend_op *op, bool closed) {
  struct crossing *x = lethe_container_of(op, struct crossing, op);
  struct lethe_cache_call *call = x->call;
  struct lethe_cache_value *value = NULL;
  int rc = op->rc;
  (void)closed;
  if (rc == LETHE_OK && op->kind == LETHE_BACKEND_LOAD) {
    value = lethe_cache_bytes(x->alloc, op->value, op->size);
    if (!value) rc = LETHE_ENOMEM;
  }
  lethe_cache_answer(call, rc, op->message[0] ? op->message : NULL, value);
  lethe_backend_value_free(op);
  lethe_free(x->alloc, x, sizeof *x);
}

static void cross(struct lethe_cache_backend *b, struct lethe_cache_call *call,
                  enum lethe_backend_kind kind) {
  struct lethe_backend *to = ((struct bridge *)b)->to;
  struct crossing *x = lethe_zalloc(to->alloc, sizeof *x);
  if (!x) {
    lethe_cache_answer(call, LETHE_ENOMEM, NULL, NULL);
    return;
  }
  x->call = call;
  x->alloc = to->alloc;
  x->op.kind = kind;
  x->op.done = on_done;
  if (kind != LETHE_BACKEND_BARRIER)
    x->op.key = (struct lethe_backend_key){call->key.bytes, call->key.n, call->key.number};
  if (kind == LETHE_BACKEND_FLUSH) {
    x->op.data = call->value->data;
    x->op.size = call->value->size;
  }
  if (lethe_backend_start(to, lethe_cache_loop(call->cache), &x->op)) return;
  lethe_free(x->alloc, x, sizeof *x);
  lethe_cache_answer(call, LETHE_ECLOSED, "the loop was closed", NULL);
}

static void load(struct lethe_cache_backend *b, struct lethe_cache_call *call) {
  cross(b, call, LETHE_BACKEND_LOAD);
}

static void flush(struct lethe_cache_backend *b, struct lethe_cache_call *call) {
  if (call->value->data)
    cross(b, call, LETHE_BACKEND_FLUSH);
  else
    lethe_cache_answer(call, LETHE_EINVAL, "only strings can be written to this backend", NULL);
}

static void barrier(struct lethe_cache_backend *b, struct lethe_cache_call *call) {
  cross(b, call, LETHE_BACKEND_BARRIER);
}

static void destroy(struct lethe_cache_backend *b) {
  struct lethe_backend *to = ((struct bridge *)b)->to;
  lethe_free(to->alloc, b, sizeof(struct bridge));
  lethe_backend_put(to);
}

int lethe_backend_for_cache(struct lethe_cache_backend **out, struct lethe_backend *b) {
  struct bridge *bridge = lethe_zalloc(b->alloc, sizeof *bridge);
  if (!bridge) return LETHE_ENOMEM;
  lethe_ref_init(&bridge->base.refs);
  bridge->base.destroy = destroy;
  bridge->base.load = load;
  bridge->base.flush = flush;
  bridge->base.barrier = barrier;
  bridge->to = lethe_backend_get(b);
  *out = &bridge->base;
  return LETHE_OK;
}
