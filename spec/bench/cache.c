/* SPDX-License-Identifier: MIT
 * What the cache's core costs, without Lua: hits, and misses with an eviction, from a thousand to a
 * million entries, on a backend that answers at once.
 *
 * Beside it runs what any cache has to touch: a plain LRU that does nothing but find, unlink,
 * relink, with entries as large as the cache's, of which it writes two lines. What that takes more
 * among a million than among a thousand is memory's part, and is taken off where a row says so. */
#include "harness/measure.h"

#include "../c/harness/alloc.h"
#include "lethe/cache.h"
#include "lethe/evict.h"

enum { SIZES = 4, ENTRY = 256 };
static const long sizes[SIZES] = {1000, 10000, 100000, 1000000};

/* ---- a cache of numbers ---------------------------------------------------------------------- */

static void keep(struct lethe_cache_value *v) { (void)v; }
static struct lethe_cache_value one = {1, keep, &one, 8};

static void load(struct lethe_cache_backend *b, struct lethe_cache_call *call) {
  (void)b;
  lethe_cache_answer(call, LETHE_OK, NULL, lethe_cache_value_get(&one));
}
static void flush(struct lethe_cache_backend *b, struct lethe_cache_call *call) {
  (void)b;
  lethe_cache_answer(call, LETHE_OK, NULL, NULL);
}
static void no_destroy(struct lethe_cache_backend *b) { (void)b; }
static struct lethe_cache_backend backend = {.destroy = no_destroy, .load = load, .flush = flush};

static void must(int code) {
  if (code == LETHE_OK) return;
  fprintf(stderr, "%s\n", lethe_strerror(code));
  exit(1);
}

struct setting {
  struct lethe_loop *loop;
  struct lethe_cache *c;
  long n, next, plain_next; /* entries; the next keys that are not there */
  struct plain *plain;
  uint32_t *heads; /* of its chains */
  uint32_t first, last, mask;
  uint64_t random;
};

static void get(struct setting *s, int64_t k) {
  struct lethe_cache_wait w;
  w.failed = NULL;
  must(lethe_cache_get(s->c, &(struct lethe_cache_key){.number = k}, &w));
  lethe_cache_value_put(w.value);
}

static uint64_t draw(struct setting *s) {
  s->random = s->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return s->random >> 33;
}

/* ---- the plain LRU --------------------------------------------------------------------------- */

struct plain {
  int64_t key;
  uint32_t chain, newer, older;
  char rest[ENTRY - 20];
};

static uint32_t head_of(const struct setting *s, int64_t key) {
  return (uint32_t)((uint64_t)key * UINT64_C(0x9e3779b97f4a7c15) >> 32) & s->mask;
}

static uint32_t plain_find(const struct setting *s, int64_t key) {
  uint32_t e = s->heads[head_of(s, key)];
  while (e && s->plain[e].key != key) e = s->plain[e].chain;
  return e;
}

static void plain_take(struct setting *s, uint32_t e) {
  struct plain *p = &s->plain[e];
  *(p->newer ? &s->plain[p->newer].older : &s->first) = p->older;
  *(p->older ? &s->plain[p->older].newer : &s->last) = p->newer;
}

static void plain_push(struct setting *s, uint32_t e) {
  struct plain *p = &s->plain[e];
  p->newer = 0;
  p->older = s->first;
  *(s->first ? &s->plain[s->first].newer : &s->last) = e;
  s->first = e;
}

static void plain_link(struct setting *s, uint32_t e, int64_t key) {
  uint32_t *head = &s->heads[head_of(s, key)];
  s->plain[e].key = key;
  s->plain[e].chain = *head;
  s->plain[e].rest[100]++;
  *head = e;
}

static void plain_miss(struct setting *s, int64_t key) {
  uint32_t e = s->last, *link = &s->heads[head_of(s, s->plain[e].key)];
  if (plain_find(s, key)) return;
  while (*link != e) link = &s->plain[*link].chain;
  *link = s->plain[e].chain;
  plain_take(s, e);
  plain_link(s, e, key);
  plain_push(s, e);
}

