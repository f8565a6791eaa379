/* SPDX-License-Identifier: MIT
 * What the files of the weak map's binding share: weakmap_value.c has Lua values as counted
 * objects, weakmap_pool.c where these are, weakmap_dead.c the calls of on_dead, weakmap_walk.c what
 * goes from key to key, weakmap_entry.c what is about one, weakmap_ephemeron.c the ephemerons,
 * lweakmap.c the rest.
 *
 * A value that is in a weak map has a Ref: a counted object whose one strong reference stands for
 * Lua's own. The table REFS holds the Ref's userdata under the value, weakly, so both are found
 * dead in one collection; its __gc notes that, and the next safe point puts the reference, which
 * takes the entries out of every map. The table VALUES, by the Ref's slot, leads back to the value,
 * weakly: Lua clears it in that same collection, so an entry whose value is no longer there is
 * dead, whether or not the note has come. Whoever finds one such buries it at once.
 *
 * Between a collection and its last finalizers the count of a map may so be too high. A canary,
 * which nothing holds, tells that there was a collection since the count was last known to be
 * right. */
#ifndef LETHE_BINDINGS_WEAKMAP_H
#define LETHE_BINDINGS_WEAKMAP_H

#include "object.h"

#include "lethe/ref.h"
#include "lethe/weakmap.h"

/* Of a Lua state; counted by its ports and Refs, which may end after it. */
struct weak_home {
  struct lethe_ref refs;
  struct lethe_state *state;
  struct weak_block **blocks; /* of Refs, by number */
  size_t room, living;        /* blocks that there may be; Refs */
  struct lethe_list spare;    /* blocks with places to give */
  uint64_t epoch;             /* canaries so far */
  uint64_t counted;           /* the last one with which all Refs were looked at */
  struct lethe_list due;      /* maps with dead that are not chained yet */
  struct lethe_settler settler;
};

/* Of a value. In a strong map: of an entry, its slot being one of the map's own table. */
struct weak_ref {
  struct lethe_counted counted;
  struct weak_home *home; /* NULL in a strong map */
  uint32_t slot;          /* of VALUES */
  bool buried, found;     /* its end is still to come; a sweep has seen that it is dead */
  struct weak_ref *next;  /* of those that a sweep has found */
};

/* See weakmap_pool.c. */
#define WEAK_BLOCK ((size_t)16384)
#define WEAK_PLACES (WEAK_BLOCK / sizeof(struct weak_ref))
struct weak_block {
  uint64_t living[WEAK_BLOCK / sizeof(struct weak_ref) / 64]; /* a bit for each place */
  struct lethe_list spare;
  uint32_t first;            /* slot, its own place's */
  uint16_t behind;           /* how far in the memory that was allocated it begins */
  uint16_t used, free, high; /* places in use; the first free one; those ever used */
};

/* What a WeakMap, a StrongMap or an Ephemeron holds. */
struct weak_port {
  struct lethe_weakmap *map;
  struct weak_home *home;
  uint64_t epoch; /* the last one with which its own entries were looked at */
  lua_Integer threshold, ops;
  bool strong;
  bool keeps_dead, telling; /* on_dead is set; is being called */
  struct lethe_list due;    /* in the home's list */
};

enum weak_uservalue {
  WEAK_HELD = 1, /* of a StrongMap: its values, by slot; of an Ephemeron: values under plain keys */
  WEAK_ON_DEAD = 1,
  WEAK_NEXT, /* in the chain of those with dead to be told */
  WEAK_USERVALUES = WEAK_NEXT
};

extern const struct lethe_class weak_map_class, weak_strong_class, weak_ephemeron_class;
extern const luaL_Reg weak_entry_methods[], weak_entry_functions[];
extern const luaL_Reg weak_walk_methods[], weak_walk_functions[];

/* ---- weakmap_value.c ------------------------------------------------------------------------- */

/* The tables of the Lua registry. */
extern char weak_key_values, weak_key_refs, weak_key_maps, weak_key_chain;

/* Once per state. May raise. */
void weak_open_values(lua_State *L);
struct weak_home *weak_home(lua_State *L);
void weak_home_put(struct weak_home *h);

/* Raises for what cannot be held weakly, or is a closed object. */
void weak_check_value(lua_State *L, int arg);
/* The value's Ref, made if there is none; borrowed. Raises. */
struct weak_ref *weak_ref_of(lua_State *L, struct weak_home *h, int value);
/* The value's living Ref, or NULL. */
struct weak_ref *weak_find_ref(lua_State *L, int value);
/* Its value is gone: out of every map. */
void weak_bury(struct weak_ref *r);
static inline struct weak_ref *weak_ref(struct lethe_counted *c) {
  return lethe_container_of(c, struct weak_ref, counted);
}
/* A reference for an entry of a strong map; NULL without memory. */
struct weak_ref *weak_cell_new(uint32_t slot);

/* Pushes the value of an object of the map at stack index `map`; nil if it is dead. Never
 * raises. */
void weak_push(lua_State *L, int map, const struct weak_port *p, struct lethe_counted *c);
/* Buries what is dead in the map. May raise, for want of memory, before it has done anything. */
void weak_sweep(lua_State *L, struct weak_port *p);

