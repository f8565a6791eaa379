/* SPDX-License-Identifier: MIT
 * lethe.core.epoch: managers. Handles are in epoch_handle.c, guards in epoch_guard.c, sections of
 * coroutines in epoch_port.c, retired Lua values in epoch_retired.c, the charging of accounts in
 * epoch_charge.c. What waits, and what checks options, is in lua/lethe/epoch.lua. */
#include "epoch_parts.h"

/* ---- managers -------------------------------------------------------------------------------- */

static void end_manager(struct lethe_state *s, void *what, bool closed) {
  struct epoch_port *p = what;
  (void)s;
  if (closed) lethe_epoch_close(p->m);
  epoch_port_put(p);
}

static void *share_manager(void *what) { return lethe_epoch_get(((struct epoch_port *)what)->m); }

static void drop_manager(void *shared) { lethe_epoch_put(shared); }

/* The box on top becomes the object of a manager; false without memory. */
static bool hold_manager(lua_State *L, struct lethe_box *b, struct lethe_epoch *m) {
  struct epoch_port *p = epoch_port(L, m);
  if (p) lethe_box_hold(L, b, p);
  return p != NULL;
}

/* So that there is but one in a state. */
static void remember(lua_State *L, struct lethe_epoch *m) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &epoch_key_managers);
  lua_pushvalue(L, -2);
  lua_rawsetp(L, -2, m);
  lua_pop(L, 1);
}

/* The object that the state has for it, if that is open. */
static bool push_known(lua_State *L, struct lethe_epoch *m) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &epoch_key_managers);
  lua_rawgetp(L, -1, m);
  lua_replace(L, -2);
  struct lethe_box *b = lethe_test(L, -1, &epoch_manager_class);
  if (b && b->what && ((struct epoch_port *)b->what)->m == m) return true;
  lua_pop(L, 1);
  return false;
}

static void receive_manager(lua_State *L, void *shared) {
  if (push_known(L, shared)) return;
  struct lethe_box *b = lethe_box_new(L, &epoch_manager_class, 0);
  if (!hold_manager(L, b, shared)) lethe_nomemory(L);
  remember(L, shared);
}

struct epoch_port *epoch_check_manager(lua_State *L, int arg) {
  return lethe_check(L, arg, &epoch_manager_class)->what;
}

/* Of every method: a safe point first, in which pins end whose coroutine is gone. */
static struct epoch_port *check_manager(lua_State *L) {
  lethe_safepoint(L);
  struct epoch_port *p = epoch_check_manager(L, 1);
  epoch_sweep(L, p);
  return p;
}

/* new(max_threads | 0, manual, bag_size | 0, max_limbo | 0, account | nil) -> Manager */
static int l_new(lua_State *L) {
  struct lethe_epoch_config c = {.max_threads = (uint32_t)luaL_optinteger(L, 1, 0),
                                 .bag_size = (uint32_t)luaL_optinteger(L, 3, 0),
                                 .max_limbo = luaL_optinteger(L, 4, 0)};
  const struct lethe_alloc *alloc = &lethe_alloc_libc;
  struct epoch_charge *charge = NULL;
  struct lethe_epoch *m;
  int rc;
  c.mode = lua_toboolean(L, 2) ? LETHE_EPOCH_MANUAL : LETHE_EPOCH_AUTO;
  lethe_safepoint(L);
  struct lethe_box *b = lethe_box_new(L, &epoch_manager_class, 0);
  if (!lua_isnoneornil(L, 5)) {
    charge = epoch_charge_new(L, 5, &rc);
    if (!charge) return lethe_fail(L, rc);
    alloc = epoch_charge_alloc(charge);
    c.charge = epoch_charge_bytes;
    c.ud = charge;
  }
  rc = lethe_epoch_new(&m, alloc, &c);
  if (rc) {
    if (charge) epoch_charge_delete(charge);
    return lethe_fail(L, rc);
  }
  bool held = hold_manager(L, b, m);
  lethe_epoch_put(m); /* the port has its own */
  if (!held) return lethe_fail(L, LETHE_ENOMEM);
  remember(L, m);
  return 1;
}

/* ---- epochs ---------------------------------------------------------------------------------- */

static int l_advance(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lethe_epoch_advance(check_manager(L)->m));
  return 1;
}

