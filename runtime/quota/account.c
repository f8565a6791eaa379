/* SPDX-License-Identifier: MIT
 * Accounts: made, cloned, closed, looked up, listed. An account ends when its last handle closes,
 * when it collapses in a pass, or with the tracker; its participants end with it, its children live
 * on without it. */
#include <string.h>

#include "quota_internal.h"

static int set_extra(struct lethe_quota *t, slot_t s, const struct lethe_quota_account_config *c) {
  if (!c->name && c->max == LETHE_QUOTA_NO_LIMIT && c->reserve == 0 && c->priority == 0)
    return LETHE_OK;
  struct extra *x = quota_extra(t, s);
  if (!x) return LETHE_ENOMEM;
  x->max = c->max;
  x->reserve = c->reserve;
  x->priority = c->priority;
  if (!c->name) return LETHE_OK;
  size_t n = strlen(c->name) + 1;
  x->name = lethe_malloc(t->alloc, n);
  if (!x->name) return LETHE_ENOMEM;
  memcpy(x->name, c->name, n);
  return LETHE_OK;
}

static void free_extra(struct lethe_quota *t, slot_t s) {
  struct extra *x = account_at(t, s)->x;
  if (!x) return;
  if (x->name) lethe_free(t->alloc, x->name, strlen(x->name) + 1);
  lethe_free(t->alloc, x, sizeof *x);
  account_at(t, s)->x = NULL;
}

static int new_locked(struct lethe_quota *t, const struct lethe_quota_account_config *c,
                      uint64_t parent, uint64_t *out) {
  uint64_t id, edge;
  if (t->shut) return LETHE_ESHUTDOWN;
  if (parent && !account_find(t, parent)) return LETHE_EACCOUNT;
  struct account *a = lethe_slab_take(&t->accounts, &id);
  if (!a) return LETHE_ENOMEM;
  int rc = set_extra(t, (slot_t)id, c);
  if (rc == LETHE_OK && parent) rc = quota_link(t, (slot_t)id, (slot_t)parent, &edge);
  if (rc != LETHE_OK) {
    free_extra(t, (slot_t)id);
    lethe_slab_give(&t->accounts, id);
    return rc;
  }
  a->refs = 1;
  quota_class_add(t, (slot_t)id);
  t->strong++;
  *out = id;
  return LETHE_OK;
}

int lethe_quota_account_new(struct lethe_quota *t, const struct lethe_quota_account_config *c,
                            uint64_t parent, uint64_t *out) {
  if (t->noop) {
    *out = 0;
    lethe_ref_get(&t->memory);
    return LETHE_OK;
  }
  quota_lock(t);
  int rc = new_locked(t, c, parent, out);
  if (rc == LETHE_OK) lethe_ref_get(&t->memory);
  quota_unlock(t);
  return rc;
}

/* The last handle is gone, or the account collapsed with handles still out: they find no
 * account. */
void quota_account_end(struct lethe_quota *t, slot_t s) {
  struct account *a = account_at(t, s);
  while (a->participants) quota_participant_end(t, a->participants);
  quota_unlink_all(t, s);
  quota_class_remove(t, s);
  free_extra(t, s);
  lethe_slab_give(&t->accounts, lethe_slab_id(a, s));
}

void lethe_quota_account_clone(struct lethe_quota *t, uint64_t account) {
  lethe_ref_get(&t->memory);
  if (t->noop) return;
  quota_lock(t);
  struct account *a = account_find(t, account);
  if (a) a->refs++;
  t->strong++; /* a handle on an ended account keeps the tracker too */
  quota_unlock(t);
}

static int64_t unspent(struct lethe_quota *t, slot_t s) {
  int64_t sum = 0;
  quota_freeze_account(t, s);
  for (slot_t p = account_at(t, s)->participants; p; p = participant_at(t, p)->next)
    sum += quota_unspent(participant_at(t, p));
  return sum;
}

int64_t lethe_quota_account_close(struct lethe_quota *t, uint64_t account) {
  int64_t bytes = 0;
  if (!t->noop) {
    quota_lock(t);
    struct account *a = account_find(t, account);
    if (a && --a->refs == 0) {
      bytes = a->used - unspent(t, (slot_t)account);
      quota_account_end(t, (slot_t)account);
    }
    quota_strong_put_locked(t);
    quota_unlock(t);
  }
  quota_memory_put(t);
  return bytes;
}

