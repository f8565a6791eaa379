/* SPDX-License-Identifier: MIT
 * How a pass asks the participants of a Lua state. get_oldest is called right here; reclaim, which
 * may wait and so is a task, and word of a collapse go through functions that lua/lethe/quota.lua
 * sets. */
#include <math.h>

#include "quota_parts.h"

void quota_push_upcall(lua_State *L, const char *name) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &quota_key_upcalls);
  lua_getfield(L, -1, name);
  lua_remove(L, -2);
}

/* upcalls{ reclaim = fn, collapsed = fn, event = fn } */
static int l_upcalls(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_pushvalue(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &quota_key_upcalls);
  return 0;
}

/* ---- ages ------------------------------------------------------------------------------------ */

/* The participant's object, pushed, or nil if it is gone; *held: somebody holds a participation. */
static bool push_object(lua_State *L, struct port *p, uint64_t participant, bool *held) {
  quota_push_holder(L, p, participant);
  *held = lua_istable(L, -1);
  if (!*held) return false;
  lua_rawgeti(L, -1, 1);
  lua_remove(L, -2);
  return !lua_isnil(L, -1);
}

/* (object) -> age | nil */
static int call_oldest(lua_State *L) {
  lua_getfield(L, 1, "get_oldest");
  lua_pushvalue(L, 1);
  lua_call(L, 1, 1);
  if (!lua_isnil(L, -1) && lua_type(L, -1) != LUA_TNUMBER)
    luaL_error(L, "get_oldest must return a number or nil (got %s)", luaL_typename(L, -1));
  if (lua_type(L, -1) == LUA_TNUMBER && isnan(lua_tonumber(L, -1)))
    luaL_error(L, "get_oldest must return a number or nil (got NaN)");
  return 1;
}

static int oldest(void *member_ud, uint64_t participant, void *ud, double *age) {
  struct port *p = member_ud;
  lua_State *L = p->state->turning;
  int top = lua_gettop(L), said = 0;
  bool held;
  (void)ud;
  if (!lua_checkstack(L, LUA_MINSTACK)) return 0;
  if (push_object(L, p, participant, &held)) {
    lua_pushcfunction(L, call_oldest);
    lua_insert(L, -2);
    p->state->no_wait++;
    if (!lethe_call_reported(L, 1, 1))
      said = -1;
    else if ((said = lua_type(L, -1) == LUA_TNUMBER) != 0)
      *age = lua_tonumber(L, -1);
    p->state->no_wait--;
  } else if (held) {
    said = -1; /* held weakly, and collected */
  }
  lua_settop(L, top);
  return said;
}

/* ---- reclaim --------------------------------------------------------------------------------- */

static void end_call(struct lethe_state *s, void *what, bool closed) {
  (void)s;
  (void)closed;
  lethe_quota_answer(what, false);
}

static const struct lethe_class call_class = {.name = "lethe.quota.Call", .end = end_call};

/* upcalls.reclaim(loop, object, call, goal, older_than, deadline, reason) */
static int call_reclaim(lua_State *L) {
  struct port *p = lua_touserdata(L, 1);
  const struct lethe_quota_request *r = lua_touserdata(L, 2);
  struct lethe_quota_call **call = lua_touserdata(L, 3);
  uint64_t *participant = lua_touserdata(L, 4);
  bool held;
  quota_push_upcall(L, "reclaim");
  quota_push_loop(L, p);
  push_object(L, p, *participant, &held);
  struct lethe_box *b = lethe_box_new(L, &call_class, 0);
  lethe_box_hold(L, b, *call);
  *call = NULL; /* the object answers for it now */
  lua_pushinteger(L, r->goal);
  if (isnan(r->older_than))
    lua_pushnil(L);
  else
    lua_pushnumber(L, r->older_than);
  lua_pushnumber(L, r->deadline);
  lua_pushstring(L, quota_reasons[r->reason]);
  lua_call(L, 7, 0);
  return 0;
}

