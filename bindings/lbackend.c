/* SPDX-License-Identifier: MIT
 * lethe.core.backend: files and Redis as objects, and the operations on them that Lua waits for.
 * The waiting itself, memory and faulty backends are in lua/lethe/backend.lua.
 *
 * A call is an object that holds the operation with copies of its key and value; once it is under
 * way and its object goes, because the task that waited was cancelled, it ends by itself. */
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "callback.h"

#include "lethe/backend.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

/* ---- the pool -------------------------------------------------------------------------------- */

/* One for the process, made with its first file and never deleted: its threads sleep. A child of
 * fork(2) has none of them, and makes its own. */
static struct {
  pthread_mutex_t lock;
  pthread_once_t once;
  struct lethe_pool *pool;
} shared = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_ONCE_INIT, NULL};

static void before_fork(void) { pthread_mutex_lock(&shared.lock); }
static void in_parent(void) { pthread_mutex_unlock(&shared.lock); }
static void in_child(void) {
  shared.pool = NULL;
  pthread_mutex_unlock(&shared.lock);
}
static void watch_forks(void) { pthread_atfork(before_fork, in_parent, in_child); }

/* A read or a sync keeps its thread as long as the device takes, so there are more than
 * processors. */
static struct lethe_pool *pool(void) {
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  unsigned size = processors < 2 ? 4 : processors > 8 ? 16 : (unsigned)processors * 2;
  pthread_once(&shared.once, watch_forks);
  pthread_mutex_lock(&shared.lock);
  if (!shared.pool && lethe_pool_new(&shared.pool, mem, size) != LETHE_OK) shared.pool = NULL;
  struct lethe_pool *p = shared.pool;
  pthread_mutex_unlock(&shared.lock);
  return p;
}

/* ---- backends -------------------------------------------------------------------------------- */

static void end_backend(struct lethe_state *s, void *what, bool closed) {
  (void)s;
  (void)closed;
  lethe_backend_put(what);
}

static const struct lethe_class file_class = {
    .name = "lethe.backend.File", .end = end_backend, .leaks = true};
static const struct lethe_class redis_class = {
    .name = "lethe.backend.Redis", .end = end_backend, .leaks = true};

static struct lethe_backend *check_backend(lua_State *L, int arg) {
  struct lethe_box *b = lethe_test(L, arg, &redis_class);
  return lethe_check(L, arg, b ? &redis_class : &file_class)->what;
}

/* file(path, block, create, queue) -> File | nil, m, code */
static int l_file(lua_State *L) {
  struct lethe_backend *backend;
  struct lethe_file_config config = {.path = luaL_checkstring(L, 1),
                                     .block = (size_t)luaL_checkinteger(L, 2),
                                     .create = lua_toboolean(L, 3),
                                     .queue = (unsigned)luaL_checkinteger(L, 4)};
  lethe_safepoint(L);
  struct lethe_box *b = lethe_box_new(L, &file_class, 0);
  struct lethe_pool *p = pool();
  int rc = p ? lethe_file_new(&backend, mem, p, &config) : LETHE_ENOMEM;
  if (rc == LETHE_ENOMEM) return lethe_nomemory(L);
  if (rc == LETHE_ENOTFOUND) return lethe_failf(L, rc, "no file %.400s", config.path);
  if (rc) return lethe_failf(L, rc, "cannot open %.300s: %s", config.path, lethe_strerror(rc));
  lethe_box_hold(L, b, backend);
  return 1;
}

/* redis(host | nil, port, prefix, hash_tag, timeout) -> Redis, which has connected to nothing
 * yet */
static int l_redis(lua_State *L) {
  struct lethe_backend *backend;
  struct lethe_redis_config config = {.host = luaL_optstring(L, 1, NULL),
                                      .port = (int)luaL_checkinteger(L, 2),
                                      .hash_tag = lua_toboolean(L, 4),
                                      .timeout = luaL_checknumber(L, 5)};
  config.prefix = luaL_checklstring(L, 3, &config.prefix_length);
  lethe_safepoint(L);
  struct lethe_loop *loop = lethe_default_loop(L);
  struct lethe_box *b = lethe_box_new(L, &redis_class, 0);
  int rc = lethe_redis_new(&backend, mem, loop, &config);
  if (rc == LETHE_ENOMEM) return lethe_nomemory(L);
  if (rc) return lethe_fail(L, rc);
  lethe_box_hold(L, b, backend);
  return 1;
}

static void set_field(lua_State *L, const char *name, uint64_t n) {
  lua_pushinteger(L, (lua_Integer)n);
  lua_setfield(L, -2, name);
}

/* stats(redis) -> connections commands redirects timeouts nodes */
static int l_stats(lua_State *L) {
  struct lethe_redis_stats stats;
  lethe_redis_read_stats(lethe_check(L, 1, &redis_class)->what, &stats);
  lua_createtable(L, 0, 5);
  set_field(L, "connections", stats.connections);
  set_field(L, "commands", stats.commands);
  set_field(L, "redirects", stats.redirects);
  set_field(L, "timeouts", stats.timeouts);
  set_field(L, "nodes", stats.nodes);
  return 1;
}

/* ---- calls ----------------------------------------------------------------------------------- */

struct call {
  struct lethe_backend_op op;
  struct lethe_callback *callback; /* that is called with the answer; NULL: none, or no more */
  bool started, over, orphan;      /* orphan: its object is gone, it is under way */
  size_t room;                     /* of what follows: the key's text, the value */
  char bytes[];
};

