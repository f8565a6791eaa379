/* SPDX-License-Identifier: MIT
 * The pass: a state machine that the home member's loop drives.
 *
 *   DRAIN    call unspent caches back, a slice of 64 participants at a time; often that is enough
 *   ASK      ask participants how old their data is: here at once, elsewhere by message (ASKING)
 *   POLICY   gather candidates, rank them; on the policy's own loop if it has one (POLICY_ELSEWHERE)
 *   CHOOSE   done? else the worst candidate becomes the victim
 *   RECLAIM  ask it, and all below it, for memory; RECLAIMING waits for answers or the deadline
 *
 * A step goes on until it has to wait. It drops the lock around every call out of here, and looks
 * after each whether the pass is still the same. Newcomers enter through t->arrivals; nothing ever
 * stops the tracker: a pass that cannot reach its goal ends stuck, and says so. */
#include "quota_internal.h"

enum { SLICES_A_TURN = 256 };
static const double ask_patience = 0.05; /* seconds */

/* ---- waking ---------------------------------------------------------------------------------- */

static void step(struct lethe_quota *t);

static void on_kick(struct lethe_message *m, bool closed) {
  struct lethe_quota *t = lethe_container_of(m, struct lethe_quota, kick);
  quota_lock(t);
  t->kicked = false;
  if (!closed) step(t);
  quota_unlock(t);
  quota_memory_put(t);
}

void quota_kick(struct lethe_quota *t) {
  if (t->kicked || !t->home) return;
  t->kick.run = on_kick;
  lethe_ref_get(&t->memory);
  t->kicked = lethe_loop_post(t->home->loop, &t->kick);
  if (!t->kicked) lethe_ref_put(&t->memory);
}

void quota_wake(struct lethe_quota *t) {
  if (t->pass.id == 0 && quota_wanted(t)) quota_kick(t);
}

static void on_timer(struct lethe_timer *timer) {
  struct lethe_quota *t = lethe_container_of(timer, struct lethe_quota, timer);
  lethe_ref_get(&t->memory);
  quota_lock(t);
  step(t);
  quota_unlock(t);
  quota_memory_put(t);
}

void quota_wait_at_most(struct lethe_quota *t, double seconds) {
  lethe_timer_start(t->home->loop, &t->timer, seconds, 0, on_timer);
}

static bool timed_out(const struct lethe_quota *t) { return t->timer.loop == NULL; }

void quota_rehome(struct lethe_quota *t, struct lethe_quota_member *leaving) {
  if (t->home != leaving) return;
  lethe_timer_stop(&t->timer);
  lethe_timer_stop(&t->grave_timer);
  t->home = NULL;
  for (size_t i = 0; i < t->members_n && !t->home; i++) t->home = t->members[i];
  if (t->home)
    quota_kick(t);
  else
    quota_pass_abort(t);
}

/* ---- beginning and ending ---------------------------------------------------------------------- */

static void begin(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  p->id = ++t->last_pass ? t->last_pass : ++t->last_pass;
  p->stamp = p->id;
  p->phase = DRAIN;
  p->policy = t->policy;
  lethe_ref_get(&p->policy->refs);
  p->started = p->ended = p->failed = p->degraded = p->degraded_done = false;
  p->began = quota_now(t);
  p->freed = 0;
  p->victims = 0;
  p->scan = 1;
  p->drain = 0;
  p->heap_n = 0;
  p->outstanding = 0;
  p->victim = p->again = (struct ranked){0};
  p->tell_victim = false;
  p->tree_n = 0;
  t->arrivals_n = 0;
  t->arrivals_lost = false;
  t->reclaims++;
  t->stuck_news = false;
  if (p->scope && quota_tree_of(t, (slot_t)p->scope) != LETHE_OK) p->scope = 0;
  struct lethe_quota_event *e = quota_note(t, LETHE_QUOTA_RECLAIM_START, p->scope);
  if (!e) return;
  e->reason = p->reason;
  e->goal = quota_pass_needs(t);
}

/* What the pass still needs, in bytes; 0 or less: it has reached its goal. */
int64_t quota_pass_needs(struct lethe_quota *t) {
  const struct pass *p = &t->pass;
  if (p->reason == LETHE_QUOTA_BY_HAND)
    return p->goal > 0 ? p->goal - p->freed : t->used - t->low_water;
  if (p->reason == LETHE_QUOTA_BY_ACCOUNT) {
    const struct account *a = account_find(t, p->scope);
    return a && a->x ? a->used + a->x->below + p->goal - a->x->max : 0;
  }
  if (!p->for_wait) return t->used - t->low_water;
  if (!t->max_blocks || lethe_list_empty(&t->waits)) return 0;
  return t->used + lethe_container_of(t->waits.next, struct lethe_quota_wait, node)->n - t->max;
}

static void forget_pass(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  lethe_timer_stop(&t->timer);
  quota_calls_drop(t, NULL);
  if (p->policy) lethe_quota_policy_put(p->policy);
  p->policy = NULL;
  p->id = 0;
  p->phase = IDLE;
  p->scope = 0;
  p->scan = 0;
}