static void plain_hit(struct setting *s, int64_t key) {
  uint32_t e = plain_find(s, key);
  if (!e || e == s->first) return;
  plain_take(s, e);
  plain_push(s, e);
}

static void plain_set_up(struct setting *s) {
  uint32_t n = 1;
  while (n < (uint32_t)s->n * 2) n *= 2;
  s->mask = n - 1;
  s->plain_next = s->n;
  s->heads = calloc(n, sizeof *s->heads);
  s->plain = calloc((size_t)s->n + 1, sizeof *s->plain);
  if (!s->heads || !s->plain) abort();
  for (uint32_t e = 1; e <= (uint32_t)s->n; e++) {
    plain_link(s, e, e - 1);
    plain_push(s, e);
  }
}

static void plain_tear_down(struct setting *s) {
  free(s->plain);
  free(s->heads);
  s->first = s->last = 0;
}

/* ---- setting up ------------------------------------------------------------------------------ */

static void set_up(struct setting *s, const char *policy, long n) {
  struct lethe_cache_config c = {
      .backend = &backend, .limit = n, .bytes = LETHE_CACHE_NO_LIMIT, .wait = 1};
  memset(s, 0, sizeof *s);
  must(lethe_loop_new(&s->loop, &lethe_alloc_libc, LETHE_CLOCK_REAL, NULL));
  c.loop = s->loop;
  must(lethe_evict_new(&c.policy, &lethe_alloc_libc, policy, n, 1));
  must(lethe_cache_new(&s->c, &lethe_alloc_libc, &c));
  s->n = n;
  plain_set_up(s);
  for (s->next = 0; s->next < n; s->next++) get(s, s->next);
}

static void tear_down(struct setting *s) {
  lethe_cache_close(s->c);
  lethe_cache_put_ref(s->c);
  lethe_loop_close(s->loop);
  lethe_loop_put(s->loop);
  plain_tear_down(s);
}

/* ---- what is measured: nanoseconds of one ---------------------------------------------------- */

static double hits(struct setting *s, long times) {
  int64_t first = s->next - s->n, sum = 0;
  double began = thread_time();
  for (long i = 0; i < times; i++) {
    struct lethe_cache_key key = {.number = first + (int64_t)(draw(s) % (uint64_t)s->n)};
    sum += lethe_cache_hit(s->c, &key) != NULL;
  }
  double ns = (thread_time() - began) / (double)times * 1e9;
  if (sum != times) must(LETHE_EBROKEN);
  return ns;
}

static double misses(struct setting *s, long times) {
  double began = thread_time();
  for (long i = 0; i < times; i++) get(s, s->next++);
  return (thread_time() - began) / (double)times * 1e9;
}

static double plain_hits(struct setting *s, long times) {
  double began = thread_time();
  for (long i = 0; i < times; i++) plain_hit(s, (int64_t)(draw(s) % (uint64_t)s->n));
  return (thread_time() - began) / (double)times * 1e9;
}

static double plain_misses(struct setting *s, long times) {
  double began = thread_time();
  for (long i = 0; i < times; i++) plain_miss(s, s->plain_next++);
  return (thread_time() - began) / (double)times * 1e9;
}

enum { MOST = 7, ORDERED = 0, MIXED, HIT, KINDS };

struct figures {
  double own[KINDS][SIZES][MOST], plain[KINDS][SIZES][MOST];
};

static double (*const own[KINDS])(struct setting *s, long times) = {misses, misses, hits};
static double (*const peer[KINDS])(struct setting *s, long times) = {plain_misses, plain_misses,
                                                                     plain_hits};

