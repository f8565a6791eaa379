/* SPDX-License-Identifier: MIT
 * Writing back: which entries are dirty, which are to be written, and what the end of a write says.
 *
 * A tick passes with every flush of everything. `since` is the tick of an entry's oldest change
 * that no write has covered, so that a flush knows by comparing ticks whether an entry is still its
 * concern. An entry whose write failed begins anew: those flushes have had their try. */
#include <math.h>

#include "cache_internal.h"

static const double first_back_off = 0.05, last_back_off = 30; /* seconds */

/* ---- dirt ------------------------------------------------------------------------------------ */

/* On which list an entry waits that nobody wants written. */
static void lay_down(struct lethe_cache *c, struct lethe_cache_entry *e) {
  lethe_list_remove(&e->work);
  lethe_list_push(e->s.retry_at > 0 ? &c->bad : &c->dirty, &e->work);
}

void cache_dirty(struct lethe_cache *c, struct lethe_cache_entry *e) {
  bool writing = e->calling == CALL_FLUSH;
  c->serial++;
  if (is_dirty(e)) {
    if (writing && e->s.version == e->s.writing) e->s.again = c->tick;
    e->s.version++;
    return;
  }
  cache_count(c, e, -1);
  e->s.version++;
  cache_count(c, e, 1);
  e->s.since = c->tick;
  c->ndirty++;
  lay_down(c, e);
}

static void end_failures(struct lethe_cache *c, struct lethe_cache_entry *e) {
  if (e->s.failures > 0) c->nfailing--;
  e->s.failures = 0;
}

static void clear_bad(struct lethe_cache *c, struct lethe_cache_entry *e) {
  if (e->s.retry_at == 0) return;
  cache_count(c, e, -1);
  e->s.retry_at = 0;
  cache_count(c, e, 1);
  c->trim = true; /* it may be what is too much, and can leave now */
}

/* From dirty to clean, at that version. */
static void clean(struct lethe_cache *c, struct lethe_cache_entry *e) {
  clear_bad(c, e);
  cache_count(c, e, -1);
  e->s.clean = e->s.version;
  cache_count(c, e, 1);
  end_failures(c, e);
  c->ndirty--;
  c->serial++;
  e->queued = false;
  lethe_list_remove(&e->work);
}

void cache_undirty(struct lethe_cache *c, struct lethe_cache_entry *e) {
  if (!is_dirty(e)) return;
  uint64_t since = e->s.since;
  clean(c, e);
  cache_flushed(c, e, since, UINT64_MAX, LETHE_OK, NULL);
}

/* ---- the queue ------------------------------------------------------------------------------- */

void cache_want(struct lethe_cache *c, struct lethe_cache_entry *e, bool soon) {
  if (!is_dirty(e)) return;
  if (e->calling == CALL_FLUSH) {
    if (e->s.version != e->s.writing) e->queued = true;
    return;
  }
  if (e->queued && !soon) return;
  e->queued = true;
  lethe_list_remove(&e->work);
  lethe_list_push(soon ? &c->urgent : &c->queue, &e->work);
}

bool cache_has_queue(const struct lethe_cache *c) {
  return !lethe_list_empty(&c->urgent) || !lethe_list_empty(&c->queue);
}

bool cache_start_write(struct lethe_cache *c) {
  if (!cache_has_queue(c) || !lethe_list_empty(&c->edges) || c->writes >= c->write_depth)
    return false;
  struct lethe_list *from = lethe_list_empty(&c->urgent) ? &c->queue : &c->urgent;
  struct lethe_cache_entry *e = entry_of_work(lethe_list_shift(from));
  e->queued = false;
  e->calling = CALL_FLUSH;
  e->s.writing = e->s.version;
  e->call.value = lethe_cache_value_get(e->value);
  c->writes++;
  c->refs++;
  c->backend->flush(c->backend, &e->call);
  return true;
}

/* ---- back-off -------------------------------------------------------------------------------- */

static void retry_fired(struct lethe_timer *t);

static void arm_retry(struct lethe_cache *c) {
  double first = INFINITY;
  LETHE_LIST_EACH(node, &c->bad) first = fmin(first, entry_of_work(node)->s.retry_at);
  lethe_timer_stop(&c->retry_timer);
  c->retry_timer.idle = true;
  if (!isinf(first))
    lethe_timer_start(c->loop, &c->retry_timer, first - cache_now(c), 0, retry_fired);
}

/* Those whose time has come may be victims again. */
static void retry_fired(struct lethe_timer *t) {
  struct lethe_cache *c = lethe_container_of(t, struct lethe_cache, retry_timer);
  double now = cache_now(c);
  LETHE_LIST_EACH_SAFE(node, &c->bad) {
    struct lethe_cache_entry *e = entry_of_work(node);
    if (!is_due(e->s.retry_at, now)) continue;
    clear_bad(c, e);
    lay_down(c, e);
  }
  c->trim = c->expire = true;
  arm_retry(c);
  cache_pump(c);
}

