/* SPDX-License-Identifier: MIT
 * Slots by name: a hash table of blocks of sixteen neighbours. What counts a name is its number, of
 * what is stored the instance; a block is found by the rest. */
#include <string.h>

#include "slots_internal.h"

/* Which block, and which place of it. */
struct where {
  uint64_t key;
  uint32_t instance, place;
};

static struct where where_is(uint64_t key, uint32_t instance) {
  bool stored = (key >> 3 & 3) != 0;
  if (stored) return (struct where){key, instance / SLOTS_BLOCK, instance % SLOTS_BLOCK};
  uint64_t id = key >> 6;
  return (struct where){id / SLOTS_BLOCK << 6 | (key & 63), instance, (uint32_t)(id % SLOTS_BLOCK)};
}

static uint32_t home_of(const struct slots_names *m, uint64_t key, uint32_t instance) {
  uint64_t h = (key ^ (uint64_t)instance << 40) * UINT64_C(0x9e3779b97f4a7c15);
  return (uint32_t)(h >> 32) & (m->hash_room - 1);
}

/* Where the block stands in the hash table, or the empty place where it would. */
static uint32_t look(const struct slots_names *m, uint64_t key, uint32_t instance) {
  uint32_t i = home_of(m, key, instance);
  for (; m->hash[i]; i = (i + 1) & (m->hash_room - 1)) {
    const struct slots_block *b = &m->blocks[m->hash[i]];
    if (b->key == key && b->instance == instance) break;
  }
  return i;
}

uint32_t *slots_names_find(const struct slots_names *m, uint64_t key, uint32_t instance) {
  if (!m->hash_room) return NULL;
  struct where w = where_is(key, instance);
  uint32_t block = m->hash[look(m, w.key, w.instance)];
  return block && m->blocks[block].places[w.place] ? &m->blocks[block].places[w.place] : NULL;
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* A hash table of that room with the same blocks. */
static int rehash(struct slots_names *m, const struct lethe_alloc *a, uint32_t room) {
  uint32_t *hash = lethe_zalloc(a, room * sizeof *hash);
  if (!hash) return LETHE_ENOMEM;
  lethe_free(a, m->hash, m->hash_room * sizeof *hash);
  m->hash = hash;
  m->hash_room = room;
  for (uint32_t i = 1; i < m->n; i++) {
    const struct slots_block *b = &m->blocks[i];
    if (b->used) hash[look(m, b->key, b->instance)] = i;
  }
  return LETHE_OK;
}

/* The number of a free block, or 0 without memory. */
static uint32_t take_block(struct slots_names *m, const struct lethe_alloc *a) {
  uint32_t block = m->free;
  if (block) {
    m->free = m->blocks[block].places[0];
    return block;
  }
  void *array = m->blocks;
  if (m->n == UINT32_MAX) return 0;
  if (lethe_grow(a, &array, &m->room, m->n + (size_t)2, sizeof *m->blocks)) return 0;
  m->blocks = array;
  if (m->n == 0) m->n = 1;
  return m->n++;
}

uint32_t *slots_names_add(struct slots_names *m, const struct lethe_alloc *a, uint64_t key,
                          uint32_t instance) {
  struct where w = where_is(key, instance);
  if ((m->used + 1) * UINT64_C(2) > m->hash_room &&
      rehash(m, a, m->hash_room ? m->hash_room * 2 : 16))
    return NULL;
  uint32_t at = look(m, w.key, w.instance), block = m->hash[at];
  if (!block) {
    block = take_block(m, a);
    if (!block) return NULL;
    m->blocks[block] = (struct slots_block){.key = w.key, .instance = w.instance};
    m->hash[at] = block;
    m->used++;
  }
  m->blocks[block].used++;
  return &m->blocks[block].places[w.place];
}

/* Takes a block out of the hash table and closes the gap: whoever was pushed past it moves back. */
static void unhash(struct slots_names *m, uint32_t gap) {
  uint32_t mask = m->hash_room - 1;
  for (uint32_t i = (gap + 1) & mask; m->hash[i]; i = (i + 1) & mask) {
    const struct slots_block *other = &m->blocks[m->hash[i]];
    uint32_t home = home_of(m, other->key, other->instance);
    if (((i - home) & mask) < ((i - gap) & mask)) continue; /* it would stand before its home */
    m->hash[gap] = m->hash[i];
    gap = i;
  }
  m->hash[gap] = 0;
}

void slots_names_remove(struct slots_names *m, uint64_t key, uint32_t instance) {
  struct where w = where_is(key, instance);
  uint32_t at = look(m, w.key, w.instance), block = m->hash[at];
  struct slots_block *b = &m->blocks[block];
  b->places[w.place] = 0;
  if (--b->used > 0) return;
  unhash(m, at);
  b->places[0] = m->free;
  m->free = block;
  m->used--;
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* The blocks in use, side by side. */
static void compact(struct slots_names *m, const struct lethe_alloc *a) {
  uint32_t n = 1;
  for (uint32_t i = 1; i < m->n; i++)
    if (m->blocks[i].used) m->blocks[n++] = m->blocks[i];
  m->blocks = a->realloc(a->ud, m->blocks, m->room * sizeof *m->blocks, n * sizeof *m->blocks);
  m->room = m->n = n;
  m->free = 0;
  memset(m->hash, 0, m->hash_room * sizeof *m->hash);
  for (uint32_t i = 1; i < n; i++) m->hash[look(m, m->blocks[i].key, m->blocks[i].instance)] = i;
}

void slots_names_trim(struct slots_names *m, const struct lethe_alloc *a) {
  if (m->used == 0) {
    slots_names_free(m, a);
    return;
  }
  if (m->n > 16 && m->used < m->n / 4) compact(m, a);
  uint32_t room = m->hash_room;
  while (room > 16 && m->used < room / 8) room /= 2;
  if (room < m->hash_room) (void)rehash(m, a, room); /* without memory it stays as it is */
}

void slots_names_free(struct slots_names *m, const struct lethe_alloc *a) {
  lethe_free(a, m->blocks, m->room * sizeof *m->blocks);
  lethe_free(a, m->hash, m->hash_room * sizeof *m->hash);
  *m = (struct slots_names){0};
}

size_t slots_names_bytes(const struct slots_names *m) {
  return m->room * sizeof *m->blocks + m->hash_room * sizeof *m->hash;
}
