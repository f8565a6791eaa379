/* SPDX-License-Identifier: MIT
 * Flushing everything: a flush counts what was dirty when it began, and ends when each of these has
 * been written or has failed once. Flushes of the same dirt are one. */
#include "cache_internal.h"

static struct flush *flush_of(struct lethe_list *node) {
  return lethe_container_of(node, struct flush, node);
}

/* ---- beginning ------------------------------------------------------------------------------- */

static void queue_all(struct lethe_cache *c, struct lethe_list *from) {
  struct lethe_list all;
  lethe_list_move(&all, from);
  while (!lethe_list_empty(&all)) cache_want(c, entry_of_work(all.next), false);
}

static struct flush *flush_new(struct lethe_cache *c) {
  struct flush *f = lethe_zalloc(c->alloc, sizeof *f);
  if (!f) return NULL;
  f->tick = c->tick++;
  f->serial = c->serial;
  f->left = c->ndirty;
  lethe_list_init(&f->waiters);
  lethe_list_push(&c->flushes, &f->node);
  queue_all(c, &c->dirty);
  queue_all(c, &c->bad);
  return f;
}

bool cache_join_flush(struct lethe_cache *c, struct lethe_cache_wait *w) {
  struct flush *f = lethe_list_empty(&c->flushes) ? NULL : flush_of(c->flushes.prev);
  if (!f || f->serial != c->serial) f = flush_new(c);
  if (f) lethe_list_push(&f->waiters, &w->node);
  return f != NULL;
}

/* ---- ending ---------------------------------------------------------------------------------- */

bool cache_flush_wants(const struct lethe_cache *c, uint64_t since) {
  return !lethe_list_empty(&c->flushes) && flush_of(c->flushes.prev)->tick >= since;
}

static void fail(struct flush *f, int code, struct lethe_cache_value *said) {
  if (f->code == LETHE_OK) {
    f->code = code;
    f->said = lethe_cache_value_get(said);
  }
}

void cache_flushed(struct lethe_cache *c, struct lethe_cache_entry *e, uint64_t since,
                   uint64_t until, int code, struct lethe_cache_value *said) {
  LETHE_LIST_EACH(node, &c->flushes) {
    struct flush *f = flush_of(node);
    if (f->tick < since || f->tick >= until) continue;
    f->left--;
    if (code == LETHE_OK) continue;
    fail(f, code, said);
    LETHE_LIST_EACH(waiter, &f->waiters) {
      struct lethe_cache_wait *w = wait_of(waiter);
      if (w->failed) w->failed(w, &e->call.key, said ? said->data : NULL);
    }
  }
}

/* What the waiter makes of it; it is in no list then. */
static void go_on(struct lethe_cache *c, struct lethe_cache_wait *w, int code,
                  struct lethe_cache_value *said) {
  lethe_list_remove(&w->node);
  if (w->kind == WAIT_DEPEND)
    cache_depend_step(w, code, said);
  else if (w->kind == WAIT_SHUTDOWN)
    cache_shutdown_step(c, w, code, said);
  else
    cache_finish(c, w, code, said);
}

static void end_flush(struct lethe_cache *c, struct flush *f, int code) {
  lethe_list_remove(&f->node);
  while (!lethe_list_empty(&f->waiters)) go_on(c, wait_of(f->waiters.next), code, f->said);
  lethe_cache_value_put(f->said);
  lethe_free(c->alloc, f, sizeof *f);
}

/* The order does not matter to those that wait: each ends once its own entries are dealt with. */
bool cache_end_flush(struct lethe_cache *c) {
  LETHE_LIST_EACH(node, &c->flushes) {
    struct flush *f = flush_of(node);
    if (lethe_list_empty(&c->edges)) f->ordered = true;
    if (f->left > 0 || !f->ordered) continue;
    end_flush(c, f, f->code);
    return true;
  }
  return false;
}

bool cache_flush_unordered(const struct lethe_cache *c) {
  LETHE_LIST_EACH(node, &c->flushes) {
    if (!flush_of(node)->ordered) return true;
  }
  return false;
}

void cache_fail_order(struct lethe_cache *c, struct lethe_cache_value *said) {
  c->serial++;
  LETHE_LIST_EACH(node, &c->flushes) {
    struct flush *f = flush_of(node);
    if (f->ordered) continue;
    f->ordered = true;
    fail(f, LETHE_EFLUSH, said);
  }
  cache_fail_queue(c, said);
}

void cache_drop_flushes(struct lethe_cache *c, int code) {
  while (!lethe_list_empty(&c->flushes)) end_flush(c, flush_of(c->flushes.next), code);
}

/* ---- shutdown -------------------------------------------------------------------------------- */

/* Writes what is dirty, also what became so meanwhile; then a barrier; then the end. */
void cache_shutdown_step(struct lethe_cache *c, struct lethe_cache_wait *w, int code,
                         struct lethe_cache_value *said) {
  if (code != LETHE_OK || c->closed) {
    cache_finish(c, w, code, said);
  } else if (c->ndirty > 0 || !lethe_list_empty(&c->edges)) {
    if (!cache_join_flush(c, w)) cache_finish(c, w, LETHE_ENOMEM, NULL);
  } else if (c->unsynced || c->syncing) {
    cache_sync(c, w);
  } else {
    cache_finish(c, w, LETHE_OK, NULL);
    lethe_cache_close(c);
  }
}

int lethe_cache_shutdown(struct lethe_cache *c, struct lethe_cache_wait *w) {
  cache_begin(c, w, WAIT_SHUTDOWN);
  cache_shutdown_step(c, w, c->closed ? LETHE_ECLOSED : LETHE_OK, NULL);
  return cache_end(c, w);
}

static void abandoned(struct lethe_cache_wait *w, int code) {
  struct lethe_cache *c = w->cache;
  if (code != LETHE_OK) lethe_cache_close(c);
  cache_unref(c);
}

void lethe_cache_abandon(struct lethe_cache *c) {
  if (c->closed) return;
  c->refs++;
  c->last.done = abandoned;
  int code = lethe_cache_shutdown(c, &c->last);
  if (code != LETHE_CACHE_WAITS) abandoned(&c->last, code);
}
