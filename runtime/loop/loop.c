/* SPDX-License-Identifier: MIT
 * The loop on libevent: a mutex-guarded inbox with a wake-up event, a heap of timers behind one
 * libevent timeout, and the signals that came (signals.c). Loops of one thread share a host. */
#include <math.h>
#include <unistd.h>

#include "loop_internal.h"
#include "timers.h"

/* The event only ends event_base_loop; the turn looks at the inbox and the heap itself. */
static void on_event(evutil_socket_t fd, short what, void *ud) {
  (void)fd;
  (void)what;
  (void)ud;
}

int lethe_loop_new(struct lethe_loop **out, const struct lethe_alloc *a, enum lethe_clock clock,
                   struct lethe_loop *host) {
  if (host && host->closed) return LETHE_ECLOSED;
  struct lethe_loop *l = lethe_zalloc(a, sizeof *l);
  if (!l) return LETHE_ENOMEM;
  lethe_ref_init(&l->refs);
  l->alloc = a;
  l->is_virtual = clock == LETHE_CLOCK_VIRTUAL;
  pthread_mutex_init(&l->lock, NULL);
  lethe_list_init(&l->inbox);
  lethe_list_init(&l->signals);
  if (host) {
    l->host = host->host;
    lethe_ref_get(&l->host->refs);
  } else {
    l->host = lethe_host_new(a);
  }
  if (l->host) {
    l->wake = lethe_host_event(l->host, -1, EV_PERSIST, on_event, l);
    l->timeout = lethe_host_event(l->host, -1, 0, on_event, l);
  }
  if (!l->host || !l->wake || !l->timeout) {
    lethe_loop_close(l);
    lethe_loop_put(l);
    return LETHE_ENOMEM;
  }
  *out = l;
  return LETHE_OK;
}

struct lethe_loop *lethe_loop_get(struct lethe_loop *l) {
  lethe_ref_get(&l->refs);
  return l;
}

void lethe_loop_put(struct lethe_loop *l) {
  if (!lethe_ref_put(&l->refs)) return;
  lethe_loop_close(l);
  pthread_mutex_destroy(&l->lock);
  lethe_free(l->alloc, l, sizeof *l);
}

static struct lethe_message *take_message(struct lethe_loop *l, uint64_t last) {
  struct lethe_list *node = NULL;
  pthread_mutex_lock(&l->lock);
  if (l->taken < last) node = lethe_list_shift(&l->inbox);
  if (node) l->taken++;
  pthread_mutex_unlock(&l->lock);
  return node ? lethe_container_of(node, struct lethe_message, node) : NULL;
}

/* What was posted before the turn began. They stay in the inbox until their turn comes, so that a
 * turn inside one of them finds the others, and a loop that closes in one of them ends the rest. */
static unsigned run_messages(struct lethe_loop *l) {
  struct lethe_message *m;
  unsigned n = 0;
  pthread_mutex_lock(&l->lock);
  uint64_t last = l->posted;
  pthread_mutex_unlock(&l->lock);
  for (; (m = take_message(l, last)) != NULL; n++) m->run(m, false);
  return n;
}

/* Every change of the heap; counts the timers that keep the loop alive. */
static void put_timer(struct lethe_loop *l, struct lethe_timer *t) {
  t->loop = l;
  l->timers = lethe_timers_add(l->timers, t);
  if (!t->idle) l->busy_timers++;
}

static void take_timer(struct lethe_loop *l, struct lethe_timer *t) {
  l->timers = lethe_timers_remove(l->timers, t);
  if (!t->idle) l->busy_timers--;
  t->loop = NULL;
}

static void end_timers(struct lethe_loop *l) {
  for (struct lethe_timer *t; (t = l->timers) != NULL;) {
    lethe_timer_stop(t);
    if (t->closed) t->closed(t);
  }
}

void lethe_loop_close(struct lethe_loop *l) {
  pthread_mutex_lock(&l->lock);
  bool was = l->closed;
  struct event *wake = l->wake;
  l->closed = true;
  l->wake = NULL;
  if (wake) event_free(wake);
  pthread_mutex_unlock(&l->lock);
  if (was) return;
  for (struct lethe_message *m; (m = take_message(l, UINT64_MAX)) != NULL;) m->run(m, true);
  end_timers(l);
  lethe_signals_end(l);
  if (l->timeout) event_free(l->timeout);
  l->timeout = NULL;
  if (l->host) {
    l->host->sockets -= (unsigned)l->sockets;
    lethe_host_put(l->host);
  }
  l->host = NULL;
}

/* ---- messages -------------------------------------------------------------------------------- */

bool lethe_loop_post(struct lethe_loop *l, struct lethe_message *m) {
  pthread_mutex_lock(&l->lock);
  bool open = !l->closed;
  if (open) {
    bool first = lethe_list_empty(&l->inbox);
    lethe_list_push(&l->inbox, &m->node);
    l->posted++;
    if (first) event_active(l->wake, EV_WRITE, 0);
  }
  pthread_mutex_unlock(&l->lock);
  return open;
}

void lethe_loop_hold(struct lethe_loop *l) {
  pthread_mutex_lock(&l->lock);
  l->holds++;
  pthread_mutex_unlock(&l->lock);
}

void lethe_loop_release(struct lethe_loop *l) {
  pthread_mutex_lock(&l->lock);
  l->holds--;
  pthread_mutex_unlock(&l->lock);
}

/* ---- timers ---------------------------------------------------------------------------------- */

/* A moment of a virtual clock: whole nanoseconds, as far as a double can count them. */
static double moment(const struct lethe_loop *l, double t) {
  return l->is_virtual && t < 9e6 ? rint(t * 1e9) / 1e9 : t;
}

