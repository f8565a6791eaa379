/* SPDX-License-Identifier: MIT
 * lethe.core.weakmap: weak and strong maps as objects, and their counts. The calls on single
 * entries are in weakmap_entry.c, what goes over entries in weakmap_walk.c; lua/lethe/weakmap.lua
 * has the calls that call back. */
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

/* ---- counts ---------------------------------------------------------------------------------- */

/* WeakMap:len() */
static int map_len(lua_State *L) {
  struct weak_port *p = weak_self(L);
  weak_sweep(L, p);
  lua_pushinteger(L, (lua_Integer)lethe_weakmap_len(p->map));
  return 1;
}

static int map_raw_len(lua_State *L) {
  struct weak_port *p = weak_self(L);
  lua_pushinteger(L, (lua_Integer)lethe_weakmap_len(p->map));
  return 1;
}

static int map_ops(lua_State *L) {
  lua_pushinteger(L, weak_self(L)->ops);
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

static const luaL_Reg methods[] = {{"len", map_len},     {"raw_len", map_raw_len},
                                   {"ops", map_ops},     {"cleanup", map_cleanup},
                                   {"close", map_close}, {NULL, NULL}};
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
  const luaL_Reg *all[] = {methods, weak_entry_methods, weak_walk_methods, operators};
  for (int i = 0; i < 4; i++) {
    lua_pushvalue(L, i < 3 ? metatable + 1 : metatable);
    lua_pushvalue(L, metatable);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &weak_key_values);
    luaL_setfuncs(L, all[i], 2);
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
  luaL_setfuncs(L, weak_entry_functions, 0);
  luaL_setfuncs(L, weak_walk_functions, 0);
  open_class(L, &weak_map_class);
  lua_setfield(L, -2, "WeakMap");
  open_class(L, &weak_strong_class);
  lua_setfield(L, -2, "StrongMap");
  return 1;
}
