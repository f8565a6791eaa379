/* SPDX-License-Identifier: MIT
 * Classes and objects: metatables, and the one __gc of lethe. What follows from a death waits for a
 * safe point (safepoint.c).
 *
 * A class made in C ends its objects with a C function. A class made in Lua (class.c) ends them
 * with a Lua function, which gets the object's insides: on close from the object itself; after a
 * death from the table `live`, by slot, where the insides outlive the userdata. */
#include "object.h"

#include <string.h>

/* ---- deaths ---------------------------------------------------------------------------------- */

/* Whether the box at 1, of the class whose metatable is at 3, hangs on an object that is still
 * there: its probe, a weak-keyed table, still has its key. */
static bool is_tied(lua_State *L) {
  lua_rawgetp(L, 3, &lethe_key_class);
  const struct lethe_class *c = lua_touserdata(L, -1);
  if (c->end || lua_getiuservalue(L, 1, 1) != LUA_TTABLE) return false;
  if (lua_rawgetp(L, -1, &lethe_key_probe) != LUA_TTABLE) return false;
  lua_pushnil(L);
  return lua_next(L, -2) != 0;
}

/* The one finalizer: no lock, no allocation, no call. What it closes here nobody can use again,
 * even if another finalizer brings the userdata back. But what hangs on another object shares its
 * fate: Lua finalizes both at once, while the other may be brought back. As long as that is there
 * the box is made ready to be finalized anew. */
static int note_death(lua_State *L) {
  struct lethe_box *b = lua_touserdata(L, 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_state);
  struct lethe_state *s = lua_touserdata(L, -1);
  if (!b || !s || !lua_getmetatable(L, 1) || !lua_rawequal(L, -1, lua_upvalueindex(1))) return 0;
  if (b->what && is_tied(L)) {
    lua_settop(L, 3);
    lua_setmetatable(L, 1);
    return 0;
  }
  if (b->id && !s->ended) lethe_registry_note(&s->objects, b->id);
  b->id = 0;
  b->what = NULL;
  return 0;
}

/* ---- classes --------------------------------------------------------------------------------- */

const struct lethe_class *lethe_class_of(lua_State *L, int arg) {
  const struct lethe_class *c = NULL;
  if (lua_type(L, arg) == LUA_TUSERDATA && lua_getmetatable(L, arg)) {
    if (lua_rawgetp(L, -1, &lethe_key_class) == LUA_TLIGHTUSERDATA) c = lua_touserdata(L, -1);
    lua_pop(L, 2);
  }
  return c;
}

const char *lethe_typename(lua_State *L, int arg) {
  const struct lethe_class *c = lethe_class_of(L, arg);
  return c ? c->name + strlen("lethe.") : NULL;
}

static int l_tostring(lua_State *L) {
  const struct lethe_class *c = lua_touserdata(L, lua_upvalueindex(1));
  struct lethe_box *b = luaL_checkudata(L, 1, c->name);
  char label[128] = "";
  if (b->what && c->label) c->label(b->what, label, sizeof label);
  if (*label)
    lua_pushfstring(L, "%s: %p \"%s\"", c->name, lua_topointer(L, 1), label);
  else if (b->what)
    lua_pushfstring(L, "%s: %p", c->name, lua_topointer(L, 1));
  else
    lua_pushfstring(L, "%s (closed)", c->name);
  return 1;
}

/* Calls what base.when_closed set for the object at 1. */
static void tell_closed(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_closing) == LUA_TTABLE) {
    lua_pushvalue(L, 1);
    if (lua_rawget(L, -2) == LUA_TFUNCTION)
      lethe_call_reported(L, 0, 0);
    else
      lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

int lethe_close(lua_State *L) {
  const struct lethe_class *c = lethe_class_of(L, 1);
  luaL_argexpected(L, c != NULL, 1, "lethe object");
  lethe_safepoint(L);
  struct lethe_box *b = lua_touserdata(L, 1);
  bool open = b->what != NULL;
  lethe_box_close(L, b, c);
  if (open && !c->end) {
    lua_getiuservalue(L, 1, 1);
    lua_pushnil(L);
    lua_setiuservalue(L, 1, 1);
    lethe_finish(L, c, true);
  }
  if (open) tell_closed(L);
  struct lethe_state *s = lethe_state(L);
  if (open && s->on_close && !s->ended) s->on_close(L, 1);
  lethe_settle(L);
  lua_pushboolean(L, 1);
  return 1;
}

/* The metatable gets its name last: a class is there whole or, without memory, not at all. */
void lethe_class(lua_State *L, const struct lethe_class *c) {
  lethe_state(L);
  int known = luaL_getmetatable(L, c->name);
  lua_pop(L, 1);
  if (known != LUA_TNIL) return;
  lua_createtable(L, 0, 8);
  lua_pushstring(L, c->name);
  lua_setfield(L, -2, "__name");
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
  lua_setfield(L, LUA_REGISTRYINDEX, c->name);
}

void lethe_methods(lua_State *L, const struct lethe_class *c, const char *field) {
  luaL_getmetatable(L, c->name);
  lua_getfield(L, -1, "__index");
  lua_setfield(L, -3, field);
  lua_pop(L, 1);
}

/* Inside a finalizer, and so perhaps in lua_close, where Lua gives new objects no finalizer any
 * more: the state's end must reach such a box, or a later finalizer could use what it held. */
static void keep_young(lua_State *L) { /* the box is on top */
  bool finalizing = lethe_in_finalizer(L);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_young) == LUA_TNIL && finalizing) {
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &lethe_key_young);
    lua_replace(L, -2);
  }
  if (finalizing) {
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  } else if (!lua_isnil(L, -1)) { /* those of finalizers that have returned have finalizers */
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &lethe_key_young);
  }
  lua_pop(L, 1);
}

