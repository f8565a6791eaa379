/* SPDX-License-Identifier: MIT
 * lru and fifo: one list. Entries come at the head and leave at the tail; with lru a hit takes one to
 * the head again, with fifo it changes nothing. */
#include "order.h"
#include "builtin.h"

struct lru {
  struct lethe_evict e;
  struct list list;
};

static struct list *list_of(struct lethe_evict *e) { return &((struct lru *)e)->list; }

static int insert(struct lethe_evict *e, uint32_t slot, const struct lethe_evict_request *r) {
  (void)r;
  list_push(e, list_of(e), slot);
  return LETHE_OK;
}

static void touch(struct lethe_evict *e, uint32_t slot) { list_to_head(e, list_of(e), slot); }

static void ignore(struct lethe_evict *e, uint32_t slot) {
  (void)e;
  (void)slot;
}

static uint32_t victim(struct lethe_evict *e, const struct lethe_evict_request *r) {
  (void)r;
  return list_of(e)->tail;
}

static void leave(struct lethe_evict *e, uint32_t slot, bool evicted) {
  (void)evicted;
  list_remove(e, list_of(e), slot);
}

static void refuse(struct lethe_evict *e, uint32_t slot) { list_unlink(e, list_of(e), slot); }
static void offer(struct lethe_evict *e, uint32_t slot) { list_link_tail(e, list_of(e), slot); }

static void weigh(struct lethe_evict *e, uint32_t slot, int64_t by) {
  (void)slot;
  list_of(e)->used += by;
}

static void each(struct lethe_evict *e, void (*fn)(void *ud, uint32_t slot), void *ud) {
  list_each(e, list_of(e), fn, ud);
}

static int check(const struct lethe_evict *e, char *why, size_t n) {
  return list_check(e, &((const struct lru *)e)->list, 0, "list", why, n);
}

#define ONE_LIST                                                                         \
  .size = sizeof(struct lru), .node = sizeof(struct lethe_evict_node), .insert = insert, \
  .victim = victim, .leave = leave, .refuse = refuse, .offer = offer, .weigh = weigh,    \
  .each = each, .check = check

const struct lethe_evict_ops evict_lru = {.name = "lru", ONE_LIST, .hit = touch};
const struct lethe_evict_ops evict_fifo = {.name = "fifo", ONE_LIST, .hit = ignore};
