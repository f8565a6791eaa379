/* SPDX-License-Identifier: MIT
 * The ordered index: a B-tree of nodes of 15 to 31 entries. Both ways are one descent: full nodes
 * are split on the way to where an entry is put, nodes of 15 are filled up on the way to one that
 * is removed; so neither has anything to mend on a way back. A node that is split because an entry
 * is put behind all others gives its new neighbour one entry alone: where keys come in order nodes
 * are full, not half full. */
#include "btree_internal.h"

static size_t node_bytes(bool leaf) {
  return sizeof(struct node) + (leaf ? 0 : (MOST + 1) * sizeof(struct node *));
}

static struct node *node_new(struct lethe_weakmap *m, bool leaf) {
  struct node *x = lethe_malloc(m->alloc, node_bytes(leaf));
  if (!x) return NULL;
  x->n = 0;
  x->leaf = leaf;
  memset(x->rank, 0xff, sizeof x->rank);
  return x;
}

void weak_tree_free_node(struct lethe_weakmap *m, struct node *x) {
  lethe_free(m->alloc, x, node_bytes(x->leaf));
}

void weak_tree_drop_empty_root(struct lethe_weakmap *m) {
  struct node *root = m->u.tree.root;
  if (!root || root->n > 0) return;
  weak_memo_drop(m);
  weak_tree_free_node(m, root);
  m->u.tree.root = NULL;
  m->u.tree.height = 0;
}

/* ---- looking --------------------------------------------------------------------------------- */

/* Among the entries from `from` on with the key's own rank: how many come before it in the node;
 * *equal: the next one has it. */
uint32_t weak_tree_among_equals(const struct node *x, const struct lethe_weak_key *k, uint64_t rank,
                                uint32_t from, bool *equal) {
  uint32_t to = from + 1;
  while (to < x->n && x->rank[to] == rank) to++;
  while (from < to) {
    uint32_t middle = (from + to) / 2;
    int order = weak_key_compare_entry(k, x->item[middle].entry);
    *equal = order == 0;
    if (*equal) return middle;
    if (order > 0)
      from = middle + 1;
    else
      to = middle;
  }
  return from;
}

/* The node that has the rank, which is one key's alone, and its place there; NULL if none has it.
 * Behind the last entry are other ranks (B4), so nothing but ranks is looked at. */
static inline struct node *seek_exact(const struct lethe_weakmap *m, uint64_t rank, uint32_t *i) {
  struct node *x = m->u.tree.root;
  for (unsigned level = m->u.tree.height; level > 0; level--) {
    *i = node_below(x, rank);
    if (x->rank[*i] == rank) return x;
    if (level == 1) break;
    x = x->child[*i];
    node_fetch(x);
  }
  return NULL;
}

static struct node *seek_among_equals(const struct lethe_weakmap *m, const struct lethe_weak_key *k,
                                      uint32_t *i) {
  uint64_t rank = weak_key_rank(k);
  for (struct node *x = m->u.tree.root; x; x = x->leaf ? NULL : x->child[*i]) {
    bool equal;
    *i = node_place(x, k, rank, false, &equal);
    if (equal) return x;
  }
  return NULL;
}

static inline struct node *seek(const struct lethe_weakmap *m, const struct lethe_weak_key *k,
                                uint32_t *i) {
  return weak_key_is_exact(k) ? seek_exact(m, weak_key_rank(k), i) : seek_among_equals(m, k, i);
}

static struct entry *tree_find(struct lethe_weakmap *m, const struct lethe_weak_key *k) {
  uint32_t i;
  struct node *x = seek(m, k, &i);
  return x ? x->item[i].entry : NULL;
}

static struct lethe_counted *tree_look(struct lethe_weakmap *m, const struct lethe_weak_key *k) {
  uint32_t i;
  bool integer = k->kind == LETHE_WEAK_INTEGER;
  struct lethe_counted *c = integer && m->quick.is ? weak_memo_look(m, k->u.integer) : NULL;
  if (c) return c;
  struct node *x = seek(m, k, &i);
  if (!x) return NULL;
  if (integer) weak_memo_note(m, k->u.integer, x->item[i].object);
  return x->item[i].object;
}

static void tree_retied(struct lethe_weakmap *m, struct entry *e) {
  struct lethe_weak_key k;
  uint32_t i = 0;
  weak_key_of(e, &k);
  seek(m, &k, &i)->item[i].object = e->object;
  weak_memo_forget(m, &k);
}

static struct entry *tree_after(struct lethe_weakmap *m, const struct lethe_weak_key *k,
                                bool strictly) {
  struct entry *found = NULL;
  uint64_t rank = k ? weak_key_rank(k) : 0;
  bool exact = k && weak_key_is_exact(k);
  for (struct node *x = m->u.tree.root; x;) {
    bool equal = false;
    uint32_t i = k ? node_place(x, k, rank, exact, &equal) : 0;
    if (equal && !strictly) return x->item[i].entry;
    if (equal) i++;
    if (i < x->n) found = x->item[i].entry;
    x = x->leaf ? NULL : x->child[i];
  }
  return found;
}

