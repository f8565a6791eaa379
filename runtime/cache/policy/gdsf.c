/* SPDX-License-Identifier: MIT
 * gdsf and belady: a heap, the least at its root.
 *
 * gdsf, GreedyDual-Size with frequency (Cherkasova, 1998), gives each access the priority L + freq
 * x 10^6 / size, L being that of the last victim: who was not asked for since sinks below those who
 * were. Of equals the one that was accessed less recently leaves. belady (1966) knows when each key
 * is asked for next (lethe_evict.next) and takes the one that is longest ahead: no policy does
 * better.
 *
 * I1 heap[i] is not above heap[(i-1)/WAYS], and its node's `next` is i. Refused nodes are in no
 *    heap; they keep their priority. */
#include <math.h>
#include <stdio.h>

#include "builtin.h"

enum { WAYS = 4 };

struct item {
  double priority;
  uint64_t last; /* access */
  uint32_t slot;
};

struct heaped_node {
  struct lethe_evict_node node;
  double priority;
  uint64_t last, freq;
};

struct heaped {
  struct lethe_evict e;
  struct item *heap;
  uint32_t room, len;
  double last_priority; /* L */
};

static struct heaped *heaped_of(struct lethe_evict *e) { return (struct heaped *)(void *)e; }
static struct heaped_node *at(const struct heaped *h, uint32_t slot) {
  return (struct heaped_node *)(void *)lethe_evict_at(&h->e, slot);
}

static int reserve(struct lethe_evict *e, uint32_t room) {
  struct heaped *h = heaped_of(e);
  lethe_fault_allowed();
  void *p =
      e->alloc->realloc(e->alloc->ud, h->heap, h->room * sizeof *h->heap, room * sizeof *h->heap);
  if (!p) return LETHE_ENOMEM;
  h->heap = p;
  h->room = room;
  return LETHE_OK;
}

static void destroy(struct lethe_evict *e) {
  struct heaped *h = heaped_of(e);
  lethe_free(e->alloc, h->heap, h->room * sizeof *h->heap);
}

/* ---- the heap -------------------------------------------------------------------------------- */

static bool below(const struct item *a, const struct item *b) {
  return a->priority < b->priority || (a->priority == b->priority && a->last < b->last);
}

static void put(struct heaped *h, uint32_t i, struct item item) {
  h->heap[i] = item;
  at(h, item.slot)->node.next = i;
}

/* An item that belongs at i or further up. */
static void rise(struct heaped *h, uint32_t i, struct item item) {
  for (uint32_t parent; i > 0; i = parent) {
    parent = (i - 1) / WAYS;
    if (!below(&item, &h->heap[parent])) break;
    put(h, i, h->heap[parent]);
  }
  put(h, i, item);
}

/* An item that belongs at i or further down. */
static void sink(struct heaped *h, uint32_t i, struct item item) {
  for (;;) {
    uint32_t first = i * WAYS + 1, least = first;
    if (first >= h->len) break;
    for (uint32_t c = first + 1; c < first + WAYS && c < h->len; c++)
      if (below(&h->heap[c], &h->heap[least])) least = c;
    if (!below(&h->heap[least], &item)) break;
    put(h, i, h->heap[least]);
    i = least;
  }
  put(h, i, item);
}

static struct item item_of(const struct heaped *h, uint32_t slot) {
  return (struct item){.priority = at(h, slot)->priority, .last = at(h, slot)->last, .slot = slot};
}

static void heap_add(struct heaped *h, uint32_t slot) { rise(h, h->len++, item_of(h, slot)); }

static void heap_remove(struct heaped *h, uint32_t slot) {
  uint32_t i = at(h, slot)->node.next;
  struct item moved = h->heap[--h->len];
  if (moved.slot == slot) return;
  if (i > 0 && below(&moved, &h->heap[(i - 1) / WAYS]))
    rise(h, i, moved);
  else
    sink(h, i, moved);
}

