/* SPDX-License-Identifier: MIT
 * The audit: every sum of quota_internal.h (I1 to I6) computed anew and compared. It freezes each
 * participant that it looks at, so it is exact while other threads claim and release. */
#include <stdio.h>

#include "quota_internal.h"

struct audit {
  struct lethe_quota *t;
  char *why;
  size_t n;
};

static int differs(struct audit *a, const char *what, uint64_t id, int64_t has, int64_t sum) {
  if (has == sum) return LETHE_OK;
  snprintf(a->why, a->n, "%s%s%.0lld: has %lld, its parts add up to %lld", what, id ? " " : "",
           (long long)id, (long long)has, (long long)sum);
  return LETHE_EBROKEN;
}

static int participant(struct audit *a, slot_t s, int64_t *condemned, int64_t *refs) {
  struct lethe_quota *t = a->t;
  struct participant *p = participant_at(t, s);
  int64_t sum = 0, handles = 0;
  if (p->state == LIVE) quota_freeze_participant(t, p);
  for (struct lethe_quota_handle *h = p->handles; h; h = h->next) {
    sum += h->cache + h->spent;
    handles++;
  }
  if (p->state == CONDEMNED) *condemned += p->used;
  if (p->state == LIVE) *refs += handles;
  int rc = differs(a, "handles of participant", lethe_slab_id(p, s), p->refs, handles);
  if (rc || p->state != LIVE) return rc;
  return differs(a, "used of participant", lethe_slab_id(p, s), p->used,
                 sum + quota_granted_to(t, s));
}

static int account(struct audit *a, slot_t s, int64_t *total) {
  struct lethe_quota *t = a->t;
  struct account *acc = account_at(t, s);
  uint64_t id = lethe_slab_id(acc, s);
  int64_t own = 0, below = 0, handles = 0;
  quota_walk_down(t, s);
  for (slot_t d = s; d; d = quota_down(t, d)) {
    if (d != s) below += account_at(t, d)->used;
    for (slot_t i = account_at(t, d)->participants; i; i = participant_at(t, i)->next) {
      if (d == s) own += participant_at(t, i)->used;
      handles += participant_at(t, i)->refs;
    }
  }
  *total += acc->used;
  int rc = differs(a, "used of account", id, acc->used, own);
  if (rc == LETHE_OK && acc->x) rc = differs(a, "children_used of account", id, acc->x->below, below);
  if (rc == LETHE_OK && acc->x) rc = differs(a, "handles of account", id, acc->x->handles, handles);
  if (rc == LETHE_OK && acc->peak < acc->used)
    rc = differs(a, "peak of account", id, acc->peak, acc->used);
  return rc;
}

static int audit(struct audit *a) {
  struct lethe_quota *t = a->t;
  int64_t total = 0, condemned = 0, handles = 0;
  int rc = LETHE_OK;
  for (slot_t s = 1; rc == LETHE_OK && s < t->participants.slots; s++)
    if (lethe_slab_used(&t->participants, s)) rc = participant(a, s, &condemned, &handles);
  for (slot_t s = 1; rc == LETHE_OK && s < t->accounts.slots; s++)
    if (lethe_slab_used(&t->accounts, s)) rc = account(a, s, &total);
  if (rc == LETHE_OK) rc = differs(a, "used of tracker", 0, t->used, total);
  if (rc == LETHE_OK) rc = differs(a, "condemned of tracker", 0, t->condemned, condemned);
  if (rc == LETHE_OK) rc = differs(a, "handles of tracker", 0, (int64_t)t->handles, handles);
  return rc;
}

int lethe_quota_check(struct lethe_quota *t, char *why, size_t n) {
  struct audit a = {t, why, n};
  if (t->noop) return LETHE_OK;
  quota_lock(t);
  int rc = audit(&a);
  quota_unlock(t);
  return rc;
}

#ifdef LETHE_FAULTS
static slot_t first_used(const struct lethe_slab *slab) {
  for (slot_t s = 1; s < slab->slots; s++)
    if (lethe_slab_used(slab, s)) return s;
  return 0;
}

bool lethe_quota_corrupt(struct lethe_quota *t, int which, int64_t delta) {
  slot_t a = first_used(&t->accounts), p = first_used(&t->participants);
  bool known = true;
  quota_lock(t);
  switch (which) {
    case 0: t->used += delta; break;
    case 1: t->condemned += delta; break;
    case 2: t->handles = (uint64_t)((int64_t)t->handles + delta); break;
    case 3: account_at(t, a)->used += delta; break;
    case 4: quota_extra(t, a)->below += delta; break;
    case 5: quota_extra(t, a)->handles += (uint32_t)delta; break;
    case 6: account_at(t, a)->peak -= account_at(t, a)->peak + delta; break;
    case 7: participant_at(t, p)->used += delta; break;
    case 8: participant_at(t, p)->refs += (uint32_t)delta; break;
    default: known = false;
  }
  quota_unlock(t);
  return known;
}
#endif
