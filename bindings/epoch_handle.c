/* SPDX-License-Identifier: MIT
 * Handles for lethe.core.epoch: retiring and reclaiming. A Handle stands for the port's record;
 * what it pins is in epoch_guard.c. */
#include "epoch_parts.h"
#include "lethe/epoch_section.h"

/* ---- objects --------------------------------------------------------------------------------- */

static void end_handle(struct lethe_state *s, void *what, bool closed) {
  struct epoch_port *p = what;
  (void)s;
  (void)closed;
  p->handled = false;
  epoch_port_leave(p);
  epoch_port_put(p);
}

/* For all calls but the hot ones: a safe point, in which the handle may go. */
static struct epoch_port *check_handle(lua_State *L) {
  lethe_safepoint(L);
  struct epoch_port *p = lethe_check(L, 1, &epoch_handle_class)->what;
  epoch_sweep(L, p);
  return p;
}

bool epoch_is_callable(lua_State *L, int i) {
  if (lua_isfunction(L, i)) return true;
  bool callable = luaL_getmetafield(L, i, "__call") != LUA_TNIL;
  if (callable) lua_pop(L, 1);
  return callable;
}

/* ---- retiring -------------------------------------------------------------------------------- */

/* (self, value, destructor | nil [, bytes]): the bytes. What comes after the checks may run no
 * finalizer until the value is retired. */
size_t epoch_check_retired(lua_State *L) {
  int64_t bytes = 0;
  luaL_checkany(L, 2);
  if (!lua_isnoneornil(L, 3)) luaL_argexpected(L, epoch_is_callable(L, 3), 3, "function or nil");
  if (!lua_isnoneornil(L, 4)) bytes = lethe_checksize(L, 4);
  lua_settop(L, 4);
  return (size_t)bytes;
}

int epoch_retire_at(lua_State *L, struct epoch_section *s, size_t bytes) {
  epoch_retire_value(L, s, bytes);
  lethe_settle(L);
  lua_pushboolean(L, 1);
  return 1;
}

static int l_retire(lua_State *L) {
  check_handle(L);
  size_t bytes = epoch_check_retired(L);
  struct epoch_section *s = epoch_pinned(L, lethe_check(L, 1, &epoch_handle_class)->what);
  if (!s) return luaL_error(L, "retire needs a pin");
  return epoch_retire_at(L, s, bytes);
}

/* ---- reclaiming ------------------------------------------------------------------------------ */

struct sum {
  uint64_t safe, n;
};

static void reclaim_one(struct lethe_epoch_rec *r, void *ud) {
  struct sum *sum = ud;
  sum->n += lethe_epoch_reclaim_below(r, sum->safe);
}

/* The destructors have run when it returns. */
static int reclaim_below(lua_State *L, struct epoch_port *p, uint64_t safe) {
  struct sum sum = {.safe = safe};
  epoch_each_record(p, reclaim_one, &sum);
  epoch_drain(L);
  lethe_settle(L);
  lua_pushinteger(L, (lua_Integer)sum.n);
  return 1;
}

static int l_reclaim(lua_State *L) {
  struct epoch_port *p = check_handle(L);
  uint64_t safe = lethe_epoch_safe(p->m);
  if (safe > 1) return reclaim_below(L, p, safe);
  luaL_pushfail(L);
  lua_pushliteral(L, "nothing can be freed yet: the safe epoch is 1");
  lua_pushliteral(L, "blocked");
  return 3;
}

/* safe(handle): the safe epoch, for load_epochs */
static int l_safe(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)lethe_epoch_safe(check_handle(L)->m));
  return 1;
}

/* reclaim_below(handle, safe), for try_reclaim */
static int l_reclaim_below(lua_State *L) {
  struct epoch_port *p = check_handle(L);
  return reclaim_below(L, p, (uint64_t)luaL_checkinteger(L, 2));
}

static int l_advance_every(lua_State *L) {
  struct epoch_port *p = check_handle(L);
  lua_Integer n = luaL_checkinteger(L, 2);
  luaL_argcheck(L, n >= 1 && n <= UINT32_MAX, 2, "a whole number of calls from 1 expected");
  lua_pushboolean(L, lethe_epoch_advance_every(p->rec, (uint32_t)n));
  return 1;
}

/* ---- looking --------------------------------------------------------------------------------- */

static int l_pinned(lua_State *L) {
  struct epoch_port *p = check_handle(L);
  lua_pushboolean(L, epoch_pinned(L, p) != NULL);
  return 1;
}

static int l_neutralized(lua_State *L) {
  struct epoch_port *p = check_handle(L);
  struct epoch_section *s = epoch_pinned(L, p);
  lua_pushboolean(L, s && lethe_epoch_neutralized(s->rec));
  return 1;
}

static void add_held(struct lethe_epoch_rec *r, void *ud) {
  ((struct sum *)ud)->n += lethe_epoch_held(r);
}

static int l_limbo(lua_State *L) {
  struct sum sum = {0};
  epoch_each_record(check_handle(L), add_held, &sum);
  lua_pushinteger(L, (lua_Integer)sum.n);
  return 1;
}

/* ---- making ---------------------------------------------------------------------------------- */

/* register(manager) -> Handle | nil, m, code. A record that calls on shared structures took is
 * taken over. */
static int l_register(lua_State *L) {
  lethe_safepoint(L);
  epoch_check_manager(L, 1);
  struct lethe_box *b = lethe_box_new(L, &epoch_handle_class, EPOCH_CACHED);
  struct epoch_port *p = epoch_check_manager(L, 1); /* a finalizer may have closed it */
  if (p->handled) return lethe_fail(L, LETHE_EREGISTERED);
  int rc = epoch_attend(p);
  if (rc) {
    lethe_settle(L);
    if (rc != LETHE_EFULL) return lethe_fail(L, rc);
    return lethe_failf(L, rc, "as many threads as the epoch manager's max_threads are registered");
  }
  p->refs++;
  p->handled = true;
  lethe_box_hold(L, b, p);
  return 1;
}

static const luaL_Reg handle_methods[] = {{"retire", l_retire},
                                          {"reclaim", l_reclaim},
                                          {"advance_every", l_advance_every},
                                          {"pinned", l_pinned},
                                          {"neutralized", l_neutralized},
                                          {"limbo", l_limbo},
                                          {"unregister", lethe_close},
                                          {NULL, NULL}};

const struct lethe_class epoch_handle_class = {.name = "lethe.epoch.Handle",
                                               .end = end_handle,
                                               .leaks = true,
                                               .hot = true,
                                               .methods = handle_methods};

void epoch_open_handle(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"register", l_register}, {"safe", l_safe}, {"reclaim_below", l_reclaim_below}, {NULL, NULL}};
  lethe_class(L, &epoch_handle_class);
  luaL_setfuncs(L, functions, 0);
}
