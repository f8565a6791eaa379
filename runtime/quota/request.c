/* SPDX-License-Identifier: MIT
 * What passes are asked for: by hand, by a refused claim over its account's tree, by a claim that
 * waits for an account, by a sum above max, by a claim that waits for the tracker. One at a time is
 * served, in that order; but refused claims, which may come without end, let max in between. */
#include "quota_internal.h"

enum { STUCK_PAUSE = 1 }; /* seconds */

/* ---- by hand --------------------------------------------------------------------------------- */

void quota_manual_done(struct lethe_quota_manual *m, int64_t freed) {
  m->freed = freed;
  lethe_loop_post(m->loop, &m->message); /* it is open: see quota_manuals_done */
}

/* A member that leaves has its loop's requests answered, so that no loop closes before they are. */
void quota_manuals_done(struct lethe_quota *t, const struct lethe_loop *loop, int64_t freed) {
  struct pass *p = &t->pass;
  LETHE_LIST_EACH_SAFE(node, &t->manuals) {
    struct lethe_quota_manual *m = lethe_container_of(node, struct lethe_quota_manual, node);
    if (loop && m->loop != loop) continue;
    lethe_list_remove(&m->node);
    quota_manual_done(m, freed);
  }
  if (!p->manual || (loop && p->manual->loop != loop)) return;
  quota_manual_done(p->manual, freed);
  p->manual = NULL; /* the pass goes on and tells nobody */
}

static void let_go(struct lethe_quota *t, struct lethe_loop *loop, bool held) {
  if (held) lethe_loop_release(loop);
  lethe_loop_put(loop);
  quota_memory_put(t);
}

static void manual_answered(struct lethe_message *message, bool closed) {
  struct lethe_quota_manual *m = lethe_container_of(message, struct lethe_quota_manual, message);
  struct lethe_quota *t = m->tracker;
  struct lethe_loop *loop = m->loop;
  bool held = m->held;
  (void)closed;
  m->done(m, m->freed);
  let_go(t, loop, held);
}

bool lethe_quota_reclaim_cancel(struct lethe_quota_manual *m) {
  struct lethe_quota *t = m->tracker;
  struct pass *p = &t->pass;
  quota_lock(t);
  bool runs = p->manual == m, pending = runs || !lethe_list_empty(&m->node);
  if (runs) p->manual = NULL;
  lethe_list_remove(&m->node);
  quota_unlock(t);
  if (pending) let_go(t, m->loop, m->held);
  return pending;
}

int lethe_quota_reclaim(struct lethe_quota *t, struct lethe_quota_manual *m,
                        struct lethe_loop *loop, int64_t goal,
                        void (*done)(struct lethe_quota_manual *m, int64_t freed)) {
  *m = (struct lethe_quota_manual){
      .tracker = t, .goal = goal, .done = done, .message.run = manual_answered};
  lethe_ref_get(&t->memory);
  m->loop = lethe_loop_get(loop);
  lethe_list_init(&m->node);
  quota_lock(t);
  /* A run of a virtual loop ends when nothing is due, unless other threads may have to answer. */
  m->held = !lethe_loop_is_virtual(loop) || t->members_n > 1;
  if (m->held) lethe_loop_hold(loop);
  if (t->shut || t->noop || !t->home) {
    quota_manual_done(m, t->shut ? -1 : 0); /* nobody is there who could give anything */
  } else {
    lethe_list_push(&t->manuals, &m->node);
    quota_wake(t);
  }
  quota_unlock(t);
  return LETHE_OK;
}

/* ---- by claims ------------------------------------------------------------------------------- */

/* A claim of n was refused at this account's max. */
void quota_want_account(struct lethe_quota *t, slot_t s, int64_t n) {
  struct account *a = account_at(t, s);
  if (n > a->x->max) return; /* no pass can make it fit */
  if (a->x->wanted > 0) {
    if (n > a->x->wanted) a->x->wanted = n;
    return;
  }
  if (vec_push_id(t->alloc, &t->wanting, lethe_slab_id(a, s)) == LETHE_OK) a->x->wanted = n;
}

