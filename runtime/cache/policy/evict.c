/* SPDX-License-Identifier: MIT
 * What every policy stands on: the table of nodes with its generations, and the calls of the cache,
 * each of which keeps the books and hands the rest to the policy. */
#include <stdio.h>
#include <string.h>

#include "lethe/evict.h"

enum { FIRST_ROOM = 64 };

/* ---- the table ------------------------------------------------------------------------------- */

/* The policy's parallel arrays grow first: if the nodes then cannot, they merely have room to
 * spare. */
static int grow(struct lethe_evict *e) {
  uint64_t room = e->room ? (uint64_t)e->room * 2 : FIRST_ROOM;
  if (room > UINT32_MAX) return LETHE_ENOMEM;
  if (e->ops->reserve && e->ops->reserve(e, (uint32_t)room) != LETHE_OK) return LETHE_ENOMEM;
  lethe_fault_allowed();
  char *nodes = e->alloc->realloc(e->alloc->ud, e->nodes, (size_t)e->room * e->stride,
                                  (size_t)room * e->stride);
  if (!nodes) return LETHE_ENOMEM;
  memset(nodes + (size_t)e->room * e->stride, 0, (size_t)(room - e->room) * e->stride);
  e->nodes = nodes;
  e->room = (uint32_t)room;
  return LETHE_OK;
}

static int take_slot(struct lethe_evict *e, uint32_t *out) {
  if (!e->free) {
    if (e->high + 1 >= e->room && grow(e) != LETHE_OK) return LETHE_ENOMEM;
    *out = ++e->high;
  } else {
    *out = e->free;
    e->free = lethe_evict_at(e, *out)->next;
  }
  struct lethe_evict_node *n = lethe_evict_at(e, *out);
  uint32_t generation = n->generation + 1;
  memset(n, 0, e->stride);
  n->generation = generation;
  return LETHE_OK;
}

static void give_slot(struct lethe_evict *e, uint32_t slot) {
  struct lethe_evict_node *n = lethe_evict_at(e, slot);
  n->refused = 0;
  if (++n->generation == 0) return; /* its handles are used up: one more would repeat the first */
  n->next = e->free;
  e->free = slot;
}

/* ---- making one ------------------------------------------------------------------------------ */

int lethe_evict_new_with(struct lethe_evict **out, const struct lethe_alloc *a,
                         const struct lethe_evict_ops *ops, void *arg, int64_t limit,
                         uint64_t seed) {
  struct lethe_evict *e = lethe_zalloc(a, ops->size);
  if (!e) return LETHE_ENOMEM;
  e->ops = ops;
  e->alloc = a;
  e->stride = (uint32_t)ops->node;
  e->limit = limit;
  e->random = seed;
  int code = ops->init ? ops->init(e, arg) : LETHE_OK;
  if (code == LETHE_OK) *out = e;
  if (code != LETHE_OK) lethe_free(a, e, ops->size);
  return code;
}

int lethe_evict_new(struct lethe_evict **out, const struct lethe_alloc *a, const char *name,
                    int64_t limit, uint64_t seed) {
  const struct lethe_evict_ops *ops = lethe_evict_find(name, false);
  return ops ? lethe_evict_new_with(out, a, ops, NULL, limit, seed) : LETHE_EUNKNOWN;
}

void lethe_evict_delete(struct lethe_evict *e) {
  if (!e) return;
  if (e->ops->destroy) e->ops->destroy(e);
  lethe_free(e->alloc, e->nodes, (size_t)e->room * e->stride);
  lethe_free(e->alloc, e, e->ops->size);
}

/* ---- entries come and go --------------------------------------------------------------------- */

int lethe_evict_insert(struct lethe_evict *e, const struct lethe_evict_request *r,
                       uint64_t *handle) {
  uint32_t slot;
  if (take_slot(e, &slot) != LETHE_OK) return LETHE_ENOMEM;
  struct lethe_evict_node *n = lethe_evict_at(e, slot);
  n->key = r->key;
  n->size = r->size;
  n->owner = r->owner;
  e->len++;
  e->used += r->size;
  int code = e->ops->insert(e, slot, r);
  if (code == LETHE_OK) {
    *handle = lethe_evict_handle(e, slot);
    return LETHE_OK;
  }
  e->len--;
  e->used -= r->size;
  give_slot(e, slot);
  return code;
}

