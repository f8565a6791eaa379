/* SPDX-License-Identifier: MIT
 * Backends in Lua: each call of the core goes to a runner, a coroutine that is kept for the next
 * call when this one is over. It is a task of the cache's loop, so that the backend may wait. Where
 * it does not, the call is over when the runner has been resumed once: nothing was made for it.
 * What runs in a runner is in lua/lethe/cache/backend.lua:
 *
 *   rest(Runner)      waits for a call, and returns its name, key and value; nothing: go away
 *   answer(Runner, …) what the backend said, for the core
 *
 * A runner that ends during a call, since its task was ended or is garbage, answers that it
 * failed. */
#include "cache.h"
#include "stop.h"

enum { MOST_RESTING = 32, MOST_NESTED = 32 };

enum call_name { CALL_LOAD, CALL_FLUSH, CALL_EVICT, CALL_BARRIER, CALL_NAMES };
static const char *const call_names[] = {"load", "flush", "evict", "barrier"};

struct runner {
  struct lethe_list node; /* among those of the cache that rest, or are busy */
  struct lcache *k;       /* NULL: it is gone */
  bool resting;
  lua_State *co;
  struct lethe_cache_call *call; /* under way, or NULL */
  enum call_name name;
};

static const struct lethe_alloc *const mem = &lethe_alloc_libc;
static char key_upcalls;              /* registry */
static _Thread_local unsigned nested; /* calls begun inside each other, on one C stack */
static _Thread_local unsigned ending; /* runners that end; in a stopped state nothing follows */

/* ---- runners --------------------------------------------------------------------------------- */

static void set_busy(struct runner *r, struct lcache *k) {
  if (r->resting) k->nresting--;
  r->resting = false;
  lethe_list_remove(&r->node);
  lethe_list_push(&k->busy, &r->node);
}

/* In front: what ran last is nearest. */
static void set_resting(struct runner *r, struct lcache *k) {
  lethe_list_remove(&r->node);
  lethe_list_insert(k->resting.next, &r->node);
  r->resting = true;
  k->nresting++;
}

static void end_runner(struct lethe_state *s, void *what, bool closed) {
  struct runner *r = what;
  struct lethe_cache_call *call = r->call;
  (void)s;
  (void)closed;
  if (r->k && r->resting) r->k->nresting--;
  lethe_list_remove(&r->node);
  lethe_free(mem, r, sizeof *r);
  ending++;
  if (call) lethe_cache_answer(call, LETHE_ECANCELLED, "the backend never answered", NULL);
  ending--;
}

const struct lethe_class lcache_runner_class = {
    .name = "lethe.cache.Runner", .end = end_runner, .hidden = true, .hot = true};

static void leave(struct lethe_list *list) {
  struct lethe_list *node;
  while ((node = lethe_list_shift(list)) != NULL)
    lethe_container_of(node, struct runner, node)->k = NULL;
}

void lcache_backend_end(struct lcache *k) {
  leave(&k->resting);
  leave(&k->busy);
}

/* (cache): upcalls.runner(own, Runner) makes its task, which comes to its first rest */
static int new_runner(lua_State *L) {
  struct lcache *k = lua_touserdata(L, 1);
  struct lethe_box *b = lethe_box_new(L, &lcache_runner_class, 0);
  struct runner *r = lethe_zalloc(mem, sizeof *r);
  if (!r) return lethe_nomemory(L);
  r->k = k;
  lethe_list_init(&r->node);
  set_busy(r, k);
  lethe_box_hold(L, b, r);
  lcache_push_upcall(L, "runner");
  lcache_push_own(L, k);
  lua_pushvalue(L, 2);
  lua_call(L, 2, 0);
  return 0;
}

