/* SPDX-License-Identifier: MIT
 * lethe.core.loop: loops, messages, timers and signals for the Lua side (lua/lethe/loop.lua), where
 * tasks live. Nothing here yields.
 *
 * What the loop calls back is a userdata that holds the C record in its memory and the Lua function
 * in a user value. While the loop knows the record, a chain from the Lua registry through the user
 * values NEXT and PREV keeps the userdata alive: linking and unlinking allocate nothing, so that a
 * task's wake-up, whose message was made with the task, cannot fail. */
#include <math.h>
#include <signal.h>
#include <string.h>

#include "object.h"

static void end_loop(struct lethe_state *s, void *what, bool closed) {
  (void)closed;
  if (s->loop == what) s->loop = NULL;
  lethe_loop_close(what);
  lethe_loop_put(what);
}

static const struct lethe_class loop_class = {
    .name = "lethe.loop.Loop", .end = end_loop, .leaks = true};

static struct lethe_loop *check_loop(lua_State *L) { return lethe_check(L, 1, &loop_class)->what; }

struct lethe_loop *lethe_checkloop(lua_State *L, int arg) {
  return lethe_check(L, arg, &loop_class)->what;
}

/* ---- callbacks ------------------------------------------------------------------------------- */

struct callback {
  struct lethe_state *state;
  struct lethe_loop *loop; /* that it was given to last */
  bool known;              /* to the loop, and so in the chain */
  bool kept;               /* its function serves more than once */
  unsigned tries;          /* in a row, for want of memory */
  union {
    struct lethe_message message;
    struct lethe_timer timer;
    struct lethe_signal signal;
  } u;
};

enum { FUNCTION = 1, NEXT, PREV };
enum { TRIES = 100 };

static char key_chain, key_callbacks, key_default; /* of the Lua registry */
static const char message_name[] = "lethe.core.message", timer_name[] = "lethe.core.timer",
                  signal_name[] = "lethe.core.signal";

/* A callback for the function at stack index `fn`, on the stack. */
static struct callback *callback_new(lua_State *L, int fn, const char *name) {
  luaL_checktype(L, fn, LUA_TFUNCTION);
  struct callback *c = lua_newuserdatauv(L, sizeof *c, PREV);
  memset(c, 0, sizeof *c);
  c->state = lethe_state(L);
  luaL_setmetatable(L, name);
  lua_pushvalue(L, fn);
  lua_setiuservalue(L, -2, FUNCTION);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_callbacks);
  lua_pushvalue(L, -2);
  lua_rawsetp(L, -2, c);
  lua_pop(L, 1);
  return c;
}

/* Pushes the callback's userdata, which is in the chain. */
static void push_callback(lua_State *L, const struct callback *c) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_callbacks);
  lua_rawgetp(L, -1, c);
  lua_remove(L, -2);
}

/* Into the chain, in front; its userdata is on top of the stack. */
static void chain(lua_State *L, struct callback *c) {
  int self = lua_gettop(L);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_chain);
  if (lua_isuserdata(L, -1)) {
    lua_pushvalue(L, self);
    lua_setiuservalue(L, -2, PREV);
  }
  lua_setiuservalue(L, self, NEXT);
  lua_pushboolean(L, 0);
  lua_setiuservalue(L, self, PREV);
  lua_pushvalue(L, self);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_chain);
  c->known = true;
}

/* Out of the chain; nothing happens if it is not there. */
static void unchain(lua_State *L, struct callback *c) {
  if (!c->known) return;
  c->known = false;
  push_callback(L, c);
  lua_getiuservalue(L, -1, NEXT);
  lua_getiuservalue(L, -2, PREV); /* self next prev */
  if (lua_isuserdata(L, -2)) {
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, -3, PREV);
  }
  lua_pushvalue(L, -2);
  if (lua_isuserdata(L, -2))
    lua_setiuservalue(L, -2, NEXT);
  else
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key_chain); /* the key stays: false ends the chain */
  lua_pushboolean(L, 0);
  lua_setiuservalue(L, -4, NEXT);
  lua_pushboolean(L, 0);
  lua_setiuservalue(L, -4, PREV);
  lua_pop(L, 3);
}

