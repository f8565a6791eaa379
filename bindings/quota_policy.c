/* SPDX-License-Identifier: MIT
 * Policies for lethe.core.quota, from what a program gives: built-in names, functions and tables of
 * the caller's state, files. What comes from a configuration (a name, an expression, a text) is
 * refused with a message; a wrong type is misuse and raises. */
#include <stdio.h>
#include <string.h>

#include "policy_text.h"
#include "quota_script.h"

/* ---- reading functions and tables ------------------------------------------------------------ */

/* What read_policy gets, and what becomes of it when it raises. */
struct reading {
  struct script *s;
  bool refused; /* for what it says, not for what it is */
};

static int refuse(lua_State *L, struct reading *r, const char *format, const char *what) {
  r->refused = true;
  return luaL_error(L, format, what);
}

static void read_function(lua_State *L, struct script *s, enum script_function f,
                          const char *field) {
  int type = lua_getfield(L, 2, field);
  if (type == LUA_TNIL) {
    lua_pop(L, 1);
    return;
  }
  if (type != LUA_TFUNCTION)
    luaL_error(L, "%s must be a function%s (got %s)", field, f == SCORE ? " or an expression" : "",
               lua_typename(L, type));
  s->refs[f] = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* True if the field is there and is an expression. */
static bool read_expression(lua_State *L, struct reading *r) {
  char why[200];
  bool is = lua_getfield(L, 2, "score") == LUA_TSTRING;
  if (is) {
    size_t n;
    const char *text = lua_tolstring(L, -1, &n);
    if (strlen(text) != n) refuse(L, r, "bad expression: %s", "a zero byte");
    int rc = lethe_expr_compile(&r->s->expr, &lethe_alloc_libc, text, quota_field_names, why,
                                sizeof why);
    if (rc == LETHE_ENOMEM) lethe_nomemory(L);
    if (rc) refuse(L, r, "bad expression: %s", why);
  }
  lua_pop(L, 1);
  return is;
}

static void read_budget(lua_State *L, struct script *s) {
  int whole = 0;
  if (lua_getfield(L, 2, "budget") != LUA_TNIL) {
    lua_Integer n = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &whole) : 0;
    if (!whole || n <= 0)
      luaL_error(L, "budget must be a number of instructions above 0 (got %s)",
                 luaL_tolstring(L, -1, NULL));
    /* A text may do with less; more is not its own to give. */
    if (!s->sandbox || n < s->budget) s->budget = n;
  }
  lua_pop(L, 1);
}

static void read_table(lua_State *L, struct reading *r) {
  static const char *const names[] = {"score",   "order",    "on_start", "on_victim",
                                      "on_stop", "degraded", "budget",   NULL};
  struct script *s = r->s;
  lethe_checkoptions(L, 2, names);
  if (!read_expression(L, r)) read_function(L, s, SCORE, "score");
  read_function(L, s, ORDER, "order");
  read_function(L, s, ON_START, "on_start");
  read_function(L, s, ON_VICTIM, "on_victim");
  read_function(L, s, ON_STOP, "on_stop");
  int type = lua_getfield(L, 2, "degraded");
  if (type != LUA_TNIL && type != LUA_TBOOLEAN)
    luaL_error(L, "degraded must be a boolean (got %s)", lua_typename(L, type));
  s->policy.degraded = lua_toboolean(L, -1);
  lua_pop(L, 1);
  read_budget(L, s);
}

/* (reading, value): fills the script */
static int read_policy(lua_State *L) {
  struct reading *r = lua_touserdata(L, 1);
  struct script *s = r->s;
  lua_settop(L, 2);
  if (lua_isfunction(L, 2))
    s->refs[SCORE] = luaL_ref(L, LUA_REGISTRYINDEX);
  else if (lua_istable(L, 2))
    read_table(L, r);
  else
    luaL_error(L, "a policy must be a name, a function or a table (got %s)", luaL_typename(L, 2));
  quota_script_ready(s);
  if (!s->policy.score && !s->policy.order)
    refuse(L, r, "a policy needs %s", "a score or an order");
  return 0;
}

/* ---- text ------------------------------------------------------------------------------------ */

/* In the sandbox, the text's result on top: fills the script. */
static int read_result(lua_State *L, struct script *s) {
  struct reading r = {.s = s};
  lua_pushcfunction(L, quota_open_candidate);
  int rc = lethe_meter_pcall(L, 0, 0, &s->meter);
  if (rc != LUA_OK) return rc;
  lua_pushcfunction(L, read_policy);
  lua_pushlightuserdata(L, &r);
  lua_pushvalue(L, -3);
  return lethe_meter_pcall(L, 2, 0, &s->meter);
}

