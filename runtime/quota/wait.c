/* SPDX-License-Identifier: MIT
 * Claims that wait. One queue, by priority and then by arrival. Serving it goes from the front: the first
 * that does not fit the tracker's max ends the round, so nobody smaller passes it; one that an
 * account's max blocks holds up only those that the same account covers. */
#include "quota_internal.h"

enum { WAITING = 1, GRANTED, FAILED, TAKEN };

static struct participant *participant_of(const struct lethe_quota_wait *w) {
  return participant_at(w->handle->tracker, w->handle->participant);
}

/* The handle takes what was granted to it. Under the lock, on its owner's thread. */
static void take(struct lethe_quota *t, struct lethe_quota_wait *w) {
  lethe_list_remove(&w->node);
  quota_freeze_participant(t, participant_of(w));
  w->handle->spent += w->n;
  w->state = TAKEN;
}

static void answered(struct lethe_message *m, bool closed) {
  struct lethe_quota_wait *w = lethe_container_of(m, struct lethe_quota_wait, message);
  struct lethe_quota *t = w->handle->tracker; /* NULL: the handle was closed meanwhile */
  struct lethe_loop *loop = w->loop;
  (void)closed;
  if (t) {
    quota_lock(t);
    if (w->state == GRANTED) take(t, w);
    quota_unlock(t);
  }
  w->done(w, w->code);
  lethe_loop_release(loop);
  lethe_loop_put(loop);
}

static void answer(struct lethe_quota *t, struct lethe_quota_wait *w, uint8_t state, int code) {
  lethe_list_remove(&w->node);
  if (state == GRANTED) lethe_list_push(&t->granted, &w->node);
  if (lethe_list_empty(&t->waits)) t->stalled += quota_now(t) - t->wait_since;
  w->state = state;
  w->code = code;
  lethe_loop_post(w->loop, &w->message); /* held by the wait: it is open */
}

/* Does an account above this one block somebody ahead in this round? Else, would n fit its max? */
static bool account_blocks(struct lethe_quota *t, slot_t s, int64_t n) {
  bool blocked = false;
  if (!account_at(t, s)->x) return false;
  quota_walk_up(t, s);
  for (slot_t above = s; above; above = quota_up(t, above)) {
    const struct account *a = account_at(t, above);
    if (a->x->blocked == t->round) blocked = true;
    if (a->x->max != LETHE_QUOTA_NO_LIMIT && a->used + a->x->below > a->x->max - n) {
      a->x->blocked = t->round;
      blocked = true;
    }
  }
  return blocked;
}

void quota_serve(struct lethe_quota *t) {
  t->round++;
  t->max_blocks = false;
  LETHE_LIST_EACH_SAFE(node, &t->waits) {
    struct lethe_quota_wait *w = lethe_container_of(node, struct lethe_quota_wait, node);
    struct participant *p = participant_of(w);
    if (account_blocks(t, p->account, w->n)) continue;
    if (t->used > t->max - w->n) {
      t->max_blocks = true;
      return;
    }
    answer(t, w, GRANTED, LETHE_OK);
    quota_charge(t, p, w->n);
  }
}

int64_t quota_granted_to(const struct lethe_quota *t, slot_t participant) {
  int64_t sum = 0;
  LETHE_LIST_EACH(node, &t->granted) {
    const struct lethe_quota_wait *w = lethe_container_of(node, struct lethe_quota_wait, node);
    if (w->handle->participant == participant) sum += w->n;
  }
  return sum;
}

void quota_waits_fail(struct lethe_quota *t, slot_t s, struct lethe_quota_handle *h) {
  int code = quota_handle_check(t, participant_at(t, s));
  if (code == LETHE_OK) code = LETHE_EPARTICIPANT;
  LETHE_LIST_EACH_SAFE(node, &t->waits) {
    struct lethe_quota_wait *w = lethe_container_of(node, struct lethe_quota_wait, node);
    if (w->handle->participant == s && (!h || w->handle == h)) answer(t, w, FAILED, code);
  }
  LETHE_LIST_EACH_SAFE(granted, &t->granted) {
    struct lethe_quota_wait *w = lethe_container_of(granted, struct lethe_quota_wait, node);
    if (w->handle->participant != s || (h && w->handle != h)) continue;
    lethe_list_remove(&w->node);
    if (h)
      w->handle->spent += w->n; /* its owner closes the handle: what it holds moves on */
    w->state = TAKEN;
    w->code = code;
  }
}

