/* SPDX-License-Identifier: MIT
 * lethe.core.cache: caches. Keys and values are in cache_value.c, calls that wait in cache_wait.c,
 * holds in cache_hold.c, backends in Lua in cache_backend.c, what the core asks and tells in
 * cache_hooks.c. What waits, and what checks options, is in lua/lethe/cache.lua. */
#include <stdio.h>
#include <string.h>

#include "cache.h"
#include "evict_script.h"
#include "quota_parts.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

/* ---- the object ------------------------------------------------------------------------------ */

void lcache_free(struct lcache *k) {
  lethe_list_remove(&k->node);
  lcache_backend_end(k);
  lcache_free_values(k);
  if (k->port) {
    lethe_quota_handle_close(&k->handle);
    quota_port_put(k->port);
  }
  lethe_free(mem, k, sizeof *k);
}

/* As a state ends nobody can be told any more, and nothing written. */
static void warn(struct lethe_state *s, struct lcache *k) {
  struct lethe_cache_stats stats;
  lethe_cache_read_stats(k->c, &stats);
  if (s->ended && stats.dirty > 0)
    fprintf(stderr, "lethe: the state ended with %llu dirty %s in a cache%s%s\n",
            (unsigned long long)stats.dirty, stats.dirty == 1 ? "entry" : "entries",
            *k->name ? " " : "", k->name);
}

static void end_cache(struct lethe_state *s, void *what, bool closed) {
  struct lcache *k = what;
  if (!closed) warn(s, k);
  k->ended = k->entered > 0;
  if (closed || s->ended)
    lethe_cache_close(k->c);
  else
    lethe_cache_abandon(k->c);
  if (!k->ended) lethe_cache_put_ref(k->c);
}

static void label_cache(void *what, char *buf, size_t n) {
  snprintf(buf, n, "%s", ((struct lcache *)what)->name);
}

struct lcache *lcache_check(lua_State *L, int arg) {
  return lethe_check(L, arg, &lcache_class)->what;
}

static double number_field(lua_State *L, const char *name, double none) {
  lua_getfield(L, 1, name);
  double n = lua_isnil(L, -1) ? none : lua_tonumber(L, -1);
  lua_pop(L, 1);
  return n;
}

static int64_t limit_field(lua_State *L, const char *name) {
  lua_getfield(L, 1, name);
  int64_t n = lua_isnil(L, -1) ? LETHE_CACHE_NO_LIMIT : lua_tointeger(L, -1);
  lua_pop(L, 1);
  return n;
}

static bool has_field(lua_State *L, const char *name) {
  bool has = lua_getfield(L, 1, name) != LUA_TNIL;
  lua_pop(L, 1);
  return has;
}

/* A participant of the account at stack index 6, whose object is in own.holder. */
static int charge(lua_State *L, struct lcache *k) {
  struct account_ref *a = lethe_check(L, 6, &quota_account_class)->what;
  uint64_t id = 0;
  int rc = lethe_quota_handle_open(&k->handle, a->port->member, a->id, NULL, false, &id);
  if (rc) return rc;
  k->port = a->port;
  k->port->refs++;
  lua_getfield(L, 1, "holder");
  if (id) quota_hold(L, k->port, id, lua_gettop(L));
  lua_pop(L, 1);
  return LETHE_OK;
}

static struct lcache *new_cache(lua_State *L) {
  struct lcache *k = lethe_zalloc(mem, sizeof *k);
  if (!k) lethe_nomemory(L);
  k->state = lethe_state(L);
  k->own = LUA_NOREF;
  lethe_list_init(&k->node);
  lethe_list_init(&k->notices);
  lcache_attend(L, k);
  return k;
}

/* new(own, loop, evicts, bars, made [, account]) -> Cache | nil, m, code. own: what the Lua side
 * keeps, checked: limit, bytes, ttl, idle, error_ttl, wait, write_depth, name, weigh, holder; made:
 * a policy, which is taken */
