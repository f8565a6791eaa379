/* SPDX-License-Identifier: MIT
 * Events on their way from a tracker to on_event: queued from whatever thread, delivered at the end
 * of an engine call, or of the turn of the loop that the wake-up caused. on_event runs as a task,
 * so that it may wait. */
#include <string.h>

#include "quota_parts.h"

struct queued {
  struct lethe_list node;
  struct lethe_quota_event event;
};

const char *const quota_levels[] = {"normal", "soft", "high", "critical"};
const char *const quota_reasons[] = {"max", "account", "manual"};
const char *const quota_outcomes[] = {"complete", "stuck", "manual"};

/* ---- queueing -------------------------------------------------------------------------------- */

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

/* The turn that runs this settles when it ends; so there is nothing to do here but to wake it. */
void quota_events_woken(struct lethe_message *m, bool closed) {
  struct port *p = lethe_container_of(m, struct port, wake);
  (void)closed;
  pthread_mutex_lock(&p->lock);
  p->woken = false;
  pthread_mutex_unlock(&p->lock);
}

void quota_collected(struct port *p, const char *what, uint64_t account, const char *name,
                     int64_t bytes) {
  struct lethe_quota_event e = {.type = LETHE_QUOTA_COLLECTED, .account = account, .bytes = bytes};
  strncpy(e.message, what, sizeof e.message - 1);
  strncpy(e.name, name, sizeof e.name - 1);
  lethe_quota_emit(p->t, &e);
}

/* collected(participation, what, bytes): the same, for an object made in Lua that has a
 * participation */
static int l_collected(lua_State *L) {
  struct participation *p = lethe_check(L, 1, &quota_participation_class)->what;
  quota_collected(p->port, luaL_checkstring(L, 2), lethe_quota_handle_account(&p->handle),
                  quota_name_text(p->name), luaL_checkinteger(L, 3));
  return 0;
}

bool quota_events_pending(struct lethe_settler *self) {
  struct port *p = lethe_container_of(self, struct port, settler);
  pthread_mutex_lock(&p->lock);
  bool any = !lethe_list_empty(&p->events);
  pthread_mutex_unlock(&p->lock);
  return any;
}

static struct queued *next_event(struct lethe_list *events) {
  struct lethe_list *node = lethe_list_shift(events);
  return node ? lethe_container_of(node, struct queued, node) : NULL;
}

void quota_events_drop(struct port *p) {
  struct queued *q;
  while ((q = next_event(&p->events)) != NULL) lethe_free(&lethe_alloc_libc, q, sizeof *q);
}

/* ---- as a table ------------------------------------------------------------------------------ */

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

static void set_stuck(lua_State *L, struct port *p, const struct lethe_quota_event *e) {
  set_string(L, "reason", quota_reasons[e->reason]);
  set_integer(L, "goal", e->goal);
  quota_push_top(L, p, 10);
  lua_setfield(L, -2, "top");
}

static void set_reclaim_stop(lua_State *L, const struct lethe_quota_event *e) {
  set_string(L, "outcome", quota_outcomes[e->outcome]);
  set_string(L, "reason", quota_reasons[e->reason]);
  set_integer(L, "freed", e->bytes);
  set_integer(L, "victims", e->victims);
  set_number(L, "seconds", e->value);
}

static void set_victim(lua_State *L, const struct lethe_quota_event *e) {
  set_string(L, "reason", quota_reasons[e->reason]);
  set_integer(L, "freed", e->bytes);
  set_number(L, "score", e->value);
}

static void set_reconfigured(lua_State *L, struct port *p) {
  struct lethe_quota_stats s;
  lethe_quota_read_stats(p->t, &s);
  set_integer(L, "max", s.max);
  set_integer(L, "low_water", s.low_water);
}

