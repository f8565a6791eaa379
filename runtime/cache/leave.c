/* SPDX-License-Identifier: MIT
 * Who goes: victims, claims on what is dirty until it is written, and the end of an entry (I2). */
#include "cache_internal.h"

/* ---- counts ---------------------------------------------------------------------------------- */

static void add(uint64_t *n, int by) { *n += (uint64_t)(int64_t)by; }

void cache_count(struct lethe_cache *c, struct lethe_cache_entry *e, int by) {
  add(&c->ready, by);
  if (e->pins > 0) {
    add(&c->pinned, by);
  } else if (e->claim) {
    add(&c->claims, by);
  } else {
    add(&c->free, by);
    if (is_dirty(e)) add(&c->free_dirty, by);
    if (e->s.retry_at > 0) add(&c->free_bad, by);
    if (by > 0 && !lethe_list_empty(&c->stuck)) c->room = true;
    if (by > 0 && e->refused && e->s.retry_at == 0 && lethe_list_empty(&e->aside)) {
      if (c->deciding) /* a policy has let go of it */
        lethe_list_push(&c->aside, &e->aside);
      else
        cache_policy_offer(c, e);
    }
  }
}

/* ---- victims --------------------------------------------------------------------------------- */

static bool can_go(const struct lethe_cache_entry *e, enum victim_kind kind) {
  return e->state == ENTRY_READY && e->pins == 0 && !e->claim && e->s.retry_at == 0 &&
         (kind == VICTIM_ANY || !is_dirty(e));
}

/* A policy that goes round in circles is not asked for ever. */
static struct lethe_cache_entry *any_that_can(struct lethe_cache *c, enum victim_kind kind) {
  for (uint32_t slot = 1; slot < c->entries.slots; slot++) {
    struct lethe_cache_entry *e = lethe_slab_used(&c->entries, slot);
    if (e && can_go(e, kind)) return e;
  }
  return NULL;
}

/* Those that were refused for being dirty, the first of them last: so they are in order again. */
static void offer_aside(struct lethe_cache *c) {
  while (!lethe_list_empty(&c->aside)) {
    struct lethe_list *node = c->aside.prev;
    struct lethe_cache_entry *e = lethe_container_of(node, struct lethe_cache_entry, aside);
    lethe_list_remove(node);
    if (can_go(e, VICTIM_ANY)) cache_policy_offer(c, e);
  }
}

/* Homeless ones go first. What is bad is dirty. Whoever is offered and cannot go is refused until
 * it can; what is only dirty, until somebody looks for that as well. */
struct lethe_cache_entry *cache_victim(struct lethe_cache *c, enum victim_kind kind,
                                       struct lethe_cache_entry *into) {
  uint64_t candidates = c->free - (kind == VICTIM_ANY ? c->free_bad : c->free_dirty);
  if (candidates == 0) return NULL;
  if (kind == VICTIM_ANY) offer_aside(c);
  LETHE_LIST_EACH(node, &c->homeless) {
    struct lethe_cache_entry *e = lethe_container_of(node, struct lethe_cache_entry, aside);
    if (can_go(e, kind)) return e;
  }
  for (uint64_t i = 0; i < 2 * c->ready + 16; i++) {
    struct lethe_cache_entry *e = cache_policy_victim(c, into);
    if (!e) break;
    if (can_go(e, kind)) return e;
    cache_policy_refuse(c, e);
    if (can_go(e, VICTIM_ANY)) lethe_list_push(&c->aside, &e->aside);
  }
  return any_that_can(c, kind);
}

/* ---- claims ---------------------------------------------------------------------------------- */

static void count_claim(struct lethe_cache *c, const struct lethe_cache_entry *e, int by) {
  if (e->claim == CLAIM_TRIM) {
    add(&c->trimming, by);
    c->trimming_bytes += by * e->size;
  } else if (e->claim == CLAIM_RECLAIM) {
    add(&c->reclaiming, by);
    c->reclaiming_bytes += by * e->size;
  }
}

