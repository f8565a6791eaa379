/* SPDX-License-Identifier: MIT
 * Candidates: what a policy sees of an account. A snapshot is taken a slice of participants at a
 * time; nothing of it stays but the score and the id, and it is taken anew when the account's turn
 * comes. */
#include <string.h>

#include "quota_internal.h"

/* A pass called unspent caches back before; a plan touches nothing, and leaves them out instead. */
static int64_t unspent_in_plan(struct lethe_quota *t, struct participant *p) {
  quota_freeze_participant(t, p);
  return quota_unspent(p);
}

static void look_at(struct lethe_quota_account_info *info, const struct participant *p,
                    int64_t unspent) {
  info->participants++;
  if (p->flags & TOLD)
    info->oldest = fmin(info->oldest, p->age);
  else if (p->flags & ASKED && p->used - unspent > (int64_t)p->refs * LETHE_QUOTA_CACHE)
    info->oldest = -INFINITY; /* says that it has nothing, but its accounting disagrees */
}

/* All participants, dropping the lock between slices; the bytes in unspent caches (of a plan). */
static int64_t look_at_all(struct lethe_quota *t, slot_t account, bool plan,
                           struct lethe_quota_account_info *info) {
  struct cursor c;
  bool more = true;
  int64_t sum = 0;
  quota_cursor_account(t, &c, account);
  while (more) {
    slot_t s = quota_cursor_next(t, &c, &more);
    if (!s && more) quota_breathe(t); /* an account of many: others may have the lock */
    if (!s) continue;
    struct participant *p = participant_at(t, s);
    int64_t unspent = plan ? unspent_in_plan(t, p) : 0;
    sum += unspent;
    if (!(p->flags & EXACT)) look_at(info, p, unspent);
    more = true;
  }
  quota_cursor_close(&c);
  return sum;
}

static void copy_account(const struct lethe_quota *t, slot_t s, struct lethe_quota_candidate *out) {
  const struct account *a = account_at(t, s);
  const struct extra *x = a->x;
  struct lethe_quota_account_info *i = &out->info;
  i->account = lethe_slab_id(a, s);
  i->used = a->used;
  i->peak = a->peak;
  i->limit = LETHE_QUOTA_NO_LIMIT;
  if (!x) return;
  if (x->name) strncpy(i->name, x->name, sizeof i->name - 1);
  i->limit = x->max;
  i->reserve = x->reserve;
  i->priority = x->priority;
  i->children_used = x->below;
  i->reclaims = x->reclaims;
  if (x->reclaim_bytes > 0) out->cost = x->reclaim_seconds / (double)x->reclaim_bytes;
}

bool quota_candidate(struct lethe_quota *t, uint64_t account, bool degraded, bool plan,
                     struct lethe_quota_candidate *out) {
  *out =
      (struct lethe_quota_candidate){.info.oldest = INFINITY, .degraded = degraded, .plan = plan};
  if (!account_find(t, account)) return false;
  int64_t unspent = look_at_all(t, (slot_t)account, plan, &out->info);
  if (!account_find(t, account) || out->info.participants == 0 || out->info.oldest == INFINITY)
    return false;
  copy_account(t, (slot_t)account, out);
  out->info.used -= unspent;
  if (!degraded && out->info.reserve > 0 && out->info.used <= out->info.reserve) return false;
  out->age = quota_now(t) - out->info.oldest;
  return true;
}
