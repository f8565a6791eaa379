/* SPDX-License-Identifier: MIT
 * The shared map's calls. Updates that need Lua to decide (cas, incr) look at the value, decide
 * outside of every pin, and go through only if the value is still the same bytes; else they look
 * again. */
#include <string.h>

#include "message_parts.h"
#include "shared.h"

/* A key as bytes: strings, and integers with a tag of their own; floats with an integral value are
 * those integers. Into buf when it fits there. */
struct key {
  const void *p;
  size_t n;
  unsigned char buf[64];
};

static inline void check_key(lua_State *L, int arg, struct shared_handle *h, struct key *k) {
  int type = lua_type(L, arg), whole = 0;
  if (type == LUA_TSTRING) {
    size_t n;
    const char *s = lua_tolstring(L, arg, &n);
    unsigned char *to = k->buf;
    k->n = n + 1;
    if (k->n > sizeof k->buf) {
      shared_room(L, &h->key, k->n);
      to = h->key.p;
    }
    to[0] = 's';
    memcpy(to + 1, s, n);
    k->p = to;
    return;
  }
  lua_Integer i = type == LUA_TNUMBER ? lua_tointegerx(L, arg, &whole) : 0;
  if (__builtin_expect(!whole, 0)) {
    const char *got = type == LUA_TNUMBER ? lua_tostring(L, arg) : luaL_typename(L, arg);
    luaL_argerror(L, arg, lua_pushfstring(L, "a key must be a string or an integer (got %s)", got));
  }
  k->buf[0] = 'i';
  memcpy(k->buf + 1, &i, sizeof i);
  k->n = 1 + sizeof i;
  k->p = k->buf;
}

static void push_key(lua_State *L, const unsigned char *p, size_t n) {
  if (p[0] == 's') {
    lua_pushlstring(L, (const char *)p + 1, n - 1);
  } else {
    lua_Integer i;
    memcpy(&i, p + 1, sizeof i);
    lua_pushinteger(L, i);
  }
}

/* ---- the map --------------------------------------------------------------------------------- */

/* Map:get(k) */
static int map_get(lua_State *L) {
  struct shared_handle *h = shared_hot(L, &shared_map_class);
  struct key k;
  check_key(L, 2, h, &k);
  int rc;
  struct lethe_epoch_rec *r = shared_record(L, h, &rc);
  if (r) rc = lethe_map_get(h->s->of.map, r, k.p, k.n, &h->value);
  if (rc == LETHE_ENOTFOUND) {
    lua_pushnil(L);
    return 1;
  }
  if (rc) return lethe_fail(L, rc);
  const struct shared_value *v = (void *)h->value.p;
  if (v->tables == 0 && v->bytes[0] == INTEGER) {
    lua_Integer i;
    memcpy(&i, v->bytes + 1, sizeof i);
    lua_pushinteger(L, i);
  } else {
    shared_push(L, h);
  }
  return 1;
}

/* What an update wants, and what it met. */
struct want {
  const void *bytes;
  size_t n;
  const struct lethe_buffer *only; /* the value it must meet; NULL: any */
  bool absent_only, was, same;
};

static int replace(void *ud, const struct lethe_buffer *old, const void **value, size_t *n) {
  struct want *w = ud;
  w->was = old != NULL;
  if (w->absent_only && old) return LETHE_EEXISTS;
  *value = w->bytes;
  *n = w->n;
  if (!w->bytes) return old ? LETHE_MAP_DELETE : LETHE_MAP_KEEP;
  return LETHE_MAP_REPLACE;
}

/* The value at `value` (nil: none) becomes that of the key at 2. */
static int write(lua_State *L, int value, struct want *w) {
  struct shared_handle *h = shared_check(L, &shared_map_class);
  struct key k;
  check_key(L, 2, h, &k);
  struct shared_value *v = NULL;
  if (!lua_isnoneornil(L, value)) w->bytes = v = shared_pack(L, value, &w->n);
  int rc;
  struct lethe_epoch_rec *r = shared_record(L, h, &rc);
  if (r) rc = lethe_map_update(h->s->of.map, r, k.p, k.n, replace, w);
  shared_value_free(v, w->n);
  if (rc == LETHE_OK && (w->bytes || w->was)) epoch_changed(L, h->port);
  return rc;
}

