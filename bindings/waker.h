/* SPDX-License-Identifier: MIT
 * Wakers: a Lua function that hears once, on a loop, how something ended that a task waits for.
 *
 *   lethe_waker_open(L, &w, loop, luaL_ref(L, LUA_REGISTRYINDEX), freed)
 *   lethe_waker_tell(&w, value)     it has ended; or
 *   lethe_waker_close(&w)           nobody is to hear of it
 *
 * Where memory is too short for the call it is tried again in a later turn, so that no wait is left
 * without its end. */
#ifndef LETHE_BINDINGS_WAKER_H
#define LETHE_BINDINGS_WAKER_H

#include "common.h"

struct lethe_waker {
  struct lethe_message again;
  struct lethe_state *state;
  struct lethe_loop *loop;
  int fn; /* registry reference */
  unsigned tries;
  int64_t value;
  void (*free)(struct lethe_waker *w);
};
/* Takes over the registry reference. Cannot fail. */
void lethe_waker_open(lua_State *L, struct lethe_waker *w, struct lethe_loop *loop, int fn,
                      void (*free)(struct lethe_waker *w));
/* Calls the function with the value, and closes the waker, now or a little later. */
void lethe_waker_tell(struct lethe_waker *w, int64_t value);
/* Gives the reference back, then calls `free`. */
void lethe_waker_close(struct lethe_waker *w);

#endif
