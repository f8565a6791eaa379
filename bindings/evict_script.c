/* SPDX-License-Identifier: MIT
 * Making eviction policies of what a program gives, and their end. What comes from a configuration
 * (a name, an expression, a rule, a text) is refused with a message; a wrong type is misuse and
 * raises. */
#include <stdio.h>
#include <string.h>

#include "evict_script.h"
#include "message.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

enum { SLOTS = 64 }; /* of a script's stack, above its functions */

/* ---- scripts --------------------------------------------------------------------------------- */

static struct evict_script *new_script(lua_State *L, struct reports *reports) {
  struct evict_script *s = lethe_zalloc(mem, sizeof *s);
  if (!s) return NULL;
  s->host = lethe_state(L);
  s->budget = EVICT_BUDGET;
  s->reports = reports;
  lethe_list_init(&s->node);
  return s;
}

struct evict_script *evict_script_of(struct lethe_evict *e) {
  const struct lethe_evict_script *config = lethe_evict_script_of(e);
  return config ? config->ud : NULL;
}

void evict_set_keys(struct lethe_evict *e, evict_push_key *push, void *ud) {
  struct evict_script *s = evict_script_of(e);
  if (!s) return;
  s->push_key = push;
  s->keys = ud;
}

void evict_end_lua(struct evict_script *s) {
  evict_end_face(s);
  s->face = NULL;
  if (s->sandbox) {
    lethe_sandbox_delete(s->sandbox);
  } else if (s->L) { /* the thread goes; nothing is allocated for a key that is there */
    lua_pushnil(s->L);
    lua_rawsetp(s->L, LUA_REGISTRYINDEX, s);
  }
  s->sandbox = NULL;
  s->L = NULL;
}

void evict_free(struct evict_script *s) {
  evict_end_lua(s);
  if (s->left) lethe_free(mem, s->left, sizeof *s->left);
  lethe_free(mem, s, sizeof *s);
}

/* The functions have come, as results on top of s->L; init is called. False with a message. */
static bool finish(struct evict_script *s, char *why, size_t n) {
  const struct lethe_evict_failure *f = lethe_evict_script_failing(s->e);
  if (!s->has[EVICT_INIT]) return true;
  evict_push(s, EVICT_INIT);
  lua_pushvalue(s->L, EVICT_FACE);
  if (evict_call(s, 1, 0) == LETHE_OK) return true;
  snprintf(why, n, "init: %s", f->message);
  return false;
}

/* What becomes of a script whose policy was made, or was not. */
static int settle(struct evict_script *s, struct lethe_evict **out, bool ok) {
  if (ok) {
    lethe_evict_script_of(s->e)->end = evict_end;
    *out = s->e;
    return LETHE_OK;
  }
  if (s->e) lethe_evict_delete(s->e);
  evict_free(s);
  return LETHE_EPOLICY;
}

/* ---- functions and tables of the program ----------------------------------------------------- */

/* (form, value): a thread for the script, with its functions on it */
static int read_host(lua_State *L) {
  struct evict_form *f = lua_touserdata(L, 1);
  lua_State *thread = lua_newthread(L); /* 3 */
  if (!lua_checkstack(thread, EVICT_FUNCTIONS + SLOTS)) lethe_nomemory(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, f->s);
  f->s->L = thread;
  lua_pushcfunction(L, evict_read_form);
  lua_insert(L, 1);
  lua_call(L, 2, EVICT_FUNCTIONS - 1);
  lua_xmove(L, thread, EVICT_FUNCTIONS - 1);
  lethe_meter_settle(thread); /* EVICT_HANDLER */
  return 0;
}

/* The value at i; an error leaves its message on top. */
static int host_policy(lua_State *L, int i, struct evict_form *f, struct lethe_evict **out,
                       char *why, size_t n) {
  lua_pushcfunction(L, read_host);
  lua_pushlightuserdata(L, f);
  lua_pushvalue(L, i);
  int status = lua_pcall(L, 2, 0, 0);
  if (status == LUA_OK) return settle(f->s, out, finish(f->s, why, n));
  settle(f->s, out, false);
  if (!f->refused) return LETHE_EINVAL;
  snprintf(why, n, "%s", lua_tostring(L, -1));
  return LETHE_EPOLICY;
}

/* ---- texts ----------------------------------------------------------------------------------- */

static bool read_text(lua_State *L, struct evict_form *f, const struct policy_text *t, char *why,
                      size_t n) {
  struct evict_script *s = f->s;
  snprintf(s->name, sizeof s->name, "%s", t->name);
  lethe_meter_init(&s->meter, s->budget);
  s->sandbox = policy_text_run(L, t, &s->meter, why, n);
  if (!s->sandbox) return false;
  s->L = lethe_sandbox_state(s->sandbox);
  s->meter.longest = lethe_sandbox_longest(s->L);
  lua_pushcfunction(s->L, evict_read_form);
  lua_insert(s->L, 1);
  lua_pushlightuserdata(s->L, f);
  lua_insert(s->L, 2);
  if (lethe_meter_pcall(s->L, 2, EVICT_FUNCTIONS - 1, &s->meter) == LUA_OK) {
    lethe_meter_settle(s->L); /* EVICT_HANDLER */
    char message[400];
    if (finish(s, message, sizeof message)) return true;
    snprintf(why, n, "%s: %s", t->name, message);
    return false;
  }
  snprintf(why, n, "%s: %s", t->name, lua_tostring(s->L, -1));
  return false;
}

static int text_policy(lua_State *L, struct evict_form *f, const struct policy_text *t,
                       struct lethe_evict **out, char *why, size_t n) {
  return settle(f->s, out, read_text(L, f, t, why, n));
}

