/* SPDX-License-Identifier: MIT
 * Cache:reload, and the keys that a cache's policy sees. */
#include <stdio.h>

#include "cache.h"
#include "evict_script.h"
#include "message.h"

static void push_key(lua_State *L, void *ud, const struct lethe_evict_info *info) {
  (void)ud;
  lcache_push_key(L, lethe_cache_key_of(info->owner));
}

void lcache_set_policy(struct lcache *k, struct lethe_evict *policy) {
  evict_set_keys(policy, push_key, k);
}

/* A policy that takes another's place. */
struct change {
  struct lethe_evict *to;
  struct lethe_packed *told; /* by the one before */
  char why[400];
};

/* The entries have changed hands. */
static int moved(void *ud) {
  struct change *c = ud;
  struct evict_script *s = evict_script_of(c->to);
  return s && c->told ? evict_import(s, c->told, c->why, sizeof c->why) : LETHE_OK;
}

static int swap(struct lcache *k, struct change *c, struct lethe_evict **before) {
  struct evict_script *old = evict_script_of(lethe_cache_policy(k->c));
  int rc = LETHE_OK;
  if (old && lethe_evict_script_strikes(old->e) < LETHE_EVICT_STRIKES)
    rc = evict_export(old, &c->told, c->why, sizeof c->why);
  if (old) old->reading = true; /* the new one's hooks may know its queues */
  if (rc == LETHE_OK) rc = lethe_cache_swap_policy(k->c, c->to, moved, c, before);
  if (old) old->reading = false;
  if (c->told) lethe_packed_free(c->told);
  return rc;
}

/* Why the new one has failed: the message that it left, or its first strike. */
static int failed(lua_State *L, int rc, const struct change *c) {
  if (rc == LETHE_EINVAL) return luaL_error(L, "a policy cannot use the cache it decides for");
  if (rc == LETHE_EPOLICY && !c->why[0] && lethe_evict_script_strikes(c->to)) {
    const struct lethe_evict_failure *f = lethe_evict_script_failure(c->to, 0);
    return lethe_failf(L, rc, "%s: %s", f->call, f->message);
  }
  return c->why[0] ? lethe_failf(L, rc, "%s", c->why) : lethe_fail(L, rc);
}

/* One that is built in keeps all that it knows by staying. */
static bool is_in_charge(const struct lcache *k, struct lethe_evict *policy) {
  return policy->ops == lethe_cache_policy(k->c)->ops && !lethe_evict_script_of(policy);
}

/* reload(cache, made) -> true | nil, message, code */
static int l_reload(lua_State *L) {
  struct lcache *k = lcache_check(L, 1);
  struct change c = {.to = evict_peek(L, 2)};
  struct lethe_evict *before = NULL;
  lethe_safepoint(L);
  if (is_in_charge(k, c.to)) {
    lua_pushboolean(L, 1);
    return 1;
  }
  evict_set_keys(c.to, push_key, k);
  lua_State *outer = lcache_enter(L, k);
  int rc = swap(k, &c, &before);
  lcache_leave(k, outer);
  if (rc != LETHE_OK) return failed(L, rc, &c);
  evict_take(L, 2);
  lethe_evict_delete(before);
  lethe_settle(L);
  lua_pushboolean(L, 1);
  return 1;
}

/* limits(cache) -> what a policy of it counts up to */
static int l_policy_limit(lua_State *L) {
  lua_pushinteger(L, lethe_cache_policy(lcache_check(L, 1)->c)->limit);
  return 1;
}

static const luaL_Reg functions[] = {
    {"reload", l_reload}, {"policy_limit", l_policy_limit}, {NULL, NULL}};

void lcache_open_policy(lua_State *L) { luaL_setfuncs(L, functions, 0); }
