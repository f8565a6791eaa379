/* SPDX-License-Identifier: MIT
 * Weak maps of C objects beside a plain B-tree and an open-addressing table from integers to
 * pointers: filling from empty, looking up an object that is then held and let go of, and the
 * longest that a single insert takes. Keys come in an order that is never twice the same: no
 * branch predictor learns it. Maps for threads have a lock, and so have those beside them then.
 *
 * An ordered map of one thread remembers what is looked up again and again. Here that is the map of
 * 1,000 alone: the longer ones are not asked often enough, and all look-ups go down their trees. */
#include <malloc.h>
#include <pthread.h>

#include "harness/measure.h"
#include "harness/weak_peers.h"
#include "lethe/weakmap_inl.h"

/* ---- objects --------------------------------------------------------------------------------- */

struct thing {
  struct lethe_counted refs;
  char rest[24];
};

static void stays(struct lethe_counted *c) { (void)c; }
static const struct lethe_counted_class plain = {false, NULL, stays}, atomic = {true, NULL, stays};

enum { SHORT = 400000 }; /* keys, at least */

static struct thing *things;
static int64_t *keys; /* 0 to n - 1 in random order, again and again */
static long key_count;

static uint64_t next(uint64_t *state) {
  *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407;
  return *state >> 33;
}

static void shuffle(int64_t *a, long n, uint64_t *state) {
  for (long i = 0; i < n; i++) a[i] = i;
  for (long i = n - 1; i > 0; i--) {
    long j = (long)(next(state) % (uint64_t)(i + 1));
    int64_t k = a[i];
    a[i] = a[j];
    a[j] = k;
  }
}

static void prepare(long n, const struct lethe_counted_class *class) {
  static uint64_t state = 1;
  long times = n < SHORT && bench_work() >= 1 ? SHORT / n : 1;
  key_count = n * times;
  things = realloc(things, (size_t)n * sizeof *things);
  keys = realloc(keys, (size_t)key_count * sizeof *keys);
  if (!things || !keys) abort();
  for (long i = 0; i < n; i++) lethe_counted_init(&things[i].refs, class);
  for (long i = 0; i < times; i++) shuffle(keys + i * n, n, &state);
}

/* ---- subjects -------------------------------------------------------------------------------- */

/* The second does what a map that holds its values has to: it counts the reference. */
enum subject { TREE, TREE_HOLDS, ORDERED, TABLE, HASHED, SUBJECTS };

static struct peer_tree tree;
static struct peer_table table;
static struct lethe_weakmap *map;
static bool for_threads;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool is_ours(enum subject s) { return s == ORDERED || s == HASHED; }

static void make(enum subject s) {
  struct lethe_weakmap_options o = {.ordered = s == ORDERED, .atomic = for_threads};
  if (is_ours(s) && lethe_weakmap_new(&map, &lethe_alloc_libc, &o)) abort();
}

static void end(enum subject s) {
  if (is_ours(s)) lethe_weakmap_put_ref(map);
  peer_tree_free(&tree);
  peer_table_free(&table);
}

static inline void peer_set(enum subject s, int64_t key, struct lethe_counted *c) {
  if (for_threads) pthread_mutex_lock(&lock);
  if (s == TABLE)
    peer_table_set(&table, key, c);
  else
    peer_tree_set(&tree, key, c);
  if (s == TREE_HOLDS) lethe_strong_get(c);
  if (for_threads) pthread_mutex_unlock(&lock);
}

static inline struct lethe_counted *peer_get(enum subject s, int64_t key) {
  if (for_threads) pthread_mutex_lock(&lock);
  struct lethe_counted *c = s == TABLE ? peer_table_get(&table, key) : peer_tree_get(&tree, key);
  if (c && !lethe_weak_upgrade(c)) c = NULL;
  if (for_threads) pthread_mutex_unlock(&lock);
  return c;
}

static inline void insert(enum subject s, int64_t key) {
  struct lethe_weak_key k = lethe_weak_integer(key);
  if (!is_ours(s))
    peer_set(s, key, &things[key].refs);
  else if (lethe_weakmap_insert(map, &k, &things[key].refs, NULL))
    abort();
}

static inline struct lethe_counted *get(enum subject s, int64_t key) {
  return is_ours(s) ? lethe_weakmap_get_integer(map, key) : peer_get(s, key);
}

static double time_fill(enum subject s, const int64_t *order, long n) {
  double began = thread_time();
  for (long i = 0; i < n; i++) insert(s, order[i]);
  return thread_time() - began;
}

/* The reference is counted up and down again by all. */
static double time_gets(enum subject s) {
  long missed = 0;
  double began = thread_time();
  for (long i = 0; i < key_count; i++) {
    struct lethe_counted *c = get(s, keys[i]);
    if (c)
      lethe_strong_put(c);
    else
      missed++;
  }
  if (missed) abort();
  return thread_time() - began;
}

/* ---- filling and looking up ------------------------------------------------------------------ */

