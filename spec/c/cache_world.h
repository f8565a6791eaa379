/* SPDX-License-Identifier: MIT
 * What the C tests of the cache stand on: a loop with a virtual clock, an allocator that counts, a
 * backend that keeps numbers by integer keys and answers when it is told to, and waits that
 * remember how they ended. */
#ifndef SPEC_CACHE_WORLD_H
#define SPEC_CACHE_WORLD_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/alloc.h"
#include "harness/unit.h"
#include "lethe/cache.h"
#include "lethe/evict.h"

enum { KEYS = 256, CALLS = 4096, WAITS = 2048 };
enum { ON_LOAD, ON_FLUSH, ON_EVICT, ON_BARRIER, ON_COUNT };

struct disk {
  struct lethe_cache_backend backend;
  struct test_alloc *alloc;
  int64_t stored[KEYS]; /* 0: nothing */
  bool gated[ON_COUNT]; /* answers wait for disk_answer */
  bool broken[KEYS];    /* its writes fail */
  bool broken_barrier;
  struct lethe_cache_call *pending[CALLS];
  int kind[CALLS], n;
  unsigned count[ON_COUNT];
  char log[4096]; /* what was answered: l1 f1 e1 b */
};

/* A wait, and how it ended. */
struct asked {
  struct lethe_cache_wait w;
  int code; /* LETHE_CACHE_WAITS while it waits */
  int64_t number;
  unsigned failed; /* keys */
  int64_t last_failed, freed;
};

struct world {
  struct test_alloc alloc;
  struct lethe_loop *loop;
  struct disk disk;
};

/* ---- values ---------------------------------------------------------------------------------- */

static inline int64_t number_of(const struct lethe_cache_value *v) {
  int64_t n = 0;
  if (v && v->data) memcpy(&n, v->data, sizeof n);
  return n;
}

static inline struct lethe_cache_value *value_of(struct world *w, int64_t n) {
  return lethe_cache_bytes(&w->alloc.alloc, &n, sizeof n);
}

static inline struct lethe_cache_key key_of(int64_t k) {
  return (struct lethe_cache_key){.number = k};
}

/* ---- the backend ----------------------------------------------------------------------------- */

static inline void disk_log(struct disk *d, char what, int64_t key) {
  size_t n = strlen(d->log);
  if (n + 32 > sizeof d->log) return;
  if (what == 'b')
    snprintf(d->log + n, sizeof d->log - n, "%sb", n ? " " : "");
  else
    snprintf(d->log + n, sizeof d->log - n, "%s%c%lld", n ? " " : "", what, (long long)key);
}

static inline void disk_do(struct disk *d, struct lethe_cache_call *call, int kind) {
  int64_t k = call->key.number;
  disk_log(d, "lfeb"[kind], k);
  if (kind == ON_LOAD) {
    struct lethe_cache_value *v =
        d->stored[k] ? lethe_cache_bytes(&d->alloc->alloc, &d->stored[k], sizeof(int64_t)) : NULL;
    int code = v ? LETHE_OK : d->stored[k] ? LETHE_ENOMEM : LETHE_ENOTFOUND;
    lethe_cache_answer(call, code, NULL, v);
  } else if (kind == ON_FLUSH && d->broken[k]) {
    lethe_cache_answer(call, LETHE_ESYSTEM, "input/output error", NULL);
  } else if (kind == ON_BARRIER && d->broken_barrier) {
    lethe_cache_answer(call, LETHE_ESYSTEM, "no sync", NULL);
  } else {
    if (kind == ON_FLUSH) d->stored[k] = number_of(call->value);
    lethe_cache_answer(call, LETHE_OK, NULL, NULL);
  }
}

static inline void disk_get(struct lethe_cache_backend *b, struct lethe_cache_call *call,
                            int kind) {
  struct disk *d = lethe_container_of(b, struct disk, backend);
  d->count[kind]++;
  if (!d->gated[kind]) {
    disk_do(d, call, kind);
    return;
  }
  assert_true(d->n < CALLS);
  d->pending[d->n] = call;
  d->kind[d->n++] = kind;
}

static inline void disk_load(struct lethe_cache_backend *b, struct lethe_cache_call *call) {
  disk_get(b, call, ON_LOAD);
}
static inline void disk_flush(struct lethe_cache_backend *b, struct lethe_cache_call *call) {
  disk_get(b, call, ON_FLUSH);
}
static inline void disk_evict(struct lethe_cache_backend *b, struct lethe_cache_call *call) {
  disk_get(b, call, ON_EVICT);
}
static inline void disk_barrier(struct lethe_cache_backend *b, struct lethe_cache_call *call) {
  disk_get(b, call, ON_BARRIER);
}

static inline struct lethe_cache_call *disk_take(struct disk *d, int i) {
  struct lethe_cache_call *call = d->pending[i];
  d->n--;
  memmove(d->pending + i, d->pending + i + 1, (size_t)(d->n - i) * sizeof *d->pending);
  memmove(d->kind + i, d->kind + i + 1, (size_t)(d->n - i) * sizeof *d->kind);
  return call;
}
/* Answers the i-th pending call as the disk would; or fails it. */
static inline void disk_answer(struct disk *d, int i) {
  int kind = d->kind[i];
  disk_do(d, disk_take(d, i), kind);
}
static inline void disk_fail(struct disk *d, int i, int code, const char *message) {
  lethe_cache_answer(disk_take(d, i), code, message, NULL);
}
static inline void disk_answer_all(struct disk *d) {
  while (d->n > 0) disk_answer(d, 0);
}