static struct entry *tree_before(struct lethe_weakmap *m, const struct lethe_weak_key *k,
                                 bool strictly) {
  struct entry *found = NULL;
  uint64_t rank = k ? weak_key_rank(k) : 0;
  bool exact = k && weak_key_is_exact(k);
  for (struct node *x = m->u.tree.root; x;) {
    bool equal = false;
    uint32_t i = k ? node_place(x, k, rank, exact, &equal) : x->n;
    if (equal && !strictly) return x->item[i].entry;
    if (i > 0) found = x->item[i - 1].entry;
    x = x->leaf ? NULL : x->child[i];
  }
  return found;
}

/* ---- putting --------------------------------------------------------------------------------- */

/* A key on its way to its place. */
struct way {
  const struct lethe_weak_key *key;
  struct lethe_counted *object;
  uint64_t rank;
  bool exact, equal; /* it is there */
  bool edge;         /* the node is at the right edge */
  struct node *node;
  uint32_t i;
  struct entry *entry; /* made on the last step */
};

/* Child i of x, which is full while x is not, becomes two, with one of its entries between them in
 * x: the middle one, or, if the key comes behind all, the last but one. */
static int split_child(struct lethe_weakmap *m, const struct way *w, struct node *x, uint32_t i) {
  struct node *left = x->child[i], *right = node_new(m, left->leaf);
  if (!right) return LETHE_ENOMEM;
  bool behind = w->edge && i == x->n && left->rank[MOST - 1] < w->rank;
  uint32_t at = behind ? MOST - 2 : LEAST;
  right->n = MOST - at - 1;
  node_move(m, right, 0, left, at + 1, right->n);
  node_move_children(right, 0, left, at + 1, right->n + 1);
  node_move_children(x, i + 2, x, i + 1, x->n - i);
  node_open_gap(m, x, i);
  node_copy(x, i, left, at);
  node_cut(left, at);
  m->moved++;
  x->child[i + 1] = right;
  return LETHE_OK;
}

/* A root that is full gets one above it. */
static int raise_root(struct lethe_weakmap *m, const struct way *w) {
  struct node *root = node_new(m, false);
  if (!root) return LETHE_ENOMEM;
  root->child[0] = m->u.tree.root;
  if (split_child(m, w, root, 0)) {
    weak_tree_free_node(m, root);
    return LETHE_ENOMEM;
  }
  m->u.tree.root = root;
  m->u.tree.height++;
  return LETHE_OK;
}

static int make_room(struct lethe_weakmap *m, const struct way *w) {
  struct node *root = m->u.tree.root;
  if (root) return root->n == MOST ? raise_root(m, w) : LETHE_OK;
  m->u.tree.root = node_new(m, true);
  m->u.tree.height = m->u.tree.root != NULL;
  return m->u.tree.root ? LETHE_OK : LETHE_ENOMEM;
}

static void look_at(struct way *w, struct node *x) {
  w->node = x;
  w->i = node_place(x, w->key, w->rank, w->exact, &w->equal);
}

/* From an inner node to the child that it leads to, which is not full then. */
static int descend(struct lethe_weakmap *m, struct way *w, unsigned level) {
  struct node *x = w->node, *child = x->child[w->i];
  node_fetch(child);
  if (level == 2) { /* to a leaf: it will take a while */
    w->entry = weak_entry_new(m, w->key, w->object);
    if (!w->entry) return LETHE_ENOMEM;
  }
  if (child->n == MOST) {
    if (split_child(m, w, x, w->i)) return LETHE_ENOMEM;
    look_at(w, x);
    if (w->equal) return LETHE_OK;
    child = x->child[w->i];
  }
  w->edge = w->edge && w->i == x->n;
  look_at(w, child);
  return LETHE_OK;
}

static int find_way(struct lethe_weakmap *m, struct way *w) {
  int rc = make_room(m, w);
  if (rc) return rc;
  unsigned level = m->u.tree.height;
  for (look_at(w, m->u.tree.root); !w->equal && level > 1 && !rc; level--)
    rc = descend(m, w, level);
  if (!rc && !w->entry) w->entry = weak_entry_new(m, w->key, w->object);
  if (!w->entry) return LETHE_ENOMEM;
  return rc || weak_takes(m, w->object) ? rc : LETHE_EINVAL;
}

/* A split that was made before memory ran out leaves a tree of the same entries. */
static int tree_put(struct lethe_weakmap *m, const struct lethe_weak_key *k,
                    struct lethe_counted *c, struct entry **made, struct entry **old) {
  struct way w = {
      .key = k, .object = c, .rank = weak_key_rank(k), .exact = weak_key_is_exact(k), .edge = true};
  int rc = find_way(m, &w);
  if (rc) {
    if (w.entry) weak_entry_free(m, w.entry);
    weak_tree_drop_empty_root(m);
    return rc;
  }
  *made = w.entry;
  *old = w.equal ? w.node->item[w.i].entry : NULL;
  weak_memo_changed(m);
  if (w.equal) weak_memo_forget(m, k);
  if (!w.equal) node_open_gap(m, w.node, w.i);
  w.node->rank[w.i] = w.rank;
  w.node->item[w.i] = (struct item){c, w.entry};
  return LETHE_OK;
}

const struct index weak_btree = {.find = tree_find,
                                 .look = tree_look,
                                 .retied = tree_retied,
                                 .put = tree_put,
                                 .remove = weak_tree_remove,
                                 .after = tree_after,
                                 .before = tree_before,
                                 .drain = weak_tree_drain,
                                 .is_valid = weak_tree_is_valid,
                                 .height = weak_tree_height};
