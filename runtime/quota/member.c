/* SPDX-License-Identifier: MIT
 * Members: the loops on which participants are asked, and the messages that reach them there. A
 * member stays in memory until the last message to it was run. */
#include "quota_internal.h"

struct lethe_quota_member *quota_member(const struct lethe_quota *t, uint16_t index) {
  return t->members[index];
}

/* The loop was closed by its own thread before that put its reference: this one ends no more than
 * memory, which is harmless under the lock. */
void quota_member_put_locked(struct lethe_quota_member *m) {
  struct lethe_quota *t = m->t;
  if (--m->refs > 0) return;
  lethe_loop_put(m->loop);
  vec_free(t->alloc, &m->collapsed, sizeof(uint64_t));
  lethe_free(t->alloc, m, sizeof *m);
}

static int add(struct lethe_quota *t, struct lethe_quota_member *m) {
  size_t i = 0;
  while (i < t->members_n && t->members[i]) i++;
  if (i == UINT16_MAX) return LETHE_ENOMEM;
  void *array = t->members;
  if (lethe_grow(t->alloc, &array, &t->members_room, i + 1, sizeof *t->members))
    return LETHE_ENOMEM;
  t->members = array;
  t->members[i] = m;
  m->index = (uint16_t)i;
  if (i == t->members_n) t->members_n++;
  if (t->home || t->noop) return LETHE_OK;
  t->home = m;
  quota_wake(t); /* there was nobody to drive a pass */
  return LETHE_OK;
}

static void on_notice(struct lethe_message *message, bool closed);

int lethe_quota_member_new(struct lethe_quota_member **out, struct lethe_quota *t,
                           struct lethe_loop *loop, const struct lethe_quota_member_ops *ops,
                           void *ud) {
  struct lethe_quota_member *m = lethe_zalloc(t->alloc, sizeof *m);
  if (!m) return LETHE_ENOMEM;
  *m = (struct lethe_quota_member){.t = t,
                                   .loop = lethe_loop_get(loop),
                                   .ops = ops,
                                   .ud = ud,
                                   .thread = pthread_self(),
                                   .refs = 1,
                                   .kick.run = quota_on_kick,
                                   .ask.run = quota_on_ask,
                                   .notice.run = on_notice};
  lethe_ref_get(&t->memory);
  quota_lock(t);
  int rc = add(t, m);
  quota_unlock(t);
  if (rc) {
    lethe_loop_put(m->loop);
    lethe_free(t->alloc, m, sizeof *m);
    quota_memory_put(t);
    return rc;
  }
  *out = m;
  return LETHE_OK;
}

/* Its handles should be closed; what is left could be asked by nobody, and ends. */
static void end_participants(struct lethe_quota *t, const struct lethe_quota_member *m) {
  for (slot_t s = 1; m->participants > 0 && s < t->participants.slots; s++) {
    const struct participant *p = lethe_slab_used(&t->participants, s);
    if (p && p->state == LIVE && p->member == m->index) quota_participant_end(t, s);
  }
}

/* No other member, of those that stay, has the loop. */
static bool is_last_on(const struct lethe_quota *t, const struct lethe_loop *loop) {
  for (size_t i = 0; i < t->members_n; i++)
    if (t->members[i] && t->members[i]->loop == loop) return false;
  return true;
}

void lethe_quota_member_delete(struct lethe_quota_member *m) {
  struct lethe_quota *t = m->t;
  struct pass *p = &t->pass;
  quota_lock(t);
  end_participants(t, m);
  t->members[m->index] = NULL;
  m->ops = NULL;
  if (m->asked && m->asked == p->id && p->phase == ASKING && --p->outstanding == 0) quota_kick(t);
  m->asked = 0;
  quota_calls_drop(t, m);
  if (is_last_on(t, m->loop)) quota_manuals_done(t, m->loop, -1);
  quota_rehome(t, m);
  quota_member_put_locked(m);
  quota_unlock(t);
  quota_memory_put(t);
}

/* ---- word of collapses ----------------------------------------------------------------------- */

void quota_collapsed(struct lethe_quota *t, uint16_t member, uint64_t participant) {
  struct lethe_quota_member *m = t->members[member];
  if (!m || !m->ops->collapsed) return;
  vec_push_id(t->alloc, &m->collapsed, participant); /* else its object goes with its handles */
}

/* On the member's thread, under the lock, which it drops for each call. A callback may turn the
 * loop and come here again. */
static void tell(struct lethe_quota_member *m) {
  struct lethe_quota *t = m->t;
  while (m->ops && m->collapsed_told < m->collapsed.n) {
    uint64_t id = vec_id(&m->collapsed, m->collapsed_told++);
    const struct participant *p = lethe_slab_find(&t->participants, id);
    void *ud = p ? p->ud : NULL;
    if (m->collapsed_told == m->collapsed.n) m->collapsed_told = m->collapsed.n = 0;
    quota_unlock(t);
    if (m->ops) m->ops->collapsed(m->ud, id, ud); /* events were delivered: it may have left */
    quota_lock(t);
  }
}

static void on_notice(struct lethe_message *message, bool closed) {
  struct lethe_quota_member *m = lethe_container_of(message, struct lethe_quota_member, notice);
  struct lethe_quota *t = m->t;
  quota_lock(t);
  m->noticing = false;
  if (!closed) tell(m);
  quota_member_put_locked(m);
  quota_unlock(t);
  quota_memory_put(t);
}

static void notify(struct lethe_quota_member *m) {
  if (m->noticing) return;
  m->noticing = lethe_loop_post(m->loop, &m->notice);
  if (!m->noticing) return;
  m->refs++;
  lethe_ref_get(&m->t->memory);
}

void quota_tell_collapsed(struct lethe_quota *t) {
  for (size_t i = 0; i < t->members_n; i++) {
    struct lethe_quota_member *m = t->members[i];
    if (!m || m->collapsed.n == 0) continue;
    if (!pthread_equal(m->thread, pthread_self())) {
      notify(m);
      continue;
    }
    m->refs++;
    tell(m);
    quota_member_put_locked(m);
  }
}
