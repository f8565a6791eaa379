/* SPDX-License-Identifier: MIT
 * Slots: records in chunks that do not move, each found by its name, and what memory goes back. */
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
  slots_names_free(&t->names, t->alloc);
  free_ring(t);
  free_backlog(t);
  lethe_free(t->alloc, t, sizeof *t);
}

/* ---- names ----------------------------------------------------------------------------------- */

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

uint32_t lethe_slots_find(const struct lethe_slots *t, const struct lethe_vref *v) {
  const uint32_t *place = slots_names_find(&t->names, key_of(v), v->instance);
  return place ? *place : 0;
}

/* ---- records --------------------------------------------------------------------------------- */

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
    if (!t->free && add_chunk(t)) return LETHE_ENOMEM;
    uint32_t *place = slots_names_add(&t->names, t->alloc, key_of(v), v->instance);
    if (!place) return LETHE_ENOMEM;
    *place = found = t->free;
    struct lethe_slot *s = slots_at(t, found);
    t->free = s->next;
    *s = (struct lethe_slot){.key = key_of(v), .instance = v->instance, .bits = LETHE_SLOT_USED};
    t->chunks[found / SLOTS_CHUNK].used++;
    if (++t->used > t->peak) t->peak = t->used;
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
  slots_names_remove(&t->names, s->key, s->instance);
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

/* ---- memory that goes back ------------------------------------------------------------------- */

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

bool lethe_slots_trim(struct lethe_slots *t) {
  if (t->backlog_first == t->backlog_n) free_backlog(t);
  trim_ring(t);
  trim_chunks(t);
  slots_names_trim(&t->names, t->alloc);
  if (t->peak <= SLOTS_CHUNK || t->used > t->peak / 4) return false;
  t->peak = t->used;
  return true;
}

void lethe_slots_read_stats(const struct lethe_slots *t, struct lethe_slots_stats *s) {
  *s = t->so_far;
  s->slots = t->used;
  s->bodies = t->bodies - t->queued;
  s->queued = t->queued;
  s->bytes = sizeof *t + t->chunks_room * sizeof *t->chunks + slots_names_bytes(&t->names) +
             t->ring_room * sizeof *t->ring + t->backlog_room * sizeof *t->backlog;
  for (size_t i = 0; i < t->chunks_n; i++)
    if (t->chunks[i].slots) s->bytes += SLOTS_CHUNK * sizeof(struct lethe_slot);
}
