/* SPDX-License-Identifier: MIT
 * lethe.core.worker: making workers, and what a Lua state keeps of those that it made until they end,
 * or until it does. */
#include <stdio.h>
#include <string.h>

#include "object.h"
#include "worker.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

static char key_keeper; /* registry: the state's keeper */

/* ---- a state's workers ------------------------------------------------------------------------ */

struct keeper {
  struct lethe_list workers;
};

enum { PATIENCE = 1 }; /* seconds that a state's end waits for its workers */

/* A worker whose failure nobody joins; at the state's end there is no Lua to hear of it. */
static bool is_unheard(const struct worker *w) {
  return w->outcome == WORKER_FAILED && !w->joined && w->joiners == 0;
}

static void forget_worker(struct worker *w) {
  lethe_list_remove(&w->node);
  worker_put(w);
}

/* worker -> details, message. As a task that failed unjoined it counts for the exit code. */
static int push_failure(lua_State *L) {
  struct worker *w = lua_touserdata(L, 1);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &lethe_key_shared);
  if (lua_getfield(L, -1, "loop") == LUA_TTABLE) {
    lua_getfield(L, -1, "failures");
    lua_pushinteger(L, lua_tointeger(L, -1) + 1);
    lua_setfield(L, -3, "failures");
  }
  lua_settop(L, 1);
  lua_createtable(L, 0, 2);
  lua_pushboolean(L, 1);
  lua_setfield(L, -2, "worker");
  if (w->name) {
    lua_pushstring(L, w->name);
    lua_setfield(L, -2, "name");
  }
  if (!w->results || lethe_unpack(L, w->results) != 1) lua_pushliteral(L, "not enough memory");
  return 2;
}

static void report_failure(struct worker *w) {
  lua_State *L = w->maker->turning;
  if (!lua_checkstack(L, LUA_MINSTACK)) return;
  lua_pushcfunction(L, push_failure);
  lua_pushlightuserdata(L, w);
  lethe_report(L, lua_pcall(L, 1, 2, 0) == LUA_OK);
}

/* The notice of a worker's end. While it is on its way the worker stays; see end_keeper. */
static void on_end(struct lethe_waiter *notice, bool closed) {
  struct worker *w = lethe_container_of(notice, struct worker, notice);
  lethe_channel_give_up(notice);
  if (w->maker && !closed) {
    worker_reap(w);
    if (is_unheard(w)) report_failure(w);
  }
  if (w->maker && closed) return; /* the loop is gone; the keeper will end it */
  forget_worker(w);
}

static void last_words(const struct worker *w) {
  const struct lethe_packed *p = w->results;
  size_t head = 1 + sizeof(size_t);
  if (!p || p->n < head) return;
  fprintf(stderr, "lethe: worker%s%s: %.*s\n", w->name ? " " : "", w->name ? w->name : "",
          (int)(p->n - head), (const char *)p->bytes + head);
}

/* The state ends: its workers are cancelled, and waited for. Those that do not end in time go on
 * until the process ends; nothing of this state is in their hands. */
static void end_keeper(struct lethe_state *s, void *what, bool closed) {
  struct keeper *k = what;
  struct lethe_list *node;
  (void)s;
  (void)closed;
  LETHE_LIST_EACH(each, &k->workers) {
    struct worker *w = lethe_container_of(each, struct worker, node);
    worker_cancel(w);
    lethe_channel_close(w->to);
    lethe_channel_end(w->from);
  }
  double until = lethe_clock_monotonic() + PATIENCE;
  while ((node = lethe_list_shift(&k->workers)) != NULL) {
    struct worker *w = lethe_container_of(node, struct worker, node);
    if (worker_wait(w, until)) {
      worker_reap(w);
      if (is_unheard(w)) last_words(w);
    } else {
      pthread_detach(w->thread);
    }
    w->maker = NULL;
    if (!lethe_channel_give_up(&w->notice)) worker_put(w);
  }
  lethe_free(mem, k, sizeof *k);
}

static const struct lethe_class keeper_class = {.name = "lethe.worker.Keeper", .end = end_keeper};

/* Made before any channel of its state, so that at the state's end, which goes by age, the workers are
 * cancelled before they could notice that they are alone. */
static struct keeper *keeper_of(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_keeper);
  struct lethe_box *b = lethe_test(L, -1, &keeper_class);
  if (!b || !b->what) {
    b = lethe_box_new(L, &keeper_class, 0);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key_keeper);
    struct keeper *k = lethe_zalloc(mem, sizeof *k);
    if (!k) lethe_nomemory(L);
    lethe_list_init(&k->workers);
    lethe_box_hold(L, b, k);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return b->what;
}

