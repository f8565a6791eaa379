/* SPDX-License-Identifier: MIT
 * Going from entry to entry of the hash index, in the order of reversed hashes, and its audit. */
#include "hash_internal.h"

/* The hash that is in order next to those of its bucket: its bits the other way round. */
static uint64_t reversed(uint64_t x) {
  x = (x >> 1 & 0x5555555555555555) | (x & 0x5555555555555555) << 1;
  x = (x >> 2 & 0x3333333333333333) | (x & 0x3333333333333333) << 2;
  x = (x >> 4 & 0x0f0f0f0f0f0f0f0f) | (x & 0x0f0f0f0f0f0f0f0f) << 4;
  return __builtin_bswap64(x);
}

/* ---- walking --------------------------------------------------------------------------------- */

/* Where a walk is: behind a rank, which is a reversed hash, or a key that has it (strictly or
 * not); and the least entry there that it has seen. */
struct search {
  const struct lethe_weak_key *key; /* NULL: at the rank's beginning */
  uint64_t rank, best_rank;
  bool strictly;
  struct entry *best;
};

static void consider(struct search *s, uint64_t rank, struct entry *e) {
  struct lethe_weak_key k;
  if (rank < s->rank) return;
  if (s->key && rank == s->rank) {
    int order = weak_key_compare_entry(s->key, e);
    if (order > 0 || (order == 0 && s->strictly)) return;
  }
  if (s->best && rank > s->best_rank) return;
  weak_key_of(e, &k);
  if (s->best && rank == s->best_rank && weak_key_compare_entry(&k, s->best) > 0) return;
  s->best = e;
  s->best_rank = rank;
}

/* How many of a hash's lowest bits all entries of its bucket share. */
static unsigned shared_bits(const struct lethe_weakmap *m, size_t i) {
  size_t low = m->u.hash.low;
  return (unsigned)__builtin_ctzll(low) + (i >= low || i + low < m->quick.buckets);
}

/* Bucket by bucket: each tells the highest bits of its entries' ranks. */
struct entry *weak_hash_after(struct lethe_weakmap *m, const struct lethe_weak_key *k,
                              bool strictly) {
  if (m->quick.buckets == 0) return NULL;
  struct search s = {.key = k, .strictly = strictly};
  s.rank = k ? reversed(weak_key_hash(k, m->quick.seed)) : 0;
  for (;;) {
    size_t i = number_of(m, reversed(s.rank));
    struct cell c = cell_at(m, i);
    for (uint32_t j = 0; j < c.back->n; j++)
      consider(&s, reversed(hash_at(c.at, j)), c.back->entry[j]);
    for (struct entry *e = c.back->more; e; e = e->next)
      consider(&s, reversed(weak_hash_of(m, e)), e);
    unsigned bits = shared_bits(m, i);
    if (s.best || bits == 0) return s.best;
    uint64_t step = UINT64_C(1) << (64 - bits);
    s.rank = (s.rank & ~(step - 1)) + step;
    s.key = NULL;
    if (s.rank == 0) return NULL; /* that was the last */
  }
}

/* ---- audit ----------------------------------------------------------------------------------- */

unsigned weak_hash_height(struct lethe_weakmap *m) {
  unsigned most = 0;
  for (size_t i = 0; i < m->quick.buckets; i++) {
    const struct back *b = cell_at(m, i).back;
    unsigned n = b->n;
    for (const struct entry *e = b->more; e; e = e->next) n++;
    if (n > most) most = n;
  }
  return most;
}

/* Counts the entries of bucket i, and those whose key is no whole number; false if something is
 * wrong. */
static bool audit(const struct lethe_weakmap *m, size_t i, size_t *n, size_t *odd) {
  struct cell c = cell_at(m, i);
  const struct back *b = c.back;
  struct lethe_weak_key k;
  bool right = b->n <= PLACES && (b->n == PLACES || !b->more);
  for (uint32_t j = 0; right && j < PLACES; j++) {
    const struct entry *e = j < b->n ? b->entry[j] : NULL;
    right =
        e ? e->map == m && hash_at(c.at, j) == weak_hash_of(m, e) && c.at->object[j] == e->object
          : hash_at(c.at, j) == 0 && !c.at->object[j];
  }
  for (uint32_t j = 0; right && j < b->n; j++, ++*n) {
    weak_key_of(b->entry[j], &k);
    *odd += weak_hash_is_odd(&k);
    right = number_of(m, hash_at(c.at, j)) == i;
  }
  for (const struct entry *e = b->more; right && e; e = e->next, ++*n) {
    weak_key_of(e, &k);
    *odd += weak_hash_is_odd(&k);
    right = e->map == m && number_of(m, weak_hash_of(m, e)) == i;
  }
  return right;
}

bool weak_hash_is_valid(struct lethe_weakmap *m) {
  size_t n = 0, odd = 0, low = m->u.hash.low, buckets = m->quick.buckets;
  for (size_t i = 0; i < buckets; i++)
    if (!audit(m, i, &n, &odd)) return false;
  bool quick = buckets > 0 && odd == 0 && m->keys == NUMBERS && !m->options.atomic;
  return n == m->count && odd == m->u.hash.odd && quick == m->quick.is && buckets <= n + 2 &&
         (!buckets || (low <= buckets && buckets < 2 * low));
}
