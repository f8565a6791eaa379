/* SPDX-License-Identifier: MIT
 * Torture of ejection: readers check every byte of what they read and fall asleep wherever they
 * can, while writers swap and retire what they read, and destructors poison it. Nobody may ever
 * see poison. The control is the same without the check of guarded reads, and must see some.
 *
 * It goes on until enough pins were ejected: 10,000 times LETHE_WORK. */
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "harness/epoch.h"
#include "harness/fallback.h"
#include "harness/random.h"
#include "harness/threads.h"
#include "harness/unchecked.h"

enum { SLOTS = 8, BYTES = 64, BAG = 16 };
#define THREADS (test_threads(5) < 3 ? 3 : test_threads(5)) /* fewer hardly ever meet */
#define READERS ((THREADS * 3 + 4) / 5)

/* Every byte is the same, and says that the object lives. */
struct object {
  unsigned char bytes[BYTES];
};
enum { POISON = 0xdd, LIVES = 0x7f }; /* living ones are 0 .. LIVES */

static struct {
  struct lethe_epoch *m;
  _Atomic(struct object *) slots[SLOTS];
  _Atomic bool stop;
  bool checked;
  uint64_t seed;
  _Atomic uint64_t reads, told, bad, made, destroyed, hard_reads, peak;
} t;

/* ---- objects -------------------------------------------------------------------------------- */

/* What is destroyed stays allocated for a while, but for AddressSanitizer, which keeps it
 * itself: so the control reads poison and nothing worse. */
#if defined(__SANITIZE_ADDRESS__)
static void give_back(struct object *o) { free(o); }
static void empty_graveyard(void) {}
#else
enum { GRAVES = 4096 };
static _Atomic(struct object *) graves[GRAVES];
static _Atomic uint64_t next_grave;

static void give_back(struct object *o) {
  free(swap_acqrel(&graves[add_rlx(&next_grave, 1) % GRAVES], o));
}
static void empty_graveyard(void) {
  for (int i = 0; i < GRAVES; i++) free(swap_acqrel(&graves[i], NULL));
}
#endif

static struct object *make(struct test_random *random) {
  struct object *o = malloc(sizeof *o);
  memset(o->bytes, (int)test_below(random, LIVES + 1), BYTES);
  add_rlx(&t.made, 1);
  return o;
}

static void destroy(void *object, void *ud) {
  (void)ud;
  memset(object, POISON, BYTES);
  give_back(object);
  add_rlx(&t.destroyed, 1);
}

static void check(const struct object *o) {
  unsigned char first = o->bytes[0];
  bool good = first <= LIVES;
  for (int i = 1; i < BYTES; i++) good = good && o->bytes[i] == first;
  if (!good) add_rlx(&t.bad, 1);
}

static void doze(struct test_random *random) {
  struct timespec nap = {0, (long)test_below(random, 40000)};
  nanosleep(&nap, NULL);
}

/* ---- threads -------------------------------------------------------------------------------- */

static bool begin(struct lethe_epoch_rec *r, const struct object *o) {
  return t.checked ? lethe_epoch_read_begin(r, o) : unchecked_read_begin(r, o);
}

static struct object *pick(struct test_random *random) {
  return load_acq(&t.slots[test_below(random, SLOTS)]);
}

/* False: neutralized. */
static bool read_one(struct lethe_epoch_rec *r, struct test_random *random) {
  const struct object *o = pick(random);
  uint64_t mood = test_below(random, 64);
  if (mood == 0) doze(random); /* found, and not shown */
  if (!begin(r, o)) return false;
  check(o);
  if (mood == 1) {
    doze(random); /* shown */
    check(o);
  }
  lethe_epoch_read_end(r);
  add_rlx(&t.reads, 1);
  return true;
}

static void read_pinned(struct lethe_epoch_rec *r, struct test_random *random) {
  uint64_t n = test_below(random, 40);
  lethe_epoch_pin(r);
  for (uint64_t i = 0; i < n; i++) {
    if (i == 20) lethe_epoch_pin(r);
    if (read_one(r, random)) continue;
    add_rlx(&t.told, 1);
    if (test_below(random, 2)) break;
    lethe_epoch_repin(r);
  }
  while (lethe_epoch_pinned(r)) lethe_epoch_unpin(r);
}

/* A hard pin reads without guards. */
static void read_hard(struct lethe_epoch_rec *r, struct test_random *random) {
  lethe_epoch_pin(r);
  if (test_below(random, 2)) doze(random);
  const struct object *o = pick(random);
  if (lethe_epoch_harden(r)) {
    check(o);
    for (int i = 0; i < 10; i++) check(pick(random));
    add_rlx(&t.hard_reads, 1);
    lethe_epoch_soften(r);
  }
  lethe_epoch_unpin(r);
}

static void *reader(void *ud) {
  struct test_random random = {t.seed + 100 + (uintptr_t)ud};
  struct lethe_epoch_rec *r;
  assert_int_equal(lethe_epoch_register(t.m, &r), LETHE_OK);
  while (!load_rlx(&t.stop)) {
    uint64_t mood = test_below(&random, 256);
    if (mood < 8 && t.checked) read_hard(r, &random);
    if (mood == 8) { /* leaves, maybe as it is */
      if (test_below(&random, 2)) lethe_epoch_pin(r);
      lethe_epoch_unregister(r);
      assert_int_equal(lethe_epoch_register(t.m, &r), LETHE_OK);
    }
    read_pinned(r, &random);
  }
  return NULL; /* unregistered as the thread ends */
}

