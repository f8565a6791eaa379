/* SPDX-License-Identifier: MIT
 * lethe.core.quota: trackers. Accounts and participations are in quota_account.c, the port between
 * a state and a tracker in quota_port.c, scripted policies in quota_policy.c. What waits, and what
 * checks options, is in lua/lethe/quota.lua. */
#include <math.h>
#include <string.h>

#include "quota_keys.h"

struct tracker {
  struct port *port;
  struct lethe_quota *t; /* counted */
};

static void end_tracker(struct lethe_state *s, void *what, bool closed) {
  struct tracker *k = what;
  (void)s;
  if (!closed) quota_collected(k->port, "quota.Tracker", "", 0);
  lethe_quota_put(k->t);
  quota_port_put(k->port);
  lethe_free(&lethe_alloc_libc, k, sizeof *k);
}

static struct tracker *check_tracker(lua_State *L) {
  lethe_safepoint(L);
  return lethe_check(L, 1, &quota_tracker_class)->what;
}

/* Fills the box on top; owns one reference on t, and the port's count. */
static void hold_tracker(lua_State *L, struct lethe_box *b, struct port *p, struct tracker *k) {
  k->port = p;
  k->t = p->t;
  lethe_box_hold(L, b, k);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &quota_key_trackers);
  lua_pushvalue(L, -2);
  lua_rawsetp(L, -2, p);
  lua_pop(L, 1);
}

void quota_push_tracker(lua_State *L, struct port *p) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &quota_key_trackers);
  lua_rawgetp(L, -1, p);
  lua_remove(L, -2);
  struct lethe_box *b = lethe_test(L, -1, &quota_tracker_class);
  if (b && b->what) return;
  lua_pop(L, 1);
  b = lethe_box_new(L, &quota_tracker_class, 0);
  struct tracker *k = lethe_zalloc(&lethe_alloc_libc, sizeof *k);
  if (!k) luaL_error(L, "not enough memory");
  lethe_quota_get(p->t);
  p->refs++;
  hold_tracker(L, b, p, k);
}

/* new(max | -1, low_water | -1, deadline, loop, on_event | nil) -> Tracker; max nil: a noop tracker */
static int l_new(lua_State *L) {
  struct lethe_quota_config c = {.max = (int64_t)luaL_optinteger(L, 1, 0),
                                 .low_water = (int64_t)luaL_optinteger(L, 2, -1),
                                 .deadline = luaL_optnumber(L, 3, 0)};
  struct lethe_loop *loop = lethe_checkloop(L, 4);
  const char *why = NULL;
  bool noop = lua_isnil(L, 1);
  lua_settop(L, 5);
  lethe_safepoint(L);
  struct lethe_box *b = lethe_box_new(L, &quota_tracker_class, 0);
  struct tracker *k = lethe_zalloc(&lethe_alloc_libc, sizeof *k);
  if (!k) return lethe_fail(L, LETHE_ENOMEM);
  int rc = noop ? lethe_quota_noop(&k->t, &lethe_alloc_libc)
                : lethe_quota_new(&k->t, &lethe_alloc_libc, &c, NULL, NULL, &why);
  struct port *p = rc == LETHE_OK ? quota_port(L, k->t, loop) : NULL;
  if (!p) {
    if (rc == LETHE_OK) lethe_quota_put(k->t);
    lethe_free(&lethe_alloc_libc, k, sizeof *k);
    return rc == LETHE_ELIMITS ? lethe_failf(L, rc, "%s", why) : lethe_fail(L, LETHE_ENOMEM);
  }
  hold_tracker(L, b, p, k);
  quota_port_loop(L, p, 4);
  if (!lua_isnil(L, 5)) quota_port_listen(L, p, 5);
  return 1;
}

/* Tracker:close() ends every account, for all holders. */
static int l_close(lua_State *L) {
  struct lethe_box *b = lethe_test(L, 1, &quota_tracker_class);
  luaL_argexpected(L, b != NULL, 1, quota_tracker_class.name);
  lethe_safepoint(L);
  if (b->what) lethe_quota_shutdown(((struct tracker *)b->what)->t);
  return lethe_close(L);
}

