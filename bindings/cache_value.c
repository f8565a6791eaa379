/* SPDX-License-Identifier: MIT
 * Keys and values of caches: what of them is Lua's and what is C's.
 *
 * A value in C is a record with a slot; the value itself is in the cache's own table at that slot.
 * Records are kept for the next value, so that the slots stay few and close. */
#include <string.h>

#include "cache.h"
#include "object.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

void lcache_push_own(lua_State *L, const struct lcache *k) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, k->own);
}

/* ---- keys ------------------------------------------------------------------------------------ */

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

/* ---- values ---------------------------------------------------------------------------------- */

struct lcache_arena {
  struct lcache_arena *next;
  size_t size;
};

enum {
  PER_PAGE = (LCACHE_PAGE - sizeof(struct lcache_page)) / sizeof(struct lcache_value),
  MOST_PAGES = 256
};

static struct lcache_page *page_of(const struct lcache_value *v) {
  return (struct lcache_page *)((uintptr_t)v & ~(uintptr_t)(LCACHE_PAGE - 1));
}

static lua_Integer slot_of(const struct lcache_value *v) {
  const struct lcache_page *p = page_of(v);
  return p->first + (v - p->values);
}

static void recycle(struct lcache *k, struct lcache_value *v) {
  v->next = k->spare;
  k->spare = v;
}

static void add_page(struct lcache *k, struct lcache_page *p) {
  p->cache = k;
  p->first = k->slots + 1;
  k->slots += PER_PAGE;
  for (int i = PER_PAGE - 1; i >= 0; i--) recycle(k, &p->values[i]);
}

/* Twice as many pages as the time before; one more than is used, to begin where a page does. */
static bool add_pages(struct lcache *k) {
  size_t pages = k->arenas ? k->arenas->size / LCACHE_PAGE * 2 : 1;
  if (pages > MOST_PAGES) pages = MOST_PAGES;
  size_t size = sizeof *k->arenas + (pages + 1) * LCACHE_PAGE;
  struct lcache_arena *a = lethe_malloc(mem, size);
  if (!a) return false;
  *a = (struct lcache_arena){k->arenas, size};
  k->arenas = a;
  char *at = (char *)page_of((struct lcache_value *)(void *)((char *)(a + 1) + LCACHE_PAGE - 1));
  for (size_t i = pages; i-- > 0;) add_page(k, (void *)(at + i * LCACHE_PAGE));
  return true;
}

/* Where there is no room on the stack the value stays until its slot is used again. */
static void free_value(struct lethe_cache_value *value) {
  struct lcache_value *v = lethe_container_of(value, struct lcache_value, value);
  struct lcache *k = page_of(v)->cache;
  lua_State *L = k->state->turning;
  if (!k->state->ended && lua_checkstack(L, 4)) {
    lcache_push_own(L, k);
    lua_pushnil(L);
    lua_rawseti(L, -2, slot_of(v));
    lua_pop(L, 1);
  }
  recycle(k, v);
}

/* The record stays among the spare ones until nothing can raise any more. */
struct lethe_cache_value *lcache_value(lua_State *L, struct lcache *k, int i) {
  i = lua_absindex(L, i);
  if (!k->spare && !add_pages(k)) lethe_nomemory(L);
  struct lcache_value *v = k->spare;
  lcache_push_own(L, k);
  lua_pushvalue(L, i);
  lua_rawseti(L, -2, slot_of(v));
  lua_pop(L, 1);
  k->spare = v->next;
  v->value = (struct lethe_cache_value){1, free_value, NULL, 1};
  if (lua_type(L, i) == LUA_TSTRING) v->value.data = lua_tolstring(L, i, &v->value.size);
  return &v->value;
}

void lcache_push_value(lua_State *L, const struct lethe_cache_value *value) {
  const struct lcache_value *v = lethe_container_of(value, struct lcache_value, value);
  lcache_push_own(L, page_of(v)->cache);
  lua_rawgeti(L, -1, slot_of(v));
  lua_remove(L, -2);
}

void lcache_push_found(lua_State *L, const struct lcache *k,
                       const struct lethe_cache_value *value) {
  lcache_push_own(L, k);
  lua_rawgeti(L, -1, slot_of(lethe_container_of(value, struct lcache_value, value)));
}

void lcache_free_values(struct lcache *k) {
  struct lcache_arena *a;
  k->spare = NULL;
  while ((a = k->arenas) != NULL) {
    k->arenas = a->next;
    lethe_free(mem, a, a->size);
  }
  if (k->state->ended || !lua_checkstack(k->state->turning, 4)) return;
  luaL_unref(k->state->turning, LUA_REGISTRYINDEX, k->own);
}

/* own(cache) -> its own table */
static int l_own(lua_State *L) {
  lcache_push_own(L, lcache_check(L, 1));
  return 1;
}

void lcache_set_own(lua_State *L, struct lcache *k, int i) {
  lua_pushvalue(L, i);
  k->own = luaL_ref(L, LUA_REGISTRYINDEX);
}

void lcache_open_value(lua_State *L) {
  static const luaL_Reg functions[] = {{"own", l_own}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
