/* SPDX-License-Identifier: MIT
 * The map's list: its nodes, and finding a place in it (map_list.c), for the map's calls (map.c,
 * map_get.c). */
#ifndef LETHE_MAP_INTERNAL_H
#define LETHE_MAP_INTERNAL_H

#include "shared_internal.h"

/* Two buckets for each entry at least; LEVELS is how often they double at most. */
enum { LEVELS = 40, FIRST_LEVEL = 3, FIRST = 1 << FIRST_LEVEL, BUCKETS_PER_ENTRY = 2 };

/* An entry, followed by its key; or a dummy. */
struct node {
  _Atomic link_t next;
  _Atomic link_t value; /* of an entry: its block; NULL: dead. Of a dummy: its state */
  uint64_t order;       /* the hash; the lowest bit is 1 in entries and 0 in dummies */
  size_t n;             /* of the key */
};

/* A dummy is made with its level's others, put into the list when it is first wanted, by whoever
 * takes it, and stays. */
enum dummy_state { DUMMY_FREE, DUMMY_TAKEN, DUMMY_LISTED };

/* A bucket is named by the upper bits of the orders of its entries, which are also the order of its
 * dummy. Its level is the place of the lowest bit that is set: so many bits the mask had when it
 * was split off. Level L > 0 has 2^(L-1) buckets. */
struct lethe_map {
  struct lethe_ref refs;
  const struct lethe_alloc *alloc;
  struct lethe_epoch *epoch;
  uint64_t seed;
  char apart[64]; /* what writers write stands on other lines than what readers read */
  _Atomic uint64_t count;
  char apart_too[64];
  _Atomic uint64_t mask;                    /* the bits that name buckets */
  _Atomic(struct node *) level[LEVELS + 1]; /* dummies; the first few are `first` */
  struct node first[FIRST];                 /* bucket 0, and those of levels to FIRST_LEVEL */
};

/* What is looked for: an entry's place, or a dummy's (key NULL). */
struct place {
  uint64_t order;
  const void *key;
  size_t n;
};

/* Where a place is, or would be: between prev and at. */
struct spot {
  struct node *prev;
  link_t link;     /* what prev's next said: it leads to `at` */
  struct node *at; /* the first node that does not come before the place, or NULL */
  bool found;
};

struct place map_place(const struct lethe_map *map, const void *key, size_t n);
/* Below 0: the node comes before the place. The node is being read. */
int map_compare(const struct node *node, const struct place *p);
struct node *map_node_new(const struct lethe_alloc *a, const struct place *p);
void map_node_free(const struct lethe_alloc *a, struct node *node);
/* Finds a place; takes dead nodes out on the way. LETHE_ENEUTRALIZED: begin anew. */
int map_find(struct lethe_map *map, struct lethe_epoch_rec *r, const struct place *p,
             struct spot *out);
/* The value link of a node, and a copy of what it leads to; LETHE_ENOTFOUND if it is dead. */
int map_read_value(struct lethe_map *map, struct lethe_epoch_rec *r, struct node *node,
                   link_t *link, struct lethe_buffer *value);

static inline unsigned char *map_key(const struct node *node) {
  return (unsigned char *)(node + 1);
}

/* Where the dummy of a bucket other than 0 lies. */
static inline unsigned map_level(uint64_t bucket) { return 64 - (unsigned)__builtin_ctzll(bucket); }
static inline uint64_t map_level_place(uint64_t bucket) {
  return bucket >> __builtin_ctzll(bucket) >> 1;
}
static inline uint64_t map_level_size(unsigned level) { return (uint64_t)1 << (level - 1); }

#endif
