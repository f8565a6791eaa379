/* SPDX-License-Identifier: MIT
 * Cells.
 *
 * I1 A cell's chain goes by `older` from the entry that came last to the first.
 * I2 taken[place[c]] is c where cell c has a chain; `ntaken` cells have. */
#include <string.h>

#include "cells.h"

enum { LEAST_CELLS = 4096 };

struct cell_links {
  uint32_t newer, older;
  uint32_t dice; /* its low bits are the number of the cell */
};

static uint32_t *place_of(const struct cells *c) { return c->first + c->n; }
static uint32_t *taken_of(const struct cells *c) { return c->first + 2 * (size_t)c->n; }
static uint32_t cell_of(const struct cells *c, uint32_t slot) {
  return c->links[slot].dice & (c->n - 1);
}

static void push(struct cells *c, uint32_t slot) {
  uint32_t cell = cell_of(c, slot), head = c->first[cell];
  c->links[slot].newer = 0;
  c->links[slot].older = head;
  if (head) {
    c->links[head].newer = slot;
  } else {
    place_of(c)[cell] = c->ntaken;
    taken_of(c)[c->ntaken++] = cell; /* keeps I2 */
  }
  c->first[cell] = slot;
}

void cells_add(struct cells *c, struct lethe_evict *e, uint32_t slot) {
  c->links[slot].dice = (uint32_t)(lethe_evict_random(e) >> 32);
  push(c, slot);
}

void cells_take(struct cells *c, uint32_t slot) {
  uint32_t cell = cell_of(c, slot);
  struct cell_links of = c->links[slot];
  if (of.older) c->links[of.older].newer = of.newer;
  if (of.newer)
    c->links[of.newer].older = of.older;
  else
    c->first[cell] = of.older;
  if (c->first[cell]) return;
  uint32_t i = place_of(c)[cell], last = taken_of(c)[--c->ntaken]; /* keeps I2 */
  taken_of(c)[i] = last;
  place_of(c)[last] = i;
}

uint32_t cells_draw(const struct cells *c, struct lethe_evict *e) {
  return c->first[taken_of(c)[(lethe_evict_random(e) >> 32) * c->ntaken >> 32]];
}

void cells_clear(struct cells *c) {
  if (c->n) memset(c->first, 0, c->n * sizeof *c->first);
  c->ntaken = 0;
}

/* ---- room ------------------------------------------------------------------------------------ */

/* Into other cells: each chain from its end, so that the order in the new ones is the same. */
static void refill(struct cells *c, const struct cells *before) {
  for (uint32_t i = 0; i < before->ntaken; i++) {
    uint32_t slot = before->first[taken_of(before)[i]], newer;
    while (c->links[slot].older) slot = c->links[slot].older;
    for (; slot; slot = newer) {
      newer = c->links[slot].newer;
      push(c, slot);
    }
  }
}

int cells_reserve(struct cells *c, struct lethe_evict *e, uint32_t room) {
  struct cells before;
  void *links = c->links;
  uint32_t n = LEAST_CELLS;
  int rc = lethe_grow(e->alloc, &links, &c->room, (size_t)room + 1, sizeof *c->links);
  c->links = links;
  while (n < room && n <= UINT32_MAX / 2) n *= 2;
  if (rc != LETHE_OK || n == c->n) return rc;
  uint32_t *first = lethe_zalloc(e->alloc, (size_t)n * 3 * sizeof *first);
  if (!first) return LETHE_ENOMEM;
  before = *c;
  c->first = first;
  c->n = n;
  c->ntaken = 0;
  refill(c, &before);
  lethe_free(e->alloc, before.first, (size_t)before.n * 3 * sizeof *first);
  return LETHE_OK;
}

void cells_destroy(struct cells *c, struct lethe_evict *e) {
  lethe_free(e->alloc, c->first, (size_t)c->n * 3 * sizeof *c->first);
  lethe_free(e->alloc, c->links, c->room * sizeof *c->links);
}

bool cells_check(const struct cells *c, const struct lethe_evict *e, size_t *len) {
  uint32_t taken = 0;
  *len = 0;
  for (uint32_t cell = 0; cell < c->n; cell++) {
    uint32_t newer = 0;
    if (!c->first[cell]) continue;
    taken += place_of(c)[cell] < c->ntaken && taken_of(c)[place_of(c)[cell]] == cell;
    for (uint32_t slot = c->first[cell]; slot; slot = c->links[slot].older) {
      if (c->links[slot].newer != newer || lethe_evict_at(e, slot)->refused ||
          cell_of(c, slot) != cell || ++*len > e->len)
        return false;
      newer = slot;
    }
  }
  return taken == c->ntaken;
}