static int l_new(lua_State *L) {
  struct lethe_cache_config config = {.hooks = &lcache_hooks};
  bool charged = !lua_isnoneornil(L, 6);
  luaL_checktype(L, 1, LUA_TTABLE);
  lethe_safepoint(L);
  config.loop = lethe_checkloop(L, 2);
  config.policy = evict_peek(L, 5);
  config.limit = limit_field(L, "limit");
  config.bytes = limit_field(L, "bytes");
  config.ttl = number_field(L, "ttl", 0);
  config.idle = number_field(L, "idle", 0);
  config.error_ttl = number_field(L, "error_ttl", 0);
  config.wait = number_field(L, "wait", 5);
  config.write_depth = (uint32_t)number_field(L, "write_depth", 0);
  struct lethe_box *b = lethe_box_new(L, &lcache_class, 0);
  struct lcache *k = new_cache(L);
  config.seed = (uint64_t)(uintptr_t)k >> 4;
  lcache_backend_init(k, lua_toboolean(L, 3), lua_toboolean(L, 4));
  config.backend = &k->backend;
  config.ud = k;
  if (charged) config.hooks = &lcache_charged_hooks;
  if (lethe_cache_new(&k->c, mem, &config) != LETHE_OK) {
    lethe_free(mem, k, sizeof *k);
    return lethe_nomemory(L);
  }
  lcache_set_policy(k, evict_take(L, 5));
  lethe_box_hold(L, b, k);
  lua_pushvalue(L, 1);
  lcache_set_own(L, k, -1);
  k->weighs = has_field(L, "weigh");
  lua_getfield(L, 1, "name");
  if (lua_type(L, -1) == LUA_TSTRING) snprintf(k->name, sizeof k->name, "%s", lua_tostring(L, -1));
  lua_pop(L, 2);
  int rc = charged ? charge(L, k) : LETHE_OK;
  if (rc) lethe_box_close(L, b, &lcache_class);
  lethe_settle(L);
  return rc ? lethe_fail(L, rc) : 1;
}

/* ---- the hot path ---------------------------------------------------------------------------- */

static int after_get(lua_State *L, int status, lua_KContext below) {
  (void)status;
  return lua_gettop(L) - (int)below;
}

/* Pushes what is there, first of all: both what it is and its place in the policy are far away. */
static bool hit(lua_State *L, struct lcache *k, const struct lethe_cache_key *key) {
  struct lethe_cache_entry *e = lethe_cache_find(k->c, key);
  if (!e) return false;
  lcache_push_found(L, k, lethe_cache_value_of(e));
  lua_State *outer = lcache_enter(L, k);
  bool open = lethe_cache_use(k->c, e);
  if (open) lethe_cache_let_go(k->c);
  lcache_leave(k, outer);
  return open;
}

/* cache:get(key). What has to be waited for goes to upcalls.get(cache, Wait). */
static int l_get(lua_State *L) {
  struct lethe_cache_key key;
  struct lcache *k = lcache_hot(L);
  lcache_checkkey(L, 2, 1, &key);
  if (hit(L, k, &key)) return 1;
  lua_settop(L, 2);
  if (lcache_get(L, &key)) return lua_gettop(L) - 2;
  lcache_push_upcall(L, "get");
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 3);
  lua_callk(L, 2, LUA_MULTRET, 3, after_get);
  return after_get(L, LUA_OK, 3);
}

static int l_peek(lua_State *L) {
  struct lethe_cache_key key;
  struct lcache *k = lcache_hot(L);
  lcache_checkkey(L, 2, 1, &key);
  struct lethe_cache_value *value = lethe_cache_peek(k->c, &key);
  if (value)
    lcache_push_found(L, k, value);
  else
    lua_pushnil(L);
  return 1;
}

static int l_contains(lua_State *L) {
  struct lethe_cache_key key;
  struct lcache *k = lcache_hot(L);
  lcache_checkkey(L, 2, 1, &key);
  lua_pushboolean(L, lethe_cache_peek(k->c, &key) != NULL);
  return 1;
}

/* ---- removing -------------------------------------------------------------------------------- */

static struct lcache *check_cache(lua_State *L) {
  lethe_safepoint(L);
  return lcache_check(L, 1);
}

static int refused(lua_State *L, int code) {
  lethe_settle(L);
  if (code == LETHE_EINVAL) return luaL_error(L, "a policy cannot use the cache it decides for");
  if (code != LETHE_OK) return lethe_fail(L, code);
  lua_pushboolean(L, 1);
  return 1;
}

static int l_remove(lua_State *L) {
  struct lethe_cache_key key;
  struct lcache *k = check_cache(L);
  lcache_checkkey(L, 2, 1, &key);
  lua_State *outer = lcache_enter(L, k);
  int code = lethe_cache_remove(k->c, &key);
  lcache_leave(k, outer);
  return refused(L, code);
}

/* Keys that were in use, copied: while the core is at work nothing may raise. */
struct keys {
  struct lethe_cache_key *of;
  size_t n, room;
};

static void add_key(void *ud, const struct lethe_cache_key *key) {
  struct keys *keys = ud;
  void *of = keys->of;
  if (lethe_grow(mem, &of, &keys->room, keys->n + 1, sizeof *keys->of) != LETHE_OK) return;
  keys->of = of;
  if (lcache_copy_key(&keys->of[keys->n], key)) keys->n++;
}

