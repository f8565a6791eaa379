/* SPDX-License-Identifier: MIT
 * The end of Lua states that have weak maps: with notes of deaths queued and on_dead due, with
 * finalizers that use maps while all is finalized, and with coroutines and errors at awkward
 * places. Run it from the repository's root, or with LUA_PATH set. */

#include "harness/unit.h"

#include "common.h"
#include "harness/lua.h"

static lua_State *new_state(void) {
  static const luaL_Reg modules[] = {{"lethe.core.base", luaopen_lethe_core_base},
                                     {"lethe.core.loop", luaopen_lethe_core_loop},
                                     {"lethe.core.weakmap", luaopen_lethe_core_weakmap},
                                     {NULL, NULL}};
  return test_open_lua(luaL_newstate(), modules);
}

/* In both ways of collecting. */
static void close_after(const char *code, const char *says) {
  for (int mode = 0; mode < 2; mode++) {
    lua_State *L = new_state();
    if (mode) lua_gc(L, LUA_GCGEN, 0, 0);
    test_listen(L);
    if (luaL_dostring(L, "weakmap = require 'lethe.weakmap'") != LUA_OK ||
        luaL_dostring(L, code) != LUA_OK)
      fail_msg("%s", lua_tostring(L, -1));
    lua_close(L);
    assert_string_equal(test_heard(), says);
  }
}

static void notes_may_be_queued(void **state) {
  (void)state;
  close_after("map = weakmap.new{ on_dead = say }\n"
              "for i = 1, 300 do map:insert(i, {}) end\n"
              "collectgarbage()",
              "");
}

static void on_dead_may_be_due(void **state) {
  (void)state;
  close_after("map = weakmap.new{ on_dead = say }\n"
              "for i = 1, 300 do map:insert(i, {}) end\n"
              "collectgarbage() assert(#map == 0)",
              "");
}

static void everything_may_be_alive(void **state) {
  (void)state;
  close_after("held, maps = {}, {}\n"
              "for i = 1, 50 do\n"
              "  held[i] = { i }\n"
              "  maps[i] = weakmap.new{ ordered = i % 2 == 0 }\n"
              "  for j = 1, i do maps[i]:insert(j, held[j]) end\n"
              "end\n"
              "strong, e = maps[50]:upgrade(), weakmap.ephemeron()\n"
              "for i = 1, 50 do e:set(held[i], maps[i]) e:set(maps[i], held[i]) end\n"
              "walk = strong:range(3) walk() walk()",
              "");
}

/* Made before lethe was loaded, so finalized last; and after, so finalized while maps are. */
/* All of them run as the state is closed: one that ran before would close what is still used. */
static void finalizers_may_use_maps(void **state) {
  (void)state;
  close_after("collectgarbage('stop')\n"
              "local function use()\n"
              "  for _, m in ipairs{ map, strong, made } do\n"
              "    pcall(m.insert, m, 1, {}) pcall(m.get, m, 1) pcall(m.keys, m)\n"
              "    pcall(function() return #m end) pcall(m.cleanup, m) pcall(m.close, m)\n"
              "  end\n"
              "  pcall(e.set, e, {}, 1) pcall(e.get, e, map) pcall(e.close, e)\n"
              "  pcall(function() made = weakmap.new() made:insert(1, {}) end)\n"
              "end\n"
              "for i = 1, 3 do setmetatable({}, { __gc = use }) end\n"
              "map = weakmap.new{ on_dead = say }\n"
              "e = weakmap.ephemeron()\n"
              "kept = {} for i = 1, 20 do kept[i] = setmetatable({}, { __gc = use })\n"
              "  map:insert(i, kept[i]) e:set(kept[i], map) end\n"
              "strong = map:upgrade()\n"
              "for i = 1, 3 do setmetatable({}, { __gc = use }) end\n",
              "");
}

static void coroutines_may_stand_in_walks(void **state) {
  (void)state;
  close_after("map = weakmap.new{ on_dead = say }\n"
              "for i = 1, 10 do map:insert(i, map) end\n"
              "walks = {}\n"
              "for i = 1, 10 do\n"
              "  walks[i] = coroutine.wrap(function()\n"
              "    for k, v in pairs(map) do\n"
              "      map:get_or_create(k + 100, coroutine.yield)\n"
              "    end\n"
              "  end)\n"
              "  walks[i]()\n"
              "end\n"
              "walks[1]({}) walks[2](map)\n"
              "say(pcall(walks[3], 5))",
              "false\n");
}

/* An object that is closed in a finalizer ends at the next safe point, maps too. */
static void finalizers_may_close_maps_in_their_calls(void **state) {
  (void)state;
  close_after("map = weakmap.new{ on_dead = say }\n"
              "local held = {}\n"
              "for i = 1, 100 do held[i] = {} map:insert(i, held[i]) end\n"
              "setmetatable({}, { __gc = function() map:close() end })\n"
              "collectgarbage('incremental', 1, 1000)\n"
              "say(pcall(function() while true do map:keys() map:insert(1, {}) end end))",
              "false\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(notes_may_be_queued),
      cmocka_unit_test(on_dead_may_be_due),
      cmocka_unit_test(everything_may_be_alive),
      cmocka_unit_test(finalizers_may_use_maps),
      cmocka_unit_test(coroutines_may_stand_in_walks),
      cmocka_unit_test(finalizers_may_close_maps_in_their_calls),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
