/* SPDX-License-Identifier: MIT
 * lethe.core.slots: the slot tables of one vat. Here are the object, its bodies with their one
 * finalizer, and the calls that a delivery makes: import, val, slot. */
#include <string.h>

#include "slots.h"

/* ---- bodies ---------------------------------------------------------------------------------- */

/* The finalizer of every body: it notes, and only tells the engine which body. Upvalue 1 is the
 * Slots object, which may have been closed, or finalized itself. */
static int slots_note_body(lua_State *L) {
  struct lethe_box *b = lua_touserdata(L, lua_upvalueindex(1));
  struct slots_body *body = lua_touserdata(L, 1);
  struct slots_port *p = b->what;
  if (!p || !body || body->slot == 0) return 0;
  struct slots_body copy = *body;
  *body = (struct slots_body){0, 0}; /* nobody can use it again, brought back or not */
  p->engine->gone(p, &copy);
  return 0;
}

/* Says the name alone: an address would tell two runs apart. */
static int body_tostring(lua_State *L) {
  struct lethe_box *b = lua_touserdata(L, lua_upvalueindex(1));
  const struct slots_body *body = lua_touserdata(L, 1);
  const struct slots_port *p = b->what;
  lua_pushvalue(L, lua_upvalueindex(2));
  if (!p || !body || lua_rawlen(L, 1) < sizeof *body || body->slot == 0) return 1;
  lua_pushliteral(L, ": ");
  slots_pushvref(L, p, body->slot);
  lua_concat(L, 3);
  return 1;
}

void slots_newmetatable(lua_State *L, const char *name, bool watched) {
  lua_createtable(L, 0, 5);
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__name");
  lua_pushboolean(L, false);
  lua_setfield(L, -2, "__metatable");
  lua_pushvalue(L, 1);
  lua_pushstring(L, name);
  lua_pushcclosure(L, body_tostring, 2);
  lua_setfield(L, -2, "__tostring");
  if (!watched) return;
  lua_pushvalue(L, 1);
  lua_pushcclosure(L, slots_note_body, 1);
  lua_setfield(L, -2, "__gc");
}

/* ---- the object ------------------------------------------------------------------------------ */

static void end_slots(struct lethe_state *s, void *what, bool closed) {
  struct slots_port *p = what;
  (void)s;
  (void)closed;
  lethe_slots_delete(p->table);
  lethe_free(&lethe_alloc_libc, p, sizeof *p);
}

static void push_weak(lua_State *L, const char *mode) {
  lua_newtable(L);
  if (!mode) return;
  lua_createtable(L, 0, 1);
  lua_pushstring(L, mode);
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
}

static const char *const engine_names[] = {"lua", "manual", NULL};

/* new(engine, insides) -> Slots */
static int l_new(lua_State *L) {
  bool manual = luaL_checkoption(L, 1, NULL, engine_names) == 1;
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  struct lethe_box *b = lethe_box_new(L, &slots_class, SLOTS_USERVALUES);
  lua_replace(L, 1);
  lua_setiuservalue(L, 1, SLOTS_INSIDES);
  const struct slots_engine *e = manual ? &slots_engine_manual : &slots_engine_lua;
  push_weak(L, e->mode);
  lua_setiuservalue(L, 1, SLOTS_VALUES);
  push_weak(L, "k");
  lua_setiuservalue(L, 1, SLOTS_LOCALS);
  push_weak(L, NULL);
  lua_setiuservalue(L, 1, SLOTS_PINS);
  slots_newmetatable(L, "lethe.vat.Presence", true);
  lua_setiuservalue(L, 1, SLOTS_PRESENCE);
  slots_newmetatable(L, "lethe.vat.Note", true);
  lua_setiuservalue(L, 1, SLOTS_NOTE);
  struct slots_port *p = lethe_zalloc(&lethe_alloc_libc, sizeof *p);
  if (!p) return lethe_nomemory(L);
  p->engine = e;
  if (lethe_slots_new(&p->table, &lethe_alloc_libc)) {
    lethe_free(&lethe_alloc_libc, p, sizeof *p);
    return lethe_nomemory(L);
  }
  lethe_box_hold(L, b, p);
  return 1;
}

/* ---- names and bodies ------------------------------------------------------------------------ */

struct lethe_vref slots_checkvref(lua_State *L, int arg) {
  struct lethe_vref v;
  size_t n;
  if (lua_type(L, arg) != LUA_TSTRING) luaL_typeerror(L, arg, "vref");
  const char *text = lua_tolstring(L, arg, &n);
  if (lethe_vref_parse(text, n, &v))
    luaL_argerror(L, arg, lua_pushfstring(L, "\"%s\" is no vref", text));
  return v;
}

void slots_pushvref(lua_State *L, const struct slots_port *p, uint32_t slot) {
  char text[LETHE_VREF_MAX];
  struct lethe_vref v;
  lethe_slots_name(p->table, slot, &v);
  lua_pushlstring(L, text, lethe_vref_text(&v, text));
}

int slots_pushbody(lua_State *L, uint32_t slot) {
  lua_getiuservalue(L, 1, SLOTS_VALUES);
  int type = lua_rawgeti(L, -1, (lua_Integer)slot);
  lua_remove(L, -2);
  return type;
}

