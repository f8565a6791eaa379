/* SPDX-License-Identifier: MIT
 * Stopping the Lua code of a state from another thread, so that no pcall survives it.
 *
 * Whoever wants a state stopped sets a flag and sends its thread a realtime signal, whose handler
 * does the one thing that Lua allows a handler: it sets a hook, on the coroutine that runs. From
 * then on every instruction raises, in every coroutine that comes to run, but for those inside a
 * __close (or in what one calls), and but for lethe's own code while it says so (held). A __gc has
 * no hooks in stock Lua. What is raised is the error of exhausted memory, the one error for which
 * Lua calls no message handler: a handler would run inside the hook, with hooks off.
 *
 * To know what runs, the state's coroutine.resume, wrap and close are replaced by ones that keep
 * books, and debug.sethook by one that cannot take the hook away. A tail call made by a __close
 * before the stop hides it: such a __close is stopped too. */
#ifndef LETHE_BINDINGS_STOP_H
#define LETHE_BINDINGS_STOP_H

#include <pthread.h>

#include "common.h"
#include "lethe/atomic.h"

/* A coroutine that runs, or that resumed one that does. */
struct lethe_running {
  lua_State *L;
  struct lethe_running *up;
  unsigned held;
  int closing; /* how deep the stack is, from its base, where a __close runs; 0: none; UNKNOWN */
};

struct lethe_stop {
  _Atomic bool wanted;
  const void *registry; /* tells the state from others that run in its thread */
  struct lethe_running base;
  struct lethe_running *volatile top;
  unsigned held;      /* above 0: lethe's own code runs */
  unsigned resetting; /* coroutines whose pending __close are being called */
};

/* In the state's thread, before and after all of its life there. It begins held. */
void lethe_stop_begin(struct lethe_stop *s, lua_State *main);
void lethe_stop_end(void);
/* Replaces the functions; in a state where nobody has seen the old ones. May raise. */
void lethe_stop_open(lua_State *L);

/* From any thread, while `thread` is alive. */
void lethe_stop_want(struct lethe_stop *s, pthread_t thread);

/* Whether this thread's state is being stopped. */
bool lethe_stop_wanted(void);
/* Whether what this thread runs now must end, even where no hook of this state can reach it: its
 * code is no lethe's own and inside no __close. */
bool lethe_stop_due(void);
/* Sets `held` and returns what it was; 0, and nothing else, in other threads. */
unsigned lethe_stop_hold(unsigned held);
/* Before a function of the script's that lethe's own code calls: it can be stopped, unless that was
 * wanted before. To be put back by lethe_stop_hold of what this returns. */
unsigned lethe_stop_let(void);
/* lua_resume(co, L, nargs, nres), for who resumes a coroutine in C: its code can be stopped. */
int lethe_stop_resume(lua_State *L, lua_State *co, int nargs, int *nres);
/* Somebody set a hook on L. */
void lethe_stop_rearm(lua_State *L);
/* Whether the coroutine `co`, which does not run, stands inside a __close. */
bool lethe_stop_in_close(lua_State *co);

#endif
