/* SPDX-License-Identifier: MIT
 * What lua_quota.lua measures against: methods of a userdata that check their self as
 * luaL_checkudata does, and do nothing. The bench compiles it. */
#include <lauxlib.h>

#define PEER "peer.Empty"

int luaopen_peer(lua_State *L);

static int l_nothing(lua_State *L) {
  luaL_checkudata(L, 1, PEER);
  return 0;
}

static int l_true(lua_State *L) {
  luaL_checkudata(L, 1, PEER);
  lua_pushboolean(L, 1);
  return 1;
}

static const luaL_Reg methods[] = {{"nothing", l_nothing}, {"yes", l_true}, {NULL, NULL}};

int luaopen_peer(lua_State *L) {
  lua_newuserdatauv(L, 16, 0);
  luaL_newmetatable(L, PEER);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
  return 1;
}
