/* SPDX-License-Identifier: MIT
 * lethe.core.vat: the Lua states in which vats live, for lua/lethe/vat/supervisor.lua.
 *
 * A vat's state is a sandbox (sandbox.h) with lua/lethe/vat/inside.lua in it. The host calls the
 * functions that this returned, by name, with values that are copied in and out; nothing else
 * passes between the two. A call may run under a meter, which ends with the vat and not with the
 * call. */
#include <locale.h>
#include <string.h>

#include "message.h"
#include "object.h"
#include "quota.h"
#include "sandbox.h"
#include "vat_heap.h"
#include "vat_inside.h"

static char key_inside; /* registry of the vat's state: what inside.lua returned */

struct vat_state {
  struct lethe_sandbox *sandbox;
  struct vat_heap heap;
  bool running;
  bool restless; /* it collects far too often: its time says nothing */
  int64_t used;  /* instructions, in the last call under a meter */
};

static void end_state(struct lethe_state *s, void *what, bool closed) {
  struct vat_state *v = what;
  (void)s;
  (void)closed;
  lethe_sandbox_delete(v->sandbox);
  lethe_free(&lethe_alloc_libc, v, sizeof *v);
}

static int state_call(lua_State *L);
static int state_plan(lua_State *L);
static int state_stats(lua_State *L);
static int state_collect(lua_State *L);
static int state_account(lua_State *L);
static const luaL_Reg calls[] = {{"call", state_call},       {"plan", state_plan},
                                 {"stats", state_stats},     {"collect", state_collect},
                                 {"account", state_account}, {NULL, NULL}};
static const struct lethe_class state_class = {
    .name = "lethe.vat.State", .end = end_state, .methods = calls};

/* ---- making ---------------------------------------------------------------------------------- */

/* more(env), in the vat's state: keeps what inside.open(env) returns. */
static int open_inside(lua_State *L) {
  luaL_requiref(L, "lethe.core.inside", luaopen_lethe_core_inside, 0);
  lua_settop(L, 1);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "lethe.vat.inside");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "open");
  lua_pushvalue(L, 1);
  lua_call(L, 1, 1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_inside);
  return 0;
}

/* new(memory | nil) -> State | nil, m, code */
static int l_new(lua_State *L) {
  char err[300];
  lethe_safepoint(L);
  int64_t limit = lua_isnoneornil(L, 1) ? (int64_t)LETHE_SANDBOX_MEMORY : lethe_checksize(L, 1);
  struct lethe_box *b = lethe_box_new(L, &state_class, 1);
  struct vat_state *v = lethe_zalloc(&lethe_alloc_libc, sizeof *v);
  if (!v) return lethe_nomemory(L);
  vat_heap_init(&v->heap, (size_t)limit, &lethe_alloc_libc);
  const struct lethe_sandbox_options options = {
      .allocate = vat_heap_allocate, .ud = &v->heap, .more = open_inside};
  v->sandbox = lethe_sandbox_open(L, &options, err, sizeof err);
  if (!v->sandbox) {
    lethe_free(&lethe_alloc_libc, v, sizeof *v);
    return lethe_failf(L, LETHE_ENOMEM, "%s", err);
  }
  vat_heap_start(&v->heap, lethe_sandbox_state(v->sandbox));
  lethe_box_hold(L, b, v);
  return 1;
}

/* ---- calling --------------------------------------------------------------------------------- */

struct job {
  const char *name;
  bool theirs; /* the vat's code runs in it */
  const struct lethe_packed *given;
  struct lethe_packed *got;
};

/* In the vat's state. */
static int enter(lua_State *L) {
  struct job *j = lua_touserdata(L, 1);
  lua_settop(L, 0);
  vat_use_strings(L, !j->theirs);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_inside);
  lua_getfield(L, 1, j->name);
  int n = lethe_unpack(L, j->given);
  lua_call(L, n, LUA_MULTRET);
  j->got = lethe_pack_all(L, 2, lua_gettop(L) - 1, "result", false, 0);
  return 0;
}

/* In the host's state: true, and what the call returned. */
static int push_results(lua_State *L) {
  const struct lethe_packed *p = lua_touserdata(L, 1);
  lua_settop(L, 0);
  lua_pushboolean(L, 1);
  return 1 + lethe_unpack(L, p);
}

static int results(lua_State *L, struct lethe_packed *p) {
  int top = lua_gettop(L);
  lua_pushcfunction(L, push_results);
  lua_pushlightuserdata(L, p);
  int rc = lua_pcall(L, 1, LUA_MULTRET, 0);
  lethe_packed_free(p);
  return rc == LUA_OK ? lua_gettop(L) - top : lua_error(L);
}

/* nil, what the vat's state says, and what it means for the vat. */
static int failure(lua_State *L, const struct vat_state *v, const struct lethe_meter *m) {
  lua_State *S = lethe_sandbox_state(v->sandbox);
  const char *message = lua_tostring(S, -1), *exhausted = vat_heap_exhausted(&v->heap);
  const char *code = "failed";
  if (exhausted) {
    code = "memory";
    message = exhausted;
  } else if (m->late) {
    code = "memory";
    message = "the vat took too long for what its meter counts";
  } else if (m->spent) {
    code = "meter";
    message = "the vat has spent its meter";
  }
  luaL_pushfail(L);
  lua_pushstring(L, message ? message : "an error without a message");
  lua_pushstring(L, code);
  return 3;
}

