/* SPDX-License-Identifier: MIT
 * lethe.core.worker: workers and channels for the Lua side (lua/lethe/worker.lua), where waiting and
 * the checks of options are.
 *
 * A wait is an object: it holds the waiter that a channel knows, and hands what was received to Lua
 * when the task that waited goes on, so that what comes for a task that is gone goes back. */
#include <stdio.h>
#include <string.h>

#include "callback.h"
#include "worker.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

static char key_channels; /* registry: the Channel objects by channel, weak */
static char key_keeper;   /* the state's keeper */
static char key_self;     /* in a worker's state: the worker, light */
static char key_parent;   /* and its Parent object */
static char key_cancel;   /* and what is called when it is cancelled */

/* ---- channels -------------------------------------------------------------------------------- */

static void end_channel(struct lethe_state *s, void *what, bool closed) {
  (void)s;
  (void)closed;
  lethe_channel_put(what);
}

/* Channel:close() is for all holders; the object goes on, so that what is in it can be received. */
static int channel_close(lua_State *L);
static int channel_tostring(lua_State *L);
static void *channel_share(void *what) { return lethe_channel_get(what); }
static void channel_drop(void *shared) { lethe_channel_put(shared); }
static void channel_receive(lua_State *L, void *shared);

static const luaL_Reg channel_methods[] = {{"close", channel_close}, {NULL, NULL}};
static const luaL_Reg channel_metamethods[] = {
    {"__close", channel_close}, {"__tostring", channel_tostring}, {NULL, NULL}};

static const struct lethe_class channel_class = {.name = "lethe.worker.Channel",
                                                 .end = end_channel,
                                                 .methods = channel_methods,
                                                 .metamethods = channel_metamethods,
                                                 .share = channel_share,
                                                 .drop = channel_drop,
                                                 .receive = channel_receive};

static int channel_close(lua_State *L) {
  struct lethe_box *b = lethe_test(L, 1, &channel_class);
  luaL_argexpected(L, b != NULL, 1, channel_class.name);
  lethe_safepoint(L);
  if (b->what) lethe_channel_close(b->what);
  lua_pushboolean(L, 1);
  return 1;
}

static int channel_tostring(lua_State *L) {
  struct lethe_box *b = luaL_checkudata(L, 1, channel_class.name);
  bool closed = !b->what || lethe_channel_is_closed(b->what);
  lua_pushfstring(L, "%s: %p%s", channel_class.name, lua_topointer(L, 1),
                  closed ? " (closed)" : "");
  return 1;
}

/* Makes the empty box on top the state's object for the channel; a holder is the box's now. */
static void hold_channel(lua_State *L, struct lethe_box *b, struct lethe_channel *c) {
  lethe_box_hold(L, b, c);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_channels);
  lua_pushvalue(L, -2);
  lua_rawsetp(L, -2, c);
  lua_pop(L, 1);
}

static void channel_receive(lua_State *L, void *shared) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_channels);
  lua_rawgetp(L, -1, shared);
  lua_remove(L, -2);
  struct lethe_box *b = lethe_test(L, -1, &channel_class);
  if (b && b->what) return;
  lua_pop(L, 1);
  b = lethe_box_new(L, &channel_class, 0);
  hold_channel(L, b, lethe_channel_get(shared));
}

/* channel(capacity | nil) */
static int l_channel(lua_State *L) {
  lua_Integer capacity = luaL_optinteger(L, 1, -1);
  struct lethe_channel *c;
  lethe_safepoint(L);
  struct lethe_box *b = lethe_box_new(L, &channel_class, 0);
  if (lethe_channel_new(&c, capacity < 0 ? LETHE_UNBOUNDED : (uint64_t)capacity) != LETHE_OK)
    return lethe_nomemory(L);
  hold_channel(L, b, c);
  return 1;
}

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

static const struct lethe_class worker_class = {
    .name = "lethe.worker.Worker", .end = end_worker, .label = label_worker, .leaks = true};

static void end_parent(struct lethe_state *s, void *what, bool closed) {
  (void)s;
  (void)closed;
  worker_put(what);
}

static const struct lethe_class parent_class = {.name = "lethe.worker.Parent", .end = end_parent};

static struct worker *self_of(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_self);
  struct worker *w = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return w;
}

/* parent() -> Parent | nil */
static int l_parent(lua_State *L) {
  struct worker *w = self_of(L);
  if (!w) {
    lua_pushnil(L);
    return 1;
  }
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_parent);
  struct lethe_box *b = lethe_test(L, -1, &parent_class);
  if (b && b->what) return 1;
  b = lethe_box_new(L, &parent_class, 0);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_parent);
  lethe_box_hold(L, b, worker_get(w));
  return 1;
}

/* ---- the two ends of what can be sent through ------------------------------------------------- */

enum direction { SEND, RECV, JOIN };

