/* SPDX-License-Identifier: MIT
 * Backends in Lua: each call of the core becomes a Call object and goes to a function of
 * lua/lethe/cache/backend.lua, which runs the backend's method as a task and answers. A Call that
 * is only collected, since its task was ended, answers that it failed. */
#include <string.h>

#include "cache.h"

static char key_upcalls; /* registry */

/* ---- answers --------------------------------------------------------------------------------- */

static void end_call(struct lethe_state *s, void *what, bool closed) {
  (void)s;
  (void)closed;
  lethe_cache_answer(what, LETHE_ECANCELLED, "the backend never answered", NULL);
}

const struct lethe_class lcache_call_class = {.name = "lethe.cache.Call", .end = end_call};

static struct lcache *cache_of(const struct lethe_cache_call *call) {
  return lethe_cache_ud(call->cache);
}

/* From now on there is nothing for the object's end to answer. */
static struct lethe_cache_call *take_call(lua_State *L, struct lethe_box *b) {
  struct lethe_cache_call *call = b->what;
  b->what = NULL;
  lethe_registry_remove(&lethe_state(L)->objects, b->id);
  b->id = 0;
  return call;
}

/* answer(call, true [, value]): it went well; answer(call, false, message): it did not;
 * answer(call, nil): there is nothing under that key */
static int l_answer(lua_State *L) {
  struct lethe_box *b = lethe_test(L, 1, &lcache_call_class);
  luaL_argexpected(L, b != NULL, 1, lcache_call_class.name);
  if (!b->what) return 0;
  struct lcache *k = cache_of(b->what);
  struct lethe_cache_value *value = NULL;
  const char *message = lua_type(L, 3) == LUA_TSTRING ? lua_tostring(L, 3) : NULL;
  int code = lua_isnil(L, 2) ? LETHE_ENOTFOUND : lua_toboolean(L, 2) ? LETHE_OK : LETHE_ESYSTEM;
  if (code == LETHE_OK && !lua_isnoneornil(L, 3)) value = lcache_value(L, k, 3);
  struct lethe_cache *c = lethe_cache_get_ref(k->c);
  lua_State *outer = lcache_enter(L, k);
  lethe_cache_answer(take_call(L, b), code, message, value);
  lcache_leave(k, outer);
  lethe_cache_put_ref(c);
  lethe_settle(L);
  return 0;
}

/* ---- calls ----------------------------------------------------------------------------------- */

struct upcall {
  const char *name;
  struct lcache *k;
  struct lethe_cache_call *call; /* NULL once its object answers for it */
};

/* -> Call */
static int new_call(lua_State *L) {
  struct upcall *u = lua_touserdata(L, 1);
  struct lethe_box *b = lethe_box_new(L, &lcache_call_class, 0);
  lethe_box_hold(L, b, u->call);
  u->call->ud = NULL;
  u->call = NULL;
  return 1;
}

/* (upcall, Call): upcalls.call(own, Call, name [, key [, value]]) */
static int call_lua(lua_State *L) {
  const struct upcall *u = lua_touserdata(L, 1);
  const struct lethe_cache_call *call = ((struct lethe_box *)lua_touserdata(L, 2))->what;
  int n = 3;
  lcache_push_upcall(L, "call");
  lcache_push_own(L, u->k);
  lua_pushvalue(L, 2);
  lua_pushstring(L, u->name);
  if (strcmp(u->name, "barrier") != 0) {
    lcache_push_key(L, &call->key);
    n++;
    if (call->value) {
      lcache_push_value(L, call->value);
      n++;
    }
  }
  lua_call(L, n, 0);
  return 0;
}

/* begun(call): its task has come so far that the Call's end will be seen to */
static int l_begun(lua_State *L) {
  struct lethe_cache_call *call = lethe_check(L, 1, &lcache_call_class)->what;
  call->ud = call;
  return 0;
}

/* One that did not even begin, for want of memory, is answered here. */
static void begin_in(lua_State *L, struct upcall *u) {
  lua_pushcfunction(L, new_call);
  lua_pushlightuserdata(L, u);
  if (!lethe_call_reported(L, 1, 1)) return;
  lua_pushcfunction(L, call_lua);
  lua_pushlightuserdata(L, u);
  lua_pushvalue(L, -3);
  lethe_call_reported(L, 2, 0);
  struct lethe_box *b = lua_touserdata(L, -1);
  const struct lethe_cache_call *call = b->what;
  if (call && !call->ud) u->call = take_call(L, b);
  lua_pop(L, 1);
}

static void begin(struct lethe_cache_backend *b, struct lethe_cache_call *call, const char *name) {
  struct lcache *k = lethe_container_of(b, struct lcache, backend);
  struct upcall u = {name, k, call};
  lua_State *L = k->state->turning;
  if (!k->state->ended && lua_checkstack(L, LUA_MINSTACK)) begin_in(L, &u);
  if (u.call) lethe_cache_answer(u.call, LETHE_ENOMEM, NULL, NULL);
}

static void begin_load(struct lethe_cache_backend *b, struct lethe_cache_call *call) {
  begin(b, call, "load");
}
static void begin_flush(struct lethe_cache_backend *b, struct lethe_cache_call *call) {
  begin(b, call, "flush");
}
static void begin_evict(struct lethe_cache_backend *b, struct lethe_cache_call *call) {
  begin(b, call, "evict");
}
static void begin_barrier(struct lethe_cache_backend *b, struct lethe_cache_call *call) {
  begin(b, call, "barrier");
}

/* It is part of the cache's own memory, which goes after it. */
static void end_backend(struct lethe_cache_backend *b) { (void)b; }

void lcache_backend_init(struct lcache *k, bool evicts, bool bars) {
  lethe_ref_init(&k->backend.refs);
  k->backend.destroy = end_backend;
  k->backend.load = begin_load;
  k->backend.flush = begin_flush;
  k->backend.evict = evicts ? begin_evict : NULL;
  k->backend.barrier = bars ? begin_barrier : NULL;
}

/* ---- opening --------------------------------------------------------------------------------- */

void lcache_push_upcall(lua_State *L, const char *name) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_upcalls);
  lua_getfield(L, -1, name);
  lua_remove(L, -2);
}

/* upcalls{ call =, evicted =, failed =, dropped = } */
static int l_upcalls(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_pushvalue(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_upcalls);
  return 0;
}

void lcache_open_backend(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"answer", l_answer}, {"begun", l_begun}, {"upcalls", l_upcalls}, {NULL, NULL}};
  lethe_class(L, &lcache_call_class);
  luaL_setfuncs(L, functions, 0);
}
