/* SPDX-License-Identifier: MIT
 * The index: entries by key. Buckets are chains of slots; their number doubles as entries come, and
 * where memory is short for that the chains only grow longer. */
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

struct lethe_cache_entry *cache_find(const struct lethe_cache *c,
                                     const struct lethe_cache_key *key) {
  if (c->keys == 0) return NULL;
  uint64_t hash = hash_of(c, key);
  for (uint32_t slot = c->buckets[hash & (c->nbuckets - 1)]; slot;) {
    struct lethe_cache_entry *e = at(c, slot);
    if (e->hash == hash && same_key(&e->call.key, key)) return e;
    slot = e->next;
  }
  return NULL;
}

static void grow(struct lethe_cache *c) {
  size_t n = c->nbuckets ? c->nbuckets * 2 : BUCKETS;
  uint32_t *buckets = lethe_zalloc(c->alloc, n * sizeof *buckets);
  if (!buckets) return;
  for (size_t i = 0; i < c->nbuckets; i++) {
    for (uint32_t slot = c->buckets[i]; slot;) {
      struct lethe_cache_entry *e = at(c, slot);
      uint32_t *to = &buckets[e->hash & (n - 1)], next = e->next;
      e->next = *to;
      *to = slot;
      slot = next;
    }
  }
  lethe_free(c->alloc, c->buckets, c->nbuckets * sizeof *buckets);
  c->buckets = buckets;
  c->nbuckets = n;
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
  if (c->keys >= c->nbuckets) grow(c);
  if (c->nbuckets == 0 || !copy_key(c, &copy, key)) return NULL;
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
  uint32_t *bucket = &c->buckets[e->hash & (c->nbuckets - 1)];
  e->next = *bucket;
  *bucket = e->slot;
  c->keys++;
  return e;
}

void cache_entry_free(struct lethe_cache *c, struct lethe_cache_entry *e) {
  uint32_t *link = &c->buckets[e->hash & (c->nbuckets - 1)];
  while (*link != e->slot) link = &at(c, *link)->next;
  *link = e->next;
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
