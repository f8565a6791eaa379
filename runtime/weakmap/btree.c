/* SPDX-License-Identifier: MIT
 * The ordered index: a B-tree of nodes of 15 to 31 entries. Each node keeps its entries' ranks
 * beside the pointers, so that a descent touches an entry only where ranks are equal. Both ways are
 * one descent: full nodes are split on the way to where an entry is put, nodes of 15 are filled up
 * on the way to one that is removed; so neither has anything to mend on a way back.
 *
 * Invariants: B1  entries rise, within a node and between its children. B2  every node but the root
 * has 15 to 31 entries, an inner one a child more. B3  all leaves are on one level. B4  ranks
 * behind the last entry's are the greatest there is: a node is searched in three steps that are
 * always the same ones, so nothing in them can be mispredicted. */
#include "weakmap_internal.h"

enum { MOST = LETHE_WEAKMAP_NODE, LEAST = MOST / 2 };

struct item {
  struct lethe_counted *object; /* the entry's */
  struct entry *entry;
};

struct node {
  uint32_t n;
  bool leaf;
  uint64_t rank[MOST + 1]; /* the last is nobody's */
  struct item item[MOST];
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
  memset(x->rank, 0xff, sizeof x->rank);
  return x;
}

static void node_free(struct lethe_weakmap *m, struct node *x) {
  lethe_free(m->alloc, x, node_bytes(x->leaf));
}

static void drop_empty_root(struct lethe_weakmap *m) {
  struct node *root = m->u.tree.root;
  if (!root || root->n > 0) return;
  node_free(m, root);
  m->u.tree.root = NULL;
  m->u.tree.height = 0;
}

/* ---- looking --------------------------------------------------------------------------------- */

_Static_assert(MOST == 31, "three steps");

/* How many entries have a lesser rank. */
static inline uint32_t count_below(const struct node *x, uint64_t rank) {
  const uint64_t *r = x->rank;
  uint32_t i = 8 * ((uint32_t)(r[7] < rank) + (r[15] < rank) + (r[23] < rank));
  i += 2 * ((uint32_t)(r[i + 1] < rank) + (r[i + 3] < rank) + (r[i + 5] < rank));
  return i + (r[i] < rank);
}

/* All ranks of a node are on their way at once, not one after the other as they are compared. */
static inline void fetch(const struct node *x) {
  const char *p = (const char *)x;
  for (size_t at = 0; at < sizeof x->rank; at += 64) __builtin_prefetch(p + at);
}

/* Among the entries from `from` on with the key's own rank: how many come before it in the node;
 * *equal: the next one has it. */
