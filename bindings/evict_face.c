/* SPDX-License-Identifier: MIT
 * What hooks get first: the object c, and what it says of entries. Handles are integers; there is
 * no object for an entry. c keeps what the script assigns to its fields. */
#include <math.h>

#include "evict_face.h"
#include "object.h"

/* Upvalues of c:queue and c:ghost, behind the face. */
enum {
  MADE = 2, /* { name = object } */
  META,     /* the objects' metatable; its __index has their methods */
  KNOWN,    /* the first of the queues whose string is known */
  MAKER_UPVALUES = KNOWN - 1 + FACE_KNOWN
};

/* The policy of the c at 1: nearly always the one that runs. */
static struct evict_script *self(lua_State *L) {
  const void *c = lua_topointer(L, 1);
  struct evict_script *s = evict_running;
  if (s && s->face && c == s->face->c) return s;
  s = face_policy(L);
  if (c != s->face->c) luaL_typeerror(L, 1, FACE);
  return s;
}

/* The same for methods that have objects of their own: those of another policy's c have others. */
static struct evict_script *maker(lua_State *L) {
  struct evict_script *s = self(L);
  if (s->face != lua_touserdata(L, lua_upvalueindex(1))) luaL_typeerror(L, 1, FACE);
  return s;
}

static void push_count(lua_State *L, double n) {
  if (n == floor(n) && fabs(n) < 9e15)
    lua_pushinteger(L, (lua_Integer)n);
  else
    lua_pushnumber(L, n);
}

/* ---- c: entries ------------------------------------------------------------------------------ */

static struct evict_script *info(lua_State *L, struct lethe_evict_info *out) {
  struct evict_script *s = self(L);
  uint64_t h = face_handle(L, 2);
  if (lethe_evict_hooks_info(s->e, h, out) != LETHE_OK) face_bad_handle(L, s, h);
  return s;
}

static int l_size(lua_State *L) {
  struct lethe_evict_info i;
  if (lua_isnoneornil(L, 2)) {
    const struct lethe_evict_request *r = face_request(L, self(L));
    lua_pushnil(L);
    if (r) lua_pushinteger(L, r->size);
    return 1;
  }
  info(L, &i);
  lua_pushinteger(L, i.size);
  return 1;
}

static int l_freq(lua_State *L) {
  struct lethe_evict_info i;
  info(L, &i);
  push_count(L, i.freq);
  return 1;
}

static int l_cost(lua_State *L) {
  struct lethe_evict_info i;
  info(L, &i);
  lua_pushnumber(L, i.cost);
  return 1;
}

static int l_last(lua_State *L) {
  struct lethe_evict_info i;
  info(L, &i);
  lua_pushinteger(L, (lua_Integer)i.last);
  return 1;
}

static int l_inserted(lua_State *L) {
  struct lethe_evict_info i;
  info(L, &i);
  lua_pushinteger(L, (lua_Integer)i.inserted);
  return 1;
}

static int l_key(lua_State *L) {
  struct lethe_evict_info i = {0};
  struct evict_script *s = self(L);
  const struct lethe_evict_request *r = face_request(L, s);
  if (r) {
    i.key = r->key;
    i.owner = r->owner;
  } else if (lua_isnoneornil(L, 2)) {
    lua_pushnil(L);
    return 1;
  } else {
    info(L, &i);
  }
  if (s->push_key)
    s->push_key(L, s->keys, &i);
  else
    lua_pushinteger(L, (lua_Integer)i.key);
  return 1;
}

/* c:mark(h) -> boolean; c:mark(h, v) sets it: false, nil and 0 clear it */
static int l_mark(lua_State *L) {
  struct lethe_evict_info i;
  struct evict_script *s = info(L, &i);
  if (lua_gettop(L) >= 3) {
    face_changing(L, s);
    i.mark = lua_type(L, 3) == LUA_TNUMBER ? lua_tonumber(L, 3) != 0 : lua_toboolean(L, 3);
    lethe_evict_hooks_mark(s->e, face_handle(L, 2), i.mark);
  }
  lua_pushboolean(L, i.mark);
  return 1;
}

/* Whether a handle names an entry: the one call that takes any. */
static int l_alive(lua_State *L) {
  struct lethe_evict_info i;
  struct evict_script *s = self(L);
  lua_pushboolean(L, lethe_evict_hooks_info(s->e, face_handle(L, 2), &i) == LETHE_OK);
  return 1;
}

/* What admit said that it found, of what is asked for; nil: nothing. */
static int l_found(lua_State *L) {
  const struct lethe_evict_request *r = lethe_evict_hooks_request(self(L)->e);
  lua_pushnil(L);
  if (r && r->found) lua_pushinteger(L, (lua_Integer)r->found);
  return 1;
}

static int l_len(lua_State *L) {
  lua_pushinteger(L, self(L)->e->len);
  return 1;
}

static int l_used(lua_State *L) {
  lua_pushinteger(L, self(L)->e->used);
  return 1;
}

static int l_limit(lua_State *L) {
  lua_pushinteger(L, self(L)->e->limit);
  return 1;
}

static int l_now(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)self(L)->e->now);
  return 1;
}

/* ---- c: queues and ghost lists --------------------------------------------------------------- */

/* All fields of the table at `from` into that on top. */
static void copy_fields(lua_State *L, int from) {
  lua_pushnil(L);
  while (lua_next(L, from)) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, -4);
  }
}

/* An object with the methods in the metatable on top, instead of that: they stand in its own
 * fields as well. */
static void push_object(lua_State *L) {
  int meta = lua_gettop(L);
  lua_getfield(L, meta, "__index");
  lua_newtable(L);
  copy_fields(L, meta + 1);
  lua_replace(L, meta + 1);
  lua_insert(L, meta);
  lua_setmetatable(L, meta);
}

