/* SPDX-License-Identifier: MIT
 * What lua/lethe/vat/slots*.lua do with slot tables: give names bodies, and say what keeps them.
 * Each function takes the Slots object first. */
#include "slots.h"

/* The name at `arg`: a vref, or a number, which names a weak collection. */
static struct lethe_vref check_name(lua_State *L, int arg) {
  if (lua_isinteger(L, arg))
    return (struct lethe_vref){.type = 'w', .id = (uint64_t)lua_tointeger(L, arg)};
  return slots_checkvref(L, arg);
}

/* value[slot] = the value at `arg`, in the user value `table`. Raises without memory. */
static void keep(lua_State *L, int table, uint32_t slot, int arg) {
  lua_getiuservalue(L, 1, table);
  lua_pushvalue(L, arg);
  lua_rawseti(L, -2, (lua_Integer)slot);
  lua_pop(L, 1);
}

static void forget(lua_State *L, int table, uint32_t slot) {
  lua_getiuservalue(L, 1, table);
  if (lua_rawgeti(L, -1, (lua_Integer)slot) != LUA_TNIL) {
    lua_pushnil(L);
    lua_rawseti(L, -3, (lua_Integer)slot);
  }
  lua_pop(L, 2);
}

/* ---- bodies ---------------------------------------------------------------------------------- */

/* The name at 2 gets the body that is on top: a userdata of struct slots_body, its metatable at
 * `mt`. Its slot. */
static uint32_t enter(lua_State *L, const struct lethe_vref *v, int mt) {
  struct slots_port *p = slots_check(L);
  struct slots_body *body = lua_touserdata(L, -1);
  uint32_t slot;
  if (lethe_slots_add(p->table, v, &slot)) lethe_nomemory(L);
  if (lethe_slots_enter(p->table, slot, &body->generation)) {
    lethe_slots_settle(p->table, slot);
    lethe_nomemory(L);
  }
  body->slot = slot;
  lua_pushvalue(L, mt);
  lua_setmetatable(L, -2);
  return slot;
}

/* register(self, vref, value) -> slot: a value of the vat's own, whose death will be noted */
static int l_register(lua_State *L) {
  slots_check(L);
  struct lethe_vref v = check_name(L, 2);
  luaL_checkany(L, 3);
  lua_settop(L, 3);
  lua_getiuservalue(L, 1, SLOTS_LOCALS);
  lua_getiuservalue(L, 1, SLOTS_NOTE);
  struct slots_body *body = lua_newuserdatauv(L, sizeof *body, 0);
  *body = (struct slots_body){0, 0};
  uint32_t slot = enter(L, &v, 5);
  lua_pushvalue(L, 3);
  lua_insert(L, -2);
  lua_rawset(L, 4);
  keep(L, SLOTS_VALUES, slot, 3);
  lua_pushinteger(L, slot);
  return 1;
}

/* body(self, name, metatable, insides) -> a userdata that is a body itself, slot */
static int l_body(lua_State *L) {
  slots_check(L);
  struct lethe_vref v = check_name(L, 2);
  luaL_checktype(L, 3, LUA_TTABLE);
  lua_settop(L, 4);
  struct slots_body *body = lua_newuserdatauv(L, sizeof *body, 1);
  *body = (struct slots_body){0, 0};
  lua_insert(L, 4);
  lua_setiuservalue(L, 4, 1);
  uint32_t slot = enter(L, &v, 3);
  keep(L, SLOTS_VALUES, slot, 4);
  lua_getiuservalue(L, 1, SLOTS_LOCALS);
  lua_pushvalue(L, 4);
  lua_pushinteger(L, slot);
  lua_rawset(L, -3);
  lua_pop(L, 1);
  lua_pushinteger(L, slot);
  return 2;
}

/* metatable(self, name, watched) -> a metatable for such bodies */
static int l_metatable(lua_State *L) {
  slots_check(L);
  const char *name = luaL_checkstring(L, 2);
  slots_newmetatable(L, name, lua_toboolean(L, 3));
  return 1;
}

/* node(metatable) -> a userdata that nobody watches */
static int l_node(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_newuserdatauv(L, 0, 0);
  lua_pushvalue(L, 1);
  lua_setmetatable(L, -2);
  return 1;
}

/* insides(body, metatable) -> what body() was given, or nil for another kind of value */
static int l_insides(lua_State *L) {
  if (lua_type(L, 1) == LUA_TUSERDATA && lua_getmetatable(L, 1)) {
    if (lua_rawequal(L, -1, 2)) {
      lua_getiuservalue(L, 1, 1);
      return 1;
    }
  }
  luaL_pushfail(L);
  return 1;
}

/* A place for the slot in a user value's table, so that keep() cannot fail there afterwards. */
static void reserve(lua_State *L, int table, uint32_t slot, int arg) {
  lua_getiuservalue(L, 1, table);
  if (lua_rawgeti(L, -1, (lua_Integer)slot) == LUA_TNIL) {
    lua_pushvalue(L, arg);
    lua_rawseti(L, -3, (lua_Integer)slot);
    lua_pushnil(L);
    lua_rawseti(L, -3, (lua_Integer)slot);
  }
  lua_pop(L, 2);
}

