/* SPDX-License-Identifier: MIT
 * The loop without Lua: the heap of timers, messages, timers, signals, turns and the virtual clock.
 * What several threads do to it is in test_mt_pool.c. */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>

#include "harness/unit.h"

#include "../../runtime/loop/timers.h"
#include "harness/alloc.h"
#include "harness/random.h"
#include "lethe/loop.h"

static struct lethe_loop *make(enum lethe_clock clock, struct lethe_loop *host) {
  struct lethe_loop *l = NULL;
  assert_int_equal(lethe_loop_new(&l, &lethe_alloc_libc, clock, host), 0);
  return l;
}

static void finish(struct lethe_loop *l) {
  lethe_loop_close(l);
  lethe_loop_put(l);
}

/* What happened, a letter for each thing. */
static char trace[64];
static size_t traced;

static int reset(void **state) {
  (void)state;
  memset(trace, 0, sizeof trace);
  traced = 0;
  return 0;
}

static void say(char c) {
  if (traced + 1 < sizeof trace) trace[traced++] = c;
}

/* ---- the heap -------------------------------------------------------------------------------- */

enum { TIMERS = 3000, STEPS = 100000 };

static int by_due(const void *a, const void *b) {
  const struct lethe_timer *x = *(struct lethe_timer *const *)a;
  const struct lethe_timer *y = *(struct lethe_timer *const *)b;
  if (x->due != y->due) return x->due < y->due ? -1 : 1;
  return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* Against an array: the top is the least of all that are in, at every step. */
static void the_heap_agrees_with_a_sorted_list(void **state) {
  (void)state;
  static struct lethe_timer timers[TIMERS], *in[TIMERS];
  struct test_random r = test_seed("timers");
  struct lethe_timer *heap = NULL;
  size_t n = 0;
  uint64_t seq = 0;
  memset(timers, 0, sizeof timers);
  for (size_t i = 0; i < TIMERS; i++) in[i] = &timers[i]; /* the first n are in the heap */
  for (int step = 0; step < STEPS; step++) {
    uint64_t what = test_below(&r, 100);
    if (what < 50 && n < TIMERS) {
      struct lethe_timer *t = in[n++];
      t->due = (double)test_below(&r, 500);
      t->seq = ++seq;
      heap = lethe_timers_add(heap, t);
    } else if (n > 0) {
      size_t k = (size_t)test_below(&r, n);
      if (what < 75) /* the top goes, else any */
        for (k = 0; in[k] != heap; k++) continue;
      struct lethe_timer *t = in[k];
      heap = lethe_timers_remove(heap, t);
      assert_null(t->child);
      assert_null(t->sibling);
      assert_null(t->parent);
      in[k] = in[--n];
      in[n] = t;
    }
    assert_int_equal(heap == NULL, n == 0);
    if (step % 64 == 0)
      for (size_t k = 0; k < n; k++) assert_true(in[k] == heap || by_due(&heap, &in[k]) < 0);
  }
  qsort(in, n, sizeof *in, by_due);
  for (size_t k = 0; k < n; k++) {
    assert_ptr_equal(heap, in[k]);
    heap = lethe_timers_remove(heap, heap);
  }
  assert_null(heap);
}

/* ---- messages -------------------------------------------------------------------------------- */

struct note {
  struct lethe_message m;
  char letter;
  struct lethe_loop *loop;
  struct note *next; /* posted when this one runs */
  void (*act)(struct note *n);
};

static void run_note(struct lethe_message *m, bool closed) {
  struct note *n = lethe_container_of(m, struct note, m);
  say(closed ? (char)(n->letter - 'a' + 'A') : n->letter);
  if (n->next) {
    n->next->m.run = run_note;
    say(lethe_loop_post(n->loop, &n->next->m) ? '+' : '-');
  }
  if (n->act) n->act(n);
}

static bool post(struct lethe_loop *l, struct note *n, char letter) {
  n->m.run = run_note;
  n->letter = letter;
  n->loop = l;
  return lethe_loop_post(l, &n->m);
}

static void messages_run_in_order_and_later_ones_in_the_next_turn(void **state) {
  (void)state;
  struct lethe_loop *l = make(LETHE_CLOCK_REAL, NULL);
  struct note n[4];
  memset(n, 0, sizeof n);
  n[3].letter = 'd';
  n[0].next = &n[3];
  assert_false(lethe_loop_ready(l));
  assert_false(lethe_loop_alive(l));
  for (int i = 0; i < 3; i++) assert_true(post(l, &n[i], (char)('a' + i)));
  assert_true(lethe_loop_ready(l));
  assert_true(lethe_loop_alive(l));
  assert_int_equal(lethe_loop_turn(l), 3);
  assert_string_equal(trace, "a+bc");
  assert_true(lethe_loop_ready(l));
  assert_int_equal(lethe_loop_turn(l), 1);
  assert_string_equal(trace, "a+bcd");
  assert_int_equal(lethe_loop_turn(l), 0);
  assert_false(lethe_loop_alive(l));
  finish(l);
}

static void turn_inside(struct note *n) {
  say('(');
  n->act = NULL;
  say((char)('0' + lethe_loop_turn(n->loop)));
  say(')');
}

static void a_turn_inside_a_message_finds_the_others(void **state) {
  (void)state;
  struct lethe_loop *l = make(LETHE_CLOCK_REAL, NULL);
  struct note n[3];
  memset(n, 0, sizeof n);
  n[0].act = turn_inside;
  for (int i = 0; i < 3; i++) post(l, &n[i], (char)('a' + i));
  assert_int_equal(lethe_loop_turn(l), 1);
  assert_string_equal(trace, "a(bc2)");
  assert_false(lethe_loop_ready(l));
  finish(l);
}

static void close_inside(struct note *n) { lethe_loop_close(n->loop); }

static void a_loop_that_closes_in_a_message_ends_the_rest(void **state) {
  (void)state;
  struct lethe_loop *l = make(LETHE_CLOCK_REAL, NULL);
  struct note n[4];
  memset(n, 0, sizeof n);
  n[0].act = close_inside;
  n[1].next = &n[3];
  n[3].letter = 'd';
  for (int i = 0; i < 3; i++) post(l, &n[i], (char)('a' + i));
  assert_int_equal(lethe_loop_turn(l), 1);
  assert_string_equal(trace, "aB-C");
  assert_int_equal(lethe_loop_turn(l), 0);
  lethe_loop_put(l);
}

static void closing_runs_what_is_queued_and_refuses_what_comes(void **state) {
  (void)state;
  struct lethe_loop *l = make(LETHE_CLOCK_REAL, NULL);
  struct note n[3];
  memset(n, 0, sizeof n);
  post(l, &n[0], 'a');
  post(l, &n[1], 'b');
  lethe_loop_get(l);
  lethe_loop_close(l);
  assert_string_equal(trace, "AB");
  assert_false(post(l, &n[2], 'c'));
  assert_int_equal(lethe_loop_turn(l), 0);
  assert_false(lethe_loop_alive(l));
  lethe_loop_block(&l, 1); /* returns */
  lethe_loop_interrupt(l);
  lethe_loop_close(l);
  lethe_loop_put(l);
  lethe_loop_put(l);
  assert_string_equal(trace, "AB");
}

static void held_answers_keep_a_loop_alive(void **state) {
  (void)state;
  struct lethe_loop *l = make(LETHE_CLOCK_VIRTUAL, NULL);
  lethe_loop_hold(l);
  lethe_loop_hold(l);
  lethe_loop_release(l);
  assert_true(lethe_loop_alive(l));
  assert_false(lethe_loop_ready(l));
  lethe_loop_release(l);
  assert_false(lethe_loop_alive(l));
  finish(l);
}

/* ---- timers ---------------------------------------------------------------------------------- */

struct tick {
  struct lethe_timer t;
  char letter;
  int left; /* stops itself after so many */
  struct lethe_loop *loop;
  struct tick *other;  /* stopped when this one fires */
  struct tick *starts; /* started when this one fires */
  double after, cost;
};

static void fire(struct lethe_timer *t) {
  struct tick *k = lethe_container_of(t, struct tick, t);
  say(k->letter);
  if (k->left > 0 && --k->left == 0) lethe_timer_stop(t);
  if (k->other) lethe_timer_stop(&k->other->t);
  if (k->starts) lethe_timer_start(k->loop, &k->starts->t, k->after, 0, fire);
  for (double end = lethe_clock_monotonic() + k->cost; lethe_clock_monotonic() < end;) continue;
}

static void start(struct lethe_loop *l, struct tick *k, char letter, double after, double every) {
  k->letter = letter;
  k->loop = l;
  lethe_timer_start(l, &k->t, after, every, fire);
}

static void timers_fall_due_in_order_of_time_then_of_start(void **state) {
  (void)state;
  struct lethe_loop *l = make(LETHE_CLOCK_VIRTUAL, NULL);
  struct tick k[5];
  memset(k, 0, sizeof k);
  start(l, &k[0], 'a', 2, 0);
  start(l, &k[1], 'b', 1, 0);
  start(l, &k[2], 'c', 1, 0);
  start(l, &k[3], 'd', -5, 0); /* counts as 0 */
  start(l, &k[4], 'e', NAN, 0);
  assert_true(lethe_loop_alive(l));
  assert_int_equal(lethe_loop_turn(l), 2);
  assert_string_equal(trace, "de");
  assert_false(lethe_loop_alive(l)); /* nothing more is due, and the clock moves by advance alone */
  assert_int_equal(lethe_loop_turn(l), 0);
  lethe_loop_advance(l, 3);
  assert_string_equal(trace, "debca");
  assert_true(lethe_loop_now(l) == 3);
  assert_null(k[0].t.loop);
  finish(l);
}

static void starting_again_moves_a_timer_and_stopping_twice_is_nothing(void **state) {
  (void)state;
  struct lethe_loop *l = make(LETHE_CLOCK_VIRTUAL, NULL);
  struct tick k[2];
  memset(k, 0, sizeof k);
  start(l, &k[0], 'a', 1, 0);
  start(l, &k[1], 'b', 2, 0);
  start(l, &k[0], 'a', 3, 0);
  lethe_loop_advance(l, 2);
  assert_string_equal(trace, "b");
  lethe_timer_stop(&k[0].t);
  lethe_timer_stop(&k[0].t);
  lethe_timer_stop(&k[1].t);
  lethe_loop_advance(l, 10);
  assert_string_equal(trace, "b");
  finish(l);
}

static void a_timer_repeats_until_it_stops_itself(void **state) {
  (void)state;
  struct lethe_loop *l = make(LETHE_CLOCK_VIRTUAL, NULL);
  struct tick k[3];
  memset(k, 0, sizeof k);
  k[0].left = 3;
  start(l, &k[0], 'a', 1, 1);
  start(l, &k[1], 'b', 2, 2);
  lethe_loop_advance(l, 6);
  assert_string_equal(trace, "aababb"); /* at 2 s a was created first */
  k[2].other = &k[1];                   /* a timer that stops another at the same moment */
  start(l, &k[2], 'c', 1.5, 0);
  lethe_loop_advance(l, 10);
  assert_string_equal(trace, "aababbc");
  finish(l);
}

static void advance_runs_what_becomes_due_on_the_way(void **state) {
  (void)state;
  struct lethe_loop *l = make(LETHE_CLOCK_VIRTUAL, NULL);
  struct tick k[5];
  memset(k, 0, sizeof k);
  k[0].starts = &k[1];
  k[0].after = 1;
  k[1].starts = &k[2];
  k[1].after = 0;
  k[1].letter = 'b';
  k[2].letter = 'c';
  k[1].loop = k[2].loop = l;
  start(l, &k[0], 'a', 1, 0); /* starts b at 2, which starts c at once */
  start(l, &k[3], 'd', 2, 0); /* was started before b */
  start(l, &k[4], 'e', 2.5, 0);
  lethe_loop_advance(l, 2.25);
  assert_string_equal(trace, "adbc");
  assert_true(lethe_loop_now(l) == 2.25);
  lethe_loop_advance(l, 0.25);
  assert_string_equal(trace, "adbce");
  finish(l);
}

static void advance_delivers_messages_between_the_timers(void **state) {
  (void)state;
  struct lethe_loop *l = make(LETHE_CLOCK_VIRTUAL, NULL);
  struct tick k[2];
  struct note n[2];
  memset(k, 0, sizeof k);
  memset(n, 0, sizeof n);
  post(l, &n[0], 'm');
  start(l, &k[0], 'a', 1, 0);
  start(l, &k[1], 'b', 2, 0);
  lethe_loop_advance(l, 1);
  assert_string_equal(trace, "ma");
  post(l, &n[1], 'n');
  lethe_loop_advance(l, 1);
  assert_string_equal(trace, "manb");
  finish(l);
}

static struct lethe_loop *advanced;

static void advance_inside(struct lethe_timer *t) {
  (void)t;
  say('<');
  lethe_loop_advance(advanced, 5);
  say('>');
}

static void advance_nests(void **state) {
  (void)state;
  struct lethe_loop *l = make(LETHE_CLOCK_VIRTUAL, NULL);
  struct lethe_timer inside;
  struct tick k[2];
  memset(k, 0, sizeof k);
  memset(&inside, 0, sizeof inside);
  advanced = l;
  lethe_timer_start(l, &inside, 1, 0, advance_inside);
  start(l, &k[0], 'a', 2, 0);
  start(l, &k[1], 'b', 7, 0);
  lethe_loop_advance(l, 3);
  assert_string_equal(trace, "<a>");
  assert_true(lethe_loop_now(l) == 6); /* it never goes back */
  finish(l);
}

static void a_virtual_clock_counts_nanoseconds(void **state) {
  (void)state;
  struct lethe_loop *l = make(LETHE_CLOCK_VIRTUAL, NULL);
  struct tick k;
  memset(&k, 0, sizeof k);
  start(l, &k, 'a', 1, 0);
  for (int i = 0; i < 10; i++) {
    assert_string_equal(trace, "");
    lethe_loop_advance(l, 0.1);
  }
  assert_string_equal(trace, "a");
  assert_true(lethe_loop_now(l) == 1);
  lethe_loop_advance(l, -1);
  assert_true(lethe_loop_now(l) == 1);
  finish(l);
}

/* A period too small for the clock's resolution must not keep time from moving. */
static void a_period_below_the_clocks_resolution_ends(void **state) {
  (void)state;
  struct lethe_loop *l = make(LETHE_CLOCK_VIRTUAL, NULL);
  struct tick k;
  memset(&k, 0, sizeof k);
  lethe_loop_advance(l, 1e15); /* where a second is 0.125 s fine */
  k.left = 5;
  start(l, &k, 'a', 0, 1e-6);
  lethe_loop_advance(l, 1);
  assert_string_equal(trace, "aaaaa");
  finish(l);
}

/* It fires every microsecond and takes fifty: the one due in a millisecond comes through. */
static void a_timer_that_lags_does_not_starve_the_others(void **state) {
  (void)state;
  struct lethe_loop *l = make(LETHE_CLOCK_REAL, NULL);
  struct tick k[2];
  memset(k, 0, sizeof k);
  k[0].cost = 50e-6;
  k[1].other = &k[0];
  start(l, &k[0], 'a', 0, 1e-6);
  start(l, &k[1], 'b', 0.001, 0);
  double began = lethe_clock_monotonic();
  while (lethe_loop_alive(l) && lethe_clock_monotonic() < began + 5)
    if (lethe_loop_turn(l) == 0) lethe_loop_block(&l, 1);
  assert_false(lethe_loop_alive(l));
  assert_true(lethe_clock_monotonic() < began + 2);
  finish(l);
}

static void a_real_timer_is_not_early_and_costs_no_turns(void **state) {
  (void)state;
  struct lethe_loop *l = make(LETHE_CLOCK_REAL, NULL);
  struct tick k;
  unsigned turns = 0;
  memset(&k, 0, sizeof k);
  double began = lethe_loop_now(l);
  start(l, &k, 'a', 0.02, 0);
  for (; lethe_loop_alive(l); turns++)
    if (lethe_loop_turn(l) == 0) lethe_loop_block(&l, 1);
  assert_string_equal(trace, "a");
  assert_true(lethe_loop_now(l) >= began + 0.02);
  assert_true(turns <= 4);
  finish(l);
}

static void tell_closed(struct lethe_timer *t) {
  (void)t;
  say('!');
}

static void closing_stops_timers_and_tells_them(void **state) {
  (void)state;
  struct lethe_loop *l = make(LETHE_CLOCK_VIRTUAL, NULL);
  struct tick k[4];
  memset(k, 0, sizeof k);
  k[1].t.closed = k[2].t.closed = k[3].t.closed = tell_closed;
  for (int i = 0; i < 4; i++) start(l, &k[i], (char)('a' + i), i, i == 1);
  lethe_loop_turn(l);
  lethe_timer_stop(&k[3].t);
  lethe_loop_close(l);
  assert_string_equal(trace, "a!!"); /* a had no `closed`, d was stopped */
  for (int i = 0; i < 4; i++) assert_null(k[i].t.loop);
  start(l, &k[0], 'x', 0, 0); /* never fires */
  assert_null(k[0].t.loop);
  lethe_loop_put(l);
}

static void close_in_timer(struct lethe_timer *t) {
  (void)t;
  lethe_loop_close(advanced);
}

static void a_loop_may_close_in_a_timer(void **state) {
  (void)state;
  for (int virtual = 0; virtual < 2; virtual ++) {
    struct lethe_loop *l = make(virtual ? LETHE_CLOCK_VIRTUAL : LETHE_CLOCK_REAL, NULL);
    struct lethe_timer closer;
    struct tick k;
    memset(&closer, 0, sizeof closer);
    memset(&k, 0, sizeof k);
    advanced = l;
    lethe_timer_start(l, &closer, 0, 1, close_in_timer);
    start(l, &k, 'a', 0, 0);
    if (virtual)
      lethe_loop_advance(l, 10);
    else
      assert_int_equal(lethe_loop_turn(l), 1);
    assert_string_equal(trace, "");
    lethe_loop_put(l);
  }
}

/* ---- signals --------------------------------------------------------------------------------- */

struct watch {
  struct lethe_signal s;
  char letter;
  struct watch *other;
};

static void caught(struct lethe_signal *s) {
  struct watch *w = lethe_container_of(s, struct watch, s);
  say(w->letter);
  if (w->other) lethe_signal_stop(&w->other->s);
}

static void signals_are_caught_in_a_turn(void **state) {
  (void)state;
  struct lethe_loop *l = make(LETHE_CLOCK_REAL, NULL);
  struct watch a = {.letter = 'a'}, b = {.letter = 'b'};
  assert_int_equal(lethe_signal_start(l, &a.s, SIGUSR1, caught), 0);
  assert_int_equal(lethe_signal_start(l, &b.s, SIGUSR2, caught), 0);
  assert_true(lethe_loop_alive(l));
  assert_int_equal(lethe_loop_turn(l), 0);
  raise(SIGUSR1);
  assert_string_equal(trace, "");
  lethe_loop_block(&l, 1);
  assert_true(lethe_loop_ready(l));
  assert_int_equal(lethe_loop_turn(l), 1);
  assert_string_equal(trace, "a");
  raise(SIGUSR2);
  raise(SIGUSR1);
  raise(SIGUSR1); /* several before a turn count as one */
  while (lethe_loop_turn(l) > 0) continue;
  assert_true(strcmp(trace, "aab") == 0 || strcmp(trace, "aba") == 0);
  lethe_signal_stop(&a.s);
  lethe_signal_stop(&a.s);
  lethe_signal_stop(&b.s);
  assert_false(lethe_loop_alive(l));
  finish(l);
}

static void a_signal_may_stop_another(void **state) {
  (void)state;
  struct lethe_loop *l = make(LETHE_CLOCK_REAL, NULL);
  struct watch a = {.letter = 'a'}, b = {.letter = 'b'};
  a.other = &b;
  b.other = &a;
  lethe_signal_start(l, &a.s, SIGUSR1, caught);
  lethe_signal_start(l, &b.s, SIGUSR1, caught);
  raise(SIGUSR1);
  assert_int_equal(lethe_loop_turn(l), 1); /* whichever comes first stops the other */
  assert_int_equal(strlen(trace), 1);
  assert_int_equal(lethe_loop_turn(l), 0);
  finish(l);
}

static void signal_closed(struct lethe_signal *s) {
  (void)s;
  say('!');
}

static void closing_stops_signals_and_tells_them(void **state) {
  (void)state;
  struct lethe_loop *l = make(LETHE_CLOCK_REAL, NULL);
  struct watch a = {.letter = 'a', .s.closed = signal_closed}, b = {.letter = 'b'};
  lethe_signal_start(l, &a.s, SIGUSR1, caught);
  lethe_signal_start(l, &b.s, SIGUSR2, caught);
  lethe_loop_close(l);
  assert_string_equal(trace, "!");
  assert_int_equal(lethe_signal_start(l, &b.s, SIGUSR2, caught), LETHE_ECLOSED);
  lethe_loop_put(l);
}

static void there_is_no_signal_1000(void **state) {
  (void)state;
  struct lethe_loop *l = make(LETHE_CLOCK_REAL, NULL);
  struct watch a = {.letter = 'a'};
  assert_int_not_equal(lethe_signal_start(l, &a.s, 1000, caught), 0);
  lethe_signal_stop(&a.s);
  assert_false(lethe_loop_alive(l));
  finish(l);
}

/* ---- blocking -------------------------------------------------------------------------------- */

static struct lethe_loop *interrupted;

static void on_alarm(int number) {
  int before = errno;
  (void)number;
  lethe_loop_interrupt(interrupted);
  errno = before;
}

static void a_handler_may_interrupt_a_block(void **state) {
  (void)state;
  struct lethe_loop *l = make(LETHE_CLOCK_REAL, NULL);
  struct sigaction action = {.sa_handler = on_alarm}, before;
  struct itimerval soon = {.it_value = {0, 20000}};
  struct tick k;
  memset(&k, 0, sizeof k);
  start(l, &k, 'a', 60, 0);
  interrupted = l;
  sigaction(SIGALRM, &action, &before);
  double began = lethe_clock_monotonic();
  setitimer(ITIMER_REAL, &soon, NULL);
  lethe_loop_block(&l, 1);
  assert_true(lethe_clock_monotonic() < began + 10);
  lethe_loop_interrupt(l);
  lethe_loop_interrupt(l);
  lethe_loop_turn(l); /* does not lose it */
  lethe_loop_block(&l, 1);
  assert_true(lethe_clock_monotonic() < began + 10);
  sigaction(SIGALRM, &before, NULL);
  finish(l);
}

static void several_loops_share_a_base(void **state) {
  (void)state;
  struct lethe_loop *host = make(LETHE_CLOCK_REAL, NULL), *l[3];
  struct tick a, v;
  struct note n;
  struct watch w = {.letter = 's'};
  memset(&a, 0, sizeof a);
  memset(&v, 0, sizeof v);
  memset(&n, 0, sizeof n);
  l[0] = make(LETHE_CLOCK_REAL, host);
  l[1] = make(LETHE_CLOCK_VIRTUAL, host);
  l[2] = make(LETHE_CLOCK_REAL, l[0]);
  finish(host);                   /* the base outlives it */
  start(l[1], &v, 'v', 0.001, 0); /* virtual time does not pass by blocking */
  start(l[2], &a, 'a', 0.01, 0);
  lethe_loop_block(l, 3);
  assert_int_equal(lethe_loop_turn(l[0]), 0);
  assert_int_equal(lethe_loop_turn(l[1]), 0);
  while (lethe_loop_turn(l[2]) == 0) lethe_loop_block(l, 3);
  assert_string_equal(trace, "a");
  post(l[1], &n, 'm');
  assert_int_equal(lethe_loop_turn(l[0]), 0); /* messages belong to their loop */
  lethe_loop_block(l, 3);
  assert_int_equal(lethe_loop_turn(l[1]), 1);
  lethe_signal_start(l[1], &w.s, SIGUSR1, caught);
  raise(SIGUSR1);
  assert_int_equal(lethe_loop_turn(l[0]), 0); /* it may take the signal in, but not its callback */
  assert_int_equal(lethe_loop_turn(l[1]), 1);
  assert_string_equal(trace, "ams");
  for (int i = 0; i < 3; i++) finish(l[i]);
}

static void a_closed_loop_is_no_host(void **state) {
  (void)state;
  struct lethe_loop *host = make(LETHE_CLOCK_REAL, NULL), *l;
  lethe_loop_close(host);
  assert_int_equal(lethe_loop_new(&l, &lethe_alloc_libc, LETHE_CLOCK_REAL, host), LETHE_ECLOSED);
  lethe_loop_put(host);
}

static void a_block_of_no_loop_returns(void **state) {
  (void)state;
  lethe_loop_block(NULL, 0);
}

/* ---- without memory -------------------------------------------------------------------------- */

static void a_loop_without_memory_is_refused_whole(void **state) {
  (void)state;
  for (uint64_t n = 1;; n++) {
    struct test_alloc t;
    struct lethe_loop *host = NULL, *l = NULL;
    test_alloc_init(&t);
    test_alloc_fail(&t, n);
    int rc = lethe_loop_new(&host, &t.alloc, LETHE_CLOCK_REAL, NULL);
    if (rc == 0) rc = lethe_loop_new(&l, &t.alloc, LETHE_CLOCK_VIRTUAL, host);
    assert_int_equal(rc, t.failed ? LETHE_ENOMEM : 0);
    if (l) finish(l);
    if (host) finish(host);
    assert_int_equal(t.bytes, 0);
    if (t.failed == 0) break;
  }
#ifdef LETHE_FAULTS
  for (uint64_t n = 1;; n++) { /* the same for what libevent allocates */
    struct lethe_loop *l = NULL;
    struct watch w = {.letter = 'w'};
    lethe_fault_arm(LETHE_FAULT_ALLOC, n);
    int rc = lethe_loop_new(&l, &lethe_alloc_libc, LETHE_CLOCK_REAL, NULL);
    if (rc == 0) rc = lethe_signal_start(l, &w.s, SIGUSR1, caught);
    bool failed = lethe_fault_passed(LETHE_FAULT_ALLOC) >= n;
    lethe_fault_arm(LETHE_FAULT_ALLOC, 0);
    assert_int_equal(rc, failed ? LETHE_ENOMEM : 0);
    if (l) finish(l);
    if (!failed) break;
  }
#endif
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup(f, reset)
  const struct CMUnitTest tests[] = {
      TEST(the_heap_agrees_with_a_sorted_list),
      TEST(messages_run_in_order_and_later_ones_in_the_next_turn),
      TEST(a_turn_inside_a_message_finds_the_others),
      TEST(a_loop_that_closes_in_a_message_ends_the_rest),
      TEST(closing_runs_what_is_queued_and_refuses_what_comes),
      TEST(held_answers_keep_a_loop_alive),
      TEST(timers_fall_due_in_order_of_time_then_of_start),
      TEST(starting_again_moves_a_timer_and_stopping_twice_is_nothing),
      TEST(a_timer_repeats_until_it_stops_itself),
      TEST(advance_runs_what_becomes_due_on_the_way),
      TEST(advance_delivers_messages_between_the_timers),
      TEST(advance_nests),
      TEST(a_virtual_clock_counts_nanoseconds),
      TEST(a_period_below_the_clocks_resolution_ends),
      TEST(a_timer_that_lags_does_not_starve_the_others),
      TEST(a_real_timer_is_not_early_and_costs_no_turns),
      TEST(closing_stops_timers_and_tells_them),
      TEST(a_loop_may_close_in_a_timer),
      TEST(signals_are_caught_in_a_turn),
      TEST(a_signal_may_stop_another),
      TEST(closing_stops_signals_and_tells_them),
      TEST(there_is_no_signal_1000),
      TEST(a_handler_may_interrupt_a_block),
      TEST(several_loops_share_a_base),
      TEST(a_closed_loop_is_no_host),
      TEST(a_block_of_no_loop_returns),
      TEST(a_loop_without_memory_is_refused_whole),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
