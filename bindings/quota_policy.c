/* SPDX-License-Identifier: MIT
 * Policies for lethe.core.quota, from what a program gives: built-in names, functions and tables of
 * the caller's state, files. What comes from a configuration (a name, an expression, a text) is
 * refused with a message; a wrong type is misuse and raises. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quota_script.h"

/* ---- reading functions and tables ------------------------------------------------------------- */

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

/* ---- text ------------------------------------------------------------------------------------- */

enum { TEXT_MAX = 1 << 24 };

struct text {
  const char *path;
  char *bytes;
  size_t n;
};

static bool read_file(struct text *text, char *why, size_t size) {
  FILE *f = fopen(text->path, "rb");
  long length = -1;
  if (f && fseek(f, 0, SEEK_END) == 0) length = ftell(f);
  if (length >= 0 && length < TEXT_MAX) {
    rewind(f);
    text->n = (size_t)length;
    text->bytes = malloc(text->n + 1);
    if (text->bytes && fread(text->bytes, 1, text->n, f) != text->n) {
      free(text->bytes);
      text->bytes = NULL;
    }
  }
  if (f) fclose(f);
  if (!text->bytes) snprintf(why, size, "cannot read policy file \"%s\"", text->path);
  return text->bytes != NULL;
}

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

static bool run_text(struct script *s, const struct text *text, char *why, size_t size) {
  char chunk[200];
  const char *name = strrchr(text->path, '/');
  name = name ? name + 1 : text->path;
  snprintf(chunk, sizeof chunk, "@%s", name);
  lethe_meter_init(&s->meter, SCRIPT_BUDGET);
  s->L = lethe_sandbox_state(s->sandbox);
  if (lethe_sandbox_load(s->sandbox, text->bytes, text->n, chunk, &s->meter) != LUA_OK) {
    snprintf(why, size, "%s", lua_tostring(s->L, -1));
    return false;
  }
  if (read_result(s->L, s) != LUA_OK) {
    snprintf(why, size, "%s: %s", name, lua_tostring(s->L, -1));
    return false;
  }
  lua_settop(s->L, 0);
  return true;
}

/* Never raises. */
static bool load_text(lua_State *L, struct script *s, const char *path, char *why, size_t size) {
  struct text text = {.path = path};
  if (!read_file(&text, why, size)) return false;
  s->sandbox = lethe_sandbox_new(L, 0, why, size);
  bool ok = s->sandbox && run_text(s, &text, why, size);
  free(text.bytes);
  return ok;
}

/* ---- of a value -------------------------------------------------------------------------------- */

static bool looks_like_path(const char *name) {
  size_t n = strlen(name);
  return strchr(name, '/') || (n > 4 && strcmp(name + n - 4, ".lua") == 0);
}

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

static int named_policy(lua_State *L, const char *name, struct lethe_quota *t,
                        struct lethe_quota_policy **out) {
  char why[400] = "not enough memory";
  if (is_builtin(name)) {
    *out = lethe_quota_policy_builtin(&lethe_alloc_libc, name, t);
    return *out ? 0 : lethe_fail(L, LETHE_ENOMEM);
  }
  if (!looks_like_path(name)) return unknown_name(L, name);
  struct script *s = quota_script_new(t);
  if (!s) return lethe_fail(L, LETHE_ENOMEM);
  if (load_text(L, s, name, why, sizeof why)) {
    *out = &s->policy;
    return 0;
  }
  quota_script_end(s, NULL);
  return lethe_failf(L, LETHE_EPOLICY, "%s", why);
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
  if (lua_type(L, i) == LUA_TSTRING) {
    const char *name = lua_tostring(L, i);
    return strlen(name) == lua_rawlen(L, i) ? named_policy(L, name, port->t, out)
                                            : unknown_name(L, name);
  }
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
