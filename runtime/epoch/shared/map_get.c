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
 * whose halves are folded; of that the lower bytes are the best mixed, and buckets go by the upper
 * bits. */
enum { NUMBER = 9 };

static inline uint64_t last_eight(const unsigned char *key) {
  uint64_t x;
  memcpy(&x, key + 1, sizeof x);
  return x;
}

static inline uint64_t hash_number(const unsigned char *key, uint64_t seed) {
  const uint64_t odd = 0xd6e8feb86659fd93;
  unsigned __int128 x = (unsigned __int128)((last_eight(key) ^ seed) + key[0]) * odd;
  return __builtin_bswap64((uint64_t)x ^ (uint64_t)(x >> 64));
}

static inline uint64_t hash_of(const struct lethe_map *map, const void *key, size_t n) {
  return n == NUMBER ? hash_number(key, map->seed) : XXH3_64bits_withSeed(key, n, map->seed);
}

struct place map_place(const struct lethe_map *map, const void *key, size_t n) {
  return (struct place){hash_of(map, key, n) | 1, key, n};
}

/* ---- the short way --------------------------------------------------------------------------- */

/* It is compiled twice, for numbers and for the rest: what is known of n is then known all the way.
 * What goes on elsewhere is called last of all: nothing is kept for after it. */
#define INLINE static inline __attribute__((always_inline))
#define ELSEWHERE static __attribute__((noinline))

enum { GO_ON = 1 }; /* by the long way */

/* The dummy of an entry's bucket, if it is in the list already. */
static inline const struct node *dummy_of(const struct lethe_map *map, uint64_t order) {
  uint64_t bucket = order & load_acq(&map->mask);
  if (__builtin_expect(bucket == 0, 0)) return map->first;
  const struct node *level = load_acq(&map->level[map_level(bucket)]);
  if (!level) return NULL;
  const struct node *dummy = &level[map_level_place(bucket)];
  return load_acq(&dummy->value) == DUMMY_LISTED ? dummy : NULL;
}

/* Whether a node is the key's entry. A number's is known by its key; a dummy has none. */
static inline bool is_entry_of(const struct node *node, uint64_t order, const unsigned char *key,
                               size_t n) {
  if (node->n != n) return false;
  if (n != NUMBER) return node->order == order && memcmp(map_key(node), key, n) == 0;
  return last_eight(map_key(node)) == last_eight(key) && map_key(node)[0] == key[0];
}

/* The block of the key's entry, or LETHE_ENOTFOUND. */
INLINE int find_block(const struct lethe_map *map, struct lethe_epoch_rec *r, const void *key,
                      size_t n, const struct block **out) {
  uint64_t order = hash_of(map, key, n) | 1;
  const struct node *at = dummy_of(map, order);
  if (!at) return GO_ON;
  link_t next = load_acq(&at->next); /* dummies stay: no guard */
  while ((at = link_to(next)) != NULL) {
    if (!lethe_epoch_read_begin(r, at)) return GO_ON;
    next = load_acq(&at->next);
    bool found = is_entry_of(at, order, key, n), over = !found && at->order > order;
    if (found) *out = link_to(load_acq(&at->value));
    lethe_epoch_read_end(r);
    if (link_marked(next)) return GO_ON;
    if (found) return *out ? LETHE_OK : LETHE_ENOTFOUND;
    if (over) break;
  }
  return LETHE_ENOTFOUND;
}

static inline int leave(struct lethe_epoch_rec *r, bool within) {
  lethe_epoch_read_end(r);
  if (!within) lethe_epoch_unpin(r);
  return LETHE_OK;
}

ELSEWHERE int copy_and_leave(struct lethe_epoch_rec *r, bool within, const struct block *block,
                             struct lethe_buffer *value) {
  memcpy(value->p, block->bytes, value->n);
  return leave(r, within);
}

/* The block is being read, it is not empty, and there is room for it. Of a number and what is
 * before it the last eight bytes will be read as such. */
INLINE int copy_out(struct lethe_epoch_rec *r, bool within, const struct block *block,
                    struct lethe_buffer *value) {
  size_t n = value->n = block->n;
  if (n < 16 || n > 24) return copy_and_leave(r, within, block, value);
  memcpy(value->p, block->bytes, 16);
  memcpy(value->p + n - 8, block->bytes + n - 8, 8);
  return leave(r, within);
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

ELSEWHERE int get_in_full(struct lethe_map *map, struct lethe_epoch_rec *r, const void *key,
                          size_t n, struct lethe_buffer *value) {
  struct place p = map_place(map, key, n);
  int rc = shared_begin(r);
  if (rc) return rc;
  do rc = get_once(map, r, &p, value);
  while (rc == LETHE_ENEUTRALIZED && shared_again(r));
  shared_end(r);
  return rc;
}

/* ---- both ------------------------------------------------------------------------------------ */

INLINE int get(struct lethe_map *map, struct lethe_epoch_rec *r, const void *key, size_t n,
               struct lethe_buffer *value) {
  const struct block *block;
  bool within = lethe_epoch_pinned(r);
  if (within && lethe_epoch_neutralized(r)) return LETHE_ENEUTRALIZED;
  if (!within) lethe_epoch_pin(r);
  int rc = find_block(map, r, key, n, &block);
  if (rc == LETHE_OK && lethe_epoch_read_begin(r, block)) {
    if (block->n - 1 < value->room) return copy_out(r, within, block, value);
    lethe_epoch_read_end(r);
    rc = GO_ON;
  }
  if (!within) lethe_epoch_unpin(r);
  return rc == LETHE_ENOTFOUND ? rc : get_in_full(map, r, key, n, value);
}

ELSEWHERE int get_bytes(struct lethe_map *map, struct lethe_epoch_rec *r, const void *key, size_t n,
                        struct lethe_buffer *value) {
  return get(map, r, key, n, value);
}

int lethe_map_get(struct lethe_map *map, struct lethe_epoch_rec *r, const void *key, size_t n,
                  struct lethe_buffer *value) {
  return n == NUMBER ? get(map, r, key, NUMBER, value) : get_bytes(map, r, key, n, value);
}
