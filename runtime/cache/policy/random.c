/* SPDX-License-Identifier: MIT
 * random: any entry leaves, each as likely as another. Entries stand in an array, in no order.
 *
 * I1 items[i] is a slot whose node's `next` is i. Refused nodes are not in the array. */
#include <stdio.h>

#include "builtin.h"

struct dice {
  struct lethe_evict e;
  uint32_t *items;
  uint32_t room, len;
};

static struct dice *dice_of(struct lethe_evict *e) { return (struct dice *)(void *)e; }

static int reserve(struct lethe_evict *e, uint32_t room) {
  struct dice *d = dice_of(e);
  lethe_fault_allowed();
  void *p = e->alloc->realloc(e->alloc->ud, d->items, d->room * sizeof *d->items,
                              room * sizeof *d->items);
  if (!p) return LETHE_ENOMEM;
  d->items = p;
  d->room = room;
  return LETHE_OK;
}

static void destroy(struct lethe_evict *e) {
  struct dice *d = dice_of(e);
  lethe_free(e->alloc, d->items, d->room * sizeof *d->items);
}

static void add(struct lethe_evict *e, uint32_t slot) {
  struct dice *d = dice_of(e);
  lethe_evict_at(e, slot)->next = d->len;
  d->items[d->len++] = slot;
}

static void take(struct lethe_evict *e, uint32_t slot) {
  struct dice *d = dice_of(e);
  uint32_t i = lethe_evict_at(e, slot)->next, last = d->items[--d->len];
  d->items[i] = last;
  lethe_evict_at(e, last)->next = i;
}

static int insert(struct lethe_evict *e, uint32_t slot, const struct lethe_evict_request *r) {
  (void)r;
  add(e, slot);
  return LETHE_OK;
}

static void hit(struct lethe_evict *e, uint32_t slot) {
  (void)e;
  (void)slot;
}

static uint32_t victim(struct lethe_evict *e, const struct lethe_evict_request *r) {
  struct dice *d = dice_of(e);
  (void)r;
  return d->len ? d->items[(lethe_evict_random(e) >> 32) * d->len >> 32] : 0;
}

static void leave(struct lethe_evict *e, uint32_t slot, bool evicted) {
  (void)evicted;
  take(e, slot);
}

static int check(const struct lethe_evict *e, char *why, size_t n) {
  const struct dice *d = (const struct dice *)(const void *)e;
  uint32_t refused = 0, i = 0;
  for (; i < d->len; i++) {
    const struct lethe_evict_node *node = lethe_evict_at(e, d->items[i]);
    if (node->next != i || !(node->generation & 1) || node->refused) break;
  }
  for (uint32_t slot = 1; slot <= e->high; slot++) refused += lethe_evict_at(e, slot)->refused > 0;
  if (i == d->len && d->len + refused == e->len) return LETHE_OK;
  snprintf(why, n, "items: wrong at %lu of %lu", (unsigned long)i, (unsigned long)d->len);
  return LETHE_EBROKEN;
}

const struct lethe_evict_ops evict_random = {.name = "random",
                                             .size = sizeof(struct dice),
                                             .node = sizeof(struct lethe_evict_node),
                                             .destroy = destroy,
                                             .reserve = reserve,
                                             .insert = insert,
                                             .hit = hit,
                                             .victim = victim,
                                             .leave = leave,
                                             .refuse = take,
                                             .offer = add,
                                             .check = check};
