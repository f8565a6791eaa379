/* SPDX-License-Identifier: MIT
 * One victim: who is asked for memory, the requests, and what follows from the answers.
 *
 * The victim takes along every account below it that its reserve does not protect. All their
 * participants are asked at the same time, each on its member's loop. One that answers "stays" goes
 * on living; one that collapses, fails, or lets the deadline pass is condemned: its bytes leave the
 * sums now and are watched until they are really gone. An account ends when one of its participants
 * collapsed and none stays; one without participants ends with the victim. */
#include "quota_internal.h"

/* ---- calls ------------------------------------------------------------------------------------ */

/* Under the lock. */
static void call_put(struct lethe_quota_call *call) {
  struct lethe_quota *t = call->t;
  if (--call->refs > 0) return;
  quota_member_put_locked(call->member);
  lethe_free(t->alloc, call, sizeof *call);
  lethe_ref_put(&t->memory); /* not the last: whoever holds the lock holds another */
}

/* Whoever is still to answer those finds nobody listening. */
void quota_calls_drop(struct lethe_quota *t, const struct lethe_quota_member *of) {
  LETHE_LIST_EACH_SAFE(node, &t->pass.calls) {
    struct lethe_quota_call *call = lethe_container_of(node, struct lethe_quota_call, node);
    if (of && call->member != of) continue;
    if (of) { /* its member is gone: that is an answer */
      if (!call->answered && call->issued && --t->pass.outstanding == 0) quota_kick(t);
      call->answered = call->issued = true;
      continue;
    }
    lethe_list_remove(&call->node);
    call_put(call);
  }
}

void lethe_quota_answer(struct lethe_quota_call *call, bool stays) {
  struct lethe_quota *t = call->t;
  lethe_ref_get(&t->memory);
  quota_lock(t);
  if (!call->answered) {
    call->answered = true;
    call->stays = stays;
    if (!lethe_list_empty(&call->node) && call->pass == t->pass.id && --t->pass.outstanding == 0 &&
        !t->stepping)
      quota_kick(t);
  }
  call_put(call);
  quota_unlock(t);
  quota_memory_put(t);
}

/* On the member's thread, under the lock, which it drops meanwhile. */
static void call_out(struct lethe_quota_call *call) {
  struct lethe_quota_member *m = call->member;
  struct participant *p = lethe_slab_find(&call->t->participants, call->participant);
  if (!m->ops || !p || p->state != LIVE || lethe_fault(LETHE_FAULT_CALLBACK)) {
    quota_unlock(call->t);
    lethe_quota_answer(call, false);
  } else {
    quota_unlock(call->t);
    m->ops->reclaim(m->ud, call->participant, call->ud, &call->request, call);
  }
}

static void on_call(struct lethe_message *message, bool closed) {
  struct lethe_quota_call *call = lethe_container_of(message, struct lethe_quota_call, message);
  struct lethe_quota *t = call->t;
  lethe_ref_get(&t->memory);
  quota_lock(t);
  if (closed) {
    quota_unlock(t);
    lethe_quota_answer(call, false);
  } else {
    call_out(call);
  }
  quota_memory_put(t);
}

static int add_call(struct lethe_quota *t, slot_t s, size_t prey) {
  struct participant *p = participant_at(t, s);
  struct lethe_quota_call *call = lethe_zalloc(t->alloc, sizeof *call);
  if (!call) return LETHE_ENOMEM;
  call->message.run = on_call;
  call->t = t;
  call->refs = 2;
  call->pass = t->pass.id;
  call->participant = lethe_slab_id(p, s);
  call->member = quota_member(t, p->member);
  call->member->refs++;
  call->ud = p->ud;
  call->prey = prey;
  lethe_ref_get(&t->memory);
  lethe_list_push(&t->pass.calls, &call->node);
  t->pass.outstanding++;
  return LETHE_OK;
}

/* ---- asking ----------------------------------------------------------------------------------- */

