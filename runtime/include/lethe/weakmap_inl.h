/* SPDX-License-Identifier: MIT
 * Looking up integers in weak maps of one thread, inline: what lethe/weakmap.h does for every map
 * and key, in fewer instructions where it is these. Hashed maps are their buckets; ordered ones
 * have some for what is looked up again and again (a memo).
 *
 *   found = lethe_weakmap_get_integer(map, 7);         a strong reference, or NULL
 *   there = lethe_weakmap_borrow_integer(map, 7);      borrowed: maps of one thread
 *
 * All maps may be asked: those of threads and those with keys of another kind go the way of
 * lethe_weakmap_get. */
#ifndef LETHE_WEAKMAP_INL_H
#define LETHE_WEAKMAP_INL_H

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "lethe/weakmap.h"

enum {
  LETHE_WEAK_PLACES = 4,  /* of a bucket */
  LETHE_WEAK_SEGMENT = 64 /* buckets of a segment */
};

/* A bucket's first half, which is one cache line; a segment begins with those of all its buckets.
 * A hash is in two halves, so that the first ones are compared at once. A place that is not in use
 * has hash 0 and no object. */
struct lethe_weak_places {
  uint32_t high[LETHE_WEAK_PLACES], low[LETHE_WEAK_PLACES];
  struct lethe_counted *object[LETHE_WEAK_PLACES];
};

/* Every map begins with this. */
struct lethe_weak_quick {
  bool is; /* a map of one thread, not empty, hashed and of whole numbers, or with a memo */
  struct lethe_weak_places **segments;
  size_t buckets; /* in use */
  size_t mask[2]; /* for a bucket's number; if there is no such bucket */
  uint64_t seed;
};

#define LETHE_WEAK_FACTOR UINT64_C(0x9e3779b97f4a7c15)

/* No two numbers have the same hash. Multiplying by the golden ratio spreads what is in steps (D.
 * Knuth, vol. 3, 6.4); each bit of the number shows in those above it, so the lower half, which
 * tells the bucket, gets the upper one, its highest bits first. Few instructions: the processor has
 * as many looks on their way at once as it has room for. */
static inline uint64_t lethe_weak_hash(uint64_t key, uint64_t seed) {
  uint64_t z = (key ^ seed) * LETHE_WEAK_FACTOR;
  return z ^ __builtin_bswap32((uint32_t)(z >> 32));
}

/* Here and below no branch depends on a hash: it would be mispredicted every other time. */
static inline struct lethe_weak_places *lethe_weak_places_of(const struct lethe_weak_quick *q,
                                                             uint64_t hash) {
  size_t i = (size_t)hash & q->mask[((size_t)hash & q->mask[0]) >= q->buckets];
  return &q->segments[i / LETHE_WEAK_SEGMENT][i % LETHE_WEAK_SEGMENT];
}

/* A bit for each place whose hash has this upper half. */
static inline unsigned lethe_weak_alike(const struct lethe_weak_places *p, uint32_t high) {
#ifdef __SSE2__
  __m128i all = _mm_load_si128((const __m128i *)(const void *)p->high);
  all = _mm_cmpeq_epi32(all, _mm_set1_epi32((int)high));
  return (unsigned)_mm_movemask_ps(_mm_castsi128_ps(all));
#else
  return (unsigned)(p->high[0] == high) | (unsigned)(p->high[1] == high) << 1 |
         (unsigned)(p->high[2] == high) << 2 | (unsigned)(p->high[3] == high) << 3;
#endif
}

/* The object in the first half of a bucket whose hash this is. *found: it is there. If not, it may
 * still be behind another one that has the same upper half; what is returned is nothing then. */
static inline struct lethe_counted *lethe_weak_look(const struct lethe_weak_places *p,
                                                    uint64_t hash, bool *found) {
  unsigned alike = lethe_weak_alike(p, (uint32_t)(hash >> 32));
  *found = false;
  if (!alike) return NULL;
  unsigned at = (unsigned)__builtin_ctz(alike);
  *found = p->low[at] == (uint32_t)hash;
  return p->object[at];
}

/* What a map that is quick has for the integer. */
static inline struct lethe_counted *lethe_weak_look_up(struct lethe_weakmap *m,
                                                       const struct lethe_weak_quick *q,
                                                       int64_t key) {
  bool found;
  uint64_t hash = lethe_weak_hash((uint64_t)key, q->seed);
  struct lethe_counted *c = lethe_weak_look(lethe_weak_places_of(q, hash), hash, &found);
  if (__builtin_expect(found, true)) return c;
  struct lethe_weak_key k = lethe_weak_integer(key);
  return lethe_weakmap_borrow(m, &k); /* in the rest of the bucket, or the tree, if anywhere */
}

static inline struct lethe_counted *lethe_weakmap_borrow_integer(struct lethe_weakmap *m,
                                                                 int64_t key) {
  const struct lethe_weak_quick *q = (const struct lethe_weak_quick *)(const void *)m;
  if (q->is) return lethe_weak_look_up(m, q, key);
  struct lethe_weak_key k = lethe_weak_integer(key);
  return lethe_weakmap_borrow(m, &k);
}

static inline struct lethe_counted *lethe_weakmap_get_integer(struct lethe_weakmap *m,
                                                              int64_t key) {
  const struct lethe_weak_quick *q = (const struct lethe_weak_quick *)(const void *)m;
  if (!q->is) {
    struct lethe_weak_key k = lethe_weak_integer(key);
    return lethe_weakmap_get(m, &k);
  }
  struct lethe_counted *c = lethe_weak_look_up(m, q, key);
  uint32_t n = c ? load_rlx(&c->strong) : 0;
  if (n == 0) return NULL; /* it is not there, or dying */
  store_rlx(&c->strong, n + 1);
  return c;
}

#endif
