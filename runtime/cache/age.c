/* SPDX-License-Identifier: MIT
 * Ages: what is too old leaves, if it is clean and free; what is dirty is written first. Entries of
 * one cache all live equally long, so each list is in order of its ends, and one timer looks at the
 * first of each. It does not keep the loop alive. */
#include <math.h>

#include "cache_internal.h"

static struct lethe_cache_entry *entry_of_age(struct lethe_list *node) {
  return lethe_container_of(node, struct lethe_cache_entry, age);
}
static struct lethe_cache_entry *entry_of_recent(struct lethe_list *node) {
  return lethe_container_of(node, struct lethe_cache_entry, recent);
}

static bool is_old(const struct lethe_cache *c, const struct lethe_cache_entry *e, double now) {
  if (e->state == ENTRY_FAILED) return is_due(e->expires, now);
  return (c->ttl > 0 && is_due(e->expires, now)) ||
         (c->idle > 0 && is_due(e->used_at + c->idle, now));
}

bool cache_is_stale(const struct lethe_cache *c, const struct lethe_cache_entry *e) {
  if (e->state == ENTRY_READY) {
    if (c->ttl <= 0 && c->idle <= 0) return false;
    if (e->pins > 0 || is_dirty(e) || e->calling != CALL_NONE) return false;
  } else if (e->state != ENTRY_FAILED) {
    return false;
  }
  return is_old(c, e, cache_now(c));
}

bool lethe_cache_oldest(const struct lethe_cache *c, double *seconds) {
  if (lethe_list_empty(&c->recent)) return false;
  *seconds = entry_of_recent(c->recent.next)->used_at;
  return true;
}

/* ---- the timer ------------------------------------------------------------------------------- */

/* One that waits for a write, or for a better time for it, comes again by that. */
static double first_idle(const struct lethe_cache *c) {
  if (c->idle > 0) {
    LETHE_LIST_EACH(node, &c->recent) {
      const struct lethe_cache_entry *e = entry_of_recent(node);
      if (!e->claim && e->s.retry_at == 0) return e->used_at + c->idle;
    }
  }
  return INFINITY;
}

static void age_fired(struct lethe_timer *t);

static void arm(struct lethe_cache *c) {
  double first = first_idle(c);
  if (!lethe_list_empty(&c->ttls)) first = fmin(first, entry_of_age(c->ttls.next)->expires);
  if (!lethe_list_empty(&c->failures)) first = fmin(first, entry_of_age(c->failures.next)->expires);
  if (c->age_timer.loop && c->age_timer.due <= first) return;
  lethe_timer_stop(&c->age_timer);
  c->age_timer.idle = true;
  if (!isinf(first)) lethe_timer_start(c->loop, &c->age_timer, first - cache_now(c), 0, age_fired);
}

static void age_fired(struct lethe_timer *t) {
  struct lethe_cache *c = lethe_container_of(t, struct lethe_cache, age_timer);
  c->expire = true;
  cache_pump(c);
}

/* ---- beginning and ending -------------------------------------------------------------------- */

void cache_touch(struct lethe_cache *c, struct lethe_cache_entry *e) {
  if (!c->keeps_recent) return;
  e->used_at = cache_now(c);
  lethe_list_remove(&e->recent);
  lethe_list_push(&c->recent, &e->recent);
  if (c->idle > 0 && (!c->age_timer.loop || c->age_timer.due > e->used_at + c->idle)) arm(c);
}

static void forget_oldest_failure(struct lethe_cache *c) {
  struct lethe_cache_entry *e = entry_of_age(c->failures.next);
  cache_entry_free(c, e);
}

void cache_begin_age(struct lethe_cache *c, struct lethe_cache_entry *e) {
  double life = e->state == ENTRY_FAILED ? c->error_ttl : c->ttl;
  if (life <= 0) return;
  e->expires = cache_now(c) + life;
  if (e->state == ENTRY_FAILED) {
    lethe_list_push(&c->failures, &e->age);
    if (++c->nfailures > FAILURES) forget_oldest_failure(c);
  } else {
    lethe_list_push(&c->ttls, &e->age);
  }
  arm(c);
}

void cache_end_age(struct lethe_cache *c, struct lethe_cache_entry *e) {
  if (!c->keeps_ages) return;
  if (e->state == ENTRY_FAILED && !lethe_list_empty(&e->age)) c->nfailures--;
  lethe_list_remove(&e->age);
  lethe_list_remove(&e->recent);
}

/* ---- expiry ---------------------------------------------------------------------------------- */

/* An entry whose time is over. It leaves now, or by its write, or when it is released. */
static void expire(struct lethe_cache *c, struct lethe_cache_entry *e) {
  if (e->pins > 0 || e->claim) return;
  if (is_dirty(e))
    cache_claim(c, e, CLAIM_TTL, NULL);
  else
    cache_leave(c, e, LETHE_CACHE_TTL, NULL);
}

void cache_expire(struct lethe_cache *c) {
  double now = cache_now(c);
  while (!lethe_list_empty(&c->failures) && is_old(c, entry_of_age(c->failures.next), now))
    forget_oldest_failure(c);
  while (!lethe_list_empty(&c->ttls) && is_due(entry_of_age(c->ttls.next)->expires, now)) {
    struct lethe_cache_entry *e = entry_of_age(c->ttls.next);
    lethe_list_remove(&e->age);
    lethe_list_push(&c->late, &e->age);
  }
  LETHE_LIST_EACH_SAFE(node, &c->late) expire(c, entry_of_age(node));
  if (c->idle > 0) {
    LETHE_LIST_EACH_SAFE(node, &c->recent) {
      struct lethe_cache_entry *e = entry_of_recent(node);
      if (!is_due(e->used_at + c->idle, now)) break;
      if (e->pins > 0)
        cache_touch(c, e); /* what is in use is used */
      else if (e->s.retry_at == 0)
        expire(c, e);
    }
  }
  lethe_timer_stop(&c->age_timer);
  arm(c);
}
