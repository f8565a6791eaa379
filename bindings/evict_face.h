/* SPDX-License-Identifier: MIT
 * What the objects of hooks have in common: c (evict_face.c), its queues and ghost lists
 * (evict_parts.c).
 *
 * The objects are tables that have their methods as fields: Lua finds a method of a table at once,
 * one of a userdata by way of its metatable. Each policy has methods of its own, closures over its
 * face (upvalue 1), and an object is known by its address. Once the policy is over, whoever kept
 * an object is told so. */
#ifndef LETHE_BINDINGS_EVICT_FACE_H
#define LETHE_BINDINGS_EVICT_FACE_H

#include <string.h>

#include "evict_script.h"

#define FACE "lethe.policy.Cache"
#define QUEUE "lethe.policy.Queue"
#define GHOST "lethe.policy.Ghost"

enum { FACE_KNOWN = 4 }; /* queues that are found without a table */

/* A queue or a ghost list. */
struct part {
  const void *object; /* NULL: there are no more */
  unsigned index;     /* among the policy's */
};

struct evict_face {
  struct evict_script *s; /* NULL: it is over */
  const void *c;
  const void *known[FACE_KNOWN]; /* strings: the names of the first queues */
  struct part queues[LETHE_EVICT_HOOK_QUEUES + 1], ghosts[LETHE_EVICT_HOOK_GHOSTS + 1];
};

/* ---- arguments ------------------------------------------------------------------------------- */

static inline struct evict_script *face_policy(lua_State *L) {
  const struct evict_face *f = lua_touserdata(L, lua_upvalueindex(1));
  if (!f->s) luaL_error(L, "the policy is over");
  return f->s;
}

/* For calls that change the order of entries. */
static inline struct evict_script *face_changing(lua_State *L, struct evict_script *s) {
  if (s->reading) luaL_error(L, "entries stay as they are while a policy is exchanged");
  return s;
}

static inline uint64_t face_handle(lua_State *L, int arg) {
  return (uint64_t)luaL_checkinteger(L, arg);
}

/* The handle at 2 names nothing: that is a strike, also if the script catches the error. */
static inline int face_bad_handle(lua_State *L, struct evict_script *s, uint64_t h) {
  struct lethe_evict_failure *f = lethe_evict_script_failing(s->e);
  char why[100];
  lethe_evict_hooks_fault(s->e, h, why, sizeof why);
  if (!s->faulted) memcpy(f->message, why, sizeof why);
  s->faulted = true;
  return luaL_error(L, "%s", why);
}

/* Without a handle: what is asked for and not there, or NULL. */
static inline const struct lethe_evict_request *face_request(lua_State *L,
                                                             const struct evict_script *s) {
  return lua_isnoneornil(L, 2) ? lethe_evict_hooks_request(s->e) : NULL;
}

extern const luaL_Reg evict_queue_methods[], evict_ghost_methods[];

#endif
