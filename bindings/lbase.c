/* SPDX-License-Identifier: MIT
 * lethe.core.base: what the Lua modules share. Types, classes made in Lua, options and sizes, error
 * and leak reports, and the state's safe point. */
#include <string.h>

#include "object.h"

/* What an object without a class calls itself, or NULL: the presences of a Slots and its weak
 * collections, which a vat is to find nothing in; and what a policy's hooks get, tables with a mark
 * in their metatable, which no script can put into one of its own. */
static const char *plain_typename(lua_State *L) {
  static const char PREFIX[] = "lethe.";
  if (!lua_getmetatable(L, 1)) return NULL;
  if (lua_type(L, 1) != LUA_TUSERDATA && !lua_rawgetp(L, -1, &lethe_key_class)) return NULL;
  lua_settop(L, 2);
  lua_pushliteral(L, "__name");
  const char *name = lua_rawget(L, -2) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
  if (!name || strncmp(name, PREFIX, strlen(PREFIX)) != 0) return NULL;
  return name + strlen(PREFIX);
}

static int l_type(lua_State *L) {
  luaL_checkany(L, 1);
  lua_settop(L, 1);
  const char *name = lethe_typename(L, 1);
  if (!name) name = plain_typename(L);
  if (name)
    lua_pushstring(L, name);
  else
    luaL_pushfail(L);
  return 1;
}

/* on_error(fn | nil), on_leak(fn | nil) -> the function before */
static int set_hook(lua_State *L, char *key) {
  if (!lua_isnoneornil(L, 1)) luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, key);
  lua_pushvalue(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, key);
  return 1;
}

static int l_on_error(lua_State *L) { return set_hook(L, &lethe_key_on_error); }

static int l_on_leak(lua_State *L) { return set_hook(L, &lethe_key_on_leak); }

static int l_leak_hook(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_on_leak);
  return 1;
}

/* report(value [, details]): to lethe.on_error */
static int l_report(lua_State *L) {
  lua_settop(L, 2);
  lua_insert(L, 1);
  lethe_report(L, true);
  return 0;
}

static int l_safepoint(lua_State *L) {
  lethe_safepoint(L);
  lethe_settle(L);
  return 0;
}

/* objects() -> alive, registered, finalized, leaks: of the state's registry, and the leak reports
 * that wait for a sweep, { [name] = how often, [1..] = { name, traceback } }, [0] not to be
 * looked at */
static int l_objects(lua_State *L) {
  lethe_free_young(L); /* a registry collects between two calls */
  struct lethe_state *s = lethe_state(L);
  uint64_t hidden = s->hidden_made - s->hidden_died, live = lethe_registry_live(&s->objects);
  lua_pushinteger(L, (lua_Integer)(live > hidden ? live - hidden : 0));
  lua_pushinteger(L, (lua_Integer)(s->objects.registered - s->hidden_made));
  lua_pushinteger(L, (lua_Integer)(s->objects.finalized - s->hidden_died));
  lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_leaks);
  return 4;
}

/* The strings of the list at `index`, up to a NULL; they live as long as the list has them. */
static const char **names_of(lua_State *L, int index) {
  luaL_checktype(L, index, LUA_TTABLE);
  lua_Unsigned n = lua_rawlen(L, index);
  const char **names = lua_newuserdatauv(L, (n + 1) * sizeof *names, 0);
  for (lua_Unsigned i = 0; i < n; i++) {
    lua_rawgeti(L, index, (lua_Integer)i + 1);
    names[i] = lua_tostring(L, -1);
    lua_pop(L, 1);
  }
  names[n] = NULL;
  return names;
}

/* options(table, names, level): raises at `level` for a name that is not in the list */
static int l_options(lua_State *L) {
  int level = (int)luaL_checkinteger(L, 3);
  const char **names = names_of(L, 2);
  luaL_where(L, level);
  if (!lua_istable(L, 1))
    lua_pushfstring(L, "a table of options expected, got %s", luaL_typename(L, 1));
  else if (!lethe_badoption(L, 1, names))
    return 0;
  lua_concat(L, 2);
  return lua_error(L);
}