/* Back among those that may be victims, with the hits that it had meanwhile. */
static void offer(struct lethe_evict *e, uint32_t slot) {
  struct lethe_evict_node *n = lethe_evict_at(e, slot);
  unsigned hits = n->refused - 1u;
  n->refused = 0;
  e->ops->offer(e, slot);
  while (hits--) e->ops->hit(e, slot);
}

bool lethe_evict_remove(struct lethe_evict *e, uint64_t h, bool evicted) {
  struct lethe_evict_node *n = lethe_evict_get(e, h);
  if (!n) return false;
  uint32_t slot = (uint32_t)h;
  if (n->refused) {
    n->refused = 0;
    e->ops->offer(e, slot);
  }
  e->ops->leave(e, slot, evicted);
  e->len--;
  e->used -= n->size;
  give_slot(e, slot);
  return true;
}

void lethe_evict_refuse(struct lethe_evict *e, uint64_t h) {
  struct lethe_evict_node *n = lethe_evict_get(e, h);
  if (!n || n->refused) return;
  e->ops->refuse(e, (uint32_t)h);
  n->refused = 1;
}

void lethe_evict_offer(struct lethe_evict *e, uint64_t h) {
  struct lethe_evict_node *n = lethe_evict_get(e, h);
  if (n && n->refused) offer(e, (uint32_t)h);
}

/* ---- what changes now and then --------------------------------------------------------------- */

void lethe_evict_weigh(struct lethe_evict *e, uint64_t h, int64_t size) {
  struct lethe_evict_node *n = lethe_evict_get(e, h);
  if (!n) return;
  int64_t by = size - n->size;
  n->size = size;
  e->used += by;
  if (by && e->ops->weigh) e->ops->weigh(e, (uint32_t)h, by);
}

void lethe_evict_resize(struct lethe_evict *e, int64_t limit) {
  e->limit = limit;
  if (e->ops->resize) e->ops->resize(e);
}

void lethe_evict_clear(struct lethe_evict *e) {
  for (uint32_t slot = 1; slot <= e->high; slot++)
    if (lethe_evict_at(e, slot)->generation & 1)
      lethe_evict_remove(e, lethe_evict_handle(e, slot), false);
  if (e->ops->forget) e->ops->forget(e);
}

struct walk {
  const struct lethe_evict *e;
  void (*fn)(void *ud, const struct lethe_evict_node *n);
  void *ud;
};

static void show(void *ud, uint32_t slot) {
  const struct walk *w = ud;
  w->fn(w->ud, lethe_evict_at(w->e, slot));
}

void lethe_evict_each(struct lethe_evict *e, void (*fn)(void *ud, const struct lethe_evict_node *n),
                      void *ud) {
  struct walk w = {.e = e, .fn = fn, .ud = ud};
  if (e->ops->each) e->ops->each(e, show, &w);
  for (int refused = e->ops->each != NULL; refused < 2; refused++)
    for (uint32_t slot = 1; slot <= e->high; slot++) {
      const struct lethe_evict_node *n = lethe_evict_at(e, slot);
      if (n->generation & 1 && (n->refused > 0) == refused) fn(ud, n);
    }
}

/* ---- the audit ------------------------------------------------------------------------------- */

static int broken(char *why, size_t n, const char *what, int64_t counted, int64_t kept) {
  snprintf(why, n, "%s: %lld counted, %lld kept", what, (long long)counted, (long long)kept);
  return LETHE_EBROKEN;
}

int lethe_evict_check(const struct lethe_evict *e, char *why, size_t n) {
  uint32_t len = 0, free = 0, lost = 0;
  int64_t used = 0;
  for (uint32_t slot = 1; slot <= e->high; slot++) {
    const struct lethe_evict_node *node = lethe_evict_at(e, slot);
    if (node->generation & 1) {
      len++;
      used += node->size;
    } else if (node->generation == 0) {
      lost++;
    }
  }
  for (uint32_t slot = e->free; slot && free <= e->high; slot = lethe_evict_at(e, slot)->next)
    free++;
  if (len != e->len) return broken(why, n, "entries", len, e->len);   /* I2 */
  if (used != e->used) return broken(why, n, "sizes", used, e->used); /* I2 */
  if (free + lost + len != e->high)
    return broken(why, n, "free slots", free, e->high - len); /* I1 */
  return e->ops->check ? e->ops->check(e, why, n) : LETHE_OK;
}
