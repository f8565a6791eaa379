/* SPDX-License-Identifier: MIT
 * The epoch manager beside liburcu, Concurrency Kit and the bare bounds: pins, guarded reads,
 * retiring from one and two threads, and what a reader that sleeps costs. */
#include <pthread.h>
#include <unistd.h>

#include "lethe/epoch.h"

#include "harness/epoch_peers.h"
#include "harness/measure.h"
#include "harness/pair.h"

/* ---- ours ----------------------------------------------------------------------------------- */

static struct lethe_epoch *manager;
static _Thread_local struct lethe_epoch_rec *record;

static void ours_enter(void) {
  if (lethe_epoch_register(manager, &record) != LETHE_OK) abort();
}
static void ours_leave(void) { lethe_epoch_unregister(record); }
static void ours_drain(void) {
  uint64_t cookie = lethe_epoch_start_poll(manager);
  while (!lethe_epoch_barrier_step(manager, record, cookie)) sched_yield();
}
static void ours_pin(void) { lethe_epoch_pin(record); }
static void ours_unpin(void) { lethe_epoch_unpin(record); }

static __attribute__((noinline)) void ours_empty(long n) {
  struct lethe_epoch_rec *r = record;
  long struck = 0;
  for (long i = 0; i < n; i++) {
    lethe_epoch_pin(r);
    atomic_signal_fence(memory_order_seq_cst);
    struck += !lethe_epoch_unpin(r);
  }
  if (struck) abort();
}

static __attribute__((noinline)) void ours_swap(struct part *p) {
  struct lethe_epoch_rec *r = record;
  for (long i = 0; goes_on(p, i); i++) {
    lethe_epoch_pin(r);
    struct node *old = swap_in(p);
    if (old && lethe_epoch_retire(r, old, free_node, NULL, sizeof *old) != LETHE_OK) abort();
    lethe_epoch_unpin(r);
  }
}

/* ---- bare bounds ---------------------------------------------------------------------------- */

static struct {
  alignas(64) _Atomic uint64_t global;
  alignas(64) _Atomic uint64_t word;
} bare;

/* What any such pin does at the least: load the epoch, store it, store 0. */
static __attribute__((noinline)) void bare_empty(long n) {
  for (long i = 0; i < n; i++) {
    store_rlx(&bare.word, load_rlx(&bare.global) << 1 | 1);
    atomic_signal_fence(memory_order_seq_cst);
    store_rel(&bare.word, 0);
    atomic_signal_fence(memory_order_seq_cst);
  }
}

/* No safety at all. */
static __attribute__((noinline)) void bare_swap(struct part *p) {
  for (long i = 0; goes_on(p, i); i++) free(swap_in(p));
}

static const struct peer all[] = {
    PEER(ours, "ours"),
    {"bare bound", nothing, nothing, bare_empty, bare_swap, nothing, nothing, nothing},
#if HAVE_CK
    PEER(ck, "ck_epoch"),
#endif
#if HAVE_URCU
    PEER(memb, "liburcu memb"),
    PEER(bp, "liburcu bp"),
    PEER(qsbr, "liburcu qsbr"),
    PEER(defer, "liburcu memb, defer"),
#endif
};
enum { OURS, BARE, PEERS, COUNT = sizeof all / sizeof *all };

static int find(const char *name) {
  for (int i = 0; i < COUNT; i++)
    if (strcmp(all[i].name, name) == 0) return i;
  return -1;
}

/* ---- pins ----------------------------------------------------------------------------------- */

/* Each with the times of all rounds, in ns. */
static double pins[COUNT][MOST_ROUNDS];

static double time_empty(const struct peer *peer, long n) {
  peer->enter();
  double began = thread_time();
  peer->empty(n);
  double ns = (thread_time() - began) / (double)n * 1e9;
  peer->leave();
  return ns;
}

