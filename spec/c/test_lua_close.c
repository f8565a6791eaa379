/* SPDX-License-Identifier: MIT
 * The end of Lua states: whatever is alive, under way or half dead when lua_close comes, in
 * whatever order its finalizers run. Run it from the repository's root, or with LUA_PATH set. */

#include "harness/unit.h"

#include <malloc.h>

#include "common.h"
#include "harness/lua.h"

static lua_State *new_state(void) {
  static const luaL_Reg modules[] = {{"lethe.core.base", luaopen_lethe_core_base},
                                     {"lethe.core.loop", luaopen_lethe_core_loop},
                                     {"lethe.core.quota", luaopen_lethe_core_quota},
                                     {NULL, NULL}};
  return test_open_lua(luaL_newstate(), modules);
}

static void close_hearing(const char *code) {
  lua_State *L = new_state();
  test_listen(L);
  test_run_lua(L, code);
  lua_close(L);
}

static void a_state_without_lethe_objects_closes(void **state) {
  (void)state;
  lua_State *L = new_state();
  test_run_lua(L, "require 'lethe.core.base'");
  lua_close(L);
  L = new_state();
  lethe_state(L);
  lua_close(L);
}

static void everything_may_be_under_way(void **state) {
  (void)state;
  static const char code[] = "local lethe = require 'lethe'\n"
                             "local loop, registry = lethe.loop, lethe.registry\n"
                             "local main, virtual = loop.default(), loop.new{ clock = 'virtual' }\n"
                             "kept = {}\n"
                             "for _, each in ipairs{ main, virtual } do\n"
                             "  kept[#kept + 1] = each:spawn(function() each:sleep(100) end)\n"
                             "  each:spawn(function() kept[1]:join() end)\n"
                             "  each:timer(100, print, { every = true })\n"
                             "  kept[#kept + 1] = each:signal('USR1', print)\n"
                             "  each:step()\n"
                             "  each:spawn(error, 'never started')\n"
                             "end\n"
                             "main:spawn(function() virtual:sleep(5) end)\n"
                             "main:step()\n"
                             "local r = registry.new{ on_dead = print }\n"
                             "for i = 1, 300 do kept[-i] = {} r:register(kept[-i], i, i) end\n"
                             "r:register({}, 'collected, not swept')\n"
                             "registry.default():collect()\n";
  lua_State *L = new_state();
  test_run_lua(L, code);
  lua_close(L);
}

/* Every wait of lethe.quota's, on loops that are older than the tracker and on one that the script
 * closed. */
static const char waiting[] =
    "local lethe = require 'lethe'\n"
    "local quota, shut = lethe.quota, lethe.loop.new{ clock = 'virtual' }\n"
    "for _, each in ipairs{ lethe.loop.default(), lethe.loop.new{ clock = 'virtual' }, shut } do\n"
    "  local other = lethe.loop.new()\n"
    "  local account = quota.new{ max = '1M', loop = each }:account()\n"
    "  local p = account:participant{\n"
    "    get_oldest = function() return 1 end,\n"
    "    reclaim = function() lethe.loop.default():sleep(100) end,\n"
    "  }\n"
    "  p:claim('900K')\n"
    "  local tx, rx = quota.queue{ account = account, capacity = 1, loop = each }\n"
    "  for _, on in ipairs{ each, other } do\n"
    "    on:spawn(function() p:claim_wait('300K') end)\n"
    "    on:spawn(function() account:tracker():reclaim('10K') end)\n"
    "    on:spawn(function() tx:send(1) tx:send(2) end)\n"
    "    on:step()\n"
    "  end\n"
    "  each:step()\n"
    "  kept = { kept, p, account, tx, rx }\n"
    "end\n"
    "shut:close()\n";

static void open_and_close(const char *code) {
  lua_State *L = new_state();
  test_run_lua(L, code);
  lua_close(L);
}

/* A tracker takes more than 16 KiB; malloc keeps less than that for itself each time. Under a
 * sanitizer, which has an allocator of its own, that one looks for the smallest leak. */
static void what_waits_leaks_nothing(void **state) {
  (void)state;
  enum { TIMES = 20, LEAST = 16384 };
  open_and_close(waiting);
  size_t before = mallinfo2().uordblks;
  for (int i = 0; i < TIMES; i++) open_and_close(waiting);
  size_t after = mallinfo2().uordblks;
  assert_true(after < before + (size_t)TIMES * LEAST);
}

static void deaths_may_be_noted_and_not_acted_on(void **state) {
  (void)state;
  lua_State *L = new_state();
  test_run_lua(L, "local loop = require 'lethe.loop'\n"
                  "for i = 1, 300 do loop.new{ clock = 'virtual' }:timer(1, print) loop.new() end\n"
                  "collectgarbage() collectgarbage()\n");
  lua_close(L);
}

