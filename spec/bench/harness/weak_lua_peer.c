/* SPDX-License-Identifier: MIT
 * What lua_weakmap.lua measures against: the least that a binding does whose method looks an object
 * up. It checks its own object and the key, finds a number in an open-addressing table, and pushes
 * what stands under it in a Lua table. The bench compiles it. */
#include <lauxlib.h>

#include "weak_peers.h"

static const char name[] = "weak peer";

static int get(lua_State *L) {
  const struct peer_table *t = luaL_checkudata(L, 1, name);
  void *slot = peer_table_get(t, luaL_checkinteger(L, 2));
  if (slot)
    lua_rawgeti(L, lua_upvalueindex(1), (lua_Integer)(uintptr_t)slot);
  else
    lua_pushnil(L);
  return 1;
}

static int set(lua_State *L) {
  struct peer_table *t = luaL_checkudata(L, 1, name);
  lua_Integer key = luaL_checkinteger(L, 2);
  lua_settop(L, 3);
  peer_table_set(t, key, (void *)(uintptr_t)luaL_ref(L, lua_upvalueindex(1)));
  return 0;
}

static int new(lua_State *L) {
  struct peer_table *t = lua_newuserdatauv(L, sizeof *t, 0);
  *t = (struct peer_table){NULL, 0, 0};
  luaL_setmetatable(L, name);
  return 1;
}

static int collect(lua_State *L) {
  peer_table_free(luaL_checkudata(L, 1, name));
  return 0;
}

/* new() */
int luaopen_peer(lua_State *L);
int luaopen_peer(lua_State *L) {
  static const luaL_Reg methods[] = {{"get", get}, {"set", set}, {NULL, NULL}};
  luaL_newmetatable(L, name);
  lua_pushcfunction(L, collect);
  lua_setfield(L, -2, "__gc");
  lua_newtable(L);
  lua_newtable(L);
  luaL_setfuncs(L, methods, 1);
  lua_setfield(L, -2, "__index");
  lua_pushcfunction(L, new);
  return 1;
}
