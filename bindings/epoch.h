/* SPDX-License-Identifier: MIT
 * What bindings share that stand on the epoch manager: the port of a state on a manager, and the
 * sections of its coroutines.
 *
 * A port is a Lua state's place on one manager. It is counted by the objects of that manager in the
 * state and goes with the last of them. Its record is that of the thread, taken by Manager:register
 * or by the first call on a shared structure.
 *
 * A section is what one coroutine has pinned. Most of the time there is one, `current`, on the
 * thread's record, which whoever pins takes. When a coroutine pins while another one is still
 * pinned (or a task is about to wait) the pinned section moves aside with the record it is pinned
 * on, and the thread goes on with a new record and a new section.
 *
 * All of it belongs to the state's thread. */
#ifndef LETHE_BINDINGS_EPOCH_H
#define LETHE_BINDINGS_EPOCH_H

#include "common.h"
#include "lethe/epoch.h"

struct epoch_port;

struct epoch_section {
  struct epoch_section *next; /* aside */
  struct epoch_port *port;    /* NULL: its handle has left */
  lua_State *L;               /* whoever pinned last */
  struct lethe_epoch_rec *rec;
  uint32_t depth;   /* pins of the coroutine */
  uint32_t changes; /* counts what it retired or changed: it is not rerun then */
  unsigned refs;    /* of the port and of guards */
  bool held;        /* L is kept, and so no other coroutine can take its place in memory */
};

struct epoch_port {
  struct epoch_port *next, **all; /* of the state */
  struct lethe_state *state;
  struct lethe_epoch *m;
  struct lethe_epoch_rec *rec; /* the thread's, or NULL */
  struct epoch_section *current, *aside;
  unsigned refs;
  bool handled; /* a Handle stands for the record */
};

/* The state's port on m, made if it has none, counted once more; it keeps m. NULL without
 * memory. */
struct epoch_port *epoch_port(lua_State *L, struct lethe_epoch *m);
void epoch_port_put(struct epoch_port *p);
/* The port of the Manager at `arg`; raises for anything else, and for a closed one. */
struct epoch_port *epoch_check_manager(lua_State *L, int arg);

/* Registers the thread if it is not. LETHE_EFULL, LETHE_EREGISTERED (another state of this thread
 * has the record), LETHE_ECLOSED, LETHE_ENOMEM. */
int epoch_attend(struct epoch_port *p);
/* Unpins all, and gives the record back. */
void epoch_port_leave(struct epoch_port *p);

struct epoch_section *epoch_here_slow(lua_State *L, struct epoch_port *p);
/* The section of the calling coroutine, of a port that attends; while its depth is 0 its record may
 * be pinned for the length of a call. Cannot fail. */
static inline struct epoch_section *epoch_here(lua_State *L, struct epoch_port *p) {
  struct epoch_section *s = p->current;
  if (!p->aside && (s->depth == 0 || (s->L == L && s->held))) return s;
  return epoch_here_slow(L, p);
}

/* The calling coroutine has retired or changed something, through a port of the state: none of its
 * sections, of whatever manager, is rerun. */
void epoch_changed(lua_State *L, const struct epoch_port *p);

/* Part of every safe point: what is pinned by coroutines that are gone or have ended is unpinned,
 * and others than the caller are not held any more. */
void epoch_sweep(lua_State *L, struct epoch_port *p);
void epoch_sweep_all(struct lethe_state *s);

/* Runs the destructors of Lua values of this state that have come home. */
void epoch_drain(lua_State *L);
/* Runs those of all values that this state has retired, wherever they are: the state is about to
 * end, and everything in it can still be used. Without it they run as lua_close comes to an end. */
void epoch_end_state(lua_State *L);

#endif
