/* SPDX-License-Identifier: MIT
 * The tracker's lock, how much is done under one hold of it, and the events that leave it.
 *
 * Events are noted under the lock and delivered when it opens, in the order in which they were
 * noted: who delivers holds sink_lock and takes them one by one, so that of two threads the second
 * waits for the first and then finds its own delivered. The sink may call anything, also what
 * causes events: sink_lock is recursive, and always taken before the lock. */
#include <string.h>

#include "quota_internal.h"

struct noted {
  struct lethe_list node;
  struct lethe_quota_event event;
};

/* ---- the lock -------------------------------------------------------------------------------- */

/* How long a pass holds the lock is measured, and only that. */
void quota_measure_hold(struct lethe_quota *t) {
  if (quota_is_driver(t)) t->held_since = lethe_clock_monotonic();
}

static struct noted *next_event(struct lethe_quota *t) {
  pthread_mutex_lock(&t->lock);
  struct lethe_list *node = lethe_list_shift(&t->events);
  pthread_mutex_unlock(&t->lock);
  return node ? lethe_container_of(node, struct noted, node) : NULL;
}

static void deliver(struct lethe_quota *t) {
  struct noted *n;
  pthread_mutex_lock(&t->sink_lock);
  while ((n = next_event(t)) != NULL) {
    struct lethe_quota_event event = n->event;
    lethe_free(t->alloc, n, sizeof *n);
    if (t->sink) t->sink(t->sink_ud, &event);
  }
  pthread_mutex_unlock(&t->sink_lock);
}

/* Policies are put here too: what destroys one may need the lock, or a state's. */
void quota_unlock_and_deliver(struct lethe_quota *t) {
  struct lethe_quota_policy *dropped = t->dropped;
  bool any = !lethe_list_empty(&t->events);
  t->dropped = NULL;
  if (t->held_since > 0) {
    double held = lethe_clock_monotonic() - t->held_since;
    if (held > t->longest_hold_time) t->longest_hold_time = held;
    t->held_since = 0;
  }
  pthread_mutex_unlock(&t->lock);
  if (any) deliver(t);
  if (dropped) lethe_quota_policy_put(dropped);
}

void quota_breathe(struct lethe_quota *t) {
  quota_unlock(t);
  quota_lock(t);
}

/* ---- events ---------------------------------------------------------------------------------- */

struct lethe_quota_event *quota_note(struct lethe_quota *t, enum lethe_quota_event_type type,
                                     uint64_t account) {
  if (!t->sink) return NULL;
  struct noted *n = lethe_zalloc(t->alloc, sizeof *n);
  if (!n) return NULL;
  n->event.type = type;
  n->event.account = account;
  n->event.used = t->used;
  struct account *a = account ? account_find(t, account) : NULL;
  if (a && a->x && a->x->name) strncpy(n->event.name, a->x->name, sizeof n->event.name - 1);
  lethe_list_push(&t->events, &n->node);
  return &n->event;
}

void lethe_quota_emit(struct lethe_quota *t, const struct lethe_quota_event *e) {
  pthread_mutex_lock(&t->sink_lock);
  if (t->sink) t->sink(t->sink_ud, e);
  pthread_mutex_unlock(&t->sink_lock);
}

/* Both locks: the sink is read under either. */
void lethe_quota_listen(struct lethe_quota *t,
                        void (*event)(void *ud, const struct lethe_quota_event *e), void *ud) {
  pthread_mutex_lock(&t->sink_lock);
  pthread_mutex_lock(&t->lock);
  t->sink = event;
  t->sink_ud = ud;
  pthread_mutex_unlock(&t->lock);
  pthread_mutex_unlock(&t->sink_lock);
}

void lethe_quota_mute(struct lethe_quota *t) { lethe_quota_listen(t, NULL, NULL); }

/* With the tracker: events that nobody waits for any more. */
void quota_events_free(struct lethe_quota *t) {
  struct lethe_list *node;
  while ((node = lethe_list_shift(&t->events)) != NULL)
    lethe_free(t->alloc, lethe_container_of(node, struct noted, node), sizeof(struct noted));
}
