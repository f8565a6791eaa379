/* SPDX-License-Identifier: MIT
 * The policy's turn in a pass: its start, word of a victim, ranking, its stop; outside the lock, on
 * the loop that the policy names or else right here. A policy that fails, or whose loop does not
 * answer within the deadline, hands the pass over: to its sterner self if it has one, then to
 * "oldest". */
#include <stdio.h>

#include "quota_internal.h"

/* ---- calls ----------------------------------------------------------------------------------- */

/* One with a loop is called on that loop's thread alone. */
void quota_policy_enter(struct lethe_quota *t, struct lethe_quota_policy *policy) {
  if (!policy->loop) pthread_mutex_lock(&t->policy_lock);
  policy->message[0] = '\0';
}

int quota_policy_leave(struct lethe_quota *t, struct lethe_quota_policy *policy, int rc,
                       char *message) {
  if (rc != LETHE_OK)
    snprintf(message, QUOTA_MESSAGE, "%s", policy->message[0] ? policy->message : "it failed");
  if (!policy->loop) pthread_mutex_unlock(&t->policy_lock);
  return rc;
}

static int call_start(struct lethe_quota *t, struct lethe_quota_policy *policy, char *message) {
  if (!policy->start) return LETHE_OK;
  quota_unlock(t);
  quota_policy_enter(t, policy);
  int rc = quota_policy_leave(t, policy, policy->start(policy), message);
  quota_lock(t);
  return rc;
}

static int call_victim(struct lethe_quota *t, struct lethe_quota_policy *policy, char *message) {
  struct lethe_quota_candidate was = t->pass.victim_was;
  int64_t freed = t->pass.victim_freed;
  if (!policy->victim) return LETHE_OK;
  quota_unlock(t);
  quota_policy_enter(t, policy);
  int rc = quota_policy_leave(t, policy, policy->victim(policy, &was, freed), message);
  quota_lock(t);
  return rc;
}

static int call_stop(struct lethe_quota *t, struct lethe_quota_policy *policy, char *message) {
  enum lethe_quota_outcome outcome = t->pass.outcome;
  if (!policy->stop) return LETHE_OK;
  quota_unlock(t);
  quota_policy_enter(t, policy);
  int rc = quota_policy_leave(t, policy, policy->stop(policy, outcome), message);
  quota_lock(t);
  return rc;
}

/* All that is due. What came of it matters only if the pass is still the same. */
static int calls(struct lethe_quota *t, struct lethe_quota_policy *policy, char *message) {
  struct pass *p = &t->pass;
  uint32_t id = p->id;
  int rc = LETHE_OK;
  if (!p->started) {
    p->started = true;
    rc = call_start(t, policy, message);
  }
  if (rc == LETHE_OK && p->id == id && p->tell_victim) {
    p->tell_victim = false;
    rc = call_victim(t, policy, message);
  }
  if (rc != LETHE_OK || p->id != id) return rc;
  return p->ended ? call_stop(t, policy, message) : quota_rank(t, message);
}

/* ---- failure --------------------------------------------------------------------------------- */

/* "oldest" fails only without memory: then nobody can rank candidates. */
static void give_up(struct lethe_quota *t) {
  t->pass.outcome = LETHE_QUOTA_IS_STUCK;
  t->pass.ended = true;
}

static void failed(struct lethe_quota *t, const char *message) {
  struct pass *p = &t->pass;
  if (p->policy == t->fallback && !p->ended) {
    give_up(t);
    return;
  }
  struct lethe_quota_event *e = quota_note(t, LETHE_QUOTA_POLICY_FAILED, 0);
  if (e) snprintf(e->message, sizeof e->message, "%s", message);
  t->policy_failures++;
  p->tell_victim = false;
  if (p->policy->degraded && !p->degraded_done) {
    p->degraded = p->degraded_done = true;
  } else {
    p->policy = t->fallback;
    p->degraded = false;
  }
  if (!p->ended) quota_gather_anew(t);
}

static void turn(struct lethe_quota *t) {
  uint32_t id = t->pass.id;
  struct lethe_quota_policy *policy = t->pass.policy;
  char message[QUOTA_MESSAGE] = "not enough memory";
  lethe_ref_get(&policy->refs); /* the pass may be forgotten meanwhile */
  int rc = calls(t, policy, message);
  if (t->pass.id == id && rc != LETHE_OK) failed(t, message);
  quota_unlock(t);
  lethe_quota_policy_put(policy);
  quota_lock(t);
}

static void unreachable(struct lethe_quota *t) {
  t->pass.hop = NULL;
  t->pass.degraded_done = true; /* nor can its sterner self be reached */
  failed(t, "the state that set the policy does not answer");
  t->pass.phase = CHOOSE;
}

/* ---- on another loop ------------------------------------------------------------------------- */

static void on_hop(struct lethe_message *message, bool closed) {
  struct hop *hop = lethe_container_of(message, struct hop, message);
  struct lethe_quota *t = hop->t;
  struct pass *p = &t->pass;
  quota_lock(t);
  if (p->hop == hop && !closed) {
    p->hop_began = true;
    turn(t);
  }
  if (p->hop == hop) { /* else it was given up, or the pass is another */
    p->hop = NULL;
    if (p->phase == POLICY_ELSEWHERE && !closed) p->phase = CHOOSE;
    quota_kick(t);
  }
  quota_unlock(t);
  lethe_quota_policy_put(hop->policy);
  lethe_free(t->alloc, hop, sizeof *hop);
  quota_memory_put(t);
}

/* False: the policy's loop cannot be sent for. */
static bool send_hop(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  struct hop *hop = lethe_zalloc(t->alloc, sizeof *hop);
  if (!hop) return false;
  *hop = (struct hop){.message.run = on_hop, .t = t, .policy = p->policy};
  if (!lethe_loop_post(p->policy->loop, &hop->message)) {
    lethe_free(t->alloc, hop, sizeof *hop);
    return false;
  }
  lethe_ref_get(&t->memory);
  lethe_ref_get(&hop->policy->refs);
  p->hop = hop;
  p->hop_began = false;
  p->phase = POLICY_ELSEWHERE;
  quota_wait_at_most(t, t->deadline);
  return true;
}

/* One that has begun is at work within its budget, and is waited for. */
bool quota_policy_waited(struct lethe_quota *t) {
  if (!t->pass.hop) {
    unreachable(t); /* its loop closed */
  } else if (!quota_timed_out(t)) {
    return false;
  } else if (t->pass.hop_began) {
    quota_wait_at_most(t, t->deadline);
    return false;
  } else {
    unreachable(t);
  }
  return true;
}

void quota_policy_phase(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  const struct lethe_loop *loop = p->policy->loop;
  uint32_t id = p->id;
  if (loop && !quota_here(t, loop)) {
    if (!send_hop(t)) unreachable(t);
    return;
  }
  turn(t);
  if (p->id == id) p->phase = CHOOSE;
}