static void swap_one(struct lethe_epoch_rec *r, struct test_random *random) {
  struct object *made = make(random);
  _Atomic(struct object *) *slot = &t.slots[test_below(random, SLOTS)];
  lethe_epoch_pin(r);
  if (test_below(random, 2000) == 0) doze(random); /* a writer is ejected, too */
  struct object *old = swap_acqrel(slot, made);
  if (test_below(random, 2000) == 0) doze(random);
  if (lethe_epoch_retire(r, old, destroy, NULL, BYTES) != LETHE_OK) abort();
  lethe_epoch_unpin(r);
}

static void note_peak(void) {
  struct lethe_epoch_rec_stats r[MOST_THREADS + 2];
  uint32_t n = lethe_epoch_records(t.m, r, MOST_THREADS + 2);
  for (uint32_t i = 0; i < n; i++)
    if (r[i].peak > load_rlx(&t.peak)) store_rlx(&t.peak, r[i].peak);
}

static void *writer(void *ud) {
  struct test_random random = {t.seed + 200 + (uintptr_t)ud};
  struct lethe_epoch_rec *r;
  assert_int_equal(lethe_epoch_register(t.m, &r), LETHE_OK);
  for (uint64_t i = 1; !load_rlx(&t.stop); i++) {
    swap_one(r, &random);
    if (i % 5000 == 0) lethe_epoch_flush(r);
    if (i % 2000 == 0) note_peak();
  }
  note_peak();
  lethe_epoch_unregister(r);
  return NULL;
}

/* Somebody who only meddles. */
static void *meddler(void *ud) {
  struct test_random random = {t.seed + 300 + (uintptr_t)ud};
  struct lethe_epoch_rec *r;
  assert_int_equal(lethe_epoch_register(t.m, &r), LETHE_OK);
  while (!load_rlx(&t.stop)) {
    uint64_t cookie = lethe_epoch_start_poll(t.m);
    lethe_epoch_neutralize(t.m, NULL, test_below(&random, 3));
    lethe_epoch_advance(t.m);
    stats_of(t.m);
    for (int i = 0; i < 3; i++) lethe_epoch_barrier_step(t.m, r, cookie);
    doze(&random);
  }
  lethe_epoch_unregister(r);
  return NULL;
}

/* ---- runs ----------------------------------------------------------------------------------- */

static void start(pthread_t *threads, struct test_random *random) {
  for (int i = 0; i < SLOTS; i++) store_rel(&t.slots[i], make(random));
  for (int i = 0; i < THREADS; i++)
    pthread_create(threads++, NULL, i < READERS ? reader : writer, (void *)(uintptr_t)i);
  pthread_create(threads, NULL, meddler, NULL);
}

/* Until `ejections`, or bad reads where those are looked for, or too much time. */
static void torture(bool checked, uint64_t ejections, double seconds) {
  pthread_t threads[MOST_THREADS + 1];
  struct lethe_epoch_config config = {.bag_size = BAG};
  struct test_random random = test_seed(checked ? "torture" : "control");
  memset(&t, 0, sizeof t);
  t.checked = checked;
  t.seed = random.state;
  t.m = new_manager(&lethe_alloc_libc, &config);
  start(threads, &random);
  double end = lethe_clock_monotonic() + seconds;
  while (stats_of(t.m).ejections < ejections && lethe_clock_monotonic() < end &&
         (checked || load_rlx(&t.bad) == 0))
    usleep(2000);
  store_rlx(&t.stop, true);
  for (int i = 0; i < THREADS + 1; i++) pthread_join(threads[i], NULL);
}

static void finish(void) {
  for (int i = 0; i < SLOTS; i++) destroy(load_acq(&t.slots[i]), NULL);
  lethe_epoch_put(t.m);
  empty_graveyard();
}

static void nobody_reads_what_was_destroyed(void **state) {
  (void)state;
  uint64_t wanted = work(10000);
  torture(true, wanted, 60 + (double)wanted / 500);
  struct lethe_epoch_stats s = stats_of(t.m);
  assert_true(lethe_epoch_is_valid(t.m));
  finish();
  printf("%llu ejections, %llu reads, %llu told, %llu hard, %llu bad, %llu objects, peak %llu\n",
         (unsigned long long)s.ejections, (unsigned long long)load_rlx(&t.reads),
         (unsigned long long)load_rlx(&t.told), (unsigned long long)load_rlx(&t.hard_reads),
         (unsigned long long)load_rlx(&t.bad), (unsigned long long)load_rlx(&t.made),
         (unsigned long long)load_rlx(&t.peak));
  assert_int_equal(load_rlx(&t.bad), 0);
  assert_true(s.ejections >= wanted);
  assert_true(load_rlx(&t.told) > 0 && load_rlx(&t.reads) > 0 && load_rlx(&t.hard_reads) > 0);
  assert_int_equal(load_rlx(&t.made), load_rlx(&t.destroyed));
}

/* In a process of its own, which a sanitizer may end: how that ended. */
static int torture_in_child(bool checked, bool refused, uint64_t ejections, double time) {
  int status = 0;
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr)) _exit(9);
    lethe_fence_init();
    if (refused && !refuse_membarrier()) _exit(8);
    torture(checked, ejections, time);
    if (refused && lethe_fence_asymmetric) _exit(7);
    _exit(load_rlx(&t.bad) > 0 ? 1 : 0);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  return status;
}

static void without_the_check_somebody_does(void **state) {
  (void)state;
  assert_int_not_equal(torture_in_child(false, false, UINT64_MAX, 20), 0);
}

/* What was granted as the process began is refused later. */
static void nobody_does_if_membarrier_is_refused_later(void **state) {
  (void)state;
  assert_int_equal(torture_in_child(true, true, work(1000), 30), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(without_the_check_somebody_does),
      cmocka_unit_test(nobody_does_if_membarrier_is_refused_later),
      cmocka_unit_test(nobody_reads_what_was_destroyed),
  };
  return run_both_ways(tests);
}