/* The loop let go of it without a call. Whichever thread runs, the main one has room for this. */
static void forget(struct callback *c) {
  lua_State *L = c->state->main;
  if (lua_checkstack(L, LUA_MINSTACK)) unchain(L, c);
}

static void on_message(struct lethe_message *m, bool closed);
static void on_timer(struct lethe_timer *t);

/* Gives a message or timer that could not be run back to its loop; its userdata is on the stack. */
static bool try_again(lua_State *L, struct callback *c) {
  if (c->tries++ >= TRIES) return false;
  if (c->u.message.run == on_message) {
    if (!lethe_loop_post(c->loop, &c->u.message)) return false;
  } else {
    lethe_timer_start(c->loop, &c->u.timer, 0, 0, on_timer);
    if (!c->u.timer.loop) return false;
  }
  chain(L, c);
  return true;
}

/* Calls the function. `last`: the loop has let go of it. What the module runs in callbacks is
 * made so that it can be run again where memory was short; a call is not lost for that. */
static void call(struct callback *c, bool last) {
  lua_State *L = c->state->turning;
  if (!lua_checkstack(L, LUA_MINSTACK)) {
    if (last) forget(c);
    return;
  }
  push_callback(L, c);
  if (last) unchain(L, c);
  lua_pushcfunction(L, lethe_traceback);
  lua_getiuservalue(L, -2, FUNCTION);
  int rc = lua_pcall(L, 0, 0, -2);
  lua_remove(L, rc == LUA_OK ? -1 : -2);
  if (rc == LUA_ERRMEM && last) {
    lua_pop(L, 1);
    if (try_again(L, c)) {
      lua_pop(L, 1);
      return;
    }
    lua_pushliteral(L, "not enough memory");
  }
  if (rc != LUA_OK) lethe_report(L, false);
  c->tries = 0;
  if (last && !c->kept) { /* what the function holds may be garbage now, the userdata or not */
    lua_pushnil(L);
    lua_setiuservalue(L, -2, FUNCTION);
  }
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

static void timer_closed(struct lethe_timer *t) {
  forget(lethe_container_of(t, struct callback, u.timer));
}

static void signal_closed(struct lethe_signal *s) {
  forget(lethe_container_of(s, struct callback, u.signal));
}

/* ---- messages -------------------------------------------------------------------------------- */

/* Posts the message whose userdata is on top of the stack; false when the loop is closed. */
static bool post(lua_State *L, struct lethe_loop *loop, struct callback *c) {
  c->loop = loop;
  c->u.message.run = on_message;
  if (!loop || !lethe_loop_post(loop, &c->u.message)) return false;
  chain(L, c);
  return true;
}

static struct lethe_loop *open_loop(lua_State *L, int arg) {
  struct lethe_box *b = lethe_test(L, arg, &loop_class);
  luaL_argexpected(L, b != NULL, arg, loop_class.name);
  return b->what;
}

/* post(loop, fn): fn() at its next turn; false when the loop is closed */
static int l_post(lua_State *L) {
  struct lethe_loop *loop = open_loop(L, 1);
  struct callback *c = callback_new(L, 2, message_name);
  lua_pushboolean(L, post(L, loop, c));
  return 1;
}

/* message(fn) -> handle for send */
static int l_message(lua_State *L) {
  callback_new(L, 1, message_name)->kept = true;
  return 1;
}

/* send(loop, handle): its fn() at the loop's next turn, without allocating; a message that is under
 * way stays where it is. False when the loop is closed. */
static int l_send(lua_State *L) {
  struct lethe_loop *loop = open_loop(L, 1);
  struct callback *c = luaL_checkudata(L, 2, message_name);
  lua_settop(L, 2);
  lua_pushboolean(L, c->known || post(L, loop, c));
  return 1;
}

/* ---- timers and signals ---------------------------------------------------------------------- */

/* timer(loop, seconds, fn, every) -> handle for stop */
static int l_timer(lua_State *L) {
  struct lethe_loop *loop = check_loop(L);
  double seconds = luaL_checknumber(L, 2);
  luaL_argcheck(L, !isnan(seconds), 2, "seconds must be a number");
  bool every = lua_toboolean(L, 4);
  struct callback *c = callback_new(L, 3, timer_name);
  c->loop = loop;
  c->u.timer.closed = timer_closed;
  chain(L, c);
  lethe_timer_start(loop, &c->u.timer, seconds, every ? fmax(seconds, 1e-6) : 0, on_timer);
  return 1;
}

static const char *const signal_names[] = {"HUP",  "INT",  "QUIT", "USR1",  "USR2", "ALRM",
                                           "TERM", "CHLD", "CONT", "WINCH", "PIPE", NULL};
static const int signal_numbers[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGUSR1,  SIGUSR2, SIGALRM,
                                     SIGTERM, SIGCHLD, SIGCONT, SIGWINCH, SIGPIPE};

/* signal(loop, name, fn) -> handle for stop | nil, m, code; of an unknown name false, what is
 * wrong */
static int l_signal(lua_State *L) {
  struct lethe_loop *loop = check_loop(L);
  const char *name = luaL_checkstring(L, 2);
  int i = 0;
  while (signal_names[i] && strcmp(signal_names[i], name) != 0) i++;
  if (!signal_names[i]) {
    const char *near = lethe_nearest(name, signal_names);
    lua_pushboolean(L, 0);
    lua_pushfstring(L, "unknown signal \"%s\" (did you mean \"%s\"?)", name, near ? near : "TERM");
    return 2;
  }
  struct callback *c = callback_new(L, 3, signal_name);
  c->u.signal.closed = signal_closed;
  int rc = lethe_signal_start(loop, &c->u.signal, signal_numbers[i], on_signal);
  if (rc == LETHE_ENOMEM) return lethe_nomemory(L);
  if (rc != LETHE_OK) return lethe_fail(L, rc);
  chain(L, c);
  return 1;
}

/* stop(handle): of a timer or a signal; idempotent */
static int l_stop(lua_State *L) {
  struct callback *c = luaL_testudata(L, 1, timer_name);
  if (c) {
    lethe_timer_stop(&c->u.timer);
  } else {
    c = luaL_checkudata(L, 1, signal_name);
    lethe_signal_stop(&c->u.signal);
  }
  unchain(L, c);
  return 0;
}

/* ---- loops ----------------------------------------------------------------------------------- */

static int l_default(lua_State *L) {
  lethe_safepoint(L);
  struct lethe_loop *loop = lethe_default_loop(L);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_default);
  struct lethe_box *b = lua_touserdata(L, -1);
  if (b && b->what == loop) return 1;
  b = lethe_box_new(L, &loop_class, 0);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_default);
  lethe_box_hold(L, b, loop);
  return 1;
}

