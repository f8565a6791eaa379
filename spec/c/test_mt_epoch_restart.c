/* SPDX-License-Identifier: MIT
 * Restartable sections: asked to give way by a signal, safe without it, and trapped in test builds
 * where they do what must not be cut off. */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/epoch.h"

#include "lethe/epoch_restart.h"

enum { K = 3, BAG = 16 };

static int enable(void **state) {
  (void)state;
  return lethe_restart_enable(K) == LETHE_OK ? 0 : -1;
}

static void ignore(int number) { (void)number; }

static void enabling_says_why_it_fails(void **state) {
  (void)state;
  assert_int_equal(lethe_restart_enable(K), LETHE_OK); /* again */
  assert_int_equal(lethe_restart_enable(K + 1), LETHE_EEXISTS);
  assert_int_equal(lethe_restart_enable(-1), LETHE_EINVAL);
  assert_int_equal(lethe_restart_enable(100), LETHE_EINVAL);
  struct sigaction mine = {.sa_handler = ignore};
  sigaction(SIGRTMIN + K + 2, &mine, NULL);
  assert_int_equal(lethe_restart_enable(K + 2), LETHE_EEXISTS);
}

static void a_section_that_blocks_nobody_runs_once(void **state) {
  struct place p;
  struct lethe_restart s = {0};
  (void)state;
  open_auto(&p);
  lethe_restart_begin(&s, p.r);
  assert_true(lethe_epoch_pinned(p.r));
  assert_int_equal(lethe_epoch_safe(p.m), 1);
  lethe_restart_commit(&s);
  assert_int_equal(lethe_epoch_retire(p.r, &p, NULL, NULL, 0), LETHE_OK);
  assert_int_equal(lethe_restart_end(&s), 1);
  assert_false(lethe_epoch_pinned(p.r));
  close_place(&p);
}

/* A signal that was meant for an earlier section, or comes from anywhere, restarts nothing. */
static void a_signal_that_nobody_asked_for_restarts_nothing(void **state) {
  struct place p;
  struct lethe_restart s = {0};
  (void)state;
  open_auto(&p);
  pthread_kill(pthread_self(), SIGRTMIN + K);
  lethe_restart_begin(&s, p.r);
  pthread_kill(pthread_self(), SIGRTMIN + K);
  assert_int_equal(lethe_restart_end(&s), 1);
  lethe_epoch_pin(p.r);
  pthread_kill(pthread_self(), SIGRTMIN + K);
  assert_true(lethe_epoch_unpin(p.r));
  close_place(&p);
}

/* ---- two threads ---------------------------------------------------------------------------- */

static struct {
  struct lethe_epoch *m;
  _Atomic int phase;
  _Atomic bool stop;
  unsigned runs;
  _Atomic uint64_t freed;
} t;

/* ThreadSanitizer delivers signals where a thread calls into the C library. */
static void spin(void) { usleep(0); }

static void *block_until_restarted(void *ud) {
  struct lethe_epoch_rec *r;
  struct lethe_restart s = {0};
  bool commits = ud != NULL;
  lethe_epoch_register(t.m, &r);
  lethe_restart_begin(&s, r);
  store_rel(&t.phase, 1);
  if (commits) {
    lethe_restart_commit(&s);
    while (load_acq(&t.phase) != 2) spin();
  } else {
    while (s.runs < 2) spin(); /* for ever, but for the signal */
  }
  t.runs = lethe_restart_end(&s);
  lethe_epoch_unregister(r);
  return NULL;
}

static void retire_some(struct lethe_epoch_rec *r, int n) {
  for (int i = 0; i < n; i++) retire_pinned(r, &t, count_in, &t.freed, 0);
}

static void open_two(pthread_t *thread, struct lethe_epoch_rec **r, bool commits) {
  memset(&t, 0, sizeof t);
  t.m = new_manager(&lethe_alloc_libc, &(struct lethe_epoch_config){.bag_size = BAG});
  lethe_epoch_register(t.m, r);
  pthread_create(thread, NULL, block_until_restarted, commits ? &t : NULL);
  while (load_acq(&t.phase) == 0) spin();
}

static void close_two(pthread_t thread, struct lethe_epoch_rec *r) {
  pthread_join(thread, NULL);
  lethe_epoch_unregister(r);
  lethe_epoch_put(t.m);
}

static void a_section_that_holds_others_back_starts_anew(void **state) {
  pthread_t thread;
  struct lethe_epoch_rec *r;
  (void)state;
  open_two(&thread, &r, false);
  retire_some(r, BAG * (LETHE_EPOCH_BAGS + 1));
  close_two(thread, r); /* it has ended, so it was restarted */
  assert_true(t.runs >= 2);
}

static void a_committed_section_is_not_restarted_and_protects_to_its_end(void **state) {
  pthread_t thread;
  struct lethe_epoch_rec *r;
  (void)state;
  open_two(&thread, &r, true);
  retire_some(r, BAG * 30);
  assert_int_equal(load_rlx(&t.freed), 0);
  store_rel(&t.phase, 2);
  close_two(thread, r);
  assert_int_equal(t.runs, 1);
  assert_int_equal(load_rlx(&t.freed), BAG * 30);
}

