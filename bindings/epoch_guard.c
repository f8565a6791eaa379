/* SPDX-License-Identifier: MIT
 * Guards for lethe.core.epoch: pins of coroutines. A Guard is one level of a section's pins, made
 * at the first pin that deep and used again for every later one.
 *
 * pin and unpin are hot: their objects name their class, and the Guards of the first levels are the
 * Handle's user values. */
#include "epoch_parts.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

enum { RERUNS = 8 }; /* of with_pin */

struct guard {
  struct epoch_section *section; /* NULL: not made in full */
  uint32_t level;                /* 1: the outermost */
  uint32_t changes;              /* of the section, when with_pin began */
};

static void end_guard(struct lethe_state *s, void *what, bool closed) {
  struct guard *g = what;
  (void)s;
  (void)closed;
  if (g->section) epoch_section_put(g->section);
  lethe_free(mem, g, sizeof *g);
}

static struct epoch_port *hot_handle(lua_State *L) {
  struct epoch_port *p = lethe_hot(L, &epoch_handle_class);
  return p ? p : lethe_check(L, 1, &epoch_handle_class)->what;
}

static struct guard *hot_guard(lua_State *L) {
  struct guard *g = lethe_hot(L, &epoch_guard_class);
  return g ? g : lethe_check(L, 1, &epoch_guard_class)->what;
}

/* ---- pinning --------------------------------------------------------------------------------- */

/* Pushes the Guard of a level, if there is one: each keeps the next as its user value. */
static struct guard *push_known(lua_State *L, struct epoch_section *s, uint32_t level) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &epoch_key_guards);
  lua_rawgetp(L, -1, s);
  lua_replace(L, -2);
  for (; level > 1 && lua_isuserdata(L, -1); level--) {
    lua_getiuservalue(L, -1, 1);
    lua_replace(L, -2);
  }
  struct lethe_box *b = lua_touserdata(L, -1);
  if (b && b->what) return b->what;
  lua_pop(L, 1);
  return NULL;
}

/* The Guard on top becomes that of the section's next level. May raise, and runs no finalizer. */
static void attach(lua_State *L, struct epoch_section *s, struct guard *g) {
  uint32_t level = s->depth + 1;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &epoch_key_guards);
  if (level > 1 && push_known(L, s, level - 1)) {
    lua_pushvalue(L, -3);
    lua_setiuservalue(L, -2, 1);
    lua_pop(L, 1);
  } else {
    lua_pushvalue(L, -2);
    lua_rawsetp(L, -2, s);
  }
  lua_pop(L, 1);
  g->section = s;
  g->level = level;
  s->refs++;
}

static struct guard *new_guard(lua_State *L) {
  struct lethe_box *b = lethe_box_new(L, &epoch_guard_class, 1);
  struct guard *g = lethe_zalloc(mem, sizeof *g);
  if (!g) lethe_nomemory(L);
  lethe_box_hold(L, b, g);
  return g;
}

/* The section to pin on, of the handle at 1. */
static struct epoch_section *section_of(lua_State *L) {
  struct lethe_box *b = lua_touserdata(L, 1);
  struct epoch_port *p = b->what;
  if (__builtin_expect(!p, 0)) luaL_error(L, "attempt to use a closed %s", epoch_handle_class.name);
  return epoch_here(L, p);
}

/* The section, and on the stack the Guard of its next level, found by the slower ways. Making one
 * may run finalizers, and so anything. */
static struct epoch_section *find_guard(lua_State *L, struct epoch_section *s) {
  if (!push_known(L, s, s->depth + 1)) {
    struct guard *g = new_guard(L);
    s = section_of(L);
    if (push_known(L, s, s->depth + 1))
      lua_replace(L, -2);
    else
      attach(L, s, g);
  }
  if (s->depth < EPOCH_CACHED) {
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, (int)s->depth + 1);
  }
  return s;
}

/* Pins on the handle at 1, and pushes the Guard. */
static struct guard *pin(lua_State *L) {
  struct epoch_section *s = section_of(L);
  uint32_t level = s->depth + 1;
  struct lethe_box *b = NULL;
  if (__builtin_expect(level <= EPOCH_CACHED, 1)) {
    lua_getiuservalue(L, 1, (int)level);
    b = lua_touserdata(L, -1);
  }
  if (__builtin_expect(!b || !b->what || ((struct guard *)b->what)->section != s, 0)) {
    if (level <= EPOCH_CACHED) lua_pop(L, 1);
    s = find_guard(L, s);
    b = lua_touserdata(L, -1);
  }
  if (__builtin_expect(!s->held || s->L != L, 0)) epoch_hold(L, s);
  s->depth++;
  lethe_epoch_pin(s->rec);
  return b->what;
}

static int l_pin(lua_State *L) {
  hot_handle(L);
  pin(L);
  return 1;
}

static int neutralized(lua_State *L) { return lethe_fail(L, LETHE_ENEUTRALIZED); }

/* Raises unless the calling coroutine has this guard pinned. */
static void check_pinned(lua_State *L, const struct guard *g) {
  const struct epoch_section *s = g->section;
  if (!s || s->depth < g->level)
    luaL_error(L, "attempt to use a closed lethe.epoch.Guard: it is not pinned (a second unpin?)");
  if (s->L != L) luaL_error(L, "a guard belongs to the coroutine that pinned");
}

