/* SPDX-License-Identifier: MIT
 * Schedules: random operations on 2 to 8 caches that depend on each other, with the backend's
 * answers in any order, late, failed, torn or lost, and waits cancelled anywhere. After every step
 * each cache's books are audited; what was changed is in its cache or on its disk; no write
 * overtakes what it depends on; and in the end everybody has been told how their call ended, and
 * all is written.
 *
 * SEED= repeats a run, LETHE_WORK multiplies its length. Values are numbers, and newer than those
 * that were seen in a cache, or on the way to a disk, before. */
#include "cache_world.h"

#include "harness/random.h"

enum {
  SCHEDULES = 2000,
  STEPS = 120,
  CACHES = 8,
  FEW_KEYS = 8,
  MANY = 48,
  DUTIES = 256,
  HOLDS = 6,
  VALUES = 1024
};

/* What must be durable in another cache before this one begins to write. */
struct duty {
  int other, key;
  int64_t value;
};

struct hold_of {
  struct lethe_cache_entry *entry;
  int key;
};

struct place {
  struct lethe_cache_backend backend;
  struct lethe_cache *c;
  int64_t stored[FEW_KEYS], durable[FEW_KEYS], synced[FEW_KEYS]; /* synced: as the barrier began */
  int64_t truth[FEW_KEYS]; /* what was changed last; 0: whatever is on the disk */
  bool loose[FEW_KEYS];    /* dropped unwritten: what is there is anybody's guess */
  struct lethe_cache_call *pending[64];
  int kind[64], n;
  struct duty duties[DUTIES];
  int nduties;
  struct hold_of holds[HOLDS];
  int64_t budget, claimed; /* of a quota; 0: none */
  bool limited;
};

struct call {
  struct asked a;
  bool used;
  int place, key;
  int64_t value; /* of an insert */
};

static struct {
  struct test_alloc alloc;
  struct lethe_loop *loop;
  struct test_random r;
  struct place p[CACHES];
  int n;
  struct call calls[MANY];
  struct call left[STEPS]; /* inserts whose caller has left: they go on */
  int nleft;
  int64_t next, order, seen[VALUES];
  int depth; /* of operations within callbacks */
  bool drain;
  uint64_t did[16], failures, cancelled, evictions, edges;
} s;

static uint64_t below(uint64_t n) { return test_below(&s.r, n); }
static bool one_in(uint64_t n) { return below(n) == 0; }
static struct place *place_of(struct lethe_cache_backend *b) {
  return lethe_container_of(b, struct place, backend);
}

/* When a value was first seen; 0: of rubbish, and of nothing. */
static int64_t age_of(int64_t value) {
  if (value <= 0) return 0;
  if (s.seen[value] == 0) s.seen[value] = ++s.order;
  return s.seen[value];
}
static bool as_new(int64_t a, int64_t b) { return age_of(a) >= age_of(b); }

/* ---- the backends ---------------------------------------------------------------------------- */

static void check_duties(struct place *p) {
  for (int i = 0; i < p->nduties; i++) {
    const struct duty *d = &p->duties[i];
    const struct place *other = &s.p[d->other];
    if (as_new(other->durable[d->key], d->value) || other->loose[d->key]) continue;
    fail_msg("cache %d writes, but key %d of cache %d is durable as %lld, not %lld", (int)(p - s.p),
             d->key, d->other, (long long)other->durable[d->key], (long long)d->value);
  }
  p->nduties = 0;
}

static void begin(struct lethe_cache_backend *b, struct lethe_cache_call *call, int kind) {
  struct place *p = place_of(b);
  assert_true(p->n < 64);
  if (kind == ON_FLUSH) check_duties(p);
  if (kind == ON_FLUSH) age_of(number_of(call->value));
  if (kind == ON_BARRIER) memcpy(p->synced, p->stored, sizeof p->synced);
  p->pending[p->n] = call;
  p->kind[p->n++] = kind;
}
static void begin_load(struct lethe_cache_backend *b, struct lethe_cache_call *call) {
  begin(b, call, ON_LOAD);
}
static void begin_flush(struct lethe_cache_backend *b, struct lethe_cache_call *call) {
  begin(b, call, ON_FLUSH);
}
static void begin_evict(struct lethe_cache_backend *b, struct lethe_cache_call *call) {
  begin(b, call, ON_EVICT);
}
static void begin_barrier(struct lethe_cache_backend *b, struct lethe_cache_call *call) {
  begin(b, call, ON_BARRIER);
}

