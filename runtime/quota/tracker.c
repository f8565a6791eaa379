/* SPDX-License-Identifier: MIT
 * The tracker itself: made, configured, read, shut down.
 *
 * Two counts keep a tracker. `memory` counts everything that points to it. `strong` counts
 * references and account handles: with the last of them the tracker shuts down, though
 * participations may live on, dead. */
#include "limits.h"
#include "quota_internal.h"

enum { DEADLINE = 5 };

/* ---- making ---------------------------------------------------------------------------------- */

static void recursive_mutex(pthread_mutex_t *mutex) {
  pthread_mutexattr_t attr;
  pthread_mutexattr_init(&attr);
  pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(mutex, &attr);
  pthread_mutexattr_destroy(&attr);
}

static struct lethe_quota *tracker_new(const struct lethe_alloc *a) {
  struct lethe_quota *t = lethe_zalloc(a, sizeof *t);
  if (!t) return NULL;
  lethe_fence_init();
  lethe_ref_init(&t->memory);
  t->alloc = a;
  t->strong = 1;
  t->stuck_at = -1;
  t->restart = -1;
  pthread_mutex_init(&t->lock, NULL);
  recursive_mutex(&t->sink_lock);
  recursive_mutex(&t->policy_lock);
  lethe_slab_init(&t->accounts, a, sizeof(struct account));
  lethe_slab_init(&t->participants, a, sizeof(struct participant));
  lethe_slab_init(&t->edges, a, sizeof(struct edge));
  lethe_list_init(&t->manuals);
  lethe_list_init(&t->waits);
  lethe_list_init(&t->granted);
  lethe_list_init(&t->events);
  lethe_list_init(&t->cursors);
  lethe_list_init(&t->pass.calls);
  lethe_list_init(&t->pass.drain.node);
  return t;
}

int lethe_quota_new(struct lethe_quota **out, const struct lethe_alloc *a,
                    const struct lethe_quota_config *config,
                    void (*event)(void *ud, const struct lethe_quota_event *e), void *ud,
                    const char **why) {
  int64_t max, low;
  int rc = quota_limits(config, &max, &low, why);
  if (rc) return rc;
  struct lethe_quota *t = tracker_new(a);
  if (!t) return LETHE_ENOMEM;
  t->max = max;
  t->low_water = low;
  t->max_auto = config->max < 0;
  t->low_water_auto = config->low_water < 0;
  t->deadline = config->deadline > 0 ? config->deadline : DEADLINE;
  t->fallback = lethe_quota_policy_builtin(a, "oldest", t);
  if (!t->fallback) {
    quota_memory_put(t);
    return LETHE_ENOMEM;
  }
  t->policy = t->fallback;
  lethe_ref_get(&t->policy->refs);
  t->sink = event;
  t->sink_ud = ud;
  *out = t;
  return LETHE_OK;
}

int lethe_quota_noop(struct lethe_quota **out, const struct lethe_alloc *a) {
  struct lethe_quota *t = tracker_new(a);
  if (!t) return LETHE_ENOMEM;
  t->noop = true;
  *out = t;
  return LETHE_OK;
}

bool lethe_quota_is_noop(const struct lethe_quota *t) { return t->noop; }

double quota_now(const struct lethe_quota *t) {
  return t->home ? lethe_loop_now(t->home->loop) : lethe_clock_monotonic();
}

bool quota_here(const struct lethe_quota *t, const struct lethe_loop *loop) {
  for (size_t i = 0; i < t->members_n; i++) {
    const struct lethe_quota_member *m = t->members[i];
    if (m && m->loop == loop && pthread_equal(m->thread, pthread_self())) return true;
  }
  return false;
}

/* ---- ending ---------------------------------------------------------------------------------- */

static void tracker_free(struct lethe_quota *t) {
  quota_events_free(t);
  if (t->policy) lethe_quota_policy_put(t->policy);
  if (t->pass.given) lethe_quota_policy_put(t->pass.given);
  if (t->dropped) lethe_quota_policy_put(t->dropped);
  if (t->fallback) lethe_quota_policy_put(t->fallback);
  lethe_slab_destroy(&t->accounts);
  lethe_slab_destroy(&t->participants);
  lethe_slab_destroy(&t->edges);
  lethe_free(t->alloc, t->members, t->members_room * sizeof *t->members);
  vec_free(t->alloc, &t->wanting, sizeof(uint64_t));
  vec_free(t->alloc, &t->arrivals, sizeof(uint64_t));
  quota_tree_free(t, &t->pass.tree);
  quota_tree_free(t, &t->pass.family);
  vec_free(t->alloc, &t->pass.prey, sizeof(struct prey));
  quota_graves_close(t);
  vec_free(t->alloc, &t->graves, sizeof(struct condemned));
  vec_free(t->alloc, &t->pass.heap, sizeof(struct ranked));
  pthread_mutex_destroy(&t->lock);
  pthread_mutex_destroy(&t->sink_lock);
  pthread_mutex_destroy(&t->policy_lock);
  lethe_free(t->alloc, t, sizeof *t);
}

