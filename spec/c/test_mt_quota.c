/* SPDX-License-Identifier: MIT
 * The quota tracker from several threads: each with a loop and a member of its own, on one tracker,
 * while passes run and participants are asked in their owners' threads. Runs under ThreadSanitizer
 * too. SEED= repeats the choices, if not the schedule; LETHE_WORK multiplies the length. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/unit.h"

#include "harness/random.h"
#include "harness/threads.h"
#include "lethe/quota.h"

enum { MIB = 1 << 20, PARTS = 8, CLONES = 2 };
#define THREADS test_threads(4)

/* An assertion for any thread: cmocka's jump out of a test is the main thread's alone. */
#define MUST(condition)                                               \
  do {                                                                \
    if (!(condition)) {                                               \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
      abort();                                                        \
    }                                                                 \
  } while (0)

static long work(void) {
  const char *w = getenv("LETHE_WORK");
  return w && atol(w) > 0 ? atol(w) : 1;
}

/* ---- workers --------------------------------------------------------------------------------- */

struct part {
  struct worker *w;
  struct lethe_quota_handle h[1 + CLONES];
  bool open[1 + CLONES];
  uint64_t account;
  int64_t held;
  double age;
  bool stays;
};

struct worker {
  pthread_t thread; /* as it says itself */
  pthread_t handle; /* as its creator knows it */
  int number;
  struct lethe_quota *t;
  struct lethe_loop *loop;
  struct lethe_quota_member *m;
  struct test_random r;
  struct part parts[PARTS];
  uint64_t shared; /* an account of all */
  _Atomic unsigned asked, ages;
  _Atomic bool *stop;
  void (*run)(struct worker *w);
};

static int oldest(void *member_ud, uint64_t id, void *ud, double *age) {
  struct part *p = ud;
  struct worker *w = member_ud;
  (void)id;
  MUST(p->w == w);
  MUST(pthread_equal(w->thread, pthread_self()));
  w->ages++;
  *age = p->age;
  return 1;
}

static void reclaim(void *member_ud, uint64_t id, void *ud,
                    const struct lethe_quota_request *request, struct lethe_quota_call *call) {
  struct part *p = ud;
  struct worker *w = member_ud;
  (void)id;
  (void)request;
  MUST(pthread_equal(w->thread, pthread_self()));
  w->asked++;
  int64_t half = p->held / 2;
  if (p->stays && p->open[0]) {
    lethe_quota_release(&p->h[0], half);
    p->held -= half;
  }
  lethe_quota_answer(call, p->stays);
}

static const struct lethe_quota_member_ops ops = {oldest, reclaim, NULL};

static void begin(struct worker *w, struct lethe_quota *t, int number) {
  w->t = t;
  w->number = number;
  w->thread = pthread_self();
  w->r.state = (uint64_t)number * 77 + 1;
  MUST(lethe_loop_new(&w->loop, &lethe_alloc_libc, LETHE_CLOCK_REAL, NULL) == 0);
  MUST(lethe_quota_member_new(&w->m, t, w->loop, &ops, w) == 0);
}

static void close_part(struct worker *w, struct part *p) {
  for (int k = 0; k <= CLONES; k++) {
    if (p->open[k]) lethe_quota_handle_close(&p->h[k]);
    p->open[k] = false;
  }
  if (p->account && p->account != w->shared) lethe_quota_account_close(w->t, p->account);
  p->account = 0;
}

static void end(struct worker *w) {
  for (int i = 0; i < PARTS; i++) close_part(w, &w->parts[i]);
  while (lethe_loop_ready(w->loop)) lethe_loop_turn(w->loop);
  lethe_quota_member_delete(w->m);
  lethe_loop_close(w->loop);
  lethe_loop_put(w->loop);
}

static uint64_t account(struct lethe_quota *t, struct lethe_quota_account_config c,
                        uint64_t parent) {
  uint64_t id = 0;
  if (c.max == 0) c.max = LETHE_QUOTA_NO_LIMIT;
  int rc = lethe_quota_account_new(t, &c, parent, &id);
  return rc == LETHE_OK ? id : 0;
}

