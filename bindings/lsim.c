/* SPDX-License-Identifier: MIT
 * lethe.core.sim: traces as objects. A trace never changes, and so may go to other states. Replays
 * of one are in lsim_run.c, recorders in lsim_record.c. */
#include <sched.h>
#include <string.h>

#include "sim.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

/* ---- the object ------------------------------------------------------------------------------ */

static void end_trace(struct lethe_state *s, void *what, bool closed) {
  (void)s, (void)closed;
  lethe_trace_put(what);
}

struct lethe_trace *sim_check_trace(lua_State *L, int arg) {
  return lethe_check(L, arg, &sim_trace_class)->what;
}

static void *share_trace(void *what) { return lethe_trace_get(what); }
static void drop_trace(void *shared) { lethe_trace_put(shared); }
static void receive_trace(lua_State *L, void *shared) {
  struct lethe_box *b = lethe_box_new(L, &sim_trace_class, 0);
  lethe_box_hold(L, b, lethe_trace_get(shared));
}

/* ---- what it says ---------------------------------------------------------------------------- */

static const struct lethe_trace_info *info_of(lua_State *L) {
  lethe_safepoint(L);
  return lethe_trace_info(sim_check_trace(L, 1));
}

static int l_len(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)info_of(L)->len);
  return 1;
}

static int l_objects(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)info_of(L)->objects);
  return 1;
}

static int l_bytes(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)info_of(L)->footprint);
  return 1;
}

static void set_integer(lua_State *L, const char *name, uint64_t n) {
  lua_pushinteger(L, (lua_Integer)n);
  lua_setfield(L, -2, name);
}

/* Trace:stats() -> { requests, objects, bytes, requested, skipped, format } */
static int l_stats(lua_State *L) {
  const struct lethe_trace_info *info = info_of(L);
  lua_createtable(L, 0, 6);
  set_integer(L, "requests", info->len);
  set_integer(L, "objects", info->objects);
  set_integer(L, "bytes", info->footprint);
  set_integer(L, "requested", info->bytes);
  set_integer(L, "skipped", info->skipped);
  lua_pushstring(L, info->format ? lethe_trace_formats[info->format - 1] : "synthetic");
  lua_setfield(L, -2, "format");
  return 1;
}

/* ---- requests -------------------------------------------------------------------------------- */

/* The iterator's place, a userdata; the trace's object is beside it. */
struct walk {
  uint64_t at;
  const struct lethe_request *requests;
  size_t next, n;
  struct lethe_request buffer[LETHE_TRACE_BATCH];
};

static int l_next(lua_State *L) {
  struct walk *w = lua_touserdata(L, lua_upvalueindex(2));
  struct lethe_trace *t = lethe_test(L, lua_upvalueindex(1), &sim_trace_class)->what;
  if (!t) return luaL_error(L, "attempt to use a closed %s", sim_trace_class.name);
  if (w->next == w->n) {
    int rc = lethe_trace_read(t, &w->at, w->buffer, &w->requests, &w->n);
    w->next = 0;
    if (rc != LETHE_OK) {
      w->n = 0;
      return luaL_error(L, "the trace's file is not what it was");
    }
    if (w->n == 0) return 0;
  }
  const struct lethe_request *r = &w->requests[w->next++];
  lua_pushnumber(L, r->time);
  lua_pushinteger(L, (lua_Integer)r->id);
  lua_pushinteger(L, r->size);
  lua_pushinteger(L, r->next);
  lua_pushnumber(L, r->cost);
  return 5;
}

/* Trace:requests() -> iterator of time, id, size, next, cost */
static int l_requests(lua_State *L) {
  info_of(L);
  lua_settop(L, 1);
  struct walk *w = lua_newuserdatauv(L, sizeof *w, 0);
  w->at = 0;
  w->next = w->n = 0;
  lua_pushcclosure(L, l_next, 2);
  return 1;
}

/* ---- making ---------------------------------------------------------------------------------- */

/* A column's name or number in the table at 3. The name is borrowed from it. */
static void read_column(lua_State *L, struct lethe_trace_column *c, const char *field) {
  int type = lua_getfield(L, 3, field);
  if (type == LUA_TSTRING) c->name = lua_tostring(L, -1);
  if (type == LUA_TNUMBER) c->number = (unsigned)lua_tointeger(L, -1);
  lua_pop(L, 1);
}

