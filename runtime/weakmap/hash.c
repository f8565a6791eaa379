/* SPDX-License-Identifier: MIT
 * The hash index: linear hashing. With b buckets, `low` being the power of 2 at or below b, a
 * hash's bucket is its remainder by 2 low if there is such a bucket, else by low. So a bucket more
 * takes its entries from one other, and a bucket less gives them back to it: no call moves more
 * than a bucket or two, and walking in the order of reversed hashes meets buckets one after the
 * other, however many of them there are at each step.
 *
 * A bucket has place for four entries in a cell of two cache lines, of which a look needs the
 * first alone (lethe/weakmap_inl.h); what is too much, one in fifty, is chained behind it. All
 * first lines of a segment come before all second ones: looks touch half the pages, and a line that
 * the processor fetches because its neighbour was wanted is one of theirs.
 */
#include "hash_internal.h"

/* After every change of what it says (keeps H6). In maps of threads, which are read without their
 * lock there, it is never written. */
static void set_quick(struct lethe_weakmap *m, uint32_t kind) {
  if (m->options.atomic) return;
  m->quick.is = m->quick.buckets > 0 && m->u.hash.odd == 0 && kind != LETHE_WEAK_BYTES;
}

/* ---- looking --------------------------------------------------------------------------------- */

/* The link that leads to the key's entry, which is NULL if there is none. */
static struct entry **link_of(struct cell c, const struct lethe_weak_key *k, uint64_t hash) {
  struct back *b = c.back;
  for (uint32_t i = 0; i < b->n; i++)
    if (hash_at(c.at, i) == hash && weak_key_compare_entry(k, b->entry[i]) == 0)
      return &b->entry[i];
  struct entry **at = &b->more;
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
  struct lethe_counted *c = lethe_weak_look(lethe_weak_places_of(&m->quick, hash), hash, &found);
  return found ? c : look_further(m, k);
}

/* ---- buckets --------------------------------------------------------------------------------- */

/* Out of its bucket: another takes its place (keeps H4). */
static void take(struct lethe_weakmap *m, struct cell c, struct entry *e) {
  struct back *b = c.back;
  struct entry **at = &b->more, *more = b->more;
  uint32_t i = 0, last = b->n - 1;
  while (i <= last && b->entry[i] != e) i++;
  if (i > last) {
    while (*at != e) at = &(*at)->next;
    *at = e->next;
    return;
  }
  m->moved++;
  if (more)
    set_place(c.at, i, weak_hash_of(m, more), more->object);
  else
    set_place(c.at, i, hash_at(c.at, last), c.at->object[last]);
  b->entry[i] = more ? more : b->entry[last];
  if (more) {
    b->more = more->next;
    return;
  }
  set_place(c.at, last, 0, NULL);
  b->n = last;
}

static void hash_retied(struct lethe_weakmap *m, struct entry *e) {
  struct cell c = cell_of(m, weak_hash_of(m, e));
  for (uint32_t i = 0; i < c.back->n; i++)
    if (c.back->entry[i] == e) c.at->object[i] = e->object;
}

/* ---- the index ------------------------------------------------------------------------------- */

/* The bucket, which may not be there yet, is on its way while the entry is made. */
static struct entry *prepare(struct lethe_weakmap *m, const struct lethe_weak_key *k, uint64_t hash,
                             struct lethe_counted *c) {
  if (m->quick.buckets) {
    struct cell place = cell_of(m, hash);
    __builtin_prefetch(place.at, 1);
    __builtin_prefetch(place.back, 1);
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
  if (weak_hash_make_room(m)) return LETHE_ENOMEM;
  m->u.hash.odd += weak_hash_is_odd(k);
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
  m->u.hash.odd -= weak_hash_is_odd(&k);
  set_quick(m, k.kind);
  take(m, cell_of(m, weak_key_hash(&k, m->quick.seed)), e);
  if (m->count == 0) {
    weak_hash_free(m);
    return;
  }
  weak_hash_shrink(m);
}

static struct entry *hash_drain(struct lethe_weakmap *m) {
  struct entry *all = NULL;
  for (size_t i = 0; i < m->quick.buckets; i++) {
    struct back *b = cell_at(m, i).back;
    for (uint32_t j = 0; j < b->n; j++) {
      b->entry[j]->next = all;
      all = b->entry[j];
    }
    for (struct entry *e = b->more, *next; e; e = next) {
      next = e->next;
      e->next = all;
      all = e;
    }
  }
  m->u.hash.odd = 0;
  weak_hash_free(m);
  return all;
}

const struct index weak_hash = {.find = hash_find,
                                .look = hash_look,
                                .retied = hash_retied,
                                .put = hash_put,
                                .remove = hash_remove,
                                .after = weak_hash_after,
                                .drain = hash_drain,
                                .is_valid = weak_hash_is_valid,
                                .height = weak_hash_height};
