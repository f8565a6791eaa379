/* SPDX-License-Identifier: MIT
 * Removing from the ordered index: on the way down each node that is entered gets an entry more
 * than it must have, from a neighbour, or becomes one with it. One at the right edge, which may
 * have fewer, is filled up in the same way. */
#include "btree_internal.h"

/* The entry between child i and the next goes down, the last of child i takes its place. */
static void borrow_from_left(struct lethe_weakmap *m, struct node *x, uint32_t i) {
  struct node *left = x->child[i], *right = x->child[i + 1];
  node_move_children(right, 1, right, 0, right->n + 1);
  node_open_gap(m, right, 0);
  node_copy(right, 0, x, i);
  node_copy(x, i, left, left->n - 1);
  node_move_children(right, 0, left, left->n, 1);
  node_cut(left, left->n - 1);
  m->moved += 2;
}

static void borrow_from_right(struct lethe_weakmap *m, struct node *x, uint32_t i) {
  struct node *left = x->child[i], *right = x->child[i + 1];
  node_copy(left, left->n, x, i);
  left->n++;
  node_move_children(left, left->n, right, 0, 1);
  node_copy(x, i, right, 0);
  node_move_children(right, 0, right, 1, right->n);
  node_close_gap(m, right, 0);
  m->moved += 2;
}

/* Children i and i + 1, of LEAST entries at most each, become one with the entry between them. */
static struct node *merge(struct lethe_weakmap *m, struct node *x, uint32_t i) {
  struct node *left = x->child[i], *right = x->child[i + 1];
  node_copy(left, left->n, x, i);
  node_move(m, left, left->n + 1, right, 0, right->n);
  node_move_children(left, left->n + 1, right, 0, right->n + 1);
  left->n += right->n + 1;
  node_move_children(x, i + 1, x, i + 2, x->n - i - 1);
  node_close_gap(m, x, i);
  m->moved++;
  weak_tree_free_node(m, right);
  if (x->n == 0) { /* it was the root */
    m->u.tree.root = left;
    m->u.tree.height--;
    weak_tree_free_node(m, x);
  }
  return left;
}

/* Child i with an entry more than it must have; it may be another node then. */
static struct node *fill(struct lethe_weakmap *m, struct node *x, uint32_t i) {
  if (x->child[i]->n > LEAST) return x->child[i];
  if (i > 0 && x->child[i - 1]->n > LEAST) {
    borrow_from_left(m, x, i - 1);
  } else if (i < x->n && x->child[i + 1]->n > LEAST) {
    borrow_from_right(m, x, i);
  } else {
    return merge(m, x, i < x->n ? i : i - 1);
  }
  return x->child[i];
}

/* The greatest entry below x, or the least, leaves it, for place i of `to`. */
static void take_end(struct lethe_weakmap *m, struct node *x, bool greatest, struct node *to,
                     uint32_t i) {
  while (!x->leaf) x = fill(m, x, greatest ? x->n : 0);
  uint32_t at = greatest ? x->n - 1 : 0;
  node_copy(to, i, x, at);
  node_close_gap(m, x, at);
  m->moved++;
}

/* Entry i of the inner node x leaves; a neighbour takes its place. NULL, or where to go on if the
 * two children between which it was have become one, which has it now. */
static struct node *remove_inner(struct lethe_weakmap *m, struct node *x, uint32_t i) {
  bool left = x->child[i]->n > LEAST;
  if (!left && x->child[i + 1]->n <= LEAST) return merge(m, x, i);
  take_end(m, x->child[left ? i : i + 1], left, x, i);
  return NULL;
}

void weak_tree_remove(struct lethe_weakmap *m, struct entry *e) {
  struct lethe_weak_key k;
  weak_key_of(e, &k);
  uint64_t rank = weak_key_rank(&k);
  bool exact = weak_key_is_exact(&k), equal;
  for (struct node *x = m->u.tree.root; x;) {
    uint32_t i = node_place(x, &k, rank, exact, &equal);
    if (equal && x->leaf) {
      node_close_gap(m, x, i);
      break;
    }
    x = equal ? remove_inner(m, x, i) : fill(m, x, i);
  }
  weak_memo_changed(m);
  weak_memo_forget(m, &k);
  weak_tree_drop_empty_root(m);
}
