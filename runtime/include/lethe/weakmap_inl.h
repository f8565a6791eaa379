/* SPDX-License-Identifier: MIT
 * Looking up integers in hashed weak maps of one thread, inline: what lethe/weakmap.h does for
 * every map and key, in a quarter fewer instructions where it is these.
 *
 *   found = lethe_weakmap_get_integer(map, 7);         a strong reference, or NULL
 *   there = lethe_weakmap_borrow_integer(map, 7);      borrowed: maps of one thread
 *
 * All maps may be asked: those of threads, ordered ones and those with keys of another kind go the
 * way of lethe_weakmap_get. */
#ifndef LETHE_WEAKMAP_INL_H
#define LETHE_WEAKMAP_INL_H

#include "lethe/weakmap.h"

enum {
  LETHE_WEAK_PLACES = 4,  /* of a bucket */
  LETHE_WEAK_SEGMENT = 64 /* buckets of a segment */
};

/* A bucket's first half is one cache line. A place that is not in use has hash 0 and no object. */
struct lethe_weak_places {
  uint64_t hash[LETHE_WEAK_PLACES];
  struct lethe_counted *object[LETHE_WEAK_PLACES];
};
struct lethe_weak_bucket {
  struct lethe_weak_places places;
  char rest[sizeof(struct lethe_weak_places)];
};

/* Every map begins with this. */
struct lethe_weak_quick {
  bool is; /* a hashed map of one thread, not empty, of whole numbers: a hash tells the key */
  struct lethe_weak_bucket **segments;
  size_t buckets, low; /* in use; the power of 2 at or below it */
  uint64_t seed;
};

/* splitmix64's last step: every bit of the number shows in every bit, and none is lost. */
static inline uint64_t lethe_weak_mixed(uint64_t z) {
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

/* Here and below no branch depends on a hash: it would be mispredicted every other time. */
static inline struct lethe_weak_bucket *lethe_weak_bucket_of(const struct lethe_weak_quick *q,
                                                             uint64_t hash) {
  size_t i = (size_t)hash & (2 * q->low - 1);
  i -= q->low & (0 - (size_t)(i >= q->buckets));
  return &q->segments[i / LETHE_WEAK_SEGMENT][i % LETHE_WEAK_SEGMENT];
}

/* The object in the first half of a bucket whose hash this is; *found: there was one. */
static inline struct lethe_counted *lethe_weak_look(const struct lethe_weak_places *p,
                                                    uint64_t hash, bool *found) {
  unsigned at = (unsigned)(p->hash[0] == hash) | (unsigned)(p->hash[1] == hash) << 1 |
                (unsigned)(p->hash[2] == hash) << 2 | (unsigned)(p->hash[3] == hash) << 3;
  __asm__("" : "+r"(at)); /* else the comparisons above become branches to what is below */
  *found = at != 0;
  return at ? p->object[__builtin_ctz(at)] : NULL;
}

/* What a map that is quick has for the integer. */
static inline struct lethe_counted *lethe_weak_look_up(struct lethe_weakmap *m,
                                                       const struct lethe_weak_quick *q,
                                                       int64_t key) {
  bool found;
  uint64_t hash = lethe_weak_mixed((uint64_t)key ^ q->seed);
  struct lethe_counted *c = lethe_weak_look(&lethe_weak_bucket_of(q, hash)->places, hash, &found);
  if (found) return c;
  struct lethe_weak_key k = lethe_weak_integer(key);
  return lethe_weakmap_borrow(m, &k); /* in the rest of the bucket, if anywhere */
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