static double fills[SUBJECTS][MOST_ROUNDS], gets[SUBJECTS][MOST_ROUNDS];

/* One subject's turn: as many maps as there are orders, the last of which is looked at. */
static void turn(enum subject s, long n, int round) {
  double took = 0;
  malloc_trim(0); /* what was freed before is not to be tidied up in the midst of this */
  for (long i = 0; i < key_count; i += n) {
    make(s);
    took += time_fill(s, keys + i, n);
    if (i + n < key_count) end(s);
  }
  fills[s][round] = took / (double)key_count * 1e9;
  gets[s][round] = time_gets(s) / (double)key_count * 1e9;
  end(s);
}

static void row(const char *what, double values[][MOST_ROUNDS], enum subject ours,
                enum subject theirs, int rounds, double target) {
  double ratio = median_ratio(values[ours], values[theirs], rounds);
  if (target > 0)
    at_most(what, ratio, target);
  else
    no_target(what, ratio);
}

static void measure(long n, bool threads) {
  for_threads = threads;
  int rounds = bench_rounds(n > SHORT ? 5 : 9);
  prepare(n, threads ? &atomic : &plain);
  for (int r = 0; r < rounds; r++)
    for (int s = 0; s < SUBJECTS; s++) turn((enum subject)s, n, r);
  static char section[80];
  snprintf(section, sizeof section, "%s, %ld entries", threads ? "for threads" : "of one thread",
           n);
  bench_section = section;
  printf("%s, %ld entries: insert %.0f, get %.0f ns ordered; %.0f, %.0f hashed\n",
         threads ? "for threads" : "of one thread", n, median(fills[ORDERED], rounds),
         median(gets[ORDERED], rounds), median(fills[HASHED], rounds),
         median(gets[HASHED], rounds));
  row("ordered insert / plain B-tree", fills, ORDERED, TREE, rounds, 1.5);
  row("the same / one that counts what it holds", fills, ORDERED, TREE_HOLDS, rounds, 0);
  row("ordered get / plain B-tree, both counting", gets, ORDERED, TREE, rounds, 1.2);
  row("hashed insert / open addressing", fills, HASHED, TABLE, rounds, 0);
  if (n >= 1000000) at_most("hashed insert, ns", median(fills[HASHED], rounds), 300);
  row("hashed get / open addressing, both counting", gets, HASHED, TABLE, rounds, 1.3);
}

/* ---- single calls ---------------------------------------------------------------------------- */

/* The longest insert of a fill. Each is timed by itself in several fills alike, and the shortest
 * counts: what else the machine did does not strike the same one every time. */
static double longest(enum subject s, long n) {
  int passes = bench_rounds(4);
  float *took = malloc((size_t)n * sizeof *took), most = 0;
  if (!took) abort();
  for (int pass = 0; pass < passes; pass++) {
    malloc_trim(0);
    make(s);
    for (long i = 0; i < n; i++) {
      double began = thread_time();
      insert(s, keys[i]);
      float us = (float)((thread_time() - began) * 1e6);
      if (pass == 0 || us < took[i]) took[i] = us;
    }
    end(s);
  }
  for (long i = 0; i < n; i++)
    if (took[i] > most) most = took[i];
  free(took);
  return (double)most;
}

static size_t most_moved(enum subject s, long n) {
  size_t most = 0;
  make(s);
  for (long i = 0; i < n; i++) {
    insert(s, keys[i]);
    if (lethe_weakmap_moved(map) > most) most = lethe_weakmap_moved(map);
  }
  end(s);
  return most;
}

static void bench_single(long n) {
  for_threads = false;
  long times = bench_count(1e7);
  size_t sum = 0;
  prepare(n, &plain);
  make(ORDERED);
  time_fill(ORDERED, keys, n);
  unsigned height = lethe_weakmap_height(map);
  double began = thread_time();
  for (long i = 0; i < times; i++) sum += lethe_weakmap_len(map);
  double ns = (thread_time() - began) / (double)times * 1e9;
  if (sum != (size_t)n * (size_t)times) abort();
  end(ORDERED);
  printf("a map of %ld; the longest insert of the plain B-tree %.0f us, of open addressing %.0f\n",
         n, longest(TREE, n), longest(TABLE, n));
  bench_section = "";
  at_most("len, ns", ns, 10);
  at_most("longest ordered insert, us", longest(ORDERED, n), 100);
  at_most("longest hashed insert, us", longest(HASHED, n), 100);
  at_most("entries that one ordered insert moves", (double)most_moved(ORDERED, n),
          LETHE_WEAKMAP_NODE * height);
  at_most("entries that one hashed insert moves", (double)most_moved(HASHED, n), 32);
}

int main(void) {
  long most = bench_count(1e6);
  measure(1000, false);
  if (most > 1000) measure(most / 10, false);
  if (most > 1000) measure(most, false);
  measure(1000, true);
  if (most > 1000) measure(most, true);
  bench_single(most);
  free(things);
  free(keys);
  return 0;
}
