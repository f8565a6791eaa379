/* SPDX-License-Identifier: MIT
 * lfu: the entry that was accessed least often leaves, of equals the one that has been so for
 * longest.
 *
 * A class for each number of accesses that some entry has, in a list by that number; entries stand
 * in their class's list. A hit moves an entry into the next class, which is there or is made, so
 * nothing is ever searched (Shah, Mitra and Matani, 2010).
 *
 * I1 Classes are ordered by freq, and none is empty; refused entries count.
 * I2 There is room for one class more than there is room for nodes: a hit takes no memory. */
#include <stdio.h>

#include "builtin.h"

struct lfu_node {
  struct lethe_evict_node node;
  uint32_t class;
};

/* head: who came last; tail: who leaves first. */
struct class {
  uint64_t freq;
  uint32_t head, tail;
  uint32_t len;
  uint32_t above, below; /* classes, 0: none; of a free one, above is the next free one */
};

struct lfu {
  struct lethe_evict e;
  struct class *classes; /* 0 is not used, but its above and below begin and end the list */
  uint32_t room, high, free;
};

static struct lfu *lfu_of(struct lethe_evict *e) { return (struct lfu *)(void *)e; }
static struct lethe_evict_node *at(struct lfu *f, uint32_t slot) {
  return lethe_evict_at(&f->e, slot);
}
static uint32_t *class_of(struct lfu *f, uint32_t slot) {
  return &((struct lfu_node *)(void *)at(f, slot))->class;
}

static int reserve(struct lethe_evict *e, uint32_t room) {
  struct lfu *f = lfu_of(e);
  uint32_t classes = room + 1; /* keeps I2: slot 0 and one to spare */
  lethe_fault_allowed();
  void *p = e->alloc->realloc(e->alloc->ud, f->classes, f->room * sizeof *f->classes,
                              classes * sizeof *f->classes);
  if (!p) return LETHE_ENOMEM;
  f->classes = p;
  if (!f->room) f->classes[0] = (struct class){0};
  f->room = classes;
  return LETHE_OK;
}

static void destroy(struct lethe_evict *e) {
  struct lfu *f = lfu_of(e);
  lethe_free(e->alloc, f->classes, f->room * sizeof *f->classes);
}

/* ---- classes --------------------------------------------------------------------------------- */

/* The class of `freq` just above another, 0 being below all. */
static uint32_t class_above(struct lfu *f, uint32_t below, uint64_t freq) {
  uint32_t above = f->classes[below].above, c = f->free;
  if (above && f->classes[above].freq == freq) return above;
  if (c)
    f->free = f->classes[c].above;
  else
    c = ++f->high;
  f->classes[c] = (struct class){.freq = freq, .above = above, .below = below};
  f->classes[below].above = c;
  f->classes[above].below = c;
  return c;
}

static void link_head(struct lfu *f, uint32_t c, uint32_t slot) {
  struct class *l = &f->classes[c];
  at(f, slot)->prev = 0;
  at(f, slot)->next = l->head;
  *(l->head ? &at(f, l->head)->prev : &l->tail) = slot;
  l->head = slot;
}

static void unlink_node(struct lfu *f, uint32_t slot) {
  struct class *l = &f->classes[*class_of(f, slot)];
  const struct lethe_evict_node *n = at(f, slot);
  *(n->prev ? &at(f, n->prev)->next : &l->head) = n->next;
  *(n->next ? &at(f, n->next)->prev : &l->tail) = n->prev;
}

static void enter(struct lfu *f, uint32_t c, uint32_t slot) {
  *class_of(f, slot) = c;
  f->classes[c].len++;
  link_head(f, c, slot);
}

/* keeps I1 */
static void give_up(struct lfu *f, uint32_t c) {
  struct class *l = &f->classes[c];
  if (--l->len) return;
  f->classes[l->below].above = l->above;
  f->classes[l->above].below = l->below;
  l->above = f->free;
  f->free = c;
}

/* ---- the policy ------------------------------------------------------------------------------ */

