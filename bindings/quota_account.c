/* SPDX-License-Identifier: MIT
 * lethe.core.quota: accounts, weak accounts and participations. A participation's user value is its
 * holder, a table whose field 1 is the participant's object; clones share it, so that a collapse lets
 * go of the object everywhere. */
#include <stdio.h>

#include "quota_keys.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

/* ---- accounts --------------------------------------------------------------------------------- */

void quota_name_of(const struct account_ref *a, char *buf, size_t n) {
  struct lethe_quota_account_info info;
  bool there = lethe_quota_account_read(a->port->t, a->id, &info) == LETHE_OK;
  snprintf(buf, n, "%s", there ? info.name : "");
}

static void label_account(void *what, char *buf, size_t n) { quota_name_of(what, buf, n); }

static void end_account(struct lethe_state *s, void *what, bool closed) {
  struct account_ref *a = what;
  char name[64];
  (void)s;
  if (!closed) quota_name_of(a, name, sizeof name);
  int64_t bytes = lethe_quota_account_close(a->port->t, a->id);
  if (!closed) quota_collected(a->port, "quota.Account", name, bytes);
  quota_port_put(a->port);
  lethe_free(mem, a, sizeof *a);
}

static void end_weak(struct lethe_state *s, void *what, bool closed) {
  struct account_ref *a = what;
  (void)s;
  (void)closed;
  quota_port_put(a->port);
  lethe_free(mem, a, sizeof *a);
}

/* The reference is made before the box, so that a box never waits for memory with a count in hand. */
static int push_ref(lua_State *L, const struct lethe_class *c, struct port *p, uint64_t id) {
  struct lethe_box *b = lethe_box_new(L, c, 0);
  struct account_ref *a = lethe_malloc(mem, sizeof *a);
  if (!a) return lethe_fail(L, LETHE_ENOMEM);
  *a = (struct account_ref){p, id};
  p->refs++;
  lethe_box_hold(L, b, a);
  return 1;
}

/* One handle on the account is counted and becomes the object's; without memory it is given back. */
struct taken {
  struct port *port;
  uint64_t id;
};

static int push_taken(lua_State *L) {
  struct taken *k = lua_touserdata(L, 1);
  return push_ref(L, &quota_account_class, k->port, k->id);
}

int quota_push_account(lua_State *L, struct port *p, uint64_t id) {
  struct taken k = {p, id};
  lua_pushcfunction(L, push_taken);
  lua_pushlightuserdata(L, &k);
  int rc = lua_pcall(L, 1, 1, 0);
  if (rc == LUA_OK && !lua_isnil(L, -1)) return 1;
  lethe_quota_account_close(p->t, id);
  if (rc != LUA_OK) return lua_error(L);
  return lethe_fail(L, LETHE_ENOMEM);
}

int quota_push_weak(lua_State *L, struct port *p, uint64_t id) {
  return push_ref(L, &quota_weak_class, p, id);
}

static struct account_ref *check_account(lua_State *L) {
  lethe_safepoint(L);
  return lethe_check(L, 1, &quota_account_class)->what;
}

static int l_clone(lua_State *L) {
  struct account_ref *a = check_account(L);
  lethe_quota_account_clone(a->port->t, a->id);
  return quota_push_account(L, a->port, a->id);
}

static int l_weak(lua_State *L) {
  struct account_ref *a = check_account(L);
  return quota_push_weak(L, a->port, a->id);
}

static int l_upgrade(lua_State *L) {
  lethe_safepoint(L);
  struct account_ref *a = lethe_check(L, 1, &quota_weak_class)->what;
  int rc = lethe_quota_account_upgrade(a->port->t, a->id);
  if (rc) return lethe_fail(L, rc);
  return quota_push_account(L, a->port, a->id);
}

static int l_add_parent(lua_State *L) {
  struct account_ref *a = check_account(L);
  struct account_ref *parent = lethe_check(L, 2, &quota_account_class)->what;
  if (a->port->t != parent->port->t) return lethe_fail(L, LETHE_EFOREIGN);
  int rc = lethe_quota_account_add_parent(a->port->t, a->id, parent->id);
  lethe_settle(L);
  if (rc) return lethe_fail(L, rc);
  lua_pushboolean(L, 1);
  return 1;
}

static int l_name(lua_State *L) {
  struct account_ref *a = check_account(L);
  char name[64];
  quota_name_of(a, name, sizeof name);
  if (*name)
    lua_pushstring(L, name);
  else
    lua_pushnil(L);
  return 1;
}

/* The account's own bytes; 0 once it ended. */
static int l_used(lua_State *L) {
  struct account_ref *a = check_account(L);
  struct lethe_quota_account_info info;
  int rc = lethe_quota_account_read(a->port->t, a->id, &info);
  lua_pushinteger(L, rc == LETHE_OK ? info.used : 0);
  return 1;
}

static int l_id(lua_State *L) {
  struct account_ref *a = check_account(L);
  lua_pushinteger(L, (lua_Integer)a->id);
  return 1;
}

static int l_tracker(lua_State *L) {
  quota_push_tracker(L, check_account(L)->port);
  return 1;
}