static void open_part(struct worker *w, struct part *p, uint64_t a) {
  uint64_t id;
  *p = (struct part){.w = w, .account = a, .age = (double)test_below(&w->r, 100)};
  p->stays = test_below(&w->r, 2) != 0;
  p->open[0] = lethe_quota_handle_open(&p->h[0], w->m, a, p, false, &id) == LETHE_OK;
  if (!p->open[0]) close_part(w, p);
}

static struct lethe_quota *tracker(int64_t max, double deadline) {
  struct lethe_quota_config c = {.max = max, .low_water = -1, .deadline = deadline};
  struct lethe_quota *t;
  const char *why;
  MUST(lethe_quota_new(&t, &lethe_alloc_libc, &c, NULL, NULL, &why) == 0);
  return t;
}

static void check(struct lethe_quota *t) {
  char why[200];
  int rc = lethe_quota_check(t, why, sizeof why);
  if (rc) fprintf(stderr, "%s\n", why);
  MUST(rc == LETHE_OK);
}

static struct lethe_quota_stats stats(struct lethe_quota *t) {
  struct lethe_quota_stats s;
  lethe_quota_read_stats(t, &s);
  return s;
}

static void *thread_main(void *ud) {
  struct worker *w = ud;
  begin(w, w->t, w->number);
  w->run(w);
  end(w);
  return NULL;
}

static void start(struct worker *w, struct lethe_quota *t, int number, uint64_t shared,
                  _Atomic bool *stop, void (*run)(struct worker *w)) {
  *w = (struct worker){.t = t, .number = number, .shared = shared, .stop = stop, .run = run};
  MUST(pthread_create(&w->handle, NULL, thread_main, w) == 0);
}

static void join(struct worker *w, int n) {
  for (int i = 0; i < n; i++) pthread_join(w[i].handle, NULL);
}

/* Turns w's loop until the condition holds; false after ten seconds. */
static bool turn_until(struct worker *w, bool (*holds)(struct worker *w)) {
  double until = lethe_clock_monotonic() + 10;
  while (!holds(w)) {
    if (lethe_clock_monotonic() > until) return false;
    if (lethe_loop_turn(w->loop) == 0) usleep(200);
  }
  return true;
}

/* ---- everything at once ---------------------------------------------------------------------- */

static void one_claim(struct worker *w, struct part *p) {
  int k = (int)test_below(&w->r, 1 + CLONES);
  int64_t n = (int64_t)(test_below(&w->r, 10) ? test_below(&w->r, 300) : test_below(&w->r, 200000));
  if (p->open[k] && lethe_quota_claim(&p->h[k], n) == LETHE_OK) p->held += n;
}

static void one_release(struct worker *w, struct part *p) {
  int k = (int)test_below(&w->r, 1 + CLONES);
  int64_t n = p->held > 0 ? (int64_t)test_below(&w->r, (uint64_t)p->held + 1) : 0;
  if (!p->open[k]) return;
  lethe_quota_release(&p->h[k], n);
  p->held -= n;
}

static void one_of_few(struct worker *w, struct part *p) {
  struct lethe_quota_account_info top[3];
  int k = 1 + (int)test_below(&w->r, CLONES);
  switch (test_below(&w->r, 8)) {
  case 0:
    close_part(w, p);
    break;
  case 1:
    if (p->open[0] && !p->open[k]) lethe_quota_handle_clone(&p->h[k], &p->h[0]);
    p->open[k] = p->open[k] || p->open[0];
    break;
  case 2:
    if (p->open[k]) lethe_quota_handle_close(&p->h[k]);
    p->open[k] = false;
    break;
  case 3:
    if (p->open[0] && lethe_quota_handle_state(&p->h[0]) == LETHE_OK)
      lethe_quota_handle_used(&p->h[0]);
    break;
  case 4:
    lethe_quota_top(w->t, top, 3);
    break;
  case 5:
    if (p->open[0]) lethe_quota_handle_destroy(&p->h[0]);
    break;
  case 6:
    lethe_quota_account_add_parent(w->t, p->account, w->shared);
    break;
  default:
    if (test_below(&w->r, 20) == 0) check(w->t);
  }
}

static void one_operation(struct worker *w) {
  struct part *p = &w->parts[test_below(&w->r, PARTS)];
  uint64_t what = test_below(&w->r, 100);
  if (!p->account) {
    uint64_t a =
        what % 4 == 0 ? w->shared : account(w->t, (struct lethe_quota_account_config){0}, 0);
    open_part(w, p, a);
  } else if (what < 55) {
    one_claim(w, p);
  } else if (what < 90) {
    one_release(w, p);
  } else if (what < 97) {
    lethe_loop_turn(w->loop);
  } else {
    one_of_few(w, p);
    if (p->open[0] && lethe_quota_handle_state(&p->h[0]) != LETHE_OK) close_part(w, p);
  }
}

