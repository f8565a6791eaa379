/* SPDX-License-Identifier: MIT
 * quota.track_state: the allocator of a Lua state under an account, exact to the byte.
 *
 * An allocator is put in front of the state's own: what Lua grows by is claimed first, what it shrinks
 * by is released after, through a handle without a cache. A claim that is refused, or a limit of the
 * state's own, makes the allocation fail, which Lua answers with an emergency collection and then
 * with its ordinary "not enough memory". An allocator may be called at any moment: it never touches
 * Lua, and takes the tracker's lock for a few additions only. */
#include "quota_keys.h"

struct track {
  lua_State *main;
  lua_Alloc alloc; /* the one before */
  void *ud;
  struct participation *participation;
  int64_t limit, used;
  bool passive; /* another allocator was put in front of ours: ours has to stay, and only passes on */
  int anchor;
};

static char track_key; /* registry: the state's track, light */

static bool may_grow(struct track *k, int64_t by) {
  struct lethe_quota_handle *h = &k->participation->handle;
  if (k->used + by > k->limit) return false;
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

/* The state's own allocator is back. Called by the participation's end, before its handle closes. */
void quota_untrack(struct track *k) {
  void *ud;
  struct participation *p = k->participation;
  p->track = NULL;
  lua_pushnil(k->main);
  lua_rawsetp(k->main, LUA_REGISTRYINDEX, &track_key);
  luaL_unref(k->main, LUA_REGISTRYINDEX, k->anchor);
  if (lua_getallocf(k->main, &ud) == tracked && ud == k) {
    lua_setallocf(k->main, k->alloc, k->ud);
    lethe_free(&lethe_alloc_libc, k, sizeof *k);
  } else {
    k->passive = true;
  }
}

static int64_t bytes_of(lua_State *L) {
  return (int64_t)lua_gc(L, LUA_GCCOUNT) * 1024 + lua_gc(L, LUA_GCCOUNTB);
}

/* From here to the exchange of allocators nothing allocates, so the count is exact. */
static int exchange(lua_State *L, struct track *k) {
  int64_t held = bytes_of(L);
  if (held > k->limit) return LETHE_ELIMIT;
  int rc = lethe_quota_claim(&k->participation->handle, held);
  if (rc) return rc;
  k->used = held;
  k->alloc = lua_getallocf(L, &k->ud);
  lua_setallocf(L, tracked, k);
  return LETHE_OK;
}

/* track_state(account, limit | nil) -> Participation | nil, m, code */
int quota_track_state(lua_State *L) {
  struct lethe_state *s = lethe_safepoint(L);
  struct account_ref *a = lethe_check(L, 1, &quota_account_class)->what;
  int64_t limit = lua_isnoneornil(L, 2) ? LETHE_QUOTA_NO_LIMIT : lethe_checksize(L, 2);
  lua_settop(L, 1);
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &track_key) == LUA_TLIGHTUSERDATA) {
    luaL_pushfail(L);
    lua_pushliteral(L, "this Lua state is tracked already");
    lua_pushliteral(L, "already_tracked");
    return 3;
  }
  struct lethe_box *b = lethe_box_new(L, &quota_participation_class, 1);
  lua_newtable(L);
  lua_setiuservalue(L, -2, 1);
  lua_pushvalue(L, -1);
  int anchor = luaL_ref(L, LUA_REGISTRYINDEX); /* it goes on, whoever drops the object */
  lua_pushboolean(L, 0);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &track_key); /* the key is there before the exchange */
  struct participation *p = lethe_zalloc(&lethe_alloc_libc, sizeof *p);
  struct track *k = lethe_zalloc(&lethe_alloc_libc, sizeof *k);
  uint64_t id;
  int rc = p && k ? lethe_quota_handle_open(&p->handle, a->port->member, a->id, NULL, true, &id)
                  : LETHE_ENOMEM;
  if (rc == LETHE_OK) {
    *k = (struct track){.main = s->main, .participation = p, .limit = limit, .anchor = anchor};
    lua_pushlightuserdata(L, k);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &track_key);
    rc = exchange(L, k);
    if (rc) lethe_quota_handle_close(&p->handle);
  }
  if (rc) {
    lethe_free(&lethe_alloc_libc, p, sizeof *p);
    lethe_free(&lethe_alloc_libc, k, sizeof *k);
    lua_pushnil(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &track_key);
    luaL_unref(L, LUA_REGISTRYINDEX, anchor);
    lethe_settle(L);
    return lethe_fail(L, rc);
  }
  p->port = a->port;
  p->port->refs++;
  p->track = k;
  lethe_box_hold(L, b, p);
  lethe_settle(L);
  return 1;
}