/* ---- starting --------------------------------------------------------------------------------- */

/* A worker that is being made: until it is started its state is ours. */
static void end_draft(struct lethe_state *s, void *what, bool closed) {
  struct worker *w = what;
  (void)s;
  (void)closed;
  if (!w->started && w->L) lua_close(w->L);
  worker_put(w);
}

static const struct lethe_class draft_class = {.name = "lethe.worker.Draft", .end = end_draft};

static void *limited(void *ud, void *p, size_t osize, size_t nsize) {
  struct worker *w = ud;
  size_t before = p ? osize : 0;
  if (nsize > before && (w->used > w->limit || nsize - before > w->limit - w->used)) return NULL;
  void *q = w->alloc(w->alloc_ud, p, osize, nsize);
  if (q || nsize == 0) w->used = w->used - before + nsize;
  return q;
}

static int open_state(lua_State *L) {
  struct worker *w = lua_touserdata(L, 1);
  luaL_openlibs(L);
  w->loop = lethe_loop_get(lethe_default_loop(L));
  return 0;
}

/* The state of a draft, from the maker's; false without memory. */
static bool make_state(lua_State *from, struct worker *w) {
  lua_State *L = luaL_newstate();
  if (!L) return false;
  w->L = L;
  lua_pushcfunction(L, open_state);
  lua_pushlightuserdata(L, w);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK || lethe_newstate_prepare(from, L) != LUA_OK) return false;
  w->used = (size_t)lua_gc(L, LUA_GCCOUNT) * 1024 + (size_t)lua_gc(L, LUA_GCCOUNTB);
  w->alloc = lua_getallocf(L, &w->alloc_ud);
  lua_setallocf(L, limited, w);
  return w->used <= w->limit;
}

/* Into the keeper's list, with a notice of its end. */
static void keep(lua_State *L, struct keeper *k, struct worker *w) {
  struct lethe_item *item;
  lethe_list_push(&k->workers, &worker_get(w)->node);
  w->maker = lethe_state(L);
  w->notice.loop = w->maker_loop;
  w->notice.idle = true;
  w->notice.done = on_end;
  lethe_channel_recv(w->end, &item, &w->notice);
}

static void unkeep(struct worker *w) {
  lethe_channel_give_up(&w->notice);
  w->maker = NULL;
  forget_worker(w);
}

enum { NAME = 1, MEMORY, KIND, WHAT, ACCOUNT, ARGS };

/* The draft, on the stack, without a state. */
static struct worker *push_draft(lua_State *L, int args) {
  lua_Integer limit = luaL_optinteger(L, MEMORY, -1);
  const char *name = luaL_optstring(L, NAME, NULL);
  struct lethe_box *b = lethe_box_new(L, &draft_class, 0);
  struct worker *w = worker_new(name, limit < 0 ? SIZE_MAX : (size_t)limit);
  if (!w) {
    lethe_nomemory(L);
    return NULL;
  }
  lethe_box_hold(L, b, w);
  w->args = lethe_pack_all(L, ARGS, args, "argument #", true, 2);
  w->setup = lethe_pack_all(L, KIND, 3, "setup", true, 2);
  w->maker_loop = lethe_loop_get(lethe_default_loop(L));
  return w;
}

/* start(name | nil, memory | nil, kind, what, account | nil, ...) -> Worker | nil, m, code */
static int l_start(lua_State *L) {
  int args = lua_gettop(L) - ACCOUNT;
  if (!lua_checkstack(L, LUA_MINSTACK)) return lethe_nomemory(L);
  lethe_safepoint(L);
  struct keeper *k = keeper_of(L);
  struct worker *w = push_draft(L, args);
  struct lethe_box *draft = lua_touserdata(L, -1);
  struct lethe_box *b = lethe_box_new(L, &worker_class, 0);
  if (!make_state(L, w)) {
    lethe_box_close(L, draft, &draft_class);
    return lethe_fail(L, LETHE_ENOMEM);
  }
  keep(L, k, w);
  int rc = worker_start(w);
  if (rc) {
    unkeep(w);
    lethe_box_close(L, draft, &draft_class);
    return lethe_fail(L, rc);
  }
  w->started = true;
  lethe_box_hold(L, b, worker_get(w));
  lethe_box_close(L, draft, &draft_class);
  return 1;
}

void worker_open_starting(lua_State *L) {
  static const luaL_Reg functions[] = {{"start", l_start}, {NULL, NULL}};
  lethe_class(L, &keeper_class);
  lethe_class(L, &draft_class);
  keeper_of(L);
  luaL_setfuncs(L, functions, 0);
}
