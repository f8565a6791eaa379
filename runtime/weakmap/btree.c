/* SPDX-License-Identifier: MIT
 * The ordered index: a B-tree of nodes of 15 to 31 entries. Each node keeps its entries' ranks
 * beside the pointers, so that a descent touches an entry only where ranks are equal. Both ways are
 * one descent: full nodes are split on the way to where an entry is put, nodes of 15 are filled up
 * on the way to one that is removed; so neither has anything to mend on a way back.
 *
 * Invariants: B1  entries rise, within a node and between its children. B2  every node but the root
 * has 15 to 31 entries, an inner one a child more. B3  all leaves are on one level. */
#include <string.h>

#include "weakmap_internal.h"

enum { MOST = LETHE_WEAKMAP_NODE, LEAST = MOST / 2 };

struct node {
  uint32_t n;
  bool leaf;
  uint64_t rank[MOST];
  struct entry *entry[MOST];
  struct node *child[]; /* MOST + 1 of them in an inner node */
};

static size_t node_bytes(bool leaf) {
  return sizeof(struct node) + (leaf ? 0 : (MOST + 1) * sizeof(struct node *));
}

static struct node *node_new(struct lethe_weakmap *m, bool leaf) {
  struct node *x = lethe_malloc(m->alloc, node_bytes(leaf));
  if (!x) return NULL;
  x->n = 0;
  x->leaf = leaf;
  return x;
}

static void node_free(struct lethe_weakmap *m, struct node *x) {
  lethe_free(m->alloc, x, node_bytes(x->leaf));
}

/* ---- looking --------------------------------------------------------------------------------- */

static uint64_t tree_rank(const struct lethe_weakmap *m, const struct lethe_weak_key *k) {
  (void)m;
  return weak_key_prefix(k);
}

/* How many entries of the node come before the key; *equal: the next one has it. */
static uint32_t place(const struct node *x, const struct lethe_weak_key *k, uint64_t rank,
                      bool *equal) {
  uint32_t from = 0, n = x->n;
  while (n > 0) { /* by rank alone: no branch that could be mispredicted */
    uint32_t half = n / 2;
    bool right = x->rank[from + half] < rank;
    from = right ? from + half + 1 : from;
    n = right ? n - half - 1 : half;
  }
  *equal = false;
  if (from == x->n || x->rank[from] != rank) return from;
  uint32_t to = from + 1;
  while (to < x->n && x->rank[to] == rank) to++;
  while (from < to) {
    uint32_t middle = (from + to) / 2;
    int order = weak_key_compare_entry(k, x->entry[middle]);
    if (order == 0) {
      *equal = true;
      return middle;
    }
    if (order > 0)
      from = middle + 1;
    else
      to = middle;
  }
  return from;
}

static struct entry *tree_find(struct lethe_weakmap *m, const struct lethe_weak_key *k,
                               uint64_t rank) {
  for (struct node *x = m->u.tree.root; x;) {
    bool equal;
    uint32_t i = place(x, k, rank, &equal);
    if (equal) return x->entry[i];
    if (x->leaf) break;
    x = x->child[i];
  }
  return NULL;
}

static struct entry *tree_after(struct lethe_weakmap *m, const struct lethe_weak_key *k,
                                uint64_t rank, bool strictly) {
  struct entry *found = NULL;
  for (struct node *x = m->u.tree.root; x;) {
    bool equal = false;
    uint32_t i = k ? place(x, k, rank, &equal) : 0;
    if (equal && !strictly) return x->entry[i];
    if (equal) i++;
    if (i < x->n) found = x->entry[i];
    x = x->leaf ? NULL : x->child[i];
  }
  return found;
}

static struct entry *tree_before(struct lethe_weakmap *m, const struct lethe_weak_key *k,
                                 uint64_t rank, bool strictly) {
  struct entry *found = NULL;
  for (struct node *x = m->u.tree.root; x;) {
    bool equal = false;
    uint32_t i = k ? place(x, k, rank, &equal) : x->n;
    if (equal && !strictly) return x->entry[i];
    if (i > 0) found = x->entry[i - 1];
    x = x->leaf ? NULL : x->child[i];
  }
  return found;
}

/* ---- moving ---------------------------------------------------------------------------------- */

/* n entries, from place i of x to place j of y, which may be the same node. */
static void move_entries(struct lethe_weakmap *m, struct node *y, uint32_t j, struct node *x,
                         uint32_t i, uint32_t n) {
  memmove(&y->rank[j], &x->rank[i], n * sizeof *x->rank);
  memmove(&y->entry[j], &x->entry[i], n * sizeof(struct entry *));
  m->moved += n;
}

