/* SPDX-License-Identifier: MIT
 * What a sandbox's memory makes dearer. */
#include <string.h>

#include <lauxlib.h>

#include "meter.h"
#include "sandbox_toll.h"

enum { PER_UNIT = 32, WALKS = 8 };

/* ---- strings --------------------------------------------------------------------------------- */

static void set(struct sandbox_toll *t) {
  size_t longest = t->lost;
  for (unsigned i = 0; i < t->n; i++)
    if (t->strings[i].n > longest) longest = t->strings[i].n;
  t->longest = longest;
}

void sandbox_toll_string(struct sandbox_toll *t, const void *at, size_t n) {
  if (t->n < TOLL_STRINGS) {
    t->strings[t->n].at = at;
    t->strings[t->n++].n = n;
  } else if (n > t->lost) {
    t->lost = n;
  }
  set(t);
}

void sandbox_toll_freed(struct sandbox_toll *t, const void *at) {
  unsigned i = 0;
  while (i < t->n && t->strings[i].at != at) i++;
  if (i == t->n) return;
  t->strings[i] = t->strings[--t->n];
  set(t);
}

/* ---- walks ----------------------------------------------------------------------------------- */

/* Where walks are: of each the table, by its address, and as a user value the key that its last
 * step gave. A table in the place of one that was freed may look like it: what it takes over has
 * been paid for. */
struct walks {
  const struct sandbox_toll *toll;
  unsigned turn; /* the one that is given up for the next */
  const void *table[WALKS];
};

/* The walk of the table at 1 that stands at the key at 2; else of the table NULL: one that is free,
 * or the oldest. */
static int find(lua_State *L, struct walks *w, const void *table) {
  for (int i = 0; i < WALKS; i++) {
    if (w->table[i] != table) continue;
    if (!table) return i;
    lua_getiuservalue(L, lua_upvalueindex(1), i + 1);
    int same = lua_rawequal(L, -1, 2);
    lua_pop(L, 1);
    if (same) return i;
  }
  return table ? -1 : (int)(w->turn++ % WALKS);
}

static int l_next(lua_State *L) {
  struct walks *w = lua_touserdata(L, lua_upvalueindex(1));
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 2);
  const void *table = lua_topointer(L, 1);
  int i = lua_isnil(L, 2) ? -1 : find(L, w, table);
  if (i < 0) {
    if (w->toll->widest >= TOLL_LONG) lethe_meter_charge(L, (int64_t)(w->toll->widest / PER_UNIT));
    i = find(L, w, NULL);
    w->table[i] = NULL;
  }
  if (!lua_next(L, 1)) {
    w->table[i] = NULL;
    lua_pushnil(L);
    return 1;
  }
  w->table[i] = table;
  lua_pushvalue(L, 2);
  lua_setiuservalue(L, lua_upvalueindex(1), i + 1);
  return 2;
}

/* The upvalue is next. */
static int l_pairs(lua_State *L) {
  luaL_checkany(L, 1);
  if (luaL_getmetafield(L, 1, "__pairs") == LUA_TNIL) {
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, 1);
    lua_pushnil(L);
  } else {
    lua_pushvalue(L, 1);
    lua_call(L, 1, 3);
  }
  return 3;
}

void sandbox_toll_walks(lua_State *L, const struct sandbox_toll *t) {
  struct walks *w = lua_newuserdatauv(L, sizeof *w, WALKS);
  *w = (struct walks){.toll = t};
  lua_pushcclosure(L, l_next, 1);
  lua_pushvalue(L, -1);
  lua_pushcclosure(L, l_pairs, 1);
}
