/* SPDX-License-Identifier: MIT
 * What every binding stands on: the record of a Lua state, classes of userdata whose finalizers
 * only note a death, safe points, error reports, and the checks of arguments.
 *
 * An object is a full userdata that begins with struct lethe_box. Its class says how to end what it
 * holds. `close` ends it at once; `__gc` only links its slot into the dead-set of the state, and
 * the next safe point ends it, in slot order. Bindings never write a __gc of their own.
 *
 *   static int l_new(lua_State *L) {
 *     struct lethe_box *b = lethe_box_new(L, &tracker_class, 0);   may raise; nothing is held yet
 *     int rc = lethe_quota_new(..., &p);                           only now acquire
 *     if (rc) return lethe_fail(L, rc);                            nil, message, code
 *     lethe_box_hold(L, b, p);
 *     return 1;
 *   } */
#ifndef LETHE_BINDINGS_COMMON_H
#define LETHE_BINDINGS_COMMON_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "lethe/base.h"
#include "lethe/loop.h"
#include "lethe/nearest.h"
#include "lethe/registry.h"

#define LETHE_VERSION "lethe 0.1.0"
#define LETHE_EXPORT __attribute__((visibility("default")))

/* ---- the state ------------------------------------------------------------------------------- */

struct lethe_state {
  lua_State *main;                /* the main thread */
  lua_State *turning;             /* whoever turns a loop now; callbacks run on it */
  struct lethe_registry objects;  /* a slot for each object of this state */
  struct lethe_loop *loop;        /* the default loop, made on first use */
  struct lethe_loop *host;        /* never turned: its base is that of all loops of this state */
  struct lethe_settler *settlers; /* what engines deliver at the end of a call; see lethe_settle */
  struct lethe_callback *starved; /* what could not be called for want of memory; callback.c */
  unsigned starving;              /* turns in a row that left some */
  unsigned no_wait;               /* above 0: a callback runs that must not wait */
  uint64_t hidden_made, hidden_died; /* objects of hidden classes */
  /* Optional: an object was closed, at that stack index; a loop turns. lethe.weakmap sets them. */
  void (*on_close)(lua_State *L, int object);
  void (*in_turn)(lua_State *L);
  bool draining, settling; /* a safe point, a delivery is under way */
  bool debug;              /* LETHE_DEBUG=1: keep tracebacks of where objects were made */
  bool ended;              /* lua_close is past the last safe point */
};

/* The record of L's state; made on first use, which may raise. */
struct lethe_state *lethe_state(lua_State *L);
/* The default loop; raises when it cannot be made. */
struct lethe_loop *lethe_default_loop(lua_State *L);

/* How a further Lua state is made ready for lethe's modules: package.path, cpath and what `prepare`
 * (the executable's embedded modules) adds. lethe_newstate_prepare raises nowhere: LUA_OK, or an
 * error status with the message on top of `to`. */
void lethe_set_prepare(lua_State *L, lua_CFunction prepare);
int lethe_newstate_prepare(lua_State *from, lua_State *to);

/* ---- objects --------------------------------------------------------------------------------- */

struct lethe_box {
  void *what;  /* NULL: closed, or not yet made */
  uint64_t id; /* its slot in the state's registry; 0 once closed or dead */
};

struct lethe_class;

/* The box of a hot class names it. */
struct lethe_hot_box {
  struct lethe_box box;
  const struct lethe_class *class;
};

struct lethe_class {
  const char *name; /* "lethe.quota.Tracker" */
  /* Ends what a box held: on close (closed), or at the safe point after its death. It runs no Lua.
   * NULL for a class made in Lua (base.class), whose finisher is a Lua function. */
  void (*end)(struct lethe_state *s, void *what, bool closed);
  /* Optional: what `held` says after the class name, for people ("" for none). */
  void (*label)(void *what, char *buf, size_t n);
  bool leaks;   /* collected without close is worth a report */
  bool hidden;  /* no program sees one: the default registry does not count them */
  bool watched; /* has stats() that are worth a look: lethe.inspect shows it */
  bool hot;     /* has methods that find their object by lethe_hot */
  bool last;    /* others stand on it: at the state's end it ends after them */
  const luaL_Reg *methods, *metamethods;
  /* Optional, all three, for objects that may go to other states in messages. `share` makes a
   * counted reference to `what`, NULL without memory, and `drop` gives one back, from any thread.
   * `receive` pushes an object of another state's on that reference, which stays the message's; it
   * may raise. The class's module ("lethe.quota") is loaded before. */
  void *(*share)(void *what);
  void (*drop)(void *shared);
  void (*receive)(lua_State *L, void *shared);
};

/* Makes the metatable, once per state however often it is called. */
void lethe_class(lua_State *L, const struct lethe_class *c);
/* The table of its methods becomes the field of the table on top, for a Lua face that adds more. */
void lethe_methods(lua_State *L, const struct lethe_class *c, const char *field);
/* A new object of the class, empty, on the stack, with so many user values and one of lethe's own
 * behind them; raises without memory. */