static inline void disk_open(struct disk *d, struct test_alloc *a) {
  memset(d, 0, sizeof *d);
  lethe_ref_init(&d->backend.refs);
  d->alloc = a;
  d->backend.load = disk_load;
  d->backend.flush = disk_flush;
  d->backend.barrier = disk_barrier;
  for (int i = 0; i < KEYS; i++) d->stored[i] = 1000 + i;
}

/* ---- waits ----------------------------------------------------------------------------------- */

static inline void asked_done(struct lethe_cache_wait *w, int code) {
  struct asked *a = lethe_container_of(w, struct asked, w);
  a->code = code;
  a->number = number_of(w->value);
  lethe_cache_value_put(w->value);
  w->value = NULL;
}
static inline void asked_failed(struct lethe_cache_wait *w, const struct lethe_cache_key *key,
                                const char *message) {
  struct asked *a = lethe_container_of(w, struct asked, w);
  (void)message;
  a->failed++;
  a->last_failed = key->number;
}
static inline struct asked *asked_init(struct asked *a) {
  memset(a, 0, sizeof *a);
  a->w.done = asked_done;
  a->w.failed = asked_failed;
  return a;
}
static inline int asked_over(struct asked *a, int code) {
  if (code == LETHE_CACHE_WAITS)
    a->code = code;
  else
    asked_done(&a->w, code);
  return a->code;
}

static inline int ask_get(struct lethe_cache *c, int64_t k, struct asked *a) {
  struct lethe_cache_key key = key_of(k);
  return asked_over(a, lethe_cache_get(c, &key, &asked_init(a)->w));
}
static inline int ask_hold(struct lethe_cache *c, int64_t k, struct asked *a) {
  struct lethe_cache_key key = key_of(k);
  return asked_over(a, lethe_cache_hold(c, &key, &asked_init(a)->w));
}
static inline int ask_insert(struct world *w, struct lethe_cache *c, int64_t k, int64_t n,
                             struct asked *a) {
  struct lethe_cache_key key = key_of(k);
  struct lethe_cache_value *v = value_of(w, n);
  asked_init(a);
  if (!v) return a->code = LETHE_ENOMEM;
  return asked_over(a, lethe_cache_insert(c, &key, v, false, &a->w));
}
static inline int ask_flush(struct lethe_cache *c, struct asked *a) {
  return asked_over(a, lethe_cache_flush(c, NULL, &asked_init(a)->w));
}
static inline int ask_flush_key(struct lethe_cache *c, int64_t k, struct asked *a) {
  struct lethe_cache_key key = key_of(k);
  return asked_over(a, lethe_cache_flush(c, &key, &asked_init(a)->w));
}
static inline int ask_depend(struct lethe_cache *c, struct lethe_cache *on, struct asked *a) {
  return asked_over(a, lethe_cache_depend_on(c, on, &asked_init(a)->w));
}
static inline int ask_shutdown(struct lethe_cache *c, struct asked *a) {
  return asked_over(a, lethe_cache_shutdown(c, &asked_init(a)->w));
}
static inline int ask_reclaim(struct lethe_cache *c, int64_t goal, struct asked *a) {
  return asked_over(a, lethe_cache_reclaim(c, goal, &asked_init(a)->w, &a->freed));
}
static inline int do_remove(struct lethe_cache *c, int64_t k) {
  struct lethe_cache_key key = key_of(k);
  return lethe_cache_remove(c, &key);
}
static inline int64_t do_peek(struct lethe_cache *c, int64_t k) {
  struct lethe_cache_key key = key_of(k);
  return number_of(lethe_cache_peek(c, &key));
}

/* ---- the world ------------------------------------------------------------------------------- */

static inline void world_open(struct world *w) {
  test_alloc_init(&w->alloc);
  assert_int_equal(lethe_loop_new(&w->loop, &lethe_alloc_libc, LETHE_CLOCK_VIRTUAL, NULL),
                   LETHE_OK);
  disk_open(&w->disk, &w->alloc);
}

static inline struct lethe_cache_config world_config(struct world *w, int64_t limit) {
  return (struct lethe_cache_config){.backend = &w->disk.backend,
                                     .loop = w->loop,
                                     .limit = limit,
                                     .bytes = LETHE_CACHE_NO_LIMIT,
                                     .wait = 5};
}

static inline struct lethe_cache *world_cache_with(struct world *w,
                                                   struct lethe_cache_config config) {
  struct lethe_cache *c = NULL;
  bool bytes = config.bytes != LETHE_CACHE_NO_LIMIT;
  if (!config.policy)
    assert_int_equal(lethe_evict_new(&config.policy, &w->alloc.alloc, "lru",
                                     bytes ? config.bytes : config.limit, 1),
                     LETHE_OK);
  assert_int_equal(lethe_cache_new(&c, &w->alloc.alloc, &config), LETHE_OK);
  return c;
}
static inline struct lethe_cache *world_cache(struct world *w, int64_t limit) {
  return world_cache_with(w, world_config(w, limit));
}

static inline void check_cache(struct lethe_cache *c) {
  char why[200] = "";
  if (lethe_cache_check(c, why, sizeof why) != LETHE_OK) fail_msg("%s", why);
}
static inline struct lethe_cache_stats stats_of(struct lethe_cache *c) {
  struct lethe_cache_stats s;
  check_cache(c);
  lethe_cache_read_stats(c, &s);
  return s;
}

static inline void world_close(struct world *w) {
  disk_answer_all(&w->disk);
  assert_int_equal(w->alloc.blocks, 0);
  assert_int_equal(w->alloc.bytes, 0);
  assert_int_equal(w->disk.backend.refs.count, 1);
  lethe_loop_close(w->loop);
  lethe_loop_put(w->loop);
}

#endif
