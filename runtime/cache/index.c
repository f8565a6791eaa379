/* SPDX-License-Identifier: MIT
 * The index: entries by key, in buckets with linear probing. A bucket has a part of the hash beside
 * the slot, so that only the entry that is looked for is looked at. Their number doubles as entries
 * come; where memory is short for that, once all are full. */
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "cache_internal.h"

static uint64_t hash_of(const struct lethe_cache *c, const struct lethe_cache_key *key) {
  uint64_t h;
  if (key->bytes) {
    h = XXH3_64bits_withSeed(key->bytes, key->n, c->seed);
  } else {
    h = ((uint64_t)key->number ^ c->seed) * UINT64_C(0x9e3779b97f4a7c15);
    h ^= h >> 32;
    h *= UINT64_C(0xd6e8feb86659fd93);
  }
  return h ^ h >> 32;
}

static bool same_key(const struct lethe_cache_key *a, const struct lethe_cache_key *b) {
  if (!a->bytes || !b->bytes) return !a->bytes && !b->bytes && a->number == b->number;
  return a->n == b->n && memcmp(a->bytes, b->bytes, a->n) == 0;
}

static struct lethe_cache_entry *at(const struct lethe_cache *c, uint32_t slot) {
  return lethe_slab_slot(&c->entries, slot);
}

/* The entry and its place in the policy are far from each other and from here: fetched together,
 * they take the time of one. gcc takes a function that does nothing but this for one without
 * effect, and leaves out its calls. */
static inline __attribute__((always_inline)) void expect_node(const struct lethe_cache *c,
                                                              uint32_t node) {
  if (node <= c->policy->high) __builtin_prefetch(lethe_evict_at(c->policy, node), 1);
}

struct lethe_cache_entry *cache_find(const struct lethe_cache *c,
                                     const struct lethe_cache_key *key) {
  if (c->keys == 0) return NULL;
  uint32_t tag = (uint32_t)hash_of(c, key);
  size_t mask = c->nbuckets - 1;
  for (size_t i = tag & mask; c->buckets[i].slot; i = (i + 1) & mask) {
    if (c->buckets[i].tag != tag) continue;
    expect_node(c, c->buckets[i].node);
    struct lethe_cache_entry *e = at(c, c->buckets[i].slot);
    if (same_key(&e->call.key, key)) return e;
  }
  return NULL;
}

static void put(struct bucket *buckets, size_t n, struct bucket b) {
  size_t i = b.tag & (n - 1);
  while (buckets[i].slot) i = (i + 1) & (n - 1);
  buckets[i] = b;
}

static void grow(struct lethe_cache *c) {
  size_t n = c->nbuckets ? c->nbuckets * 2 : BUCKETS;
  struct bucket *buckets = lethe_zalloc(c->alloc, n * sizeof *buckets);
  if (!buckets) return;
  for (size_t i = 0; i < c->nbuckets; i++)
    if (c->buckets[i].slot) put(buckets, n, c->buckets[i]);
  lethe_free(c->alloc, c->buckets, c->nbuckets * sizeof *buckets);
  c->buckets = buckets;
  c->nbuckets = n;
}

static size_t bucket_of(const struct lethe_cache *c, const struct lethe_cache_entry *e) {
  size_t mask = c->nbuckets - 1, i = e->hash & mask;
  while (c->buckets[i].slot != e->slot) i = (i + 1) & mask;
  return i;
}

void cache_note_node(struct lethe_cache *c, const struct lethe_cache_entry *e) {
  c->buckets[bucket_of(c, e)].node = (uint32_t)e->handle;
}

/* Those that were pushed on by it move back. */
static void take_out(struct lethe_cache *c, const struct lethe_cache_entry *e) {
  struct bucket *b = c->buckets;
  size_t mask = c->nbuckets - 1, hole = bucket_of(c, e);
  for (size_t i = (hole + 1) & mask; b[i].slot; i = (i + 1) & mask) {
    size_t pushed = (i - b[i].tag) & mask, distance = (i - hole) & mask;
    if (pushed < distance) continue;
    b[hole] = b[i];
    hole = i;
  }
  b[hole].slot = 0;
}

static bool copy_key(struct lethe_cache *c, struct lethe_cache_key *to,
                     const struct lethe_cache_key *from) {
  *to = *from;
  if (!from->bytes) return true;
  char *bytes = lethe_malloc(c->alloc, from->n + 1); /* at least one: NULL would be an integer */
  if (!bytes) return false;
  if (from->n > 0) memcpy(bytes, from->bytes, from->n);
  bytes[from->n] = 0;
  to->bytes = bytes;
  return true;
}

struct lethe_cache_entry *cache_entry_new(struct lethe_cache *c,
                                          const struct lethe_cache_key *key) {
  uint64_t id;
  struct lethe_cache_key copy;
  if (c->keys + 1 > c->nbuckets / 4 * 3) grow(c);
  if (c->keys + 1 >= c->nbuckets || !copy_key(c, &copy, key)) return NULL;
  struct lethe_cache_entry *e = lethe_slab_take(&c->entries, &id);
  if (!e) {
    if (copy.bytes) lethe_free(c->alloc, (void *)copy.bytes, copy.n + 1);
    return NULL;
  }
  e->slot = (uint32_t)id;
  e->hash = hash_of(c, key);
  e->call.key = copy;
  e->call.cache = c;
  lethe_list_init(&e->waiters);
  lethe_list_init(&e->work);
  lethe_list_init(&e->aside);
  if (c->keeps_ages) {
    lethe_list_init(&e->age);
    lethe_list_init(&e->recent);
  }
  put(c->buckets, c->nbuckets, (struct bucket){e->slot, (uint32_t)e->hash, 0});
  c->keys++;
  return e;
}

void cache_entry_free(struct lethe_cache *c, struct lethe_cache_entry *e) {
  take_out(c, e);
  c->keys--;
  lethe_list_remove(&e->work);
  lethe_list_remove(&e->aside);
  cache_end_age(c, e);
  lethe_cache_value_put(e->value);
  lethe_cache_value_put(e->said);
  lethe_cache_value_put(e->last);
  lethe_cache_value_put(e->call.value);
  if (e->call.key.bytes) lethe_free(c->alloc, (void *)e->call.key.bytes, e->call.key.n + 1);
  lethe_slab_give(&c->entries, lethe_slab_id(e, e->slot));
}
