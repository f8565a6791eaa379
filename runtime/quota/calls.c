/* SPDX-License-Identifier: MIT
 * Calls: requests to participants for memory, each on its member's loop. A call is counted by the
 * pass that wants the answer and by the callee who owes it; either may go first. */
#include "quota_internal.h"

void quota_call_put(struct lethe_quota_call *call) {
  struct lethe_quota *t = call->t;
  if (--call->refs > 0) return;
  quota_member_put_locked(call->member);
  lethe_free(t->alloc, call, sizeof *call);
  lethe_ref_put(&t->memory); /* not the last: whoever holds the lock holds another */
}

void lethe_quota_answer(struct lethe_quota_call *call, bool stays) {
  struct lethe_quota *t = call->t;
  lethe_ref_get(&t->memory);
  quota_lock(t);
  if (!call->answered) {
    call->answered = true;
    call->stays = stays;
    if (!lethe_list_empty(&call->node) && --t->pass.outstanding == 0) quota_kick(t);
  }
  quota_call_put(call);
  quota_unlock(t);
  quota_memory_put(t);
}

static bool stands(const struct lethe_quota_call *call) {
  const struct participant *p = lethe_slab_find(&call->t->participants, call->participant);
  return p && p->state == LIVE;
}

bool lethe_quota_call_stands(const struct lethe_quota_call *call) {
  quota_lock(call->t);
  bool still = stands(call);
  quota_unlock(call->t);
  return still;
}

/* By what participants of the same victim have given since they were asked together. Everyone is
 * asked for a byte at least. */
static void lower_goal(struct lethe_quota_call *call) {
  int64_t given = call->used - call->t->used, *goal = &call->request.goal;
  if (given > 0) *goal = *goal > given ? *goal - given : 1;
}

/* On the member's thread, under the lock; comes back without it. */
static void call_out(struct lethe_quota_call *call) {
  struct lethe_quota_member *m = call->member;
  lower_goal(call);
  bool there = stands(call) && !lethe_fault(LETHE_FAULT_CALLBACK);
  quota_unlock(call->t);
  if (there && m->ops) /* events were delivered: it may have left */
    m->ops->reclaim(m->ud, call->participant, call->ud, &call->request, call);
  else
    lethe_quota_answer(call, false);
}

static void on_call(struct lethe_message *message, bool closed) {
  struct lethe_quota_call *call = lethe_container_of(message, struct lethe_quota_call, message);
  struct lethe_quota *t = call->t;
  lethe_ref_get(&t->memory);
  if (closed) {
    lethe_quota_answer(call, false);
  } else {
    quota_lock(t);
    call_out(call);
  }
  quota_memory_put(t);
}

int quota_call_add(struct lethe_quota *t, slot_t s, size_t prey) {
  const struct participant *p = participant_at(t, s);
  struct lethe_quota_call *call = lethe_zalloc(t->alloc, sizeof *call);
  if (!call) return LETHE_ENOMEM;
  call->message.run = on_call;
  call->t = t;
  call->refs = 2;
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

/* The first one that is not issued: those that are were moved to the end. */
static struct lethe_quota_call *next_call(struct lethe_quota *t) {
  struct lethe_list *first = t->pass.calls.next;
  if (first == &t->pass.calls) return NULL;
  struct lethe_quota_call *call = lethe_container_of(first, struct lethe_quota_call, node);
  return call->issued ? NULL : call;
}

static void give_up(struct lethe_quota *t, struct lethe_quota_call *call) {
  call->answered = true;
  t->pass.outstanding--;
  quota_call_put(call); /* for the callee */
}

/* One at a time: a callback may end anything. */
void quota_calls_issue(struct lethe_quota *t, const struct lethe_quota_request *request) {
  struct lethe_quota_call *call;
  uint32_t id = t->pass.id;
  int64_t used = t->used;
  while (t->pass.id == id && (call = next_call(t)) != NULL) {
    call->issued = true;
    call->used = used;
    call->request = *request;
    lethe_list_remove(&call->node);
    lethe_list_push(&t->pass.calls, &call->node);
    quota_visit(t, 1);
    if (pthread_equal(call->member->thread, pthread_self())) {
      call_out(call);
      quota_lock(t);
    } else if (!lethe_loop_post(call->member->loop, &call->message)) {
      give_up(t, call);
    } else if (t->visited >= LETHE_QUOTA_SLICE) {
      quota_breathe(t);
    }
  }
}

/* Nobody listens to the callees any more; those not issued have none. */
static void drop_all(struct lethe_quota *t) {
  struct lethe_list *node;
  while ((node = lethe_list_shift(&t->pass.calls)) != NULL) {
    struct lethe_quota_call *call = lethe_container_of(node, struct lethe_quota_call, node);
    if (!call->issued) quota_call_put(call);
    quota_call_put(call);
  }
  t->pass.outstanding = 0;
}

/* To be gone is an answer. What was issued is still owed, and then comes to nothing. */
static void answer_for(struct lethe_quota *t, const struct lethe_quota_member *of) {
  LETHE_LIST_EACH_SAFE(node, &t->pass.calls) {
    struct lethe_quota_call *call = lethe_container_of(node, struct lethe_quota_call, node);
    if (call->member != of || call->answered) continue;
    if (call->issued) {
      call->answered = true;
      t->pass.outstanding--;
    } else {
      call->issued = true;
      lethe_list_remove(&call->node); /* behind those that are still to be issued */
      lethe_list_push(&t->pass.calls, &call->node);
      give_up(t, call);
    }
  }
  if (t->pass.phase == RECLAIMING && t->pass.outstanding == 0) quota_kick(t);
}

void quota_calls_drop(struct lethe_quota *t, const struct lethe_quota_member *of) {
  if (of)
    answer_for(t, of);
  else
    drop_all(t);
}