static void bench_pins(void) {
  int rounds = bench_rounds(15);
  long n = bench_count(3e6);
  double slow[MOST_ROUNDS];
  for (int r = 0; r < rounds; r++) {
    for (int i = 0; i < COUNT; i++) pins[i][r] = time_empty(&all[i], n);
    bool asymmetric = lethe_fence_asymmetric;
    lethe_fence_asymmetric = false; /* nobody else is here to be fenced against */
    slow[r] = time_empty(&all[OURS], n / 4 + 1);
    lethe_fence_asymmetric = asymmetric;
  }
  bench_section = "pin and unpin";
  printf("pin and unpin, nothing between, ns (median of %d)\n", rounds);
  for (int i = 0; i < COUNT; i++) no_target(all[i].name, median(pins[i], rounds));
  no_target("ours without membarrier", median(slow, rounds));
  at_most("ours / bare bound", median_ratio(pins[OURS], pins[BARE], rounds), 4);
  int ck = find("ck_epoch"), memb = find("liburcu memb");
  if (ck >= 0) at_most("ours / ck_epoch", median_ratio(pins[OURS], pins[ck], rounds), 1);
  if (memb >= 0) at_most("ours / liburcu memb", median_ratio(pins[OURS], pins[memb], rounds), 1.15);
}

/* ---- guarded reads -------------------------------------------------------------------------- */

static __attribute__((noinline)) uint64_t read_plain(_Atomic(uint64_t *) *cell, long n) {
  uint64_t sum = 0;
  for (long i = 0; i < n; i++) sum += *load_acq(cell);
  return sum;
}

static __attribute__((noinline)) uint64_t read_guarded(struct lethe_epoch_rec *r,
                                                       _Atomic(uint64_t *) *cell, long n) {
  uint64_t sum = 0;
  for (long i = 0; i < n; i++) {
    const uint64_t *p = load_acq(cell);
    LETHE_EPOCH_READ(r, p) sum += *p;
  }
  return sum;
}

static void bench_reads(void) {
  int rounds = bench_rounds(15);
  long n = bench_count(3e6);
  double plain[MOST_ROUNDS], guarded[MOST_ROUNDS], more[MOST_ROUNDS];
  uint64_t value = 1, sum = 0;
  _Atomic(uint64_t *) cell = &value;
  ours_enter();
  lethe_epoch_pin(record);
  for (int r = 0; r < rounds; r++) {
    double began = thread_time();
    sum += read_plain(&cell, n);
    plain[r] = (thread_time() - began) / (double)n * 1e9;
    began = thread_time();
    sum += read_guarded(record, &cell, n);
    guarded[r] = (thread_time() - began) / (double)n * 1e9;
    more[r] = guarded[r] - plain[r];
  }
  lethe_epoch_unpin(record);
  ours_leave();
  if (sum != (uint64_t)(2 * n * rounds)) abort();
  bench_section = "reading a word, ns";
  printf("reading a word through a shared pointer, ns\n");
  no_target("plain", median(plain, rounds));
  no_target("guarded", median(guarded, rounds));
  at_most("guarded - plain", median(more, rounds), 1.2);
}

/* ---- allocate, swap, retire, free ----------------------------------------------------------- */

struct job {
  const struct peer *peer;
  struct part part;
  pthread_barrier_t *start;
  double began, ended; /* as the thread itself sees it: who started it may be woken much later */
};

static void *work_on(void *ud) {
  struct job *j = ud;
  j->peer->enter();
  pthread_barrier_wait(j->start);
  j->began = wall();
  j->peer->swap(&j->part);
  j->peer->drain();
  j->ended = wall();
  j->peer->leave();
  return NULL;
}

static void empty_slots(void) {
  for (int i = 0; i < SLOTS; i++)
    free(atomic_exchange_explicit(&slots[i], NULL, memory_order_acq_rel));
}

/* Mops/s from the start until everything that was retired is freed; for one thread by processor
 * time, helpers' included, which says the same on a machine that is busy. */
