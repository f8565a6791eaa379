/* SPDX-License-Identifier: MIT
 * Classes made in Lua: base.class gives a Lua module objects of its own, whose finalizers only
 * note a death like all others.
 *
 * An object is a userdata; what the module knows of it, its insides, is a table in its user
 * value. If the class wants to hear of deaths its insides stand in the table `live` too, by slot,
 * and so must not refer to the object; else an object and its insides may refer to each other and
 * die together. */
#include <string.h>

#include "object.h"

struct lua_class {
  struct lethe_class base;
  bool close_only; /* the finisher hears of close alone */
  char name[];
};

/* new(insides [, name]) -> object. Upvalue 1: the class. */
static int l_new(lua_State *L) {
  const struct lethe_class *c = lua_touserdata(L, lua_upvalueindex(1));
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 3);
  if (!lua_isnil(L, 2)) {
    lua_pushvalue(L, 2);
    lua_rawsetp(L, 1, &lethe_key_class);
  }
  if (!lua_isnil(L, 3)) {
    lua_pushvalue(L, 3);
    lua_rawsetp(L, 1, &lethe_key_probe);
  }
  struct lethe_box *b = lethe_box_new(L, c, 1);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  if (!((const struct lua_class *)c)->close_only) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_live);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, (lua_Integer)(uint32_t)b->id);
    lua_pop(L, 1);
  }
  lethe_box_hold(L, b, b); /* any non-NULL */
  return 1;
}

/* insides(object) of an open object; raises at the caller of the method that calls it. */
static int l_insides(lua_State *L) {
  const struct lethe_class *c = lua_touserdata(L, lua_upvalueindex(1));
  struct lethe_box *b = luaL_testudata(L, 1, c->name);
  if (b && b->what) {
    lua_getiuservalue(L, 1, 1);
    return 1;
  }
  return lethe_bad_self(L, c->name, b != NULL);
}

/* The class record of a name, made once per state and kept for good. */
static const struct lethe_class *lua_class(lua_State *L, const char *name, bool leaks,
                                           bool close_only, bool watched) {
  if (luaL_getmetatable(L, name) == LUA_TTABLE) {
    lua_rawgetp(L, -1, &lethe_key_class);
    const struct lethe_class *c = lua_touserdata(L, -1);
    lua_pop(L, 2);
    return c;
  }
  lua_pop(L, 1);
  size_t n = strlen(name) + 1;
  struct lua_class *c = lua_newuserdatauv(L, sizeof *c + n, 0);
  *c = (struct lua_class){.base = {.name = c->name, .leaks = leaks, .watched = watched},
                          .close_only = close_only};
  memcpy(c->name, name, n);
  luaL_ref(L, LUA_REGISTRYINDEX);
  lethe_class(L, &c->base);
  return &c->base;
}

/* A module that is loaded again in the same state (test runners do that) gets the class it made
 * before, with its new functions. */
int lethe_base_class(lua_State *L) {
  lua_settop(L, 6);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_pushfstring(L, "lethe.%s", luaL_checkstring(L, 1));
  const struct lethe_class *c = lua_class(L, lua_tostring(L, -1), lua_toboolean(L, 4),
                                          lua_toboolean(L, 5), lua_toboolean(L, 6));
  lua_pushvalue(L, 3);
  lua_rawsetp(L, LUA_REGISTRYINDEX, c);
  luaL_getmetatable(L, c->name);
  lua_getfield(L, -1, "__index");
  lua_pushnil(L);
  while (lua_next(L, 2)) {
    const char *key = lua_tostring(L, -2);
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, key[0] == '_' && key[1] == '_' ? -5 : -4);
  }
  lua_pushlightuserdata(L, (void *)c);
  lua_pushcclosure(L, l_new, 1);
  lua_pushlightuserdata(L, (void *)c);
  lua_pushcclosure(L, l_insides, 1);
  return 2;
}