static int file_policy(lua_State *L, struct evict_form *f, const char *path,
                       struct lethe_evict **out, char *why, size_t n) {
  struct policy_text *t;
  int rc = policy_text_read(&t, path, why, n);
  if (rc != LETHE_OK) {
    evict_free(f->s);
    return rc;
  }
  rc = text_policy(L, f, t, out, why, n);
  policy_text_put(t);
  return rc;
}

/* ---- of a value ------------------------------------------------------------------------------ */

static int unknown_name(const char *name, char *why, size_t n) {
  const char *near = lethe_nearest(name, lethe_evict_names);
  if (near)
    snprintf(why, n, "unknown policy \"%.64s\" (did you mean \"%s\"?)", name, near);
  else
    snprintf(why, n, "unknown policy \"%.64s\"", name);
  return LETHE_EPOLICY;
}

/* LETHE_OK; LETHE_EINVAL: raise what is on top; else a code with its message in `why`. */
static int policy_at(lua_State *L, int i, struct evict_form *f, struct lethe_evict **out, char *why,
                     size_t n) {
  const struct policy_text *t = policy_text_at(L, i);
  const char *name = lua_type(L, i) == LUA_TSTRING ? lua_tostring(L, i) : NULL;
  snprintf(why, n, "%s", lethe_strerror(LETHE_ENOMEM));
  if (name && strlen(name) != lua_rawlen(L, i)) return unknown_name(name, why, n);
  if (name && !policy_text_is_path(name)) {
    int rc = lethe_evict_new(out, mem, name, f->limit, f->seed);
    return rc == LETHE_EUNKNOWN ? unknown_name(name, why, n) : rc;
  }
  f->s = new_script(L, f->reports);
  if (!f->s) return LETHE_ENOMEM;
  if (t) return text_policy(L, f, t, out, why, n);
  if (name) return file_policy(L, f, name, out, why, n);
  return host_policy(L, i, f, out, why, n);
}

/* ---- what one tells its successor ------------------------------------------------------------ */

static int pack(lua_State *L) {
  lua_pushlightuserdata(L, lethe_pack(L, 1, "what export returned", false));
  return 1;
}

int evict_export(struct evict_script *s, struct lethe_packed **out, char *why, size_t n) {
  lua_State *L = s->L;
  if (!s->has[EVICT_EXPORT]) return LETHE_OK;
  evict_push(s, EVICT_EXPORT);
  lua_pushvalue(L, EVICT_FACE);
  s->reading = true;
  int rc = evict_call(s, 1, 1);
  s->reading = false;
  if (rc != LETHE_OK) {
    snprintf(why, n, "export: %s", lethe_evict_script_failing(s->e)->message);
    return LETHE_EPOLICY;
  }
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    return LETHE_OK;
  }
  lua_pushcfunction(L, pack);
  lua_insert(L, -2);
  int status = lua_pcall(L, 1, 1, 0);
  if (status == LUA_OK)
    *out = lua_touserdata(L, -1);
  else
    snprintf(why, n, "export: %s", lua_tostring(L, -1));
  lua_pop(L, 1);
  return status == LUA_OK ? LETHE_OK : LETHE_EPOLICY;
}

static int unpack(lua_State *L) { return lethe_unpack(L, lua_touserdata(L, 1)); }

int evict_import(struct evict_script *s, const struct lethe_packed *p, char *why, size_t n) {
  lua_State *L = s->L;
  int base = lua_gettop(L);
  if (!p || !s->has[EVICT_IMPORT]) return LETHE_OK;
  evict_push(s, EVICT_IMPORT);
  lua_pushvalue(L, EVICT_FACE);
  lua_pushcfunction(L, unpack);
  lua_pushlightuserdata(L, (void *)p);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
    snprintf(why, n, "import: %s", lua_tostring(L, -1));
    lua_settop(L, base);
    return LETHE_EPOLICY;
  }
  s->reading = true;
  int rc = evict_call(s, 2, 0);
  s->reading = false;
  if (rc == LETHE_OK) return LETHE_OK;
  snprintf(why, n, "import: %s", lethe_evict_script_failing(s->e)->message);
  return LETHE_EPOLICY;
}

/* ---- policies that wait to be taken ---------------------------------------------------------- */

static void end_made(struct lethe_state *state, void *what, bool closed) {
  (void)state, (void)closed;
  lethe_evict_delete(what);
}

static const luaL_Reg made_methods[] = {{"close", lethe_close}, {NULL, NULL}};
static const struct lethe_class made_class = {
    .name = "lethe.policy.Made", .end = end_made, .methods = made_methods};

int evict_make(lua_State *L) {
  char why[500];
  struct evict_form f = {0};
  struct lethe_evict *e = NULL;
  f.limit = luaL_checkinteger(L, 2);
  f.seed = (uint64_t)luaL_optinteger(L, 3, 1);
  lua_settop(L, 4);
  f.reports = lua_toboolean(L, 4) ? NULL : evict_reports(L);
  struct lethe_box *b = lethe_box_new(L, &made_class, 0); /* 5 */
  int rc = policy_at(L, 1, &f, &e, why, sizeof why);
  if (rc == LETHE_EINVAL) return lua_error(L);
  if (rc != LETHE_OK) return lethe_failf(L, rc, "%s", why);
  lethe_box_hold(L, b, e);
  return 1;
}

struct lethe_evict *evict_peek(lua_State *L, int i) {
  return lethe_check(L, i, &made_class)->what;
}

struct lethe_evict *evict_take(lua_State *L, int i) {
  struct lethe_box *b = lethe_check(L, i, &made_class);
  struct lethe_evict *e = b->what;
  b->what = NULL;
  lethe_box_close(L, b, &made_class);
  return e;
}

void evict_open(lua_State *L) { lethe_class(L, &made_class); }