static void many_operations(struct worker *w) {
  double until = lethe_clock_monotonic() + 5; /* the home thread may get its turn late */
  for (long i = 0; i < 20000 * work() || stats(w->t).victims < 50; i++) {
    one_operation(w);
    if (i % 1000 == 0 && lethe_clock_monotonic() > until) break;
  }
  atomic_store(w->stop, true);
}

static void all_threads_do_everything(void **state) {
  struct lethe_quota *t = tracker(MIB / 4, 0.02);
  static struct worker home, workers[MOST_THREADS];
  _Atomic bool stop[MOST_THREADS] = {0};
  struct lethe_quota_account_config limited = {.name = "shared", .max = MIB / 8};
  (void)state;
  home = (struct worker){0};
  begin(&home, t, 0);
  uint64_t shared = account(t, limited, 0);
  for (int i = 0; i < THREADS; i++) start(&workers[i], t, i + 1, shared, &stop[i], many_operations);
  for (int left = THREADS; left > 0;) {
    one_operation(&home);
    lethe_loop_turn(home.loop);
    left = 0;
    for (int i = 0; i < THREADS; i++) left += !atomic_load(&stop[i]);
  }
  join(workers, THREADS);
  check(t);
  struct lethe_quota_stats s = stats(t);
  unsigned asked = home.asked;
  for (int i = 0; i < THREADS; i++) asked += workers[i].asked;
  printf("  %llu passes, %llu victims, %u requests\n", (unsigned long long)s.reclaims,
         (unsigned long long)s.victims, asked);
  MUST(s.reclaims > 0 && s.victims > 0 && s.longest_hold <= LETHE_QUOTA_SLICE);
  lethe_quota_account_close(t, shared);
  end(&home);
  check(t);
  MUST(lethe_quota_used(t) == 0);
  MUST(stats(t).accounts == 0);
  lethe_quota_put(t);
}

/* ---- exact limits ---------------------------------------------------------------------------- */

static _Atomic int64_t claimed;
static const int64_t limit = 100000;

static void claim_to_the_limit(struct worker *w) {
  struct lethe_quota_handle h[3];
  int64_t held[3] = {0};
  uint64_t id, own = account(w->t, (struct lethe_quota_account_config){0}, w->shared);
  for (int k = 0; k < 3; k++) {
    struct part *p = &w->parts[k];
    *p = (struct part){.w = w};
    uint64_t a = k ? own : w->shared;
    MUST(lethe_quota_handle_open(&h[k], w->m, a, p, false, &id) == 0);
  }
  for (long i = 0; i < 20000 * work(); i++) {
    int k = (int)test_below(&w->r, 3);
    int64_t n = (int64_t)test_below(&w->r, test_below(&w->r, 5) ? 100 : 30000);
    if (test_below(&w->r, 2) && held[k] >= n) {
      held[k] -= n;
      atomic_fetch_sub(&claimed, n);
      lethe_quota_release(&h[k], n);
    } else if (lethe_quota_claim(&h[k], n) == LETHE_OK) {
      held[k] += n;
      MUST(atomic_fetch_add(&claimed, n) + n <= limit);
    } else {
      atomic_fetch_sub(&claimed, held[k]);
      lethe_quota_release(&h[k], held[k]);
      held[k] = 0;
    }
    if (i % 64 == 0) lethe_loop_turn(w->loop);
  }
  for (int k = 0; k < 3; k++) {
    atomic_fetch_sub(&claimed, held[k]);
    lethe_quota_handle_close(&h[k]);
  }
  lethe_quota_account_close(w->t, own);
  atomic_store(w->stop, true);
}

