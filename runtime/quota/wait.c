/* SPDX-License-Identifier: MIT
 * Claims that wait. One queue, by priority and then by arrival. Serving it goes from the front: the
 * first that does not fit the tracker's max ends the round, so nobody smaller passes it; one that
 * an account's max blocks holds up only those that the same account covers. What keeps the first of
 * either kind waiting is noted for the next pass.
 *
 * A wait that was granted is charged at once, and its handle takes the bytes when the answer
 * reaches its thread; until then the wait is in t->granted, so that they can be taken back. */
#include "quota_internal.h"

enum { IDLE_WAIT, WAITING, GRANTED, FAILED, REFUSED };

static struct participant *participant_of(const struct lethe_quota_wait *w) {
  return participant_at(w->tracker, w->handle->participant);
}

/* ---- answers --------------------------------------------------------------------------------- */

/* Why it failed: what a claim would say of an account and a participant that are gone. */
static int why(const struct lethe_quota *t, const struct lethe_quota_wait *w) {
  if (t->shut) return LETHE_ESHUTDOWN;
  return account_find(t, w->account) ? LETHE_EPARTICIPANT : LETHE_EACCOUNT;
}

/* On the loop of the handle's member. */
static void answered(struct lethe_message *m, bool closed) {
  struct lethe_quota_wait *w = lethe_container_of(m, struct lethe_quota_wait, message);
  struct lethe_quota *t = w->tracker;
  struct lethe_loop *loop = w->loop;
  bool held = w->held;
  int code = LETHE_OK;
  (void)closed;
  quota_lock(t);
  if (w->state == GRANTED) {
    lethe_list_remove(&w->node);
    w->handle->spent += w->n; /* without freezing: this is its owner's thread */
  } else {
    code = w->state == REFUSED ? LETHE_ELIMIT : why(t, w);
  }
  quota_unlock(t);
  w->tracker = NULL;
  w->done(w, code);
  quota_memory_put(t);
  if (held) lethe_loop_release(loop);
  lethe_loop_put(loop);
}

static void leave_queue(struct lethe_quota *t, struct lethe_quota_wait *w) {
  lethe_list_remove(&w->node);
  if (lethe_list_empty(&t->waits)) t->stalled += quota_now(t) - t->wait_since;
}

/* The loop is open: a member closes its handles, and with them its waits, before its loop. */
static void answer(struct lethe_quota *t, struct lethe_quota_wait *w, uint8_t state) {
  leave_queue(t, w);
  w->state = state;
  if (state == GRANTED) lethe_list_push(&t->granted, &w->node);
  lethe_loop_post(w->loop, &w->message);
}

/* ---- serving --------------------------------------------------------------------------------- */

/* The tracker, or an account at or above, has a max below n. */
static bool never_fits(struct lethe_quota *t, slot_t s, int64_t n) {
  if (n > t->max) return true;
  if (!account_at(t, s)->x) return false;
  quota_walk_up(t, s);
  for (slot_t above = s; above; above = quota_up(t, above))
    if (n > account_at(t, above)->x->max) return true;
  return false;
}

/* Does an account above hold somebody up who is ahead in this round, or has it no room for n? */
static bool account_blocks(struct lethe_quota *t, slot_t s, int64_t n) {
  bool blocked = false;
  if (!account_at(t, s)->x) return false;
  quota_walk_up(t, s);
  for (slot_t above = s; above; above = quota_up(t, above)) {
    const struct account *a = account_at(t, above);
    if (a->x->blocked == t->round) {
      blocked = true;
    } else if (a->x->max != LETHE_QUOTA_NO_LIMIT && a->used + a->x->below > a->x->max - n) {
      a->x->blocked = t->round;
      blocked = true;
      if (t->account_wants || a->x->stuck) continue;
      t->account_wants = lethe_slab_id(a, above);
      t->account_wants_n = n;
    }
  }
  return blocked;
}