static uint32_t place_equal(const struct node *x, const struct lethe_weak_key *k, uint64_t rank,
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

/* How many entries of the node come before the key; *equal: the next one has it. `exact`: no other
 * key has its rank. */
static inline uint32_t place(const struct node *x, const struct lethe_weak_key *k, uint64_t rank,
                             bool exact, bool *equal) {
  uint32_t i = count_below(x, rank);
  *equal = i < x->n && x->rank[i] == rank;
  return *equal && !exact ? place_equal(x, k, rank, i, equal) : i;
}

/* The node that has the rank, which is one key's alone, and its place there; NULL if none has it.
 * Behind the last entry are other ranks (B4), so nothing but ranks is looked at. */
static inline struct node *seek_exact(const struct lethe_weakmap *m, uint64_t rank, uint32_t *i) {
  struct node *x = m->u.tree.root;
  for (unsigned level = m->u.tree.height; level > 0; level--) {
    *i = count_below(x, rank);
    if (x->rank[*i] == rank) return x;
    if (level == 1) break;
    x = x->child[*i];
    fetch(x);
  }
  return NULL;
}

static struct node *seek_among_equals(const struct lethe_weakmap *m, const struct lethe_weak_key *k,
                                      uint32_t *i) {
  uint64_t rank = weak_key_rank(k);
  for (struct node *x = m->u.tree.root; x; x = x->leaf ? NULL : x->child[*i]) {
    bool equal;
    *i = place(x, k, rank, false, &equal);
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
  struct node *x = seek(m, k, &i);
  return x ? x->item[i].object : NULL;
}

static void tree_retied(struct lethe_weakmap *m, struct entry *e) {
  struct lethe_weak_key k;
  uint32_t i = 0;
  weak_key_of(e, &k);
  seek(m, &k, &i)->item[i].object = e->object;
}

static struct entry *tree_after(struct lethe_weakmap *m, const struct lethe_weak_key *k,
                                bool strictly) {
  struct entry *found = NULL;
  uint64_t rank = k ? weak_key_rank(k) : 0;
  bool exact = k && weak_key_is_exact(k);
  for (struct node *x = m->u.tree.root; x;) {
    bool equal = false;
    uint32_t i = k ? place(x, k, rank, exact, &equal) : 0;
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
    uint32_t i = k ? place(x, k, rank, exact, &equal) : x->n;
    if (equal && !strictly) return x->item[i].entry;
    if (i > 0) found = x->item[i - 1].entry;
    x = x->leaf ? NULL : x->child[i];
  }
  return found;
}

/* ---- moving ---------------------------------------------------------------------------------- */

/* n entries, from place i of x to place j of y, which may be the same node. */
static void move_entries(struct lethe_weakmap *m, struct node *y, uint32_t j, struct node *x,
                         uint32_t i, uint32_t n) {
  memmove(&y->rank[j], &x->rank[i], n * sizeof *x->rank);
  memmove(&y->item[j], &x->item[i], n * sizeof *x->item);
  m->moved += n;
}

static void move_children(struct node *y, uint32_t j, struct node *x, uint32_t i, uint32_t n) {
  if (!x->leaf) memmove(&y->child[j], &x->child[i], n * sizeof(struct node *));
}

/* Entry i of x is that of place j of y. */
static void copy_entry(struct node *x, uint32_t i, const struct node *y, uint32_t j) {
  x->rank[i] = y->rank[j];
  x->item[i] = y->item[j];
}

/* A gap at place i of a node that is not full. */
static void open_gap(struct lethe_weakmap *m, struct node *x, uint32_t i) {
  move_entries(m, x, i + 1, x, i, x->n - i);
  x->n++;
}

/* Only the first n entries are left (keeps B4). */
static void cut(struct node *x, uint32_t n) {
  memset(&x->rank[n], 0xff, (x->n - n) * sizeof *x->rank);
  x->n = n;
}

static void close_gap(struct lethe_weakmap *m, struct node *x, uint32_t i) {
  move_entries(m, x, i, x, i + 1, x->n - i - 1);
  cut(x, x->n - 1);
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
  move_children(x, i + 2, x, i + 1, x->n - i);
  open_gap(m, x, i);
  copy_entry(x, i, left, LEAST);
  cut(left, LEAST);
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
  m->u.tree.height++;
  return LETHE_OK;
}

static int make_room(struct lethe_weakmap *m) {
  struct node *root = m->u.tree.root;
  if (root) return root->n == MOST ? raise_root(m) : LETHE_OK;
  m->u.tree.root = node_new(m, true);
  m->u.tree.height = m->u.tree.root != NULL;
  return m->u.tree.root ? LETHE_OK : LETHE_ENOMEM;
}

/* A key on its way to its place. */
struct way {
  const struct lethe_weak_key *key;
  struct lethe_counted *object;
  uint64_t rank;
  bool exact, equal; /* it is there */
  struct node *node;
  uint32_t i;
  struct entry *entry; /* made on the last step */
};

static void look_at(struct way *w, struct node *x) {
  w->node = x;
  w->i = place(x, w->key, w->rank, w->exact, &w->equal);
}

/* From an inner node to the child that it leads to, which is not full then. */
static int descend(struct lethe_weakmap *m, struct way *w, unsigned level) {
  struct node *x = w->node, *child = x->child[w->i];
  fetch(child);
  if (level == 2) { /* to a leaf: it will take a while */
    w->entry = weak_entry_new(m, w->key, w->object);
    if (!w->entry) return LETHE_ENOMEM;
  }
  if (child->n == MOST) {
    if (split_child(m, x, w->i)) return LETHE_ENOMEM;
    look_at(w, x);
    if (w->equal) return LETHE_OK;
    child = x->child[w->i];
  }
  look_at(w, child);
  return LETHE_OK;
}

static int find_way(struct lethe_weakmap *m, struct way *w) {
  int rc = make_room(m);
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
  struct way w = {.key = k, .object = c, .rank = weak_key_rank(k), .exact = weak_key_is_exact(k)};
  int rc = find_way(m, &w);
  if (rc) {
    if (w.entry) weak_entry_free(m, w.entry);
    drop_empty_root(m);
    return rc;
  }
  *made = w.entry;
  *old = w.equal ? w.node->item[w.i].entry : NULL;
  if (!w.equal) open_gap(m, w.node, w.i);
  w.node->rank[w.i] = w.rank;
  w.node->item[w.i] = (struct item){c, w.entry};
  return LETHE_OK;
}

/* ---- removing -------------------------------------------------------------------------------- */

/* The entry between child i and the next goes down, the last of child i takes its place. */
static void borrow_from_left(struct lethe_weakmap *m, struct node *x, uint32_t i) {
  struct node *left = x->child[i], *right = x->child[i + 1];
  move_children(right, 1, right, 0, right->n + 1);
  open_gap(m, right, 0);
  copy_entry(right, 0, x, i);
  copy_entry(x, i, left, left->n - 1);
  move_children(right, 0, left, left->n, 1);
  cut(left, left->n - 1);
  m->moved += 2;
}

static void borrow_from_right(struct lethe_weakmap *m, struct node *x, uint32_t i) {
  struct node *left = x->child[i], *right = x->child[i + 1];
  copy_entry(left, left->n, x, i);
  left->n++;
  move_children(left, left->n, right, 0, 1);
  copy_entry(x, i, right, 0);
  move_children(right, 0, right, 1, right->n);
  close_gap(m, right, 0);
  m->moved += 2;
}

/* Children i and i + 1, of LEAST entries each, become one with the entry between them. */
static struct node *merge(struct lethe_weakmap *m, struct node *x, uint32_t i) {
  struct node *left = x->child[i], *right = x->child[i + 1];
  copy_entry(left, left->n, x, i);
  move_entries(m, left, left->n + 1, right, 0, right->n);
  move_children(left, left->n + 1, right, 0, right->n + 1);
  left->n += right->n + 1;
  move_children(x, i + 1, x, i + 2, x->n - i - 1);
  close_gap(m, x, i);
  m->moved++;
  node_free(m, right);
  if (x->n == 0) { /* it was the root */
    m->u.tree.root = left;
    m->u.tree.height--;
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

/* The greatest entry below x, or the least, leaves it, for place i of `to`. */
static void take_end(struct lethe_weakmap *m, struct node *x, bool greatest, struct node *to,
                     uint32_t i) {
  while (!x->leaf) x = fill(m, x, greatest ? x->n : 0);
  uint32_t at = greatest ? x->n - 1 : 0;
  copy_entry(to, i, x, at);
  close_gap(m, x, at);
  m->moved++;
}

/* Entry i of the inner node x leaves; a neighbour takes its place. NULL, or where to go on if the
 * two children between which it was have become one, which has it now. */
static struct node *remove_inner(struct lethe_weakmap *m, struct node *x, uint32_t i) {
  bool left = x->child[i]->n > LEAST;
  if (!left && x->child[i + 1]->n == LEAST) return merge(m, x, i);
  take_end(m, x->child[left ? i : i + 1], left, x, i);
  return NULL;
}

static void tree_remove(struct lethe_weakmap *m, struct entry *e) {
  struct lethe_weak_key k;
  weak_key_of(e, &k);
  uint64_t rank = weak_key_rank(&k);
  bool exact = weak_key_is_exact(&k), equal;
  for (struct node *x = m->u.tree.root; x;) {
    uint32_t i = place(x, &k, rank, exact, &equal);
    if (equal && x->leaf) {
      close_gap(m, x, i);
      break;
    }
    x = equal ? remove_inner(m, x, i) : fill(m, x, i);
  }
  drop_empty_root(m);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static struct entry *drain_node(struct lethe_weakmap *m, struct node *x, struct entry *all) {
  for (uint32_t i = x->n; i > 0; i--) {
    if (!x->leaf) all = drain_node(m, x->child[i], all);
    x->item[i - 1].entry->next = all;
    all = x->item[i - 1].entry;
  }
  if (!x->leaf) all = drain_node(m, x->child[0], all);
  node_free(m, x);
  return all;
}

static struct entry *tree_drain(struct lethe_weakmap *m) {
  struct node *root = m->u.tree.root;
  m->u.tree.root = NULL;
  m->u.tree.height = 0;
  return root ? drain_node(m, root, NULL) : NULL;
}

static unsigned tree_height(struct lethe_weakmap *m) { return m->u.tree.height; }

/* An entry, at its place, after the one before. */
static bool is_right(const struct lethe_weakmap *m, const struct node *x, uint32_t i,
                     const struct entry *last) {
  const struct entry *e = x->item[i].entry;
  struct lethe_weak_key k;
  weak_key_of(e, &k);
  return e->map == m && e->object == x->item[i].object && x->rank[i] == weak_key_rank(&k) &&
         (!last || weak_key_compare_entry(&k, last) > 0);
}

/* Counts the entries below x; 0 if something is wrong. `last` is the entry before. */
static size_t audit(struct lethe_weakmap *m, struct node *x, unsigned height, struct entry **last) {
  size_t n = 0;
  bool right =
      x->leaf == (height == 1) && x->n <= MOST && (x == m->u.tree.root ? x->n > 0 : x->n >= LEAST);
  for (uint32_t i = x->n; right && i <= MOST; i++) right = x->rank[i] == UINT64_MAX;
  for (uint32_t i = 0; right && i <= x->n; i++) {
    size_t below = x->leaf ? 0 : audit(m, x->child[i], height - 1, last);
    right = x->leaf || below > 0;
    n += below;
    if (i == x->n) break;
    right = right && is_right(m, x, i, *last);
    *last = x->item[i].entry;
    n++;
  }
  return right ? n : 0;
}

static bool tree_is_valid(struct lethe_weakmap *m) {
  struct entry *last = NULL;
  if (!m->u.tree.root) return m->count == 0 && m->u.tree.height == 0;
  return audit(m, m->u.tree.root, tree_height(m), &last) == m->count && m->count > 0;
}

const struct index weak_btree = {.find = tree_find,
                                 .look = tree_look,
                                 .retied = tree_retied,
                                 .put = tree_put,
                                 .remove = tree_remove,
                                 .after = tree_after,
                                 .before = tree_before,
                                 .drain = tree_drain,
                                 .is_valid = tree_is_valid,
                                 .height = tree_height};
