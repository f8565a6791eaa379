/* SPDX-License-Identifier: MIT
 * Ports: where a tracker meets a Lua state. Upcalls from a pass arrive here and reach Lua through the
 * two functions that lua/lethe/quota.lua sets (reclaim, which is a task there, and collapsed);
 * get_oldest is called directly. Events are queued, from whatever thread, and delivered at the end of
 * an engine call or on the loop's next turn. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quota.h"
#include "quota_keys.h"

char quota_key_holders, quota_key_upcalls, quota_key_trackers, quota_key_ports, quota_key_loops;

const char *const quota_levels[] = {"normal", "soft", "high", "critical"};
const char *const quota_reasons[] = {"max", "account", "manual"};
const char *const quota_outcomes[] = {"complete", "stuck", "manual"};

/* ---- being asked ------------------------------------------------------------------------------ */

/* holder.obj of a participant, where `holder` is what its participations keep; nil if it is gone. */
static bool push_object(lua_State *L, uint64_t participant, bool *held) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &quota_key_holders);
  *held = lua_rawgeti(L, -1, (lua_Integer)participant) == LUA_TTABLE;
  lua_remove(L, -2);
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
  if (push_object(L, participant, &held)) {
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

static void end_call(struct lethe_state *s, void *what, bool closed) {
  (void)s;
  (void)closed;
  lethe_quota_answer(what, false);
}

static const struct lethe_class call_class = {.name = "lethe.quota.Call", .end = end_call};

/* The Loop object that the port was made with, or nil: the default. */
static void push_loop(lua_State *L, struct port *p) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &quota_key_loops);
  lua_rawgetp(L, -1, p);
  lua_remove(L, -2);
}

/* loop_of(tracker | account | participation) -> Loop | nil */
static int l_loop_of(lua_State *L) {
  struct port *p = quota_port_of(L, 1);
  if (p)
    push_loop(L, p);
  else
    lua_pushnil(L);
  return 1;
}

/* upcalls.reclaim(loop, object, call, goal, older_than, deadline, reason) */
static int call_reclaim(lua_State *L) {
  struct port *p = lua_touserdata(L, 1);
  const struct lethe_quota_request *r = lua_touserdata(L, 2);
  struct lethe_quota_call **call = lua_touserdata(L, 3);
  lua_Integer participant = lua_tointeger(L, 4);
  bool held;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &quota_key_upcalls);
  lua_getfield(L, -1, "reclaim");
  push_loop(L, p);
  push_object(L, (uint64_t)participant, &held);
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
  if (lua_checkstack(L, LUA_MINSTACK)) {
    lua_pushcfunction(L, call_reclaim);
    lua_pushlightuserdata(L, p);
    lua_pushlightuserdata(L, (void *)request);
    lua_pushlightuserdata(L, &call);
    lua_pushinteger(L, (lua_Integer)participant);
    lethe_call_reported(L, 4, 0);
  }
  if (call) lethe_quota_answer(call, false); /* no memory to ask: as if it had failed */
}

/* upcalls.collapsed(port, participant) */
static int call_collapsed(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &quota_key_upcalls);
  lua_getfield(L, -1, "collapsed");
  lua_pushlightuserdata(L, lua_touserdata(L, 1));
  lua_pushvalue(L, 2);
  lua_call(L, 2, 0);
  return 0;
}

static void collapsed(void *member_ud, uint64_t participant, void *ud) {
  struct port *p = member_ud;
  lua_State *L = p->state->turning;
  (void)ud;
  if (!lua_checkstack(L, LUA_MINSTACK)) return;
  lua_pushcfunction(L, call_collapsed);
  lua_pushlightuserdata(L, p);
  lua_pushinteger(L, (lua_Integer)participant);
  lethe_call_reported(L, 2, 0);
}

static const struct lethe_quota_member_ops member_ops = {oldest, reclaim, collapsed};

