/* SPDX-License-Identifier: MIT
 * What a cache asks of Lua and of a quota account, and what it tells Lua. It tells when a call or a
 * turn of the loop ends, and every word is a task of its own. */
#include <math.h>
#include <string.h>

#include "cache.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;
static char key_settler; /* registry: of the state, a userdata */

struct settler {
  struct lethe_settler settler;
  struct lethe_list pending; /* caches with notices */
};

/* ---- notices --------------------------------------------------------------------------------- */

static struct settler *settler_of(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_settler);
  struct settler *s = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return s;
}

static void free_notice(struct lcache_notice *n) {
  lcache_free_key(&n->key);
  lethe_cache_value_put(n->value);
  lethe_cache_value_put(n->message);
  lethe_free(mem, n, sizeof *n);
}

void lcache_drop_notices(struct lcache *k) {
  struct lethe_list *node;
  lethe_list_remove(&k->node);
  while ((node = lethe_list_shift(&k->notices)) != NULL)
    free_notice(lethe_container_of(node, struct lcache_notice, node));
}

/* Without memory nobody hears of it. */
static void notice(struct lcache *k, int kind, const struct lethe_cache_key *key,
                   struct lethe_cache_value *value, const char *message) {
  struct lcache_notice *n = k->state->ended ? NULL : lethe_zalloc(mem, sizeof *n);
  if (!n) return;
  if (!lcache_copy_key(&n->key, key)) {
    lethe_free(mem, n, sizeof *n);
    return;
  }
  n->kind = kind;
  n->value = lethe_cache_value_get(value);
  if (message) n->message = lethe_cache_bytes(mem, message, strlen(message) + 1);
  lethe_list_push(&k->notices, &n->node);
  lethe_list_remove(&k->node);
  lethe_list_push(&k->settler->pending, &k->node);
}

static const char *const reasons[] = {[LETHE_CACHE_CAPACITY] = "capacity",
                                      [LETHE_CACHE_TTL] = "ttl",
                                      [LETHE_CACHE_REMOVED] = "removed",
                                      [LETHE_CACHE_RECLAIMED] = "reclaimed"};

/* upcalls.evicted(own, key, value, reason) or upcalls.failed(own, key, message) */
static int tell(lua_State *L) {
  struct lcache *k = lua_touserdata(L, 1);
  struct lcache_notice *n = lua_touserdata(L, 2);
  lcache_push_upcall(L, n->kind == NOTICE_FAILED ? "failed" : "evicted");
  lcache_push_own(L, k);
  lcache_push_key(L, &n->key);
  if (n->kind == NOTICE_FAILED) {
    lua_pushstring(L, n->message ? (const char *)n->message->data : lethe_strerror(LETHE_EFLUSH));
    lua_call(L, 3, 0);
  } else {
    lcache_push_value(L, n->value);
    lua_pushstring(L, reasons[n->kind]);
    lua_call(L, 4, 0);
  }
  return 0;
}

/* upcalls.dropped(own, keys): of all that close has dropped */
static int tell_dropped(lua_State *L) {
  struct lcache *k = lua_touserdata(L, 1);
  lua_Integer i = 0;
  lcache_push_upcall(L, "dropped");
  lcache_push_own(L, k);
  lua_newtable(L);
  LETHE_LIST_EACH(node, &k->notices) {
    struct lcache_notice *n = lethe_container_of(node, struct lcache_notice, node);
    if (n->kind != NOTICE_DROPPED) continue;
    lcache_push_key(L, &n->key);
    lua_rawseti(L, -2, ++i);
  }
  lua_call(L, 2, 0);
  return 0;
}

static void forget_dropped(struct lcache *k) {
  LETHE_LIST_EACH_SAFE(node, &k->notices) {
    struct lcache_notice *n = lethe_container_of(node, struct lcache_notice, node);
    if (n->kind != NOTICE_DROPPED) continue;
    lethe_list_remove(node);
    free_notice(n);
  }
}

static void deliver_one(struct lcache *k, lua_State *L) {
  struct lcache_notice *n = lethe_container_of(k->notices.next, struct lcache_notice, node);
  if (n->kind == NOTICE_DROPPED) {
    lua_pushcfunction(L, tell_dropped);
    lua_pushlightuserdata(L, k);
    lethe_call_reported(L, 1, 0);
    forget_dropped(k);
    return;
  }
  lethe_list_remove(&n->node);
  lua_pushcfunction(L, tell);
  lua_pushlightuserdata(L, k);
  lua_pushlightuserdata(L, n);
  lethe_call_reported(L, 2, 0);
  free_notice(n);
}

static bool pending(struct lethe_settler *self) {
  return !lethe_list_empty(&lethe_container_of(self, struct settler, settler)->pending);
}

