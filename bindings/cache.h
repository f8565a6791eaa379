/* SPDX-License-Identifier: MIT
 * What the files of the cache binding share: a cache with the Lua values in it.
 *
 * Beside each cache stands a table, its own, in the Lua registry: what its Lua side keeps (the
 * backend, functions, the loop) under names, and the values by slot. It is
 * there as long as the cache in C is, which outlives its object where something is still to be
 * written. So a value, or a backend, that refers to the Cache keeps it from being collected. */
#ifndef LETHE_BINDINGS_CACHE_H
#define LETHE_BINDINGS_CACHE_H

#include "common.h"
#include "lethe/cache.h"
#include "quota.h"

/* A value of Lua's. A string's bytes can be read without Lua. Values stand in pages, whose
 * addresses tell from that of a value: so its slot is known without a look at it. */
struct lcache_value {
  struct lethe_cache_value value;
  struct lcache_value *next; /* among the spare ones */
};
enum { LCACHE_PAGE = 4096 };
struct lcache_page {
  struct lcache *cache;
  lua_Integer first; /* slot of the first value */
  struct lcache_value values[];
};

/* Somebody who sees every access: a recorder, a shadow. Caller's memory while it is in the list. */
struct lcache_watcher {
  struct lcache_watcher *next;
  void (*seen)(struct lcache_watcher *w, const struct lethe_cache_key *key, int64_t size, bool hit);
  void (*gone)(struct lcache_watcher *w); /* the cache is; it is out of the list */
};

/* What Lua is still to be told. */
struct lcache_notice {
  struct lethe_list node;
  int kind; /* reason of an eviction, or one of the next */
  struct lethe_cache_key key;
  struct lethe_cache_value *value, *message;
};
enum { NOTICE_FAILED = 100, NOTICE_DROPPED };

struct settler;
struct lcache_arena;

struct lcache {
  struct lethe_cache *c;
  struct lethe_state *state;
  struct lethe_cache_backend backend; /* that calls Lua */
  int own;                            /* its table, a reference of the registry */
  struct lethe_list resting, busy;    /* runners of the backend's calls */
  unsigned nresting;
  struct lcache_value *spare;
  struct lcache_arena *arenas; /* of pages; the latest first */
  lua_Integer slots;
  struct lethe_list node, notices; /* among the state's caches that have some */
  struct settler *settler;
  struct lcache_watcher *watchers;
  bool weighs, listens;
  bool gone;         /* c is: what is left are notices */
  bool ended;        /* its object is, while it was entered */
  unsigned entered;  /* calls under way, from which the core may call Lua back */
  struct port *port; /* of the account */
  struct lethe_quota_handle handle;
  char name[64];
};

extern const struct lethe_class lcache_class, lcache_hold_class, lcache_wait_class,
    lcache_runner_class;

/* The open cache at `arg`; raises for anything else. */
struct lcache *lcache_check(lua_State *L, int arg);
/* The same at 1, for methods that must be fast. */
static inline struct lcache *lcache_hot(lua_State *L) {
  struct lcache *k = lethe_hot(L, &lcache_class);
  return k ? k : lcache_check(L, 1);
}
/* While the core may call Lua back it does so on L. Whatever that closes, k stays until it is
 * left. */
static inline lua_State *lcache_enter(lua_State *L, struct lcache *k) {
  lua_State *outer = k->state->turning;
  k->state->turning = L;
  k->entered++;
  return outer;
}
static inline void lcache_leave(struct lcache *k, lua_State *outer) {
  k->state->turning = outer;
  if (--k->entered > 0 || !k->ended) return;
  k->ended = false;
  lethe_cache_close(k->c); /* what its policy closed while it was asked is still there */
  lethe_cache_put_ref(k->c);
}

/* ---- cache_value.c --------------------------------------------------------------------------- */

/* Pushes the cache's own table. */
void lcache_push_own(lua_State *L, const struct lcache *k);
/* Makes the table at stack index i that. May raise. */
void lcache_set_own(lua_State *L, struct lcache *k, int i);
/* The key at `arg`, borrowed from the stack; false for what is none. */
bool lcache_tokey(lua_State *L, int arg, struct lethe_cache_key *key);
/* The same, and raises where `level` says. */
void lcache_checkkey(lua_State *L, int arg, int level, struct lethe_cache_key *key);
void lcache_push_key(lua_State *L, const struct lethe_cache_key *key);
bool lcache_copy_key(struct lethe_cache_key *to, const struct lethe_cache_key *from);
void lcache_free_key(struct lethe_cache_key *key);
/* A value for what is at stack index i. Raises without memory. */
struct lethe_cache_value *lcache_value(lua_State *L, struct lcache *k, int i);
void lcache_push_value(lua_State *L, const struct lethe_cache_value *v);
/* The same, with something below the value. */
void lcache_push_found(lua_State *L, const struct lcache *k, const struct lethe_cache_value *v);
/* All is given back. */
void lcache_free_values(struct lcache *k);

/* ---- the others ------------------------------------------------------------------------------ */

/* The calls of a backend in Lua, and of their end: what runs them outlives the cache. */
void lcache_backend_init(struct lcache *k, bool evicts, bool bars);
void lcache_backend_end(struct lcache *k);
/* upcalls[name] of lua/lethe/cache, pushed. */
void lcache_push_upcall(lua_State *L, const char *name);
void lcache_drop_notices(struct lcache *k);
/* Its notices are delivered in this state. */
void lcache_attend(lua_State *L, struct lcache *k);
extern const struct lethe_cache_hooks lcache_hooks, lcache_charged_hooks;
/* lcache.c: after c is gone and all notices are told. */
void lcache_free(struct lcache *k);

/* cache_policy.c: the cache has that policy now, whose hooks get its keys. */
void lcache_set_policy(struct lcache *k, struct lethe_evict *policy);
void lcache_open_policy(lua_State *L);
void lcache_open_shadow(lua_State *L);

/* cache_wait.c: pushes what get(key) of the cache at 1 results in, or a Wait; false: that waits. */
bool lcache_get(lua_State *L, const struct lethe_cache_key *key);

/* cache_hold.c: a Hold, which takes the entry out of *held. May raise, and then has not. */
int lcache_push_hold(lua_State *L, struct lcache *k, struct lethe_cache_entry **held);

/* Each adds what it has to the module's table on top. */
void lcache_open_value(lua_State *L);
void lcache_open_backend(lua_State *L);
void lcache_open_wait(lua_State *L);
void lcache_open_hold(lua_State *L);
void lcache_open_hooks(lua_State *L);

#endif
