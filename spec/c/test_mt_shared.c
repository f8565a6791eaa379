/* SPDX-License-Identifier: MIT
 * The shared map, queue and stack among threads: nothing is lost, made up or seen after it was
 * freed while pins are ejected; writers stopped at each of their points stop nobody; small
 * histories, recorded, are linearizable. SEED= repeats the choices, if not the schedule; LETHE_WORK
 * multiplies the work. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "harness/random.h"
#include "harness/threads.h"
#include "lethe/shared.h"

enum { THREADS = 3, KEYS = 200 };

static struct lethe_epoch *m;
static struct lethe_map *map;
static struct lethe_queue *queue;
static struct lethe_stack *stack;
static long work = 1;

static int set_up(void **state) {
  (void)state;
  const struct lethe_epoch_config small_bags = {.bag_size = 16};
  assert_int_equal(lethe_epoch_new(&m, &lethe_alloc_libc, &small_bags), 0);
  assert_int_equal(lethe_map_new(&map, &lethe_alloc_libc, m), 0);
  assert_int_equal(lethe_queue_new(&queue, &lethe_alloc_libc, m, 0), 0);
  assert_int_equal(lethe_stack_new(&stack, &lethe_alloc_libc, m), 0);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  lethe_map_put_ref(map);
  lethe_queue_put_ref(queue);
  lethe_stack_put_ref(stack);
  lethe_epoch_put(m);
  return 0;
}

static struct lethe_epoch_rec *join(void) {
  struct lethe_epoch_rec *r = NULL;
  if (lethe_epoch_register(m, &r) != 0) abort();
  return r;
}

static void doze(long nanoseconds) { nanosleep(&(struct timespec){.tv_nsec = nanoseconds}, NULL); }

/* ---- stress ---------------------------------------------------------------------------------- */

/* A value says which key it belongs to, twice: a torn or foreign one is noticed. */
struct value {
  long key, count, check;
};

static int increment(void *ud, const struct lethe_buffer *old, const void **bytes, size_t *n) {
  struct value *v = ud;
  v->count = 1;
  if (old) {
    struct value was;
    if (old->n != sizeof was) abort();
    memcpy(&was, old->p, sizeof was);
    if (was.key != v->key || was.check != (was.key ^ was.count)) abort();
    v->count = was.count + 1;
  }
  v->check = v->key ^ v->count;
  *bytes = v;
  *n = sizeof *v;
  return LETHE_MAP_REPLACE;
}

static int drop(void *ud, const struct lethe_buffer *old, const void **bytes, size_t *n) {
  (void)ud;
  (void)bytes;
  (void)n;
  return old ? LETHE_MAP_DELETE : LETHE_MAP_KEEP;
}

static _Atomic long sum_in, sum_out;
static _Atomic bool over;

static void map_ops(struct lethe_epoch_rec *r, long key, int what, struct lethe_buffer *b) {
  struct value v = {.key = key}, total = {.key = -1};
  int rc = 0;
  if (lethe_map_update(map, r, &total.key, sizeof total.key, increment, &total)) abort();
  switch (what) {
  case 0:
    rc = lethe_map_update(map, r, &key, sizeof key, increment, &v);
    break;
  case 1:
    rc = lethe_map_update(map, r, &key, sizeof key, drop, NULL);
    break;
  default:
    rc = lethe_map_get(map, r, &key, sizeof key, b);
    if (rc == LETHE_ENOTFOUND) return;
    memcpy(&v, b->p, sizeof v);
    if (v.key != key || v.check != (v.key ^ v.count)) abort();
  }
  if (rc) abort();
}

static void pass_on(struct lethe_epoch_rec *r, long number, struct lethe_buffer *b) {
  long got;
  if (lethe_queue_push(queue, r, &number, sizeof number)) abort();
  if (lethe_stack_push(stack, r, &number, sizeof number)) abort();
  add_rlx(&sum_in, 2 * number);
  if (lethe_queue_pop(queue, r, b) == 0) {
    memcpy(&got, b->p, sizeof got);
    add_rlx(&sum_out, got);
  }
  if (lethe_stack_pop(stack, r, b) == 0) {
    memcpy(&got, b->p, sizeof got);
    add_rlx(&sum_out, got);
  }
}

