/* SPDX-License-Identifier: MIT
 * What lua_weakmap.lua measures against: the least that a binding does whose method looks an object
 * up. It checks its own object and the key, finds a number in an open-addressing table, or in a
 * plain B-tree, and pushes what stands under it in a Lua table. The bench compiles it. */
#include <lauxlib.h>

#include "weak_peers.h"

static const char table_name[] = "weak peer", tree_name[] = "weak tree peer";

static int push(lua_State *L, void *slot) {
  if (slot)
    lua_rawgeti(L, lua_upvalueindex(1), (lua_Integer)(uintptr_t)slot);
  else
    lua_pushnil(L);
  return 1;
}

static int table_get(lua_State *L) {
  const struct peer_table *t = luaL_checkudata(L, 1, table_name);
  return push(L, peer_table_get(t, luaL_checkinteger(L, 2)));
}

static int tree_get(lua_State *L) {
  const struct peer_tree *t = luaL_checkudata(L, 1, tree_name);
  return push(L, peer_tree_get(t, luaL_checkinteger(L, 2)));
}

static void *slot_of(lua_State *L, int value) {
  lua_settop(L, value);
  return (void *)(uintptr_t)luaL_ref(L, lua_upvalueindex(1));
}

static int table_set(lua_State *L) {
  struct peer_table *t = luaL_checkudata(L, 1, table_name);
  lua_Integer key = luaL_checkinteger(L, 2);
  peer_table_set(t, key, slot_of(L, 3));
  return 0;
}

static int tree_set(lua_State *L) {
  struct peer_tree *t = luaL_checkudata(L, 1, tree_name);
  lua_Integer key = luaL_checkinteger(L, 2);
  peer_tree_set(t, key, slot_of(L, 3));
  return 0;
}

static int table_collect(lua_State *L) {
  peer_table_free(luaL_checkudata(L, 1, table_name));
  return 0;
}

static int tree_collect(lua_State *L) {
  peer_tree_free(luaL_checkudata(L, 1, tree_name));
  return 0;
}

/* new(ordered) */
static int new (lua_State *L) {
  if (lua_toboolean(L, 1)) {
    struct peer_tree *t = lua_newuserdatauv(L, sizeof *t, 0);
    *t = (struct peer_tree){NULL};
    luaL_setmetatable(L, tree_name);
  } else {
    struct peer_table *t = lua_newuserdatauv(L, sizeof *t, 0);
    *t = (struct peer_table){NULL, 0, 0};
    luaL_setmetatable(L, table_name);
  }
  return 1;
}

static void open_class(lua_State *L, const char *name, const luaL_Reg *methods,
                       lua_CFunction collect) {
  luaL_newmetatable(L, name);
  lua_pushcfunction(L, collect);
  lua_setfield(L, -2, "__gc");
  lua_newtable(L);
  lua_newtable(L);
  luaL_setfuncs(L, methods, 1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

int luaopen_peer(lua_State *L);
int luaopen_peer(lua_State *L) {
  static const luaL_Reg of_table[] = {{"get", table_get}, {"set", table_set}, {NULL, NULL}};
  static const luaL_Reg of_tree[] = {{"get", tree_get}, {"set", tree_set}, {NULL, NULL}};
  open_class(L, table_name, of_table, table_collect);
  open_class(L, tree_name, of_tree, tree_collect);
  lua_pushcfunction(L, new);
  return 1;
}
