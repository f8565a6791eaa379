/* SPDX-License-Identifier: MIT
 * What policies order entries with: lists linked by slot through the nodes themselves, which know how
 * many and how much stands in them.
 *
 * The head is where entries come, the tail is where they leave. A refused node is out of the chain but
 * counted in its list, which it comes back to by list_offer. */
#ifndef LETHE_CACHE_ORDER_H
#define LETHE_CACHE_ORDER_H

#include "lethe/evict.h"

struct list {
  uint32_t head, tail; /* slots, 0: none */
  uint32_t len;
  int64_t used;
};

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

/* The same, and counted. */
static inline void list_push(struct lethe_evict *e, struct list *l, uint32_t slot) {
  list_link_head(e, l, slot);
  l->len++;
  l->used += lethe_evict_at(e, slot)->size;
}
static inline void list_remove(struct lethe_evict *e, struct list *l, uint32_t slot) {
  list_unlink(e, l, slot);
  l->len--;
  l->used -= lethe_evict_at(e, slot)->size;
}
static inline void list_to_head(struct lethe_evict *e, struct list *l, uint32_t slot) {
  if (l->head == slot) return;
  list_unlink(e, l, slot);
  list_link_head(e, l, slot);
}
static inline void list_move(struct lethe_evict *e, struct list *from, struct list *to,
                             uint32_t slot) {
  list_remove(e, from, slot);
  list_push(e, to, slot);
}

/* fn for each node in the chain, the tail first. */
void list_each(struct lethe_evict *e, const struct list *l, void (*fn)(void *ud, uint32_t slot),
               void *ud);
/* The nodes whose queue it is, chain and counts agree; else LETHE_EBROKEN, with the list's name. */
int list_check(const struct lethe_evict *e, const struct list *l, uint8_t queue, const char *name,
               char *why, size_t n);

#endif