static void a_limit_is_exact_whoever_claims(void **state) {
  struct lethe_quota *t = tracker(20 * MIB, 5);
  static struct worker home, workers[MOST_THREADS];
  _Atomic bool stop[MOST_THREADS] = {0};
  struct lethe_quota_account_config limited = {.max = limit};
  struct lethe_quota_handle h;
  uint64_t id;
  (void)state;
  home = (struct worker){0};
  begin(&home, t, 0);
  uint64_t shared = account(t, limited, 0);
  for (int i = 0; i < THREADS; i++)
    start(&workers[i], t, i + 1, shared, &stop[i], claim_to_the_limit);
  join(workers, THREADS);
  MUST(atomic_load(&claimed) == 0);
  check(t);
  MUST(lethe_quota_handle_open(&h, home.m, shared, &home.parts[0], false, &id) == 0);
  MUST(lethe_quota_claim(&h, limit) == LETHE_OK); /* all of it is there again */
  MUST(lethe_quota_claim(&h, 1) == LETHE_ELIMIT);
  lethe_quota_handle_close(&h);
  lethe_quota_account_close(t, shared);
  end(&home);
  MUST(lethe_quota_used(t) == 0);
  lethe_quota_put(t);
}

/* ---- caches of threads that run on ----------------------------------------------------------- */

static _Atomic bool frozen_stop;
static _Atomic unsigned frozen_ready;

static void claim_and_release_only(struct worker *w) {
  struct lethe_quota_handle h;
  uint64_t id;
  w->parts[0].w = w;
  MUST(lethe_quota_handle_open(&h, w->m, w->shared, &w->parts[0], false, &id) == 0);
  atomic_fetch_add(&frozen_ready, 1);
  int64_t kept = 0;
  for (long i = 0; !atomic_load_explicit(&frozen_stop, memory_order_relaxed); i++) {
    if (lethe_quota_claim(&h, 10) == LETHE_OK) kept += 10;
    if (i % 3) continue;
    lethe_quota_release(&h, kept);
    kept = 0;
  }
  MUST(lethe_quota_handle_used(&h) == kept);
  MUST(lethe_quota_handle_close(&h) == kept);
}

static void caches_are_called_back_from_running_threads(void **state) {
  struct lethe_quota *t = tracker(20 * MIB, 5);
  static struct worker home, workers[2];
  struct lethe_quota_account_config limited = {.max = MIB};
  struct lethe_quota_handle h;
  uint64_t id;
  (void)state;
  home = (struct worker){0};
  begin(&home, t, 0);
  uint64_t shared = account(t, limited, 0);
  atomic_store(&frozen_stop, false);
  for (int i = 0; i < 2; i++)
    start(&workers[i], t, i + 1, shared, &frozen_stop, claim_and_release_only);
  while (atomic_load(&frozen_ready) < 2) usleep(100);
  home.parts[0].w = &home;
  MUST(lethe_quota_handle_open(&h, home.m, shared, &home.parts[0], false, &id) == 0);
  for (int i = 0; i < 500; i++) {
    /* All that can be there but for what the others hold now, 30 bytes each at most. */
    MUST(lethe_quota_claim(&h, MIB - 60) == LETHE_OK);
    lethe_quota_release(&h, MIB - 60);
    if (i % 50 == 0) check(t);
  }
  atomic_store(&frozen_stop, true);
  join(workers, 2);
  lethe_quota_handle_close(&h);
  lethe_quota_account_close(t, shared);
  check(t);
  end(&home);
  MUST(lethe_quota_used(t) == 0);
  lethe_quota_put(t);
}

/* ---- a thread that does not turn ------------------------------------------------------------- */

static _Atomic int step_of;

static void await_step(int step) {
  while (atomic_load(&step_of) < step) usleep(200);
}

static void sleep_with_a_participant(struct worker *w) {
  struct part *p = &w->parts[0];
  uint64_t id, a = account(w->t, (struct lethe_quota_account_config){0}, 0);
  *p = (struct part){.w = w, .account = a, .age = 1, .stays = true, .open = {true}};
  MUST(lethe_quota_handle_open(&p->h[0], w->m, a, p, false, &id) == LETHE_OK);
  MUST(lethe_quota_claim(&p->h[0], 10 * MIB) == LETHE_OK);
  atomic_store(&step_of, 1);
  while (atomic_load(&step_of) < 2) lethe_loop_turn(w->loop); /* tells its age, and stays */
  await_step(3);                                              /* and then hears nothing */
}

static bool is_idle(struct worker *w) { return lethe_quota_used(w->t) <= 15 * MIB; }
static bool is_stuck(struct worker *w) { return stats(w->t).stuck > 0; }

