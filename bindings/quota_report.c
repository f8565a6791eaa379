/* SPDX-License-Identifier: MIT
 * What a tracker tells of itself and its accounts: stats, top, accounts, plan. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "quota_parts.h"

void quota_push_stats(lua_State *L, struct lethe_quota *t) {
  struct lethe_quota_stats s;
  lethe_quota_read_stats(t, &s);
  const struct {
    const char *name;
    int64_t value;
  } integers[] = {{"used", s.used},
                  {"peak", s.peak},
                  {"max", s.max},
                  {"low_water", s.low_water},
                  {"untracked", s.untracked},
                  {"condemned", s.condemned},
                  {"accounts", (int64_t)s.accounts},
                  {"participants", (int64_t)s.participants},
                  {"reclaims", (int64_t)s.reclaims},
                  {"victims", (int64_t)s.victims},
                  {"freed", s.freed},
                  {"policy_failures", (int64_t)s.policy_failures},
                  {"stuck", (int64_t)s.stuck},
                  {"longest_hold", s.longest_hold}};
  lua_createtable(L, 0, 18);
  for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
    lua_pushinteger(L, integers[i].value);
    lua_setfield(L, -2, integers[i].name);
  }
  lua_pushnumber(L, s.stall_seconds);
  lua_setfield(L, -2, "stall_seconds");
  lua_pushnumber(L, s.longest_hold_time);
  lua_setfield(L, -2, "longest_hold_time");
  lua_pushnumber(L, s.longest_pass);
  lua_setfield(L, -2, "longest_pass");
}

static int l_stats(lua_State *L) {
  struct port *p;
  quota_push_stats(L, quota_check_tracker(L, &p));
  return 1;
}

/* What top() and accounts() tell of an account. */
static void push_info(lua_State *L, const struct lethe_quota_account_info *i, int64_t all) {
  lua_createtable(L, 0, 10);
  lua_pushinteger(L, (lua_Integer)i->account);
  lua_setfield(L, -2, "account");
  if (i->name[0]) {
    lua_pushstring(L, i->name);
    lua_setfield(L, -2, "name");
  }
  lua_pushinteger(L, i->used);
  lua_setfield(L, -2, "used");
  lua_pushinteger(L, i->peak);
  lua_setfield(L, -2, "peak");
  lua_pushnumber(L, all > 0 ? (double)i->used / (double)all : 0);
  lua_setfield(L, -2, "share");
  if (i->oldest != INFINITY) {
    lua_pushnumber(L, fabs(i->oldest) == DBL_MAX ? copysign(INFINITY, i->oldest) : i->oldest);
    lua_setfield(L, -2, "oldest");
  }
  lua_pushinteger(L, i->reserve);
  lua_setfield(L, -2, "reserve");
  lua_pushinteger(L, i->reclaims);
  lua_setfield(L, -2, "reclaims");
  lua_pushinteger(L, i->participants);
  lua_setfield(L, -2, "participants");
}

