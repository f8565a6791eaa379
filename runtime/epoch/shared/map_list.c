/* SPDX-License-Identifier: MIT
 * The map's list: all entries sorted by hash and then by key, and shortcuts into it.
 *
 * A bucket is a dummy node that stands in the list before all entries of its part of the hash
 * range; dummies never leave. Doubling the number of buckets moves nothing: a new bucket's dummy is
 * put in when it is first used. A marked node is out of the list for everybody; whoever comes by
 * unlinks it. */
#include <string.h>

#include "map_internal.h"

/* ---- order ----------------------------------------------------------------------------------- */

int map_compare(const struct node *node, const struct place *p) {
  if (node->order != p->order) return node->order < p->order ? -1 : 1;
  if (!p->key) return 0;
  if (node->n != p->n) return node->n < p->n ? -1 : 1;
  return memcmp(map_key(node), p->key, p->n);
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static size_t node_bytes(size_t n) { return sizeof(struct node) + n; }

struct node *map_node_new(const struct lethe_alloc *a, const struct place *p) {
  struct node *node = lethe_zalloc(a, node_bytes(p->n));
  if (!node) return NULL;
  node->order = p->order;
  node->n = p->n;
  if (p->n) memcpy(map_key(node), p->key, p->n);
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
  int rc = bucket_dummy(map, r, p->order & load_acq(&map->mask), &dummy);
  while (rc == LETHE_OK && (rc = find_from(map, r, dummy, p, out)) == LETHE_ENOTFOUND)
    rc = LETHE_OK;
  return rc;
}

/* ---- buckets --------------------------------------------------------------------------------- */

/* The dummy of a bucket, in the list or not; NULL without memory. */
static struct node *dummy_at(struct lethe_map *map, uint64_t bucket) {
  if (bucket == 0) return map->first;
  unsigned level = map_level(bucket);
  struct node *dummies = load_acq(&map->level[level]), *none = NULL;
  if (!dummies) {
    size_t bytes = map_level_size(level) * sizeof *dummies;
    struct node *made = lethe_zalloc(map->alloc, bytes);
    if (!made) return NULL;
    if (atomic_compare_exchange_strong_explicit(&map->level[level], &none, made,
                                                memory_order_acq_rel, memory_order_acquire)) {
      dummies = made;
    } else {
      lethe_free(map->alloc, made, bytes);
      dummies = none;
    }
  }
  return &dummies[map_level_place(bucket)];
}

/* Takes a dummy; false where another has. */
static bool take(struct node *dummy, uint64_t bucket) {
  link_t state = DUMMY_FREE;
  if (!atomic_compare_exchange_strong_explicit(&dummy->value, &state, DUMMY_TAKEN,
                                               memory_order_acq_rel, memory_order_acquire))
    return false;
  dummy->order = bucket;
  return true;
}

/* Puts a dummy that was taken into the list behind its parent's. */
static int put_dummy(struct lethe_map *map, struct lethe_epoch_rec *r, struct node *parent,
                     struct node *dummy) {
  struct place p = {.order = dummy->order};
  struct spot spot;
  for (;;) {
    int rc = find_from(map, r, parent, &p, &spot);
    if (rc == LETHE_ENOTFOUND) continue;
    if (rc) return rc;
    store_rlx(&dummy->next, (link_t)(uintptr_t)spot.at);
    if (!lethe_epoch_read_begin(r, spot.prev)) return LETHE_ENEUTRALIZED;
    bool done = link_cas(&spot.prev->next, spot.link, dummy, false);
    lethe_epoch_read_end(r);
    if (done) return LETHE_OK;
  }
}

/* Without memory for a shortcut, and while another is at work on it, a longer way serves: the
 * nearest bucket above that has one, which has the lowest bit cleared. */
static int bucket_dummy(struct lethe_map *map, struct lethe_epoch_rec *r, uint64_t bucket,
                        struct node **out) {
  struct node *missing[LEVELS], *dummy;
  uint64_t buckets[LEVELS];
  int n = 0;
  for (;; bucket &= bucket - 1) {
    dummy = dummy_at(map, bucket);
    if (dummy && load_acq(&dummy->value) == DUMMY_LISTED) break;
    missing[n] = dummy;
    buckets[n++] = bucket;
  }
  *out = dummy;
  while (n-- > 0) {
    dummy = missing[n];
    if (!dummy || !take(dummy, buckets[n])) return LETHE_OK;
    PAUSE(LETHE_PAUSE_MAP_TAKEN);
    int rc = put_dummy(map, r, *out, dummy);
    if (rc) {
      store_rel(&dummy->value, DUMMY_FREE);
      return rc;
    }
    PAUSE(LETHE_PAUSE_MAP_LISTED);
    store_rel(&dummy->value, DUMMY_LISTED);
    *out = dummy;
  }
  return LETHE_OK;
}
