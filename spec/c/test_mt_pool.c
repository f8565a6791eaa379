/* SPDX-License-Identifier: MIT
 * What several threads do at once: references, fences, posts to a loop, the thread pool. Runs under
 * ThreadSanitizer too. */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "harness/unit.h"

#include "lethe/atomic.h"
#include "lethe/pool.h"
#include "lethe/ref.h"

enum { THREADS = 4 };

static struct lethe_loop *make(void) {
  struct lethe_loop *l = NULL;
  assert_int_equal(lethe_loop_new(&l, &lethe_alloc_libc, LETHE_CLOCK_REAL, NULL), 0);
  return l;
}

static void finish(struct lethe_loop *l) {
  lethe_loop_close(l);
  lethe_loop_put(l);
}

/* Turns until nothing is left; how many turns that took. */
static unsigned run(struct lethe_loop *l) {
  unsigned turns = 0;
  for (; lethe_loop_alive(l); turns++)
    if (lethe_loop_turn(l) == 0 && lethe_loop_alive(l)) lethe_loop_block(&l, 1);
  return turns;
}

/* ---- references ------------------------------------------------------------------------------ */

static struct {
  struct lethe_ref ref;
  int plain; /* written by every holder before its put: the last one must see all */
  _Atomic int ended;
} shared;

static void *hold_and_put(void *ud) {
  (void)ud;
  for (int i = 0; i < 10000; i++) {
    lethe_ref_get(&shared.ref);
    if (lethe_ref_put(&shared.ref)) add_rlx(&shared.ended, 100);
  }
  if (lethe_ref_put(&shared.ref)) {
    shared.plain = -1; /* alone now: no race, says ThreadSanitizer */
    add_rlx(&shared.ended, 1);
  }
  return NULL;
}

static void one_of_all_threads_puts_the_last_reference(void **state) {
  pthread_t threads[THREADS];
  (void)state;
  lethe_ref_init(&shared.ref);
  shared.plain = 1;
  store_rlx(&shared.ended, 0);
  for (int i = 1; i < THREADS; i++) lethe_ref_get(&shared.ref);
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, hold_and_put, NULL);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  assert_int_equal(load_rlx(&shared.ended), 1);
  assert_int_equal(shared.plain, -1);
}

/* ---- the asymmetric fence -------------------------------------------------------------------- */

/* Each side writes its flag, fences, reads the other's: never may both read 0. Under
 * ThreadSanitizer, which knows no fences, the flags are exchanged with sequentially consistent
 * operations. */
static struct {
  _Atomic int x, y;
  int read_x, read_y;
  pthread_barrier_t round;
} litmus;

enum { ROUNDS = 2000 };

static void *light_side(void *ud) {
  (void)ud;
  for (int i = 0; i < ROUNDS; i++) {
    pthread_barrier_wait(&litmus.round);
#if LETHE_TSAN
    store_seq(&litmus.x, 1);
    litmus.read_y = load_seq(&litmus.y);
#else
    store_rlx(&litmus.x, 1);
    lethe_fence_light();
    litmus.read_y = load_rlx(&litmus.y);
#endif
    pthread_barrier_wait(&litmus.round);
  }
  return NULL;
}

static void one_side_of_the_fence_sees_the_other(void **state) {
  pthread_t thread;
  (void)state;
  lethe_fence_init();
  pthread_barrier_init(&litmus.round, NULL, 2);
  pthread_create(&thread, NULL, light_side, NULL);
  for (int i = 0; i < ROUNDS; i++) {
    store_rlx(&litmus.x, 0);
    store_rlx(&litmus.y, 0);
    pthread_barrier_wait(&litmus.round);
#if LETHE_TSAN
    store_seq(&litmus.y, 1);
    litmus.read_x = load_seq(&litmus.x);
#else
    store_rlx(&litmus.y, 1);
    lethe_fence_heavy();
    litmus.read_x = load_rlx(&litmus.x);
#endif
    pthread_barrier_wait(&litmus.round);
    assert_true(litmus.read_x || litmus.read_y);
  }
  pthread_join(thread, NULL);
  pthread_barrier_destroy(&litmus.round);
}

static void *init_fence(void *ud) {
  lethe_fence_init();
  *(bool *)ud = lethe_fence_asymmetric;
  return NULL;
}

