/* SPDX-License-Identifier: MIT
 * hyperbolic (Blankstein, Sen and Freedman, ATC 2017): of 64 entries, drawn with repetitions, the
 * one with the least accesses per age leaves, age being counted in accesses since it came. Such a
 * priority falls with time, for each entry at a rate of its own, which no heap could keep.
 *
 * Entries are hashed into cells, as many as there may be entries and 4096 at least, and a draw
 * takes the entry that came last into a cell. So what stands behind it is drawn later, and some of
 * what is old gets to live longer by chance, as in the published simulator; draws over all entries
 * alike miss 0.2 to 0.3 percent more on a trace of disk blocks.
 *
 * I1 A cell's chain goes by `next` from the node that came last to the first. Refused nodes are in
 *    none.
 * I2 taken[place[c]] is c where cell c has a chain; `ntaken` cells have. */
#include <stdio.h>

#include "builtin.h"

enum { DRAWS = 64, LEAST_CELLS = 4096 };

struct aged_node {
  struct lethe_evict_node node;
  uint64_t freq, inserted, last; /* accesses */
};

struct hyperbolic {
  struct lethe_evict e;
  uint32_t *cells; /* a slot, or 0; behind them, in the same block, place and taken */
  uint32_t ncells, ntaken;
};

static struct hyperbolic *self(struct lethe_evict *e) { return (struct hyperbolic *)(void *)e; }
static struct aged_node *at(const struct lethe_evict *e, uint32_t slot) {
  return (struct aged_node *)(void *)lethe_evict_at(e, slot);
}
static uint32_t *place_of(const struct hyperbolic *h) { return h->cells + h->ncells; }
static uint32_t *taken_of(const struct hyperbolic *h) { return h->cells + 2 * (size_t)h->ncells; }

static uint32_t cell_of(const struct hyperbolic *h, uint64_t key) {
  key = (key ^ key >> 32) * UINT64_C(0xd6e8feb86659fd93);
  key = (key ^ key >> 32) * UINT64_C(0xd6e8feb86659fd93);
  return (uint32_t)(key ^ key >> 32) & (h->ncells - 1);
}

/* ---- chains ---------------------------------------------------------------------------------- */

static void add(struct lethe_evict *e, uint32_t slot) {
  struct hyperbolic *h = self(e);
  struct lethe_evict_node *n = lethe_evict_at(e, slot);
  uint32_t c = cell_of(h, n->key), head = h->cells[c];
  n->next = head;
  n->prev = 0;
  if (head) {
    lethe_evict_at(e, head)->prev = slot;
  } else {
    place_of(h)[c] = h->ntaken;
    taken_of(h)[h->ntaken++] = c; /* keeps I2 */
  }
  h->cells[c] = slot;
}

static void take(struct lethe_evict *e, uint32_t slot) {
  struct hyperbolic *h = self(e);
  const struct lethe_evict_node *n = lethe_evict_at(e, slot);
  uint32_t c = cell_of(h, n->key);
  if (n->next) lethe_evict_at(e, n->next)->prev = n->prev;
  if (n->prev)
    lethe_evict_at(e, n->prev)->next = n->next;
  else
    h->cells[c] = n->next;
  if (h->cells[c]) return;
  uint32_t i = place_of(h)[c], last = taken_of(h)[--h->ntaken]; /* keeps I2 */
  taken_of(h)[i] = last;
  place_of(h)[last] = i;
}

/* Into more cells: each chain from its end, so that the order in the new ones is the same. */
static int reserve(struct lethe_evict *e, uint32_t room) {
  struct hyperbolic *h = self(e), before = *h;
  uint32_t ncells = LEAST_CELLS;
  while (ncells < room && ncells <= UINT32_MAX / 2) ncells *= 2;
  if (ncells == h->ncells) return LETHE_OK;
  uint32_t *cells = lethe_zalloc(e->alloc, (size_t)ncells * 3 * sizeof *cells);
  if (!cells) return LETHE_ENOMEM;
  h->cells = cells;
  h->ncells = ncells;
  h->ntaken = 0;
  for (uint32_t i = 0; i < before.ntaken; i++) {
    uint32_t slot = before.cells[taken_of(&before)[i]], newer;
    while (lethe_evict_at(e, slot)->next) slot = lethe_evict_at(e, slot)->next;
    for (; slot; slot = newer) {
      newer = lethe_evict_at(e, slot)->prev;
      add(e, slot);
    }
  }
  lethe_free(e->alloc, before.cells, (size_t)before.ncells * 3 * sizeof *cells);
  return LETHE_OK;
}

static void destroy(struct lethe_evict *e) {
  lethe_free(e->alloc, self(e)->cells, (size_t)self(e)->ncells * 3 * sizeof *self(e)->cells);
}

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

/* a has fewer accesses per age than b; of equals, the one that was accessed less recently. */
static bool worse(const struct lethe_evict *e, const struct aged_node *a,
                  const struct aged_node *b) {
  double of_a = (double)a->freq * (double)(e->now - b->inserted + 1);
  double of_b = (double)b->freq * (double)(e->now - a->inserted + 1);
  return of_a < of_b || (of_a == of_b && a->last < b->last);
}

static uint32_t draw(struct lethe_evict *e) {
  struct hyperbolic *h = self(e);
  return h->cells[taken_of(h)[(lethe_evict_random(e) >> 32) * h->ntaken >> 32]];
}

static uint32_t victim(struct lethe_evict *e, const struct lethe_evict_request *r) {
  uint32_t worst = self(e)->ntaken ? draw(e) : 0;
  (void)r;
  for (int i = 1; worst && i < DRAWS; i++) {
    uint32_t slot = draw(e);
    if (worse(e, at(e, slot), at(e, worst))) worst = slot;
  }
  return worst;
}

static void leave(struct lethe_evict *e, uint32_t slot, bool evicted) {
  (void)evicted;
  take(e, slot);
}

/* ---- the audit ------------------------------------------------------------------------------- */

static int check(const struct lethe_evict *e, char *why, size_t n) {
  const struct hyperbolic *h = (const struct hyperbolic *)(const void *)e;
  uint32_t refused = 0, chained = 0, taken = 0;
  for (uint32_t c = 0; c < h->ncells; c++) {
    uint32_t prev = 0;
    if (!h->cells[c]) continue;
    taken += place_of(h)[c] < h->ntaken && taken_of(h)[place_of(h)[c]] == c;
    for (uint32_t slot = h->cells[c]; slot && chained <= e->len; chained++) {
      const struct lethe_evict_node *node = lethe_evict_at(e, slot);
      if (node->prev != prev || node->refused || cell_of(h, node->key) != c) chained = e->len;
      prev = slot;
      slot = node->next;
    }
  }
  for (uint32_t slot = 1; slot <= e->high; slot++) refused += lethe_evict_at(e, slot)->refused > 0;
  if (chained + refused == e->len && taken == h->ntaken) return LETHE_OK;
  snprintf(why, n, "cells: %lu entries of %lu, %lu cells of %lu", (unsigned long)chained,
           (unsigned long)e->len, (unsigned long)taken, (unsigned long)h->ntaken);
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