/* configure(tracker, max | false, low_water | false, deadline | false, policy | nil); -1 is auto */
static int l_configure(lua_State *L) {
  struct tracker *k = check_tracker(L);
  struct lethe_quota_change c = {.set_max = lua_toboolean(L, 2),
                                 .set_low_water = lua_toboolean(L, 3),
                                 .set_deadline = lua_toboolean(L, 4)};
  const char *why = NULL;
  c.to.max = lua_tointeger(L, 2);
  c.to.low_water = lua_tointeger(L, 3);
  c.to.deadline = lua_tonumber(L, 4);
  if (!lua_isnoneornil(L, 5)) {
    int failed = quota_policy_at(L, 5, k->port, &c.policy);
    if (failed) return failed;
  }
  int rc = lethe_quota_configure(k->t, &c, &why);
  if (c.policy) lethe_quota_policy_put(c.policy);
  lethe_settle(L);
  if (rc) return lethe_failf(L, rc, "%s", why);
  lua_pushboolean(L, 1);
  return 1;
}

static int l_used(lua_State *L) {
  lua_pushinteger(L, lethe_quota_used(check_tracker(L)->t));
  return 1;
}

static int l_pressure(lua_State *L) {
  enum lethe_quota_level level;
  lua_pushnumber(L, lethe_quota_pressure(check_tracker(L)->t, &level));
  lua_pushstring(L, quota_levels[level]);
  return 2;
}

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
  quota_push_stats(L, check_tracker(L)->t);
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
    lua_pushnumber(L, i->oldest);
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

static int l_top(lua_State *L) {
  struct tracker *k = check_tracker(L);
  lua_Integer n = luaL_optinteger(L, 2, 10);
  luaL_argcheck(L, n >= 0 && n <= 1000000, 2, "a count expected");
  quota_push_top(L, k->port, (size_t)n);
  return 1;
}

static int next_account(lua_State *L) {
  struct lethe_box *b = lethe_test(L, lua_upvalueindex(1), &quota_tracker_class);
  struct lethe_quota_account_info info;
  uint32_t cursor = (uint32_t)lua_tointeger(L, lua_upvalueindex(2));
  if (!b->what || !lethe_quota_next_account(((struct tracker *)b->what)->t, &cursor, &info)) return 0;
  lua_pushinteger(L, cursor);
  lua_replace(L, lua_upvalueindex(2));
  push_info(L, &info, lethe_quota_used(((struct tracker *)b->what)->t));
  return 1;
}

static int l_accounts(lua_State *L) {
  check_tracker(L);
  lua_pushvalue(L, 1);
  lua_pushinteger(L, 0);
  lua_pushcclosure(L, next_account, 2);
  return 1;
}

static int l_plan(lua_State *L) {
  struct tracker *k = check_tracker(L);
  int64_t goal = lethe_checksize(L, 2);
  struct lethe_quota_stats stats;
  lethe_quota_read_stats(k->t, &stats);
  size_t n = (size_t)stats.accounts, planned = 0;
  struct lethe_quota_planned *rows = lua_newuserdatauv(L, (n + 1) * sizeof *rows, 0);
  struct lethe_state *s = lethe_state(L);
  lua_State *outer = s->turning;
  s->turning = L; /* get_oldest and the policy are called from here */
  int rc = lethe_quota_plan(k->t, k->port->member, goal, rows, n, &planned);
  s->turning = outer;
  lethe_settle(L);
  if (rc) return lethe_fail(L, rc);
  lua_createtable(L, (int)planned, 0);
  for (size_t i = 0; i < planned; i++) {
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, (lua_Integer)rows[i].account);
    lua_setfield(L, -2, "account");
    lua_pushinteger(L, rows[i].participants);
    lua_setfield(L, -2, "participants");
    lua_pushinteger(L, rows[i].used);
    lua_setfield(L, -2, "used");
    lua_pushnumber(L, rows[i].score);
    lua_setfield(L, -2, "score");
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 1;
}

static int l_check(lua_State *L) {
  char why[200];
  int rc = lethe_quota_check(check_tracker(L)->t, why, sizeof why);
  if (rc) return lethe_failf(L, rc, "%s", why);
  lua_pushboolean(L, 1);
  return 1;
}

struct port *quota_port_of(lua_State *L, int arg) {
  struct lethe_box *b = lethe_test(L, arg, &quota_tracker_class);
  if (b && b->what) return ((struct tracker *)b->what)->port;
  b = lethe_test(L, arg, &quota_account_class);
  if (b && b->what) return ((struct account_ref *)b->what)->port;
  b = lethe_test(L, arg, &quota_participation_class);
  return b && b->what ? ((struct participation *)b->what)->port : NULL;
}

