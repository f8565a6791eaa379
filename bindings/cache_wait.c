/* SPDX-License-Identifier: MIT
 * What Lua waits for.
 *
 * A call that may wait returns false and its results if it is over at once, else a Wait object:
 * whoever waits gives it a function that is called when it is over, and then asks for the results.
 * A Wait that is closed, or only collected, is cancelled. */
#include <string.h>

#include "cache.h"
#include "waker.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

struct failed_key {
  struct failed_key *next;
  struct lethe_cache_key key;
};

struct wait {
  struct lethe_cache_wait w;
  struct lethe_waker waker;
  struct lcache *k;
  struct lethe_cache *c; /* a reference */
  int (*push)(lua_State *L, struct wait *t);
  struct lethe_cache_value *said;
  struct failed_key *failed, **last;
  int64_t freed;
  int code;
  bool over;
  bool boxed;    /* an object has it */
  bool attended; /* the waker is open */
};

/* ---- results --------------------------------------------------------------------------------- */

static void free_wait(struct wait *t) {
  struct failed_key *f;
  while ((f = t->failed) != NULL) {
    t->failed = f->next;
    lcache_free_key(&f->key);
    lethe_free(mem, f, sizeof *f);
  }
  if (t->w.held) lethe_cache_release(t->c, t->w.held);
  lethe_cache_value_put(t->w.value);
  lethe_cache_value_put(t->said);
  lethe_cache_put_ref(t->c);
  lethe_free(mem, t, sizeof *t);
}

static int push_true(lua_State *L, struct wait *t) {
  (void)t;
  lua_pushboolean(L, 1);
  return 1;
}

static int push_freed(lua_State *L, struct wait *t) {
  lua_pushinteger(L, t->freed);
  return 1;
}

static int push_value(lua_State *L, struct wait *t) {
  lcache_push_value(L, t->w.value);
  return 1;
}

static const char *message_of(const struct wait *t) {
  if (t->said) return t->said->data;
  if (t->code == LETHE_ECLOSED) return "the cache was closed";
  if (t->code == LETHE_ENOTFOUND) return "the backend has nothing under that key";
  return lethe_strerror(t->code);
}

static int push_failure(lua_State *L, struct wait *t) {
  luaL_pushfail(L);
  lua_pushstring(L, message_of(t));
  lua_pushstring(L, lethe_errname(t->code));
  if (t->w.failed == NULL) return 3;
  lua_newtable(L);
  lua_Integer n = 0;
  for (struct failed_key *f = t->failed; f; f = f->next) {
    lcache_push_key(L, &f->key);
    lua_rawseti(L, -2, ++n);
  }
  return 4;
}

static int push_results(lua_State *L, struct wait *t) {
  return t->code == LETHE_OK ? t->push(L, t) : push_failure(L, t);
}

/* ---- how it ends ----------------------------------------------------------------------------- */

static void on_failed(struct lethe_cache_wait *w, const struct lethe_cache_key *key,
                      const char *message) {
  struct wait *t = lethe_container_of(w, struct wait, w);
  struct failed_key *f = lethe_zalloc(mem, sizeof *f);
  (void)message;
  if (!f) return;
  if (!lcache_copy_key(&f->key, key)) {
    lethe_free(mem, f, sizeof *f);
    return;
  }
  *t->last = f;
  t->last = &f->next;
}

static void over(struct wait *t, int code) {
  const char *message = t->w.message;
  t->over = true;
  t->code = code;
  if (message) t->said = lethe_cache_bytes(mem, message, strlen(message) + 1);
}

static void on_done(struct lethe_cache_wait *w, int code) {
  struct wait *t = lethe_container_of(w, struct wait, w);
  over(t, code);
  if (t->attended)
    lethe_waker_tell(&t->waker, code);
  else if (!t->boxed)
    free_wait(t);
}

static void waker_over(struct lethe_waker *w) {
  struct wait *t = lethe_container_of(w, struct wait, waker);
  t->attended = false;
  if (!t->boxed) free_wait(t);
}