static void every_thread_may_init_the_fence(void **state) {
  pthread_t threads[THREADS];
  bool found[THREADS];
  (void)state;
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, init_fence, &found[i]);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < THREADS; i++) assert_int_equal(found[i], lethe_fence_asymmetric);
}

/* ---- posts from other threads ---------------------------------------------------------------- */

struct letter {
  struct lethe_message m;
  unsigned from, number;
};

enum { LETTERS = 2000 };

static struct {
  struct lethe_loop *loop;
  struct letter letters[THREADS][LETTERS];
  unsigned next[THREADS], got;
  bool in_order, closed;
} box;

static void receive(struct lethe_message *m, bool closed) {
  struct letter *l = lethe_container_of(m, struct letter, m);
  box.in_order = box.in_order && l->number == box.next[l->from]++;
  box.closed = box.closed || closed;
  box.got++;
}

static void *write_letters(void *ud) {
  struct letter *letters = ud;
  unsigned from = letters->from;
  for (unsigned i = 0; i < LETTERS; i++) {
    letters[i].m.run = receive;
    letters[i].from = from;
    letters[i].number = i;
    if (!lethe_loop_post(box.loop, &letters[i].m)) break;
  }
  lethe_loop_release(box.loop);
  lethe_loop_put(box.loop);
  return NULL;
}

static void start_writers(pthread_t *threads) {
  memset(&box, 0, sizeof box);
  box.in_order = true;
  box.loop = make();
  for (unsigned i = 0; i < THREADS; i++) {
    box.letters[i][0].from = i;
    lethe_loop_hold(box.loop);
    lethe_loop_get(box.loop);
    pthread_create(&threads[i], NULL, write_letters, box.letters[i]);
  }
}

static void messages_of_each_thread_come_in_its_order(void **state) {
  pthread_t threads[THREADS];
  (void)state;
  start_writers(threads);
  while (box.got < THREADS * LETTERS)
    if (lethe_loop_turn(box.loop) == 0) lethe_loop_block(&box.loop, 1);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  assert_true(box.in_order);
  assert_false(box.closed);
  assert_false(lethe_loop_alive(box.loop));
  finish(box.loop);
}

/* What was accepted is run, what was refused is not: nothing is lost, and nothing runs twice. */
static void a_loop_may_close_while_others_post(void **state) {
  pthread_t threads[THREADS];
  (void)state;
  start_writers(threads);
  while (box.got < 100)
    if (lethe_loop_turn(box.loop) == 0) lethe_loop_block(&box.loop, 1);
  lethe_loop_close(box.loop);
  unsigned got = box.got;
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  assert_int_equal(box.got, got);
  assert_true(box.in_order);
  lethe_loop_put(box.loop);
}

static void *write_late(void *ud) {
  struct letter *l = ud;
  usleep(30000);
  l->m.run = receive;
  lethe_loop_post(box.loop, &l->m);
  return NULL;
}

/* The loop sleeps until the message comes: it does not poll. */
static void a_post_wakes_a_blocked_loop(void **state) {
  pthread_t thread;
  unsigned turns = 0;
  (void)state;
  memset(&box, 0, sizeof box);
  box.loop = make();
  pthread_create(&thread, NULL, write_late, &box.letters[0][0]);
  double began = lethe_clock_monotonic();
  while (box.got == 0) {
    lethe_loop_block(&box.loop, 1);
    lethe_loop_turn(box.loop);
    turns++;
  }
  assert_true(lethe_clock_monotonic() >= began + 0.03);
  assert_true(turns <= 2);
  pthread_join(thread, NULL);
  finish(box.loop);
}

/* A turn inside a message takes the rest of the inbox and blocks: the next post must wake it. */
static struct letter inner_letter;

static void wait_inside(struct lethe_message *m, bool closed) {
  (void)m;
  (void)closed;
  while (box.got == 0)
    if (lethe_loop_turn(box.loop) == 0) lethe_loop_block(&box.loop, 1);
}

