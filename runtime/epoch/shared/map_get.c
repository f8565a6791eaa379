/* SPDX-License-Identifier: MIT
 * Reading the map. Nearly always a short way serves: from the bucket's dummy along links that are
 * not marked to the key's entry, which changes nothing and so needs no bag. Where a shortcut is
 * missing, a dead node is in the way, the buffer has no room or an ejection struck, the long way is
 * gone. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <string.h>

#include "map_internal.h"

/* ---- hashes ---------------------------------------------------------------------------------- */

/* Lua's integers are keys of a tag and eight bytes. They are hashed in registers, as two words that
 * were written as such (what was just written is slow to read in other pieces), by one product
 * whose halves are folded. */
enum { NUMBER = 9 };

static inline uint64_t last_eight(const unsigned char *key) {
  uint64_t x;
  memcpy(&x, key + 1, sizeof x);
  return x;
}

static inline uint64_t hash_number(const unsigned char *key, uint64_t seed) {
  const uint64_t odd = 0xd6e8feb86659fd93;
  unsigned __int128 x = (unsigned __int128)((last_eight(key) ^ seed) + key[0]) * odd;
  return (uint64_t)x ^ (uint64_t)(x >> 64);
}

uint64_t map_reversed(uint64_t x) {
  x = (x >> 1 & 0x5555555555555555) | (x & 0x5555555555555555) << 1;
  x = (x >> 2 & 0x3333333333333333) | (x & 0x3333333333333333) << 2;
  x = (x >> 4 & 0x0f0f0f0f0f0f0f0f) | (x & 0x0f0f0f0f0f0f0f0f) << 4;
  return __builtin_bswap64(x);
}

static inline uint64_t hash_of(const struct lethe_map *map, const void *key, size_t n) {
  return n == NUMBER ? hash_number(key, map->seed) : XXH3_64bits_withSeed(key, n, map->seed);
}

struct place map_place(const struct lethe_map *map, const void *key, size_t n) {
  uint64_t hash = hash_of(map, key, n);
  return (struct place){map_reversed(hash) | 1, hash, key, n};
}

/* ---- the short way --------------------------------------------------------------------------- */

/* It is compiled twice, for numbers and for the rest: what is known of n is then known all the
 * way. A key is searched to the end of its bucket, and so needs no place in the list's order. */
#define INLINE static inline __attribute__((always_inline))

enum { GO_ON = 1 }; /* by the long way */

/* The bucket's dummy, if its shortcut is there already. */
static inline const struct node *dummy_of(const struct lethe_map *map, uint64_t hash) {
  uint64_t bucket = hash & (load_acq(&map->buckets) - 1);
  if (__builtin_expect(bucket == 0, 0)) return map->head;
  unsigned s = map_segment_of(bucket);
  bucket_t *array = load_acq(&map->segments[s]);
  return array ? load_acq(&array[map_segment_place(bucket, s)]) : NULL;
}

static inline bool same_key(const struct node *node, const unsigned char *key, size_t n) {
  if (node->n != n) return false;
  if (n != NUMBER) return memcmp(node->key, key, n) == 0;
  return last_eight(node->key) == last_eight(key) && node->key[0] == key[0];
}

/* The block of the key's entry, or LETHE_ENOTFOUND. */
INLINE int find_block(const struct lethe_map *map, struct lethe_epoch_rec *r, const void *key,
                      size_t n, const struct block **out) {
  const struct node *at = dummy_of(map, hash_of(map, key, n));
  if (!at) return GO_ON;
  link_t next = load_acq(&at->next); /* dummies stay: no guard */
  while ((at = link_to(next)) != NULL) {
    if (!lethe_epoch_read_begin(r, at)) return GO_ON;
    next = load_acq(&at->next);
    bool entry = at->order & 1, found = entry && same_key(at, key, n);
    if (found) *out = link_to(load_acq(&at->value));
    lethe_epoch_read_end(r);
    if (link_marked(next)) return GO_ON;
    if (found) return *out ? LETHE_OK : LETHE_ENOTFOUND;
    if (!entry) break; /* the next bucket's dummy */
  }
  return LETHE_ENOTFOUND;
}

/* A number and what is before it: the last eight bytes will be read as such. */
static inline void copy_out(unsigned char *to, const unsigned char *from, size_t n) {
  if (n < 16 || n > 24) {
    memcpy(to, from, n);
  } else {
    memcpy(to, from, 16);
    memcpy(to + n - 8, from + n - 8, 8);
  }
}

INLINE int get_shortly(const struct lethe_map *map, struct lethe_epoch_rec *r, const void *key,
                       size_t n, struct lethe_buffer *value) {
  const struct block *block;
  int rc = find_block(map, r, key, n, &block);
  if (rc) return rc;
  if (!lethe_epoch_read_begin(r, block)) return GO_ON;
  size_t size = block->n;
  bool fits = size <= value->room && value->p;
  if (fits) copy_out(value->p, block->bytes, size);
  lethe_epoch_read_end(r);
  value->n = size;
  return fits ? LETHE_OK : GO_ON;
}

/* ---- the long way ---------------------------------------------------------------------------- */

static int get_once(struct lethe_map *map, struct lethe_epoch_rec *r, const struct place *p,
                    struct lethe_buffer *value) {
  struct spot spot;
  link_t link;
  int rc = map_find(map, r, p, &spot);
  if (rc) return rc;
  return spot.found ? map_read_value(map, r, spot.at, &link, value) : LETHE_ENOTFOUND;
}

static __attribute__((noinline)) int get_in_full(struct lethe_map *map, struct lethe_epoch_rec *r,
                                                 const void *key, size_t n,
                                                 struct lethe_buffer *value) {
  struct place p = map_place(map, key, n);
  int rc = shared_begin(r);
  if (rc) return rc;
  do rc = get_once(map, r, &p, value);
  while (rc == LETHE_ENEUTRALIZED && shared_again(r));
  shared_end(r);
  return rc;
}

INLINE int get(struct lethe_map *map, struct lethe_epoch_rec *r, const void *key, size_t n,
               struct lethe_buffer *value) {
  bool within = lethe_epoch_pinned(r);
  if (within && lethe_epoch_neutralized(r)) return LETHE_ENEUTRALIZED;
  if (!within) lethe_epoch_pin(r);
  int rc = get_shortly(map, r, key, n, value);
  if (!within) lethe_epoch_unpin(r);
  return rc == GO_ON ? get_in_full(map, r, key, n, value) : rc;
}

static __attribute__((noinline)) int get_bytes(struct lethe_map *map, struct lethe_epoch_rec *r,
                                               const void *key, size_t n,
                                               struct lethe_buffer *value) {
  return get(map, r, key, n, value);
}

int lethe_map_get(struct lethe_map *map, struct lethe_epoch_rec *r, const void *key, size_t n,
                  struct lethe_buffer *value) {
  return n == NUMBER ? get(map, r, key, NUMBER, value) : get_bytes(map, r, key, n, value);
}
