/* SPDX-License-Identifier: MIT
 * Ephemerons: weak keys whose values may refer to them. Who is in one, and how many they are, a
 * hashed weak map of the keys' Refs says; where the values are depends on the key.
 *
 * With an object of lethe's the value is kept in its last user value, in a table under the
 * ephemeron, weakly: it lives while both do, and the collector comes to it when it comes to the
 * key. A key of another kind has no such place: its values stand in a weak-keyed table of the
 * ephemeron's own, where chains from value to key cost Lua's collector time in the square of their
 * length. */
#include "weakmap.h"

static struct weak_port *check(lua_State *L) {
  lethe_safepoint(L);
  return lethe_check(L, 1, &weak_ephemeron_class)->what;
}

int weak_ephemeron(lua_State *L) {
  struct lethe_box *b;
  struct lethe_weakmap *map;
  struct lethe_weakmap_options o = {.ordered = false};
  lethe_safepoint(L);
  struct weak_port *p = weak_port_new(L, &weak_ephemeron_class, WEAK_USERVALUES, &b);
  if (lethe_weakmap_new(&map, &lethe_alloc_libc, &o)) {
    weak_port_drop(p);
    return lethe_nomemory(L);
  }
  weak_port_hold(L, b, p, map);
  return 1;
}

/* ---- where values are ------------------------------------------------------------------------ */

/* The number of an object's last user value, which it pushes. */
static int last_uservalue(lua_State *L, int object) {
  int n = 0;
  lua_pushnil(L);
  while (lua_getiuservalue(L, object, n + 1) != LUA_TNONE) {
    lua_remove(L, -2);
    n++;
  }
  lua_pop(L, 1);
  return n;
}

static void push_weak_keyed(lua_State *L) {
  lua_newtable(L);
  if (luaL_newmetatable(L, "lethe.weakmap.keyed")) {
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
  }
  lua_setmetatable(L, -2);
}

/* Pushes the table where the ephemeron's value for the key at 2 is, and under what. False, with
 * nothing pushed, if there is none and none is to be made. */
static bool push_place(lua_State *L, bool make) {
  bool ours = lethe_class_of(L, 2) != NULL;
  int owner = ours ? 2 : 1, n = ours ? last_uservalue(L, 2) : WEAK_HELD;
  if (!ours) lua_getiuservalue(L, 1, WEAK_HELD);
  if (!lua_istable(L, -1)) {
    lua_pop(L, 1);
    if (!make) return false;
    push_weak_keyed(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, owner, n);
  }
  lua_pushvalue(L, ours ? 1 : 2);
  return true;
}

void weak_forget_values(lua_State *L, int object) {
  int n = last_uservalue(L, object);
  if (lua_istable(L, -1)) {
    lua_pushnil(L);
    lua_setiuservalue(L, object, n);
  }
  lua_pop(L, 1);
}

/* ---- the calls ------------------------------------------------------------------------------- */

static struct lethe_weak_key key_of(const struct weak_ref *r) {
  return lethe_weak_integer((lua_Integer)(uintptr_t)r);
}

static bool is_collectable(lua_State *L, int arg) {
  int type = lua_type(L, arg);
  return type == LUA_TTABLE || type == LUA_TUSERDATA || type == LUA_TFUNCTION ||
         type == LUA_TTHREAD;
}

/* The Ref of the key at 2 if it is in the ephemeron. */
static struct weak_ref *find(lua_State *L, struct weak_port *p) {
  struct weak_ref *r = is_collectable(L, 2) ? weak_find_ref(L, 2) : NULL;
  if (!r) return NULL;
  struct lethe_weak_key k = key_of(r);
  return lethe_weakmap_borrow(p->map, &k) ? r : NULL;
}

/* Pushes the value of the key at 2, or nil. */
static void push_value(lua_State *L, struct weak_port *p) {
  if (find(L, p) && push_place(L, false)) {
    lua_rawget(L, -2);
    lua_remove(L, -2);
  } else {
    lua_pushnil(L);
  }
}