static void deliver(struct lethe_settler *self, lua_State *L) {
  struct settler *s = lethe_container_of(self, struct settler, settler);
  while (!lethe_list_empty(&s->pending)) {
    struct lcache *k = lethe_container_of(s->pending.next, struct lcache, node);
    if (lethe_list_empty(&k->notices)) {
      lethe_list_remove(&k->node);
      if (k->gone) lcache_free(k);
    } else {
      deliver_one(k, L);
    }
  }
}

/* ---- hooks ----------------------------------------------------------------------------------- */

struct weighing {
  struct lcache *k;
  const struct lethe_cache_key *key;
  struct lethe_cache_value *value;
};

/* own.weigh(key, value) -> bytes */
static int call_weigh(lua_State *L) {
  struct weighing *w = lua_touserdata(L, 1);
  lcache_push_own(L, w->k);
  lua_getfield(L, -1, "weigh");
  lcache_push_key(L, w->key);
  lcache_push_value(L, w->value);
  lua_call(L, 2, 1);
  lua_Number n = lua_tonumber(L, -1);
  if (lua_type(L, -1) != LUA_TNUMBER || !(n >= 0 && n < 0x1p62))
    return luaL_error(L, "weigh must return a number of bytes (got %s)",
                      lua_type(L, -1) == LUA_TNUMBER ? lua_tostring(L, -1) : luaL_typename(L, -1));
  lua_pushinteger(L, (lua_Integer)ceil(n));
  return 1;
}

static int64_t weigh(void *ud, const struct lethe_cache_key *key, struct lethe_cache_value *value) {
  struct lcache *k = ud;
  lua_State *L = k->state->turning;
  int64_t size = (int64_t)value->size;
  if (!k->weighs || k->state->ended || !lua_checkstack(L, LUA_MINSTACK)) return size;
  struct weighing w = {k, key, value};
  lua_pushcfunction(L, call_weigh);
  lua_pushlightuserdata(L, &w);
  k->state->no_wait++;
  if (lethe_call_reported(L, 1, 1)) {
    size = lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
  k->state->no_wait--;
  return size;
}

static void evicted(void *ud, const struct lethe_cache_key *key, struct lethe_cache_value *value,
                    enum lethe_cache_reason reason) {
  struct lcache *k = ud;
  if (k->listens) notice(k, (int)reason, key, value, NULL);
}

static void failed(void *ud, const struct lethe_cache_key *key, const char *message) {
  notice(ud, NOTICE_FAILED, key, NULL, message);
}

static void dropped(void *ud, const struct lethe_cache_key *key, struct lethe_cache_value *value) {
  (void)value;
  notice(ud, NOTICE_DROPPED, key, NULL, NULL);
}

static int claim(void *ud, int64_t n) {
  return lethe_quota_claim(&((struct lcache *)ud)->handle, n);
}

static void release(void *ud, int64_t n) { lethe_quota_release(&((struct lcache *)ud)->handle, n); }

static bool is_watching(const struct lcache *k, const struct lcache_watcher *one) {
  const struct lcache_watcher *w = k->watchers;
  while (w && w != one) w = w->next;
  return w != NULL;
}

/* A watcher may be a script that ends others. */
static void seen(void *ud, const struct lethe_cache_key *key, int64_t size, bool hit) {
  struct lcache *k = ud;
  for (struct lcache_watcher *w = k->watchers, *next; w; w = next) {
    next = w->next;
    w->seen(w, key, size, hit);
    if (next && !is_watching(k, next)) break;
  }
}

static void gone(void *ud) {
  struct lcache *k = ud;
  struct lcache_watcher *w;
  while ((w = k->watchers) != NULL) {
    k->watchers = w->next;
    w->gone(w);
  }
  k->gone = true;
  if (k->state->ended) lcache_drop_notices(k);
  if (lethe_list_empty(&k->notices)) lcache_free(k);
}

const struct lethe_cache_hooks lcache_hooks = {.weigh = weigh,
                                               .evicted = evicted,
                                               .failed = failed,
                                               .dropped = dropped,
                                               .seen = seen,
                                               .gone = gone};

const struct lethe_cache_hooks lcache_charged_hooks = {.weigh = weigh,
                                                       .evicted = evicted,
                                                       .failed = failed,
                                                       .dropped = dropped,
                                                       .claim = claim,
                                                       .release = release,
                                                       .seen = seen,
                                                       .gone = gone};

/* ---- opening --------------------------------------------------------------------------------- */

void lcache_attend(lua_State *L, struct lcache *k) { k->settler = settler_of(L); }

void lcache_open_hooks(lua_State *L) {
  if (settler_of(L)) return;
  struct lethe_state *state = lethe_state(L);
  struct settler *s = lua_newuserdatauv(L, sizeof *s, 0);
  lethe_list_init(&s->pending);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_settler);
  s->settler = (struct lethe_settler){state->settlers, pending, deliver};
  state->settlers = &s->settler;
}
