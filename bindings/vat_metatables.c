/* SPDX-License-Identifier: MIT
 * Metatables in a vat. A __gc or a __mode in a metatable would show the collector at work, and Lua
 * looks for the latter at any time. So Lua never sees the metatables of a vat's code: each has a
 * twin, made by us, whose metamethods are the functions here. They look into the vat's own
 * metatable when they are called, so that it may be changed at any time, as ever; __gc, __mode and
 * what else is in it are nothing but fields.
 *
 * A twin has every metamethod, whether the vat's metatable has it or not. So where that has none
 * the functions here do, or raise, what Lua would. __close alone is in a twin only if the metatable
 * had it when it was set: Lua wants to know whether there is one before it calls it. */
#include <string.h>

#include "vat_inside.h"

enum { CHAIN_MAX = 2000 };

/* Upvalue 1 of setmetatable: metatable -> twin, weak. A twin has its metatable at 1. */

/* ---- the vat's metatables -------------------------------------------------------------------- */

/* Pushes the metatable that the vat's code gave to the table at `index`; false, and nothing. */
static bool push_face(lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TTABLE || !lua_getmetatable(L, index)) return false;
  bool is = lua_rawgeti(L, -1, 1) == LUA_TTABLE;
  lua_remove(L, -2);
  if (!is) lua_pop(L, 1);
  return is;
}

int vat_metafield(lua_State *L, int index, const char *name) {
  if (!push_face(L, index)) return LUA_TNIL;
  lua_pushstring(L, name);
  int type = lua_rawget(L, -2);
  lua_remove(L, -2);
  if (type == LUA_TNIL) lua_pop(L, 1);
  return type;
}

/* ---- what is raised -------------------------------------------------------------------------- */

/* What the value is called in messages. */
static const char *kind(lua_State *L, int index) {
  if (vat_metafield(L, index, "__name") == LUA_TSTRING) return lua_tostring(L, -1);
  if (lua_type(L, index) == LUA_TUSERDATA && luaL_getmetafield(L, index, "__name") == LUA_TSTRING)
    return lua_tostring(L, -1);
  return luaL_typename(L, index);
}

static int cannot(lua_State *L, const char *what, int index) {
  return luaL_error(L, "attempt to %s a %s value", what, kind(L, index));
}

static int cannot_compare(lua_State *L) {
  const char *a = kind(L, 1), *b = kind(L, 2);
  if (strcmp(a, b) == 0) return luaL_error(L, "attempt to compare two %s values", a);
  return luaL_error(L, "attempt to compare %s with %s", a, b);
}

/* ---- operators ------------------------------------------------------------------------------- */

static int finish_one(lua_State *L, int status, lua_KContext context) {
  (void)L;
  (void)status;
  (void)context;
  return 1;
}

/* Calls the handler on top with the operands at 1 and 2. */
static int handle(lua_State *L) {
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_callk(L, 2, 1, 0, finish_one);
  return 1;
}

/* Pushes the handler of either operand; what is no table has none for it in a vat. */
static bool find_handler(lua_State *L, const char *event) {
  lua_settop(L, 2);
  return vat_metafield(L, 1, event) != LUA_TNIL || vat_metafield(L, 2, event) != LUA_TNIL;
}

static int arithmetic(lua_State *L, const char *event) {
  if (find_handler(L, event)) return handle(L);
  if (lua_type(L, 1) == LUA_TSTRING || lua_type(L, 2) == LUA_TSTRING)
    return luaL_error(L, "attempt to %s a '%s' with a '%s'", event + 2, luaL_typename(L, 1),
                      luaL_typename(L, 2)); /* as the metamethods of strings say it */
  return cannot(L, "perform arithmetic on", lua_isnumber(L, 1) ? 2 : 1);
}

static int bitwise(lua_State *L, const char *event) {
  if (find_handler(L, event)) return handle(L);
  return cannot(L, "perform bitwise operation on", lua_isnumber(L, 1) ? 2 : 1);
}

