/* SPDX-License-Identifier: MIT
 * Messages: packing. See message_unpack.c for the way back, message_path.c for what cannot go. */
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

/* ---- scalars --------------------------------------------------------------------------------- */

/* What stands for a value that is neither table nor object. */
struct scalar {
  unsigned char head[1 + sizeof(size_t) + sizeof(lua_Number)];
  size_t n;
  const char *text; /* behind the head, of a string */
  size_t length;
};

static void add(struct scalar *s, enum tag tag, const void *data, size_t n) {
  s->head[0] = (unsigned char)tag;
  if (n) memcpy(s->head + 1, data, n);
  s->n = 1 + n;
}

/* False if it is none. */
static bool read_scalar(lua_State *L, int index, struct scalar *s) {
  s->text = NULL;
  s->length = 0;
  switch (lua_type(L, index)) {
  case LUA_TNIL:
    add(s, NIL, NULL, 0);
    return true;
  case LUA_TBOOLEAN:
    add(s, lua_toboolean(L, index) ? TRUE : FALSE, NULL, 0);
    return true;
  case LUA_TNUMBER:
    if (lua_isinteger(L, index))
      add(s, INTEGER, &(lua_Integer){lua_tointeger(L, index)}, sizeof(lua_Integer));
    else
      add(s, FLOAT, &(lua_Number){lua_tonumber(L, index)}, sizeof(lua_Number));
    return true;
  case LUA_TSTRING:
    s->text = lua_tolstring(L, index, &s->length);
    add(s, STRING, &s->length, sizeof s->length);
    return true;
  default:
    return false;
  }
}

static struct lethe_packed *block_of(const struct scalar *s) {
  struct lethe_packed *p = block_new(s->n + s->length, 0);
  if (!p) return NULL;
  memcpy(p->bytes, s->head, s->n);
  if (s->length) memcpy(p->bytes + s->n, s->text, s->length);
  return p;
}

struct lethe_packed *lethe_pack_text(const char *text, size_t n) {
  struct scalar s = {.text = text, .length = n};
  add(&s, STRING, &n, sizeof n);
  return block_of(&s);
}

/* Needs no protected call and no second copy. */
static struct lethe_packed *pack_scalar(lua_State *L, int index) {
  struct scalar s;
  if (!read_scalar(L, index, &s)) return NULL;
  struct lethe_packed *p = block_of(&s);
  if (!p) lethe_nomemory(L);
  return p;
}

/* ---- packing --------------------------------------------------------------------------------- */

/* What it takes to say where a value stands comes first. */
struct packer {
  struct message_walk w;
  unsigned char *bytes;
  size_t n, room;
  struct lethe_handle *list;
  size_t handles, handle_room;
  struct shape *shapes; /* of the tables */
  size_t shape_room;
  uint32_t tables;
  bool objects;
};

static void put(struct packer *p, const void *data, size_t n) {
  if (p->room - p->n < n) {
    void *bytes = p->bytes;
    if (lethe_grow(mem, &bytes, &p->room, p->n + n, 1)) lethe_nomemory(p->w.L);
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
  lua_pushvalue(p->w.L, -1);
  lua_rawget(p->w.L, message_numbers(&p->w));
  uint32_t n = (uint32_t)lua_tointeger(p->w.L, -1);
  lua_pop(p->w.L, 1);
  return n;
}

static void set_number(struct packer *p, uint32_t n) {
  lua_pushvalue(p->w.L, -1);
  lua_pushinteger(p->w.L, n);
  lua_rawset(p->w.L, message_numbers(&p->w));
}

static int32_t clamp(size_t n) { return n < 1 << 26 ? (int32_t)n : 1 << 26; }

static void put_table(struct packer *p) {
  uint32_t n = known_number(p);
  if (!n) {
    if (p->tables == INT32_MAX) luaL_error(p->w.L, "%s has too many tables", p->w.what);
    n = p->tables + 1;
    set_number(p, n);
    lua_pushvalue(p->w.L, -1);
    lua_rawseti(p->w.L, message_numbers(&p->w), -(lua_Integer)n);
    p->tables = n;
  }
  put_index(p, TABLE, n);
}

/* False for what is no object that can go. */
static bool put_object(struct packer *p) {
  lua_State *L = p->w.L;
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

/* The value on top if it is a scalar; false if it is none. */
static bool put_scalar(struct packer *p) {
  struct scalar s;
  if (!read_scalar(p->w.L, -1, &s)) return false;
  put(p, s.head, s.n);
  put(p, s.text, s.length);
  return true;
}

static void put_value(struct packer *p, uint32_t table, int key) {
  if (put_scalar(p)) return;
  if (lua_type(p->w.L, -1) == LUA_TTABLE)
    put_table(p);
  else if (!put_object(p))
    message_refuse_value(&p->w, table, key);
}

/* Keys and values, up to END. */
static void put_contents(struct packer *p, uint32_t table) {
  lua_State *L = p->w.L;
  lua_rawgeti(L, message_numbers(&p->w), -(lua_Integer)table);
  size_t array = lua_rawlen(L, -1), pairs = 0;
  lua_pushnil(L);
  while (lua_next(L, -2)) {
    int key = lua_gettop(L) - 1;
    lua_pushvalue(L, key);
    if (!put_scalar(p)) message_refuse_key(&p->w, table, key);
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
  p->w.L = L;
  message_need_stack(L, LUA_MINSTACK);
  lua_newtable(L);
  for (p->w.value = 1; p->w.value <= p->w.values; p->w.value++) {
    lua_pushvalue(L, p->w.value);
    put_value(p, 0, 0);
    lua_pop(L, 1);
  }
  for (uint32_t i = 1; i <= p->tables; i++) put_contents(p, i);
  put(p, p->shapes, p->tables * sizeof *p->shapes);
  return 0;
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
  struct packer p = {.w = {.what = what, .values = n}, .objects = objects};
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
