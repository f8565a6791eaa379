/* SPDX-License-Identifier: MIT
 * The memory of vats: limits that no pcall sees, collections at every object, and the n-th request
 * that fails, for every n. Run from the repository's root, or with LUA_PATH set. */
#include <string.h>

#include "harness/unit.h"

#include "harness/alloc.h"
#include "sandbox.h"
#include "vat_heap.h"

struct world {
  struct test_alloc memory;
  struct vat_heap heap;
  struct lethe_meter meter;
  lua_State *L;
};

static lua_State *open_in(struct world *w, size_t limit) {
  vat_heap_init(&w->heap, limit, &w->memory.alloc);
  w->L = lua_newstate(vat_heap_allocate, &w->heap);
  return w->L;
}

static int open_libraries(lua_State *L) {
  luaL_openlibs(L);
  return 0;
}

static void setup(struct world *w, size_t limit) {
  test_alloc_init(&w->memory);
  lua_State *L = open_in(w, limit);
  assert_non_null(L);
  lua_pushcfunction(L, open_libraries);
  assert_int_equal(lua_pcall(L, 0, 0, 0), LUA_OK);
  vat_heap_start(&w->heap, L);
}

static void teardown(struct world *w) {
  lua_close(w->L);
  assert_int_equal(w->memory.blocks, 0);
  assert_int_equal(w->heap.used, 0);
}

/* Under a meter that is large; the one result stays on the stack. */
static int run(struct world *w, const char *source) {
  lethe_meter_init(&w->meter, 1000000000);
  lua_settop(w->L, 0);
  assert_int_equal(luaL_loadstring(w->L, source), LUA_OK);
  return lethe_meter_pcall(w->L, 0, 1, &w->meter);
}

static void assert_result(struct world *w, const char *source, const char *expected) {
  if (run(w, source) != LUA_OK) fail_msg("%s", lua_tostring(w->L, -1));
  assert_string_equal(lua_tostring(w->L, -1), expected);
}

/* ---- limits ---------------------------------------------------------------------------------- */

/* Each of them meets its limit, some catch what is raised, none goes on. */
static void test_nothing_goes_on_after_the_limit(void **state) {
  static const char *const sources[] = {
      "local t = {} while true do t[#t + 1] = {} end",
      "while true do pcall(function() local t = {} while true do t[#t + 1] = {} end end) end",
      "pcall(string.rep, 'x', 1 << 24) went_on = true local t = {} went_further = tostring(t)",
      "for i = 1, 9 do pcall(string.rep, 'x', 1 << 24) end return 1",
      "local t = {} for i = 1, 1 << 20 do t[i] = i end",
      "local s = ('x'):rep(1 << 20) return #table.concat({ s, s, s, s, s, s, s, s, s })",
      "return #string.format('%s%s', ('x'):rep(3 << 20), ('x'):rep(3 << 20))",
  };
  (void)state;
  for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
    struct world w;
    setup(&w, 6 << 20);
    run(&w, sources[i]);
    assert_string_equal(vat_heap_exhausted(&w.heap), "the vat has no memory left");
    assert_int_equal(lua_getglobal(w.L, "went_further"), LUA_TNIL);
    assert_true(w.heap.used <= 6 << 20);
    teardown(&w);
  }
}

static void test_garbage_is_collected_in_time(void **state) {
  struct world w;
  (void)state;
  setup(&w, 6 << 20);
  assert_result(&w,
                "local n = 0 for i = 1, 100000 do n = n + #{ ('x'):rep(200) .. i } end return n",
                "100000");
  for (int i = 0; i < 20; i++) assert_result(&w, "return #('x'):rep(1 << 20)", "1048576");
  assert_null(vat_heap_exhausted(&w.heap));
  assert_true(lua_gc(w.L, LUA_GCISRUNNING) == 0);
  teardown(&w);
}

/* ---- collections ----------------------------------------------------------------------------- */

static const char busy[] =
    "local t, n = setmetatable({}, { __mode = 'k' }), 0\n"
    "for i = 1, 60 do\n"
    "  local key = {}\n"
    "  t[key] = { key, tostring(i) }\n"
    "  local co = coroutine.wrap(function(x) return coroutine.yield(x) end)\n"
    "  n = n + #co('x') + #table.concat({ ('y'):rep(50 * i), ('z'):rep(2000) })\n"
    "  n = n + #string.gsub(('a'):rep(40 * i), 'a', 'bc')\n"
    "  n = n + #string.format('%s%q', ('x'):rep(1500), ('y'):rep(30 * i))\n"
    "  local f = load('local x = ... return function() return x end')(i)\n"
    "  n = n + f()\n"
    "  setmetatable({}, { __gc = error })\n"
    "end\n"
    "return tostring(n)";