static enum lethe_trace_format format_at(lua_State *L, int arg) {
  const char *name = luaL_optstring(L, arg, NULL);
  if (!name) return LETHE_TRACE_ANY;
  for (int i = 0; lethe_trace_formats[i]; i++)
    if (strcmp(name, lethe_trace_formats[i]) == 0) return (enum lethe_trace_format)(i + 1);
  luaL_argerror(L, arg, "no such format");
  return LETHE_TRACE_ANY;
}

/* open(path, format | nil, columns | nil) -> Trace | nil, m, code */
static int l_open(lua_State *L) {
  char why[300] = "";
  const char *path = luaL_checkstring(L, 1);
  struct lethe_trace_options o = {.format = format_at(L, 2), .columns = lua_istable(L, 3)};
  struct lethe_trace *t;
  lethe_safepoint(L);
  if (o.columns) {
    static const char *const roles[LETHE_TRACE_ROLES] = {"time", "id", "size", "cost"};
    for (int i = 0; i < LETHE_TRACE_ROLES; i++) read_column(L, &o.column[i], roles[i]);
  }
  struct lethe_box *b = lethe_box_new(L, &sim_trace_class, 0);
  int rc = lethe_trace_open(&t, mem, path, &o, why, sizeof why);
  if (rc == LETHE_ENOMEM) return lethe_fail(L, rc);
  if (rc != LETHE_OK) return lethe_failf(L, rc, "%s: %s", path, why);
  lethe_box_hold(L, b, t);
  return 1;
}

/* synthetic(kind, objects, requests, alpha, least, most, seed) -> Trace | nil, m, code */
static int l_synthetic(lua_State *L) {
  struct lethe_synthetic s = {
      .kind = (enum lethe_synthetic_kind)luaL_checkoption(L, 1, NULL, lethe_synthetic_kinds),
      .objects = (uint64_t)luaL_checkinteger(L, 2),
      .requests = (uint64_t)luaL_checkinteger(L, 3),
      .alpha = luaL_checknumber(L, 4),
      .least = luaL_checkinteger(L, 5),
      .most = luaL_checkinteger(L, 6),
      .seed = (uint64_t)luaL_checkinteger(L, 7)};
  struct lethe_trace *t;
  lethe_safepoint(L);
  struct lethe_box *b = lethe_box_new(L, &sim_trace_class, 0);
  int rc = lethe_trace_synthetic(&t, mem, &s);
  if (rc != LETHE_OK) return lethe_fail(L, rc);
  lethe_box_hold(L, b, t);
  return 1;
}

/* Trace:save(path) -> true | nil, m, code */
static int l_save(lua_State *L) {
  struct lethe_trace *t = sim_check_trace(L, 1);
  const char *path = luaL_checkstring(L, 2);
  lethe_safepoint(L);
  int rc = lethe_trace_save(t, path);
  if (rc == LETHE_ELIMIT)
    return lethe_failf(L, LETHE_EFORMAT, "%s: a size that does not fit into 32 bits", path);
  if (rc == LETHE_EUNWRITABLE) return lethe_failf(L, rc, "%s: it cannot be written", path);
  if (rc != LETHE_OK) return lethe_fail(L, rc);
  lua_pushboolean(L, 1);
  return 1;
}

/* processors() -> how many this process may use */
static int l_processors(lua_State *L) {
  cpu_set_t set;
  int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  lua_pushinteger(L, n > 0 ? n : 1);
  return 1;
}

/* ---- opening --------------------------------------------------------------------------------- */

static const luaL_Reg methods[] = {
    {"len", l_len},           {"objects", l_objects}, {"bytes", l_bytes},     {"stats", l_stats},
    {"requests", l_requests}, {"save", l_save},       {"close", lethe_close}, {NULL, NULL}};
static const luaL_Reg metamethods[] = {{"__len", l_len}, {NULL, NULL}};
const struct lethe_class sim_trace_class = {.name = "lethe.sim.Trace",
                                            .end = end_trace,
                                            .methods = methods,
                                            .metamethods = metamethods,
                                            .share = share_trace,
                                            .drop = drop_trace,
                                            .receive = receive_trace};

static const luaL_Reg functions[] = {
    {"open", l_open}, {"synthetic", l_synthetic}, {"processors", l_processors},
    {"run", sim_run}, {"record", sim_record},     {"watch", sim_watch},
    {NULL, NULL}};

int luaopen_lethe_core_sim(lua_State *L) {
  luaL_checkversion(L);
  lethe_class(L, &sim_trace_class);
  lethe_class(L, &sim_run_class);
  lethe_class(L, &sim_recorder_class);
  luaL_newlib(L, functions);
  return 1;
}