static double time_swap(const struct peer *peer, int threads, unsigned n_slots, long n) {
  pthread_t ids[2];
  struct job jobs[2];
  pthread_barrier_t start;
  pthread_barrier_init(&start, NULL, (unsigned)threads + 1);
  for (int i = 0; i < threads; i++) {
    jobs[i] = (struct job){peer, {n / threads, n_slots, (unsigned)i * 3, NULL, NULL}, &start, 0, 0};
    pthread_create(&ids[i], NULL, work_on, &jobs[i]);
  }
  double spent = seconds(CLOCK_PROCESS_CPUTIME_ID);
  pthread_barrier_wait(&start);
  for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
  spent = seconds(CLOCK_PROCESS_CPUTIME_ID) - spent;
  if (threads > 1) spent = fmax(jobs[0].ended, jobs[1].ended) - fmin(jobs[0].began, jobs[1].began);
  pthread_barrier_destroy(&start);
  empty_slots();
  return (double)n / spent / 1e6;
}

/* A round: all of them, with another one first each time. */
static void swap_round(int threads, unsigned n_slots, int first, double mops[COUNT]) {
  for (int i = 0; i < COUNT; i++) {
    int k = (first + i) % COUNT;
    bool left_out = k == BARE && threads > 1; /* it would free what the other still has */
    mops[k] = left_out ? NAN : time_swap(&all[k], threads, n_slots, bench_count(1e6));
  }
}

/* How many rounds counted, of which each has its figures in mops. */
static int swap_rounds(int threads, unsigned n_slots, double mops[COUNT][MOST_ROUNDS]) {
  int rounds = bench_rounds(threads > 1 ? 15 : 9), counted = 0;
  for (int tries = 0; pair_goes_on(counted, rounds); tries++) {
    double now[COUNT], before = threads > 1 ? bare_pair() : 1;
    swap_round(threads, n_slots, tries, now);
    if (threads > 1 && !pair_is_calm(before, bare_pair())) continue;
    for (int i = 0; i < COUNT; i++) mops[i][counted] = now[i];
    counted++;
  }
  return counted;
}

static void bench_swap(int threads, unsigned n_slots, double target) {
  static double mops[COUNT][MOST_ROUNDS];
  int best = -1, rounds = swap_rounds(threads, n_slots, mops);
  unsigned thrown_away = bench_thrown_away; /* told once, with the ratio */
  bench_thrown_away = 0;
  char section[80];
  snprintf(section, sizeof section, "swap and retire, %d threads on %u slots", threads, n_slots);
  bench_section = section;
  printf("allocate 64 bytes, swap, retire, free: %d thread%s, %u slot%s, Mops/s%s\n", threads,
         threads > 1 ? "s" : "", n_slots, n_slots > 1 ? "s" : "",
         threads > 1 ? "" : " of processor time");
  if (threads > 1) printf("  %d calm rounds, %u thrown away\n", rounds, thrown_away);
  for (int i = 0; i < COUNT; i++) {
    if (i == BARE && threads > 1) continue;
    no_target(all[i].name, median(mops[i], rounds));
    if (i >= PEERS && (best < 0 || median(mops[i], rounds) > median(mops[best], rounds))) best = i;
  }
  bench_thrown_away = thrown_away;
  if (best < 0) return;
  char text[80];
  snprintf(text, sizeof text, "ours / the best peer (%s)", all[best].name);
  at_least(text, median_ratio(mops[OURS], mops[best], rounds), target);
  bench_section = "";
}

/* ---- a reader that sleeps ------------------------------------------------------------------- */

static struct {
  const struct peer *peer;
  pthread_barrier_t pinned, go_on;
} stall;

static void *sleep_pinned(void *ud) {
  stall.peer->enter();
  stall.peer->pin();
  pthread_barrier_wait(&stall.pinned);
  pthread_barrier_wait(&stall.go_on);
  stall.peer->unpin();
  stall.peer->leave();
  return ud;
}

