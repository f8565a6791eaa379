/* SPDX-License-Identifier: MIT
 * Stopping a state: the signal, the hook, and the functions that keep books of what runs.
 *
 *   I1  `top` is the coroutine that runs. It changes before lua_resume and after, and each time
 *       `wanted` is looked at after it changed: the handler, or whoever changed it, sets the hook.
 *   I2  Once a hook is set on what runs, a __close begins with a call event, which notes how deep
 *       it is; what was begun before is found by walking the stack at the first event.
 *   I3  A coroutine inherits its maker's hook; one that is resumed gets it then. */
#include "stop.h"

#include <signal.h>
#include <string.h>

enum { UNKNOWN = -1, LEVELS = 5000 };
enum { POLL = 100 }; /* instructions, under ThreadSanitizer */

static _Thread_local struct lethe_stop *here;

static bool wanted(const struct lethe_stop *s) { return load_acq(&s->wanted); }

bool lethe_stop_wanted(void) { return here && wanted(here); }

unsigned lethe_stop_hold(unsigned held) {
  if (!here) return 0;
  unsigned before = here->held;
  here->held = held;
  return before;
}

unsigned lethe_stop_let(void) { return here ? lethe_stop_hold(wanted(here) ? here->held : 0) : 0; }

/* ---- what is a __close ----------------------------------------------------------------------- */

/* How many slots of the frame lie below the function that it called. */
static int slots(lua_State *L, const lua_Debug *frame) {
  int n = 0, step = 1;
  while (step > 0) {
    if (lua_getlocal(L, frame, n + step)) {
      lua_pop(L, 1);
      n += step;
      step *= 2;
    } else {
      step /= 2;
    }
  }
  return n;
}

/* Lua calls a __close in the course of an error as if the C function that catches it did; the
 * object and the error are then the last two values below it. Values are looked at on `on`'s stack:
 * it is the thread that runs. */
static bool closed_by_error(lua_State *on, lua_State *L, const lua_Debug *caller,
                            lua_Debug *callee) {
  int n = slots(L, caller);
  if (n < 2 || !lua_getlocal(L, caller, n - 1)) return false;
  lua_getinfo(L, "f", callee);
  if (L != on) lua_xmove(L, on, 2);
  bool same = luaL_getmetafield(on, -2, "__close") != LUA_TNIL;
  if (same) {
    same = lua_rawequal(on, -1, -2);
    lua_pop(on, 1);
  }
  lua_pop(on, 2);
  return same;
}

static bool is_close(lua_State *on, lua_State *L, int level) {
  lua_Debug frame, caller;
  if (!lua_getstack(L, level, &frame)) return false;
  lua_getinfo(L, "n", &frame);
  if (frame.name && strcmp(frame.name, "close") == 0 && strcmp(frame.namewhat, "metamethod") == 0)
    return true;
  if (!lua_getstack(L, level + 1, &caller)) return false;
  lua_getinfo(L, "S", &caller);
  return *caller.what == 'C' && closed_by_error(on, L, &caller, &frame);
}

static int depth(lua_State *L) {
  lua_Debug frame;
  int n = 0, step = 1;
  while (step > 0) {
    if (lua_getstack(L, n + step - 1, &frame)) {
      n += step;
      step *= 2;
    } else {
      step /= 2;
    }
  }
  return n;
}

/* The depth of the outermost __close on the stack, or 0. */
static int find_close(lua_State *on, lua_State *L) {
  int n = depth(L), found = 0;
  if (!lua_checkstack(L, LUA_MINSTACK) || !lua_checkstack(on, LUA_MINSTACK)) return 0;
  for (int level = 0; level < n && level < LEVELS; level++)
    if (is_close(on, L, level)) found = n - level;
  return found;
}

bool lethe_stop_in_close(lua_State *co) { return find_close(co, co) > 0; }

bool lethe_stop_due(void) {
  const struct lethe_stop *s = here;
  if (!s || !wanted(s) || s->held || s->resetting) return false;
  for (const struct lethe_running *r = s->top; r; r = r->up)
    if (lethe_stop_in_close(r->L)) return false;
  return true;
}

/* ---- the hook -------------------------------------------------------------------------------- */

static void hook(lua_State *L, lua_Debug *event);

/* ThreadSanitizer delivers a signal only in calls that it sees, and so not to Lua code that runs:
 * under it every coroutine polls the flag. */