static void *busy(void *ud) {
  unsigned seed = (unsigned)(uintptr_t)ud;
  struct lethe_epoch_rec *r = join();
  struct lethe_buffer b = {0};
  for (long i = 0; i < 5000 * work; i++) {
    map_ops(r, rand_r(&seed) % KEYS, (int)(i % 3), &b);
    pass_on(r, i, &b);
  }
  lethe_buffer_free(&b);
  lethe_epoch_unregister(r);
  return NULL;
}

/* Sleeps while pinned, so that it is ejected again and again. */
static void *sleeper(void *ud) {
  struct lethe_epoch_rec *r = join();
  _Atomic long *ejected = ud;
  while (!load_acq(&over)) {
    lethe_epoch_pin(r);
    doze(200000);
    if (!lethe_epoch_unpin(r)) add_rlx(ejected, 1);
  }
  lethe_epoch_unregister(r);
  return NULL;
}

static void nothing_is_lost_or_made_up(void **state) {
  (void)state;
  const int n = test_threads(THREADS);
  pthread_t threads[MOST_THREADS], asleep;
  struct lethe_buffer b = {0};
  struct value total;
  _Atomic long ejected = 0;
  long key = -1, got, more = 0;
  store_rel(&over, false);
  sum_in = sum_out = 0;
  pthread_create(&asleep, NULL, sleeper, &ejected);
  for (long i = 0; i < n; i++) pthread_create(&threads[i], NULL, busy, (void *)(i + 1));
  for (int i = 0; i < n; i++) pthread_join(threads[i], NULL);
  struct lethe_epoch_rec *r = join();
  for (; load_rlx(&ejected) == 0; more++)
    map_ops(r, more % KEYS, 0, &b); /* it had no turn before */
  store_rel(&over, true);
  pthread_join(asleep, NULL);
  assert_int_equal(lethe_map_get(map, r, &key, sizeof key, &b), 0);
  memcpy(&total, b.p, sizeof total);
  assert_int_equal(total.count, n * 5000 * work + more);
  while (lethe_queue_pop(queue, r, &b) == 0) {
    memcpy(&got, b.p, sizeof got);
    sum_out += got;
  }
  while (lethe_stack_pop(stack, r, &b) == 0) {
    memcpy(&got, b.p, sizeof got);
    sum_out += got;
  }
  assert_int_equal(sum_in, sum_out);
  lethe_buffer_free(&b);
  lethe_epoch_unregister(r);
}

/* ---- walks ----------------------------------------------------------------------------------- */

static void *churn(void *ud) {
  struct lethe_epoch_rec *r = join();
  (void)ud;
  for (long i = 0; !load_acq(&over); i++) {
    struct value v = {.key = 10000 + i % 3000};
    if (lethe_map_update(map, r, &v.key, sizeof v.key, i % 2 ? drop : increment, &v)) abort();
  }
  lethe_epoch_unregister(r);
  return NULL;
}

static void a_walk_sees_what_stays_exactly_once(void **state) {
  (void)state;
  pthread_t thread;
  struct lethe_epoch_rec *r = join();
  store_rel(&over, false);
  for (long i = 0; i < 1000; i++) {
    struct value v = {.key = i};
    assert_int_equal(lethe_map_update(map, r, &v.key, sizeof v.key, increment, &v), 0);
  }
  pthread_create(&thread, NULL, churn, NULL);
  for (long round = 0; round < 3 * work; round++) {
    struct lethe_buffer key = {0}, value = {0};
    unsigned char seen[1000] = {0};
    while (lethe_map_next(map, r, &key, &value) == 0) {
      long k;
      memcpy(&k, key.p, sizeof k);
      if (k < 1000) seen[k]++;
    }
    for (int i = 0; i < 1000; i++) assert_int_equal(seen[i], 1);
    lethe_buffer_free(&key);
    lethe_buffer_free(&value);
  }
  store_rel(&over, true);
  pthread_join(thread, NULL);
  lethe_epoch_unregister(r);
}

/* ---- stopped writers ------------------------------------------------------------------------- */

#ifdef LETHE_FAULTS
static _Thread_local int stop_at = -1;
static _Atomic bool stopped, go_on, missed;