/* A collection at every object, in both modes: the buffers of the library are never refused. */
static void test_collections_at_every_object(void **state) {
  struct world w;
  (void)state;
  setup(&w, 64 << 20);
  run(&w, busy);
  char *expected = strdup(lua_tostring(w.L, -1));
  int64_t cost = lethe_meter_used(&w.meter);
  assert_int_equal(w.heap.collections, 0);
  for (uint64_t every = 1; every <= 64; every = every * 2 + 1) {
    for (int generational = 0; generational <= 1; generational++) {
      uint64_t before = w.heap.collections;
      vat_heap_plan(&w.heap, w.L, generational, false, every);
      assert_result(&w, busy, expected);
      assert_int_equal(lethe_meter_used(&w.meter), cost);
      assert_true(w.heap.collections > before);
      assert_null(vat_heap_exhausted(&w.heap));
    }
  }
  vat_heap_plan(&w.heap, w.L, false, true, 0);
  assert_result(&w, busy, expected);
  free(expected);
  teardown(&w);
}

static int finalized;

static int count_end(lua_State *L) {
  (void)L;
  finalized++;
  return 0;
}

/* Finalizers come with a collection that was called for between calls, and with no other. */
static void test_finalizers_wait(void **state) {
  static const char die[] = "for i = 1, 100 do setmetatable({}, { __gc = count_end }) end return 1";
  static const char waste[] = "for i = 1, 100000 do local t = { i } end return 1";
  struct world w;
  (void)state;
  setup(&w, 8 << 20);
  lua_pushcfunction(w.L, count_end);
  lua_setglobal(w.L, "count_end");
  for (int generational = 0; generational <= 1; generational++) {
    vat_heap_plan(&w.heap, w.L, generational, false, 3);
    finalized = 0;
    assert_result(&w, die, "1");
    assert_result(&w, waste, "1");
    assert_int_equal(finalized, 0);
    assert_false(lua_gc(w.L, LUA_GCISRUNNING));
    vat_heap_collect(&w.heap, w.L);
    assert_int_equal(finalized, 100);
  }
  teardown(&w);
}

/* ---- want of memory -------------------------------------------------------------------------- */

/* The n-th request fails, for every n, once or for good: a state is made, or not; what ran came to
 * its end, or the heap says that it did not; and every byte comes back. */
static void sweep(bool sticky) {
  bool through = false;
  for (uint64_t n = 1; !through; n += n < 300 ? 1 : 7) {
    struct world w;
    test_alloc_init(&w.memory);
    w.memory.fail_at = n;
    w.memory.sticky = sticky;
    if (open_in(&w, 64 << 20)) {
      lua_pushcfunction(w.L, open_libraries);
      if (lua_pcall(w.L, 0, 0, 0) == LUA_OK) {
        vat_heap_start(&w.heap, w.L);
        lethe_meter_init(&w.meter, 1000000000);
        lua_settop(w.L, 0);
        int rc = luaL_loadstring(w.L, busy);
        if (rc == LUA_OK) rc = lethe_meter_pcall(w.L, 0, 1, &w.meter);
        if (rc != LUA_OK) assert_string_equal(vat_heap_exhausted(&w.heap), "not enough memory");
        through = w.memory.failed == 0;
        if (through) assert_int_equal(rc, LUA_OK);
      }
      lua_close(w.L);
    }
    assert_int_equal(w.memory.blocks, 0);
    assert_int_equal(w.memory.bytes, 0);
  }
}

static void test_the_nth_request_fails(void **state) {
  (void)state;
  sweep(false);
}

static void test_requests_fail_from_the_nth_on(void **state) {
  (void)state;
  sweep(true);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_nothing_goes_on_after_the_limit),
      cmocka_unit_test(test_garbage_is_collected_in_time),
      cmocka_unit_test(test_collections_at_every_object),
      cmocka_unit_test(test_finalizers_wait),
      cmocka_unit_test(test_the_nth_request_fails),
      cmocka_unit_test(test_requests_fail_from_the_nth_on),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
