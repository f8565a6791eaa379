/* SPDX-License-Identifier: MIT
 * What hooks do with queues and ghost lists. */
#include "evict_face.h"

static const struct part *find(const struct part *p, const void *object) {
  while (p->object && p->object != object) p++;
  return p->object ? p : NULL;
}

/* The queue at 1: nearly always one of the policy that runs. */
static struct evict_script *queue(lua_State *L, unsigned *index) {
  struct evict_script *s = evict_running;
  const void *object = lua_topointer(L, 1);
  const struct part *p = s && s->face ? find(s->face->queues, object) : NULL;
  if (!p) {
    s = face_policy(L);
    p = find(s->face->queues, object);
    if (!p) luaL_typeerror(L, 1, QUEUE);
  }
  *index = p->index;
  return s;
}

static struct evict_script *ghost(lua_State *L, unsigned *index) {
  struct evict_script *s = face_policy(L);
  const struct part *p = find(s->face->ghosts, lua_topointer(L, 1));
  if (!p) luaL_typeerror(L, 1, GHOST);
  *index = p->index;
  return s;
}

static int push_handle(lua_State *L, uint64_t h) {
  if (h)
    lua_pushinteger(L, (lua_Integer)h);
  else
    lua_pushnil(L);
  return 1;
}

/* ---- queues ---------------------------------------------------------------------------------- */

static int l_push_front(lua_State *L) {
  unsigned q;
  struct evict_script *s = face_changing(L, queue(L, &q));
  uint64_t h = face_handle(L, 2);
  if (lethe_evict_hooks_push_front(s->e, q, h) != LETHE_OK) face_bad_handle(L, s, h);
  return 0;
}

static int l_push_back(lua_State *L) {
  unsigned q;
  struct evict_script *s = face_changing(L, queue(L, &q));
  uint64_t h = face_handle(L, 2);
  if (lethe_evict_hooks_push_back(s->e, q, h) != LETHE_OK) face_bad_handle(L, s, h);
  return 0;
}

static int l_remove(lua_State *L) {
  unsigned q;
  struct evict_script *s = face_changing(L, queue(L, &q));
  uint64_t h = face_handle(L, 2);
  bool was;
  if (lethe_evict_hooks_remove(s->e, q, h, &was) != LETHE_OK) face_bad_handle(L, s, h);
  lua_pushboolean(L, was);
  return 1;
}

static int l_queue_has(lua_State *L) {
  unsigned q;
  struct evict_script *s = queue(L, &q);
  uint64_t h = face_handle(L, 2);
  bool has;
  if (lethe_evict_hooks_has(s->e, q, h, &has) != LETHE_OK) face_bad_handle(L, s, h);
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
  uint64_t h = face_handle(L, 2), next;
  if (lethe_evict_hooks_next(s->e, q, h, &next) != LETHE_OK) face_bad_handle(L, s, h);
  return push_handle(L, next);
}

static int l_prev(lua_State *L) {
  unsigned q;
  struct evict_script *s = queue(L, &q);
  uint64_t h = face_handle(L, 2), prev;
  if (lethe_evict_hooks_prev(s->e, q, h, &prev) != LETHE_OK) face_bad_handle(L, s, h);
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
  const struct evict_script *s = face_changing(L, queue(L, &q));
  uint64_t hand = (uint64_t)luaL_optinteger(L, 2, 0), victim;
  lethe_meter_charge(L, lethe_evict_hooks_scan(s->e, q, &hand, &victim));
  push_handle(L, victim);
  push_handle(L, hand);
  return 2;
}

/* ---- ghost lists ----------------------------------------------------------------------------- */

static int l_add(lua_State *L) {
  unsigned g;
  struct evict_script *s = face_changing(L, ghost(L, &g));
  uint64_t h = face_handle(L, 2);
  if (lethe_evict_hooks_ghost_add(s->e, g, h) != LETHE_OK) face_bad_handle(L, s, h);
  return 0;
}

static int l_has(lua_State *L) {
  unsigned g;
  struct evict_script *s = ghost(L, &g);
  uint64_t h = face_request(L, s) ? 0 : face_handle(L, 2);
  bool has;
  if (lethe_evict_hooks_ghost_has(s->e, g, h, &has) != LETHE_OK) face_bad_handle(L, s, h);
  lua_pushboolean(L, has);
  return 1;
}

static int l_forget(lua_State *L) {
  unsigned g;
  struct evict_script *s = face_changing(L, ghost(L, &g));
  uint64_t h = face_request(L, s) ? 0 : face_handle(L, 2);
  bool was;
  if (lethe_evict_hooks_ghost_remove(s->e, g, h, &was) != LETHE_OK) face_bad_handle(L, s, h);
  lua_pushboolean(L, was);
  return 1;
}

/* g:drop() -> the size of the oldest, which is forgotten, or nil */
static int l_drop(lua_State *L) {
  unsigned g;
  const struct evict_script *s = face_changing(L, ghost(L, &g));
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

const luaL_Reg evict_queue_methods[] = {{"back", l_back},     {"front", l_front},
                                        {"len", l_queue_len}, {"next", l_next},
                                        {"prev", l_prev},     {"push_back", l_push_back},
                                        {"scan", l_scan},     {"push_front", l_push_front},
                                        {"remove", l_remove}, {"used", l_queue_used},
                                        {"has", l_queue_has}, {"to_front", l_push_front},
                                        {NULL, NULL}};
const luaL_Reg evict_ghost_methods[] = {
    {"add", l_add},       {"drop", l_drop},       {"has", l_has}, {"len", l_ghost_len},
    {"remove", l_forget}, {"used", l_ghost_used}, {NULL, NULL}};
