/* SPDX-License-Identifier: MIT
 * What built-in eviction policies cost, from 1,000 to 1,000,000 entries. A hit and a miss (its
 * victim leaves, it comes) run beside the least that an LRU in memory can do: nodes of the same
 * size in a list, one unlinked and linked again. What grows with that list as well is memory out of
 * the processor's caches, not work. Then all policies over sizes of a trace against one run of lru.
 * */
#include "harness/measure.h"
#include "lethe/replay.h"

enum { ROUNDS = 15, SIZES = 4 };
static const uint32_t sizes[SIZES] = {1000, 10000, 100000, 1000000};

static void must(bool ok, const char *what) {
  if (ok) return;
  fprintf(stderr, "%s failed\n", what);
  exit(1);
}

static uint64_t state = 1;
static uint64_t below(uint64_t n) {
  state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (state >> 33) % n;
}

/* ---- the plain list -------------------------------------------------------------------------- */

struct plain {
  uint32_t next, prev;
  char rest[sizeof(struct lethe_evict_node) - 8];
};

static struct plain *nodes; /* 0 is the ring's end */

static void unlink_plain(uint32_t i) {
  nodes[nodes[i].prev].next = nodes[i].next;
  nodes[nodes[i].next].prev = nodes[i].prev;
}
static void link_plain(uint32_t i) {
  nodes[i].prev = 0;
  nodes[i].next = nodes[0].next;
  nodes[nodes[0].next].prev = i;
  nodes[0].next = i;
}

/* ---- policies -------------------------------------------------------------------------------- */

static struct lethe_evict *policy;
static uint64_t *handles, *order; /* order: entries to be hit, with a place for each */
static uint32_t entries;

static uint64_t come(uint64_t key) {
  struct lethe_evict_request r = {.key = key, .size = 1, .cost = 1};
  uint64_t h = 0;
  lethe_evict_admit(policy, &r);
  while (lethe_evict_full(policy, &r))
    lethe_evict_remove(policy, lethe_evict_victim(policy, &r), true);
  must(lethe_evict_insert(policy, &r, &h) == LETHE_OK, "lethe_evict_insert");
  return h;
}

static void begin(const char *name, uint32_t n) {
  entries = n;
  must(lethe_evict_new(&policy, &lethe_alloc_libc, name, n, 1) == LETHE_OK, "lethe_evict_new");
  handles = malloc(n * sizeof *handles);
  order = malloc(n * sizeof *order);
  nodes = calloc(n + 1, sizeof *nodes);
  must(handles && order && nodes, "malloc");
  for (uint32_t i = 0; i < n; i++) order[i] = handles[i] = come(i);
  for (uint32_t i = n - 1; i > 0; i--) {
    uint64_t k = below(i + 1), swapped = order[i];
    order[i] = order[k];
    order[k] = swapped;
  }
  for (uint32_t i = 0; i < n; i++) link_plain((uint32_t)order[i]);
}

static void end(void) {
  lethe_evict_delete(policy);
  free(handles);
  free(order);
  free(nodes);
}

/* ---- what is timed: ns for each of n --------------------------------------------------------- */

static double hits(long n) {
  double began = thread_time();
  for (long i = 0, k = 0; i < n; i++, k = k + 1 < (long)entries ? k + 1 : 0)
    lethe_evict_hit(policy, order[k]);
  return (thread_time() - began) / (double)n * 1e9;
}
static double plain_hits(long n) {
  double began = thread_time();
  for (long i = 0, k = 0; i < n; i++, k = k + 1 < (long)entries ? k + 1 : 0) {
    unlink_plain((uint32_t)order[k]);
    link_plain((uint32_t)order[k]);
  }
  return (thread_time() - began) / (double)n * 1e9;
}
static double misses(long n) {
  static uint64_t key = 1 << 24;
  double began = thread_time();
  for (long i = 0; i < n; i++) come(key++);
  return (thread_time() - began) / (double)n * 1e9;
}
static double plain_misses(long n) {
  double began = thread_time();
  for (long i = 0; i < n; i++) {
    uint32_t last = nodes[0].prev;
    unlink_plain(last);
    link_plain(last);
  }
  return (thread_time() - began) / (double)n * 1e9;
}