/* answer(call, stays) */
static int l_answer(lua_State *L) {
  struct lethe_box *b = lethe_test(L, 1, &call_class);
  luaL_argexpected(L, b != NULL, 1, call_class.name);
  struct lethe_quota_call *call = b->what;
  if (!call) return 0;
  b->what = NULL; /* its slot goes with the box's death note, which finds nothing to end */
  lethe_registry_remove(&lethe_state(L)->objects, b->id);
  b->id = 0;
  lethe_quota_answer(call, lua_toboolean(L, 2));
  lethe_settle(L);
  return 0;
}

/* ---- graves ----------------------------------------------------------------------------------- */

/* Stands beside a condemned participant's object: when it ends, so has the object. */
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

/* grave(port, participant) -> an object whose end says that the condemned bytes are gone */
static int l_grave(lua_State *L) {
  struct port *p = lua_touserdata(L, 1);
  lua_Integer participant = luaL_checkinteger(L, 2);
  struct lethe_box *b = lethe_box_new(L, &grave_class, 0);
  struct grave *g = lethe_malloc(&lethe_alloc_libc, sizeof *g);
  if (!g) return luaL_error(L, "not enough memory");
  *g = (struct grave){p, (uint64_t)participant};
  p->refs++;
  lethe_box_hold(L, b, g);
  return 1;
}

/* ---- events ----------------------------------------------------------------------------------- */

struct queued {
  struct lethe_list node;
  struct lethe_quota_event event;
};

static void on_tracker_event(void *ud, const struct lethe_quota_event *e) {
  struct port *p = ud;
  struct queued *q = lethe_malloc(&lethe_alloc_libc, sizeof *q);
  if (!q) return; /* an event without memory is lost */
  q->event = *e;
  pthread_mutex_lock(&p->lock);
  lethe_list_push(&p->events, &q->node);
  if (!p->woken) p->woken = lethe_loop_post(p->loop, &p->wake);
  pthread_mutex_unlock(&p->lock);
}

void quota_collected(struct port *p, const char *what, const char *name, int64_t bytes) {
  struct lethe_quota_event e = {.type = LETHE_QUOTA_COLLECTED, .bytes = bytes};
  strncpy(e.message, what, sizeof e.message - 1);
  strncpy(e.name, name, sizeof e.name - 1);
  lethe_quota_emit(p->t, &e);
}

/* The turn that runs this settles when it ends; so there is nothing to do here but to wake it. */
static void on_wake(struct lethe_message *m, bool closed) {
  struct port *p = lethe_container_of(m, struct port, wake);
  (void)closed;
  pthread_mutex_lock(&p->lock);
  p->woken = false;
  pthread_mutex_unlock(&p->lock);
}

static bool pending(struct lethe_settler *self) {
  struct port *p = lethe_container_of(self, struct port, settler);
  pthread_mutex_lock(&p->lock);
  bool any = !lethe_list_empty(&p->events);
  pthread_mutex_unlock(&p->lock);
  return any;
}

static struct queued *next_event(struct port *p) {
  pthread_mutex_lock(&p->lock);
  struct lethe_list *node = lethe_list_shift(&p->events);
  pthread_mutex_unlock(&p->lock);
  return node ? lethe_container_of(node, struct queued, node) : NULL;
}

static void set_integer(lua_State *L, const char *field, int64_t n) {
  lua_pushinteger(L, n);
  lua_setfield(L, -2, field);
}

static void set_number(lua_State *L, const char *field, double n) {
  lua_pushnumber(L, n);
  lua_setfield(L, -2, field);
}

static void set_string(lua_State *L, const char *field, const char *s) {
  lua_pushstring(L, s);
  lua_setfield(L, -2, field);
}

static void set_reclaim_stop(lua_State *L, const struct lethe_quota_event *e) {
  set_string(L, "outcome", quota_outcomes[e->outcome]);
  set_string(L, "reason", quota_reasons[e->reason]);
  set_integer(L, "freed", e->bytes);
  set_integer(L, "victims", e->victims);
  set_number(L, "seconds", e->value);
}

