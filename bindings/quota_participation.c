/* SPDX-License-Identifier: MIT
 * Participations for lethe.core.quota: handles on a participant, through which it claims and
 * releases. What a participation keeps, the table `holder` with the participant's object at 1, is
 * its user value and so that of its clones. */
#include <string.h>

#include "quota_parts.h"
#include "waker.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

static void free_participation(struct participation *p) {
  quota_port_put(p->port);
  quota_name_put(p->name);
  lethe_free(mem, p, sizeof *p);
}

static void end_participation(struct lethe_state *s, void *what, bool closed) {
  struct participation *p = what;
  uint64_t account = lethe_quota_handle_account(&p->handle);
  (void)s;
  if (p->track) quota_untrack(p->track);
  int64_t bytes = lethe_quota_handle_close(&p->handle);
  if (!closed)
    quota_collected(p->port, "quota.Participation", account, quota_name_text(p->name), bytes);
  free_participation(p);
}

static void label_participation(void *what, char *buf, size_t n) {
  struct participation *p = what;
  strncpy(buf, quota_name_text(p->name), n - 1);
}

/* Of claim and release. */
static struct participation *hot(lua_State *L) {
  struct participation *p = lethe_hot(L, &quota_participation_class);
  return p ? p : lethe_check(L, 1, &quota_participation_class)->what;
}

static struct participation *check_participation(lua_State *L) {
  lethe_safepoint(L);
  return lethe_check(L, 1, &quota_participation_class)->what;
}

/* ---- claim and release ----------------------------------------------------------------------- */

static int64_t checked_bytes(lua_State *L) {
  int whole;
  lua_Integer n = lua_tointegerx(L, 2, &whole);
  if (__builtin_expect(whole && n >= 0 && lua_type(L, 2) == LUA_TNUMBER, 1)) return n;
  return lethe_checksize(L, 2);
}

/* What a refused claim says: whose limit, and how far. */
static int refused(lua_State *L, struct participation *p, int rc, int64_t n) {
  const char *name = quota_name_text(p->name);
  if (rc != LETHE_ELIMIT) {
    lethe_settle(L);
    return lethe_fail(L, rc);
  }
  lethe_failf(L, rc, "claim of %lld bytes would take account%s%s, or one above it, past its max",
              (long long)n, *name ? " " : "", name);
  lethe_settle(L); /* may close the participation, and so comes after its name */
  return 3;
}

static void watched(const struct participation *p, int64_t n) {
  uint64_t id = lethe_quota_handle_participant(&p->handle);
  for (struct quota_watcher *w = p->port->watchers; w; w = w->next) w->seen(w, id, n);
}

static int l_claim(lua_State *L) {
  struct participation *p = hot(L);
  int64_t n = checked_bytes(L);
  struct lethe_quota_handle *h = &p->handle;
  if (__builtin_expect(p->port->watchers != NULL, 0)) watched(p, n);
  bool cached = lethe_quota_enter(h) && n <= h->cache;
  if (__builtin_expect(cached, 1)) {
    h->cache -= (uint32_t)n;
    h->spent += n;
    lethe_quota_leave(h);
    lua_pushboolean(L, 1);
    return 1;
  }
  lethe_quota_leave(h);
  int rc = lethe_quota_claim_slow(h, n);
  if (rc) return refused(L, p, rc, n);
  lethe_settle(L);
  lua_pushboolean(L, 1);
  return 1;
}

static int l_release(lua_State *L) {
  struct participation *p = hot(L);
  int64_t n = checked_bytes(L);
  struct lethe_quota_handle *h = &p->handle;
  bool cached = lethe_quota_enter(h) && n <= h->spent && n <= (int64_t)h->cap - h->cache;
  if (__builtin_expect(cached, 1)) {
    h->cache += (uint32_t)n;
    h->spent -= n;
    lethe_quota_leave(h);
    return 0;
  }
  lethe_quota_leave(h);
  lethe_quota_release_slow(h, n);
  lethe_settle(L);
  return 0;
}

static int l_used(lua_State *L) {
  lua_pushinteger(L, lethe_quota_handle_used(&check_participation(L)->handle));
  return 1;
}

static int l_account(lua_State *L) {
  struct participation *p = check_participation(L);
  return quota_push_weak(L, p->port, lethe_quota_handle_account(&p->handle), p->name);
}

/* ---- making ---------------------------------------------------------------------------------- */

/* A participation, empty, with `holder` (stack index) as its user value. */
static struct participation *push_participation(lua_State *L, int holder, struct lethe_box **box) {
  *box = lethe_box_new(L, &quota_participation_class, 1);
  lua_pushvalue(L, holder);
  lua_setiuservalue(L, -2, 1);
  return lethe_zalloc(mem, sizeof(struct participation));
}