static int map_set(lua_State *L) {
  struct want w = {0};
  luaL_checkany(L, 3);
  int rc = write(L, 3, &w);
  if (rc) return lethe_fail(L, rc);
  lua_pushboolean(L, 1);
  return 1;
}

static int map_add(lua_State *L) {
  struct want w = {.absent_only = true};
  luaL_argcheck(L, !lua_isnoneornil(L, 3), 3, "a value expected, got nil");
  int rc = write(L, 3, &w);
  if (rc) return lethe_fail(L, rc);
  lua_pushboolean(L, 1);
  return 1;
}

static int map_delete(lua_State *L) {
  struct want w = {0};
  lua_settop(L, 2);
  int rc = write(L, 3, &w);
  if (rc) return lethe_fail(L, rc);
  lua_pushboolean(L, w.was);
  return 1;
}

/* Goes through only where the value is still what it was when it was looked at. */
static int replace_same(void *ud, const struct lethe_buffer *old, const void **value, size_t *n) {
  struct want *w = ud;
  w->same = w->only ? old && old->n == w->only->n && memcmp(old->p, w->only->p, old->n) == 0 : !old;
  if (!w->same) return LETHE_MAP_KEEP;
  *value = w->bytes;
  *n = w->n;
  if (!w->bytes) return old ? LETHE_MAP_DELETE : LETHE_MAP_KEEP;
  return LETHE_MAP_REPLACE;
}

/* Pushes the value of the key at 2 (nil: none); *there says which. A code, with nothing pushed. */
static int look(lua_State *L, struct shared_handle *h, struct lethe_epoch_rec *r,
                const struct key *k, bool *there) {
  int rc = lethe_map_get(h->s->of.map, r, k->p, k->n, &h->value);
  *there = rc == LETHE_OK;
  if (rc && rc != LETHE_ENOTFOUND) return rc;
  if (*there)
    shared_push(L, h);
  else
    lua_pushnil(L);
  return LETHE_OK;
}

/* The value at `value` in the place of what `look` has just seen. 1: done, 0: it has changed. */
static int put_same(lua_State *L, struct shared_handle *h, struct lethe_epoch_rec *r,
                    const struct key *k, bool there, int value) {
  struct want w = {.only = there ? &h->value : NULL};
  struct shared_value *v = NULL;
  if (!lua_isnil(L, value)) w.bytes = v = shared_pack(L, value, &w.n);
  int rc = lethe_map_update(h->s->of.map, r, k->p, k->n, replace_same, &w);
  shared_value_free(v, w.n);
  if (rc == LETHE_OK && w.same && (w.bytes || there)) epoch_changed(L, h->port);
  return rc ? rc : w.same;
}

/* Refuses what can be no value, whatever the map holds: a cas whose `old` differs never packs. */
static void check_value(lua_State *L, int arg) {
  int t = lua_type(L, arg);
  bool none =
      t == LUA_TFUNCTION || t == LUA_TTHREAD || t == LUA_TUSERDATA || t == LUA_TLIGHTUSERDATA;
  if (none) luaL_typeerror(L, arg, "a boolean, number, string, table or nil");
}

/* Map:cas(k, old, new) -> bool */
static int map_cas(lua_State *L) {
  struct shared_handle *h = shared_check(L, &shared_map_class);
  struct key k;
  bool there;
  lua_settop(L, 4);
  check_key(L, 2, h, &k);
  luaL_argcheck(L, !lua_istable(L, 3), 3, "a table is never equal to a copy of it");
  check_value(L, 3);
  check_value(L, 4);
  int rc;
  struct lethe_epoch_rec *r = shared_record(L, h, &rc);
  if (!r) return lethe_fail(L, rc);
  for (;;) {
    rc = look(L, h, r, &k, &there);
    if (rc) return lethe_fail(L, rc);
    bool equal = lua_rawequal(L, 3, -1);
    lua_settop(L, 4);
    rc = equal ? put_same(L, h, r, &k, there, 4) : 1;
    if (rc < 0) return lethe_fail(L, rc);
    if (rc == 0) continue;
    lua_pushboolean(L, equal);
    return 1;
  }
}

