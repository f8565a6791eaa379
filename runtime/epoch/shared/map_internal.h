/* SPDX-License-Identifier: MIT
 * The map's list: its nodes, and finding a place in it (map_list.c), for the map's calls (map.c,
 * map_get.c). */
#ifndef LETHE_MAP_INTERNAL_H
#define LETHE_MAP_INTERNAL_H

#include "shared_internal.h"

enum { SEGMENTS = 40, FIRST = 8, LOAD = 1 };

struct node {
  _Atomic link_t next;
  _Atomic link_t value; /* of an entry: its block; NULL: dead */
  uint64_t order;       /* reversed hash; the lowest bit is 1 in entries and 0 in dummies */
  size_t n;             /* of the key */
  unsigned char key[];
};

typedef _Atomic(struct node *) bucket_t;

struct lethe_map {
  struct lethe_ref refs;
  const struct lethe_alloc *alloc;
  struct lethe_epoch *epoch;
  uint64_t seed;
  struct node *head; /* the dummy of bucket 0 */
  char apart[64];    /* what writers write stands on other lines than what readers read */
  _Atomic uint64_t count;
  char apart_too[64];
  _Atomic uint64_t buckets; /* a power of two */
  _Atomic(bucket_t *)
      segments[SEGMENTS]; /* segment 0: FIRST buckets; segment i > 0: FIRST << (i - 1) */
};

/* What is looked for: an entry's place, or a dummy's (key NULL). */
struct place {
  uint64_t order, bucket;
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

/* What buckets and dummies stand in the order of. */
uint64_t map_reversed(uint64_t hash);
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

/* Where a bucket lies: in which segment, and at which place there. */
static inline unsigned map_segment_of(uint64_t bucket) {
  return (unsigned)(63 ^ __builtin_clzll(bucket | FIRST / 2)) - 2;
}
static inline uint64_t map_segment_size(unsigned segment) {
  return segment == 0 ? FIRST : (uint64_t)FIRST << (segment - 1);
}
static inline uint64_t map_segment_place(uint64_t bucket, unsigned segment) {
  return bucket & ((((uint64_t)FIRST / 2 << segment) - 1) | (FIRST - 1));
}

#endif