/* ---- a pass by hand ---------------------------------------------------------------------------- */

struct manual {
  struct lethe_quota_manual manual;
  struct lethe_state *state;
  int wake; /* the function that hears of the end */
};

static void manual_done(struct lethe_quota_manual *m, int64_t freed) {
  struct manual *k = lethe_container_of(m, struct manual, manual);
  lua_State *L = k->state->turning;
  if (!k->state->ended && lua_checkstack(L, LUA_MINSTACK)) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, k->wake);
    luaL_unref(L, LUA_REGISTRYINDEX, k->wake);
    lua_pushinteger(L, freed);
    lethe_call_reported(L, 1, 0);
  }
  lethe_free(&lethe_alloc_libc, k, sizeof *k);
}

/* reclaim(tracker, goal | 0, loop, wake): wake(freed | -1 when the tracker shut down) follows */
static int l_reclaim(lua_State *L) {
  struct tracker *k = check_tracker(L);
  int64_t goal = luaL_checkinteger(L, 2);
  struct lethe_loop *loop = lethe_checkloop(L, 3);
  luaL_checktype(L, 4, LUA_TFUNCTION);
  lua_settop(L, 4);
  int wake = luaL_ref(L, LUA_REGISTRYINDEX);
  struct manual *m = lethe_zalloc(&lethe_alloc_libc, sizeof *m);
  if (!m) {
    luaL_unref(L, LUA_REGISTRYINDEX, wake);
    return luaL_error(L, "not enough memory");
  }
  m->state = lethe_state(L);
  m->wake = wake;
  lethe_quota_reclaim(k->t, &m->manual, loop, goal, manual_done);
  lethe_settle(L);
  return 0;
}

/* account(tracker, name | nil, max | nil, reserve, priority, parent | nil) */
static int l_account(lua_State *L) {
  struct tracker *k = check_tracker(L);
  struct lethe_quota_account_config c = {.name = lua_tostring(L, 2),
                                         .max = luaL_optinteger(L, 3, LETHE_QUOTA_NO_LIMIT),
                                         .reserve = luaL_optinteger(L, 4, 0),
                                         .priority = (int32_t)luaL_optinteger(L, 5, 0)};
  uint64_t parent = 0, id;
  if (!lua_isnoneornil(L, 6)) {
    struct account_ref *a = lethe_check(L, 6, &quota_account_class)->what;
    if (a->port->t != k->t) return lethe_fail(L, LETHE_EFOREIGN);
    parent = a->id;
  }
  int rc = lethe_quota_account_new(k->t, &c, parent, &id);
  if (rc) return lethe_fail(L, rc);
  return quota_push_account(L, k->port, id);
}

static const luaL_Reg methods[] = {
    {"close", l_close}, {"used", l_used},         {"pressure", l_pressure}, {"stats", l_stats},
    {"top", l_top},     {"accounts", l_accounts}, {"plan", l_plan},         {"check", l_check},
    {NULL, NULL}};
static const luaL_Reg metamethods[] = {{"__close", l_close}, {NULL, NULL}};

const struct lethe_class quota_tracker_class = {.name = "lethe.quota.Tracker",
                                                .end = end_tracker,
                                                .leaks = true,
                                                .methods = methods,
                                                .metamethods = metamethods};

static const luaL_Reg functions[] = {{"new", l_new},
                                     {"configure", l_configure},
                                     {"reclaim", l_reclaim},
                                     {"account", l_account},
                                     {"track_state", quota_track_state},
                                     {NULL, NULL}};

static void push_methods(lua_State *L, const struct lethe_class *c, const char *field) {
  luaL_getmetatable(L, c->name);
  lua_getfield(L, -1, "__index");
  lua_setfield(L, -3, field);
  lua_pop(L, 1);
}

int luaopen_lethe_core_quota(lua_State *L) {
  luaL_checkversion(L);
  lethe_class(L, &quota_tracker_class);
  luaL_newlib(L, functions);
  quota_open_port(L);
  quota_open_account(L);
  quota_candidate_class(L);
  push_methods(L, &quota_tracker_class, "Tracker");
  push_methods(L, &quota_account_class, "Account");
  push_methods(L, &quota_weak_class, "WeakAccount");
  push_methods(L, &quota_participation_class, "Participation");
  return 1;
}
