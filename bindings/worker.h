/* SPDX-License-Identifier: MIT
 * Workers: an OS thread with a Lua state and a loop of its own, what its maker and it share, and
 * what each Lua state that has workers keeps of them.
 *
 * A worker's maker and its thread hold it; its messages go through two channels, and a third, which
 * carries nothing, is closed when all is over: who joins it receives from that one. */
#ifndef LETHE_BINDINGS_WORKER_H
#define LETHE_BINDINGS_WORKER_H

#include "lethe/ref.h"
#include "message.h"
#include "stop.h"

struct keeper;

enum worker_outcome { WORKER_DONE, WORKER_FAILED, WORKER_CANCELLED };

struct worker {
  struct lethe_ref refs;
  char *name; /* or NULL */
  struct lethe_channel *to, *from, *end;

  /* The thread's. */
  lua_State *L;
  lua_Alloc alloc; /* the state's own */
  void *alloc_ud;
  size_t used, limit; /* bytes of the state; SIZE_MAX: no limit */
  struct lethe_packed *setup, *args;
  struct lethe_stop stop;
  struct lethe_loop *loop;

  /* Written by the thread before `end` is closed. */
  enum worker_outcome outcome;
  struct lethe_packed *results; /* or the message; NULL without memory */

  pthread_mutex_t lock; /* guards what follows */
  pthread_cond_t over;
  bool running; /* the thread may be sent signals */
  bool ended, cancelled;
  struct lethe_message cancel; /* posted once */

  /* The maker's thread's. */
  pthread_t thread;
  bool started, reaped;
  struct lethe_list node; /* in its state's list, until it is over */
  struct lethe_state *maker;
  struct lethe_loop *maker_loop;
  struct lethe_waiter notice; /* of the end */
  unsigned joiners;
  bool joined;
  struct keeper *home; /* its state's; held */
  bool left;           /* its state has ended, and left it to another */

  struct lethe_list orphan; /* in the list of whom it was left to, by that one's lock */
};

/* ---- worker.c: without a maker's Lua state --------------------------------------------------- */

/* One reference; nothing is started. NULL without memory. */
struct worker *worker_new(const char *name, size_t limit);
struct worker *worker_get(struct worker *w);
void worker_put(struct worker *w);
/* Starts the thread, which takes the state L and the setup; 0 or LETHE_ETHREAD. */
int worker_start(struct worker *w);
void worker_cancel(struct worker *w);
/* After the end, by the maker: the thread is gone for good. */
void worker_reap(struct worker *w);
/* Waits until that moment of the monotonic clock; whether it has ended. */
bool worker_wait(struct worker *w, double until);

/* ---- classes, and the parts of lethe.core.worker: each adds to the module's table on top ----- */

extern const struct lethe_class worker_class, worker_parent_class, worker_channel_class;
void worker_open_channels(lua_State *L);
void worker_open_starting(lua_State *L);
/* NULL is ignored. */
void keeper_put(struct keeper *k);

/* ---- lworker.c: in the worker's thread ------------------------------------------------------- */

/* Runs it all, in a protected call, with the worker, a light userdata; leaves true if it went well.
 * The results, or the message, are the worker's then. */
int worker_main(lua_State *L);
/* Whose state this is; NULL: no worker's. */
struct worker *worker_self(lua_State *L);
/* Called there when it is cancelled. */
void worker_on_cancel(struct worker *w);

#endif