static void reclaim(void *member_ud, uint64_t participant, void *ud,
                    const struct lethe_quota_request *request, struct lethe_quota_call *call) {
  struct port *p = member_ud;
  lua_State *L = p->state->turning;
  (void)ud;
  p->refs++;
  lethe_settle(
      L); /* that a pass began is told before it asks; whoever hears may close everything */
  if (lethe_quota_call_stands(call) && lua_checkstack(L, LUA_MINSTACK)) {
    lua_pushcfunction(L, call_reclaim);
    lua_pushlightuserdata(L, p);
    lua_pushlightuserdata(L, (void *)request);
    lua_pushlightuserdata(L, &call);
    lua_pushlightuserdata(L, &participant);
    lethe_call_reported(L, 4, 0);
  }
  quota_port_put(p);
  if (call) lethe_quota_answer(call, false); /* no memory to ask: as if it had failed */
}

/* answer(call, stays) */
static int l_answer(lua_State *L) {
  struct lethe_box *b = lethe_test(L, 1, &call_class);
  luaL_argexpected(L, b != NULL, 1, call_class.name);
  struct lethe_quota_call *call = b->what;
  if (!call) return 0;
  b->what = NULL; /* from now on there is nothing for its end to answer */
  lethe_registry_remove(&lethe_state(L)->objects, b->id);
  b->id = 0;
  lethe_quota_answer(call, lua_toboolean(L, 2));
  lethe_settle(L);
  return 0;
}

/* ---- collapses ------------------------------------------------------------------------------- */

/* A condemned participant whose object still lives. It ends with the object, and keeps the port. */
struct grave {
  struct port *port;
  uint64_t participant;
};

static void end_grave(struct lethe_state *s, void *what, bool closed) {
  struct grave *g = what;
  (void)s;
  (void)closed;
  lethe_quota_buried(g->port->t, g->participant);
  quota_port_put(g->port);
  lethe_free(&lethe_alloc_libc, g, sizeof *g);
}

static const struct lethe_class grave_class = {.name = "lethe.quota.Grave", .end = end_grave};

/* (port, participant) -> Grave */
static int new_grave(lua_State *L) {
  struct lethe_box *b = lethe_box_new(L, &grave_class, 0);
  struct grave *g = lethe_malloc(&lethe_alloc_libc, sizeof *g);
  if (!g) return lethe_nomemory(L);
  *g = (struct grave){lua_touserdata(L, 1), *(uint64_t *)lua_touserdata(L, 2)};
  g->port->refs++;
  lethe_box_hold(L, b, g);
  lethe_quota_watch(g->port->t, g->participant);
  return 1;
}

/* upcalls.collapsed(holder, Grave): closes the Grave, or leaves it to die with the object */
static int call_collapsed(lua_State *L) {
  quota_push_upcall(L, "collapsed");
  quota_push_holder(L, lua_touserdata(L, 1), *(uint64_t *)lua_touserdata(L, 2));
  lua_pushcfunction(L, new_grave);
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_call(L, 2, 1);
  lua_call(L, 2, 0);
  return 0;
}

/* Without memory for a watch the bytes count as freed. */
static void collapsed(void *member_ud, uint64_t participant, void *ud) {
  struct port *p = member_ud;
  lua_State *L = p->state->turning;
  bool watched = false;
  if (ud) return; /* a state's allocator: its bytes are watched by itself */
  if (lua_checkstack(L, LUA_MINSTACK)) {
    lua_pushcfunction(L, call_collapsed);
    lua_pushlightuserdata(L, p);
    lua_pushlightuserdata(L, &participant);
    watched = lethe_call_reported(L, 2, 0);
  }
  if (!watched) lethe_quota_buried(p->t, participant);
}

const struct lethe_quota_member_ops quota_member_ops = {oldest, reclaim, collapsed};

void quota_open_upcalls(lua_State *L) {
  static const luaL_Reg functions[] = {{"answer", l_answer}, {"upcalls", l_upcalls}, {NULL, NULL}};
  lethe_class(L, &call_class);
  lethe_class(L, &grave_class);
  luaL_setfuncs(L, functions, 0);
}