void quota_push_top(lua_State *L, struct port *p, size_t n) {
  struct lethe_quota_account_info *top = lua_newuserdatauv(L, (n ? n : 1) * sizeof *top, 0);
  n = lethe_quota_top(p->t, top, n);
  int64_t all = lethe_quota_used(p->t);
  lua_createtable(L, (int)n, 0);
  for (size_t i = 0; i < n; i++) {
    push_info(L, &top[i], all);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  lua_remove(L, -2);
}

/* So that they tell their ages of now. Not from within such a question. */
static void ask_top(lua_State *L, struct port *p, size_t n) {
  struct lethe_state *s = lethe_state(L);
  lua_State *outer = s->turning;
  if (s->no_wait > 0) return;
  struct lethe_quota_account_info *top = lua_newuserdatauv(L, (n ? n : 1) * sizeof *top, 0);
  n = lethe_quota_top(p->t, top, n);
  s->turning = L;
  p->refs++; /* get_oldest may close the tracker */
  for (size_t i = 0; i < n; i++) lethe_quota_ask(p->t, top[i].account);
  quota_port_put(p);
  s->turning = outer;
  lethe_settle(L);
  lua_pop(L, 1);
}

static int l_top(lua_State *L) {
  struct port *p;
  struct lethe_quota_stats s;
  struct lethe_quota *t = quota_check_tracker(L, &p);
  lua_Integer n = luaL_optinteger(L, 2, 10);
  luaL_argcheck(L, n >= 0, 2, "a count expected");
  lethe_quota_read_stats(t, &s);
  if ((uint64_t)n > s.accounts) n = (lua_Integer)s.accounts;
  ask_top(L, p, (size_t)n);
  quota_check_tracker(L, &p);
  quota_push_top(L, p, (size_t)n);
  return 1;
}

/* (tracker, cursor) -> WeakAccount, row */
static int next_account(lua_State *L) {
  struct port *p = quota_port_of(L, lua_upvalueindex(1)); /* NULL: closed meanwhile */
  struct lethe_quota_account_info info;
  uint32_t cursor = (uint32_t)lua_tointeger(L, lua_upvalueindex(2));
  if (!p || !lethe_quota_next_account(p->t, &cursor, &info)) return 0;
  lua_pushinteger(L, cursor);
  lua_replace(L, lua_upvalueindex(2));
  int n = quota_push_weak(L, p, info.account, NULL);
  if (n != 1) return luaL_error(L, "not enough memory");
  struct lethe_box *b = lethe_test(L, -1, &quota_weak_class);
  ((struct account_ref *)b->what)->name = quota_name_new(info.name);
  push_info(L, &info, lethe_quota_used(p->t));
  return 2;
}

static int l_accounts(lua_State *L) {
  struct port *p;
  quota_check_tracker(L, &p);
  lua_pushvalue(L, 1);
  lua_pushinteger(L, 0);
  lua_pushcclosure(L, next_account, 2);
  return 1;
}

static void push_planned(lua_State *L, const struct lethe_quota_planned *row) {
  lua_createtable(L, 0, 4);
  lua_pushinteger(L, (lua_Integer)row->account);
  lua_setfield(L, -2, "account");
  lua_pushinteger(L, row->participants);
  lua_setfield(L, -2, "participants");
  lua_pushinteger(L, row->used);
  lua_setfield(L, -2, "used");
  lua_pushnumber(L, row->score);
  lua_setfield(L, -2, "score");
}

/* Without a goal: down to low water. */
static int l_plan(lua_State *L) {
  struct port *p;
  struct lethe_quota_stats stats;
  struct lethe_quota *t = quota_check_tracker(L, &p);
  lethe_quota_read_stats(t, &stats);
  int64_t goal = stats.used - stats.low_water;
  if (!lua_isnoneornil(L, 2)) goal = lethe_checksize(L, 2);
  size_t n = (size_t)stats.accounts, planned = 0;
  struct lethe_quota_planned *rows = lua_newuserdatauv(L, (n + 1) * sizeof *rows, 0);
  struct lethe_state *s = lethe_state(L);
  lua_State *outer = s->turning;
  s->turning = L; /* get_oldest and the policy are called from here, and may close the tracker */
  p->refs++;
  int rc = lethe_quota_plan(t, p->member, goal, rows, n, &planned);
  quota_port_put(p);
  s->turning = outer;
  lethe_settle(L);
  if (rc) return lethe_fail(L, rc);
  lua_createtable(L, (int)planned, 0);
  for (size_t i = 0; i < planned; i++) {
    push_planned(L, &rows[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

void quota_open_report(lua_State *L) {
  static const luaL_Reg methods[] = {
      {"stats", l_stats}, {"top", l_top}, {"accounts", l_accounts}, {"plan", l_plan}, {NULL, NULL}};
  luaL_getmetatable(L, quota_tracker_class.name);
  lua_getfield(L, -1, "__index");
  luaL_setfuncs(L, methods, 0);
  lua_pop(L, 2);
}