static void heap_change(struct heaped *h, uint32_t slot, double priority) {
  struct heaped_node *n = at(h, slot);
  uint32_t i = n->node.next;
  bool up = priority < n->priority;
  n->priority = priority;
  n->last = h->e.now;
  if (up)
    rise(h, i, item_of(h, slot));
  else
    sink(h, i, item_of(h, slot));
}

/* ---- the policies ---------------------------------------------------------------------------- */

static double worth(const struct heaped *h, const struct heaped_node *n) {
  return h->last_priority + (double)n->freq * 1e6 / (double)(n->node.size > 0 ? n->node.size : 1);
}

static double urgency(const struct heaped *h) {
  return h->e.next > 0 ? -(double)h->e.next : -INFINITY;
}

static void come(struct heaped *h, uint32_t slot, double priority) {
  at(h, slot)->priority = priority;
  at(h, slot)->last = h->e.now;
  heap_add(h, slot);
}

static int gdsf_insert(struct lethe_evict *e, uint32_t slot, const struct lethe_evict_request *r) {
  struct heaped *h = heaped_of(e);
  (void)r;
  at(h, slot)->freq = 1;
  come(h, slot, worth(h, at(h, slot)));
  return LETHE_OK;
}

static int belady_insert(struct lethe_evict *e, uint32_t slot,
                         const struct lethe_evict_request *r) {
  (void)r;
  come(heaped_of(e), slot, urgency(heaped_of(e)));
  return LETHE_OK;
}

static void gdsf_hit(struct lethe_evict *e, uint32_t slot) {
  struct heaped *h = heaped_of(e);
  at(h, slot)->freq++;
  heap_change(h, slot, worth(h, at(h, slot)));
}

static void belady_hit(struct lethe_evict *e, uint32_t slot) {
  heap_change(heaped_of(e), slot, urgency(heaped_of(e)));
}

static uint32_t victim(struct lethe_evict *e, const struct lethe_evict_request *r) {
  const struct heaped *h = heaped_of(e);
  (void)r;
  return h->len ? h->heap[0].slot : 0;
}

static void leave(struct lethe_evict *e, uint32_t slot, bool evicted) {
  struct heaped *h = heaped_of(e);
  if (evicted) h->last_priority = at(h, slot)->priority;
  heap_remove(h, slot);
}

static void refuse(struct lethe_evict *e, uint32_t slot) { heap_remove(heaped_of(e), slot); }
static void offer(struct lethe_evict *e, uint32_t slot) { heap_add(heaped_of(e), slot); }
static void forget(struct lethe_evict *e) { heaped_of(e)->last_priority = 0; }

/* ---- the audit ------------------------------------------------------------------------------- */

static int check(const struct lethe_evict *e, char *why, size_t n) {
  const struct heaped *h = (const struct heaped *)(const void *)e;
  uint32_t refused = 0, i = 0;
  for (; i < h->len; i++) {
    const struct item *item = &h->heap[i];
    const struct lethe_evict_node *node = lethe_evict_at(e, item->slot);
    if (node->next != i || !(node->generation & 1) || node->refused) break;
    if (i > 0 && below(item, &h->heap[(i - 1) / WAYS])) break;
  }
  for (uint32_t slot = 1; slot <= e->high; slot++) refused += lethe_evict_at(e, slot)->refused > 0;
  if (i == h->len && h->len + refused == e->len) return LETHE_OK;
  snprintf(why, n, "heap: wrong at %lu of %lu", (unsigned long)i, (unsigned long)h->len);
  return LETHE_EBROKEN;
}

#define HEAP_OPS                                                                          \
  .size = sizeof(struct heaped), .node = sizeof(struct heaped_node), .destroy = destroy,  \
  .reserve = reserve, .victim = victim, .leave = leave, .refuse = refuse, .offer = offer, \
  .forget = forget, .check = check

const struct lethe_evict_ops evict_gdsf = {
    .name = "gdsf", .insert = gdsf_insert, .hit = gdsf_hit, HEAP_OPS};
const struct lethe_evict_ops evict_belady = {
    .name = "belady", .insert = belady_insert, .hit = belady_hit, HEAP_OPS};