/* ---- weakmap_pool.c -------------------------------------------------------------------------- */

void weak_pool_init(struct weak_home *h);
void weak_pool_end(struct weak_home *h);
/* A living Ref, with its slot and home; NULL without memory. */
struct weak_ref *weak_pool_take(struct weak_home *h);
/* It is no longer among the living. */
void weak_pool_died(struct weak_ref *r);
void weak_pool_give(struct weak_home *h, struct weak_ref *r);
/* The first living Ref with that slot or a higher one, or NULL. */
struct weak_ref *weak_pool_next(const struct weak_home *h, uint32_t slot);

/* Where in its memory a block is: at the place that the memory's number says. */
static inline uintptr_t weak_block_at(const struct weak_ref *r) {
  return (uintptr_t)r / WEAK_BLOCK % WEAK_PLACES * sizeof *r;
}
static inline struct weak_block *weak_block_of(const struct weak_ref *r) {
  const char *memory = (const char *)r - (uintptr_t)r % WEAK_BLOCK;
  return (struct weak_block *)(uintptr_t)(memory + weak_block_at(r));
}
/* Its number, counted from the block's own on. */
static inline uint32_t weak_place_of(const struct weak_ref *r) {
  return (uint32_t)(((uintptr_t)r - weak_block_at(r)) % WEAK_BLOCK / sizeof *r);
}
/* The slot of what a weak map has, which is not touched. */
static inline uint32_t weak_slot(struct lethe_counted *c) {
  const struct weak_ref *r = weak_ref(c);
  return weak_block_of(r)->first + weak_place_of(r);
}

/* ---- lweakmap.c ------------------------------------------------------------------------------ */

/* The open map at `arg`, of either class, after a safe point; raises for anything else. */
struct weak_port *weak_check(lua_State *L, int arg);
/* The same of a method, quicker: upvalue 1 is the metatable. */
static inline struct weak_port *weak_self(lua_State *L) {
  struct lethe_box *b = lua_touserdata(L, 1);
  if (b && lua_getmetatable(L, 1)) {
    bool ours = lua_rawequal(L, -1, lua_upvalueindex(1));
    lua_pop(L, 1);
    struct weak_port *p = ours ? b->what : NULL;
    if (p && !p->home->state->objects.dead) return p;
  }
  return weak_check(L, 1);
}
/* An object of the class, on the stack, and what it is to hold, without a core map yet. */
struct weak_port *weak_port_new(lua_State *L, const struct lethe_class *c, int uservalues,
                                struct lethe_box **b);
/* Of one that no object holds. */
void weak_port_drop(struct weak_port *p);
void weak_port_hold(lua_State *L, struct lethe_box *b, struct weak_port *p,
                    struct lethe_weakmap *map);
void weak_end_port(struct lethe_state *s, void *what, bool closed);
static inline bool weak_is_strong(const struct weak_port *p) { return p->strong; }

/* ---- weakmap_entry.c ------------------------------------------------------------------------- */

/* The key at `arg`, which lives as long as it stands there. Raises for what is none of this
 * map's. */
void weak_check_key(lua_State *L, int arg, struct weak_port *p, struct lethe_weak_key *k);
/* The same for what came out of a map: false if it cannot be in this one. */
bool weak_to_key(lua_State *L, int index, struct weak_port *p, struct lethe_weak_key *k);
void weak_push_key(lua_State *L, const struct lethe_weak_key *k);
/* Pushes what was under the key of the map at 1, or nil; the entry is gone then. Never raises. */
int weak_take_out(lua_State *L, struct weak_port *p, const struct lethe_weak_key *k);
/* Whether the value at `value` is the one under the key of the map at 1. */
bool weak_is_at(lua_State *L, struct weak_port *p, const struct lethe_weak_key *k, int value);
/* A mutation: counts it, and sweeps when there were enough of them. */
void weak_mutate(lua_State *L, struct weak_port *p);

/* ---- weakmap_walk.c -------------------------------------------------------------------------- */

void weak_open_walks(lua_State *L, int metatable);
/* The live entry at the key or after it (see lethe_weakmap_borrow_next), its value pushed; the dead
 * that are in the way are buried. False, with nothing pushed, at the end. Never raises. */
bool weak_next_alive(lua_State *L, int map, struct weak_port *p, const struct lethe_weak_key *k,
                     bool strictly, bool down, struct lethe_weak_item *item);

/* ---- weakmap_dead.c -------------------------------------------------------------------------- */

void weak_open_dead(struct weak_home *h);
/* The map's notify. */
void weak_notify(void *port);
/* Calls on_dead for the dead of the map at `map`. */
void weak_tell(lua_State *L, int map);
/* deliver(): calls on_dead for all that are due; poster(fn): fn() makes the loop call deliver. */
int weak_deliver(lua_State *L);
int weak_poster(lua_State *L);

/* ---- weakmap_ephemeron.c --------------------------------------------------------------------- */

/* ephemeron() */
int weak_ephemeron(lua_State *L);
/* An object of lethe's was closed: what ephemerons keep with it goes. */
void weak_forget_values(lua_State *L, int object);

#endif