static void answer_load(struct place *p, struct lethe_cache_call *call, bool fail) {
  int64_t n = p->stored[call->key.number];
  struct lethe_cache_value *v = fail ? NULL : lethe_cache_bytes(&s.alloc.alloc, &n, sizeof n);
  if (fail)
    lethe_cache_answer(call, one_in(2) ? LETHE_ESYSTEM : LETHE_ENOTFOUND, "no load", NULL);
  else
    lethe_cache_answer(call, LETHE_OK, NULL, v);
}

/* EIO, ENOSPC: nothing is written. A short write leaves rubbish. An answer that is lost says
 * nothing. */
static void answer_flush(struct place *p, struct lethe_cache_call *call, bool fail) {
  int64_t k = call->key.number;
  uint64_t how = fail ? below(4) : 4;
  if (how == 2) p->stored[k] = -1;
  if (how >= 3) p->stored[k] = number_of(call->value);
  if (fail) s.failures++;
  if (!p->backend.barrier && as_new(p->stored[k], p->durable[k])) p->durable[k] = p->stored[k];
  lethe_cache_answer(call,
                     how == 4   ? LETHE_OK
                     : how == 3 ? LETHE_ECANCELLED
                                : LETHE_ESYSTEM,
                     how == 0 ? "no space left on device" : "input/output error", NULL);
}

static void answer(struct place *p, int i, bool fail) {
  struct lethe_cache_call *call = p->pending[i];
  int kind = p->kind[i];
  p->n--;
  for (int j = i; j < p->n; j++) {
    p->pending[j] = p->pending[j + 1];
    p->kind[j] = p->kind[j + 1];
  }
  if (kind == ON_LOAD) {
    answer_load(p, call, fail);
  } else if (kind == ON_FLUSH) {
    answer_flush(p, call, fail);
  } else {
    for (int k = 0; k < FEW_KEYS && kind == ON_BARRIER && !fail; k++)
      if (as_new(p->synced[k], p->durable[k])) p->durable[k] = p->synced[k];
    lethe_cache_answer(call, fail ? LETHE_ESYSTEM : LETHE_OK, NULL, NULL);
  }
}

/* ---- hooks ----------------------------------------------------------------------------------- */

static int claim(void *ud, int64_t n) {
  struct place *p = ud;
  if (p->claimed + n > p->budget) return LETHE_ELIMIT;
  p->claimed += n;
  return LETHE_OK;
}
static void release(void *ud, int64_t n) {
  struct place *p = ud;
  p->claimed -= n;
  assert_true(p->claimed >= 0);
}
static void evicted(void *ud, const struct lethe_cache_key *key, struct lethe_cache_value *v,
                    enum lethe_cache_reason reason) {
  (void)ud;
  (void)key;
  (void)v;
  (void)reason;
  s.evictions++;
}

/* ---- operations ------------------------------------------------------------------------------ */

static void step(void);

static struct call *free_call(void) {
  for (int i = 0; i < MANY; i++)
    if (!s.calls[i].used) return &s.calls[i];
  return NULL;
}

static int64_t seen(struct place *p, int k) { return do_peek(p->c, k); }

static bool is_insert(const struct call *k, const struct place *p, int key, int64_t value) {
  if (k->place != (int)(p - s.p) || k->key != key || k->value == 0) return false;
  return value ? k->value == value : s.seen[k->value] == 0;
}

/* Somebody has begun to insert such a value; 0: any that was not seen yet. */
static bool inserting(const struct place *p, int key, int64_t value) {
  for (int i = 0; i < MANY; i++)
    if (s.calls[i].used && is_insert(&s.calls[i], p, key, value)) return true;
  for (int i = 0; i < s.nleft; i++)
    if (is_insert(&s.left[i], p, key, value)) return true;
  return false;
}

/* The truth of a key may be an insert's whose caller has left, or is still waiting. */
static void learn(struct place *p, int k) {
  int64_t n = seen(p, k);
  if (n > 0 && n != p->truth[k] && (age_of(n) > age_of(p->truth[k]) || p->loose[k])) {
    bool known = n == p->stored[k] || inserting(p, k, n);
    if (!known && !p->loose[k]) fail_msg("key %d is %lld out of nowhere", k, (long long)n);
    p->truth[k] = n;
    p->loose[k] = false;
  }
}

static void keep_hold(struct place *p, struct asked *a, int k) {
  for (int i = 0; i < HOLDS; i++) {
    if (p->holds[i].entry) continue;
    p->holds[i] = (struct hold_of){a->w.held, k};
    a->w.held = NULL;
    return;
  }
  lethe_cache_release(p->c, a->w.held);
  a->w.held = NULL;
}

