/* SPDX-License-Identifier: MIT
 * Reading what a program calls a policy: a function, or a table of one of the three forms; and
 * making of it a policy whose callbacks are those of evict_call.c. Runs in the state that the value
 * is in, inside a protected call; texts stay on the stack until the policy is made. */
#include <stdlib.h>
#include <string.h>

#include "evict_script.h"

enum { VALUE = 2 }; /* where the table is */

static int refuse(lua_State *L, struct evict_form *f, const char *format, const char *what) {
  f->refused = true;
  return luaL_error(L, format, what);
}

/* ---- fields ---------------------------------------------------------------------------------- */

static const char *const fields[] = {
    "name",      "budget", "score",    "index",  "admit",     "queues", "ghost", "rules", "init",
    "on_insert", "on_hit", "on_evict", "export", "on_remove", "import", "full",  NULL};

/* Functions by the field that each stands in. */
static const struct {
  enum evict_function f;
  const char *field;
} functions[] = {{EVICT_SCORE, "score"},         {EVICT_ADMIT, "admit"},
                 {EVICT_INIT, "init"},           {EVICT_ON_INSERT, "on_insert"},
                 {EVICT_ON_HIT, "on_hit"},       {EVICT_ON_EVICT, "on_evict"},
                 {EVICT_ON_REMOVE, "on_remove"}, {EVICT_EXPORT, "export"},
                 {EVICT_IMPORT, "import"},       {EVICT_FULL, "full"}};
enum { TABLE_FUNCTIONS = sizeof functions / sizeof *functions };

/* The text on top, which has no zero in it. */
static const char *text(lua_State *L, struct evict_form *f, const char *what) {
  size_t n;
  const char *s = lua_tolstring(L, -1, &n);
  if (strlen(s) != n) refuse(L, f, "%s: a zero byte", what);
  return s;
}

static void read_name(lua_State *L, struct evict_form *f) {
  int type = lua_getfield(L, VALUE, "name");
  if (type != LUA_TNIL && type != LUA_TSTRING)
    luaL_error(L, "name must be a string (got %s)", lua_typename(L, type));
  if (type == LUA_TSTRING) snprintf(f->s->name, sizeof f->s->name, "%s", lua_tostring(L, -1));
  lua_pop(L, 1);
}

/* A text may do with less than the usual budget; more is not its own to give. */
static void read_budget(lua_State *L, struct evict_form *f) {
  int whole = 0;
  if (lua_getfield(L, VALUE, "budget") != LUA_TNIL) {
    lua_Integer n = lua_type(L, -1) == LUA_TNUMBER ? lua_tointegerx(L, -1, &whole) : 0;
    if (!whole || n <= 0)
      luaL_error(L, "budget must be a number of instructions above 0 (got %s)",
                 luaL_tolstring(L, -1, NULL));
    if (!f->s->sandbox || n < f->s->budget) f->s->budget = n;
  }
  lua_pop(L, 1);
}

/* Fields that are functions go to the results; the others have to be nil, or an expression. */
static void read_function(lua_State *L, struct evict_form *f, int results, size_t i) {
  const char *field = functions[i].field;
  bool expression = functions[i].f == EVICT_SCORE || functions[i].f == EVICT_ADMIT;
  int type = lua_getfield(L, VALUE, field);
  if (type == LUA_TNIL || (expression && type == LUA_TSTRING)) {
    lua_pop(L, 1);
    return;
  }
  if (type != LUA_TFUNCTION)
    luaL_error(L, "%s must be a function%s (got %s)", field, expression ? " or an expression" : "",
               lua_typename(L, type));
  f->s->has[functions[i].f] = true;
  lua_replace(L, results + (int)functions[i].f - EVICT_FACE);
}

/* The string in a field, which stays on the stack; else NULL. */
static const char *read_text(lua_State *L, struct evict_form *f, const char *field) {
  if (lua_getfield(L, VALUE, field) == LUA_TSTRING) return text(L, f, field);
  lua_pop(L, 1);
  return NULL;
}

/* ---- scores ---------------------------------------------------------------------------------- */

