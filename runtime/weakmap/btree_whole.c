/* SPDX-License-Identifier: MIT
 * What goes over all of the ordered index: emptying it, and its audit. */
#include "btree_internal.h"

static struct entry *drain_node(struct lethe_weakmap *m, struct node *x, struct entry *all) {
  for (uint32_t i = x->n; i > 0; i--) {
    if (!x->leaf) all = drain_node(m, x->child[i], all);
    x->item[i - 1].entry->next = all;
    all = x->item[i - 1].entry;
  }
  if (!x->leaf) all = drain_node(m, x->child[0], all);
  weak_tree_free_node(m, x);
  return all;
}

struct entry *weak_tree_drain(struct lethe_weakmap *m) {
  struct node *root = m->u.tree.root;
  weak_memo_drop(m);
  m->u.tree.root = NULL;
  m->u.tree.height = 0;
  return root ? drain_node(m, root, NULL) : NULL;
}

unsigned weak_tree_height(struct lethe_weakmap *m) { return m->u.tree.height; }

/* An entry, at its place, after the one before. */
static bool is_right(const struct lethe_weakmap *m, const struct node *x, uint32_t i,
                     const struct entry *last) {
  const struct entry *e = x->item[i].entry;
  struct lethe_weak_key k;
  weak_key_of(e, &k);
  return e->map == m && e->object == x->item[i].object && x->rank[i] == weak_key_rank(&k) &&
         (!last || weak_key_compare_entry(&k, last) > 0);
}

/* The node by itself (B2, B4). */
static bool is_sound(const struct node *x, unsigned height, bool edge) {
  bool right = x->leaf == (height == 1) && x->n <= MOST && x->n >= (edge ? 1 : LEAST);
  for (uint32_t i = x->n; right && i <= MOST; i++) right = x->rank[i] == UINT64_MAX;
  return right;
}

/* Counts the entries below x; 0 if something is wrong. `last` is the entry before; the root is at
 * the edge as well. */
static size_t audit(struct lethe_weakmap *m, struct node *x, unsigned height, bool edge,
                    struct entry **last) {
  size_t n = 0;
  bool right = is_sound(x, height, edge);
  for (uint32_t i = 0; right && i <= x->n; i++) {
    size_t below = x->leaf ? 0 : audit(m, x->child[i], height - 1, edge && i == x->n, last);
    right = x->leaf || below > 0;
    n += below;
    if (i == x->n) break;
    right = right && is_right(m, x, i, *last);
    *last = x->item[i].entry;
    n++;
  }
  return right ? n : 0;
}

bool weak_tree_is_valid(struct lethe_weakmap *m) {
  struct entry *last = NULL;
  if (!m->u.tree.root) return m->count == 0 && m->u.tree.height == 0 && m->quick.buckets == 0;
  return audit(m, m->u.tree.root, m->u.tree.height, true, &last) == m->count && m->count > 0 &&
         weak_memo_is_valid(m);
}
