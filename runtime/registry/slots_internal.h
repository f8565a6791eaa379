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

/* Sixteen neighbouring names: numbers are given one after the other, so who looks for one will look
 * for its neighbours, and finds them where the memory is warm. */
enum { SLOTS_BLOCK = 16 };

struct slots_block {
  uint64_t key; /* of the names, but for the last 4 bits of what counts them */
  uint32_t instance;
  uint32_t used;                /* of the places; 0: a free block, and then places[0] is the next */
  uint32_t places[SLOTS_BLOCK]; /* slots, 0 = none */
};

struct slots_names {
  struct slots_block *blocks; /* number 0 is not used */
  size_t room;
  uint32_t n, free, used; /* ever used, head of the free ones, in use */
  uint32_t *hash;         /* numbers of blocks: open addressing with linear probing, 0 = empty */
  uint32_t hash_room;     /* a power of two, or 0 */
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
  uint32_t free;       /* linked through next */
  uint32_t used, peak; /* peak: the most since the last trim that said so */
  struct slots_names names;
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

/* slots_names.c: the place of a name, whose key and instance a slot has; NULL where there is none,
 * from _add without memory. */
uint32_t *slots_names_find(const struct slots_names *m, uint64_t key, uint32_t instance);
uint32_t *slots_names_add(struct slots_names *m, const struct lethe_alloc *a, uint64_t key,
                          uint32_t instance);
/* The name is one that has a slot. */
void slots_names_remove(struct slots_names *m, uint64_t key, uint32_t instance);
/* Gives back memory where far fewer names are left than there were. */
void slots_names_trim(struct slots_names *m, const struct lethe_alloc *a);
void slots_names_free(struct slots_names *m, const struct lethe_alloc *a);
size_t slots_names_bytes(const struct slots_names *m);

/* slots_boyd.c: whether one name comes before another, by bytes. */
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
