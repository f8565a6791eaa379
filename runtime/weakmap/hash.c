/* SPDX-License-Identifier: MIT
 * The hash index: linear hashing. With b buckets, `low` being the power of 2 at or below b, a
 * hash's bucket is its remainder by 2 low if there is such a bucket, else by low. So a bucket more
 * takes its entries from one other, and a bucket less gives them back to it: no call moves more
 * than a bucket or two, and walking in the order of reversed hashes meets buckets one after the
 * other, however many of them there are at each step.
 *
 * A bucket has place for four entries in a cell of two cache lines, of which a look needs the
 * first alone (lethe/weakmap_inl.h); what is too much, one in fifty, is chained behind it.
 *
 * Invariants: H1  low <= buckets < 2 low, unless there are none. H2  an entry is in the bucket that
 * its hash says, with its hash and its object beside it. H3  buckets <= count + 2, so that memory
 * goes with the entries. H4  a bucket's places are in use from the first on; the others have
 * neither hash nor object; it has a chain only if all are in use. H5  `odd` numbers are not
 * whole. H6  `quick.is` says what it should. */
#include <stdalign.h>

#include "weakmap_internal.h"

enum {
  PLACES = LETHE_WEAK_PLACES,
  SEGMENT = LETHE_WEAK_SEGMENT, /* segments are never copied, but for a small one */
  SMALL = 2,                    /* cells of a map of a few entries */
  ALIGN = 64
};

struct cell {
  alignas(ALIGN) struct lethe_weak_places at;
  struct entry *entry[PLACES];
  struct entry *more;
  uint32_t n; /* of the places in use */
};
_Static_assert(sizeof(struct cell) == sizeof(struct lethe_weak_bucket), "one behind the other");

/* The hash that is in order next to those of its bucket: its bits the other way round. */
static uint64_t reversed(uint64_t x) {
  x = (x >> 1 & 0x5555555555555555) | (x & 0x5555555555555555) << 1;
  x = (x >> 2 & 0x3333333333333333) | (x & 0x3333333333333333) << 2;
  x = (x >> 4 & 0x0f0f0f0f0f0f0f0f) | (x & 0x0f0f0f0f0f0f0f0f) << 4;
  return __builtin_bswap64(x);
}

static uint64_t hash_of(const struct lethe_weakmap *m, const struct entry *e) {
  struct lethe_weak_key k;
  weak_key_of(e, &k);
  return weak_key_hash(&k, m->quick.seed);
}

static bool is_odd(const struct lethe_weak_key *k) {
  return k->kind == LETHE_WEAK_FLOAT && !weak_key_is_whole(k);
}

static inline struct cell *cell(struct lethe_weak_bucket *b) { return (struct cell *)(void *)b; }

static inline struct cell *cell_at(const struct lethe_weakmap *m, size_t i) {
  return cell(&m->quick.segments[i / SEGMENT][i % SEGMENT]);
}

static inline size_t number_of(const struct lethe_weakmap *m, uint64_t hash) {
  size_t low = m->quick.low, i = (size_t)hash & (2 * low - 1);
  return i >= m->quick.buckets ? i - low : i;
}

static inline struct cell *cell_of(const struct lethe_weakmap *m, uint64_t hash) {
  return cell(lethe_weak_bucket_of(&m->quick, hash));
}

/* After every change of what it says (keeps H6). In maps of threads, which are read without their
 * lock there, it is never written. */
static void set_quick(struct lethe_weakmap *m, uint32_t kind) {
  if (m->options.atomic) return;
  m->quick.is = m->quick.buckets > 0 && m->u.hash.odd == 0 && kind != LETHE_WEAK_BYTES;
}

/* ---- looking --------------------------------------------------------------------------------- */

/* The link that leads to the key's entry, which is NULL if there is none. */
static struct entry **link_of(struct cell *c, const struct lethe_weak_key *k, uint64_t hash) {
  for (uint32_t i = 0; i < c->n; i++)
    if (c->at.hash[i] == hash && weak_key_compare_entry(k, c->entry[i]) == 0) return &c->entry[i];
  struct entry **at = &c->more;
  while (*at && weak_key_compare_entry(k, *at) != 0) at = &(*at)->next;
  return at;
}

static struct entry *hash_find(struct lethe_weakmap *m, const struct lethe_weak_key *k) {
  if (m->quick.buckets == 0) return NULL;
  uint64_t hash = weak_key_hash(k, m->quick.seed);
  return *link_of(cell_of(m, hash), k, hash);
}

static __attribute__((noinline)) struct lethe_counted *look_further(
    struct lethe_weakmap *m, const struct lethe_weak_key *k) {
  struct entry *e = hash_find(m, k);
  return e ? e->object : NULL;
}

