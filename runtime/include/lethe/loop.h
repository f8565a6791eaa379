/* SPDX-License-Identifier: MIT
 * The loop: messages, timers and signals of one thread, on libevent; its clock may be virtual.
 *
 * A loop belongs to the thread that turns it. Three things reach it: messages, which any thread
 * may post; timers, ordered by due time and then by start; and signals. A turn delivers the
 * messages that were there when it began and then the timers that are due. The clock of a virtual
 * loop stands still until lethe_loop_advance moves it, so a test owns time. Several loops of one
 * thread share one event_base (their host's): a thread has one place to block, whichever loop it
 * waits for.
 *
 *   lethe_loop_new(&loop, alloc, LETHE_CLOCK_REAL, NULL)
 *   lethe_timer_start(loop, &timer, 60.0, 0, fire)      lethe_loop_post(loop, &message)
 *   while (lethe_loop_alive(loop)) {
 *     if (lethe_loop_turn(loop) == 0) lethe_loop_block(&loop, 1);
 *   }
 *   lethe_loop_close(loop)
 *   lethe_loop_put(loop)
 *
 * Turns nest: what a turn calls back may turn the same loop, or another, until something happens.
 *
 * Synchronization: post, hold, release, get and put may be called from any thread, interrupt from
 * any thread and from a signal handler; everything else from the thread that turns the loop.
 * Nothing is called back while a lock is held. */
#ifndef LETHE_LOOP_H
#define LETHE_LOOP_H

#include "lethe/base.h"
#include "lethe/list.h"

struct lethe_loop;

enum lethe_clock { LETHE_CLOCK_REAL, LETHE_CLOCK_VIRTUAL };

/* A counted reference to a new loop. `host` NULL makes an event_base; else that loop's is shared.
 * LETHE_ENOMEM, or LETHE_ECLOSED for a host that is closed. */
LETHE_API int lethe_loop_new(struct lethe_loop **out, const struct lethe_alloc *a,
                             enum lethe_clock clock, struct lethe_loop *host);
LETHE_API struct lethe_loop *lethe_loop_get(struct lethe_loop *loop);
LETHE_API void lethe_loop_put(struct lethe_loop *loop);
/* Ends it, on its thread and before that thread puts its reference: queued messages are run with
 * closed = true, timers and signals stop (and are told, if they have a `closed`), later posts are
 * refused, later timers never fire. Idempotent, legal in a callback; memory stays until the last
 * reference is put. */
LETHE_API void lethe_loop_close(struct lethe_loop *loop);

/* ---- messages -------------------------------------------------------------------------------- */

/* Lives in the poster's memory until run is called, exactly once, on the loop's thread. */
struct lethe_message {
  struct lethe_list node;
  void (*run)(struct lethe_message *m, bool closed);
};

/* From any thread, in order of posting. False when the loop is closed; then run is not called. */
LETHE_API bool lethe_loop_post(struct lethe_loop *loop, struct lethe_message *m);
/* While an answer is to come from elsewhere (another thread's work) the loop is alive. */
LETHE_API void lethe_loop_hold(struct lethe_loop *loop);
LETHE_API void lethe_loop_release(struct lethe_loop *loop);

/* Sockets that write from within the loop's turns (libevent's, hiredis') come, by > 0, and go:
 * while there are any, a peer that has closed makes no SIGPIPE there. On the loop's thread; of a
 * closed loop it does nothing. */
LETHE_API void lethe_loop_sockets(struct lethe_loop *loop, int by);

/* ---- timers ---------------------------------------------------------------------------------- */

/* Lives in the caller's memory from start until it fired (one-shot) or was stopped; zeroed before
 * the first start. Nothing is allocated, so starting cannot fail. */
struct lethe_timer {
  struct lethe_timer *child, *sibling, *parent; /* pairing heap */
  struct lethe_loop *loop;                      /* NULL while it is not running */
  double due, every;                            /* seconds; every = 0 fires once */
  uint64_t seq;
  bool idle; /* set before the start: it does not keep the loop alive */
  void (*fire)(struct lethe_timer *t);
  void (*closed)(struct lethe_timer *t); /* optional: the loop closed while it ran */
};

/* Fires `seconds` from now (negative counts as 0), then every `every` seconds if that is above 0.
 * Periods that a real loop missed are dropped, not made up for. */
LETHE_API void lethe_timer_start(struct lethe_loop *loop, struct lethe_timer *t, double seconds,
                                 double every, void (*fire)(struct lethe_timer *t));
/* Idempotent. */
LETHE_API void lethe_timer_stop(struct lethe_timer *t);

/* ---- signals --------------------------------------------------------------------------------- */

struct lethe_signal {
  struct lethe_list node;
  struct lethe_loop *loop;
  struct event *event; /* NULL while it is not watched; zeroed before the first start */
  unsigned raised;
  void (*fire)(struct lethe_signal *s);
  void (*closed)(struct lethe_signal *s); /* optional: the loop closed while it watched */
};

/* LETHE_ENOMEM, LETHE_ECLOSED or LETHE_ESYSTEM (no such signal). */
LETHE_API int lethe_signal_start(struct lethe_loop *loop, struct lethe_signal *s, int number,
                                 void (*fire)(struct lethe_signal *s));
LETHE_API void lethe_signal_stop(struct lethe_signal *s);

/* ---- others' events -------------------------------------------------------------------------- */

struct event_base;
/* The libevent base of an open loop, for what brings events of its own. Turning and blocking both
 * run them; what they call must turn no loop, and leaves the rest to messages and timers. Whoever
 * adds events takes them back before the loop closes (see a timer's `closed`). */
LETHE_API struct event_base *lethe_loop_events(const struct lethe_loop *loop);

/* ---- turning --------------------------------------------------------------------------------- */

LETHE_API double lethe_loop_now(const struct lethe_loop *loop);
LETHE_API bool lethe_loop_is_virtual(const struct lethe_loop *loop);
/* One turn, without waiting: the signals that came, the messages that are there, the timers that
 * are due. How many callbacks ran. */
LETHE_API unsigned lethe_loop_turn(struct lethe_loop *loop);
/* Blocks until one of the loops, all of one base, has something to do; at once if one has. */
LETHE_API void lethe_loop_block(struct lethe_loop *const *loops, size_t n);
/* Ends the block that is under way, or the next one, of any loop of the base. Async-signal-safe,
 * but for errno, which it may change. */
LETHE_API void lethe_loop_interrupt(struct lethe_loop *loop);
/* True while messages, timers, signals or held answers are left. */
LETHE_API bool lethe_loop_alive(const struct lethe_loop *loop);
/* True while a turn would run something now. */
LETHE_API bool lethe_loop_ready(struct lethe_loop *loop);
/* Virtual loops: moves the clock by `seconds`, running what falls due in order of due time, then of
 * start (the first, of what repeats), and what becomes due on the way. A virtual clock counts
 * nanoseconds, so ten steps of 0.1 are one of 1. */
LETHE_API void lethe_loop_advance(struct lethe_loop *loop, double seconds);

#endif
