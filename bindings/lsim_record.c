/* SPDX-License-Identifier: MIT
 * Recorders: they watch the accesses of caches, and the claims under trackers, and write each down.
 * In the trace an integer key of the first cache is the id itself; other keys are hashes. A claim
 * is a request of its participant for the bytes claimed. */
#include "cache.h"
#include "quota_parts.h"
#include "sim.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

/* One watched object; in the recorder's list until either is gone. */
struct tap {
  struct lethe_list node;
  struct recording *of;
  struct lcache_watcher on_cache;
  struct lcache *cache;
  struct quota_watcher on_tracker;
  struct port *port;
  uint64_t number; /* among all that it watched, from 0 */
  double start;
};

struct recording {
  struct lethe_recorder *r;
  struct lethe_list taps;
  uint64_t taps_made;
  int *told; /* who wants to know how it ended */
};

/* ---- what is seen ---------------------------------------------------------------------------- */

static uint64_t id_of(const struct tap *t, uint64_t id) {
  if (t->number == 0) return id;
  uint64_t both[2] = {id, t->number};
  return lethe_trace_hash(both, sizeof both);
}

static void seen_key(struct lcache_watcher *w, const struct lethe_cache_key *key, int64_t size,
                     bool hit) {
  struct tap *t = lethe_container_of(w, struct tap, on_cache);
  uint64_t id = key->bytes ? lethe_trace_hash(key->bytes, key->n) : (uint64_t)key->number;
  double now = lethe_loop_now(lethe_cache_loop(t->cache->c));
  (void)hit;
  lethe_recorder_add(t->of->r, now - t->start, id_of(t, id), size);
}

static void seen_claim(struct quota_watcher *w, uint64_t participant, int64_t bytes) {
  struct tap *t = lethe_container_of(w, struct tap, on_tracker);
  double now = lethe_loop_now(t->port->loop);
  if (bytes > 0) lethe_recorder_add(t->of->r, now - t->start, id_of(t, participant), bytes);
}

static void free_tap(struct tap *t) {
  lethe_list_remove(&t->node);
  lethe_free(mem, t, sizeof *t);
}

static void cache_gone(struct lcache_watcher *w) {
  free_tap(lethe_container_of(w, struct tap, on_cache));
}

static void port_gone(struct quota_watcher *w) {
  free_tap(lethe_container_of(w, struct tap, on_tracker));
}

/* ---- watching -------------------------------------------------------------------------------- */

static void leave(struct tap *t) {
  if (t->cache) {
    struct lcache_watcher **link = &t->cache->watchers;
    while (*link != &t->on_cache) link = &(*link)->next;
    *link = t->on_cache.next;
  } else {
    struct quota_watcher **link = &t->port->watchers;
    while (*link != &t->on_tracker) link = &(*link)->next;
    *link = t->on_tracker.next;
  }
  free_tap(t);
}

static void watch_cache(struct tap *t, struct lcache *k) {
  t->cache = k;
  t->start = lethe_loop_now(lethe_cache_loop(k->c));
  t->on_cache = (struct lcache_watcher){k->watchers, seen_key, cache_gone};
  k->watchers = &t->on_cache;
}

static void watch_port(struct tap *t, struct port *p) {
  t->port = p;
  t->start = lethe_loop_now(p->loop);
  t->on_tracker = (struct quota_watcher){p->watchers, seen_claim, port_gone};
  p->watchers = &t->on_tracker;
}

int sim_watch(lua_State *L) {
  struct recording *r = lethe_check(L, 1, &sim_recorder_class)->what;
  const struct lethe_class *class = lethe_class_of(L, 2);
  bool is_cache = class == &lcache_class;
  luaL_argexpected(L, is_cache || class == &quota_tracker_class, 2, "a cache or a tracker");
  void *what = lethe_check(L, 2, class)->what;
  struct port *port = is_cache ? NULL : quota_port_of(L, 2);
  struct tap *t = lethe_zalloc(mem, sizeof *t);
  if (!t) return lethe_nomemory(L);
  t->of = r;
  t->number = r->taps_made++;
  lethe_list_push(&r->taps, &t->node);
  if (is_cache)
    watch_cache(t, what);
  else
    watch_port(t, port);
  return 0;
}

/* ---- the object ------------------------------------------------------------------------------ */

static void end_recorder(struct lethe_state *s, void *what, bool closed) {
  struct recording *r = what;
  (void)s, (void)closed;
  while (!lethe_list_empty(&r->taps)) leave(lethe_container_of(r->taps.next, struct tap, node));
  int rc = lethe_recorder_close(r->r);
  if (r->told) *r->told = rc;
  lethe_free(mem, r, sizeof *r);
}

int sim_record(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  lethe_safepoint(L);
  struct lethe_box *b = lethe_box_new(L, &sim_recorder_class, 0);
  struct recording *r = lethe_zalloc(mem, sizeof *r);
  int rc = r ? lethe_recorder_open(&r->r, mem, path) : LETHE_ENOMEM;
  if (rc != LETHE_OK) {
    lethe_free(mem, r, sizeof *r);
    if (rc == LETHE_EUNWRITABLE) return lethe_failf(L, rc, "%s: it cannot be written", path);
    return lethe_fail(L, rc);
  }
  lethe_list_init(&r->taps);
  lethe_box_hold(L, b, r);
  return 1;
}

/* Recorder:count() -> integer */
static int l_count(lua_State *L) {
  struct recording *r = lethe_check(L, 1, &sim_recorder_class)->what;
  lua_pushinteger(L, (lua_Integer)lethe_recorder_count(r->r));
  return 1;
}

/* Recorder:close() -> true | nil, m, code of what could not be written. Closed it is in any
 * case. */
static int l_close(lua_State *L) {
  struct lethe_box *b = lethe_test(L, 1, &sim_recorder_class);
  luaL_argexpected(L, b != NULL, 1, sim_recorder_class.name);
  int rc = LETHE_OK;
  lethe_safepoint(L);
  if (b->what) ((struct recording *)b->what)->told = &rc;
  lethe_close(L);
  if (rc != LETHE_OK) return lethe_fail(L, rc);
  lua_pushboolean(L, 1);
  return 1;
}

static const luaL_Reg methods[] = {{"count", l_count}, {"close", l_close}, {NULL, NULL}};
const struct lethe_class sim_recorder_class = {
    .name = "lethe.sim.Recorder", .end = end_recorder, .leaks = true, .methods = methods};
