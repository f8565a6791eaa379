/* SPDX-License-Identifier: MIT
 * Running scripted policies. Each call is one C function under the meter that a pass has for all
 * its calls; a plan has one of its own, so that it takes nothing from a pass. Whatever goes wrong
 * leaves a message, and the pass goes on with "oldest". */
#include "quota_script.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

static struct script *script_of(struct lethe_quota_policy *p) {
  return lethe_container_of(p, struct script, policy);
}

/* ---- running --------------------------------------------------------------------------------- */

/* What the functions below get as their one argument. */
struct job {
  struct script *s;
  const struct lethe_quota_candidate *c;
  size_t n;
  double *scores;
  uint32_t *ranking;
  size_t *ranked;
  int64_t freed;
  enum lethe_quota_outcome outcome;
};

static bool for_plan(const struct job *j) { return j->n > 0 && j->c->plan; }

/* The pass reads it; an empty one would say that nothing is wrong. */
static void set_message(const struct job *j, const char *text) {
  char *message = j->s->policy.message;
  if (!for_plan(j))
    snprintf(message, sizeof j->s->policy.message, "%s", text && *text ? text : "policy failed");
}

/* A second call, for want of anything better, must not fail for what the first one spent. */
static struct lethe_meter *meter_of(const struct job *j, struct lethe_meter *own) {
  struct script *s = j->s;
  struct lethe_meter *m = for_plan(j) ? own : &s->meter;
  struct timespec now;
  if (m == own) {
    lethe_meter_init(m, s->budget);
  } else if (m->spent && !s->renewed && j->n > 0 && j->c->degraded) {
    s->renewed = true;
    lethe_meter_init(m, s->budget);
  }
  if (s->sandbox) { /* nobody vouches for it: instructions alone are not trusted */
    clock_gettime(CLOCK_MONOTONIC, &now);
    m->until = ((int64_t)now.tv_sec + SCRIPT_SECONDS) * 1000000000 + now.tv_nsec;
  }
  return m;
}

/* Calls f(job) on L, on which nothing else runs. */
static int run_on(lua_State *L, lua_CFunction f, struct job *j) {
  struct lethe_meter own;
  if (!lua_checkstack(L, LUA_MINSTACK)) {
    set_message(j, "not enough memory");
    return LETHE_EPOLICY;
  }
  lua_pushcfunction(L, f);
  lua_pushlightuserdata(L, j);
  if (lethe_meter_pcall(L, 1, 0, meter_of(j, &own)) == LUA_OK) return LETHE_OK;
  set_message(j, lua_tostring(L, -1));
  lua_pop(L, 1);
  return LETHE_EPOLICY;
}

/* Of the host's threads, it is whoever turns the loop now that calls. */
static int run(lua_CFunction f, struct job *j) {
  struct script *s = j->s;
  int rc;
  if (s->host) {
    s->host->no_wait++;
    rc = run_on(s->host->turning, f, j);
    s->host->no_wait--;
  } else {
    pthread_mutex_lock(&s->lock);
    rc = run_on(s->L, f, j);
    pthread_mutex_unlock(&s->lock);
  }
  return rc;
}

static void push_function(lua_State *L, const struct job *j, enum script_function f) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, j->s->refs[f]);
}

/* ---- score and order ------------------------------------------------------------------------- */

static int score_all(lua_State *L) {
  struct job *j = lua_touserdata(L, 1);
  push_function(L, j, SCORE);            /* 2 */
  luaL_getmetatable(L, QUOTA_CANDIDATE); /* 3 */
  for (size_t i = 0; i < j->n; i++) {
    lua_pushvalue(L, 2);
    quota_push_candidate(L, 3, &j->c[i]);
    lua_call(L, 1, 1);
    int type = lua_type(L, -1);
    if (type != LUA_TNUMBER && type != LUA_TNIL)
      return luaL_error(L, "score must return a number or nil (got %s)", luaL_typename(L, -1));
    j->scores[i] = type == LUA_TNUMBER ? lua_tonumber(L, -1) : (double)NAN;
    if (type == LUA_TNUMBER && isnan(j->scores[i]))
      return luaL_error(L, "score must return a number or nil (got NaN)");
    lua_pop(L, 1);
  }
  return 0;
}

