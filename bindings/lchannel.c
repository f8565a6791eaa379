/* SPDX-License-Identifier: MIT
 * lethe.core.worker: channels, and the two ways of a worker and its maker, which are channels too.
 *
 * A wait is an object: it holds the waiter that a channel knows, and hands what was received to Lua
 * when the task that waited goes on, so that what comes for a task that is gone goes back. */
#include <string.h>

#include "callback.h"
#include "worker.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

static char key_channels; /* registry: the Channel objects by channel, weak */

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

const struct lethe_class worker_channel_class = {.name = "lethe.worker.Channel",
                                                 .end = end_channel,
                                                 .methods = channel_methods,
                                                 .metamethods = channel_metamethods,
                                                 .share = channel_share,
                                                 .drop = channel_drop,
                                                 .receive = channel_receive};

static int channel_close(lua_State *L) {
  struct lethe_box *b = lethe_test(L, 1, &worker_channel_class);
  luaL_argexpected(L, b != NULL, 1, worker_channel_class.name);
  lethe_safepoint(L);
  if (b->what) lethe_channel_close(b->what);
  lua_pushboolean(L, 1);
  return 1;
}

static int channel_tostring(lua_State *L) {
  struct lethe_box *b = luaL_checkudata(L, 1, worker_channel_class.name);
  bool closed = !b->what || lethe_channel_is_closed(b->what);
  lua_pushfstring(L, "%s: %p%s", worker_channel_class.name, lua_topointer(L, 1),
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
  struct lethe_box *b = lethe_test(L, -1, &worker_channel_class);
  if (b && b->what) return;
  lua_pop(L, 1);
  b = lethe_box_new(L, &worker_channel_class, 0);
  hold_channel(L, b, lethe_channel_get(shared));
}

/* channel(capacity | nil) */
static int l_channel(lua_State *L) {
  lua_Integer capacity = luaL_optinteger(L, 1, -1);
  struct lethe_channel *c;
  lethe_safepoint(L);
  struct lethe_box *b = lethe_box_new(L, &worker_channel_class, 0);
  if (lethe_channel_new(&c, capacity < 0 ? LETHE_UNBOUNDED : (uint64_t)capacity) != LETHE_OK)
    return lethe_nomemory(L);
  hold_channel(L, b, c);
  return 1;
}

/* ---- the two ends of what can be sent through ------------------------------------------------ */

enum direction { SEND, RECV, JOIN };

/* Where the object at `arg` sends to or receives from; `gone` says what it means that it is
 * closed. */
static struct lethe_channel *channel_at(lua_State *L, int arg, enum direction d,
                                        const char **gone) {
  struct lethe_box *b = lethe_test(L, arg, &worker_channel_class);
  *gone = "the channel is closed";
  if (b && b->what) return b->what;
  b = lethe_test(L, arg, &worker_parent_class);
  *gone = "the worker's maker has ended";
  if (b && b->what)
    return d == SEND ? ((struct worker *)b->what)->from : ((struct worker *)b->what)->to;
  struct worker *w = lethe_check(L, arg, &worker_class)->what;
  *gone = "the worker has ended";
  return d == JOIN ? w->end : d == SEND ? w->to : w->from;
}

/* The channels that a message holds. */
static void each_channel(struct lethe_item *item, void (*visit)(struct lethe_channel *c, void *ud),
                         void *ud) {
  const struct lethe_packed *p = lethe_packed_of(item);
  for (size_t i = 0; i < p->handles; i++)
    if (p->list[i].class == &worker_channel_class) visit(p->list[i].shared, ud);
}

static struct lethe_packed *pack_message(lua_State *L, int index, int level) {
  struct lethe_packed *p = lethe_pack_all(L, index, 1, "message", true, level);
  if (p->handles > 0) p->item.each = each_channel;
  return p;
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
  struct lethe_packed *p = pack_message(L, 2, 2);
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
    struct lethe_packed *p = pack_message(L, object + 1, 0);
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

/* ---- opening --------------------------------------------------------------------------------- */

static const luaL_Reg functions[] = {{"channel", l_channel}, {"send", l_send}, {"recv", l_recv},
                                     {"ended", l_ended},     {"arm", l_arm},   {"disarm", l_disarm},
                                     {"finish", l_finish},   {NULL, NULL}};

void worker_open_channels(lua_State *L) {
  lethe_class(L, &worker_channel_class);
  lethe_class(L, &wait_class);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key_channels) == LUA_TNIL)
    lethe_new_table(L, &key_channels, "v");
  lua_pop(L, 1);
  luaL_setfuncs(L, functions, 0);
}
