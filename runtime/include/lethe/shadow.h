/* SPDX-License-Identifier: MIT
 * A shadow: what a policy would do with the accesses that a cache sees, on keys alone and on a
 * sample of them, so that it can be tried beside the one in charge.
 *
 *   lethe_shadow_new(&s, alloc, policy, rate, unit, seed)     takes the policy
 *   lethe_shadow_seen(s, &key, size, hit)                     each access
 *   lethe_shadow_read(s, &stats)
 *   lethe_shadow_delete(s)
 *
 * Keys are sampled by their hash (SHARDS, Waldspurger et al., FAST 2015): all accesses of a key, or
 * none. The policy's limit is that of the cache times the rate. A sample that holds more or fewer
 * accesses than its share has met a popular key more or less than the whole did; such a key hits,
 * so the difference is taken from or added to the hits. And where the sample missed more or less in
 * the cache itself than its share of what the cache missed in all, it will have done so in the
 * shadow, whose misses are of the same keys mostly: that difference is taken off too, if it makes
 * the sample's parts agree more.
 *
 * Synchronization: none; one thread. Progress: no call blocks. */
#ifndef LETHE_SHADOW_H
#define LETHE_SHADOW_H

#include "lethe/cache.h"
#include "lethe/evict.h"

struct lethe_shadow;

struct lethe_shadow_stats {
  uint64_t accesses, sampled; /* seen; of sampled keys */
  double rate;
  double misses;      /* of all accesses, estimated: hits are the others */
  double miss_ratio;  /* 0 where nothing was seen */
  double error_bound; /* of the ratio: three standard deviations, and what few entries may make */
};

/* rate: above 0, at most 1. unit: sizes count as 1. LETHE_ENOMEM: the policy is still the
 * caller's. */
LETHE_API int lethe_shadow_new(struct lethe_shadow **out, const struct lethe_alloc *a,
                               struct lethe_evict *policy, double rate, bool unit, uint64_t seed);
LETHE_API void lethe_shadow_delete(struct lethe_shadow *s); /* NULL is allowed */
/* size: 0 where it is not known; the average of those that were is taken. hit: the cache had it.
 * Without memory the access counts as a miss that was not stored. */
LETHE_API void lethe_shadow_seen(struct lethe_shadow *s, const struct lethe_cache_key *key,
                                 int64_t size, bool hit);
/* The limit of the cache has changed. */
LETHE_API void lethe_shadow_resize(struct lethe_shadow *s, int64_t limit);
LETHE_API void lethe_shadow_read(const struct lethe_shadow *s, struct lethe_shadow_stats *out);
LETHE_API struct lethe_evict *lethe_shadow_policy(const struct lethe_shadow *s);
/* The limit that a policy for a cache of that limit gets at that rate: at least 1 where it is not
 * 0. */
LETHE_API int64_t lethe_shadow_limit(int64_t limit, double rate);
/* The key of an entry, by the owner of its node in the policy; borrowed. */
LETHE_API const struct lethe_cache_key *lethe_shadow_key_of(const void *owner);

#endif
