/* SPDX-License-Identifier: MIT
 * hyperbolic (Blankstein, Sen and Freedman, ATC 2017): of 64 entries, drawn out of cells (cells.h)
 * with repetitions, the one with the least accesses per age leaves, age being counted in accesses
 * since it came. Such a priority falls with time, for each entry at a rate of its own, which no
 * heap could keep. Refused nodes are in no cell. */
#include <stdio.h>

#include "builtin.h"
#include "cells.h"

enum { DRAWS = 64 };

struct aged_node {
  struct lethe_evict_node node;
  uint64_t freq, inserted, last; /* accesses */
};

struct hyperbolic {
  struct lethe_evict e;
  struct cells cells;
};

static struct hyperbolic *self(struct lethe_evict *e) { return (struct hyperbolic *)(void *)e; }
static struct aged_node *at(const struct lethe_evict *e, uint32_t slot) {
  return (struct aged_node *)(void *)lethe_evict_at(e, slot);
}

static void add(struct lethe_evict *e, uint32_t slot) { cells_add(&self(e)->cells, e, slot); }
static void take(struct lethe_evict *e, uint32_t slot) { cells_take(&self(e)->cells, slot); }
static int reserve(struct lethe_evict *e, uint32_t room) {
  return cells_reserve(&self(e)->cells, e, room);
}
static void destroy(struct lethe_evict *e) { cells_destroy(&self(e)->cells, e); }

/* ---- the policy ------------------------------------------------------------------------------ */

static int insert(struct lethe_evict *e, uint32_t slot, const struct lethe_evict_request *r) {
  struct aged_node *n = at(e, slot);
  (void)r;
  n->freq = 1;
  n->inserted = n->last = e->now;
  add(e, slot);
  return LETHE_OK;
}

static void hit(struct lethe_evict *e, uint32_t slot) {
  at(e, slot)->freq++;
  at(e, slot)->last = e->now;
}

static double score(const struct lethe_evict *e, const struct aged_node *n) {
  return (double)n->freq / (double)(e->now - n->inserted + 1);
}

/* Of equals, the one that was accessed less recently. */
static uint32_t victim(struct lethe_evict *e, const struct lethe_evict_request *r) {
  const struct cells *c = &self(e)->cells;
  uint32_t worst = 0;
  double least = 0;
  (void)r;
  for (int i = 0; c->ntaken && i < DRAWS; i++) {
    uint32_t slot = cells_draw(c, e);
    double value = score(e, at(e, slot));
    if (worst && (value > least || (value == least && at(e, slot)->last >= at(e, worst)->last)))
      continue;
    worst = slot;
    least = value;
  }
  return worst;
}

static void leave(struct lethe_evict *e, uint32_t slot, bool evicted) {
  (void)evicted;
  take(e, slot);
}

/* ---- the audit ------------------------------------------------------------------------------- */

static int check(const struct lethe_evict *e, char *why, size_t n) {
  const struct cells *c = &((const struct hyperbolic *)(const void *)e)->cells;
  size_t there, refused = 0;
  bool sound = cells_check(c, e, &there);
  for (uint32_t slot = 1; slot <= e->high; slot++) refused += lethe_evict_at(e, slot)->refused > 0;
  if (sound && there + refused == e->len) return LETHE_OK;
  snprintf(why, n, "cells: %zu entries of %lu", there, (unsigned long)e->len);
  return LETHE_EBROKEN;
}

const struct lethe_evict_ops evict_hyperbolic = {.name = "hyperbolic",
                                                 .size = sizeof(struct hyperbolic),
                                                 .node = sizeof(struct aged_node),
                                                 .destroy = destroy,
                                                 .reserve = reserve,
                                                 .insert = insert,
                                                 .hit = hit,
                                                 .victim = victim,
                                                 .leave = leave,
                                                 .refuse = take,
                                                 .offer = add,
                                                 .check = check};