/* hold(self, vref, value) -> slot: a value that is held, and whose death nobody notes */
static int l_hold(lua_State *L) {
  struct slots_port *p = slots_check(L);
  struct lethe_vref v = check_name(L, 2);
  uint32_t slot;
  luaL_checkany(L, 3);
  lua_settop(L, 3);
  if (lethe_slots_add(p->table, &v, &slot)) return lethe_nomemory(L);
  lua_getiuservalue(L, 1, SLOTS_LOCALS);
  lua_pushvalue(L, 3);
  lua_pushboolean(L, false); /* what wants memory comes first; this names nothing yet */
  lua_rawset(L, 4);
  reserve(L, SLOTS_VALUES, slot, 3);
  reserve(L, SLOTS_PINS, slot, 3);
  lua_pushvalue(L, 3);
  lua_pushinteger(L, slot);
  lua_rawset(L, 4);
  keep(L, SLOTS_VALUES, slot, 3);
  keep(L, SLOTS_PINS, slot, 3);
  lethe_slots_deliver(p->table, slot);
  lua_pushinteger(L, slot);
  return 1;
}

/* release(self, vref): the opposite; nothing is known of the name any more */
static int l_release(lua_State *L) {
  struct slots_port *p = slots_check(L);
  uint32_t slot = slots_checkslot(L, p, 2);
  lua_settop(L, 2);
  if (slots_pushbody(L, slot) != LUA_TNIL) {
    lua_getiuservalue(L, 1, SLOTS_LOCALS);
    lua_pushvalue(L, 3);
    if (lua_rawget(L, 4) != LUA_TNIL) {
      lua_pushvalue(L, 3);
      lua_pushnil(L);
      lua_rawset(L, 4);
    }
  }
  forget(L, SLOTS_PINS, slot);
  forget(L, SLOTS_VALUES, slot);
  lethe_slots_at(p->table, slot)->bits &=
      ~(unsigned)(LETHE_SLOT_REACHABLE | LETHE_SLOT_RECOGNIZABLE);
  lethe_slots_settle(p->table, slot);
  return 0;
}

/* ---- what keeps a name ----------------------------------------------------------------------- */

/* A body of the vat's own is held as long as the kernel reaches it or stored data mentions it. */
static void hold_or_not(lua_State *L, struct slots_port *p, uint32_t slot) {
  const struct lethe_slot *s = lethe_slots_at(p->table, slot);
  struct lethe_vref v;
  lethe_slots_name(p->table, slot, &v);
  if (!v.own || v.form != LETHE_VREF_PLAIN) return; /* stored objects live by their data */
  if (!(s->bits & LETHE_SLOT_REACHABLE) && s->vdata == 0) {
    forget(L, SLOTS_PINS, slot);
  } else if (slots_pushbody(L, slot) != LUA_TNIL) {
    keep(L, SLOTS_PINS, slot, lua_gettop(L));
  }
}

/* deliver(self, vref): it leaves for the kernel, or comes from it */
static int l_deliver(lua_State *L) {
  struct slots_port *p = slots_check(L);
  uint32_t slot = slots_checkslot(L, p, 2);
  if (lethe_slots_at(p->table, slot)->bits & LETHE_SLOT_REACHABLE) return 0;
  if (slots_pushbody(L, slot) != LUA_TNIL) reserve(L, SLOTS_PINS, slot, lua_gettop(L));
  lethe_slots_deliver(p->table, slot);
  hold_or_not(L, p, slot);
  return 0;
}

/* store(self, slot) and unstore: stored data mentions it, once more, once less */
static int l_store(lua_State *L) {
  struct slots_port *p = slots_check(L);
  uint32_t slot = slots_checkslot(L, p, 2);
  if (slots_pushbody(L, slot) != LUA_TNIL) reserve(L, SLOTS_PINS, slot, lua_gettop(L));
  lethe_slots_store(p->table, slot);
  hold_or_not(L, p, slot);
  return 0;
}

static int l_unstore(lua_State *L) {
  struct slots_port *p = slots_check(L);
  uint32_t slot = slots_checkslot(L, p, 2);
  lethe_slots_unstore(p->table, slot);
  hold_or_not(L, p, slot);
  return 0;
}

static int l_recognize(lua_State *L) {
  struct slots_port *p = slots_check(L);
  lethe_slots_recognize(p->table, slots_checkslot(L, p, 2));
  return 0;
}

static int l_unrecognize(lua_State *L) {
  struct slots_port *p = slots_check(L);
  lethe_slots_unrecognize(p->table, slots_checkslot(L, p, 2));
  return 0;
}

/* drop_export(self, vref), retire_export, retire_import -> true | false where the kernel's own
 * record would not allow it */
static int tell(lua_State *L, int (*fn)(struct lethe_slots *, uint32_t), bool may_drop) {
  struct slots_port *p = slots_check(L);
  struct lethe_vref v = slots_checkvref(L, 2);
  uint32_t slot = lethe_slots_find(p->table, &v);
  bool done = slot && fn(p->table, slot) == LETHE_OK;
  if (done && may_drop && !(v.type == 'o' && v.id == 0)) hold_or_not(L, p, slot);
  lua_pushboolean(L, done);
  return 1;
}

static int l_drop_export(lua_State *L) { return tell(L, lethe_slots_drop_export, true); }
static int l_retire_export(lua_State *L) { return tell(L, lethe_slots_retire_export, false); }
static int l_retire_import(lua_State *L) { return tell(L, lethe_slots_retire_import, false); }

static const luaL_Reg functions[] = {{"register", l_register},
                                     {"body", l_body},
                                     {"metatable", l_metatable},
                                     {"node", l_node},
                                     {"insides", l_insides},
                                     {"hold", l_hold},
                                     {"release", l_release},
                                     {"deliver", l_deliver},
                                     {"store", l_store},
                                     {"unstore", l_unstore},
                                     {"recognize", l_recognize},
                                     {"unrecognize", l_unrecognize},
                                     {"drop_export", l_drop_export},
                                     {"retire_export", l_retire_export},
                                     {"retire_import", l_retire_import},
                                     {NULL, NULL}};

void slots_open_tables(lua_State *L) { luaL_setfuncs(L, functions, 0); }
