/* SPDX-License-Identifier: MIT
 * quota.track_state seen from outside the state: what is counted against what the allocator below
 * really gave, and what Lua itself cannot look at, being unable to allocate. Run it from the
 * repository's root, or with LUA_PATH set. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/unit.h"

#include "harness/lua.h"
#include "quota_parts.h"

/* ---- a state whose bytes are known ----------------------------------------------------------- */

struct memory {
  int64_t bytes;
};

static void *counted(void *ud, void *p, size_t osize, size_t nsize) {
  struct memory *m = ud;
  if (!p) osize = 0;
  if (nsize == 0) {
    free(p);
    m->bytes -= (int64_t)osize;
    return NULL;
  }
  void *q = realloc(p, nsize);
  if (q) m->bytes += (int64_t)nsize - (int64_t)osize;
  return q;
}

static lua_State *new_state(struct memory *m) {
  static const luaL_Reg modules[] = {{"lethe.core.base", luaopen_lethe_core_base},
                                     {"lethe.core.loop", luaopen_lethe_core_loop},
                                     {"lethe.core.quota", luaopen_lethe_core_quota},
                                     {NULL, NULL}};
  *m = (struct memory){0};
  return test_open_lua(lua_newstate(counted, m), modules);
}

/* A tracker and an account, as globals. */
static struct lethe_quota *new_place(lua_State *L) {
  test_run_lua(L, "quota = require 'lethe.quota'\n"
                  "loop = require('lethe.loop').new{ clock = 'virtual' }\n"
                  "tracker = assert(quota.new{ max = '256M', loop = loop })\n"
                  "account = assert(tracker:account{ name = 'state' })\n");
  lua_getglobal(L, "tracker");
  struct port *port = quota_port_of(L, -1);
  lua_pop(L, 1);
  assert_non_null(port);
  return port->t;
}

static struct lethe_quota_stats stats_of(struct lethe_quota *t) {
  struct lethe_quota_stats s;
  lethe_quota_read_stats(t, &s);
  return s;
}

/* ---- exactness ------------------------------------------------------------------------------- */

static void every_byte_is_counted(void **state) {
  (void)state;
  struct memory m;
  lua_State *L = new_state(&m);
  struct lethe_quota *t = new_place(L);
  test_run_lua(L, "p = assert(quota.track_state(account))");
  assert_int_equal(lethe_quota_used(t), m.bytes);
  for (int i = 0; i < 200; i++) {
    test_run_lua(L, "list = list or {}\n"
                    "for i = 1, 50 do list[math.random(500)] = ({ {}, ('x'):rep(i * 50), print,\n"
                    "  coroutine.create(print), function() return list end })[i % 5 + 1] end\n");
    assert_int_equal(lethe_quota_used(t), m.bytes);
  }
  lua_gc(L, LUA_GCCOLLECT);
  assert_int_equal(lethe_quota_used(t), m.bytes);
  lua_close(L);
  assert_int_equal(m.bytes, 0);
}

static void close_gives_the_old_allocator_back(void **state) {
  (void)state;
  struct memory m;
  void *ud;
  lua_State *L = new_state(&m);
  struct lethe_quota *t = new_place(L);
  test_run_lua(L, "p = assert(quota.track_state(account))");
  assert_true(lua_getallocf(L, NULL) != counted);
  test_run_lua(L, "p:close()");
  assert_true(lua_getallocf(L, &ud) == counted && ud == &m);
  assert_int_equal(lethe_quota_used(t), 0);
  test_run_lua(L, "assert(not quota.track_state(account, { limit = 1000 }))");
  assert_true(lua_getallocf(L, &ud) == counted && ud == &m);
  lua_close(L);
  assert_int_equal(m.bytes, 0);
}

/* ---- collapse -------------------------------------------------------------------------------- */

/* The account collapses while the state stands under it: from here on it cannot allocate. */
static void collapse(lua_State *L) {
  test_run_lua(L, "object = { get_oldest = function() return 1 end, reclaim = function() end }\n"
                  "beside = assert(account:participant(object))\n"
                  "assert(beside:claim('1M'))\n"
                  "big = ('x'):rep(300000)\n"
                  "p = assert(quota.track_state(account))\n"
                  "require('lethe').on_error(function() end)\n");
  luaL_loadstring(L, "pcall(tracker.reclaim, tracker, 1 << 30) loop:close()");
  lua_pcall(L, 0, 0, 0); /* well or not: the pass condemned what it works with */
  lua_settop(L, 0);
}

static int grow(lua_State *L) {
  lua_newuserdatauv(L, 1000, 0);
  return 1;
}

static void a_collapsed_account_refuses_growth_and_condemned_shrinks(void **state) {
  (void)state;
  struct memory m;
  lua_State *L = new_state(&m);
  struct lethe_quota *t = new_place(L);
  collapse(L);
  int64_t others = stats_of(t).condemned - m.bytes; /* what the object beside it holds */
  assert_int_equal(stats_of(t).used, 0);
  assert_true(others == 0 || others >= 1 << 20);
  int64_t held = m.bytes;
  lua_pushcfunction(L, grow);
  assert_int_equal(lua_pcall(L, 0, 1, 0), LUA_ERRMEM);
  assert_string_equal(lua_tostring(L, -1), "not enough memory");
  lua_pop(L, 1);
  assert_true(m.bytes <= held);
  assert_int_equal(stats_of(t).condemned - others, m.bytes);
  lua_pushnil(L);
  lua_setglobal(L, "big");
  lua_gc(L, LUA_GCCOLLECT);
  assert_true(m.bytes <= held - 300000);
  assert_int_equal(stats_of(t).condemned - others, m.bytes);
  assert_int_equal(lethe_quota_check(t, (char[200]){0}, 200), LETHE_OK);
  lua_close(L);
  assert_int_equal(m.bytes, 0);
}

