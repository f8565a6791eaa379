/* SPDX-License-Identifier: MIT
 * lethe.core.loop: loops, messages, timers and signals for the Lua side (lua/lethe/loop.lua), where
 * tasks live. Nothing here yields. */
#include <math.h>
#include <signal.h>
#include <string.h>

#include "callback.h"
#include "stop.h"

static char key_default; /* registry: the default loop's object */

static void end_loop(struct lethe_state *s, void *what, bool closed) {
  (void)closed;
  lethe_callback_forget(s, what, NULL);
  if (s->loop == what) s->loop = NULL;
  lethe_loop_close(what);
  lethe_loop_put(what);
}

static const struct lethe_class loop_class = {
    .name = "lethe.loop.Loop", .end = end_loop, .leaks = true, .last = true};

static struct lethe_loop *check_loop(lua_State *L) { return lethe_check(L, 1, &loop_class)->what; }

struct lethe_loop *lethe_checkloop(lua_State *L, int arg) {
  return lethe_check(L, arg, &loop_class)->what;
}

/* ---- messages -------------------------------------------------------------------------------- */

/* Posts the message whose userdata is on top of the stack; false when the loop is closed. */
static bool post(lua_State *L, struct lethe_loop *loop, struct lethe_callback *c) {
  c->loop = loop;
  c->u.message.run = lethe_callback_on_message;
  if (!loop || !lethe_loop_post(loop, &c->u.message)) return false;
  lethe_callback_chain(L, c);
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
  struct lethe_callback *c = lethe_callback_new(L, 2, LETHE_MESSAGE);
  lua_pushboolean(L, post(L, loop, c));
  return 1;
}

/* message(fn) -> handle for send */
static int l_message(lua_State *L) {
  lethe_callback_new(L, 1, LETHE_MESSAGE)->kept = true;
  return 1;
}

/* send(loop, handle): its fn() at the loop's next turn, without allocating; a message that is under
 * way stays where it is. False when the loop is closed. */
static int l_send(lua_State *L) {
  struct lethe_loop *loop = open_loop(L, 1);
  struct lethe_callback *c = luaL_checkudata(L, 2, LETHE_MESSAGE);
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
  struct lethe_callback *c = lethe_callback_new(L, 3, LETHE_TIMER);
  c->loop = loop;
  c->is_timer = true;
  c->u.timer.closed = lethe_callback_timer_closed;
  lethe_callback_chain(L, c);
  double period = every ? fmax(seconds, 1e-6) : 0;
  lethe_timer_start(loop, &c->u.timer, seconds, period, lethe_callback_on_timer);
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
  size_t length;
  const char *name = luaL_checklstring(L, 2, &length);
  int i = 0;
  while (signal_names[i] &&
         (strlen(signal_names[i]) != length || strcmp(signal_names[i], name) != 0))
    i++;
  if (!signal_names[i]) {
    const char *near = lethe_nearest(name, signal_names);
    lua_pushboolean(L, 0);
    lua_pushfstring(L, "unknown signal \"%s\" (did you mean \"%s\"?)", name, near ? near : "TERM");
    return 2;
  }
  struct lethe_callback *c = lethe_callback_new(L, 3, LETHE_SIGNAL);
  c->u.signal.closed = lethe_callback_signal_closed;
  int rc = lethe_signal_start(loop, &c->u.signal, signal_numbers[i], lethe_callback_on_signal);
  if (rc == LETHE_ENOMEM) return lethe_nomemory(L);
  if (rc != LETHE_OK) return lethe_fail(L, rc);
  lethe_callback_chain(L, c);
  return 1;
}

/* stop(handle): of a timer or a signal; idempotent */
static int l_stop(lua_State *L) {
  struct lethe_callback *c = luaL_testudata(L, 1, LETHE_TIMER);
  if (c) {
    lethe_timer_stop(&c->u.timer);
  } else {
    c = luaL_checkudata(L, 1, LETHE_SIGNAL);
    lethe_signal_stop(&c->u.signal);
  }
  if (c->state->starved) lethe_callback_forget(c->state, NULL, c);
  lethe_callback_unchain(L, c);
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
  bool starved = lethe_state(L)->starved != NULL;
  lua_pushboolean(L, b && b->what && (starved || lethe_loop_alive(b->what)));
  return 1;
}

