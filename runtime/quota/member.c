/* SPDX-License-Identifier: MIT
 * Members: the loops on which participants are asked. A member asks its own participants how old
 * their data is, either at once, when the pass runs on its thread, or when a message reaches its
 * loop; the pass goes on without those that do not answer in time, with the ages they told last. */
#include <float.h>

#include "quota_internal.h"

struct lethe_quota_member *quota_member(const struct lethe_quota *t, uint16_t index) {
  return t->members[index];
}

void quota_member_put_locked(struct lethe_quota_member *m) {
  struct lethe_quota *t = m->t;
  if (--m->refs > 0) return;
  lethe_loop_put(m->loop);
  lethe_free(t->alloc, m->collapsed, m->collapsed_room * sizeof *m->collapsed);
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
  return LETHE_OK;
}

static void on_ask(struct lethe_message *message, bool closed);
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
                                   .ask.run = on_ask,
                                   .notice.run = on_notice,
                                   .refs = 1};
  lethe_ref_get(&t->memory);
  quota_lock(t);
  int rc = add(t, m);
  if (rc == LETHE_OK && !t->home && !t->noop) t->home = m;
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

void lethe_quota_member_delete(struct lethe_quota_member *m) {
  struct lethe_quota *t = m->t;
  quota_lock(t);
  t->members[m->index] = NULL;
  m->ops = NULL;
  if (m->asked && t->pass.phase == ASKING && --t->pass.outstanding == 0) quota_kick(t);
  m->asked = 0;
  quota_calls_drop(t, m);
  quota_rehome(t, m);
  quota_member_put_locked(m);
  quota_unlock(t);
  quota_memory_put(t);
}

/* ---- asking ---------------------------------------------------------------------------------- */

/* What the participant said; it may be gone by now. */
static void record(struct lethe_quota *t, uint64_t id, int said, double age) {
  struct participant *p = lethe_slab_find(&t->participants, id);
  if (!p || p->state != LIVE) return;
  p->flags |= ASKED;
  if (said < 0) {
    struct lethe_quota_event *e = quota_note(t, LETHE_QUOTA_PARTICIPANT_LOST, account_id_of(p));
    if (e) e->bytes = p->used;
    quota_participant_end(t, (slot_t)id);
  } else if (said > 0 && !isnan(age)) {
    p->flags |= TOLD;
    p->age = fmax(-DBL_MAX, fmin(DBL_MAX, age)); /* infinite ages stand for ages that are none */
  } else {
    p->flags &= (uint8_t)~TOLD;
  }
}

/* Asks one participant, if it is the member's. Drops the lock for the call. */
static void ask_one(struct lethe_quota_member *m, slot_t s) {
  struct lethe_quota *t = m->t;
  struct participant *p = participant_at(t, s);
  if (p->state != LIVE || p->member != m->index || p->flags & EXACT) return;
  uint64_t id = lethe_slab_id(p, s);
  void *ud = p->ud;
  double age = 0;
  quota_unlock(t);
  int said = lethe_fault(LETHE_FAULT_CALLBACK) ? -1 : m->ops->oldest(m->ud, id, ud, &age);
  quota_lock(t);
  record(t, id, said, age);
}

/* Asks the next one of a slice; false at the end. */
static bool ask_slice(struct lethe_quota_member *m, struct cursor *c) {
  uint32_t left = LETHE_QUOTA_SLICE;
  slot_t s = quota_cursor_next(m->t, c, &left);
  if (!s) return left == 0;
  ask_one(m, s);
  return true;
}

static struct lethe_quota_member *member_here(struct lethe_quota *t, uint16_t index) {
  struct lethe_quota_member *m = t->members[index];
  return m && m->ops && pthread_equal(m->thread, pthread_self()) ? m : NULL;
}