static void a_post_wakes_a_loop_that_blocks_inside_a_message(void **state) {
  pthread_t thread;
  struct letter outer = {.m.run = wait_inside};
  (void)state;
  memset(&box, 0, sizeof box);
  box.loop = make();
  lethe_loop_post(box.loop, &outer.m);
  pthread_create(&thread, NULL, write_late, &inner_letter);
  assert_int_equal(lethe_loop_turn(box.loop), 1);
  assert_int_equal(box.got, 1);
  pthread_join(thread, NULL);
  finish(box.loop);
}

static void *interrupt_late(void *ud) {
  usleep(20000);
  lethe_loop_interrupt(ud);
  return NULL;
}

static void another_thread_may_interrupt_a_block(void **state) {
  pthread_t thread;
  (void)state;
  struct lethe_loop *l = make();
  pthread_create(&thread, NULL, interrupt_late, l);
  lethe_loop_block(&l, 1);
  pthread_join(thread, NULL);
  finish(l);
}

/* ---- the pool -------------------------------------------------------------------------------- */

struct job {
  struct lethe_job job;
  int input, output, done;
  bool closed, signals_blocked;
  pthread_t worker, deliverer;
  pthread_mutex_t *gate;
};

static void square(struct lethe_job *j) {
  struct job *job = lethe_container_of(j, struct job, job);
  sigset_t mask;
  if (job->gate) {
    pthread_mutex_lock(job->gate);
    pthread_mutex_unlock(job->gate);
  }
  pthread_sigmask(SIG_SETMASK, NULL, &mask);
  job->signals_blocked = sigismember(&mask, SIGINT) == 1 && sigismember(&mask, SIGUSR1) == 1;
  job->worker = pthread_self();
  job->output = job->input * job->input;
}

static void deliver(struct lethe_job *j, bool closed) {
  struct job *job = lethe_container_of(j, struct job, job);
  job->done++;
  job->closed = closed;
  job->deliverer = pthread_self();
}

static int submit(struct lethe_pool *p, struct lethe_loop *l, struct job *job, int input) {
  job->input = input;
  return lethe_pool_submit(p, l, &job->job, square, deliver);
}

static void jobs_run_in_pool_threads_and_answer_in_the_loops(void **state) {
  enum { JOBS = 1000 };
  static struct job jobs[JOBS];
  (void)state;
  for (unsigned size = 1; size <= 3; size++) {
    struct lethe_loop *l = make();
    struct lethe_pool *p = NULL;
    memset(jobs, 0, sizeof jobs);
    assert_int_equal(lethe_pool_new(&p, &lethe_alloc_libc, size), 0);
    for (int i = 0; i < JOBS; i++) assert_int_equal(submit(p, l, &jobs[i], i), 0);
    assert_true(lethe_loop_alive(l));
    run(l);
    for (int i = 0; i < JOBS; i++) {
      assert_int_equal(jobs[i].done, 1);
      assert_int_equal(jobs[i].output, i * i);
      assert_false(jobs[i].closed);
      assert_true(jobs[i].signals_blocked);
      assert_true(pthread_equal(jobs[i].deliverer, pthread_self()));
      assert_false(pthread_equal(jobs[i].worker, pthread_self()));
    }
    lethe_pool_delete(p);
    finish(l);
  }
}

static void deleting_a_pool_waits_for_its_jobs(void **state) {
  static struct job jobs[50];
  (void)state;
  struct lethe_loop *l = make();
  struct lethe_pool *p = NULL;
  memset(jobs, 0, sizeof jobs);
  lethe_pool_new(&p, &lethe_alloc_libc, 2);
  for (int i = 0; i < 50; i++) submit(p, l, &jobs[i], i);
  lethe_pool_delete(p);
  for (int i = 0; i < 50; i++) assert_int_equal(jobs[i].output, i * i);
  run(l); /* the answers were posted */
  for (int i = 0; i < 50; i++) assert_int_equal(jobs[i].done, 1);
  finish(l);
  lethe_pool_new(&p, &lethe_alloc_libc, 2);
  lethe_pool_delete(p); /* without a job, without a thread */
  assert_int_equal(lethe_pool_new(&p, &lethe_alloc_libc, 0), LETHE_EINVAL);
}