struct figure {
  double ns, over_plain;
};

static struct figure measured(double (*ours)(long), double (*plain)(long), long n) {
  double a[MOST_ROUNDS], b[MOST_ROUNDS];
  int rounds = bench_rounds(ROUNDS);
  ours(n / 2);
  plain(n / 2);
  for (int i = 0; i < rounds; i++) {
    a[i] = ours(n);
    b[i] = plain(n);
  }
  return (struct figure){median(a, rounds), median_ratio(a, b, rounds)};
}

static void growth(const char *name) {
  struct figure hit[SIZES], miss[SIZES];
  char what[80];
  printf("%s: ns, and times the plain list's\n", name);
  for (int i = 0; i < SIZES; i++) {
    begin(name, bench_work() < 1 && sizes[i] > 10000 ? 10000 : sizes[i]);
    long n = bench_count(600000);
    hit[i] = measured(hits, plain_hits, n);
    for (uint32_t k = 0; k < entries; k += 3) lethe_evict_hit(policy, order[k]);
    miss[i] = measured(misses, plain_misses, n);
    printf("  %9u entries  hit %7.1f ns %6.2fx   miss %7.1f ns %6.2fx\n", entries, hit[i].ns,
           hit[i].over_plain, miss[i].ns, miss[i].over_plain);
    end();
  }
  snprintf(what, sizeof what, "%s: hit at 10^6 / hit at 10^3, by the plain list", name);
  at_most(what, hit[3].over_plain / hit[0].over_plain, 2);
  snprintf(what, sizeof what, "%s: miss at 10^6 / miss at 10^3, by the plain list", name);
  at_most(what, miss[3].over_plain / miss[0].over_plain, 2);
}

/* ---- a trace --------------------------------------------------------------------------------- */

static struct lethe_request *requests;
static size_t count;

/* Keys that come often, keys that come once, and scans: as hard on policies as recorded traces. */
static void make_trace(void) {
  count = (size_t)bench_count(100000);
  requests = calloc(count, sizeof *requests);
  must(requests != NULL, "calloc");
  for (size_t i = 0; i < count; i++) {
    uint64_t id = below(4) == 0 ? below(500) : below(3) == 0 ? below(20000) : 1000000 + i / 2;
    requests[i] = (struct lethe_request){.id = id, .size = 1, .cost = 1};
  }
  must(lethe_replay_fill_next(requests, count, &lethe_alloc_libc) == LETHE_OK, "fill_next");
}

static double replayed(const char *name, int64_t limit) {
  struct lethe_evict *e;
  struct lethe_replay *r;
  must(lethe_evict_new(&e, &lethe_alloc_libc, name, limit, 1) == LETHE_OK, "lethe_evict_new");
  must(lethe_replay_new(&r, e, true) == LETHE_OK, "lethe_replay_new");
  double began = thread_time();
  must(lethe_replay_run(r, requests, count) == LETHE_OK, "lethe_replay_run");
  double took = thread_time() - began;
  lethe_replay_delete(r);
  return took;
}

static void all_policies(void) {
  static const int64_t limits[] = {50, 150, 500, 1500, 5000, 10000, 20000, 40000};
  double all[MOST_ROUNDS], lru[MOST_ROUNDS], own[16] = {0};
  int rounds = bench_rounds(5), names = 0;
  while (lethe_evict_names[names]) names++;
  for (int i = 0; i < rounds; i++) {
    all[i] = 0;
    lru[i] = replayed("lru", 5000);
    for (int k = 0; k < names; k++)
      for (int size = 0; size < 8; size++) {
        double took = replayed(lethe_evict_names[k], limits[size]);
        all[i] += took;
        own[k] += took / 8 / rounds;
      }
  }
  printf("replays: millions of requests a second\n ");
  for (int k = 0; k < names; k++)
    printf(" %s %.1f%s", lethe_evict_names[k], (double)count / own[k] / 1e6, k == 6 ? "\n " : "");
  printf("\n");
  at_most("14 policies x 8 sizes / one run of lru, one thread", median_ratio(all, lru, rounds),
          500);
}

int main(void) {
  growth("lru");
  growth("sieve");
  make_trace();
  all_policies();
  free(requests);
}
