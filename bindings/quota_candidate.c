/* SPDX-License-Identifier: MIT
 * Candidates as Lua objects. A candidate is a userdata with a copy of the snapshot in it, so it may
 * be kept; it has fields, no methods, and cannot be written. */
#include "quota_candidate.h"

#include <math.h>
#include <string.h>

enum field {
  ACCOUNT,
  NAME,
  PARTICIPANTS,
  USED,
  PEAK,
  OLDEST,
  AGE,
  PRIORITY,
  RESERVE,
  LIMIT,
  CHILDREN_USED,
  TRIED,
  FREED,
  RECLAIMS,
  COST,
  DEGRADED,
  FIELDS
};

static const char *const names[FIELDS] = {
    "account", "name",  "participants",  "used",  "peak",  "oldest",   "age",  "priority",
    "reserve", "limit", "children_used", "tried", "freed", "reclaims", "cost", "degraded"};

const char *const quota_field_names[] = {
    "account", "participants",  "used",  "peak",  "oldest",   "age",  "priority", "reserve",
    "limit",   "children_used", "tried", "freed", "reclaims", "cost", NULL};

void quota_candidate_values(const struct lethe_quota_candidate *c, double *v) {
  const struct lethe_quota_account_info *i = &c->info;
  const double all[QUOTA_FIELDS] = {(double)i->account,
                                    i->participants,
                                    (double)i->used,
                                    (double)i->peak,
                                    i->oldest,
                                    c->age,
                                    i->priority,
                                    (double)i->reserve,
                                    i->limit == LETHE_QUOTA_NO_LIMIT ? INFINITY : (double)i->limit,
                                    (double)i->children_used,
                                    c->tried,
                                    (double)c->freed,
                                    i->reclaims,
                                    c->cost};
  memcpy(v, all, sizeof all);
}

static int push_field(lua_State *L, const struct lethe_quota_candidate *c, int field) {
  const struct lethe_quota_account_info *i = &c->info;
  switch (field) {
  case ACCOUNT:
    lua_pushinteger(L, (lua_Integer)i->account);
    return 1;
  case NAME:
    if (i->name[0])
      lua_pushstring(L, i->name);
    else
      lua_pushnil(L);
    return 1;
  case PARTICIPANTS:
    lua_pushinteger(L, i->participants);
    return 1;
  case USED:
    lua_pushinteger(L, i->used);
    return 1;
  case PEAK:
    lua_pushinteger(L, i->peak);
    return 1;
  case OLDEST:
    lua_pushnumber(L, i->oldest);
    return 1;
  case AGE:
    lua_pushnumber(L, c->age);
    return 1;
  case PRIORITY:
    lua_pushinteger(L, i->priority);
    return 1;
  case RESERVE:
    lua_pushinteger(L, i->reserve);
    return 1;
  case LIMIT:
    if (i->limit == LETHE_QUOTA_NO_LIMIT)
      lua_pushnil(L);
    else
      lua_pushinteger(L, i->limit);
    return 1;
  case CHILDREN_USED:
    lua_pushinteger(L, i->children_used);
    return 1;
  case TRIED:
    lua_pushinteger(L, c->tried);
    return 1;
  case FREED:
    lua_pushinteger(L, c->freed);
    return 1;
  case RECLAIMS:
    lua_pushinteger(L, i->reclaims);
    return 1;
  case COST:
    lua_pushnumber(L, c->cost);
    return 1;
  case DEGRADED:
    lua_pushboolean(L, c->degraded);
    return 1;
  default:
    lua_pushnil(L);
    return 1;
  }
}

/* The object at 1, by its metatable, which is upvalue 1 of the hot functions. */
static const struct quota_candidate_object *check(lua_State *L) {
  const struct quota_candidate_object *o = lua_touserdata(L, 1);
  bool ours = o && lua_getmetatable(L, 1) && lua_rawequal(L, -1, lua_upvalueindex(1));
  if (!ours) luaL_typeerror(L, 1, QUOTA_CANDIDATE);
  return o;
}

/* Upvalue 2: { [name] = field + 1 }. Called for each field that a policy reads. */
static int l_index(lua_State *L) {
  const struct quota_candidate_object *o = check(L);
  lua_pushvalue(L, 2);
  lua_rawget(L, lua_upvalueindex(2));
  return push_field(L, &o->c, (int)lua_tointeger(L, -1) - 1);
}