static void end_call(struct call *k, int code) {
  struct place *p = &s.p[k->place];
  asked_done(&k->a.w, code);
  if (k->a.w.held) keep_hold(p, &k->a, k->key);
  if (k->value && code == LETHE_OK) learn(p, k->key);
  k->used = false;
}

static void on_done(struct lethe_cache_wait *w, int code) {
  struct call *k = lethe_container_of(w, struct call, a.w);
  end_call(k, code);
  if (s.drain || s.depth > 0 || !one_in(4)) return;
  s.depth++;
  step();
  s.depth--;
}

static struct call *new_call(int place, int key) {
  struct call *k = free_call();
  if (!k) return NULL;
  memset(k, 0, sizeof *k);
  asked_init(&k->a);
  k->a.w.done = on_done;
  k->used = true;
  k->place = place;
  k->key = key;
  return k;
}

static void began(struct call *k, int code) {
  if (code != LETHE_CACHE_WAITS)
    end_call(k, code);
  else
    k->a.code = code;
}

static void do_get(struct place *p, int key, bool hold) {
  struct call *k = new_call((int)(p - s.p), key);
  struct lethe_cache_key at = key_of(key);
  if (!k) return;
  began(k, hold ? lethe_cache_hold(p->c, &at, &k->a.w) : lethe_cache_get(p->c, &at, &k->a.w));
}

static void do_insert(struct place *p, int key) {
  assert_true(s.next + 2 < VALUES);
  struct call *k = new_call((int)(p - s.p), key);
  struct lethe_cache_key at = key_of(key);
  if (!k) return;
  k->value = ++s.next;
  struct lethe_cache_value *v = lethe_cache_bytes(&s.alloc.alloc, &k->value, sizeof k->value);
  began(k, lethe_cache_insert(p->c, &at, v, false, &k->a.w));
}

static void do_set(struct place *p) {
  struct hold_of *h = &p->holds[below(HOLDS)];
  if (!h->entry) return;
  int64_t n = ++s.next;
  learn(p, h->key);
  lethe_cache_set(p->c, h->entry, lethe_cache_bytes(&s.alloc.alloc, &n, sizeof n));
  p->truth[h->key] = n;
  p->loose[h->key] = false;
}

static void do_release(struct place *p) {
  struct hold_of *h = &p->holds[below(HOLDS)];
  if (!h->entry) return;
  struct lethe_cache_entry *entry = h->entry;
  h->entry = NULL;
  lethe_cache_release(p->c, entry);
}

static void do_flush(struct place *p, int key) {
  struct call *k = new_call((int)(p - s.p), key);
  struct lethe_cache_key at = key_of(key);
  if (k) began(k, lethe_cache_flush(p->c, one_in(2) ? &at : NULL, &k->a.w));
}

/* What is changed in the other now is to be durable before p writes. */
static void note_duties(struct place *p, struct place *other) {
  for (int k = 0; k < FEW_KEYS; k++) {
    int64_t n = seen(other, k);
    if (n <= 0 || as_new(other->durable[k], n) || n == other->stored[k]) continue;
    if (p->nduties < DUTIES) p->duties[p->nduties++] = (struct duty){(int)(other - s.p), k, n};
  }
}

static void do_depend(struct place *p) {
  struct place *other = &s.p[below((uint64_t)s.n)];
  struct call *k = new_call((int)(p - s.p), 0);
  if (!k) return;
  int code = lethe_cache_depend_on(p->c, other->c, &k->a.w);
  if (code == LETHE_OK && other != p) note_duties(p, other);
  s.edges++;
  began(k, code);
}

/* What was dropped need not be durable. */
static void forget_duties(struct place *other) {
  for (int i = 0; i < s.n; i++) {
    struct place *p = &s.p[i];
    int kept = 0;
    for (int j = 0; j < p->nduties; j++) {
      const struct duty *d = &p->duties[j];
      if (d->other == (int)(other - s.p) && other->loose[d->key]) continue;
      p->duties[kept++] = *d;
    }
    p->nduties = kept;
  }
}

static bool is_held(const struct place *p, int key) {
  for (int i = 0; i < HOLDS; i++)
    if (p->holds[i].entry && p->holds[i].key == key) return true;
  return false;
}

/* While the call is at work writes begin already that no longer wait for what is dropped. */
static void drop_key(struct place *p, int key) {
  learn(p, key);
  if (is_held(p, key)) return;
  p->loose[key] = true;
  forget_duties(p);
}