/* What no meter sees is an instruction that takes long: comparing two texts of a megabyte, or
 * looking through a table that was emptied. So a crank has its time too: far more than its meter
 * could take. Like the end of memory that is an input to a replay. */
static void set_patience(const struct vat_state *v, struct lethe_meter *m) {
  const int64_t second = 1000000000, each = 100;
  if (v->restless || m->budget > INT64_MAX / each - 10 * second) return;
  m->within = 10 * second + m->budget * each;
}

/* In the C locale, which is the same everywhere: order of strings, numbers as text and back. */
static int run(lua_State *S, struct job *j, struct lethe_meter *m) {
  locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0), before = uselocale(plain);
  lua_pushcfunction(S, enter);
  lua_pushlightuserdata(S, j);
  int rc = lethe_meter_pcall(S, 1, 0, m);
  uselocale(before);
  if (plain) freelocale(plain);
  return rc;
}

/* State:call(name, meter | nil, ...) -> true, ... | nil, message, "meter" | "memory" | "failed":
 * the vat's code runs if there is a meter */
static int state_call(lua_State *L) {
  struct vat_state *v = lethe_check(L, 1, &state_class)->what;
  struct job j = {.name = luaL_checkstring(L, 2), .theirs = !lua_isnoneornil(L, 3)};
  struct lethe_meter m;
  lethe_meter_init(&m, luaL_optinteger(L, 3, INT64_MAX));
  set_patience(v, &m);
  if (v->running) return luaL_error(L, "the vat is in the midst of a call");
  if (lua_gettop(L) < 3) lua_settop(L, 3);
  struct lethe_packed *given = lethe_pack_all(L, 4, lua_gettop(L) - 3, "argument #", false, 1);
  j.given = given;
  lua_State *S = lethe_sandbox_state(v->sandbox);
  int top = lua_gettop(S);
  v->running = true;
  int rc = run(S, &j, &m);
  v->running = false;
  if (j.theirs) v->used = lethe_meter_used(&m);
  lethe_packed_free(given);
  if (rc == LUA_OK && !vat_heap_exhausted(&v->heap)) return results(L, j.got);
  if (j.got) lethe_packed_free(j.got);
  int n = failure(L, v, &m);
  lua_settop(S, top);
  return n;
}

/* State:plan(mode | nil, n | nil): how the collector works from now on; a full collection at every
 * n-th object. "stop": it collects where it must, only. */
static int state_plan(lua_State *L) {
  struct vat_state *v = lethe_check(L, 1, &state_class)->what;
  static const char *const modes[] = {"incremental", "generational", "stop", NULL};
  int mode = luaL_checkoption(L, 2, "incremental", modes);
  lua_Integer n = luaL_optinteger(L, 3, 0);
  if (v->running) return luaL_error(L, "the vat is in the midst of a call");
  vat_heap_plan(&v->heap, lethe_sandbox_state(v->sandbox), mode == 1, mode == 2,
                n > 0 ? (uint64_t)n : 0);
  v->restless = n > 0;
  return 0;
}

/* State:stats() -> bytes that it holds, instructions of the last call under a meter, collections
 * that a plan asked for */
static int state_stats(lua_State *L) {
  struct vat_state *v = lethe_check(L, 1, &state_class)->what;
  lua_pushinteger(L, (lua_Integer)v->heap.used);
  lua_pushinteger(L, v->used);
  lua_pushinteger(L, (lua_Integer)v->heap.collections);
  return 3;
}

/* State:collect(): a full collection; false in the midst of a call. */
static int state_collect(lua_State *L) {
  struct lethe_box *b = lethe_test(L, 1, &state_class);
  struct vat_state *v = b ? b->what : NULL;
  bool can = v && !v->running;
  if (can) vat_heap_collect(&v->heap, lethe_sandbox_state(v->sandbox));
  lua_pushboolean(L, can);
  return 1;
}

/* ---- whose memory it is ---------------------------------------------------------------------- */

/* As for a state that is tracked: an account that was closed counts nothing any more, one that
 * collapsed gives no more memory. */
static bool claim(void *ud, size_t n) {
  struct lethe_quota_handle *h = ud;
  int rc = lethe_quota_claim(h, (int64_t)n);
  return rc == LETHE_OK || (rc != LETHE_ELIMIT && !lethe_quota_handle_condemned(h));
}

static void release(void *ud, size_t n) { lethe_quota_release(ud, (int64_t)n); }

/* State:account(participation): what it uses, which was claimed through it, is the account's from
 * now on. The participation is kept as long as the state is there. */
static int state_account(lua_State *L) {
  struct vat_state *v = lethe_check(L, 1, &state_class)->what;
  struct participation *p = lethe_check(L, 2, &quota_participation_class)->what;
  lua_settop(L, 2);
  lua_setiuservalue(L, 1, 1);
  vat_heap_account(&v->heap, &(struct vat_account){claim, release, &p->handle});
  return 0;
}

static const luaL_Reg functions[] = {{"new", l_new}, {NULL, NULL}};

int luaopen_lethe_core_vat(lua_State *L) {
  luaL_checkversion(L);
  lethe_class(L, &state_class);
  luaL_newlib(L, functions);
  return 1;
}
