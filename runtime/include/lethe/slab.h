/* SPDX-License-Identifier: MIT
 * Slot table: records of one size in chunks that never move, each named by a 64-bit id.
 *
 * An id is generation << 32 | slot. The generation of a slot is odd while it is in use and grows
 * whenever it is taken or given back, so an id outlives its record harmlessly: looking it up
 * answers NULL for ever after (a slot that was taken 2^31 times is not used again). Id 0 names
 * nothing. Lookup, take and give are O(1); a walk over all slots can stop anywhere and go on
 * later, which is what lets a scan hold a lock for a few records at a time. Not thread-safe: the
 * owner's lock covers it. */
#ifndef LETHE_SLAB_H
#define LETHE_SLAB_H

#include "lethe/base.h"

enum { LETHE_SLAB_CHUNK = 256 };

struct lethe_slab {
  const struct lethe_alloc *alloc;
  char **chunks;
  size_t chunks_room;
  uint32_t item;  /* bytes of a record; its first 4 bytes are the generation */
  uint32_t slots; /* slots that exist, used or free; slot 0 is never handed out */
  uint32_t free;  /* head of the free list, 0 = none; linked through the record's second word */
  uint32_t live;
};

/* `item` is the record's size, at least 8; the record begins with uint32_t generation. Records of a
 * multiple of 64 bytes begin where lines of the processor's cache do. */
LETHE_API void lethe_slab_init(struct lethe_slab *s, const struct lethe_alloc *a, size_t item);
LETHE_API void lethe_slab_destroy(struct lethe_slab *s);
/* A zeroed record in use, its id in *id; NULL when there is no memory. */
LETHE_API void *lethe_slab_take(struct lethe_slab *s, uint64_t *id);
LETHE_API void lethe_slab_give(struct lethe_slab *s, uint64_t id);

static inline void *lethe_slab_slot(const struct lethe_slab *s, uint32_t slot) {
  return s->chunks[slot / LETHE_SLAB_CHUNK] + (size_t)(slot % LETHE_SLAB_CHUNK) * s->item;
}
/* The record in use at a slot, or NULL. */
static inline void *lethe_slab_used(const struct lethe_slab *s, uint32_t slot) {
  if (slot == 0 || slot >= s->slots) return NULL;
  uint32_t *r = lethe_slab_slot(s, slot);
  return *r & 1 ? r : NULL;
}
static inline void *lethe_slab_find(const struct lethe_slab *s, uint64_t id) {
  uint32_t *r = lethe_slab_used(s, (uint32_t)id);
  return r && *r == id >> 32 ? r : NULL;
}
static inline uint64_t lethe_slab_id(const void *record, uint32_t slot) {
  return (uint64_t) * (const uint32_t *)record << 32 | slot;
}

#endif
