/* SPDX-License-Identifier: MIT
 * Keys of Lua's, and the calls on single entries: putting, looking up, taking out. */
#include <math.h>

#include "lethe/weakmap_inl.h"

#include "weakmap.h"

/* ---- keys ------------------------------------------------------------------------------------ */

bool weak_to_key(lua_State *L, int index, struct weak_port *p, struct lethe_weak_key *k) {
  size_t n;
  if (lua_type(L, index) == LUA_TSTRING) {
    const char *text = lua_tolstring(L, index, &n);
    *k = lethe_weak_bytes(text, n);
  } else if (lua_isinteger(L, index)) {
    *k = lethe_weak_integer(lua_tointeger(L, index));
  } else {
    *k = lethe_weak_number(lua_tonumber(L, index));
  }
  return lethe_weakmap_accepts(p->map, k) == LETHE_OK;
}

void weak_check_key(lua_State *L, int arg, struct weak_port *p, struct lethe_weak_key *k) {
  int type = lua_type(L, arg);
  if (type != LUA_TNUMBER && type != LUA_TSTRING) luaL_typeerror(L, arg, "number or string");
  if (weak_to_key(L, arg, p, k)) return;
  if (type == LUA_TNUMBER && k->kind == LETHE_WEAK_FLOAT && isnan(k->u.number))
    luaL_argerror(L, arg, "a key cannot be nan");
  luaL_argerror(L, arg,
                lua_pushfstring(L, "the keys of this map are %ss (got a %s)",
                                type == LUA_TNUMBER ? "string" : "number", lua_typename(L, type)));
}

void weak_push_key(lua_State *L, const struct lethe_weak_key *k) {
  if (k->kind == LETHE_WEAK_BYTES)
    lua_pushlstring(L, k->bytes, k->u.n);
  else if (k->kind == LETHE_WEAK_INTEGER)
    lua_pushinteger(L, k->u.integer);
  else
    lua_pushnumber(L, k->u.number);
}

/* ---- entries --------------------------------------------------------------------------------- */

/* A sweep costs what the map is long, so it waits for as many mutations. */
void weak_mutate(lua_State *L, struct weak_port *p) {
  size_t raw = lethe_weakmap_len(p->map);
  lua_Integer most = (size_t)p->threshold > raw ? p->threshold : (lua_Integer)raw;
  if (p->ops + 1 < most) {
    p->ops++;
    return;
  }
  weak_sweep(L, p);
  p->ops = 0;
}

/* An entry that is dead and not yet told so leaves as one that died, not as one that was
 * replaced. */
static void bury_at(lua_State *L, struct weak_port *p, const struct lethe_weak_key *k) {
  if (!p->keeps_dead) return;
  struct lethe_counted *c = lethe_weakmap_borrow(p->map, k);
  if (!c) return;
  weak_push(L, 1, p, c);
  if (lua_isnil(L, -1)) weak_bury(weak_ref(c));
  lua_pop(L, 1);
}

/* Pushes the value of what has left the map at 1, nil for NULL, and lets go of it. */
static void push_left(lua_State *L, struct weak_port *p, struct lethe_counted *c) {
  if (!c) {
    lua_pushnil(L);
    return;
  }
  weak_push(L, 1, p, c);
  if (weak_is_strong(p)) {
    if (lua_getiuservalue(L, 1, WEAK_HELD) == LUA_TTABLE) luaL_unref(L, -1, (int)weak_ref(c)->slot);
    lua_pop(L, 1);
  }
  lethe_strong_put(c);
}

/* What stands for the value at `value` in the map at 1, with a reference for the caller. */
static struct lethe_counted *take_value(lua_State *L, struct weak_port *p, int value) {
  if (!weak_is_strong(p)) {
    struct lethe_counted *c = &weak_ref_of(L, p->home, value)->counted;
    lethe_strong_get(c);
    return c;
  }
  lua_getiuservalue(L, 1, WEAK_HELD);
  lua_pushvalue(L, value);
  int slot = luaL_ref(L, -2);
  struct weak_ref *r = weak_cell_new((uint32_t)slot);
  if (!r) {
    luaL_unref(L, -1, slot);
    lethe_nomemory(L);
  }
  lua_pop(L, 1);
  return &r->counted;
}

/* The value at 3 under the key at 2, or under *k if an equal key is to stay; pushes what was
 * there. */