/* After a pass got stuck the next one waits for news: growth, an arrival, or a while. */
static bool worth_trying(const struct lethe_quota *t) {
  return t->stuck_at < 0 || t->stuck_news || t->used > t->stuck_at + t->max / 64 ||
         quota_now(t) >= t->stuck_time + STUCK_PAUSE;
}

static bool max_wanted(const struct lethe_quota *t) {
  return (t->used > t->max || t->max_wants > 0) && worth_trying(t);
}

bool quota_wanted(struct lethe_quota *t) {
  if (t->shut) return false;
  return !lethe_list_empty(&t->manuals) || t->wanting.n > 0 || t->account_wants || max_wanted(t);
}

/* Is the claim of n still in need of room there? */
static bool lacks_room(const struct lethe_quota *t, uint64_t id, int64_t n) {
  const struct account *a = account_find(t, id);
  return a && a->x && a->used + a->x->below > a->x->max - n;
}

/* The account whose refused claim came first, its request taken; 0: none that still stands. */
static uint64_t take_wanting(struct lethe_quota *t, int64_t *n) {
  while (t->wanting.n > 0) {
    uint64_t id = vec_id(&t->wanting, t->wanting_served++);
    if (t->wanting_served == t->wanting.n) t->wanting_served = t->wanting.n = 0;
    struct account *a = account_find(t, id);
    if (!a || !a->x) continue;
    *n = a->x->wanted;
    a->x->wanted = 0;
    if (lacks_room(t, id, *n)) return id;
  }
  return 0;
}

static bool for_hand(struct lethe_quota *t, struct pass *p) {
  struct lethe_list *node = lethe_list_shift(&t->manuals);
  if (!node) return false;
  p->manual = lethe_container_of(node, struct lethe_quota_manual, node);
  p->goal = p->manual->goal;
  p->reason = LETHE_QUOTA_BY_HAND;
  return true;
}

static bool for_account(struct lethe_quota *t, struct pass *p) {
  p->scope = take_wanting(t, &p->goal);
  p->for_wait = !p->scope;
  if (p->for_wait) {
    p->scope = t->account_wants;
    p->goal = t->account_wants_n;
  }
  p->reason = LETHE_QUOTA_BY_ACCOUNT;
  return p->scope != 0;
}

static bool for_max(struct lethe_quota *t, struct pass *p) {
  if (!max_wanted(t)) return false;
  p->for_wait = t->used <= t->max;
  p->reason = LETHE_QUOTA_BY_MAX;
  return true;
}

/* Fills t->pass with the next request; false when there is none. */
bool quota_next_request(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  if (t->shut) return false;
  quota_serve(t); /* what waits want now */
  p->scope = 0;
  p->goal = 0;
  p->manual = NULL;
  p->for_wait = false;
  bool max_first = t->account_last && max_wanted(t);
  if (for_hand(t, p)) return true;
  if (!max_first && for_account(t, p)) return true;
  return for_max(t, p);
}

/* ---- newcomers ------------------------------------------------------------------------------- */

bool quota_in_scope(struct lethe_quota *t, slot_t s) {
  uint64_t scope = t->pass.scope;
  if (!scope) return true;
  if (s == (slot_t)scope) return account_find(t, scope) != NULL;
  if (!account_at(t, s)->x) return false;
  quota_walk_up(t, s);
  for (slot_t above = s; above; above = quota_up(t, above))
    if (lethe_slab_id(account_at(t, above), above) == scope) return true;
  return false;
}

/* Something of an account changed that the running pass has not gathered, or that it found wanting.
 * Until ages are asked everybody is still to be gathered. */
void quota_arrive(struct lethe_quota *t, slot_t s) {
  struct account *a = account_at(t, s);
  if (t->pass.phase <= ASK || a->seen == t->pass.stamp || !quota_in_scope(t, s)) return;
  if (vec_push_id(t->alloc, &t->arrivals, lethe_slab_id(a, s)) == LETHE_OK)
    a->seen = t->pass.stamp;
  else
    t->arrivals_lost = true;
}
