/* SPDX-License-Identifier: MIT
 * Participants and their handles: opening, the slow paths of claim and release, the end.
 *
 * The slow claim adds the whole n to the sums and then fills the cache to 3/4 of its cap; a release
 * that overfills the cache leaves 1/4 of it. While a pass runs no handle caches anything, so that
 * what participants give back is seen at once. */
#include "quota_internal.h"

static struct participant *participant_of(const struct lethe_quota_handle *h) {
  return participant_at(h->tracker, h->participant);
}

uint64_t lethe_quota_handle_participant(const struct lethe_quota_handle *h) {
  if (!h->participant) return 0;
  return lethe_slab_id(participant_of(h), h->participant);
}

uint64_t lethe_quota_handle_account(const struct lethe_quota_handle *h) {
  return h->participant ? account_id_of(participant_of(h)) : 0;
}

int quota_handle_check(const struct lethe_quota *t, const struct participant *p) {
  if (t->shut) return LETHE_ESHUTDOWN;
  if (!account_of(t, p)) return LETHE_EACCOUNT;
  return p->state == LIVE ? LETHE_OK : LETHE_EPARTICIPANT;
}

int lethe_quota_handle_state(struct lethe_quota_handle *h) {
  struct lethe_quota *t = h->tracker;
  if (t->noop) return LETHE_OK;
  quota_lock(t);
  int rc = quota_handle_check(t, participant_of(h));
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

int64_t lethe_quota_handle_used(struct lethe_quota_handle *h) {
  struct lethe_quota *t = h->tracker;
  if (t->noop) return 0;
  quota_lock(t);
  struct participant *p = participant_of(h);
  int64_t used = p->used;
  if (p->state == LIVE) {
    quota_freeze_participant(t, p);
    for (struct lethe_quota_handle *i = p->handles; i; i = i->next) used -= i->cache;
  } else {
    used = 0;
  }
  quota_unlock(t);
  return used;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* The owner may use the hot path again, unless a pass wants to see every byte. */
static void resume(struct lethe_quota *t, struct lethe_quota_handle *h) {
  store_rel(&h->stop, t->pass.id ? STOP_SLOW : 0);
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
  p->account = (slot_t)account;
  p->account_generation = (uint32_t)(account >> 32);
  p->member = m->index;
  p->flags = exact ? EXACT : 0;
  p->ud = ud;
  p->next = a->participants;
  if (p->next) participant_at(t, p->next)->prev = (slot_t)*id;
  a->participants = (slot_t)*id;
  t->live_participants++;
  empty(h, t);
  attach(t, h, (slot_t)*id);
  t->stuck_news = true;
  if (t->pass.id) quota_arrive(t, p->account);
  if (!exact) h->cap = quota_cap(t, p->account);
  if (!t->pass.id && h->cap && !quota_blocker(t, p->account, h->cap)) {
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

/* LETHE_ELIMIT with *blocker set: that account has no room; else for good. */
static int try_claim(struct lethe_quota *t, struct lethe_quota_handle *h, int64_t n,
                     slot_t *blocker) {
  struct participant *p = participant_of(h);
  int rc = quota_handle_check(t, p);
  if (rc) return rc;
  if (n <= h->cache) {
    h->cache -= (uint32_t)n;
  } else {
    if (n > INT64_MAX / 2 - t->used) return LETHE_ELIMIT;
    *blocker = quota_blocker(t, p->account, n);
    if (*blocker) return LETHE_ELIMIT;
    if (!(p->flags & EXACT)) h->cap = quota_cap(t, p->account);
    int64_t fill = (int64_t)h->cap * 3 / 4, top = 0;
    if (!t->pass.id && n <= fill && h->cache < fill) top = fill - h->cache;
    if (top && quota_blocker(t, p->account, n + top)) top = 0;
    h->cache += (uint32_t)top;
    quota_charge(t, p, n + top);
  }
  h->spent += n;
  resume(t, h);
  return LETHE_OK;
}

int lethe_quota_claim_slow(struct lethe_quota_handle *h, int64_t n) {
  struct lethe_quota *t = h->tracker;
  slot_t blocker = 0;
  if (t->noop) return LETHE_OK;
  quota_lock(t);
  int rc = try_claim(t, h, n, &blocker);
  if (rc == LETHE_ELIMIT && blocker) {
    quota_drain_tree(t, lethe_slab_id(account_at(t, blocker), blocker));
    blocker = 0;
    rc = try_claim(t, h, n, &blocker);
    if (rc == LETHE_ELIMIT && blocker) quota_want_account(t, blocker, n);
  }
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
  if (t->pass.id || !lethe_list_empty(&t->waits))
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
  quota_unlock(t);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void give_record(struct lethe_quota *t, slot_t s) {
  struct participant *p = participant_at(t, s);
  if (p->refs == 0 && p->state == DEAD) lethe_slab_give(&t->participants, lethe_slab_id(p, s));
}

/* Takes a living participant out of its account; its bytes leave the sums. Returns them. */
static int64_t take_out(struct lethe_quota *t, slot_t s) {
  struct participant *p = participant_at(t, s);
  int64_t bytes = p->used;
  quota_waits_fail(t, s, NULL);
  for (struct lethe_quota_handle *h = p->handles; h; h = h->next) store_rel(&h->stop, STOP_DEAD);
  quota_handles_changed(t, p->account, -(int32_t)p->refs);
  if (p->prev)
    participant_at(t, p->prev)->next = p->next;
  else
    account_at(t, p->account)->participants = p->next;
  if (p->next) participant_at(t, p->next)->prev = p->prev;
  p->prev = p->next = 0;
  t->live_participants--;
  quota_uncharge(t, p, bytes);
  return bytes;
}

void quota_participant_end(struct lethe_quota *t, slot_t s) {
  take_out(t, s);
  participant_at(t, s)->state = DEAD;
  give_record(t, s);
}

void quota_participant_condemn(struct lethe_quota *t, slot_t s) {
  struct participant *p = participant_at(t, s);
  quota_freeze_participant(t, p);
  for (struct lethe_quota_handle *h = p->handles; h; h = h->next) {
    quota_uncharge(t, p, h->cache);
    h->cache = 0;
  }
  int64_t bytes = take_out(t, s);
  p->state = CONDEMNED;
  p->used = bytes;
  t->condemned += bytes;
  if (bytes == 0) quota_participant_forget(t, s);
}

void quota_participant_forget(struct lethe_quota *t, slot_t s) {
  struct participant *p = participant_at(t, s);
  if (p->state != CONDEMNED) return;
  t->condemned -= p->used;
  p->used = 0;
  p->state = DEAD;
  give_record(t, s);
}

void lethe_quota_buried(struct lethe_quota *t, uint64_t participant) {
  quota_lock(t);
  if (lethe_slab_find(&t->participants, participant))
    quota_participant_forget(t, (slot_t)participant);
  quota_unlock(t);
}

void lethe_quota_handle_destroy(struct lethe_quota_handle *h) {
  struct lethe_quota *t = h->tracker;
  if (t->noop) return;
  quota_lock(t);
  if (participant_of(h)->state == LIVE) quota_participant_end(t, h->participant);
  quota_unlock(t);
}

static void detach(struct participant *p, struct lethe_quota_handle *h) {
  struct lethe_quota_handle **link = &p->handles;
  while (*link != h) link = &(*link)->next;
  *link = h->next;
}

/* What went through the handle belongs to the participant: a sibling carries it on. */
static int64_t close_live(struct lethe_quota *t, struct participant *p,
                          struct lethe_quota_handle *h) {
  slot_t s = h->participant;
  int64_t ended = 0;
  quota_waits_fail(t, s, h);
  quota_uncharge(t, p, h->cache);
  h->cache = 0;
  if (p->refs == 1) {
    ended = p->used;
    take_out(t, s);
    p->state = DEAD;
    return ended;
  }
  detach(p, h);
  quota_freeze_participant(t, p);
  p->handles->spent += h->spent;
  p->refs--;
  quota_handles_changed(t, p->account, -1);
  return 0;
}

int64_t lethe_quota_handle_close(struct lethe_quota_handle *h) {
  struct lethe_quota *t = h->tracker;
  int64_t ended = 0;
  if (!t) return 0;
  h->tracker = NULL;
  if (t->noop) {
    quota_memory_put(t);
    return 0;
  }
  quota_lock(t);
  struct participant *p = participant_at(t, h->participant);
  bool live = p->state == LIVE, more = live && p->refs > 1;
  if (live) ended = close_live(t, p, h);
  if (!more) {
    detach(p, h);
    p->refs--;
    if (p->refs == 0 && p->state == CONDEMNED)
      quota_participant_forget(t, h->participant);
    else
      give_record(t, h->participant);
  }
  quota_unlock(t);
  quota_memory_put(t);
  return ended;
}
