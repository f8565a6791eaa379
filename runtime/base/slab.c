/* SPDX-License-Identifier: MIT
 * Slot table: chunks of records, a free list through them, generations against stale ids. */
#include <string.h>

#include "lethe/slab.h"

enum { LINE = 64 };

struct record {
  uint32_t generation, next_free;
};

/* ---- chunks ---------------------------------------------------------------------------------- */

/* A chunk begins where a line of the cache does: records whose size is a multiple of a line then
 * have their first fields in one. Before it stands where its memory begins. */
static size_t chunk_size(const struct lethe_slab *s) {
  return sizeof(void *) + LINE + (size_t)s->item * LETHE_SLAB_CHUNK;
}

static char *new_chunk(const struct lethe_slab *s) {
  char *memory = lethe_zalloc(s->alloc, chunk_size(s));
  if (!memory) return NULL;
  uintptr_t first = (uintptr_t)memory + sizeof(void *);
  char *chunk = memory + sizeof(void *) + (LINE - first % LINE) % LINE;
  memcpy(chunk - sizeof memory, &memory, sizeof memory);
  return chunk;
}

static void free_chunk(const struct lethe_slab *s, char *chunk) {
  char *memory;
  memcpy(&memory, chunk - sizeof memory, sizeof memory);
  lethe_free(s->alloc, memory, chunk_size(s));
}

/* ---- slots ----------------------------------------------------------------------------------- */

void lethe_slab_init(struct lethe_slab *s, const struct lethe_alloc *a, size_t item) {
  *s = (struct lethe_slab){.alloc = a, .item = (uint32_t)((item + 7) & ~(size_t)7), .slots = 1};
}

void lethe_slab_destroy(struct lethe_slab *s) {
  size_t n = s->chunks_room ? (s->slots + LETHE_SLAB_CHUNK - 1) / LETHE_SLAB_CHUNK : 0;
  for (size_t i = 0; i < n; i++) free_chunk(s, s->chunks[i]);
  lethe_free(s->alloc, s->chunks, s->chunks_room * sizeof *s->chunks);
  lethe_slab_init(s, s->alloc, s->item);
}

/* The next slot that was never used, its chunk made where it begins one. */
static uint32_t fresh_slot(struct lethe_slab *s) {
  size_t chunk = s->slots / LETHE_SLAB_CHUNK;
  bool first_of_all = s->chunks_room == 0;
  if (s->slots == UINT32_MAX) return 0;
  if (s->slots % LETHE_SLAB_CHUNK == 0 || first_of_all) {
    void *array = s->chunks;
    if (lethe_grow(s->alloc, &array, &s->chunks_room, chunk + 1, sizeof *s->chunks)) return 0;
    s->chunks = array;
    s->chunks[chunk] = new_chunk(s);
    if (!s->chunks[chunk]) {
      if (first_of_all) {
        lethe_free(s->alloc, s->chunks, s->chunks_room * sizeof *s->chunks);
        s->chunks = NULL;
        s->chunks_room = 0;
      }
      return 0;
    }
  }
  return s->slots++;
}

void *lethe_slab_take(struct lethe_slab *s, uint64_t *id) {
  uint32_t slot = s->free;
  struct record *r;
  if (slot) {
    r = lethe_slab_slot(s, slot);
    s->free = r->next_free;
  } else {
    slot = fresh_slot(s);
    if (!slot) return NULL;
    r = lethe_slab_slot(s, slot);
  }
  uint32_t generation = r->generation + 1;
  memset(r, 0, s->item);
  r->generation = generation;
  s->live++;
  *id = lethe_slab_id(r, slot);
  return r;
}

void lethe_slab_give(struct lethe_slab *s, uint64_t id) {
  struct record *r = lethe_slab_find(s, id);
  if (!r) return;
  r->generation++;
  s->live--;
  if (r->generation == 0) return; /* its ids are used up: one more would repeat the first */
  r->next_free = s->free;
  s->free = (uint32_t)id;
}