static int l_epoch(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lethe_epoch_now(check_manager(L)->m));
  return 1;
}

static int l_safe_epoch(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lethe_epoch_safe(check_manager(L)->m));
  return 1;
}

/* manager:neutralize([lag]) -> how many */
static int l_neutralize(lua_State *L) {
  struct epoch_port *p = check_manager(L);
  lua_Integer lag = luaL_optinteger(L, 2, 2);
  luaL_argcheck(L, lag >= 0, 2, "a number of epochs from 0 expected");
  struct epoch_section *s = epoch_pinned(L, p);
  lua_pushinteger(L, lethe_epoch_neutralize(p->m, s ? s->rec : NULL, (uint64_t)lag));
  return 1;
}

static int l_start_poll(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lethe_epoch_start_poll(check_manager(L)->m));
  return 1;
}

static int l_poll(lua_State *L) {
  struct epoch_port *p = check_manager(L);
  lua_Integer cookie = luaL_checkinteger(L, 2);
  luaL_argcheck(L, cookie > 0, 2, "a cookie of start_poll expected");
  lua_pushboolean(L, lethe_epoch_poll(p->m, (uint64_t)cookie));
  return 1;
}

/* ---- freeing --------------------------------------------------------------------------------- */

/* The thread's record, or one for the length of a call. */
static int borrow(struct epoch_port *p, struct lethe_epoch_rec **r) {
  *r = p->rec ? p->rec : lethe_epoch_current(p->m);
  return *r ? LETHE_OK : lethe_epoch_register_extra(p->m, r);
}

static void give_back(struct epoch_port *p, struct lethe_epoch_rec *r) {
  if (r != p->rec && r != lethe_epoch_current(p->m)) lethe_epoch_unregister(r);
}

static void flush_one(struct lethe_epoch_rec *r, void *ud) {
  *(size_t *)ud += lethe_epoch_flush(r);
}

/* manager:flush() -> how many were freed */
static int l_flush(lua_State *L) {
  struct epoch_port *p = check_manager(L);
  size_t n = 0;
  struct lethe_epoch_rec *r;
  if (p->rec) {
    epoch_each_record(p, flush_one, &n);
  } else if (borrow(p, &r) == LETHE_OK) {
    n = lethe_epoch_flush(r);
    give_back(p, r);
  }
  epoch_drain(L);
  lethe_settle(L);
  lua_pushinteger(L, (lua_Integer)n);
  return 1;
}

/* The manager at 1 of a barrier under way; NULL if destructors have closed it meanwhile. */
static struct epoch_port *still_open(lua_State *L) {
  lethe_safepoint(L);
  const struct lethe_box *b = lethe_test(L, 1, &epoch_manager_class);
  return b && b->what ? b->what : NULL;
}

/* barrier(manager, cookie) -> whether all from before the cookie is freed | nil, m, code */
static int l_barrier(lua_State *L) {
  struct epoch_port *p = still_open(L);
  if (!p) return lethe_fail(L, LETHE_ECLOSED);
  uint64_t cookie = (uint64_t)luaL_checkinteger(L, 2);
  struct lethe_epoch_rec *r;
  int rc = borrow(p, &r);
  if (rc) return lethe_fail(L, rc);
  bool done = lethe_epoch_barrier_step(p->m, r, cookie);
  give_back(p, r);
  epoch_drain(L);
  lethe_settle(L);
  lua_pushboolean(L, done);
  return 1;
}

/* at_home(manager, turn) -> whether all destructors that were on their way to their states have
 * run, turn | nil, m, code. Turns begin with 0. */
static int l_at_home(lua_State *L) {
  struct epoch_port *p = still_open(L);
  if (!p) return lethe_fail(L, LETHE_ECLOSED);
  uint64_t turn = (uint64_t)luaL_checkinteger(L, 2);
  bool done = lethe_epoch_barrier_turn(p->m, &turn);
  lua_pushboolean(L, done);
  lua_pushinteger(L, (lua_Integer)turn);
  return 2;
}

/* holds_back(manager) -> whether the calling coroutine has a pin that a barrier would wait for */
static int l_holds_back(lua_State *L) {
  struct epoch_section *s = epoch_pinned(L, check_manager(L));
  lua_pushboolean(L, s && !lethe_epoch_neutralized(s->rec));
  return 1;
}

