/* SPDX-License-Identifier: MIT
 * Ports: a Lua state's place on a tracker, made with the first object of that tracker in the state
 * and gone with the last. Beside each stand the Lua values that belong to it: what its
 * participations keep, its Tracker, its Loop. */
#include "quota_parts.h"

char quota_key_holders, quota_key_upcalls, quota_key_trackers, quota_key_ports, quota_key_loops;

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

static struct port *port_new(lua_State *L, struct lethe_quota *t, struct lethe_loop *loop) {
  struct port *p = lethe_zalloc(&lethe_alloc_libc, sizeof *p);
  if (!p) return NULL;
  p->state = lethe_state(L);
  if (lethe_quota_member_new(&p->member, t, loop, &quota_member_ops, p) != LETHE_OK) {
    lethe_free(&lethe_alloc_libc, p, sizeof *p);
    return NULL;
  }
  p->t = t;
  p->loop = lethe_loop_get(loop);
  p->refs = 1;
  p->on_event = LUA_NOREF;
  p->wake.run = quota_events_woken;
  p->settler =
      (struct lethe_settler){p->state->settlers, quota_events_pending, quota_events_deliver};
  p->state->settlers = &p->settler;
  pthread_mutex_init(&p->lock, NULL);
  lethe_list_init(&p->events);
  return p;
}

struct port *quota_port(lua_State *L, struct lethe_quota *t, struct lethe_loop *loop) {
  struct port **first = ports_of(L);
  for (struct port *p = *first; p; p = p->next)
    if (p->t == t) {
      p->refs++;
      return p;
    }
  struct port *p = port_new(L, t, loop);
  if (!p) return NULL;
  p->next = *first;
  *first = p;
  return p;
}

/* ---- the values beside a port ---------------------------------------------------------------- */

/* registry[key][p] */
static void push_beside(lua_State *L, char *key, struct port *p) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, key);
  lua_rawgetp(L, -1, p);
  lua_remove(L, -2);
}

/* registry[key][p] = the value at stack index i. May raise, not for nil. */
static void set_beside(lua_State *L, char *key, struct port *p, int i) {
  lua_pushvalue(L, i);
  lua_rawgetp(L, LUA_REGISTRYINDEX, key);
  lua_insert(L, -2);
  lua_rawsetp(L, -2, p);
  lua_pop(L, 1);
}

void quota_push_loop(lua_State *L, struct port *p) { push_beside(L, &quota_key_loops, p); }

void quota_port_loop(lua_State *L, struct port *p, int i) { set_beside(L, &quota_key_loops, p, i); }

static void new_weak_table(lua_State *L) {
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
}

void quota_hold(lua_State *L, struct port *p, uint64_t participant, int holder) {
  holder = lua_absindex(L, holder);
  push_beside(L, &quota_key_holders, p);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    new_weak_table(L);
    set_beside(L, &quota_key_holders, p, -1);
  }
  lua_pushvalue(L, holder);
  lua_rawseti(L, -2, (lua_Integer)participant);
  lua_pop(L, 1);
}

void quota_push_holder(lua_State *L, struct port *p, uint64_t participant) {
  push_beside(L, &quota_key_holders, p);
  if (lua_isnil(L, -1)) return;
  lua_rawgeti(L, -1, (lua_Integer)participant);
  lua_remove(L, -2);
}

/* loop_of(tracker | account | participation) -> Loop | nil */
static int l_loop_of(lua_State *L) {
  struct port *p = quota_port_of(L, 1);
  if (p)
    quota_push_loop(L, p);
  else
    lua_pushnil(L);
  return 1;
}

/* ---- the end --------------------------------------------------------------------------------- */

static void unlink_port(struct port *p) {
  lua_State *L = p->state->main;
  struct port **link = ports_of(L);
  struct lethe_settler **settler = &p->state->settlers;
  while (*link != p) link = &(*link)->next;
  *link = p->next;
  while (*settler != &p->settler) settler = &(*settler)->next;
  *settler = p->settler.next;
  lua_pushnil(L);
  set_beside(L, &quota_key_loops, p, -1);
  set_beside(L, &quota_key_holders, p, -1);
  lua_pop(L, 1);
}

static void free_port(struct port *p) {
  quota_events_drop(p);
  pthread_mutex_destroy(&p->lock);
  lethe_loop_put(p->loop);
  lethe_free(&lethe_alloc_libc, p, sizeof *p);
}

/* A wake-up that is still on its way must arrive first. */
static void free_on_wake(struct lethe_message *m, bool closed) {
  (void)closed;
  free_port(lethe_container_of(m, struct port, wake));
}

static void forget_watchers(struct port *p) {
  struct quota_watcher *w;
  while ((w = p->watchers) != NULL) {
    p->watchers = w->next;
    w->gone(w);
  }
}

void quota_port_put(struct port *p) {
  if (--p->refs > 0) return;
  forget_watchers(p);
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

/* ---- opening --------------------------------------------------------------------------------- */

static void open_table(lua_State *L, char *key, bool weak) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, key) == LUA_TNIL) {
    if (weak)
      new_weak_table(L);
    else
      lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, key);
  }
  lua_pop(L, 1);
}

void quota_open_port(lua_State *L) {
  static const luaL_Reg functions[] = {{"loop_of", l_loop_of}, {NULL, NULL}};
  open_table(L, &quota_key_holders, false);
  open_table(L, &quota_key_loops, false);
  open_table(L, &quota_key_trackers, true);
  ports_of(L);
  luaL_setfuncs(L, functions, 0);
}
