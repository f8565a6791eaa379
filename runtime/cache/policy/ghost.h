/* SPDX-License-Identifier: MIT
 * A ghost list: the keys of entries that have left, oldest first out, with a hash over them. */
#ifndef LETHE_CACHE_GHOST_H
#define LETHE_CACHE_GHOST_H

#include "lethe/base.h"

struct ghost_key {
  uint64_t key;
  int64_t size;
  uint32_t newer, older; /* in order of being added; 0: none. A free one: newer is the next free */
  uint32_t chain;
};

struct ghost {
  const struct lethe_alloc *alloc;
  struct ghost_key *keys; /* index 0 is not used */
  size_t room;
  uint32_t *buckets;
  size_t nbuckets; /* a power of 2, or 0 */
  uint32_t newest, oldest, free, highest;
  size_t len;
  int64_t used;
};

void ghost_init(struct ghost *g, const struct lethe_alloc *a);
void ghost_destroy(struct ghost *g);
/* Remembers a key as the newest; one that is there moves. LETHE_ENOMEM: as it was. */
int ghost_add(struct ghost *g, uint64_t key, int64_t size);
bool ghost_has(const struct ghost *g, uint64_t key);
/* Forgets it; false if it was not there. */
bool ghost_take(struct ghost *g, uint64_t key);
/* Forgets the oldest until there are at most len keys of at most `used` together. */
void ghost_trim(struct ghost *g, size_t len, int64_t used);

#endif