static int l_newindex(lua_State *L) {
  return luaL_error(L, "a candidate is read-only (field %s)", luaL_tolstring(L, 2, NULL));
}

static int l_tostring(lua_State *L) {
  const struct quota_candidate_object *o = luaL_checkudata(L, 1, QUOTA_CANDIDATE);
  lua_pushfstring(L, "lethe.quota.Candidate: account %I%s%s, %I bytes",
                  (LUAI_UACINT)o->c.info.account, o->c.info.name[0] ? " " : "", o->c.info.name,
                  (LUAI_UACINT)o->c.info.used);
  return 1;
}

static int next_field(lua_State *L) {
  const struct quota_candidate_object *o = luaL_checkudata(L, 1, QUOTA_CANDIDATE);
  int field = 0;
  if (!lua_isnoneornil(L, 2)) {
    const char *name = luaL_checkstring(L, 2);
    while (field < FIELDS && strcmp(names[field], name) != 0) field++;
    field++;
  }
  for (; field < FIELDS; field++) {
    lua_pushstring(L, names[field]);
    push_field(L, &o->c, field);
    if (!lua_isnil(L, -1)) return 2;
    lua_pop(L, 2);
  }
  return 0;
}

static int l_pairs(lua_State *L) {
  lua_pushcfunction(L, next_field);
  lua_pushvalue(L, 1);
  return 2;
}

static const luaL_Reg metamethods[] = {
    {"__newindex", l_newindex}, {"__tostring", l_tostring}, {"__pairs", l_pairs}, {NULL, NULL}};

static void open_candidate(lua_State *L) {
  if (luaL_newmetatable(L, QUOTA_CANDIDATE)) {
    luaL_setfuncs(L, metamethods, 0);
    lua_pushvalue(L, -1);
    lua_createtable(L, 0, FIELDS);
    for (int i = 0; i < FIELDS; i++) {
      lua_pushinteger(L, i + 1);
      lua_setfield(L, -2, names[i]);
    }
    lua_pushcclosure(L, l_index, 2);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
  }
  lua_pop(L, 1);
}

struct quota_candidate_object *quota_push_candidate(lua_State *L, int metatable,
                                                    const struct lethe_quota_candidate *c) {
  struct quota_candidate_object *o = lua_newuserdatauv(L, sizeof *o, 0);
  o->c = *c;
  o->index = UINT32_MAX;
  lua_pushvalue(L, metatable);
  lua_setmetatable(L, -2);
  return o;
}

/* ---- a tracker to read ----------------------------------------------------------------------- */

/* What on_start and on_stop of a text get: it has a Tracker's methods that change nothing. */
#define READER "lethe.quota.Reader"

static struct lethe_quota *check_reader(lua_State *L) {
  return *(struct lethe_quota **)luaL_checkudata(L, 1, READER);
}

static int l_used(lua_State *L) {
  lua_pushinteger(L, lethe_quota_used(check_reader(L)));
  return 1;
}

static int l_pressure(lua_State *L) {
  enum lethe_quota_level level;
  lua_pushnumber(L, lethe_quota_pressure(check_reader(L), &level));
  lua_pushstring(L, quota_levels[level]);
  return 2;
}

static int l_stats(lua_State *L) {
  quota_push_stats(L, check_reader(L));
  return 1;
}

static int l_reader_tostring(lua_State *L) {
  check_reader(L);
  lua_pushliteral(L, "lethe.quota.Tracker");
  return 1;
}

static const luaL_Reg reader_methods[] = {
    {"used", l_used}, {"pressure", l_pressure}, {"stats", l_stats}, {NULL, NULL}};

static void open_reader(lua_State *L) {
  if (luaL_newmetatable(L, READER)) {
    luaL_newlib(L, reader_methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, l_reader_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
  }
  lua_pop(L, 1);
}

void quota_push_reader(lua_State *L, struct lethe_quota *t) {
  struct lethe_quota **r = lua_newuserdatauv(L, sizeof *r, 0);
  *r = t;
  luaL_setmetatable(L, READER);
}

int quota_open_candidate(lua_State *L) {
  open_candidate(L);
  open_reader(L);
  return 0;
}
