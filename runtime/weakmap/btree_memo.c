/* SPDX-License-Identifier: MIT
 * The ordered index's memo: where integers are looked up again and again, and little leaves, what
 * the looks found is kept in buckets like those of the hash index, in which the next look (also the
 * inline one of lethe/weakmap_inl.h) finds it at once; what is not there the tree tells. It begins
 * once four times as many looks as there are entries went down the tree, and gets a segment more
 * with each look until it has a bucket for one or two entries. It fades, some segments with each
 * call, once as many entries as there are have left or got another object.
 *
 * A bucket more does not take what it should from another: that is found anew. So a bucket may have
 * what is not its own any more; no look comes for it there, as their number never falls.
 *
 * Invariants: M1  what a look can find in the memo is in the tree, with that object. M2  it has
 * whole segments. M3  a place that is not in use has a hash that is not of its bucket, and no
 * object. M4  buckets without quick.is are those of a memo that fades. */
#include "btree_internal.h"
#include "hash_internal.h"

enum {
  WORTH = 256, /* entries: of fewer a look is as quick without it */
  OFTEN = 4,   /* looks for each entry, before it begins */
  EFFORT = 16, /* looks that one change undoes */
  FADING = 2   /* segments with each call */
};

static size_t memo_bytes(void) { return SEGMENT * sizeof(struct lethe_weak_places); }

static void set_free(struct lethe_weak_places *p, uint32_t i, size_t bucket) {
  set_place(p, i, (uint32_t)~bucket, NULL);
}

/* ---- its size -------------------------------------------------------------------------------- */

static void pop_segment(struct lethe_weakmap *m) {
  m->quick.buckets -= SEGMENT;
  weak_lines_free(m->alloc, m->quick.segments[m->quick.buckets / SEGMENT], memo_bytes());
  if (m->quick.buckets > 0) return;
  lethe_free(m->alloc, m->quick.segments, m->u.tree.room * sizeof *m->quick.segments);
  m->quick.segments = NULL;
  m->u.tree.room = 0;
}

/* One segment more, unless memory is short. */
static void grow(struct lethe_weakmap *m) {
  struct lethe_weak_quick *q = &m->quick;
  size_t n = q->buckets / SEGMENT;
  if (lethe_grow(m->alloc, (void **)&q->segments, &m->u.tree.room, n + 1, sizeof *q->segments))
    return;
  struct lethe_weak_places *p = weak_lines_new(m->alloc, memo_bytes());
  if (!p && n == 0) {
    lethe_free(m->alloc, q->segments, m->u.tree.room * sizeof *q->segments);
    q->segments = NULL;
    m->u.tree.room = 0;
  }
  if (!p) return;
  q->segments[n] = p;
  for (size_t i = 0; i < SEGMENT; i++)
    for (uint32_t j = 0; j < PLACES; j++) set_free(&p[i], j, q->buckets + i);
  q->buckets += SEGMENT;
  size_t low = n == 0 || q->buckets == q->mask[0] + 1 ? q->buckets : q->mask[1] + 1;
  q->mask[0] = 2 * low - 1;
  q->mask[1] = low - 1;
  q->is = true;
}

/* No bucket stands for two. */
static bool is_even(const struct lethe_weakmap *m) {
  return m->quick.buckets == m->quick.mask[1] + 1;
}

static void fade(struct lethe_weakmap *m) {
  if (m->quick.is) m->quick.is = false;
  m->u.tree.looks = m->u.tree.changes = 0;
}

static void go_on_fading(struct lethe_weakmap *m) {
  for (int i = 0; i < FADING && m->quick.buckets > 0 && !m->quick.is; i++) pop_segment(m);
}

void weak_memo_drop(struct lethe_weakmap *m) {
  fade(m);
  while (m->quick.buckets > 0) pop_segment(m);
}

/* ---- what is in it --------------------------------------------------------------------------- */

struct lethe_counted *weak_memo_look(const struct lethe_weakmap *m, int64_t key) {
  bool found;
  uint64_t hash = lethe_weak_hash((uint64_t)key, m->quick.seed);
  struct lethe_counted *c = lethe_weak_look(lethe_weak_places_of(&m->quick, hash), hash, &found);
  return found ? c : NULL;
}

/* A place that is free, else one after the other. */
static void keep(struct lethe_weakmap *m, int64_t key, struct lethe_counted *c) {
  uint64_t hash = lethe_weak_hash((uint64_t)key, m->quick.seed);
  struct lethe_weak_places *p = lethe_weak_places_of(&m->quick, hash);
  uint32_t i = 0;
  while (i < PLACES && p->object[i]) i++;
  if (i == PLACES) i = (uint32_t)(m->u.tree.looks++ % PLACES);
  set_place(p, i, hash, c);
}

void weak_memo_note(struct lethe_weakmap *m, int64_t key, struct lethe_counted *c) {
  if (m->options.atomic) return;
  if (m->quick.is) {
    if (m->quick.buckets < m->count / 2 || !is_even(m)) grow(m);
    keep(m, key, c);
    return;
  }
  go_on_fading(m);
  if (m->count < WORTH || ++m->u.tree.looks <= OFTEN * m->count || m->quick.buckets > 0) return;
  m->u.tree.looks = 0;
  grow(m);
}

void weak_memo_changed(struct lethe_weakmap *m) {
  go_on_fading(m);
  if (!m->quick.is) m->u.tree.looks -= m->u.tree.looks < EFFORT ? m->u.tree.looks : EFFORT;
}

void weak_memo_forget(struct lethe_weakmap *m, const struct lethe_weak_key *k) {
  if (!m->quick.is) return;
  if (++m->u.tree.changes > m->count || m->count < WORTH / 2) {
    fade(m);
    return;
  }
  if (!weak_key_is_whole(k)) return;
  uint64_t hash = weak_key_hash(k, m->quick.seed);
  struct lethe_weak_places *p = lethe_weak_places_of(&m->quick, hash);
  for (uint32_t i = 0; i < PLACES; i++)
    if (hash_at(p, i) == hash) set_free(p, i, number_of(m, hash));
}

/* ---- audit ----------------------------------------------------------------------------------- */

/* The number that has the hash. */
static int64_t number_with(uint64_t hash, uint64_t seed) {
  const uint64_t factor = LETHE_WEAK_FACTOR;
  uint64_t z = hash ^ __builtin_bswap32((uint32_t)(hash >> 32)), inverse = factor;
  for (int i = 0; i < 5; i++) inverse *= 2 - factor * inverse; /* twice as many right bits */
  return (int64_t)((z * inverse) ^ seed);
}

static bool is_right(struct lethe_weakmap *m, size_t bucket, uint64_t hash,
                     const struct lethe_counted *c) {
  if (number_of(m, hash) != bucket) return true; /* free, or not its own any more */
  if (!c) return false;
  struct lethe_weak_key k = lethe_weak_integer(number_with(hash, m->quick.seed));
  const struct entry *e = m->index->find(m, &k);
  return e && e->object == c;
}

bool weak_memo_is_valid(struct lethe_weakmap *m) {
  size_t n = m->quick.buckets;
  if (n % SEGMENT != 0 || (m->quick.is && (n == 0 || m->keys != NUMBERS))) return false;
  for (size_t i = 0; i < n && m->quick.is; i++) {
    const struct lethe_weak_places *p = &m->quick.segments[i / SEGMENT][i % SEGMENT];
    for (uint32_t j = 0; j < PLACES; j++)
      if (!is_right(m, i, hash_at(p, j), p->object[j])) return false;
  }
  return true;
}