/* A new object for the queue or ghost list whose name is at 2. */
static const void *push_part(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(META));
  push_object(L);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, -2);
  lua_rawset(L, lua_upvalueindex(MADE));
  return lua_topointer(L, -1);
}

static int refuse(lua_State *L, int rc, const char *what, int most) {
  if (rc == LETHE_ENOMEM) return lethe_nomemory(L);
  return luaL_error(L, "a policy has %d %s at most, with names of at most 63 bytes", most, what);
}

/* The name at 2. The core knows it as far as a zero byte: two names that it took for one would be
 * two objects of one queue. */
static const char *check_name(lua_State *L) {
  luaL_checktype(L, 2, LUA_TSTRING);
  const char *name = lua_tostring(L, 2);
  luaL_argcheck(L, strlen(name) == lua_rawlen(L, 2), 2, "a name without zero bytes expected");
  return name;
}

/* Pushes the queue whose name is the string that it was made with, one of the first few. */
static bool push_known(lua_State *L, const struct evict_face *f) {
  const void *name = lua_topointer(L, 2);
  for (int i = 0; i < FACE_KNOWN && f->known[i]; i++) {
    if (f->known[i] != name) continue;
    lua_pushvalue(L, lua_upvalueindex(KNOWN + i));
    return true;
  }
  return false;
}

/* The queue on top was made, the i-th of all. */
static void make_known(lua_State *L, struct evict_face *f, unsigned i) {
  if (i >= FACE_KNOWN) return;
  lua_pushvalue(L, -1);
  lua_replace(L, lua_upvalueindex(KNOWN + (int)i));
  f->known[i] = lua_topointer(L, 2);
}

/* c:queue(name) -> q */
static int l_queue(lua_State *L) {
  struct evict_script *s = maker(L);
  unsigned index, i = 0;
  if (push_known(L, s->face)) return 1; /* as nearly always */
  const char *name = check_name(L);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(MADE)) == LUA_TTABLE) return 1;
  int rc = lethe_evict_hooks_queue(s->e, name, &index);
  if (rc != LETHE_OK) return refuse(L, rc, "queues", LETHE_EVICT_HOOK_QUEUES);
  while (s->face->queues[i].object) i++;
  s->face->queues[i] = (struct part){push_part(L), index};
  make_known(L, s->face, i);
  return 1;
}

/* c:ghost(name, n) -> g */
static int l_ghost(lua_State *L) {
  struct evict_script *s = maker(L);
  unsigned index;
  const char *name = check_name(L);
  lua_Number n = luaL_checknumber(L, 3);
  luaL_argcheck(L, n >= 0, 3, "a number of keys expected");
  uint64_t most = n < 1e18 ? (uint64_t)n : UINT64_MAX;
  int rc = lethe_evict_hooks_ghost(s->e, name, most, &index);
  if (rc != LETHE_OK) return refuse(L, rc, "ghost lists", LETHE_EVICT_HOOK_GHOSTS);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(MADE)) == LUA_TTABLE) return 1;
  unsigned i = 0;
  while (s->face->ghosts[i].object) i++;
  s->face->ghosts[i] = (struct part){push_part(L), index};
  return 1;
}

/* ---- making the object ----------------------------------------------------------------------- */

static const luaL_Reg face_methods[] = {
    {"alive", l_alive},       {"cost", l_cost}, {"freq", l_freq}, {"found", l_found},
    {"inserted", l_inserted}, {"key", l_key},   {"last", l_last}, {"len", l_len},
    {"limit", l_limit},       {"mark", l_mark}, {"now", l_now},   {"size", l_size},
    {"used", l_used},         {NULL, NULL}};

static int l_tostring(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  return 1;
}

/* A metatable with __name, __tostring, a locked __metatable, and methods over the face at 2. */
static void push_metatable(lua_State *L, const char *name, const luaL_Reg *methods) {
  lua_createtable(L, 0, 4);
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__name");
  lua_pushstring(L, name);
  lua_pushcclosure(L, l_tostring, 1);
  lua_setfield(L, -2, "__tostring");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
  lua_pushboolean(L, 1); /* for lethe.type */
  lua_rawsetp(L, -2, &lethe_key_class);
  lua_newtable(L);
  lua_pushvalue(L, 2);
  luaL_setfuncs(L, methods, 1);
  lua_setfield(L, -2, "__index");
}

/* The method `field` of c, whose metatable is at 3, makes objects of a class. */
static void set_maker(lua_State *L, const char *field, lua_CFunction make, const char *class,
                      const luaL_Reg *methods) {
  lua_getfield(L, 3, "__index");
  lua_pushvalue(L, 2);
  lua_newtable(L);
  push_metatable(L, class, methods);
  for (int i = 0; i < FACE_KNOWN; i++) lua_pushnil(L);
  lua_pushcclosure(L, make, MAKER_UPVALUES);
  lua_setfield(L, -2, field);
  lua_pop(L, 1);
}

int evict_open_face(lua_State *L) {
  struct evict_script *s = lua_touserdata(L, 1);
  struct evict_face *f = lua_newuserdatauv(L, sizeof *f, 0); /* 2 */
  *f = (struct evict_face){.s = s};
  push_metatable(L, FACE, face_methods); /* 3 */
  set_maker(L, "queue", l_queue, QUEUE, evict_queue_methods);
  set_maker(L, "ghost", l_ghost, GHOST, evict_ghost_methods);
  push_object(L);
  f->c = lua_topointer(L, -1);
  s->face = f;
  return 1;
}

void evict_end_face(struct evict_script *s) {
  if (s->face) s->face->s = NULL;
}
