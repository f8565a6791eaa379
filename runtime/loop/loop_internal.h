/* SPDX-License-Identifier: MIT
 * What the files of the loop share: loop.c turns, host.c holds the event_base that the loops of one
 * thread share, signals.c watches signals. */
#ifndef LETHE_LOOP_INTERNAL_H
#define LETHE_LOOP_INTERNAL_H

#include <event2/event.h>
#include <pthread.h>

#include "lethe/loop.h"
#include "lethe/ref.h"

struct lethe_host {
  struct lethe_ref refs;
  const struct lethe_alloc *alloc;
  struct event_base *events;
  int interrupt; /* an eventfd: what a signal handler may write to */
  struct event *on_interrupt;
  bool interrupted; /* and no block has ended for it */
  unsigned sockets; /* that write within its base */
};

struct lethe_loop {
  struct lethe_ref refs;
  const struct lethe_alloc *alloc;
  struct lethe_host *host;
  bool is_virtual;
  double now; /* of a virtual clock */

  pthread_mutex_t lock; /* guards inbox to holds; `closed` is written by the loop's thread alone */
  struct lethe_list inbox;
  uint64_t posted, taken; /* messages so far: the k-th posted is the k-th taken */
  bool closed;
  unsigned holds;

  struct event *wake, *timeout;
  struct lethe_timer *timers;
  unsigned busy_timers; /* those that keep it alive */
  uint64_t seq;
  struct lethe_list signals;
  int sockets;     /* its part of the host's */
  unsigned raised; /* signals caught by libevent, whose callbacks have not run yet */
};

/* NULL without memory. */
struct lethe_host *lethe_host_new(const struct lethe_alloc *a);
void lethe_host_put(struct lethe_host *h);
/* An event of the host's base, not added yet; NULL without memory. */
struct event *lethe_host_event(struct lethe_host *h, int fd, short what, event_callback_fn fn,
                               void *ud);

/* event_base_loop; what its sockets write to a peer that is gone raises no signal. */
void lethe_host_loop(struct lethe_host *h, int flags);

/* Calls back for the signals that came; how many. */
unsigned lethe_signals_run(struct lethe_loop *l);
/* Stops them all, and tells them. */
void lethe_signals_end(struct lethe_loop *l);

#endif