/* Map:incr(k, n [, init]) -> number */
static int map_incr(lua_State *L) {
  struct shared_handle *h = shared_check(L, &shared_map_class);
  struct key k;
  bool there;
  lua_settop(L, 4);
  check_key(L, 2, h, &k);
  luaL_argcheck(L, lua_type(L, 3) == LUA_TNUMBER, 3, "a number expected");
  luaL_argcheck(L, lua_isnil(L, 4) || lua_type(L, 4) == LUA_TNUMBER, 4, "a number expected");
  int rc;
  struct lethe_epoch_rec *r = shared_record(L, h, &rc);
  if (!r) return lethe_fail(L, rc);
  for (;;) {
    rc = look(L, h, r, &k, &there);
    if (rc) return lethe_fail(L, rc);
    if (!there && lua_isnil(L, 4)) return lethe_fail(L, LETHE_ENOTFOUND);
    if (there && lua_type(L, -1) != LUA_TNUMBER) return lethe_fail(L, LETHE_ENUMBER);
    if (!there) lua_pushvalue(L, 4);
    lua_pushvalue(L, 3);
    lua_arith(L, LUA_OPADD);
    rc = put_same(L, h, r, &k, there, lua_gettop(L));
    if (rc < 0) return lethe_fail(L, rc);
    if (rc) return 1;
    lua_settop(L, 4);
  }
}

/* Raises { code, message } with the message for people as its string. */
static int raise_code(lua_State *L, int rc) {
  if (rc == LETHE_ENOMEM) return lethe_nomemory(L);
  lua_createtable(L, 0, 2);
  lua_pushstring(L, lethe_errname(rc));
  lua_setfield(L, -2, "code");
  lua_pushstring(L, lethe_strerror(rc));
  lua_setfield(L, -2, "message");
  luaL_setmetatable(L, "lethe.shared.Error");
  return lua_error(L);
}

static int error_tostring(lua_State *L) {
  lua_getfield(L, 1, "message");
  return 1;
}

/* It pins nothing, and yet a thread that found no place in the manager is told so here too. */
static int map_len(lua_State *L) {
  struct shared_handle *h = shared_check(L, &shared_map_class);
  int rc;
  if (!shared_record(L, h, &rc)) return raise_code(L, rc);
  lua_pushinteger(L, (lua_Integer)lethe_map_len(h->s->of.map));
  return 1;
}

/* The iterator of pairs: state is the map, the control value the key. */
static int next_entry(lua_State *L) {
  struct shared_handle *h = lethe_check(L, 1, &shared_map_class)->what;
  struct lethe_buffer key = {.alloc = &lethe_alloc_libc};
  struct key from;
  int rc;
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) {
    check_key(L, 2, h, &from);
    key.p = lethe_malloc(key.alloc, from.n);
    if (!key.p) return lethe_nomemory(L);
    memcpy(key.p, from.p, from.n);
    key.n = key.room = from.n;
  }
  struct lethe_epoch_rec *r = shared_record(L, h, &rc);
  if (r) rc = lethe_map_next(h->s->of.map, r, &key, &h->value);
  lethe_buffer_free(&h->key);
  h->key = key; /* whatever raises from here on, the handle has it */
  if (rc == LETHE_ENOTFOUND) return 0;
  if (rc) return raise_code(L, rc);
  push_key(L, h->key.p, h->key.n);
  shared_push(L, h);
  return 2;
}

static int map_pairs(lua_State *L) {
  shared_check(L, &shared_map_class);
  lua_pushcfunction(L, next_entry);
  lua_pushvalue(L, 1);
  lua_pushnil(L);
  return 3;
}

const luaL_Reg shared_map_methods[] = {{"get", map_get},       {"set", map_set}, {"add", map_add},
                                       {"delete", map_delete}, {"cas", map_cas}, {"incr", map_incr},
                                       {"len", map_len},       {NULL, NULL}};
const luaL_Reg shared_map_metamethods[] = {
    {"__len", map_len}, {"__pairs", map_pairs}, {NULL, NULL}};

void shared_open_map(lua_State *L) {
  if (luaL_newmetatable(L, "lethe.shared.Error")) {
    lua_pushcfunction(L, error_tostring);
    lua_setfield(L, -2, "__tostring");
  }
  lua_pop(L, 1);
}
