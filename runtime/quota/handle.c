/* SPDX-License-Identifier: MIT
 * Handles: opening and closing, and the slow paths of claim and release.
 *
 * The slow claim adds the whole n to the sums and then fills the cache to 3/4 of its cap; a release
 * that overfills the cache leaves 1/4 of it. While a pass runs or somebody waits for room no handle
 * caches anything, so that what is given back is seen at once. */
#include "quota_internal.h"

static struct participant *participant_of(const struct lethe_quota_handle *h) {
  return participant_at(h->tracker, h->participant);
}

/* The record itself does not move, but the table that leads to it does: hence the lock. */
uint64_t lethe_quota_handle_participant(const struct lethe_quota_handle *h) {
  if (!h->participant) return 0;
  quota_lock(h->tracker);
  uint64_t id = lethe_slab_id(participant_of(h), h->participant);
  quota_unlock(h->tracker);
  return id;
}

uint64_t lethe_quota_handle_account(const struct lethe_quota_handle *h) {
  if (!h->participant) return 0;
  quota_lock(h->tracker);
  uint64_t id = account_id_of(participant_of(h));
  quota_unlock(h->tracker);
  return id;
}

int lethe_quota_handle_state(struct lethe_quota_handle *h) {
  struct lethe_quota *t = h->tracker;
  if (t->noop) return LETHE_OK;
  quota_lock(t);
  int rc = quota_participant_check(t, participant_of(h));
  quota_unlock(t);
  return rc;
}

bool lethe_quota_handle_condemned(struct lethe_quota_handle *h) {
  struct lethe_quota *t = h->tracker;
  if (t->noop) return false;
  quota_lock(t);
  bool condemned = participant_of(h)->state == CONDEMNED;
  quota_unlock(t);
  return condemned;
}