static void set_victim(lua_State *L, const struct lethe_quota_event *e) {
  set_integer(L, "freed", e->bytes);
  set_number(L, "score", e->value);
  set_string(L, "reason", quota_reasons[e->reason]);
}

/* The fields of each type, on the table on top. */
static void set_fields(lua_State *L, struct port *p, const struct lethe_quota_event *e) {
  static const char *const types[] = {
      "reclaim_start", "reclaim_stop", "victim",       "policy_failed", "participant_lost",
      "over_release",  "stuck",        "reconfigured", "pressure",      "not_freed",
      "collected"};
  set_string(L, "type", types[e->type]);
  if (e->account) set_integer(L, "account", (int64_t)e->account);
  if (e->name[0]) set_string(L, "name", e->name);
  if (e->type != LETHE_QUOTA_COLLECTED) set_integer(L, "used", e->used);
  switch (e->type) {
    case LETHE_QUOTA_RECLAIM_START:
      set_string(L, "reason", quota_reasons[e->reason]);
      set_integer(L, "goal", e->goal);
      break;
    case LETHE_QUOTA_RECLAIM_STOP: set_reclaim_stop(L, e); break;
    case LETHE_QUOTA_VICTIM: set_victim(L, e); break;
    case LETHE_QUOTA_POLICY_FAILED: set_string(L, "message", e->message); break;
    case LETHE_QUOTA_PARTICIPANT_LOST:
    case LETHE_QUOTA_OVER_RELEASE:
    case LETHE_QUOTA_NOT_FREED: set_integer(L, "bytes", e->bytes); break;
    case LETHE_QUOTA_STUCK:
      set_integer(L, "goal", e->goal);
      quota_push_top(L, p, 10);
      lua_setfield(L, -2, "top");
      break;
    case LETHE_QUOTA_RECONFIGURED: break;
    case LETHE_QUOTA_PRESSURE:
      set_string(L, "level", quota_levels[e->level]);
      set_number(L, "value", e->value);
      break;
    case LETHE_QUOTA_COLLECTED:
      set_string(L, "what", e->message);
      set_string(L, "name", e->name);
      set_integer(L, "bytes", e->bytes);
      break;
  }
}

/* (port, event): on_event(table) */
static int call_on_event(lua_State *L) {
  struct port *p = lua_touserdata(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, p->on_event);
  lua_createtable(L, 0, 8);
  set_fields(L, p, lua_touserdata(L, 2));
  lua_call(L, 1, 0);
  return 0;
}

static void deliver(struct lethe_settler *self, lua_State *L) {
  struct port *p = lethe_container_of(self, struct port, settler);
  struct queued *q;
  p->refs++; /* the callback may close the last box */
  while ((q = next_event(p)) != NULL) {
    struct lethe_quota_event event = q->event;
    lethe_free(&lethe_alloc_libc, q, sizeof *q);
    if (p->on_event == LUA_NOREF) continue;
    lua_pushcfunction(L, call_on_event);
    lua_pushlightuserdata(L, p);
    lua_pushlightuserdata(L, &event);
    p->state->no_wait++;
    lethe_call_reported(L, 2, 0);
    p->state->no_wait--;
  }
  quota_port_put(p);
}

/* Remembers the Loop object at stack index i for loop_of. May raise. */
void quota_port_loop(lua_State *L, struct port *p, int i) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &quota_key_loops);
  lua_pushvalue(L, i);
  lua_rawsetp(L, -2, p);
  lua_pop(L, 1);
}

void quota_port_listen(lua_State *L, struct port *p, int fn) {
  lua_pushvalue(L, fn);
  p->on_event = luaL_ref(L, LUA_REGISTRYINDEX);
  lethe_quota_listen(p->t, on_tracker_event, p);
}

/* ---- ports ------------------------------------------------------------------------------------ */

