/* SPDX-License-Identifier: MIT
 * The instruction meter and the sandbox's state, under code that wants to escape them.
 *
 * Run from the repository's root, or with LUA_PATH set, so that lethe.sandbox is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "sandbox.h"

enum { BUDGET = 1000000 };

static lua_State *new_state(void) {
  lua_State *L = luaL_newstate();
  assert_non_null(L);
  luaL_openlibs(L);
  lua_getglobal(L, "package");
  if (!getenv("LUA_PATH") && !getenv("LUA_PATH_5_4")) {
    lua_pushliteral(L, "lua/?.lua;lua/?/init.lua");
    lua_setfield(L, -2, "path");
  }
  lua_settop(L, 0);
  return L;
}

static struct lethe_sandbox *new_sandbox(lua_State *from, size_t cap) {
  char err[256] = "";
  struct lethe_sandbox *sb = lethe_sandbox_new(from, cap, err, sizeof err);
  if (!sb) fail_msg("%s", err);
  return sb;
}

static double seconds(void) { return (double)clock() / CLOCKS_PER_SEC; }

/* ---- the meter in an ordinary state ---------------------------------------------------------- */

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
    if (used[0] != used[1]) fail_msg("case %zu used %lld, then %lld", i, (long long)used[0],
                                     (long long)used[1]);
  }
}