uint32_t slots_slotof(lua_State *L, int arg) {
  uint32_t slot = 0;
  int type = lua_type(L, arg);
  if (type == LUA_TUSERDATA && lua_getmetatable(L, arg)) {
    lua_getiuservalue(L, 1, SLOTS_PRESENCE);
    if (lua_rawequal(L, -1, -2)) {
      slot = ((struct slots_body *)lua_touserdata(L, arg))->slot;
      lua_pop(L, 2);
      return slot;
    }
    lua_pop(L, 2);
  }
  if (type != LUA_TUSERDATA && type != LUA_TTABLE && type != LUA_TFUNCTION && type != LUA_TTHREAD)
    return 0;
  lua_getiuservalue(L, 1, SLOTS_LOCALS);
  lua_pushvalue(L, arg);
  type = lua_rawget(L, -2);
  if (type == LUA_TUSERDATA)
    slot = ((struct slots_body *)lua_touserdata(L, -1))->slot;
  else if (type == LUA_TNUMBER)
    slot = (uint32_t)lua_tointeger(L, -1);
  lua_pop(L, 2);
  return slot;
}

/* A presence for the import at 2. Making it may run finalizers, which may do anything: so the
 * memory comes first, and what is known of the name is asked for again. */
static int import_new(lua_State *L, const struct lethe_vref *v) {
  struct slots_body *body = lua_newuserdatauv(L, sizeof *body, 0); /* at 3 */
  struct slots_port *p = slots_check(L);
  uint32_t slot = lethe_slots_find(p->table, v);
  if (slot && slots_pushbody(L, slot) != LUA_TNIL) return 1;
  lua_settop(L, 3);
  lua_getiuservalue(L, 1, SLOTS_VALUES);
  lua_getiuservalue(L, 1, SLOTS_PRESENCE);
  if (lethe_slots_add(p->table, v, &slot)) return lethe_nomemory(L);
  if (lethe_slots_enter(p->table, slot, &body->generation)) {
    lethe_slots_settle(p->table, slot);
    return lethe_nomemory(L);
  }
  body->slot = slot;
  lethe_slots_deliver(p->table, slot);
  lua_setmetatable(L, 3);
  lua_pushvalue(L, 3);
  lua_rawseti(L, 4,
              (lua_Integer)slot); /* raises without memory: then the body is soon found dead */
  lua_settop(L, 3);
  return 1;
}

/* Slots:import(vref): the body of a name that the kernel delivers. What is neither there nor the
 * presence of an object is made in Lua. */
static int l_import(lua_State *L) {
  struct slots_port *p = slots_check(L);
  struct lethe_vref v = slots_checkvref(L, 2);
  lua_settop(L, 2);
  uint32_t slot = lethe_slots_find(p->table, &v);
  bool is_import = v.type == 'o' && !v.own;
  if (slot && slots_pushbody(L, slot) != LUA_TNIL) {
    if (is_import) lethe_slots_deliver(p->table, slot);
    return 1;
  }
  lua_settop(L, 2);
  if (is_import) return import_new(L, &v);
  lua_getiuservalue(L, 1, SLOTS_INSIDES);
  lua_getfield(L, -1, "import");
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_call(L, 2, 1);
  return 1;
}

/* Slots:val(vref) -> body | nil */
static int l_val(lua_State *L) {
  struct slots_port *p = slots_check(L);
  struct lethe_vref v = slots_checkvref(L, 2);
  uint32_t slot = lethe_slots_find(p->table, &v);
  if (!slot || slots_pushbody(L, slot) == LUA_TNIL) luaL_pushfail(L);
  return 1;
}

/* Slots:slot(body) -> vref | nil */
static int l_slot(lua_State *L) {
  struct slots_port *p = slots_check(L);
  luaL_checkany(L, 2);
  struct lethe_vref v = {.type = 'w'}; /* a weak collection has no name that may be said */
  uint32_t slot = slots_slotof(L, 2);
  if (slot) lethe_slots_name(p->table, slot, &v);
  if (v.type != 'w')
    slots_pushvref(L, p, slot);
  else
    luaL_pushfail(L);
  return 1;
}

/* ---- opening --------------------------------------------------------------------------------- */

static const luaL_Reg methods[] = {
    {"import", l_import}, {"val", l_val}, {"slot", l_slot}, {NULL, NULL}};

/* Says nothing of where it lies: a vat's code may hold it. */
static int l_tostring(lua_State *L) {
  struct lethe_box *b = luaL_checkudata(L, 1, slots_class.name);
  lua_pushstring(L, b->what ? slots_class.name : "lethe.vat.Slots (closed)");
  return 1;
}

static const luaL_Reg metamethods[] = {{"__tostring", l_tostring}, {NULL, NULL}};

const struct lethe_class slots_class = {.name = "lethe.vat.Slots",
                                        .end = end_slots,
                                        .leaks = true,
                                        .methods = methods,
                                        .metamethods = metamethods};

static const luaL_Reg functions[] = {{"new", l_new}, {NULL, NULL}};

int luaopen_lethe_core_slots(lua_State *L) {
  luaL_checkversion(L);
  lethe_class(L, &slots_class);
  luaL_newlib(L, functions);
  slots_open_tables(L);
  slots_open_boyd(L);
  slots_open_look(L);
  lethe_methods(L, &slots_class, "Slots");
  return 1;
}