/* hint(word, names) -> what to put behind "unknown ...": ' (did you mean "name"?)', or nothing */
static int l_hint(lua_State *L) {
  const char *word = luaL_checkstring(L, 1), *near = lethe_nearest(word, names_of(L, 2));
  if (near)
    lua_pushfstring(L, " (did you mean \"%s\"?)", near);
  else
    lua_pushliteral(L, "");
  return 1;
}

/* size(value, what, level) -> bytes; raises at `level` */
static int size_protected(lua_State *L) {
  lua_pushinteger(L, lethe_tosize(L, 1, lua_tostring(L, 2)));
  return 1;
}

static int l_size(lua_State *L) {
  luaL_checkany(L, 1);
  luaL_checkstring(L, 2);
  int level = (int)luaL_checkinteger(L, 3);
  lua_pushcfunction(L, size_protected);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  if (lua_pcall(L, 2, 1, 0) == LUA_OK) return 1;
  luaL_where(L, level);
  lua_insert(L, -2);
  lua_concat(L, 2);
  return lua_error(L);
}

/* check(object, "quota.Tracker"): raises, at the caller of the method that calls it, unless it is
 * an open object of that class */
static int l_check(lua_State *L) {
  const char *want = luaL_checkstring(L, 2), *is = lethe_typename(L, 1);
  bool ours = is && strcmp(is, want) == 0;
  if (ours && ((struct lethe_box *)lua_touserdata(L, 1))->what) return 0;
  return lethe_bad_self(L, lua_pushfstring(L, "lethe.%s", want), ours);
}

/* open(object) -> true for an object of lethe's that is not closed */
static int l_open(lua_State *L) {
  lua_pushboolean(L, lethe_typename(L, 1) && ((struct lethe_box *)lua_touserdata(L, 1))->what);
  return 1;
}

/* when_closed(object, fn): fn() when it is closed; nothing when it is collected */
static int l_when_closed(lua_State *L) {
  luaL_argexpected(L, lethe_typename(L, 1) != NULL, 1, "lethe object");
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_closing) != LUA_TTABLE) {
    lethe_new_table(L, &lethe_key_closing, "k");
    lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_closing);
    lua_replace(L, 3);
  }
  lua_insert(L, 1);
  lua_rawset(L, 1);
  return 0;
}

/* shared(name) -> a table that outlives a module's reloading */
static int l_shared(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_shared);
  luaL_getsubtable(L, -1, name);
  return 1;
}

/* less(a, b): of two strings, by bytes, whatever the locale says */
static int l_less(lua_State *L) {
  size_t m, n;
  const char *a = luaL_checklstring(L, 1, &m), *b = luaL_checklstring(L, 2, &n);
  int order = memcmp(a, b, m < n ? m : n);
  lua_pushboolean(L, order < 0 || (order == 0 && m < n));
  return 1;
}

/* may_wait() -> false while a callback runs that must not */
static int l_may_wait(lua_State *L) {
  lua_pushboolean(L, lethe_state(L)->no_wait == 0);
  return 1;
}

static const luaL_Reg functions[] = {{"type", l_type},
                                     {"class", lethe_base_class},
                                     {"on_error", l_on_error},
                                     {"on_leak", l_on_leak},
                                     {"leak_hook", l_leak_hook},
                                     {"report", l_report},
                                     {"safepoint", l_safepoint},
                                     {"objects", l_objects},
                                     {"options", l_options},
                                     {"hint", l_hint},
                                     {"size", l_size},
                                     {"shared", l_shared},
                                     {"may_wait", l_may_wait},
                                     {"check", l_check},
                                     {"open", l_open},
                                     {"when_closed", l_when_closed},
                                     {"less", l_less},
                                     {"traceback", lethe_traceback},
                                     {NULL, NULL}};

int luaopen_lethe_core_base(lua_State *L) {
  luaL_checkversion(L);
  lethe_state(L);
  luaL_newlib(L, functions);
  lua_pushstring(L, LETHE_VERSION);
  lua_setfield(L, -2, "version");
  return 1;
}
