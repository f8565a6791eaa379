/* SPDX-License-Identifier: MIT
 * Classes and objects: metatables, the one __gc of lethe, and the safe point that acts on deaths.
 *
 * A class made in C ends its objects with a C function. A class made in Lua (base.class) keeps the
 * object's insides in a table `live`, by slot, while the userdata is only a handle on them: when the
 * handle dies the insides are still there, and the safe point hands them to the class's finisher. */
#include "object.h"

#include <stdio.h>
#include <string.h>

enum { LEAKS_KEPT = 10000 }; /* reports that wait for registry.default():sweep() */

/* ---- deaths ---------------------------------------------------------------------------------- */

/* The one finalizer: no lock, no allocation, no call. What it closes here nobody can use again, even
 * if another finalizer brings the userdata back. */
static int note_death(lua_State *L) {
  struct lethe_box *b = lua_touserdata(L, 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_state);
  struct lethe_state *s = lua_touserdata(L, -1);
  if (!b || !s || !lua_getmetatable(L, 1) || !lua_rawequal(L, -1, lua_upvalueindex(1))) return 0;
  if (b->id && !s->ended) lethe_registry_note(&s->objects, b->id);
  b->id = 0;
  b->what = NULL;
  return 0;
}

/* live[slot], removed. */
static void take_inner(lua_State *L, uint64_t id) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_live);
  lua_rawgeti(L, -1, (lua_Integer)(uint32_t)id);
  lua_pushnil(L);
  lua_rawseti(L, -3, (lua_Integer)(uint32_t)id);
  lua_remove(L, -2);
}

/* Ends what a slot stood for. The slot itself is free already. */
static void end_object(lua_State *L, struct lethe_state *s, uint64_t id, void *what,
                       const struct lethe_class *c, bool closed) {
  if (c->end) {
    c->end(s, what, closed);
    return;
  }
  lua_rawgetp(L, LUA_REGISTRYINDEX, c); /* the finisher, or nil */
  take_inner(L, id);
  lua_pushboolean(L, closed);
  if (lua_isfunction(L, -3))
    lethe_call_reported(L, 2, 0);
  else
    lua_pop(L, 3);
}

/* A leak report { held, traceback | nil }, kept until the default registry is swept. */
static int keep_leak(lua_State *L) {
  const struct lethe_class *c = lua_touserdata(L, 1);
  const char *label = lua_touserdata(L, 2);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_leaks);
  if (lua_rawlen(L, -1) >= LEAKS_KEPT) return 0;
  lua_createtable(L, 2, 0);
  lua_pushfstring(L, "%s%s%s", c->name + strlen("lethe."), *label ? ":" : "", label);
  lua_rawseti(L, -2, 1);
  lua_pushvalue(L, 3);
  lua_rawseti(L, -2, 2);
  lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  return 0;
}

/* What a Lua class's insides call themselves: their field `name`. */
static void label_of_insides(lua_State *L, uint64_t id, char *buf, size_t n) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_live);
  if (lua_rawgeti(L, -1, (lua_Integer)(uint32_t)id) == LUA_TTABLE) {
    lua_rawgetp(L, -1, &lethe_key_class); /* the class left its name field's value here */
    if (lua_type(L, -1) == LUA_TSTRING) snprintf(buf, n, "%s", lua_tostring(L, -1));
    lua_pop(L, 1);
  }
  lua_pop(L, 2);
}

/* Without memory for it the report is lost; what follows from the death is not. */
static void report_leak(lua_State *L, const struct lethe_class *c, uint64_t id, void *what) {
  char label[200] = "";
  if (c->label)
    c->label(what, label, sizeof label);
  else if (!c->end)
    label_of_insides(L, id, label, sizeof label);
  lua_pushcfunction(L, keep_leak);
  lua_pushlightuserdata(L, (void *)c);
  lua_pushlightuserdata(L, label);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_traces);
  lua_rawgeti(L, -1, (lua_Integer)(uint32_t)id);
  lua_remove(L, -2);
  if (lua_pcall(L, 3, 0, 0) != LUA_OK) lua_pop(L, 1);
}

struct drain {
  lua_State *L;
  struct lethe_state *state;
};

static void bury(void *ud, uint64_t id, void *what, const void *kind) {
  struct drain *d = ud;
  const struct lethe_class *c = kind;
  if (!what) return; /* its constructor failed */
  if (c->leaks) report_leak(d->L, c, id, what);
  end_object(d->L, d->state, id, what, c, false);
}

