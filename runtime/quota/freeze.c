/* SPDX-License-Identifier: MIT
 * Freezing handles and calling their caches back.
 *
 * A handle's owner changes cache and spent without the lock. To read or change them from elsewhere the
 * handle is stopped: `stop` is set, a heavy fence makes the owner see it, and whoever finds the
 * owner `busy` waits for the few instructions that takes. From then on the owner comes through the
 * slow path, under the lock, and clears `stop` there when no pass is running. */
#include <sched.h>

#include "quota_internal.h"

static bool running(const struct lethe_quota_handle *h) { return load_rlx(&h->stop) == 0; }

static void stop(struct lethe_quota_handle *h) {
#if LETHE_TSAN
  store_seq(&h->stop, STOP_SLOW);
#else
  store_rlx(&h->stop, STOP_SLOW);
#endif
}

/* Pairs with the release store in lethe_quota_leave. */
static void await_owner(struct lethe_quota_handle *h) {
  while (load_acq(&h->busy)) sched_yield();
}

void quota_freeze_participant(struct lethe_quota *t, struct participant *p) {
  bool any = false;
  (void)t;
  for (struct lethe_quota_handle *h = p->handles; h; h = h->next) {
    if (!running(h)) continue;
    stop(h);
    any = true;
  }
  if (!any) return;
  lethe_fence_heavy();
  for (struct lethe_quota_handle *h = p->handles; h; h = h->next) await_owner(h);
}

/* The participant is frozen. */
static void take_caches(struct lethe_quota *t, struct participant *p) {
  int64_t unspent = 0;
  for (struct lethe_quota_handle *h = p->handles; h; h = h->next) {
    unspent += h->cache;
    h->cache = 0;
  }
  quota_uncharge(t, p, unspent);
}

/* One fence serves the whole slice. */
bool quota_drain_slice(struct lethe_quota *t, slot_t *cursor) {
  slot_t from = *cursor ? *cursor : 1, to = from + LETHE_QUOTA_SLICE;
  bool any = false;
  if (to > t->participants.slots) to = t->participants.slots;
  for (slot_t s = from; s < to; s++) {
    struct participant *p = lethe_slab_used(&t->participants, s);
    if (!p || p->state != LIVE) continue;
    for (struct lethe_quota_handle *h = p->handles; h; h = h->next)
      if (running(h)) {
        stop(h);
        any = true;
      }
  }
  if (any) lethe_fence_heavy();
  for (slot_t s = from; s < to; s++) {
    struct participant *p = lethe_slab_used(&t->participants, s);
    if (!p || p->state != LIVE) continue;
    for (struct lethe_quota_handle *h = p->handles; h; h = h->next) await_owner(h);
    take_caches(t, p);
  }
  *cursor = to;
  return to < t->participants.slots;
}

/* A racy look: what is missed is a cache that filled just now. */
static bool has_cache(const struct participant *p) {
  for (const struct lethe_quota_handle *h = p->handles; h; h = h->next)
    if (!running(h) ? h->cache > 0 : h->cap > 0) return true;
  return false;
}

/* Drains participants of the tree until `budget` of them were; true when none is left. */
static bool drain_some(struct lethe_quota *t, slot_t root, uint32_t budget) {
  quota_walk_down(t, root);
  for (slot_t s = root; s; s = quota_down(t, s))
    for (slot_t i = account_at(t, s)->participants; i; i = participant_at(t, i)->next) {
      struct participant *p = participant_at(t, i);
      if (!has_cache(p)) continue;
      if (budget-- == 0) return false;
      quota_freeze_participant(t, p);
      take_caches(t, p);
    }
  return true;
}

void quota_drain_tree(struct lethe_quota *t, uint64_t account) {
  /* Others may fill caches meanwhile: as many rounds as the handles there are take, and no more. */
  uint64_t rounds = t->handles / LETHE_QUOTA_SLICE + 2;
  while (rounds-- > 0) {
    if (!account_find(t, account) || drain_some(t, (slot_t)account, LETHE_QUOTA_SLICE)) return;
    quota_unlock(t);
    quota_lock(t);
  }
}
