/* SPDX-License-Identifier: MIT
 * Tasks where Lua gets no memory at all for a while. Run it from the repository's root, or with
 * LUA_PATH set. */
#include "harness/unit.h"

#include "common.h"
#include "harness/lua.h"

static bool starved;

static void *memory(void *ud, void *p, size_t osize, size_t nsize) {
  (void)ud;
  if (nsize == 0) {
    free(p);
    return NULL;
  }
  return starved && (!p || nsize > osize) ? NULL : realloc(p, nsize);
}

static int l_starve(lua_State *L) {
  starved = lua_toboolean(L, 1);
  return 0;
}

/* Lua makes the message that says so outside of any protection: want of memory for it would end
 * every call down to the last protected one of the main thread, a loop's turn among them. */
static void a_task_that_could_not_begin_is_not_resumed(void **state) {
  (void)state;
  static const luaL_Reg modules[] = {{"lethe.core.base", luaopen_lethe_core_base},
                                     {"lethe.core.loop", luaopen_lethe_core_loop},
                                     {NULL, NULL}};
  lua_State *L = test_open_lua(lua_newstate(memory, NULL), modules);
  lua_register(L, "starve", l_starve);
  test_run_lua(L, "local loop, tasks = require 'lethe.loop', require 'lethe.loop.task'\n"
                  "local virtual = loop.new{ clock = 'virtual' }\n"
                  "local function unborn()\n"
                  "  local task = tasks.make(virtual, print)\n"
                  "  coroutine.close(task.co)\n"
                  "  return task\n"
                  "end\n"
                  "local fed, hungry = unborn(), unborn()\n"
                  "local co = coroutine.create(function()\n"
                  "  pcall(tasks.resume, fed)\n"
                  "  collectgarbage() -- no string of that is left\n"
                  "  starve(true)\n"
                  "  pcall(tasks.resume, hungry)\n"
                  "  starve(false)\n"
                  "  return fed.results[3], hungry.results[3]\n"
                  "end)\n"
                  "local ok, first, second = coroutine.resume(co)\n"
                  "assert(ok, first)\n"
                  "assert(first == 'failed' and second == 'failed')\n");
  starved = false;
  lua_close(L);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_task_that_could_not_begin_is_not_resumed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
