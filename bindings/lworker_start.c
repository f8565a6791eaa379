/* SPDX-License-Identifier: MIT
 * lethe.core.worker: making workers, and what a Lua state keeps of those that it made until they
 * end, or until it does.
 *
 * A state that is a worker's leaves those that still run at its end to the state that made it,
 * where they are orphans: their maker is closed to them, and they go on. They are cancelled when
 * that one ends and has nobody to leave them to, or when a worker above them is cancelled. */
#include <stdio.h>
#include <string.h>

#include "object.h"
#include "worker.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

static char key_keeper; /* registry: the state's keeper */

/* ---- a state's workers ----------------------------------------------------------------------- */

/* workers belongs to the state's thread. Orphans come from other threads: the lock is for them, for
 * closed and for heir. Each worker of the state holds the keeper, each keeper its heir. */
struct keeper {
  struct lethe_ref refs;
  struct worker *self; /* whose state this is, or NULL; borrowed */
  struct lethe_list workers;
  pthread_mutex_t lock;
  struct lethe_list orphans;
  bool closed;         /* the state ends: nobody is taken in */
  struct keeper *heir; /* closed: who takes them instead, or NULL */
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

static struct keeper *keeper_get(struct keeper *k) {
  if (k) lethe_ref_get(&k->refs);
  return k;
}

void keeper_put(struct keeper *k) {
  while (k && lethe_ref_put(&k->refs)) {
    struct keeper *heir = k->heir;
    pthread_mutex_destroy(&k->lock);
    lethe_free(mem, k, sizeof *k);
    k = heir;
  }
}

/* It is nobody's any more; whether it ended in time. */
static void let_go(struct worker *w, double until) {
  if (worker_wait(w, until)) {
    worker_reap(w);
    if (is_unheard(w)) last_words(w);
  } else {
    pthread_detach(w->thread);
  }
}

/* With the lock: those that have ended since. */
static void reap_orphans(struct keeper *k) {
  LETHE_LIST_EACH_SAFE(node, &k->orphans) {
    struct worker *w = lethe_container_of(node, struct worker, orphan);
    if (!worker_wait(w, 0)) continue;
    lethe_list_remove(node);
    let_go(w, 0);
    worker_put(w);
  }
}

/* Whether somebody takes it in: k, its heir, or the heir's. It leaves the list that it was in. */
static bool adopt(struct keeper *k, struct worker *w) {
  while (k) {
    pthread_mutex_lock(&k->lock);
    bool open = !k->closed;
    struct keeper *heir = k->heir;
    if (open) {
      reap_orphans(k);
      lethe_list_remove(&w->orphan);
      lethe_list_push(&k->orphans, &worker_get(w)->orphan);
    }
    pthread_mutex_unlock(&k->lock);
    if (open) return true;
    k = heir;
  }
  return false;
}

/* The first that is open, from k on up; so a line of workers that end does not grow. */
static struct keeper *open_one(struct keeper *k) {
  while (k) {
    pthread_mutex_lock(&k->lock);
    bool open = !k->closed;
    struct keeper *heir = k->heir;
    pthread_mutex_unlock(&k->lock);
    if (open) return k;
    k = heir;
  }
  return NULL;
}

/* Who takes over what the state leaves; NULL: it is cancelled. */
static struct keeper *heir_of(const struct keeper *k) {
  if (!k->self) return NULL;
  pthread_mutex_lock(&k->self->lock);
  bool cancelled = k->self->cancelled;
  pthread_mutex_unlock(&k->self->lock);
  return cancelled ? NULL : open_one(k->self->home);
}

/* No orphans come after this; those that are there are the list's. */
static void close_keeper(struct keeper *k, struct keeper *heir, struct lethe_list *orphans) {
  struct lethe_list *node;
  pthread_mutex_lock(&k->lock);
  k->closed = true;
  k->heir = keeper_get(heir);
  while ((node = lethe_list_shift(&k->orphans)) != NULL) lethe_list_push(orphans, node);
  pthread_mutex_unlock(&k->lock);
}

/* Its maker ends: a worker that runs is left to the heir, or cancelled. Whoever finds nothing more
 * to receive cannot send any more either. */
static void leave(struct keeper *heir, struct worker *w) {
  w->left = !worker_wait(w, 0) && adopt(heir, w);
  if (!w->left) worker_cancel(w);
  lethe_channel_end(w->from);
  lethe_channel_close(w->to);
}

/* Those of before go to the heir too; who is refused is cancelled, and stays in the list. */
static void leave_orphans(struct keeper *heir, struct lethe_list *orphans) {
  LETHE_LIST_EACH_SAFE(node, orphans) {
    struct worker *w = lethe_container_of(node, struct worker, orphan);
    if (adopt(heir, w))
      worker_put(w);
    else
      worker_cancel(w);
  }
}

/* The state ends. Its workers are left to its heir; else they are cancelled, and waited for: those
 * that do not end in time go on until the process ends. Nothing of this state is in their hands. */
static void end_keeper(struct lethe_state *s, void *what, bool closed) {
  struct keeper *k = what, *heir = heir_of(k);
  struct lethe_list orphans, *node;
  (void)s;
  (void)closed;
  lethe_list_init(&orphans);
  close_keeper(k, heir, &orphans);
  LETHE_LIST_EACH(each, &k->workers) leave(heir, lethe_container_of(each, struct worker, node));
  leave_orphans(heir, &orphans);
  double until = lethe_clock_monotonic() + PATIENCE;
  while ((node = lethe_list_shift(&k->workers)) != NULL) {
    struct worker *w = lethe_container_of(node, struct worker, node);
    if (!w->left) let_go(w, until);
    w->maker = NULL;
    if (!lethe_channel_give_up(&w->notice)) worker_put(w);
  }
  while ((node = lethe_list_shift(&orphans)) != NULL) {
    struct worker *w = lethe_container_of(node, struct worker, orphan);
    let_go(w, until);
    worker_put(w);
  }
  keeper_put(k);
}

static const struct lethe_class keeper_class = {.name = "lethe.worker.Keeper", .end = end_keeper};

/* Made before any channel of its state, so that at the state's end, which goes by age, the workers
 * are cancelled before they could notice that they are alone. */
static struct keeper *keeper_of(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_keeper);
  struct lethe_box *b = lethe_test(L, -1, &keeper_class);
  if (!b || !b->what) {
    b = lethe_box_new(L, &keeper_class, 0);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key_keeper);
    struct keeper *k = lethe_zalloc(mem, sizeof *k);
    if (!k) lethe_nomemory(L);
    lethe_ref_init(&k->refs);
    pthread_mutex_init(&k->lock, NULL);
    lethe_list_init(&k->workers);
    lethe_list_init(&k->orphans);
    lethe_box_hold(L, b, k);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return b->what;
}

/* ---- starting -------------------------------------------------------------------------------- */

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
  k->self = worker_self(L);
  w->home = keeper_get(k);
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