void quota_memory_put(struct lethe_quota *t) {
  if (lethe_ref_put(&t->memory)) tracker_free(t);
}

/* Waits and passes by hand are told through their loops. */
static void shut_locked(struct lethe_quota *t) {
  if (t->shut) return;
  t->shut = true;
  for (slot_t s = 1; s < t->accounts.slots; s++)
    if (lethe_slab_used(&t->accounts, s)) quota_account_end(t, s);
  quota_pass_abort(t, -1);
  quota_manuals_done(t, NULL, -1);
}

void quota_strong_put_locked(struct lethe_quota *t) {
  if (--t->strong == 0) shut_locked(t);
}

/* The policy goes too: it may hold on to whatever holds on to the tracker. */
void lethe_quota_shutdown(struct lethe_quota *t) {
  if (t->noop) return;
  lethe_quota_mute(t);
  quota_lock(t);
  shut_locked(t);
  struct lethe_quota_policy *policy = t->policy;
  t->policy = t->fallback;
  lethe_ref_get(&t->fallback->refs);
  quota_unlock(t);
  lethe_quota_policy_put(policy);
}

struct lethe_quota *lethe_quota_get(struct lethe_quota *t) {
  lethe_ref_get(&t->memory);
  quota_lock(t);
  t->strong++;
  quota_unlock(t);
  return t;
}

void lethe_quota_put(struct lethe_quota *t) {
  quota_lock(t);
  quota_strong_put_locked(t);
  quota_unlock(t);
  quota_memory_put(t);
}

/* ---- configuring and reading ----------------------------------------------------------------- */

/* The old limits stay where the change does not name them. */
static int change_limits(struct lethe_quota *t, const struct lethe_quota_change *c,
                         const char **why) {
  struct lethe_quota_config want = {.max = c->set_max    ? c->to.max
                                           : t->max_auto ? -1
                                                         : t->max,
                                    .low_water = c->set_low_water    ? c->to.low_water
                                                 : t->low_water_auto ? -1
                                                                     : t->low_water};
  int64_t max, low;
  if (!c->set_max && !c->set_low_water) return LETHE_OK; /* "auto" was computed once */
  int rc = quota_limits(&want, &max, &low, why);
  if (rc) return rc;
  t->max = max;
  t->low_water = low;
  t->max_auto = want.max < 0;
  t->low_water_auto = want.low_water < 0;
  return LETHE_OK;
}

static int configure_locked(struct lethe_quota *t, const struct lethe_quota_change *c,
                            const char **why) {
  if (t->shut) return LETHE_ESHUTDOWN;
  int rc = change_limits(t, c, why);
  if (rc) return rc;
  if (c->set_deadline) t->deadline = c->to.deadline > 0 ? c->to.deadline : DEADLINE;
  t->stuck_at = -1;
  quota_note(t, LETHE_QUOTA_RECONFIGURED, 0);
  quota_update_level(t);
  quota_serve(t);
  quota_wake(t);
  return LETHE_OK;
}

int lethe_quota_configure(struct lethe_quota *t, const struct lethe_quota_change *c,
                          const char **why) {
  struct lethe_quota_policy *old = NULL;
  if (t->noop) {
    *why = "a noop tracker has no limits";
    return c->set_max || c->set_low_water ? LETHE_ELIMITS : LETHE_OK;
  }
  quota_lock(t);
  int rc = configure_locked(t, c, why);
  if (rc == LETHE_OK && c->policy) {
    old = t->policy;
    lethe_ref_get(&c->policy->refs);
    t->policy = c->policy;
  }
  quota_unlock(t);
  if (old) lethe_quota_policy_put(old);
  return rc;
}

int64_t lethe_quota_used(struct lethe_quota *t) {
  quota_lock(t);
  int64_t used = t->used;
  quota_unlock(t);
  return used;
}

void lethe_quota_read_stats(struct lethe_quota *t, struct lethe_quota_stats *out) {
  int64_t resident = quota_resident();
  quota_lock(t);
  double waiting = lethe_list_empty(&t->waits) ? 0 : quota_now(t) - t->wait_since;
  int64_t tracked = t->used + t->condemned;
  *out = (struct lethe_quota_stats){.used = t->used,
                                    .peak = t->peak,
                                    .max = t->noop ? LETHE_QUOTA_NO_LIMIT : t->max,
                                    .low_water = t->noop ? LETHE_QUOTA_NO_LIMIT : t->low_water,
                                    .untracked = resident > tracked ? resident - tracked : 0,
                                    .condemned = t->condemned,
                                    .freed = t->freed,
                                    .accounts = t->accounts.live,
                                    .participants = t->live_participants,
                                    .reclaims = t->reclaims,
                                    .victims = t->victims,
                                    .policy_failures = t->policy_failures,
                                    .stuck = t->stuck,
                                    .stall_seconds = t->stalled + waiting,
                                    .longest_hold = t->longest_hold,
                                    .longest_hold_time = t->longest_hold_time,
                                    .longest_pass = t->longest_pass};
  quota_unlock(t);
}
