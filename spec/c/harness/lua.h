/* SPDX-License-Identifier: MIT
 * Lua states in C tests: the libraries, the engines' modules that a test names, and the Lua files
 * of this checkout, unless LUA_PATH says others. */
#ifndef SPEC_HARNESS_LUA_H
#define SPEC_HARNESS_LUA_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

/* `modules` may be NULL. */
static inline lua_State *test_open_lua(lua_State *L, const luaL_Reg *modules) {
  assert_non_null(L);
  luaL_openlibs(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  if (modules) luaL_setfuncs(L, modules, 0);
  if (!getenv("LUA_PATH") && !getenv("LUA_PATH_5_4")) {
    lua_getglobal(L, "package");
    lua_pushliteral(L, "lua/?.lua;lua/?/init.lua");
    lua_setfield(L, -2, "path");
  }
  lua_settop(L, 0);
  return L;
}

static inline void test_run_lua(lua_State *L, const char *code) {
  if (luaL_loadstring(L, code) != LUA_OK || lua_pcall(L, 0, 0, 0) != LUA_OK)
    fail_msg("%s", lua_tostring(L, -1));
}

/* What the Lua function `say` was given since test_listen, a line each: a state may say things
 * while it closes. */
enum { TEST_HEARD = 1000 };

static inline char *test_heard(void) {
  static char heard[TEST_HEARD];
  return heard;
}

static inline int test_say(lua_State *L) {
  size_t n = strlen(test_heard());
  snprintf(test_heard() + n, TEST_HEARD - n, "%s\n", luaL_tolstring(L, 1, NULL));
  return 0;
}

static inline void test_listen(lua_State *L) {
  test_heard()[0] = '\0';
  lua_register(L, "say", test_say);
}

#endif
