/* SPDX-License-Identifier: MIT
 * Freezing handles and calling their caches back.
 *
 * A handle's owner changes cache and spent without the lock. To read or change them from elsewhere
 * the handle is stopped: `stop` is set, a heavy fence makes the owner see it, and whoever finds the
 * owner `busy` waits for the few instructions that takes. From then on the owner comes through the
 * slow path, under the lock, and clears `stop` there when handles may cache again. */
#include <sched.h>

#include "quota_internal.h"

static bool running(const struct lethe_quota_handle *h) { return load_rlx(&h->stop) == 0; }

/* Pairs with lethe_quota_enter, whose owner shows `busy` before it looks at `stop`. */
static bool stop_handles(const struct participant *p) {
  bool any = false;
  for (struct lethe_quota_handle *h = p->handles; h; h = h->next) {
    if (!running(h)) continue;
#if LETHE_TSAN
    store_seq(&h->stop, STOP_SLOW);
#else
    store_rlx(&h->stop, STOP_SLOW);
#endif
    any = true;
  }
  return any;
}

/* Pairs with the release store in lethe_quota_leave. */
static void await_owners(const struct participant *p) {
  for (struct lethe_quota_handle *h = p->handles; h; h = h->next) {
#if LETHE_TSAN
    while (load_seq(&h->busy)) sched_yield();
#else
    while (load_acq(&h->busy)) sched_yield();
#endif
  }
}

void quota_freeze_participant(struct lethe_quota *t, struct participant *p) {
  (void)t;
  if (!stop_handles(p)) return;
  lethe_fence_heavy();
  await_owners(p);
}

/* One fence serves them all. */
void quota_freeze_account(struct lethe_quota *t, slot_t s) {
  bool any = false;
  slot_t first = account_at(t, s)->participants;
  for (slot_t i = first; i; i = participant_at(t, i)->next)
    if (stop_handles(participant_at(t, i))) any = true;
  if (!any) return;
  lethe_fence_heavy();
  for (slot_t i = first; i; i = participant_at(t, i)->next) await_owners(participant_at(t, i));
}

int64_t quota_unspent(const struct participant *p) {
  int64_t sum = 0;
  for (const struct lethe_quota_handle *h = p->handles; h; h = h->next) sum += h->cache;
  return sum;
}

/* ---- calling caches back --------------------------------------------------------------------- */

/* The participant is frozen. */
static int64_t take_caches(struct lethe_quota *t, struct participant *p) {
  int64_t unspent = quota_unspent(p);
  for (struct lethe_quota_handle *h = p->handles; h; h = h->next) h->cache = 0;
  quota_uncharge(t, p, unspent);
  return unspent;
}

/* One fence serves the slice. */
uint32_t quota_freeze_slice(struct lethe_quota *t, struct cursor *c, slot_t *slice, bool *more) {
  uint32_t n = 0;
  bool any = false;
  for (slot_t s; (s = quota_cursor_next(t, c, more)) != 0;) {
    slice[n++] = s;
    if (stop_handles(participant_at(t, s))) any = true;
  }
  if (any) lethe_fence_heavy();
  for (uint32_t i = 0; any && i < n; i++) await_owners(participant_at(t, slice[i]));
  return n;
}

bool quota_drain_slice(struct lethe_quota *t, struct cursor *c, int64_t *drained) {
  slot_t slice[LETHE_QUOTA_SLICE];
  bool more;
  uint32_t n = quota_freeze_slice(t, c, slice, &more);
  for (uint32_t i = 0; i < n; i++) *drained += take_caches(t, participant_at(t, slice[i]));
  return more;
}

static void drain(struct lethe_quota *t, struct cursor *c) {
  int64_t drained = 0;
  while (quota_drain_slice(t, c, &drained)) quota_breathe(t);
  quota_cursor_close(c);
}

/* The tree as it is in this moment, when there is no memory to walk it in slices. */
static void drain_at_once(struct lethe_quota *t, slot_t root) {
  quota_walk_down(t, root);
  for (slot_t s = root; s; s = quota_down(t, s)) {
    quota_freeze_account(t, s);
    for (slot_t i = account_at(t, s)->participants; i; i = participant_at(t, i)->next)
      take_caches(t, participant_at(t, i));
  }
}

static void drain_below(struct lethe_quota *t, uint64_t account) {
  struct tree tree = {0};
  struct cursor c;
  int rc = quota_tree_begin(t, &tree, account);
  while (rc == LETHE_OK && (rc = quota_tree_grow(t, &tree)) == 1) {
    quota_breathe(t);
    rc = LETHE_OK;
  }
  if (rc == LETHE_OK) {
    quota_cursor_open(t, &c, &tree);
    drain(t, &c);
  } else if (account_find(t, account)) {
    drain_at_once(t, (slot_t)account);
  }
  quota_tree_free(t, &tree);
}

void quota_drain_tree(struct lethe_quota *t, uint64_t account) {
  const struct account *a = account_find(t, account);
  struct cursor c;
  if (!a) return;
  if (a->x && a->x->down) {
    drain_below(t, account);
  } else {
    quota_cursor_account(t, &c, (slot_t)account);
    drain(t, &c);
  }
}