/* ---- turning --------------------------------------------------------------------------------- */

/* Callbacks run on the thread that turns, so the turns of a state may nest. A turn is a safe point,
 * before and after; it holds the loop, which may be closed and collected in it. */
static lua_State *begin_turn(lua_State *L, struct lethe_loop *loop) {
  lethe_loop_get(loop);
  struct lethe_state *s = lethe_safepoint(L);
  lethe_settle(L);
  if (s->in_turn) s->in_turn(L);
  lethe_callback_feed(s);
  lua_State *outer = s->turning;
  s->turning = L;
  return outer;
}

static void end_turn(lua_State *L, struct lethe_loop *loop, lua_State *outer) {
  struct lethe_state *s = lethe_state(L);
  s->turning = outer;
  lethe_loop_put(loop);
  lethe_safepoint(L);
  lethe_settle(L);
  if (s->in_turn) s->in_turn(L);
  lethe_callback_patience(L, s);
}

/* turn(loop) -> how many callbacks ran */
static int l_turn(lua_State *L) {
  struct lethe_loop *loop = open_loop(L, 1);
  unsigned n = 0;
  if (loop) {
    lua_State *outer = begin_turn(L, loop);
    unsigned held = lethe_stop_hold(0); /* what engines call back is not lethe's own */
    n = lethe_loop_turn(loop);
    lethe_stop_hold(held);
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
  if (lethe_state(L)->starved) return 0;
  if (top > 16) loops = lua_newuserdatauv(L, (size_t)top * sizeof *loops, 0);
  for (int i = 1; i <= top; i++) {
    struct lethe_box *b = lethe_test(L, i, &loop_class);
    if (b && b->what) loops[n++] = b->what;
  }
  lethe_loop_block(loops, n);
  return 0;
}

/* held(fn, ...): fn runs as lethe's own code, which nobody stops half-way */
static int l_held(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  unsigned held = lethe_stop_hold(1);
  int rc = lua_pcall(L, lua_gettop(L) - 1, 0, 0);
  lethe_stop_hold(held);
  return rc == LUA_OK ? 0 : lua_error(L);
}

/* advance(loop, seconds): of a virtual loop */
static int l_advance(lua_State *L) {
  struct lethe_loop *loop = check_loop(L);
  double seconds = luaL_checknumber(L, 2);
  lua_State *outer = begin_turn(L, loop);
  unsigned held = lethe_stop_hold(0);
  lethe_loop_advance(loop, seconds);
  lethe_stop_hold(held);
  end_turn(L, loop, outer);
  return 0;
}

static const luaL_Reg functions[] = {{"default", l_default},
                                     {"new", l_new},
                                     {"check", l_check},
                                     {"is_open", l_is_open},
                                     {"now", l_now},
                                     {"is_virtual", l_is_virtual},
                                     {"alive", l_alive},
                                     {"post", l_post},
                                     {"message", l_message},
                                     {"send", l_send},
                                     {"timer", l_timer},
                                     {"signal", l_signal},
                                     {"stop", l_stop},
                                     {"turn", l_turn},
                                     {"block", l_block},
                                     {"held", l_held},
                                     {"advance", l_advance},
                                     {"close", lethe_close},
                                     {NULL, NULL}};

int luaopen_lethe_core_loop(lua_State *L) {
  luaL_checkversion(L);
  lethe_class(L, &loop_class);
  lethe_callback_open(L);
  luaL_newlib(L, functions);
  luaL_getmetatable(L, loop_class.name);
  lua_getfield(L, -1, "__index");
  lua_setfield(L, -3, "methods");
  lua_setfield(L, -2, "meta");
  return 1;
}
