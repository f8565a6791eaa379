/* SPDX-License-Identifier: MIT
 * How participants end. One that is closed or destroyed is dead at once, and its bytes are free.
 * One that collapsed in a pass is condemned: its bytes leave the sums, and are watched until they
 * are released or destroyed, until its object is gone, or, where nobody watches that, until nobody
 * has a handle any more. The record stays while there are handles. */
#include "quota_internal.h"

static void give_record(struct lethe_quota *t, slot_t s) {
  struct participant *p = participant_at(t, s);
  if (p->refs == 0 && p->state == DEAD) lethe_slab_give(&t->participants, lethe_slab_id(p, s));
}

/* Takes a living participant out of its account; its bytes leave the sums. Returns them. */
static int64_t take_out(struct lethe_quota *t, slot_t s, enum participant_state state) {
  struct participant *p = participant_at(t, s);
  struct lethe_quota_member *m = quota_member(t, p->member);
  for (struct lethe_quota_handle *h = p->handles; h; h = h->next) store_rel(&h->stop, STOP_DEAD);
  quota_cursors_skip(t, s);
  quota_handles_changed(t, p->account, -(int32_t)p->refs);
  if (p->prev)
    participant_at(t, p->prev)->next = p->next;
  else
    account_at(t, p->account)->participants = p->next;
  if (p->next) participant_at(t, p->next)->prev = p->prev;
  p->prev = p->next = 0;
  t->live_participants--;
  if (m) m->participants--;
  int64_t bytes = p->used;
  quota_uncharge(t, p, bytes);
  p->state = (uint8_t)state;
  return bytes;
}

void quota_participant_end(struct lethe_quota *t, slot_t s) {
  quota_waits_fail(t, s, NULL);
  take_out(t, s, DEAD);
  give_record(t, s);
}

/* What waits for it, was granted to it, or stands unspent in its caches was never used: none of
 * that is condemned. */
void quota_participant_condemn(struct lethe_quota *t, slot_t s) {
  struct participant *p = participant_at(t, s);
  quota_waits_fail(t, s, NULL);
  quota_freeze_participant(t, p);
  int64_t unspent = quota_unspent(p);
  for (struct lethe_quota_handle *h = p->handles; h; h = h->next) h->cache = 0;
  quota_uncharge(t, p, unspent);
  p->used = take_out(t, s, CONDEMNED);
  t->condemned += p->used;
  t->condemned_n++;
  if (p->used == 0) quota_participant_forget(t, s);
}

void quota_participant_forget(struct lethe_quota *t, slot_t s) {
  struct participant *p = participant_at(t, s);
  if (p->state != CONDEMNED) return;
  t->condemned -= p->used;
  p->used = 0;
  p->state = DEAD;
  give_record(t, s);
  if (--t->condemned_n == 0) quota_graves_close(t);
}

void lethe_quota_watch(struct lethe_quota *t, uint64_t participant) {
  quota_lock(t);
  struct participant *p = lethe_slab_find(&t->participants, participant);
  if (p) p->flags |= WATCHED;
  quota_unlock(t);
}

void lethe_quota_buried(struct lethe_quota *t, uint64_t participant) {
  quota_lock(t);
  if (lethe_slab_find(&t->participants, participant))
    quota_participant_forget(t, (slot_t)participant);
  quota_unlock(t);
}

/* ---- a handle leaves ------------------------------------------------------------------------- */

static void detach(struct participant *p, struct lethe_quota_handle *h) {
  struct lethe_quota_handle **link = &p->handles;
  while (*link != h) link = &(*link)->next;
  *link = h->next;
  p->refs--;
}

/* What went through the handle belongs to the participant: a sibling carries it on. */
static void hand_over(struct lethe_quota *t, struct participant *p, struct lethe_quota_handle *h) {
  detach(p, h);
  quota_freeze_participant(t, p);
  p->handles->spent += h->spent;
  quota_handles_changed(t, p->account, -1);
}

static int64_t leave_living(struct lethe_quota *t, slot_t s, struct lethe_quota_handle *h) {
  struct participant *p = participant_at(t, s);
  int64_t unspent = h->cache, ended = 0;
  quota_waits_fail(t, s, h);
  h->cache = 0;
  quota_uncharge(t, p, unspent);
  if (p->refs > 1) {
    hand_over(t, p, h);
  } else {
    ended = take_out(t, s, DEAD);
    detach(p, h);
    give_record(t, s);
  }
  return ended;
}

int64_t quota_participant_leave(struct lethe_quota *t, slot_t s, struct lethe_quota_handle *h) {
  struct participant *p = participant_at(t, s);
  if (p->state == LIVE) return leave_living(t, s, h);
  detach(p, h);
  if (p->refs == 0 && p->state == CONDEMNED && !(p->flags & WATCHED))
    quota_participant_forget(t, s);
  else
    give_record(t, s);
  return 0;
}
