/* SPDX-License-Identifier: MIT
 * Caches: making, closing, counting. */
#include <math.h>
#include <stdio.h>

#include "cache_internal.h"

static const struct lethe_cache_hooks no_hooks;

/* ---- making ---------------------------------------------------------------------------------- */

static void init_lists(struct lethe_cache *c) {
  struct lethe_list *const lists[] = {
      &c->starting, &c->answered, &c->over,     &c->again,     &c->stuck, &c->dirty,    &c->bad,
      &c->queue,    &c->urgent,   &c->flushes,  &c->reclaims,  &c->ttls,  &c->failures, &c->late,
      &c->recent,   &c->edges,    &c->sync_now, &c->sync_next, &c->aside, &c->homeless};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) lethe_list_init(lists[i]);
}

int lethe_cache_new(struct lethe_cache **out, const struct lethe_alloc *a,
                    const struct lethe_cache_config *config) {
  struct lethe_cache *c = lethe_zalloc(a, sizeof *c);
  if (!c) return LETHE_ENOMEM;
  c->alloc = a;
  c->backend = config->backend;
  lethe_ref_get(&c->backend->refs);
  c->loop = lethe_loop_get(config->loop);
  c->policy = config->policy;
  c->hooks = config->hooks ? config->hooks : &no_hooks;
  c->ud = config->ud;
  c->refs = 1;
  c->seed = config->seed;
  c->granted = LETHE_CACHE_NO_LIMIT;
  c->limit = config->limit;
  c->max_bytes = config->bytes;
  c->ttl = config->ttl;
  c->idle = config->idle;
  c->error_ttl = config->error_ttl;
  c->wait = config->wait;
  c->write_depth = config->write_depth ? config->write_depth : 32;
  c->weighted = c->max_bytes != LETHE_CACHE_NO_LIMIT;
  c->keeps_recent = c->idle > 0 || c->hooks->claim;
  c->keeps_ages = c->keeps_recent || c->ttl > 0 || c->error_ttl > 0;
  c->barrier.cache = c;
  lethe_slab_init(&c->entries, a,
                  c->keeps_ages ? sizeof(struct lethe_cache_entry)
                                : offsetof(struct lethe_cache_entry, age));
  init_lists(c);
  *out = c;
  return LETHE_OK;
}

static void destroy(struct lethe_cache *c) {
  const struct lethe_cache_hooks *hooks = c->hooks;
  const struct lethe_alloc *a = c->alloc;
  void *ud = c->ud;
  cache_policy_destroy(c);
  lethe_slab_destroy(&c->entries);
  lethe_free(a, c->buckets, c->nbuckets * sizeof *c->buckets);
  lethe_cache_value_put(c->told);
  lethe_cache_value_put(c->barrier_said);
  lethe_cache_backend_put(c->backend);
  lethe_loop_put(c->loop);
  lethe_free(a, c, sizeof *c);
  if (hooks->gone) hooks->gone(ud);
}

void cache_unref(struct lethe_cache *c) {
  if (--c->refs == 0) destroy(c);
}

void lethe_cache_put_ref(struct lethe_cache *c) {
  if (c->refs == 1) lethe_cache_close(c);
  cache_unref(c);
}

struct lethe_cache *lethe_cache_get_ref(struct lethe_cache *c) {
  c->refs++;
  return c;
}

/* ---- closing --------------------------------------------------------------------------------- */

static void end_waiters(struct lethe_cache *c, struct lethe_cache_entry *e) {
  while (!lethe_list_empty(&e->waiters))
    cache_finish(c, wait_of(e->waiters.next), LETHE_ECLOSED, NULL);
}

static void end_entry(struct lethe_cache *c, struct lethe_cache_entry *e) {
  bool started = lethe_list_empty(&e->work);
  end_waiters(c, e);
  if (is_dirty(e) && c->hooks->dropped) c->hooks->dropped(c->ud, &e->call.key, e->value);
  if (e->state == ENTRY_READY) cache_pay_back(c, e->size);
  lethe_list_remove(&e->aside);
  lethe_list_remove(&e->work);
  cache_end_age(c, e);
  if (e->calling != CALL_NONE && e->calling != CALL_FLUSH && !started) e->calling = CALL_NONE;
  e->state = ENTRY_DYING;
  if (e->pins == 0 && e->calling == CALL_NONE) cache_entry_free(c, e);
}

