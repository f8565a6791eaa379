/* SPDX-License-Identifier: MIT
 * Lists of nodes: what policies that are made of them do alike, and their audit. */
#include <stdio.h>

#include "order.h"

void queued_leave(struct lethe_evict *e, uint32_t slot, bool evicted) {
  (void)evicted;
  list_remove(e, slot);
}

void queued_refuse(struct lethe_evict *e, uint32_t slot) { list_unlink(e, list_of(e, slot), slot); }

void queued_offer(struct lethe_evict *e, uint32_t slot) {
  list_link_tail(e, list_of(e, slot), slot);
}

void queued_weigh(struct lethe_evict *e, uint32_t slot, int64_t by) {
  list_of(e, slot)->used += by;
}

void queued_each(struct lethe_evict *e, void (*fn)(void *ud, uint32_t slot), void *ud) {
  for (unsigned q = 0; q < QUEUED_LISTS; q++)
    for (uint32_t slot = list_at(e, q)->tail; slot; slot = lethe_evict_at(e, slot)->prev)
      fn(ud, slot);
}

/* ---- the audit ------------------------------------------------------------------------------- */

/* The nodes of a list by the table, those of them that must be in the chain, and the chain. */
struct census {
  uint32_t len, linked, chain;
  int64_t used;
};

static struct census by_table(const struct lethe_evict *e, unsigned queue) {
  struct census c = {0};
  for (uint32_t slot = 1; slot <= e->high; slot++) {
    const struct lethe_evict_node *n = lethe_evict_at(e, slot);
    if (!(n->generation & 1) || n->queue != queue) continue;
    c.len++;
    c.linked += n->refused == 0;
    c.used += n->size;
  }
  return c;
}

/* How many nodes are in the chain, or UINT32_MAX if it is none. */
static uint32_t by_chain(const struct lethe_evict *e, const struct list *l, unsigned queue) {
  uint32_t prev = 0, count = 0;
  for (uint32_t slot = l->head; slot; slot = lethe_evict_at(e, slot)->next) {
    const struct lethe_evict_node *n = lethe_evict_at(e, slot);
    bool belongs = n->generation & 1 && n->queue == queue && !n->refused;
    if (!belongs || n->prev != prev || ++count > e->high) return UINT32_MAX;
    prev = slot;
  }
  return prev == l->tail ? count : UINT32_MAX;
}

int list_check(const struct lethe_evict *e, const struct list *l, unsigned queue, char *why,
               size_t n) {
  struct census c = by_table(e, queue);
  const char *what = c.len != l->len                     ? "entries"
                     : c.used != l->used                 ? "sizes"
                     : c.linked != by_chain(e, l, queue) ? "links"
                                                         : NULL;
  if (!what) return LETHE_OK;
  snprintf(why, n, "list %u: its %s do not add up", queue, what);
  return LETHE_EBROKEN;
}

int queued_check(const struct lethe_evict *e, char *why, size_t n) {
  const struct queued *q = (const struct queued *)(const void *)e;
  uint32_t len = 0;
  for (unsigned i = 0; i < QUEUED_LISTS; i++) {
    len += q->lists[i].len;
    if (list_check(e, &q->lists[i], i, why, n) != LETHE_OK) return LETHE_EBROKEN;
  }
  if (len == e->len) return LETHE_OK;
  snprintf(why, n, "lists: %lu entries, of %lu", (unsigned long)len, (unsigned long)e->len);
  return LETHE_EBROKEN;
}
