/* SPDX-License-Identifier: MIT
 * What hooks get: the object c, and the queues and ghost lists that it makes. Handles are integers; there
 * is no object for an entry.
 *
 * Each policy has methods of its own, closures over its c, so that a call finds its policy by comparing
 * one pointer. c keeps what the script assigns to its fields. Once the policy is over, whoever kept an
 * object is told so. */
#include <math.h>
#include <string.h>

#include "evict_script.h"

#define FACE "lethe.policy.Cache"
#define QUEUE "lethe.policy.Queue"
#define GHOST "lethe.policy.Ghost"

struct evict_face {
  struct evict_script *s; /* NULL: it is over */
  const void *queues[LETHE_EVICT_HOOK_QUEUES], *ghosts[LETHE_EVICT_HOOK_GHOSTS];
};

/* A queue, or a ghost list; its place is that among the policy's. */
struct part {
  unsigned index;
};

/* ---- arguments --------------------------------------------------------------------------------------- */

static struct evict_script *policy(lua_State *L) {
  const struct evict_face *f = lua_touserdata(L, lua_upvalueindex(1));
  if (!f->s) luaL_error(L, "the policy is over");
  return f->s;
}

/* The policy of the c at 1: nearly always the one that runs. */
static struct evict_script *self(lua_State *L) {
  const void *p = lua_touserdata(L, 1);
  struct evict_script *s = evict_running;
  if (s && p == s->face) return s;
  if (p != lua_touserdata(L, lua_upvalueindex(1))) luaL_typeerror(L, 1, FACE);
  return policy(L);
}

static bool is_queue_of(const struct evict_script *s, const void *p) {
  const void *const *queues = s->face->queues;
  for (unsigned i = 0; i < LETHE_EVICT_HOOK_QUEUES && queues[i]; i++)
    if (queues[i] == p) return true;
  return false;
}

static struct evict_script *queue(lua_State *L, unsigned *index) {
  const void *p = lua_touserdata(L, 1);
  struct evict_script *s = evict_running;
  if (!p || !s || !s->face || !is_queue_of(s, p)) {
    s = policy(L);
    if (!p || !is_queue_of(s, p)) luaL_typeerror(L, 1, QUEUE);
  }
  *index = ((const struct part *)p)->index;
  return s;
}

static struct evict_script *ghost(lua_State *L, unsigned *index) {
  struct evict_script *s = policy(L);
  const void *p = lua_touserdata(L, 1);
  for (unsigned i = 0; p && i < LETHE_EVICT_HOOK_GHOSTS && s->face->ghosts[i]; i++)
    if (s->face->ghosts[i] == p) {
      *index = ((const struct part *)p)->index;
      return s;
    }
  luaL_typeerror(L, 1, GHOST);
  return NULL;
}

/* For calls that change the order of entries. */
static struct evict_script *changing(lua_State *L, struct evict_script *s) {
  if (s->reading) luaL_error(L, "entries stay as they are while a policy is exchanged");
  return s;
}

static uint64_t handle(lua_State *L, int arg) { return (uint64_t)luaL_checkinteger(L, arg); }

/* The handle at 2 names nothing: that is a strike, also if the script catches the error. */
static int bad_handle(lua_State *L, struct evict_script *s, uint64_t h) {
  struct lethe_evict_failure *f = lethe_evict_script_failing(s->e);
  char why[100];
  lethe_evict_hooks_fault(s->e, h, why, sizeof why);
  if (!s->faulted) memcpy(f->message, why, sizeof why);
  s->faulted = true;
  return luaL_error(L, "%s", why);
}

static void push_count(lua_State *L, double n) {
  if (n == floor(n) && fabs(n) < 9e15)
    lua_pushinteger(L, (lua_Integer)n);
  else
    lua_pushnumber(L, n);
}

static int push_handle(lua_State *L, uint64_t h) {
  if (h)
    lua_pushinteger(L, (lua_Integer)h);
  else
    lua_pushnil(L);
  return 1;
}

/* Without a handle: what is asked for and not there, or NULL. */
static const struct lethe_evict_request *request(lua_State *L, const struct evict_script *s) {
  return lua_isnoneornil(L, 2) ? lethe_evict_hooks_request(s->e) : NULL;
}