/* Never raises. */
static bool load_text(lua_State *L, struct script *s, const struct policy_text *text, char *why,
                      size_t size) {
  lethe_meter_init(&s->meter, SCRIPT_BUDGET);
  s->sandbox = policy_text_run(L, text, &s->meter, why, size);
  if (!s->sandbox) return false;
  s->L = lethe_sandbox_state(s->sandbox);
  if (read_result(s->L, s) != LUA_OK) {
    snprintf(why, size, "%s: %s", text->name, lua_tostring(s->L, -1));
    return false;
  }
  lua_settop(s->L, 0);
  return true;
}

/* ---- of a value ------------------------------------------------------------------------------ */

static int unknown_name(lua_State *L, const char *name) {
  const char *near = lethe_nearest(name, lethe_quota_policy_names);
  if (near)
    return lethe_failf(L, LETHE_EPOLICY, "unknown policy \"%s\" (did you mean \"%s\"?)", name,
                       near);
  return lethe_failf(L, LETHE_EPOLICY, "unknown policy \"%s\"", name);
}

static bool is_builtin(const char *name) {
  const char *const *n = lethe_quota_policy_names;
  while (*n && strcmp(*n, name) != 0) n++;
  return *n != NULL;
}

/* LETHE_OK, or a code with a message in `why`. Never raises. */
static int text_policy(lua_State *L, const struct policy_text *text, struct lethe_quota *t,
                       struct lethe_quota_policy **out, char *why, size_t size) {
  struct script *s = quota_script_new(t);
  snprintf(why, size, "%s", lethe_strerror(LETHE_ENOMEM));
  if (!s) return LETHE_ENOMEM;
  if (load_text(L, s, text, why, size)) {
    *out = &s->policy;
    return LETHE_OK;
  }
  quota_script_end(s, NULL);
  return LETHE_EPOLICY;
}

static int file_policy(lua_State *L, const char *path, struct lethe_quota *t,
                       struct lethe_quota_policy **out, char *why, size_t size) {
  struct policy_text *text;
  int rc = policy_text_read(&text, path, why, size);
  if (rc) return rc;
  rc = text_policy(L, text, t, out, why, size);
  policy_text_put(text);
  return rc;
}

/* A name, a path or a loaded text at i. */
static int named_policy(lua_State *L, int i, struct lethe_quota *t,
                        struct lethe_quota_policy **out) {
  char why[400];
  const struct policy_text *text = policy_text_at(L, i);
  const char *name = text ? "" : lua_tostring(L, i);
  if (!text && strlen(name) != lua_rawlen(L, i)) return unknown_name(L, name);
  if (!text && is_builtin(name)) {
    *out = lethe_quota_policy_builtin(&lethe_alloc_libc, name, t);
    return *out ? 0 : lethe_fail(L, LETHE_ENOMEM);
  }
  if (!text && !policy_text_is_path(name)) return unknown_name(L, name);
  int rc = text ? text_policy(L, text, t, out, why, sizeof why)
                : file_policy(L, name, t, out, why, sizeof why);
  return rc ? lethe_failf(L, rc, "%s", why) : 0;
}

/* A function or a table at i; an error, or a refusal, leaves its message on top. */
static int host_policy(lua_State *L, int i, struct port *port, struct reading *r) {
  r->s = quota_script_new(port->t);
  if (!r->s) return LUA_ERRMEM;
  lua_pushcfunction(L, read_policy);
  lua_pushlightuserdata(L, r);
  lua_pushvalue(L, i);
  int rc = lua_pcall(L, 2, 0, 0);
  if (rc == LUA_OK) rc = quota_script_host(L, r->s, port->loop);
  if (rc != LUA_OK) quota_script_end(r->s, L);
  return rc;
}

int quota_policy_at(lua_State *L, int i, struct port *port, struct lethe_quota_policy **out) {
  struct reading r = {0};
  if (lua_type(L, i) == LUA_TSTRING || policy_text_at(L, i))
    return named_policy(L, i, port->t, out);
  port->refs++; /* a metamethod of the table may close the tracker */
  int rc = host_policy(L, lua_absindex(L, i), port, &r);
  quota_port_put(port);
  if (!r.s) return lethe_fail(L, LETHE_ENOMEM);
  if (r.refused) return lethe_failf(L, LETHE_EPOLICY, "%s", lua_tostring(L, -1));
  if (rc != LUA_OK) return lua_error(L);
  *out = &r.s->policy;
  return 0;
}

void quota_candidate_class(lua_State *L) {
  lua_pushcfunction(L, quota_open_candidate);
  lua_call(L, 0, 0);
}