/* The caller owns h; only its siblings may be in other hands and have to be stopped. */
int64_t lethe_quota_handle_used(struct lethe_quota_handle *h) {
  struct lethe_quota *t = h->tracker;
  int64_t used = 0;
  if (t->noop) return 0;
  quota_lock(t);
  struct participant *p = participant_of(h);
  if (p->state == LIVE) {
    if (p->refs > 1) quota_freeze_participant(t, p);
    used = p->used - quota_unspent(p);
  }
  quota_unlock(t);
  return used;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* The owner may use the hot path again, unless every byte is wanted. */
static void resume(struct lethe_quota *t, struct lethe_quota_handle *h) {
  store_rel(&h->stop, quota_may_cache(t) ? 0 : STOP_SLOW);
}

static void attach(struct lethe_quota *t, struct lethe_quota_handle *h, slot_t s) {
  struct participant *p = participant_at(t, s);
  h->participant = s;
  h->next = p->handles;
  p->handles = h;
  p->refs++;
  if (p->state == LIVE) quota_handles_changed(t, p->account, 1);
}

static void empty(struct lethe_quota_handle *h, struct lethe_quota *t) {
  h->tracker = t;
  h->next = NULL;
  h->spent = 0;
  h->cache = h->cap = h->participant = 0;
  store_rlx(&h->busy, 0);
  store_rlx(&h->stop, STOP_SLOW);
  lethe_ref_get(&t->memory);
}

static int open_locked(struct lethe_quota_handle *h, struct lethe_quota_member *m, uint64_t account,
                       void *ud, bool exact, uint64_t *id) {
  struct lethe_quota *t = m->t;
  if (t->shut) return LETHE_ESHUTDOWN;
  struct account *a = account_find(t, account);
  if (!a) return LETHE_EACCOUNT;
  struct participant *p = lethe_slab_take(&t->participants, id);
  if (!p) return LETHE_ENOMEM;
  if (a->participants) quota_extra(t, (slot_t)account); /* counts handles; graph.c can do without */
  p->account = (slot_t)account;
  p->account_generation = (uint32_t)(account >> 32);
  p->member = m->index;
  p->flags = exact ? EXACT : 0;
  p->ud = ud;
  p->next = a->participants;
  if (p->next) participant_at(t, p->next)->prev = (slot_t)*id;
  a->participants = (slot_t)*id;
  t->live_participants++;
  m->participants++;
  empty(h, t);
  attach(t, h, (slot_t)*id);
  t->stuck_news = true;
  if (t->pass.id) quota_arrive(t, p->account);
  if (!exact) h->cap = quota_cap(t, p->account);
  if (quota_may_cache(t) && h->cap && !quota_blocker(t, p->account, h->cap)) {
    h->cache = h->cap;
    quota_charge(t, p, h->cap);
  }
  resume(t, h);
  quota_wake(t);
  return LETHE_OK;
}

int lethe_quota_handle_open(struct lethe_quota_handle *h, struct lethe_quota_member *m,
                            uint64_t account, void *ud, bool exact, uint64_t *participant) {
  if (m->t->noop) {
    empty(h, m->t);
    *participant = 0;
    return LETHE_OK;
  }
  quota_lock(m->t);
  int rc = open_locked(h, m, account, ud, exact, participant);
  quota_unlock(m->t);
  return rc;
}

void lethe_quota_handle_clone(struct lethe_quota_handle *h, struct lethe_quota_handle *from) {
  struct lethe_quota *t = from->tracker;
  empty(h, t);
  if (t->noop) return;
  quota_lock(t);
  struct participant *p = participant_of(from);
  attach(t, h, from->participant);
  if (p->state == LIVE) {
    h->cap = p->flags & EXACT ? 0 : quota_cap(t, p->account);
    resume(t, h);
  } else {
    store_rlx(&h->stop, STOP_DEAD);
  }
  quota_unlock(t);
}

/* ---- claim ----------------------------------------------------------------------------------- */

/* What the cache may be filled up by along with a claim of n. */
static int64_t top_up(struct lethe_quota *t, const struct participant *p,
                      const struct lethe_quota_handle *h, int64_t n) {
  int64_t fill = (int64_t)h->cap * 3 / 4;
  if (!quota_may_cache(t) || n > fill || h->cache >= fill) return 0;
  int64_t top = fill - h->cache;
  return quota_blocker(t, p->account, n + top) ? 0 : top;
}

/* LETHE_ELIMIT with *blocker set: that account has no room; else for good. */
static int try_claim(struct lethe_quota *t, struct lethe_quota_handle *h, int64_t n,
                     slot_t *blocker) {
  struct participant *p = participant_of(h);
  int rc = quota_participant_check(t, p);
  if (rc) return rc;
  if (n <= h->cache) {
    h->cache -= (uint32_t)n;
  } else {
    if (n > INT64_MAX / 2 - t->used) return LETHE_ELIMIT;
    *blocker = quota_blocker(t, p->account, n);
    if (*blocker) return LETHE_ELIMIT;
    if (!(p->flags & EXACT)) h->cap = quota_cap(t, p->account);
    int64_t top = top_up(t, p, h, n);
    h->cache += (uint32_t)top;
    quota_charge(t, p, n + top);
  }
  h->spent += n;
  resume(t, h);
  return LETHE_OK;
}

/* Each account that is in the way gets its unspent caches called back once. */
static int claim_locked(struct lethe_quota *t, struct lethe_quota_handle *h, int64_t n) {
  uint64_t drained = 0;
  for (;;) {
    slot_t blocker = 0;
    int rc = try_claim(t, h, n, &blocker);
    if (rc != LETHE_ELIMIT || !blocker) return rc;
    uint64_t id = lethe_slab_id(account_at(t, blocker), blocker);
    if (id == drained) {
      quota_want_account(t, blocker, n);
      return rc;
    }
    drained = id;
    quota_drain_tree(t, id);
  }
}

int lethe_quota_claim_slow(struct lethe_quota_handle *h, int64_t n) {
  struct lethe_quota *t = h->tracker;
  if (t->noop) return LETHE_OK;
  quota_lock(t);
  int rc = claim_locked(t, h, n);
  quota_wake(t);
  quota_unlock(t);
  return rc;
}

/* ---- release --------------------------------------------------------------------------------- */

/* The handle is to release more than went through it: other handles of the participant may have
 * claimed it. Returns how much of n the participant really has, taken from them. */
static int64_t collect_spent(struct lethe_quota *t, struct participant *p,
                             struct lethe_quota_handle *h, int64_t n) {
  int64_t missing = n - h->spent;
  quota_freeze_participant(t, p);
  for (struct lethe_quota_handle *i = p->handles; i && missing > 0; i = i->next) {
    if (i == h) continue;
    int64_t part = i->spent < missing ? i->spent : missing;
    i->spent -= part;
    h->spent += part;
    missing -= part;
  }
  if (missing <= 0) return n;
  struct lethe_quota_event *e = quota_note(t, LETHE_QUOTA_OVER_RELEASE, account_id_of(p));
  if (e) e->bytes = missing;
  return n - missing;
}

static void release_live(struct lethe_quota *t, struct participant *p, struct lethe_quota_handle *h,
                         int64_t n) {
  if (n > h->spent) n = collect_spent(t, p, h, n);
  int64_t cache = h->cache + n, keep = cache;
  h->spent -= n;
  if (!(p->flags & EXACT)) h->cap = quota_cap(t, p->account);
  if (!quota_may_cache(t))
    keep = 0;
  else if (cache > h->cap)
    keep = h->cap / 4;
  h->cache = (uint32_t)keep;
  resume(t, h);
  quota_uncharge(t, p, cache - keep);
}

void lethe_quota_release_slow(struct lethe_quota_handle *h, int64_t n) {
  struct lethe_quota *t = h->tracker;
  if (t->noop) return;
  quota_lock(t);
  struct participant *p = participant_of(h);
  if (p->state == LIVE) {
    release_live(t, p, h, n);
  } else if (p->state == CONDEMNED) {
    quota_uncharge(t, p, n < p->used ? n : p->used);
    if (p->used == 0) quota_participant_forget(t, h->participant);
  }
  if (!lethe_list_empty(&t->waits)) quota_wake(t); /* a pass may be worth while for them now */
  quota_unlock(t);
}

/* ---- closing --------------------------------------------------------------------------------- */

void lethe_quota_handle_destroy(struct lethe_quota_handle *h) {
  struct lethe_quota *t = h->tracker;
  if (t->noop) return;
  quota_lock(t);
  if (participant_of(h)->state == LIVE)
    quota_participant_end(t, h->participant);
  else
    quota_participant_forget(t, h->participant);
  quota_unlock(t);
}

int64_t lethe_quota_handle_close(struct lethe_quota_handle *h) {
  struct lethe_quota *t = h->tracker;
  int64_t ended = 0;
  if (!t) return 0;
  h->tracker = NULL;
  if (!t->noop) {
    quota_lock(t);
    ended = quota_participant_leave(t, h->participant, h);
    quota_unlock(t);
  }
  quota_memory_put(t);
  return ended;
}
