/* SPDX-License-Identifier: MIT
 * Intrusive circular doubly linked list: the node lives in the element, the head is a node, and no
 * operation allocates or fails. A node that is in no list points to itself. */
#ifndef LETHE_LIST_H
#define LETHE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct lethe_list {
  struct lethe_list *next, *prev;
};

#define lethe_container_of(node, type, member) ((type *)((char *)(node)-offsetof(type, member)))

static inline void lethe_list_init(struct lethe_list *l) { l->next = l->prev = l; }
static inline bool lethe_list_empty(const struct lethe_list *l) { return l->next == l; }

static inline void lethe_list_insert(struct lethe_list *before, struct lethe_list *node) {
  node->next = before;
  node->prev = before->prev;
  before->prev->next = node;
  before->prev = node;
}
/* Last in the list that `head` heads. */
static inline void lethe_list_push(struct lethe_list *head, struct lethe_list *node) {
  lethe_list_insert(head, node);
}
/* Out of whatever list it is in; a second time does nothing. */
static inline void lethe_list_remove(struct lethe_list *node) {
  node->next->prev = node->prev;
  node->prev->next = node->next;
  lethe_list_init(node);
}
/* The first node, removed, or NULL. */
static inline struct lethe_list *lethe_list_shift(struct lethe_list *head) {
  struct lethe_list *first = head->next;
  if (first == head) return NULL;
  lethe_list_remove(first);
  return first;
}
/* All nodes of `from` to the empty list `to`, in order. */
static inline void lethe_list_move(struct lethe_list *to, struct lethe_list *from) {
  lethe_list_init(to);
  if (lethe_list_empty(from)) return;
  *to = *from;
  to->next->prev = to->prev->next = to;
  lethe_list_init(from);
}

#define LETHE_LIST_EACH(node, head) \
  for (struct lethe_list *node = (head)->next; node != (head); node = node->next)
/* The current node may be removed. */
#define LETHE_LIST_EACH_SAFE(node, head)                                                  \
  for (struct lethe_list *node = (head)->next, *node##_next = node->next; node != (head); \
       node = node##_next, node##_next = node->next)

#endif