void quota_serve(struct lethe_quota *t) {
  if (t->shut) return; /* then they are all about to fail */
  t->round++;
  t->max_wants = t->account_wants_n = 0;
  t->account_wants = 0;
  LETHE_LIST_EACH_SAFE(node, &t->waits) {
    struct lethe_quota_wait *w = lethe_container_of(node, struct lethe_quota_wait, node);
    struct participant *p = participant_of(w);
    if (never_fits(t, p->account, w->n)) { /* limits change; nobody is to wait behind it */
      answer(t, w, REFUSED);
      continue;
    }
    if (account_blocks(t, p->account, w->n)) continue;
    if (t->used > t->max - w->n) {
      t->max_wants = w->n;
      return;
    }
    answer(t, w, GRANTED);
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

static bool is_of(const struct lethe_quota_wait *w, slot_t s, const struct lethe_quota_handle *h) {
  return w->handle->participant == s && (!h || w->handle == h);
}

/* What was granted and not taken goes back: who waited hears that the claim failed. */
void quota_waits_fail(struct lethe_quota *t, slot_t s, struct lethe_quota_handle *h) {
  int64_t back = 0;
  bool any = false;
  LETHE_LIST_EACH_SAFE(node, &t->waits) {
    struct lethe_quota_wait *w = lethe_container_of(node, struct lethe_quota_wait, node);
    if (!is_of(w, s, h)) continue;
    answer(t, w, FAILED);
    any = true;
  }
  LETHE_LIST_EACH_SAFE(granted, &t->granted) {
    struct lethe_quota_wait *w = lethe_container_of(granted, struct lethe_quota_wait, node);
    if (!is_of(w, s, h)) continue;
    lethe_list_remove(&w->node);
    w->state = FAILED;
    back += w->n;
  }
  quota_uncharge(t, participant_at(t, s), back);
  if (any) quota_serve(t); /* it may have held others up */
}

/* ---- waiting --------------------------------------------------------------------------------- */

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

/* Nobody of its priority or above waits, and there is room. */
static bool fits_at_once(struct lethe_quota *t, const struct participant *p,
                         const struct lethe_quota_wait *w) {
  const struct lethe_list *first = t->waits.next;
  if (first != &t->waits &&
      lethe_container_of(first, struct lethe_quota_wait, node)->priority >= w->priority)
    return false;
  return t->used <= t->max - w->n && !quota_blocker(t, p->account, w->n);
}

/* A run of a virtual loop ends when nothing is due: there the wait is no reason to go on. */
static void begin(struct lethe_quota *t, struct lethe_quota_wait *w) {
  w->loop = lethe_loop_get(quota_member(t, participant_of(w)->member)->loop);
  w->held = !lethe_loop_is_virtual(w->loop);
  if (w->held) lethe_loop_hold(w->loop);
  lethe_ref_get(&t->memory);
  w->state = WAITING;
  t->stuck_news = true;
  enqueue(t, w);
  quota_serve(t);
}

/* Unspent caches are called back below the accounts that are in the way, each once; those that the
 * tracker's max could use are left to the pass. Then, if it still waits, a pass is due. */
static void make_room(struct lethe_quota *t, struct lethe_quota_wait *w) {
  uint64_t drained = 0;
  while (w->state == WAITING) {
    slot_t blocker = quota_blocker(t, participant_of(w)->account, w->n);
    if (!blocker) break;
    account_at(t, blocker)->x->stuck = false; /* who comes anew may try anew */
    uint64_t id = lethe_slab_id(account_at(t, blocker), blocker);
    if (id == drained) break;
    drained = id;
    quota_drain_tree(t, id);
  }
  quota_serve(t);
  quota_wake(t);
}

static int start_locked(struct lethe_quota *t, struct lethe_quota_wait *w) {
  struct participant *p = participant_of(w);
  int rc = quota_participant_check(t, p);
  if (rc) return rc;
  if (never_fits(t, p->account, w->n)) return LETHE_ELIMIT;
  const struct account *a = account_at(t, p->account);
  w->account = account_id_of(p);
  w->priority = a->x ? a->x->priority : 0;
  if (fits_at_once(t, p, w)) {
    w->handle->spent += w->n;
    quota_charge(t, p, w->n);
    return LETHE_OK;
  }
  begin(t, w);
  make_room(t, w);
  return 1;
}

int lethe_quota_claim_wait(struct lethe_quota_handle *h, int64_t n, struct lethe_quota_wait *w,
                           void (*done)(struct lethe_quota_wait *w, int code)) {
  struct lethe_quota *t = h->tracker;
  *w = (struct lethe_quota_wait){
      .tracker = t, .handle = h, .n = n, .done = done, .message.run = answered};
  lethe_list_init(&w->node);
  if (t->noop) {
    w->tracker = NULL;
    return LETHE_OK;
  }
  quota_lock(t);
  int rc = start_locked(t, w);
  if (rc != 1) w->tracker = NULL;
  quota_unlock(t);
  return rc;
}

bool lethe_quota_wait_cancel(struct lethe_quota_wait *w) {
  struct lethe_quota *t = w->tracker;
  if (!t) return false;
  quota_lock(t);
  bool waiting = w->state == WAITING;
  if (waiting) {
    leave_queue(t, w);
    w->state = IDLE_WAIT;
    quota_serve(t);
  }
  quota_unlock(t);
  if (!waiting) return false;
  w->tracker = NULL;
  if (w->held) lethe_loop_release(w->loop);
  lethe_loop_put(w->loop);
  quota_memory_put(t);
  return true;
}