/* ---- c: entries -------------------------------------------------------------------------------------- */

static struct evict_script *info(lua_State *L, struct lethe_evict_info *out) {
  struct evict_script *s = self(L);
  uint64_t h = handle(L, 2);
  if (lethe_evict_hooks_info(s->e, h, out) != LETHE_OK) bad_handle(L, s, h);
  return s;
}

static int l_size(lua_State *L) {
  struct lethe_evict_info i;
  if (lua_isnoneornil(L, 2)) {
    const struct lethe_evict_request *r = request(L, self(L));
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
  const struct lethe_evict_request *r = request(L, s);
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
    changing(L, s);
    i.mark = lua_type(L, 3) == LUA_TNUMBER ? lua_tonumber(L, 3) != 0 : lua_toboolean(L, 3);
    lethe_evict_hooks_mark(s->e, handle(L, 2), i.mark);
  }
  lua_pushboolean(L, i.mark);
  return 1;
}

/* Whether a handle names an entry: the one call that takes any. */
static int l_alive(lua_State *L) {
  struct lethe_evict_info i;
  struct evict_script *s = self(L);
  lua_pushboolean(L, lethe_evict_hooks_info(s->e, handle(L, 2), &i) == LETHE_OK);
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

/* ---- c: queues and ghost lists ------------------------------------------------------------------------ */

/* A new object for a queue or ghost list; upvalue 2 has those that are there, by name, and at 1 their
 * metatable. */
static int push_part(lua_State *L, const void **place, unsigned index) {
  struct part *p = lua_newuserdatauv(L, sizeof *p, 1);
  p->index = index;
  lua_pushvalue(L, lua_upvalueindex(1)); /* c, whose methods it has */
  lua_setiuservalue(L, -2, 1);
  lua_rawgeti(L, lua_upvalueindex(2), 1);
  lua_setmetatable(L, -2);
  lua_pushvalue(L, 2);
  lua_pushvalue(L, -2);
  lua_rawset(L, lua_upvalueindex(2));
  *place = p;
  return 1;
}

static int refuse(lua_State *L, int rc, const char *what, int most) {
  if (rc == LETHE_ENOMEM) return lethe_nomemory(L);
  return luaL_error(L, "a policy has %d %s at most, with names of at most 63 bytes", most, what);
}

/* c:queue(name) -> q. Upvalue 2: { name = q } */
static int l_queue(lua_State *L) {
  struct evict_script *s = self(L);
  unsigned index, i = 0;
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(2)) == LUA_TUSERDATA) return 1; /* as nearly always */
  luaL_checktype(L, 2, LUA_TSTRING);
  int rc = lethe_evict_hooks_queue(s->e, lua_tostring(L, 2), &index);
  if (rc != LETHE_OK) return refuse(L, rc, "queues", LETHE_EVICT_HOOK_QUEUES);
  while (s->face->queues[i]) i++;
  return push_part(L, &s->face->queues[i], index);
}

/* c:ghost(name, n) -> g. Upvalue 2: { name = g } */
static int l_ghost(lua_State *L) {
  struct evict_script *s = self(L);
  unsigned index;
  luaL_checktype(L, 2, LUA_TSTRING);
  lua_Number n = luaL_checknumber(L, 3);
  luaL_argcheck(L, n >= 0, 3, "a number of keys expected");
  uint64_t most = n < 1e18 ? (uint64_t)n : UINT64_MAX;
  int rc = lethe_evict_hooks_ghost(s->e, lua_tostring(L, 2), most, &index);
  if (rc != LETHE_OK) return refuse(L, rc, "ghost lists", LETHE_EVICT_HOOK_GHOSTS);
  lua_pushvalue(L, 2);
  if (lua_rawget(L, lua_upvalueindex(2)) == LUA_TUSERDATA) return 1;
  unsigned i = 0;
  while (s->face->ghosts[i]) i++;
  return push_part(L, &s->face->ghosts[i], index);
}

/* ---- queues ------------------------------------------------------------------------------------------- */

static int l_push_front(lua_State *L) {
  unsigned q;
  struct evict_script *s = changing(L, queue(L, &q));
  uint64_t h = handle(L, 2);
  if (lethe_evict_hooks_push_front(s->e, q, h) != LETHE_OK) bad_handle(L, s, h);
  return 0;
}