/* Where the object at `arg` sends to or receives from; `gone` says what it means that it is closed. */
static struct lethe_channel *channel_at(lua_State *L, int arg, enum direction d,
                                        const char **gone) {
  struct lethe_box *b = lethe_test(L, arg, &channel_class);
  *gone = "the channel is closed";
  if (b && b->what) return b->what;
  b = lethe_test(L, arg, &parent_class);
  *gone = "the worker's maker has ended";
  if (b && b->what)
    return d == SEND ? ((struct worker *)b->what)->from : ((struct worker *)b->what)->to;
  struct worker *w = lethe_check(L, arg, &worker_class)->what;
  *gone = "the worker has ended";
  return d == JOIN ? w->end : d == SEND ? w->to : w->from;
}

static int l_unpack(lua_State *L) { return lethe_unpack(L, lua_touserdata(L, 1)); }

/* Pushes what an item is, and frees it. Without memory for that it goes back. */
static void push_item(lua_State *L, struct lethe_channel *c, struct lethe_item *item) {
  lua_pushcfunction(L, l_unpack);
  lua_pushlightuserdata(L, lethe_packed_of(item));
  int rc = lua_pcall(L, 1, 1, 0);
  if (rc == LUA_ERRMEM && c)
    lethe_channel_give_back(c, item);
  else
    item->free(item);
  if (rc != LUA_OK) lua_error(L);
}

/* ---- waits ----------------------------------------------------------------------------------- */

struct wait {
  struct lethe_waiter waiter;
  enum direction direction;
  const char *gone;
  struct lethe_callback *callback; /* that is called with the answer; NULL: none, or no more */
  struct worker *joins;
  bool orphan; /* its object is gone, a message is under way */
};

enum { OBJECT = 1, VALUE }; /* user values of a wait: what it waits on, what it sends */

static void free_wait(struct wait *k) {
  if (k->waiter.item) k->waiter.item->free(k->waiter.item);
  if (k->waiter.loop) lethe_loop_put(k->waiter.loop);
  lethe_free(mem, k, sizeof *k);
}

static void end_wait(struct lethe_state *s, void *what, bool closed) {
  struct wait *k = what;
  (void)closed;
  if (k->callback && !s->ended && lua_checkstack(s->main, LUA_MINSTACK))
    lethe_callback_unchain(s->main, k->callback);
  k->callback = NULL;
  if (k->joins) {
    k->joins->joiners--;
    worker_put(k->joins);
    k->joins = NULL;
  }
  k->orphan = lethe_channel_give_up(&k->waiter);
  if (!k->orphan) free_wait(k);
}

static const struct lethe_class wait_class = {.name = "lethe.worker.Wait", .end = end_wait};

static void on_answer(struct lethe_waiter *w, bool closed) {
  struct wait *k = lethe_container_of(w, struct wait, waiter);
  if (k->orphan) {
    lethe_channel_give_up(w);
    free_wait(k);
    return;
  }
  struct lethe_callback *c = k->callback;
  k->callback = NULL;
  if (c) lethe_callback_on_message(&c->u.message, closed);
}

/* Pushes a wait on the object at 1, for the value at 2. */
static struct wait *push_wait(lua_State *L, enum direction d, const char *gone) {
  struct lethe_box *b = lethe_box_new(L, &wait_class, VALUE);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, OBJECT);
  if (d == SEND) {
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, VALUE);
  }
  struct wait *k = lethe_zalloc(mem, sizeof *k);
  if (!k) {
    lethe_nomemory(L);
    return NULL;
  }
  k->waiter.done = on_answer;
  k->direction = d;
  k->gone = gone;
  lethe_box_hold(L, b, k);
  return k;
}

/* send(object, value) -> true | nil, m, code | false, wait */
static int l_send(lua_State *L) {
  const char *gone;
  lua_settop(L, 2);
  lethe_safepoint(L);
  struct lethe_channel *c = channel_at(L, 1, SEND, &gone);
  struct lethe_packed *p = lethe_pack_all(L, 2, 1, "message", true, 2);
  int rc = lethe_channel_send(c, &p->item, NULL);
  if (rc == LETHE_OK) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lethe_packed_free(p);
  if (rc == LETHE_ECLOSED) return lethe_failf(L, rc, "%s", gone);
  lua_pushboolean(L, 0);
  push_wait(L, SEND, gone);
  return 2;
}

/* recv(object) -> true, value | nil, m, code | false, wait */
static int l_recv(lua_State *L) {
  const char *gone;
  struct lethe_item *item;
  lua_settop(L, 1);
  lethe_safepoint(L);
  struct lethe_channel *c = channel_at(L, 1, RECV, &gone);
  int rc = lethe_channel_recv(c, &item, NULL);
  if (rc == LETHE_ECLOSED) return lethe_failf(L, rc, "%s", gone);
  lua_pushboolean(L, rc == LETHE_OK);
  if (rc == LETHE_OK)
    push_item(L, c, item);
  else
    push_wait(L, RECV, gone);
  return 2;
}

