/* SPDX-License-Identifier: MIT
 * Calls of a script's functions: one meter for each, and what becomes of one that fails. Nothing here can
 * raise but inside lethe_meter_pcall: the script's stack has room, and only numbers are pushed. */
#include <math.h>
#include <stdio.h>

#include "evict_script.h"

void evict_push(struct evict_script *s, enum evict_function f) { lua_pushvalue(s->L, (int)f); }

static int fail(struct evict_script *s, const char *message) {
  struct lethe_evict_failure *f = lethe_evict_script_failing(s->e);
  if (!s->faulted) snprintf(f->message, sizeof f->message, "%s", message ? message : "it failed");
  f->spent = lethe_meter_used(&s->meter);
  f->budget = s->budget;
  return LETHE_EPOLICY;
}

/* One handle that names nothing fails the call, whatever the function did about the error. */
int evict_call(struct evict_script *s, int n, int results) {
  lua_State *L = s->L;
  int base = lua_gettop(L) - n - 1, status;
  struct lethe_evict_failure *f = lethe_evict_script_failing(s->e);
  s->meter = (struct lethe_meter){
      .budget = s->budget, .left = s->budget, .trace = f->trace, .trace_size = sizeof f->trace};
  f->trace[0] = '\0';
  s->faulted = false;
  if (s->sandbox) {
    s->meter.within = (int64_t)EVICT_SECONDS * 1000000000;
    status = lethe_meter_pcall(L, n, results, &s->meter);
  } else {
    s->host->no_wait++;
    status = lethe_meter_pcall(L, n, results, &s->meter);
    s->host->no_wait--;
  }
  if (status == LUA_OK && !s->faulted) return LETHE_OK;
  fail(s, status == LUA_OK ? NULL : lua_tostring(L, -1));
  lua_settop(L, base);
  return LETHE_EPOLICY;
}

/* What a function returned is wrong; the stack is put back. */
static int wrong(struct evict_script *s, int base, const char *format, const char *what) {
  char message[200];
  snprintf(message, sizeof message, format, what);
  lua_settop(s->L, base);
  return fail(s, message);
}

/* ---- scores ------------------------------------------------------------------------------------------ */

static void push_count(lua_State *L, double n) {
  if (n == floor(n) && fabs(n) < 9e15)
    lua_pushinteger(L, (lua_Integer)n);
  else
    lua_pushnumber(L, n);
}

static int score(void *ud, const double *fields, double *value) {
  struct evict_script *s = ud;
  lua_State *L = s->L;
  int base = lua_gettop(L);
  evict_push(s, EVICT_SCORE);
  for (int i = LETHE_EVICT_FREQ; i <= LETHE_EVICT_SIZE; i++) push_count(L, fields[i]);
  lua_pushnumber(L, fields[LETHE_EVICT_COST]);
  lua_pushnumber(L, fields[LETHE_EVICT_L]);
  if (evict_call(s, LETHE_EVICT_L + 1, 1) != LETHE_OK) return LETHE_EPOLICY;
  if (lua_type(L, -1) != LUA_TNUMBER)
    return wrong(s, base, "score must return a number (got %s)", luaL_typename(L, -1));
  *value = lua_tonumber(L, -1);
  lua_settop(L, base);
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

/* ---- hooks ------------------------------------------------------------------------------------------- */

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

/* Any number of results; nil at the end is none. */
static int on_evict(void *ud, unsigned want, uint64_t *victims, unsigned *n) {
  struct evict_script *s = ud;
  lua_State *L = s->L;
  int base = lua_gettop(L), last;
  evict_push(s, EVICT_ON_EVICT);
  lua_pushvalue(L, EVICT_FACE);
  lua_pushinteger(L, want);
  if (evict_call(s, 2, LUA_MULTRET) != LETHE_OK) return LETHE_EPOLICY;
  for (last = lua_gettop(L); last > base && lua_isnil(L, last);) last--;
  *n = 0;
  for (int i = base + 1; i <= last; i++) {
    int whole = 0;
    lua_Integer h = lua_type(L, i) == LUA_TNUMBER ? lua_tointegerx(L, i, &whole) : 0;
    if (!whole)
      return wrong(s, base, "on_evict must return handles (got %s)",
                   lua_type(L, i) == LUA_TNUMBER ? "a fraction" : luaL_typename(L, i));
    if (*n < LETHE_EVICT_VICTIMS) victims[*n] = (uint64_t)h;
    ++*n;
  }
  lua_settop(L, base);
  return LETHE_OK;
}

const struct lethe_evict_score evict_score_calls = {.score = score};
const struct lethe_evict_hooks evict_hooks_calls = {
    .insert = on_insert, .hit = on_hit, .remove = on_remove, .evict = on_evict, .full = full};