static int l_push_back(lua_State *L) {
  unsigned q;
  struct evict_script *s = changing(L, queue(L, &q));
  uint64_t h = handle(L, 2);
  if (lethe_evict_hooks_push_back(s->e, q, h) != LETHE_OK) bad_handle(L, s, h);
  return 0;
}

static int l_remove(lua_State *L) {
  unsigned q;
  struct evict_script *s = changing(L, queue(L, &q));
  uint64_t h = handle(L, 2);
  bool was;
  if (lethe_evict_hooks_remove(s->e, q, h, &was) != LETHE_OK) bad_handle(L, s, h);
  lua_pushboolean(L, was);
  return 1;
}

static int l_queue_has(lua_State *L) {
  unsigned q;
  struct evict_script *s = queue(L, &q);
  uint64_t h = handle(L, 2);
  bool has;
  if (lethe_evict_hooks_has(s->e, q, h, &has) != LETHE_OK) bad_handle(L, s, h);
  lua_pushboolean(L, has);
  return 1;
}

static int l_front(lua_State *L) {
  unsigned q;
  const struct evict_script *s = queue(L, &q);
  return push_handle(L, lethe_evict_hooks_front(s->e, q));
}

static int l_back(lua_State *L) {
  unsigned q;
  const struct evict_script *s = queue(L, &q);
  return push_handle(L, lethe_evict_hooks_back(s->e, q));
}

static int l_next(lua_State *L) {
  unsigned q;
  struct evict_script *s = queue(L, &q);
  uint64_t h = handle(L, 2), next;
  if (lethe_evict_hooks_next(s->e, q, h, &next) != LETHE_OK) bad_handle(L, s, h);
  return push_handle(L, next);
}

static int l_prev(lua_State *L) {
  unsigned q;
  struct evict_script *s = queue(L, &q);
  uint64_t h = handle(L, 2), prev;
  if (lethe_evict_hooks_prev(s->e, q, h, &prev) != LETHE_OK) bad_handle(L, s, h);
  return push_handle(L, prev);
}

static int l_queue_len(lua_State *L) {
  unsigned q;
  const struct evict_script *s = queue(L, &q);
  lua_pushinteger(L, lethe_evict_hooks_len(s->e, q));
  return 1;
}

static int l_queue_used(lua_State *L) {
  unsigned q;
  const struct evict_script *s = queue(L, &q);
  lua_pushinteger(L, lethe_evict_hooks_used(s->e, q));
  return 1;
}

/* q:scan(hand) -> victim, hand */
static int l_scan(lua_State *L) {
  unsigned q;
  const struct evict_script *s = changing(L, queue(L, &q));
  uint64_t hand = (uint64_t)luaL_optinteger(L, 2, 0), victim;
  lethe_meter_charge(L, lethe_evict_hooks_scan(s->e, q, &hand, &victim));
  push_handle(L, victim);
  push_handle(L, hand);
  return 2;
}

/* ---- ghost lists -------------------------------------------------------------------------------------- */

static int l_add(lua_State *L) {
  unsigned g;
  struct evict_script *s = changing(L, ghost(L, &g));
  uint64_t h = handle(L, 2);
  if (lethe_evict_hooks_ghost_add(s->e, g, h) != LETHE_OK) bad_handle(L, s, h);
  return 0;
}

static int l_has(lua_State *L) {
  unsigned g;
  struct evict_script *s = ghost(L, &g);
  uint64_t h = request(L, s) ? 0 : handle(L, 2);
  bool has;
  if (lethe_evict_hooks_ghost_has(s->e, g, h, &has) != LETHE_OK) bad_handle(L, s, h);
  lua_pushboolean(L, has);
  return 1;
}

static int l_forget(lua_State *L) {
  unsigned g;
  struct evict_script *s = changing(L, ghost(L, &g));
  uint64_t h = request(L, s) ? 0 : handle(L, 2);
  bool was;
  if (lethe_evict_hooks_ghost_remove(s->e, g, h, &was) != LETHE_OK) bad_handle(L, s, h);
  lua_pushboolean(L, was);
  return 1;
}

