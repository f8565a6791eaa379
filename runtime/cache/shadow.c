/* SPDX-License-Identifier: MIT
 * Shadows: an index of the sampled keys that are in the policy, each with a copy of its key. */
#include <math.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "lethe/shadow.h"

enum { FIRST_BUCKETS = 64, GROUPS = 16 };

/* Misses of sampled keys with some bits of the hash in common: in the shadow, and in the cache. */
struct group {
  uint64_t misses, live;
};

/* An entry of the policy; the owner of its node. */
struct copy {
  struct copy *next; /* in its bucket */
  uint64_t hash, handle;
  struct lethe_cache_key key;
  char bytes[];
};

struct lethe_shadow {
  const struct lethe_alloc *alloc;
  struct lethe_evict *policy;
  double rate;
  bool unit, whole; /* whole: the rate is 1 */
  uint64_t seed, threshold;
  struct copy **buckets;
  size_t nbuckets, len;
  uint64_t accesses, live; /* of all keys: accesses, and those that the cache missed */
  uint64_t sampled, misses, live_sampled;
  struct group group[GROUPS]; /* how far they lie apart */
  double known, sizes;        /* how many sizes were known, and their sum */
};

/* ---- keys ------------------------------------------------------------------------------------ */

static uint64_t hash_of(const struct lethe_shadow *s, const struct lethe_cache_key *key) {
  if (key->bytes) return XXH3_64bits_withSeed(key->bytes, key->n, s->seed);
  return XXH3_64bits_withSeed(&key->number, sizeof key->number, s->seed);
}

static bool same_key(const struct lethe_cache_key *a, const struct lethe_cache_key *b) {
  if (!a->bytes || !b->bytes) return !a->bytes && !b->bytes && a->number == b->number;
  return a->n == b->n && memcmp(a->bytes, b->bytes, a->n) == 0;
}

static struct copy **find(const struct lethe_shadow *s, const struct lethe_cache_key *key,
                          uint64_t hash) {
  struct copy **at = &s->buckets[hash & (s->nbuckets - 1)];
  while (*at && ((*at)->hash != hash || !same_key(&(*at)->key, key))) at = &(*at)->next;
  return at;
}

static size_t size_of(const struct copy *c) { return sizeof *c + (c->key.bytes ? c->key.n : 0); }

static struct copy *new_copy(const struct lethe_shadow *s, const struct lethe_cache_key *key,
                             uint64_t hash) {
  struct copy *c = lethe_malloc(s->alloc, sizeof *c + (key->bytes ? key->n : 0));
  if (!c) return NULL;
  *c = (struct copy){.hash = hash, .key = *key};
  if (!key->bytes) return c;
  memcpy(c->bytes, key->bytes, key->n);
  c->key.bytes = c->bytes;
  return c;
}

static void drop(struct lethe_shadow *s, struct copy *c) {
  struct copy **at = &s->buckets[c->hash & (s->nbuckets - 1)];
  while (*at != c) at = &(*at)->next;
  *at = c->next;
  s->len--;
  lethe_free(s->alloc, c, size_of(c));
}

/* Without memory chains only grow longer. */
static void grow(struct lethe_shadow *s) {
  size_t n = s->nbuckets * 2;
  struct copy **buckets = lethe_zalloc(s->alloc, n * sizeof *buckets);
  if (!buckets) return;
  for (size_t i = 0; i < s->nbuckets; i++)
    for (struct copy *c = s->buckets[i], *next; c; c = next) {
      next = c->next;
      c->next = buckets[c->hash & (n - 1)];
      buckets[c->hash & (n - 1)] = c;
    }
  lethe_free(s->alloc, s->buckets, s->nbuckets * sizeof *buckets);
  s->buckets = buckets;
  s->nbuckets = n;
}

/* ---- accesses -------------------------------------------------------------------------------- */

static void make_room(struct lethe_shadow *s, const struct lethe_evict_request *r) {
  while (lethe_evict_full(s->policy, r)) {
    uint64_t h = lethe_evict_victim(s->policy, r);
    const struct lethe_evict_node *n = lethe_evict_get(s->policy, h);
    if (!n) return;
    struct copy *c = n->owner;
    lethe_evict_remove(s->policy, h, true);
    drop(s, c);
  }
}

static int64_t weight(struct lethe_shadow *s, int64_t size) {
  if (s->unit) return 1;
  if (size > 0) {
    s->known++;
    s->sizes += (double)size;
    return size;
  }
  return s->known > 0 ? (int64_t)(s->sizes / s->known) : 1;
}

static struct group *group_of(struct lethe_shadow *s, uint64_t hash) {
  return &s->group[hash >> 24 & (GROUPS - 1)];
}

static void miss(struct lethe_shadow *s, const struct lethe_cache_key *key, uint64_t hash,
                 int64_t size) {
  struct copy asked = {.hash = hash, .key = *key}; /* a script may want its key before it is in */
  struct lethe_evict_request r = {.key = hash, .size = size, .cost = 1, .owner = &asked};
  s->misses++;
  group_of(s, hash)->misses++;
  if (!lethe_evict_admit(s->policy, &r)) return;
  struct copy *c = new_copy(s, key, hash);
  if (!c) return;
  r.owner = c;
  make_room(s, &r);
  if (r.size > s->policy->limit - s->policy->used ||
      lethe_evict_insert(s->policy, &r, &c->handle) != LETHE_OK) {
    lethe_free(s->alloc, c, size_of(c));
    return;
  }
  if (++s->len > s->nbuckets) grow(s);
  struct copy **at = &s->buckets[hash & (s->nbuckets - 1)];
  c->next = *at;
  *at = c;
}

