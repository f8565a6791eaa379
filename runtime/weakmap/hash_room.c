/* SPDX-License-Identifier: MIT
 * The hash index's buckets: one more as entries come, one less as they go, and the memory that they
 * are in. */
#include "hash_internal.h"

static void make_empty(struct cell c) {
  memset(c.at, 0, sizeof *c.at);
  c.back->more = NULL;
  c.back->n = 0;
}

/* All that was in a bucket goes where its hash says now. */
static void spread(struct lethe_weakmap *m, const struct lethe_weak_places *at,
                   const struct back *from) {
  for (uint32_t i = 0; i < from->n; i++)
    push(cell_of(m, hash_at(at, i)), hash_at(at, i), from->entry[i], at->object[i]);
  m->moved += from->n;
  for (struct entry *e = from->more, *next; e; e = next) {
    uint64_t hash = weak_hash_of(m, e);
    next = e->next;
    push(cell_of(m, hash), hash, e, e->object);
    m->moved++;
  }
}

/* ---- growing and shrinking ------------------------------------------------------------------- */

static size_t segment_bytes(size_t cells) {
  return cells * (sizeof(struct lethe_weak_places) + sizeof(struct back));
}

static struct lethe_weak_places *segment_new(struct lethe_weakmap *m, size_t cells) {
  return weak_lines_new(m->alloc, segment_bytes(cells));
}

static void segment_free(struct lethe_weakmap *m, struct lethe_weak_places *segment) {
  weak_lines_free(m->alloc, segment, segment_bytes(cells_of(m)));
}

/* A map of a few entries has a small segment, which is copied once. */
static int grow_small(struct lethe_weakmap *m) {
  struct lethe_weak_places *all = segment_new(m, SEGMENT), *few = m->quick.segments[0];
  if (!all) return LETHE_ENOMEM;
  const struct back *backs = cell_at(m, 0).back;
  memcpy(all, few, SMALL * sizeof *few);
  memcpy(all + SEGMENT, backs, SMALL * sizeof *backs);
  for (size_t i = 0; i < SMALL; i++) m->moved += backs[i].n;
  segment_free(m, few);
  m->quick.segments[0] = all;
  m->u.hash.small = false;
  return LETHE_OK;
}

/* Memory for the next bucket. */
static int reserve(struct lethe_weakmap *m) {
  size_t i = m->quick.buckets / SEGMENT;
  if (m->u.hash.small && m->quick.buckets == SMALL) return grow_small(m);
  if (m->quick.buckets % SEGMENT) return LETHE_OK;
  struct lethe_weak_places **segments = m->quick.segments;
  if (lethe_grow(m->alloc, (void **)&segments, &m->u.hash.room, i + 1, sizeof *segments))
    return LETHE_ENOMEM;
  m->quick.segments = segments;
  segments[i] = segment_new(m, i == 0 ? SMALL : SEGMENT);
  return segments[i] ? LETHE_OK : LETHE_ENOMEM;
}

void weak_hash_free(struct lethe_weakmap *m) {
  size_t n = (m->quick.buckets + SEGMENT - 1) / SEGMENT;
  for (size_t i = 0; i < n; i++) segment_free(m, m->quick.segments[i]);
  lethe_free(m->alloc, m->quick.segments, m->u.hash.room * sizeof *m->quick.segments);
  m->quick.segments = NULL;
  if (m->quick.is) m->quick.is = false;
  m->u.hash.room = m->u.hash.low = m->quick.buckets = 0;
}

static void set_low(struct lethe_weakmap *m, size_t low) {
  m->u.hash.low = low;
  m->quick.mask[0] = 2 * low - 1;
  m->quick.mask[1] = low - 1;
}

static int first_bucket(struct lethe_weakmap *m) {
  if (reserve(m)) {
    weak_hash_free(m); /* the list of them */
    return LETHE_ENOMEM;
  }
  m->u.hash.small = true;
  m->quick.buckets = 1;
  set_low(m, 1);
  make_empty(cell_at(m, 0));
  return LETHE_OK;
}

static void split(struct lethe_weakmap *m) {
  size_t low = m->u.hash.low, last = m->quick.buckets;
  struct cell c = cell_at(m, last - low);
  struct lethe_weak_places at = *c.at;
  struct back from = *c.back;
  make_empty(c);
  make_empty(cell_at(m, last));
  m->quick.buckets++;
  spread(m, &at, &from);
  if (m->quick.buckets == 2 * low) set_low(m, 2 * low);
}

int weak_hash_make_room(struct lethe_weakmap *m) {
  if (m->quick.buckets == 0) return first_bucket(m);
  if (2 * m->count >= 3 * m->quick.buckets && reserve(m) == LETHE_OK) split(m);
  return LETHE_OK;
}

/* The list of segments halves when it is used by a quarter; without memory it stays. */
static void trim(struct lethe_weakmap *m) {
  size_t room = m->u.hash.room, used = m->quick.buckets / SEGMENT + 1;
  if (room <= 8 || used > room / 4) return;
  struct lethe_weak_places **less = m->alloc->realloc(m->alloc->ud, m->quick.segments,
                                                      room * sizeof *less, room / 2 * sizeof *less);
  if (!less) return;
  m->quick.segments = less;
  m->u.hash.room = room / 2;
}

/* The last bucket's entries go back to where they came from. */
static void join(struct lethe_weakmap *m) {
  if (m->quick.buckets == m->u.hash.low) set_low(m, m->u.hash.low / 2);
  size_t last = m->quick.buckets - 1;
  m->quick.buckets = last;
  struct cell c = cell_at(m, last);
  spread(m, c.at, c.back);
  if (last % SEGMENT != 0) return;
  segment_free(m, m->quick.segments[last / SEGMENT]);
  trim(m);
}

void weak_hash_shrink(struct lethe_weakmap *m) {
  for (int i = 0; i < 2 && m->quick.buckets > 1 && m->count < m->quick.buckets; i++) join(m);
}