void lethe_safepoint_slow(lua_State *L, struct lethe_state *s) {
  struct drain d = {L, s};
  if (s->draining || s->ended || !lua_checkstack(L, LUA_MINSTACK)) return;
  s->draining = true;
  lethe_registry_take(&s->objects, bury, &d);
  s->draining = false;
  if (s->settlers) lethe_settle_slow(L, s);
}

/* At lua_close only what is made in C ends: no Lua code runs any more. */
static void bury_at_end(void *ud, uint64_t id, void *what, const void *kind) {
  const struct lethe_class *c = kind;
  (void)id;
  if (what && c->end) c->end(ud, what, false);
}

void lethe_end_all(struct lethe_state *s) {
  lethe_registry_note_all(&s->objects);
  while (lethe_registry_take(&s->objects, bury_at_end, s) > 0) {
  }
}

void lethe_settle_slow(lua_State *L, struct lethe_state *s) {
  if (s->settling || s->ended || !lua_checkstack(L, LUA_MINSTACK)) return;
  s->settling = true;
  for (struct lethe_settler *t = s->settlers; t; t = t->next)
    if (t->pending(t)) t->deliver(t, L);
  s->settling = false;
}

/* ---- classes --------------------------------------------------------------------------------- */

static const struct lethe_class *class_of(lua_State *L, int arg) {
  const struct lethe_class *c = NULL;
  if (lua_type(L, arg) == LUA_TUSERDATA && lua_getmetatable(L, arg)) {
    if (lua_rawgetp(L, -1, &lethe_key_class) == LUA_TLIGHTUSERDATA) c = lua_touserdata(L, -1);
    lua_pop(L, 2);
  }
  return c;
}

const char *lethe_typename(lua_State *L, int arg) {
  const struct lethe_class *c = class_of(L, arg);
  return c ? c->name + strlen("lethe.") : NULL;
}

static int l_tostring(lua_State *L) {
  const struct lethe_class *c = lua_touserdata(L, lua_upvalueindex(1));
  struct lethe_box *b = luaL_checkudata(L, 1, c->name);
  if (b->what)
    lua_pushfstring(L, "%s: %p", c->name, lua_topointer(L, 1));
  else
    lua_pushfstring(L, "%s (closed)", c->name);
  return 1;
}

int lethe_close(lua_State *L) {
  const struct lethe_class *c = class_of(L, 1);
  luaL_argexpected(L, c != NULL, 1, "lethe object");
  lethe_safepoint(L);
  lethe_box_close(L, lua_touserdata(L, 1), c);
  lethe_settle(L);
  lua_pushboolean(L, 1);
  return 1;
}

void lethe_class(lua_State *L, const struct lethe_class *c) {
  lethe_state(L);
  if (!luaL_newmetatable(L, c->name)) {
    lua_pop(L, 1);
    return;
  }
  lua_pushlightuserdata(L, (void *)c);
  lua_rawsetp(L, -2, &lethe_key_class);
  lua_newtable(L);
  lua_pushcfunction(L, lethe_close);
  lua_setfield(L, -2, "close");
  if (c->methods) luaL_setfuncs(L, c->methods, 0);
  lua_pushcfunction(L, lethe_close);
  lua_setfield(L, -3, "__close");
  lua_setfield(L, -2, "__index");
  lua_pushlightuserdata(L, (void *)c);
  lua_pushcclosure(L, l_tostring, 1);
  lua_setfield(L, -2, "__tostring");
  if (c->metamethods) luaL_setfuncs(L, c->metamethods, 0);
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, note_death, 1);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
}

struct lethe_box *lethe_box_new(lua_State *L, const struct lethe_class *c, int uservalues) {
  struct lethe_state *s = lethe_state(L);
  if (s->ended) luaL_error(L, "the Lua state is closing");
  struct lethe_box *b = lua_newuserdatauv(L, sizeof *b, uservalues);
  *b = (struct lethe_box){0};
  luaL_setmetatable(L, c->name);
  b->id = lethe_registry_add(&s->objects, NULL, c);
  if (b->id == 0) luaL_error(L, "not enough memory");
  if (s->debug) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_traces);
    luaL_traceback(L, L, NULL, 1);
    lua_rawseti(L, -2, (lua_Integer)(uint32_t)b->id);
    lua_pop(L, 1);
  }
  return b;
}

