/* SPDX-License-Identifier: MIT
 * Messages: packing, and the paths of what cannot be packed. See message_unpack.c for the way back.
 *
 * While values are packed a Lua table numbers what is met: numbers[table] = 1.. and
 * numbers[-number] = table; objects are numbered on their own. A table has a larger number than the
 * first table in which it was met. */
#include <string.h>

#include "message_parts.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

/* ---- blocks ---------------------------------------------------------------------------------- */

static size_t block_size(size_t n, size_t handles) {
  size_t align = _Alignof(struct lethe_handle) - 1;
  return ((sizeof(struct lethe_packed) + n + align) & ~align) +
         handles * sizeof(struct lethe_handle);
}

static void free_item(struct lethe_item *item) { lethe_packed_free(lethe_packed_of(item)); }

static struct lethe_packed *block_new(size_t n, size_t handles) {
  size_t size = block_size(n, handles);
  struct lethe_packed *p = lethe_malloc(mem, size);
  if (!p) return NULL;
  *p = (struct lethe_packed){.item.free = free_item, .n = n, .handles = handles, .values = 1};
  p->list = (struct lethe_handle *)((char *)p + size - handles * sizeof(struct lethe_handle));
  return p;
}

static void drop_handles(const struct lethe_handle *list, size_t n) {
  for (size_t i = 0; i < n; i++) list[i].class->drop(list[i].shared);
}

void lethe_packed_free(struct lethe_packed *p) {
  if (!p) return;
  drop_handles(p->list, p->handles);
  lethe_free(mem, p, block_size(p->n, p->handles));
}

/* ---- the paths of what cannot go ------------------------------------------------------------- */

/* The stack of the function that packs: the values, the table of numbers, and then whatever. */
struct packer {
  lua_State *L;
  unsigned char *bytes;
  size_t n, room;
  struct lethe_handle *list;
  size_t handles, handle_room;
  struct shape *shapes; /* of the tables */
  size_t shape_room;
  uint32_t tables;
  int values, value; /* how many, and which one is being packed */
  bool objects;
  const char *what;
};

