/* SPDX-License-Identifier: MIT
 * lethe.core.quota: trackers. Accounts are in quota_account.c, participations in
 * quota_participation.c, what a tracker tells of its accounts in quota_report.c, the port between a
 * state and a tracker in quota_port.c, how a pass asks in quota_upcalls.c, events in
 * quota_events.c, scripted policies in quota_policy.c. What waits, and what checks options, is in
 * lua/lethe/quota.lua. */
#include "quota_parts.h"
#include "waker.h"

struct tracker {
  struct port *port;
  struct lethe_quota *t; /* counted */
};

static void end_tracker(struct lethe_state *s, void *what, bool closed) {
  struct tracker *k = what;
  (void)s;
  if (!closed) quota_collected(k->port, "quota.Tracker", 0, "", 0);
  lethe_quota_put(k->t);
  quota_port_put(k->port);
  lethe_free(&lethe_alloc_libc, k, sizeof *k);
}

static struct tracker *check_tracker(lua_State *L) {
  lethe_safepoint(L);
  return lethe_check(L, 1, &quota_tracker_class)->what;
}

struct lethe_quota *quota_check_tracker(lua_State *L, struct port **port) {
  struct tracker *k = check_tracker(L);
  *port = k->port;
  return k->t;
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

static int push_at_port(lua_State *L) {
  quota_push_tracker(L, lua_touserdata(L, 1));
  return 1;
}

void quota_push_tracker_of(lua_State *L, struct lethe_quota *t, struct lethe_loop *loop) {
  struct port *p = quota_port(L, t, loop);
  if (!p) {
    lethe_nomemory(L);
    return;
  }
  lua_pushcfunction(L, push_at_port);
  lua_pushlightuserdata(L, p);
  int rc = lua_pcall(L, 1, 1, 0);
  quota_port_put(p); /* the Tracker counts it too */
  if (rc != LUA_OK) lua_error(L);
}

/* ---- in other states ------------------------------------------------------------------------- */

static void *share_tracker(void *what) {
  struct tracker *k = what;
  lethe_quota_get(k->t);
  return k->t;
}

static void drop_tracker(void *shared) { lethe_quota_put(shared); }

/* The state's own object: its participants are asked through a port of its own. */
static void receive_tracker(lua_State *L, void *shared) {
  quota_push_tracker_of(L, shared, lethe_default_loop(L));
}

/* ---- trackers -------------------------------------------------------------------------------- */

/* new(max | -1, low_water | -1, deadline, loop) -> Tracker; a noop one where max is nil or none */
static int l_new(lua_State *L) {
  struct lethe_quota_config c = {.max = (int64_t)luaL_optinteger(L, 1, 0),
                                 .low_water = (int64_t)luaL_optinteger(L, 2, -1),
                                 .deadline = luaL_optnumber(L, 3, 0)};
  struct lethe_loop *loop = lethe_checkloop(L, 4);
  const char *why = NULL;
  bool noop = lua_isnil(L, 1) || (c.max == LETHE_QUOTA_NO_LIMIT && c.low_water < 0);
  lua_settop(L, 4);
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
  return 1;
}

/* listen(tracker, on_event), once */
static int l_listen(lua_State *L) {
  struct tracker *k = check_tracker(L);
  luaL_checktype(L, 2, LUA_TFUNCTION);
  quota_port_listen(L, k->port, 2);
  return 0;
}

/* Tracker:close() ends every account, for all holders. */
static int l_close(lua_State *L) {
  struct lethe_box *b = lethe_test(L, 1, &quota_tracker_class);
  luaL_argexpected(L, b != NULL, 1, quota_tracker_class.name);
  lethe_safepoint(L);
  if (!b->what) return lethe_close(L);
  struct port *p = ((struct tracker *)b->what)->port;
  lethe_quota_shutdown(p->t);
  quota_events_close(L, p);
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
    k = lethe_test(L, 1, &quota_tracker_class)->what; /* a metamethod of the table may close it */
    if (!k) lethe_quota_policy_put(c.policy);
    lethe_check(L, 1, &quota_tracker_class);
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

/* ---- a pass by hand -------------------------------------------------------------------------- */

struct manual {
  struct lethe_quota_manual manual;
  struct lethe_waker waker;
};

static void free_manual(struct lethe_waker *w) {
  struct manual *m = lethe_container_of(w, struct manual, waker);
  lethe_free(&lethe_alloc_libc, m, sizeof *m);
}

static void manual_done(struct lethe_quota_manual *m, int64_t freed) {
  lethe_waker_tell(&lethe_container_of(m, struct manual, manual)->waker, freed);
}

/* reclaim(tracker, goal | 0, loop, wake) -> ticket for cancel_reclaim: wake(freed | -1 when the
 * tracker shut down) follows */
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
    return lethe_nomemory(L);
  }
  lethe_waker_open(L, &m->waker, loop, wake, free_manual);
  lethe_quota_reclaim(k->t, &m->manual, loop, goal, manual_done);
  lethe_settle(L);
  lua_pushlightuserdata(L, m);
  return 1;
}

/* cancel_reclaim(ticket), before wake was called -> true if it will not be */
static int l_cancel_reclaim(lua_State *L) {
  struct manual *m = lua_touserdata(L, 1);
  bool gone = lethe_quota_reclaim_cancel(&m->manual);
  if (gone) lethe_waker_close(&m->waker);
  lua_pushboolean(L, gone);
  return 1;
}

static const luaL_Reg methods[] = {{"close", l_close},
                                   {"used", l_used},
                                   {"pressure", l_pressure},
                                   {"check", l_check},
                                   {NULL, NULL}};
static const luaL_Reg metamethods[] = {{"__close", l_close}, {NULL, NULL}};

const struct lethe_class quota_tracker_class = {.name = "lethe.quota.Tracker",
                                                .end = end_tracker,
                                                .leaks = true,
                                                .watched = true,
                                                .methods = methods,
                                                .metamethods = metamethods,
                                                .share = share_tracker,
                                                .drop = drop_tracker,
                                                .receive = receive_tracker};

/* failure(code) -> nil, message, code: what a waker's value stands for */
static int l_failure(lua_State *L) { return lethe_fail(L, (int)luaL_checkinteger(L, 1)); }

static const luaL_Reg functions[] = {{"new", l_new},
                                     {"listen", l_listen},
                                     {"configure", l_configure},
                                     {"reclaim", l_reclaim},
                                     {"cancel_reclaim", l_cancel_reclaim},
                                     {"track_state", quota_track_state},
                                     {"failure", l_failure},
                                     {NULL, NULL}};

int luaopen_lethe_core_quota(lua_State *L) {
  luaL_checkversion(L);
  lethe_class(L, &quota_tracker_class);
  luaL_newlib(L, functions);
  quota_open_port(L);
  quota_open_upcalls(L);
  quota_open_account(L);
  quota_open_participation(L);
  quota_open_report(L);
  quota_open_events(L);
  quota_candidate_class(L);
  lethe_methods(L, &quota_tracker_class, "Tracker");
  lethe_methods(L, &quota_account_class, "Account");
  lethe_methods(L, &quota_weak_class, "WeakAccount");
  lethe_methods(L, &quota_participation_class, "Participation");
  return 1;
}
