/* SPDX-License-Identifier: MIT
 * The calls that go from key to key: pairs, ranges, ends, lists, comparing, splitting and
 * appending. A step begins at the key of the one before, so no change of the map concerns it. */
#include "weakmap.h"

bool weak_next_alive(lua_State *L, int map, struct weak_port *p, const struct lethe_weak_key *k,
                     bool strictly, bool down, struct lethe_weak_item *item) {
  while (lethe_weakmap_borrow_next(p->map, k, strictly, down, item)) {
    weak_push(L, map, p, item->object);
    if (!lua_isnil(L, -1)) return true;
    lua_pop(L, 1);
    if (weak_is_strong(p)) return false;
    weak_bury(weak_ref(item->object));
  }
  return false;
}

/* Pushes the key of an entry whose value is on top, below it; the entry may be gone afterwards. */
static void push_entry(lua_State *L, const struct lethe_weak_item *item) {
  weak_push_key(L, &item->key);
  lua_insert(L, -2);
}

/* ---- pairs ----------------------------------------------------------------------------------- */

/* The key of an entry that was there before the map was cleared may be of the other kind. */
static int next_entry(lua_State *L) {
  struct weak_port *p = weak_check(L, 1);
  struct lethe_weak_key k;
  struct lethe_weak_item item;
  lua_settop(L, 2);
  bool begun = !lua_isnil(L, 2);
  if (begun && !weak_to_key(L, 2, p, &k)) return 0;
  if (!weak_next_alive(L, 1, p, begun ? &k : NULL, true, false, &item)) return 0;
  push_entry(L, &item);
  return 2;
}

static int map_pairs(lua_State *L) {
  weak_check(L, 1);
  lua_pushcfunction(L, next_entry);
  lua_pushvalue(L, 1);
  lua_pushnil(L);
  return 3;
}

/* ---- ranges ---------------------------------------------------------------------------------- */

static struct weak_port *check_ordered(lua_State *L, const char *call) {
  struct weak_port *p = weak_check(L, 1);
  if (!lethe_weakmap_is_ordered(p->map)) luaL_error(L, "'%s' needs an ordered map", call);
  return p;
}

enum { MAP = 1, AT, BEGUN, END, DOWN };

/* Whether an entry lies behind the range's end, which may be of the other kind by now. */
static bool is_beyond(lua_State *L, struct weak_port *p, const struct lethe_weak_key *k,
                      bool down) {
  struct lethe_weak_key end;
  if (lua_isnil(L, lua_upvalueindex(END))) return false;
  if (!weak_to_key(L, lua_upvalueindex(END), p, &end)) return true;
  int order = lethe_weak_compare(k, &end);
  return down ? order < 0 : order > 0;
}

/* The iterator: its map, the key it is at (at first where it begins), and so on, as upvalues. */
static int next_in_range(lua_State *L) {
  struct lethe_weak_key at;
  struct lethe_weak_item item;
  lua_settop(L, 0);
  lua_pushvalue(L, lua_upvalueindex(MAP));
  struct weak_port *p = weak_check(L, 1);
  bool down = lua_toboolean(L, lua_upvalueindex(DOWN));
  bool strictly = lua_toboolean(L, lua_upvalueindex(BEGUN));
  bool open = lua_isnil(L, lua_upvalueindex(AT));
  if (!open && !weak_to_key(L, lua_upvalueindex(AT), p, &at)) return 0;
  if (!weak_next_alive(L, 1, p, open ? NULL : &at, strictly, down, &item)) return 0;
  if (is_beyond(L, p, &item.key, down)) return 0;
  push_entry(L, &item);
  lua_pushvalue(L, -2);
  lua_replace(L, lua_upvalueindex(AT));
  lua_pushboolean(L, 1);
  lua_replace(L, lua_upvalueindex(BEGUN));
  return 2;
}

static int push_range(lua_State *L, const char *call, bool down) {
  struct weak_port *p = check_ordered(L, call);
  struct lethe_weak_key from, to;
  lua_settop(L, 3);
  if (!lua_isnil(L, 2)) weak_check_key(L, 2, p, &from);
  if (!lua_isnil(L, 3)) weak_check_key(L, 3, p, &to);
  bool both = !lua_isnil(L, 2) && !lua_isnil(L, 3);
  if (both && lua_type(L, 2) != lua_type(L, 3))
    luaL_argerror(L, 3, "both ends of a range must be numbers, or strings");
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_pushboolean(L, 0);
  lua_pushvalue(L, 3);
  lua_pushboolean(L, down);
  lua_pushcclosure(L, next_in_range, DOWN);
  return 1;
}

/* WeakMap:range(lo, hi), WeakMap:range_down(hi, lo) -> iterator */
static int map_range(lua_State *L) { return push_range(L, "range", false); }
static int map_range_down(lua_State *L) { return push_range(L, "range_down", true); }

/* ---- ends ------------------------------------------------------------------------------------ */

static int push_end(lua_State *L, struct weak_port *p, bool down) {
  struct lethe_weak_item item;
  lua_settop(L, 1);
  if (!weak_next_alive(L, 1, p, NULL, false, down, &item)) {
    lua_pushnil(L);
    return 1;
  }
  push_entry(L, &item);
  return 2;
}

/* The value stays on the stack, and so lives. A finalizer may have run since, and put another. */
static int pop_end(lua_State *L, struct weak_port *p, bool down) {
  struct lethe_weak_key k;
  weak_mutate(L, p);
  int n = push_end(L, p, down);
  if (n == 2 && weak_to_key(L, 2, p, &k) && weak_is_at(L, p, &k, 3)) {
    weak_take_out(L, p, &k);
    lua_pop(L, 1);
  }
  return n;
}