static int numbers(const struct packer *p) { return p->values + 1; }

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
static uint32_t find_parent(struct packer *p, uint32_t table) {
  lua_State *L = p->L;
  lua_rawgeti(L, numbers(p), -(lua_Integer)table);
  int child = lua_gettop(L);
  for (p->value = 1; p->value <= p->values; p->value++)
    if (lua_rawequal(L, p->value, child)) {
      lua_settop(L, child - 1);
      return 0;
    }
  for (uint32_t i = 1; i < table; i++) {
    lua_rawgeti(L, numbers(p), -(lua_Integer)i);
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
static void push_path(struct packer *p, uint32_t table, int key) {
  lua_State *L = p->L;
  lua_pushliteral(L, "");
  if (key) push_segment(L, key);
  for (int n = 1; table; n++) {
    table = find_parent(p, table);
    if (!table) break;
    lua_insert(L, -2);
    push_segment(L, lua_gettop(L) - 1);
    lua_remove(L, -2);
    if (n == SEGMENTS) {
      lua_pushfstring(L, "...%s", lua_tostring(L, -1));
      return;
    }
  }
  size_t n = strlen(p->what);
  if (n && p->what[n - 1] == '#')
    lua_pushfstring(L, "%s%d%s", p->what, p->value, lua_tostring(L, -1));
  else
    lua_pushfstring(L, "%s%s", p->what, lua_tostring(L, -1));
}

/* What the value at `i` is, for people. */
static const char *push_kind(lua_State *L, int i) {
  const char *name = lethe_typename(L, i);
  if (name && !((struct lethe_box *)lua_touserdata(L, i))->what)
    return lua_pushfstring(L, "a closed lethe.%s", name);
  if (name) return lua_pushfstring(L, "a lethe.%s, which cannot go to another state", name);
  if (lua_islightuserdata(L, i)) return lua_pushliteral(L, "a light userdata");
  return lua_pushfstring(L, "a %s", luaL_typename(L, i));
}

/* The value on top, of a table at the key at `key` or (0, 0) one of the values, cannot go. */
static _Noreturn void refuse_value(struct packer *p, uint32_t table, int key) {
  const char *kind = push_kind(p->L, lua_gettop(p->L));
  push_path(p, table, key);
  luaL_error(p->L, "%s is %s", lua_tostring(p->L, -1), kind);
  __builtin_unreachable();
}

static _Noreturn void refuse_key(struct packer *p, uint32_t table, int key) {
  const char *kind = push_kind(p->L, key);
  push_path(p, table, 0);
  luaL_error(p->L, "a key of %s is %s", lua_tostring(p->L, -1), kind);
  __builtin_unreachable();
}

/* ---- packing --------------------------------------------------------------------------------- */

static void put(struct packer *p, const void *data, size_t n) {
  if (p->room - p->n < n) {
    void *bytes = p->bytes;
    if (lethe_grow(mem, &bytes, &p->room, p->n + n, 1)) lethe_nomemory(p->L);
    p->bytes = bytes;
  }
  if (n) memcpy(p->bytes + p->n, data, n);
  p->n += n;
}

static void put_tag(struct packer *p, enum tag tag) {
  put(p, &(unsigned char){(unsigned char)tag}, 1);
}

static void put_index(struct packer *p, enum tag tag, uint32_t n) {
  put_tag(p, tag);
  put(p, &n, sizeof n);
}

/* The number of the table or object on top, or 0. */
static uint32_t known_number(struct packer *p) {
  lua_pushvalue(p->L, -1);
  lua_rawget(p->L, numbers(p));
  uint32_t n = (uint32_t)lua_tointeger(p->L, -1);
  lua_pop(p->L, 1);
  return n;
}

static void set_number(struct packer *p, uint32_t n) {
  lua_pushvalue(p->L, -1);
  lua_pushinteger(p->L, n);
  lua_rawset(p->L, numbers(p));
}

static int32_t clamp(size_t n) { return n < 1 << 26 ? (int32_t)n : 1 << 26; }

static void put_table(struct packer *p) {
  uint32_t n = known_number(p);
  if (!n) {
    if (p->tables == INT32_MAX) luaL_error(p->L, "%s has too many tables", p->what);
    n = p->tables + 1;
    set_number(p, n);
    lua_pushvalue(p->L, -1);
    lua_rawseti(p->L, numbers(p), -(lua_Integer)n);
    p->tables = n;
  }
  put_index(p, TABLE, n);
}

/* False for what is no object that can go. */
static bool put_object(struct packer *p) {
  lua_State *L = p->L;
  const struct lethe_class *c = p->objects ? lethe_class_of(L, lua_gettop(L)) : NULL;
  struct lethe_box *b = lua_touserdata(L, -1);
  if (!c || !c->share || !b->what) return false;
  uint32_t n = known_number(p);
  if (!n) {
    void *list = p->list;
    set_number(p, (uint32_t)p->handles + 1);
    if (lethe_grow(mem, &list, &p->handle_room, p->handles + 1, sizeof *p->list)) lethe_nomemory(L);
    p->list = list;
    void *shared = c->share(b->what);
    if (!shared) lethe_nomemory(L);
    p->list[p->handles++] = (struct lethe_handle){c, shared};
    n = (uint32_t)p->handles;
  }
  put_index(p, OBJECT, n);
  return true;
}

/* The value on top if it is neither table nor object; false if it is one, or cannot go. */
static bool put_scalar(struct packer *p) {
  lua_State *L = p->L;
  switch (lua_type(L, -1)) {
  case LUA_TNIL:
    put_tag(p, NIL);
    return true;
  case LUA_TBOOLEAN:
    put_tag(p, lua_toboolean(L, -1) ? TRUE : FALSE);
    return true;
  case LUA_TNUMBER:
    if (lua_isinteger(L, -1)) {
      put_tag(p, INTEGER);
      put(p, &(lua_Integer){lua_tointeger(L, -1)}, sizeof(lua_Integer));
    } else {
      put_tag(p, FLOAT);
      put(p, &(lua_Number){lua_tonumber(L, -1)}, sizeof(lua_Number));
    }
    return true;
  case LUA_TSTRING: {
    size_t n;
    const char *s = lua_tolstring(L, -1, &n);
    put_tag(p, STRING);
    put(p, &n, sizeof n);
    put(p, s, n);
    return true;
  }
  default:
    return false;
  }
}

static void put_value(struct packer *p, uint32_t table, int key) {
  if (put_scalar(p)) return;
  if (lua_type(p->L, -1) == LUA_TTABLE)
    put_table(p);
  else if (!put_object(p))
    refuse_value(p, table, key);
}

/* Keys and values, up to END. */
static void put_contents(struct packer *p, uint32_t table) {
  lua_State *L = p->L;
  lua_rawgeti(L, numbers(p), -(lua_Integer)table);
  size_t array = lua_rawlen(L, -1), pairs = 0;
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    int key = lua_gettop(L) - 1;
    lua_pushvalue(L, key);
    if (!put_scalar(p)) refuse_key(p, table, key);
    lua_pop(L, 1);
    put_value(p, table, key);
    lua_pop(L, 1);
    pairs++;
  }
  put_tag(p, END);
  if (array > pairs) array = pairs;
  void *shapes = p->shapes;
  if (lethe_grow(mem, &shapes, &p->shape_room, table, sizeof *p->shapes)) lethe_nomemory(L);
  p->shapes = shapes;
  p->shapes[table - 1] = (struct shape){clamp(array), clamp(pairs - array)};
  lua_pop(L, 1);
}

/* (values, packer), in a protected call: what is held stands in the packer. */
static int pack(lua_State *L) {
  struct packer *p = lua_touserdata(L, -1);
  lua_pop(L, 1);
  p->L = L;
  message_need_stack(L, LUA_MINSTACK);
  lua_newtable(L);
  for (p->value = 1; p->value <= p->values; p->value++) {
    lua_pushvalue(L, p->value);
    put_value(p, 0, 0);
    lua_pop(L, 1);
  }
  for (uint32_t i = 1; i <= p->tables; i++) put_contents(p, i);
  put(p, p->shapes, p->tables * sizeof *p->shapes);
  return 0;
}

struct lethe_packed *lethe_pack_text(const char *text, size_t n) {
  struct lethe_packed *p = block_new(1 + sizeof n + n, 0);
  if (!p) return NULL;
  p->bytes[0] = STRING;
  memcpy(p->bytes + 1, &n, sizeof n);
  if (n) memcpy(p->bytes + 1 + sizeof n, text, n);
  return p;
}

/* Numbers, strings and the like need no protected call and no second copy. */
static struct lethe_packed *pack_scalar(lua_State *L, int index) {
  unsigned char head[1 + sizeof(size_t) + sizeof(lua_Number)];
  size_t n = 1, length = 0;
  const char *text = NULL;
  switch (lua_type(L, index)) {
  case LUA_TNIL:
    head[0] = NIL;
    break;
  case LUA_TBOOLEAN:
    head[0] = lua_toboolean(L, index) ? TRUE : FALSE;
    break;
  case LUA_TNUMBER:
    head[0] = lua_isinteger(L, index) ? INTEGER : FLOAT;
    if (head[0] == INTEGER)
      memcpy(head + 1, &(lua_Integer){lua_tointeger(L, index)}, sizeof(lua_Integer));
    else
      memcpy(head + 1, &(lua_Number){lua_tonumber(L, index)}, sizeof(lua_Number));
    n += head[0] == INTEGER ? sizeof(lua_Integer) : sizeof(lua_Number);
    break;
  case LUA_TSTRING:
    head[0] = STRING;
    text = lua_tolstring(L, index, &length);
    memcpy(head + 1, &length, sizeof length);
    n += sizeof length;
    break;
  default:
    return NULL;
  }
  struct lethe_packed *p = block_new(n + length, 0);
  if (!p) {
    lethe_nomemory(L);
    return NULL;
  }
  memcpy(p->bytes, head, n);
  if (length) memcpy(p->bytes + n, text, length);
  return p;
}

static void discard(struct packer *p) {
  lethe_free(mem, p->bytes, p->room);
  lethe_free(mem, p->shapes, p->shape_room * sizeof *p->shapes);
  lethe_free(mem, p->list, p->handle_room * sizeof *p->list);
}

/* Raises the error on top, with a position if it is a message of ours. */
static _Noreturn void raise_at(lua_State *L, int rc, int level) {
  if (rc == LUA_ERRRUN && lua_type(L, -1) == LUA_TSTRING) {
    luaL_where(L, level);
    lua_insert(L, -2);
    lua_concat(L, 2);
  }
  lua_error(L);
  __builtin_unreachable();
}

struct lethe_packed *lethe_pack_all(lua_State *L, int index, int n, const char *what, bool objects,
                                    int level) {
  struct packer p = {.what = what, .objects = objects, .values = n};
  struct lethe_packed *k = n == 1 ? pack_scalar(L, index) : NULL;
  if (k) return k;
  index = lua_absindex(L, index);
  message_need_stack(L, n + LUA_MINSTACK);
  lua_pushcfunction(L, pack);
  for (int i = 0; i < n; i++) lua_pushvalue(L, index + i);
  lua_pushlightuserdata(L, &p);
  int rc = lua_pcall(L, n + 1, 0, 0);
  k = rc == LUA_OK ? block_new(p.n, p.handles) : NULL;
  if (!k) {
    drop_handles(p.list, p.handles);
    discard(&p);
    if (rc == LUA_OK) lethe_nomemory(L);
    raise_at(L, rc, level);
  }
  if (p.n) memcpy(k->bytes, p.bytes, p.n);
  if (p.handles) memcpy(k->list, p.list, p.handles * sizeof *p.list);
  k->values = (size_t)n;
  k->tables = p.tables;
  discard(&p);
  return k;
}

struct lethe_packed *lethe_pack(lua_State *L, int index, const char *what, bool objects) {
  return lethe_pack_all(L, index, 1, what, objects, 1);
}
