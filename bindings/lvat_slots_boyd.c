/* SPDX-License-Identifier: MIT
 * Callbacks, and bringing out the dead, step by step: lua/lethe/vat/slots.lua goes from one to the
 * next. Each function takes the Slots object first. */
#include "slots.h"

/* ---- callbacks ------------------------------------------------------------------------------- */

/* collect(self [, slots]) -> callbacks that are queued then */
static int l_collect(lua_State *L) {
  struct slots_port *p = slots_check(L);
  return p->engine->collect(L, p);
}

/* order(self, i): the callbacks from the i-th on, from 0, in byte order */
static int l_order(lua_State *L) {
  lua_Integer from = luaL_checkinteger(L, 2);
  luaL_argcheck(L, from >= 0 && from <= UINT32_MAX, 2, "no such callback");
  lethe_slots_order(slots_check(L)->table, (uint32_t)from);
  return 0;
}

/* queued(self) -> how many callbacks wait */
static int l_queued(lua_State *L) {
  lua_pushinteger(L, lethe_slots_queued(slots_check(L)->table));
  return 1;
}

static bool is_collection(const struct slots_port *p, uint32_t slot) {
  struct lethe_vref v;
  lethe_slots_name(p->table, slot, &v);
  return v.type == 'w';
}

/* peek(self, i) -> slot, name, whether it would act: the i-th callback, from 0 */
static int l_peek(lua_State *L) {
  struct slots_port *p = slots_check(L);
  lua_Integer i = luaL_checkinteger(L, 2);
  luaL_argcheck(L, i >= 0 && i < lethe_slots_queued(p->table), 2, "no such callback");
  uint32_t slot = lethe_slots_peek(p->table, (uint32_t)i);
  lua_pushinteger(L, slot);
  slots_pushvref(L, p, slot);
  lua_pushboolean(L, lethe_slots_state(p->table, slot) == LETHE_SLOT_IS_COLLECTED);
  return 3;
}

/* run(self, i) -> whether it did anything. A dead collection's keys were let go of before. */
static int l_run(lua_State *L) {
  struct slots_port *p = slots_check(L);
  lua_Integer i = luaL_checkinteger(L, 2);
  luaL_argcheck(L, i >= 0 && i < lethe_slots_queued(p->table), 2, "no such callback");
  uint32_t slot = lethe_slots_peek(p->table, (uint32_t)i);
  bool collection = is_collection(p, slot), acted = lethe_slots_run(p->table, (uint32_t)i);
  if (acted && collection) lethe_slots_settle(p->table, slot);
  lua_pushboolean(L, acted);
  return 1;
}

/* run_names(self) -> callbacks left: runs all but those of collections, which come first then */
static int l_run_names(lua_State *L) {
  struct lethe_slots *t = slots_check(L)->table;
  uint32_t kept = 0;
  while (kept < lethe_slots_queued(t)) {
    if (is_collection(slots_check(L), lethe_slots_peek(t, kept)))
      kept++;
    else
      lethe_slots_run(t, kept);
  }
  lua_pushinteger(L, kept);
  return 1;
}

/* ---- bringing out the dead ------------------------------------------------------------------- */

/* judge(self) -> list of slots of the vat's own dead, or nil */
static int l_judge(lua_State *L) {
  struct slots_port *p = slots_check(L);
  lua_Integer n = 0;
  lethe_slots_judge(p->table);
  uint32_t slot = lethe_slots_dead_own(p->table, 0);
  if (!slot) return 0;
  lua_newtable(L);
  for (; slot; slot = lethe_slots_dead_own(p->table, slot)) {
    lua_pushinteger(L, slot);
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

static int l_bury(lua_State *L) {
  struct slots_port *p = slots_check(L);
  lethe_slots_bury(p->table, (uint32_t)luaL_checkinteger(L, 2));
  return 0;
}

/* gather(self) -> names in the backlog */
static int l_gather(lua_State *L) {
  struct slots_port *p = slots_check(L);
  if (lethe_slots_backlog(p->table) == 0 && lethe_slots_gather(p->table)) return lethe_nomemory(L);
  lua_pushinteger(L, (lua_Integer)lethe_slots_backlog(p->table));
  return 1;
}

static int l_backlog(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lethe_slots_backlog(slots_check(L)->table));
  return 1;
}

/* take(self, most) -> to drop, to retire, exports to retire, names left: lists of at most so many
 * names, which count as said from now on */
static int l_take(lua_State *L) {
  struct lethe_slots *t = slots_check(L)->table;
  lua_Integer most = luaL_checkinteger(L, 2), names = 0, n[3] = {0, 0, 0};
  size_t i = 0;
  lua_settop(L, 2);
  for (int list = 0; list < 3; list++) lua_newtable(L);
  for (; i < lethe_slots_backlog(t) && names < most; i++) {
    uint32_t slot;
    unsigned verdict = lethe_slots_verdict(t, i, &slot);
    if (!verdict) continue;
    names++;
    slots_pushvref(L, slots_check(L), slot);
    for (int list = 0; list < 3; list++) {
      if (!(verdict & 1u << list)) continue;
      lua_pushvalue(L, 6);
      lua_rawseti(L, 3 + list, ++n[list]);
    }
    lua_pop(L, 1);
  }
  lethe_slots_commit(t, i);
  lua_pushinteger(L, (lua_Integer)lethe_slots_backlog(t));
  return 4;
}

/* A copy of the table in a user value, which has as much room as it needs, takes its place. */
static void renew(lua_State *L, int table) {
  lua_getiuservalue(L, 1, table);
  lua_newtable(L);
  if (lua_getmetatable(L, 2)) lua_setmetatable(L, 3);
  lua_pushnil(L);
  while (lua_next(L, 2)) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, 3);
  }
  lua_setiuservalue(L, 1, table);
  lua_settop(L, 1);
}

static int renew_all(lua_State *L) {
  renew(L, SLOTS_VALUES);
  renew(L, SLOTS_LOCALS);
  renew(L, SLOTS_PINS);
  return 0;
}

/* trim(self): memory that is not needed goes back. Without memory for that it stays. */
static int l_trim(lua_State *L) {
  lua_settop(L, 1);
  if (!lethe_slots_trim(slots_check(L)->table)) return 0;
  lua_pushcfunction(L, renew_all);
  lua_pushvalue(L, 1);
  lua_pcall(L, 1, 0, 0);
  return 0;
}

static const luaL_Reg functions[] = {{"collect", l_collect},
                                     {"order", l_order},
                                     {"queued", l_queued},
                                     {"peek", l_peek},
                                     {"run", l_run},
                                     {"run_names", l_run_names},
                                     {"judge", l_judge},
                                     {"bury", l_bury},
                                     {"gather", l_gather},
                                     {"backlog", l_backlog},
                                     {"take", l_take},
                                     {"trim", l_trim},
                                     {NULL, NULL}};

void slots_open_boyd(lua_State *L) { luaL_setfuncs(L, functions, 0); }
