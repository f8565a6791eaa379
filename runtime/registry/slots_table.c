/* SPDX-License-Identifier: MIT
 * Slots by name: records in chunks, a hash table of their numbers, and the ring's room. */
#include <string.h>

#include "slots_internal.h"

int lethe_slots_new(struct lethe_slots **t, const struct lethe_alloc *a) {
  struct lethe_slots *made = lethe_zalloc(a, sizeof *made);
  if (!made) return LETHE_ENOMEM;
  made->alloc = a;
  *t = made;
  return LETHE_OK;
}

static void free_chunks(struct lethe_slots *t) {
  for (size_t i = 0; i < t->chunks_n; i++)
    lethe_free(t->alloc, t->chunks[i].slots, SLOTS_CHUNK * sizeof(struct lethe_slot));
  lethe_free(t->alloc, t->chunks, t->chunks_room * sizeof *t->chunks);
  t->chunks = NULL;
  t->chunks_room = t->chunks_n = 0;
  t->free = 0;
}

static void free_hash(struct lethe_slots *t) {
  lethe_free(t->alloc, t->hash, t->hash_room * sizeof *t->hash);
  t->hash = NULL;
  t->hash_room = 0;
}

static void free_ring(struct lethe_slots *t) {
  lethe_free(t->alloc, t->ring, t->ring_room * sizeof *t->ring);
  t->ring = NULL;
  t->ring_room = t->ring_first = 0;
}

static void free_backlog(struct lethe_slots *t) {
  lethe_free(t->alloc, t->backlog, t->backlog_room * sizeof *t->backlog);
  t->backlog = NULL;
  t->backlog_room = t->backlog_first = t->backlog_n = 0;
}

void lethe_slots_delete(struct lethe_slots *t) {
  if (!t) return;
  free_chunks(t);
  free_hash(t);
  free_ring(t);
  free_backlog(t);
  lethe_free(t->alloc, t, sizeof *t);
}

/* ---- names ------------------------------------------------------------------------------------ */

static uint64_t key_of(const struct lethe_vref *v) {
  uint64_t type = v->type == 'o' ? 0 : v->type == 'p' ? 1 : v->type == 'd' ? 2 : 3;
  return v->id << 6 | 1u << 5 | (uint64_t)v->form << 3 | (uint64_t)v->own << 2 | type;
}

void lethe_slots_name(const struct lethe_slots *t, uint32_t slot, struct lethe_vref *v) {
  const struct lethe_slot *s = slots_at(t, slot);
  *v = (struct lethe_vref){.type = "opdw"[s->key & 3],
                           .own = s->key >> 2 & 1,
                           .form = (enum lethe_vref_form)(s->key >> 3 & 3),
                           .instance = s->instance,
                           .id = s->key >> 6};
}

static uint32_t place_of(const struct lethe_slots *t, uint64_t key, uint32_t instance) {
  uint64_t h = (key ^ (uint64_t)instance << 40) * UINT64_C(0x9e3779b97f4a7c15);
  return (uint32_t)(h >> 32) & (t->hash_room - 1);
}

/* Where the name stands in the hash table, or the empty place where it would. */
static uint32_t look(const struct lethe_slots *t, uint64_t key, uint32_t instance) {
  uint32_t i = place_of(t, key, instance);
  for (; t->hash[i]; i = (i + 1) & (t->hash_room - 1)) {
    const struct lethe_slot *s = slots_at(t, t->hash[i]);
    if (s->key == key && s->instance == instance) break;
  }
  return i;
}

uint32_t lethe_slots_find(const struct lethe_slots *t, const struct lethe_vref *v) {
  return t->hash_room ? t->hash[look(t, key_of(v), v->instance)] : 0;
}

/* A table of that room with the same names. */
static int rehash(struct lethe_slots *t, uint32_t room) {
  uint32_t *old = t->hash, old_room = t->hash_room;
  uint32_t *hash = lethe_zalloc(t->alloc, room * sizeof *hash);
  if (!hash) return LETHE_ENOMEM;
  t->hash = hash;
  t->hash_room = room;
  for (uint32_t i = 0; i < old_room; i++) {
    if (!old[i]) continue;
    const struct lethe_slot *s = slots_at(t, old[i]);
    hash[look(t, s->key, s->instance)] = old[i];
  }
  lethe_free(t->alloc, old, old_room * sizeof *old);
  return LETHE_OK;
}

/* Takes a place out and closes the gap: whoever was pushed past it moves back. */
static void unhash(struct lethe_slots *t, const struct lethe_slot *s) {
  uint32_t mask = t->hash_room - 1, gap = look(t, s->key, s->instance);
  for (uint32_t i = (gap + 1) & mask; t->hash[i]; i = (i + 1) & mask) {
    const struct lethe_slot *other = slots_at(t, t->hash[i]);
    uint32_t home = place_of(t, other->key, other->instance);
    if (((i - home) & mask) < ((i - gap) & mask)) continue; /* it would stand before its home */
    t->hash[gap] = t->hash[i];
    gap = i;
  }
  t->hash[gap] = 0;
}

/* ---- records ---------------------------------------------------------------------------------- */

static void free_slots_of(struct lethe_slots *t, size_t chunk) {
  for (uint32_t i = SLOTS_CHUNK; i-- > 0;) {
    uint32_t slot = (uint32_t)(chunk * SLOTS_CHUNK) + i;
    struct lethe_slot *s = slots_at(t, slot);
    if (slot == 0 || s->bits & LETHE_SLOT_USED) continue;
    s->next = t->free;
    t->free = slot;
  }
}