/* The tracker shuts down, or nobody is left to drive. On whatever thread that happens. */
void quota_pass_abort(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  if (p->manual) quota_manual_done(p->manual, -1);
  p->manual = NULL;
  if (p->id) {
    quota_calls_drop(t, NULL);
    p->id = 0; /* the driver sees that, and cleans up on its own thread */
    if (t->home) quota_kick(t);
  }
}

static void finish(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  double seconds = quota_now(t) - p->began;
  bool stuck = p->outcome == LETHE_QUOTA_IS_STUCK;
  if (seconds > t->longest_pass) t->longest_pass = seconds;
  struct lethe_quota_event *e = quota_note(t, LETHE_QUOTA_RECLAIM_STOP, p->scope);
  if (e) {
    e->reason = p->reason;
    e->outcome = p->outcome;
    e->bytes = p->freed;
    e->victims = p->victims;
    e->value = seconds;
  }
  if (stuck) {
    t->stuck++;
    if (p->reason == LETHE_QUOTA_BY_MAX) {
      t->stuck_at = t->used;
      t->stuck_time = quota_now(t);
    }
    e = quota_note(t, LETHE_QUOTA_STUCK, p->scope);
    if (e) e->goal = quota_pass_needs(t);
  } else if (p->reason == LETHE_QUOTA_BY_MAX) {
    t->stuck_at = -1;
  }
  struct lethe_quota_manual *manual = p->manual;
  int64_t freed = p->freed;
  p->manual = NULL;
  forget_pass(t);
  quota_serve(t);
  if (manual) quota_manual_done(manual, freed);
}

/* ---- the policy ------------------------------------------------------------------------------- */

static void gather_anew(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  p->stamp = ++t->last_pass;
  p->scan = 1;
  p->heap_n = 0;
  p->again.account = 0;
  t->arrivals_n = 0;
}

/* The policy failed: its sterner self, if it has one, and then "oldest" take the pass over. */
static void policy_failed(struct lethe_quota *t, const char *message) {
  struct pass *p = &t->pass;
  t->policy_failures++;
  struct lethe_quota_event *e = quota_note(t, LETHE_QUOTA_POLICY_FAILED, 0);
  if (e)
    for (size_t i = 0; i < sizeof e->message - 1 && message[i]; i++) e->message[i] = message[i];
  if (p->policy->degraded && !p->degraded_done) {
    p->degraded = p->degraded_done = true;
  } else {
    lethe_quota_policy_put(p->policy);
    p->policy = t->fallback;
    lethe_ref_get(&p->policy->refs);
    p->degraded = false;
  }
  p->failed = true;
  p->tell_victim = false;
  if (!p->ended) gather_anew(t);
}

/* A hook of the policy, outside the lock. False: it failed. */
#define HOOK(t, call)                                     \
  do {                                                    \
    quota_unlock(t);                                      \
    int hook_rc = (call);                                 \
    quota_lock(t);                                        \
    if (t->pass.id != id) return;                         \
    if (hook_rc != LETHE_OK) {                            \
      policy_failed(t, policy->message);                  \
      return;                                             \
    }                                                     \
  } while (0)

/* All that is due of the policy: its start, word of a victim, ranking, its stop. */
static void policy_turn(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  struct lethe_quota_policy *policy = p->policy;
  uint32_t id = p->id;
  if (!p->started) {
    p->started = true;
    if (policy->start) HOOK(t, policy->start(policy));
  }
  if (p->tell_victim) {
    struct lethe_quota_candidate was = p->victim_was;
    int64_t freed = p->victim_freed;
    p->tell_victim = false;
    if (policy->victim) HOOK(t, policy->victim(policy, &was, freed));
  }
  if (p->ended) {
    enum lethe_quota_outcome outcome = p->outcome;
    if (policy->stop) HOOK(t, policy->stop(policy, outcome));
    return;
  }
  quota_rank(t);
  if (p->id == id && p->policy == policy && policy->message[0]) {
    char message[sizeof policy->message];
    for (size_t i = 0; i < sizeof message; i++) message[i] = policy->message[i];
    policy->message[0] = '\0';
    policy_failed(t, message);
  }
}

static void on_hop(struct lethe_message *m, bool closed) {
  struct lethe_quota *t = lethe_container_of(m, struct lethe_quota, hop);
  quota_lock(t);
  t->hopping = false;
  if (!closed && t->pass.phase == POLICY_ELSEWHERE) {
    t->hop_began = true;
    policy_turn(t);
    if (t->pass.id && t->pass.phase == POLICY_ELSEWHERE) t->pass.phase = CHOOSE;
  }
  quota_kick(t);
  quota_unlock(t);
  quota_memory_put(t);
}

/* True if the policy's loop was sent for. */
static bool hop(struct lethe_quota *t) {
  struct lethe_loop *loop = t->pass.policy->loop;
  if (!loop || loop == t->home->loop || t->hopping) return false;
  t->hop.run = on_hop;
  t->hop_began = false;
  lethe_ref_get(&t->memory);
  t->hopping = lethe_loop_post(loop, &t->hop);
  if (!t->hopping) lethe_ref_put(&t->memory);
  return t->hopping;
}