void cache_sweep(struct lethe_cache *c) {
  c->swept = true;
  lethe_timer_stop(&c->stuck_timer);
  lethe_timer_stop(&c->age_timer);
  lethe_timer_stop(&c->retry_timer);
  for (uint32_t slot = 1; slot < c->entries.slots; slot++) {
    struct lethe_cache_entry *e = lethe_slab_used(&c->entries, slot);
    if (e) end_entry(c, e);
  }
  c->ready = c->pinned = c->claims = c->free = c->free_dirty = c->free_bad = c->ndirty = 0;
  c->nfailing = 0;
  c->taken = c->taken_bytes = c->bytes = 0;
  cache_drop_flushes(c, LETHE_ECLOSED);
  cache_drop_syncs(c, LETHE_ECLOSED);
  cache_drop_edges(c, true);
  while (!lethe_list_empty(&c->reclaims))
    cache_finish(c, wait_of(c->reclaims.next), LETHE_ECLOSED, NULL);
}

void lethe_cache_close(struct lethe_cache *c) {
  c->closed = true;
  cache_pump(c);
}

bool lethe_cache_is_closed(const struct lethe_cache *c) { return c->closed; }

struct lethe_loop *lethe_cache_loop(const struct lethe_cache *c) {
  return c->loop;
}

void *lethe_cache_ud(const struct lethe_cache *c) { return c->ud; }

/* ---- looking --------------------------------------------------------------------------------- */

void lethe_cache_read_stats(const struct lethe_cache *c, struct lethe_cache_stats *out) {
  *out = c->stats;
  out->dirty = c->ndirty;
  out->in_use = c->pinned;
  out->entries = c->ready;
  out->bytes = c->bytes;
  out->limit = c->limit;
  out->max_bytes = c->max_bytes;
}

const struct lethe_cache_key *lethe_cache_key_of(const struct lethe_cache_entry *owner) {
  return &owner->call.key;
}

/* ---- auditing -------------------------------------------------------------------------------- */

struct sums {
  uint64_t keys, ready, pinned, claims, free, free_dirty, free_bad, dirty, failing, writes;
  int64_t bytes, taken, taken_bytes;
};

static const char *add_entry(const struct lethe_cache *c, const struct lethe_cache_entry *e,
                             struct sums *s) {
  s->keys++;
  s->writes += e->calling == CALL_FLUSH;
  if (cache_find(c, &e->call.key) != e) return "a key leads elsewhere";
  if (e->state == ENTRY_PLACING) {
    s->taken += e->p.place;
    s->taken_bytes += e->p.bytes;
    if (e->p.victim && e->p.victim->s.claimant != e) return "a victim does not know for whom";
    if (!e->p.victim && lethe_list_empty(&e->work)) return "a value waits for nothing";
  }
  if (e->state != ENTRY_READY) return NULL;
  bool at_large = e->pins == 0 && !e->claim;
  s->ready++;
  s->taken++;
  s->bytes += e->size;
  s->taken_bytes += e->size;
  s->dirty += is_dirty(e);
  s->failing += e->s.failures > 0;
  s->pinned += e->pins > 0;
  s->claims += e->pins == 0 && e->claim;
  s->free += at_large;
  s->free_dirty += at_large && is_dirty(e);
  s->free_bad += at_large && e->s.retry_at > 0;
  if (e->pins > 0 && e->claim) return "an entry in use is to leave";
  if (e->claim && !is_dirty(e)) return "a clean entry is waited for";
  if (is_dirty(e) && e->calling == CALL_NONE && lethe_list_empty(&e->work))
    return "a dirty entry is in no list";
  return NULL;
}

static const char *compare(const struct lethe_cache *c, const struct sums *s) {
  if (s->keys != c->keys) return "keys";
  if (s->ready != c->ready) return "entries";
  if (s->pinned != c->pinned) return "entries in use";
  if (s->claims != c->claims) return "claims";
  if (s->free != c->free) return "free entries";
  if (s->free_dirty != c->free_dirty) return "free dirty entries";
  if (s->free_bad != c->free_bad) return "free entries that back off";
  if (s->dirty != c->ndirty) return "dirty entries";
  if (s->failing != c->nfailing) return "failing entries";
  if (s->writes != c->writes) return "writes";
  if (s->bytes != c->bytes) return "bytes";
  if (s->taken != c->taken || s->taken_bytes != c->taken_bytes) return "reserved room";
  return NULL;
}

int lethe_cache_check(const struct lethe_cache *c, char *why, size_t n) {
  struct sums s = {0};
  if (c->swept) return LETHE_OK;
  for (uint32_t slot = 1; slot < c->entries.slots; slot++) {
    const struct lethe_cache_entry *e = lethe_slab_used(&c->entries, slot);
    const char *wrong = e ? add_entry(c, e, &s) : NULL;
    if (!wrong) continue;
    snprintf(why, n, "entry %u: %s", slot, wrong);
    return LETHE_EBROKEN;
  }
  const char *wrong = compare(c, &s);
  if (wrong) snprintf(why, n, "the number of %s is off", wrong);
  return wrong ? LETHE_EBROKEN : LETHE_OK;
}