static int score_expression(struct job *j) {
  double values[QUOTA_FIELDS];
  for (size_t i = 0; i < j->n; i++) {
    const char *why = "score must be a number or nil (got a boolean)";
    quota_candidate_values(&j->c[i], values);
    switch (lethe_expr_run(j->s->expr, values, &j->scores[i], &why)) {
    case LETHE_EXPR_NUMBER:
      if (!isnan(j->scores[i])) continue;
      why = "score must be a number or nil (got NaN)";
      break;
    case LETHE_EXPR_FALSE: /* "used > 4096 and age" spares whom the condition does not fit */
    case LETHE_EXPR_NIL:
      j->scores[i] = NAN;
      continue;
    case LETHE_EXPR_TRUE:
    case LETHE_EXPR_ERROR:
      break;
    }
    set_message(j, why);
    return LETHE_EPOLICY;
  }
  return LETHE_OK;
}

static int score(struct lethe_quota_policy *p, const struct lethe_quota_candidate *c, size_t n,
                 double *scores) {
  struct job j = {.s = script_of(p), .c = c, .n = n, .scores = scores};
  return j.s->expr ? score_expression(&j) : run(score_all, &j);
}

/* The list of candidates that order gets. */
static void push_list(lua_State *L, const struct job *j) {
  luaL_getmetatable(L, QUOTA_CANDIDATE);
  int metatable = lua_gettop(L);
  lua_createtable(L, (int)j->n, 0);
  for (size_t i = 0; i < j->n; i++) {
    quota_push_candidate(L, metatable, &j->c[i])->index = (uint32_t)i;
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_remove(L, metatable);
}

/* order(list) -> list of the same candidates, each at most once */
static int order_all(lua_State *L) {
  struct job *j = lua_touserdata(L, 1);
  push_function(L, j, ORDER);
  push_list(L, j);
  lua_call(L, 1, 1);
  if (!lua_istable(L, -1))
    return luaL_error(L, "order must return a list (got %s)", luaL_typename(L, -1));
  bool *seen = lua_newuserdatauv(L, j->n + 1, 0);
  memset(seen, 0, j->n + 1);
  for (lua_Integer i = 1; lua_rawgeti(L, -2, i) != LUA_TNIL; i++) {
    struct quota_candidate_object *o = luaL_testudata(L, -1, QUOTA_CANDIDATE);
    if (!o || o->index >= j->n || j->c[o->index].info.account != o->c.info.account)
      return luaL_error(L, "order must return candidates of its list (got another value at %I)",
                        (LUAI_UACINT)i);
    if (seen[o->index])
      return luaL_error(L, "order must return each candidate once (account %I is there twice)",
                        (LUAI_UACINT)o->c.info.account);
    seen[o->index] = true;
    j->ranking[(*j->ranked)++] = o->index;
    lua_pop(L, 1);
  }
  return 0;
}

static int order(struct lethe_quota_policy *p, const struct lethe_quota_candidate *c, size_t n,
                 uint32_t *ranking, size_t *ranked) {
  struct job j = {.s = script_of(p), .c = c, .n = n, .ranking = ranking, .ranked = ranked};
  *ranked = 0;
  return run(order_all, &j);
}

/* ---- hooks ----------------------------------------------------------------------------------- */

/* The host's own Tracker; a sandbox gets something to read. */
static void push_tracker(lua_State *L, struct script *s) {
  if (s->host)
    quota_push_tracker_of(L, s->t, s->policy.loop);
  else
    quota_push_reader(L, s->t);
}

static int call_start(lua_State *L) {
  struct job *j = lua_touserdata(L, 1);
  push_function(L, j, ON_START);
  push_tracker(L, j->s);
  lua_call(L, 1, 0);
  return 0;
}

static int start(struct lethe_quota_policy *p) {
  struct job j = {.s = script_of(p)};
  lethe_meter_init(&j.s->meter, j.s->budget);
  j.s->renewed = false;
  return j.s->refs[ON_START] == LUA_NOREF ? LETHE_OK : run(call_start, &j);
}

static int call_victim(lua_State *L) {
  struct job *j = lua_touserdata(L, 1);
  luaL_getmetatable(L, QUOTA_CANDIDATE); /* 2 */
  push_function(L, j, ON_VICTIM);
  quota_push_candidate(L, 2, j->c);
  lua_pushinteger(L, j->freed);
  lua_call(L, 2, 0);
  return 0;
}

static int victim(struct lethe_quota_policy *p, const struct lethe_quota_candidate *c,
                  int64_t freed) {
  struct job j = {.s = script_of(p), .c = c, .freed = freed};
  return run(call_victim, &j);
}

static int call_stop(lua_State *L) {
  struct job *j = lua_touserdata(L, 1);
  push_function(L, j, ON_STOP);
  push_tracker(L, j->s);
  lua_pushstring(L, quota_outcomes[j->outcome]);
  lua_call(L, 2, 0);
  return 0;
}

static int stop(struct lethe_quota_policy *p, enum lethe_quota_outcome outcome) {
  struct job j = {.s = script_of(p), .outcome = outcome};
  return run(call_stop, &j);
}

/* ---- making and ending ----------------------------------------------------------------------- */

static void free_script(struct script *s) {
  if (s->sandbox) lethe_sandbox_delete(s->sandbox);
  if (s->policy.loop) lethe_loop_put(s->policy.loop);
  if (s->expr) lethe_expr_delete(s->expr);
  if (s->den) quota_den_put(s->den);
  pthread_mutex_destroy(&s->lock);
  lethe_free(mem, s, sizeof *s);
}

void quota_script_end(struct script *s, lua_State *L) {
  for (int i = 0; L && i < SCRIPT_FUNCTIONS; i++) luaL_unref(L, LUA_REGISTRYINDEX, s->refs[i]);
  free_script(s);
}

static void destroy(struct lethe_quota_policy *p) {
  struct script *s = script_of(p);
  if (!s->den || !quota_den_take(s->den, s)) free_script(s);
}

struct script *quota_script_new(struct lethe_quota *t) {
  struct script *s = lethe_zalloc(mem, sizeof *s);
  if (!s) return NULL;
  lethe_ref_init(&s->policy.refs);
  pthread_mutex_init(&s->lock, NULL);
  s->policy.destroy = destroy;
  s->policy.start = start;
  s->t = t;
  s->budget = SCRIPT_BUDGET;
  for (int i = 0; i < SCRIPT_FUNCTIONS; i++) s->refs[i] = LUA_NOREF;
  return s;
}

/* An expression alone needs no state: it runs wherever the pass is. */
int quota_script_host(lua_State *L, struct script *s, struct lethe_loop *loop) {
  bool any = false;
  for (int i = 0; i < SCRIPT_FUNCTIONS; i++) any = any || s->refs[i] != LUA_NOREF;
  if (!any) return LUA_OK;
  lua_pushcfunction(L, quota_den_open);
  int rc = lua_pcall(L, 0, 1, 0);
  if (rc != LUA_OK) return rc;
  s->den = quota_den_get(lua_touserdata(L, -1));
  lua_pop(L, 1);
  s->host = lethe_state(L);
  s->L = s->host->main;
  s->policy.loop = lethe_loop_get(loop);
  return LUA_OK;
}

void quota_script_ready(struct script *s) {
  if (s->refs[SCORE] != LUA_NOREF || s->expr) s->policy.score = score;
  if (s->refs[ORDER] != LUA_NOREF) s->policy.order = order;
  if (s->refs[ON_VICTIM] != LUA_NOREF) s->policy.victim = victim;
  if (s->refs[ON_STOP] != LUA_NOREF) s->policy.stop = stop;
}