static int on_add(lua_State *L) { return arithmetic(L, "__add"); }
static int on_sub(lua_State *L) { return arithmetic(L, "__sub"); }
static int on_mul(lua_State *L) { return arithmetic(L, "__mul"); }
static int on_div(lua_State *L) { return arithmetic(L, "__div"); }
static int on_mod(lua_State *L) { return arithmetic(L, "__mod"); }
static int on_pow(lua_State *L) { return arithmetic(L, "__pow"); }
static int on_unm(lua_State *L) { return arithmetic(L, "__unm"); }
static int on_idiv(lua_State *L) { return arithmetic(L, "__idiv"); }
static int on_band(lua_State *L) { return bitwise(L, "__band"); }
static int on_bor(lua_State *L) { return bitwise(L, "__bor"); }
static int on_bxor(lua_State *L) { return bitwise(L, "__bxor"); }
static int on_shl(lua_State *L) { return bitwise(L, "__shl"); }
static int on_shr(lua_State *L) { return bitwise(L, "__shr"); }
static int on_bnot(lua_State *L) { return bitwise(L, "__bnot"); }

static int on_concat(lua_State *L) {
  if (find_handler(L, "__concat")) return handle(L);
  return cannot(L, "concatenate", lua_type(L, 1) == LUA_TSTRING || lua_isnumber(L, 1) ? 2 : 1);
}

static int on_len(lua_State *L) {
  lua_settop(L, 1);
  if (vat_metafield(L, 1, "__len") == LUA_TNIL) {
    lua_pushinteger(L, vat_border(L, 1));
    return 1;
  }
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 1); /* as Lua has it */
  lua_callk(L, 2, 1, 0, finish_one);
  return 1;
}

static int on_eq(lua_State *L) {
  if (find_handler(L, "__eq")) return handle(L);
  lua_pushboolean(L, 0); /* Lua asks only about two different tables */
  return 1;
}

static int on_lt(lua_State *L) { return find_handler(L, "__lt") ? handle(L) : cannot_compare(L); }
static int on_le(lua_State *L) { return find_handler(L, "__le") ? handle(L) : cannot_compare(L); }

/* ---- fields ---------------------------------------------------------------------------------- */

/* (t, k), where t has no k itself. A chain of tables is followed here, so that a function at its
 * end may yield, as it may where Lua follows it. */
static int on_index(lua_State *L) {
  lua_settop(L, 2);
  for (int i = 0; i < CHAIN_MAX; i++) {
    int type = vat_metafield(L, 1, "__index");
    if (type == LUA_TNIL) {
      lua_pushnil(L);
      return 1;
    }
    if (type == LUA_TFUNCTION) return handle(L);
    lua_replace(L, 1);
    lua_pushvalue(L, 2);
    if (type != LUA_TTABLE) {
      lua_gettable(L, 1);
      return 1;
    }
    if (lua_rawget(L, 1) != LUA_TNIL) return 1;
    lua_settop(L, 2);
  }
  return luaL_error(L, "'__index' chain too long; possibly a loop");
}

static int finish_none(lua_State *L, int status, lua_KContext context) {
  (void)L;
  (void)status;
  (void)context;
  return 0;
}

/* (t, k, v), where t has no k itself. */
static int on_newindex(lua_State *L) {
  lua_settop(L, 3);
  for (int i = 0; i < CHAIN_MAX; i++) {
    int type = vat_metafield(L, 1, "__newindex");
    if (type == LUA_TNIL) {
      lua_rawset(L, 1);
      return 0;
    }
    if (type == LUA_TFUNCTION) {
      lua_insert(L, 1);
      lua_callk(L, 3, 0, 0, finish_none);
      return 0;
    }
    lua_replace(L, 1);
    lua_pushvalue(L, 2);
    if (type != LUA_TTABLE) {
      lua_pushvalue(L, 3);
      lua_settable(L, 1);
      return 0;
    }
    bool has = lua_rawget(L, 1) != LUA_TNIL;
    lua_settop(L, 3);
    if (has) {
      lua_rawset(L, 1);
      return 0;
    }
  }
  return luaL_error(L, "'__newindex' chain too long; possibly a loop");
}

static int finish_all(lua_State *L, int status, lua_KContext context) {
  (void)status;
  (void)context;
  return lua_gettop(L);
}

static int on_call(lua_State *L) {
  if (vat_metafield(L, 1, "__call") == LUA_TNIL) return cannot(L, "call", 1);
  lua_insert(L, 1);
  lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, finish_all);
  return lua_gettop(L);
}

