/* SPDX-License-Identifier: MIT
 * Messages: where in what was to be packed a value stands that cannot go, and what it is. Only
 * looked for when it is needed: it searches the tables that were met. */
#include <string.h>

#include "message_parts.h"

/* Puts the key at `key` in front of the path on top: ".name", "[3]", "[\"a b\"]". */
static void push_segment(lua_State *L, int key) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
  static const char others[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
  const char *name = lua_type(L, key) == LUA_TSTRING ? lua_tostring(L, key) : NULL;
  if (name && strlen(name) == lua_rawlen(L, key) && *name && strchr(letters, *name) &&
      name[strspn(name, others)] == '\0') {
    lua_pushfstring(L, ".%s", name);
  } else {
    luaL_tolstring(L, key, NULL);
    lua_pushfstring(L, name ? "[\"%s\"]" : "[%s]", lua_tostring(L, -1));
    lua_remove(L, -2);
  }
  lua_insert(L, -2);
  lua_concat(L, 2);
}

/* Pushes a key under which the table of that number stands in another one, whose number it returns;
 * 0, and no key, if it is a value itself. Only for a message: it searches. */
static uint32_t find_parent(struct message_walk *w, uint32_t table) {
  lua_State *L = w->L;
  lua_rawgeti(L, message_numbers(w), -(lua_Integer)table);
  int child = lua_gettop(L);
  for (w->value = 1; w->value <= w->values; w->value++)
    if (lua_rawequal(L, w->value, child)) {
      lua_settop(L, child - 1);
      return 0;
    }
  for (uint32_t i = 1; i < table; i++) {
    lua_rawgeti(L, message_numbers(w), -(lua_Integer)i);
    lua_pushnil(L);
    while (lua_next(L, -2)) {
      if (lua_rawequal(L, -1, child)) {
        lua_pushvalue(L, -2);
        lua_replace(L, child);
        lua_settop(L, child);
        return i;
      }
      lua_pop(L, 1);
    }
    lua_settop(L, child);
  }
  lua_settop(L, child - 1);
  return 0;
}

enum { SEGMENTS = 20 };

/* Pushes the path of the table of that number, or of what it has under the key at `key`. */
static void push_path(struct message_walk *w, uint32_t table, int key) {
  lua_State *L = w->L;
  lua_pushliteral(L, "");
  if (key) push_segment(L, key);
  for (int n = 1; table; n++) {
    table = find_parent(w, table);
    if (!table) break;
    lua_insert(L, -2);
    push_segment(L, lua_gettop(L) - 1);
    lua_remove(L, -2);
    if (n == SEGMENTS) {
      lua_pushfstring(L, "...%s", lua_tostring(L, -1));
      return;
    }
  }
  size_t n = strlen(w->what);
  if (n && w->what[n - 1] == '#')
    lua_pushfstring(L, "%s%d%s", w->what, w->value, lua_tostring(L, -1));
  else
    lua_pushfstring(L, "%s%s", w->what, lua_tostring(L, -1));
}

/* What the value at `i` is, for people. */
static const char *push_kind(lua_State *L, int i) {
  const char *name = lethe_typename(L, i);
  if (name && !((struct lethe_box *)lua_touserdata(L, i))->what)
    return lua_pushfstring(L, "a closed lethe.%s", name);
  if (name && lethe_class_of(L, i)->share)
    return lua_pushfstring(L, "a lethe.%s, which goes in messages only", name);
  if (name) return lua_pushfstring(L, "a lethe.%s, which cannot go to another state", name);
  if (lua_islightuserdata(L, i)) return lua_pushliteral(L, "a light userdata");
  return lua_pushfstring(L, "a %s", luaL_typename(L, i));
}

void message_refuse_value(struct message_walk *w, uint32_t table, int key) {
  const char *kind = push_kind(w->L, lua_gettop(w->L));
  push_path(w, table, key);
  luaL_error(w->L, "%s is %s", lua_tostring(w->L, -1), kind);
  __builtin_unreachable();
}

void message_refuse_key(struct message_walk *w, uint32_t table, int key) {
  const char *kind = push_kind(w->L, key);
  push_path(w, table, 0);
  luaL_error(w->L, "a key of %s is %s", lua_tostring(w->L, -1), kind);
  __builtin_unreachable();
}