/* How many "sample:16" or "cells:16" are; 0 for anything else. */
static unsigned drawn(const char *s, const char *kind) {
  size_t n = strlen(kind);
  char *end = NULL;
  if (strncmp(s, kind, n) != 0 || s[n] < '0' || s[n] > '9') return 0;
  long many = strtol(s + n, &end, 10);
  return *end || many > 1024 ? 0 : (unsigned)many;
}

static void read_index(lua_State *L, struct evict_form *f) {
  int type = lua_getfield(L, VALUE, "index");
  if (type == LUA_TSTRING) {
    const char *s = text(L, f, "index");
    unsigned cells = drawn(s, "cells:");
    f->score.cells = cells > 0;
    f->score.sample = cells ? cells : drawn(s, "sample:");
    if (strcmp(s, "heap") != 0 && !f->score.sample)
      refuse(L, f,
             "index must be \"heap\" or \"sample:1\" to \"sample:1024\", or \"cells:1\" to "
             "\"cells:1024\" (got \"%s\")",
             s);
  } else if (type != LUA_TNIL) {
    luaL_error(L, "index must be a string (got %s)", lua_typename(L, type));
  }
  lua_pop(L, 1);
}

/* ---- queues ---------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b) {
  return strcmp(((const struct lethe_evict_queue *)a)->name,
                ((const struct lethe_evict_queue *)b)->name);
}

/* What stands for a name and a share, on top of the stack, is none. */
static void bad_share(lua_State *L) {
  const char *name = luaL_tolstring(L, -2, NULL), *share = luaL_tolstring(L, -2, NULL);
  luaL_error(L, "queues must be a table of names and shares (got %s = %s)", name, share);
}

/* The table at t: { small = 0.1, main = 0.9 }. Names stay on the stack. Sorted: no order of a table
 * counts. */
static void read_queues(lua_State *L, struct evict_form *f, int t) {
  struct lethe_evict_queues *q = &f->queues;
  lua_pushnil(L);
  while (lua_next(L, t)) {
    if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TNUMBER) bad_share(L);
    if (q->count == LETHE_EVICT_QUEUES) refuse(L, f, "%s", "there are at most 16 queues");
    double share = lua_tonumber(L, -1);
    lua_pop(L, 1);
    q->queue[q->count++] =
        (struct lethe_evict_queue){.name = text(L, f, "the name of a queue"), .share = share};
    lua_pushvalue(L, -1); /* the name stays, and is the key to go on from */
  }
  if (q->count) qsort(q->queue, q->count, sizeof *q->queue, by_name);
}

/* The queue that the string at i names, for the table `where`. */
static struct lethe_evict_queue *queue_at(lua_State *L, struct evict_form *f, int i,
                                          const char *where) {
  const char *names[LETHE_EVICT_QUEUES + 1] = {NULL};
  const char *name = lua_type(L, i) == LUA_TSTRING ? lua_tostring(L, i) : NULL;
  if (!name)
    luaL_error(L, "%s must be a table by names of queues (got a %s)", where, luaL_typename(L, i));
  for (unsigned q = 0; q < f->queues.count; q++) {
    names[q] = f->queues.queue[q].name;
    if (strcmp(names[q], name) == 0) return &f->queues.queue[q];
  }
  f->refused = true;
  const char *near = lethe_nearest(name, names);
  if (near) luaL_error(L, "%s: unknown queue \"%s\" (did you mean \"%s\"?)", where, name, near);
  luaL_error(L, "%s: unknown queue \"%s\"", where, name);
  return NULL;
}

/* { small = 0.9 } */
static void read_ghosts(lua_State *L, struct evict_form *f) {
  int type = lua_getfield(L, VALUE, "ghost");
  if (type != LUA_TNIL && type != LUA_TTABLE)
    luaL_error(L, "ghost must be a table of shares by queue (got %s)", lua_typename(L, type));
  if (type == LUA_TTABLE)
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
      struct lethe_evict_queue *q = queue_at(L, f, -2, "ghost");
      if (lua_type(L, -1) != LUA_TNUMBER)
        luaL_error(L, "ghost.%s must be a share (got %s)", q->name, luaL_typename(L, -1));
      q->ghost = lua_tonumber(L, -1);
    }
  lua_pop(L, 1);
}

