/* SPDX-License-Identifier: MIT
 * Safe points: what follows from deaths, in slot order, and what engines deliver at the end of a
 * call. */
#include <stdio.h>
#include <string.h>

#include "object.h"

enum { ROUNDS = 100 };       /* of settling, in one call */
enum { LEAKS_KEPT = 10000 }; /* names, and tracebacks, that wait for registry.default():sweep() */

/* Pushes table[slot] of one of the tables by slot, and removes it there. */
static void take_by_slot(lua_State *L, char *key, uint64_t id) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, key);
  if (lua_rawgeti(L, -1, (lua_Integer)(uint32_t)id) != LUA_TNIL) {
    lua_pushnil(L);
    lua_rawseti(L, -3, (lua_Integer)(uint32_t)id);
  }
  lua_remove(L, -2);
}

void lethe_drop_by_slot(lua_State *L, char *key, uint64_t id) {
  take_by_slot(L, key, id);
  lua_pop(L, 1);
}

void lethe_finish(lua_State *L, const struct lethe_class *c, bool closed) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, c);
  lua_insert(L, -2);
  lua_pushboolean(L, closed);
  if (lua_isfunction(L, -3))
    lethe_call_reported(L, 2, 0);
  else
    lua_pop(L, 3);
}

/* A leak's report waits in the table `leaks` until the default registry is swept: under its name
 * how often it came and, with LETHE_DEBUG=1, in the list { name, traceback } instead. */
static int keep_leak(lua_State *L) { /* class, label, traceback | nil */
  const struct lethe_class *c = lua_touserdata(L, 1);
  const char *label = lua_touserdata(L, 2);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_leaks);
  lua_pushfstring(L, "%s%s%s", c->name + strlen("lethe."), *label ? ":" : "", label);
  if (!lua_isnil(L, 3)) {
    if (lua_rawlen(L, 4) >= LEAKS_KEPT) return 0;
    lua_createtable(L, 2, 0);
    lua_insert(L, 5);
    lua_rawseti(L, 5, 1);
    lua_pushvalue(L, 3);
    lua_rawseti(L, 5, 2);
    lua_rawseti(L, 4, (lua_Integer)lua_rawlen(L, 4) + 1);
    return 0;
  }
  lua_pushvalue(L, 5);
  if (lua_rawget(L, 4) == LUA_TNIL) { /* a new name: leaks[0] counts them */
    lua_rawgeti(L, 4, 0);
    lua_Integer names = lua_tointeger(L, -1);
    if (names >= LEAKS_KEPT) return 0;
    lua_pushinteger(L, names + 1);
    lua_rawseti(L, 4, 0);
  }
  lua_pushinteger(L, lua_tointeger(L, 6) + 1);
  lua_replace(L, 6);
  lua_settop(L, 6);
  lua_rawset(L, 4);
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
  take_by_slot(L, &lethe_key_traces, id);
  if (lua_pcall(L, 3, 0, 0) != LUA_OK) lua_pop(L, 1);
}

/* The collector does not tell what it holds while a finalizer runs. */
bool lethe_in_finalizer(lua_State *L) { return lua_gc(L, LUA_GCCOUNT) < 0; }

/* In the slot of an object that a finalizer closed the class has its lowest bit set. */
void lethe_end_later(struct lethe_state *s, uint64_t id, const struct lethe_class *c) {
  lethe_registry_rename(&s->objects, id, (const char *)c + 1);
  lethe_registry_note(&s->objects, id);
}

static const struct lethe_class *class_of_kind(const void *kind, bool *closed) {
  *closed = (uintptr_t)kind & 1;
  return (const void *)((const char *)kind - *closed);
}

struct drain {
  lua_State *L;
  struct lethe_state *state;
};

