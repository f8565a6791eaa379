/* SPDX-License-Identifier: MIT
 * Weak map: from numbers or byte strings to counted objects (lethe/weakref.h) that it does not
 * keep.
 *
 * The last strong reference to an object takes its entries out of every map, and only then does the
 * object end. So a map holds live entries alone: its length is exact and at hand, nothing is swept,
 * and the memory of an entry, and of the index around it, is given back at that moment. Behind one
 * interface stand two indexes: a B-tree (R. Bayer, E. McCreight, 1972), ordered by key; and linear
 * hashing (W. Litwin, VLDB 1980), which splits one bucket at a time. Neither ever moves more than a
 * node on each level, or a bucket, in one call.
 *
 *   lethe_weakmap_new(&map, alloc, &(struct lethe_weakmap_options){.ordered = true});
 *   lethe_weakmap_insert(map, &key, &image->refs, &old);   the caller keeps its references
 *   found = lethe_weakmap_get(map, &key);                  a strong reference, or NULL
 *   found = lethe_weakmap_get_integer(map, 7);             the same, inline: lethe/weakmap_inl.h
 *   lethe_weakmap_remove(map, &key, &old);
 *   lethe_weak_walk_begin(&walk, map, NULL, NULL, false);  and _step, _end: survives any change
 *   lethe_weakmap_put_ref(map);
 *
 * Keys are all numbers or all byte strings, as the first one was, until the map is cleared. Numbers
 * compare as Lua's do: integers and floats by value, exactly; NaN is no key. Bytes compare as
 * memcmp says, a prefix first. An entry of an object that is dying, in a thread between its last
 * put and the map's lock, counts as absent in every call; the length counts it until that put
 * returns.
 *
 * An ordered map of one thread in which integers are looked up again and again remembers what it
 * found, in memory that it takes while it is asked and gives back as entries go; without memory it
 * does without.
 *
 * A strong map holds its objects: it is the same in all else. A map that was made to keep its dead
 * queues the keys of entries that a death took, for lethe_weakmap_dead.
 *
 * Synchronization: a map made for threads takes objects of atomic classes, and every call on it may
 * be made from any number of threads at once; it has one lock, under which nothing is called back.
 * Other maps take objects of plain classes, and belong to their thread. Calls with _borrow in their
 * names are for the latter. Progress: blocking; O(log n) ordered, O(1) on average hashed. */
#ifndef LETHE_WEAKMAP_H
#define LETHE_WEAKMAP_H

#include "lethe/weakref.h"

/* ---- keys ------------------------------------------------------------------------------------ */

enum lethe_weak_kind { LETHE_WEAK_INTEGER, LETHE_WEAK_FLOAT, LETHE_WEAK_BYTES };

struct lethe_weak_key {
  enum lethe_weak_kind kind;
  union {
    int64_t integer;
    double number;
    size_t n;
  } u;
  const void *bytes;
};

static inline struct lethe_weak_key lethe_weak_integer(int64_t i) {
  return (struct lethe_weak_key){.kind = LETHE_WEAK_INTEGER, .u.integer = i};
}
static inline struct lethe_weak_key lethe_weak_number(double d) {
  return (struct lethe_weak_key){.kind = LETHE_WEAK_FLOAT, .u.number = d};
}
static inline struct lethe_weak_key lethe_weak_bytes(const void *p, size_t n) {
  return (struct lethe_weak_key){.kind = LETHE_WEAK_BYTES, .u.n = n, .bytes = p};
}
/* Below, at or above 0 as a is before, equal to or after b, which are of one kind. */
LETHE_API int lethe_weak_compare(const struct lethe_weak_key *a, const struct lethe_weak_key *b);

/* ---- maps ------------------------------------------------------------------------------------ */

struct lethe_weakmap;

struct lethe_weakmap_options {
  bool ordered; /* the B-tree; else hashed */
  bool atomic;  /* for threads: objects of atomic classes */
  bool strong;
  bool keeps_dead;
  /* Optional: the queue of the dead is no longer empty. On the thread of the last put. */
  void (*notify)(void *ud);
  void *ud;
};

enum {
  LETHE_WEAKMAP_NODE = 31,  /* entries of a B-tree's node */
  LETHE_WEAKMAP_HEIGHT = 16 /* levels that no B-tree of 2^63 entries exceeds */
};

/* One reference. Memory comes from `a`, for maps of threads from any of them. LETHE_ENOMEM. */
LETHE_API int lethe_weakmap_new(struct lethe_weakmap **out, const struct lethe_alloc *a,
                                const struct lethe_weakmap_options *o);
LETHE_API struct lethe_weakmap *lethe_weakmap_get_ref(struct lethe_weakmap *m);
/* The last one ends the map: its entries go, its dead are forgotten. */
LETHE_API void lethe_weakmap_put_ref(struct lethe_weakmap *m);

/* Live entries. */
LETHE_API size_t lethe_weakmap_len(struct lethe_weakmap *m);
LETHE_API bool lethe_weakmap_is_ordered(const struct lethe_weakmap *m);
LETHE_API bool lethe_weakmap_is_strong(const struct lethe_weakmap *m);
/* Whether the key could be one of this map's: LETHE_EINVAL for NaN, or the other kind. */
LETHE_API int lethe_weakmap_accepts(struct lethe_weakmap *m, const struct lethe_weak_key *key);

/* The key stands for the object from now on; an equal key that was there is replaced by this one.
 * The caller has a strong reference, which stays its own. *old, unless NULL, gets a strong
 * reference to the object that was there, or NULL. LETHE_ENOMEM, LETHE_EINVAL (key, or the object's
 * flavour); then nothing has changed. */