void lethe_timer_start(struct lethe_loop *l, struct lethe_timer *t, double seconds, double every,
                       void (*fire)(struct lethe_timer *t)) {
  lethe_timer_stop(t);
  if (l->closed) return;
  t->due = moment(l, lethe_loop_now(l) + (seconds > 0 ? seconds : 0));
  t->every = every;
  t->seq = ++l->seq;
  t->fire = fire;
  put_timer(l, t);
}

void lethe_timer_stop(struct lethe_timer *t) {
  if (t->loop) take_timer(t->loop, t);
}

/* One that lags must neither keep the others waiting for what it missed nor stand still. */
static double next_due(const struct lethe_loop *l, const struct lethe_timer *t) {
  double due = moment(l, t->due + t->every);
  double now = lethe_loop_now(l);
  if (!l->is_virtual && due < now) due = now;
  return due > t->due ? due : nextafter(t->due, INFINITY);
}

/* Takes the top off the heap and fires it; one that repeats is back in the heap before it fires, so
 * that its callback may stop it. On a virtual loop, where it cannot lag, it keeps its place among
 * those due at the same moment; on a real one it goes behind them, so that a turn ends. */
static void fire_first(struct lethe_loop *l) {
  struct lethe_timer *t = l->timers;
  take_timer(l, t);
  if (t->every > 0) {
    t->due = next_due(l, t);
    if (!l->is_virtual) t->seq = ++l->seq;
    put_timer(l, t);
  }
  t->fire(t);
}

/* Timers that start while a turn runs wait for the next one: `last` is where it ends. */
static unsigned run_timers(struct lethe_loop *l) {
  double now = lethe_loop_now(l);
  uint64_t last = l->seq;
  unsigned n = 0;
  while (l->timers && l->timers->due <= now && l->timers->seq <= last) {
    fire_first(l);
    n++;
  }
  return n;
}

/* ---- turning --------------------------------------------------------------------------------- */

double lethe_loop_now(const struct lethe_loop *l) {
  return l->is_virtual ? l->now : lethe_clock_monotonic();
}

struct event_base *lethe_loop_events(const struct lethe_loop *l) {
  return l->host->events;
}

bool lethe_loop_is_virtual(const struct lethe_loop *l) { return l->is_virtual; }

static bool has_messages(const struct lethe_loop *l) {
  struct lethe_loop *w = (struct lethe_loop *)l; /* the lock is not part of what the caller sees */
  pthread_mutex_lock(&w->lock);
  bool any = l->posted != l->taken;
  pthread_mutex_unlock(&w->lock);
  return any;
}

bool lethe_loop_ready(struct lethe_loop *l) {
  return l->raised > 0 || has_messages(l) || (l->timers && l->timers->due <= lethe_loop_now(l));
}

bool lethe_loop_alive(const struct lethe_loop *l) {
  struct lethe_loop *w = (struct lethe_loop *)l;
  if (!lethe_list_empty(&l->signals)) return true;
  /* One look at both: who posts an answer lets go of its hold after. */
  pthread_mutex_lock(&w->lock);
  bool any = l->posted != l->taken, held = l->holds > 0;
  pthread_mutex_unlock(&w->lock);
  if (any) return true;
  /* A virtual clock moves by advance alone: a timer that is not due yet is nothing to wait for. */
  if (l->is_virtual) return held || (l->timers && l->timers->due <= l->now);
  return held || l->busy_timers > 0;
}

static void arm_timeout(struct lethe_loop *l) {
  double wait = l->timers->due - lethe_loop_now(l);
  if (wait < 0) wait = 0;
  if (wait > 1e9) wait = 1e9;
  double whole = floor(wait);
  struct timeval tv = {(time_t)whole, (suseconds_t)ceil((wait - whole) * 1e6)};
  if (tv.tv_usec >= 1000000) tv = (struct timeval){tv.tv_sec + 1, 0};
  event_add(l->timeout, &tv);
}

void lethe_loop_block(struct lethe_loop *const *loops, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (loops[i]->closed || lethe_loop_ready(loops[i])) return;
  if (n == 0) return;
  struct lethe_host *h = loops[0]->host;
  for (size_t i = 0; i < n; i++)
    if (!loops[i]->is_virtual && loops[i]->timers) arm_timeout(loops[i]);
  if (!h->interrupted) lethe_host_loop(h, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY);
  h->interrupted = false;
  for (size_t i = 0; i < n; i++)
    if (loops[i]->timeout) event_del(loops[i]->timeout);
}

void lethe_loop_interrupt(struct lethe_loop *l) {
  const struct lethe_host *h = l->host;
  ssize_t written = h ? write(h->interrupt, &(uint64_t){1}, sizeof(uint64_t)) : 0;
  (void)written; /* full means that one is pending already */
}

unsigned lethe_loop_turn(struct lethe_loop *l) {
  if (l->closed) return 0;
  lethe_host_loop(l->host, EVLOOP_ONCE | EVLOOP_NONBLOCK);
  unsigned n = lethe_signals_run(l);
  n += run_messages(l);
  return l->closed ? n : n + run_timers(l);
}

static void run_ready(struct lethe_loop *l) {
  while (!l->closed && lethe_loop_ready(l)) lethe_loop_turn(l);
}

void lethe_loop_advance(struct lethe_loop *l, double seconds) {
  double target = moment(l, l->now + (seconds > 0 ? seconds : 0));
  run_ready(l);
  while (!l->closed && l->timers && l->timers->due <= target) {
    if (l->timers->due > l->now) l->now = l->timers->due;
    fire_first(l);
    run_ready(l);
  }
  if (!l->closed && target > l->now) l->now = target;
}
