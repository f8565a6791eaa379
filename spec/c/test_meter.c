/* SPDX-License-Identifier: MIT
 * The instruction meter, under code that wants to escape it: programs written for that, and
 * programs made at random (SEED and CASES in the environment). Run from the repository's root. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <lualib.h>

#include "meter.h"

enum { BUDGET = 1000000 };

static lua_State *new_state(void) {
  lua_State *L = luaL_newstate();
  assert_non_null(L);
  luaL_openlibs(L);
  return L;
}

static double seconds(void) { return (double)clock() / CLOCKS_PER_SEC; }

/* Each runs in a state with all of Lua's libraries, and would not end by itself. */
static const char *const endless[] = {
    "while true do end",
    "while true do pcall(function() while true do end end) end",
    "while true do pcall(error) end",
    "local function f() pcall(f) while true do pcall(f) end end f()",
    "xpcall(function() while true do end end, function() while true do end end) while true do end",
    "local function h() while true do pcall(h) end end while true do xpcall(error, h) end",
    "while true do pcall(coroutine.wrap(function() while true do end end)) end",
    "while true do coroutine.wrap(function() local x = 1 end)() end",
    "while true do coroutine.resume(coroutine.create(function() end)) end",
    "local w = coroutine.wrap local function b() pcall(w(b)) pcall(w(b)) pcall(w(b)) end"
    " while true do b() end",
    "local function f() while true do coroutine.resume(coroutine.create(f)) end end f()",
    "local co = coroutine.wrap(function() while true do pcall(coroutine.yield) end end)"
    " while true do co() end",
    /* pending __close functions, reached by coroutine.wrap, by close, by errors */
    "coroutine.wrap(function() local x <close> = setmetatable({}, { __close = function()"
    " while true do end end }) while true do end end)() while true do end",
    "coroutine.wrap(function() local x <close> = setmetatable({}, { __close = function()"
    " while true do end end }) table.sort({ 1, 2, 3 }, function() while true do end end) end)()"
    " while true do end",
    "local c = setmetatable({}, { __close = function() while true do end end })"
    " coroutine.wrap(function() for i in next, { 1 }, nil, c do"
    " table.sort({ 1, 2, 3 }, function() while true do end end) end end)() while true do end",
    "local function c() return setmetatable({}, { __close = function()"
    " table.sort({ 1, 2, 3 }, function() while true do end end) end }) end"
    " coroutine.wrap(function() local a <close>, b = c() local d <close> = c() return 1 end)()"
    " while true do end",
    "while true do pcall(function() local x <close> = setmetatable({}, { __close = function()"
    " while true do end end }) while true do end end) end",
    "local function f(n) local x <close> = setmetatable({}, { __close = function()"
    " while true do pcall(f, n) end end }) if n < 50 then f(n + 1) end while true do end end"
    " while true do pcall(f, 1) end",
    "local all = {} for i = 1, 50 do all[i] = coroutine.create(function()"
    " local x <close> = setmetatable({}, { __close = function() while true do end end })"
    " coroutine.yield() end) coroutine.resume(all[i]) end"
    " for i = 1, 50 do coroutine.close(all[i]) end",
    /* callbacks of C functions, and handlers around them */
    "while true do pcall(table.sort, { 3, 2, 1 }, function() while true do end end) end",
    "table.sort({ 1, 2, 3 }, function() xpcall(function() while true do end end, function()"
    " while true do end end) end)",
    "xpcall(table.sort, function() while true do end end, { 1, 2, 3 }, function()"
    " while true do end end) while true do end",
    "while true do pcall(string.gsub, 'aaa', 'a', function() while true do end end) end",
    "while true do pcall(load, function() while true do end end) end",
    /* metamethods */
    "local t = setmetatable({}, { __index = function(t, k) while true do pcall(rawget) end end })"
    " return t.x",
    "local t = setmetatable({}, {}) getmetatable(t).__add = function(a, b) return a + b end"
    " while true do pcall(function() return t + 1 end) end",
    "local t = setmetatable({}, { __tostring = function() while true do end end })"
    " while true do pcall(tostring, t) end",
    "local t = setmetatable({}, { __eq = function(a, b) return a == {} or a == b end,"
    " __lt = function(a, b) while true do end end }) while true do pcall(table.sort, { t, t }) end",
    "error(setmetatable({}, { __tostring = function() while true do end end }))",
};

