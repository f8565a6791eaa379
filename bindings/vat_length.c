/* SPDX-License-Identifier: MIT
 * How long lists are in a vat. Where a table has holes, Lua's # says what the sizes of its parts
 * say, and these show how it came about. */
#include "vat_inside.h"

static bool has(lua_State *L, int index, lua_Integer i) {
  bool is = lua_rawgeti(L, index, i) != LUA_TNIL;
  lua_pop(L, 1);
  return is;
}

/* Doubling, then halving: which of several borders that is depends on the elements, on nothing
 * else. */
lua_Integer vat_border(lua_State *L, int index) {
  lua_Integer low = 0, high = 1;
  while (has(L, index, high)) {
    low = high;
    if (high > LUA_MAXINTEGER / 2) return low;
    high *= 2;
  }
  while (high - low > 1) {
    lua_Integer middle = low + (high - low) / 2;
    if (has(L, index, middle))
      low = middle;
    else
      high = middle;
  }
  return low;
}

/* length(t): what # would say, were it not for Lua's tables */
static int l_length(lua_State *L) {
  int isnum;
  if (!lua_istable(L, 1)) {
    lua_len(L, 1);
    return 1;
  }
  if (vat_metafield(L, 1, "__len") == LUA_TNIL) {
    lua_pushinteger(L, vat_border(L, 1));
    return 1;
  }
  lua_pushvalue(L, 1);
  lua_call(L, 1, 1);
  lua_Integer n = lua_tointegerx(L, -1, &isnum);
  if (!isnum) { /* at the line of whoever called the library */
    luaL_where(L, 2);
    lua_pushliteral(L, "object length is not an integer");
    lua_concat(L, 2);
    return lua_error(L);
  }
  lua_pushinteger(L, n);
  return 1;
}

/* rawlen(v) */
static int l_rawlen(lua_State *L) {
  int type = lua_type(L, 1);
  luaL_argexpected(L, type == LUA_TTABLE || type == LUA_TSTRING, 1, "table or string");
  if (type == LUA_TTABLE)
    lua_pushinteger(L, vat_border(L, 1));
  else
    lua_pushinteger(L, (lua_Integer)lua_rawlen(L, 1));
  return 1;
}

static const luaL_Reg functions[] = {{"length", l_length}, {"rawlen", l_rawlen}, {NULL, NULL}};

void vat_open_length(lua_State *L) { luaL_setfuncs(L, functions, 0); }
