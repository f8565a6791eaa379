/* SPDX-License-Identifier: MIT
 * What slot tables can be asked. Each function takes the Slots object first, but parse. */
#include "object.h"
#include "slots.h"

uint32_t slots_checkslot(lua_State *L, const struct slots_port *p, int arg) {
  if (lua_isinteger(L, arg)) return (uint32_t)lua_tointeger(L, arg);
  struct lethe_vref v = slots_checkvref(L, arg);
  uint32_t slot = lethe_slots_find(p->table, &v);
  if (!slot) luaL_argerror(L, arg, lua_pushfstring(L, "%s is not known", lua_tostring(L, arg)));
  return slot;
}

/* of(self) -> insides; for the Lua method that calls it: raises at its caller, for a closed object
 * too */
static int l_of(lua_State *L) {
  struct lethe_box *b = lethe_test(L, 1, &slots_class);
  if (!b || !b->what) return lethe_bad_self(L, slots_class.name, b != NULL);
  lua_getiuservalue(L, 1, SLOTS_INSIDES);
  return 1;
}

/* tables(self) -> values, locals, pins, insides */
static int l_tables(lua_State *L) {
  slots_check(L);
  lua_settop(L, 1);
  lua_getiuservalue(L, 1, SLOTS_VALUES);
  lua_getiuservalue(L, 1, SLOTS_LOCALS);
  lua_getiuservalue(L, 1, SLOTS_PINS);
  lua_getiuservalue(L, 1, SLOTS_INSIDES);
  return 4;
}

/* index(self, body) -> slot number, whether it is an import's | nil */
static int l_index(lua_State *L) {
  struct slots_port *p = slots_check(L);
  uint32_t slot = slots_slotof(L, 2);
  struct lethe_vref v;
  if (!slot) {
    luaL_pushfail(L);
    return 1;
  }
  lethe_slots_name(p->table, slot, &v);
  lua_pushinteger(L, slot);
  lua_pushboolean(L, v.type == 'o' && (!v.own || v.form != LETHE_VREF_PLAIN));
  return 2;
}

/* find(self, vref) -> slot number | nil; name(self, slot) -> vref */
static int l_find(lua_State *L) {
  struct slots_port *p = slots_check(L);
  struct lethe_vref v = slots_checkvref(L, 2);
  uint32_t slot = lethe_slots_find(p->table, &v);
  if (slot)
    lua_pushinteger(L, slot);
  else
    luaL_pushfail(L);
  return 1;
}

static int l_name(lua_State *L) {
  slots_pushvref(L, slots_check(L), (uint32_t)luaL_checkinteger(L, 2));
  return 1;
}

static const char *const state_names[] = {"UNKNOWN", "REACHABLE", "COLLECTED", "FINALIZED"};

/* look(self, slot) -> state, reachable, recognizable, dead, retired, recognizers, vdata. A body
 * that Lua has cleared and whose finalizer is still to come is collected already. */
static int l_look(lua_State *L) {
  struct slots_port *p = slots_check(L);
  uint32_t slot = slots_checkslot(L, p, 2);
  const struct lethe_slot *s = lethe_slots_at(p->table, slot);
  enum lethe_slot_state state = lethe_slots_state(p->table, slot);
  if (state == LETHE_SLOT_IS_UP && slots_pushbody(L, slot) == LUA_TNIL)
    state = LETHE_SLOT_IS_COLLECTED;
  lua_pushstring(L, state_names[state]);
  lua_pushboolean(L, (s->bits & LETHE_SLOT_REACHABLE) != 0);
  lua_pushboolean(L, (s->bits & LETHE_SLOT_RECOGNIZABLE) != 0);
  const unsigned ending = LETHE_SLOT_DEAD | LETHE_SLOT_DROP | LETHE_SLOT_RETIRE_OWN;
  lua_pushboolean(L, (s->bits & ending) != 0);
  lua_pushboolean(L, (s->bits & LETHE_SLOT_RETIRED) != 0);
  lua_pushinteger(L, s->recognizers);
  lua_pushinteger(L, s->vdata);
  return 7;
}

struct slot_list {
  lua_State *L;
  lua_Integer n;
};

static void count_slot(void *ud, uint32_t slot) {
  (void)slot;
  ((struct slot_list *)ud)->n++;
}

static void list_slot(void *ud, uint32_t slot) {
  struct slot_list *l = ud;
  lua_pushinteger(l->L, slot);
  lua_rawseti(l->L, 2, ++l->n);
}

/* slots(self) -> list of the numbers of all slots */
static int l_slots(lua_State *L) {
  struct slots_port *p = slots_check(L);
  struct slot_list l = {L, 0};
  lethe_slots_each(p->table, count_slot, &l);
  lua_settop(L, 1);
  lua_createtable(L, (int)l.n, 0);
  l.n = 0;
  lethe_slots_each(slots_check(L)->table, list_slot, &l);
  return 1;
}

static void set_count(lua_State *L, const char *name, uint64_t n) {
  lua_pushinteger(L, (lua_Integer)n);
  lua_setfield(L, -2, name);
}

/* stats(self) -> table */
static int l_stats(lua_State *L) {
  struct lethe_slots_stats s;
  lethe_slots_read_stats(slots_check(L)->table, &s);
  lua_createtable(L, 0, 11);
  set_count(L, "slots", s.slots);
  set_count(L, "bodies", s.bodies);
  set_count(L, "queued", s.queued);
  set_count(L, "entered", s.entered);
  set_count(L, "collected", s.noted);
  set_count(L, "finalized", s.finalized);
  set_count(L, "stale", s.stale);
  set_count(L, "dropped", s.dropped);
  set_count(L, "retired", s.retired);
  set_count(L, "retired_exports", s.retired_own);
  set_count(L, "bytes", s.bytes);
  return 1;
}

/* engine(self) -> its name, whether it sees the heap */
static int l_engine(lua_State *L) {
  const struct slots_engine *e = slots_check(L)->engine;
  lua_pushstring(L, e->name);
  lua_pushboolean(L, e->sees);
  return 2;
}

/* parse(text) -> type, own, kind ("virtual" | "durable" | nil), id, instance, facet | nil */
static int l_parse(lua_State *L) {
  static const char *const forms[] = {NULL, "durable", "virtual"};
  struct lethe_vref v;
  size_t n;
  const char *text = lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, &n) : NULL;
  if (!text || lethe_vref_parse(text, n, &v)) {
    luaL_pushfail(L);
    return 1;
  }
  lua_pushlstring(L, &v.type, 1);
  lua_pushboolean(L, v.own);
  lua_pushstring(L, forms[v.form]);
  lua_pushinteger(L, (lua_Integer)v.id);
  if (v.form == LETHE_VREF_PLAIN) return 4;
  lua_pushinteger(L, v.instance);
  if (!v.has_facet) return 5;
  lua_pushinteger(L, v.facet);
  return 6;
}

static const luaL_Reg functions[] = {{"of", l_of},       {"tables", l_tables}, {"index", l_index},
                                     {"find", l_find},   {"name", l_name},     {"look", l_look},
                                     {"slots", l_slots}, {"stats", l_stats},   {"engine", l_engine},
                                     {"parse", l_parse}, {NULL, NULL}};

void slots_open_look(lua_State *L) { luaL_setfuncs(L, functions, 0); }
