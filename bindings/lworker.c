/* SPDX-License-Identifier: MIT
 * lethe.core.worker: workers for the Lua side (lua/lethe/worker.lua), where waiting and the checks
 * of options are. Channels and waits are in lchannel.c, making workers is in lworker_start.c. */
#include <stdio.h>

#include "object.h"
#include "worker.h"

static char key_self;   /* registry, in a worker's state: the worker, light */
static char key_parent; /* and its Parent object */
static char key_cancel; /* and what is called when it is cancelled */

/* ---- workers as objects ---------------------------------------------------------------------- */

static void end_worker(struct lethe_state *s, void *what, bool closed) {
  (void)s;
  if (closed) worker_cancel(what);
  worker_put(what);
}

static void label_worker(void *what, char *buf, size_t n) {
  const struct worker *w = what;
  snprintf(buf, n, "%s", w->name ? w->name : "");
}

const struct lethe_class worker_class = {
    .name = "lethe.worker.Worker", .end = end_worker, .label = label_worker, .leaks = true};

static void end_parent(struct lethe_state *s, void *what, bool closed) {
  (void)s;
  (void)closed;
  worker_put(what);
}

const struct lethe_class worker_parent_class = {.name = "lethe.worker.Parent", .end = end_parent};

struct worker *worker_self(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_self);
  struct worker *w = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return w;
}

/* parent() -> Parent | nil */
static int l_parent(lua_State *L) {
  struct worker *w = worker_self(L);
  if (!w) {
    lua_pushnil(L);
    return 1;
  }
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_parent);
  struct lethe_box *b = lethe_test(L, -1, &worker_parent_class);
  if (b && b->what) return 1;
  b = lethe_box_new(L, &worker_parent_class, 0);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_parent);
  lethe_box_hold(L, b, worker_get(w));
  return 1;
}

/* ---- what is asked of a worker --------------------------------------------------------------- */

static struct worker *check_worker(lua_State *L) {
  lethe_safepoint(L);
  return lethe_check(L, 1, &worker_class)->what;
}

static int l_cancel(lua_State *L) {
  worker_cancel(check_worker(L));
  lethe_settle(L);
  return 0;
}

/* results(worker) of one that has ended -> ... | nil, m, code */
static int l_results(lua_State *L) {
  struct worker *w = check_worker(L);
  lua_settop(L, 1);
  worker_reap(w);
  w->joined = true;
  if (w->outcome == WORKER_CANCELLED)
    return lethe_failf(L, LETHE_ECANCELLED, "the worker was cancelled");
  if (w->outcome == WORKER_DONE) return lethe_unpack(L, w->results);
  luaL_pushfail(L);
  if (!w->results || lethe_unpack(L, w->results) != 1) lua_pushliteral(L, "not enough memory");
  lua_pushliteral(L, "failed");
  return 3;
}

static int l_name(lua_State *L) {
  struct worker *w = check_worker(L);
  lua_pushstring(L, w->name);
  return 1;
}

/* ---- in the worker --------------------------------------------------------------------------- */

/* boot.run(kind, what, account, ...) -> true, ... | false, message */
int worker_main(lua_State *L) {
  struct worker *w = lua_touserdata(L, 1);
  lua_pushlightuserdata(L, w);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_self);
  lethe_stop_open(L);
  lua_settop(L, 0);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "lethe.worker.boot");
  lua_call(L, 1, 1);
  lua_getfield(L, 1, "run");
  int n = lethe_unpack(L, w->setup);
  n += lethe_unpack(L, w->args);
  lethe_packed_free(w->setup);
  lethe_packed_free(w->args);
  w->setup = w->args = NULL;
  lua_call(L, n, LUA_MULTRET);
  bool done = lua_toboolean(L, 2);
  n = lua_gettop(L) - 2;
  w->results = lethe_pack_all(L, 3, n, done ? "result #" : "message", done, 0);
  lua_pushboolean(L, done);
  return 1;
}

/* In a turn of its loop. What there is to do needs no leave of the limit. */
void worker_on_cancel(struct worker *w) {
  lua_State *L = lethe_state(w->L)->turning;
  w->limit = SIZE_MAX;
  if (!lua_checkstack(L, LUA_MINSTACK)) return;
  unsigned held = lethe_stop_hold(1);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key_cancel) == LUA_TFUNCTION)
    lethe_call_reported(L, 0, 0);
  else
    lua_pop(L, 1);
  lethe_stop_hold(held);
  lethe_stop_rearm(L);
}

/* on_cancel(fn) */
static int l_on_cancel(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_settop(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_cancel);
  return 0;
}

static int l_cancelled(lua_State *L) {
  lua_pushboolean(L, lethe_stop_wanted());
  return 1;
}

/* in_close(coroutine) -> whether it stands inside a __close */
static int l_in_close(lua_State *L) {
  lua_State *co = lua_tothread(L, 1);
  luaL_argexpected(L, co && co != L, 1, "another coroutine");
  lua_pushboolean(L, lethe_stop_in_close(co));
  return 1;
}

static const luaL_Reg functions[] = {{"parent", l_parent},       {"cancel", l_cancel},
                                     {"results", l_results},     {"name", l_name},
                                     {"on_cancel", l_on_cancel}, {"cancelled", l_cancelled},
                                     {"in_close", l_in_close},   {NULL, NULL}};

int luaopen_lethe_core_worker(lua_State *L) {
  luaL_checkversion(L);
  lethe_class(L, &worker_class);
  lethe_class(L, &worker_parent_class);
  luaL_newlib(L, functions);
  worker_open_channels(L);
  worker_open_starting(L);
  lethe_methods(L, &worker_channel_class, "Channel");
  lethe_methods(L, &worker_class, "Worker");
  lethe_methods(L, &worker_parent_class, "Parent");
  return 1;
}
