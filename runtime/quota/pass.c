/* SPDX-License-Identifier: MIT
 * The pass: a state machine that the home member's loop drives.
 *
 *   SCOPE    of an account's pass: find the accounts below it, a slice at a time
 *   DRAIN    call unspent caches back, a slice of 64 participants at a time; often that is enough
 *   ASK      ask participants how old their data is: here at once, elsewhere by message (ASKING)
 *   CHOOSE   done? is the policy due? else the worst candidate becomes the victim
 *   POLICY   gather candidates, rank them; on the policy's own loop if it has one
 *            (POLICY_ELSEWHERE)
 *   RECLAIM  ask it, and all below it, for memory; RECLAIMING waits for answers or the deadline
 *
 * A step goes on until it has to wait. It drops the lock around every call out of here, and looks
 * after each whether the pass is still the same. Newcomers enter through t->arrivals; nothing ever
 * stops the tracker: a pass that cannot reach its goal ends stuck, and says so. */
#include "quota_internal.h"

enum { SLICES_A_TURN = 256, HEAP_KEPT = 16 };
static const double ask_patience = 0.05; /* seconds */

/* What the pass still needs, in bytes; 0 or less: it has reached its goal. */
int64_t quota_pass_needs(const struct lethe_quota *t) {
  const struct pass *p = &t->pass;
  const struct account *a = p->scope ? account_find(t, p->scope) : NULL;
  int64_t n = p->goal;
  switch (p->reason) {
  case LETHE_QUOTA_BY_HAND:
    return n > 0 ? n - p->freed : t->used - t->low_water;
  case LETHE_QUOTA_BY_ACCOUNT:
    if (p->for_wait) n = t->account_wants == p->scope ? t->account_wants_n : 0;
    return n > 0 && a && a->x ? a->used + a->x->below + n - a->x->max : 0;
  case LETHE_QUOTA_BY_MAX:
    if (!p->for_wait) return t->used - t->low_water;
    return t->max_wants > 0 ? t->used + t->max_wants - t->max : 0;
  }
  return 0;
}

/* ---- beginning and ending -------------------------------------------------------------------- */

static void new_stamp(struct lethe_quota *t) {
  if (++t->last_pass == 0) ++t->last_pass;
}

static void clear(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  p->started = p->ended = p->degraded = p->degraded_done = p->tell_victim = false;
  p->freed = 0;
  p->victims = p->outstanding = 0;
  p->scan = 1;
  p->heap.n = 0;
  p->victim = p->again = (struct ranked){0};
  t->arrivals.n = t->arrivals_asked = 0;
  t->arrivals_lost = false;
}

static void end_with(struct lethe_quota *t, enum lethe_quota_outcome outcome);

static void begin(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  clear(t);
  new_stamp(t);
  p->id = p->stamp = t->last_pass;
  p->given = p->policy = t->policy;
  lethe_ref_get(&p->given->refs);
  p->began = quota_now(t);
  p->phase = p->scope ? SCOPE : DRAIN;
  t->reclaims++;
  t->stuck_news = false;
  t->account_last = p->reason == LETHE_QUOTA_BY_ACCOUNT;
  struct lethe_quota_event *e = quota_note(t, LETHE_QUOTA_RECLAIM_START, p->scope);
  if (e) {
    e->reason = p->reason;
    e->goal = quota_pass_needs(t);
  }
  if (!p->scope)
    quota_cursor_open(t, &p->drain, NULL);
  else if (quota_tree_begin(t, &p->tree, p->scope))
    end_with(t, LETHE_QUOTA_IS_STUCK);
}

/* On the driver's thread; else its timer was stopped when the home left. */
static void forget_pass(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  lethe_timer_stop(&t->timer);
  t->restart = -1;
  quota_calls_drop(t, NULL);
  quota_cursor_close(&p->drain);
  t->dropped = p->given; /* once a hold of the lock: quota_step */
  p->given = p->policy = NULL;
  p->hop = NULL;
  p->id = 0;
  p->phase = IDLE;
  p->scope = 0;
}

void quota_pass_abort(struct lethe_quota *t, int64_t answer) {
  struct pass *p = &t->pass;
  if (p->manual) quota_manual_done(p->manual, answer);
  p->manual = NULL;
  if (!p->id) return;
  quota_calls_drop(t, NULL);
  p->id = 0; /* the driver sees that, and cleans up on its own thread */
  if (t->home)
    quota_kick(t);
  else
    forget_pass(t);
}

/* What the next request has to know of how this one ended. */
static void remember_outcome(struct lethe_quota *t) {
  const struct pass *p = &t->pass;
  bool stuck = p->outcome == LETHE_QUOTA_IS_STUCK;
  if (stuck) t->stuck++;
  if (p->reason == LETHE_QUOTA_BY_MAX) {
    t->stuck_at = stuck ? t->used : -1;
    t->stuck_time = quota_now(t);
  }
  struct account *a = p->scope ? account_find(t, p->scope) : NULL;
  if (a && a->x && p->for_wait) a->x->stuck = stuck;
}

static void note_outcome(struct lethe_quota *t, double seconds) {
  const struct pass *p = &t->pass;
  struct lethe_quota_event *e;
  if (p->outcome == LETHE_QUOTA_IS_STUCK) {
    e = quota_note(t, LETHE_QUOTA_STUCK, p->scope);
    if (e) e->goal = quota_pass_needs(t);
  }
  e = quota_note(t, LETHE_QUOTA_RECLAIM_STOP, p->scope);
  if (!e) return;
  e->reason = p->reason;
  e->outcome = p->outcome;
  e->bytes = p->freed;
  e->victims = p->victims;
  e->value = seconds;
}

