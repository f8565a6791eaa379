/* SPDX-License-Identifier: MIT
 * lethe.core.loop: loops, deferred calls, timers and signals for the Lua side (lua/lethe/loop.lua),
 * where tasks live. Nothing here yields.
 *
 * What the loop calls back is a userdata that holds the C record in its memory and the Lua function
 * in its user value; a registry reference keeps it alive while the loop knows the record. */
#include <math.h>
#include <signal.h>
#include <string.h>

#include "common.h"

static void end_loop(struct lethe_state *s, void *what, bool closed) {
  (void)closed;
  if (s->loop == what) s->loop = NULL;
  lethe_loop_close(what);
  lethe_loop_put(what);
}

static const struct lethe_class loop_class = {.name = "lethe.loop.Loop", .end = end_loop};

static struct lethe_loop *check_loop(lua_State *L) { return lethe_check(L, 1, &loop_class)->what; }

struct lethe_loop *lethe_checkloop(lua_State *L, int arg) {
  return lethe_check(L, arg, &loop_class)->what;
}

/* ---- callbacks ------------------------------------------------------------------------------- */

struct callback {
  struct lethe_state *state;
  int ref; /* LUA_NOREF while the loop does not know it */
  union {
    struct lethe_message message;
    struct lethe_timer timer;
    struct lethe_signal signal;
  } u;
};

/* A callback for the function at stack index `fn`, on the stack. */
static struct callback *callback_new(lua_State *L, int fn, const char *class) {
  luaL_checktype(L, fn, LUA_TFUNCTION);
  struct callback *c = lua_newuserdatauv(L, sizeof *c, 1);
  memset(c, 0, sizeof *c);
  c->state = lethe_state(L);
  c->ref = LUA_NOREF;
  luaL_newmetatable(L, class);
  lua_setmetatable(L, -2);
  lua_pushvalue(L, fn);
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, -1);
  c->ref = luaL_ref(L, LUA_REGISTRYINDEX);
  return c;
}

static void forget(struct callback *c) {
  if (c->ref == LUA_NOREF) return;
  luaL_unref(c->state->main, LUA_REGISTRYINDEX, c->ref);
  c->ref = LUA_NOREF;
}

/* Calls the function; the userdata stays on the stack until it returns, since `last` lets go of it. */
static void call(struct callback *c, bool last) {
  lua_State *L = c->state->turning;
  if (!lua_checkstack(L, LUA_MINSTACK)) return;
  lua_rawgeti(L, LUA_REGISTRYINDEX, c->ref);
  lua_getiuservalue(L, -1, 1);
  if (last) forget(c);
  lethe_call_reported(L, 0, 0);
  lua_pop(L, 1);
}

static void on_message(struct lethe_message *m, bool closed) {
  struct callback *c = lethe_container_of(m, struct callback, u.message);
  if (closed)
    forget(c);
  else
    call(c, true);
}

static void on_timer(struct lethe_timer *t) {
  call(lethe_container_of(t, struct callback, u.timer), t->loop == NULL);
}

static void on_signal(struct lethe_signal *s) {
  call(lethe_container_of(s, struct callback, u.signal), false);
}

/* post(loop, fn): fn() at its next turn; false when the loop is closed */
static int l_post(lua_State *L) {
  struct lethe_box *b = lethe_test(L, 1, &loop_class);
  luaL_argexpected(L, b != NULL, 1, loop_class.name);
  struct callback *c = callback_new(L, 2, "lethe.core.message");
  c->u.message.run = on_message;
  bool open = b->what && lethe_loop_post(b->what, &c->u.message);
  if (!open) forget(c);
  lua_pushboolean(L, open);
  return 1;
}

/* timer(loop, seconds, fn, every) -> handle for stop */
static int l_timer(lua_State *L) {
  struct lethe_loop *loop = check_loop(L);
  double seconds = luaL_checknumber(L, 2);
  luaL_argcheck(L, !isnan(seconds), 2, "seconds must be a number");
  bool every = lua_toboolean(L, 4);
  struct callback *c = callback_new(L, 3, "lethe.core.timer");
  lethe_timer_start(loop, &c->u.timer, seconds, every ? fmax(seconds, 1e-6) : 0, on_timer);
  return 1;
}

static const struct {
  const char *name;
  int number;
} signals[] = {{"HUP", SIGHUP},   {"INT", SIGINT},   {"QUIT", SIGQUIT}, {"USR1", SIGUSR1},
               {"USR2", SIGUSR2}, {"ALRM", SIGALRM}, {"TERM", SIGTERM}, {"CHLD", SIGCHLD},
               {"CONT", SIGCONT}, {"WINCH", SIGWINCH}, {"PIPE", SIGPIPE}, {NULL, 0}};

/* signal(loop, name, fn) -> handle for stop | nil, m, code */
static int l_signal(lua_State *L) {
  struct lethe_loop *loop = check_loop(L);
  const char *name = luaL_checkstring(L, 2);
  int i = 0;
  while (signals[i].name && strcmp(signals[i].name, name) != 0) i++;
  if (!signals[i].name)
    luaL_argerror(L, 2, lua_pushfstring(L, "unknown signal \"%s\" (as in \"INT\", \"TERM\")", name));
  struct callback *c = callback_new(L, 3, "lethe.core.signal");
  int rc = lethe_signal_start(loop, &c->u.signal, signals[i].number, on_signal);
  if (rc == LETHE_OK) return 1;
  forget(c);
  return lethe_fail(L, rc);
}