static int on_close(lua_State *L) {
  lua_settop(L, 2);
  if (vat_metafield(L, 1, "__close") == LUA_TNIL) return 0;
  lua_insert(L, 1);
  lua_callk(L, 2, 0, 0, finish_none);
  return 0;
}

/* ---- setmetatable, getmetatable -------------------------------------------------------------- */

static const luaL_Reg events[] = {{"__index", on_index}, {"__newindex", on_newindex},
                                  {"__call", on_call},   {"__add", on_add},
                                  {"__sub", on_sub},     {"__mul", on_mul},
                                  {"__div", on_div},     {"__mod", on_mod},
                                  {"__pow", on_pow},     {"__unm", on_unm},
                                  {"__idiv", on_idiv},   {"__band", on_band},
                                  {"__bor", on_bor},     {"__bxor", on_bxor},
                                  {"__shl", on_shl},     {"__shr", on_shr},
                                  {"__bnot", on_bnot},   {"__concat", on_concat},
                                  {"__len", on_len},     {"__eq", on_eq},
                                  {"__lt", on_lt},       {"__le", on_le},
                                  {NULL, NULL}};

/* Pushes the twin of the metatable at `mt`. */
static void push_twin(lua_State *L, int mt) {
  lua_pushvalue(L, mt);
  if (lua_rawget(L, lua_upvalueindex(1)) == LUA_TTABLE) return;
  lua_pop(L, 1);
  lua_createtable(L, 1, (int)(sizeof events / sizeof *events) + 1);
  lua_pushvalue(L, mt);
  lua_rawseti(L, -2, 1);
  luaL_setfuncs(L, events, 0);
  lua_pushvalue(L, mt);
  lua_pushvalue(L, -2);
  lua_rawset(L, lua_upvalueindex(1));
}

/* setmetatable(t, mt | nil) -> t */
static int l_setmetatable(lua_State *L) {
  int type = lua_type(L, 2);
  luaL_checktype(L, 1, LUA_TTABLE);
  luaL_argexpected(L, type == LUA_TNIL || type == LUA_TTABLE, 2, "nil or table");
  if (vat_metafield(L, 1, "__metatable") != LUA_TNIL)
    return luaL_error(L, "cannot change a protected metatable");
  lua_settop(L, 2);
  if (type == LUA_TNIL) {
    lua_pushnil(L);
  } else {
    push_twin(L, 2);
    lua_pushliteral(L, "__close");
    if (lua_rawget(L, 2) != LUA_TNIL) {
      lua_pushcfunction(L, on_close);
      lua_setfield(L, 3, "__close");
    }
    lua_pop(L, 1);
  }
  lua_setmetatable(L, 1);
  lua_settop(L, 1);
  return 1;
}

/* getmetatable(v). Upvalue 1: what is said of strings. Of what is not the vat's own nothing is
 * shown. */
static int l_getmetatable(lua_State *L) {
  luaL_checkany(L, 1);
  if (lua_type(L, 1) == LUA_TSTRING) {
    lua_pushvalue(L, lua_upvalueindex(1));
    return 1;
  }
  if (vat_metafield(L, 1, "__metatable") != LUA_TNIL || push_face(L, 1)) return 1;
  lua_pushboolean(L, 0);
  if (lua_type(L, 1) != LUA_TUSERDATA) lua_pushnil(L);
  return 1;
}

/* metafield(t, name): of the metatable that the vat's code gave it */
static int l_metafield(lua_State *L) {
  const char *name = luaL_checkstring(L, 2);
  if (vat_metafield(L, 1, name) == LUA_TNIL) luaL_pushfail(L);
  return 1;
}

/* metatables(face) -> setmetatable, getmetatable: `face` stands for the metatable of strings */
static int l_metatables(lua_State *L) {
  lua_settop(L, 1);
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_pushcclosure(L, l_setmetatable, 1);
  lua_insert(L, 1);
  lua_pushcclosure(L, l_getmetatable, 1);
  return 2;
}

static const luaL_Reg functions[] = {
    {"metatables", l_metatables}, {"metafield", l_metafield}, {NULL, NULL}};

void vat_open_metatables(lua_State *L) { luaL_setfuncs(L, functions, 0); }