static void finish(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  double seconds = quota_now(t) - p->began;
  struct lethe_quota_manual *manual = p->manual;
  int64_t freed = p->freed;
  if (seconds > t->longest_pass) t->longest_pass = seconds;
  remember_outcome(t);
  note_outcome(t, seconds);
  p->manual = NULL;
  forget_pass(t);
  quota_serve(t);
  if (manual) quota_manual_done(manual, freed);
}

/* The outcome stands; the policy hears of it first. */
static void end_with(struct lethe_quota *t, enum lethe_quota_outcome outcome) {
  struct pass *p = &t->pass;
  uint32_t id = p->id;
  p->outcome = outcome;
  p->ended = true;
  if (p->started && (p->policy->stop || (p->tell_victim && p->policy->victim)))
    quota_policy_phase(t);
  if (p->id == id && p->phase != POLICY_ELSEWHERE) finish(t);
}

static enum lethe_quota_outcome good_end(const struct lethe_quota *t) {
  return t->pass.reason == LETHE_QUOTA_BY_HAND ? LETHE_QUOTA_MANUAL : LETHE_QUOTA_COMPLETE;
}

/* ---- phases ---------------------------------------------------------------------------------- */

static void find_scope(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  int rc = quota_tree_grow(t, &p->tree);
  if (rc == 1) return;
  if (rc < 0) {
    end_with(t, LETHE_QUOTA_IS_STUCK);
    return;
  }
  quota_cursor_open(t, &p->drain, &p->tree);
  p->phase = DRAIN;
}

static void drain(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  if (quota_drain_slice(t, &p->drain, &p->freed)) return;
  quota_cursor_close(&p->drain);
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
  if (p->outstanding > 0) quota_wait_at_most(t, fmin(t->deadline, ask_patience));
  for (size_t i = 0; i < t->members_n && p->id == id; i++) {
    struct lethe_quota_member *m = t->members[i];
    if (!m || !pthread_equal(m->thread, pthread_self())) continue;
    m->refs++;
    quota_ask_here(m, id, false);
    quota_member_put_locked(m);
  }
}

/* All have told their ages, or time is up. */
static void asked(struct lethe_quota *t) {
  lethe_timer_stop(&t->timer);
  t->pass.phase = CHOOSE;
}

/* Everybody is to be gathered and ranked once more. */
void quota_gather_anew(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  new_stamp(t);
  p->stamp = t->last_pass;
  p->scan = 1;
  p->heap.n = 0;
  p->again.account = 0;
  t->arrivals.n = t->arrivals_asked = 0;
}

static bool policy_is_due(const struct lethe_quota *t) {
  const struct pass *p = &t->pass;
  return p->scan || p->again.account || t->arrivals.n > 0 || t->arrivals_lost ||
         (p->tell_victim && p->policy->victim);
}

static void choose(struct lethe_quota *t) {
  struct pass *p = &t->pass;
  uint32_t id = p->id;
  if (p->ended) {
    finish(t);
  } else if (quota_pass_needs(t) <= 0) {
    end_with(t, good_end(t));
  } else if (policy_is_due(t)) {
    quota_ask_again(t);
    if (p->id == id) p->phase = POLICY;
  } else if (quota_pop(t, &p->victim)) {
    p->phase = RECLAIM;
  } else if (p->policy->degraded && !p->degraded_done) {
    p->degraded = p->degraded_done = true;
    quota_gather_anew(t);
  } else {
    end_with(t, LETHE_QUOTA_IS_STUCK);
  }
}

/* ---- steps ----------------------------------------------------------------------------------- */

static bool answered(const struct lethe_quota *t) {
  return t->pass.outstanding == 0 || quota_timed_out(t);
}

/* True if the step may go on at once. */
static bool step_once(struct lethe_quota *t) {
  switch (t->pass.phase) {
  case IDLE:
    if (!quota_next_request(t)) return false;
    begin(t);
    return true;
  case SCOPE:
    find_scope(t);
    return true;
  case DRAIN:
    drain(t);
    return true;
  case ASK:
    ask(t);
    return true;
  case ASKING:
    if (!answered(t)) return false;
    asked(t);
    return true;
  case CHOOSE:
    choose(t);
    return true;
  case POLICY:
    quota_policy_phase(t);
    return true;
  case POLICY_ELSEWHERE:
    return quota_policy_waited(t);
  case RECLAIM:
    quota_victim_ask(t);
    return true;
  case RECLAIMING:
    if (!answered(t)) return false;
    quota_victim_settle(t);
    return true;
  }
  return false;
}

/* Steps on; true if there is more to do, for a later turn or for another driver. */
static bool go_on(struct lethe_quota *t) {
  for (int i = 0; i < SLICES_A_TURN; i++) {
    if (!quota_is_driver(t)) return true;
    quota_restart_timers(t);
    if (t->pass.id == 0 && t->pass.phase != IDLE)
      forget_pass(t); /* it was aborted */
    else if (!step_once(t))
      return false;
    quota_breathe(t); /* one hold of the lock is one slice */
  }
  return true;
}

/* What ranking many accounts took; a small heap is kept for the next pass. */
static void give_heap_back(struct lethe_quota *t) {
  struct vec heap = t->pass.heap;
  if (t->pass.phase != IDLE || heap.made <= HEAP_KEPT) return;
  t->pass.heap = (struct vec){0};
  quota_unlock(t);
  vec_free(t->alloc, &heap, sizeof(struct ranked));
  quota_lock(t);
}

/* On the home loop's thread. A callback may turn the loop: then the outer step goes on. */
void quota_step(struct lethe_quota *t) {
  if (t->stepping) return;
  t->stepping = true;
  t->held_since = lethe_clock_monotonic();
  bool more = go_on(t);
  give_heap_back(t);
  t->stepping = false;
  if (more) quota_kick(t);
}