/* Ephemeron:get(key) */
static int eph_get(lua_State *L) {
  struct weak_port *p = check(L);
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  push_value(L, p);
  return 1;
}

/* Takes the entry of the key at 2 away and pushes its value, or nil. Nothing is allocated. */
static void take(lua_State *L, struct weak_port *p) {
  struct weak_ref *r = find(L, p);
  push_value(L, p);
  if (!r) return;
  struct lethe_weak_key k = key_of(r);
  lethe_weakmap_remove(p->map, &k, NULL);
  if (push_place(L, false)) {
    lua_pushnil(L);
    lua_rawset(L, -3);
    lua_pop(L, 1);
  }
}

/* Ephemeron:remove(key) -> old | nil */
static int eph_remove(lua_State *L) {
  struct weak_port *p = check(L);
  luaL_checkany(L, 2);
  lua_settop(L, 2);
  take(L, p);
  return 1;
}

/* A value whose key does not count is as good as none: so it is in its place first. Finalizers may
 * run wherever something is allocated, and close the key. */
static void put(lua_State *L, struct weak_port *p) {
  weak_ref_of(L, p->home, 2);
  push_place(L, true);
  lua_pushvalue(L, 3);
  lua_rawset(L, -3);
  weak_check_value(L, 2);
  struct weak_ref *r = weak_find_ref(L, 2);
  struct lethe_weak_key k = key_of(r);
  if (lethe_weakmap_borrow(p->map, &k)) return;
  if (lethe_weakmap_insert(p->map, &k, &r->counted, NULL) == LETHE_OK) return;
  push_place(L, false);
  lua_pushnil(L);
  lua_rawset(L, -3);
  lethe_nomemory(L);
}

/* Ephemeron:set(key, value): nil removes */
static int eph_set(lua_State *L) {
  struct weak_port *p = check(L);
  weak_check_value(L, 2);
  luaL_checkany(L, 3);
  lua_settop(L, 3);
  if (lua_isnil(L, 3))
    take(L, p);
  else
    put(L, p);
  return 0;
}

/* Ephemeron:len() */
static int eph_len(lua_State *L) {
  struct weak_port *p = check(L);
  weak_sweep(L, p);
  lua_pushinteger(L, (lua_Integer)lethe_weakmap_len(p->map));
  return 1;
}

/* Ephemeron:close(): what it kept with objects goes now, not when they go. */
static int eph_close(lua_State *L) {
  struct lethe_box *b = lethe_test(L, 1, &weak_ephemeron_class);
  struct weak_port *p = b ? b->what : NULL;
  struct lethe_weak_item item;
  lua_settop(L, 1);
  while (p && lethe_weakmap_borrow_next(p->map, NULL, false, false, &item)) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &weak_key_values);
    lua_rawgeti(L, 2, (lua_Integer)weak_ref(item.object)->slot);
    lua_remove(L, 2);
    if (lua_isnil(L, 2))
      weak_bury(weak_ref(item.object));
    else
      take(L, p);
    lua_settop(L, 1);
  }
  if (p) {
    lua_pushnil(L);
    lua_setiuservalue(L, 1, WEAK_HELD);
  }
  return lethe_close(L);
}

static const luaL_Reg methods[] = {{"get", eph_get}, {"set", eph_set},     {"remove", eph_remove},
                                   {"len", eph_len}, {"close", eph_close}, {NULL, NULL}};
static const luaL_Reg metamethods[] = {{"__len", eph_len}, {"__close", eph_close}, {NULL, NULL}};

const struct lethe_class weak_ephemeron_class = {.name = "lethe.weakmap.Ephemeron",
                                                 .leaks = true,
                                                 .end = weak_end_port,
                                                 .methods = methods,
                                                 .metamethods = metamethods};
