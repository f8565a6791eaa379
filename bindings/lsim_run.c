/* SPDX-License-Identifier: MIT
 * One replay of a trace through one policy, so many requests at a time. A script that fails, runs
 * for too long or fills the memory of the state that it runs in ends the replay: what it would
 * count from then on would not be its own. */
#include <stdio.h>
#include <time.h>

#include "evict_script.h"
#include "sim.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

/* Requests between two looks at a script; what it may add to the program's memory, in KiB, which is
 * as much as a text has. */
enum { CHUNK = 256, MEMORY = 64 * 1024 };

/* While requests run the policy, a script maybe, may call anything, also to end this. */
struct run {
  struct lethe_trace *trace;
  struct lethe_replay *replay;
  uint64_t at;
  const struct lethe_request *requests; /* that were read, and are not all replayed */
  size_t next, n;
  double took, most; /* seconds of this thread; most is for scripts */
  int memory;        /* KiB of the state when it began; -1: no matter */
  bool scripted, running, ended;
  struct lethe_request buffer[LETHE_TRACE_BATCH];
};

static void free_run(struct run *r) {
  lethe_replay_delete(r->replay);
  lethe_trace_put(r->trace);
  lethe_free(mem, r, sizeof *r);
}

static void end_run(struct lethe_state *s, void *what, bool closed) {
  struct run *r = what;
  (void)s, (void)closed;
  r->ended = true;
  if (!r->running) free_run(r);
}

/* ---- making ---------------------------------------------------------------------------------- */

static struct lethe_evict *policy_at(lua_State *L, int arg, int64_t limit, uint64_t seed) {
  struct lethe_evict *e = NULL;
  if (lua_type(L, arg) != LUA_TSTRING) return evict_take(L, arg);
  const struct lethe_evict_ops *ops = lethe_evict_find(lua_tostring(L, arg), true);
  luaL_argcheck(L, ops != NULL, arg, "no such policy");
  lethe_evict_new_with(&e, mem, ops, NULL, limit, seed);
  return e;
}

static bool begin(lua_State *L, struct run *r, struct lethe_evict *e, bool unit) {
  struct evict_script *s = evict_script_of(e);
  if (lethe_replay_new(&r->replay, e, unit) != LETHE_OK) return false;
  r->scripted = s != NULL;
  r->memory = s && !s->sandbox ? lua_gc(L, LUA_GCCOUNT) : -1;
  return true;
}

int sim_run(lua_State *L) {
  struct lethe_trace *t = sim_check_trace(L, 1);
  int64_t limit = luaL_checkinteger(L, 3);
  uint64_t seed = (uint64_t)luaL_checkinteger(L, 5);
  double most = luaL_checknumber(L, 6);
  lethe_safepoint(L);
  struct lethe_box *b = lethe_box_new(L, &sim_run_class, 0);
  struct lethe_evict *e = policy_at(L, 2, limit, seed);
  struct run *r = e ? lethe_zalloc(mem, sizeof *r) : NULL;
  if (!r || !begin(L, r, e, lua_toboolean(L, 4))) {
    lethe_evict_delete(e);
    lethe_free(mem, r, sizeof *r);
    return lethe_fail(L, LETHE_ENOMEM);
  }
  r->trace = lethe_trace_get(t);
  r->most = most;
  lethe_box_hold(L, b, r);
  return 1;
}

/* ---- requests -------------------------------------------------------------------------------- */

static double thread_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool is_too_large(lua_State *L, const struct run *r) {
  if (r->memory < 0 || lua_gc(L, LUA_GCCOUNT) - r->memory <= MEMORY) return false;
  lua_gc(L, LUA_GCCOLLECT);
  return lua_gc(L, LUA_GCCOUNT) - r->memory > MEMORY;
}

