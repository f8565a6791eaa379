/* SPDX-License-Identifier: MIT
 * The record of a Lua state: made on first use, anchored in the registry, ended by lua_close. The
 * anchor is the first object of lethe in its state, so its finalizer is the last of them to run. */
#include <stdlib.h>
#include <string.h>

#include "object.h"

char lethe_key_state, lethe_key_class, lethe_key_live, lethe_key_leaks, lethe_key_traces,
    lethe_key_on_error, lethe_key_on_leak, lethe_key_prepare, lethe_key_shared;

/* The state's end is its last safe point. */
static int end_state(lua_State *L) {
  struct lethe_state *s = lua_touserdata(L, 1);
  if (s->ended) return 0;
  s->ended = true;
  lethe_end_all(s);
  if (s->loop) {
    lethe_loop_close(s->loop);
    lethe_loop_put(s->loop);
    s->loop = NULL;
  }
  lethe_registry_destroy(&s->objects);
  return 0;
}

static void new_table(lua_State *L, char *key, const char *mode) {
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
  new_table(L, &lethe_key_live, NULL);
  new_table(L, &lethe_key_leaks, NULL);
  new_table(L, &lethe_key_traces, NULL);
  new_table(L, &lethe_key_shared, NULL);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &lethe_key_state);
  return s;
}

struct lethe_state *lethe_state(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_state);
  struct lethe_state *s = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return s ? s : state_new(L);
}

struct lethe_loop *lethe_default_loop(lua_State *L) {
  struct lethe_state *s = lethe_state(L);
  if (s->ended) luaL_error(L, "the Lua state is closing");
  if (!s->loop && lethe_loop_new(&s->loop, &lethe_alloc_libc, LETHE_CLOCK_REAL, NULL) != LETHE_OK)
    luaL_error(L, "not enough memory");
  return s->loop;
}

/* ---- further states -------------------------------------------------------------------------- */

void lethe_set_prepare(lua_State *L, lua_CFunction prepare) {
  lua_pushcfunction(L, prepare);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &lethe_key_prepare);
}

static void copy_path(lua_State *from, lua_State *to, const char *field) {
  if (lua_getglobal(from, LUA_LOADLIBNAME) == LUA_TTABLE) {
    lua_pushstring(from, field);
    const char *path = lua_rawget(from, -2) == LUA_TSTRING ? lua_tostring(from, -1) : NULL;
    if (path && lua_getglobal(to, LUA_LOADLIBNAME) == LUA_TTABLE) {
      lua_pushstring(to, path);
      lua_setfield(to, -2, field);
    }
    lua_pop(from, 1);
    lua_settop(to, 0);
  }
  lua_pop(from, 1);
}

static int prepare(lua_State *to) {
  lua_State *from = lua_touserdata(to, 1);
  lua_settop(to, 0);
  copy_path(from, to, "path");
  copy_path(from, to, "cpath");
  lua_rawgetp(from, LUA_REGISTRYINDEX, &lethe_key_prepare);
  lua_CFunction more = lua_tocfunction(from, -1);
  lua_pop(from, 1);
  if (more) {
    lethe_set_prepare(to, more);
    lua_pushcfunction(to, more);
    lua_call(to, 0, 0);
  }
  return 0;
}

int lethe_newstate_prepare(lua_State *from, lua_State *to) {
  luaL_checkstack(from, 4, NULL);
  lua_pushcfunction(to, prepare);
  lua_pushlightuserdata(to, from);
  return lua_pcall(to, 1, 0, 0);
}