static void a_thread_that_never_turns_stands_with_its_last_age_until_the_deadline(void **state) {
  struct lethe_quota *t = tracker(20 * MIB, 0.2);
  struct lethe_quota_account_config reserved = {.reserve = 50 * (int64_t)MIB};
  static struct worker home, sleeper;
  struct part *p = &home.parts[0];
  uint64_t id;
  (void)state;
  home = (struct worker){0};
  begin(&home, t, 0);
  atomic_store(&step_of, 0);
  start(&sleeper, t, 1, 0, NULL, sleep_with_a_participant);
  await_step(1);
  uint64_t a = account(t, reserved, 0);
  *p = (struct part){.w = &home, .account = a, .age = 2, .open = {true}};
  MUST(lethe_quota_handle_open(&p->h[0], home.m, a, p, false, &id) == LETHE_OK);
  MUST(lethe_quota_claim(&p->h[0], 11 * MIB) == LETHE_OK);
  MUST(turn_until(&home, is_stuck)); /* over max, and nobody gives anything */
  MUST(sleeper.ages == 1 && sleeper.asked == 1);
  atomic_store(&step_of, 2);
  usleep(10000);
  MUST(lethe_quota_claim(&p->h[0], MIB) == LETHE_OK);
  double began = lethe_clock_monotonic();
  MUST(turn_until(&home, is_idle));
  MUST(lethe_clock_monotonic() - began >= 0.2); /* its request lasted till the deadline */
  MUST(sleeper.ages == 1 && sleeper.asked == 1 && home.asked == 0);
  MUST(lethe_quota_used(t) == 12 * MIB);
  atomic_store(&step_of, 3);
  join(&sleeper, 1);
  close_part(&home, p);
  check(t);
  end(&home);
  MUST(lethe_quota_used(t) == 0);
  lethe_quota_put(t);
}

/* ---- policies of other threads --------------------------------------------------------------- */

struct policy {
  struct lethe_quota_policy base;
  pthread_t thread;
  _Atomic unsigned scored;
};

static int policy_score(struct lethe_quota_policy *b, const struct lethe_quota_candidate *c,
                        size_t n, double *scores) {
  struct policy *p = lethe_container_of(b, struct policy, base);
  MUST(pthread_equal(p->thread, pthread_self()));
  for (size_t i = 0; i < n; i++) scores[i] = (double)c[i].info.used;
  atomic_fetch_add(&p->scored, (unsigned)n);
  return LETHE_OK;
}
static void policy_destroy(struct lethe_quota_policy *b) { lethe_loop_put(b->loop); }

static struct policy policy;

static void set_a_policy(struct worker *w) {
  struct lethe_quota_change c = {.policy = &policy.base};
  const char *why;
  policy.base = (struct lethe_quota_policy){
      .destroy = policy_destroy, .loop = lethe_loop_get(w->loop), .score = policy_score};
  policy.thread = pthread_self();
  lethe_ref_init(&policy.base.refs);
  MUST(lethe_quota_configure(w->t, &c, &why) == 0);
  atomic_store(&step_of, 1);
  while (atomic_load(&step_of) < 2) lethe_loop_turn(w->loop);
  await_step(3); /* does not turn any more */
}

static void hold_two(struct worker *w) {
  for (int i = 0; i < 2; i++) {
    struct part *p = &w->parts[i];
    uint64_t id, a = account(w->t, (struct lethe_quota_account_config){0}, 0);
    *p = (struct part){.w = w, .account = a, .age = i, .open = {true}};
    MUST(lethe_quota_handle_open(&p->h[0], w->m, a, p, false, &id) == 0);
    MUST(lethe_quota_claim(&p->h[0], (i + 1) * 8 * (int64_t)MIB) == 0);
  }
}

