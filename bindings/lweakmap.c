/* SPDX-License-Identifier: MIT
 * lethe.core.weakmap: weak and strong maps, and the calls on single entries. What goes over entries
 * is in weakmap_walk.c; lua/lethe/weakmap.lua has the calls that call back. */
#include <math.h>

#include "lethe/weakmap_inl.h"

#include "weakmap.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

/* ---- objects --------------------------------------------------------------------------------- */

void weak_end_port(struct lethe_state *s, void *what, bool closed) {
  struct weak_port *p = what;
  (void)s;
  (void)closed;
  lethe_list_remove(&p->due);
  lethe_weakmap_put_ref(p->map);
  weak_home_put(p->home);
  lethe_free(mem, p, sizeof *p);
}

static const struct lethe_class *class_at(lua_State *L, int arg) {
  const struct lethe_class *c = lethe_class_of(L, arg);
  return c == &weak_strong_class ? c : &weak_map_class;
}

/* A closed object is found closed whatever a safe point does. */
struct weak_port *weak_check(lua_State *L, int arg) {
  const struct lethe_class *c = class_at(L, arg);
  lethe_safepoint(L);
  return lethe_check(L, arg, c)->what;
}

/* The same, quicker: upvalue 1 is the metatable. */
static struct weak_port *check_self(lua_State *L) {
  struct lethe_box *b = lua_touserdata(L, 1);
  if (b && lua_getmetatable(L, 1)) {
    bool ours = lua_rawequal(L, -1, lua_upvalueindex(1));
    lua_pop(L, 1);
    struct weak_port *p = ours ? b->what : NULL;
    if (p && !p->home->state->objects.dead) return p;
  }
  return weak_check(L, 1);
}

struct weak_port *weak_port_new(lua_State *L, const struct lethe_class *c, int uservalues,
                                struct lethe_box **b) {
  struct weak_home *h = weak_home(L);
  if (!h) luaL_error(L, "the Lua state is closing");
  *b = lethe_box_new(L, c, uservalues);
  struct weak_port *p = lethe_zalloc(mem, sizeof *p);
  if (!p) lethe_nomemory(L);
  lethe_ref_get(&h->refs);
  lethe_list_init(&p->due);
  p->home = h;
  return p;
}

void weak_port_drop(struct weak_port *p) {
  weak_home_put(p->home);
  lethe_free(mem, p, sizeof *p);
}

void weak_port_hold(lua_State *L, struct lethe_box *b, struct weak_port *p,
                    struct lethe_weakmap *map) {
  p->map = map;
  p->strong = lethe_weakmap_is_strong(map);
  lethe_box_hold(L, b, p);
}

/* new(strong, ordered, threshold, on_dead) -> WeakMap | StrongMap */
static int l_new(lua_State *L) {
  bool strong = lua_toboolean(L, 1);
  lua_Integer threshold = luaL_checkinteger(L, 3);
  lua_settop(L, 4);
  lethe_safepoint(L);
  struct lethe_box *b;
  struct lethe_weakmap *map;
  struct weak_port *p =
      weak_port_new(L, strong ? &weak_strong_class : &weak_map_class, WEAK_USERVALUES, &b);
  struct lethe_weakmap_options o = {.ordered = lua_toboolean(L, 2),
                                    .strong = strong,
                                    .keeps_dead = lua_isfunction(L, 4) && !strong,
                                    .notify = weak_notify,
                                    .ud = p};
  p->keeps_dead = o.keeps_dead;
  p->threshold = threshold;
  if (lethe_weakmap_new(&map, mem, &o)) {
    weak_port_drop(p);
    return lethe_nomemory(L);
  }
  weak_port_hold(L, b, p, map);
  if (strong)
    lua_newtable(L);
  else
    lua_pushvalue(L, 4);
  lua_setiuservalue(L, 5, strong ? WEAK_HELD : WEAK_ON_DEAD);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &weak_key_maps);
  lua_pushvalue(L, 5);
  lua_rawsetp(L, -2, p);
  lua_settop(L, 5);
  return 1;
}

/* options(map) -> strong, ordered, threshold, on_dead */
static int l_options(lua_State *L) {
  struct weak_port *p = weak_check(L, 1);
  lua_pushboolean(L, weak_is_strong(p));
  lua_pushboolean(L, lethe_weakmap_is_ordered(p->map));
  lua_pushinteger(L, p->threshold);
  if (weak_is_strong(p))
    lua_pushnil(L);
  else
    lua_getiuservalue(L, 1, WEAK_ON_DEAD);
  return 4;
}

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
  struct weak_port *p = check_self(L);
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
  struct weak_port *p = check_self(L);
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
  struct weak_port *p = check_self(L);
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
  struct weak_port *p = check_self(L);
  lua_settop(L, 1);
  if (weak_is_strong(p)) {
    lua_newtable(L); /* finalizers may run */
    lua_setiuservalue(L, 1, WEAK_HELD);
  }
  lethe_weakmap_clear(p->map);
  p->ops = 0;
  return 0;
}

