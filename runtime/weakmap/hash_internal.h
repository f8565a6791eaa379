/* SPDX-License-Identifier: MIT
 * What the files of the hash index share: hash.c has its calls, hash_room.c its buckets' memory,
 * hash_walk.c walks and the audit.
 *
 * Invariants: H1  low <= buckets < 2 low, unless there are none, and the masks say so. H2  an entry
 * is in the bucket that its hash says, with its hash and its object beside it. H3  buckets <=
 * count + 2, so that memory goes with the entries. H4  a bucket's places are in use from the first
 * on; the others have neither hash nor object; it has a chain only if all are in use. H5  `odd`
 * numbers are not whole. H6  `quick.is` says what it should. */
#ifndef LETHE_WEAKMAP_HASH_INTERNAL_H
#define LETHE_WEAKMAP_HASH_INTERNAL_H

#include <stdalign.h>

#include "weakmap_internal.h"

enum {
  PLACES = LETHE_WEAK_PLACES,
  SEGMENT = LETHE_WEAK_SEGMENT, /* segments are never copied, but for a small one */
  SMALL = 2,                    /* cells of a map of a few entries */
  ALIGN = WEAK_LINE
};

/* What a look does without. */
struct back {
  alignas(ALIGN) struct entry *entry[PLACES];
  struct entry *more;
  uint32_t n; /* of the places in use */
};
_Static_assert(sizeof(struct lethe_weak_places) == ALIGN, "a line");

/* Where a bucket is. */
struct cell {
  struct lethe_weak_places *at;
  struct back *back;
};

static inline uint64_t weak_hash_of(const struct lethe_weakmap *m, const struct entry *e) {
  struct lethe_weak_key k;
  weak_key_of(e, &k);
  return weak_key_hash(&k, m->quick.seed);
}

static inline bool weak_hash_is_odd(const struct lethe_weak_key *k) {
  return k->kind == LETHE_WEAK_FLOAT && !weak_key_is_whole(k);
}

static inline uint64_t hash_at(const struct lethe_weak_places *at, uint32_t i) {
  return (uint64_t)at->high[i] << 32 | at->low[i];
}

static inline void set_place(struct lethe_weak_places *at, uint32_t i, uint64_t hash,
                             struct lethe_counted *object) {
  at->high[i] = (uint32_t)(hash >> 32);
  at->low[i] = (uint32_t)hash;
  at->object[i] = object;
}

static inline size_t cells_of(const struct lethe_weakmap *m) {
  return m->u.hash.small ? SMALL : SEGMENT;
}

static inline struct cell cell_at(const struct lethe_weakmap *m, size_t i) {
  struct lethe_weak_places *segment = m->quick.segments[i / SEGMENT];
  struct back *backs = (struct back *)(void *)(segment + cells_of(m));
  return (struct cell){segment + i % SEGMENT, backs + i % SEGMENT};
}

static inline size_t number_of(const struct lethe_weakmap *m, uint64_t hash) {
  return (size_t)hash & m->quick.mask[((size_t)hash & m->quick.mask[0]) >= m->quick.buckets];
}

static inline struct cell cell_of(const struct lethe_weakmap *m, uint64_t hash) {
  return cell_at(m, number_of(m, hash));
}

/* The object is the entry's, which need not be touched. */
static inline void push(struct cell c, uint64_t hash, struct entry *e,
                        struct lethe_counted *object) {
  struct back *b = c.back;
  if (b->n == PLACES) {
    e->next = b->more;
    b->more = e;
    return;
  }
  set_place(c.at, b->n, hash, object);
  b->entry[b->n] = e;
  b->n++;
}

/* ---- hash_room.c ----------------------------------------------------------------------------- */

/* Room for one more entry: three for two buckets. Without memory for one more, chains grow
 * longer. LETHE_ENOMEM only if there is no bucket at all. */
int weak_hash_make_room(struct lethe_weakmap *m);
/* An entry has left: so may a bucket or two (keeps H3). */
void weak_hash_shrink(struct lethe_weakmap *m);
/* All buckets. */
void weak_hash_free(struct lethe_weakmap *m);

/* ---- hash_walk.c ----------------------------------------------------------------------------- */

struct entry *weak_hash_after(struct lethe_weakmap *m, const struct lethe_weak_key *k,
                              bool strictly);
bool weak_hash_is_valid(struct lethe_weakmap *m);
unsigned weak_hash_height(struct lethe_weakmap *m);

#endif