/* ended(worker) -> true | false, wait: of one that is joined */
static int l_ended(lua_State *L) {
  const char *gone;
  struct lethe_item *item;
  lua_settop(L, 1);
  lethe_safepoint(L);
  struct lethe_channel *c = channel_at(L, 1, JOIN, &gone);
  bool ended = lethe_channel_recv(c, &item, NULL) == LETHE_ECLOSED;
  lua_pushboolean(L, ended);
  if (ended) return 1;
  struct wait *k = push_wait(L, JOIN, gone);
  k->joins = worker_get(lethe_check(L, 1, &worker_class)->what);
  k->joins->joiners++;
  return 2;
}

/* Begins it; LETHE_WAITING, or what the answer is at once. */
static int begin_wait(lua_State *L, struct wait *k) {
  const char *gone;
  int object = lua_gettop(L) + 1, rc;
  lua_getiuservalue(L, 1, OBJECT);
  struct lethe_channel *c = channel_at(L, object, k->direction, &gone);
  k->waiter.loop = lethe_loop_get(lethe_default_loop(L));
  if (k->direction == SEND) {
    lua_getiuservalue(L, 1, VALUE);
    struct lethe_packed *p = lethe_pack_all(L, object + 1, 1, "message", true, 0);
    rc = lethe_channel_send(c, &p->item, &k->waiter);
    if (rc == LETHE_ECLOSED) k->waiter.item = &p->item;
  } else {
    rc = lethe_channel_recv(c, &k->waiter.item, &k->waiter);
  }
  if (rc != LETHE_WAITING) k->waiter.rc = rc;
  lua_settop(L, object - 1);
  return rc;
}

/* arm(wait, fn) -> true if there is an answer at once; else fn() is called when there is one */
static int l_arm(lua_State *L) {
  struct wait *k = lethe_check(L, 1, &wait_class)->what;
  lua_settop(L, 2);
  struct lethe_callback *c = lethe_callback_new(L, 2, LETHE_MESSAGE);
  c->loop = lethe_default_loop(L);
  c->u.message.run = lethe_callback_on_message;
  lethe_callback_chain(L, c);
  lua_pushvalue(L, 3);
  k->callback = c; /* the wait's end takes it out of the chain */
  int rc = begin_wait(L, k);
  if (rc != LETHE_WAITING) {
    k->callback = NULL;
    lethe_callback_unchain(L, c);
  }
  lua_pushboolean(L, rc != LETHE_WAITING);
  return 1;
}

/* disarm(wait): ends it without an answer; idempotent */
static int l_disarm(lua_State *L) {
  struct lethe_box *b = lethe_test(L, 1, &wait_class);
  luaL_argexpected(L, b != NULL, 1, wait_class.name);
  lethe_box_close(L, b, &wait_class);
  return 0;
}

/* finish(wait) -> true of a sender | the value | nil, m, code */
static int l_finish(lua_State *L) {
  struct lethe_box *b = lethe_test(L, 1, &wait_class);
  struct wait *k = lethe_check(L, 1, &wait_class)->what;
  int rc = k->waiter.rc;
  const char *gone = k->gone;
  bool receiving = k->direction == RECV && rc == LETHE_OK;
  struct lethe_item *item = k->waiter.item;
  if (receiving) {
    k->waiter.item = NULL;
    push_item(L, k->waiter.channel, item);
  }
  lethe_box_close(L, b, &wait_class);
  if (receiving) return 1;
  if (rc != LETHE_OK) return lethe_failf(L, rc, "%s", gone);
  lua_pushboolean(L, 1);
  return 1;
}

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
  luaL_checkstack(L, LUA_MINSTACK, "arguments");
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

/* ---- what is asked of a worker ----------------------------------------------------------------- */

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

/* ---- in the worker ----------------------------------------------------------------------------- */

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

static const luaL_Reg functions[] = {{"channel", l_channel},     {"parent", l_parent},
                                     {"send", l_send},           {"recv", l_recv},
                                     {"ended", l_ended},         {"arm", l_arm},
                                     {"disarm", l_disarm},       {"finish", l_finish},
                                     {"start", l_start},         {"cancel", l_cancel},
                                     {"results", l_results},     {"name", l_name},
                                     {"on_cancel", l_on_cancel}, {"cancelled", l_cancelled},
                                     {"in_close", l_in_close},   {NULL, NULL}};

static void push_methods(lua_State *L, const struct lethe_class *c, const char *field) {
  luaL_getmetatable(L, c->name);
  lua_getfield(L, -1, "__index");
  lua_setfield(L, -3, field);
  lua_pop(L, 1);
}

int luaopen_lethe_core_worker(lua_State *L) {
  static const struct lethe_class *const classes[] = {&channel_class, &worker_class, &parent_class,
                                                      &wait_class,    &keeper_class, &draft_class};
  luaL_checkversion(L);
  for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) lethe_class(L, classes[i]);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key_channels) == LUA_TNIL)
    lethe_new_table(L, &key_channels, "v");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  push_methods(L, &channel_class, "Channel");
  push_methods(L, &worker_class, "Worker");
  push_methods(L, &parent_class, "Parent");
  return 1;
}
