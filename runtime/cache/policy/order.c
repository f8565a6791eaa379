/* SPDX-License-Identifier: MIT
 * Lists of nodes: walking and auditing them. */
#include <stdio.h>

#include "order.h"

void list_each(struct lethe_evict *e, const struct list *l, void (*fn)(void *ud, uint32_t slot),
               void *ud) {
  for (uint32_t slot = l->tail; slot; slot = lethe_evict_at(e, slot)->prev) fn(ud, slot);
}

/* The nodes of a queue by the table, those of them that must be in the chain, and the chain. */
struct census {
  uint32_t len, linked, chain;
  int64_t used;
};

static struct census take_census(const struct lethe_evict *e, const struct list *l, uint8_t queue) {
  struct census c = {0};
  for (uint32_t slot = 1; slot <= e->high; slot++) {
    const struct lethe_evict_node *n = lethe_evict_at(e, slot);
    if (!(n->generation & 1) || n->queue != queue) continue;
    c.len++;
    c.linked += n->refused == 0;
    c.used += n->size;
  }
  uint32_t prev = 0;
  for (uint32_t slot = l->head; slot && c.chain <= e->high; c.chain++) {
    const struct lethe_evict_node *n = lethe_evict_at(e, slot);
    if (n->prev != prev || n->queue != queue || n->refused) c.chain = e->high;
    prev = slot;
    slot = n->next;
  }
  if (prev != l->tail) c.chain = e->high + 1;
  return c;
}

int list_check(const struct lethe_evict *e, const struct list *l, uint8_t queue, const char *name,
               char *why, size_t n) {
  struct census c = take_census(e, l, queue);
  const char *what = c.len != l->len       ? "entries"
                     : c.used != l->used   ? "sizes"
                     : c.linked != c.chain ? "links"
                                           : NULL;
  if (!what) return LETHE_OK;
  snprintf(why, n, "%s: its %s do not add up", name, what);
  return LETHE_EBROKEN;
}
