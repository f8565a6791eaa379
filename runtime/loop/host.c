/* SPDX-License-Identifier: MIT
 * The event_base that the loops of a thread share, and how a handler interrupts its block. */
#include <event2/thread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "loop_internal.h"

static pthread_once_t threads_once = PTHREAD_ONCE_INIT;

static void threads_init(void) { evthread_use_pthreads(); }

static void on_interrupt(evutil_socket_t fd, short what, void *ud) {
  uint64_t count;
  ssize_t got = read(fd, &count, sizeof count);
  (void)got;
  (void)what;
  ((struct lethe_host *)ud)->interrupted = true;
}

/* libevent has an allocator of its own; its fault point is the same as everyone's. */
struct event *lethe_host_event(struct lethe_host *h, int fd, short what, event_callback_fn fn,
                               void *ud) {
  return lethe_fault(LETHE_FAULT_ALLOC) ? NULL : event_new(h->events, fd, what, fn, ud);
}

/* By default libevent's timeouts may be late by a tick of the kernel, 4 ms; these are not. */
static struct event_base *make_events(void) {
  struct event_config *config = lethe_fault(LETHE_FAULT_ALLOC) ? NULL : event_config_new();
  if (!config) return NULL;
  event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
  struct event_base *events = event_base_new_with_config(config);
  event_config_free(config);
  return events;
}

void lethe_host_put(struct lethe_host *h) {
  if (!lethe_ref_put(&h->refs)) return;
  if (h->on_interrupt) event_free(h->on_interrupt);
  if (h->interrupt >= 0) close(h->interrupt);
  if (h->events) event_base_free(h->events);
  lethe_free(h->alloc, h, sizeof *h);
}

struct lethe_host *lethe_host_new(const struct lethe_alloc *a) {
  pthread_once(&threads_once, threads_init);
  struct lethe_host *h = lethe_zalloc(a, sizeof *h);
  if (!h) return NULL;
  lethe_ref_init(&h->refs);
  h->alloc = a;
  h->events = make_events();
  h->interrupt = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (h->events && h->interrupt >= 0)
    h->on_interrupt = lethe_host_event(h, h->interrupt, EV_READ | EV_PERSIST, on_interrupt, h);
  if (h->on_interrupt && event_add(h->on_interrupt, NULL) == 0) return h;
  lethe_host_put(h);
  return NULL;
}

/* A program that is killed by SIGPIPE because somebody closed a page would be no use; one that
 * wants the signal for its own writes keeps it. So it is held back here, in this thread alone, and
 * one that came of these writes is taken away. */
static void loop_without_sigpipe(struct event_base *events, int flags) {
  sigset_t pipe, before, pending;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  sigpending(&pending);
  bool was_pending = sigismember(&pending, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, &before);
  event_base_loop(events, flags);
  sigpending(&pending);
  if (!was_pending && sigismember(&pending, SIGPIPE))
    sigtimedwait(&pipe, NULL, &(struct timespec){0});
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void lethe_host_loop(struct lethe_host *h, int flags) {
  if (h->sockets > 0)
    loop_without_sigpipe(h->events, flags);
  else
    event_base_loop(h->events, flags);
}

void lethe_loop_sockets(struct lethe_loop *loop, int by) {
  if (loop->closed) return;
  loop->sockets += by;
  loop->host->sockets += (unsigned)by;
}