/* Runs source under a meter of `budget`; the status, with the message or result on the stack. */
static int metered(lua_State *L, const char *source, struct lethe_meter *m) {
  assert_int_equal(luaL_loadstring(L, source), LUA_OK);
  return lethe_meter_pcall(L, 0, 1, m);
}

static void test_nothing_swallows_the_budget(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof endless / sizeof *endless; i++) {
    int64_t used[2];
    for (int run = 0; run < 2; run++) {
      lua_State *L = new_state();
      struct lethe_meter m;
      double began = seconds();
      lethe_meter_init(&m, BUDGET);
      int status = metered(L, endless[i], &m);
      if (status != LUA_ERRRUN) fail_msg("case %zu gave %d: %s", i, status, endless[i]);
      assert_string_equal(lua_tostring(L, -1), "policy passed its budget of 1000000 instructions");
      assert_true(m.spent);
      used[run] = lethe_meter_used(&m);
      if (used[run] > BUDGET + 1000) fail_msg("case %zu used %lld", i, (long long)used[run]);
      if (seconds() - began > 60) fail_msg("case %zu took long: %s", i, endless[i]);
      assert_null(lua_gethook(L));
      assert_int_equal(lua_gettop(L), 1);
      lua_close(L);
    }
    if (used[0] != used[1])
      fail_msg("case %zu used %lld, then %lld", i, (long long)used[0], (long long)used[1]);
  }
}

static long from_environment(const char *name, long otherwise) {
  const char *text = getenv(name);
  return text ? atol(text) : otherwise;
}

/* The next program of the generator on L's stack, as a function of a fresh state. */
static lua_State *random_program(lua_State *L, long seed) {
  lua_State *fresh = new_state();
  lua_pushvalue(L, 1);
  lua_pushinteger(L, seed);
  lua_call(L, 1, 1);
  if (luaL_loadstring(fresh, lua_tostring(L, -1)) != LUA_OK)
    fail_msg("seed %ld: %s", seed, lua_tostring(fresh, -1));
  lua_pop(L, 1);
  return fresh;
}

static void test_random_programs_end(void **state) {
  long first = from_environment("SEED", 1), cases = from_environment("CASES", 400), spent = 0;
  (void)state;
  lua_State *L = new_state();
  if (luaL_loadfile(L, "spec/support/hostile.lua") != LUA_OK) fail_msg("%s", lua_tostring(L, -1));
  lua_call(L, 0, 1);
  for (long seed = first; seed < first + cases; seed++) {
    lua_State *fresh = random_program(L, seed);
    struct lethe_meter m;
    double began = seconds();
    lethe_meter_init(&m, BUDGET / 5);
    int status = lethe_meter_pcall(fresh, 0, 0, &m);
    spent += m.spent;
    assert_int_equal(status != LUA_OK, lua_gettop(fresh));
    if (lethe_meter_used(&m) > BUDGET / 5 + 1000)
      fail_msg("SEED=%ld CASES=1 used %lld", seed, (long long)lethe_meter_used(&m));
    if (seconds() - began > 30) fail_msg("SEED=%ld CASES=1 took long", seed);
    assert_null(lua_gethook(fresh));
    lua_close(fresh);
  }
  assert_true(cases < 100 || spent > cases / 4);
  lua_close(L);
}