/* One that has been told may be on its way still: the waker's end is its own then. */
static void end_wait(struct lethe_state *s, void *what, bool closed) {
  struct wait *t = what;
  (void)s;
  (void)closed;
  t->boxed = false;
  if (!t->over) lethe_cache_cancel(&t->w);
  if (!t->attended)
    free_wait(t);
  else if (!t->over)
    lethe_waker_close(&t->waker);
}

const struct lethe_class lcache_wait_class = {.name = "lethe.cache.Wait", .end = end_wait};

static struct wait *try_wait(struct lcache *k, int (*push)(lua_State *L, struct wait *t)) {
  struct wait *t = lethe_zalloc(mem, sizeof *t);
  if (!t) return NULL;
  t->k = k;
  t->c = lethe_cache_get_ref(k->c);
  t->push = push;
  t->last = &t->failed;
  t->w.done = on_done;
  return t;
}

static struct wait *new_wait(lua_State *L, struct lcache *k,
                             int (*push)(lua_State *L, struct wait *t)) {
  struct wait *t = try_wait(k, push);
  if (!t) lethe_nomemory(L);
  return t;
}

/* An object for one that waits, or the results of one that is over. */
static int push_begun(lua_State *L) {
  struct wait *t = lua_touserdata(L, 1);
  if (t->over) {
    lua_pushboolean(L, 0);
    lua_replace(L, 1);
    return 1 + push_results(L, t);
  }
  struct lethe_box *b = lethe_box_new(L, &lcache_wait_class, 0);
  lethe_box_hold(L, b, t);
  return 1;
}

/* What a call returns that has just begun. One without memory for its object goes on by itself. */
static int begun(lua_State *L, struct wait *t, int code) {
  bool waits = code == LETHE_CACHE_WAITS;
  if (!waits) over(t, code);
  t->boxed = true;
  int below = lua_gettop(L);
  lua_pushcfunction(L, push_begun);
  lua_pushlightuserdata(L, t);
  int rc = lua_pcall(L, 1, LUA_MULTRET, 0);
  if (rc != LUA_OK || !waits) {
    t->boxed = false;
    if (t->over) free_wait(t);
  }
  if (rc != LUA_OK) return lua_error(L);
  lethe_settle(L);
  if (code == LETHE_EINVAL) return luaL_error(L, "a policy cannot use the cache it decides for");
  return lua_gettop(L) - below;
}

/* attend(Wait, wake): wake(code) once it is over */
static int l_attend(lua_State *L) {
  struct wait *t = lethe_check(L, 1, &lcache_wait_class)->what;
  luaL_checktype(L, 2, LUA_TFUNCTION);
  lua_settop(L, 2);
  int wake = luaL_ref(L, LUA_REGISTRYINDEX);
  lethe_waker_open(L, &t->waker, lethe_cache_loop(t->c), wake, waker_over);
  t->attended = true;
  if (t->over) lethe_waker_tell(&t->waker, t->code);
  return 0;
}

/* result(Wait) -> what the call would have returned */
static int l_result(lua_State *L) {
  struct wait *t = lethe_check(L, 1, &lcache_wait_class)->what;
  luaL_argcheck(L, t->over, 1, "it is not over");
  return push_results(L, t);
}

/* ---- the calls ------------------------------------------------------------------------------- */

static struct lcache *check_call(lua_State *L) {
  lethe_safepoint(L);
  return lcache_check(L, 1);
}

static struct wait *begin_get(lua_State *L, const struct lethe_cache_key *key, int *code) {
  lethe_safepoint(L);
  struct lcache *k = lcache_hot(L);
  struct wait *t = new_wait(L, k, push_value);
  lua_State *outer = lcache_enter(L, k);
  *code = lethe_cache_get(k->c, key, &t->w);
  lcache_leave(k, outer);
  return t;
}

/* get(cache, key): a key that is none raises two levels up, where the script called the cache */
static int l_get(lua_State *L) {
  struct lethe_cache_key key;
  int code;
  lcache_checkkey(L, 2, 2, &key);
  struct wait *t = begin_get(L, &key, &code);
  return begun(L, t, code);
}

