/* SPDX-License-Identifier: MIT
 * What the files of the slot tables share. */
#ifndef LETHE_SLOTS_INTERNAL_H
#define LETHE_SLOTS_INTERNAL_H

#include "lethe/slots.h"

enum { SLOTS_CHUNK = 256 };

struct slots_chunk {
  struct lethe_slot *slots; /* NULL: given back */
  uint32_t used;
};

/* A queued callback. The generation is for people who look at it: nothing is decided by it. */
struct slots_note {
  uint32_t slot, generation;
};

struct slots_suspect {
  uint64_t order; /* the first 15 characters of the name, packed; ties are settled by the text */
  uint32_t slot;
};

struct lethe_slots {
  const struct lethe_alloc *alloc;
  /* Slots in chunks that do not move; number 0 is never handed out. */
  struct slots_chunk *chunks;
  size_t chunks_room, chunks_n;
  uint32_t free; /* linked through next */
  uint32_t used;
  /* Name -> slot, open addressing with linear probing; 0 is an empty place. */
  uint32_t *hash;
  uint32_t hash_room; /* a power of two, or 0 */
  /* The ring of queued callbacks. */
  struct slots_note *ring;
  uint32_t ring_room, ring_first, queued; /* room: a power of two, or 0 */
  uint32_t bodies;                        /* of all slots: alive, or queued */
  /* Whatever may have to be said: linked through next until it is gathered. */
  uint32_t suspects;
  struct slots_suspect *backlog;
  size_t backlog_room, backlog_first, backlog_n;
  struct lethe_slots_stats so_far;
};

static inline struct lethe_slot *slots_at(const struct lethe_slots *t, uint32_t slot) {
  return &t->chunks[slot / SLOTS_CHUNK].slots[slot % SLOTS_CHUNK];
}

static inline bool slots_is(const struct lethe_slot *s, unsigned bits) {
  return (s->bits & bits) == bits;
}

/* Of the key: type 2 bits, own 1, form 2, a bit that is always set, then the id. */
static inline bool slots_is_import(const struct lethe_slot *s) { return (s->key & 7) == 0; }
static inline bool slots_is_own(const struct lethe_slot *s) { return (s->key & 7) == 4; }
static inline bool slots_is_stored(const struct lethe_slot *s) { return (s->key >> 3 & 3) != 0; }

/* Whether one name comes before another, by bytes. */
bool slots_before(const struct lethe_slots *t, uint32_t a, uint32_t b);

/* Among the suspects, once. */
static inline void slots_suspect(struct lethe_slots *t, uint32_t slot) {
  struct lethe_slot *s = slots_at(t, slot);
  if (s->bits & LETHE_SLOT_LINKED) return;
  s->bits |= LETHE_SLOT_LINKED;
  s->next = t->suspects;
  t->suspects = slot;
}

#endif