static int l_clone(lua_State *L) {
  struct participation *p = check_participation(L), *clone;
  struct lethe_box *b;
  lua_settop(L, 1);
  lua_getiuservalue(L, 1, 1);
  clone = push_participation(L, 2, &b);
  if (!clone) return lethe_fail(L, LETHE_ENOMEM);
  clone->port = p->port;
  clone->port->refs++;
  clone->name = quota_name_get(p->name);
  lethe_quota_handle_clone(&clone->handle, &p->handle);
  lethe_box_hold(L, b, clone);
  return 1;
}

static int l_destroy(lua_State *L) {
  struct participation *p = check_participation(L);
  if (p->track) quota_untrack(p->track);
  lethe_quota_handle_destroy(&p->handle);
  lethe_settle(L);
  return 0;
}

/* participant(account, holder) -> Participation */
static int l_participant(lua_State *L) {
  lethe_safepoint(L);
  struct account_ref *a = lethe_check(L, 1, &quota_account_class)->what;
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_settop(L, 2);
  struct lethe_box *b;
  struct participation *p = push_participation(L, 2, &b);
  uint64_t id = 0;
  if (!p) return lethe_fail(L, LETHE_ENOMEM);
  int rc = lethe_quota_handle_open(&p->handle, a->port->member, a->id, NULL, false, &id);
  if (rc) {
    lethe_free(mem, p, sizeof *p);
    lethe_settle(L);
    return lethe_fail(L, rc);
  }
  p->port = a->port;
  p->port->refs++;
  p->name = quota_name_get(a->name);
  lethe_box_hold(L, b, p);
  if (id) quota_hold(L, p->port, id, 2); /* a noop tracker has no ids: it never asks */
  lethe_settle(L);
  return 1;
}

/* state_of(participation) -> nil while it may claim, else nil, message, code */
static int l_state_of(lua_State *L) {
  int rc = lethe_quota_handle_state(&check_participation(L)->handle);
  return rc ? lethe_fail(L, rc) : 0;
}

/* ---- waiting claims -------------------------------------------------------------------------- */

struct wait {
  struct lethe_quota_wait wait;
  struct lethe_waker waker;
};

static void free_wait(struct lethe_waker *w) {
  struct wait *k = lethe_container_of(w, struct wait, waker);
  lethe_free(mem, k, sizeof *k);
}

static void wait_done(struct lethe_quota_wait *w, int code) {
  lethe_waker_tell(&lethe_container_of(w, struct wait, wait)->waker, code);
}

/* claim_wait(participation, n, wake) -> true | nil, m, code at once; or a ticket for cancel_wait,
 * and then wake(0 | what core.failure explains) follows */
static int l_claim_wait(lua_State *L) {
  struct participation *p = check_participation(L);
  int64_t n = checked_bytes(L);
  luaL_checktype(L, 3, LUA_TFUNCTION);
  lua_settop(L, 3);
  watched(p, n);
  int wake = luaL_ref(L, LUA_REGISTRYINDEX);
  struct wait *k = lethe_zalloc(mem, sizeof *k);
  if (!k) {
    luaL_unref(L, LUA_REGISTRYINDEX, wake);
    return lethe_fail(L, LETHE_ENOMEM);
  }
  lethe_waker_open(L, &k->waker, p->port->loop, wake, free_wait);
  int rc = lethe_quota_claim_wait(&p->handle, n, &k->wait, wait_done);
  if (rc == 1) {
    lethe_settle(L);
    lua_pushlightuserdata(L, k);
    return 1;
  }
  lethe_waker_close(&k->waker);
  if (rc) return refused(L, p, rc, n);
  lethe_settle(L);
  lua_pushboolean(L, 1);
  return 1;
}

/* cancel_wait(ticket), before wake was called -> true if it will not be: then nothing was
 * claimed */
static int l_cancel_wait(lua_State *L) {
  struct wait *k = lua_touserdata(L, 1);
  bool gone = lethe_quota_wait_cancel(&k->wait);
  if (gone) lethe_waker_close(&k->waker);
  lua_pushboolean(L, gone);
  return 1;
}

/* ---- opening --------------------------------------------------------------------------------- */

static const luaL_Reg methods[] = {
    {"claim", l_claim}, {"release", l_release}, {"used", l_used}, {"account", l_account},
    {"clone", l_clone}, {"destroy", l_destroy}, {NULL, NULL}};

const struct lethe_class quota_participation_class = {.name = "lethe.quota.Participation",
                                                      .end = end_participation,
                                                      .label = label_participation,
                                                      .leaks = true,
                                                      .hot = true,
                                                      .methods = methods};

void quota_open_participation(lua_State *L) {
  static const luaL_Reg functions[] = {{"participant", l_participant},
                                       {"state_of", l_state_of},
                                       {"claim_wait", l_claim_wait},
                                       {"cancel_wait", l_cancel_wait},
                                       {NULL, NULL}};
  lethe_class(L, &quota_participation_class);
  luaL_setfuncs(L, functions, 0);
}