static void pause_here(int point) {
  if (point != stop_at) return;
  stop_at = -1;
  store_rel(&stopped, true);
  while (!load_acq(&go_on)) doze(100000);
}

/* Does whatever passes its point, and stands still there. */
static void *victim(void *ud) {
  struct lethe_epoch_rec *r = join();
  struct lethe_buffer b = {0};
  stop_at = (int)(intptr_t)ud;
  for (long i = 0; i < 10000 && stop_at >= 0; i++) { /* new keys first, so that the map grows too */
    struct value v = {.key = 10000 * (stop_at + 1) + i % 5000};
    if (lethe_map_update(map, r, &v.key, sizeof v.key, i < 5000 ? increment : drop, &v)) abort();
    pass_on(r, i, &b);
  }
  if (stop_at >= 0) store_rel(&missed, true);
  lethe_buffer_free(&b);
  lethe_epoch_unregister(r);
  return NULL;
}

/* With the victim standing there, a count of operations of every kind goes through. */
static void stopped_writers_stop_nobody(void **state) {
  (void)state;
  atomic_store(&lethe_shared_pause, pause_here);
  for (int point = 0; point < LETHE_PAUSE_COUNT; point++) {
    pthread_t thread;
    struct lethe_buffer b = {0}, key = {0};
    struct lethe_epoch_rec *r = join();
    store_rel(&stopped, false);
    store_rel(&go_on, false);
    pthread_create(&thread, NULL, victim, (void *)(intptr_t)point);
    while (!load_acq(&stopped) && !load_acq(&missed)) doze(100000);
    assert_false(load_acq(&missed));
    for (long i = 0; i < 1000; i++) {
      map_ops(r, i % 100, (int)(i % 3), &b);
      pass_on(r, i, &b);
    }
    while (lethe_map_next(map, r, &key, &b) == 0) {
    }
    store_rel(&go_on, true);
    pthread_join(thread, NULL);
    lethe_buffer_free(&b);
    lethe_buffer_free(&key);
    lethe_epoch_unregister(r);
  }
  atomic_store(&lethe_shared_pause, NULL);
}
#endif

/* ---- linearizability ------------------------------------------------------------------------- */

/* Three threads do a few operations each; begin and end are numbered by one counter. A search then
 * looks for an order of all of them that respects these numbers and that a plain queue, stack or
 * cell explains. */
enum { EACH = 4, OPS = THREADS * EACH };
enum kind { PUSH, POP, GET, SET, DELETE };

struct op {
  enum kind kind;
  long value, result; /* result: what was got, or -1 for nothing */
  long begin, end;
};

static struct op history[OPS];
static _Atomic long clock_hand;
static int which; /* 0 queue, 1 stack, 2 one key of the map */

static int set_long(void *ud, const struct lethe_buffer *old, const void **bytes, size_t *n) {
  (void)old;
  *bytes = ud;
  *n = sizeof(long);
  return LETHE_MAP_REPLACE;
}

static int drop_telling(void *ud, const struct lethe_buffer *old, const void **bytes, size_t *n) {
  (void)bytes;
  (void)n;
  *(long *)ud = old ? 1 : -1;
  return old ? LETHE_MAP_DELETE : LETHE_MAP_KEEP;
}

static void perform(struct lethe_epoch_rec *r, struct op *op, struct lethe_buffer *b) {
  int rc = 0;
  op->begin = add_acqrel(&clock_hand, 1);
  switch (op->kind) {
  case PUSH:
    rc = which ? lethe_stack_push(stack, r, &op->value, sizeof(long))
               : lethe_queue_push(queue, r, &op->value, sizeof(long));
    break;
  case POP:
    rc = which ? lethe_stack_pop(stack, r, b) : lethe_queue_pop(queue, r, b);
    break;
  case GET:
    rc = lethe_map_get(map, r, "k", 1, b);
    break;
  case SET:
    rc = lethe_map_update(map, r, "k", 1, set_long, &op->value);
    break;
  case DELETE:
    rc = lethe_map_update(map, r, "k", 1, drop_telling, &op->result);
    break;
  }
  op->end = add_acqrel(&clock_hand, 1);
  if (op->kind == POP || op->kind == GET) {
    op->result = -1;
    if (rc == 0) memcpy(&op->result, b->p, sizeof(long));
  }
}