/* A chunk of free slots: in the first gap, else behind the others. */
static int add_chunk(struct lethe_slots *t) {
  size_t i = 0;
  void *array = t->chunks;
  while (i < t->chunks_n && t->chunks[i].slots) i++;
  if (i >= UINT32_MAX / SLOTS_CHUNK) return LETHE_ENOMEM;
  if (lethe_grow(t->alloc, &array, &t->chunks_room, i + 1, sizeof *t->chunks)) return LETHE_ENOMEM;
  t->chunks = array;
  struct lethe_slot *slots = lethe_zalloc(t->alloc, SLOTS_CHUNK * sizeof *slots);
  if (!slots) return LETHE_ENOMEM;
  t->chunks[i] = (struct slots_chunk){.slots = slots};
  if (i == t->chunks_n) t->chunks_n++;
  free_slots_of(t, i);
  return LETHE_OK;
}

int lethe_slots_add(struct lethe_slots *t, const struct lethe_vref *v, uint32_t *slot) {
  uint32_t found = lethe_slots_find(t, v);
  if (!found) {
    if ((uint64_t)(t->used + 1) * 4 > (uint64_t)t->hash_room * 3 &&
        rehash(t, t->hash_room ? t->hash_room * 2 : 16))
      return LETHE_ENOMEM;
    if (!t->free && add_chunk(t)) return LETHE_ENOMEM;
    found = t->free;
    struct lethe_slot *s = slots_at(t, found);
    t->free = s->next;
    *s = (struct lethe_slot){.key = key_of(v), .instance = v->instance, .bits = LETHE_SLOT_USED};
    t->hash[look(t, s->key, s->instance)] = found;
    t->chunks[found / SLOTS_CHUNK].used++;
    t->used++;
  }
  *slot = found;
  return LETHE_OK;
}

struct lethe_slot *lethe_slots_at(const struct lethe_slots *t, uint32_t slot) {
  return slots_at(t, slot);
}

/* Keeps I1. */
void lethe_slots_settle(struct lethe_slots *t, uint32_t slot) {
  struct lethe_slot *s = slots_at(t, slot);
  if (s->bits != LETHE_SLOT_USED || s->bodies || s->recognizers || s->vdata) return;
  unhash(t, s);
  *s = (struct lethe_slot){.next = t->free};
  t->free = slot;
  t->chunks[slot / SLOTS_CHUNK].used--;
  t->used--;
}

void lethe_slots_each(const struct lethe_slots *t, void (*fn)(void *ud, uint32_t slot), void *ud) {
  for (size_t i = 0; i < t->chunks_n; i++) {
    for (uint32_t j = 0; t->chunks[i].slots && j < SLOTS_CHUNK; j++)
      if (t->chunks[i].slots[j].bits & LETHE_SLOT_USED) fn(ud, (uint32_t)i * SLOTS_CHUNK + j);
  }
}

/* ---- memory that goes back -------------------------------------------------------------------- */

static size_t empty_chunks(const struct lethe_slots *t) {
  size_t n = 0;
  for (size_t i = 0; i < t->chunks_n; i++) n += t->chunks[i].slots && t->chunks[i].used == 0;
  return n;
}

static void trim_chunks(struct lethe_slots *t) {
  if (t->used == 0) {
    free_chunks(t);
    return;
  }
  if (empty_chunks(t) * 2 < t->chunks_n) return;
  t->free = 0;
  for (size_t i = t->chunks_n; i-- > 0;) {
    struct slots_chunk *c = &t->chunks[i];
    if (c->slots && c->used == 0) {
      lethe_free(t->alloc, c->slots, SLOTS_CHUNK * sizeof *c->slots);
      c->slots = NULL;
    }
    if (c->slots) free_slots_of(t, i);
  }
  while (!t->chunks[t->chunks_n - 1].slots) t->chunks_n--;
}

/* The ring's entries to its beginning, then the rest goes back. */
static void trim_ring(struct lethe_slots *t) {
  uint32_t room = t->ring_room;
  if (t->bodies == 0) {
    free_ring(t);
    return;
  }
  while (room > 16 && room / 4 >= t->bodies) room /= 2;
  if (room == t->ring_room || t->queued) return;
  t->ring = t->alloc->realloc(t->alloc->ud, t->ring, t->ring_room * sizeof *t->ring,
                              room * sizeof *t->ring);
  t->ring_room = room;
  t->ring_first = 0;
}

static void trim_hash(struct lethe_slots *t) {
  uint32_t room = t->hash_room;
  while (room > 16 && t->used < room / 8) room /= 2;
  if (t->used == 0)
    free_hash(t);
  else if (room < t->hash_room)
    (void)rehash(t, room); /* without memory it stays as it is */
}

void lethe_slots_trim(struct lethe_slots *t) {
  if (t->backlog_first == t->backlog_n) free_backlog(t);
  trim_ring(t);
  trim_chunks(t);
  trim_hash(t);
}

void lethe_slots_read_stats(const struct lethe_slots *t, struct lethe_slots_stats *s) {
  *s = t->so_far;
  s->slots = t->used;
  s->bodies = t->bodies - t->queued;
  s->queued = t->queued;
  s->bytes = sizeof *t + t->chunks_room * sizeof *t->chunks + t->hash_room * sizeof *t->hash +
             t->ring_room * sizeof *t->ring + t->backlog_room * sizeof *t->backlog;
  for (size_t i = 0; i < t->chunks_n; i++)
    if (t->chunks[i].slots) s->bytes += SLOTS_CHUNK * sizeof(struct lethe_slot);
}
