/* SPDX-License-Identifier: MIT
 * Telling lethe.on_error what scripted policies got wrong. It is told when the call of the engine,
 * or the turn of the loop, in which it happened is over; a policy that is gone by then has left a
 * copy. */
#include <stdio.h>
#include <string.h>

#include "evict_script.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

static char key_reports; /* registry: of the state, a userdata */

struct reports {
  struct lethe_settler settler;
  struct lethe_list scripts; /* that have something to report, the oldest first */
};

static const struct lethe_class reports_class;

static struct reports *reports_of(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_reports);
  struct lethe_box *b = lethe_test(L, -1, &reports_class);
  lua_pop(L, 1);
  return b ? b->what : NULL;
}

/* ---- what there is to say -------------------------------------------------------------------- */

/* Of a policy that is gone its strikes are in `left`. */
static unsigned strikes_of(const struct evict_script *s) {
  return s->e ? lethe_evict_script_strikes(s->e) : s->left->strikes;
}

static const struct lethe_evict_failure *failure_of(const struct evict_script *s, unsigned i) {
  return s->e ? lethe_evict_script_failure(s->e, i) : &s->left->failure[i];
}

static void push_message(lua_State *L, const struct evict_script *s,
                         const struct lethe_evict_failure *f, unsigned strike) {
  lua_pushfstring(L, "policy %s failed in %s: %s (strike %d of %d: %s)",
                  s->name[0] ? s->name : "without a name", f->call, f->message, (int)strike,
                  LETHE_EVICT_STRIKES,
                  strike == LETHE_EVICT_STRIKES ? "\"lru\" decides from now on"
                                                : "\"lru\" decides the next eviction");
}