/* Two handles on one account are equal. */
static int l_equal(lua_State *L) {
  struct lethe_box *a = luaL_testudata(L, 1, lua_tostring(L, lua_upvalueindex(1)));
  struct lethe_box *b = luaL_testudata(L, 2, lua_tostring(L, lua_upvalueindex(1)));
  bool same = a == b;
  if (a && b && a->what && b->what) {
    const struct account_ref *x = a->what, *y = b->what;
    same = x->port->t == y->port->t && x->id == y->id;
  }
  lua_pushboolean(L, same);
  return 1;
}

/* ---- participations --------------------------------------------------------------------------- */

static void end_participation(struct lethe_state *s, void *what, bool closed) {
  struct participation *p = what;
  struct account_ref a = {p->port, lethe_quota_handle_account(&p->handle)};
  char name[64];
  (void)s;
  if (p->track) quota_untrack(p->track);
  if (!closed) quota_name_of(&a, name, sizeof name);
  int64_t bytes = lethe_quota_handle_close(&p->handle);
  if (!closed) quota_collected(p->port, "quota.Participation", name, bytes);
  quota_port_put(p->port);
  lethe_free(mem, p, sizeof *p);
}

static void label_participation(void *what, char *buf, size_t n) {
  struct participation *p = what;
  struct account_ref a = {p->port, lethe_quota_handle_account(&p->handle)};
  quota_name_of(&a, buf, n);
}

/* The hot methods compare metatables instead of looking the name up: upvalue 1 is the class's. */
static struct participation *hot(lua_State *L) {
  struct lethe_box *b = lua_touserdata(L, 1);
  if (b && lua_getmetatable(L, 1)) {
    bool ours = lua_rawequal(L, -1, lua_upvalueindex(1));
    lua_pop(L, 1);
    if (ours && b->what) return b->what;
  }
  return lethe_check(L, 1, &quota_participation_class)->what;
}

static struct participation *check_participation(lua_State *L) {
  lethe_safepoint(L);
  return lethe_check(L, 1, &quota_participation_class)->what;
}

static int64_t checked_bytes(lua_State *L) {
  int whole;
  lua_Integer n = lua_tointegerx(L, 2, &whole);
  if (__builtin_expect(whole && n >= 0 && lua_type(L, 2) == LUA_TNUMBER, 1)) return n;
  return lethe_checksize(L, 2);
}

/* What a refused claim says: whose limit, and how far. */
static int refused(lua_State *L, struct participation *p, int rc, int64_t n) {
  struct account_ref a = {p->port, lethe_quota_handle_account(&p->handle)};
  char name[64];
  lethe_settle(L);
  if (rc != LETHE_ELIMIT) return lethe_fail(L, rc);
  quota_name_of(&a, name, sizeof name);
  return lethe_failf(L, rc, "claim of %lld bytes would take account%s%s, or one above it, past its max",
                     (long long)n, *name ? " " : "", name);
}

static int l_claim(lua_State *L) {
  struct participation *p = hot(L);
  int64_t n = checked_bytes(L);
  struct lethe_quota_handle *h = &p->handle;
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

static int l_participation_used(lua_State *L) {
  lua_pushinteger(L, lethe_quota_handle_used(&check_participation(L)->handle));
  return 1;
}

static int l_account_of(lua_State *L) {
  struct participation *p = check_participation(L);
  return quota_push_weak(L, p->port, lethe_quota_handle_account(&p->handle));
}

/* A participation, empty, with `holder` (stack index, or 0) as its user value. */
static struct participation *push_participation(lua_State *L, int holder, struct lethe_box **box) {
  *box = lethe_box_new(L, &quota_participation_class, 1);
  if (holder) {
    lua_pushvalue(L, holder);
    lua_setiuservalue(L, -2, 1);
  }
  return lethe_zalloc(mem, sizeof(struct participation));
}

static int l_clone_participation(lua_State *L) {
  struct participation *p = check_participation(L), *clone;
  struct lethe_box *b;
  lua_settop(L, 1);
  lua_getiuservalue(L, 1, 1);
  clone = push_participation(L, 2, &b);
  if (!clone) return lethe_fail(L, LETHE_ENOMEM);
  clone->port = p->port;
  clone->port->refs++;
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

/* participant(account, holder) -> Participation, participant id */
static int l_participant(lua_State *L) {
  struct account_ref *a = check_account(L);
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
  lethe_box_hold(L, b, p);
  if (id) { /* a noop tracker has no ids: it never asks */
    lua_rawgetp(L, LUA_REGISTRYINDEX, &quota_key_holders);
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, (lua_Integer)id);
    lua_pop(L, 1);
  }
  lethe_settle(L);
  lua_pushinteger(L, (lua_Integer)id);
  return 2;
}

/* holder_of(participant id) -> the table that its participations keep, or nil */
static int l_holder_of(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &quota_key_holders);
  lua_rawgeti(L, -1, luaL_checkinteger(L, 1));
  return 1;
}

/* state_of(participation) -> nil while it may claim, else nil, message, code */
static int l_state_of(lua_State *L) {
  int rc = lethe_quota_handle_state(&check_participation(L)->handle);
  return rc ? lethe_fail(L, rc) : 0;
}

