/* SPDX-License-Identifier: MIT
 * Finalization registry: slots for what is alive, and the dead-set of what a collector found dead.
 *
 * A finalizer runs at a moment that the collector chose, possibly inside unrelated code. So it may
 * do one thing here: lethe_registry_note, which links the slot into the dead-set - no lock, no
 * allocation, no call out. What follows from a death happens later, at a moment that the program
 * chose: lethe_registry_take empties the dead-set in slot order, so that two runs of one program do
 * the same things in the same order whatever the collector did. Slot order is the order in which
 * slots were taken, a slot that is used again counting anew: which one is free to be used again
 * depends on the collector. Slots carry generations: a note for a slot that was given up, or noted
 * before, does nothing.
 *
 *   id = lethe_registry_add(r, what, kind)     it is alive; memory for its death is set aside
 *   lethe_registry_remove(r, id)               it was closed in order: no death will be reported
 *   lethe_registry_note(r, id)                 its finalizer ran
 *   lethe_registry_take(r, fn, ud)             fn(ud, id, what, kind) for each of the dead
 *
 * One thread: that of the Lua state, or whatever collector, that owns the registry. */
#ifndef LETHE_REGISTRY_H
#define LETHE_REGISTRY_H

#include "lethe/slab.h"

struct lethe_registry {
  struct lethe_slab slots;
  uint32_t dead_head;                    /* links through the dead slots, latest first; 0 ends it */
  uint32_t dead;                         /* noted and not yet taken */
  uint64_t registered, finalized, taken; /* totals */
};

LETHE_API void lethe_registry_init(struct lethe_registry *r, const struct lethe_alloc *a);
LETHE_API void lethe_registry_destroy(struct lethe_registry *r);
/* The slot's id, or 0 without memory. `what` and `kind` are the caller's. */
LETHE_API uint64_t lethe_registry_add(struct lethe_registry *r, void *what, const void *kind);
/* What the slot stands for, where it came to be only after the slot. */
LETHE_API void lethe_registry_hold(struct lethe_registry *r, uint64_t id, void *what);
/* What kind of thing the slot stands for, from now on. */
LETHE_API void lethe_registry_rename(struct lethe_registry *r, uint64_t id, const void *kind);
/* True if it was alive, that is neither removed nor noted before. */
LETHE_API bool lethe_registry_remove(struct lethe_registry *r, uint64_t id);
/* From a finalizer. True if this is news. Never fails. */
LETHE_API bool lethe_registry_note(struct lethe_registry *r, uint64_t id);
/* Empties the dead-set as it stands, in slot order; each slot is free before fn sees it, and fn may
 * do anything, notes and takes included. How many were taken. */
LETHE_API size_t lethe_registry_take(struct lethe_registry *r,
                                     void (*fn)(void *ud, uint64_t id, void *what,
                                                const void *kind),
                                     void *ud);
/* Every slot that is alive, in slot order, as dead: the end of the state that owns them all. */
LETHE_API void lethe_registry_note_all(struct lethe_registry *r);

/* Alive: registered, not removed, not noted. */
static inline uint32_t lethe_registry_live(const struct lethe_registry *r) {
  return r->slots.live - r->dead;
}

#endif