/* Some answers are queued when the loop closes, others come later: all end, with closed = true. */
static void jobs_that_outlive_their_loop_end_as_closed(void **state) {
  static struct job jobs[20];
  (void)state;
  pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
  struct lethe_loop *l = make();
  struct lethe_pool *p = NULL;
  memset(jobs, 0, sizeof jobs);
  lethe_pool_new(&p, &lethe_alloc_libc, 2);
  pthread_mutex_lock(&gate);
  for (int i = 0; i < 20; i++) {
    jobs[i].gate = i < 10 ? NULL : &gate;
    submit(p, l, &jobs[i], i);
  }
  while (!lethe_loop_ready(l)) lethe_loop_block(&l, 1);
  finish(l); /* our reference; the jobs' keep its memory */
  pthread_mutex_unlock(&gate);
  lethe_pool_delete(p);
  for (int i = 0; i < 20; i++) {
    assert_int_equal(jobs[i].done, 1);
    assert_true(jobs[i].closed);
    assert_int_equal(jobs[i].output, i * i);
  }
}

static struct {
  struct lethe_pool *pool;
  struct lethe_loop *loop;
  struct job job;
  int rounds;
} chain;

static void again(struct lethe_job *j, bool closed) {
  (void)closed;
  if (++chain.rounds < 100) lethe_pool_submit(chain.pool, chain.loop, j, square, again);
}

static void a_job_may_submit_the_next_from_its_answer(void **state) {
  (void)state;
  memset(&chain, 0, sizeof chain);
  chain.loop = make();
  lethe_pool_new(&chain.pool, &lethe_alloc_libc, 2);
  assert_int_equal(lethe_pool_submit(chain.pool, chain.loop, &chain.job.job, square, again), 0);
  run(chain.loop);
  assert_int_equal(chain.rounds, 100);
  lethe_pool_delete(chain.pool);
  finish(chain.loop);
}

static void without_a_thread_nothing_has_happened(void **state) {
  (void)state;
#ifdef LETHE_FAULTS
  static struct job jobs[3];
  struct lethe_loop *l = make();
  struct lethe_pool *p = NULL;
  memset(jobs, 0, sizeof jobs);
  lethe_pool_new(&p, &lethe_alloc_libc, 2);
  lethe_fault_arm(LETHE_FAULT_THREAD, 1);
  assert_int_equal(submit(p, l, &jobs[0], 2), LETHE_ETHREAD);
  assert_false(lethe_loop_alive(l));
  assert_int_equal(submit(p, l, &jobs[0], 2), 0); /* the next attempt goes through */
  lethe_fault_arm(LETHE_FAULT_THREAD, 1);
  assert_int_equal(submit(p, l, &jobs[1], 3), 0); /* one thread is there: it takes this one too */
  assert_int_equal(submit(p, l, &jobs[2], 4), 0);
  lethe_fault_arm(LETHE_FAULT_THREAD, 0);
  run(l);
  for (int i = 0; i < 3; i++) assert_int_equal(jobs[i].done, 1);
  assert_int_equal(jobs[2].output, 16);
  lethe_pool_delete(p);
  lethe_fault_arm(LETHE_FAULT_ALLOC, 1);
  assert_int_equal(lethe_pool_new(&p, &lethe_alloc_libc, 2), LETHE_ENOMEM);
  lethe_fault_arm(LETHE_FAULT_ALLOC, 0);
  finish(l);
#else
  assert_false(lethe_fault(LETHE_FAULT_THREAD));
#endif
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_of_all_threads_puts_the_last_reference),
      cmocka_unit_test(one_side_of_the_fence_sees_the_other),
      cmocka_unit_test(every_thread_may_init_the_fence),
      cmocka_unit_test(messages_of_each_thread_come_in_its_order),
      cmocka_unit_test(a_loop_may_close_while_others_post),
      cmocka_unit_test(a_post_wakes_a_blocked_loop),
      cmocka_unit_test(a_post_wakes_a_loop_that_blocks_inside_a_message),
      cmocka_unit_test(another_thread_may_interrupt_a_block),
      cmocka_unit_test(jobs_run_in_pool_threads_and_answer_in_the_loops),
      cmocka_unit_test(deleting_a_pool_waits_for_its_jobs),
      cmocka_unit_test(jobs_that_outlive_their_loop_end_as_closed),
      cmocka_unit_test(a_job_may_submit_the_next_from_its_answer),
      cmocka_unit_test(without_a_thread_nothing_has_happened),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