/* ---- waiting claims --------------------------------------------------------------------------- */

struct wait {
  struct lethe_quota_wait wait;
  struct lethe_state *state;
  int wake; /* the function that hears of the end; LUA_NOREF once cancelled */
};

static void wait_done(struct lethe_quota_wait *w, int code) {
  struct wait *k = lethe_container_of(w, struct wait, wait);
  lua_State *L = k->state->turning;
  if (!k->state->ended && k->wake != LUA_NOREF && lua_checkstack(L, LUA_MINSTACK)) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, k->wake);
    luaL_unref(L, LUA_REGISTRYINDEX, k->wake);
    int n = 1;
    if (code)
      n = lethe_fail(L, code);
    else
      lua_pushboolean(L, 1);
    lethe_call_reported(L, n, 0);
  }
  lethe_free(mem, k, sizeof *k);
}

/* claim_wait(participation, n, wake) -> true | nil, m, code at once; or a ticket for cancel_wait, and then
 * wake(true | nil, m, code) follows */
static int l_claim_wait(lua_State *L) {
  struct participation *p = check_participation(L);
  int64_t n = checked_bytes(L);
  luaL_checktype(L, 3, LUA_TFUNCTION);
  lua_settop(L, 3);
  int wake = luaL_ref(L, LUA_REGISTRYINDEX);
  struct wait *k = lethe_zalloc(mem, sizeof *k);
  int rc = LETHE_ENOMEM;
  if (k) {
    k->state = lethe_state(L);
    k->wake = wake;
    rc = lethe_quota_claim_wait(&p->handle, n, &k->wait, wait_done);
  }
  if (rc == 1) {
    lethe_settle(L);
    lua_pushlightuserdata(L, k);
    return 1;
  }
  luaL_unref(L, LUA_REGISTRYINDEX, wake);
  lethe_free(mem, k, sizeof *k);
  if (rc) return refused(L, p, rc, n);
  lethe_settle(L);
  lua_pushboolean(L, 1);
  return 1;
}

/* cancel_wait(ticket), before wake was called -> true if it will not be: then nothing was claimed */
static int l_cancel_wait(lua_State *L) {
  struct wait *k = lua_touserdata(L, 1);
  bool gone = lethe_quota_wait_cancel(&k->wait);
  if (gone) {
    luaL_unref(L, LUA_REGISTRYINDEX, k->wake);
    lethe_free(mem, k, sizeof *k);
  }
  lua_pushboolean(L, gone);
  return 1;
}

/* ---- opening ---------------------------------------------------------------------------------- */

static const luaL_Reg account_methods[] = {
    {"clone", l_clone}, {"weak", l_weak}, {"add_parent", l_add_parent}, {"name", l_name},
    {"used", l_used},   {"id", l_id},     {"tracker", l_tracker},       {NULL, NULL}};

static const luaL_Reg weak_methods[] = {{"upgrade", l_upgrade}, {NULL, NULL}};

static const luaL_Reg participation_methods[] = {
    {"used", l_participation_used},   {"account", l_account_of},
    {"clone", l_clone_participation}, {"destroy", l_destroy},
    {NULL, NULL}};

const struct lethe_class quota_account_class = {.name = "lethe.quota.Account",
                                                .end = end_account,
                                                .label = label_account,
                                                .leaks = true,
                                                .methods = account_methods};
const struct lethe_class quota_weak_class = {
    .name = "lethe.quota.WeakAccount", .end = end_weak, .methods = weak_methods};
const struct lethe_class quota_participation_class = {.name = "lethe.quota.Participation",
                                                      .end = end_participation,
                                                      .label = label_participation,
                                                      .leaks = true,
                                                      .methods = participation_methods};

static void set_equal(lua_State *L, const struct lethe_class *c) {
  luaL_getmetatable(L, c->name);
  lua_pushstring(L, c->name);
  lua_pushcclosure(L, l_equal, 1);
  lua_setfield(L, -2, "__eq");
  lua_pop(L, 1);
}

static void set_hot(lua_State *L) {
  static const luaL_Reg hot_methods[] = {{"claim", l_claim}, {"release", l_release}, {NULL, NULL}};
  luaL_getmetatable(L, quota_participation_class.name);
  lua_getfield(L, -1, "__index");
  lua_pushvalue(L, -2);
  luaL_setfuncs(L, hot_methods, 1);
  lua_pop(L, 2);
}

static const luaL_Reg functions[] = {
    {"participant", l_participant}, {"holder_of", l_holder_of},     {"state_of", l_state_of},
    {"claim_wait", l_claim_wait},   {"cancel_wait", l_cancel_wait}, {NULL, NULL}};

void quota_open_account(lua_State *L) {
  lethe_class(L, &quota_account_class);
  lethe_class(L, &quota_weak_class);
  lethe_class(L, &quota_participation_class);
  set_equal(L, &quota_account_class);
  set_equal(L, &quota_weak_class);
  set_hot(L);
  luaL_setfuncs(L, functions, 0);
}
