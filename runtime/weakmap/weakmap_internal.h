/* SPDX-License-Identifier: MIT
 * What the files of the weak map share: weakref.c has deaths, weakmap.c the calls, whole.c those on
 * whole maps, walk.c walks; btree.c and hash.c are the two indexes.
 *
 * Invariants:
 *   W1  An entry of a weak map is in its object's list, and its map's lock and its object's lock
 *       are held, in this order, when it comes or goes. So an entry's object is there: its memory
 *       goes only once its list is empty.
 *   W2  An entry of a strong map has a strong reference, which is put outside of every lock.
 *   W3  Nothing is called back, and no reference put, while a lock is held.
 *   W4  A map's memory stays while `holds` is above 0: one for all references, one for each thread
 *       that found the map through an entry and waits for its lock. */
#ifndef LETHE_WEAKMAP_INTERNAL_H
#define LETHE_WEAKMAP_INTERNAL_H

#include <pthread.h>

#include "lethe/ref.h"
#include "lethe/weakmap.h"

struct entry {
  struct lethe_list of_object;
  struct lethe_counted *object; /* NULL in the queue of the dead */
  struct lethe_weakmap *map;
  struct entry *next; /* in its chain, or in a list of what has left */
  uint64_t rank;      /* the index's own order, in which equal ranks say nothing */
  uint32_t kind, n;   /* of the key */
  union {
    int64_t integer;
    double number;
    unsigned char bytes[8]; /* or more */
  } key;
};

struct index {
  uint64_t (*rank)(const struct lethe_weakmap *m, const struct lethe_weak_key *k);
  struct entry *(*find)(struct lethe_weakmap *m, const struct lethe_weak_key *k, uint64_t rank);
  /* *old: the entry of an equal key, whose place it has taken. LETHE_ENOMEM: nothing has
   * changed. */
  int (*put)(struct lethe_weakmap *m, struct entry *e, struct entry **old);
  void (*remove)(struct lethe_weakmap *m, struct entry *e);
  /* The first entry at the key (strictly: behind it); k NULL: the first of all. */
  struct entry *(*after)(struct lethe_weakmap *m, const struct lethe_weak_key *k, uint64_t rank,
                         bool strictly);
  struct entry *(*before)(struct lethe_weakmap *m, const struct lethe_weak_key *k, uint64_t rank,
                          bool strictly);
  /* All entries leave, as a list through `next`. */
  struct entry *(*drain)(struct lethe_weakmap *m);
  bool (*is_valid)(struct lethe_weakmap *m);
  unsigned (*height)(struct lethe_weakmap *m);
};
extern const struct index weak_btree, weak_hash;

struct node; /* of the B-tree */

struct lethe_weakmap {
  const struct lethe_alloc *alloc;
  const struct index *index;
  struct lethe_weakmap_options options;
  size_t count, moved;
  enum { NO_KEYS, NUMBERS, BYTES } keys;
  union {
    struct {
      struct node *root;
    } tree;
    struct {
      struct entry ***segments;
      size_t room;         /* of segments */
      size_t buckets, low; /* in use; the power of 2 at or below it */
      uint64_t seed;
    } hash;
  } u;
  struct entry *dead, **dead_end;
  size_t dead_len;
  struct lethe_ref refs, holds;
  pthread_mutex_t lock; /* maps of threads */
};

/* ---- key.c ----------------------------------------------------------------------------------- */

void weak_key_of(const struct entry *e, struct lethe_weak_key *k);
static inline size_t weak_entry_bytes(const struct lethe_weak_key *k) {
  size_t n = k->kind == LETHE_WEAK_BYTES ? k->u.n : 0;
  return sizeof(struct entry) + (n > 8 ? n - 8 : 0);
}
int weak_key_compare_entry(const struct lethe_weak_key *k, const struct entry *e);
/* As the index's order is, given both ranks. */
static inline int order(const struct lethe_weak_key *k, uint64_t rank, const struct entry *e) {
  if (rank != e->rank) return rank < e->rank ? -1 : 1;
  return weak_key_compare_entry(k, e);
}
uint64_t weak_key_prefix(const struct lethe_weak_key *k);
uint64_t weak_key_hash(const struct lethe_weak_key *k, uint64_t seed);
bool weak_key_is_nan(const struct lethe_weak_key *k);

/* ---- weakmap.c ------------------------------------------------------------------------------- */

static inline void weak_lock(struct lethe_weakmap *m) {
  if (m->options.atomic) pthread_mutex_lock(&m->lock);
}
static inline void weak_unlock(struct lethe_weakmap *m) {
  if (m->options.atomic) pthread_mutex_unlock(&m->lock);
}
/* Two maps in the order of their addresses, which may be the same one. */
void weak_lock_two(struct lethe_weakmap *a, struct lethe_weakmap *b);
void weak_unlock_two(struct lethe_weakmap *a, struct lethe_weakmap *b);
void weak_drop_hold(struct lethe_weakmap *m);

/* The rest with the lock held. */
bool weak_accepts(const struct lethe_weakmap *m, const struct lethe_weak_key *k);
bool weak_takes(const struct lethe_weakmap *m, const struct lethe_counted *c);
struct entry *weak_find(struct lethe_weakmap *m, const struct lethe_weak_key *k);
struct entry *weak_next(struct lethe_weakmap *m, const struct lethe_weak_key *k, bool strictly,
                        bool down);
struct entry *weak_entry_new(struct lethe_weakmap *m, const struct lethe_weak_key *k);
/* Bare memory of an entry that is tied to nothing. */
void weak_entry_free(struct lethe_weakmap *m, struct entry *e);
/* Ties it to a living object: to its list or, in a strong map, by a strong reference. */
void weak_entry_tie(struct entry *e, struct lethe_counted *c);
/* Unties it. A strong map's reference, else a new one if the object is alive, goes to *object,
 * which is NULL otherwise. An entry that a death took goes to the queue of the dead or is freed. */
bool weak_entry_untie(struct lethe_weakmap *m, struct entry *e, struct lethe_counted **object);
/* Out of the index, in which it is; then untie. */
void weak_leave(struct lethe_weakmap *m, struct entry *e);
/* Its object has died: to the queue of the dead, or freed. True if somebody is to be notified. */
bool weak_entry_bury(struct lethe_weakmap *m, struct entry *e);
static inline void weak_notify(struct lethe_weakmap *m) { m->options.notify(m->options.ud); }

/* ---- weakref.c ------------------------------------------------------------------------------- */

void weak_object_lock(struct lethe_counted *c);
void weak_object_unlock(struct lethe_counted *c);

#endif