static void measure(struct figures *f, int kind, struct setting *s, int rounds) {
  long times = bench_count(200000);
  for (int r = 0; r < rounds; r++) {
    for (int i = 0; i < SIZES; i++) {
      f->own[kind][i][r] = own[kind](&s[i], times);
      f->plain[kind][i][r] = peer[kind](&s[i], times);
    }
  }
}

static void growth(const char *what, const struct figures *f, int kind, int rounds) {
  double raw[MOST], less[MOST];
  for (int r = 0; r < rounds; r++) {
    double few = f->own[kind][0][r], many = f->own[kind][SIZES - 1][r];
    raw[r] = many / few;
    less[r] = (many - (f->plain[kind][SIZES - 1][r] - f->plain[kind][0][r])) / few;
  }
  no_target(what, median(raw, rounds));
  char text[100];
  snprintf(text, sizeof text, "  %s, less what a plain LRU takes more", what);
  at_most(text, median(less, rounds), 2);
}

/* In order: who came first leaves first. Then hits mix them. */
static void by_size(const char *policy) {
  static struct setting s[SIZES];
  static struct figures f;
  int rounds = bench_rounds(MOST);
  for (int i = 0; i < SIZES; i++) set_up(&s[i], policy, bench_count((double)sizes[i]));
  measure(&f, ORDERED, s, rounds);
  for (int i = 0; i < SIZES; i++) { /* all that is there is known again */
    for (long k = 0; k < s[i].n; k++) get(&s[i], s[i].next++);
    plain_tear_down(&s[i]);
    plain_set_up(&s[i]);
  }
  measure(&f, HIT, s, rounds);
  measure(&f, MIXED, s, rounds);
  printf("%s, ns: hit (plain), miss in order (plain), miss (plain)\n", policy);
  for (int i = 0; i < SIZES; i++) {
    printf("  %8ld entries", s[i].n);
    for (int k = 0; k < KINDS; k++) {
      int kind = (k + 2) % KINDS;
      printf("  %7.1f (%5.1f)", median(f.own[kind][i], rounds), median(f.plain[kind][i], rounds));
    }
    printf("\n");
  }
  bench_section = policy;
  at_most("hit at 10^3, ns", median(f.own[HIT][0], rounds), 60);
  at_most("miss at 10^3, ns, with its backend", median(f.own[ORDERED][0], rounds), 200);
  growth("miss in order at 10^6 / at 10^3", &f, ORDERED, rounds);
  growth("miss at 10^6 / at 10^3", &f, MIXED, rounds);
  for (int i = 0; i < SIZES; i++) tear_down(&s[i]);
}

/* ---- flushing -------------------------------------------------------------------------------- */

/* A dirty entry costs the same to write among ten thousand as among a hundred. */
static double flush_of(long n) {
  struct setting s;
  struct lethe_cache_wait w = {.failed = NULL};
  set_up(&s, "lru", n);
  for (long k = 0; k < n; k++) {
    must(lethe_cache_insert(s.c, &(struct lethe_cache_key){.number = k},
                            lethe_cache_value_get(&one), false, &w));
  }
  double began = thread_time();
  must(lethe_cache_flush(s.c, NULL, &w));
  double ns = (thread_time() - began) / (double)n * 1e9;
  tear_down(&s);
  return ns;
}

static void flushing(void) {
  enum { ROUNDS = 11 };
  double few[ROUNDS], many[ROUNDS];
  int rounds = bench_rounds(ROUNDS);
  for (int r = 0; r < rounds; r++) {
    few[r] = flush_of(1000);
    many[r] = flush_of(bench_count(100000));
  }
  printf("  a flush: %.1f ns an entry of 10^3, %.1f of 10^5\n", median(few, rounds),
         median(many, rounds));
  bench_section = "";
  at_most("an entry's flush among 10^5 / among 10^3", median_ratio(many, few, rounds), 2);
}

int main(void) {
  lethe_ref_init(&backend.refs);
  by_size("lru");
  by_size("sieve");
  flushing();
  return 0;
}