static void push_arguments(lua_State *L, const struct lethe_evict_failure *f) {
  lua_createtable(L, (int)f->nargs, 0);
  for (unsigned i = 0; i < f->nargs; i++) {
    lua_Integer n;
    if (lua_numbertointeger(f->args[i], &n) && (double)n == f->args[i])
      lua_pushinteger(L, n);
    else
      lua_pushnumber(L, f->args[i]);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

static void push_events(lua_State *L, const struct evict_script *s) {
  static const char *const kinds[] = {
      [LETHE_EVICT_EVENT_INSERT] = "insert", [LETHE_EVICT_EVENT_HIT] = "hit",
      [LETHE_EVICT_EVENT_EVICT] = "evict",   [LETHE_EVICT_EVENT_REMOVE] = "remove",
      [LETHE_EVICT_EVENT_REFUSE] = "refuse", [LETHE_EVICT_EVENT_FAIL] = "fail"};
  struct lethe_evict_event now[LETHE_EVICT_EVENTS];
  const struct lethe_evict_event *event = s->e ? now : s->left->event;
  unsigned n = s->e ? lethe_evict_script_events(s->e, now) : s->left->events;
  lua_createtable(L, (int)n, 0);
  for (unsigned i = 0; i < n; i++) {
    lua_createtable(L, 0, 3);
    lua_pushstring(L, kinds[event[i].kind]);
    lua_setfield(L, -2, "type");
    lua_pushinteger(L, (lua_Integer)event[i].at);
    lua_setfield(L, -2, "at");
    if (event[i].handle) {
      lua_pushinteger(L, (lua_Integer)event[i].handle);
      lua_setfield(L, -2, "handle");
    }
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
}

static void push_details(lua_State *L, const struct evict_script *s,
                         const struct lethe_evict_failure *f, unsigned strike) {
  lua_createtable(L, 0, 10);
  lua_pushstring(L, s->name);
  lua_setfield(L, -2, "policy");
  lua_pushstring(L, f->call);
  lua_setfield(L, -2, "call");
  lua_pushstring(L, f->message);
  lua_setfield(L, -2, "message");
  lua_pushstring(L, f->trace);
  lua_setfield(L, -2, "traceback");
  push_arguments(L, f);
  lua_setfield(L, -2, "arguments");
  push_events(L, s);
  lua_setfield(L, -2, "events");
  lua_pushinteger(L, (lua_Integer)strike);
  lua_setfield(L, -2, "strike");
  lua_pushboolean(L, strike == LETHE_EVICT_STRIKES);
  lua_setfield(L, -2, "final");
  lua_pushinteger(L, f->spent);
  lua_setfield(L, -2, "spent");
  lua_pushinteger(L, f->budget);
  lua_setfield(L, -2, "budget");
}

/* ---- telling it ------------------------------------------------------------------------------ */

static bool any(struct lethe_settler *self) {
  const struct reports *r = lethe_container_of(self, struct reports, settler);
  return !lethe_list_empty(&r->scripts);
}

/* One strike for each delivery: what it raises, or does, leaves the others. */
static void deliver(struct lethe_settler *self, lua_State *L) {
  struct reports *r = lethe_container_of(self, struct reports, settler);
  struct evict_script *s = lethe_container_of(r->scripts.next, struct evict_script, node);
  if (s->reported == strikes_of(s)) {
    lethe_list_remove(&s->node);
    if (!s->e) evict_free(s);
    return;
  }
  const struct lethe_evict_failure *f = failure_of(s, s->reported);
  unsigned strike = ++s->reported;
  luaL_checkstack(L, LUA_MINSTACK, NULL);
  push_details(L, s, f, strike);
  push_message(L, s, f, strike);
  lethe_report(L, true);
}

void evict_failed(void *ud) {
  struct evict_script *s = ud;
  s->meter.trace = NULL; /* the next one has a place of its own */
  if (!s->reports || s->host->ended) return;
  if (lethe_list_empty(&s->node)) lethe_list_push(&s->reports->scripts, &s->node);
}

/* ---- ends ------------------------------------------------------------------------------------ */

/* Without memory nobody hears of it. */
void evict_end(void *ud) {
  struct evict_script *s = ud;
  unsigned strikes = lethe_evict_script_strikes(s->e);
  evict_end_lua(s);
  if (!lethe_list_empty(&s->node) && strikes > s->reported && !s->host->ended)
    s->left = lethe_zalloc(mem, sizeof *s->left);
  if (s->left) {
    s->left->strikes = strikes;
    for (unsigned i = 0; i < strikes; i++)
      s->left->failure[i] = *lethe_evict_script_failure(s->e, i);
    s->left->events = lethe_evict_script_events(s->e, s->left->event);
    s->e = NULL;
    return;
  }
  lethe_list_remove(&s->node);
  s->e = NULL;
  evict_free(s);
}

static void end_reports(struct lethe_state *state, void *what, bool closed) {
  struct reports *r = what;
  struct lethe_settler **link = &state->settlers;
  (void)closed;
  while (*link != &r->settler) link = &(*link)->next;
  *link = r->settler.next;
  while (!lethe_list_empty(&r->scripts)) {
    struct evict_script *s = lethe_container_of(r->scripts.next, struct evict_script, node);
    lethe_list_remove(&s->node);
    if (!s->e) evict_free(s);
  }
  lethe_free(mem, r, sizeof *r);
}

static const struct lethe_class reports_class = {.name = "lethe.policy.reports",
                                                 .end = end_reports};

/* The box is in its place before there is anything to hold; what may raise comes first. */
static struct reports *make_reports(lua_State *L) {
  lethe_class(L, &reports_class);
  struct lethe_box *b = lethe_box_new(L, &reports_class, 0);
  struct lethe_state *state = lethe_state(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_reports);
  struct reports *r = lethe_zalloc(mem, sizeof *r);
  if (!r) lethe_nomemory(L);
  lethe_list_init(&r->scripts);
  r->settler = (struct lethe_settler){state->settlers, any, deliver};
  state->settlers = &r->settler;
  lethe_box_hold(L, b, r);
  return r;
}

struct reports *evict_reports(lua_State *L) {
  struct reports *r = reports_of(L);
  return r ? r : make_reports(L);
}
