/* SPDX-License-Identifier: MIT
 * The cache without memory: the same work again and again, with the n-th allocation failing, once
 * or from then on. Every call ends, what was accepted is written in the end, and all memory comes
 * back. */
#include "cache_world.h"

enum { FEW = 6 };

static struct world w;

struct run {
  struct lethe_cache *x, *y;
  struct asked a[32];
  int n;
  int64_t accepted[2][KEYS]; /* the last value that an insert or a set was told is there */
};

static struct asked *next(struct run *r) { return &r->a[r->n++ % 32]; }

static void insert(struct run *r, int which, int64_t k, int64_t n) {
  struct asked *a = next(r);
  int code = ask_insert(&w, which ? r->y : r->x, k, n, a);
  if (code == LETHE_OK) r->accepted[which][k] = n;
}

static void set(struct run *r, int64_t k, int64_t n) {
  struct asked a;
  if (ask_hold(r->x, k, &a) != LETHE_OK) return;
  struct lethe_cache_value *v = value_of(&w, n);
  if (v && lethe_cache_set(r->x, a.w.held, v) == LETHE_OK) r->accepted[0][k] = n;
  lethe_cache_release(r->x, a.w.held);
}

/* Strings as keys, which are copied. */
static void get_text(struct run *r, const char *text) {
  struct lethe_cache_key key = {.bytes = text, .n = strlen(text)};
  struct asked *a = asked_init(next(r));
  asked_over(a, lethe_cache_get(r->y, &key, &a->w));
}

static void swap_policy(struct run *r) {
  struct lethe_evict *to = NULL, *before = NULL;
  if (lethe_evict_new(&to, &w.alloc.alloc, "sieve", FEW, 1) != LETHE_OK) return;
  int code = lethe_cache_swap_policy(r->x, to, NULL, NULL, &before);
  lethe_evict_delete(code == LETHE_OK ? before : to);
}

static void work(struct run *r) {
  for (int64_t k = 1; k < 12; k++) ask_get(r->x, k, next(r));
  for (int64_t k = 1; k < 9; k++) insert(r, 0, k, 5000 + k);
  insert(r, 1, 1, 6001);
  ask_depend(r->x, r->y, next(r));
  ask_depend(r->y, r->x, next(r));
  set(r, 3, 7003);
  ask_flush(r->x, next(r));
  insert(r, 0, 3, 7103);
  insert(r, 1, 2, 6002);
  ask_depend(r->x, r->y, next(r));
  get_text(r, "a key of its own");
  ask_flush_key(r->x, 3, next(r));
  swap_policy(r);
  lethe_cache_resize(r->x, 3, -1);
  ask_reclaim(r->x, 16, next(r));
  do_remove(r->x, 8);
  r->accepted[0][8] = 0;
  set(r, 2, 7002);
}

static void finish(struct run *r, struct lethe_cache *c, int which) {
  struct asked a;
  check_cache(c);
  assert_int_equal(ask_shutdown(c, &a), LETHE_OK);
  (void)r;
  (void)which;
}

/* How many allocations failed. */
static uint64_t run(struct run *r, const char *policy) {
  struct lethe_cache_config x = world_config(&w, FEW), y = x;
  memset(r, 0, sizeof *r);
  y.error_ttl = 5;
  y.idle = 100;
  struct lethe_cache **to[] = {&r->x, &r->y};
  struct lethe_cache_config *of[] = {&x, &y};
  for (int i = 0; i < 2; i++) {
    if (lethe_evict_new(&of[i]->policy, &w.alloc.alloc, policy, FEW, 1) != LETHE_OK) continue;
    if (lethe_cache_new(to[i], &w.alloc.alloc, of[i]) != LETHE_OK)
      lethe_evict_delete(of[i]->policy);
  }
  if (r->x && r->y) work(r);
  uint64_t failed = w.alloc.failed;
  test_alloc_fail(&w.alloc, 0);
  w.alloc.sticky = false;
  for (int i = 0; i < 32; i++) assert_int_not_equal(r->a[i].code, LETHE_CACHE_WAITS);
  if (r->x) finish(r, r->x, 0);
  if (r->y) finish(r, r->y, 1);
  for (int64_t k = 0; k < KEYS; k++) {
    int64_t n = r->accepted[0][k] ? r->accepted[0][k] : r->accepted[1][k];
    if (n) assert_true(w.disk.stored[k] == n || w.disk.stored[k] == r->accepted[1][k]);
  }
  if (r->x) lethe_cache_put_ref(r->x);
  if (r->y) lethe_cache_put_ref(r->y);
  assert_int_equal(w.alloc.blocks, 0);
  return failed;
}

static uint64_t sweep(const char *policy, bool sticky) {
  static struct run r;
  uint64_t n = 0, failed;
  do {
    for (int i = 0; i < KEYS; i++) w.disk.stored[i] = 1000 + i;
    test_alloc_fail(&w.alloc, ++n);
    w.alloc.sticky = sticky;
    failed = run(&r, policy);
  } while (failed > 0);
  return n;
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  for (int i = 0; lethe_evict_names[i]; i++) {
    world_open(&w);
    assert_true(sweep(lethe_evict_names[i], false) > 40);
    world_close(&w);
  }
}

static void and_all_after_it(void **state) {
  (void)state;
  world_open(&w);
  assert_true(sweep("lru", true) > 40);
  world_close(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail),
                                     cmocka_unit_test(and_all_after_it)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