enum { BACKEND = 1 }; /* the user value of a call */

static void free_call(struct call *c) {
  lethe_backend_value_free(&c->op);
  lethe_free(mem, c, sizeof *c + c->room);
}

static void end_call(struct lethe_state *s, void *what, bool closed) {
  struct call *c = what;
  (void)closed;
  if (c->callback && !s->ended && lua_checkstack(s->main, LUA_MINSTACK))
    lethe_callback_unchain(s->main, c->callback);
  c->callback = NULL;
  c->orphan = c->started && !c->over;
  if (!c->orphan) free_call(c);
}

static const struct lethe_class call_class = {.name = "lethe.backend.Call", .end = end_call};

static void on_done(struct lethe_backend_op *op, bool closed) {
  struct call *c = lethe_container_of(op, struct call, op);
  c->over = true;
  if (c->orphan) {
    free_call(c);
    return;
  }
  struct lethe_callback *callback = c->callback;
  c->callback = NULL;
  if (callback) lethe_callback_on_message(&callback->u.message, closed);
}

/* call(backend, "load" | "flush" | "barrier", key, value) -> Call, which is not under way yet */
static int l_call(lua_State *L) {
  static const char *const kinds[] = {"load", "flush", "barrier", NULL};
  size_t size = 0, length = 0;
  lua_settop(L, 4);
  lethe_safepoint(L);
  check_backend(L, 1);
  int kind = luaL_checkoption(L, 2, NULL, kinds);
  const char *text = lua_type(L, 3) == LUA_TSTRING ? lua_tolstring(L, 3, &length) : NULL;
  const char *data = kind == LETHE_BACKEND_FLUSH ? luaL_checklstring(L, 4, &size) : NULL;
  struct lethe_box *b = lethe_box_new(L, &call_class, BACKEND);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, BACKEND);
  struct call *c = lethe_zalloc(mem, sizeof *c + length + size);
  if (!c) return lethe_nomemory(L);
  c->room = length + size;
  c->op.kind = (enum lethe_backend_kind)kind;
  c->op.done = on_done;
  c->op.key.number = text ? 0 : lua_tointeger(L, 3);
  if (text) c->op.key.text = memcpy(c->bytes, text, length);
  c->op.key.length = length;
  if (data) c->op.data = memcpy(c->bytes + length, data, size);
  c->op.size = size;
  lethe_box_hold(L, b, c);
  return 1;
}

/* start(call, loop, fn) -> true; fn() is called when it is over. False where the loop is closed. */
static int l_start(lua_State *L) {
  struct call *c = lethe_check(L, 1, &call_class)->what;
  struct lethe_loop *loop = lethe_checkloop(L, 2);
  lua_settop(L, 3);
  lua_getiuservalue(L, 1, BACKEND);
  struct lethe_backend *backend = check_backend(L, 4);
  struct lethe_callback *callback = lethe_callback_new(L, 3, LETHE_MESSAGE);
  callback->loop = loop;
  callback->u.message.run = lethe_callback_on_message;
  lethe_callback_chain(L, callback);
  c->callback = callback; /* the call's end takes it out of the chain */
  c->started = lethe_backend_start(backend, loop, &c->op);
  if (!c->started) {
    c->callback = NULL;
    lethe_callback_unchain(L, callback);
  }
  lua_pushboolean(L, c->started);
  return 1;
}

/* forget(call): nobody waits for it any more; idempotent */
static int l_forget(lua_State *L) {
  struct lethe_box *b = lethe_test(L, 1, &call_class);
  luaL_argexpected(L, b != NULL, 1, call_class.name);
  lethe_box_close(L, b, &call_class);
  return 0;
}

/* finish(call) -> the value, or nil where there is none; true of flush and barrier | nil, m,
 * code */
static int l_finish(lua_State *L) {
  struct lethe_box *b = lethe_test(L, 1, &call_class);
  struct call *c = lethe_check(L, 1, &call_class)->what;
  int rc = c->op.rc, n = 1;
  if (rc == LETHE_OK && c->op.kind == LETHE_BACKEND_LOAD)
    lua_pushlstring(L, c->op.value, c->op.size);
  else if (rc == LETHE_OK)
    lua_pushboolean(L, 1);
  else if (rc == LETHE_ENOTFOUND)
    luaL_pushfail(L);
  else
    n = lethe_failf(L, rc, "%s", c->op.message[0] ? c->op.message : lethe_strerror(rc));
  lethe_box_close(L, b, &call_class);
  return n;
}

/* ---- opening --------------------------------------------------------------------------------- */

static const luaL_Reg functions[] = {{"file", l_file},     {"redis", l_redis}, {"stats", l_stats},
                                     {"call", l_call},     {"start", l_start}, {"forget", l_forget},
                                     {"finish", l_finish}, {NULL, NULL}};

/* The methods of a class, for Lua to add to. */
static void open_class(lua_State *L, const struct lethe_class *c, const char *name) {
  lethe_class(L, c);
  lethe_methods(L, c, name);
}

int luaopen_lethe_core_backend(lua_State *L) {
  luaL_checkversion(L);
  lethe_class(L, &call_class);
  luaL_newlib(L, functions);
  open_class(L, &file_class, "File");
  open_class(L, &redis_class, "Redis");
  return 1;
}