/* What is wrong with a script, in words; NULL if nothing. Its message is in `why`. */
static bool has_failed(lua_State *L, const struct run *r, double began, char *why, size_t n) {
  if (!r->scripted) return false;
  if (lethe_evict_script_strikes(r->replay->policy) > 0) {
    const struct lethe_evict_failure *f = lethe_evict_script_failure(r->replay->policy, 0);
    snprintf(why, n, "%s: %.*s", f->call, (int)n - 32, f->message);
    return true;
  }
  if (r->took + thread_seconds() - began > r->most) {
    snprintf(why, n, "it took more than %.3g seconds for %llu of %llu requests", r->most,
             (unsigned long long)r->replay->requests,
             (unsigned long long)lethe_trace_info(r->trace)->len);
    return true;
  }
  if (!is_too_large(L, r)) return false;
  snprintf(why, n, "it added more than %d MiB to the program's memory", MEMORY / 1024);
  return true;
}

/* Up to `many` requests; *done at the trace's end. LETHE_EPOLICY: see why. */
static int replay(lua_State *L, struct run *r, size_t many, bool *done, char *why, size_t n) {
  double began = thread_seconds();
  int rc = LETHE_OK;
  size_t chunk = r->scripted ? CHUNK : LETHE_TRACE_BATCH;
  while (many > 0 && rc == LETHE_OK && !r->ended) {
    if (r->next == r->n) {
      r->next = 0;
      rc = lethe_trace_read(r->trace, &r->at, r->buffer, &r->requests, &r->n);
      *done = rc == LETHE_OK && r->n == 0;
      if (*done || rc != LETHE_OK) break;
    }
    size_t count = r->n - r->next < chunk ? r->n - r->next : chunk;
    rc = lethe_replay_run(r->replay, r->requests + r->next, count);
    r->next += count;
    many -= count < many ? count : many;
    if (has_failed(L, r, began, why, n)) rc = LETHE_EPOLICY;
  }
  r->took += thread_seconds() - began;
  return rc;
}

/* Run:step(requests) -> whether all are done | nil, m, code */
static int l_step(lua_State *L) {
  char why[400] = "it found no victim";
  struct run *r = lethe_check(L, 1, &sim_run_class)->what;
  lua_Integer many = luaL_checkinteger(L, 2);
  bool done = false;
  luaL_argcheck(L, many > 0, 2, "a number of requests");
  if (r->running) return luaL_error(L, "a policy cannot use the replay that asks it");
  r->running = true;
  int rc = replay(L, r, (size_t)many, &done, why, sizeof why);
  r->running = false;
  if (r->ended) {
    free_run(r);
    rc = LETHE_ECLOSED;
  }
  lethe_settle(L);
  if (rc == LETHE_EPOLICY) return lethe_failf(L, rc, "%s", why);
  if (rc == LETHE_ESYSTEM) return lethe_failf(L, rc, "the trace's file is not what it was");
  if (rc != LETHE_OK) return lethe_fail(L, rc);
  lua_pushboolean(L, done);
  return 1;
}

/* Run:stats() -> requests, misses, bytes, bytes missed, seconds */
static int l_stats(lua_State *L) {
  const struct run *r = lethe_check(L, 1, &sim_run_class)->what;
  lua_pushinteger(L, (lua_Integer)r->replay->requests);
  lua_pushinteger(L, (lua_Integer)r->replay->misses);
  lua_pushinteger(L, (lua_Integer)r->replay->bytes);
  lua_pushinteger(L, (lua_Integer)r->replay->missed);
  lua_pushnumber(L, r->took);
  return 5;
}

/* Run:name() -> what its script is called, "" for none */
static int l_name(lua_State *L) {
  const struct run *r = lethe_check(L, 1, &sim_run_class)->what;
  const struct evict_script *s = evict_script_of(r->replay->policy);
  lua_pushstring(L, s ? s->name : "");
  return 1;
}

static const luaL_Reg methods[] = {
    {"name", l_name}, {"step", l_step}, {"stats", l_stats}, {"close", lethe_close}, {NULL, NULL}};
const struct lethe_class sim_run_class = {
    .name = "lethe.sim.Run", .end = end_run, .methods = methods};