static struct port **ports_of(lua_State *L) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &quota_key_ports) != LUA_TUSERDATA) {
    lua_pop(L, 1);
    struct port **first = lua_newuserdatauv(L, sizeof *first, 0);
    *first = NULL;
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &quota_key_ports);
  }
  struct port **first = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return first;
}

struct port *quota_port(lua_State *L, struct lethe_quota *t, struct lethe_loop *loop) {
  struct port **first = ports_of(L);
  for (struct port *p = *first; p; p = p->next)
    if (p->t == t) {
      p->refs++;
      return p;
    }
  struct port *p = lethe_zalloc(&lethe_alloc_libc, sizeof *p);
  if (!p) return NULL;
  p->state = lethe_state(L);
  if (lethe_quota_member_new(&p->member, t, loop, &member_ops, p) != LETHE_OK) {
    lethe_free(&lethe_alloc_libc, p, sizeof *p);
    return NULL;
  }
  p->t = t;
  p->loop = lethe_loop_get(loop);
  p->refs = 1;
  p->on_event = LUA_NOREF;
  p->wake.run = on_wake;
  p->settler = (struct lethe_settler){p->state->settlers, pending, deliver};
  p->state->settlers = &p->settler;
  pthread_mutex_init(&p->lock, NULL);
  lethe_list_init(&p->events);
  p->next = *first;
  *first = p;
  return p;
}

static void unlink_port(struct port *p) {
  struct port **link = ports_of(p->state->main);
  struct lethe_settler **settler = &p->state->settlers;
  while (*link != p) link = &(*link)->next;
  *link = p->next;
  while (*settler != &p->settler) settler = &(*settler)->next;
  *settler = p->settler.next;
  lua_State *L = p->state->main;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &quota_key_loops);
  lua_pushnil(L);
  lua_rawsetp(L, -2, p);
  lua_pop(L, 1);
}

/* A wake-up that is still on its way must arrive first. */
static void free_port(struct port *p) {
  struct lethe_list *node;
  while ((node = lethe_list_shift(&p->events)) != NULL)
    lethe_free(&lethe_alloc_libc, lethe_container_of(node, struct queued, node),
               sizeof(struct queued));
  pthread_mutex_destroy(&p->lock);
  lethe_loop_put(p->loop);
  lethe_free(&lethe_alloc_libc, p, sizeof *p);
}

static void free_on_wake(struct lethe_message *m, bool closed) {
  (void)closed;
  free_port(lethe_container_of(m, struct port, wake));
}

void quota_port_put(struct port *p) {
  if (--p->refs > 0) return;
  unlink_port(p);
  if (p->on_event != LUA_NOREF) {
    lethe_quota_mute(p->t);
    luaL_unref(p->state->main, LUA_REGISTRYINDEX, p->on_event);
  }
  lethe_quota_member_delete(p->member);
  if (p->woken)
    p->wake.run = free_on_wake;
  else
    free_port(p);
}

/* ---- opening ---------------------------------------------------------------------------------- */

/* upcalls{ reclaim = fn, collapsed = fn }: where a pass finds the Lua side */
static int l_upcalls(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_pushvalue(L, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &quota_key_upcalls);
  return 0;
}

static void weak_table(lua_State *L, char *key) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, key) == LUA_TNIL) {
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, key);
  }
  lua_pop(L, 1);
}

static const luaL_Reg functions[] = {
    {"answer", l_answer},   {"grave", l_grave}, {"upcalls", l_upcalls},
    {"loop_of", l_loop_of}, {NULL, NULL}};

void quota_open_port(lua_State *L) {
  lethe_class(L, &call_class);
  lethe_class(L, &grave_class);
  weak_table(L, &quota_key_holders);
  weak_table(L, &quota_key_trackers);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &quota_key_loops) == LUA_TNIL) {
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &quota_key_loops);
  }
  lua_pop(L, 1);
  ports_of(L);
  luaL_setfuncs(L, functions, 0);
}
