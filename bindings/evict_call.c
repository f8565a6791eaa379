/* SPDX-License-Identifier: MIT
 * Calls of a script's functions: one meter for each, and what becomes of one that fails. Nothing
 * here can raise but inside lethe_meter_pcall: the script's stack has room, and only numbers are
 * pushed. */
#include <math.h>
#include <stdio.h>

#include "evict_script.h"

void evict_push(struct evict_script *s, enum evict_function f) { lua_pushvalue(s->L, (int)f); }

_Thread_local struct evict_script *evict_running;

/* The next failure's place, with room for a traceback. */
static void expect_failure(struct evict_script *s) {
  struct lethe_evict_failure *f = lethe_evict_script_failing(s->e);
  f->trace[0] = '\0';
  s->meter.trace = f->trace;
  s->meter.trace_size = sizeof f->trace;
}

__attribute__((cold, noinline)) static int fail(struct evict_script *s, const char *message) {
  struct lethe_evict_failure *f = lethe_evict_script_failing(s->e);
  if (!s->faulted) snprintf(f->message, sizeof f->message, "%s", message ? message : "it failed");
  f->spent = lethe_meter_used(&s->meter);
  f->budget = s->budget;
  s->meter.trace = NULL; /* until the next one is expected */
  return LETHE_EPOLICY;
}

/* What a function of the script did has come back to the script: there is one call at a time. */
__attribute__((cold, noinline)) static int again(struct evict_script *s, int n) {
  struct lethe_evict_failure *f = lethe_evict_script_failing(s->e);
  snprintf(f->message, sizeof f->message, "it is asked while it decides");
  lua_pop(s->L, n + 1);
  return LETHE_EPOLICY;
}

/* The stack is that of a script: nothing but the call is above its handler. One handle that names
 * nothing fails the call, whatever the function did about the error. */
int evict_call(struct evict_script *s, int n, int results) {
  lua_State *L = s->L;
  struct lethe_meter *m = &s->meter;
  struct evict_script *outer = evict_running;
  int status;
  if (s->calling) return again(s, n);
  s->calling = true;
  m->budget = m->left = s->budget;
  m->until = 0;
  m->within = s->sandbox ? (int64_t)EVICT_SECONDS * 1000000000 : 0;
  m->charged = s->sandbox != NULL;
  m->spent = m->late = s->faulted = false;
  if (!m->trace) expect_failure(s);
  evict_running = s;
  if (s->sandbox) {
    status = lethe_meter_run(L, EVICT_HANDLER, n, results, m);
  } else {
    s->host->no_wait++;
    status = lethe_meter_run(L, EVICT_HANDLER, n, results, m);
    s->host->no_wait--;
  }
  evict_running = outer;
  s->calling = false;
  if (status == LUA_OK && !s->faulted) return LETHE_OK;
  fail(s, status == LUA_OK ? NULL : lua_tostring(L, -1));
  lua_settop(L, EVICT_HANDLER);
  return LETHE_EPOLICY;
}

/* What a function returned is wrong. */
__attribute__((cold, noinline)) static int wrong(struct evict_script *s, const char *format,
                                                 const char *what) {
  char message[200];
  snprintf(message, sizeof message, format, what);
  lua_settop(s->L, EVICT_HANDLER);
  return fail(s, message);
}

/* ---- scores ---------------------------------------------------------------------------------- */

static void push_count(lua_State *L, double n) {
  if (n == floor(n) && fabs(n) < 9e15)
    lua_pushinteger(L, (lua_Integer)n);
  else
    lua_pushnumber(L, n);
}

static int score(void *ud, const double *fields, double *value) {
  struct evict_script *s = ud;
  lua_State *L = s->L;
  evict_push(s, EVICT_SCORE);
  for (int i = LETHE_EVICT_FREQ; i <= LETHE_EVICT_SIZE; i++) push_count(L, fields[i]);
  lua_pushnumber(L, fields[LETHE_EVICT_COST]);
  lua_pushnumber(L, fields[LETHE_EVICT_L]);
  if (evict_call(s, LETHE_EVICT_L + 1, 1) != LETHE_OK) return LETHE_EPOLICY;
  if (lua_type(L, -1) != LUA_TNUMBER)
    return wrong(s, "score must return a number (got %s)", luaL_typename(L, -1));
  *value = lua_tonumber(L, -1);
  lua_settop(L, EVICT_HANDLER);
  return LETHE_OK;
}

