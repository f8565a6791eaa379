/* SPDX-License-Identifier: MIT
 * Pairing heap of timers. `child` is a node's first child, `sibling` the next of its list,
 * `parent` the previous in that list or, of a first child, the parent: enough to cut any node out
 * in O(1). */
#include "timers.h"

static bool before(const struct lethe_timer *a, const struct lethe_timer *b) {
  return a->due < b->due || (a->due == b->due && a->seq < b->seq);
}

static struct lethe_timer *meld(struct lethe_timer *a, struct lethe_timer *b) {
  if (!a) return b;
  if (!b) return a;
  if (before(b, a)) {
    struct lethe_timer *t = a;
    a = b;
    b = t;
  }
  b->sibling = a->child;
  if (b->sibling) b->sibling->parent = b;
  b->parent = a;
  a->child = b;
  return a;
}

/* Melds a list of siblings in pairs left to right, then the pairs right to left. */
static struct lethe_timer *meld_all(struct lethe_timer *first) {
  struct lethe_timer *pairs = NULL, *heap = NULL;
  while (first) {
    struct lethe_timer *a = first, *b = a->sibling;
    first = b ? b->sibling : NULL;
    a->sibling = a->parent = NULL;
    if (b) b->sibling = b->parent = NULL;
    a = meld(a, b);
    a->sibling = pairs;
    pairs = a;
  }
  while (pairs) {
    struct lethe_timer *next = pairs->sibling;
    pairs->sibling = NULL;
    heap = meld(heap, pairs);
    pairs = next;
  }
  return heap;
}

struct lethe_timer *lethe_timers_add(struct lethe_timer *heap, struct lethe_timer *t) {
  t->child = t->sibling = t->parent = NULL;
  return meld(heap, t);
}

struct lethe_timer *lethe_timers_remove(struct lethe_timer *heap, struct lethe_timer *t) {
  struct lethe_timer *below = meld_all(t->child);
  t->child = NULL;
  if (t == heap) return below;
  if (t->parent->child == t)
    t->parent->child = t->sibling;
  else
    t->parent->sibling = t->sibling;
  if (t->sibling) t->sibling->parent = t->parent;
  t->sibling = t->parent = NULL;
  return meld(heap, below);
}