static void a_policy_runs_in_its_own_thread_or_oldest_decides(void **state) {
  struct lethe_quota *t = tracker(20 * MIB, 0.2);
  static struct worker home, other;
  struct lethe_quota_account_info info;
  const char *why;
  (void)state;
  home = (struct worker){0};
  begin(&home, t, 0);
  atomic_store(&step_of, 0);
  start(&other, t, 1, 0, NULL, set_a_policy);
  await_step(1);
  hold_two(&home); /* 8 and 16 MiB: the larger goes */
  MUST(turn_until(&home, is_idle));
  MUST(atomic_load(&policy.scored) >= 2);
  MUST(lethe_quota_account_read(t, home.parts[0].account, &info) == LETHE_OK);
  MUST(lethe_quota_account_read(t, home.parts[1].account, &info) == LETHE_EACCOUNT);
  MUST(stats(t).policy_failures == 0);
  for (int i = 0; i < 2; i++) close_part(&home, &home.parts[i]);
  atomic_store(&step_of, 2);
  usleep(20000);
  hold_two(&home); /* nobody answers: the older goes, and then the other one too */
  MUST(turn_until(&home, is_idle));
  MUST(stats(t).policy_failures >= 1);
  MUST(lethe_quota_account_read(t, home.parts[0].account, &info) == LETHE_EACCOUNT);
  for (int i = 0; i < 2; i++) close_part(&home, &home.parts[i]);
  atomic_store(&step_of, 3);
  join(&other, 1); /* its loop is closed */
  uint64_t failures = stats(t).policy_failures;
  hold_two(&home);
  MUST(turn_until(&home, is_idle));
  MUST(stats(t).policy_failures > failures);
  struct lethe_quota_change c = {.policy =
                                     lethe_quota_policy_builtin(&lethe_alloc_libc, "oldest", t)};
  MUST(lethe_quota_configure(t, &c, &why) == 0);
  lethe_quota_policy_put(c.policy);
  check(t);
  end(&home);
  MUST(lethe_quota_used(t) == 0);
  lethe_quota_put(t);
}

/* ---- the driver leaves ----------------------------------------------------------------------- */

static void drive_for_a_while(struct worker *w) {
  hold_two(w); /* over max: a pass is on its way */
  for (long i = 0; i < 10 + w->number * 7; i++) lethe_loop_turn(w->loop);
}

static void the_home_member_leaves_while_passes_run(void **state) {
  (void)state;
  for (int round = 0; round < 20; round++) {
    struct lethe_quota *t = tracker(20 * MIB, 0.05);
    static struct worker workers[3], last;
    uint64_t keep = account(t, (struct lethe_quota_account_config){0}, 0);
    for (int i = 0; i < 3; i++) start(&workers[i], t, round % 7 + i, 0, NULL, drive_for_a_while);
    last = (struct worker){0};
    begin(&last, t, 9);
    hold_two(&last);
    join(workers, 3);
    MUST(turn_until(&last, is_idle)); /* now it drives */
    check(t);
    end(&last);
    lethe_quota_account_close(t, keep);
    check(t);
    MUST(lethe_quota_used(t) == 0);
    lethe_quota_put(t);
  }
}

/* ---- waits ----------------------------------------------------------------------------------- */

struct waiter {
  struct lethe_quota_wait wait;
  bool done;
  int code;
};

static void on_wait(struct lethe_quota_wait *w, int code) {
  struct waiter *x = lethe_container_of(w, struct waiter, wait);
  x->done = true;
  x->code = code;
}

static void wait_and_release(struct worker *w) {
  struct part *p = &w->parts[0];
  struct test_random r = w->r;
  uint64_t id, a = account(w->t, (struct lethe_quota_account_config){0}, w->shared);
  *p = (struct part){.w = w, .account = a, .age = 1, .stays = true, .open = {true}};
  MUST(lethe_quota_handle_open(&p->h[0], w->m, a, p, false, &id) == 0);
  for (long i = 0; i < 300 * work(); i++) {
    struct waiter x = {0};
    int64_t n = 1 + (int64_t)test_below(&r, 900000);
    int rc = lethe_quota_claim_wait(&p->h[0], n, &x.wait, on_wait);
    if (rc == 1) {
      if (test_below(&r, 10) == 0 && lethe_quota_wait_cancel(&x.wait)) continue;
      while (!x.done)
        if (lethe_loop_turn(w->loop) == 0) usleep(50);
      rc = x.code;
    }
    MUST(rc == LETHE_OK);
    p->held = 0; /* a pass finds nothing to take: others have to give it back */
    lethe_loop_turn(w->loop);
    lethe_quota_release(&p->h[0], n);
  }
  atomic_store(w->stop, true);
}

