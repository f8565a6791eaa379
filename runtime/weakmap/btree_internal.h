/* SPDX-License-Identifier: MIT
 * What the files of the ordered index share: btree.c has its calls, btree_remove.c removing,
 * btree_whole.c what goes over all of it, btree_memo.c what looks found.
 *
 * Each node keeps its entries' ranks and objects beside the pointers, so that a look touches an
 * entry only where ranks are equal.
 *
 * Invariants: B1  entries rise, within a node and between its children. B2  every node but the root
 * has 15 to 31 entries, an inner one a child more; but those at the right edge, on the way to the
 * greatest entry, have one at least. B3  all leaves are on one level. B4  ranks behind the last
 * entry's are the greatest there is: a node is searched in three steps that are always the same
 * ones, so nothing in them can be mispredicted. B5  the memo is right (M1). */
#ifndef LETHE_WEAKMAP_BTREE_INTERNAL_H
#define LETHE_WEAKMAP_BTREE_INTERNAL_H

#include "weakmap_internal.h"

enum { MOST = LETHE_WEAKMAP_NODE, LEAST = MOST / 2 };
_Static_assert(MOST == 31, "three steps");

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

/* ---- searching ------------------------------------------------------------------------------- */

/* How many entries have a lesser rank. */
static inline uint32_t node_below(const struct node *x, uint64_t rank) {
  const uint64_t *r = x->rank;
  uint32_t i = 8 * ((uint32_t)(r[7] < rank) + (r[15] < rank) + (r[23] < rank));
  i += 2 * ((uint32_t)(r[i + 1] < rank) + (r[i + 3] < rank) + (r[i + 5] < rank));
  return i + (r[i] < rank);
}

/* All ranks of a node are on their way at once, not one after the other as they are compared. */
static inline void node_fetch(const struct node *x) {
  const char *p = (const char *)x;
  for (size_t at = 0; at < sizeof x->rank; at += WEAK_LINE) __builtin_prefetch(p + at);
}

/* How many entries of the node come before the key; *equal: the next one has it. `exact`: no other
 * key has its rank. */
uint32_t weak_tree_among_equals(const struct node *x, const struct lethe_weak_key *k, uint64_t rank,
                                uint32_t from, bool *equal);
static inline uint32_t node_place(const struct node *x, const struct lethe_weak_key *k,
                                  uint64_t rank, bool exact, bool *equal) {
  uint32_t i = node_below(x, rank);
  *equal = i < x->n && x->rank[i] == rank;
  return *equal && !exact ? weak_tree_among_equals(x, k, rank, i, equal) : i;
}

/* ---- moving ---------------------------------------------------------------------------------- */

/* Entry i of x is that of place j of y. */
static inline void node_copy(struct node *x, uint32_t i, const struct node *y, uint32_t j) {
  x->rank[i] = y->rank[j];
  x->item[i] = y->item[j];
}

/* n entries, from place i of x to place j of y, which may be the same node. */
static inline void node_move(struct lethe_weakmap *m, struct node *y, uint32_t j, struct node *x,
                             uint32_t i, uint32_t n) {
  memmove(&y->rank[j], &x->rank[i], n * sizeof *x->rank);
  memmove(&y->item[j], &x->item[i], n * sizeof *x->item);
  m->moved += n;
}

static inline void node_move_children(struct node *y, uint32_t j, struct node *x, uint32_t i,
                                      uint32_t n) {
  if (!x->leaf) memmove(&y->child[j], &x->child[i], n * sizeof(struct node *));
}

/* A gap at place i of a node that is not full. */
static inline void node_open_gap(struct lethe_weakmap *m, struct node *x, uint32_t i) {
  node_move(m, x, i + 1, x, i, x->n - i);
  x->n++;
}

/* Only the first n entries are left (keeps B4). */
static inline void node_cut(struct node *x, uint32_t n) {
  memset(&x->rank[n], 0xff, (x->n - n) * sizeof *x->rank);
  x->n = n;
}

static inline void node_close_gap(struct lethe_weakmap *m, struct node *x, uint32_t i) {
  node_move(m, x, i, x, i + 1, x->n - i - 1);
  node_cut(x, x->n - 1);
}

/* ---- btree.c --------------------------------------------------------------------------------- */

void weak_tree_free_node(struct lethe_weakmap *m, struct node *x);
/* A root without entries goes. */
void weak_tree_drop_empty_root(struct lethe_weakmap *m);

/* ---- btree_memo.c ---------------------------------------------------------------------------- */

/* A look has gone down the tree for the integer, and found the object. */
void weak_memo_note(struct lethe_weakmap *m, int64_t key, struct lethe_counted *c);
/* The object of the integer, of a memo that there is; NULL: the tree knows. */
struct lethe_counted *weak_memo_look(const struct lethe_weakmap *m, int64_t key);
/* An entry comes or goes; what was under the key is no longer there, or is another. */
void weak_memo_changed(struct lethe_weakmap *m);
void weak_memo_forget(struct lethe_weakmap *m, const struct lethe_weak_key *k);
void weak_memo_drop(struct lethe_weakmap *m);
bool weak_memo_is_valid(struct lethe_weakmap *m);

/* ---- btree_remove.c -------------------------------------------------------------------------- */

void weak_tree_remove(struct lethe_weakmap *m, struct entry *e);

/* ---- btree_whole.c --------------------------------------------------------------------------- */

struct entry *weak_tree_drain(struct lethe_weakmap *m);
bool weak_tree_is_valid(struct lethe_weakmap *m);
unsigned weak_tree_height(struct lethe_weakmap *m);

#endif