void lethe_box_hold(lua_State *L, struct lethe_box *b, void *what) {
  b->what = what;
  lethe_registry_hold(&lethe_state(L)->objects, b->id, what);
}

void lethe_box_close(lua_State *L, struct lethe_box *b, const struct lethe_class *c) {
  struct lethe_state *s = lethe_state(L);
  uint64_t id = b->id;
  void *what = b->what;
  b->id = 0;
  b->what = NULL;
  if (id) lethe_registry_remove(&s->objects, id);
  if (what && !s->ended) end_object(L, s, id, what, c, true);
}

struct lethe_box *lethe_test(lua_State *L, int arg, const struct lethe_class *c) {
  return luaL_testudata(L, arg, c->name);
}

struct lethe_box *lethe_check(lua_State *L, int arg, const struct lethe_class *c) {
  struct lethe_box *b = luaL_checkudata(L, arg, c->name);
  if (!b->what) {
    if (arg == 1) luaL_error(L, "attempt to use a closed %s", c->name);
    luaL_argerror(L, arg, lua_pushfstring(L, "attempt to use a closed %s", c->name));
  }
  return b;
}

/* ---- classes made in Lua --------------------------------------------------------------------- */

/* new(insides [, name]) -> object. Upvalue 1: the class. */
static int l_new(lua_State *L) {
  const struct lethe_class *c = lua_touserdata(L, lua_upvalueindex(1));
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) {
    lua_pushvalue(L, 2);
    lua_rawsetp(L, 1, &lethe_key_class);
  }
  struct lethe_box *b = lethe_box_new(L, c, 1);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_live);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, (lua_Integer)(uint32_t)b->id);
  lua_pop(L, 1);
  lethe_box_hold(L, b, b); /* any non-NULL: the insides are in `live` */
  return 1;
}

/* insides(object) of an open object; raises at the caller of the method that calls it. */
static int l_insides(lua_State *L) {
  const struct lethe_class *c = lua_touserdata(L, lua_upvalueindex(1));
  struct lethe_box *b = luaL_testudata(L, 1, c->name);
  if (b && b->what) {
    lua_getiuservalue(L, 1, 1);
    return 1;
  }
  luaL_where(L, 2);
  if (b)
    lua_pushfstring(L, "attempt to use a closed %s", c->name);
  else
    lua_pushfstring(L, "%s expected, got %s", c->name, luaL_typename(L, 1));
  lua_concat(L, 2);
  return lua_error(L);
}

/* The class record of a name, made once per state and kept for good. */
static const struct lethe_class *lua_class(lua_State *L, const char *name, bool leaks) {
  if (luaL_getmetatable(L, name) == LUA_TTABLE) {
    lua_rawgetp(L, -1, &lethe_key_class);
    const struct lethe_class *c = lua_touserdata(L, -1);
    lua_pop(L, 2);
    return c;
  }
  lua_pop(L, 1);
  size_t n = strlen(name) + 1;
  struct lethe_class *c = lua_newuserdatauv(L, sizeof *c + n, 0);
  memcpy(c + 1, name, n);
  *c = (struct lethe_class){.name = (char *)(c + 1), .leaks = leaks};
  luaL_ref(L, LUA_REGISTRYINDEX);
  lethe_class(L, c);
  return c;
}

/* A module that is loaded again in the same state (test runners do that) gets the class it made
 * before, with its new functions. */
int lethe_base_class(lua_State *L) {
  lua_settop(L, 4);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_pushfstring(L, "lethe.%s", luaL_checkstring(L, 1));
  const struct lethe_class *c = lua_class(L, lua_tostring(L, -1), lua_toboolean(L, 4));
  lua_pushvalue(L, 3);
  lua_rawsetp(L, LUA_REGISTRYINDEX, c);
  luaL_getmetatable(L, c->name);
  lua_getfield(L, -1, "__index");
  lua_pushnil(L);
  while (lua_next(L, 2)) {
    const char *key = lua_tostring(L, -2);
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, key[0] == '_' && key[1] == '_' ? -5 : -4);
  }
  lua_pushlightuserdata(L, (void *)c);
  lua_pushcclosure(L, l_new, 1);
  lua_pushlightuserdata(L, (void *)c);
  lua_pushcclosure(L, l_insides, 1);
  return 2;
}
