/* SPDX-License-Identifier: MIT
 * Holds: entries that Lua has in use, as objects. What waits for one is in cache_wait.c. */
#include <string.h>

#include "cache.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

struct hold {
  struct lcache *k;
  struct lethe_cache_entry *held;
};

static void end_hold(struct lethe_state *s, void *what, bool closed) {
  struct hold *h = what;
  (void)s;
  (void)closed;
  lethe_cache_release(h->k->c, h->held);
  lethe_free(mem, h, sizeof *h);
}

int lcache_push_hold(lua_State *L, struct lcache *k, struct lethe_cache_entry **held) {
  struct lethe_box *b = lethe_box_new(L, &lcache_hold_class, 0);
  struct hold *h = lethe_malloc(mem, sizeof *h);
  if (!h) return lethe_nomemory(L);
  *h = (struct hold){k, *held};
  *held = NULL;
  lethe_box_hold(L, b, h);
  return 1;
}

/* hold.value, or a method of upvalue 1 */
static int l_hold_index(lua_State *L) {
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
  if (strcmp(name, "value") == 0) {
    struct hold *h = lethe_check(L, 1, &lcache_hold_class)->what;
    lcache_push_value(L, lethe_cache_held_value(h->held));
    return 1;
  }
  lua_settop(L, 2);
  lua_rawget(L, lua_upvalueindex(1));
  return 1;
}

static int done_or_closed(lua_State *L, int code) {
  lethe_settle(L);
  if (code == LETHE_EINVAL) return luaL_error(L, "a policy cannot use the cache it decides for");
  if (code != LETHE_OK) return lethe_failf(L, code, "the cache is closed");
  lua_pushboolean(L, 1);
  return 1;
}

static int l_mark_dirty(lua_State *L) {
  struct hold *h = lethe_check(L, 1, &lcache_hold_class)->what;
  lua_State *outer = lcache_enter(L, h->k);
  int code = lethe_cache_mark_dirty(h->k->c, h->held);
  lcache_leave(h->k, outer);
  return done_or_closed(L, code);
}

/* hold:set(value) */
static int l_set(lua_State *L) {
  struct hold *h = lethe_check(L, 1, &lcache_hold_class)->what;
  if (lua_isnoneornil(L, 2)) return luaL_argerror(L, 2, "a value expected, got nil");
  struct lcache *k = h->k;
  struct lethe_cache_value *value = lcache_value(L, k, 2);
  struct lethe_cache *c = lethe_cache_get_ref(k->c);
  lua_State *outer = lcache_enter(L, k);
  int code = lethe_cache_set(c, h->held, value);
  lcache_leave(k, outer);
  lethe_cache_put_ref(c);
  return done_or_closed(L, code);
}

static const luaL_Reg hold_methods[] = {{"mark_dirty", l_mark_dirty}, {"set", l_set}, {NULL, NULL}};

const struct lethe_class lcache_hold_class = {
    .name = "lethe.cache.Hold", .end = end_hold, .leaks = true, .methods = hold_methods};

void lcache_open_hold(lua_State *L) {
  lethe_class(L, &lcache_hold_class);
  luaL_getmetatable(L, lcache_hold_class.name);
  if (lua_getfield(L, -1, "__index") == LUA_TTABLE) {
    lua_pushcclosure(L, l_hold_index, 1);
    lua_setfield(L, -2, "__index");
  } else {
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}