/* ---- counts ---------------------------------------------------------------------------------- */

/* WeakMap:len() */
static int map_len(lua_State *L) {
  struct weak_port *p = check_self(L);
  weak_sweep(L, p);
  lua_pushinteger(L, (lua_Integer)lethe_weakmap_len(p->map));
  return 1;
}

static int map_raw_len(lua_State *L) {
  struct weak_port *p = check_self(L);
  lua_pushinteger(L, (lua_Integer)lethe_weakmap_len(p->map));
  return 1;
}

static int map_ops(lua_State *L) {
  lua_pushinteger(L, check_self(L)->ops);
  return 1;
}

/* WeakMap:cleanup() -> removed: since before this call's own safe point */
static int map_cleanup(lua_State *L) {
  struct weak_port *p = lethe_check(L, 1, class_at(L, 1))->what;
  size_t before = lethe_weakmap_len(p->map);
  lua_settop(L, 1);
  p = weak_check(L, 1);
  weak_sweep(L, p);
  size_t after = lethe_weakmap_len(p->map);
  p->ops = 0;
  weak_tell(L, 1);
  lua_pushinteger(L, before > after ? (lua_Integer)(before - after) : 0);
  return 1;
}

/* swept(map): as if a sweep had just been */
static int l_swept(lua_State *L) {
  struct weak_port *p = weak_check(L, 1);
  weak_sweep(L, p);
  p->ops = 0;
  return 0;
}

/* What it held, and on_dead, go now, not when the object goes. */
static int map_close(lua_State *L) {
  const struct lethe_class *c = lethe_class_of(L, 1);
  if (c == &weak_map_class || c == &weak_strong_class) {
    lua_settop(L, 1);
    lua_pushnil(L);
    lua_setiuservalue(L, 1, WEAK_HELD);
  }
  return lethe_close(L);
}

/* ---- the module ------------------------------------------------------------------------------ */

static const luaL_Reg methods[] = {
    {"insert", map_insert},   {"get", map_get},     {"contains", map_contains},
    {"remove", map_remove},   {"clear", map_clear}, {"len", map_len},
    {"raw_len", map_raw_len}, {"ops", map_ops},     {"cleanup", map_cleanup},
    {"close", map_close},     {NULL, NULL}};
static const luaL_Reg metamethods[] = {{"__close", map_close}, {NULL, NULL}};

const struct lethe_class weak_map_class = {.name = "lethe.weakmap.WeakMap",
                                           .leaks = true,
                                           .end = weak_end_port,
                                           .methods = methods,
                                           .metamethods = metamethods};
const struct lethe_class weak_strong_class = {.name = "lethe.weakmap.StrongMap",
                                              .leaks = true,
                                              .end = weak_end_port,
                                              .methods = methods,
                                              .metamethods = metamethods};

static const luaL_Reg functions[] = {{"new", l_new},
                                     {"options", l_options},
                                     {"put", l_put},
                                     {"remove_if", l_remove_if},
                                     {"swept", l_swept},
                                     {"ephemeron", weak_ephemeron},
                                     {"deliver", weak_deliver},
                                     {"poster", weak_poster},
                                     {NULL, NULL}};

static const luaL_Reg operators[] = {{"__len", map_len}, {NULL, NULL}};

/* The methods once more, with the metatable and the table of values as upvalues; leaves the table
 * of methods on the stack. */
static void open_class(lua_State *L, const struct lethe_class *c) {
  lethe_class(L, c);
  luaL_getmetatable(L, c->name);
  int metatable = lua_gettop(L);
  lua_getfield(L, -1, "__index");
  for (int i = 0; i < 3; i++) {
    lua_pushvalue(L, i < 2 ? metatable + 1 : metatable);
    lua_pushvalue(L, metatable);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &weak_key_values);
    luaL_setfuncs(L, i == 0 ? methods : i == 1 ? weak_walk_methods : operators, 2);
    lua_pop(L, 1);
  }
  weak_open_walks(L, metatable);
  lua_remove(L, metatable);
}

int luaopen_lethe_core_weakmap(lua_State *L) {
  luaL_checkversion(L);
  lethe_state(L);
  weak_open_values(L);
  lethe_class(L, &weak_ephemeron_class);
  luaL_newlib(L, functions);
  luaL_setfuncs(L, weak_walk_functions, 0);
  open_class(L, &weak_map_class);
  lua_setfield(L, -2, "WeakMap");
  open_class(L, &weak_strong_class);
  lua_setfield(L, -2, "StrongMap");
  return 1;
}