static void arm(struct lethe_stop *s, lua_State *L) {
  if (wanted(s))
    lua_sethook(L, hook, LUA_MASKCOUNT | LUA_MASKCALL, 1);
  else if (LETHE_TSAN)
    lua_sethook(L, hook, LUA_MASKCOUNT, POLL);
}

/* Whether a coroutine that resumed this one, or one above it, is inside a __close. */
static bool is_held_above(lua_State *L, const struct lethe_running *r) {
  for (struct lethe_running *up = r->up; up; up = up->up) {
    if (up->closing == UNKNOWN) up->closing = find_close(L, up->L);
    if (up->closing > 0) return true;
  }
  return false;
}

/* Whether L, which runs, is inside a __close. */
static bool is_closing(lua_State *L, struct lethe_running *r, int event) {
  lua_Debug frame;
  if (r->closing == UNKNOWN) r->closing = find_close(L, L);
  if (r->closing > 0 && !lua_getstack(L, r->closing - 1, &frame)) r->closing = 0;
  if (event == LUA_HOOKCALL && (r->closing == 0 || depth(L) == r->closing))
    r->closing = is_close(L, L, 0) ? depth(L) : 0;
  return r->closing > 0;
}

static void hook(lua_State *L, lua_Debug *event) {
  struct lethe_stop *s = here;
  if (!s || !wanted(s)) return;
  struct lethe_running *r = s->top, stranger = {.L = L, .up = r, .closing = UNKNOWN};
  if (LETHE_TSAN && lua_gethookcount(L) != 1) arm(s, L);
  if (s->held || s->resetting) return;
  if (r->L != L) r = &stranger; /* resumed by a C function that keeps no books */
  if (is_closing(L, r, event->event) || is_held_above(L, r)) return;
  lua_pushliteral(L, "not enough memory"); /* every state has this string; lua_error knows it */
  lua_error(L);
}

/* ---- the signal ------------------------------------------------------------------------------ */

static pthread_once_t signal_once = PTHREAD_ONCE_INIT;
static int signal_number; /* 0: none is free */

static void on_signal(int number) {
  struct lethe_stop *s = here;
  (void)number;
  if (s && wanted(s)) arm(s, s->top->L);
}

/* Without SA_RESTART, so that blocking calls end. */
static void choose_signal(void) {
  struct sigaction action = {.sa_handler = on_signal}, old;
  sigemptyset(&action.sa_mask);
  for (int n = SIGRTMAX; n > SIGRTMIN && !signal_number; n--)
    if (sigaction(n, NULL, &old) == 0 && old.sa_handler == SIG_DFL &&
        sigaction(n, &action, NULL) == 0)
      signal_number = n;
}

void lethe_stop_begin(struct lethe_stop *s, lua_State *main) {
  pthread_once(&signal_once, choose_signal);
  s->registry = lua_topointer(main, LUA_REGISTRYINDEX);
  s->base = (struct lethe_running){.L = main, .closing = UNKNOWN};
  s->top = &s->base;
  s->held = 1;
  here = s;
  atomic_signal_fence(memory_order_seq_cst);
  arm(s, main);
  if (signal_number && !LETHE_TSAN) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal_number);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
  }
}

void lethe_stop_end(void) { here = NULL; }

/* Release: pairs with the acquire of the handler and of whoever changes `top`. */
void lethe_stop_want(struct lethe_stop *s, pthread_t thread) {
  store_rel(&s->wanted, true);
  pthread_once(&signal_once, choose_signal);
  if (signal_number && !LETHE_TSAN) pthread_kill(thread, signal_number);
}

void lethe_stop_rearm(lua_State *L) {
  struct lethe_stop *s = here;
  if (s && s->registry == lua_topointer(L, LUA_REGISTRYINDEX)) arm(s, L);
}

/* ---- the functions that keep books ----------------------------------------------------------- */

/* Keeps I1. */
int lethe_stop_resume(lua_State *L, lua_State *co, int nargs, int *nres) {
  struct lethe_stop *s = here;
  if (!s || s->registry != lua_topointer(L, LUA_REGISTRYINDEX))
    return lua_resume(co, L, nargs, nres);
  struct lethe_running r = {.L = co, .up = s->top, .held = s->held, .closing = UNKNOWN};
  s->held = 0;
  s->top = &r;
  atomic_signal_fence(memory_order_seq_cst);
  arm(s, co);
  int rc = lua_resume(co, L, nargs, nres);
  s->top = r.up;
  s->held = r.held;
  atomic_signal_fence(memory_order_seq_cst);
  arm(s, L);
  return rc;
}

