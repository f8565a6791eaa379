/* SPDX-License-Identifier: MIT
 * Cells: where the entries of a policy lie, as many cells as there may be entries and 4096 at
 * least, out of which entries are drawn.
 *
 * Dice say into which cell an entry comes. A draw takes a cell that holds any, each as likely as
 * another, and of its entries the one that came last. So what lies behind it is drawn later, and
 * some of what is old gets to live longer by chance, as where the published simulator draws out of
 * its hash table; draws over all entries alike miss 0.2 to 0.3 percent more on a trace of disk
 * blocks. */
#ifndef LETHE_CACHE_CELLS_H
#define LETHE_CACHE_CELLS_H

#include "lethe/evict.h"

struct cells {
  struct cell_links *links; /* by slot */
  size_t room;              /* of links */
  uint32_t *first; /* of each cell, a slot, or 0; behind them, in the same block, place and taken */
  uint32_t n, ntaken;
};

/* For as many nodes as there is room for in `e`; LETHE_ENOMEM: as it was. */
int cells_reserve(struct cells *c, struct lethe_evict *e, uint32_t room);
void cells_destroy(struct cells *c, struct lethe_evict *e);
void cells_add(struct cells *c, struct lethe_evict *e, uint32_t slot);
void cells_take(struct cells *c, uint32_t slot);
void cells_clear(struct cells *c);
/* A slot; there is one. */
uint32_t cells_draw(const struct cells *c, struct lethe_evict *e);
/* Whether all is in order; how many entries there are. */
bool cells_check(const struct cells *c, const struct lethe_evict *e, size_t *len);

#endif