/* One that rests, or NULL for want of memory. */
static struct runner *take_runner(lua_State *L, struct lcache *k) {
  if (lethe_list_empty(&k->resting)) {
    lua_pushcfunction(L, new_runner);
    lua_pushlightuserdata(L, k);
    lethe_call_reported(L, 1, 0);
  }
  if (lethe_list_empty(&k->resting)) return NULL;
  struct runner *r = lethe_container_of(k->resting.next, struct runner, node);
  set_busy(r, k);
  return r;
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* (name, coroutine, ...): upcalls[name](coroutine, ...) */
static int tell(lua_State *L) {
  lcache_push_upcall(L, lua_touserdata(L, 1));
  lua_replace(L, 1);
  lua_call(L, lua_gettop(L) - 1, 1);
  return 1;
}

static void push_tell(lua_State *L, const char *upcall, lua_State *co) {
  lua_pushcfunction(L, tell);
  lua_pushlightuserdata(L, (void *)upcall);
  lua_pushthread(co);
  lua_xmove(co, L, 1);
}

/* It came to its next rest, as nearly always, or waits, or has ended. */
static void resume(lua_State *L, struct runner *r) {
  lua_State *co = r->co;
  int n = 0;
  push_tell(L, "resumed", co); /* which keeps it as well */
  int rc = lethe_stop_resume(L, co, 0, &n);
  if (rc == LUA_YIELD && n == 1 && lua_touserdata(co, -1) == r && r->resting) {
    lua_pop(co, 1);
    lua_pop(L, 3);
    return;
  }
  lua_pushboolean(L, rc == LUA_OK || rc == LUA_YIELD);
  if (rc == LUA_OK || rc == LUA_YIELD) {
    lua_pop(co, n);
    lua_pushboolean(L, 1);
  } else {
    lua_xmove(co, L, 1);
  }
  if (lethe_call_reported(L, 4, 1)) lua_pop(L, 1);
}

/* Where nothing may wait, as under a hook that resizes or closes its cache, it begins with the next
 * turn. So does one inside many others, as in a long chain of caches that load from each other:
 * Lua's C stack would come to its end. */
static bool resume_later(lua_State *L, const struct runner *r) {
  push_tell(L, "later", r->co);
  if (!lethe_call_reported(L, 2, 1)) return false;
  bool sent = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return sent;
}

static void begin(struct lethe_cache_backend *b, struct lethe_cache_call *call,
                  enum call_name name) {
  struct lcache *k = lethe_container_of(b, struct lcache, backend);
  lua_State *L = k->state->turning;
  struct runner *r = NULL;
  if (ending > 0 && lethe_stop_wanted()) {
    lethe_cache_answer(call, LETHE_ECANCELLED, NULL, NULL);
    return;
  }
  unsigned held = lethe_stop_hold(1); /* but for what the backend does */
  if (!k->state->ended && lua_checkstack(L, LUA_MINSTACK)) r = take_runner(L, k);
  if (!r) {
    lethe_stop_hold(held);
    lethe_cache_answer(call, LETHE_ENOMEM, NULL, NULL);
    return;
  }
  r->call = call;
  r->name = name;
  if (k->state->no_wait == 0 && nested < MOST_NESTED) {
    nested++;
    resume(L, r);
    nested--;
  } else if (!resume_later(L, r)) {
    r->call = NULL;
    set_resting(r, k);
    lethe_cache_answer(call, LETHE_ENOMEM, NULL, NULL);
  }
  lethe_stop_hold(held);
}

static void begin_load(struct lethe_cache_backend *b, struct lethe_cache_call *call) {
  begin(b, call, CALL_LOAD);
}
static void begin_flush(struct lethe_cache_backend *b, struct lethe_cache_call *call) {
  begin(b, call, CALL_FLUSH);
}
static void begin_evict(struct lethe_cache_backend *b, struct lethe_cache_call *call) {
  begin(b, call, CALL_EVICT);
}
static void begin_barrier(struct lethe_cache_backend *b, struct lethe_cache_call *call) {
  begin(b, call, CALL_BARRIER);
}

/* It is part of the cache's own memory, which goes after it. */
static void end_backend(struct lethe_cache_backend *b) { (void)b; }

void lcache_backend_init(struct lcache *k, bool evicts, bool bars) {
  lethe_list_init(&k->resting);
  lethe_list_init(&k->busy);
  lethe_ref_init(&k->backend.refs);
  k->backend.destroy = end_backend;
  k->backend.load = begin_load;
  k->backend.flush = begin_flush;
  k->backend.evict = evicts ? begin_evict : NULL;
  k->backend.barrier = bars ? begin_barrier : NULL;
}

/* ---- in the runner --------------------------------------------------------------------------- */

static struct runner *check_runner(lua_State *L) {
  struct runner *r = lethe_hot(L, &lcache_runner_class);
  return r ? r : lethe_check(L, 1, &lcache_runner_class)->what;
}

static int wait_for_call(lua_State *L, int status, lua_KContext runner);

static int rest(lua_State *L, struct runner *r) {
  lua_settop(L, 0);
  lua_pushlightuserdata(L, r);
  return lua_yieldk(L, 1, (lua_KContext)r, wait_for_call);
}

/* The runner's call. Whoever else resumes its coroutine learns nothing by it. Upvalues: names. */
static int wait_for_call(lua_State *L, int status, lua_KContext runner) {
  struct runner *r = (struct runner *)runner;
  const struct lethe_cache_call *call = r->call;
  (void)status;
  if (!call) return rest(L, r);
  lua_settop(L, 0);
  lua_pushvalue(L, lua_upvalueindex(1 + (int)r->name));
  if (r->name == CALL_BARRIER) return 1;
  lcache_push_key(L, &call->key);
  if (!call->value) return 2;
  lcache_push_value(L, call->value);
  return 3;
}

/* rest(Runner) -> name, key, value */
static int l_rest(lua_State *L) {
  struct runner *r = check_runner(L);
  if (!r->k || r->k->nresting >= MOST_RESTING) return 0;
  r->co = L;
  set_resting(r, r->k);
  return rest(L, r);
}

/* answer(Runner, true [, value]): it went well; answer(Runner, false, message): it did not;
 * answer(Runner, nil): there is nothing under that key */
static int l_answer(lua_State *L) {
  struct runner *r = check_runner(L);
  struct lethe_cache_call *call = r->call;
  struct lethe_cache_value *value = NULL;
  if (!call) return 0;
  struct lcache *k = r->k;
  const char *message = lua_type(L, 3) == LUA_TSTRING ? lua_tostring(L, 3) : NULL;
  int code = lua_isnil(L, 2) ? LETHE_ENOTFOUND : lua_toboolean(L, 2) ? LETHE_OK : LETHE_ESYSTEM;
  if (code == LETHE_OK && !lua_isnoneornil(L, 3)) value = lcache_value(L, k, 3);
  struct lethe_cache *c = lethe_cache_get_ref(k->c);
  lua_State *outer = lcache_enter(L, k);
  r->call = NULL;
  lethe_cache_answer(call, code, message, value);
  lcache_leave(k, outer);
  lethe_cache_put_ref(c);
  lethe_settle(L);
  return 0;
}

/* ---- opening --------------------------------------------------------------------------------- */

void lcache_push_upcall(lua_State *L, const char *name) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_upcalls);
  lua_getfield(L, -1, name);
  lua_remove(L, -2);
}

/* upcalls{ get =, runner =, resumed =, later =, evicted =, failed =, dropped = } */
static int l_upcalls(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_pushvalue(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_upcalls);
  return 0;
}

void lcache_open_backend(lua_State *L) {
  static const luaL_Reg functions[] = {{"answer", l_answer}, {"upcalls", l_upcalls}, {NULL, NULL}};
  lethe_class(L, &lcache_runner_class);
  luaL_setfuncs(L, functions, 0);
  for (int i = 0; i < CALL_NAMES; i++) lua_pushstring(L, call_names[i]);
  lua_pushcclosure(L, l_rest, CALL_NAMES);
  lua_setfield(L, -2, "rest");
}