/* Else it could not be resumed. */
static bool has_failed(lua_State *co) {
  int status = lua_status(co);
  return status != LUA_OK && status != LUA_YIELD;
}

/* Runs what is to be closed in a coroutine that failed or was given up; its error is on its top. */
static int reset(lua_State *co) {
  struct lethe_stop *s = here;
  s->resetting++;
  int rc = lua_resetthread(co);
  s->resetting--;
  return rc;
}

/* As in lcorolib.c: the results moved to L, how many; -1 and a message on L. */
static int resume_moved(lua_State *L, lua_State *co, int nargs, int *rc) {
  int nres;
  *rc = LUA_OK;
  if (!lua_checkstack(co, nargs)) {
    lua_pushliteral(L, "too many arguments to resume");
    return -1;
  }
  lua_xmove(L, co, nargs);
  *rc = lethe_stop_resume(L, co, nargs, &nres);
  if (*rc != LUA_OK && *rc != LUA_YIELD) return -1;
  if (!lua_checkstack(L, nres + 1)) {
    lua_pop(co, nres);
    lua_pushliteral(L, "too many results to resume");
    return -1;
  }
  lua_xmove(co, L, nres);
  return nres;
}

/* coroutine.resume. A coroutine that is stopped nobody will ever close: so it is closed here. */
static int l_resume(lua_State *L) {
  int rc;
  lua_State *co = lua_tothread(L, 1);
  luaL_argexpected(L, co, 1, "coroutine");
  int n = resume_moved(L, co, lua_gettop(L) - 1, &rc);
  if (n >= 0) {
    lua_pushboolean(L, 1);
    lua_insert(L, -n - 1);
    return n + 1;
  }
  if (rc != LUA_OK) {
    if (lethe_stop_wanted() && has_failed(co)) reset(co);
    lua_xmove(co, L, 1);
  }
  lua_pushboolean(L, 0);
  lua_insert(L, -2);
  return 2;
}

/* What coroutine.wrap returns. */
static int call_wrapped(lua_State *L) {
  int rc;
  lua_State *co = lua_tothread(L, lua_upvalueindex(1));
  int n = resume_moved(L, co, lua_gettop(L), &rc);
  if (n >= 0) return n;
  if (rc != LUA_OK) {
    if (has_failed(co)) rc = reset(co);
    lua_xmove(co, L, 1);
  }
  if (rc != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
    luaL_where(L, 1);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  return lua_error(L);
}

static int l_wrap(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lua_State *co = lua_newthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, co, 1);
  lua_pushcclosure(L, call_wrapped, 1);
  return 1;
}

/* coroutine.close */
static int l_close(lua_State *L) {
  lua_Debug frame;
  lua_State *co = lua_tothread(L, 1);
  luaL_argexpected(L, co, 1, "coroutine");
  if (co == L) return luaL_error(L, "cannot close a running coroutine");
  if (lua_status(co) == LUA_OK && lua_getstack(co, 0, &frame))
    return luaL_error(L, "cannot close a normal coroutine");
  if (reset(co) == LUA_OK) {
    lua_pushboolean(L, 1);
    return 1;
  }
  lua_pushboolean(L, 0);
  lua_xmove(co, L, 1);
  return 2;
}

/* debug.sethook; upvalue 1 is the library's. */
static int l_sethook(lua_State *L) {
  int n = lua_tocfunction(L, lua_upvalueindex(1))(L);
  lethe_stop_rearm(L);
  return n;
}

/* Pushes a library's table. */
static void push_library(lua_State *L, const char *name) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, name);
  lua_remove(L, -2);
}

void lethe_stop_open(lua_State *L) {
  static const luaL_Reg coroutines[] = {
      {"resume", l_resume}, {"wrap", l_wrap}, {"close", l_close}, {NULL, NULL}};
  push_library(L, LUA_COLIBNAME);
  luaL_setfuncs(L, coroutines, 0);
  push_library(L, LUA_DBLIBNAME);
  lua_getfield(L, -1, "sethook");
  lua_pushcclosure(L, l_sethook, 1);
  lua_setfield(L, -2, "sethook");
  lua_pop(L, 2);
}
