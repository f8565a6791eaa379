/* SPDX-License-Identifier: MIT
 * The map's calls. An entry dies when its value becomes NULL, and that is the moment of its
 * deletion; then it is marked and unlinked, by whoever comes by. Changing a value is one swap of a
 * counted pointer, so that an update knows whether another came first. */
#include <string.h>

#include "map_internal.h"

static void counted(struct lethe_map *map, int64_t by) {
  uint64_t count = add_acqrel(&map->count, (uint64_t)by) + (uint64_t)by;
  uint64_t mask = load_acq(&map->mask);
  unsigned level = map_level(mask);
  if (by > 0 && count * BUCKETS_PER_ENTRY > (uint64_t)1 << level && level < LEVELS)
    atomic_compare_exchange_strong_explicit(&map->mask, &mask, mask | mask >> 1,
                                            memory_order_acq_rel, memory_order_acquire);
}

/* ---- reading --------------------------------------------------------------------------------- */

int map_read_value(struct lethe_map *map, struct lethe_epoch_rec *r, struct node *node,
                   link_t *link, struct lethe_buffer *value) {
  if (!lethe_epoch_read_begin(r, node)) return LETHE_ENEUTRALIZED;
  *link = load_acq(&node->value);
  lethe_epoch_read_end(r);
  if (!link_to(*link)) return LETHE_ENOTFOUND;
  return block_copy(r, link_to(*link), map->alloc, value);
}

/* ---- writing --------------------------------------------------------------------------------- */

struct update {
  const struct place *p;
  lethe_map_decide *decide;
  void *ud;
  struct lethe_buffer old;
};

/* Marks a dead node and lets find unlink it. */
static int bury(struct lethe_map *map, struct lethe_epoch_rec *r, struct node *node,
                const struct place *p) {
  struct spot spot;
  for (bool marked = false; !marked;) {
    if (!lethe_epoch_read_begin(r, node)) return LETHE_ENEUTRALIZED;
    link_t next = load_acq(&node->next);
    marked = link_marked(next) || link_cas(&node->next, next, link_to(next), true);
    lethe_epoch_read_end(r);
  }
  PAUSE(LETHE_PAUSE_MAP_MARKED);
  return map_find(map, r, p, &spot);
}

/* Puts `made` (NULL: nothing) in the place of the value that `link` named. 1: done; 0: it had
 * changed. */
static int swap_value(struct lethe_epoch_rec *r, struct node *node, link_t link,
                      struct block *made) {
  if (!lethe_epoch_read_begin(r, node)) return LETHE_ENEUTRALIZED;
  bool done = link_cas(&node->value, link, made, false);
  lethe_epoch_read_end(r);
  if (done) lethe_epoch_retire(r, link_to(link), block_retired, NULL, 0);
  return done;
}

static int change(struct lethe_map *map, struct lethe_epoch_rec *r, struct update *u,
                  struct node *node) {
  const void *bytes = NULL;
  size_t n = 0;
  link_t link;
  int rc = map_read_value(map, r, node, &link, &u->old);
  if (rc == LETHE_ENOTFOUND) { /* dead: out of the way with it, and look again */
    rc = bury(map, r, node, u->p);
    return rc ? rc : 0;
  }
  if (rc) return rc;
  int verdict = u->decide(u->ud, &u->old, &bytes, &n);
  if (verdict < 0) return verdict;
  if (verdict == LETHE_MAP_KEEP) return 1;
  struct block *made = NULL;
  if (verdict == LETHE_MAP_REPLACE && !(made = block_new(map->alloc, bytes, n)))
    return LETHE_ENOMEM;
  rc = swap_value(r, node, link, made);
  if (rc != 1) block_free(made);
  if (rc != 1 || made) return rc;
  counted(map, -1);
  PAUSE(LETHE_PAUSE_MAP_DEAD);
  rc = bury(map, r, node, u->p); /* whoever comes by will, if this is struck now */
  return 1;
}

static int add(struct lethe_map *map, struct lethe_epoch_rec *r, struct update *u,
               const struct spot *spot) {
  const void *bytes = NULL;
  size_t n = 0;
  int verdict = u->decide(u->ud, NULL, &bytes, &n);
  if (verdict < 0) return verdict;
  if (verdict != LETHE_MAP_REPLACE) return 1;
  struct node *node = map_node_new(map->alloc, u->p);
  struct block *value = block_new(map->alloc, bytes, n);
  int rc = node && value ? LETHE_OK : LETHE_ENOMEM;
  if (rc == LETHE_OK) {
    store_rlx(&node->value, (link_t)(uintptr_t)value);
    store_rlx(&node->next, (link_t)(uintptr_t)spot->at);
    if (!lethe_epoch_read_begin(r, spot->prev)) {
      rc = LETHE_ENEUTRALIZED;
    } else {
      rc = link_cas(&spot->prev->next, spot->link, node, false);
      lethe_epoch_read_end(r);
    }
  }
  if (rc != 1) {
    block_free(value);
    map_node_free(map->alloc, node);
    return rc;
  }
  PAUSE(LETHE_PAUSE_MAP_LINKED);
  counted(map, 1);
  return 1;
}

/* 1: done; 0: others were first. */
static int update_once(struct lethe_map *map, struct lethe_epoch_rec *r, struct update *u) {
  struct spot spot;
  int rc = map_find(map, r, u->p, &spot);
  if (rc) return rc;
  return spot.found ? change(map, r, u, spot.at) : add(map, r, u, &spot);
}