static int gather_prey(struct lethe_quota *t, slot_t victim) {
  struct pass *p = &t->pass;
  p->prey_n = 0;
  quota_walk_down(t, victim);
  for (slot_t s = victim; s; s = quota_down(t, s)) {
    void *array = p->prey;
    if (lethe_grow(t->alloc, &array, &p->prey_room, p->prey_n + 1, sizeof *p->prey))
      return LETHE_ENOMEM;
    p->prey = array;
    const struct account *a = account_at(t, s);
    int64_t reserve = a->x ? a->x->reserve : 0;
    p->prey[p->prey_n++] = (struct prey){
        .account = lethe_slab_id(a, s),
        .before = a->used,
        .spared = s != victim && !p->degraded && reserve > 0 && a->used <= reserve};
  }
  return LETHE_OK;
}

/* A request for every participant of the prey, a slice at a time. */
static void prepare_calls(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  uint32_t id = p->id, n = 0;
  for (size_t i = 0; i < p->prey_n; i++) {
    struct cursor c;
    quota_cursor_reset(&c);
    if (p->prey[i].spared) continue;
    for (slot_t s; (s = quota_next_in_account(t, p->prey[i].account, &c)) != 0;) {
      struct participant *q = participant_at(t, s);
      c.last = lethe_slab_id(q, s);
      if (!(q->flags & EXACT) && add_call(t, s, i) == LETHE_OK) p->prey[i].asked = true;
      if (++n % LETHE_QUOTA_SLICE) continue;
      quota_visited(t, LETHE_QUOTA_SLICE);
      quota_unlock(t);
      quota_lock(t);
      if (p->id != id) return;
    }
  }
}

/* What is older than the next victim's oldest may go before anything of that one does. */
static double next_oldest(const struct lethe_quota *t) {
  double oldest = t->pass.heap_n ? t->pass.heap[0].oldest : NAN;
  return isinf(oldest) ? NAN : oldest;
}

/* Calls out, one at a time: a callback may end anything. */
static void issue_calls(struct lethe_quota *t, const struct lethe_quota_request *request) {
  uint32_t id = t->pass.id;
  for (;;) {
    struct lethe_quota_call *next = NULL;
    LETHE_LIST_EACH(node, &t->pass.calls) {
      struct lethe_quota_call *call = lethe_container_of(node, struct lethe_quota_call, node);
      if (call->issued) break; /* issued ones are moved to the end */
      next = call;
      break;
    }
    if (!next) return;
    next->issued = true;
    next->request = *request;
    lethe_list_remove(&next->node);
    lethe_list_push(&t->pass.calls, &next->node);
    if (pthread_equal(next->member->thread, pthread_self())) {
      call_out(next);
      quota_lock(t);
      if (t->pass.id != id) return;
    } else if (!lethe_loop_post(next->member->loop, &next->message)) {
      next->answered = true;
      t->pass.outstanding--;
      call_put(next);
    }
  }
}

void quota_victim_ask(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  uint32_t id = p->id;
  struct lethe_quota_request request = {
      .older_than = next_oldest(t), .deadline = t->deadline, .reason = p->reason};
  if (!quota_candidate(t, p->victim.account, p->degraded, &p->victim_was) || p->id != id ||
      gather_prey(t, (slot_t)p->victim.account) != LETHE_OK) {
    if (p->id == id) p->phase = CHOOSE; /* gone, or not worth asking any more */
    return;
  }
  p->victim_was.tried = p->victim.tried;
  p->victim_was.freed = p->victim.freed;
  p->victim_began = quota_now(t);
  p->outstanding = 0;
  prepare_calls(t);
  if (p->id != id) return;
  if (lethe_list_empty(&p->calls)) {
    p->phase = CHOOSE;
    return;
  }
  request.goal = quota_pass_needs(t);
  p->phase = RECLAIMING;
  quota_wait_at_most(t, t->deadline);
  issue_calls(t, &request);
}

/* ---- settling --------------------------------------------------------------------------------- */