/* Older than lethe's first object, so finalized after the state's end. */
static void older_finalizers_find_everything_closed(void **state) {
  (void)state;
  close_hearing("old = setmetatable({}, { __gc = function(self)\n"
                "  say(self.loop) say(pcall(self.loop.now, self.loop))\n"
                "  say(self.timer:close()) say(self.loop:close())\n"
                "  say(select(2, pcall(require('lethe.loop').new)):match('[^:]*$'))\n"
                "  say(pcall(require('lethe.core.base').safepoint))\n"
                "end })\n"
                "local loop = require 'lethe.loop'\n"
                "old.loop = loop.new{ clock = 'virtual' }\n"
                "old.timer = old.loop:timer(1, print)\n");
  assert_string_equal(test_heard(), "lethe.loop.Loop (closed)\nfalse\ntrue\ntrue\n"
                                    " the Lua state is closing\ntrue\n");
}

/* Lua gives no finalizers to what is made while it closes: the state's end must know of it. */
static void what_is_made_in_the_last_finalizers_ends_too(void **state) {
  (void)state;
  close_hearing("oldest = setmetatable({}, { __gc = function()\n"
                "  say(made) say(timer)\n"
                "  say(pcall(made.now, made))\n"
                "end })\n"
                "local loop = require 'lethe.loop'\n"
                "young = setmetatable({}, { __gc = function()\n"
                "  made = loop.new{ clock = 'virtual' }\n"
                "  timer = made:timer(1, print)\n"
                "  made:spawn(print)\n"
                "  say(made:now())\n"
                "end })\n");
  assert_string_equal(test_heard(),
                      "0.0\nlethe.loop.Loop (closed)\nlethe.loop.Timer (closed)\nfalse\n");
}

static void finalizers_may_make_objects_at_any_time(void **state) {
  (void)state;
  close_hearing("local loop = require 'lethe.loop'\n"
                "for i = 1, 50 do\n"
                "  setmetatable({}, { __gc = function() made = loop.new() end })\n"
                "  if i % 10 == 0 then collectgarbage() end\n"
                "end\n"
                "say(made:now() > 0)\n");
  assert_string_equal(test_heard(), "true\n");
}

static void finalizers_may_turn_loops_and_close_them(void **state) {
  (void)state;
  close_hearing("local loop = require 'lethe.loop'\n"
                "local main = loop.default()\n"
                "virtual = loop.new{ clock = 'virtual' }\n"
                "virtual:spawn(function() virtual:sleep(1) say 'woken' end)\n"
                "virtual:step()\n"
                "setmetatable({}, { __gc = function() virtual:advance(1) virtual:close() end })\n"
                "main:spawn(function() say 'ran' end)\n"
                "setmetatable({}, { __gc = function() main:run() main:sleep(0) end })\n");
  assert_string_equal(test_heard(), "ran\nwoken\n");
}

/* The module is loaded again in the same state, as test runners do. */
static void modules_may_be_loaded_again(void **state) {
  (void)state;
  lua_State *L = new_state();
  test_run_lua(
      L, "local first = require 'lethe'\n"
         "local loop, registry = first.loop.default(), first.registry.new()\n"
         "local task = loop:spawn(function() loop:sleep(0) return 'old' end)\n"
         "loop:step()\n"
         "for name in pairs(package.loaded) do\n"
         "  if name:find '^lethe' then package.loaded[name] = nil end\n"
         "end\n"
         "local second = require 'lethe'\n"
         "assert(first ~= second and first.loop ~= second.loop)\n"
         "assert(second.loop.default() == loop and second.type(loop) == 'loop.Loop')\n"
         "assert(second.registry.default() == first.registry.default())\n"
         "assert(task:join() == 'old')\n"
         "assert(loop:spawn(function() loop:sleep(0) return task:join() end):join() == 'old')\n"
         "registry:register({}, 1) registry:collect()\n"
         "assert(registry:sweep()[1] == 1)\n");
  lua_close(L);
}

static void states_do_not_know_each_other(void **state) {
  (void)state;
  lua_State *a = new_state(), *b = new_state();
  test_run_lua(
      a, "local loop = require 'lethe.loop'.default() loop:timer(0, print, { every = true })");
  test_run_lua(b, "local loop = require 'lethe.loop'.default()\n"
                  "loop:sleep(0.001) assert(loop:step() == false)");
  lua_close(a);
  test_run_lua(b, "require 'lethe.loop'.default():sleep(0.001)");
  lua_close(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_state_without_lethe_objects_closes),
      cmocka_unit_test(everything_may_be_under_way),
      cmocka_unit_test(what_waits_leaks_nothing),
      cmocka_unit_test(deaths_may_be_noted_and_not_acted_on),
      cmocka_unit_test(older_finalizers_find_everything_closed),
      cmocka_unit_test(what_is_made_in_the_last_finalizers_ends_too),
      cmocka_unit_test(finalizers_may_make_objects_at_any_time),
      cmocka_unit_test(finalizers_may_turn_loops_and_close_them),
      cmocka_unit_test(modules_may_be_loaded_again),
      cmocka_unit_test(states_do_not_know_each_other),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