/* stop(handle): of a timer or a signal; idempotent */
static int l_stop(lua_State *L) {
  struct callback *c = luaL_testudata(L, 1, "lethe.core.timer");
  if (c) {
    lethe_timer_stop(&c->u.timer);
  } else {
    c = luaL_checkudata(L, 1, "lethe.core.signal");
    lethe_signal_stop(&c->u.signal);
  }
  forget(c);
  return 0;
}

/* ---- loops ----------------------------------------------------------------------------------- */

static int l_default(lua_State *L) {
  lethe_safepoint(L);
  struct lethe_loop *loop = lethe_default_loop(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, "lethe.core.loop");
  lua_rawgetp(L, -1, loop);
  if (lethe_test(L, -1, &loop_class)) return 1;
  lua_pop(L, 1);
  struct lethe_box *b = lethe_box_new(L, &loop_class, 0);
  lethe_box_hold(L, b, loop);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, -3, loop);
  return 1;
}

/* new(virtual) */
static int l_new(lua_State *L) {
  lethe_safepoint(L);
  struct lethe_loop *host = lethe_default_loop(L), *loop;
  struct lethe_box *b = lethe_box_new(L, &loop_class, 0);
  int rc = lethe_loop_new(&loop, &lethe_alloc_libc,
                          lua_toboolean(L, 1) ? LETHE_CLOCK_VIRTUAL : LETHE_CLOCK_REAL, host);
  if (rc) return lethe_fail(L, rc);
  lethe_box_hold(L, b, loop);
  return 1;
}

/* check(loop): raises, at the caller of the method that calls it, unless it is an open loop */
static int l_check(lua_State *L) {
  struct lethe_box *b = lethe_test(L, 1, &loop_class);
  if (b && b->what) return 0;
  luaL_where(L, 2);
  if (b)
    lua_pushfstring(L, "attempt to use a closed %s", loop_class.name);
  else
    lua_pushfstring(L, "%s expected, got %s", loop_class.name, luaL_typename(L, 1));
  lua_concat(L, 2);
  return lua_error(L);
}

static int l_now(lua_State *L) {
  lua_pushnumber(L, lethe_loop_now(check_loop(L)));
  return 1;
}

static int l_is_virtual(lua_State *L) {
  lua_pushboolean(L, lethe_loop_is_virtual(check_loop(L)));
  return 1;
}

static int l_alive(lua_State *L) {
  struct lethe_box *b = lethe_test(L, 1, &loop_class);
  lua_pushboolean(L, b && b->what && lethe_loop_alive(b->what));
  return 1;
}

/* Callbacks run on the thread that turns, so the turns of a state may nest. */
static lua_State *begin_turn(lua_State *L) {
  struct lethe_state *s = lethe_safepoint(L);
  lua_State *outer = s->turning;
  lethe_settle(L);
  s->turning = L;
  return outer;
}

static void end_turn(lua_State *L, lua_State *outer) {
  struct lethe_state *s = lethe_safepoint(L);
  lethe_settle(L);
  s->turning = outer;
}

/* turn(loop) -> how many callbacks ran */
static int l_turn(lua_State *L) {
  struct lethe_box *b = lethe_test(L, 1, &loop_class);
  unsigned n = 0;
  luaL_argexpected(L, b != NULL, 1, loop_class.name);
  if (b->what) {
    struct lethe_loop *loop = lethe_loop_get(b->what);
    lua_State *outer = begin_turn(L);
    n = lethe_loop_turn(loop);
    end_turn(L, outer);
    lethe_loop_put(loop);
  }
  lua_pushinteger(L, n);
  return 1;
}

/* block(loop, ...): until one of them has something to do */
static int l_block(lua_State *L) {
  struct lethe_loop *loops[16];
  size_t n = 0;
  for (int i = 1; i <= lua_gettop(L) && n < 16; i++) {
    struct lethe_box *b = lethe_test(L, i, &loop_class);
    if (b && b->what) loops[n++] = b->what;
  }
  if (n > 0) lethe_loop_block(loops, n);
  return 0;
}

/* advance(loop, seconds): of a virtual loop */
static int l_advance(lua_State *L) {
  struct lethe_loop *loop = lethe_loop_get(check_loop(L));
  double seconds = lua_tonumber(L, 2);
  lua_State *outer = begin_turn(L);
  lethe_loop_advance(loop, seconds);
  end_turn(L, outer);
  lethe_loop_put(loop);
  return 0;
}

static const luaL_Reg functions[] = {
    {"default", l_default},       {"new", l_new},     {"post", l_post},   {"timer", l_timer},
    {"check", l_check},
    {"signal", l_signal},         {"stop", l_stop},   {"now", l_now},     {"turn", l_turn},
    {"is_virtual", l_is_virtual}, {"alive", l_alive}, {"block", l_block}, {"advance", l_advance},
    {NULL, NULL}};

int luaopen_lethe_core_loop(lua_State *L) {
  luaL_checkversion(L);
  lethe_class(L, &loop_class);
  luaL_newlib(L, functions);
  luaL_getmetatable(L, loop_class.name);
  lua_getfield(L, -1, "__index");
  lua_setfield(L, -3, "methods");
  lua_pop(L, 1);
  return 1;
}
