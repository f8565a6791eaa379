/* SPDX-License-Identifier: MIT
 * The audit: every sum of quota_records.h (I1 to I7) computed anew and compared. It freezes each
 * participant that it looks at, so it is exact while other threads claim and release. */
#include <stdio.h>

#include "quota_internal.h"

struct audit {
  struct lethe_quota *t;
  char *why;
  size_t n;
};

static int differs(const struct audit *a, const char *what, uint64_t id, int64_t has, int64_t sum) {
  char of[24] = "";
  if (has == sum) return LETHE_OK;
  if (id) snprintf(of, sizeof of, " %llu", (unsigned long long)id);
  snprintf(a->why, a->n, "%s%s: has %lld, its parts add up to %lld", what, of, (long long)has,
           (long long)sum);
  return LETHE_EBROKEN;
}

/* ---- participants ---------------------------------------------------------------------------- */

static int participant(const struct audit *a, slot_t s) {
  struct lethe_quota *t = a->t;
  struct participant *p = participant_at(t, s);
  uint64_t id = lethe_slab_id(p, s);
  int64_t sum = 0, handles = 0;
  if (p->state == LIVE) quota_freeze_participant(t, p);
  for (const struct lethe_quota_handle *h = p->handles; h; h = h->next) {
    sum += h->cache + h->spent;
    handles++;
  }
  int rc = differs(a, "handles of participant", id, p->refs, handles);
  if (rc || p->state != LIVE) return rc;
  return differs(a, "used of participant", id, p->used, sum + quota_granted_to(t, s));
}

static int participants(const struct audit *a) {
  struct lethe_quota *t = a->t;
  int64_t condemned = 0, handles = 0, living = 0;
  int rc = LETHE_OK;
  for (slot_t s = 1; rc == LETHE_OK && s < t->participants.slots; s++) {
    const struct participant *p = lethe_slab_used(&t->participants, s);
    if (!p) continue;
    rc = participant(a, s);
    if (p->state == CONDEMNED) condemned += p->used;
    if (p->state != LIVE) continue;
    handles += p->refs;
    living++;
  }
  if (rc == LETHE_OK) rc = differs(a, "condemned of tracker", 0, t->condemned, condemned);
  if (rc == LETHE_OK) rc = differs(a, "handles of tracker", 0, (int64_t)t->handles, handles);
  if (rc == LETHE_OK)
    rc = differs(a, "participants of tracker", 0, (int64_t)t->live_participants, living);
  return rc;
}

/* ---- accounts -------------------------------------------------------------------------------- */

static int64_t handles_in(const struct lethe_quota *t, slot_t s) {
  int64_t handles = 0;
  for (slot_t i = account_at(t, s)->participants; i; i = participant_at(t, i)->next)
    handles += participant_at(t, i)->refs;
  return handles;
}

/* What only some accounts count. */
static int extra(const struct audit *a, slot_t s) {
  struct lethe_quota *t = a->t;
  const struct extra *x = account_at(t, s)->x;
  uint64_t id = lethe_slab_id(account_at(t, s), s);
  int64_t below = 0, own = handles_in(t, s), handles = own;
  quota_walk_down(t, s);
  for (slot_t d = quota_down(t, s); d; d = quota_down(t, d)) {
    below += account_at(t, d)->used;
    handles += handles_in(t, d);
  }
  int rc = differs(a, "children_used of account", id, x->below, below);
  if (rc == LETHE_OK) rc = differs(a, "own handles of account", id, x->own, own);
  if (rc == LETHE_OK) rc = differs(a, "handles of account", id, x->handles, handles);
  return rc;
}

static int account(const struct audit *a, slot_t s) {
  struct lethe_quota *t = a->t;
  const struct account *acc = account_at(t, s);
  uint64_t id = lethe_slab_id(acc, s);
  int64_t own = 0;
  for (slot_t i = acc->participants; i; i = participant_at(t, i)->next)
    own += participant_at(t, i)->used;
  int rc = differs(a, "used of account", id, acc->used, own);
  if (rc == LETHE_OK && acc->x) rc = extra(a, s);
  if (rc == LETHE_OK && acc->peak < acc->used)
    rc = differs(a, "peak of account", id, acc->peak, acc->used);
  return rc;
}