/* Where all numbers are whole a hash tells the key, and no entry is touched. */
static struct lethe_counted *hash_look(struct lethe_weakmap *m, const struct lethe_weak_key *k) {
  bool found;
  if (k->kind != LETHE_WEAK_INTEGER || m->u.hash.odd || !m->quick.buckets)
    return look_further(m, k);
  uint64_t hash = weak_key_hash(k, m->quick.seed);
  struct lethe_counted *c = lethe_weak_look(&cell_of(m, hash)->at, hash, &found);
  return found ? c : look_further(m, k);
}

/* ---- buckets --------------------------------------------------------------------------------- */

/* The object is the entry's, which need not be touched. */
static void push(struct cell *c, uint64_t hash, struct entry *e, struct lethe_counted *object) {
  if (c->n == PLACES) {
    e->next = c->more;
    c->more = e;
    return;
  }
  c->at.hash[c->n] = hash;
  c->at.object[c->n] = object;
  c->entry[c->n] = e;
  c->n++;
}

/* Out of its bucket: another takes its place (keeps H4). */
static void take(struct lethe_weakmap *m, struct cell *c, struct entry *e) {
  struct entry **at = &c->more, *more = c->more;
  uint32_t i = 0, last = c->n - 1;
  while (i <= last && c->entry[i] != e) i++;
  if (i > last) {
    while (*at != e) at = &(*at)->next;
    *at = e->next;
    return;
  }
  m->moved++;
  c->at.hash[i] = more ? hash_of(m, more) : c->at.hash[last];
  c->at.object[i] = more ? more->object : c->at.object[last];
  c->entry[i] = more ? more : c->entry[last];
  if (more) {
    c->more = more->next;
    return;
  }
  c->at.hash[last] = 0;
  c->at.object[last] = NULL;
  c->n = last;
}

static void hash_retied(struct lethe_weakmap *m, struct entry *e) {
  struct cell *c = cell_of(m, hash_of(m, e));
  for (uint32_t i = 0; i < c->n; i++)
    if (c->entry[i] == e) c->at.object[i] = e->object;
}

/* All that was in a bucket goes where its hash says now. */
static void spread(struct lethe_weakmap *m, const struct cell *from) {
  for (uint32_t i = 0; i < from->n; i++)
    push(cell_of(m, from->at.hash[i]), from->at.hash[i], from->entry[i], from->at.object[i]);
  m->moved += from->n;
  for (struct entry *e = from->more, *next; e; e = next) {
    uint64_t hash = hash_of(m, e);
    next = e->next;
    push(cell_of(m, hash), hash, e, e->object);
    m->moved++;
  }
}

/* ---- growing and shrinking ------------------------------------------------------------------- */

static size_t segment_bytes(size_t cells) {
  return cells * sizeof(struct cell) + ALIGN + sizeof(void *);
}

/* Cells that begin with a cache line, behind a pointer to the block that they are in. */
static struct lethe_weak_bucket *segment_new(struct lethe_weakmap *m, size_t cells) {
  char *block = lethe_malloc(m->alloc, segment_bytes(cells));
  if (!block) return NULL;
  uintptr_t end = (uintptr_t)block + sizeof block + ALIGN - 1;
  char *first = block + (end / ALIGN * ALIGN - (uintptr_t)block);
  memcpy(first - sizeof block, &block, sizeof block);
  return (struct lethe_weak_bucket *)(void *)first;
}

static void segment_free(struct lethe_weakmap *m, struct lethe_weak_bucket *segment, size_t cells) {
  char *block;
  memcpy(&block, (char *)segment - sizeof block, sizeof block);
  lethe_free(m->alloc, block, segment_bytes(cells));
}

static size_t cells_of(const struct lethe_weakmap *m) { return m->u.hash.small ? SMALL : SEGMENT; }

/* A map of a few entries has a small segment, which is copied once. */
static int grow_small(struct lethe_weakmap *m) {
  struct lethe_weak_bucket *all = segment_new(m, SEGMENT), *few = m->quick.segments[0];
  if (!all) return LETHE_ENOMEM;
  memcpy(all, few, SMALL * sizeof *few);
  for (size_t i = 0; i < SMALL; i++) m->moved += cell(&few[i])->n;
  segment_free(m, few, SMALL);
  m->quick.segments[0] = all;
  m->u.hash.small = false;
  return LETHE_OK;
}

/* Memory for the next bucket. */
static int reserve(struct lethe_weakmap *m) {
  size_t i = m->quick.buckets / SEGMENT;
  if (m->u.hash.small && m->quick.buckets == SMALL) return grow_small(m);
  if (m->quick.buckets % SEGMENT) return LETHE_OK;
  struct lethe_weak_bucket **segments = m->quick.segments;
  if (lethe_grow(m->alloc, (void **)&segments, &m->u.hash.room, i + 1, sizeof *segments))
    return LETHE_ENOMEM;
  m->quick.segments = segments;
  segments[i] = segment_new(m, i == 0 ? SMALL : SEGMENT);
  return segments[i] ? LETHE_OK : LETHE_ENOMEM;
}