/* rules.on_hit or on_evict, of the table on top: a table by queue, or one rule for all. Rules stay
 * on the stack. */
static void read_rules_of(lua_State *L, struct evict_form *f, const char *field, bool hit) {
  int rules = lua_gettop(L), type = lua_getfield(L, rules, field), table = rules + 1;
  if (type == LUA_TSTRING) {
    const char *rule = text(L, f, field);
    for (unsigned q = 0; q < f->queues.count; q++)
      *(hit ? &f->queues.queue[q].on_hit : &f->queues.queue[q].on_evict) = rule;
  } else if (type == LUA_TTABLE) {
    lua_pushnil(L);
    while (lua_next(L, table)) {
      struct lethe_evict_queue *q = queue_at(L, f, -2, field);
      if (lua_type(L, -1) != LUA_TSTRING)
        luaL_error(L, "%s.%s must be a rule (got %s)", field, q->name, luaL_typename(L, -1));
      *(hit ? &q->on_hit : &q->on_evict) = text(L, f, field);
      lua_insert(L, -2); /* the rule stays, below the key */
    }
  } else if (type != LUA_TNIL) {
    luaL_error(L, "%s must be a rule or a table of rules (got %s)", field, lua_typename(L, type));
  }
  lua_pushvalue(L, rules);
}

static void read_rules(lua_State *L, struct evict_form *f) {
  static const char *const names[] = {"insert", "on_hit", "on_evict", NULL};
  int type = lua_getfield(L, VALUE, "rules");
  if (type == LUA_TNIL) return;
  if (type != LUA_TTABLE) luaL_error(L, "rules must be a table (got %s)", lua_typename(L, type));
  lethe_checkoptions(L, lua_gettop(L), names);
  read_rules_of(L, f, "on_hit", true);
  read_rules_of(L, f, "on_evict", false);
  type = lua_getfield(L, -1, "insert");
  if (type == LUA_TSTRING)
    f->queues.insert = text(L, f, "insert");
  else if (type != LUA_TNIL)
    luaL_error(L, "insert must be a rule (got %s)", lua_typename(L, type));
}

/* ---- forms ----------------------------------------------------------------------------------- */

static bool given(lua_State *L, const char *field) {
  bool is = lua_getfield(L, VALUE, field) != LUA_TNIL;
  lua_pop(L, 1);
  return is;
}

/* Fields of one form do not go together with those of another; admit goes with all. */
static void choose(lua_State *L, struct evict_form *f) {
  static const char *const of[][10] = {{"score", "index", NULL},
                                       {"queues", "ghost", "rules", NULL},
                                       {"init", "on_insert", "on_hit", "on_evict", "on_remove",
                                        "full", "export", "import", "admit", NULL}};
  const char *first = NULL;
  int form = -1;
  for (int i = 0; i < 3; i++)
    for (int k = 0; of[i][k]; k++) {
      if (!given(L, of[i][k]) || (form >= 0 && strcmp(of[i][k], "admit") == 0)) continue;
      if (form >= 0 && form != i) {
        f->refused = true;
        luaL_error(L, "%s and %s do not go together: a policy is a score, queues or hooks", first,
                   of[i][k]);
      }
      form = i;
      first = of[i][k];
    }
  if (form < 0) refuse(L, f, "a policy needs %s", "a score, queues or hooks");
  f->kind = form == 0 ? EVICT_FORM_SCORE : form == 1 ? EVICT_FORM_QUEUES : EVICT_FORM_HOOKS;
}

