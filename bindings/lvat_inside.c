/* SPDX-License-Identifier: MIT
 * lethe.core.inside: what a vat's dispatcher, and the library that its code sees, need of C. Here
 * are objects that cannot be stamped, functions that cost a fixed sum, and whose methods strings
 * have. */
#include "meter.h"
#include "vat_inside.h"

/* registry: string libraries, the metatable of strings */
static char key_own, key_theirs, key_meta;

/* ---- strings --------------------------------------------------------------------------------- */

/* keep_strings(theirs): Lua's own and the vat's, which counts from the next call into the vat on */
static int l_keep_strings(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_pushvalue(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_theirs);
  lua_pushliteral(L, "");
  lua_getmetatable(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_meta);
  lua_pop(L, 1);
  lua_getglobal(L, LUA_STRLIBNAME);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_own);
  return 0;
}

/* The library on top becomes that of strings' methods, and what was it before comes in its place.
 * The field exists: nothing is allocated. */
static void exchange_strings(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_meta);
  lua_pushliteral(L, "__index");
  lua_rawget(L, -2);
  lua_insert(L, -3);
  lua_insert(L, -2);
  lua_pushliteral(L, "__index");
  lua_insert(L, -2);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

void vat_use_strings(lua_State *L, bool own) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, own ? &key_own : &key_theirs);
  exchange_strings(L);
  lua_pop(L, 1);
}

/* ---- functions of the library's own ---------------------------------------------------------- */

/* Stack that must be there before a quiet call: how deep that goes may depend on hashes, and must
 * not show in where a stack overflows. */
enum { DEPTH = 1000 };

/* Upvalues: the function, what it costs. It calls nothing of the vat's code. */
static int call_quietly(lua_State *L) {
  lethe_meter_charge(L, lua_tointeger(L, lua_upvalueindex(2)));
  luaL_checkstack(L, DEPTH, NULL);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_own);
  exchange_strings(L);
  lua_insert(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 2);
  int status = lethe_meter_quiet(L, lua_gettop(L) - 2, LUA_MULTRET);
  lua_pushvalue(L, 1);
  exchange_strings(L);
  lua_pop(L, 1);
  if (status == LUA_OK) return lua_gettop(L) - 1;
  if (status == LUA_ERRRUN && lua_type(L, -1) == LUA_TSTRING) {
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

/* quiet(fn, cost) -> function: the same, but that it costs the meter so much, whatever it does.
 * What it raises as a text without a position is said to be at its caller's line. */
static int l_quiet(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  luaL_checkinteger(L, 2);
  lua_settop(L, 2);
  lua_pushcclosure(L, call_quietly, 2);
  return 1;
}

/* charge(n): n instructions off the meter */
static int l_charge(lua_State *L) {
  lethe_meter_charge(L, luaL_checkinteger(L, 1));
  return 0;
}

/* ---- objects --------------------------------------------------------------------------------- */

/* object(metatable, insides) -> a userdata, to whose insides only those come that have the
 * metatable */
static int l_object(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  lua_newuserdatauv(L, 0, 1);
  lua_insert(L, 2);
  lua_setiuservalue(L, 2, 1);
  lua_pushvalue(L, 1);
  lua_setmetatable(L, 2);
  return 1;
}

/* insides(object, metatable) -> what object() was given; nil for another kind of value */
static int l_insides(lua_State *L) {
  lua_settop(L, 2);
  if (lua_type(L, 1) == LUA_TUSERDATA && lua_getmetatable(L, 1) && lua_rawequal(L, -1, 2)) {
    lua_getiuservalue(L, 1, 1);
    return 1;
  }
  luaL_pushfail(L);
  return 1;
}

static const luaL_Reg functions[] = {{"keep_strings", l_keep_strings},
                                     {"quiet", l_quiet},
                                     {"charge", l_charge},
                                     {"object", l_object},
                                     {"insides", l_insides},
                                     {NULL, NULL}};

int luaopen_lethe_core_inside(lua_State *L) {
  luaL_newlib(L, functions);
  vat_open_order(L);
  vat_open_length(L);
  vat_open_metatables(L);
  return 1;
}