static void move_children(struct node *y, uint32_t j, struct node *x, uint32_t i, uint32_t n) {
  if (!x->leaf) memmove(&y->child[j], &x->child[i], n * sizeof(struct node *));
}

static void set(struct node *x, uint32_t i, struct entry *e) {
  x->rank[i] = e->rank;
  x->entry[i] = e;
}

/* A gap at place i of a node that is not full. */
static void open_gap(struct lethe_weakmap *m, struct node *x, uint32_t i) {
  move_entries(m, x, i + 1, x, i, x->n - i);
  x->n++;
}

static void close_gap(struct lethe_weakmap *m, struct node *x, uint32_t i) {
  x->n--;
  move_entries(m, x, i, x, i + 1, x->n - i);
}

/* ---- putting --------------------------------------------------------------------------------- */

/* Child i of x, which is full while x is not, becomes two, with its middle entry between them in
 * x. */
static int split_child(struct lethe_weakmap *m, struct node *x, uint32_t i) {
  struct node *left = x->child[i], *right = node_new(m, left->leaf);
  if (!right) return LETHE_ENOMEM;
  right->n = LEAST;
  move_entries(m, right, 0, left, LEAST + 1, LEAST);
  move_children(right, 0, left, LEAST + 1, LEAST + 1);
  left->n = LEAST;
  move_children(x, i + 2, x, i + 1, x->n - i);
  open_gap(m, x, i);
  set(x, i, left->entry[LEAST]);
  m->moved++;
  x->child[i + 1] = right;
  return LETHE_OK;
}

/* A root that is full gets one above it. */
static int raise_root(struct lethe_weakmap *m) {
  struct node *root = node_new(m, false);
  if (!root) return LETHE_ENOMEM;
  root->child[0] = m->u.tree.root;
  if (split_child(m, root, 0)) {
    node_free(m, root);
    return LETHE_ENOMEM;
  }
  m->u.tree.root = root;
  return LETHE_OK;
}

static int make_room(struct lethe_weakmap *m) {
  struct node *root = m->u.tree.root;
  if (!root) return (m->u.tree.root = node_new(m, true)) ? LETHE_OK : LETHE_ENOMEM;
  return root->n == MOST ? raise_root(m) : LETHE_OK;
}

/* A split that was made before memory ran out leaves a tree of the same entries. */
static int tree_put(struct lethe_weakmap *m, struct entry *e, struct entry **old) {
  struct lethe_weak_key k;
  weak_key_of(e, &k);
  *old = NULL;
  if (make_room(m)) return LETHE_ENOMEM;
  for (struct node *x = m->u.tree.root;;) {
    bool equal;
    uint32_t i = place(x, &k, e->rank, &equal);
    if (!equal && !x->leaf && x->child[i]->n == MOST) {
      if (split_child(m, x, i)) return LETHE_ENOMEM;
      i = place(x, &k, e->rank, &equal);
    }
    if (equal) {
      *old = x->entry[i];
      set(x, i, e);
      return LETHE_OK;
    }
    if (x->leaf) {
      open_gap(m, x, i);
      set(x, i, e);
      return LETHE_OK;
    }
    x = x->child[i];
  }
}

/* ---- removing -------------------------------------------------------------------------------- */

/* The entry between child i and the next goes down, the last of child i takes its place. */
static void borrow_from_left(struct lethe_weakmap *m, struct node *x, uint32_t i) {
  struct node *left = x->child[i], *right = x->child[i + 1];
  move_children(right, 1, right, 0, right->n + 1);
  open_gap(m, right, 0);
  set(right, 0, x->entry[i]);
  left->n--;
  set(x, i, left->entry[left->n]);
  move_children(right, 0, left, left->n + 1, 1);
  m->moved += 2;
}

static void borrow_from_right(struct lethe_weakmap *m, struct node *x, uint32_t i) {
  struct node *left = x->child[i], *right = x->child[i + 1];
  set(left, left->n, x->entry[i]);
  left->n++;
  move_children(left, left->n, right, 0, 1);
  set(x, i, right->entry[0]);
  move_children(right, 0, right, 1, right->n);
  close_gap(m, right, 0);
  m->moved += 2;
}