void lethe_free_young(lua_State *L) {
  if (lethe_in_finalizer(L)) return;
  lua_pushnil(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &lethe_key_young);
}

void lethe_end_young(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_young) == LUA_TTABLE) {
    for (lua_Integer i = (lua_Integer)lua_rawlen(L, -1); i > 0; i--) {
      lua_rawgeti(L, -1, i);
      *(struct lethe_box *)lua_touserdata(L, -1) = (struct lethe_box){0};
      lua_pop(L, 1);
    }
  }
  lua_pop(L, 1);
}

/* The box on top is to be found by its slot while it lives. */
static void keep_watched(lua_State *L, const struct lethe_box *b) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_watched) == LUA_TNIL) {
    lethe_new_table(L, &lethe_key_watched, "v");
    lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_watched);
    lua_replace(L, -2);
  }
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, (lua_Integer)(uint32_t)b->id);
  lua_pop(L, 1);
}

int lethe_watched(lua_State *L) {
  lua_Integer last = (lua_Integer)lethe_state(L)->objects.slots.slots;
  lua_settop(L, 0);
  lua_newtable(L);
  lua_newtable(L);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_watched) == LUA_TNIL) last = 0;
  for (lua_Integer slot = 1; slot <= last; slot++) {
    const struct lethe_box *b =
        lua_rawgeti(L, 3, slot) == LUA_TUSERDATA ? lua_touserdata(L, 4) : NULL;
    if (b && b->what) {
      char label[128] = "";
      const struct lethe_class *c = lethe_class_of(L, 4);
      if (c->label) c->label(b->what, label, sizeof label);
      lua_pushstring(L, label);
      lua_rawseti(L, 2, (lua_Integer)lua_rawlen(L, 2) + 1);
      lua_pushvalue(L, 4);
      lua_rawseti(L, 1, (lua_Integer)lua_rawlen(L, 1) + 1);
    }
    lua_settop(L, 3);
  }
  lua_settop(L, 2);
  return 2;
}

struct lethe_box *lethe_box_new(lua_State *L, const struct lethe_class *c, int uservalues) {
  struct lethe_state *s = lethe_state(L);
  if (s->ended) luaL_error(L, "the Lua state is closing");
  size_t size = c->hot ? sizeof(struct lethe_hot_box) : sizeof(struct lethe_box);
  struct lethe_box *b = lua_newuserdatauv(L, size, uservalues + 1);
  *b = (struct lethe_box){0};
  if (c->hot) ((struct lethe_hot_box *)b)->class = c;
  luaL_setmetatable(L, c->name);
  keep_young(L);
  b->id = lethe_registry_add(&s->objects, NULL, c);
  if (b->id == 0) lethe_nomemory(L);
  if (c->hidden) s->hidden_made++;
  if (c->watched) keep_watched(L, b);
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
  if (!id || s->ended) return;
  if (c->end && what && lethe_in_finalizer(L)) {
    lethe_end_later(s, id, c); /* a call further out may be at work with it */
    return;
  }
  lethe_registry_remove(&s->objects, id);
  if (s->debug) lethe_drop_by_slot(L, &lethe_key_traces, id);
  if (!c->end)
    lethe_drop_by_slot(L, &lethe_key_live, id);
  else if (what)
    c->end(s, what, true);
}

int lethe_bad_self(lua_State *L, const char *class, bool closed) {
  lua_Debug ar;
  luaL_where(L, 2);
  if (closed) {
    lua_pushfstring(L, "attempt to use a closed %s", class);
  } else {
    if (!lua_getstack(L, 1, &ar) || !lua_getinfo(L, "n", &ar) || !ar.name) ar.name = "?";
    const char *is = lethe_typename(L, 1);
    lua_pushfstring(L, "calling '%s' on bad self (%s expected, got %s%s)", ar.name, class,
                    is ? "lethe." : "", is ? is : luaL_typename(L, 1));
  }
  lua_concat(L, 2);
  return lua_error(L);
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