static pthread_barrier_t start;

static void *recorder(void *ud) {
  long id = (long)(intptr_t)ud;
  struct lethe_epoch_rec *r = join();
  struct lethe_buffer b = {0};
  pthread_barrier_wait(&start);
  for (int i = 0; i < EACH; i++) perform(r, &history[id * EACH + i], &b);
  lethe_buffer_free(&b);
  lethe_epoch_unregister(r);
  return NULL;
}

struct model {
  long items[OPS];
  int n;
};

static bool explains(struct model *s, const struct op *op) {
  switch (op->kind) {
  case PUSH:
    s->items[s->n++] = op->value;
    return true;
  case POP: {
    if (s->n == 0) return op->result == -1;
    long got = which ? s->items[s->n - 1] : s->items[0];
    if (!which) memmove(s->items, s->items + 1, sizeof(long) * (size_t)(s->n - 1));
    s->n--;
    return got == op->result;
  }
  case GET:
    return op->result == (s->n ? s->items[0] : -1);
  case SET:
    s->n = 1;
    s->items[0] = op->value;
    return true;
  case DELETE: {
    bool there = s->n > 0;
    s->n = 0;
    return (op->result == 1) == there;
  }
  }
  return false;
}

static bool linearizable(const struct model *s, unsigned done) {
  if (done == (1u << OPS) - 1) return true;
  for (int i = 0; i < OPS; i++) {
    bool may = !(done & 1u << i);
    for (int j = 0; may && j < OPS; j++) /* nothing that ended before it began may come later */
      if (!(done & 1u << j) && history[j].end < history[i].begin) may = false;
    struct model next = *s;
    if (may && explains(&next, &history[i]) && linearizable(&next, done | 1u << i)) return true;
  }
  return false;
}

static void one_history(unsigned *seed) {
  pthread_t threads[THREADS];
  for (int i = 0; i < OPS; i++) {
    int kinds = which == 2 ? 3 : 2, base = which == 2 ? GET : PUSH;
    history[i] = (struct op){.kind = (enum kind)(base + rand_r(seed) % kinds), .value = i};
  }
  for (long i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, recorder, (void *)i);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  assert_true(linearizable(&(struct model){0}, 0));
}

static void small_histories_are_linearizable(void **state) {
  unsigned seed = (unsigned)test_seed("histories").state;
  (void)state;
  pthread_barrier_init(&start, NULL, THREADS);
  for (which = 0; which < 3; which++) {
    for (long i = 0; i < 150 * work; i++) {
      one_history(&seed);
      struct lethe_epoch_rec *r = join();
      struct lethe_buffer b = {0};
      while (lethe_queue_pop(queue, r, &b) == 0 || lethe_stack_pop(stack, r, &b) == 0) {
      }
      assert_int_equal(lethe_map_update(map, r, "k", 1, drop, NULL), 0);
      lethe_buffer_free(&b);
      lethe_epoch_unregister(r);
    }
  }
  pthread_barrier_destroy(&start);
}

/* The search itself can fail: a pop that returns what nobody pushed has no order. */
static void the_search_refuses_a_wrong_history(void **state) {
  (void)state;
  which = 0;
  for (int i = 0; i < OPS; i++)
    history[i] = (struct op){.kind = PUSH, .value = i, .begin = 2 * i, .end = 2 * i + 1};
  history[OPS - 1] = (struct op){.kind = POP, .result = 5, .begin = 100, .end = 101};
  assert_false(linearizable(&(struct model){0}, 0));
  history[OPS - 1].result = 0;
  assert_true(linearizable(&(struct model){0}, 0));
}

int main(void) {
  const char *factor = getenv("LETHE_WORK");
  if (factor) work = atol(factor) > 0 ? atol(factor) : 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(nothing_is_lost_or_made_up, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_walk_sees_what_stays_exactly_once, set_up, tear_down),
#ifdef LETHE_FAULTS
      cmocka_unit_test_setup_teardown(stopped_writers_stop_nobody, set_up, tear_down),
#endif
      cmocka_unit_test_setup_teardown(small_histories_are_linearizable, set_up, tear_down),
      cmocka_unit_test(the_search_refuses_a_wrong_history)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
