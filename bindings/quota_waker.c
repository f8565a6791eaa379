/* SPDX-License-Identifier: MIT
 * Wakers: a Lua function that hears once how something ended that a task waits for. Where memory is
 * too short for the call it is tried again in a later turn, so that no wait is left without its
 * end. */
#include "quota_keys.h"

enum { TRIES = 100 };

static void on_again(struct lethe_message *m, bool closed);

void quota_waker_open(lua_State *L, struct quota_waker *w, struct lethe_loop *loop, int fn,
                      void (*free)(struct quota_waker *w)) {
  *w = (struct quota_waker){.again.run = on_again,
                            .state = lethe_state(L),
                            .loop = lethe_loop_get(loop),
                            .fn = fn,
                            .free = free};
}

void quota_waker_close(struct quota_waker *w) {
  if (!w->state->ended) luaL_unref(w->state->turning, LUA_REGISTRYINDEX, w->fn);
  lethe_loop_put(w->loop);
  w->free(w);
}

/* True once it has been called, or there is no state any more that could be. */
static bool call(struct quota_waker *w) {
  lua_State *L = w->state->turning;
  if (w->state->ended) return true;
  if (!lua_checkstack(L, LUA_MINSTACK)) return false;
  lua_rawgeti(L, LUA_REGISTRYINDEX, w->fn);
  lua_pushinteger(L, w->value);
  return lethe_call_reported(L, 1, 0);
}

static void on_again(struct lethe_message *m, bool closed) {
  struct quota_waker *w = lethe_container_of(m, struct quota_waker, again);
  if (!call(w) && !closed && w->tries++ < TRIES && lethe_loop_post(w->loop, &w->again)) return;
  quota_waker_close(w);
}

void quota_waker_tell(struct quota_waker *w, int64_t value) {
  w->value = value;
  on_again(&w->again, false);
}

/* failure(code) -> nil, message, code: what a waker's value stands for */
static int l_failure(lua_State *L) { return lethe_fail(L, (int)luaL_checkinteger(L, 1)); }

void quota_open_waker(lua_State *L) {
  static const luaL_Reg functions[] = {{"failure", l_failure}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