static void free_segments(struct lethe_weakmap *m) {
  size_t n = (m->quick.buckets + SEGMENT - 1) / SEGMENT;
  for (size_t i = 0; i < n; i++) segment_free(m, m->quick.segments[i], cells_of(m));
  lethe_free(m->alloc, m->quick.segments, m->u.hash.room * sizeof *m->quick.segments);
  m->quick.segments = NULL;
  if (m->quick.is) m->quick.is = false;
  m->u.hash.room = m->quick.buckets = m->quick.low = 0;
}

static int first_bucket(struct lethe_weakmap *m) {
  if (reserve(m)) {
    free_segments(m); /* the list of them */
    return LETHE_ENOMEM;
  }
  m->u.hash.small = true;
  m->quick.buckets = m->quick.low = 1;
  *cell_at(m, 0) = (struct cell){.n = 0};
  return LETHE_OK;
}

static void split(struct lethe_weakmap *m) {
  size_t low = m->quick.low, last = m->quick.buckets;
  struct cell *at = cell_at(m, last - low), from = *at;
  *at = *cell_at(m, last) = (struct cell){.n = 0};
  m->quick.buckets++;
  spread(m, &from);
  if (m->quick.buckets == 2 * low) m->quick.low = 2 * low;
}

/* Room for one more entry: three for two buckets. Without memory for one more, chains grow
 * longer. */
static int make_room(struct lethe_weakmap *m) {
  if (m->quick.buckets == 0) return first_bucket(m);
  if (2 * m->count >= 3 * m->quick.buckets && reserve(m) == LETHE_OK) split(m);
  return LETHE_OK;
}

/* The list of segments halves when it is used by a quarter; without memory it stays. */
static void trim(struct lethe_weakmap *m) {
  size_t room = m->u.hash.room, used = m->quick.buckets / SEGMENT + 1;
  if (room <= 8 || used > room / 4) return;
  struct lethe_weak_bucket **less = m->alloc->realloc(m->alloc->ud, m->quick.segments,
                                                      room * sizeof *less, room / 2 * sizeof *less);
  if (!less) return;
  m->quick.segments = less;
  m->u.hash.room = room / 2;
}

/* The last bucket's entries go back to where they came from. */
static void join(struct lethe_weakmap *m) {
  if (m->quick.buckets == m->quick.low) m->quick.low /= 2;
  size_t last = m->quick.buckets - 1;
  m->quick.buckets = last;
  spread(m, cell_at(m, last));
  if (last % SEGMENT != 0) return;
  segment_free(m, m->quick.segments[last / SEGMENT], SEGMENT);
  trim(m);
}

/* ---- the index ------------------------------------------------------------------------------- */

/* The bucket, which may not be there yet, is on its way while the entry is made. */
static struct entry *prepare(struct lethe_weakmap *m, const struct lethe_weak_key *k, uint64_t hash,
                             struct lethe_counted *c) {
  if (m->quick.buckets) {
    const struct cell *place = cell_of(m, hash);
    __builtin_prefetch(place, 1);
    __builtin_prefetch(&place->entry, 1);
  }
  return weak_entry_new(m, k, c);
}

static int put(struct lethe_weakmap *m, const struct lethe_weak_key *k, uint64_t hash,
               struct entry *e, struct entry **old) {
  *old = NULL;
  if (!weak_takes(m, e->object)) return LETHE_EINVAL;
  if (m->quick.buckets) {
    struct entry **at = link_of(cell_of(m, hash), k, hash);
    if (*at) {
      *old = *at;
      e->next = (*at)->next;
      *at = e;
      hash_retied(m, e);
      return LETHE_OK;
    }
  }
  if (make_room(m)) return LETHE_ENOMEM;
  m->u.hash.odd += is_odd(k);
  set_quick(m, k->kind);
  push(cell_of(m, hash), hash, e, e->object);
  return LETHE_OK;
}

static int hash_put(struct lethe_weakmap *m, const struct lethe_weak_key *k,
                    struct lethe_counted *c, struct entry **made, struct entry **old) {
  uint64_t hash = weak_key_hash(k, m->quick.seed);
  *made = prepare(m, k, hash, c);
  if (!*made) return LETHE_ENOMEM;
  int rc = put(m, k, hash, *made, old);
  if (rc) weak_entry_free(m, *made);
  return rc;
}

