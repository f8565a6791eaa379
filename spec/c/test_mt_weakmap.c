/* SPDX-License-Identifier: MIT
 * Weak maps that threads share: references dropped in one thread while others look for the object,
 * replace it, walk, copy, split and append, and while maps end under all of them. */
#include <pthread.h>
#include <sched.h>

#include "harness/unit.h"

#include "harness/random.h"
#include "harness/threads.h"
#include "lethe/weakmap_inl.h"

enum { KEYS = 64, MAPS = 3, MAGIC = 0x5eed };
#define THREADS test_threads(4)

static double work(void) {
  const char *text = getenv("LETHE_WORK");
  double n = text ? strtod(text, NULL) : 1;
  return n > 0 ? n : 1;
}

/* ---- objects --------------------------------------------------------------------------------- */

struct thing {
  struct lethe_counted refs;
  int magic; /* until its end */
};

static _Atomic long made, ended, freed;

static void thing_end(struct lethe_counted *c) {
  struct thing *t = lethe_container_of(c, struct thing, refs);
  if (!lethe_list_empty(&c->entries) || t->magic != MAGIC) abort();
  t->magic = 0;
  add_rlx(&ended, 1);
}

static void thing_free(struct lethe_counted *c) {
  add_rlx(&freed, 1);
  free(lethe_container_of(c, struct thing, refs));
}

static const struct lethe_counted_class class = {true, thing_end, thing_free};

static struct lethe_counted *thing(void) {
  struct thing *t = calloc(1, sizeof *t);
  if (!t) abort();
  t->magic = MAGIC;
  lethe_counted_init(&t->refs, &class);
  add_rlx(&made, 1);
  return &t->refs;
}

/* Who has a reference finds it alive. */
static void look_at(struct lethe_counted *c) {
  if (lethe_container_of(c, struct thing, refs)->magic != MAGIC) abort();
}

/* ---- one map, many threads ------------------------------------------------------------------- */

static struct lethe_weakmap *maps[MAPS];
static _Atomic long notified;

static void notify(void *ud) {
  (void)ud;
  add_rlx(&notified, 1);
}

static const struct lethe_weakmap_options forms[MAPS] = {
    {.ordered = true, .atomic = true},
    {.ordered = false, .atomic = true},
    {.ordered = true, .atomic = true, .keeps_dead = true, .notify = notify}};

static void walk(struct lethe_weakmap *m) {
  struct lethe_weak_walk w;
  int64_t last = -1;
  if (lethe_weak_walk_begin(&w, m, NULL, NULL, false)) abort();
  while (lethe_weak_walk_step(&w) == LETHE_OK) {
    look_at(w.object);
    if (lethe_weakmap_is_ordered(m) && w.key.u.integer <= last) abort();
    last = w.key.u.integer;
  }
  lethe_weak_walk_end(&w);
}

static void take_dead(struct lethe_weakmap *m) {
  struct lethe_weak_dead *d;
  while ((d = lethe_weakmap_dead(m)) != NULL) lethe_weak_dead_free(m, d);
}

/* Copies, splits and appends leave everything where it was. */
static void rebuild(struct lethe_weakmap *m, struct lethe_weak_key *k) {
  struct lethe_weakmap *copy, *upper;
  struct lethe_weakmap_options o = {.ordered = true, .atomic = true};
  if (lethe_weakmap_copy(m, &o, &copy)) abort();
  if (lethe_weakmap_split_off(copy, k, &o, &upper)) abort();
  if (lethe_weakmap_append(copy, upper)) abort();
  lethe_weakmap_equal(copy, m);
  lethe_weakmap_put_ref(upper);
  walk(copy);
  lethe_weakmap_put_ref(copy);
}

static void step(struct test_random *r, struct lethe_counted **mine) {
  struct lethe_weakmap *m = maps[test_below(r, MAPS)];
  struct lethe_weak_key k = lethe_weak_integer((int64_t)test_below(r, KEYS));
  struct lethe_counted *c = NULL;
  switch (test_below(r, 16)) {
  case 0: /* the last reference to what may be in several maps */
    if (*mine) lethe_strong_put(*mine);
    *mine = NULL;
    break;
  case 1:
    lethe_weakmap_remove(m, &k, &c);
    break;
  case 2:
    walk(m);
    break;
  case 3:
    rebuild(m, &k);
    break;
  case 4:
    take_dead(maps[2]);
    break;
  case 5:
    lethe_weakmap_contains(m, &k);
    if (lethe_weakmap_len(m) > KEYS) abort();
    break;
  case 6:
    if (test_below(r, 50) == 0) lethe_weakmap_clear(m);
    break;
  case 7:
  case 8:
  case 9:
  case 10:
    if (!*mine) *mine = thing();
    if (lethe_weakmap_insert(m, &k, *mine, &c)) abort();
    break;
  default:
    c = test_below(r, 2) ? lethe_weakmap_get(m, &k)
                         : lethe_weakmap_get_integer(m, k.u.integer); /* inline, without the lock */
  }
  if (!c) return;
  look_at(c);
  if (test_below(r, 8) == 0 && !*mine)
    *mine = c;
  else
    lethe_strong_put(c);
}