static void condemn(struct lethe_quota *t, slot_t s) {
  struct participant *q = participant_at(t, s);
  uint64_t id = lethe_slab_id(q, s), account = account_id_of(q);
  uint16_t member = q->member;
  quota_participant_condemn(t, s);
  quota_bury(t, id, account);
  quota_collapsed(t, member, id);
}

/* Participants that collapsed, a slice at a time. */
static void take_answers(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  struct lethe_list *node;
  uint32_t n = 0;
  while ((node = lethe_list_shift(&p->calls)) != NULL) {
    struct lethe_quota_call *call = lethe_container_of(node, struct lethe_quota_call, node);
    struct participant *q = lethe_slab_find(&t->participants, call->participant);
    struct prey *prey = &p->prey[call->prey];
    if (!q || q->state != LIVE) {
      prey->collapsed = true; /* it ended itself meanwhile */
    } else if (call->answered && call->stays) {
      prey->stays = true;
    } else {
      prey->collapsed = true;
      condemn(t, (slot_t)call->participant);
    }
    call_put(call);
    if (++n % LETHE_QUOTA_SLICE) continue;
    quota_visited(t, LETHE_QUOTA_SLICE);
    quota_unlock(t);
    quota_lock(t);
  }
}

static bool ends(const struct pass *p, const struct prey *prey) {
  if (prey->spared) return false;
  if (!prey->asked) return p->prey[0].collapsed && !p->prey[0].stays;
  return prey->collapsed && !prey->stays;
}

/* Whoever is left in an account that ends goes the way of those that collapsed. */
static void end_accounts(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  uint32_t id = p->id;
  for (size_t i = 0; i < p->prey_n && p->id == id; i++) {
    if (!ends(p, &p->prey[i]) || !account_find(t, p->prey[i].account)) continue;
    slot_t s = (slot_t)p->prey[i].account;
    for (uint32_t n = 0; n < LETHE_QUOTA_SLICE && account_at(t, s)->participants; n++)
      condemn(t, account_at(t, s)->participants);
    quota_account_end(t, s);
  }
}

static int64_t freed_of(const struct lethe_quota *t) {
  int64_t freed = 0;
  for (size_t i = 0; i < t->pass.prey_n; i++) {
    const struct prey *prey = &t->pass.prey[i];
    const struct account *a = account_find(t, prey->account);
    if (a && !prey->asked) continue;
    freed += prey->before - (a ? a->used : 0);
  }
  return freed > 0 ? freed : 0;
}

static void report(struct lethe_quota *t, int64_t freed) {
  struct pass *p = &t->pass;
  struct lethe_quota_event *e = quota_note(t, LETHE_QUOTA_VICTIM, p->victim.account);
  p->freed += freed;
  p->victims++;
  p->victim_freed = freed;
  p->tell_victim = true;
  t->freed += freed;
  t->victims++;
  if (!e) return;
  e->bytes = freed;
  e->value = p->victim.score;
  e->reason = p->reason;
  for (size_t i = 0; i < sizeof e->name; i++) e->name[i] = p->victim_was.info.name[i];
}

/* What it took, for candidates' cost; and it is ranked again if it gave something. */
static void remember(struct lethe_quota *t, int64_t freed) {
  struct pass *p = &t->pass;
  if (!account_find(t, p->victim.account)) return;
  struct extra *x = quota_extra(t, (slot_t)p->victim.account);
  if (x) {
    x->reclaims++;
    x->reclaim_seconds += quota_now(t) - p->victim_began;
    x->reclaim_bytes += freed;
  }
  if (freed == 0) return;
  p->again = p->victim;
  p->again.tried++;
  p->again.freed += freed;
}

void quota_victim_settle(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  uint32_t id = p->id;
  lethe_timer_stop(&t->timer);
  take_answers(t);
  if (p->id != id) return;
  end_accounts(t);
  if (p->id != id) return;
  int64_t freed = freed_of(t);
  report(t, freed);
  remember(t, freed);
  p->phase = CHOOSE;
  quota_tell_collapsed(t);
}
