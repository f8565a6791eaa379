/* SPDX-License-Identifier: MIT
 * The loop on libevent: a mutex-guarded inbox with a wake-up event, a heap of timers behind one
 * libevent timeout, and signal events. Loops of one thread share a base, which their host made. */
#include <event2/event.h>
#include <event2/thread.h>
#include <math.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "lethe/loop.h"
#include "lethe/ref.h"
#include "timers.h"

struct base {
  struct lethe_ref refs;
  struct event_base *events;
  int interrupt; /* an eventfd: what a signal handler may write to */
  struct event *interrupted;
};

struct lethe_loop {
  struct lethe_ref refs;
  const struct lethe_alloc *alloc;
  struct base *base;
  bool is_virtual;
  double now; /* of a virtual clock */

  pthread_mutex_t lock; /* guards inbox, closed and holds */
  struct lethe_list inbox;
  bool closed;
  unsigned holds;

  struct event *wake, *timeout;
  struct lethe_timer *timers;
  uint64_t seq;
  struct lethe_list signals;
  unsigned raised; /* signals caught by libevent, whose callbacks have not run yet */
};

static pthread_once_t threads_once = PTHREAD_ONCE_INIT;

static void threads_init(void) { evthread_use_pthreads(); }

/* The event only ends event_base_loop; the turn looks at the inbox and the heap itself. */
static void on_event(evutil_socket_t fd, short what, void *ud) {
  (void)fd;
  (void)what;
  (void)ud;
}

static void on_interrupt(evutil_socket_t fd, short what, void *ud) {
  uint64_t count;
  ssize_t got = read(fd, &count, sizeof count);
  (void)got;
  (void)what;
  (void)ud;
}

static void base_free(const struct lethe_alloc *a, struct base *b) {
  if (b->interrupted) event_free(b->interrupted);
  if (b->interrupt >= 0) close(b->interrupt);
  if (b->events) event_base_free(b->events);
  lethe_free(a, b, sizeof *b);
}

static struct base *base_new(const struct lethe_alloc *a) {
  struct base *b = lethe_zalloc(a, sizeof *b);
  if (!b) return NULL;
  lethe_ref_init(&b->refs);
  b->events = event_base_new();
  b->interrupt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (b->events && b->interrupt >= 0)
    b->interrupted = event_new(b->events, b->interrupt, EV_READ | EV_PERSIST, on_interrupt, NULL);
  if (b->interrupted && event_add(b->interrupted, NULL) == 0) return b;
  base_free(a, b);
  return NULL;
}

static void base_put(const struct lethe_alloc *a, struct base *b) {
  if (lethe_ref_put(&b->refs)) base_free(a, b);
}