/* One thread swaps for so long; the most that was retired and not freed, and its rate. */
static void swap_for(const struct peer *peer, double time, bool stalled, long *peak, double *rate) {
  pthread_t sleeper, writer;
  pthread_barrier_t start;
  _Atomic bool stop = false;
  _Atomic long retired = 0;
  struct job job = {peer, {0, 8, 0, &stop, &retired}, &start, 0, 0};
  stall.peer = peer;
  pthread_barrier_init(&start, NULL, 2);
  pthread_barrier_init(&stall.pinned, NULL, 2);
  pthread_barrier_init(&stall.go_on, NULL, 2);
  if (stalled) pthread_create(&sleeper, NULL, sleep_pinned, NULL);
  if (stalled) pthread_barrier_wait(&stall.pinned);
  store_rlx(&freed_nodes, 0);
  store_rlx(&count_freed, true);
  pthread_create(&writer, NULL, work_on, &job);
  pthread_barrier_wait(&start);
  double began = wall();
  *peak = 0;
  while (wall() < began + time) {
    long held = load_rlx(&retired) - load_rlx(&freed_nodes);
    if (held > *peak) *peak = held;
    usleep(1000);
  }
  store_rlx(&stop, true);
  *rate = (double)load_rlx(&retired) / (wall() - began) / 1e6;
  if (stalled) pthread_barrier_wait(&stall.go_on);
  if (stalled) pthread_join(sleeper, NULL);
  pthread_join(writer, NULL);
  store_rlx(&count_freed, false);
  empty_slots();
}

/* Ours knows its peak to the object; the others are looked at every millisecond. */
static long exact_peak;

static void note_exact_peak(void) {
  struct lethe_epoch_rec_stats r[4];
  uint32_t n = lethe_epoch_records(manager, r, 4);
  for (uint32_t i = 0; i < n && i < 4; i++)
    if ((long)r[i].peak > exact_peak) exact_peak = (long)r[i].peak;
}

static void *ours_watched(void *ud) {
  while (!load_rlx((_Atomic bool *)ud)) {
    note_exact_peak();
    usleep(2000);
  }
  return NULL;
}

static void bench_stall(void) {
  int rounds = bench_rounds(7);
  double time = bench_work() < 1 ? 0.02 : 1, stalled[MOST_ROUNDS], free_[MOST_ROUNDS];
  long peak, most = 0;
  bench_section = "a reader sleeps";
  printf("a reader pinned and asleep for %.2g s, one thread swaps and retires meanwhile\n", time);
  for (int i = PEERS; i < COUNT; i++) {
    double rate;
    swap_for(&all[i], time / 2, true, &peak, &rate);
    printf("  %-46s %9ld objects in %.2g s, %6.2f Mops/s\n", all[i].name, peak, time / 2, rate);
  }
  pthread_t watcher;
  _Atomic bool stop = false;
  pthread_create(&watcher, NULL, ours_watched, &stop);
  for (int r = 0; r < rounds; r++) {
    swap_for(&all[OURS], time / 4, false, &peak, &free_[r]);
    swap_for(&all[OURS], time, true, &peak, &stalled[r]);
    if (peak > most) most = peak;
  }
  store_rlx(&stop, true);
  pthread_join(watcher, NULL);
  printf("  %-46s %9ld objects in %.2g s, %6.2f Mops/s\n", "ours", exact_peak, time,
         median(stalled, rounds));
  at_most("peak objects of the retiring thread, all rounds", (double)exact_peak, 2600);
  at_least("the writer's rate / its rate without the reader", median_ratio(stalled, free_, rounds),
           0.9);
}

int main(void) {
  struct lethe_epoch_config config = {.mode = LETHE_EPOCH_AUTO};
  if (lethe_epoch_new(&manager, &lethe_alloc_libc, &config) != LETHE_OK) return 1;
#if HAVE_CK
  ck_epoch_init(&ck_epoch_of_all);
#endif
  if (!HAVE_CK || !HAVE_URCU) printf("peers are missing: install libck-dev and liburcu-dev\n");
  bench_pins();
  bench_reads();
  bench_swap(1, 1, 1.4);
  bench_swap(2, 1, 1.15);
  bench_swap(2, 64, 1.15);
  bench_stall();
  lethe_epoch_put(manager);
  return 0;
}
