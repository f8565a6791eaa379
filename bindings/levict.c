/* SPDX-License-Identifier: MIT
 * The module lethe.core.evict: names of eviction policies, and replays through one, request by
 * request or record by record. Records are those of oracleGeneral traces: 24 bytes, little-endian:
 * seconds, id, size, index of the next request of that id. */
#include <string.h>

#include "evict_script.h"
#include "lethe/replay.h"

enum { RECORD = 24, BATCH = 512 };

/* While requests run their policy, a script maybe, may call anything, also to end this. */
struct replay {
  struct lethe_replay *r;
  bool running, ended;
};

static void free_replay(struct replay *p) {
  lethe_replay_delete(p->r);
  lethe_free(&lethe_alloc_libc, p, sizeof *p);
}

static void end_replay(struct lethe_state *s, void *what, bool closed) {
  struct replay *p = what;
  (void)s;
  (void)closed;
  p->ended = true;
  if (!p->running) free_replay(p);
}

static int replay_access(lua_State *L), replay_run(lua_State *L), replay_resize(lua_State *L),
    replay_stats(lua_State *L), replay_failures(lua_State *L), replay_check(lua_State *L);
static const luaL_Reg methods[] = {{"access", replay_access},
                                   {"run", replay_run},
                                   {"resize", replay_resize},
                                   {"stats", replay_stats},
                                   {"check", replay_check},
                                   {"failures", replay_failures},
                                   {NULL, NULL}};
static const struct lethe_class replay_class = {
    .name = "lethe.policy.Replay", .end = end_replay, .methods = methods};

static struct lethe_replay *check_replay(lua_State *L) {
  return ((struct replay *)lethe_check(L, 1, &replay_class)->what)->r;
}

/* The same for a call that asks the policy. */
static struct replay *begin(lua_State *L) {
  struct replay *p = lethe_check(L, 1, &replay_class)->what;
  if (p->running) luaL_error(L, "a policy cannot use the replay that asks it");
  return p;
}

/* And its end: r is not used any more. */
static int finish(lua_State *L, struct replay *p, int rc, bool result) {
  p->running = false;
  if (p->ended) free_replay(p);
  lethe_settle(L);
  if (rc != LETHE_OK) return lethe_fail(L, rc);
  lua_pushboolean(L, result);
  return 1;
}

/* ---- making one ------------------------------------------------------------------------------ */