/* The fields of each type, on the table on top. */
static void set_fields(lua_State *L, struct port *p, const struct lethe_quota_event *e) {
  static const char *const types[] = {"reclaim_start", "reclaim_stop",     "victim",
                                      "policy_failed", "participant_lost", "over_release",
                                      "stuck",         "reconfigured",     "pressure",
                                      "not_freed",     "collected"};
  set_string(L, "type", types[e->type]);
  if (e->account) set_integer(L, "account", (int64_t)e->account);
  if (e->name[0]) set_string(L, "name", e->name);
  if (e->type != LETHE_QUOTA_COLLECTED) set_integer(L, "used", e->used);
  switch (e->type) {
  case LETHE_QUOTA_RECLAIM_START:
    set_string(L, "reason", quota_reasons[e->reason]);
    set_integer(L, "goal", e->goal);
    break;
  case LETHE_QUOTA_RECLAIM_STOP:
    set_reclaim_stop(L, e);
    break;
  case LETHE_QUOTA_VICTIM:
    set_victim(L, e);
    break;
  case LETHE_QUOTA_POLICY_FAILED:
    set_string(L, "message", e->message);
    break;
  case LETHE_QUOTA_PARTICIPANT_LOST:
  case LETHE_QUOTA_OVER_RELEASE:
  case LETHE_QUOTA_NOT_FREED:
    set_integer(L, "bytes", e->bytes);
    break;
  case LETHE_QUOTA_STUCK:
    set_stuck(L, p, e);
    break;
  case LETHE_QUOTA_RECONFIGURED:
    set_reconfigured(L, p);
    break;
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

/* ---- delivering ------------------------------------------------------------------------------ */

/* (port, event): upcalls.event(loop, on_event, table) */
static int call_on_event(lua_State *L) {
  struct port *p = lua_touserdata(L, 1);
  quota_push_upcall(L, "event");
  quota_push_loop(L, p);
  lua_rawgeti(L, LUA_REGISTRYINDEX, p->on_event);
  lua_createtable(L, 0, 8);
  set_fields(L, p, lua_touserdata(L, 2));
  lua_call(L, 3, 0);
  return 0;
}

/* on_event may hold on to whatever holds on to the port. */
static void forget_listener(struct port *p, lua_State *L) {
  if (!p->closed || p->on_event == LUA_NOREF || quota_events_pending(&p->settler)) return;
  luaL_unref(L, LUA_REGISTRYINDEX, p->on_event);
  p->on_event = LUA_NOREF;
}

void quota_events_close(lua_State *L, struct port *p) {
  p->closed = true;
  forget_listener(p, L);
}

/* What there is now; what on_event causes is for the next round of settling. */
void quota_events_deliver(struct lethe_settler *self, lua_State *L) {
  struct port *p = lethe_container_of(self, struct port, settler);
  struct lethe_list events;
  struct queued *q;
  pthread_mutex_lock(&p->lock);
  lethe_list_move(&events, &p->events);
  pthread_mutex_unlock(&p->lock);
  p->refs++; /* the callback may close the last box */
  while ((q = next_event(&events)) != NULL) {
    struct lethe_quota_event event = q->event;
    lethe_free(&lethe_alloc_libc, q, sizeof *q);
    if (p->on_event == LUA_NOREF) continue;
    lua_pushcfunction(L, call_on_event);
    lua_pushlightuserdata(L, p);
    lua_pushlightuserdata(L, &event);
    lethe_call_reported(L, 2, 0);
  }
  forget_listener(p, L);
  quota_port_put(p);
}

void quota_port_listen(lua_State *L, struct port *p, int fn) {
  lua_pushvalue(L, fn);
  p->on_event = luaL_ref(L, LUA_REGISTRYINDEX);
  lethe_quota_listen(p->t, on_tracker_event, p);
}

void quota_open_events(lua_State *L) {
  static const luaL_Reg functions[] = {{"collected", l_collected}, {NULL, NULL}};
  luaL_setfuncs(L, functions, 0);
}