/* The count is that without the entry already. */
static void hash_remove(struct lethe_weakmap *m, struct entry *e) {
  struct lethe_weak_key k;
  weak_key_of(e, &k);
  m->u.hash.odd -= is_odd(&k);
  set_quick(m, k.kind);
  take(m, cell_of(m, weak_key_hash(&k, m->quick.seed)), e);
  if (m->count == 0) {
    free_segments(m);
    return;
  }
  for (int i = 0; i < 2 && m->quick.buckets > 1 && m->count < m->quick.buckets; i++) join(m);
}

static struct entry *hash_drain(struct lethe_weakmap *m) {
  struct entry *all = NULL;
  for (size_t i = 0; i < m->quick.buckets; i++) {
    struct cell *c = cell_at(m, i);
    for (uint32_t j = 0; j < c->n; j++) {
      c->entry[j]->next = all;
      all = c->entry[j];
    }
    for (struct entry *e = c->more, *next; e; e = next) {
      next = e->next;
      e->next = all;
      all = e;
    }
  }
  m->u.hash.odd = 0;
  free_segments(m);
  return all;
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
  size_t low = m->quick.low;
  return (unsigned)__builtin_ctzll(low) + (i >= low || i + low < m->quick.buckets);
}

/* Bucket by bucket: each tells the highest bits of its entries' ranks. */
static struct entry *hash_after(struct lethe_weakmap *m, const struct lethe_weak_key *k,
                                bool strictly) {
  if (m->quick.buckets == 0) return NULL;
  struct search s = {.key = k, .strictly = strictly};
  s.rank = k ? reversed(weak_key_hash(k, m->quick.seed)) : 0;
  for (;;) {
    size_t i = number_of(m, reversed(s.rank));
    struct cell *c = cell_at(m, i);
    for (uint32_t j = 0; j < c->n; j++) consider(&s, reversed(c->at.hash[j]), c->entry[j]);
    for (struct entry *e = c->more; e; e = e->next) consider(&s, reversed(hash_of(m, e)), e);
    unsigned bits = shared_bits(m, i);
    if (s.best || bits == 0) return s.best;
    uint64_t step = UINT64_C(1) << (64 - bits);
    s.rank = (s.rank & ~(step - 1)) + step;
    s.key = NULL;
    if (s.rank == 0) return NULL; /* that was the last */
  }
}

/* ---- audit ----------------------------------------------------------------------------------- */

static unsigned hash_height(struct lethe_weakmap *m) {
  unsigned most = 0;
  for (size_t i = 0; i < m->quick.buckets; i++) {
    const struct cell *c = cell_at(m, i);
    unsigned n = c->n;
    for (const struct entry *e = c->more; e; e = e->next) n++;
    if (n > most) most = n;
  }
  return most;
}

/* Counts the entries of bucket i, and those whose key is no whole number; false if something is
 * wrong. */
static bool audit(const struct lethe_weakmap *m, size_t i, size_t *n, size_t *odd) {
  const struct cell *c = cell_at(m, i);
  struct lethe_weak_key k;
  bool right = c->n <= PLACES && (c->n == PLACES || !c->more);
  for (uint32_t j = 0; right && j < PLACES; j++) {
    const struct entry *e = j < c->n ? c->entry[j] : NULL;
    right = e ? e->map == m && c->at.hash[j] == hash_of(m, e) && c->at.object[j] == e->object
              : c->at.hash[j] == 0 && !c->at.object[j];
  }
  for (uint32_t j = 0; right && j < c->n; j++, ++*n) {
    weak_key_of(c->entry[j], &k);
    *odd += is_odd(&k);
    right = number_of(m, c->at.hash[j]) == i;
  }
  for (const struct entry *e = c->more; right && e; e = e->next, ++*n) {
    weak_key_of(e, &k);
    *odd += is_odd(&k);
    right = e->map == m && number_of(m, hash_of(m, e)) == i;
  }
  return right;
}

static bool hash_is_valid(struct lethe_weakmap *m) {
  size_t n = 0, odd = 0, low = m->quick.low, buckets = m->quick.buckets;
  for (size_t i = 0; i < buckets; i++)
    if (!audit(m, i, &n, &odd)) return false;
  bool quick = buckets > 0 && odd == 0 && m->keys == NUMBERS && !m->options.atomic;
  return n == m->count && odd == m->u.hash.odd && quick == m->quick.is && buckets <= n + 2 &&
         (!buckets || (low <= buckets && buckets < 2 * low));
}

const struct index weak_hash = {.find = hash_find,
                                .look = hash_look,
                                .retied = hash_retied,
                                .put = hash_put,
                                .remove = hash_remove,
                                .after = hash_after,
                                .drain = hash_drain,
                                .is_valid = hash_is_valid,
                                .height = hash_height};
