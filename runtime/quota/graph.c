/* SPDX-License-Identifier: MIT
 * The graph of accounts: edges, the two walks over it, and what depends on them.
 *
 * A walk visits each account above (or below) once, however many paths lead to it. It needs no
 * memory: the accounts on it are linked through their extras, as a queue that is read while it
 * grows; marks say who is on it already. Only accounts with an extra can have edges. One walk up
 * may go on while one walk down does, which is what recomputing the sums takes. */
#include <string.h>

#include "quota_internal.h"

/* The extra of an account, made if it has none; NULL without memory. */
struct extra *quota_extra(struct lethe_quota *t, slot_t s) {
  struct account *a = account_at(t, s);
  if (a->x) return a->x;
  struct extra *x = lethe_zalloc(t->alloc, sizeof *x);
  if (!x) return NULL;
  x->max = LETHE_QUOTA_NO_LIMIT;
  for (slot_t p = a->participants; p; p = participant_at(t, p)->next)
    x->own += participant_at(t, p)->refs; /* one at most: the second one makes the extra */
  x->handles = x->own;
  return a->x = x;
}

/* ---- walks ----------------------------------------------------------------------------------- */

slot_t quota_up(const struct lethe_quota *t, slot_t s) {
  const struct extra *x = account_at(t, s)->x;
  return x ? x->up_next : 0;
}

slot_t quota_down(const struct lethe_quota *t, slot_t s) {
  const struct extra *x = account_at(t, s)->x;
  return x ? x->down_next : 0;
}

void quota_walk_up(struct lethe_quota *t, slot_t s) {
  struct extra *x = account_at(t, s)->x;
  if (!x) return;
  uint64_t mark = ++t->mark;
  slot_t tail = s;
  x->up_mark = mark;
  x->up_next = 0;
  for (slot_t at = s; at; at = quota_up(t, at)) {
    for (slot_t e = account_at(t, at)->x->up; e; e = edge_at(t, e)->next_up) {
      slot_t parent = edge_at(t, e)->parent;
      x = account_at(t, parent)->x;
      if (x->up_mark == mark) continue;
      x->up_mark = mark;
      x->up_next = 0;
      account_at(t, tail)->x->up_next = parent;
      tail = parent;
    }
  }
}

void quota_walk_down(struct lethe_quota *t, slot_t s) {
  struct extra *x = account_at(t, s)->x;
  if (!x) return;
  uint64_t mark = ++t->mark;
  slot_t tail = s;
  x->down_mark = mark;
  x->down_next = 0;
  for (slot_t at = s; at; at = quota_down(t, at)) {
    for (slot_t e = account_at(t, at)->x->down; e; e = edge_at(t, e)->next_down) {
      slot_t child = edge_at(t, e)->child;
      x = account_at(t, child)->x;
      if (x->down_mark == mark) continue;
      x->down_mark = mark;
      x->down_next = 0;
      account_at(t, tail)->x->down_next = child;
      tail = child;
    }
  }
}

/* ---- edges ----------------------------------------------------------------------------------- */

int quota_link(struct lethe_quota *t, slot_t child, slot_t parent, uint64_t *id) {
  if (!quota_extra(t, child) || !quota_extra(t, parent)) return LETHE_ENOMEM;
  struct edge *e = lethe_slab_take(&t->edges, id);
  if (!e) return LETHE_ENOMEM;
  e->parent = parent;
  e->child = child;
  e->next_up = account_at(t, child)->x->up;
  e->next_down = account_at(t, parent)->x->down;
  if (e->next_down) edge_at(t, e->next_down)->prev_down = (slot_t)*id;
  account_at(t, child)->x->up = (slot_t)*id;
  account_at(t, parent)->x->down = (slot_t)*id;
  return LETHE_OK;
}

static void unlink_edge(struct lethe_quota *t, slot_t s) {
  struct edge *e = edge_at(t, s);
  slot_t *link = &account_at(t, e->child)->x->up;
  while (*link != s) link = &edge_at(t, *link)->next_up;
  *link = e->next_up;
  if (e->prev_down)
    edge_at(t, e->prev_down)->next_down = e->next_down;
  else
    account_at(t, e->parent)->x->down = e->next_down;
  if (e->next_down) edge_at(t, e->next_down)->prev_down = e->prev_down;
  lethe_slab_give(&t->edges, lethe_slab_id(e, s));
}

