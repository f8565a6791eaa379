/* SPDX-License-Identifier: MIT
 * Fuzzers whose property is written in Lua: a script returns a function that takes the input and
 * raises when something is not as it must be. One state lives as long as the process. The bindings
 * and the core below are instrumented; of Lua code a hook counts from which line it went to which,
 * where libFuzzer looks for counters, so that it is led by what an input reaches in either.
 *
 *   int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
 *     return fuzz_lua("spec/fuzz/size.lua", data, size);
 *   } */
#ifndef LETHE_SPEC_FUZZ_LUA_H
#define LETHE_SPEC_FUZZ_LUA_H

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The C modules are in this program, under the names under which Lua would look for them. */
static int fuzz_search(lua_State *L) {
  char name[100] = "luaopen_";
  snprintf(name + 8, sizeof name - 8, "%s", luaL_checkstring(L, 1));
  for (char *c = name; *c; c++)
    if (*c == '.') *c = '_';
  void *open = dlsym(RTLD_DEFAULT, name);
  lua_CFunction fn;
  memcpy(&fn, &open, sizeof fn); /* ISO C has no cast */
  if (!open) return 0;
  lua_pushcfunction(L, fn);
  return 1;
}

static int fuzz_prepare(lua_State *L) {
  lua_getglobal(L, "package");
  lua_pushliteral(L, "lua/?.lua;lua/?/init.lua;./?.lua");
  lua_setfield(L, -2, "path");
  lua_getfield(L, -1, "searchers");
  lua_pushcfunction(L, fuzz_search);
  lua_rawseti(L, -2, luaL_len(L, -2) + 1);
  lua_pop(L, 2);
  return 0;
}

enum { FUZZ_STEPS = 1 << 15 };
__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t fuzz_steps[FUZZ_STEPS];

static void fuzz_line(lua_State *L, lua_Debug *ar) {
  static uint32_t last;
  lua_getinfo(L, "Sl", ar);
  uint32_t line = ((uint32_t)ar->srclen * 16777619u) ^ ((uint32_t)ar->currentline * 2654435761u);
  uint8_t *count = &fuzz_steps[((last >> 1) ^ line) % FUZZ_STEPS];
  if (*count < UINT8_MAX) ++*count;
  last = line;
}

static int fuzz_traceback(lua_State *L) {
  luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
  return 1;
}

static _Noreturn void fuzz_abort(lua_State *L) {
  fprintf(stderr, "%s\n", lua_tostring(L, -1));
  abort();
}

/* traceback handler at 1, the script's function at 2 */
static lua_State *fuzz_open(const char *script) {
  lua_State *L = luaL_newstate();
  if (!L) abort();
  luaL_openlibs(L);
  fuzz_prepare(L);
  lethe_set_prepare(L, fuzz_prepare);
  lua_pushcfunction(L, fuzz_traceback);
  if (luaL_loadfile(L, script) != LUA_OK || lua_pcall(L, 0, 1, 1) != LUA_OK) fuzz_abort(L);
  lua_sethook(L, fuzz_line, LUA_MASKLINE, 0);
  return L;
}

static int fuzz_lua(const char *script, const uint8_t *data, size_t size) {
  static lua_State *L;
  if (!L) L = fuzz_open(script);
  lua_pushvalue(L, 2);
  lua_pushlstring(L, (const char *)data, size);
  if (lua_pcall(L, 1, 0, 1) != LUA_OK) fuzz_abort(L);
  return 0;
}

#endif
