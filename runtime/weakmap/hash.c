/* SPDX-License-Identifier: MIT
 * The hash index: linear hashing. With b buckets, `low` being the power of 2 at or below b, a
 * hash's bucket is its remainder by 2 low if there is such a bucket, else by low. So a bucket more
 * takes its entries from one other, and a bucket less gives them back to it: no call moves more
 * than a chain or two, and walking in the order of reversed hashes meets buckets one after the
 * other, however many of them there are at each step.
 *
 * Invariants: H1  low <= buckets < 2 low, unless there are none. H2  an entry is in the chain of
 * the bucket that its hash says. H3  buckets <= 2 count + 2, so that memory goes with the
 * entries. */
#include "weakmap_internal.h"

enum { SEGMENT = 256 }; /* buckets; segments are never copied */

static uint64_t reversed(uint64_t x) {
  x = (x >> 1 & 0x5555555555555555) | (x & 0x5555555555555555) << 1;
  x = (x >> 2 & 0x3333333333333333) | (x & 0x3333333333333333) << 2;
  x = (x >> 4 & 0x0f0f0f0f0f0f0f0f) | (x & 0x0f0f0f0f0f0f0f0f) << 4;
  return __builtin_bswap64(x);
}

static uint64_t hash_rank(const struct lethe_weakmap *m, const struct lethe_weak_key *k) {
  return reversed(weak_key_hash(k, m->u.hash.seed));
}

static struct entry **bucket(const struct lethe_weakmap *m, size_t i) {
  return &m->u.hash.segments[i / SEGMENT][i % SEGMENT];
}

/* The bucket of a hash: its number, and how many of the hash's lowest bits it tells. */
static size_t number_of(const struct lethe_weakmap *m, uint64_t hash, unsigned *bits) {
  size_t low = m->u.hash.low, i = (size_t)hash & (2 * low - 1);
  bool whole = i < m->u.hash.buckets;
  if (!whole) i -= low;
  if (bits) {
    unsigned level = (unsigned)__builtin_ctzll(low);
    *bits = level + (whole && (i >= low || i + low < m->u.hash.buckets));
  }
  return i;
}

static struct entry **chain_of(const struct lethe_weakmap *m, uint64_t rank) {
  return bucket(m, number_of(m, reversed(rank), NULL));
}

static struct entry *hash_find(struct lethe_weakmap *m, const struct lethe_weak_key *k,
                               uint64_t rank) {
  if (m->u.hash.buckets == 0) return NULL;
  struct entry *e = *chain_of(m, rank);
  while (e && order(k, rank, e) != 0) e = e->next;
  return e;
}

/* ---- growing and shrinking ------------------------------------------------------------------- */

static int add_segment(struct lethe_weakmap *m) {
  size_t i = m->u.hash.buckets / SEGMENT;
  struct entry ***segments = m->u.hash.segments;
  if (lethe_grow(m->alloc, (void **)&segments, &m->u.hash.room, i + 1, sizeof *segments))
    return LETHE_ENOMEM;
  m->u.hash.segments = segments;
  segments[i] = lethe_zalloc(m->alloc, SEGMENT * sizeof *segments[i]);
  return segments[i] ? LETHE_OK : LETHE_ENOMEM;
}

static void split(struct lethe_weakmap *m) {
  size_t low = m->u.hash.low;
  struct entry **from = bucket(m, m->u.hash.buckets - low), *e = *from, *next;
  *from = NULL;
  m->u.hash.buckets++;
  for (; e; e = next) {
    struct entry **to = chain_of(m, e->rank);
    next = e->next;
    e->next = *to;
    *to = e;
    m->moved++;
  }
  if (m->u.hash.buckets == 2 * low) m->u.hash.low = 2 * low;
}

static void free_segments(struct lethe_weakmap *m) {
  size_t n = (m->u.hash.buckets + SEGMENT - 1) / SEGMENT;
  for (size_t i = 0; i < n; i++)
    lethe_free(m->alloc, m->u.hash.segments[i], SEGMENT * sizeof **m->u.hash.segments);
  lethe_free(m->alloc, m->u.hash.segments, m->u.hash.room * sizeof *m->u.hash.segments);
  m->u.hash.segments = NULL;
  m->u.hash.room = m->u.hash.buckets = m->u.hash.low = 0;
}

/* The last bucket's entries go back to where they came from. */
static void join(struct lethe_weakmap *m) {
  if (m->u.hash.buckets == m->u.hash.low) m->u.hash.low /= 2;
  size_t last = m->u.hash.buckets - 1;
  struct entry **from = bucket(m, last), **to = bucket(m, last - m->u.hash.low);
  while (*from) {
    struct entry *e = *from;
    *from = e->next;
    e->next = *to;
    *to = e;
    m->moved++;
  }
  m->u.hash.buckets = last;
  if (last % SEGMENT == 0)
    lethe_free(m->alloc, m->u.hash.segments[last / SEGMENT], SEGMENT * sizeof(struct entry *));
}