/* ---- torture: reads without guards ---------------------------------------------------------- */

enum { SLOTS = 4, BYTES = 32, DEAD = 0xdd };
static _Atomic(unsigned char *) slots[SLOTS];
static _Atomic uint64_t bad, sections, restarts;

static void poison(void *object, void *ud) {
  (void)ud;
  memset(object, DEAD, BYTES);
  free(object);
}

static unsigned char *living(void) { return calloc(1, BYTES); }

/* Reads only; what it counts it counts after the section. */
static uint64_t read_slots(void) {
  uint64_t wrong = 0;
  for (int k = 0; k < 2000; k++)
    for (int i = 0; i < SLOTS; i++) {
      const unsigned char *o = load_acq(&slots[i]);
      for (int b = 0; b < BYTES; b++) wrong += o[b] != 0;
    }
  return wrong;
}

static void *read_in_sections(void *ud) {
  struct lethe_epoch_rec *r;
  lethe_epoch_register(t.m, &r);
  do { /* one at least: on a busy machine it may have no turn before the writer is done */
    struct lethe_restart s = {0};
    lethe_restart_begin(&s, r);
    uint64_t wrong = read_slots();
    lethe_restart_commit(&s);
    add_rlx(&bad, wrong);
    add_rlx(&restarts, lethe_restart_end(&s) - 1);
    add_rlx(&sections, 1);
    spin();
  } while (!load_rlx(&t.stop));
  lethe_epoch_unregister(r);
  return ud;
}

static void sections_read_without_guards_what_others_retire(void **state) {
  pthread_t threads[2];
  struct lethe_epoch_rec *r;
  uint64_t n = work(100000);
  (void)state;
  memset(&t, 0, sizeof t);
  t.m = new_manager(&lethe_alloc_libc, &(struct lethe_epoch_config){.bag_size = BAG});
  for (int i = 0; i < SLOTS; i++) store_rel(&slots[i], living());
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, read_in_sections, NULL);
  lethe_epoch_register(t.m, &r);
  for (uint64_t i = 0; i < n; i++)
    retire_pinned(r, swap_acqrel(&slots[i % SLOTS], living()), poison, NULL, BYTES);
  store_rlx(&t.stop, true);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  lethe_epoch_unregister(r);
  for (int i = 0; i < SLOTS; i++) free(load_acq(&slots[i]));
  lethe_epoch_put(t.m);
  printf("%llu sections, %llu restarts\n", (unsigned long long)load_rlx(&sections),
         (unsigned long long)load_rlx(&restarts));
  assert_int_equal(load_rlx(&bad), 0);
  assert_true(load_rlx(&sections) >= 2);
}

/* ---- traps ---------------------------------------------------------------------------------- */

#ifdef LETHE_FAULTS
static void allocate(struct place *p) { lethe_free(&lethe_alloc_libc, NULL, (size_t)p->m % 2); }
static void retire(struct place *p) { lethe_epoch_retire(p->r, p, NULL, NULL, 0); }
static void lock(struct place *p) {
  struct lethe_epoch_rec *extra;
  lethe_epoch_register_extra(p->m, &extra);
}

/* In a process of its own: how that ended. */
static int section_in_child(void (*fn)(struct place *p), bool commit) {
  int status = 0;
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    struct place p;
    struct lethe_restart s = {0};
    for (int i = 1; i < NSIG; i++) /* sanitizers would print */
      if (i == SIGILL || i == SIGTRAP) signal(i, SIG_DFL);
    open_auto(&p);
    lethe_restart_begin(&s, p.r);
    if (commit) lethe_restart_commit(&s);
    fn(&p);
    lethe_restart_end(&s);
    _exit(0);
  }
  waitpid(child, &status, 0);
  return status;
}

static void what_must_not_be_cut_off_traps_before_the_commit(void **state) {
  static void (*const what[])(struct place * p) = {allocate, retire, lock};
  (void)state;
  for (size_t i = 0; i < sizeof what / sizeof *what; i++) {
    assert_true(WIFSIGNALED(section_in_child(what[i], false)));
    assert_int_equal(section_in_child(what[i], true), 0);
  }
}
#endif

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(enabling_says_why_it_fails),
      cmocka_unit_test(a_section_that_blocks_nobody_runs_once),
      cmocka_unit_test(a_signal_that_nobody_asked_for_restarts_nothing),
      cmocka_unit_test(a_section_that_holds_others_back_starts_anew),
      cmocka_unit_test(a_committed_section_is_not_restarted_and_protects_to_its_end),
      cmocka_unit_test(sections_read_without_guards_what_others_retire),
#ifdef LETHE_FAULTS
      cmocka_unit_test(what_must_not_be_cut_off_traps_before_the_commit),
#endif
  };
  return cmocka_run_group_tests(tests, enable, NULL);
}
