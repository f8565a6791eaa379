/* SPDX-License-Identifier: MIT
 * Replays in several threads over the same requests: each with a policy of its own, none waits for
 * another, and each counts what it counts alone. */
#include <pthread.h>
#include <stdlib.h>

#include "harness/unit.h"

#include "harness/random.h"
#include "lethe/replay.h"

enum { REQUESTS = 20000, NAMES = 14 };

static struct lethe_request requests[REQUESTS];

struct job {
  pthread_t thread;
  int from;
  uint64_t misses[NAMES], missed[NAMES];
};

static int replay(const char *name, struct job *j, int i) {
  struct lethe_evict *e;
  struct lethe_replay *r;
  int rc = lethe_evict_new(&e, &lethe_alloc_libc, name, 400, 1);
  if (rc) return rc;
  rc = lethe_replay_new(&r, e, false);
  if (rc) return rc;
  for (size_t at = 0; at < REQUESTS && !rc; at += 1000)
    rc = lethe_replay_run(r, requests + at, 1000);
  j->misses[i] = r->misses;
  j->missed[i] = r->missed;
  lethe_replay_delete(r);
  return rc;
}

/* Each begins with another policy, so that different ones run at the same time. */
static void *work(void *ud) {
  struct job *j = ud;
  for (int k = 0; k < NAMES; k++) {
    int i = (j->from + k) % NAMES;
    if (replay(lethe_evict_names[i], j, i)) return NULL;
  }
  return j;
}

static void replays_in_threads_count_as_alone(void **state) {
  static struct job jobs[4], alone;
  struct test_random random = test_seed("replays");
  (void)state;
  for (size_t i = 0; i < REQUESTS; i++)
    requests[i] = (struct lethe_request){.id = test_below(&random, 1 + test_below(&random, 900)),
                                         .size = (int64_t)test_below(&random, 9) + 1,
                                         .cost = 1};
  assert_int_equal(lethe_replay_fill_next(requests, REQUESTS, &lethe_alloc_libc), LETHE_OK);
  assert_non_null(work(&alone));
  for (int t = 0; t < 4; t++) {
    jobs[t].from = t * 3;
    assert_int_equal(pthread_create(&jobs[t].thread, NULL, work, &jobs[t]), 0);
  }
  for (int t = 0; t < 4; t++) {
    void *done = NULL;
    pthread_join(jobs[t].thread, &done);
    assert_ptr_equal(done, &jobs[t]);
    assert_memory_equal(jobs[t].misses, alone.misses, sizeof alone.misses);
    assert_memory_equal(jobs[t].missed, alone.missed, sizeof alone.missed);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(replays_in_threads_count_as_alone)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