/* Children i and i + 1, of LEAST entries each, become one with the entry between them. */
static struct node *merge(struct lethe_weakmap *m, struct node *x, uint32_t i) {
  struct node *left = x->child[i], *right = x->child[i + 1];
  set(left, left->n, x->entry[i]);
  move_entries(m, left, left->n + 1, right, 0, right->n);
  move_children(left, left->n + 1, right, 0, right->n + 1);
  left->n += right->n + 1;
  move_children(x, i + 1, x, i + 2, x->n - i - 1);
  close_gap(m, x, i);
  m->moved++;
  node_free(m, right);
  if (x->n == 0) { /* it was the root */
    m->u.tree.root = left;
    node_free(m, x);
  }
  return left;
}

/* Child i with more than LEAST entries, which may be another node then. */
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

/* The greatest entry below x, or the least, leaves it. */
static struct entry *take_end(struct lethe_weakmap *m, struct node *x, bool greatest) {
  while (!x->leaf) x = fill(m, x, greatest ? x->n : 0);
  struct entry *e = x->entry[greatest ? x->n - 1 : 0];
  close_gap(m, x, greatest ? x->n - 1 : 0);
  return e;
}

/* Entry i of the inner node x leaves; a neighbour takes its place. NULL, or where to go on if the
 * two children between which it was have become one, which has it now. */
static struct node *remove_inner(struct lethe_weakmap *m, struct node *x, uint32_t i) {
  bool left = x->child[i]->n > LEAST;
  if (!left && x->child[i + 1]->n == LEAST) return merge(m, x, i);
  set(x, i, take_end(m, x->child[left ? i : i + 1], left));
  m->moved++;
  return NULL;
}

static void tree_remove(struct lethe_weakmap *m, struct entry *e) {
  struct lethe_weak_key k;
  weak_key_of(e, &k);
  for (struct node *x = m->u.tree.root; x;) {
    bool equal;
    uint32_t i = place(x, &k, e->rank, &equal);
    if (equal && x->leaf) {
      close_gap(m, x, i);
      break;
    }
    x = equal ? remove_inner(m, x, i) : fill(m, x, i);
  }
  struct node *root = m->u.tree.root;
  if (root->n > 0) return;
  node_free(m, root);
  m->u.tree.root = NULL;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static struct entry *drain_node(struct lethe_weakmap *m, struct node *x, struct entry *all) {
  for (uint32_t i = x->n; i > 0; i--) {
    if (!x->leaf) all = drain_node(m, x->child[i], all);
    x->entry[i - 1]->next = all;
    all = x->entry[i - 1];
  }
  if (!x->leaf) all = drain_node(m, x->child[0], all);
  node_free(m, x);
  return all;
}

static struct entry *tree_drain(struct lethe_weakmap *m) {
  struct node *root = m->u.tree.root;
  m->u.tree.root = NULL;
  return root ? drain_node(m, root, NULL) : NULL;
}

static unsigned tree_height(struct lethe_weakmap *m) {
  unsigned height = 0;
  for (struct node *x = m->u.tree.root; x; x = x->leaf ? NULL : x->child[0]) height++;
  return height;
}

/* Counts the entries below x; 0 if something is wrong. `last` is the entry before. */
static size_t audit(struct lethe_weakmap *m, struct node *x, unsigned height, struct entry **last) {
  size_t n = 0;
  bool right =
      x->leaf == (height == 1) && x->n <= MOST && (x == m->u.tree.root ? x->n > 0 : x->n >= LEAST);
  for (uint32_t i = 0; right && i <= x->n; i++) {
    size_t below = x->leaf ? 0 : audit(m, x->child[i], height - 1, last);
    right = x->leaf || below > 0;
    n += below;
    if (i == x->n) break;
    struct entry *e = x->entry[i];
    struct lethe_weak_key k;
    weak_key_of(e, &k);
    right = right && e->map == m && e->rank == x->rank[i] && e->rank == weak_key_prefix(&k) &&
            (!*last || order(&k, e->rank, *last) > 0);
    *last = e;
    n++;
  }
  return right ? n : 0;
}

static bool tree_is_valid(struct lethe_weakmap *m) {
  struct entry *last = NULL;
  if (!m->u.tree.root) return m->count == 0;
  return audit(m, m->u.tree.root, tree_height(m), &last) == m->count && m->count > 0;
}

const struct index weak_btree = {tree_rank,   tree_find,  tree_put,      tree_remove, tree_after,
                                 tree_before, tree_drain, tree_is_valid, tree_height};