bool lcache_get(lua_State *L, const struct lethe_cache_key *key) {
  int code, below = lua_gettop(L);
  struct wait *t = begin_get(L, key, &code);
  if (code == LETHE_OK) { /* as nearly always where the backend does not wait */
    lcache_push_value(L, t->w.value);
    free_wait(t);
    lethe_settle(L);
    return true;
  }
  begun(L, t, code);
  if (code == LETHE_CACHE_WAITS) return false;
  lua_remove(L, below + 1);
  return true;
}

static int push_hold(lua_State *L, struct wait *t) { return lcache_push_hold(L, t->k, &t->w.held); }

/* hold(cache, key) */
static int l_hold(lua_State *L) {
  struct lethe_cache_key key;
  struct lcache *k = check_call(L);
  lcache_checkkey(L, 2, 2, &key);
  struct wait *t = new_wait(L, k, push_hold);
  lua_State *outer = lcache_enter(L, k);
  int code = lethe_cache_hold(k->c, &key, &t->w);
  lcache_leave(k, outer);
  return begun(L, t, code);
}

/* insert(cache, key, value) */
static int l_insert(lua_State *L) {
  struct lethe_cache_key key;
  struct lcache *k = check_call(L);
  lcache_checkkey(L, 2, 2, &key);
  if (lua_isnoneornil(L, 3)) {
    luaL_where(L, 2);
    lua_pushliteral(L, "bad argument #2 to 'insert' (a value expected, got nil)");
    lua_concat(L, 2);
    return lua_error(L);
  }
  struct lethe_cache_value *value = lcache_value(L, k, 3);
  struct wait *t = try_wait(k, push_true);
  if (!t) {
    lethe_cache_value_put(value);
    return lethe_nomemory(L);
  }
  lua_State *outer = lcache_enter(L, k);
  int code = lethe_cache_insert(k->c, &key, value, false, &t->w);
  lcache_leave(k, outer);
  return begun(L, t, code);
}

/* flush(cache, key | nil) */
static int l_flush(lua_State *L) {
  struct lethe_cache_key key;
  struct lcache *k = check_call(L);
  bool one = !lua_isnoneornil(L, 2);
  if (one) lcache_checkkey(L, 2, 2, &key);
  struct wait *t = new_wait(L, k, push_true);
  t->w.failed = on_failed;
  lua_State *outer = lcache_enter(L, k);
  int code = lethe_cache_flush(k->c, one ? &key : NULL, &t->w);
  lcache_leave(k, outer);
  return begun(L, t, code);
}

/* depend_on(cache, other) */
static int l_depend_on(lua_State *L) {
  struct lcache *k = check_call(L), *other = lcache_check(L, 2);
  struct wait *t = new_wait(L, k, push_true);
  lua_State *outer = lcache_enter(L, k);
  int code = lethe_cache_depend_on(k->c, other->c, &t->w);
  lcache_leave(k, outer);
  return begun(L, t, code);
}

/* shutdown(cache) */
static int l_shutdown(lua_State *L) {
  struct lcache *k = check_call(L);
  struct wait *t = new_wait(L, k, push_true);
  t->w.failed = on_failed;
  lua_State *outer = lcache_enter(L, k);
  int code = lethe_cache_shutdown(k->c, &t->w);
  lcache_leave(k, outer);
  return begun(L, t, code);
}

/* reclaim(cache, goal) */
static int l_reclaim(lua_State *L) {
  struct lcache *k = check_call(L);
  int64_t goal = luaL_checkinteger(L, 2);
  struct wait *t = new_wait(L, k, push_freed);
  lua_State *outer = lcache_enter(L, k);
  int code = lethe_cache_reclaim(k->c, goal, &t->w, &t->freed);
  lcache_leave(k, outer);
  return begun(L, t, code);
}

/* ---- opening --------------------------------------------------------------------------------- */

void lcache_open_wait(lua_State *L) {
  static const luaL_Reg functions[] = {{"get", l_get},
                                       {"hold", l_hold},
                                       {"insert", l_insert},
                                       {"flush", l_flush},
                                       {"depend_on", l_depend_on},
                                       {"shutdown", l_shutdown},
                                       {"reclaim", l_reclaim},
                                       {"attend", l_attend},
                                       {"result", l_result},
                                       {NULL, NULL}};
  lethe_class(L, &lcache_wait_class);
  luaL_setfuncs(L, functions, 0);
}