/* names() -> list */
static int l_names(lua_State *L) {
  lua_newtable(L);
  for (int i = 0; lethe_evict_names[i]; i++) {
    lua_pushstring(L, lethe_evict_names[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

/* The policy at 1: a built-in one by name, "belady" too, or one that was made; NULL without memory.
 * Raises. */
static struct lethe_evict *policy_at(lua_State *L, int64_t limit, uint64_t seed) {
  struct lethe_evict *e = NULL;
  if (lua_type(L, 1) != LUA_TSTRING) return evict_take(L, 1);
  const struct lethe_evict_ops *ops = lethe_evict_find(lua_tostring(L, 1), true);
  if (!ops) luaL_error(L, "unknown policy \"%s\"", lua_tostring(L, 1));
  lethe_evict_new_with(&e, &lethe_alloc_libc, ops, NULL, limit, seed);
  return e;
}

/* replay(made | name, limit, unit, seed) -> Replay | nil, m, code */
static int l_replay(lua_State *L) {
  int64_t limit = luaL_checkinteger(L, 2);
  bool unit = lua_toboolean(L, 3);
  uint64_t seed = (uint64_t)luaL_optinteger(L, 4, 1);
  lethe_safepoint(L);
  struct lethe_box *b = lethe_box_new(L, &replay_class, 0);
  struct lethe_evict *e = policy_at(L, limit, seed);
  struct replay *p = e ? lethe_zalloc(&lethe_alloc_libc, sizeof *p) : NULL;
  int rc = p ? lethe_replay_new(&p->r, e, unit) : LETHE_ENOMEM;
  if (rc != LETHE_OK) {
    if (p) lethe_free(&lethe_alloc_libc, p, sizeof *p);
    lethe_evict_delete(e);
    return lethe_fail(L, rc);
  }
  lethe_box_hold(L, b, p);
  return 1;
}

/* ---- requests -------------------------------------------------------------------------------- */

/* Replay:access(id [, size [, next]]) -> hit | nil, m, code */
static int replay_access(lua_State *L) {
  struct replay *p = begin(L);
  struct lethe_request q = {.id = (uint64_t)luaL_checkinteger(L, 2),
                            .size = luaL_optinteger(L, 3, 1),
                            .next = luaL_optinteger(L, 4, -1),
                            .cost = 1};
  uint64_t misses = p->r->misses;
  luaL_argcheck(L, q.size >= 0, 3, "a size is not negative");
  p->running = true;
  int rc = lethe_replay_run(p->r, &q, 1);
  return finish(L, p, rc, p->r->misses == misses);
}

/* Records of size 0 are skipped. How many requests came of them. */
static size_t read_batch(const char *data, size_t records, struct lethe_request *out) {
  size_t n = 0;
  for (; records > 0; records--, data += RECORD) {
    uint32_t time, size;
    memcpy(&time, data, sizeof time);
    memcpy(&size, data + 12, sizeof size);
    out[n] = (struct lethe_request){.size = size, .time = time, .cost = 1};
    memcpy(&out[n].id, data + 4, sizeof out->id);
    memcpy(&out[n].next, data + 16, sizeof out->next);
    n += size > 0;
  }
  return n;
}

/* Replay:run(records) -> true | nil, m, code */
static int replay_run(lua_State *L) {
  struct lethe_request batch[BATCH + 1];
  size_t size;
  int rc = LETHE_OK;
  struct replay *p = begin(L);
  const char *data = luaL_checklstring(L, 2, &size);
  luaL_argcheck(L, size % RECORD == 0, 2, "records of 24 bytes expected");
  p->running = true;
  for (size_t left = size / RECORD, n; left && rc == LETHE_OK; left -= n, data += n * RECORD) {
    n = left < BATCH ? left : BATCH;
    rc = lethe_replay_run(p->r, batch, read_batch(data, n, batch));
  }
  return finish(L, p, rc, true);
}

/* Replay:resize(limit) -> true */
static int replay_resize(lua_State *L) {
  struct replay *p = begin(L);
  int64_t limit = luaL_checkinteger(L, 2);
  luaL_argcheck(L, limit >= 0, 2, "a limit is not negative");
  p->running = true;
  return finish(L, p, lethe_replay_resize(p->r, limit), true);
}

/* ---- what it says ---------------------------------------------------------------------------- */

static void set_integer(lua_State *L, const char *name, uint64_t n) {
  lua_pushinteger(L, (lua_Integer)n);
  lua_setfield(L, -2, name);
}

/* Replay:stats() -> table */
static int replay_stats(lua_State *L) {
  const struct lethe_replay *r = check_replay(L);
  lua_createtable(L, 0, 7);
  set_integer(L, "requests", r->requests);
  set_integer(L, "misses", r->misses);
  set_integer(L, "bytes", r->bytes);
  set_integer(L, "missed", r->missed);
  set_integer(L, "entries", r->policy->len);
  set_integer(L, "used", (uint64_t)r->policy->used);
  set_integer(L, "limit", (uint64_t)r->policy->limit);
  return 1;
}

static void push_failure(lua_State *L, const struct lethe_evict_failure *f) {
  lua_createtable(L, 0, 6);
  lua_pushstring(L, f->call);
  lua_setfield(L, -2, "call");
  lua_pushstring(L, f->message);
  lua_setfield(L, -2, "message");
  lua_pushstring(L, f->trace);
  lua_setfield(L, -2, "traceback");
  set_integer(L, "at", f->at);
  set_integer(L, "spent", (uint64_t)f->spent);
  set_integer(L, "budget", (uint64_t)f->budget);
}

/* Replay:failures() -> list of { call, message, traceback, at, spent, budget } */
static int replay_failures(lua_State *L) {
  const struct lethe_replay *r = check_replay(L);
  unsigned n = lethe_evict_script_strikes(r->policy);
  lua_createtable(L, (int)n, 0);
  for (unsigned i = 0; i < n; i++) {
    push_failure(L, lethe_evict_script_failure(r->policy, i));
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

/* Replay:check() -> true | nil, m, "broken" */
static int replay_check(lua_State *L) {
  char why[200];
  if (lethe_evict_check(check_replay(L)->policy, why, sizeof why) != LETHE_OK)
    return lethe_failf(L, LETHE_EBROKEN, "%s", why);
  lua_pushboolean(L, 1);
  return 1;
}

static const luaL_Reg functions[] = {{"names", l_names}, {"replay", l_replay}, {NULL, NULL}};

int luaopen_lethe_core_evict(lua_State *L) {
  lethe_class(L, &replay_class);
  luaL_newlib(L, functions);
  return 1;
}