LETHE_API int lethe_weakmap_insert(struct lethe_weakmap *m, const struct lethe_weak_key *key,
                                   struct lethe_counted *c, struct lethe_counted **old);
/* A strong reference, or NULL. */
LETHE_API struct lethe_counted *lethe_weakmap_get(struct lethe_weakmap *m,
                                                  const struct lethe_weak_key *key);
LETHE_API bool lethe_weakmap_contains(struct lethe_weakmap *m, const struct lethe_weak_key *key);
/* True if it was there; *old as above. */
LETHE_API bool lethe_weakmap_remove(struct lethe_weakmap *m, const struct lethe_weak_key *key,
                                    struct lethe_counted **old);
/* All entries go, none of them to the dead; either kind of keys may follow. */
LETHE_API void lethe_weakmap_clear(struct lethe_weakmap *m);

/* ---- whole maps ------------------------------------------------------------------------------ */

/* A new map, made as `o` says, with all entries of m. LETHE_ENOMEM, LETHE_EINVAL (flavours). */
LETHE_API int lethe_weakmap_copy(struct lethe_weakmap *m, const struct lethe_weakmap_options *o,
                                 struct lethe_weakmap **out);
/* Of an ordered map: the entries from `key` on go to a new map, made as `o` says. LETHE_ENOMEM, and
 * then nothing has changed; LETHE_EINVAL. */
LETHE_API int lethe_weakmap_split_off(struct lethe_weakmap *m, const struct lethe_weak_key *key,
                                      const struct lethe_weakmap_options *o,
                                      struct lethe_weakmap **out);
/* The entries of `other` come to m: where both have a key, m's stays, with other's object.
 * LETHE_EINVAL (m itself, kinds of keys, flavours); LETHE_ENOMEM, and then each entry is still in
 * one of the maps. */
LETHE_API int lethe_weakmap_append(struct lethe_weakmap *m, struct lethe_weakmap *other);
/* The same keys with the same objects. */
LETHE_API bool lethe_weakmap_equal(struct lethe_weakmap *a, struct lethe_weakmap *b);

/* ---- walks ----------------------------------------------------------------------------------- */

/* Goes from key to key: whatever changes meanwhile, each entry that is there all along is met
 * once. */
struct lethe_weak_walk {
  struct lethe_weak_key key;    /* of the entry that it is at */
  struct lethe_counted *object; /* strong until the next step */
  struct lethe_weakmap *map;
  enum { LETHE_WALK_NOWHERE, LETHE_WALK_BEFORE, LETHE_WALK_AT } at;
  bool down, bounded;
  struct lethe_weak_key end;
  unsigned char *room, *end_bytes; /* of keys of bytes */
  size_t room_size, end_size;
};
/* From `from` to `to`, both included, NULL being the end of the map; down: from the greater to the
 * lesser. Bounds, and down, are for ordered maps. LETHE_ENOMEM, LETHE_EINVAL. The map must stay
 * until the walk's end. */
LETHE_API int lethe_weak_walk_begin(struct lethe_weak_walk *w, struct lethe_weakmap *m,
                                    const struct lethe_weak_key *from,
                                    const struct lethe_weak_key *to, bool down);
/* The next entry; LETHE_ENOTFOUND at the end, LETHE_ENOMEM (it may be tried again). */
LETHE_API int lethe_weak_walk_step(struct lethe_weak_walk *w);
LETHE_API void lethe_weak_walk_end(struct lethe_weak_walk *w);

/* ---- the dead -------------------------------------------------------------------------------- */

struct lethe_weak_dead;

/* The key that has been in the queue longest, or NULL; lethe_weak_dead_free gives it back. */
LETHE_API struct lethe_weak_dead *lethe_weakmap_dead(struct lethe_weakmap *m);
LETHE_API void lethe_weak_dead_key(const struct lethe_weak_dead *d, struct lethe_weak_key *key);
/* It comes first again. */
LETHE_API void lethe_weak_dead_back(struct lethe_weakmap *m, struct lethe_weak_dead *d);
LETHE_API void lethe_weak_dead_free(struct lethe_weakmap *m, struct lethe_weak_dead *d);
/* How long the queue is. */
LETHE_API size_t lethe_weakmap_dead_len(struct lethe_weakmap *m);

/* ---- of one thread --------------------------------------------------------------------------- */

/* What is found is valid until the map changes or an object dies; nothing is counted. */
struct lethe_weak_item {
  struct lethe_weak_key key;
  struct lethe_counted *object;
};

LETHE_API struct lethe_counted *lethe_weakmap_borrow(struct lethe_weakmap *m,
                                                     const struct lethe_weak_key *key);
/* The first entry at `key` or after it (strictly: after it alone), NULL being the beginning, in the
 * order of the map; down: at or before it, in ordered maps. The order of a hashed map is that of
 * its hashes, which no change of other entries changes. */
LETHE_API bool lethe_weakmap_borrow_next(struct lethe_weakmap *m, const struct lethe_weak_key *key,
                                         bool strictly, bool down, struct lethe_weak_item *item);

/* ---- audit ----------------------------------------------------------------------------------- */

/* Entries that the last insert, remove or death has moved in the index. */
LETHE_API size_t lethe_weakmap_moved(const struct lethe_weakmap *m);
/* Levels of the B-tree; the most entries of a bucket of the hash index. */
LETHE_API unsigned lethe_weakmap_height(struct lethe_weakmap *m);
/* True if all that can be checked adds up. */
LETHE_API bool lethe_weakmap_is_valid(struct lethe_weakmap *m);

#endif
