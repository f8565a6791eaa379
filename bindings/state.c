/* SPDX-License-Identifier: MIT
 * The record of a Lua state: made on first use, anchored in the registry, ended by lua_close. The
 * anchor is the first object of lethe in its state, so its finalizer is the last of them to run. */
#include <stdlib.h>
#include <string.h>

#include "lethe/atomic.h"
#include "object.h"

char lethe_key_state, lethe_key_class, lethe_key_live, lethe_key_leaks, lethe_key_traces,
    lethe_key_on_error, lethe_key_on_leak, lethe_key_prepare, lethe_key_shared, lethe_key_young,
    lethe_key_closing, lethe_key_probe, lethe_key_watched;

/* ---- the record ------------------------------------------------------------------------------ */

/* The record that this thread looked up last, by the address of its state's registry. Another state
 * may come to have that address, but not before the first has ended. */
static atomic_uint states_ended;
static _Thread_local struct {
  const void *registry;
  struct lethe_state *s;
  unsigned ended; /* states, when that was so */
} last __attribute__((tls_model("initial-exec")));

static void end_loop(struct lethe_loop **loop) {
  if (!*loop) return;
  lethe_loop_close(*loop);
  lethe_loop_put(*loop);
  *loop = NULL;
}

/* The state's end is its last safe point. */
static int end_state(lua_State *L) {
  struct lethe_state *s = lua_touserdata(L, 1);
  if (s->ended) return 0;
  s->ended = true;
  add_rlx(&states_ended, 1);
  lethe_end_all(s);
  lethe_end_young(L);
  end_loop(&s->loop);
  end_loop(&s->host);
  lethe_registry_destroy(&s->objects);
  return 0;
}

void lethe_new_table(lua_State *L, char *key, const char *mode) {
  lua_newtable(L);
  if (mode) {
    lua_createtable(L, 0, 1);
    lua_pushstring(L, mode);
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
  }
  lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

static struct lethe_state *state_new(lua_State *L) {
  struct lethe_state *s = lua_newuserdatauv(L, sizeof *s, 0);
  const char *debug = getenv("LETHE_DEBUG");
  memset(s, 0, sizeof *s);
  lethe_registry_init(&s->objects, &lethe_alloc_libc);
  s->debug = debug && strcmp(debug, "1") == 0;
  lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
  s->main = s->turning = lua_tothread(L, -1);
  lua_pop(L, 1);
  lua_createtable(L, 0, 1);
  lua_pushcfunction(L, end_state);
  lua_setfield(L, -2, "__gc"); /* the one that acts: it is the state's own end */
  lua_setmetatable(L, -2);
  lethe_new_table(L, &lethe_key_live, NULL);
  lethe_new_table(L, &lethe_key_leaks, NULL);
  lethe_new_table(L, &lethe_key_traces, NULL);
  lethe_new_table(L, &lethe_key_shared, NULL);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &lethe_key_state);
  return s;
}

static __attribute__((noinline)) struct lethe_state *look_up(lua_State *L, const void *registry) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_state);
  struct lethe_state *s = lua_touserdata(L, -1);
  lua_pop(L, 1);
  if (!s) s = state_new(L);
  if (s->ended) return s; /* its memory goes, and nobody says when */
  last.registry = registry;
  last.s = s;
  last.ended = load_rlx(&states_ended);
  return s;
}

struct lethe_state *lethe_state(lua_State *L) {
  const void *registry = lua_topointer(L, LUA_REGISTRYINDEX);
  if (last.registry == registry && last.ended == load_rlx(&states_ended)) return last.s;
  return look_up(L, registry);
}

struct lethe_loop *lethe_default_loop(lua_State *L) {
  const struct lethe_alloc *a = &lethe_alloc_libc;
  struct lethe_state *s = lethe_state(L);
  if (s->ended) luaL_error(L, "the Lua state is closing");
  if (!s->host && lethe_loop_new(&s->host, a, LETHE_CLOCK_REAL, NULL) != LETHE_OK)
    lethe_nomemory(L);
  if (!s->loop && lethe_loop_new(&s->loop, a, LETHE_CLOCK_REAL, s->host) != LETHE_OK)
    lethe_nomemory(L);
  return s->loop;
}

/* ---- further states -------------------------------------------------------------------------- */

void lethe_set_prepare(lua_State *L, lua_CFunction prepare) {
  lua_pushcfunction(L, prepare);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &lethe_key_prepare);
}

/* Pushes the state's package table, or nil. */
static void push_package(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushliteral(L, LUA_LOADLIBNAME);
  if (lua_istable(L, -2))
    lua_rawget(L, -2);
  else
    lua_pushnil(L);
  lua_remove(L, -2);
}

static const char *const paths[] = {"path", "cpath"};

/* path and cpath of the state that the paths come from. */
static int get_paths(lua_State *L) {
  push_package(L);
  for (int i = 0; i < 2; i++) {
    lua_pushstring(L, paths[i]);
    if (lua_istable(L, 1))
      lua_rawget(L, 1);
    else
      lua_pushnil(L);
  }
  return 2;
}

struct preparation {
  const char *paths[2];
  lua_CFunction more;
};

static int prepare(lua_State *L) {
  const struct preparation *p = lua_touserdata(L, 1);
  lua_settop(L, 0);
  push_package(L);
  for (int i = 0; i < 2 && lua_istable(L, 1); i++) {
    if (!p->paths[i]) continue;
    lua_pushstring(L, p->paths[i]);
    lua_setfield(L, 1, paths[i]);
  }
  lua_settop(L, 0);
  if (p->more) {
    lethe_set_prepare(L, p->more);
    lua_pushcfunction(L, p->more);
    lua_call(L, 0, 0);
  }
  return 0;
}

int lethe_newstate_prepare(lua_State *from, lua_State *to) {
  struct preparation p = {.more = NULL};
  bool got = lua_checkstack(from, LUA_MINSTACK);
  int top = lua_gettop(from);
  if (got) {
    lua_pushcfunction(from, get_paths);
    got = lua_pcall(from, 0, 2, 0) == LUA_OK;
  }
  if (!got) {
    lua_settop(from, top);
    lua_pushliteral(to, "not enough memory");
    return LUA_ERRMEM;
  }
  p.paths[0] = lua_tostring(from, -2);
  p.paths[1] = lua_tostring(from, -1);
  lua_rawgetp(from, LUA_REGISTRYINDEX, &lethe_key_prepare);
  p.more = lua_tocfunction(from, -1);
  lua_pushcfunction(to, prepare);
  lua_pushlightuserdata(to, &p);
  int rc = lua_pcall(to, 1, 0, 0);
  lua_settop(from, top);
  return rc;
}