static void waiting_threads_serve_each_other(void **state) {
  struct lethe_quota *t = tracker(2 * MIB, 5);
  static struct worker home, workers[MOST_THREADS];
  _Atomic bool stop[MOST_THREADS] = {0};
  (void)state;
  home = (struct worker){0};
  begin(&home, t, 0);
  uint64_t shared = account(t, (struct lethe_quota_account_config){.max = MIB}, 0);
  for (int i = 0; i < THREADS; i++)
    start(&workers[i], t, i + 1, shared, &stop[i], wait_and_release);
  for (int left = THREADS; left > 0;) {
    if (lethe_loop_turn(home.loop) == 0) usleep(50);
    left = 0;
    for (int i = 0; i < THREADS; i++) left += !atomic_load(&stop[i]);
  }
  join(workers, THREADS);
  check(t);
  MUST(stats(t).peak <= MIB);
  lethe_quota_account_close(t, shared);
  end(&home);
  MUST(lethe_quota_used(t) == 0);
  lethe_quota_put(t);
}

/* ---- the end in the middle ------------------------------------------------------------------- */

static void until_shutdown(struct worker *w) {
  while (!atomic_load(w->stop)) one_operation(w);
  for (int i = 0; i < 500; i++) one_operation(w); /* and on a dead one */
}

static void shutdown_in_the_middle(void **state) {
  (void)state;
  for (int round = 0; round < 10; round++) {
    struct lethe_quota *t = tracker(MIB / 4, 0.05);
    static struct worker home, workers[MOST_THREADS];
    _Atomic bool stop = false;
    home = (struct worker){0};
    begin(&home, t, 0);
    uint64_t shared = account(t, (struct lethe_quota_account_config){.max = MIB}, 0);
    for (int i = 0; i < THREADS; i++) start(&workers[i], t, i + 1, shared, &stop, until_shutdown);
    for (int i = 0; i < 300 * round; i++) {
      one_operation(&home);
      lethe_loop_turn(home.loop);
    }
    lethe_quota_shutdown(t);
    MUST(lethe_quota_used(t) == 0);
    atomic_store(&stop, true);
    join(workers, THREADS);
    check(t);
    lethe_quota_account_close(t, shared);
    end(&home);
    lethe_quota_put(t);
  }
}

/* ---- events ---------------------------------------------------------------------------------- */

static _Atomic bool muted;
static _Atomic unsigned heard;

static void on_event(void *ud, const struct lethe_quota_event *e) {
  struct lethe_quota *t = ud;
  (void)e;
  MUST(!(atomic_load(&muted)));
  atomic_fetch_add(&heard, 1);
  lethe_quota_used(t); /* the sink may call the tracker */
}

static void mute_waits_for_the_sink(void **state) {
  struct lethe_quota *t = tracker(MIB / 4, 0.05);
  static struct worker home, workers[MOST_THREADS];
  _Atomic bool stop = false;
  (void)state;
  home = (struct worker){0};
  begin(&home, t, 0);
  uint64_t shared = account(t, (struct lethe_quota_account_config){.max = MIB}, 0);
  for (int i = 0; i < THREADS; i++) start(&workers[i], t, i + 1, shared, &stop, until_shutdown);
  for (int round = 0; round < 50; round++) {
    atomic_store(&muted, false);
    lethe_quota_listen(t, on_event, t);
    for (int i = 0; i < 50; i++) {
      one_operation(&home);
      lethe_loop_turn(home.loop);
    }
    lethe_quota_mute(t);
    atomic_store(&muted, true); /* from here on a call would be too late */
  }
  atomic_store(&stop, true);
  join(workers, THREADS);
  MUST(atomic_load(&heard) > 0);
  lethe_quota_account_close(t, shared);
  end(&home);
  check(t);
  MUST(lethe_quota_used(t) == 0);
  lethe_quota_put(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(all_threads_do_everything),
      cmocka_unit_test(a_limit_is_exact_whoever_claims),
      cmocka_unit_test(caches_are_called_back_from_running_threads),
      cmocka_unit_test(a_thread_that_never_turns_stands_with_its_last_age_until_the_deadline),
      cmocka_unit_test(a_policy_runs_in_its_own_thread_or_oldest_decides),
      cmocka_unit_test(the_home_member_leaves_while_passes_run),
      cmocka_unit_test(waiting_threads_serve_each_other),
      cmocka_unit_test(shutdown_in_the_middle),
      cmocka_unit_test(mute_waits_for_the_sink),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