/* ---- statistics ------------------------------------------------------------------------------ */

static void set_integer(lua_State *L, const char *name, uint64_t n) {
  lua_pushinteger(L, (lua_Integer)n);
  lua_setfield(L, -2, name);
}

static void push_thread(lua_State *L, const struct lethe_epoch_rec_stats *r) {
  lua_createtable(L, 0, 7);
  lua_pushboolean(L, r->pinned);
  lua_setfield(L, -2, "pinned");
  lua_pushboolean(L, r->neutralized);
  lua_setfield(L, -2, "neutralized");
  lua_pushnumber(L, r->pinned_for);
  lua_setfield(L, -2, "pinned_for");
  set_integer(L, "epoch", r->epoch);
  set_integer(L, "limbo", r->limbo);
  set_integer(L, "limbo_bytes", (uint64_t)r->limbo_bytes);
  set_integer(L, "peak", r->peak);
}

/* Of the manager at 1, which is asked again: making the buffer may run finalizers, which may close
 * it. */
static uint32_t read_threads(lua_State *L, struct lethe_epoch_rec_stats **of) {
  uint32_t room, n = 16;
  do {
    room = n;
    *of = lua_newuserdatauv(L, room * sizeof **of, 0);
    n = lethe_epoch_records(epoch_check_manager(L, 1)->m, *of, room);
  } while (n > room);
  return n;
}

/* The list of threads, in the order in which their records were first used. */
static void push_threads(lua_State *L) {
  struct lethe_epoch_rec_stats *of;
  uint32_t n = read_threads(L, &of);
  lua_Integer i = 0;
  lua_createtable(L, (int)n, 0);
  while (n-- > 0) {
    if (of[n].extra) continue;
    push_thread(L, &of[n]);
    lua_rawseti(L, -2, ++i);
  }
}

static int l_stats(lua_State *L) {
  struct epoch_port *p = check_manager(L);
  struct lethe_epoch_stats s;
  lua_settop(L, 1);
  if (p->rec) epoch_here(L, p); /* what another coroutine has pinned is not the thread's */
  lethe_epoch_read_stats(p->m, &s);
  lua_createtable(L, 0, 10);
  set_integer(L, "epoch", s.epoch);
  set_integer(L, "safe_epoch", s.safe_epoch);
  set_integer(L, "retired", s.retired);
  set_integer(L, "reclaimed", s.reclaimed);
  set_integer(L, "limbo", s.limbo);
  set_integer(L, "limbo_bytes", (uint64_t)s.limbo_bytes);
  set_integer(L, "orphans", s.orphans);
  set_integer(L, "advances", s.advances);
  set_integer(L, "ejections", s.ejections);
  push_threads(L);
  lua_setfield(L, 2, "threads");
  lua_settop(L, 2);
  return 1;
}

/* ---- opening --------------------------------------------------------------------------------- */

static const luaL_Reg methods[] = {{"advance", l_advance},
                                   {"epoch", l_epoch},
                                   {"safe_epoch", l_safe_epoch},
                                   {"neutralize", l_neutralize},
                                   {"flush", l_flush},
                                   {"start_poll", l_start_poll},
                                   {"poll", l_poll},
                                   {"stats", l_stats},
                                   {NULL, NULL}};

const struct lethe_class epoch_manager_class = {.name = "lethe.epoch.Manager",
                                                .end = end_manager,
                                                .leaks = true,
                                                .watched = true,
                                                .methods = methods,
                                                .share = share_manager,
                                                .drop = drop_manager,
                                                .receive = receive_manager};

static const luaL_Reg functions[] = {{"new", l_new},
                                     {"barrier", l_barrier},
                                     {"at_home", l_at_home},
                                     {"holds_back", l_holds_back},
                                     {NULL, NULL}};

int luaopen_lethe_core_epoch(lua_State *L) {
  luaL_checkversion(L);
  lethe_class(L, &epoch_manager_class);
  luaL_newlib(L, functions);
  epoch_open_port(L);
  epoch_open_retired(L);
  epoch_open_handle(L);
  epoch_open_guard(L);
  lethe_methods(L, &epoch_manager_class, "Manager");
  lethe_methods(L, &epoch_handle_class, "Handle");
  lethe_methods(L, &epoch_guard_class, "Guard");
  return 1;
}