/* The list of segments halves when it is used by a quarter; without memory it stays. */
static void trim(struct lethe_weakmap *m) {
  size_t room = m->u.hash.room, used = m->u.hash.buckets / SEGMENT + 1;
  if (room <= 8 || used > room / 4) return;
  struct entry ***less = m->alloc->realloc(m->alloc->ud, m->u.hash.segments, room * sizeof *less,
                                           room / 2 * sizeof *less);
  if (!less) return;
  m->u.hash.segments = less;
  m->u.hash.room = room / 2;
}

/* ---- the index ------------------------------------------------------------------------------- */

/* A bucket for each entry; without memory for one more chains grow longer. */
static int make_room(struct lethe_weakmap *m) {
  if (m->u.hash.buckets == 0) {
    if (add_segment(m)) {
      lethe_free(m->alloc, m->u.hash.segments, m->u.hash.room * sizeof *m->u.hash.segments);
      m->u.hash.segments = NULL;
      m->u.hash.room = 0;
      return LETHE_ENOMEM;
    }
    m->u.hash.buckets = m->u.hash.low = 1;
  } else if (m->count >= m->u.hash.buckets &&
             (m->u.hash.buckets % SEGMENT != 0 || add_segment(m) == LETHE_OK)) {
    split(m);
  }
  return LETHE_OK;
}

static int hash_put(struct lethe_weakmap *m, struct entry *e, struct entry **old) {
  struct lethe_weak_key k;
  weak_key_of(e, &k);
  *old = NULL;
  if (m->u.hash.buckets) {
    struct entry **at = chain_of(m, e->rank);
    while (*at && order(&k, e->rank, *at) != 0) at = &(*at)->next;
    if (*at) {
      *old = *at;
      e->next = (*at)->next;
      *at = e;
      return LETHE_OK;
    }
  }
  if (make_room(m)) return LETHE_ENOMEM;
  struct entry **to = chain_of(m, e->rank);
  e->next = *to;
  *to = e;
  return LETHE_OK;
}

/* The count is that without the entry already. */
static void hash_remove(struct lethe_weakmap *m, struct entry *e) {
  struct entry **at = chain_of(m, e->rank);
  while (*at != e) at = &(*at)->next;
  *at = e->next;
  if (m->count == 0) {
    free_segments(m);
    return;
  }
  for (int i = 0; i < 2 && m->u.hash.buckets > 1 && m->count < m->u.hash.buckets / 2; i++) join(m);
  trim(m);
}

/* The least of a chain at the place or behind it. */
static struct entry *least(struct entry *e, const struct lethe_weak_key *k, uint64_t rank,
                           bool strictly) {
  struct entry *found = NULL;
  struct lethe_weak_key best;
  for (; e; e = e->next) {
    int place = k ? order(k, rank, e) : rank > e->rank ? 1 : -1;
    if (place > 0 || (place == 0 && strictly)) continue;
    if (found && order(&best, found->rank, e) < 0) continue;
    found = e;
    weak_key_of(e, &best);
  }
  return found;
}

/* Bucket by bucket: each tells the highest bits of its entries' ranks. */
static struct entry *hash_after(struct lethe_weakmap *m, const struct lethe_weak_key *k,
                                uint64_t rank, bool strictly) {
  if (m->u.hash.buckets == 0) return NULL;
  if (!k) rank = 0;
  for (;;) {
    unsigned bits;
    size_t i = number_of(m, reversed(rank), &bits);
    struct entry *e = least(*bucket(m, i), k, k ? rank : 0, strictly);
    if (e || bits == 0) return e;
    uint64_t step = UINT64_C(1) << (64 - bits);
    rank = (rank & ~(step - 1)) + step;
    if (rank == 0) return NULL; /* that was the last */
    k = NULL;
  }
}

static struct entry *hash_drain(struct lethe_weakmap *m) {
  struct entry *all = NULL;
  for (size_t i = 0; i < m->u.hash.buckets; i++) {
    struct entry *e = *bucket(m, i), *next;
    for (; e; e = next) {
      next = e->next;
      e->next = all;
      all = e;
    }
  }
  free_segments(m);
  return all;
}

static unsigned hash_height(struct lethe_weakmap *m) {
  unsigned most = 0;
  for (size_t i = 0; i < m->u.hash.buckets; i++) {
    unsigned n = 0;
    for (struct entry *e = *bucket(m, i); e; e = e->next) n++;
    if (n > most) most = n;
  }
  return most;
}

static bool hash_is_valid(struct lethe_weakmap *m) {
  size_t n = 0, low = m->u.hash.low, buckets = m->u.hash.buckets;
  for (size_t i = 0; i < buckets; i++)
    for (struct entry *e = *bucket(m, i); e; e = e->next, n++)
      if (chain_of(m, e->rank) != bucket(m, i) || e->map != m) return false;
  return n == m->count && buckets <= 2 * n + 2 &&
         (!buckets || (low <= buckets && buckets < 2 * low));
}

const struct index weak_hash = {hash_rank, hash_find,  hash_put,      hash_remove, hash_after,
                                NULL,      hash_drain, hash_is_valid, hash_height};
