/* SPDX-License-Identifier: MIT
 * The order of a table's keys in a vat: integers, other numbers, strings by bytes, false, true, far
 * objects as they were made so, presences by the number in their name. Lua's own order shows
 * hashes, and for objects addresses. Other keys have no place; a table that has one cannot be
 * walked.
 *
 * A walk goes by a list of the keys that are there when it begins; those that have lost their
 * values are passed over. `pairs` keeps that list to itself. `next` makes one for a table at the
 * second step of a walk, and forgets it with the walk's end or the crank's. */
#include <stdlib.h>
#include <string.h>

#include "meter.h"
#include "slots.h"
#include "vat_inside.h"

static char key_walks; /* registry: table -> its list of keys, with the last step at 0 */

enum group { NONE, INTEGER, FLOAT, STRING, FALSE_KEY, TRUE_KEY, FAR, PRESENCE };

struct place {
  enum group group;
  int index; /* in the table of keys */
  union {
    lua_Integer i;
    lua_Number n;
    struct {
      const char *s;
      size_t n;
    } text;
  } by;
  char type; /* of a presence: objects before devices */
};

/* The stack of every function here. */
enum { SLOTS = 1, FARS, TABLE };

static void prepare(lua_State *L, int args) {
  lua_settop(L, args);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_rotate(L, 1, 2);
}

/* ---- places ---------------------------------------------------------------------------------- */

static void place_presence(lua_State *L, int key, struct place *p) {
  struct slots_port *port = lethe_test(L, SLOTS, &slots_class)->what;
  struct lethe_vref v;
  uint32_t slot = port ? slots_slotof(L, key) : 0;
  if (!slot) return;
  lethe_slots_name(port->table, slot, &v);
  if (v.own || v.type == 'w' || v.type == 'p') return;
  *p = (struct place){.group = PRESENCE, .by.i = (lua_Integer)v.id, .type = v.type};
  if (v.type == 'd') p->type = 'p'; /* after 'o' */
}

static void place_far(lua_State *L, int key, struct place *p) {
  lua_pushvalue(L, key);
  if (lua_rawget(L, FARS) == LUA_TNUMBER)
    *p = (struct place){.group = FAR, .by.i = lua_tointeger(L, -1)};
  lua_pop(L, 1);
}

/* Where the key at that index belongs; raises for one that belongs nowhere. */
static struct place place_of(lua_State *L, int key) {
  struct place p = {.group = NONE};
  switch (lua_type(L, key)) {
  case LUA_TNUMBER:
    if (lua_isinteger(L, key))
      p = (struct place){.group = INTEGER, .by.i = lua_tointeger(L, key)};
    else
      p = (struct place){.group = FLOAT, .by.n = lua_tonumber(L, key)};
    break;
  case LUA_TSTRING:
    p.group = STRING;
    p.by.text.s = lua_tolstring(L, key, &p.by.text.n);
    break;
  case LUA_TBOOLEAN:
    p.group = lua_toboolean(L, key) ? TRUE_KEY : FALSE_KEY;
    break;
  case LUA_TTABLE:
    place_far(L, key, &p);
    break;
  case LUA_TUSERDATA:
    place_presence(L, key, &p);
    break;
  default:
    break;
  }
  if (p.group == NONE) luaL_error(L, "no order for a table key");
  return p;
}

static int compare_texts(const struct place *a, const struct place *b) {
  size_t n = a->by.text.n < b->by.text.n ? a->by.text.n : b->by.text.n;
  int order = n ? memcmp(a->by.text.s, b->by.text.s, n) : 0;
  return order ? order : (a->by.text.n > b->by.text.n) - (a->by.text.n < b->by.text.n);
}

static int compare(const void *x, const void *y) {
  const struct place *a = x, *b = y;
  if (a->group != b->group) return a->group < b->group ? -1 : 1;
  if (a->group == STRING) return compare_texts(a, b);
  if (a->group == FLOAT) return (a->by.n > b->by.n) - (a->by.n < b->by.n);
  if (a->by.i != b->by.i) return a->by.i < b->by.i ? -1 : 1;
  return a->type - b->type;
}

/* ---- lists of keys --------------------------------------------------------------------------- */

static lua_Integer count(lua_State *L) {
  lua_Integer n = 0;
  lua_pushnil(L);
  while (lua_next(L, TABLE)) {
    lua_pop(L, 1);
    n++;
  }
  return n;
}

/* What sorting n keys takes, in instructions; what it really takes would show their order
 * before. */
static void charge_sorting(lua_State *L, lua_Integer n) {
  lua_Integer each = 2;
  for (lua_Integer i = n; i > 1; i /= 2) each++;
  lethe_meter_charge(L, n * each);
}

/* Pushes the list of the keys of the table, in order. */
static void push_keys(lua_State *L) {
  lua_Integer n = count(L), i = 0;
  if (n > 1 << 26) luaL_error(L, "too many keys to walk");
  charge_sorting(L, n);
  lua_createtable(L, (int)n, 1);
  lua_createtable(L, (int)n, 0);
  int sorted = lua_gettop(L) - 1, keys = sorted + 1;
  struct place *places = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *places, 0);
  lua_pushnil(L);
  while (lua_next(L, TABLE)) {
    lua_pop(L, 1);
    places[i] = place_of(L, lua_gettop(L));
    places[i].index = (int)i + 1;
    lua_pushvalue(L, -1);
    lua_rawseti(L, keys, ++i);
  }
  qsort(places, (size_t)n, sizeof *places, compare);
  for (i = 0; i < n; i++) {
    lua_rawgeti(L, keys, places[i].index);
    lua_rawseti(L, sorted, i + 1);
  }
  lua_settop(L, sorted);
}

