/* SPDX-License-Identifier: MIT
 * Ghost lists: an array of keys linked by age and chained by hash. Memory grows by doubling and is
 * kept; what is forgotten is used again. */
#include <string.h>

#include "ghost.h"

static size_t bucket_of(const struct ghost *g, uint64_t key) {
  uint64_t h = (key ^ key >> 32) * UINT64_C(0x9e3779b97f4a7c15);
  return (size_t)(h >> 32) & (g->nbuckets - 1);
}

void ghost_init(struct ghost *g, const struct lethe_alloc *a) { *g = (struct ghost){.alloc = a}; }

void ghost_destroy(struct ghost *g) {
  lethe_free(g->alloc, g->keys, g->room * sizeof *g->keys);
  lethe_free(g->alloc, g->buckets, g->nbuckets * sizeof *g->buckets);
}

/* The link that leads to the key, or to 0 where it would stand. */
static uint32_t *find(const struct ghost *g, uint64_t key) {
  uint32_t *at = &g->buckets[bucket_of(g, key)];
  while (*at && g->keys[*at].key != key) at = &g->keys[*at].chain;
  return at;
}

static int rehash(struct ghost *g) {
  size_t n = g->nbuckets ? g->nbuckets * 2 : 16;
  uint32_t *buckets = lethe_zalloc(g->alloc, n * sizeof *buckets);
  if (!buckets) return LETHE_ENOMEM;
  lethe_free(g->alloc, g->buckets, g->nbuckets * sizeof *g->buckets);
  g->buckets = buckets;
  g->nbuckets = n;
  for (uint32_t i = g->oldest; i; i = g->keys[i].newer) {
    uint32_t *head = &buckets[bucket_of(g, g->keys[i].key)];
    g->keys[i].chain = *head;
    *head = i;
  }
  return LETHE_OK;
}

static void unlink_age(struct ghost *g, const struct ghost_key *k) {
  *(k->newer ? &g->keys[k->newer].older : &g->newest) = k->older;
  *(k->older ? &g->keys[k->older].newer : &g->oldest) = k->newer;
}

static void link_newest(struct ghost *g, uint32_t i) {
  struct ghost_key *k = &g->keys[i];
  k->older = g->newest;
  k->newer = 0;
  *(g->newest ? &g->keys[g->newest].newer : &g->oldest) = i;
  g->newest = i;
}

static void forget(struct ghost *g, uint32_t *link) {
  uint32_t i = *link;
  struct ghost_key *k = &g->keys[i];
  *link = k->chain;
  unlink_age(g, k);
  g->len--;
  g->used -= k->size;
  k->newer = g->free;
  g->free = i;
}

/* Where a key can be put: a free place, or a new one. */
static int take_place(struct ghost *g, uint32_t *out) {
  if (g->len >= g->nbuckets && rehash(g) != LETHE_OK) return LETHE_ENOMEM;
  if (g->free) {
    *out = g->free;
    g->free = g->keys[g->free].newer;
    return LETHE_OK;
  }
  void *keys = g->keys;
  if (lethe_grow(g->alloc, &keys, &g->room, (size_t)g->highest + 2, sizeof *g->keys) != LETHE_OK)
    return LETHE_ENOMEM;
  g->keys = keys;
  *out = ++g->highest;
  return LETHE_OK;
}

int ghost_add(struct ghost *g, uint64_t key, int64_t size) {
  uint32_t i = g->nbuckets ? *find(g, key) : 0;
  if (i) {
    unlink_age(g, &g->keys[i]);
    g->used += size - g->keys[i].size;
  } else {
    if (take_place(g, &i) != LETHE_OK) return LETHE_ENOMEM;
    uint32_t *head = &g->buckets[bucket_of(g, key)];
    g->keys[i] = (struct ghost_key){.key = key, .chain = *head};
    *head = i;
    g->len++;
    g->used += size;
  }
  g->keys[i].size = size;
  link_newest(g, i);
  return LETHE_OK;
}

bool ghost_has(const struct ghost *g, uint64_t key) { return g->len && *find(g, key); }

bool ghost_take(struct ghost *g, uint64_t key) {
  if (!g->len) return false;
  uint32_t *link = find(g, key);
  if (!*link) return false;
  forget(g, link);
  return true;
}

void ghost_trim(struct ghost *g, size_t len, int64_t used) {
  while (g->len > len || (g->used > used && g->len)) forget(g, find(g, g->keys[g->oldest].key));
}