int lethe_map_update(struct lethe_map *map, struct lethe_epoch_rec *r, const void *key, size_t n,
                     lethe_map_decide *decide, void *ud) {
  struct place p = map_place(map, key, n);
  struct update u = {.p = &p, .decide = decide, .ud = ud};
  int rc = shared_begin(r);
  if (rc) return rc;
  do {
    rc = update_once(map, r, &u);
    if (rc == 0 && lethe_epoch_reserve(r, 8) != LETHE_OK) rc = LETHE_ENOMEM;
  } while (rc == 0 || (rc == LETHE_ENEUTRALIZED && shared_again(r)));
  shared_end(r);
  lethe_buffer_free(&u.old);
  return rc == 1 ? LETHE_OK : rc;
}

/* ---- walking --------------------------------------------------------------------------------- */

/* Copies a node's key; LETHE_ENOTFOUND for a dummy. */
static int copy_key(struct lethe_map *map, struct lethe_epoch_rec *r, const struct node *node,
                    struct lethe_buffer *key) {
  for (;;) {
    if (!lethe_epoch_read_begin(r, node)) return LETHE_ENEUTRALIZED;
    size_t n = node->n;
    bool entry = node->order & 1, fits = n <= key->room && key->p;
    if (entry && fits && n) memcpy(key->p, map_key(node), n);
    lethe_epoch_read_end(r);
    if (!entry) return LETHE_ENOTFOUND;
    if (fits) {
      key->n = n;
      return LETHE_OK;
    }
    int rc = buffer_room(key, map->alloc, n);
    if (rc) return rc;
  }
}

/* The first living entry at or after the spot, but not the place itself. */
static int next_once(struct lethe_map *map, struct lethe_epoch_rec *r, const struct place *p,
                     bool first, struct lethe_buffer *key, struct lethe_buffer *value,
                     struct lethe_buffer *scratch) {
  struct spot spot = {.at = map->first};
  link_t link, next;
  int rc = first ? LETHE_OK : map_find(map, r, p, &spot);
  if (rc) return rc;
  for (struct node *node = spot.at; node; node = link_to(next)) {
    if (!lethe_epoch_read_begin(r, node)) return LETHE_ENEUTRALIZED;
    next = load_acq(&node->next);
    bool self = !first && map_compare(node, p) == 0;
    lethe_epoch_read_end(r);
    if (self || link_marked(next)) continue;
    rc = copy_key(map, r, node, scratch);
    if (rc == LETHE_OK) rc = map_read_value(map, r, node, &link, value);
    if (rc == LETHE_ENOTFOUND) continue;
    return rc ? rc : buffer_set(key, map->alloc, scratch->p, scratch->n);
  }
  return LETHE_ENOTFOUND;
}

int lethe_map_next(struct lethe_map *map, struct lethe_epoch_rec *r, struct lethe_buffer *key,
                   struct lethe_buffer *value) {
  struct lethe_buffer scratch = {0};
  bool first = key->n == 0;
  struct place p = first ? (struct place){0} : map_place(map, key->p, key->n);
  int rc = shared_begin(r);
  if (rc) return rc;
  do rc = next_once(map, r, &p, first, key, value, &scratch);
  while (rc == LETHE_ENEUTRALIZED && shared_again(r));
  shared_end(r);
  lethe_buffer_free(&scratch);
  return rc;
}

/* ---- the map itself -------------------------------------------------------------------------- */

int lethe_map_new(struct lethe_map **out, const struct lethe_alloc *a, struct lethe_epoch *m) {
  struct lethe_map *map = lethe_zalloc(a, sizeof *map);
  if (!map) return LETHE_ENOMEM;
  lethe_ref_init(&map->refs);
  map->alloc = a;
  map->epoch = lethe_epoch_get(m);
  map->seed = (uint64_t)(uintptr_t)map ^ (uint64_t)(lethe_clock_monotonic() * 1e9);
  store_rlx(&map->first[0].value, DUMMY_LISTED);
  for (unsigned level = 1; level <= FIRST_LEVEL; level++)
    store_rlx(&map->level[level], &map->first[map_level_size(level)]);
  store_rlx(&map->mask, ~(~(uint64_t)0 >> FIRST_LEVEL));
  *out = map;
  return LETHE_OK;
}

struct lethe_map *lethe_map_get_ref(struct lethe_map *map) {
  lethe_ref_get(&map->refs);
  return map;
}

/* Nobody can reach it any more: no guard is needed. */
void lethe_map_put_ref(struct lethe_map *map) {
  if (!lethe_ref_put(&map->refs)) return;
  for (struct node *node = map->first, *next; node; node = next) {
    next = link_to(load_rlx(&node->next));
    if (!(node->order & 1)) continue;
    block_free(link_to(load_rlx(&node->value)));
    map_node_free(map->alloc, node);
  }
  for (unsigned level = FIRST_LEVEL + 1; level <= LEVELS; level++)
    lethe_free(map->alloc, load_rlx(&map->level[level]),
               map_level_size(level) * sizeof(struct node));
  lethe_epoch_put(map->epoch);
  lethe_free(map->alloc, map, sizeof *map);
}

struct lethe_epoch *lethe_map_epoch(const struct lethe_map *map) {
  return map->epoch;
}

uint64_t lethe_map_len(const struct lethe_map *map) { return load_acq(&map->count); }
