/* SPDX-License-Identifier: MIT
 * What policies order entries with: lists linked by slot through the nodes themselves, which know
 * how many and how much stands in them, and a policy made of such lists.
 *
 * The head is where entries come, the tail is where they leave. A refused node is out of the chain
 * but counted in its list, and comes back at the tail. */
#ifndef LETHE_CACHE_ORDER_H
#define LETHE_CACHE_ORDER_H

#include "lethe/evict.h"

struct list {
  uint32_t head, tail; /* slots, 0: none */
  uint32_t len;
  int64_t used;
};

/* A policy whose every node stands in one of `lists`: that with the number node.queue. */
enum { QUEUED_LISTS = 4 };
struct queued {
  struct lethe_evict e;
  struct list lists[QUEUED_LISTS];
};

static inline struct list *list_at(struct lethe_evict *e, unsigned queue) {
  return &((struct queued *)(void *)e)->lists[queue];
}
static inline struct list *list_of(struct lethe_evict *e, uint32_t slot) {
  return list_at(e, lethe_evict_at(e, slot)->queue);
}

/* ---- the chain ------------------------------------------------------------------------------- */

static inline void list_link_head(struct lethe_evict *e, struct list *l, uint32_t slot) {
  struct lethe_evict_node *n = lethe_evict_at(e, slot);
  n->prev = 0;
  n->next = l->head;
  *(l->head ? &lethe_evict_at(e, l->head)->prev : &l->tail) = slot;
  l->head = slot;
}
static inline void list_link_tail(struct lethe_evict *e, struct list *l, uint32_t slot) {
  struct lethe_evict_node *n = lethe_evict_at(e, slot);
  n->next = 0;
  n->prev = l->tail;
  *(l->tail ? &lethe_evict_at(e, l->tail)->next : &l->head) = slot;
  l->tail = slot;
}
static inline void list_unlink(struct lethe_evict *e, struct list *l, uint32_t slot) {
  const struct lethe_evict_node *n = lethe_evict_at(e, slot);
  *(n->prev ? &lethe_evict_at(e, n->prev)->next : &l->head) = n->next;
  *(n->next ? &lethe_evict_at(e, n->next)->prev : &l->tail) = n->prev;
}
static inline void list_to_head(struct lethe_evict *e, struct list *l, uint32_t slot) {
  if (l->head == slot) return;
  list_unlink(e, l, slot);
  list_link_head(e, l, slot);
}

/* ---- the chain and the counts ---------------------------------------------------------------- */

/* A node in no list, into the list with that number. */
static inline void list_push(struct lethe_evict *e, unsigned queue, uint32_t slot) {
  struct lethe_evict_node *n = lethe_evict_at(e, slot);
  struct list *l = list_at(e, queue);
  n->queue = (uint8_t)queue;
  list_link_head(e, l, slot);
  l->len++;
  l->used += n->size;
}
static inline void list_remove(struct lethe_evict *e, uint32_t slot) {
  struct list *l = list_of(e, slot);
  list_unlink(e, l, slot);
  l->len--;
  l->used -= lethe_evict_at(e, slot)->size;
}
static inline void list_move(struct lethe_evict *e, unsigned queue, uint32_t slot) {
  list_remove(e, slot);
  list_push(e, queue, slot);
}

/* ---- what policies of lists have in common --------------------------------------------------- */

void queued_leave(struct lethe_evict *e, uint32_t slot, bool evicted);
void queued_refuse(struct lethe_evict *e, uint32_t slot);
void queued_offer(struct lethe_evict *e, uint32_t slot);
void queued_weigh(struct lethe_evict *e, uint32_t slot, int64_t by);
/* List by list, each from its tail. */
void queued_each(struct lethe_evict *e, void (*fn)(void *ud, uint32_t slot), void *ud);
/* LETHE_EBROKEN where the nodes whose queue it is, the chain and the counts do not agree. */
int list_check(const struct lethe_evict *e, const struct list *l, unsigned queue, char *why,
               size_t n);
int queued_check(const struct lethe_evict *e, char *why, size_t n);

#define QUEUED_OPS                                                                            \
  .refuse = queued_refuse, .offer = queued_offer, .weigh = queued_weigh, .each = queued_each, \
  .check = queued_check

#endif
