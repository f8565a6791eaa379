/* SPDX-License-Identifier: MIT
 * Asking participants how old their data is. A member asks its own, either at once, when the pass
 * runs on its thread, or when a message reaches its loop; the pass goes on without those that do
 * not answer in time, with the ages they told last. */
#include <float.h>

#include "quota_internal.h"

/* What the participant said; it may be gone by now. */
static void record(struct lethe_quota *t, uint64_t id, int said, double age) {
  struct participant *p = lethe_slab_find(&t->participants, id);
  if (!p || p->state != LIVE) return;
  p->flags |= ASKED;
  if (said > 0 && !isnan(age)) {
    p->flags |= TOLD;
    p->age = fmax(-DBL_MAX, fmin(DBL_MAX, age)); /* infinite ages stand for ages that are none */
  } else {
    p->flags &= (uint8_t)~TOLD;
  }
}

static void lose(struct lethe_quota *t, uint64_t id) {
  struct participant *p = lethe_slab_find(&t->participants, id);
  if (!p || p->state != LIVE) return;
  struct lethe_quota_event *e = quota_note(t, LETHE_QUOTA_PARTICIPANT_LOST, account_id_of(p));
  if (e) e->bytes = p->used;
  if (t->pass.id) t->pass.freed += p->used; /* the pass did that */
  quota_participant_end(t, (slot_t)id);
}

/* Asks one participant, if it is the member's; drops the lock for the call. */
static void ask_one(struct lethe_quota_member *m, slot_t s, bool plan) {
  struct lethe_quota *t = m->t;
  const struct participant *p = participant_at(t, s);
  if (p->member != m->index || p->flags & EXACT) return;
  uint64_t id = lethe_slab_id(p, s);
  void *ud = p->ud;
  double age = 0;
  int said = -1;
  quota_unlock(t);
  if (m->ops && !lethe_fault(LETHE_FAULT_CALLBACK)) said = m->ops->oldest(m->ud, id, ud, &age);
  quota_lock(t);
  if (said >= 0)
    record(t, id, said, age);
  else if (!plan)
    lose(t, id);
}

void quota_ask_here(struct lethe_quota_member *m, uint32_t pass, bool plan) {
  struct lethe_quota *t = m->t;
  struct cursor c;
  bool more = true;
  quota_cursor_open(t, &c, t->pass.scope ? &t->pass.tree : NULL);
  while (m->ops && t->pass.id == pass && more) {
    slot_t s = quota_cursor_next(t, &c, &more);
    if (!s && more) quota_breathe(t);
    if (!s) continue;
    ask_one(m, s, plan);
    more = true;
  }
  quota_cursor_close(&c);
}

/* ---- other threads --------------------------------------------------------------------------- */

/* On the member's thread. */
void quota_on_ask(struct lethe_message *message, bool closed) {
  struct lethe_quota_member *m = lethe_container_of(message, struct lethe_quota_member, ask);
  struct lethe_quota *t = m->t;
  quota_lock(t);
  uint32_t pass = m->asked;
  m->asking = false;
  if (!closed && pass) quota_ask_here(m, pass, false);
  if (pass && m->asked == pass) {
    m->asked = 0;
    if (t->pass.id == pass && t->pass.phase == ASKING && --t->pass.outstanding == 0) quota_kick(t);
  }
  quota_member_put_locked(m);
  quota_unlock(t);
  quota_memory_put(t);
}

static bool post(struct lethe_quota_member *m) {
  if (m->asking) return true; /* one that came too late for an earlier pass serves this one */
  m->asking = lethe_loop_post(m->loop, &m->ask);
  if (!m->asking) return false;
  m->refs++;
  lethe_ref_get(&m->t->memory);
  return true;
}

uint32_t quota_ask_elsewhere(struct lethe_quota *t, uint32_t pass) {
  uint32_t asked = 0;
  for (size_t i = 0; i < t->members_n; i++) {
    struct lethe_quota_member *m = t->members[i];
    if (!m || m->participants == 0 || pthread_equal(m->thread, pthread_self())) continue;
    m->asked = post(m) ? pass : 0;
    if (m->asked) asked++;
  }
  return asked;
}

/* ---- again ----------------------------------------------------------------------------------- */

static void ask_if_here(struct lethe_quota *t, slot_t s, bool plan) {
  struct lethe_quota_member *m = quota_member(t, participant_at(t, s)->member);
  if (!m || !pthread_equal(m->thread, pthread_self())) return;
  m->refs++;
  ask_one(m, s, plan);
  quota_member_put_locked(m);
}

static void ask_account(struct lethe_quota *t, uint64_t account, bool plan) {
  struct cursor c;
  uint32_t id = t->pass.id;
  bool more = true;
  if (!account_find(t, account)) return;
  quota_cursor_account(t, &c, (slot_t)account);
  while (t->pass.id == id && more) {
    slot_t s = quota_cursor_next(t, &c, &more);
    if (!s && more) quota_breathe(t);
    if (!s) continue;
    ask_if_here(t, s, plan);
    more = true;
  }
  quota_cursor_close(&c);
}

/* Those that arrive meanwhile are asked next time. */
void quota_ask_again(struct lethe_quota *t) {
  uint32_t id = t->pass.id;
  size_t n = t->arrivals.n;
  if (t->pass.again.account) ask_account(t, t->pass.again.account, false);
  for (size_t i = t->arrivals_asked; t->pass.id == id && i < n; i++)
    ask_account(t, vec_id(&t->arrivals, i), false);
  if (t->pass.id == id) t->arrivals_asked = n;
}

/* A pass that is under way asks for itself. */
void lethe_quota_ask(struct lethe_quota *t, uint64_t account) {
  if (t->noop) return;
  quota_lock(t);
  if (t->pass.id == 0) ask_account(t, account, true);
  quota_unlock(t);
}
