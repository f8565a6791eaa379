/* SPDX-License-Identifier: MIT
 * Callbacks of loops: the chain that keeps them alive, and what starves for want of memory. */
#include <string.h>

#include "callback.h"
#include "stop.h"

enum { FUNCTION = 1, NEXT, PREV };
enum { PATIENCE = 100 }; /* turns with starved callbacks until one says so */

static char key_chain, key_callbacks; /* of the Lua registry */

void lethe_callback_open(lua_State *L) {
  static const char *const names[] = {LETHE_MESSAGE, LETHE_TIMER, LETHE_SIGNAL};
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key_callbacks) == LUA_TNIL) {
    lua_pushboolean(L, 0);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key_chain);
    lethe_new_table(L, &key_callbacks, "v");
  }
  lua_pop(L, 1);
  for (int i = 0; i < 3; i++) {
    luaL_newmetatable(L, names[i]);
    lua_pop(L, 1);
  }
}

struct lethe_callback *lethe_callback_new(lua_State *L, int fn, const char *name) {
  luaL_checktype(L, fn, LUA_TFUNCTION);
  struct lethe_callback *c = lua_newuserdatauv(L, sizeof *c, PREV);
  memset(c, 0, sizeof *c);
  c->state = lethe_state(L);
  luaL_setmetatable(L, name);
  lua_pushvalue(L, fn);
  lua_setiuservalue(L, -2, FUNCTION);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_callbacks);
  lua_pushvalue(L, -2);
  lua_rawsetp(L, -2, c);
  lua_pop(L, 1);
  return c;
}

/* Pushes the callback's userdata, which is in the chain. */
static void push_callback(lua_State *L, const struct lethe_callback *c) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_callbacks);
  lua_rawgetp(L, -1, c);
  lua_remove(L, -2);
}

void lethe_callback_chain(lua_State *L, struct lethe_callback *c) {
  int self = lua_gettop(L);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_chain);
  if (lua_isuserdata(L, -1)) {
    lua_pushvalue(L, self);
    lua_setiuservalue(L, -2, PREV);
  }
  lua_setiuservalue(L, self, NEXT);
  lua_pushboolean(L, 0);
  lua_setiuservalue(L, self, PREV);
  lua_pushvalue(L, self);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_chain);
  c->known = true;
}

void lethe_callback_unchain(lua_State *L, struct lethe_callback *c) {
  if (!c->known) return;
  c->known = false;
  push_callback(L, c);
  lua_getiuservalue(L, -1, NEXT);
  lua_getiuservalue(L, -2, PREV); /* self next prev */
  if (lua_isuserdata(L, -2)) {
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, -3, PREV);
  }
  lua_pushvalue(L, -2);
  if (lua_isuserdata(L, -2))
    lua_setiuservalue(L, -2, NEXT);
  else
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key_chain); /* the key stays: false ends the chain */
  lua_pushboolean(L, 0);
  lua_setiuservalue(L, -4, NEXT);
  lua_pushboolean(L, 0);
  lua_setiuservalue(L, -4, PREV);
  lua_pop(L, 3);
}

/* The loop let go of it without a call. Whichever thread runs, the main one has room for this. */
static void forget(struct lethe_callback *c) {
  lua_State *L = c->state->main;
  if (lua_checkstack(L, LUA_MINSTACK)) lethe_callback_unchain(L, c);
}

/* ---- want of memory -------------------------------------------------------------------------- */

static void starve(struct lethe_callback *c) {
  c->next_starved = c->state->starved;
  c->state->starved = c;
}

void lethe_callback_feed(struct lethe_state *s) {
  struct lethe_callback *c = s->starved, *next, *first = NULL;
  s->starved = NULL;
  for (; c; c = next) {
    next = c->next_starved;
    c->next_starved = first;
    first = c;
  }
  for (c = first; c; c = next) {
    next = c->next_starved;
    if (c->is_timer)
      lethe_timer_start(c->loop, &c->u.timer, 0, 0, lethe_callback_on_timer);
    else if (!lethe_loop_post(c->loop, &c->u.message))
      forget(c);
  }
}

void lethe_callback_forget(struct lethe_state *s, const struct lethe_loop *loop,
                           const struct lethe_callback *one) {
  struct lethe_callback **at = &s->starved;
  while (*at) {
    struct lethe_callback *c = *at;
    if (c->loop == loop || c == one) {
      *at = c->next_starved;
      forget(c);
    } else {
      at = &c->next_starved;
    }
  }
}

void lethe_callback_patience(lua_State *L, struct lethe_state *s) {
  s->starving = s->starved ? s->starving + 1 : 0;
  if (s->starving <= PATIENCE) return;
  s->starving = 0;
  lethe_nomemory(L);
}

/* ---- calling --------------------------------------------------------------------------------- */

/* Calls the function. `last`: the loop has let go of it. */
static void call(struct lethe_callback *c, bool last) {
  lua_State *L = c->state->turning;
  if (!lua_checkstack(L, LUA_MINSTACK)) {
    if (last) starve(c);
    return;
  }
  push_callback(L, c);
  if (last) lethe_callback_unchain(L, c);
  lua_pushcfunction(L, lethe_traceback);
  lua_getiuservalue(L, -2, FUNCTION);
  unsigned held = lethe_stop_hold(1);
  int rc = lua_pcall(L, 0, 0, -2);
  lethe_stop_hold(held);
  lua_remove(L, rc == LUA_OK ? -1 : -2);
  if (rc == LUA_ERRMEM && last) {
    lua_pop(L, 1);
    lethe_callback_chain(L, c);
    starve(c);
  } else {
    if (rc != LUA_OK) lethe_report(L, false);
    if (last && !c->kept) { /* what the function holds may be garbage now */
      lua_pushnil(L);
      lua_setiuservalue(L, -2, FUNCTION);
    }
  }
  lua_pop(L, 1);
}

void lethe_callback_on_message(struct lethe_message *m, bool closed) {
  struct lethe_callback *c = lethe_container_of(m, struct lethe_callback, u.message);
  if (closed)
    forget(c);
  else
    call(c, true);
}

void lethe_callback_on_timer(struct lethe_timer *t) {
  call(lethe_container_of(t, struct lethe_callback, u.timer), t->loop == NULL);
}

void lethe_callback_on_signal(struct lethe_signal *s) {
  call(lethe_container_of(s, struct lethe_callback, u.signal), false);
}

void lethe_callback_timer_closed(struct lethe_timer *t) {
  forget(lethe_container_of(t, struct lethe_callback, u.timer));
}

void lethe_callback_signal_closed(struct lethe_signal *s) {
  forget(lethe_container_of(s, struct lethe_callback, u.signal));
}