static void back_off(struct lethe_cache *c, struct lethe_cache_entry *e) {
  unsigned doublings = e->s.failures < 16 ? e->s.failures : 16;
  double seconds = fmin(first_back_off * (double)(1u << doublings), last_back_off);
  cache_count(c, e, -1);
  if (e->s.failures++ == 0) c->nfailing++;
  e->s.failed_at = ++c->tick;
  e->s.retry_at = cache_now(c) + seconds;
  cache_count(c, e, 1);
  lay_down(c, e);
  if (!c->retry_timer.loop || c->retry_timer.due > e->s.retry_at) arm_retry(c);
}

/* ---- the end of a write ---------------------------------------------------------------------- */

/* Those who waited for this entry, and everybody's flush. */
static void tell_failed(struct lethe_cache *c, struct lethe_cache_entry *e,
                        struct lethe_cache_value *said) {
  bool heard = false;
  LETHE_LIST_EACH_SAFE(node, &e->waiters) {
    struct lethe_cache_wait *w = wait_of(node);
    if (w->kind != WAIT_FLUSH_KEY && w->kind != WAIT_INSERT) continue;
    if (w->kind == WAIT_FLUSH_KEY && w->failed)
      w->failed(w, &e->call.key, said ? said->data : NULL);
    cache_finish(c, w, LETHE_EFLUSH, said);
    heard = true;
  }
  heard = heard || cache_flush_wants(c, e->s.since);
  if (!heard && e->s.failures == 0 && c->hooks->failed)
    c->hooks->failed(c->ud, &e->call.key, said ? said->data : NULL);
}

static void failed(struct lethe_cache *c, struct lethe_cache_entry *e,
                   struct lethe_cache_value *said) {
  c->stats.flush_failures++;
  c->serial++;
  e->queued = false;
  tell_failed(c, e, said);
  cache_flushed(c, e, e->s.since, UINT64_MAX, LETHE_EFLUSH, said);
  back_off(c, e);
  e->s.since = c->tick;
  if (e->claim) cache_claim_written(c, e, false, said);
}

static void written(struct lethe_cache *c, struct lethe_cache_entry *e) {
  uint64_t since = e->s.since;
  c->stats.flushes++;
  if (e->s.version == e->s.writing) {
    clean(c, e);
    cache_flushed(c, e, since, UINT64_MAX, LETHE_OK, NULL);
  } else { /* changed meanwhile: what was written is not what is there (I3) */
    bool wanted = e->queued || cache_flush_wants(c, e->s.again);
    c->serial++;
    e->s.clean = e->s.writing;
    e->s.since = e->s.again;
    end_failures(c, e);
    clear_bad(c, e);
    cache_flushed(c, e, since, e->s.again, LETHE_OK, NULL);
    e->queued = false;
    lay_down(c, e);
    if (wanted) cache_want(c, e, false);
  }
  cache_settle(c, e);
  if (e->state == ENTRY_READY && e->claim) cache_claim_written(c, e, true, NULL);
  if (e->state == ENTRY_READY && cache_is_stale(c, e)) c->expire = true;
}

void cache_write_answered(struct lethe_cache *c, struct lethe_cache_entry *e) {
  struct lethe_cache_value *said = e->said;
  bool well = e->code == LETHE_OK;
  e->said = NULL;
  c->unsynced = true; /* one that failed may have written, too */
  if (e->state == ENTRY_DYING)
    cache_die(c, e);
  else if (well)
    written(c, e);
  else
    failed(c, e, said);
  lethe_cache_value_put(said);
}

/* Each of them has been tried, as far as that goes. */
void cache_fail_queue(struct lethe_cache *c, struct lethe_cache_value *said) {
  struct lethe_list queues[2];
  lethe_list_move(&queues[0], &c->urgent);
  lethe_list_move(&queues[1], &c->queue);
  for (int i = 0; i < 2; i++)
    while (!lethe_list_empty(&queues[i]))
      failed(c, entry_of_work(lethe_list_shift(&queues[i])), said);
}

/* ---- one key --------------------------------------------------------------------------------- */

static int flush_key(struct lethe_cache *c, const struct lethe_cache_key *key,
                     struct lethe_cache_wait *w) {
  struct lethe_cache_entry *e = cache_find(c, key);
  cache_begin(c, w, WAIT_FLUSH_KEY);
  if (c->closed) {
    cache_finish(c, w, LETHE_ECLOSED, NULL);
  } else if (e && e->state == ENTRY_PLACING && !e->p.clean) { /* dirty as soon as it is there */
    w->version = UINT64_MAX;
    lethe_list_push(&e->waiters, &w->node);
  } else if (e && is_dirty(e)) {
    w->version = e->s.version;
    lethe_list_push(&e->waiters, &w->node);
    cache_want(c, e, true);
  } else {
    cache_finish(c, w, LETHE_OK, NULL);
  }
  return cache_end(c, w);
}

int lethe_cache_flush(struct lethe_cache *c, const struct lethe_cache_key *key,
                      struct lethe_cache_wait *w) {
  if (key) return flush_key(c, key, w);
  cache_begin(c, w, WAIT_FLUSH);
  if (c->closed)
    cache_finish(c, w, LETHE_ECLOSED, NULL);
  else if (!cache_join_flush(c, w))
    cache_finish(c, w, LETHE_ENOMEM, NULL);
  return cache_end(c, w);
}