static void closing_the_participation_lets_the_state_go_on(void **state) {
  (void)state;
  struct memory m;
  lua_State *L = new_state(&m);
  struct lethe_quota *t = new_place(L);
  collapse(L);
  lua_getglobal(L, "p");
  lua_getfield(L, -1, "close");
  lua_insert(L, -2);
  assert_int_equal(lua_pcall(L, 1, 0, 0), LUA_OK);
  assert_true(stats_of(t).condemned == 0 || stats_of(t).condemned >= 1 << 20);
  test_run_lua(L, "for i = 1, 100 do _ = ('x'):rep(10000) .. i end assert(tracker:check())");
  assert_int_equal(stats_of(t).used, 0);
  lua_close(L);
  assert_int_equal(m.bytes, 0);
}

static void a_collapsed_state_closes(void **state) {
  (void)state;
  struct memory m;
  lua_State *L = new_state(&m);
  new_place(L);
  test_run_lua(L, "late = setmetatable({}, { __gc = function() local _ = { {}, {}, {} } end })");
  collapse(L);
  lua_close(L);
  assert_int_equal(m.bytes, 0);
}

/* ---- another allocator above ----------------------------------------------------------------- */

static struct above {
  lua_Alloc alloc;
  void *ud;
} above;

static void *passing_on(void *ud, void *p, size_t osize, size_t nsize) {
  struct above *a = ud;
  return a->alloc(a->ud, p, osize, nsize);
}

static void one_put_above_stays_and_ours_passes_on(void **state) {
  (void)state;
  struct memory m;
  void *ud;
  lua_State *L = new_state(&m);
  struct lethe_quota *t = new_place(L);
  test_run_lua(L, "p = assert(quota.track_state(account))");
  above.alloc = lua_getallocf(L, &above.ud);
  lua_setallocf(L, passing_on, &above);
  test_run_lua(L, "list = {} for i = 1, 1000 do list[i] = {} end");
  assert_int_equal(lethe_quota_used(t), m.bytes);
  test_run_lua(L, "p:close()");
  assert_int_equal(lethe_quota_used(t), 0);
  assert_true(lua_getallocf(L, &ud) == passing_on && ud == &above);
  test_run_lua(L, "for i = 1, 1000 do list[i] = { {} } end");
  assert_int_equal(lethe_quota_used(t), 0);
  test_run_lua(L, "p = assert(quota.track_state(account))");
  assert_int_equal(lethe_quota_used(t), m.bytes);
  lua_close(L);
  assert_int_equal(m.bytes, 0);
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void states_close_tracked(void **state) {
  (void)state;
  static const char *const codes[] = {
      "p = assert(quota.track_state(account))",
      "assert(quota.track_state(account, { limit = '64M' })) tracker = nil account = nil",
      "p = assert(quota.track_state(account)) tracker:close()",
      "p = assert(quota.track_state(account)) account:close() account = nil",
      "p = assert(quota.track_state(account)) q = p:clone() p:close()",
      "p = assert(quota.track_state(account)) p:destroy()",
      "setmetatable({}, { __gc = function() p:close() end }) p = "
      "assert(quota.track_state(account))",
      "p = assert(quota.track_state(account))\n"
      "g = setmetatable({}, { __gc = function() p:destroy() pcall(quota.track_state, account) end "
      "})",
      "co = coroutine.wrap(function() p = assert(quota.track_state(account)) coroutine.yield() "
      "end)\n"
      "co()"};
  for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
    struct memory m;
    lua_State *L = new_state(&m);
    new_place(L);
    test_run_lua(L, codes[i]);
    lua_close(L);
    assert_int_equal(m.bytes, 0);
  }
}

/* A finalizer that runs inside track_state may close what it stands on. */
static void finalizers_may_do_anything_meanwhile(void **state) {
  (void)state;
  static const char *const deeds[] = {
      "account:close()", "tracker:close()", "pcall(quota.track_state, account)", "loop:close()",
      "account:close() tracker:close() account = nil tracker = nil"};
  for (size_t i = 0; i < sizeof deeds / sizeof *deeds; i++) {
    for (int limited = 0; limited < 2; limited++) {
      struct memory m;
      char code[500];
      lua_State *L = new_state(&m);
      new_place(L);
      snprintf(code, sizeof code,
               "local a, q = account, quota\n"
               "setmetatable({}, { __gc = function() %s end })\n"
               "collectgarbage('incremental', 1, 1000)\n"
               "pcall(q.track_state, a, { limit = %s })\n"
               "pcall(q.track_state, a)\n",
               deeds[i], limited ? "1000" : "nil");
      test_run_lua(L, code);
      lua_close(L);
      assert_int_equal(m.bytes, 0);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_byte_is_counted),
      cmocka_unit_test(close_gives_the_old_allocator_back),
      cmocka_unit_test(a_collapsed_account_refuses_growth_and_condemned_shrinks),
      cmocka_unit_test(closing_the_participation_lets_the_state_go_on),
      cmocka_unit_test(a_collapsed_state_closes),
      cmocka_unit_test(one_put_above_stays_and_ours_passes_on),
      cmocka_unit_test(states_close_tracked),
      cmocka_unit_test(finalizers_may_do_anything_meanwhile),
  };
  return cmocka_run_group_tests_name("track_state", tests, NULL, NULL);
}