/* Without `what` its constructor failed, and there is nothing to end. */
static void bury(void *ud, uint64_t id, void *what, const void *kind) {
  struct drain *d = ud;
  bool closed;
  const struct lethe_class *c = class_of_kind(kind, &closed);
  if (c->hidden) d->state->hidden_died++;
  if (what && c->leaks && !closed) report_leak(d->L, c, id, what);
  if (d->state->debug) lethe_drop_by_slot(d->L, &lethe_key_traces, id);
  if (what && c->end) {
    c->end(d->state, what, closed);
  } else if (!c->end) {
    take_by_slot(d->L, &lethe_key_live, id);
    if (lua_istable(d->L, -1))
      lethe_finish(d->L, c, false);
    else
      lua_pop(d->L, 1);
  }
}

static int go_deeper(lua_State *L) {
  if (lua_tointeger(L, 1) > 0) {
    lua_pushcfunction(L, go_deeper);
    lua_pushinteger(L, lua_tointeger(L, 1) - 1);
    lua_call(L, 1, 0);
  }
  return 0;
}

/* Whether finishers can be called at all: Lua allocates for a stack that grows and for a call
 * that is deeper than the ones before; having made such calls once, it needs not again. */
static bool have_room(lua_State *L) {
  if (!lua_checkstack(L, 2 * LUA_MINSTACK)) return false;
  lua_pushcfunction(L, go_deeper);
  lua_pushinteger(L, 4);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK) return true;
  lua_pop(L, 1);
  return false;
}

/* Nothing in here raises: what is buried no longer stands in the dead-set. Where there is no room
 * for it the deaths wait for the next safe point; so they do inside a finalizer, which may run in
 * the midst of a call that works with what is dead. */
void lethe_safepoint_slow(lua_State *L, struct lethe_state *s) {
  struct drain d = {L, s};
  if (s->draining || s->ended || lethe_in_finalizer(L) || !have_room(L)) return;
  s->draining = true;
  lethe_registry_take(&s->objects, bury, &d);
  s->draining = false;
  if (s->settlers) lethe_settle_slow(L, s);
}

/* At lua_close only what is made in C ends: no Lua code runs any more. */
static void bury_at_end(void *ud, uint64_t id, void *what, const void *kind) {
  bool closed;
  const struct lethe_class *c = class_of_kind(kind, &closed);
  (void)id;
  if (what && c->end) c->end(ud, what, closed);
}

/* What others stand on goes back to where it was taken from: its slot is free. */
static void bury_but_last(void *ud, uint64_t id, void *what, const void *kind) {
  struct lethe_state *s = ud;
  bool closed;
  if (what && class_of_kind(kind, &closed)->last && lethe_registry_add(&s->objects, what, kind))
    return;
  bury_at_end(ud, id, what, kind);
}

/* Answers to those who wait are messages to loops: these close when all else has ended. */
void lethe_end_all(struct lethe_state *s) {
  lethe_registry_note_all(&s->objects);
  while (lethe_registry_take(&s->objects, bury_but_last, s) > 0) {
  }
  lethe_registry_note_all(&s->objects);
  lethe_registry_take(&s->objects, bury_at_end, s);
}

static int deliver(lua_State *L) {
  struct lethe_settler *t = lua_touserdata(L, 1);
  lua_settop(L, 0);
  t->deliver(t, L);
  return 0;
}

/* From the first one again after each delivery: it may have taken settlers away, and caused what an
 * earlier one has to deliver. What causes events without end goes on in a later turn. */
void lethe_settle_slow(lua_State *L, struct lethe_state *s) {
  if (s->settling || s->ended || !lua_checkstack(L, LUA_MINSTACK)) return;
  s->settling = true;
  int rounds = ROUNDS;
  for (struct lethe_settler *t = s->settlers; t;) {
    if (!t->pending(t)) {
      t = t->next;
      continue;
    }
    if (rounds-- == 0) break;
    lua_pushcfunction(L, deliver);
    lua_pushlightuserdata(L, t);
    lethe_call_reported(L, 1, 0);
    t = s->settlers;
  }
  s->settling = false;
}