struct lethe_box *lethe_box_new(lua_State *L, const struct lethe_class *c, int uservalues);
/* From now on the box, and its slot, hold `what`. Cannot fail. */
void lethe_box_hold(lua_State *L, struct lethe_box *b, void *what);
/* The box at `arg`: raises for another type, and for a closed object. */
struct lethe_box *lethe_check(lua_State *L, int arg, const struct lethe_class *c);
/* For methods that must be fast: what the object at 1 holds, or NULL for all that lethe_check would
 * take a closer look at. No metatable is compared: a userdata of this size that names the class is
 * ours. */
static inline void *lethe_hot(lua_State *L, const struct lethe_class *c) {
  if (lua_rawlen(L, 1) != sizeof(struct lethe_hot_box)) return NULL;
  const struct lethe_hot_box *b = lua_touserdata(L, 1);
  return b && b->class == c ? b->box.what : NULL;
}
/* The same, but a closed object gives a box whose what is NULL; NULL for another type. */
struct lethe_box *lethe_test(lua_State *L, int arg, const struct lethe_class *c);
/* Ends the object now, if it is not closed already. */
void lethe_box_close(lua_State *L, struct lethe_box *b, const struct lethe_class *c);
/* object:close(), for the classes' methods: returns true. */
int lethe_close(lua_State *L);
/* The class of the object at `arg`, or NULL for what is not ours. */
const struct lethe_class *lethe_class_of(lua_State *L, int arg);
/* The object's __name without "lethe.", or NULL for what is not ours. */
const char *lethe_typename(lua_State *L, int arg);

/* ---- safe points ----------------------------------------------------------------------------- */

/* Ends what the collector found dead since the last one. Every call into an engine but the hot ones
 * begins with it; it may call Lua (events, finishers of Lua classes), so nothing is held then. */
void lethe_safepoint_slow(lua_State *L, struct lethe_state *s);
static inline struct lethe_state *lethe_safepoint(lua_State *L) {
  struct lethe_state *s = lethe_state(L);
  if (s->objects.dead) lethe_safepoint_slow(L, s);
  return s;
}

/* An engine that queues things for Lua (events) registers a settler; lethe_settle lets each
 * deliver, in a protected call: what deliver raises goes to lethe_report. Bindings call it last,
 * before they push results, where nothing is held. */
struct lethe_settler {
  struct lethe_settler *next;
  bool (*pending)(struct lethe_settler *self);
  void (*deliver)(struct lethe_settler *self, lua_State *L);
};
void lethe_settle_slow(lua_State *L, struct lethe_state *s);
static inline void lethe_settle(lua_State *L) {
  struct lethe_state *s = lethe_state(L);
  if (s->settlers) lethe_settle_slow(L, s);
}

/* ---- failures, reports, arguments ------------------------------------------------------------ */

/* Raises Lua's own "not enough memory". */
int lethe_nomemory(lua_State *L);
/* nil, message, code of a LETHE_E* code; lethe_failf with a message of its own. Return 3. */
int lethe_fail(lua_State *L, int code);
int lethe_failf(lua_State *L, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Pops an error value and hands it to lethe.on_error, or prints a line; never raises. A table of
 * details may lie below the value: pass details = true and both are popped. */
void lethe_report(lua_State *L, bool details);
/* lua_pcall whose failure carries a traceback and goes to lethe_report; true if it went well. */
bool lethe_call_reported(lua_State *L, int nargs, int nresults);
/* A message handler that adds a traceback to strings. */
int lethe_traceback(lua_State *L);

/* Whether a key of the table at `arg` is not in the NULL-ended list; pushes what is said of it,
 * with a suggestion. */
bool lethe_badoption(lua_State *L, int arg, const char *const *names);
/* Raises for such a key. */
void lethe_checkoptions(lua_State *L, int arg, const char *const *names);
/* A size in bytes at stack index `i`: an integer or "1.5M". Raises naming `what` for anything
 * else. */
int64_t lethe_tosize(lua_State *L, int i, const char *what);
/* The argument `arg` as a size. */
int64_t lethe_checksize(lua_State *L, int arg);

/* The open loop at `arg`, a lethe.loop.Loop; raises for anything else. */
struct lethe_loop *lethe_checkloop(lua_State *L, int arg);

/* ---- modules --------------------------------------------------------------------------------- */

LETHE_EXPORT int luaopen_lethe_core_backend(lua_State *L);
LETHE_EXPORT int luaopen_lethe_core_base(lua_State *L);
LETHE_EXPORT int luaopen_lethe_core_cache(lua_State *L);
LETHE_EXPORT int luaopen_lethe_core_epoch(lua_State *L);
LETHE_EXPORT int luaopen_lethe_core_evict(lua_State *L);
LETHE_EXPORT int luaopen_lethe_core_inspect(lua_State *L);
LETHE_EXPORT int luaopen_lethe_core_loop(lua_State *L);
LETHE_EXPORT int luaopen_lethe_core_policy(lua_State *L);
LETHE_EXPORT int luaopen_lethe_core_quota(lua_State *L);
LETHE_EXPORT int luaopen_lethe_core_shared(lua_State *L);
LETHE_EXPORT int luaopen_lethe_core_sim(lua_State *L);
LETHE_EXPORT int luaopen_lethe_core_slots(lua_State *L);
LETHE_EXPORT int luaopen_lethe_core_vat(lua_State *L);
LETHE_EXPORT int luaopen_lethe_core_weakmap(lua_State *L);
LETHE_EXPORT int luaopen_lethe_core_worker(lua_State *L);

#endif
