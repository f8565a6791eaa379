/* SPDX-License-Identifier: MIT
 * Lua values as counted objects: Refs, the tables between values and Refs, and how the dead are
 * told from the living. */
#include "weakmap.h"

char weak_key_values, weak_key_refs, weak_key_maps, weak_key_chain;
static char key_home, key_canary;

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

/* ---- the home -------------------------------------------------------------------------------- */

struct weak_home *weak_home(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_home);
  struct lethe_box *b = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return b ? b->what : NULL;
}

void weak_home_put(struct weak_home *h) {
  if (!lethe_ref_put(&h->refs)) return;
  weak_pool_end(h);
  lethe_free(mem, h, sizeof *h);
}

static void end_home(struct lethe_state *s, void *what, bool closed) {
  struct weak_home *h = what;
  (void)closed;
  struct lethe_settler **link = &s->settlers;
  while (*link != &h->settler) link = &(*link)->next;
  *link = h->settler.next;
  weak_home_put(h);
}

/* Of one object in each state, which no program sees. */
static const struct lethe_class home_class = {
    .name = "lethe.weakmap.home", .end = end_home, .hidden = true};

/* ---- Refs ------------------------------------------------------------------------------------ */

static void free_ref(struct lethe_counted *c) {
  struct weak_ref *r = weak_ref(c);
  struct weak_home *h = r->home;
  if (!h) {
    lethe_free(mem, r, sizeof *r);
    return;
  }
  weak_pool_give(h, r);
  weak_home_put(h);
}

static const struct lethe_counted_class counted_class = {false, NULL, free_ref};

struct weak_ref *weak_cell_new(uint32_t slot) {
  struct weak_ref *r = lethe_malloc(mem, sizeof *r);
  if (!r) return NULL;
  *r = (struct weak_ref){.slot = slot};
  lethe_counted_init(&r->counted, &counted_class);
  return r;
}

static void forget(struct weak_ref *r) {
  weak_pool_died(r);
  r->home->living--;
  r->buried = true;
}

/* The safe point after the value's death, or the state's end. */
static void end_ref(struct lethe_state *s, void *what, bool closed) {
  struct weak_ref *r = what;
  (void)s;
  (void)closed;
  if (!r->buried) {
    forget(r);
    lethe_strong_put(&r->counted);
  } else {
    lethe_weak_put(&r->counted); /* buried before */
  }
}

static const struct lethe_class ref_class = {
    .name = "lethe.weakmap.Ref", .end = end_ref, .hidden = true};

/* Its userdata may still be found under a value that a finalizer has brought back: the memory waits
 * for the safe point after the userdata's own death. */
void weak_bury(struct weak_ref *r) {
  lethe_weak_get(&r->counted);
  forget(r);
  lethe_strong_put(&r->counted);
}

/* The living Ref in the userdata on top, which it pops. */
static struct weak_ref *pop_ref(lua_State *L) {
  struct lethe_box *b = lua_touserdata(L, -1);
  lua_pop(L, 1);
  struct weak_ref *r = b ? b->what : NULL;
  return r && !r->buried ? r : NULL;
}

/* A value that was brought back by its finalizer, and its old Ref, may both still be there: then
 * VALUES no longer leads from the one to the other. */
struct weak_ref *weak_find_ref(lua_State *L, int value) {
  value = lua_absindex(L, value);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &weak_key_refs);
  lua_pushvalue(L, value);
  lua_rawget(L, -2);
  struct weak_ref *r = pop_ref(L);
  lua_pop(L, 1);
  if (!r) return NULL;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &weak_key_values);
  lua_rawgeti(L, -1, (lua_Integer)r->slot);
  bool same = lua_rawequal(L, -1, value);
  lua_pop(L, 2);
  if (same) return r;
  weak_bury(r);
  return NULL;
}

/* A box with a Ref of its own, on the stack. */
static struct weak_ref *new_ref(lua_State *L, struct weak_home *h) {
  struct lethe_box *b = lethe_box_new(L, &ref_class, 0);
  struct weak_ref *r = weak_pool_take(h);
  if (!r) lethe_nomemory(L);
  lethe_counted_init(&r->counted, &counted_class);
  lethe_ref_get(&h->refs);
  h->living++;
  lethe_box_hold(L, b, r);
  return r;
}

/* Finalizers may run in any of the allocations, and make a Ref for the same value: the first
 * counts. In the last two steps none can run. */
struct weak_ref *weak_ref_of(lua_State *L, struct weak_home *h, int value) {
  value = lua_absindex(L, value);
  struct weak_ref *r = weak_find_ref(L, value);
  if (r) return r;
  int top = lua_gettop(L);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &weak_key_values);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &weak_key_refs);
  struct weak_ref *made = new_ref(L, h);
  lua_pushvalue(L, value);
  lua_rawseti(L, top + 1, (lua_Integer)made->slot);
  r = weak_find_ref(L, value);
  if (!r) {
    lua_pushvalue(L, value);
    lua_pushvalue(L, top + 3);
    lua_rawset(L, top + 2);
    r = made;
  }
  lua_settop(L, top);
  return r;
}

