/* SPDX-License-Identifier: MIT
 * Policies for lethe.core.quota: built-in names, expressions, functions and tables of the caller's
 * state, and text in a state of its own. All become a struct lethe_quota_policy.
 *
 * A scripted policy is a Lua state and references to its functions there. It runs under a meter that
 * one pass shares; whatever goes wrong leaves a message, and the pass goes on with "oldest". */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lethe/expr.h"
#include "meter.h"
#include "quota_candidate.h"
#include "sandbox.h"

enum { BUDGET = 10000000 };

struct script {
  struct lethe_quota_policy policy;
  lua_State *L;             /* where the functions live; of a sandbox, its state */
  struct lethe_state *host; /* NULL for text: then it runs wherever the pass is */
  struct lethe_sandbox *sandbox;
  struct lethe_quota *t; /* outlives the policy in it */
  int score, order, on_start, on_victim, on_stop; /* registry references, or LUA_NOREF */
  struct lethe_expr *expr;
  int64_t budget;
  bool in_pass;
  bool refused; /* reading it failed for what it says, not for what it is */
  struct lethe_meter meter;
  struct lethe_message bye; /* takes the references back, on the host's thread */
};

static struct script *script_of(struct lethe_quota_policy *p) {
  return lethe_container_of(p, struct script, policy);
}

/* ---- running ---------------------------------------------------------------------------------- */

static void set_message(struct script *s, const char *text) {
  snprintf(s->policy.message, sizeof s->policy.message, "%s", text ? text : "failed");
}

/* The thread to run on: of the host state whoever turns the loop now. */
static lua_State *thread_of(const struct script *s) { return s->host ? s->host->turning : s->L; }

/* Calls f(job) under the meter. */
static int run(struct script *s, lua_CFunction f, void *job) {
  lua_State *L = thread_of(s);
  if (!s->in_pass) lethe_meter_init(&s->meter, s->budget); /* a plan: nothing else shares it */
  if (!lua_checkstack(L, LUA_MINSTACK)) {
    set_message(s, "not enough memory");
    return LETHE_EPOLICY;
  }
  lua_pushcfunction(L, f);
  lua_pushlightuserdata(L, job);
  if (s->host) s->host->no_wait++;
  int rc = lethe_meter_pcall(L, 1, 0, &s->meter);
  if (s->host) s->host->no_wait--;
  if (rc == LUA_OK) return LETHE_OK;
  set_message(s, lua_tostring(L, -1));
  lua_pop(L, 1);
  return LETHE_EPOLICY;
}

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

static int score_all(lua_State *L) {
  struct job *j = lua_touserdata(L, 1);
  for (size_t i = 0; i < j->n; i++) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, j->s->score);
    quota_push_candidate(L, &j->c[i]);
    lua_call(L, 1, 1);
    int type = lua_type(L, -1);
    if (type != LUA_TNUMBER && type != LUA_TNIL)
      return luaL_error(L, "score must return a number or nil (got %s)", luaL_typename(L, -1));
    j->scores[i] = type == LUA_TNUMBER ? lua_tonumber(L, -1) : (double)NAN;
    if (type == LUA_TNUMBER && isnan(j->scores[i])) return luaL_error(L, "score is NaN");
    lua_pop(L, 1);
  }
  return 0;
}

static int score_expression(struct script *s, const struct job *j) {
  double values[QUOTA_FIELDS];
  for (size_t i = 0; i < j->n; i++) {
    const char *why = "the expression is neither a number nor nil";
    quota_candidate_values(&j->c[i], values);
    switch (lethe_expr_run(s->expr, values, &j->scores[i], &why)) {
      case LETHE_EXPR_NUMBER:
        if (!isnan(j->scores[i])) continue;
        why = "the expression is NaN";
        break;
      case LETHE_EXPR_NIL:
      case LETHE_EXPR_FALSE: j->scores[i] = NAN; continue;
      case LETHE_EXPR_TRUE:
      case LETHE_EXPR_ERROR: break;
    }
    set_message(s, why);
    return LETHE_EPOLICY;
  }
  return LETHE_OK;
}

static int score(struct lethe_quota_policy *p, const struct lethe_quota_candidate *c, size_t n,
                 double *scores) {
  struct script *s = script_of(p);
  struct job j = {.s = s, .c = c, .n = n, .scores = scores};
  return s->expr ? score_expression(s, &j) : run(s, score_all, &j);
}

