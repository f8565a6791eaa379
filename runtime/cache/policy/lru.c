/* SPDX-License-Identifier: MIT
 * lru and fifo: one list. Entries come at the head and leave at the tail; with lru a hit takes one
 * to the head again, with fifo it changes nothing. */
#include "builtin.h"
#include "order.h"

static int insert(struct lethe_evict *e, uint32_t slot, const struct lethe_evict_request *r) {
  (void)r;
  list_push(e, 0, slot);
  return LETHE_OK;
}

static void touch(struct lethe_evict *e, uint32_t slot) { list_to_head(e, list_at(e, 0), slot); }

static void ignore(struct lethe_evict *e, uint32_t slot) {
  (void)e;
  (void)slot;
}

static uint32_t victim(struct lethe_evict *e, const struct lethe_evict_request *r) {
  (void)r;
  return list_at(e, 0)->tail;
}

#define LIST_OPS                                                                            \
  .size = sizeof(struct queued), .node = sizeof(struct lethe_evict_node), .insert = insert, \
  .victim = victim, .leave = queued_leave, QUEUED_OPS

const struct lethe_evict_ops evict_lru = {.name = "lru", .hit = touch, LIST_OPS};
const struct lethe_evict_ops evict_fifo = {.name = "fifo", .hit = ignore, LIST_OPS};