static void test_what_ends_is_counted(void **state) {
  (void)state;
  lua_State *L = new_state();
  struct lethe_meter m;
  lethe_meter_init(&m, BUDGET);
  assert_int_equal(metered(L, "local n = 0 for i = 1, 10000 do n = n + i end return n", &m), LUA_OK);
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
  for (int i = 0; i < 100 && !m.spent; i++)
    metered(L, "for i = 1, 100 do end", &m);
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

/* ---- the sandbox ----------------------------------------------------------------------------- */

/* What a policy does, and a word of what becomes of it: of its result, made a string, or of the
 * message. */
static const struct {
  const char *source, *expected;
} hostile[] = {
    {"return 1 + 1", "2"},
    {"return nil", "nil"},
    {"while true do end", "budget"},
    {"while true do pcall(error) end", "budget"},
    {"local function f() pcall(f) f() end f()", "budget"}, /* each catch at a great depth */
    {"local function f(n) if n == 0 then while true do pcall(error) end end f(n - 1) end f(50000)",
     "budget"},
    {"local function f() return 1 + f() end f()", ""},
    {"coroutine.wrap(function() local x <close> = setmetatable({}, { __close = function()"
     " while true do end end }) while true do end end)()",
     "budget"},
    {"while true do coroutine.wrap(function() end)() end", "budget"},
    {"local t = {} for i = 1, 1e9 do t[i] = coroutine.create(error) end", ""},
    {"xpcall(function() while true do end end, function() while true do end end)", "budget"},
    /* strings */
    {"return ('x'):rep(1e9)", "budget"},
    {"return ('x'):rep(1 << 62)", "resulting string too large"},
    {"return #(''):rep(1 << 62)", "0"},
    {"local s = 'x' while true do s = s .. s end", ""},
    {"local s = ('x'):rep(100000) while true do local t = s .. 'a' end", "budget"},
    {"while true do pcall(string.pack, 'c2000000000', '') end", "budget"},
    {"while true do pcall(string.format, ('%99d'):rep(1000)) end", "budget"},
    {"local s = (' '):rep(1e6) .. '1' while true do local n = s + 1 end", "budget"},
    {"return select('#', ('x'):rep(900000):byte(1, -1))", ""},
    {"error(('x'):rep(1e6))", "policy.lua:1: xxx"},
    /* patterns */
    {"return string.find(('a'):rep(26), ('a?'):rep(26) .. ('a'):rep(26))", "budget"},
    {"return string.find(('a'):rep(1e5), '.-.-.-b')", "budget"},
    {"return #string.gsub(('a'):rep(1e5), 'a*b', '')", "budget"},
    {"return string.find(('a'):rep(1e5), ('a?'):rep(500))", "pattern too complex"},
    {"return string.find(('a'):rep(1e6), ('a'):rep(5e5) .. 'b', 1, true)", "budget"},
    {"return (string.match('key = value', '^(%w+)%s*=%s*%w+$'))", "key"},
    {"local function f() return (string.gsub('a', 'a+b?', f)) end f()", ""},
    /* lists */
    {"local t = {} for i = 1, 1e9 do t[i] = {} end", ""},
    {"local t = {} pcall(function() for i = 1, 1e9 do t[i] = {} end end)"
     " while true do pcall(function() local a = {} for i = 1, 99 do a[i] = {} end end) end",
     "budget"},
    {"local t = {} for i = 1, 50000 do t['k' .. i] = i end local i = 0"
     " while true do i = i + 1 t['k' .. i] = nil t['n' .. i] = 1 end",
     "budget"},
    {"local t = {} for i = 1, 1e6 do t[i] = -i end table.sort(t)", "budget"},
    {"local t = { 3, 1, 2, 5, 4 } table.sort(t, function() return true end) return #t", "5"},
    {"table.insert(setmetatable({}, { __len = function() return 1 << 60 end }), 1, 2)", "budget"},
    {"table.move({}, 1, 1 << 60, 2)", "budget"},
    {"return table.unpack({}, 1, 1e7)", "too many results to unpack"},
    {"while true do pcall(table.unpack, {}, 1, 50000) end", "budget"},
    /* the rest of the library */
    {"for i = 1, 1000 do setmetatable({}, { __gc = function() while true do end end }) end"
     " local s = {} for i = 1, 20000 do s[i] = {} end return 'alive'",
     "alive"},
    {"local s = ('a = 1 '):rep(10000) while true do load(s) end", "budget"},
    {"return (load(('('):rep(10000)))", "nil"},
    {"return (load('\\27Lua'))", "nil"},
    {"for p in utf8.codes(('\\x80'):rep(100000)) do end", ""},
    {"local t = setmetatable({}, {}) getmetatable(t).__index = t return t.x", "loop"},
    {"return tostring(setmetatable({}, { __tostring = function() error('no') end }))", "no"},
    {"error({})", "(error object is a table value)"},
    {"local x = nil + 1", "policy.lua:1: attempt to perform arithmetic on a nil value"},
    {"local x = string.format('%d', 'x') return x", "policy.lua:1: bad argument #2 to 'string"},
    {"return os or io or debug or require or package or print or collectgarbage", "nil"},
    {"return getmetatable('').__index == string and ('x'):rep(2)", "xx"},
    {"getmetatable('').__index = nil return ('x'):upper()", "X"},
    {"local ok = pcall(function() getmetatable('').__index.find = error end)"
     " return (string.gsub('a b', '(%a) (%a)', '%2 %1'))",
     "b a"},
    {"return load('return _ENV')() == _G", "true"},
    {"return math.random(1000) == math.random(1000)", "false"},
    {"return \"unfinished", "policy.lua:1: unfinished string"},
    {"\033Lua", "attempt to load a binary chunk"},
    {"", "nil"},
};

static void test_hostile_policies_end(void **state) {
  (void)state;
  lua_State *from = new_state();
  for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
    struct lethe_sandbox *sb = new_sandbox(from, 0);
    lua_State *S = lethe_sandbox_state(sb);
    struct lethe_meter m;
    double began = seconds();
    lethe_meter_init(&m, 10 * BUDGET);
    int status = lethe_sandbox_load(sb, hostile[i].source, strlen(hostile[i].source),
                                    "@/some/where/policy.lua", &m);
    assert_int_equal(lua_gettop(S), 1);
    assert_true(status == LUA_OK || lua_type(S, -1) == LUA_TSTRING);
    const char *got = luaL_tolstring(S, -1, NULL);
    if (!strstr(got, hostile[i].expected))
      fail_msg("case %zu, %s: %.200s", i, hostile[i].source, got);
    if (strstr(got, "some/where") || strstr(got, "lua/lethe"))
      fail_msg("case %zu shows a path: %.200s", i, got);
    if (seconds() - began > 60) fail_msg("case %zu took long: %s", i, hostile[i].source);
    assert_in_range(lethe_sandbox_bytes(sb), 1, LETHE_SANDBOX_MEMORY);
    lethe_sandbox_delete(sb);
  }
  lua_close(from);
}

static void test_the_same_text_costs_the_same(void **state) {
  static const char text[] =
      "local t = {} for i = 1, 200 do t[i] = (i * 7919) % 201 end table.sort(t)"
      " local s = table.concat(t, ',') for w in s:gmatch('%d+') do t[w] = w:rep(100) end"
      " return (s:gsub('(%d)(%d)', '%2%1'))";
  int64_t used[3];
  (void)state;
  lua_State *from = new_state();
  for (int i = 0; i < 3; i++) {
    struct lethe_sandbox *sb = new_sandbox(from, i == 2 ? (size_t)8 << 20 : 0);
    struct lethe_meter m;
    lethe_meter_init(&m, BUDGET);
    if (i == 1) lua_gc(lethe_sandbox_state(sb), LUA_GCINC, 1, 1000, 0);
    assert_int_equal(lethe_sandbox_load(sb, text, sizeof text - 1, "=x", &m), LUA_OK);
    used[i] = lethe_meter_used(&m);
    lethe_sandbox_delete(sb);
  }
  assert_int_equal(used[0], used[1]);
  assert_int_equal(used[0], used[2]);
  lua_close(from);
}