int lethe_quota_account_upgrade(struct lethe_quota *t, uint64_t account) {
  int rc = LETHE_OK;
  if (!t->noop) {
    quota_lock(t);
    struct account *a = account_find(t, account);
    if (t->shut)
      rc = LETHE_ESHUTDOWN;
    else if (!a)
      rc = LETHE_EACCOUNT;
    else
      a->refs++;
    if (rc == LETHE_OK) t->strong++;
    quota_unlock(t);
  }
  if (rc == LETHE_OK) lethe_ref_get(&t->memory);
  return rc;
}

/* ---- looking --------------------------------------------------------------------------------- */

static void describe(const struct lethe_quota *t, slot_t s, struct lethe_quota_account_info *out) {
  const struct account *a = account_at(t, s);
  const struct extra *x = a->x;
  *out = (struct lethe_quota_account_info){.account = lethe_slab_id(a, s),
                                           .used = a->used,
                                           .peak = a->peak,
                                           .limit = LETHE_QUOTA_NO_LIMIT,
                                           .oldest = INFINITY};
  for (slot_t i = a->participants; i; i = participant_at(t, i)->next) {
    const struct participant *p = participant_at(t, i);
    int64_t plausible = (int64_t)p->refs * LETHE_QUOTA_CACHE;
    out->participants++;
    if (p->flags & TOLD) {
      if (p->age < out->oldest) out->oldest = p->age;
    } else if (p->flags & ASKED && p->used > plausible && !(p->flags & EXACT)) {
      out->oldest = -INFINITY; /* it says that it has nothing, but its accounting disagrees */
    }
  }
  if (!x) return;
  if (x->name) strncpy(out->name, x->name, sizeof out->name - 1);
  out->limit = x->max;
  out->reserve = x->reserve;
  out->priority = x->priority;
  out->children_used = x->below;
  out->reclaims = x->reclaims;
}

int lethe_quota_account_read(struct lethe_quota *t, uint64_t account,
                             struct lethe_quota_account_info *out) {
  if (t->noop) {
    *out = (struct lethe_quota_account_info){.limit = LETHE_QUOTA_NO_LIMIT, .oldest = INFINITY};
    return LETHE_OK;
  }
  quota_lock(t);
  int rc = t->shut ? LETHE_ESHUTDOWN : account_find(t, account) ? LETHE_OK : LETHE_EACCOUNT;
  if (rc == LETHE_OK) describe(t, (slot_t)account, out);
  quota_unlock(t);
  return rc;
}

/* Equal sizes by id. */
static bool larger(const struct lethe_quota *t, slot_t x, slot_t y) {
  const struct account *a = account_at(t, x), *b = account_at(t, y);
  return a->used != b->used ? a->used > b->used : lethe_slab_id(a, x) < lethe_slab_id(b, y);
}

/* Insertion into the n largest so far. */
static void insert(struct lethe_quota *t, slot_t *best, size_t *have, size_t n, slot_t s) {
  if (*have == n && !larger(t, s, best[n - 1])) return;
  if (*have < n) ++*have;
  size_t i = *have - 1;
  for (; i > 0 && larger(t, s, best[i - 1]); i--) best[i] = best[i - 1];
  best[i] = s;
}

/* The size classes hold the largest accounts first, so only as many classes are read as it
 * takes. */
size_t lethe_quota_top(struct lethe_quota *t, struct lethe_quota_account_info *out, size_t n) {
  size_t have = 0;
  if (t->noop || n == 0) return 0;
  slot_t *best = lethe_malloc(t->alloc, n * sizeof *best);
  if (!best) return 0;
  quota_lock(t);
  for (int c = CLASSES; c >= 0 && have < n; c--)
    for (slot_t s = t->classes[c]; s; s = account_at(t, s)->class_next)
      insert(t, best, &have, n, s);
  for (size_t i = 0; i < have; i++) describe(t, best[i], &out[i]);
  quota_unlock(t);
  lethe_free(t->alloc, best, n * sizeof *best);
  return have;
}

bool lethe_quota_next_account(struct lethe_quota *t, uint32_t *cursor,
                              struct lethe_quota_account_info *out) {
  bool found = false;
  if (t->noop) return false;
  quota_lock(t);
  while (!found && ++*cursor < t->accounts.slots)
    if (lethe_slab_used(&t->accounts, *cursor)) {
      describe(t, *cursor, out);
      found = true;
    }
  quota_unlock(t);
  return found;
}