static int map_first(lua_State *L) { return push_end(L, check_ordered(L, "first"), false); }
static int map_last(lua_State *L) { return push_end(L, check_ordered(L, "last"), true); }
static int map_pop_first(lua_State *L) { return pop_end(L, check_ordered(L, "pop_first"), false); }
static int map_pop_last(lua_State *L) { return pop_end(L, check_ordered(L, "pop_last"), true); }

/* ---- lists ----------------------------------------------------------------------------------- */

static int push_list(lua_State *L, bool keys) {
  struct weak_port *p = weak_check(L, 1);
  struct lethe_weak_key k;
  struct lethe_weak_item item;
  lua_Integer n = 0;
  lua_settop(L, 1);
  lua_newtable(L);
  lua_pushnil(L); /* 3: the key it is at */
  for (;;) {      /* finalizers may run at each turn, and close the map */
    p = lethe_check(L, 1, lethe_class_of(L, 1))->what;
    bool begun = n > 0;
    if (begun && !weak_to_key(L, 3, p, &k)) break;
    if (!weak_next_alive(L, 1, p, begun ? &k : NULL, true, false, &item)) break;
    push_entry(L, &item);
    lua_pushvalue(L, keys ? 4 : 5);
    lua_rawseti(L, 2, ++n);
    lua_pop(L, 1);
    lua_replace(L, 3);
  }
  lua_settop(L, 2);
  return 1;
}

/* WeakMap:keys(), WeakMap:values() -> list */
static int map_keys(lua_State *L) { return push_list(L, true); }
static int map_values(lua_State *L) { return push_list(L, false); }

/* ---- whole maps ------------------------------------------------------------------------------ */

static struct weak_port *port_of(lua_State *L, int arg) {
  const struct lethe_class *c = lethe_class_of(L, arg);
  if (c != &weak_map_class && c != &weak_strong_class) return NULL;
  return ((struct lethe_box *)lua_touserdata(L, arg))->what;
}

/* Living entries of the map at `a` that are not, with the same value, in the map at `b`; and how
 * many living there are. Nothing is allocated. */
static size_t missing(lua_State *L, int a, int b, size_t *living) {
  struct weak_port *p = port_of(L, a), *q = port_of(L, b);
  struct lethe_weak_item item;
  size_t n = 0;
  *living = 0;
  bool there = lethe_weakmap_borrow_next(p->map, NULL, false, false, &item);
  while (there) {
    struct lethe_weak_key at = item.key;
    weak_push(L, a, p, item.object);
    if (!lua_isnil(L, -1)) {
      struct lethe_counted *other = lethe_weakmap_borrow(q->map, &at);
      ++*living;
      if (other)
        weak_push(L, b, q, other);
      else
        lua_pushnil(L);
      n += !lua_rawequal(L, -1, -2);
      lua_pop(L, 1);
    }
    lua_pop(L, 1);
    there = lethe_weakmap_borrow_next(p->map, &at, true, false, &item);
  }
  return n;
}

/* a == b: the same keys with identical living values */
static int map_eq(lua_State *L) {
  size_t x, y;
  lethe_safepoint(L);
  bool both = port_of(L, 1) && port_of(L, 2);
  lua_pushboolean(L, both && missing(L, 1, 2, &x) == 0 && missing(L, 2, 1, &y) == 0 && x == y);
  return 1;
}

/* split(map, k, into): what is at the key or behind it goes to the weak map `into`, which is new */
static int l_split(lua_State *L) {
  struct weak_port *p = weak_check(L, 1), *into = weak_check(L, 3);
  struct lethe_weakmap_options o = {
      .ordered = true, .keeps_dead = into->keeps_dead, .notify = weak_notify, .ud = into};
  struct lethe_weak_key k;
  struct lethe_weakmap *map;
  weak_check_key(L, 2, p, &k);
  int rc = lethe_weakmap_split_off(p->map, &k, &o, &map);
  if (rc == LETHE_ENOMEM) return lethe_nomemory(L);
  lethe_weakmap_put_ref(into->map);
  into->map = map;
  return 0;
}

/* append(map, other) of weak maps */
static int l_append(lua_State *L) {
  struct weak_port *p = weak_check(L, 1), *other = weak_check(L, 2);
  size_t n = lethe_weakmap_len(other->map);
  if (lethe_weakmap_append(p->map, other->map) == LETHE_ENOMEM) return lethe_nomemory(L);
  p->ops += (lua_Integer)n;
  other->ops = 0;
  return 0;
}

/* kind(map) -> "number" | "string" | nil: of its keys */
static int l_kind(lua_State *L) {
  struct weak_port *p = weak_check(L, 1);
  struct lethe_weak_key number = lethe_weak_integer(0), text = lethe_weak_bytes("", 0);
  bool numbers = !lethe_weakmap_accepts(p->map, &number);
  bool strings = !lethe_weakmap_accepts(p->map, &text);
  if (numbers && strings)
    lua_pushnil(L);
  else
    lua_pushstring(L, numbers ? "number" : "string");
  return 1;
}

const luaL_Reg weak_walk_methods[] = {
    {"range", map_range}, {"range_down", map_range_down}, {"first", map_first},
    {"last", map_last},   {"pop_first", map_pop_first},   {"pop_last", map_pop_last},
    {"keys", map_keys},   {"values", map_values},         {NULL, NULL}};

const luaL_Reg weak_walk_functions[] = {
    {"split", l_split}, {"append", l_append}, {"kind", l_kind}, {NULL, NULL}};

static const luaL_Reg operators[] = {{"__pairs", map_pairs}, {"__eq", map_eq}, {NULL, NULL}};

void weak_open_walks(lua_State *L, int metatable) {
  lua_pushvalue(L, metatable);
  luaL_setfuncs(L, operators, 0);
  lua_pop(L, 1);
}
