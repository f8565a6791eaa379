/* SPDX-License-Identifier: MIT
 * What weak maps are measured against: a plain B-tree and an open-addressing table, from 64-bit
 * integers to pointers, of one thread, that know of nothing but that. */
#ifndef SPEC_BENCH_WEAK_PEERS_H
#define SPEC_BENCH_WEAK_PEERS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- B-tree ---------------------------------------------------------------------------------- */

enum { PEER_MOST = 31, PEER_LEAST = 15 };

struct peer_node {
  int n;
  bool leaf;
  int64_t key[PEER_MOST];
  void *value[PEER_MOST];
  struct peer_node *child[]; /* in inner nodes */
};

struct peer_tree {
  struct peer_node *root;
};

static inline struct peer_node *peer_node_new(bool leaf) {
  size_t children = leaf ? 0 : (PEER_MOST + 1) * sizeof(struct peer_node *);
  struct peer_node *x = malloc(sizeof *x + children);
  if (!x) abort();
  x->n = 0;
  x->leaf = leaf;
  return x;
}

static inline int peer_place(const struct peer_node *x, int64_t key) {
  int from = 0, n = x->n;
  while (n > 0) {
    int half = n / 2;
    bool right = x->key[from + half] < key;
    from = right ? from + half + 1 : from;
    n = right ? n - half - 1 : half;
  }
  return from;
}

static inline void *peer_tree_get(const struct peer_tree *t, int64_t key) {
  for (const struct peer_node *x = t->root; x;) {
    int i = peer_place(x, key);
    if (i < x->n && x->key[i] == key) return x->value[i];
    x = x->leaf ? NULL : x->child[i];
  }
  return NULL;
}

static inline void peer_gap(struct peer_node *x, int i) {
  memmove(&x->key[i + 1], &x->key[i], (size_t)(x->n - i) * sizeof *x->key);
  memmove(&x->value[i + 1], &x->value[i], (size_t)(x->n - i) * sizeof *x->value);
  x->n++;
}

static inline void peer_split(struct peer_node *x, int i) {
  struct peer_node *left = x->child[i], *right = peer_node_new(left->leaf);
  right->n = PEER_LEAST;
  memcpy(right->key, &left->key[PEER_LEAST + 1], PEER_LEAST * sizeof *left->key);
  memcpy(right->value, &left->value[PEER_LEAST + 1], PEER_LEAST * sizeof *left->value);
  if (!left->leaf)
    memcpy(right->child, &left->child[PEER_LEAST + 1], (PEER_LEAST + 1) * sizeof *left->child);
  left->n = PEER_LEAST;
  memmove(&x->child[i + 2], &x->child[i + 1], (size_t)(x->n - i) * sizeof *x->child);
  peer_gap(x, i);
  x->key[i] = left->key[PEER_LEAST];
  x->value[i] = left->value[PEER_LEAST];
  x->child[i + 1] = right;
}

static inline void peer_tree_set(struct peer_tree *t, int64_t key, void *value) {
  if (!t->root) t->root = peer_node_new(true);
  if (t->root->n == PEER_MOST) {
    struct peer_node *root = peer_node_new(false);
    root->child[0] = t->root;
    peer_split(root, 0);
    t->root = root;
  }
  for (struct peer_node *x = t->root;;) {
    int i = peer_place(x, key);
    bool equal = i < x->n && x->key[i] == key;
    if (!equal && !x->leaf && x->child[i]->n == PEER_MOST) {
      peer_split(x, i);
      i = peer_place(x, key);
      equal = x->key[i] == key;
    }
    if (!equal && x->leaf) {
      peer_gap(x, i);
      x->key[i] = key;
    }
    if (equal || x->leaf) {
      x->value[i] = value;
      return;
    }
    x = x->child[i];
  }
}

static inline void peer_node_free(struct peer_node *x) {
  for (int i = 0; !x->leaf && i <= x->n; i++) peer_node_free(x->child[i]);
  free(x);
}

static inline void peer_tree_free(struct peer_tree *t) {
  if (t->root) peer_node_free(t->root);
  t->root = NULL;
}

/* ---- open addressing ------------------------------------------------------------------------- */

struct peer_table {
  struct peer_slot {
    int64_t key;
    void *value; /* NULL: free */
  } * slots;
  uint64_t mask, n;
};

static inline uint64_t peer_hash(uint64_t z) {
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

static inline struct peer_slot *peer_slot(const struct peer_table *t, int64_t key) {
  uint64_t i = peer_hash((uint64_t)key) & t->mask;
  while (t->slots[i].value && t->slots[i].key != key) i = (i + 1) & t->mask;
  return &t->slots[i];
}

static inline void *peer_table_get(const struct peer_table *t, int64_t key) {
  return t->slots ? peer_slot(t, key)->value : NULL;
}

static inline void peer_table_set(struct peer_table *t, int64_t key, void *value) {
  if (!t->slots || t->n * 2 > t->mask) { /* half full at most */
    struct peer_table old = *t;
    t->mask = old.slots ? old.mask * 2 + 1 : 15;
    t->slots = calloc(t->mask + 1, sizeof *t->slots);
    if (!t->slots) abort();
    for (uint64_t i = 0; old.slots && i <= old.mask; i++)
      if (old.slots[i].value) *peer_slot(t, old.slots[i].key) = old.slots[i];
    free(old.slots);
  }
  struct peer_slot *s = peer_slot(t, key);
  if (!s->value) t->n++;
  *s = (struct peer_slot){key, value};
}

static inline void peer_table_free(struct peer_table *t) {
  free(t->slots);
  *t = (struct peer_table){NULL, 0, 0};
}

#endif