/* Below and handles of every account at or above `from`, anew (I3, I6). */
static void recompute_above(struct lethe_quota *t, slot_t from) {
  quota_walk_up(t, from);
  for (slot_t s = from; s; s = quota_up(t, s)) {
    struct extra *x = account_at(t, s)->x;
    if (!x) continue;
    x->below = 0;
    x->handles = x->own;
    quota_walk_down(t, s);
    for (slot_t d = quota_down(t, s); d; d = quota_down(t, d)) {
      x->below += account_at(t, d)->used;
      x->handles += account_at(t, d)->x->own;
    }
  }
}

void quota_unlink_all(struct lethe_quota *t, slot_t s) {
  struct extra *x = account_at(t, s)->x;
  if (!x) return;
  bool bridge = x->up && x->down;
  while (x->down) unlink_edge(t, x->down);
  /* What was below is not below those above any more, unless another way leads there. */
  if (bridge) recompute_above(t, s);
  while (x->up) unlink_edge(t, x->up);
}

static bool is_below(struct lethe_quota *t, slot_t s, slot_t below) {
  if (s == below) return true;
  quota_walk_down(t, s);
  for (slot_t d = s; d; d = quota_down(t, d))
    if (d == below) return true;
  return false;
}

static int try_link(struct lethe_quota *t, slot_t child, slot_t parent, slot_t *blocker) {
  uint64_t edge;
  if (is_below(t, child, parent)) return LETHE_ECYCLE;
  const struct extra *x = account_at(t, child)->x;
  for (slot_t e = x ? x->up : 0; e; e = edge_at(t, e)->next_up)
    if (edge_at(t, e)->parent == parent) return LETHE_EDUPLICATE;
  int rc = quota_link(t, child, parent, &edge);
  if (rc) return rc;
  recompute_above(t, parent);
  *blocker = quota_blocker(t, parent, 0);
  if (!*blocker) return LETHE_OK;
  unlink_edge(t, (slot_t)edge);
  recompute_above(t, parent);
  return LETHE_ELIMIT;
}

/* LETHE_ELIMIT with *blocker set: that account has no room for what the child brings. */
static int add_parent(struct lethe_quota *t, uint64_t account, uint64_t parent, uint64_t *blocker) {
  slot_t full = 0;
  if (t->shut) return LETHE_ESHUTDOWN;
  if (!account_find(t, account) || !account_find(t, parent)) return LETHE_EACCOUNT;
  int rc = try_link(t, (slot_t)account, (slot_t)parent, &full);
  *blocker = full ? lethe_slab_id(account_at(t, full), full) : 0;
  return rc;
}

int lethe_quota_account_add_parent(struct lethe_quota *t, uint64_t account, uint64_t parent) {
  uint64_t blocker = 0, drained = 0;
  int rc;
  if (t->noop) return LETHE_OK;
  quota_lock(t);
  while ((rc = add_parent(t, account, parent, &blocker)) == LETHE_ELIMIT && blocker != drained) {
    drained = blocker; /* unspent caches on either side may be what is in the way */
    quota_drain_tree(t, account);
    quota_drain_tree(t, blocker);
  }
  if (rc == LETHE_OK) quota_serve(t); /* what waits below may have a new max above it */
  quota_unlock(t);
  return rc;
}

/* ---- limits and handles up the graph --------------------------------------------------------- */

slot_t quota_blocker_above(struct lethe_quota *t, slot_t s, int64_t n) {
  quota_walk_up(t, s);
  for (slot_t above = s; above; above = quota_up(t, above)) {
    const struct account *a = account_at(t, above);
    if (a->x->max != LETHE_QUOTA_NO_LIMIT && a->used + a->x->below > a->x->max - n) return above;
  }
  return 0;
}

void quota_handles_changed(struct lethe_quota *t, slot_t s, int32_t by) {
  t->handles = (uint64_t)((int64_t)t->handles + by);
  if (!account_at(t, s)->x) return;
  account_at(t, s)->x->own = (uint32_t)((int64_t)account_at(t, s)->x->own + by);
  quota_walk_up(t, s);
  for (slot_t above = s; above; above = quota_up(t, above)) {
    struct extra *x = account_at(t, above)->x;
    x->handles = (uint32_t)((int64_t)x->handles + by);
  }
}