int lethe_loop_new(struct lethe_loop **out, const struct lethe_alloc *a, enum lethe_clock clock,
                   struct lethe_loop *host) {
  pthread_once(&threads_once, threads_init);
  struct lethe_loop *l = lethe_zalloc(a, sizeof *l);
  if (!l) return LETHE_ENOMEM;
  lethe_ref_init(&l->refs);
  l->alloc = a;
  l->is_virtual = clock == LETHE_CLOCK_VIRTUAL;
  pthread_mutex_init(&l->lock, NULL);
  lethe_list_init(&l->inbox);
  lethe_list_init(&l->signals);
  if (host) {
    l->base = host->base;
    lethe_ref_get(&l->base->refs);
  } else {
    l->base = base_new(a);
  }
  if (l->base) {
    l->wake = event_new(l->base->events, -1, EV_PERSIST, on_event, l);
    l->timeout = evtimer_new(l->base->events, on_event, l);
  }
  if (!l->base || !l->wake || !l->timeout) {
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

static unsigned run_messages(struct lethe_loop *l, bool closed) {
  struct lethe_list batch, *node;
  unsigned n = 0;
  pthread_mutex_lock(&l->lock);
  lethe_list_move(&batch, &l->inbox);
  pthread_mutex_unlock(&l->lock);
  while ((node = lethe_list_shift(&batch)) != NULL) {
    struct lethe_message *m = lethe_container_of(node, struct lethe_message, node);
    m->run(m, closed);
    n++;
  }
  return n;
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
  while (run_messages(l, true) > 0) {
  }
  while (l->timers) lethe_timer_stop(l->timers);
  LETHE_LIST_EACH_SAFE(node, &l->signals)
  lethe_signal_stop(lethe_container_of(node, struct lethe_signal, node));
  if (l->timeout) event_free(l->timeout);
  l->timeout = NULL;
  if (l->base) base_put(l->alloc, l->base);
  l->base = NULL;
}

/* ---- messages -------------------------------------------------------------------------------- */

bool lethe_loop_post(struct lethe_loop *l, struct lethe_message *m) {
  pthread_mutex_lock(&l->lock);
  bool open = !l->closed;
  if (open) {
    bool first = lethe_list_empty(&l->inbox);
    lethe_list_push(&l->inbox, &m->node);
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

void lethe_timer_start(struct lethe_loop *l, struct lethe_timer *t, double seconds, double every,
                       void (*fire)(struct lethe_timer *t)) {
  lethe_timer_stop(t);
  if (l->closed) return;
  t->loop = l;
  t->due = lethe_loop_now(l) + (seconds > 0 ? seconds : 0);
  t->every = every;
  t->seq = ++l->seq;
  t->fire = fire;
  l->timers = lethe_timers_add(l->timers, t);
}

void lethe_timer_stop(struct lethe_timer *t) {
  if (!t->loop) return;
  t->loop->timers = lethe_timers_remove(t->loop->timers, t);
  t->loop = NULL;
}

/* Takes the top off the heap and fires it; one that repeats is back in the heap before it fires, so
 * that its callback may stop it. */
static void fire_first(struct lethe_loop *l) {
  struct lethe_timer *t = l->timers;
  l->timers = lethe_timers_remove(l->timers, t);
  t->loop = NULL;
  if (t->every > 0) {
    t->loop = l;
    t->due += t->every;
    t->seq = ++l->seq;
    l->timers = lethe_timers_add(l->timers, t);
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

/* ---- signals --------------------------------------------------------------------------------- */

/* Runs inside event_base_loop, which cannot be entered twice: only notes; the turn calls back. */
static void on_signal(evutil_socket_t fd, short what, void *ud) {
  struct lethe_signal *s = ud;
  (void)fd;
  (void)what;
  s->raised++;
  s->loop->raised++;
}

/* A callback may stop any signal, so the walk begins anew after each. */
static unsigned run_signals(struct lethe_loop *l) {
  unsigned n = 0;
  while (l->raised > 0) {
    struct lethe_signal *found = NULL;
    LETHE_LIST_EACH(node, &l->signals) {
      struct lethe_signal *s = lethe_container_of(node, struct lethe_signal, node);
      if (s->raised > 0) {
        found = s;
        break;
      }
    }
    if (!found) {
      l->raised = 0;
      break;
    }
    l->raised -= found->raised;
    found->raised = 0; /* several deliveries before a turn count as one, as signals do */
    found->fire(found);
    n++;
  }
  return n;
}

int lethe_signal_start(struct lethe_loop *l, struct lethe_signal *s, int number,
                       void (*fire)(struct lethe_signal *s)) {
  if (l->closed) return LETHE_ECLOSED;
  s->loop = l;
  s->fire = fire;
  s->raised = 0;
  s->event = evsignal_new(l->base->events, number, on_signal, s);
  if (!s->event) return LETHE_ENOMEM;
  if (event_add(s->event, NULL) != 0) {
    event_free(s->event);
    s->event = NULL;
    return LETHE_ESYSTEM;
  }
  lethe_list_push(&l->signals, &s->node);
  return LETHE_OK;
}

void lethe_signal_stop(struct lethe_signal *s) {
  if (!s->event) return;
  event_free(s->event);
  s->event = NULL;
  s->loop->raised -= s->raised;
  s->raised = 0;
  lethe_list_remove(&s->node);
}

/* ---- turning --------------------------------------------------------------------------------- */

double lethe_loop_now(const struct lethe_loop *l) {
  return l->is_virtual ? l->now : lethe_clock_monotonic();
}

bool lethe_loop_is_virtual(const struct lethe_loop *l) { return l->is_virtual; }

static bool has_messages(const struct lethe_loop *l) {
  struct lethe_loop *w = (struct lethe_loop *)l; /* the lock is not part of what the caller sees */
  pthread_mutex_lock(&w->lock);
  bool any = !lethe_list_empty(&l->inbox);
  pthread_mutex_unlock(&w->lock);
  return any;
}

bool lethe_loop_ready(struct lethe_loop *l) {
  return l->raised > 0 || has_messages(l) || (l->timers && l->timers->due <= lethe_loop_now(l));
}

bool lethe_loop_alive(const struct lethe_loop *l) {
  struct lethe_loop *w = (struct lethe_loop *)l;
  if (has_messages(l) || !lethe_list_empty(&l->signals)) return true;
  pthread_mutex_lock(&w->lock);
  bool held = l->holds > 0;
  pthread_mutex_unlock(&w->lock);
  /* A virtual clock moves by advance alone: a timer that is not due yet is nothing to wait for. */
  if (l->is_virtual) return held || (l->timers && l->timers->due <= l->now);
  return held || l->timers;
}

static void arm_timeout(struct lethe_loop *l) {
  double wait = l->timers->due - lethe_loop_now(l);
  if (wait < 0) wait = 0;
  if (wait > 1e9) wait = 1e9;
  double whole = floor(wait);
  struct timeval tv = {(time_t)whole, (suseconds_t)ceil((wait - whole) * 1e6)};
  event_add(l->timeout, &tv);
}

void lethe_loop_block(struct lethe_loop *const *loops, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (loops[i]->closed || lethe_loop_ready(loops[i])) return;
  for (size_t i = 0; i < n; i++)
    if (!loops[i]->is_virtual && loops[i]->timers) arm_timeout(loops[i]);
  event_base_loop(loops[0]->base->events, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY);
  for (size_t i = 0; i < n; i++)
    if (loops[i]->timeout) event_del(loops[i]->timeout);
}

void lethe_loop_interrupt(struct lethe_loop *l) {
  ssize_t written = write(l->base->interrupt, &(uint64_t){1}, sizeof(uint64_t));
  (void)written; /* full means that one is pending already */
}

unsigned lethe_loop_turn(struct lethe_loop *l) {
  if (l->closed) return 0;
  event_base_loop(l->base->events, EVLOOP_ONCE | EVLOOP_NONBLOCK);
  unsigned n = run_signals(l);
  if (!l->closed) n += run_messages(l, false);
  return l->closed ? n : n + run_timers(l);
}

static void run_ready(struct lethe_loop *l) {
  while (!l->closed && lethe_loop_ready(l)) lethe_loop_turn(l);
}

void lethe_loop_advance(struct lethe_loop *l, double seconds) {
  double target = l->now + seconds;
  run_ready(l);
  while (!l->closed && l->timers && l->timers->due <= target) {
    if (l->timers->due > l->now) l->now = l->timers->due;
    fire_first(l);
    run_ready(l);
  }
  if (!l->closed && target > l->now) l->now = target;
}
