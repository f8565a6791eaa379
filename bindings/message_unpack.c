/* SPDX-License-Identifier: MIT
 * Messages: unpacking. All tables and objects are made first, each under its number, and then the
 * tables are filled, so that cycles need no care. */
#include <string.h>

#include "message_parts.h"

struct reader {
  const struct lethe_packed *p;
  const unsigned char *at;
  int made; /* stack index: the tables by number, then the objects */
};

static void get(struct reader *r, void *to, size_t n) {
  memcpy(to, r->at, n);
  r->at += n;
}

/* Pushes the next value; false at END. */
static bool push_value(lua_State *L, struct reader *r) {
  enum tag tag = (enum tag) * r->at++;
  lua_Integer i;
  lua_Number d;
  size_t n;
  uint32_t index;
  switch (tag) {
  case NIL:
    lua_pushnil(L);
    return true;
  case FALSE:
  case TRUE:
    lua_pushboolean(L, tag == TRUE);
    return true;
  case INTEGER:
    get(r, &i, sizeof i);
    lua_pushinteger(L, i);
    return true;
  case FLOAT:
    get(r, &d, sizeof d);
    lua_pushnumber(L, d);
    return true;
  case STRING:
    get(r, &n, sizeof n);
    lua_pushlstring(L, (const char *)r->at, n);
    r->at += n;
    return true;
  case TABLE:
  case OBJECT:
    get(r, &index, sizeof index);
    lua_rawgeti(L, r->made, (lua_Integer)(tag == OBJECT ? r->p->tables : 0) + index);
    return true;
  case END:
    break;
  }
  return false;
}

/* The module of a class is loaded before the first object of it comes from elsewhere. */
static void load_module(lua_State *L, const char *class_name) {
  const char *end = strrchr(class_name, '.');
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_pushlstring(L, class_name, (size_t)(end - class_name));
  lua_pushvalue(L, -1);
  if (!lua_toboolean(L, (lua_rawget(L, -3), -1))) {
    lua_getglobal(L, "require");
    lua_pushvalue(L, -3);
    lua_call(L, 1, 0);
  }
  lua_pop(L, 3);
}

static void make_all(lua_State *L, struct reader *r) {
  const struct lethe_packed *p = r->p;
  struct shape shape;
  const unsigned char *shapes = p->bytes + p->n - p->tables * sizeof shape;
  lua_createtable(L, (int)(p->tables + p->handles), 0);
  r->made = lua_gettop(L);
  for (size_t i = 0; i < p->tables; i++) {
    memcpy(&shape, shapes + i * sizeof shape, sizeof shape);
    lua_createtable(L, shape.array, shape.hash);
    lua_rawseti(L, r->made, (lua_Integer)i + 1);
  }
  for (size_t i = 0; i < p->handles; i++) {
    load_module(L, p->list[i].class->name);
    p->list[i].class->receive(L, p->list[i].shared);
    lua_rawseti(L, r->made, (lua_Integer)(p->tables + i) + 1);
  }
}

static void fill_all(lua_State *L, struct reader *r) {
  for (size_t i = 1; i <= r->p->tables; i++) {
    lua_rawgeti(L, r->made, (lua_Integer)i);
    while (push_value(L, r)) {
      push_value(L, r);
      lua_rawset(L, -3);
    }
    lua_pop(L, 1);
  }
}

void lethe_unpack_plain(lua_State *L, const unsigned char *bytes) {
  push_value(L, &(struct reader){.at = bytes});
}

int lethe_unpack(lua_State *L, const struct lethe_packed *p) {
  struct reader r = {.p = p, .at = p->bytes};
  message_need_stack(L, (int)p->values + LUA_MINSTACK);
  if (p->tables + p->handles > 0) make_all(L, &r);
  for (size_t i = 0; i < p->values; i++) push_value(L, &r);
  if (r.made) {
    fill_all(L, &r);
    lua_remove(L, r.made);
  }
  return (int)p->values;
}