/* order(list) -> list of the same candidates, each at most once */
static int order_all(lua_State *L) {
  struct job *j = lua_touserdata(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, j->s->order);
  lua_createtable(L, (int)j->n, 0);
  for (size_t i = 0; i < j->n; i++) {
    quota_push_candidate(L, &j->c[i])->index = (uint32_t)i;
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_call(L, 1, 1);
  if (!lua_istable(L, -1))
    return luaL_error(L, "order must return a list (got %s)", luaL_typename(L, -1));
  bool *seen = lua_newuserdatauv(L, j->n + 1, 0);
  memset(seen, 0, j->n + 1);
  for (lua_Integer i = 1; lua_rawgeti(L, -2, i) != LUA_TNIL; i++) {
    struct quota_candidate_object *o = luaL_testudata(L, -1, QUOTA_CANDIDATE);
    if (!o || o->index >= j->n || j->c[o->index].info.account != o->c.info.account)
      return luaL_error(L, "order returned something at %I that is no candidate of this pass",
                        (LUAI_UACINT)i);
    if (seen[o->index]) return luaL_error(L, "order returned a candidate twice");
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
  return run(j.s, order_all, &j);
}

/* The host's own Tracker; a sandbox gets a table with its figures. */
static void push_tracker(lua_State *L, struct script *s) {
  if (s->host) {
    struct port *port = quota_port(L, s->t, s->policy.loop);
    if (!port) luaL_error(L, "not enough memory");
    quota_push_tracker(L, port); /* counts the port itself, so ours may go even if this raises */
    quota_port_put(port);
    return;
  }
  struct lethe_quota_stats stats;
  lethe_quota_read_stats(s->t, &stats);
  lua_createtable(L, 0, 4);
  lua_pushinteger(L, stats.used);
  lua_setfield(L, -2, "used");
  lua_pushinteger(L, stats.max);
  lua_setfield(L, -2, "max");
  lua_pushinteger(L, stats.low_water);
  lua_setfield(L, -2, "low_water");
  lua_pushinteger(L, (lua_Integer)stats.accounts);
  lua_setfield(L, -2, "accounts");
}

static int call_start(lua_State *L) {
  struct job *j = lua_touserdata(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, j->s->on_start);
  push_tracker(L, j->s);
  lua_call(L, 1, 0);
  return 0;
}

static int start(struct lethe_quota_policy *p) {
  struct job j = {.s = script_of(p)};
  lethe_meter_init(&j.s->meter, j.s->budget);
  j.s->in_pass = true;
  return j.s->on_start == LUA_NOREF ? LETHE_OK : run(j.s, call_start, &j);
}

static int call_victim(lua_State *L) {
  struct job *j = lua_touserdata(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, j->s->on_victim);
  quota_push_candidate(L, j->c);
  lua_pushinteger(L, j->freed);
  lua_call(L, 2, 0);
  return 0;
}

static int victim(struct lethe_quota_policy *p, const struct lethe_quota_candidate *c,
                  int64_t freed) {
  struct job j = {.s = script_of(p), .c = c, .freed = freed};
  return run(j.s, call_victim, &j);
}

static int call_stop(lua_State *L) {
  struct job *j = lua_touserdata(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, j->s->on_stop);
  push_tracker(L, j->s);
  lua_pushstring(L, quota_outcomes[j->outcome]);
  lua_call(L, 2, 0);
  return 0;
}

static int stop(struct lethe_quota_policy *p, enum lethe_quota_outcome outcome) {
  struct job j = {.s = script_of(p), .outcome = outcome};
  int rc = j.s->on_stop == LUA_NOREF ? LETHE_OK : run(j.s, call_stop, &j);
  j.s->in_pass = false;
  return rc;
}

/* ---- making ----------------------------------------------------------------------------------- */

static void free_script(struct script *s) {
  if (s->sandbox) lethe_sandbox_delete(s->sandbox);
  if (s->policy.loop) lethe_loop_put(s->policy.loop);
  if (s->expr) lethe_expr_delete(s->expr);
  lethe_free(&lethe_alloc_libc, s, sizeof *s);
}

static void on_bye(struct lethe_message *m, bool closed) {
  struct script *s = lethe_container_of(m, struct script, bye);
  int refs[] = {s->score, s->order, s->on_start, s->on_victim, s->on_stop};
  for (size_t i = 0; !closed && i < sizeof refs / sizeof *refs; i++)
    luaL_unref(s->host->main, LUA_REGISTRYINDEX, refs[i]);
  free_script(s);
}

/* On any thread: the references are the host's to take back, if it still is. */
static void destroy(struct lethe_quota_policy *p) {
  struct script *s = script_of(p);
  s->bye.run = on_bye;
  if (!s->policy.loop || !lethe_loop_post(s->policy.loop, &s->bye)) free_script(s);
}

static struct script *script_new(struct lethe_quota *t) {
  struct script *s = lethe_zalloc(&lethe_alloc_libc, sizeof *s);
  if (!s) return NULL;
  lethe_ref_init(&s->policy.refs);
  s->policy.destroy = destroy;
  s->policy.score = score;
  s->policy.start = start;
  s->policy.stop = stop;
  s->t = t;
  s->score = s->order = s->on_start = s->on_victim = s->on_stop = LUA_NOREF;
  s->budget = BUDGET;
  return s;
}

/* Reads a function or a table at the top of L into the script. Raises for what does not fit. */
static void read_function(lua_State *L, const char *field, int *ref) {
  int type = lua_getfield(L, -1, field);
  if (type == LUA_TNIL)
    lua_pop(L, 1);
  else if (type == LUA_TFUNCTION)
    *ref = luaL_ref(L, LUA_REGISTRYINDEX);
  else
    luaL_error(L, "%s must be a function (got %s)", field, lua_typename(L, type));
}

static void read_score(lua_State *L, struct script *s) {
  char why[200];
  if (lua_getfield(L, -1, "score") != LUA_TSTRING) {
    lua_pop(L, 1);
    read_function(L, "score", &s->score);
    return;
  }
  int rc = lethe_expr_compile(&s->expr, &lethe_alloc_libc, lua_tostring(L, -1), quota_field_names,
                              why, sizeof why);
  if (rc == LETHE_ENOMEM) luaL_error(L, "not enough memory");
  if (rc) { /* a refusal, not misuse: the text may come from a configuration */
    s->refused = true;
    luaL_error(L, "bad expression: %s", why);
  }
  lua_pop(L, 1);
}

static void read_table(lua_State *L, struct script *s) {
  static const char *const names[] = {"score",   "order",    "on_start", "on_victim",
                                      "on_stop", "degraded", "budget",   NULL};
  lethe_checkoptions(L, lua_gettop(L), names);
  read_score(L, s);
  read_function(L, "order", &s->order);
  read_function(L, "on_start", &s->on_start);
  read_function(L, "on_victim", &s->on_victim);
  read_function(L, "on_stop", &s->on_stop);
  lua_getfield(L, -1, "degraded");
  s->policy.degraded = lua_toboolean(L, -1);
  if (lua_getfield(L, -2, "budget") != LUA_TNIL) {
    if (!lua_isinteger(L, -1) || lua_tointeger(L, -1) <= 0)
      luaL_error(L, "budget must be a positive number of instructions");
    s->budget = lua_tointeger(L, -1);
  }
  lua_pop(L, 2);
}

/* (script, value): fills the script */
static int read_policy(lua_State *L) {
  struct script *s = lua_touserdata(L, 1);
  lua_settop(L, 2);
  if (lua_isfunction(L, 2)) {
    s->score = luaL_ref(L, LUA_REGISTRYINDEX);
  } else if (lua_istable(L, 2)) {
    read_table(L, s);
  } else {
    luaL_error(L, "a policy is a name, a function or a table (got %s)", luaL_typename(L, 2));
  }
  if (s->score == LUA_NOREF && s->order == LUA_NOREF && !s->expr) {
    s->refused = true;
    luaL_error(L, "a policy needs score or order");
  }
  if (s->order != LUA_NOREF) s->policy.order = order;
  if (s->score == LUA_NOREF && !s->expr) s->policy.score = NULL;
  if (s->on_victim != LUA_NOREF) s->policy.victim = victim;
  return 0;
}

/* ---- text ------------------------------------------------------------------------------------- */

static char *read_file(const char *path, size_t *n, char *why, size_t size) {
  FILE *f = fopen(path, "rb");
  char *text = NULL;
  long length = -1;
  if (f && fseek(f, 0, SEEK_END) == 0 && (length = ftell(f)) >= 0 && length < (1 << 24)) {
    rewind(f);
    text = malloc((size_t)length + 1);
    if (text && fread(text, 1, (size_t)length, f) != (size_t)length) {
      free(text);
      text = NULL;
    }
  }
  if (f) fclose(f);
  if (!text) snprintf(why, size, "cannot read policy file \"%s\"", path);
  *n = text ? (size_t)length : 0;
  return text;
}

static int load_text(lua_State *L, struct script *s, const char *path, char *why, size_t size) {
  size_t n;
  char chunk[200];
  char *text = read_file(path, &n, why, size);
  if (!text) return LETHE_EPOLICY;
  s->sandbox = lethe_sandbox_new(L, 0, why, size);
  if (s->sandbox) {
    s->L = lethe_sandbox_state(s->sandbox);
    snprintf(chunk, sizeof chunk, "@%s", path);
    lethe_meter_init(&s->meter, BUDGET);
    if (lethe_sandbox_load(s->sandbox, text, n, chunk, &s->meter) == LUA_OK) {
      lua_pushcfunction(s->L, quota_open_candidate);
      int rc = lethe_meter_pcall(s->L, 0, 0, &s->meter);
      if (rc == LUA_OK) {
        lua_pushcfunction(s->L, read_policy);
        lua_pushlightuserdata(s->L, s);
        lua_pushvalue(s->L, -3);
        rc = lethe_meter_pcall(s->L, 2, 0, &s->meter);
      }
      if (rc == LUA_OK) {
        free(text);
        return LETHE_OK;
      }
    }
    snprintf(why, size, "%s", lua_tostring(s->L, -1));
  }
  free(text);
  return LETHE_EPOLICY;
}

static bool looks_like_path(const char *name) {
  size_t n = strlen(name);
  return strchr(name, '/') || (n > 4 && strcmp(name + n - 4, ".lua") == 0);
}

static int named_policy(lua_State *L, const char *name, struct port *port,
                        struct lethe_quota_policy **out) {
  char why[400] = "not enough memory";
  *out = lethe_quota_policy_builtin(&lethe_alloc_libc, name, port->t);
  if (*out) return 0;
  if (!looks_like_path(name)) {
    const char *near = lethe_nearest(name, lethe_quota_policy_names);
    if (near)
      return lethe_failf(L, LETHE_EPOLICY, "unknown policy \"%s\" (did you mean \"%s\"?)", name, near);
    return lethe_failf(L, LETHE_EPOLICY, "unknown policy \"%s\"", name);
  }
  struct script *s = script_new(port->t);
  if (!s) return lethe_fail(L, LETHE_ENOMEM);
  if (load_text(L, s, name, why, sizeof why) == LETHE_OK) {
    *out = &s->policy;
    return 0;
  }
  free_script(s);
  return lethe_failf(L, LETHE_EPOLICY, "%s", why);
}

/* ---- of a value -------------------------------------------------------------------------------- */

int quota_policy_at(lua_State *L, int i, struct port *port, struct lethe_quota_policy **out) {
  if (lua_type(L, i) == LUA_TSTRING) return named_policy(L, lua_tostring(L, i), port, out);
  struct script *s = script_new(port->t);
  if (!s) return lethe_fail(L, LETHE_ENOMEM);
  s->L = lethe_state(L)->main;
  s->host = lethe_state(L);
  lua_pushcfunction(L, read_policy);
  lua_pushlightuserdata(L, s);
  lua_pushvalue(L, i);
  int rc = lua_pcall(L, 2, 0, 0);
  if (rc == LUA_OK) {
    s->policy.loop = lethe_loop_get(port->loop);
    *out = &s->policy;
    return 0;
  }
  bool refused = s->refused;
  free_script(s);
  if (refused) return lethe_failf(L, LETHE_EPOLICY, "%s", lua_tostring(L, -1));
  return lua_error(L);
}

void quota_candidate_class(lua_State *L) {
  lua_pushcfunction(L, quota_open_candidate);
  lua_call(L, 0, 0);
}
