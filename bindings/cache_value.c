/* SPDX-License-Identifier: MIT
 * Keys and values of caches: what of them is Lua's and what is C's.
 *
 * A value in C is a record with a slot; the value itself is in the cache's own table at that slot.
 * Records are kept for the next value, so that the slots stay few and close. */
#include <string.h>

#include "cache.h"
#include "object.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;
static char key_owns; /* registry: own tables by cache (light userdata) */

void lcache_push_own(lua_State *L, const struct lcache *k) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_owns);
  lua_rawgetp(L, -1, k);
  lua_remove(L, -2);
}

/* ---- keys -------------------------------------------------------------------------------------- */

bool lcache_tokey(lua_State *L, int arg, struct lethe_cache_key *key) {
  int whole = 0;
  *key = (struct lethe_cache_key){0};
  if (lua_type(L, arg) == LUA_TSTRING) {
    key->bytes = lua_tolstring(L, arg, &key->n);
    return true;
  }
  if (lua_type(L, arg) == LUA_TNUMBER) key->number = lua_tointegerx(L, arg, &whole);
  return whole;
}

void lcache_checkkey(lua_State *L, int arg, int level, struct lethe_cache_key *key) {
  if (lcache_tokey(L, arg, key)) return;
  luaL_where(L, level);
  if (lua_type(L, arg) == LUA_TNUMBER)
    lua_pushfstring(L, "a key must be a string or an integer (got %f)", lua_tonumber(L, arg));
  else
    lua_pushfstring(L, "a key must be a string or an integer (got %s)", luaL_typename(L, arg));
  lua_concat(L, 2);
  lua_error(L);
}

void lcache_push_key(lua_State *L, const struct lethe_cache_key *key) {
  if (key->bytes)
    lua_pushlstring(L, key->bytes, key->n);
  else
    lua_pushinteger(L, key->number);
}

bool lcache_copy_key(struct lethe_cache_key *to, const struct lethe_cache_key *from) {
  *to = *from;
  if (!from->bytes) return true;
  char *bytes = lethe_malloc(mem, from->n + 1);
  if (!bytes) return false;
  memcpy(bytes, from->bytes, from->n);
  to->bytes = bytes;
  return true;
}

void lcache_free_key(struct lethe_cache_key *key) {
  if (key->bytes) lethe_free(mem, (void *)key->bytes, key->n + 1);
  key->bytes = NULL;
}

/* ---- values ------------------------------------------------------------------------------------ */

static void recycle(struct lcache_value *v) {
  v->next = v->cache->spare;
  v->cache->spare = v;
}

/* Where there is no room on the stack the value stays until its slot is used again. */
static void free_value(struct lethe_cache_value *value) {
  struct lcache_value *v = lethe_container_of(value, struct lcache_value, value);
  struct lethe_state *s = v->cache->state;
  lua_State *L = s->turning;
  if (!s->ended && lua_checkstack(L, 4)) {
    lcache_push_own(L, v->cache);
    lua_pushnil(L);
    lua_rawseti(L, -2, v->slot);
    lua_pop(L, 1);
  }
  recycle(v);
}

/* The record stays among the spare ones until nothing can raise any more. */
struct lethe_cache_value *lcache_value(lua_State *L, struct lcache *k, int i) {
  i = lua_absindex(L, i);
  if (!k->spare) {
    struct lcache_value *v = lethe_malloc(mem, sizeof *v);
    if (!v) lethe_nomemory(L);
    *v = (struct lcache_value){.cache = k, .slot = ++k->slots};
    recycle(v);
  }
  struct lcache_value *v = k->spare;
  lcache_push_own(L, k);
  lua_pushvalue(L, i);
  lua_rawseti(L, -2, v->slot);
  lua_pop(L, 1);
  k->spare = v->next;
  v->value = (struct lethe_cache_value){1, free_value, NULL, 1};
  if (lua_type(L, i) == LUA_TSTRING) v->value.data = lua_tolstring(L, i, &v->value.size);
  return &v->value;
}

void lcache_push_value(lua_State *L, const struct lethe_cache_value *value) {
  const struct lcache_value *v = lethe_container_of(value, struct lcache_value, value);
  lcache_push_own(L, v->cache);
  lua_rawgeti(L, -1, v->slot);
  lua_remove(L, -2);
}

void lcache_free_values(struct lcache *k) {
  struct lcache_value *v;
  while ((v = k->spare) != NULL) {
    k->spare = v->next;
    lethe_free(mem, v, sizeof *v);
  }
  if (k->state->ended || !lua_checkstack(k->state->turning, 4)) return;
  lua_State *L = k->state->turning;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_owns);
  lua_pushnil(L);
  lua_rawsetp(L, -2, k);
  lua_pop(L, 1);
}

/* own(cache) -> its own table */
static int l_own(lua_State *L) {
  lcache_push_own(L, lcache_check(L, 1));
  return 1;
}

void lcache_set_own(lua_State *L, const struct lcache *k, int i) {
  i = lua_absindex(L, i);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_owns);
  lua_pushvalue(L, i);
  lua_rawsetp(L, -2, k);
  lua_pop(L, 1);
}

void lcache_open_value(lua_State *L) {
  static const luaL_Reg functions[] = {{"own", l_own}, {NULL, NULL}};
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key_owns) == LUA_TNIL) lethe_new_table(L, &key_owns, NULL);
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 0);
}