void cache_claim(struct lethe_cache *c, struct lethe_cache_entry *e, enum entry_claim claim,
                 struct lethe_cache_entry *claimant) {
  cache_count(c, e, -1);
  e->claim = (uint8_t)claim;
  e->s.claimant = claimant;
  cache_count(c, e, 1);
  count_claim(c, e, 1);
  cache_want(c, e, true);
}

static void end_claim(struct lethe_cache *c, struct lethe_cache_entry *e) {
  count_claim(c, e, -1);
  cache_count(c, e, -1);
  e->claim = CLAIM_NONE;
  cache_count(c, e, 1);
}

/* Whoever waits for it to leave looks for another. */
void cache_unclaim(struct lethe_cache *c, struct lethe_cache_entry *e) {
  struct lethe_cache_entry *claimant = e->claim == CLAIM_PLACE ? e->s.claimant : NULL;
  end_claim(c, e);
  c->trim = true;
  if (!claimant) return;
  claimant->p.victim = NULL;
  lethe_list_push(&c->again, &claimant->work);
}

/* A victim that failed is reported to the one it was to make room for. */
static void blame(struct lethe_cache_entry *claimant, struct lethe_cache_value *said) {
  claimant->p.tries++;
  lethe_cache_value_put(claimant->said);
  claimant->said = lethe_cache_value_get(said);
}

void cache_claim_written(struct lethe_cache *c, struct lethe_cache_entry *e, bool well,
                         struct lethe_cache_value *said) {
  static const enum lethe_cache_reason reasons[] = {[CLAIM_PLACE] = LETHE_CACHE_CAPACITY,
                                                    [CLAIM_TRIM] = LETHE_CACHE_CAPACITY,
                                                    [CLAIM_RECLAIM] = LETHE_CACHE_RECLAIMED,
                                                    [CLAIM_TTL] = LETHE_CACHE_TTL};
  enum entry_claim claim = e->claim;
  struct lethe_cache_entry *claimant = claim == CLAIM_PLACE ? e->s.claimant : NULL;
  int64_t size = e->size;
  if (claimant && !well) blame(claimant, said);
  cache_unclaim(c, e);
  if (!well || is_dirty(e)) return;
  if (claim == CLAIM_TRIM && e->handle && c->taken <= c->limit && c->taken_bytes <= c->max_bytes)
    return;
  if (claim == CLAIM_TTL && !cache_is_stale(c, e)) return;
  cache_leave(c, e, reasons[claim], claimant);
  if (claim == CLAIM_RECLAIM && !lethe_list_empty(&c->reclaims))
    *wait_of(c->reclaims.next)->freed += size;
}

/* ---- the end of an entry --------------------------------------------------------------------- */

void cache_pay_back(struct lethe_cache *c, int64_t n) {
  int64_t unpaid = n < c->unpaid ? n : c->unpaid;
  c->unpaid -= unpaid;
  if (c->hooks->release && n > unpaid) c->hooks->release(c->ud, n - unpaid);
}

void cache_abdicate(struct lethe_cache *c, struct lethe_cache_entry *e) {
  if (e->claim) cache_unclaim(c, e);
  cache_undirty(c, e);
  cache_count(c, e, -1);
  cache_end_age(c, e);
  c->bytes -= e->size;
  c->taken--;
  c->taken_bytes -= e->size;
  cache_pay_back(c, e->size);
  lethe_list_remove(&e->aside);
  lethe_cache_value_put(e->value);
  e->value = NULL;
  c->room = true;
}

/* Its key is free once the backend has done with it. */
static void bury(struct lethe_cache *c, struct lethe_cache_entry *e) {
  e->state = ENTRY_DYING;
  if (e->calling != CALL_NONE) return;
  struct lethe_cache_value *last = e->last;
  e->last = NULL;
  if (last && c->backend->evict) {
    e->call.value = last;
    cache_call(c, e, CALL_EVICT);
  } else {
    lethe_cache_value_put(last);
    cache_restart(c, e);
  }
}

