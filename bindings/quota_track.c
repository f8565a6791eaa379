/* SPDX-License-Identifier: MIT
 * quota.track_state: the allocator of a Lua state under an account, exact to the byte.
 *
 * An allocator is put in front of the state's own: what Lua grows by is claimed first, what it
 * shrinks by is released after, through a handle without a cache. A claim that is refused, or a
 * limit of the state's own, makes the allocation fail, which Lua answers with an emergency
 * collection and then with its ordinary "not enough memory". An allocator may be called at any
 * moment: it never touches Lua, and takes the tracker's lock for a few additions only. */
#include "quota_parts.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

struct track {
  lua_State *main;
  lua_Alloc alloc; /* the one before */
  void *ud;
  struct participation *participation;
  int64_t limit, used;
  bool passive; /* another allocator stands in front of ours, which has to stay, and passes on */
  int anchor;
};

static char track_key; /* registry: the state's track, light, or false */

/* ---- the allocator --------------------------------------------------------------------------- */

static bool may_grow(struct track *k, int64_t by) {
  struct lethe_quota_handle *h = &k->participation->handle;
  if (by > k->limit - k->used) return false;
  int rc = lethe_quota_claim(h, by);
  if (rc == LETHE_OK) return true;
  /* An account that was closed counts nothing any more; one that collapsed gives no more memory. */
  return rc != LETHE_ELIMIT && !lethe_quota_handle_condemned(h);
}

static void *tracked(void *ud, void *p, size_t osize, size_t nsize) {
  struct track *k = ud;
  if (k->passive) return k->alloc(k->ud, p, osize, nsize);
  int64_t by = (int64_t)nsize - (p ? (int64_t)osize : 0);
  if (by > 0 && !may_grow(k, by)) return NULL;
  void *q = k->alloc(k->ud, p, osize, nsize);
  bool done = q || nsize == 0;
  if (by > 0 && !done) lethe_quota_release(&k->participation->handle, by);
  if (by < 0 && done) lethe_quota_release(&k->participation->handle, -by);
  if (done) k->used += by;
  return q;
}

/* The state's own allocator is back, and what it holds is not counted any more. Called before the
 * participation's handle closes. A clone of it may live on. */
void quota_untrack(struct track *k) {
  void *ud;
  struct participation *p = k->participation;
  p->track = NULL;
  lua_pushboolean(k->main, 0);
  lua_rawsetp(k->main, LUA_REGISTRYINDEX, &track_key);
  luaL_unref(k->main, LUA_REGISTRYINDEX, k->anchor);
  if (!lethe_quota_handle_state(&p->handle)) lethe_quota_release(&p->handle, k->used);
  if (lua_getallocf(k->main, &ud) == tracked && ud == k) {
    lua_setallocf(k->main, k->alloc, k->ud);
    lethe_free(mem, k, sizeof *k);
  } else {
    k->passive = true;
  }
}

/* ---- making ---------------------------------------------------------------------------------- */

/* From here to the exchange of allocators nothing allocates, so the count is exact. */
static int exchange(lua_State *L, struct track *k) {
  int64_t held = (int64_t)lua_gc(L, LUA_GCCOUNT) * 1024 + lua_gc(L, LUA_GCCOUNTB);
  if (held > k->limit) return LETHE_ELIMIT;
  int rc = lethe_quota_claim(&k->participation->handle, held);
  if (rc) return rc;
  k->used = held;
  k->alloc = lua_getallocf(L, &k->ud);
  lua_setallocf(L, tracked, k);
  return LETHE_OK;
}

/* As for every later allocation, garbage goes first. */
static int begin(lua_State *L, struct track *k) {
  int rc = exchange(L, k);
  if (rc != LETHE_ELIMIT) return rc;
  lua_gc(L, LUA_GCCOLLECT);
  return exchange(L, k);
}

/* The key is there already, so that setting it allocates nothing. */
static void set_key(lua_State *L, struct track *k) {
  if (k)
    lua_pushlightuserdata(L, k);
  else
    lua_pushboolean(L, 0);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &track_key);
}

static bool is_tracked(lua_State *L) {
  bool is = lua_rawgetp(L, LUA_REGISTRYINDEX, &track_key) == LUA_TLIGHTUSERDATA;
  lua_pop(L, 1);
  return is;
}

static int already_tracked(lua_State *L) {
  luaL_pushfail(L);
  lua_pushliteral(L, "this Lua state is tracked already");
  lua_pushliteral(L, "already_tracked");
  return 3;
}

/* A participation under the account, with its track; *out is set when that succeeds. */
static int make(lua_State *L, struct port *port, struct account_ref *a, struct track *from,
                struct participation **out) {
  struct participation *p = lethe_zalloc(mem, sizeof *p);
  struct track *k = lethe_zalloc(mem, sizeof *k);
  uint64_t id;
  int rc = LETHE_ENOMEM;
  if (p && k) rc = lethe_quota_handle_open(&p->handle, port->member, a->id, k, true, &id);
  if (rc == LETHE_OK) {
    p->port = port;
    p->track = k;
    p->name = quota_name_get(a->name);
    *k = *from;
    k->participation = p;
    set_key(L, k);
    rc = begin(L, k);
    if (rc == LETHE_OK) {
      port->refs++;
      *out = p;
      return LETHE_OK;
    }
    set_key(L, NULL);
    lethe_quota_handle_close(&p->handle);
    quota_name_put(p->name);
  }
  lethe_free(mem, p, sizeof *p);
  lethe_free(mem, k, sizeof *k);
  return rc;
}

/* The participation's box, and what keeps it: it goes on, whoever drops the object. May raise, and
 * may run finalizers, which may do anything. */
static struct lethe_box *push_box(lua_State *L, int *anchor) {
  struct lethe_box *b = lethe_box_new(L, &quota_participation_class, 1);
  lua_newtable(L);
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, -1);
  *anchor = luaL_ref(L, LUA_REGISTRYINDEX);
  return b;
}

/* track_state(account, limit | nil) -> Participation | nil, m, code */
int quota_track_state(lua_State *L) {
  struct track from = {.main = lethe_safepoint(L)->main, .limit = LETHE_QUOTA_NO_LIMIT};
  struct participation *p;
  lethe_check(L, 1, &quota_account_class);
  if (!lua_isnoneornil(L, 2)) from.limit = lethe_checksize(L, 2);
  lua_settop(L, 1);
  if (is_tracked(L)) return already_tracked(L);
  if (lua_gc(L, LUA_GCCOUNT) < 0) /* it does not tell how much there is */
    return luaL_error(L, "a finalizer cannot begin to track the state");
  set_key(L, NULL);
  struct lethe_box *b = push_box(L, &from.anchor);
  struct account_ref *a = lethe_test(L, 1, &quota_account_class)->what;
  if (!a || is_tracked(L)) {
    luaL_unref(L, LUA_REGISTRYINDEX, from.anchor);
    lethe_check(L, 1, &quota_account_class);
    return already_tracked(L);
  }
  struct port *port = a->port;
  port->refs++;
  int rc = make(L, port, a, &from, &p);
  if (rc == LETHE_OK)
    lethe_box_hold(L, b, p);
  else
    luaL_unref(L, LUA_REGISTRYINDEX, from.anchor);
  quota_port_put(port);
  lethe_settle(L);
  return rc ? lethe_fail(L, rc) : 1;
}
