/* SPDX-License-Identifier: MIT
 * The sandbox's state, under policies that want to escape it, fill it or hang it.
 *
 * Run from the repository's root, or with LUA_PATH set, so that lethe.sandbox is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "harness/lua.h"
#include "sandbox.h"

enum { BUDGET = 1000000 };

static lua_State *new_state(void) { return test_open_lua(luaL_newstate(), NULL); }

static struct lethe_sandbox *new_sandbox(lua_State *from, size_t cap) {
  char err[256] = "";
  struct lethe_sandbox *sb = lethe_sandbox_new(from, cap, err, sizeof err);
  if (!sb) fail_msg("%s", err);
  return sb;
}

static double seconds(void) { return (double)clock() / CLOCKS_PER_SEC; }

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
  assert_int_equal(lethe_sandbox_load(sb, "return _ENV", 11, "=env", NULL), LUA_OK);
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
      "t = {} pcall(function() while true do t = { t } end end)"
      " local function f() return 1 + f() end f()",
      "t = {} pcall(function() while true do t = { t } end end)"
      " xpcall(error, function() local function f() return 1 + f() end f() end) error('end')",
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

/* Until a policy with so much of a budget is stopped it has counted to n, in that global. */
static lua_Integer counted(lua_State *from, const char *text, int64_t budget) {
  struct lethe_sandbox *sb = new_sandbox(from, 0);
  lua_State *L = lethe_sandbox_state(sb);
  struct lethe_meter m;
  lethe_meter_init(&m, budget);
  assert_int_equal(lethe_sandbox_load(sb, text, strlen(text), "=text", &m), LUA_ERRRUN);
  assert_non_null(strstr(lua_tostring(L, -1), "budget"));
  assert_true(lethe_meter_used(&m) < budget + budget / 10);
  assert_int_equal(lethe_sandbox_load(sb, "return n", 8, "=text", NULL), LUA_OK);
  lua_Integer n = lua_tointeger(L, -1);
  assert_true(n > 0);
  lethe_sandbox_delete(sb);
  return n;
}

/* An instruction that compares a megabyte costs what others do that take as long: by themselves the
 * instructions of each of these would last for hundreds of thousands of turns. */
static void test_comparing_long_strings_is_charged(void **state) {
  static const char *const texts[] = {
      "n = 0 local a, b = ('x'):rep(2^20) .. 'a', ('x'):rep(2^20) .. 'a'"
      " while true do n = n + 1 local _ = a == b end",
      "n = 0 local a = ('x'):rep(2^20) while true do n = n + 1 local _ = a < a end",
      "n = 0 local a, b = ('x'):rep(2^20) .. 'a', ('x'):rep(2^20) .. 'a'"
      " local t = { [a] = 1 } while true do n = n + 1 local _ = t[b] end"};
  (void)state;
  lua_State *from = new_state();
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    assert_true(counted(from, texts[i], 4000000) < 40000);
  lua_close(from);
}

/* The room for 32768 fields is looked through for at least 16,384 instructions. */
static void test_walking_an_emptied_table_is_charged(void **state) {
  static const char filled[] =
      "n = 0 local t = { 1 } for i = 1, 30000 do t['k' .. i] = i end"
      " for i = 1, 30000 do t['k' .. i] = nil end while true do n = n + 1 ";
  static const char *const walks[] = {"next(t) t[1] = nil end",
                                      "for _ in pairs(t) do break end end",
                                      "for _ in next, t do break end end", "next(t, 1) end"};
  (void)state;
  lua_State *from = new_state();
  for (size_t i = 0; i < sizeof walks / sizeof *walks; i++) {
    char text[400];
    snprintf(text, sizeof text, "%s%s", filled, walks[i]);
    assert_true(counted(from, text, 6000000) < 6000000 / 16384);
  }
  lua_close(from);
}

/* Walks give what Lua's own give, and cost little: each pays once, wherever others are
 * meanwhile. */
static void test_walks_are_as_lua_has_them(void **state) {
  static const char text[] =
      "local t, sum, pairs_of = {}, 0, 0 for i = 1, 5000 do t['k' .. i] = i end"
      " for _, v in pairs(t) do sum = sum + v end assert(sum == 5000 * 5001 // 2)"
      " for k in next, t do t[k] = nil end assert(next(t) == nil)"
      " local u = { 1, 2, 3, a = 4, [2.5] = 5 }"
      " for a in pairs(u) do for b in pairs(u) do for _ in pairs(u) do pairs_of = pairs_of + 1"
      " if a == b then break end end end end assert(pairs_of == 5 * (4 * 5 + 1))"
      " local many = {} for i = 1, 20 do many[i] = { i, 2 * i, x = 3 * i } end"
      " local at, n = {}, 0 for _ = 1, 4 do for i = 1, 20 do"
      " local k = next(many[i], at[i]) at[i] = k n = n + (k and 1 or 0) end end assert(n == 60)"
      " local mt = { __pairs = function(s) return function(_, k) if not k then return 7, s end end"
      " end } local got for k, v in pairs(setmetatable({}, mt)) do got = k end assert(got == 7)"
      " assert(select('#', pairs({})) == 3 and select(3, pairs({})) == nil)"
      " local ok, e = pcall(next, {}, 'x') assert(not ok and e:find(\"invalid key to 'next'\"))"
      " ok, e = pcall(next, 5) assert(not ok and e:find('table expected, got number'))"
      " ok, e = pcall(pairs) assert(not ok and e:find(\"bad argument #1 to 'pairs'\"))";
  (void)state;
  lua_State *from = new_state();
  struct lethe_sandbox *sb = new_sandbox(from, 0);
  struct lethe_meter m;
  lethe_meter_init(&m, BUDGET);
  if (lethe_sandbox_load(sb, text, sizeof text - 1, "=text", &m) != LUA_OK)
    fail_msg("%s", lua_tostring(lethe_sandbox_state(sb), -1));
  lethe_sandbox_delete(sb);
  lua_close(from);
}