/* A result is called later, with its own budget, and keeps its state. */
static void test_results_are_called(void **state) {
  static const char text[] = "local n = 0 return { score = function(used) n = n + 1"
                             " if used < 0 then while true do end end return used * 2 + n end }";
  (void)state;
  lua_State *from = new_state();
  struct lethe_sandbox *sb = new_sandbox(from, 0);
  lua_State *S = lethe_sandbox_state(sb);
  struct lethe_meter m;
  lethe_meter_init(&m, BUDGET);
  assert_int_equal(lethe_sandbox_load(sb, text, sizeof text - 1, "=score", &m), LUA_OK);
  for (int i = 1; i <= 1000; i++) {
    lua_getfield(S, 1, "score");
    lua_pushinteger(S, i);
    assert_int_equal(lethe_meter_pcall(S, 1, 1, &m), LUA_OK);
    assert_int_equal(lua_tointeger(S, -1), 3 * i);
    lua_pop(S, 1);
  }
  assert_in_range(lethe_meter_used(&m), 10000, 60000);
  lua_getfield(S, 1, "score");
  lua_pushinteger(S, -1);
  assert_int_equal(lethe_meter_pcall(S, 1, 1, &m), LUA_ERRRUN);
  lua_settop(S, 1);
  lethe_meter_init(&m, BUDGET); /* the next pass */
  lua_getfield(S, 1, "score");
  lua_pushinteger(S, 1);
  assert_int_equal(lethe_meter_pcall(S, 1, 1, &m), LUA_OK);
  assert_int_equal(lua_tointeger(S, -1), 2 + 1002);
  lethe_sandbox_pushenv(sb);
  assert_int_equal(lua_getfield(S, -1, "_G"), LUA_TTABLE);
  assert_true(lua_rawequal(S, -1, -2));
  lethe_sandbox_delete(sb);
  lua_close(from);
}

static void test_memory_has_a_cap(void **state) {
  static const char grow[] =
      "local t = {} local ok, m = pcall(function() while true do t[#t + 1] = ('x'):rep(10000) .. #t"
      " end end) t = nil return m";
  static const char most[] = "return #('x'):rep(30 << 20)";
  (void)state;
  lua_State *from = new_state();
  struct lethe_sandbox *sb = new_sandbox(from, 4 << 20);
  lua_State *S = lethe_sandbox_state(sb);
  struct lethe_meter m;
  for (int i = 0; i < 3; i++) { /* and it goes on working afterwards */
    lethe_meter_init(&m, 10 * BUDGET);
    assert_int_equal(lethe_sandbox_load(sb, grow, sizeof grow - 1, "=grow", &m), LUA_OK);
    assert_string_equal(lua_tostring(S, -1), "not enough memory");
    assert_true(lethe_sandbox_bytes(sb) <= 4 << 20);
    lua_settop(S, 0);
  }
  lethe_sandbox_delete(sb);
  sb = new_sandbox(from, 0);
  S = lethe_sandbox_state(sb);
  assert_int_equal(lethe_sandbox_load(sb, most, sizeof most - 1, "=most", NULL), LUA_OK);
  assert_int_equal(lua_tointeger(S, -1), 30 << 20);
  lethe_sandbox_delete(sb);
  lua_close(from);
}

/* Nobody is left to catch what happens at the edge of memory: errors of every kind there. */
static void test_errors_at_the_edge_of_memory(void **state) {
  static const char *const edge[] = {
      "t = {} pcall(function() while true do t = { t } end end) error({})",
      "t = {} pcall(function() while true do t = { t } end end) error(('x'):rep(5000))",
      "t = {} pcall(function() while true do t = { t } end end) local function f() return 1 + f() end"
      " f()",
      "t = {} pcall(function() while true do t = { t } end end) xpcall(error, function() local function"
      " f() return 1 + f() end f() end) error('end')",
      "t = {} pcall(function() while true do t = { t } end end)"
      " error(setmetatable({}, { __tostring = function() return t .. 'x' end }))",
      "t = {} pcall(function() while true do t = { t } end end) coroutine.wrap(error)()",
      "t = {} pcall(function() while true do t = { t } end end) while true do pcall(error) end",
  };
  (void)state;
  lua_State *from = new_state();
  for (size_t i = 0; i < sizeof edge / sizeof *edge; i++) {
    struct lethe_sandbox *sb = new_sandbox(from, 1 << 20);
    struct lethe_meter m;
    lethe_meter_init(&m, BUDGET);
    int status = lethe_sandbox_load(sb, edge[i], strlen(edge[i]), "=edge", &m);
    assert_int_not_equal(status, LUA_OK);
    assert_int_equal(lua_type(lethe_sandbox_state(sb), -1), LUA_TSTRING);
    lethe_sandbox_delete(sb);
  }
  lua_close(from);
}

