/* SPDX-License-Identifier: MIT
 * Forks in the midst of everything: the child has the forking thread's records alone, whole
 * bags, and what the others had retired as orphans. */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/epoch.h"
#include "harness/fallback.h"

enum { OTHERS = 2 };

static struct lethe_epoch *m;
static _Atomic bool stop;
static _Atomic int ready;
static _Atomic uint64_t freed, retired;

static void retire_one(struct lethe_epoch_rec *r) {
  if (lethe_epoch_retire(r, &freed, count_in, &freed, 1) == LETHE_OK) add_rlx(&retired, 1);
}

/* Holds a pin and bags while others fork. */
static void *hold(void *ud) {
  struct lethe_epoch_rec *r;
  lethe_epoch_register(m, &r);
  lethe_epoch_pin(r);
  for (int i = 0; i < 100; i++) retire_one(r);
  add_acqrel(&ready, 1);
  while (!load_rlx(&stop)) usleep(1000);
  lethe_epoch_unregister(r);
  return ud;
}

static void *keep_retiring(void *ud) {
  struct lethe_epoch_rec *r;
  lethe_epoch_register(m, &r);
  add_acqrel(&ready, 1);
  while (!load_rlx(&stop)) {
    lethe_epoch_pin(r);
    retire_one(r);
    lethe_epoch_unpin(r);
  }
  lethe_epoch_unregister(r);
  return ud;
}

/* What must be true in the child; the number of what is not. */
static int in_child(struct lethe_epoch_rec *r, uint64_t orphans) {
  struct lethe_epoch_stats s = stats_of(m);
  if (!lethe_epoch_is_valid(m)) return 1;
  if (s.threads != 1 || lethe_epoch_records(m, NULL, 0) != 1) return 2;
  if (s.orphans < orphans) return 3;
  if (lethe_epoch_current(m) != r) return 4;
  uint64_t before = load_rlx(&freed), limbo = s.limbo;
  for (int i = 0; i < 3; i++) lethe_epoch_flush(r); /* nobody is pinned any more */
  if (load_rlx(&freed) != before + limbo || stats_of(m).limbo != 0) return 5;
  struct lethe_epoch_rec *extra;
  if (lethe_epoch_register_extra(m, &extra) != LETHE_OK) return 6; /* no lock is left closed */
  lethe_epoch_pin(extra);
  lethe_epoch_unregister(extra);
  lethe_epoch_unregister(r);
  lethe_epoch_put(m);
  return 0;
}

static void fork_once(struct lethe_epoch_rec *r, uint64_t orphans) {
  int status = 0;
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(in_child(r, orphans));
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

static void fork_beside(void *(*body)(void *), uint64_t orphans, int times) {
  pthread_t threads[OTHERS];
  struct lethe_epoch_rec *r;
  m = new_manager(&lethe_alloc_libc, &(struct lethe_epoch_config){.bag_size = 16});
  store_rlx(&stop, false);
  store_rlx(&ready, 0);
  store_rlx(&freed, 0);
  store_rlx(&retired, 0);
  lethe_epoch_register(m, &r);
  for (int i = 0; i < OTHERS; i++) pthread_create(&threads[i], NULL, body, NULL);
  while (load_acq(&ready) < OTHERS) usleep(100);
  for (int i = 0; i < times; i++) fork_once(r, orphans);
  store_rlx(&stop, true);
  for (int i = 0; i < OTHERS; i++) pthread_join(threads[i], NULL);
  lethe_epoch_unregister(r);
  lethe_epoch_put(m);
  assert_int_equal(load_rlx(&freed), load_rlx(&retired)); /* the parent has noticed nothing */
}

static void the_child_keeps_its_own_records_and_adopts_the_rest(void **state) {
  (void)state;
  fork_beside(hold, OTHERS * 100, 3);
}

/* AddressSanitizer's allocator may be locked by another thread as the process forks. */
static void bags_are_whole_in_the_child_whenever_it_forks(void **state) {
  void *(*body)(void *) = keep_retiring;
  (void)state;
#if defined(__SANITIZE_ADDRESS__)
  body = hold;
#endif
  fork_beside(body, 0, (int)work(30));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_child_keeps_its_own_records_and_adopts_the_rest),
      cmocka_unit_test(bags_are_whole_in_the_child_whenever_it_forks),
  };
  return run_both_ways(tests);
}