int evict_admits_score(void *ud, double size, bool ghost, bool *yes) {
  struct evict_script *s = ud;
  evict_push(s, EVICT_ADMIT);
  push_count(s->L, size);
  lua_pushboolean(s->L, ghost);
  if (evict_call(s, 2, 1) != LETHE_OK) return LETHE_EPOLICY;
  *yes = lua_toboolean(s->L, -1);
  lua_pop(s->L, 1);
  return LETHE_OK;
}

int evict_admits_hooks(void *ud, double size, bool ghost, bool *yes) {
  struct evict_script *s = ud;
  (void)ghost;
  evict_push(s, EVICT_ADMIT);
  lua_pushvalue(s->L, EVICT_FACE);
  push_count(s->L, size);
  if (evict_call(s, 2, 2) != LETHE_OK) return LETHE_EPOLICY;
  *yes = lua_toboolean(s->L, -2);
  int64_t found = lua_type(s->L, -1) == LUA_TBOOLEAN ? lua_toboolean(s->L, -1)
                                                     : (int64_t)lua_tointegerx(s->L, -1, NULL);
  lethe_evict_hooks_find(s->e, (uint64_t)found);
  lua_pop(s->L, 2);
  return LETHE_OK;
}

/* ---- hooks ----------------------------------------------------------------------------------- */

static int call_handle(struct evict_script *s, enum evict_function f, uint64_t h) {
  evict_push(s, f);
  lua_pushvalue(s->L, EVICT_FACE);
  lua_pushinteger(s->L, (lua_Integer)h);
  return evict_call(s, 2, 0);
}

/* A function of the cache alone, or with a handle, that answers yes or no. */
static int call_asking(struct evict_script *s, enum evict_function f, uint64_t h, bool *yes) {
  evict_push(s, f);
  lua_pushvalue(s->L, EVICT_FACE);
  if (h) lua_pushinteger(s->L, (lua_Integer)h);
  if (evict_call(s, h ? 2 : 1, 1) != LETHE_OK) return LETHE_EPOLICY;
  *yes = lua_toboolean(s->L, -1);
  lua_pop(s->L, 1);
  return LETHE_OK;
}

static int on_insert(void *ud, uint64_t h) { return call_handle(ud, EVICT_ON_INSERT, h); }
static int on_hit(void *ud, uint64_t h, bool *crowded) {
  return call_asking(ud, EVICT_ON_HIT, h, crowded);
}
static int on_remove(void *ud, uint64_t h) { return call_handle(ud, EVICT_ON_REMOVE, h); }
static int full(void *ud, bool *yes) { return call_asking(ud, EVICT_FULL, 0, yes); }

/* Results from above the handler on to the end; nil there is none. */
static int read_victims(struct evict_script *s, uint64_t *victims, unsigned *n) {
  enum { first = EVICT_HANDLER + 1 };
  lua_State *L = s->L;
  int last = lua_gettop(L);
  if (last == first && lua_isinteger(L, first)) { /* as nearly always */
    victims[0] = (uint64_t)lua_tointegerx(L, first, NULL);
    *n = 1;
    return LETHE_OK;
  }
  while (last >= first && lua_type(L, last) == LUA_TNIL) last--;
  for (int i = first; i <= last; i++) {
    int whole = 0, type = lua_type(L, i);
    lua_Integer h = type == LUA_TNUMBER ? lua_tointegerx(L, i, &whole) : 0;
    if (!whole)
      return wrong(s, "on_evict must return handles (got %s)",
                   type == LUA_TNUMBER ? "a fraction" : lua_typename(L, type));
    if (*n < LETHE_EVICT_VICTIMS) victims[*n] = (uint64_t)h;
    ++*n;
  }
  return LETHE_OK;
}

static int on_evict(void *ud, unsigned want, uint64_t *victims, unsigned *n) {
  struct evict_script *s = ud;
  lua_State *L = s->L;
  *n = 0;
  evict_push(s, EVICT_ON_EVICT);
  lua_pushvalue(L, EVICT_FACE);
  lua_pushinteger(L, want);
  int rc = evict_call(s, 2, LUA_MULTRET);
  if (rc == LETHE_OK) rc = read_victims(s, victims, n);
  if (rc == LETHE_OK) lua_settop(L, EVICT_HANDLER);
  return rc;
}

const struct lethe_evict_score evict_score_calls = {.score = score};
const struct lethe_evict_hooks evict_hooks_calls = {
    .insert = on_insert, .hit = on_hit, .remove = on_remove, .evict = on_evict, .full = full};