void lethe_shadow_seen(struct lethe_shadow *s, const struct lethe_cache_key *key, int64_t size,
                       bool hit) {
  uint64_t hash = hash_of(s, key);
  s->accesses++;
  s->live += !hit;
  if (!s->whole && hash >> 32 >= s->threshold) return;
  s->sampled++;
  s->live_sampled += !hit;
  group_of(s, hash)->live += !hit;
  int64_t counted = weight(s, size);
  struct copy *c = *find(s, key, hash);
  if (!c) {
    miss(s, key, hash, counted);
    return;
  }
  if (size > 0 && !s->unit) lethe_evict_weigh(s->policy, c->handle, counted);
  lethe_evict_hit(s->policy, c->handle);
  if (lethe_evict_full(s->policy, NULL)) make_room(s, NULL);
}

/* ---- making one ------------------------------------------------------------------------------ */

int64_t lethe_shadow_limit(int64_t limit, double rate) {
  double scaled = floor((double)limit * rate);
  if (limit <= 0) return 0;
  return scaled < 1 ? 1 : scaled >= 9.2e18 ? INT64_MAX : (int64_t)scaled;
}

int lethe_shadow_new(struct lethe_shadow **out, const struct lethe_alloc *a,
                     struct lethe_evict *policy, double rate, bool unit, uint64_t seed) {
  struct lethe_shadow *s = lethe_zalloc(a, sizeof *s);
  if (!s) return LETHE_ENOMEM;
  *s = (struct lethe_shadow){.alloc = a,
                             .rate = rate,
                             .unit = unit,
                             .whole = rate >= 1,
                             .seed = seed,
                             .threshold = (uint64_t)(rate * 4294967296.0),
                             .nbuckets = FIRST_BUCKETS};
  s->buckets = lethe_zalloc(a, FIRST_BUCKETS * sizeof *s->buckets);
  if (!s->buckets) {
    lethe_free(a, s, sizeof *s);
    return LETHE_ENOMEM;
  }
  s->policy = policy;
  *out = s;
  return LETHE_OK;
}

void lethe_shadow_delete(struct lethe_shadow *s) {
  if (!s) return;
  lethe_evict_delete(s->policy);
  for (size_t i = 0; i < s->nbuckets; i++)
    for (struct copy *c = s->buckets[i], *next; c; c = next) {
      next = c->next;
      lethe_free(s->alloc, c, size_of(c));
    }
  lethe_free(s->alloc, s->buckets, s->nbuckets * sizeof *s->buckets);
  lethe_free(s->alloc, s, sizeof *s);
}

void lethe_shadow_resize(struct lethe_shadow *s, int64_t limit) {
  lethe_evict_resize(s->policy, lethe_shadow_limit(limit, s->rate));
  make_room(s, NULL);
}

struct lethe_evict *lethe_shadow_policy(const struct lethe_shadow *s) {
  return s->policy;
}

const struct lethe_cache_key *lethe_shadow_key_of(const void *owner) {
  return &((const struct copy *)owner)->key;
}

/* ---- the estimate ---------------------------------------------------------------------------- */

/* Three standard deviations of the misses counted, or of how many more they are than the cache's
 * own: keys are sampled one by one, and so the sums over groups of keys tell how much the sum over
 * all might have been another. */
static double spread(const struct lethe_shadow *s, bool beside) {
  double total = (double)s->misses - (beside ? (double)s->live_sampled : 0), sum = 0;
  for (int i = 0; i < GROUPS; i++) {
    const struct group *g = &s->group[i];
    double off = (double)g->misses - (beside ? (double)g->live : 0) - total / GROUPS;
    sum += off * off;
  }
  return 3 * sqrt(sum * GROUPS / (GROUPS - 1));
}

/* A sample, from which the misses of all accesses are estimated. */
static void estimate(const struct lethe_shadow *s, struct lethe_shadow_stats *out) {
  double accesses = (double)s->accesses, alone = spread(s, false), beside = spread(s, true);
  double small = 1 / (4 * sqrt(fmax(s->policy->len, 1))); /* a small cache is not a large one */
  out->misses = (double)s->misses / s->rate;
  if (beside < alone) out->misses += (double)s->live - (double)s->live_sampled / s->rate;
  out->misses = fmax(0, fmin(out->misses, accesses));
  out->error_bound = fmin(fmin(alone, beside) / (accesses * s->rate) + small, 1);
}

void lethe_shadow_read(const struct lethe_shadow *s, struct lethe_shadow_stats *out) {
  *out = (struct lethe_shadow_stats){
      .accesses = s->accesses, .sampled = s->sampled, .rate = s->rate, .misses = (double)s->misses};
  if (s->accesses == 0) return;
  if (!s->whole) estimate(s, out);
  out->miss_ratio = out->misses / (double)s->accesses;
}
