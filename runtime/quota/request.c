/* SPDX-License-Identifier: MIT
 * What passes are asked for: by hand, by a refused claim over its account's tree, by a sum above max, by
 * a claim that waits. One at a time is served, in that order. */
#include "quota_internal.h"

enum { STUCK_PAUSE = 1 }; /* seconds */

void quota_manual_done(struct lethe_quota_manual *m, int64_t freed) {
  m->freed = freed;
  lethe_loop_post(m->loop, &m->message); /* held by the request: it is open */
}

/* After a pass got stuck the next one waits for news: growth, an arrival, or a while. */
static bool worth_trying(const struct lethe_quota *t) {
  return t->stuck_at < 0 || t->stuck_news || t->used > t->stuck_at + t->max / 64 ||
         quota_now(t) >= t->stuck_time + STUCK_PAUSE;
}

bool quota_wanted(struct lethe_quota *t) {
  if (t->shut) return false;
  if (!lethe_list_empty(&t->manuals) || t->wanting_n > 0) return true;
  return (t->used > t->max || t->max_blocks) && worth_trying(t);
}

/* A claim of n was refused at this account's max. */
void quota_want_account(struct lethe_quota *t, slot_t s, int64_t n) {
  struct account *a = account_at(t, s);
  if (n > a->x->max) return; /* no pass can make it fit */
  if (a->x->wanted > 0) {
    if (n > a->x->wanted) a->x->wanted = n;
    return;
  }
  void *array = t->wanting;
  if (lethe_grow(t->alloc, &array, &t->wanting_room, t->wanting_n + 1, sizeof *t->wanting)) return;
  t->wanting = array;
  t->wanting[t->wanting_n++] = lethe_slab_id(a, s);
  a->x->wanted = n;
}

/* Something of an account changed that the running pass has not gathered. */
void quota_arrive(struct lethe_quota *t, slot_t s) {
  struct account *a = account_at(t, s);
  void *array = t->arrivals;
  if (a->seen == t->pass.stamp || t->pass.scope) return;
  if (t->pass.scan && s >= t->pass.scan) return; /* the scan comes by */
  if (lethe_grow(t->alloc, &array, &t->arrivals_room, t->arrivals_n + 1, sizeof *t->arrivals)) {
    t->arrivals_lost = true;
    return;
  }
  t->arrivals = array;
  t->arrivals[t->arrivals_n++] = lethe_slab_id(a, s);
  a->seen = t->pass.stamp;
}

/* The account whose refused claim came first, its request taken; 0: none that still stands. */
static uint64_t take_wanting(struct lethe_quota *t, int64_t *n) {
  while (t->wanting_n > 0) {
    uint64_t id = t->wanting[0];
    for (size_t i = 1; i < t->wanting_n; i++) t->wanting[i - 1] = t->wanting[i];
    t->wanting_n--;
    struct account *a = account_find(t, id);
    if (!a || !a->x) continue;
    *n = a->x->wanted;
    a->x->wanted = 0;
    return id;
  }
  return 0;
}

/* Fills t->pass with the next request; false when there is none. */
bool quota_next_request(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  struct lethe_list *node;
  if (t->shut) return false;
  p->scope = 0;
  p->goal = 0;
  p->manual = NULL;
  p->for_wait = false;
  if ((node = lethe_list_shift(&t->manuals)) != NULL) {
    p->manual = lethe_container_of(node, struct lethe_quota_manual, node);
    p->goal = p->manual->goal;
    p->reason = LETHE_QUOTA_BY_HAND;
    return true;
  }
  if ((p->scope = take_wanting(t, &p->goal)) != 0) {
    p->reason = LETHE_QUOTA_BY_ACCOUNT;
    return true;
  }
  if (!quota_wanted(t)) return false;
  p->for_wait = t->used <= t->max;
  p->reason = LETHE_QUOTA_BY_MAX;
  return true;
}

static void manual_answered(struct lethe_message *message, bool closed) {
  struct lethe_quota_manual *m = lethe_container_of(message, struct lethe_quota_manual, message);
  struct lethe_loop *loop = m->loop;
  (void)closed;
  m->done(m, m->freed);
  lethe_loop_release(loop);
  lethe_loop_put(loop);
}

int lethe_quota_reclaim(struct lethe_quota *t, struct lethe_quota_manual *m,
                        struct lethe_loop *loop, int64_t goal,
                        void (*done)(struct lethe_quota_manual *m, int64_t freed)) {
  *m = (struct lethe_quota_manual){.goal = goal, .done = done, .message.run = manual_answered};
  m->loop = lethe_loop_get(loop);
  lethe_loop_hold(loop);
  lethe_list_init(&m->node);
  quota_lock(t);
  if (t->shut || t->noop || !t->home) {
    quota_manual_done(m, t->shut ? -1 : 0); /* nobody is there who could give anything */
  } else {
    lethe_list_push(&t->manuals, &m->node);
    quota_wake(t);
  }
  quota_unlock(t);
  return LETHE_OK;
}