static int push_keys(lua_State *L) {
  struct keys *keys = lua_touserdata(L, 1);
  lethe_fail(L, LETHE_EINUSE);
  lua_createtable(L, (int)keys->n, 0);
  for (size_t i = 0; i < keys->n; i++) {
    lcache_push_key(L, &keys->of[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 4;
}

static int l_invalidate(lua_State *L) {
  struct lcache *k = check_cache(L);
  struct keys keys = {0};
  lua_State *outer = lcache_enter(L, k);
  int code = lethe_cache_invalidate(k->c, add_key, &keys);
  lcache_leave(k, outer);
  if (code != LETHE_EINUSE) return refused(L, code);
  lua_settop(L, 0);
  lua_pushcfunction(L, push_keys);
  lua_pushlightuserdata(L, &keys);
  int rc = lua_pcall(L, 1, 4, 0);
  for (size_t i = 0; i < keys.n; i++) lcache_free_key(&keys.of[i]);
  lethe_free(mem, keys.of, keys.room * sizeof *keys.of);
  if (rc != LUA_OK) return lua_error(L);
  lethe_settle(L);
  return 4;
}

/* ---- looking --------------------------------------------------------------------------------- */

static struct lethe_cache_stats read_stats(lua_State *L) {
  struct lethe_cache_stats s;
  lethe_cache_read_stats(check_cache(L)->c, &s);
  return s;
}

static int l_len(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)read_stats(L).entries);
  return 1;
}

static int l_size(lua_State *L) {
  lua_pushinteger(L, read_stats(L).bytes);
  return 1;
}

static void set_integer(lua_State *L, const char *name, uint64_t n) {
  lua_pushinteger(L, (lua_Integer)n);
  lua_setfield(L, -2, name);
}

static int l_stats(lua_State *L) {
  struct lethe_cache_stats s = read_stats(L);
  lua_createtable(L, 0, 12);
  set_integer(L, "hits", s.hits);
  set_integer(L, "misses", s.misses);
  set_integer(L, "loads", s.loads);
  set_integer(L, "load_failures", s.load_failures);
  set_integer(L, "evictions", s.evictions);
  set_integer(L, "flushes", s.flushes);
  set_integer(L, "flush_failures", s.flush_failures);
  set_integer(L, "barriers", s.barriers);
  set_integer(L, "dirty", s.dirty);
  set_integer(L, "in_use", s.in_use);
  set_integer(L, "entries", s.entries);
  set_integer(L, "bytes", (uint64_t)s.bytes);
  return 1;
}

/* ---- for lua/lethe/cache.lua ----------------------------------------------------------------- */

/* resize(cache, limit | nil, bytes | nil) */
static int l_resize(lua_State *L) {
  struct lcache *k = check_cache(L);
  int64_t limit = luaL_optinteger(L, 2, -1), bytes = luaL_optinteger(L, 3, -1);
  lua_State *outer = lcache_enter(L, k);
  lethe_cache_resize(k->c, limit, bytes);
  lcache_leave(k, outer);
  lethe_settle(L);
  return 0;
}

/* listen(cache, whether): on_evict is set */
static int l_listen(lua_State *L) {
  check_cache(L)->listens = lua_toboolean(L, 2);
  return 0;
}

/* oldest(cache) -> loop seconds | nil */
static int l_oldest(lua_State *L) {
  double seconds;
  if (!lethe_cache_oldest(lcache_check(L, 1)->c, &seconds)) return 0;
  lua_pushnumber(L, seconds);
  return 1;
}

/* check(cache): raises where an invariant does not hold */
static int l_check(lua_State *L) {
  char why[200] = "";
  if (lethe_cache_check(check_cache(L)->c, why, sizeof why) != LETHE_OK)
    return luaL_error(L, "the cache is broken: %s", why);
  return 0;
}

/* ---- opening --------------------------------------------------------------------------------- */

static const luaL_Reg methods[] = {
    {"get", l_get}, {"peek", l_peek}, {"remove", l_remove}, {"invalidate", l_invalidate},
    {"len", l_len}, {"size", l_size}, {"stats", l_stats},   {"contains", l_contains},
    {NULL, NULL}};
static const luaL_Reg metamethods[] = {{"__len", l_len}, {NULL, NULL}};

const struct lethe_class lcache_class = {.name = "lethe.cache.Cache",
                                         .end = end_cache,
                                         .label = label_cache,
                                         .leaks = true,
                                         .watched = true,
                                         .hot = true,
                                         .methods = methods,
                                         .metamethods = metamethods};

static const luaL_Reg functions[] = {{"new", l_new},       {"resize", l_resize},
                                     {"listen", l_listen}, {"oldest", l_oldest},
                                     {"check", l_check},   {NULL, NULL}};

int luaopen_lethe_core_cache(lua_State *L) {
  luaL_checkversion(L);
  lethe_class(L, &lcache_class);
  luaL_newlib(L, functions);
  lcache_open_value(L);
  lcache_open_backend(L);
  lcache_open_wait(L);
  lcache_open_hold(L);
  lcache_open_hooks(L);
  lcache_open_policy(L);
  lcache_open_shadow(L);
  lethe_methods(L, &lcache_class, "Cache");
  return 1;
}