static void read_table(lua_State *L, struct evict_form *f, int results) {
  lethe_checkoptions(L, VALUE, fields);
  read_name(L, f);
  read_budget(L, f);
  choose(L, f);
  for (size_t i = 0; i < TABLE_FUNCTIONS; i++) read_function(L, f, results, i);
  if (!lua_checkstack(L, 8 * LETHE_EVICT_QUEUES)) lethe_nomemory(L);
  f->score.text = read_text(L, f, "score");
  if (f->kind == EVICT_FORM_SCORE && !f->score.text && !f->s->has[EVICT_SCORE])
    refuse(L, f, "%s", "index needs a score");
  f->hooks.script.admit = read_text(L, f, "admit");
  read_index(L, f);
  if (f->kind != EVICT_FORM_QUEUES) return;
  int type = lua_getfield(L, VALUE, "queues");
  if (type == LUA_TNIL) refuse(L, f, "%s", "ghost and rules need queues");
  if (type != LUA_TTABLE)
    luaL_error(L, "queues must be a table of names and shares (got %s)", lua_typename(L, type));
  read_queues(L, f, lua_gettop(L));
  read_ghosts(L, f);
  read_rules(L, f);
}

/* ---- the policy ------------------------------------------------------------------------------ */

static struct lethe_evict_script common(const struct evict_form *f) {
  struct evict_script *s = f->s;
  struct lethe_evict_script c = {.admit = f->hooks.script.admit, .failed = evict_failed, .ud = s};
  if (s->has[EVICT_ADMIT])
    c.admits = f->kind == EVICT_FORM_HOOKS ? evict_admits_hooks : evict_admits_score;
  return c;
}

static int build(struct evict_form *f, char *why, size_t n) {
  const struct lethe_alloc *mem = &lethe_alloc_libc;
  struct evict_script *s = f->s;
  if (f->kind == EVICT_FORM_SCORE) {
    f->score.script = common(f);
    if (s->has[EVICT_SCORE]) f->score.score = evict_score_calls.score;
    return lethe_evict_new_score(&s->e, mem, &f->score, f->limit, f->seed, why, n);
  }
  if (f->kind == EVICT_FORM_QUEUES) {
    f->queues.script = common(f);
    return lethe_evict_new_queues(&s->e, mem, &f->queues, f->limit, f->seed, why, n);
  }
  f->hooks = (struct lethe_evict_hooks){
      .script = common(f),
      .insert = s->has[EVICT_ON_INSERT] ? evict_hooks_calls.insert : NULL,
      .hit = s->has[EVICT_ON_HIT] ? evict_hooks_calls.hit : NULL,
      .remove = s->has[EVICT_ON_REMOVE] ? evict_hooks_calls.remove : NULL,
      .evict = s->has[EVICT_ON_EVICT] ? evict_hooks_calls.evict : NULL,
      .full = s->has[EVICT_FULL] ? evict_hooks_calls.full : NULL};
  return lethe_evict_new_hooks(&s->e, mem, &f->hooks, f->limit, f->seed, why, n);
}

int evict_read_form(lua_State *L) {
  struct evict_form *f = lua_touserdata(L, 1);
  char why[400] = "";
  int results = VALUE + 1;
  lua_settop(L, VALUE);
  if (!lua_checkstack(L, EVICT_FUNCTIONS + LUA_MINSTACK)) lethe_nomemory(L);
  lua_settop(L, VALUE + EVICT_FUNCTIONS - 1);
  if (lua_isfunction(L, VALUE)) {
    f->kind = EVICT_FORM_SCORE;
    f->s->has[EVICT_SCORE] = true;
    lua_pushvalue(L, VALUE);
    lua_replace(L, results + EVICT_SCORE - EVICT_FACE);
  } else if (lua_istable(L, VALUE)) {
    read_table(L, f, results);
  } else {
    luaL_error(L, "a policy must be a name, a function or a table (got %s)",
               luaL_typename(L, VALUE));
  }
  if (f->kind == EVICT_FORM_HOOKS) {
    lua_pushcfunction(L, evict_open_face);
    lua_pushlightuserdata(L, f->s);
    lua_call(L, 1, 1);
    lua_replace(L, results);
  }
  int rc = build(f, why, sizeof why);
  if (rc == LETHE_ENOMEM) lethe_nomemory(L);
  if (rc != LETHE_OK) {
    const char *what = f->kind == EVICT_FORM_QUEUES ? "bad rule" : "bad expression";
    f->refused = true;
    return luaL_error(L, "%s: %s", what, why);
  }
  lua_settop(L, results + EVICT_FUNCTIONS - 2);
  return EVICT_FUNCTIONS - 1;
}