static void test_a_new_sandbox_says_why_not(void **state) {
  char err[200] = "";
  (void)state;
  lua_State *from = new_state();
  assert_null(lethe_sandbox_new(from, 20000, err, sizeof err));
  assert_string_equal(err, "not enough memory");
  assert_null(lethe_sandbox_new(from, 100, err, sizeof err));
  lua_getglobal(from, "package");
  lua_pushliteral(from, "nowhere/?.lua");
  lua_setfield(from, -2, "path");
  assert_null(lethe_sandbox_new(from, 0, err, sizeof err));
  assert_non_null(strstr(err, "lethe.sandbox"));
  lua_close(from);
}

/* ---- the n-th allocation fails --------------------------------------------------------------- */

/* Lua tries again after a collection: `fails` in a row are refused, from the n-th request on. */
struct failing {
  long n, fails, live;
};

static void *failing_realloc(void *ud, void *p, size_t osize, size_t nsize) {
  struct failing *f = ud;
  if (nsize == 0) {
    if (p) f->live--;
    free(p);
    return NULL;
  }
  if (nsize > osize || !p) {
    f->n--;
    if (f->n < 0 && f->n >= -f->fails) return NULL;
  }
  void *q = realloc(p, nsize);
  if (q && !p) f->live++;
  return q;
}

static bool try_all(lua_State *from, struct failing *f) {
  static const char text[] = "local t = {} for i = 1, 10 do t[i] = ('k'):rep(i * 10) end"
                             " local s = table.concat(t):gsub('k(k)', '%1')"
                             " local co = coroutine.wrap(function() error({ s }) end)"
                             " local ok, e = pcall(co) return #e[1]";
  const struct lethe_alloc alloc = {failing_realloc, f};
  char err[100];
  struct lethe_meter m;
  bool worked = false;
  struct lethe_sandbox *sb = lethe_sandbox_new_with(from, 0, &alloc, err, sizeof err);
  if (sb) {
    lethe_meter_init(&m, BUDGET);
    worked = lethe_sandbox_load(sb, text, sizeof text - 1, "=text", &m) == LUA_OK;
    if (!worked) assert_int_equal(lua_type(lethe_sandbox_state(sb), -1), LUA_TSTRING);
    lethe_sandbox_delete(sb);
  } else {
    assert_true(*err);
  }
  assert_int_equal(f->live, 0);
  return worked && f->n >= 0;
}

static void fail_each(long fails) {
  lua_State *from = new_state();
  long n = 0;
  for (;; n++) {
    struct failing f = {.n = n, .fails = fails};
    if (try_all(from, &f)) break;
  }
  assert_true(n > 500);
  lua_close(from);
}

static void test_one_allocation_fails(void **state) {
  (void)state;
  fail_each(2);
}

static void test_all_allocations_fail_from_one_on(void **state) {
  (void)state;
  fail_each(1000000000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_nothing_swallows_the_budget),
      cmocka_unit_test(test_what_ends_is_counted),
      cmocka_unit_test(test_messages_are_strings),
      cmocka_unit_test(test_the_users_hook_comes_back),
      cmocka_unit_test(test_coroutines_outlive_a_meter),
      cmocka_unit_test(test_meters_nest),
      cmocka_unit_test(test_c_functions_charge),
      cmocka_unit_test(test_the_clock_ends_what_the_count_cannot),
      cmocka_unit_test(test_hostile_policies_end),
      cmocka_unit_test(test_the_same_text_costs_the_same),
      cmocka_unit_test(test_results_are_called),
      cmocka_unit_test(test_memory_has_a_cap),
      cmocka_unit_test(test_errors_at_the_edge_of_memory),
      cmocka_unit_test(test_a_new_sandbox_says_why_not),
      cmocka_unit_test(test_one_allocation_fails),
      cmocka_unit_test(test_all_allocations_fail_from_one_on),
  };
  return cmocka_run_group_tests_name("sandbox", tests, NULL, NULL);
}
