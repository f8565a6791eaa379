/* SPDX-License-Identifier: MIT
 * Walks that survive the lock's being dropped: trees of accounts and cursors over participants.
 *
 * A tree is found breadth first, a slice of edges at a time. What is in it already is told by a bit
 * for each slot, so an account that several ways lead to is in it once. Accounts that come below it
 * behind the walk are not in it: they arrive (request.c). */
#include <string.h>

#include "quota_internal.h"

/* ---- trees ----------------------------------------------------------------------------------- */

static bool has_bit(const struct tree *tree, slot_t s) {
  return s / 8 < tree->in_room && tree->in[s / 8] & 1u << s % 8;
}

static int set_bit(struct lethe_quota *t, struct tree *tree, slot_t s) {
  size_t room = tree->in_room;
  void *array = tree->in;
  if (s / 8 >= room) {
    if (lethe_grow(t->alloc, &array, &tree->in_room, s / 8 + 1, 1)) return LETHE_ENOMEM;
    tree->in = array;
    memset(tree->in + room, 0, tree->in_room - room);
  }
  tree->in[s / 8] = (uint8_t)(tree->in[s / 8] | 1u << s % 8);
  return LETHE_OK;
}

/* The root has no bit: nothing leads back to it. */
int quota_tree_begin(struct lethe_quota *t, struct tree *tree, uint64_t root) {
  if (tree->v.n > 1) memset(tree->in, 0, tree->in_room);
  tree->v.n = tree->open = 0;
  tree->edge = 0;
  return vec_push_id(t->alloc, &tree->v, root);
}

static int add_child(struct lethe_quota *t, struct tree *tree, slot_t child) {
  if (has_bit(tree, child)) return LETHE_OK;
  int rc = vec_push_id(t->alloc, &tree->v, lethe_slab_id(account_at(t, child), child));
  if (rc == LETHE_OK && (rc = set_bit(t, tree, child)) != LETHE_OK) tree->v.n--;
  return rc;
}

/* Where the walk over an account's children goes on; when that edge is gone, from the first
 * anew. */
static slot_t next_edge(const struct lethe_quota *t, const struct tree *tree) {
  const struct account *a = account_find(t, vec_id(&tree->v, tree->open));
  if (!a || !a->x) return 0;
  return lethe_slab_find(&t->edges, tree->edge) ? (slot_t)tree->edge : a->x->down;
}

int quota_tree_grow(struct lethe_quota *t, struct tree *tree) {
  for (; tree->open < tree->v.n; tree->open++) {
    for (slot_t s = next_edge(t, tree); s; s = edge_at(t, s)->next_down) {
      tree->edge = lethe_slab_id(edge_at(t, s), s);
      if (t->visited >= LETHE_QUOTA_SLICE) return 1;
      quota_visit(t, 1);
      int rc = add_child(t, tree, edge_at(t, s)->child);
      if (rc) return rc;
    }
    tree->edge = 0;
  }
  return 0;
}

void quota_tree_free(struct lethe_quota *t, struct tree *tree) {
  vec_free(t->alloc, &tree->v, sizeof(uint64_t));
  lethe_free(t->alloc, tree->in, tree->in_room);
  *tree = (struct tree){0};
}

/* ---- cursors --------------------------------------------------------------------------------- */

static const struct tree no_tree;

void quota_cursor_open(struct lethe_quota *t, struct cursor *c, const struct tree *tree) {
  c->tree = tree;
  c->account = 0;
  c->at = tree ? 0 : 1;
  lethe_list_push(&t->cursors, &c->node);
}

void quota_cursor_account(struct lethe_quota *t, struct cursor *c, slot_t account) {
  quota_cursor_open(t, c, &no_tree);
  c->at = account_at(t, account)->participants;
}

void quota_cursor_close(struct cursor *c) { lethe_list_remove(&c->node); }

void quota_cursors_skip(struct lethe_quota *t, slot_t s) {
  LETHE_LIST_EACH(node, &t->cursors) {
    struct cursor *c = lethe_container_of(node, struct cursor, node);
    if (c->tree && c->at == s) c->at = participant_at(t, s)->next;
  }
}

/* False, and *more set, at the end of the slice. */
static bool count(struct lethe_quota *t, bool *more) {
  *more = t->visited >= LETHE_QUOTA_SLICE;
  if (!*more) quota_visit(t, 1);
  return !*more;
}

static slot_t next_in_slab(struct lethe_quota *t, struct cursor *c, bool *more) {
  while (c->at < t->participants.slots && count(t, more)) {
    const struct participant *p = lethe_slab_used(&t->participants, c->at++);
    if (p && p->state == LIVE) return c->at - 1;
  }
  return 0;
}

slot_t quota_cursor_next(struct lethe_quota *t, struct cursor *c, bool *more) {
  *more = false;
  if (!c->tree) return next_in_slab(t, c, more);
  while (c->at == 0 && c->account < c->tree->v.n) {
    if (!count(t, more)) return 0;
    const struct account *a = account_find(t, vec_id(&c->tree->v, c->account++));
    if (a) c->at = a->participants;
  }
  if (c->at == 0 || !count(t, more)) return 0;
  slot_t s = c->at;
  c->at = participant_at(t, s)->next;
  return s;
}