static void *run(void *ud) {
  struct test_random r = {.state = (uint64_t)(uintptr_t)ud};
  struct lethe_counted *mine[4] = {NULL};
  long steps = (long)(60000 * work());
  for (long i = 0; i < steps; i++) step(&r, &mine[test_below(&r, 4)]);
  for (int i = 0; i < 4; i++)
    if (mine[i]) lethe_strong_put(mine[i]);
  return NULL;
}

static void start(pthread_t *threads, void *(*fn)(void *)) {
  struct test_random r = test_seed("weak maps of threads");
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, fn, (void *)(uintptr_t)test_next(&r)), 0);
}

static void join(pthread_t *threads) {
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
}

static void threads_work_on_the_same_maps(void **state) {
  (void)state;
  pthread_t threads[MOST_THREADS];
  made = ended = freed = 0;
  for (int i = 0; i < MAPS; i++)
    assert_int_equal(lethe_weakmap_new(&maps[i], &lethe_alloc_libc, &forms[i]), LETHE_OK);
  start(threads, run);
  join(threads);
  for (int i = 0; i < MAPS; i++) {
    assert_int_equal(lethe_weakmap_len(maps[i]), 0); /* nobody holds anything any more */
    assert_true(lethe_weakmap_is_valid(maps[i]));
    lethe_weakmap_put_ref(maps[i]);
  }
  assert_true(made > 0);
  assert_int_equal(ended, made);
  assert_int_equal(freed, made);
  assert_true(notified > 0);
}

/* ---- maps that end meanwhile ----------------------------------------------------------------- */

enum { SHARED = 8 };
static struct lethe_counted *shared[SHARED];

/* Each with maps of its own, which hold everybody's objects, and end while others let go of
 * those. */
static void *come_and_go(void *ud) {
  struct test_random r = {.state = (uint64_t)(uintptr_t)ud};
  for (long round = (long)(400 * work()); round > 0; round--) {
    struct lethe_weakmap *m;
    struct lethe_counted *own[SHARED];
    if (lethe_weakmap_new(&m, &lethe_alloc_libc, &forms[round % 2])) abort();
    for (int i = 0; i < SHARED; i++) {
      struct lethe_weak_key k = lethe_weak_integer(i), other = lethe_weak_integer(i + SHARED);
      own[i] = thing();
      if (lethe_weakmap_insert(m, &k, shared[i], NULL)) abort();
      if (lethe_weakmap_insert(m, &other, own[i], NULL)) abort();
    }
    bool first = test_below(&r, 2);
    if (first) lethe_weakmap_put_ref(m);
    for (int i = 0; i < SHARED; i++) lethe_strong_put(own[i]);
    if (!first) {
      if (lethe_weakmap_len(m) != SHARED) abort();
      lethe_weakmap_put_ref(m);
    }
  }
  return NULL;
}

static void maps_end_while_objects_do(void **state) {
  (void)state;
  pthread_t threads[MOST_THREADS];
  made = ended = freed = 0;
  for (int i = 0; i < SHARED; i++) shared[i] = thing();
  start(threads, come_and_go);
  join(threads);
  for (int i = 0; i < SHARED; i++) lethe_strong_put(shared[i]);
  assert_int_equal(ended, made);
  assert_int_equal(freed, made);
}

/* One thread lets go of an object that is in a map which another ends at the same time. */
static _Atomic int turn;
static struct lethe_weakmap *victim;
static struct lethe_counted *falling[SHARED];

static void *let_go(void *ud) {
  long rounds = (long)(uintptr_t)ud;
  for (int round = 1; round <= rounds; round++) {
    while (load_acq(&turn) != round) sched_yield(); /* pairs with the release in the other thread */
    for (int i = 0; i < SHARED; i++) lethe_strong_put(falling[i]);
    store_rel(&turn, -round); /* pairs with the acquire there */
  }
  return NULL;
}

static void the_last_drop_races_with_the_maps_end(void **state) {
  (void)state;
  long rounds = (long)(2000 * work());
  pthread_t other;
  made = ended = freed = 0;
  store_rlx(&turn, 0);
  assert_int_equal(pthread_create(&other, NULL, let_go, (void *)(uintptr_t)rounds), 0);
  for (int round = 1; round <= rounds; round++) {
    assert_int_equal(lethe_weakmap_new(&victim, &lethe_alloc_libc, &forms[round % MAPS]), LETHE_OK);
    for (int i = 0; i < SHARED; i++) {
      struct lethe_weak_key k = lethe_weak_integer(i);
      falling[i] = thing();
      assert_int_equal(lethe_weakmap_insert(victim, &k, falling[i], NULL), LETHE_OK);
    }
    store_rel(&turn, round);
    lethe_weakmap_put_ref(victim);
    while (load_acq(&turn) != -round) sched_yield();
  }
  pthread_join(other, NULL);
  assert_int_equal(freed, made);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(threads_work_on_the_same_maps),
      cmocka_unit_test(maps_end_while_objects_do),
      cmocka_unit_test(the_last_drop_races_with_the_maps_end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
