/* SPDX-License-Identifier: MIT
 * The module lethe.core.policy: policies as values, for lethe.policy and the modules that take
 * one. */
#include "evict_script.h"

static const luaL_Reg functions[] = {
    {"load", policy_text_load}, {"make", evict_make}, {NULL, NULL}};

int luaopen_lethe_core_policy(lua_State *L) {
  policy_text_open(L);
  evict_open(L);
  luaL_newlib(L, functions);
  return 1;
}