/* new(virtual) */
static int l_new(lua_State *L) {
  lethe_safepoint(L);
  struct lethe_loop *host = lethe_default_loop(L), *loop;
  struct lethe_box *b = lethe_box_new(L, &loop_class, 0);
  int rc = lethe_loop_new(&loop, &lethe_alloc_libc,
                          lua_toboolean(L, 1) ? LETHE_CLOCK_VIRTUAL : LETHE_CLOCK_REAL, host);
  if (rc) return lethe_nomemory(L);
  lethe_box_hold(L, b, loop);
  return 1;
}

/* check(loop): raises, at the caller of the method that calls it, unless it is an open loop */
static int l_check(lua_State *L) {
  struct lethe_box *b = lethe_test(L, 1, &loop_class);
  return b && b->what ? 0 : lethe_bad_self(L, loop_class.name, b != NULL);
}

/* is_open(loop): raises, as check does, for what is no loop at all */
static int l_is_open(lua_State *L) {
  struct lethe_box *b = lethe_test(L, 1, &loop_class);
  if (!b) return lethe_bad_self(L, loop_class.name, false);
  lua_pushboolean(L, b->what != NULL);
  return 1;
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

/* ---- turning --------------------------------------------------------------------------------- */

/* Callbacks run on the thread that turns, so the turns of a state may nest. A turn is a safe point,
 * before and after; it holds the loop, which may be closed and collected in it. */
static lua_State *begin_turn(lua_State *L, struct lethe_loop *loop) {
  lethe_loop_get(loop);
  struct lethe_state *s = lethe_safepoint(L);
  lethe_settle(L);
  lua_State *outer = s->turning;
  s->turning = L;
  return outer;
}

static void end_turn(lua_State *L, struct lethe_loop *loop, lua_State *outer) {
  lethe_state(L)->turning = outer;
  lethe_loop_put(loop);
  lethe_safepoint(L);
  lethe_settle(L);
}

/* turn(loop) -> how many callbacks ran */
static int l_turn(lua_State *L) {
  struct lethe_loop *loop = open_loop(L, 1);
  unsigned n = 0;
  if (loop) {
    lua_State *outer = begin_turn(L, loop);
    n = lethe_loop_turn(loop);
    end_turn(L, loop, outer);
  }
  lua_pushinteger(L, n);
  return 1;
}

/* block(loop, ...): until one of them has something to do */
static int l_block(lua_State *L) {
  struct lethe_loop *few[16], **loops = few;
  int top = lua_gettop(L);
  size_t n = 0;
  if (top > 16) loops = lua_newuserdatauv(L, (size_t)top * sizeof *loops, 0);
  for (int i = 1; i <= top; i++) {
    struct lethe_box *b = lethe_test(L, i, &loop_class);
    if (b && b->what) loops[n++] = b->what;
  }
  lethe_loop_block(loops, n);
  return 0;
}

/* advance(loop, seconds): of a virtual loop */
static int l_advance(lua_State *L) {
  struct lethe_loop *loop = check_loop(L);
  double seconds = luaL_checknumber(L, 2);
  lua_State *outer = begin_turn(L, loop);
  lethe_loop_advance(loop, seconds);
  end_turn(L, loop, outer);
  return 0;
}

static const luaL_Reg functions[] = {
    {"default", l_default}, {"new", l_new},         {"check", l_check},
    {"is_open", l_is_open}, {"now", l_now},         {"is_virtual", l_is_virtual},
    {"alive", l_alive},     {"post", l_post},       {"message", l_message},
    {"send", l_send},       {"timer", l_timer},     {"signal", l_signal},
    {"stop", l_stop},       {"turn", l_turn},       {"block", l_block},
    {"advance", l_advance}, {"close", lethe_close}, {NULL, NULL}};

static void make_registers(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &key_callbacks) == LUA_TNIL) {
    lua_pushboolean(L, 0);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key_chain);
    lethe_new_table(L, &key_callbacks, "v");
  }
  lua_pop(L, 1);
  for (int i = 0; i < 3; i++) {
    static const char *const names[] = {message_name, timer_name, signal_name};
    luaL_newmetatable(L, names[i]);
    lua_pop(L, 1);
  }
}

int luaopen_lethe_core_loop(lua_State *L) {
  luaL_checkversion(L);
  lethe_class(L, &loop_class);
  make_registers(L);
  luaL_newlib(L, functions);
  luaL_getmetatable(L, loop_class.name);
  lua_getfield(L, -1, "__index");
  lua_setfield(L, -3, "methods");
  lua_setfield(L, -2, "meta");
  return 1;
}