static int accounts(const struct audit *a) {
  struct lethe_quota *t = a->t;
  int64_t total = 0;
  int rc = LETHE_OK;
  for (slot_t s = 1; rc == LETHE_OK && s < t->accounts.slots; s++) {
    const struct account *acc = lethe_slab_used(&t->accounts, s);
    if (!acc) continue;
    rc = account(a, s);
    total += acc->used;
  }
  return rc ? rc : differs(a, "used of tracker", 0, t->used, total);
}

/* Each account is in one list, and in the right one. */
static int classes(const struct audit *a) {
  struct lethe_quota *t = a->t;
  int64_t listed = 0;
  int rc = LETHE_OK;
  for (unsigned c = 0; c <= CLASSES; c++)
    for (slot_t s = t->classes[c]; rc == LETHE_OK && s; s = account_at(t, s)->class_next) {
      const struct account *acc = account_at(t, s);
      rc = differs(a, "size class of account", lethe_slab_id(acc, s), c, quota_class_of(acc->used));
      listed++;
    }
  return rc ? rc : differs(a, "accounts of tracker", 0, t->accounts.live, listed);
}

int lethe_quota_check(struct lethe_quota *t, char *why, size_t n) {
  struct audit a = {t, why, n};
  if (t->noop) return LETHE_OK;
  quota_lock(t);
  int rc = participants(&a);
  if (rc == LETHE_OK) rc = accounts(&a);
  if (rc == LETHE_OK) rc = classes(&a);
  quota_unlock(t);
  return rc;
}

/* ---- test builds ----------------------------------------------------------------------------- */

#ifdef LETHE_FAULTS
static slot_t first_used(const struct lethe_slab *slab) {
  for (slot_t s = 1; s < slab->slots; s++)
    if (lethe_slab_used(slab, s)) return s;
  return 0;
}

/* Exchanges the lists of two classes: the account is where none of its size should be. */
static void corrupt_class(struct lethe_quota *t, slot_t s) {
  uint8_t class = quota_class_of(account_at(t, s)->used);
  slot_t list = t->classes[class];
  t->classes[class] = t->classes[class ^ 1];
  t->classes[class ^ 1] = list;
}

static bool corrupt_account(struct lethe_quota *t, int which, int64_t delta) {
  slot_t s = first_used(&t->accounts);
  struct extra *x = s ? quota_extra(t, s) : NULL;
  if (!x) return false;
  struct account *a = account_at(t, s);
  switch (which) {
  case 3:
    a->used += delta;
    return true;
  case 4:
    x->below += delta;
    return true;
  case 5:
    x->handles += (uint32_t)delta;
    return true;
  case 6:
    a->peak = a->used - delta;
    return true;
  case 9:
    x->own += (uint32_t)delta;
    return true;
  case 11:
    corrupt_class(t, s);
    return true;
  default:
    return false;
  }
}

static bool corrupt_participant(struct lethe_quota *t, int which, int64_t delta) {
  slot_t s = first_used(&t->participants);
  if (!s) return false;
  if (which == 7)
    participant_at(t, s)->used += delta;
  else
    participant_at(t, s)->refs += (uint32_t)delta;
  return true;
}

bool lethe_quota_corrupt(struct lethe_quota *t, int which, int64_t delta) {
  bool known = true;
  quota_lock(t);
  switch (which) {
  case 0:
    t->used += delta;
    break;
  case 1:
    t->condemned += delta;
    break;
  case 2:
    t->handles = (uint64_t)((int64_t)t->handles + delta);
    break;
  case 7:
  case 8:
    known = corrupt_participant(t, which, delta);
    break;
  case 10:
    t->live_participants = (uint64_t)((int64_t)t->live_participants + delta);
    break;
  default:
    known = corrupt_account(t, which, delta);
  }
  quota_unlock(t);
  return known;
}
#endif