void cache_leave(struct lethe_cache *c, struct lethe_cache_entry *e, enum lethe_cache_reason reason,
                 struct lethe_cache_entry *into) {
  e->last = lethe_cache_value_get(e->value);
  if (reason != LETHE_CACHE_REMOVED) c->stats.evictions++;
  cache_policy_removed(c, e, reason == LETHE_CACHE_CAPACITY || reason == LETHE_CACHE_RECLAIMED);
  cache_abdicate(c, e);
  if (into && into->state == ENTRY_PLACING) cache_reserve(c, into);
  if (c->hooks->evicted) c->hooks->evicted(c->ud, &e->call.key, e->last, reason);
  bury(c, e);
}

void cache_die(struct lethe_cache *c, struct lethe_cache_entry *e) { bury(c, e); }

/* ---- too much -------------------------------------------------------------------------------- */

static bool too_much(const struct lethe_cache *c) {
  return c->taken - (int64_t)c->trimming > c->limit ||
         c->taken_bytes - c->trimming_bytes > c->max_bytes;
}

static void keep_limits(struct lethe_cache *c) {
  while (too_much(c) || c->policy->dropped) {
    struct lethe_cache_entry *v = cache_victim(c, VICTIM_ANY, NULL);
    if (!v) return;
    if (is_dirty(v))
      cache_claim(c, v, CLAIM_TRIM, NULL);
    else
      cache_leave(c, v, LETHE_CACHE_CAPACITY, NULL);
  }
}

/* Clean entries go at once; as many dirty ones are written as are needed. True once it is over. */
static bool reclaim(struct lethe_cache *c, struct lethe_cache_wait *w) {
  while (*w->freed < w->size) {
    struct lethe_cache_entry *v = cache_victim(c, VICTIM_CLEAN, NULL);
    if (v) {
      *w->freed += v->size;
      cache_leave(c, v, LETHE_CACHE_RECLAIMED, NULL);
      continue;
    }
    if (*w->freed + c->reclaiming_bytes >= w->size) return false;
    v = cache_victim(c, VICTIM_ANY, NULL);
    if (!v) return c->reclaiming == 0;
    cache_claim(c, v, CLAIM_RECLAIM, NULL);
  }
  return true;
}

/* Those that the policy has no place for. */
static void evict_homeless(struct lethe_cache *c) {
  LETHE_LIST_EACH_SAFE(node, &c->homeless) {
    struct lethe_cache_entry *e = lethe_container_of(node, struct lethe_cache_entry, aside);
    if (!can_go(e, VICTIM_ANY)) continue;
    if (is_dirty(e))
      cache_claim(c, e, CLAIM_TRIM, NULL);
    else
      cache_leave(c, e, LETHE_CACHE_CAPACITY, NULL);
  }
}

void cache_trim(struct lethe_cache *c) {
  evict_homeless(c);
  keep_limits(c);
  while (!lethe_list_empty(&c->reclaims)) {
    struct lethe_cache_wait *w = wait_of(c->reclaims.next);
    if (!reclaim(c, w)) return;
    cache_finish(c, w, LETHE_OK, NULL);
  }
}

int lethe_cache_reclaim(struct lethe_cache *c, int64_t goal, struct lethe_cache_wait *w,
                        int64_t *freed) {
  cache_begin(c, w, WAIT_RECLAIM);
  w->size = goal;
  w->freed = freed;
  *freed = 0;
  if (c->closed) {
    cache_finish(c, w, LETHE_ECLOSED, NULL);
  } else {
    lethe_list_push(&c->reclaims, &w->node);
    c->trim = true;
  }
  return cache_end(c, w);
}

void lethe_cache_resize(struct lethe_cache *c, int64_t limit, int64_t bytes) {
  if (limit >= 0) c->limit = limit;
  if (bytes >= 0) c->max_bytes = bytes;
  cache_policy_limits(c);
  c->trim = c->room = true;
  cache_pump(c);
}