static int insert(struct lethe_evict *e, uint32_t slot, const struct lethe_evict_request *r) {
  (void)r;
  enter(lfu_of(e), class_above(lfu_of(e), 0, 1), slot);
  return LETHE_OK;
}

static void hit(struct lethe_evict *e, uint32_t slot) {
  struct lfu *f = lfu_of(e);
  uint32_t c = *class_of(f, slot);
  unlink_node(f, slot);
  enter(f, class_above(f, c, f->classes[c].freq + 1), slot);
  give_up(f, c);
}

static uint32_t victim(struct lethe_evict *e, const struct lethe_evict_request *r) {
  struct lfu *f = lfu_of(e);
  uint32_t c = f->classes[0].above;
  (void)r;
  while (c && !f->classes[c].tail) c = f->classes[c].above; /* all of it refused */
  return c ? f->classes[c].tail : 0;
}

static void leave(struct lethe_evict *e, uint32_t slot, bool evicted) {
  struct lfu *f = lfu_of(e);
  (void)evicted;
  unlink_node(f, slot);
  give_up(f, *class_of(f, slot));
}

static void refuse(struct lethe_evict *e, uint32_t slot) { unlink_node(lfu_of(e), slot); }

static void offer(struct lethe_evict *e, uint32_t slot) {
  struct lfu *f = lfu_of(e);
  struct class *l = &f->classes[*class_of(f, slot)];
  at(f, slot)->next = 0;
  at(f, slot)->prev = l->tail;
  *(l->tail ? &at(f, l->tail)->next : &l->head) = slot;
  l->tail = slot;
}

static void each(struct lethe_evict *e, void (*fn)(void *ud, uint32_t slot), void *ud) {
  struct lfu *f = lfu_of(e);
  for (uint32_t c = f->room ? f->classes[0].above : 0; c; c = f->classes[c].above)
    for (uint32_t slot = f->classes[c].tail; slot; slot = at(f, slot)->prev) fn(ud, slot);
}

/* ---- the audit ------------------------------------------------------------------------------- */

static int check(const struct lethe_evict *e, char *why, size_t n) {
  const struct lfu *f = (const struct lfu *)(const void *)e;
  uint32_t len = 0, chained = 0, refused = 0, below = 0;
  for (uint32_t c = f->room ? f->classes[0].above : 0; c; c = f->classes[c].above) {
    const struct class *l = &f->classes[c];
    uint32_t prev = 0;
    bool ordered = l->below == below && l->len && l->freq > (below ? f->classes[below].freq : 0);
    for (uint32_t slot = l->head; slot && chained <= e->len; chained++) {
      const struct lethe_evict_node *m = lethe_evict_at(e, slot);
      ordered = ordered && m->prev == prev && !m->refused &&
                ((const struct lfu_node *)(const void *)m)->class == c;
      prev = slot;
      slot = m->next;
    }
    len += l->len;
    below = c;
    if (ordered && prev == l->tail) continue;
    snprintf(why, n, "class %llu: its links or its place are wrong", (unsigned long long)l->freq);
    return LETHE_EBROKEN;
  }
  for (uint32_t slot = 1; slot <= e->high; slot++) refused += lethe_evict_at(e, slot)->refused > 0;
  bool ends = !f->room || f->classes[0].below == below;
  if (len == e->len && chained + refused == len && ends) return LETHE_OK;
  snprintf(why, n, "classes: %lu entries, %lu in chains, of %lu", (unsigned long)len,
           (unsigned long)chained, (unsigned long)e->len);
  return LETHE_EBROKEN;
}

const struct lethe_evict_ops evict_lfu = {.name = "lfu",
                                          .size = sizeof(struct lfu),
                                          .node = sizeof(struct lfu_node),
                                          .destroy = destroy,
                                          .reserve = reserve,
                                          .insert = insert,
                                          .hit = hit,
                                          .victim = victim,
                                          .leave = leave,
                                          .refuse = refuse,
                                          .offer = offer,
                                          .each = each,
                                          .check = check};
