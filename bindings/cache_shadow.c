/* SPDX-License-Identifier: MIT
 * Cache:shadow: a watcher of a cache's accesses that runs another policy beside it. */
#include <math.h>
#include <stdio.h>

#include "cache.h"
#include "evict_script.h"
#include "lethe/shadow.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

struct watcher {
  struct lcache_watcher watcher;
  struct lcache *cache; /* NULL: it is gone */
  struct lethe_shadow *shadow;
  int64_t limit; /* of the cache's policy, when it was looked at last */
  /* While its policy runs, a script maybe, that may call anything: the cache, whose accesses are
   * not looked at then, or this to its end. */
  bool running, ended;
};

static void free_watcher(struct watcher *w) {
  lethe_shadow_delete(w->shadow);
  lethe_free(mem, w, sizeof *w);
}

/* ---- watching -------------------------------------------------------------------------------- */

static void seen(struct lcache_watcher *self, const struct lethe_cache_key *key, int64_t size,
                 bool hit) {
  struct watcher *w = lethe_container_of(self, struct watcher, watcher);
  int64_t limit = lethe_cache_policy(w->cache->c)->limit;
  if (w->running) return;
  w->running = true;
  if (limit != w->limit) {
    w->limit = limit;
    lethe_shadow_resize(w->shadow, limit);
  }
  lethe_shadow_seen(w->shadow, key, size, hit);
  w->running = false;
  if (w->ended) free_watcher(w);
}

static void gone(struct lcache_watcher *self) {
  lethe_container_of(self, struct watcher, watcher)->cache = NULL;
}

static void leave(struct watcher *w) {
  if (!w->cache) return;
  struct lcache_watcher **link = &w->cache->watchers;
  while (*link != &w->watcher) link = &(*link)->next;
  *link = w->watcher.next;
}

static void push_key(lua_State *L, void *ud, const struct lethe_evict_info *info) {
  (void)ud;
  lcache_push_key(L, lethe_shadow_key_of(info->owner));
}

/* ---- the object ------------------------------------------------------------------------------ */

static void end_shadow(struct lethe_state *s, void *what, bool closed) {
  struct watcher *w = what;
  (void)s, (void)closed;
  leave(w);
  w->ended = true;
  if (!w->running) free_watcher(w);
}

static const struct lethe_class shadow_class;

static void set_number(lua_State *L, const char *name, double n) {
  lua_pushnumber(L, n);
  lua_setfield(L, -2, name);
}

static void set_integer(lua_State *L, const char *name, uint64_t n) {
  lua_pushinteger(L, (lua_Integer)n);
  lua_setfield(L, -2, name);
}

static int l_stats(lua_State *L) {
  struct lethe_shadow_stats s;
  const struct watcher *w = lethe_check(L, 1, &shadow_class)->what;
  lethe_safepoint(L);
  lethe_shadow_read(w->shadow, &s);
  uint64_t misses = (uint64_t)llround(s.misses);
  lua_createtable(L, 0, 8);
  set_integer(L, "hits", s.accesses - misses);
  set_integer(L, "misses", misses);
  set_number(L, "miss_ratio", s.miss_ratio);
  set_number(L, "error_bound", s.error_bound);
  set_integer(L, "sampled", s.sampled);
  set_number(L, "sample", s.rate);
  set_integer(L, "strikes", lethe_evict_script_strikes(lethe_shadow_policy(w->shadow)));
  return 1;
}

static const luaL_Reg methods[] = {{"close", lethe_close}, {"stats", l_stats}, {NULL, NULL}};
static const struct lethe_class shadow_class = {
    .name = "lethe.cache.Shadow", .end = end_shadow, .methods = methods};

/* shadow(cache, made, rate, unit, seed) -> Shadow. made: of the limit that shadow_limit says */
static int l_shadow(lua_State *L) {
  struct lcache *k = lcache_check(L, 1);
  struct lethe_evict *policy = evict_peek(L, 2);
  lua_Number rate = luaL_checknumber(L, 3);
  lua_settop(L, 5);
  struct lethe_box *b = lethe_box_new(L, &shadow_class, 1);
  struct watcher *w = lethe_zalloc(mem, sizeof *w);
  if (!w) return lethe_nomemory(L);
  if (lethe_shadow_new(&w->shadow, mem, policy, rate, lua_toboolean(L, 4),
                       (uint64_t)luaL_optinteger(L, 5, 0)) != LETHE_OK) {
    lethe_free(mem, w, sizeof *w);
    return lethe_nomemory(L);
  }
  evict_set_keys(evict_take(L, 2), push_key, NULL);
  w->watcher = (struct lcache_watcher){k->watchers, seen, gone};
  w->cache = k;
  w->limit = lethe_cache_policy(k->c)->limit;
  k->watchers = &w->watcher;
  lethe_box_hold(L, b, w);
  return 1;
}

/* shadow_limit(limit, rate) -> the limit of the policy beside one of that limit */
static int l_shadow_limit(lua_State *L) {
  lua_pushinteger(L, lethe_shadow_limit(luaL_checkinteger(L, 1), luaL_checknumber(L, 2)));
  return 1;
}

static const luaL_Reg functions[] = {
    {"shadow", l_shadow}, {"shadow_limit", l_shadow_limit}, {NULL, NULL}};

void lcache_open_shadow(lua_State *L) {
  lethe_class(L, &shadow_class);
  luaL_setfuncs(L, functions, 0);
}