/* g:drop() -> the size of the oldest, which is forgotten, or nil */
static int l_drop(lua_State *L) {
  unsigned g;
  const struct evict_script *s = changing(L, ghost(L, &g));
  int64_t size = lethe_evict_hooks_ghost_drop(s->e, g);
  if (size < 0) return 0;
  lua_pushinteger(L, size);
  return 1;
}

static int l_ghost_len(lua_State *L) {
  unsigned g;
  const struct evict_script *s = ghost(L, &g);
  lua_pushinteger(L, (lua_Integer)lethe_evict_hooks_ghost_len(s->e, g));
  return 1;
}

static int l_ghost_used(lua_State *L) {
  unsigned g;
  const struct evict_script *s = ghost(L, &g);
  lua_pushinteger(L, lethe_evict_hooks_ghost_used(s->e, g));
  return 1;
}

/* ---- making the object -------------------------------------------------------------------------------- */

static const luaL_Reg face_methods[] = {
    {"alive", l_alive},       {"cost", l_cost}, {"freq", l_freq}, {"found", l_found},
    {"inserted", l_inserted}, {"key", l_key},   {"last", l_last}, {"len", l_len},
    {"limit", l_limit},       {"mark", l_mark}, {"now", l_now},   {"size", l_size},
    {"used", l_used},         {NULL, NULL}};
static const luaL_Reg queue_methods[] = {{"back", l_back},     {"front", l_front},
                                         {"len", l_queue_len}, {"next", l_next},
                                         {"prev", l_prev},     {"push_back", l_push_back},
                                         {"scan", l_scan},     {"push_front", l_push_front},
                                         {"remove", l_remove}, {"used", l_queue_used},
                                         {"has", l_queue_has}, {"to_front", l_push_front},
                                         {NULL, NULL}};
static const luaL_Reg ghost_methods[] = {
    {"add", l_add},       {"drop", l_drop},       {"has", l_has}, {"len", l_ghost_len},
    {"remove", l_forget}, {"used", l_ghost_used}, {NULL, NULL}};

static int l_tostring(lua_State *L) {
  lua_pushvalue(L, lua_upvalueindex(1));
  return 1;
}

/* A metatable with __name, __tostring and a locked __metatable. */
static void push_metatable(lua_State *L, const char *name) {
  lua_createtable(L, 0, 5);
  lua_pushstring(L, name);
  lua_setfield(L, -2, "__name");
  lua_pushstring(L, name);
  lua_pushcclosure(L, l_tostring, 1);
  lua_setfield(L, -2, "__tostring");
  lua_pushboolean(L, 0);
  lua_setfield(L, -2, "__metatable");
}

/* methods[field] = make, over the c at `c` and a table of what it has made; that has, at 1, the metatable
 * of the objects. */
static void set_maker(lua_State *L, int methods, int c, const char *field, lua_CFunction make,
                      const char *name, const luaL_Reg *list) {
  lua_pushvalue(L, c);
  lua_newtable(L);
  push_metatable(L, name);
  lua_newtable(L);
  lua_pushvalue(L, c);
  luaL_setfuncs(L, list, 1);
  lua_setfield(L, -2, "__index");
  lua_rawseti(L, -2, 1);
  lua_pushcclosure(L, make, 2);
  lua_setfield(L, methods, field);
}

int evict_open_face(lua_State *L) {
  struct evict_script *s = lua_touserdata(L, 1);
  struct evict_face *f = lua_newuserdatauv(L, sizeof *f, 0);
  int c = lua_gettop(L);
  *f = (struct evict_face){.s = s};
  lua_newtable(L); /* its methods */
  lua_pushvalue(L, c);
  luaL_setfuncs(L, face_methods, 1);
  set_maker(L, c + 1, c, "queue", l_queue, QUEUE, queue_methods);
  set_maker(L, c + 1, c, "ghost", l_ghost, GHOST, ghost_methods);
  push_metatable(L, FACE);
  lua_newtable(L); /* what the script assigns; behind it, the methods */
  lua_createtable(L, 0, 1);
  lua_pushvalue(L, c + 1);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
  lua_pushvalue(L, -1);
  lua_setfield(L, -3, "__newindex");
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, c);
  lua_settop(L, c);
  s->face = f;
  return 1;
}

void evict_end_face(struct evict_script *s) {
  if (s->face) s->face->s = NULL;
}