static void test_what_ends_is_counted(void **state) {
  (void)state;
  lua_State *L = new_state();
  struct lethe_meter m;
  lethe_meter_init(&m, BUDGET);
  assert_int_equal(metered(L, "local n = 0 for i = 1, 10000 do n = n + i end return n", &m),
                   LUA_OK);
  assert_int_equal(lua_tointeger(L, -1), 50005000);
  assert_in_range(lethe_meter_used(&m), 20000, 40000);
  /* Many short coroutines pay for what they run. */
  int64_t before = lethe_meter_used(&m);
  assert_int_equal(metered(L,
                           "for i = 1, 1000 do coroutine.wrap(function()"
                           " local x = i + 1 x = x * 2 x = x - 1 end)() end",
                           &m),
                   LUA_OK);
  assert_true(lethe_meter_used(&m) - before > 10000);
  /* The budget is one for all calls; a spent meter stays so. */
  lethe_meter_init(&m, 1000);
  for (int i = 0; i < 100 && !m.spent; i++) metered(L, "for i = 1, 100 do end", &m);
  assert_true(m.spent);
  assert_int_equal(metered(L, "ran = true", &m), LUA_ERRRUN);
  lua_getglobal(L, "ran");
  assert_true(lua_isnil(L, -1));
  lua_close(L);
}

static void test_messages_are_strings(void **state) {
  static const struct {
    const char *source, *message;
  } cases[] = {
      {"error('plain', 0)", "plain"},
      {"error(12)", "12"},
      {"error()", "(error object is a nil value)"},
      {"error({})", "(error object is a table value)"},
      {"error(print)", "(error object is a function value)"},
      {"error(setmetatable({}, { __tostring = function() return 'mine' end }))", "mine"},
      {"error(setmetatable({}, { __tostring = function() error('x') end }))",
       "(error object is a table value)"},
      {"error(setmetatable({}, { __tostring = function() return {} end }))",
       "(error object is a table value)"},
      {"coroutine.yield()", "attempt to yield from outside a coroutine"},
  };
  (void)state;
  lua_State *L = new_state();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct lethe_meter m;
    lethe_meter_init(&m, BUDGET);
    assert_int_equal(metered(L, cases[i].source, &m), LUA_ERRRUN);
    assert_string_equal(lua_tostring(L, -1), cases[i].message);
    lua_settop(L, 0);
  }
  struct lethe_meter m;
  lethe_meter_init(&m, BUDGET);
  metered(L, "error(('x'):rep(1000000), 0)", &m);
  assert_int_equal(lua_rawlen(L, -1), 1003);
  lua_close(L);
}

static int hook_calls;
static void users_hook(lua_State *L, lua_Debug *ar) {
  (void)L;
  (void)ar;
  hook_calls++;
}

static void test_the_users_hook_comes_back(void **state) {
  (void)state;
  lua_State *L = new_state();
  struct lethe_meter m;
  lethe_meter_init(&m, BUDGET);
  lua_sethook(L, users_hook, LUA_MASKLINE, 0);
  assert_int_equal(luaL_loadstring(L, "for i = 1, 10 do\nlocal x = i\nend"), LUA_OK);
  hook_calls = 0;
  assert_int_equal(lethe_meter_pcall(L, 0, 0, &m), LUA_OK);
  assert_int_equal(hook_calls, 0);
  assert_true(lua_gethook(L) == users_hook);
  assert_int_equal(lua_gethookmask(L), LUA_MASKLINE);
  assert_int_equal(metered(L, "while true do end", &m), LUA_ERRRUN);
  assert_true(lua_gethook(L) == users_hook);
  lua_close(L);
}

/* A coroutine that a spent meter stopped runs on under another, and free of any. */
static void test_coroutines_outlive_a_meter(void **state) {
  (void)state;
  lua_State *L = new_state();
  struct lethe_meter m;
  lethe_meter_init(&m, 10000);
  assert_int_equal(metered(L,
                           "co = coroutine.wrap(function() local n = 0 while true do n = n + 1"
                           " if n % 100000 == 0 then coroutine.yield(n) end end end) co()",
                           &m),
                   LUA_ERRRUN);
  lethe_meter_init(&m, BUDGET * 10);
  assert_int_equal(metered(L, "return co()", &m), LUA_OK);
  assert_int_equal(lua_tointeger(L, -1), 100000);
  assert_in_range(lethe_meter_used(&m), 200000, 1000000);
  assert_int_equal(luaL_dostring(L, "return co()"), LUA_OK);
  assert_int_equal(lua_tointeger(L, -1), 200000);
  assert_null(lethe_meter_active());
  lua_close(L);
}

