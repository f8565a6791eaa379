/* SPDX-License-Identifier: MIT
 * What the files of the weak map share: weakref.c has deaths, weakmap.c the calls, whole.c those on
 * whole maps, walk.c walks; btree.c and hash.c are the two indexes, lines.c their memory.
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
#include <string.h>

#include "lethe/ref.h"
#include "lethe/weakmap_inl.h"

struct entry {
  struct lethe_list of_object;
  struct lethe_counted *object; /* NULL in the queue of the dead */
  struct lethe_weakmap *map;
  struct entry *next; /* in a chain, or in a list of what has left */
  uint32_t kind, n;   /* of the key */
  union {
    int64_t integer;
    double number;
    unsigned char bytes[8]; /* or more */
  } key;
};

struct index {
  struct entry *(*find)(struct lethe_weakmap *m, const struct lethe_weak_key *k);
  /* The same, of which only the object is wanted: without touching the entry where that can be. */
  struct lethe_counted *(*look)(struct lethe_weakmap *m, const struct lethe_weak_key *k);
  /* The entry's object is another now. */
  void (*retied)(struct lethe_weakmap *m, struct entry *e);
  /* *made: a new entry for the key with the object, to be tied; *old: that of an equal key, whose
   * place it has taken, or NULL. The entry is made, and the object looked at, while the place is on
   * its way from memory. LETHE_ENOMEM, or LETHE_EINVAL if the map does not take the object: no
   * entry has come or gone. */
  int (*put)(struct lethe_weakmap *m, const struct lethe_weak_key *k, struct lethe_counted *c,
             struct entry **made, struct entry **old);
  void (*remove)(struct lethe_weakmap *m, struct entry *e);
  /* The first entry at the key (strictly: behind it); k NULL: the first of all. */
  struct entry *(*after)(struct lethe_weakmap *m, const struct lethe_weak_key *k, bool strictly);
  struct entry *(*before)(struct lethe_weakmap *m, const struct lethe_weak_key *k, bool strictly);
  /* All entries leave, as a list through `next`. */
  struct entry *(*drain)(struct lethe_weakmap *m);
  bool (*is_valid)(struct lethe_weakmap *m);
  unsigned (*height)(struct lethe_weakmap *m);
};
extern const struct index weak_btree, weak_hash;

struct node; /* of the B-tree */

struct lethe_weakmap {
  struct lethe_weak_quick quick; /* the hash index or a memo, for whoever may look into it */
  const struct lethe_alloc *alloc;
  const struct index *index;
  struct lethe_weakmap_options options;
  size_t count, moved;
  enum { NO_KEYS, NUMBERS, BYTES } keys;
  union {
    struct {
      struct node *root;
      unsigned height; /* levels */
      size_t room;     /* of segments of the memo */
      size_t looks;    /* before the memo began; that had to put another's place to use */
      size_t changes;  /* since it began */
    } tree;
    struct {
      size_t room; /* of segments */
      size_t low;  /* the power of 2 at or below the number of buckets */
      size_t odd;  /* numbers that are not whole */
      bool small;  /* the only segment is shorter than others */
    } hash;
  } u;
  struct entry *dead, **dead_end;
  size_t dead_len;
  struct lethe_ref refs, holds;
  pthread_mutex_t lock; /* maps of threads */
};

/* ---- key.c ----------------------------------------------------------------------------------- */

#define WEAK_TWO_53 (INT64_C(1) << 53) /* below it every integer is a float */

static inline void weak_key_of(const struct entry *e, struct lethe_weak_key *k) {
  k->kind = (enum lethe_weak_kind)e->kind;
  k->bytes = NULL;
  if (k->kind == LETHE_WEAK_INTEGER) {
    k->u.integer = e->key.integer;
  } else if (k->kind == LETHE_WEAK_FLOAT) {
    k->u.number = e->key.number;
  } else {
    k->u.n = e->n;
    k->bytes = e->key.bytes;
  }
}
static inline size_t weak_entry_bytes(const struct lethe_weak_key *k) {
  size_t n = k->kind == LETHE_WEAK_BYTES ? k->u.n : 0;
  return sizeof(struct entry) + (n > 8 ? n - 8 : 0);
}
int weak_key_compare_entry(const struct lethe_weak_key *k, const struct entry *e);