static void do_drop(struct place *p, int key) {
  bool held = is_held(p, key), was = p->loose[key];
  drop_key(p, key);
  int code = lethe_cache_remove(p->c, &(struct lethe_cache_key){.number = key});
  if (held) assert_int_equal(code, LETHE_EINUSE);
  if (code == LETHE_EINUSE) p->loose[key] = was; /* or whoever holds it is about to be told */
}

static void do_invalidate(struct place *p) {
  for (int k = 0; k < FEW_KEYS; k++) drop_key(p, k);
  p->nduties = 0; /* its edges go with what it had, if all of that goes */
  lethe_cache_invalidate(p->c, NULL, NULL);
}

static void do_reclaim(struct place *p) {
  struct call *k = new_call((int)(p - s.p), 0);
  if (k) began(k, lethe_cache_reclaim(p->c, (int64_t)below(40), &k->a.w, &k->a.freed));
}

static void do_cancel(void) {
  struct call *k = &s.calls[below(MANY)];
  if (!k->used || k->a.code != LETHE_CACHE_WAITS) return;
  k->used = false;
  s.cancelled++;
  if (k->value && s.nleft < STEPS)
    s.left[s.nleft++] = (struct call){.place = k->place, .key = k->key, .value = k->value};
  lethe_cache_cancel(&k->a.w);
}

static void do_answer(struct place *p) {
  if (p->n > 0) answer(p, (int)below((uint64_t)p->n), one_in(5));
}

static void step(void) {
  struct place *p = &s.p[below((uint64_t)s.n)];
  int key = (int)below(FEW_KEYS);
  uint64_t what = below(40);
  if (what < 16)
    do_answer(p);
  else if (what < 19)
    do_get(p, key, false);
  else if (what < 22)
    do_get(p, key, true);
  else if (what < 26)
    do_release(p);
  else if (what < 29)
    do_set(p);
  else if (what < 32)
    do_insert(p, key);
  else if (what < 34)
    do_flush(p, key);
  else if (what < 36)
    do_depend(p);
  else if (what == 36)
    do_cancel();
  else if (what == 37)
    lethe_loop_advance(s.loop, (double)below(300) / 100);
  else if (one_in(4))
    do_reclaim(p);
  else if (one_in(4))
    lethe_cache_resize(p->c, (int64_t)below(5) + 1, -1);
  else if (one_in(4))
    do_drop(p, key);
  else if (one_in(8))
    do_invalidate(p);
}

/* ---- what holds after each step -------------------------------------------------------------- */

static void check_place(struct place *p) {
  struct lethe_cache_stats st = stats_of(p->c);
  for (int k = 0; k < FEW_KEYS; k++) {
    learn(p, k);
    if (p->loose[k] || p->truth[k] == 0) continue;
    int64_t n = seen(p, k);
    if (n == p->truth[k] || as_new(p->stored[k], p->truth[k])) continue;
    /* or it is being replaced by what is newer */
    bool moving = inserting(p, k, 0);
    if (!moving)
      fail_msg("key %d of cache %d is lost: %lld here, %lld on the disk, should be %lld", k,
               (int)(p - s.p), (long long)n, (long long)p->stored[k], (long long)p->truth[k]);
  }
  if (p->limited) assert_int_equal(p->claimed, st.bytes);
}

/* ---- a schedule ------------------------------------------------------------------------------ */

static const struct lethe_cache_hooks hooks = {.evicted = evicted};
static const struct lethe_cache_hooks limited = {
    .evicted = evicted, .claim = claim, .release = release};

static void no_destroy(struct lethe_cache_backend *b) { (void)b; }