static void policy_phase(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  struct lethe_loop *loop = p->policy->loop;
  if (loop && loop != t->home->loop && !hop(t)) {
    p->degraded_done = true; /* nor can its sterner self be reached */
    policy_failed(t, "the state that set the policy does not answer");
    return;
  }
  if (p->policy->loop && p->policy->loop != t->home->loop) {
    p->phase = POLICY_ELSEWHERE;
    quota_wait_at_most(t, t->deadline);
    return;
  }
  uint32_t id = p->id;
  policy_turn(t);
  if (p->id == id) p->phase = CHOOSE;
}

/* ---- steps ------------------------------------------------------------------------------------ */

static bool policy_is_due(const struct lethe_quota *t) {
  const struct pass *p = &t->pass;
  return p->scan || p->again.account || t->arrivals_n > 0 || t->arrivals_lost ||
         (p->tell_victim && p->policy->victim);
}

static void end_with(struct lethe_quota *t, enum lethe_quota_outcome outcome) {
  struct pass *p = &t->pass;
  p->outcome = outcome;
  p->ended = true;
  if (p->started && (p->policy->stop || (p->tell_victim && p->policy->victim)))
    policy_phase(t);
  if (p->id && p->phase != POLICY_ELSEWHERE) finish(t);
}

static enum lethe_quota_outcome good_end(const struct lethe_quota *t) {
  return t->pass.reason == LETHE_QUOTA_BY_HAND ? LETHE_QUOTA_MANUAL : LETHE_QUOTA_COMPLETE;
}

static void choose(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  if (p->ended) {
    finish(t);
  } else if (quota_pass_needs(t) <= 0) {
    end_with(t, good_end(t));
  } else if (policy_is_due(t)) {
    uint32_t id = p->id;
    quota_ask_again(t);
    if (p->id == id) p->phase = POLICY;
  } else if (quota_pop(t, &p->victim)) {
    p->phase = RECLAIM;
  } else if (p->policy->degraded && !p->degraded_done) {
    p->degraded = p->degraded_done = true;
    gather_anew(t);
  } else {
    end_with(t, LETHE_QUOTA_IS_STUCK);
  }
}

static void drain(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  int64_t before = t->used;
  bool more = false;
  if (p->scope)
    quota_drain_tree(t, p->scope);
  else
    more = quota_drain_slice(t, &p->drain);
  if (t->used < before) p->freed += before - t->used;
  if (more) return;
  if (quota_pass_needs(t) <= 0)
    end_with(t, good_end(t));
  else
    p->phase = ASK;
}

static void ask(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  uint32_t id = p->id;
  p->outstanding = quota_ask_elsewhere(t, id);
  p->phase = ASKING;
  for (size_t i = 0; i < t->members_n && p->id == id; i++) {
    struct lethe_quota_member *m = t->members[i];
    if (!m || !m->ops || !pthread_equal(m->thread, pthread_self())) continue;
    m->refs++;
    quota_ask_here(m, id);
    quota_member_put_locked(m);
  }
  if (p->id != id) return;
  if (p->outstanding > 0)
    quota_wait_at_most(t, fmin(t->deadline, ask_patience));
  else
    p->phase = POLICY;
}

/* True if the step may go on at once. */
static bool step_once(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  switch (p->phase) {
    case IDLE:
      if (!quota_next_request(t)) return false;
      begin(t);
      return true;
    case DRAIN: drain(t); return true;
    case ASK: ask(t); return true;
    case ASKING:
      if (p->outstanding > 0 && !timed_out(t)) return false;
      p->phase = POLICY;
      return true;
    case POLICY: policy_phase(t); return true;
    case POLICY_ELSEWHERE:
      if (!timed_out(t)) return false;
      if (t->hop_began) { /* it is at work, within its budget */
        quota_wait_at_most(t, t->deadline);
        return false;
      }
      p->degraded_done = true;
      policy_failed(t, "the state that set the policy does not answer");
      p->phase = p->ended ? CHOOSE : POLICY;
      return true;
    case CHOOSE: choose(t); return true;
    case RECLAIM: quota_victim_ask(t); return true;
    case RECLAIMING:
      if (p->outstanding > 0 && !timed_out(t)) return false;
      quota_victim_settle(t);
      return true;
  }
  return false;
}

/* On the home loop's thread, under the lock. A callback may turn the loop: then the outer step goes on. */
static void step(struct lethe_quota *t) {
  if (t->stepping) return;
  t->stepping = true;
  for (int i = 0; i < SLICES_A_TURN; i++) {
    if (t->pass.id == 0 && t->pass.phase != IDLE) forget_pass(t); /* it was aborted */
    if (!t->home || !pthread_equal(t->home->thread, pthread_self())) {
      quota_kick(t); /* the home moved meanwhile */
      t->stepping = false;
      return;
    }
    if (!step_once(t)) {
      t->stepping = false;
      return;
    }
    quota_unlock(t); /* one hold of the lock is one slice */
    quota_lock(t);
  }
  t->stepping = false;
  quota_kick(t);
}