void weak_check_value(lua_State *L, int arg) {
  int type = lua_type(L, arg);
  if (type != LUA_TTABLE && type != LUA_TUSERDATA && type != LUA_TFUNCTION && type != LUA_TTHREAD)
    luaL_typeerror(L, arg, "table, userdata, function or thread");
  const struct lethe_class *c = lethe_class_of(L, arg);
  if (c && !((struct lethe_box *)lua_touserdata(L, arg))->what)
    luaL_argerror(L, arg, lua_pushfstring(L, "attempt to use a closed %s", c->name));
}

/* The last strong drop of an object of lethe's is its close. */
static void on_close(lua_State *L, int object) {
  struct weak_ref *r = weak_find_ref(L, object);
  if (r) weak_bury(r);
  weak_forget_values(L, object);
}

/* ---- the living and the dead ----------------------------------------------------------------- */

/* A finalizer may have closed a strong map in the midst of a call: then it holds nothing any
 * more. */
void weak_push(lua_State *L, int map, const struct weak_port *p, struct lethe_counted *c) {
  if (weak_is_strong(p))
    lua_getiuservalue(L, map, WEAK_HELD);
  else
    lua_rawgetp(L, LUA_REGISTRYINDEX, &weak_key_values);
  if (lua_istable(L, -1))
    lua_rawgeti(L, -1, (lua_Integer)weak_ref(c)->slot);
  else
    lua_pushnil(L);
  lua_remove(L, -2);
}

/* Whether there was a collection since the last canary was set, which so is replaced: from here on
 * until the next one no value dies. */
static bool collected(lua_State *L, struct weak_home *h) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &key_canary);
  bool gone = lua_rawgeti(L, -1, 1) == LUA_TNIL;
  lua_pop(L, 1);
  if (gone) {
    lua_newuserdatauv(L, 0, 0);
    lua_rawseti(L, -2, 1); /* its place is there */
    h->epoch++;
  }
  lua_pop(L, 1);
  return gone;
}

static bool is_dead(lua_State *L, const struct weak_ref *r) { /* VALUES is on top */
  bool dead = lua_rawgeti(L, -1, (lua_Integer)r->slot) == LUA_TNIL;
  lua_pop(L, 1);
  return dead;
}

static void sweep_all(lua_State *L, struct weak_home *h) {
  struct weak_ref *r, *next;
  for (r = weak_pool_next(h, 0); r; r = next) {
    next = weak_pool_next(h, r->slot + 1);
    if (is_dead(L, r)) weak_bury(r);
  }
  h->counted = h->epoch;
}

/* A small map among many values: its own entries alone. */
static void sweep_one(lua_State *L, struct weak_port *p) {
  struct weak_ref *dead = NULL, **end = &dead;
  struct lethe_weak_item item;
  bool there = lethe_weakmap_borrow_next(p->map, NULL, false, false, &item);
  while (there) {
    struct weak_ref *r = weak_ref(item.object);
    struct lethe_weak_key at = item.key;
    if (!r->found && is_dead(L, r)) { /* it may be under several keys */
      r->found = true;
      r->next = NULL;
      *end = r;
      end = &r->next;
    }
    there = lethe_weakmap_borrow_next(p->map, &at, true, false, &item);
  }
  while (dead) {
    struct weak_ref *r = dead;
    dead = r->next;
    weak_bury(r);
  }
  p->epoch = p->home->epoch;
}

void weak_sweep(lua_State *L, struct weak_port *p) {
  struct weak_home *h = p->home;
  if (weak_is_strong(p)) return;
  collected(L, h);
  if (h->counted == h->epoch || p->epoch == h->epoch) return;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &weak_key_values);
  if (lethe_weakmap_len(p->map) < h->living / 16)
    sweep_one(L, p);
  else
    sweep_all(L, h);
  lua_pop(L, 1);
}

/* ---- opening --------------------------------------------------------------------------------- */

static void new_home(lua_State *L) {
  struct lethe_box *b = lethe_box_new(L, &home_class, 0);
  struct weak_home *h = lethe_zalloc(mem, sizeof *h);
  if (!h) lethe_nomemory(L);
  lethe_ref_init(&h->refs);
  lethe_list_init(&h->due);
  weak_pool_init(h);
  h->state = lethe_state(L);
  weak_open_dead(h);
  lethe_box_hold(L, b, h);
  h->state->on_close = on_close;
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_home);
}

/* The home comes last: with it everything is there. */
void weak_open_values(lua_State *L) {
  if (weak_home(L)) return;
  lethe_class(L, &home_class);
  lethe_class(L, &ref_class);
  lethe_new_table(L, &weak_key_values, "v");
  lethe_new_table(L, &weak_key_refs, "k");
  lethe_new_table(L, &weak_key_maps, "v");
  lua_pushboolean(L, 0);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &weak_key_chain);
  lua_createtable(L, 1, 0);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &key_canary);
  new_home(L);
}