static int insert(lua_State *L, struct weak_port *p, bool stays) {
  struct lethe_weak_key k;
  struct lethe_weak_item item;
  struct lethe_counted *old;
  weak_check_key(L, 2, p, &k);
  weak_check_value(L, 3);
  weak_mutate(L, p);
  struct lethe_counted *c = take_value(L, p, 3);
  bury_at(L, p, &k); /* finalizers may have run until here */
  if (stays && lethe_weakmap_borrow_next(p->map, &k, false, false, &item) &&
      lethe_weak_compare(&item.key, &k) == 0)
    k = item.key;
  int rc = lethe_weakmap_insert(p->map, &k, c, &old);
  if (rc == LETHE_OK) {
    lethe_strong_put(c);
    push_left(L, p, old);
    return 1;
  }
  push_left(L, p, c);
  if (rc == LETHE_ENOMEM) return lethe_nomemory(L);
  weak_check_key(L, 2, p, &k); /* a finalizer has put the first key, of the other kind */
  return 0;
}

/* WeakMap:insert(k, v) -> old | nil */
static int map_insert(lua_State *L) {
  struct weak_port *p = weak_self(L);
  lua_settop(L, 3);
  return insert(L, p, false);
}

/* put(map, k, v): an equal key that is there stays */
static int l_put(lua_State *L) {
  struct weak_port *p = weak_check(L, 1);
  lua_settop(L, 3);
  return insert(L, p, true);
}

/* WeakMap:get(k) -> v | nil; whether an integer is no key of this map is asked only where it is not
 * there. */
static int map_get(lua_State *L) {
  struct weak_port *p = weak_self(L);
  struct lethe_weak_key k;
  struct lethe_counted *c;
  bool integer = lua_isinteger(L, 2);
  if (integer) {
    c = lethe_weakmap_borrow_integer(p->map, lua_tointeger(L, 2));
  } else {
    weak_check_key(L, 2, p, &k);
    c = lethe_weakmap_borrow(p->map, &k);
  }
  if (c && !weak_is_strong(p)) {
    lua_rawgeti(L, lua_upvalueindex(2), (lua_Integer)weak_slot(c));
  } else if (c) {
    weak_push(L, 1, p, c);
  } else {
    if (integer) weak_check_key(L, 2, p, &k);
    lua_pushnil(L);
  }
  return 1;
}

static int map_contains(lua_State *L) {
  map_get(L);
  lua_pushboolean(L, !lua_isnil(L, -1));
  return 1;
}

int weak_take_out(lua_State *L, struct weak_port *p, const struct lethe_weak_key *k) {
  struct lethe_counted *old;
  bury_at(L, p, k);
  lethe_weakmap_remove(p->map, k, &old);
  push_left(L, p, old);
  return 1;
}

/* WeakMap:remove(k) -> old | nil */
static int map_remove(lua_State *L) {
  struct weak_port *p = weak_self(L);
  struct lethe_weak_key k;
  lua_settop(L, 2);
  weak_check_key(L, 2, p, &k);
  weak_mutate(L, p);
  return weak_take_out(L, p, &k);
}

bool weak_is_at(lua_State *L, struct weak_port *p, const struct lethe_weak_key *k, int value) {
  struct lethe_counted *c = lethe_weakmap_borrow(p->map, k);
  if (!c) return false;
  weak_push(L, 1, p, c);
  bool same = lua_rawequal(L, value, -1);
  lua_pop(L, 1);
  return same;
}

/* remove_if(map, k, v): if it is this value that is there */
static int l_remove_if(lua_State *L) {
  struct weak_port *p = weak_check(L, 1);
  struct lethe_weak_key k;
  lua_settop(L, 3);
  if (weak_to_key(L, 2, p, &k) && weak_is_at(L, p, &k, 3)) weak_take_out(L, p, &k);
  return 0;
}

/* WeakMap:clear() */
static int map_clear(lua_State *L) {
  struct weak_port *p = weak_self(L);
  lua_settop(L, 1);
  if (weak_is_strong(p)) {
    lua_newtable(L); /* finalizers may run */
    lua_setiuservalue(L, 1, WEAK_HELD);
  }
  lethe_weakmap_clear(p->map);
  p->ops = 0;
  return 0;
}

const luaL_Reg weak_entry_methods[] = {{"insert", map_insert},     {"get", map_get},
                                       {"contains", map_contains}, {"remove", map_remove},
                                       {"clear", map_clear},       {NULL, NULL}};
const luaL_Reg weak_entry_functions[] = {{"put", l_put}, {"remove_if", l_remove_if}, {NULL, NULL}};