static struct lethe_meter inner_meter;

/* nest(source): another metered call from inside. */
static int l_nest(lua_State *L) {
  if (luaL_loadstring(L, luaL_checkstring(L, 1)) != LUA_OK) return lua_error(L);
  lua_pushinteger(L, lethe_meter_pcall(L, 0, 0, &inner_meter));
  return 1;
}

static void test_meters_nest(void **state) {
  (void)state;
  lua_State *L = new_state();
  struct lethe_meter m;
  lua_register(L, "nest", l_nest);
  lethe_meter_init(&m, BUDGET);
  lethe_meter_init(&inner_meter, 1000);
  assert_int_equal(metered(L, "return nest('while true do end')", &m), LUA_OK);
  assert_int_equal(lua_tointeger(L, -1), LUA_ERRRUN);
  assert_true(inner_meter.spent);
  assert_in_range(lethe_meter_used(&m), 1000, 1200); /* the inner call is paid for */
  lethe_meter_init(&m, BUDGET);
  lethe_meter_init(&inner_meter, 10 * BUDGET);
  assert_int_equal(metered(L, "local s = nest('while true do end') while true do end", &m),
                   LUA_ERRRUN);
  assert_in_range(lethe_meter_used(&m), 10 * BUDGET, 10 * BUDGET + 1000);
  /* The same meter again: nothing is counted twice. */
  lethe_meter_init(&inner_meter, BUDGET);
  assert_int_equal(metered(L, "return nest('for i = 1, 1000 do end')", &inner_meter), LUA_OK);
  assert_in_range(lethe_meter_used(&inner_meter), 1000, 1200);
  lua_close(L);
}

static int l_burn(lua_State *L) {
  lethe_meter_charge(L, luaL_checkinteger(L, 1));
  return 0;
}

static void test_c_functions_charge(void **state) {
  (void)state;
  lua_State *L = new_state();
  struct lethe_meter m;
  lua_register(L, "burn", l_burn);
  lethe_meter_init(&m, BUDGET);
  assert_int_equal(metered(L, "burn(5000) burn(-1000)", &m), LUA_OK);
  assert_in_range(lethe_meter_used(&m), 4000, 4100);
  assert_int_equal(metered(L, "while true do pcall(burn, 1 << 40) end", &m), LUA_ERRRUN);
  lethe_meter_init(&m, BUDGET);
  assert_int_equal(metered(L, "burn(1 << 62) burn(1 << 62) burn(1 << 62)", &m), LUA_ERRRUN);
  assert_int_equal(luaL_dostring(L, "burn(1 << 62)"), LUA_OK); /* no meter, no charge */
  lua_close(L);
}

static void test_the_clock_ends_what_the_count_cannot(void **state) {
  struct timespec t;
  struct lethe_meter m;
  (void)state;
  lua_State *L = new_state();
  lethe_meter_init(&m, INT64_MAX);
  clock_gettime(CLOCK_MONOTONIC, &t);
  m.until = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec + 50000000;
  /* Each comparison takes a hundred thousand times what an instruction should. */
  assert_int_equal(metered(L,
                           "local a, b = ('x'):rep(1e6) .. 'y', ('x'):rep(1e6) .. 'y'"
                           " while true do local same = a == b end",
                           &m),
                   LUA_ERRRUN);
  assert_string_equal(lua_tostring(L, -1), "policy passed its deadline");
  assert_int_equal(metered(L, "return 1", &m), LUA_ERRRUN);
  lua_close(L);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_nothing_swallows_the_budget),
      cmocka_unit_test(test_random_programs_end),
      cmocka_unit_test(test_what_ends_is_counted),
      cmocka_unit_test(test_messages_are_strings),
      cmocka_unit_test(test_the_users_hook_comes_back),
      cmocka_unit_test(test_coroutines_outlive_a_meter),
      cmocka_unit_test(test_meters_nest),
      cmocka_unit_test(test_c_functions_charge),
      cmocka_unit_test(test_the_clock_ends_what_the_count_cannot),
  };
  return cmocka_run_group_tests_name("meter", tests, NULL, NULL);
}
