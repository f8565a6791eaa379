/* SPDX-License-Identifier: MIT
 * The two engines of slot tables: how a body comes to its end. Everything else about them is the
 * same code.
 *
 *   lua      Lua's own collector takes bodies when it likes; their finalizers note it
 *   manual   bodies are held until somebody says which of them to collect: a collector that is
 *            played, by a script or a test, at moments of its choosing */
#include "slots.h"

/* ---- lua ------------------------------------------------------------------------------------- */

static void lua_gone(struct slots_port *p, const struct slots_body *body) {
  lethe_slots_note(p->table, body->slot, body->generation);
}

/* One full cycle with all its finalizers. Inside a finalizer Lua's collector is not to be had. */
static int lua_collect(lua_State *L, struct slots_port *p) {
  (void)p;
  if (lua_gc(L, LUA_GCCOLLECT) != 0) return luaL_error(L, "cannot collect inside a finalizer");
  lua_pushinteger(L, lethe_slots_queued(slots_check(L)->table));
  return 1;
}

const struct slots_engine slots_engine_lua = {
    .name = "lua", .mode = "v", .sees = false, .gone = lua_gone, .collect = lua_collect};

/* ---- manual ---------------------------------------------------------------------------------- */

/* What Lua's collector takes was let go of, and noted, before. */
static void manual_gone(struct slots_port *p, const struct slots_body *body) {
  (void)p;
  (void)body;
}

/* Lets go of the bodies of the listed slots, in that order. */
static int manual_collect(lua_State *L, struct slots_port *p) {
  lua_Integer n = 0;
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) n = luaL_len(L, 2);
  lua_getiuservalue(L, 1, SLOTS_VALUES);
  for (lua_Integer i = 1; i <= n; i++) {
    lua_rawgeti(L, 2, i);
    uint32_t slot = (uint32_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
    if (lua_rawgeti(L, 3, (lua_Integer)slot) != LUA_TNIL) {
      lua_pushnil(L);
      lua_rawseti(L, 3, (lua_Integer)slot);
      lethe_slots_note(p->table, slot, lethe_slots_at(p->table, slot)->generation);
    }
    lua_pop(L, 1);
  }
  lua_pushinteger(L, lethe_slots_queued(p->table));
  return 1;
}

const struct slots_engine slots_engine_manual = {
    .name = "manual", .mode = NULL, .sees = true, .gone = manual_gone, .collect = manual_collect};