/* The rank of a number in the B-tree: as a double, which rounds in order, with its bits so that
 * they compare as it does. */
static inline uint64_t weak_number_rank(double d) {
  uint64_t word;
  d += 0; /* -0.0 is 0 */
  memcpy(&word, &d, sizeof word);
  return word ^ ((0 - (word >> 63)) | UINT64_C(1) << 63);
}
/* The first eight of n bytes as a word that compares as they do. */
uint64_t weak_bytes_rank(const void *p, size_t n);
static inline uint64_t weak_key_rank(const struct lethe_weak_key *k) {
  if (k->kind == LETHE_WEAK_INTEGER) return weak_number_rank((double)k->u.integer);
  if (k->kind == LETHE_WEAK_FLOAT) return weak_number_rank(k->u.number);
  return weak_bytes_rank(k->bytes, k->u.n);
}
/* Whether no other key has its rank. */
static inline bool weak_key_is_exact(const struct lethe_weak_key *k) {
  if (k->kind == LETHE_WEAK_INTEGER)
    return k->u.integer < WEAK_TWO_53 && k->u.integer > -WEAK_TWO_53;
  const double most = (double)WEAK_TWO_53;
  return k->kind == LETHE_WEAK_FLOAT && k->u.number < most && k->u.number > -most;
}

uint64_t weak_mixed(uint64_t z);
uint64_t weak_other_hash(const struct lethe_weak_key *k, uint64_t seed);
/* Equal numbers have equal hashes: a float that is a whole number has that of the integer. Whole
 * numbers that differ have hashes that differ. */
static inline uint64_t weak_key_hash(const struct lethe_weak_key *k, uint64_t seed) {
  if (k->kind == LETHE_WEAK_INTEGER) return lethe_weak_hash((uint64_t)k->u.integer, seed);
  return weak_other_hash(k, seed);
}
/* An integer, or a float that is equal to one. */
bool weak_float_is_whole(double d);
static inline bool weak_key_is_whole(const struct lethe_weak_key *k) {
  if (k->kind == LETHE_WEAK_INTEGER) return true;
  return k->kind == LETHE_WEAK_FLOAT && weak_float_is_whole(k->u.number);
}
static inline bool weak_key_is_nan(const struct lethe_weak_key *k) {
  return k->kind == LETHE_WEAK_FLOAT && k->u.number != k->u.number;
}

/* ---- lines.c --------------------------------------------------------------------------------- */

enum { WEAK_LINE = 64 };
/* Memory that begins with a cache line, or NULL. */
void *weak_lines_new(const struct lethe_alloc *a, size_t bytes);
void weak_lines_free(const struct lethe_alloc *a, void *lines, size_t bytes);

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
static inline bool weak_takes(const struct lethe_weakmap *m, const struct lethe_counted *c) {
  return c->class->atomic == m->options.atomic;
}
struct entry *weak_find(struct lethe_weakmap *m, const struct lethe_weak_key *k);
/* A key of the other kind, and what is no key, is not there. */
static inline bool weak_may_have(const struct lethe_weakmap *m, const struct lethe_weak_key *k) {
  if (k->kind == LETHE_WEAK_INTEGER) return m->keys == NUMBERS;
  return m->keys == (k->kind == LETHE_WEAK_BYTES ? BYTES : NUMBERS) && !weak_key_is_nan(k);
}
static inline struct lethe_counted *weak_look(struct lethe_weakmap *m,
                                              const struct lethe_weak_key *k) {
  return weak_may_have(m, k) ? m->index->look(m, k) : NULL;
}
struct entry *weak_next(struct lethe_weakmap *m, const struct lethe_weak_key *k, bool strictly,
                        bool down);
/* An entry for the object, not tied to it yet; NULL without memory. */
struct entry *weak_entry_new(struct lethe_weakmap *m, const struct lethe_weak_key *k,
                             struct lethe_counted *c);
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

void weak_object_wait(struct lethe_counted *c);
static inline void weak_object_lock(struct lethe_counted *c) {
  if (c->class->atomic) weak_object_wait(c);
}
static inline void weak_object_unlock(struct lethe_counted *c) {
  if (c->class->atomic) store_rel(&c->locked, 0); /* release: pairs with the acquire there */
}

#endif