static void set_path(lua_State *from, const char *path) {
  lua_getglobal(from, "package");
  lua_pushstring(from, path);
  lua_setfield(from, -2, "path");
  lua_pop(from, 1);
}

/* The library is kept as it was compiled, but not for those that would find another. */
static void test_another_path_has_a_library_of_its_own(void **state) {
  char dir[] = "/tmp/lethe-sandbox-XXXXXX", path[100], file[100], err[200] = "";
  (void)state;
  lua_State *from = new_state(), *other = new_state();
  lethe_sandbox_delete(new_sandbox(from, 0));
  assert_non_null(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/?.lua", dir);
  snprintf(file, sizeof file, "%s/lethe", dir);
  assert_int_equal(mkdir(file, 0700), 0);
  strcat(file, "/sandbox.lua");
  FILE *f = fopen(file, "w");
  assert_non_null(f);
  fputs("error('another library')", f);
  fclose(f);
  set_path(other, path);
  assert_null(lethe_sandbox_new(other, 0, err, sizeof err));
  assert_non_null(strstr(err, "another library"));
  lethe_sandbox_delete(new_sandbox(from, 0));
  remove(file);
  *strrchr(file, '/') = '\0';
  remove(file);
  remove(dir);
  lua_close(other);
  lua_close(from);
}

/* Nothing of it is left where policies run: neither the searcher nor what it has loaded. */
static void test_the_kept_library_is_out_of_reach(void **state) {
  static const char text[] = "return type(package) .. type(require) .. type(string.dump) .."
                             " tostring(load('\\27Lua'))";
  (void)state;
  lua_State *from = new_state();
  for (int i = 0; i < 2; i++) {
    struct lethe_sandbox *sb = new_sandbox(from, 0);
    lua_State *L = lethe_sandbox_state(sb);
    assert_int_equal(lethe_sandbox_load(sb, text, sizeof text - 1, "=text", NULL), LUA_OK);
    assert_string_equal(lua_tostring(L, -1), "nilnilnilnil");
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    assert_int_equal(lua_getfield(L, -1, "lethe.sandbox"), LUA_TNIL);
    assert_int_equal(lua_getfield(L, -2, LUA_LOADLIBNAME), LUA_TNIL);
    lethe_sandbox_delete(sb);
  }
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
  struct lethe_sandbox *sb =
      lethe_sandbox_open(from, &(struct lethe_sandbox_options){.alloc = &alloc}, err, sizeof err);
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

static void fail_each_on(lua_State *from, long fails) {
  long n = 0;
  for (;; n++) {
    struct failing f = {.n = n, .fails = fails};
    if (try_all(from, &f)) break;
  }
  assert_true(n > 500);
}

/* Where the library is kept, and where it is compiled anew. */
static void fail_each(long fails) {
  lua_State *from = new_state();
  fail_each_on(from, fails);
  set_path(from, "./lua/?.lua;lua/?.lua");
  fail_each_on(from, fails);
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
      cmocka_unit_test(test_one_allocation_fails), /* while nothing is kept yet */
      cmocka_unit_test(test_hostile_policies_end),
      cmocka_unit_test(test_the_same_text_costs_the_same),
      cmocka_unit_test(test_results_are_called),
      cmocka_unit_test(test_memory_has_a_cap),
      cmocka_unit_test(test_errors_at_the_edge_of_memory),
      cmocka_unit_test(test_a_new_sandbox_says_why_not),
      cmocka_unit_test(test_comparing_long_strings_is_charged),
      cmocka_unit_test(test_walking_an_emptied_table_is_charged),
      cmocka_unit_test(test_walks_are_as_lua_has_them),
      cmocka_unit_test(test_another_path_has_a_library_of_its_own),
      cmocka_unit_test(test_the_kept_library_is_out_of_reach),
      cmocka_unit_test(test_all_allocations_fail_from_one_on),
  };
  return cmocka_run_group_tests_name("sandbox", tests, NULL, NULL);
}
