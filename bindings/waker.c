/* SPDX-License-Identifier: MIT
 * Wakers; see waker.h. */
#include "waker.h"

enum { TRIES = 100 };

static void on_again(struct lethe_message *m, bool closed);

void lethe_waker_open(lua_State *L, struct lethe_waker *w, struct lethe_loop *loop, int fn,
                      void (*free)(struct lethe_waker *w)) {
  *w = (struct lethe_waker){.again.run = on_again,
                            .state = lethe_state(L),
                            .loop = lethe_loop_get(loop),
                            .fn = fn,
                            .free = free};
}

void lethe_waker_close(struct lethe_waker *w) {
  if (!w->state->ended) luaL_unref(w->state->turning, LUA_REGISTRYINDEX, w->fn);
  lethe_loop_put(w->loop);
  w->free(w);
}

/* True once it has been called, or there is no state any more that could be. */
static bool call(struct lethe_waker *w) {
  lua_State *L = w->state->turning;
  if (w->state->ended) return true;
  if (!lua_checkstack(L, LUA_MINSTACK)) return false;
  lua_rawgeti(L, LUA_REGISTRYINDEX, w->fn);
  lua_pushinteger(L, w->value);
  return lethe_call_reported(L, 1, 0);
}

static void on_again(struct lethe_message *m, bool closed) {
  struct lethe_waker *w = lethe_container_of(m, struct lethe_waker, again);
  if (!call(w) && !closed && w->tries++ < TRIES && lethe_loop_post(w->loop, &w->again)) return;
  lethe_waker_close(w);
}

void lethe_waker_tell(struct lethe_waker *w, int64_t value) {
  w->value = value;
  on_again(&w->again, false);
}