static int l_unpin(lua_State *L) {
  struct guard *g = hot_guard(L);
  struct epoch_section *s = g->section;
  if (__builtin_expect(!s || s->depth != g->level || s->L != L, 0)) {
    check_pinned(L, g);
    return luaL_error(L, "an outer guard cannot be unpinned before an inner one");
  }
  bool sound;
  if (__builtin_expect(s == s->port->current, 1)) {
    s->depth--;
    sound = lethe_epoch_unpin(s->rec);
  } else {
    sound = epoch_unwind(s, g->level - 1);
  }
  if (__builtin_expect(!sound, 0)) return neutralized(L);
  lua_pushboolean(L, 1);
  return 1;
}

/* guard:close(), and __close with the error that is on its way, or nil: of one that is not pinned
 * nothing. Inner pins that an error left behind go along; without an error that is misuse, told
 * once nothing is pinned any more. */
static int l_close(lua_State *L) {
  struct guard *g = hot_guard(L);
  struct epoch_section *s = g->section;
  if (s && s->depth >= g->level) {
    check_pinned(L, g);
    bool inner = s->depth > g->level;
    epoch_unwind(s, g->level - 1);
    if (inner && lua_isnoneornil(L, 2))
      return luaL_error(L, "a guard was closed before an inner one was unpinned");
  }
  lua_pushboolean(L, 1);
  return 1;
}

/* A record that is shared for want of another is not moved under the other section's feet. */
static int l_repin(lua_State *L) {
  struct guard *g = hot_guard(L);
  check_pinned(L, g);
  struct lethe_epoch_rec *r = g->section->rec;
  if (r->nest == g->section->depth || lethe_epoch_neutralized(r)) lethe_epoch_repin(r);
  lua_pushboolean(L, 1);
  return 1;
}

/* ---- with_pin -------------------------------------------------------------------------------- */

/* The stack: handle, fn, its arguments (`base` in all), the guard, to be closed, and what fn
 * returned. As a continuation: ctx is base and how many reruns there were. */
enum { RERUN_BITS = 4 };
static int run(lua_State *L, int base, int reruns);

static int ran(lua_State *L, int status, lua_KContext ctx) {
  int base = (int)(ctx >> RERUN_BITS), reruns = (int)ctx & ((1 << RERUN_BITS) - 1);
  struct lethe_box *b = lua_touserdata(L, base + 1);
  struct guard *g = b->what;
  struct epoch_section *s = g->section;
  bool pinned = s->depth >= g->level;
  bool out = pinned && lethe_epoch_neutralized(s->rec);
  bool again = out && g->level == 1 && s->changes == g->changes && reruns < RERUNS;
  (void)status;
  if (pinned && s->L == L) epoch_unwind(s, g->level - 1);
  lua_closeslot(L, base + 1);
  if (!out) return lua_gettop(L) - base - 1;
  lua_settop(L, base);
  return again ? run(L, base, reruns + 1) : neutralized(L);
}

static int run(lua_State *L, int base, int reruns) {
  luaL_checkstack(L, base + 8, "with_pin");
  struct guard *g = pin(L);
  g->changes = g->section->changes;
  lua_toclose(L, base + 1);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, base + 1);
  for (int i = 3; i <= base; i++) lua_pushvalue(L, i);
  lua_KContext ctx = (lua_KContext)base << RERUN_BITS | reruns;
  lua_callk(L, base - 1, LUA_MULTRET, ctx, ran);
  return ran(L, LUA_OK, ctx);
}

/* handle:with_pin(fn, ...) */
static int l_with_pin(lua_State *L) {
  hot_handle(L);
  luaL_argexpected(L, epoch_is_callable(L, 2), 2, "function");
  return run(L, lua_gettop(L), 0);
}

/* ---- opening --------------------------------------------------------------------------------- */

static int l_retire(lua_State *L) {
  lethe_safepoint(L);
  size_t bytes = epoch_check_retired(L);
  struct guard *g = lethe_check(L, 1, &epoch_guard_class)->what;
  check_pinned(L, g);
  return epoch_retire_at(L, g->section, bytes);
}

static const luaL_Reg methods[] = {
    {"retire", l_retire}, {"unpin", l_unpin}, {"close", l_close}, {"repin", l_repin}, {NULL, NULL}};
static const luaL_Reg metamethods[] = {{"__close", l_close}, {NULL, NULL}};

const struct lethe_class epoch_guard_class = {.name = "lethe.epoch.Guard",
                                              .end = end_guard,
                                              .hot = true,
                                              .methods = methods,
                                              .metamethods = metamethods};

void epoch_open_guard(lua_State *L) {
  static const luaL_Reg handle_methods[] = {{"pin", l_pin}, {"with_pin", l_with_pin}, {NULL, NULL}};
  lethe_class(L, &epoch_guard_class);
  luaL_getmetatable(L, epoch_handle_class.name);
  lua_getfield(L, -1, "__index");
  luaL_setfuncs(L, handle_methods, 0);
  lua_pop(L, 2);
}