static void ask_account(struct lethe_quota *t, uint64_t account) {
  struct cursor c;
  uint32_t id = t->pass.id;
  quota_cursor_reset(&c);
  for (slot_t s; t->pass.id == id && (s = quota_next_in_account(t, account, &c)) != 0;) {
    struct participant *p = participant_at(t, s);
    struct lethe_quota_member *m = member_here(t, p->member);
    c.last = lethe_slab_id(p, s);
    if (!m) continue;
    m->refs++;
    ask_one(m, s);
    quota_member_put_locked(m);
  }
}

void quota_ask_again(struct lethe_quota *t) {
  uint32_t id = t->pass.id;
  if (t->pass.again.account) ask_account(t, t->pass.again.account);
  for (size_t i = 0; t->pass.id == id && i < t->arrivals_n; i++) ask_account(t, t->arrivals[i]);
}

void quota_ask_here(struct lethe_quota_member *m, uint32_t pass) {
  struct lethe_quota *t = m->t;
  struct cursor c;
  quota_cursor_reset(&c);
  while (m->ops && t->pass.id == pass && ask_slice(m, &c)) {
    quota_unlock(t);
    quota_lock(t);
  }
}

/* On the member's thread. */
static void on_ask(struct lethe_message *message, bool closed) {
  struct lethe_quota_member *m = lethe_container_of(message, struct lethe_quota_member, ask);
  struct lethe_quota *t = m->t;
  quota_lock(t);
  uint32_t pass = m->asked;
  m->asking = false;
  if (!closed && pass) quota_ask_here(m, pass);
  if (m->asked && m->asked == pass) {
    m->asked = 0;
    if (t->pass.id == pass && t->pass.phase == ASKING && --t->pass.outstanding == 0) quota_kick(t);
  }
  quota_member_put_locked(m);
  quota_unlock(t);
  quota_memory_put(t);
}

uint32_t quota_ask_elsewhere(struct lethe_quota *t, uint32_t pass) {
  uint32_t asked = 0;
  for (size_t i = 0; i < t->members_n; i++) {
    struct lethe_quota_member *m = t->members[i];
    if (!m || !m->ops || pthread_equal(m->thread, pthread_self())) continue;
    if (!m->asking) {
      m->refs++;
      lethe_ref_get(&t->memory);
      m->asking = lethe_loop_post(m->loop, &m->ask);
      if (!m->asking) {
        m->refs--;
        lethe_ref_put(&t->memory);
        continue;
      }
    }
    m->asked = pass;
    asked++;
  }
  return asked;
}

/* ---- word of collapses ------------------------------------------------------------------------- */

void quota_collapsed(struct lethe_quota *t, uint16_t member, uint64_t participant) {
  struct lethe_quota_member *m = t->members[member];
  if (!m || !m->ops || !m->ops->collapsed) return;
  void *array = m->collapsed;
  if (lethe_grow(t->alloc, &array, &m->collapsed_room, m->collapsed_n + 1, sizeof *m->collapsed))
    return; /* then its object is let go of with its handles */
  m->collapsed = array;
  m->collapsed[m->collapsed_n++] = participant;
}

/* On the member's thread, under the lock, which it drops for each call. */
static void tell(struct lethe_quota_member *m) {
  struct lethe_quota *t = m->t;
  while (m->ops && m->collapsed_n > 0) {
    uint64_t id = m->collapsed[--m->collapsed_n];
    struct participant *p = lethe_slab_find(&t->participants, id);
    void *ud = p ? p->ud : NULL;
    quota_unlock(t);
    m->ops->collapsed(m->ud, id, ud);
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

void quota_tell_collapsed(struct lethe_quota *t) {
  for (size_t i = 0; i < t->members_n; i++) {
    struct lethe_quota_member *m = t->members[i];
    if (!m || m->collapsed_n == 0 || m->noticing) continue;
    m->refs++;
    if (pthread_equal(m->thread, pthread_self())) {
      tell(m);
    } else {
      lethe_ref_get(&t->memory);
      m->noticing = lethe_loop_post(m->loop, &m->notice);
      if (m->noticing) continue;
      lethe_ref_put(&t->memory);
    }
    quota_member_put_locked(m);
  }
}
