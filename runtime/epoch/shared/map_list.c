/* SPDX-License-Identifier: MIT
 * The map's list: all entries sorted by reversed hash and then by key, and shortcuts into it.
 *
 * A bucket is a pointer to a dummy node that stands in the list before all entries of its part of
 * the hash range; dummies never leave. Doubling the number of buckets moves nothing: a new bucket's
 * dummy is put in when it is first used. A marked node is out of the list for everybody; whoever
 * comes by unlinks it. */
#include <string.h>

#include "map_internal.h"

/* ---- order ----------------------------------------------------------------------------------- */

int map_compare(const struct node *node, const struct place *p) {
  if (node->order != p->order) return node->order < p->order ? -1 : 1;
  if (!p->key) return 0;
  if (node->n != p->n) return node->n < p->n ? -1 : 1;
  return memcmp(node->key, p->key, p->n);
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static size_t node_bytes(size_t n) { return sizeof(struct node) + n; }

struct node *map_node_new(const struct lethe_alloc *a, const struct place *p) {
  struct node *node = lethe_zalloc(a, node_bytes(p->n));
  if (!node) return NULL;
  node->order = p->order;
  node->n = p->n;
  if (p->n) memcpy(node->key, p->key, p->n);
  return node;
}

void map_node_free(const struct lethe_alloc *a, struct node *node) {
  if (node) lethe_free(a, node, node_bytes(node->n));
}

static void node_retired(void *object, void *ud) { map_node_free(ud, object); }

/* ---- finding --------------------------------------------------------------------------------- */

/* One node is read: its link, and how it compares. */
static bool look(struct lethe_epoch_rec *r, const struct node *node, const struct place *p,
                 link_t *next, int *order) {
  if (!lethe_epoch_read_begin(r, node)) return false;
  *next = load_acq(&node->next);
  *order = map_compare(node, p);
  lethe_epoch_read_end(r);
  return true;
}

/* Takes the marked node out behind prev, and retires it (S3). False: something else was there. */
static int take_out(struct lethe_map *map, struct lethe_epoch_rec *r, struct node *prev,
                    link_t *link, struct node *node, link_t next) {
  if (!lethe_epoch_read_begin(r, prev)) return LETHE_ENEUTRALIZED;
  bool done = link_cas(&prev->next, *link, link_to(next), false);
  lethe_epoch_read_end(r);
  if (!done) return LETHE_ENOTFOUND;
  *link = link_next(*link, link_to(next), false);
  PAUSE(LETHE_PAUSE_MAP_UNLINKED);
  lethe_epoch_retire(r, node, node_retired, (void *)map->alloc, node_bytes(0));
  return LETHE_OK;
}

/* LETHE_ENOTFOUND: begin again from the dummy. */
static int find_from(struct lethe_map *map, struct lethe_epoch_rec *r, struct node *dummy,
                     const struct place *p, struct spot *out) {
  struct node *prev = dummy;
  link_t link, next;
  int order;
  if (!lethe_epoch_read_begin(r, prev)) return LETHE_ENEUTRALIZED;
  link = load_acq(&prev->next);
  lethe_epoch_read_end(r);
  for (;;) {
    struct node *at = link_to(link);
    *out = (struct spot){prev, link, at, false};
    if (!at) return LETHE_OK;
    if (!look(r, at, p, &next, &order)) return LETHE_ENEUTRALIZED;
    if (link_marked(next)) {
      int rc = take_out(map, r, prev, &link, at, next);
      if (rc) return rc;
      continue;
    }
    if (order >= 0) {
      out->found = order == 0;
      return LETHE_OK;
    }
    prev = at;
    link = next;
  }
}

static int bucket_dummy(struct lethe_map *map, struct lethe_epoch_rec *r, uint64_t bucket,
                        struct node **out);

int map_find(struct lethe_map *map, struct lethe_epoch_rec *r, const struct place *p,
             struct spot *out) {
  struct node *dummy;
  uint64_t bucket = p->bucket & (load_acq(&map->buckets) - 1);
  int rc = bucket_dummy(map, r, bucket, &dummy);
  while (rc == LETHE_OK && (rc = find_from(map, r, dummy, p, out)) == LETHE_ENOTFOUND)
    rc = LETHE_OK;
  return rc;
}

/* ---- buckets --------------------------------------------------------------------------------- */

static bucket_t *bucket_at(struct lethe_map *map, uint64_t bucket) {
  unsigned s = map_segment_of(bucket);
  bucket_t *array = load_acq(&map->segments[s]);
  if (!array) {
    size_t bytes = map_segment_size(s) * sizeof *array;
    bucket_t *made = lethe_zalloc(map->alloc, bytes), *none = NULL;
    if (!made) return NULL;
    if (atomic_compare_exchange_strong_explicit(&map->segments[s], &none, made,
                                                memory_order_acq_rel, memory_order_acquire)) {
      array = made;
    } else {
      lethe_free(map->alloc, made, bytes);
      array = none;
    }
  }
  return &array[map_segment_place(bucket, s)];
}

/* The bucket that this one was split off from: its highest bit cleared. */
static uint64_t parent_of(uint64_t bucket) {
  return bucket & ~((uint64_t)1 << (63 - __builtin_clzll(bucket)));
}

/* Puts a dummy into the list behind its parent's, or finds the one that another put there. */
static int put_dummy(struct lethe_map *map, struct lethe_epoch_rec *r, struct node *parent,
                     uint64_t bucket, struct node **out) {
  struct place p = {.order = map_reversed(bucket)};
  struct node *made = map_node_new(map->alloc, &p);
  struct spot spot;
  if (!made) return LETHE_ENOMEM;
  for (;;) {
    int rc = find_from(map, r, parent, &p, &spot);
    if (rc == LETHE_ENOTFOUND) continue;
    if (rc || spot.found) {
      map_node_free(map->alloc, made);
      *out = spot.at;
      return rc;
    }
    store_rlx(&made->next, (link_t)(uintptr_t)spot.at);
    if (!lethe_epoch_read_begin(r, spot.prev)) {
      map_node_free(map->alloc, made);
      return LETHE_ENEUTRALIZED;
    }
    bool done = link_cas(&spot.prev->next, spot.link, made, false);
    lethe_epoch_read_end(r);
    if (!done) continue;
    *out = made;
    return LETHE_OK;
  }
}

/* Without memory for a shortcut a longer way serves: the nearest bucket above that has one. */
static int bucket_dummy(struct lethe_map *map, struct lethe_epoch_rec *r, uint64_t bucket,
                        struct node **out) {
  uint64_t missing[64];
  int n = 0;
  bucket_t *b;
  *out = map->head;
  while (bucket != 0) {
    b = bucket_at(map, bucket);
    if (b && (*out = load_acq(b)) != NULL) break;
    missing[n++] = bucket;
    bucket = parent_of(bucket);
    *out = map->head;
  }
  while (n-- > 0) {
    struct node *dummy;
    int rc = put_dummy(map, r, *out, missing[n], &dummy);
    if (rc == LETHE_ENOMEM) return LETHE_OK;
    if (rc) return rc;
    *out = dummy;
    PAUSE(LETHE_PAUSE_MAP_SEGMENT);
    if ((b = bucket_at(map, missing[n])) != NULL) store_rel(b, dummy);
  }
  return LETHE_OK;
}