static void open_place(struct place *p) {
  memset(p, 0, sizeof *p);
  lethe_ref_init(&p->backend.refs);
  p->backend.destroy = no_destroy;
  p->backend.load = begin_load;
  p->backend.flush = begin_flush;
  if (one_in(2)) p->backend.evict = begin_evict;
  if (!one_in(8)) p->backend.barrier = begin_barrier;
  for (int k = 0; k < FEW_KEYS; k++) p->stored[k] = p->durable[k] = ++s.next;
  for (int k = 0; k < FEW_KEYS; k++) age_of(p->stored[k]);
  int names = 0;
  while (lethe_evict_names[names]) names++;
  p->limited = one_in(3);
  p->budget = 8 * (int64_t)(1 + below(4));
  struct lethe_cache_config c = {.backend = &p->backend,
                                 .loop = s.loop,
                                 .limit = (int64_t)below(4) + 1,
                                 .bytes = one_in(3) ? (int64_t)(8 * (1 + below(4)))
                                                    : LETHE_CACHE_NO_LIMIT,
                                 .ttl = one_in(4) ? 2 : 0,
                                 .idle = one_in(4) ? 1 : 0,
                                 .error_ttl = one_in(4) ? 1 : 0,
                                 .wait = (double)below(4),
                                 .write_depth = (uint32_t)below(3) + 1,
                                 .hooks = p->limited ? &limited : &hooks,
                                 .ud = p};
  int64_t limit = c.bytes == LETHE_CACHE_NO_LIMIT ? c.limit : c.bytes;
  assert_int_equal(lethe_evict_new(&c.policy, &s.alloc.alloc,
                                   lethe_evict_names[below((uint64_t)names)], limit,
                                   (uint64_t)s.next),
                   LETHE_OK);
  assert_int_equal(lethe_cache_new(&p->c, &s.alloc.alloc, &c), LETHE_OK);
}

static bool anything_left(void) {
  for (int i = 0; i < MANY; i++)
    if (s.calls[i].used) return true;
  for (int i = 0; i < s.n; i++)
    if (s.p[i].n > 0) return true;
  return false;
}

static void answer_everything(void) {
  for (int i = 0; i < s.n; i++) {
    struct place *p = &s.p[i];
    for (int j = 0; j < HOLDS; j++) {
      struct lethe_cache_entry *e = p->holds[j].entry;
      p->holds[j].entry = NULL;
      if (e) lethe_cache_release(p->c, e);
    }
    while (p->n > 0) answer(p, 0, false);
  }
}

/* From now on everything goes well: everybody must be told. */
static void drain(void) {
  s.drain = true;
  for (int rounds = 0; anything_left(); rounds++) {
    if (rounds > 400) fail_msg("somebody waits for ever");
    answer_everything();
    lethe_loop_advance(s.loop, 1);
  }
}

static void shut_down(struct place *p) {
  struct asked a;
  asked_init(&a);
  int code = ask_shutdown(p->c, &a);
  for (int rounds = 0; a.code == LETHE_CACHE_WAITS; rounds++) {
    if (rounds > 400) fail_msg("a shutdown waits for ever");
    answer_everything();
  }
  (void)code;
  if (a.code != LETHE_OK) fail_msg("shutdown: %s, %u keys", lethe_errname(a.code), a.failed);
  for (int k = 0; k < FEW_KEYS; k++)
    if (!p->loose[k] && p->truth[k] && !as_new(p->stored[k], p->truth[k]))
      fail_msg("key %d was not written: %lld, should be %lld", k, (long long)p->stored[k],
               (long long)p->truth[k]);
}

static void schedule(void) {
  s.n = 2 + (int)below(CACHES - 1);
  s.drain = false;
  s.depth = s.nleft = 0;
  s.next = s.order = 0;
  memset(s.seen, 0, sizeof s.seen);
  memset(s.calls, 0, sizeof s.calls);
  assert_int_equal(lethe_loop_new(&s.loop, &lethe_alloc_libc, LETHE_CLOCK_VIRTUAL, NULL), LETHE_OK);
  for (int i = 0; i < s.n; i++) open_place(&s.p[i]);
  for (int i = 0; i < STEPS; i++) {
    step();
    for (int j = 0; j < s.n; j++) check_place(&s.p[j]);
  }
  drain();
  for (int i = 0; i < s.n; i++) check_place(&s.p[i]);
  for (int i = 0; i < s.n; i++) shut_down(&s.p[i]);
  answer_everything(); /* evictions, of which nobody waits for the end */
  for (int i = 0; i < s.n; i++) lethe_cache_put_ref(s.p[i].c);
  assert_int_equal(s.alloc.blocks, 0);
  lethe_loop_close(s.loop);
  lethe_loop_put(s.loop);
}

static void schedules(void **state) {
  const char *work = getenv("LETHE_WORK");
  double n = SCHEDULES * (work ? atof(work) : 1);
  (void)state;
  test_alloc_init(&s.alloc);
  s.r = test_seed("schedules");
  for (int i = 0; i < n; i++) {
    if (getenv("VERBOSE")) printf("SEED=%llu\n", (unsigned long long)s.r.state);
    schedule();
  }
  print_message("%d schedules: %llu failed writes, %llu cancelled, %llu evictions, %llu edges\n",
                (int)n, (unsigned long long)s.failures, (unsigned long long)s.cancelled,
                (unsigned long long)s.evictions, (unsigned long long)s.edges);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(schedules)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