/* From the step after `at` on, the next key of the list that has a value in the table: pushes both,
 * and returns the step; 0, and nothing, at the end. */
static lua_Integer push_step(lua_State *L, int table, int list, lua_Integer at) {
  for (;;) {
    if (lua_rawgeti(L, list, ++at) == LUA_TNIL) break;
    lua_pushvalue(L, -1);
    if (lua_rawget(L, table) != LUA_TNIL) return at;
    lua_pop(L, 2);
  }
  lua_pop(L, 1);
  return 0;
}

/* ---- pairs ----------------------------------------------------------------------------------- */

/* Upvalues: the table, the list, the step. */
static int iterate(lua_State *L) {
  lua_settop(L, 0);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_Integer at = push_step(L, 1, 2, lua_tointeger(L, lua_upvalueindex(3)));
  if (!at) {
    lua_pushnil(L);
    return 1;
  }
  lua_pushinteger(L, at);
  lua_replace(L, lua_upvalueindex(3));
  return 2;
}

static int finish_pairs(lua_State *L, int status, lua_KContext context) {
  (void)L;
  (void)status;
  (void)context;
  return 3;
}

/* pairs(t) */
static int l_pairs(lua_State *L) {
  luaL_checkany(L, 1);
  if (vat_metafield(L, 1, "__pairs") != LUA_TNIL) {
    lua_pushvalue(L, 1);
    lua_callk(L, 1, 3, 0, finish_pairs);
    return 3;
  }
  luaL_checktype(L, 1, LUA_TTABLE);
  prepare(L, 1);
  lua_pushvalue(L, TABLE);
  push_keys(L);
  lua_pushinteger(L, 0);
  lua_pushcclosure(L, iterate, 3);
  lua_pushvalue(L, TABLE);
  lua_pushnil(L);
  return 3;
}

/* ---- next ------------------------------------------------------------------------------------ */

/* The first key and its value: no list is made for that. */
static int push_least(lua_State *L) {
  struct place least = {.group = NONE};
  lua_Integer n = 0;
  lua_settop(L, TABLE);
  lua_pushnil(L); /* the least key, at TABLE + 1 */
  lua_pushnil(L);
  while (lua_next(L, TABLE)) {
    lua_pop(L, 1);
    struct place p = place_of(L, lua_gettop(L));
    n++;
    if (least.group != NONE && compare(&least, &p) < 0) continue;
    least = p;
    lua_pushvalue(L, -1);
    lua_replace(L, TABLE + 1);
  }
  lethe_meter_charge(L, n * 2);
  if (lua_isnil(L, -1)) return 1;
  lua_pushvalue(L, -1);
  lua_rawget(L, TABLE);
  return 2;
}

/* The last step of the list whose key is not after the key at `key`. */
static lua_Integer find_step(lua_State *L, int list, int key) {
  struct place wanted = place_of(L, key);
  lua_Integer low = 0, high = (lua_Integer)lua_rawlen(L, list);
  while (low < high) {
    lua_Integer middle = low + (high - low + 1) / 2;
    lua_rawgeti(L, list, middle);
    struct place p = place_of(L, lua_gettop(L));
    int order = compare(&p, &wanted);
    lua_pop(L, 1);
    if (order <= 0)
      low = middle;
    else
      high = middle - 1;
  }
  return low;
}

static void set_walk(lua_State *L, int walks, int list) {
  lua_pushvalue(L, TABLE);
  lua_pushvalue(L, list);
  lua_rawset(L, walks);
}

/* next(t [, key]) */
static int l_next(lua_State *L) {
  enum { KEY = TABLE + 1, WALKS, LIST };
  luaL_checktype(L, 1, LUA_TTABLE);
  prepare(L, 2);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_walks);
  if (lua_isnil(L, KEY)) {
    lua_pushnil(L);
    set_walk(L, WALKS, LIST);
    return push_least(L);
  }
  lua_Integer at = 0;
  lua_pushvalue(L, TABLE);
  bool known = lua_rawget(L, WALKS) == LUA_TTABLE, here = false;
  if (known) {
    lua_rawgeti(L, LIST, 0);
    at = lua_tointeger(L, -1);
    lua_rawgeti(L, LIST, at);
    here = lua_rawequal(L, -1, KEY);
    lua_settop(L, LIST);
    if (!here) {
      at = find_step(L, LIST, KEY);
      lua_rawgeti(L, LIST, at);
      known = lua_rawequal(L, -1, KEY);
    }
  }
  if (!known) {
    lua_settop(L, WALKS);
    push_keys(L);
    set_walk(L, WALKS, LIST);
    at = find_step(L, LIST, KEY);
  }
  lua_settop(L, LIST);
  at = push_step(L, TABLE, LIST, at);
  if (!at) {
    lua_pushnil(L);
    set_walk(L, WALKS, lua_gettop(L));
    lua_pushnil(L);
    return 1;
  }
  lua_pushinteger(L, at);
  lua_rawseti(L, LIST, 0);
  return 2;
}

/* forget(): the walks of this crank */
static int l_forget(lua_State *L) {
  lua_settop(L, 0);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_walks);
  lua_pushnil(L);
  if (!lua_istable(L, 1) || lua_next(L, 1)) {
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key_walks);
  }
  return 0;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* order(slots, fars) -> pairs, next: `fars` tells far objects' numbers */
static int l_order(lua_State *L) {
  lethe_check(L, 1, &slots_class);
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_pushcclosure(L, l_pairs, 2);
  lua_insert(L, 1);
  lua_pushcclosure(L, l_next, 2);
  return 2;
}

static const luaL_Reg functions[] = {{"order", l_order}, {"forget", l_forget}, {NULL, NULL}};

void vat_open_order(lua_State *L) {
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_walks);
  luaL_setfuncs(L, functions, 0);
}