/* The first account at or above whose max is below n: then it can never fit. */
static bool never_fits(struct lethe_quota *t, slot_t s, int64_t n) {
  if (n > t->max) return true;
  if (!account_at(t, s)->x) return false;
  quota_walk_up(t, s);
  for (slot_t above = s; above; above = quota_up(t, above))
    if (n > account_at(t, above)->x->max) return true;
  return false;
}

static void enqueue(struct lethe_quota *t, struct lethe_quota_wait *w) {
  struct lethe_list *at = &t->waits;
  if (lethe_list_empty(&t->waits)) t->wait_since = quota_now(t);
  LETHE_LIST_EACH(node, &t->waits) {
    if (lethe_container_of(node, struct lethe_quota_wait, node)->priority < w->priority) {
      at = node;
      break;
    }
  }
  lethe_list_insert(at, &w->node);
}

/* After serving: a wait that an account blocks asks for a pass over it, one that max blocks for a
 * pass over all. */
static void ask_for_room(struct lethe_quota *t, struct lethe_quota_wait *w) {
  slot_t blocker = quota_blocker(t, participant_of(w)->account, w->n);
  if (blocker) quota_want_account(t, blocker, w->n);
  quota_wake(t);
}

/* Nobody of its priority or above waits, and there is room. */
static bool fits_at_once(struct lethe_quota *t, const struct participant *p,
                         const struct lethe_quota_wait *w) {
  const struct lethe_list *first = t->waits.next;
  if (first != &t->waits &&
      lethe_container_of(first, struct lethe_quota_wait, node)->priority >= w->priority)
    return false;
  return t->used <= t->max - w->n && !quota_blocker(t, p->account, w->n);
}

static int start_locked(struct lethe_quota *t, struct lethe_quota_wait *w) {
  struct participant *p = participant_of(w);
  int rc = quota_handle_check(t, p);
  if (rc) return rc;
  if (never_fits(t, p->account, w->n)) return LETHE_ELIMIT;
  struct account *a = account_at(t, p->account);
  w->priority = a->x ? a->x->priority : 0;
  if (fits_at_once(t, p, w)) {
    quota_freeze_participant(t, p);
    w->handle->spent += w->n;
    quota_charge(t, p, w->n);
    return LETHE_OK;
  }
  w->loop = lethe_loop_get(quota_member(t, p->member)->loop);
  lethe_loop_hold(w->loop);
  w->state = WAITING;
  enqueue(t, w);
  quota_serve(t);
  if (w->state == WAITING) {
    quota_drain_tree(t, account_id_of(p));
    if (w->state == WAITING && account_of(t, p)) ask_for_room(t, w);
  }
  return 1;
}

int lethe_quota_claim_wait(struct lethe_quota_handle *h, int64_t n, struct lethe_quota_wait *w,
                           void (*done)(struct lethe_quota_wait *w, int code)) {
  struct lethe_quota *t = h->tracker;
  *w = (struct lethe_quota_wait){.handle = h, .n = n, .done = done, .message.run = answered};
  lethe_list_init(&w->node);
  if (t->noop) return LETHE_OK;
  quota_lock(t);
  int rc = start_locked(t, w);
  quota_unlock(t);
  return rc;
}

bool lethe_quota_wait_cancel(struct lethe_quota_wait *w) {
  struct lethe_quota *t = w->handle->tracker;
  bool waiting = false;
  if (!t) return false;
  quota_lock(t);
  if (w->state == WAITING) {
    waiting = true;
    lethe_list_remove(&w->node);
    if (lethe_list_empty(&t->waits)) t->stalled += quota_now(t) - t->wait_since;
    w->state = FAILED;
    quota_serve(t);
  }
  quota_unlock(t);
  if (waiting) {
    lethe_loop_release(w->loop);
    lethe_loop_put(w->loop);
  }
  return waiting;
}
