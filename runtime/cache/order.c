/* SPDX-License-Identifier: MIT
 * Order between caches: edges, which hold back the writes of a cache until another is flushed and
 * its barrier has passed (I5), and form no cycle (I6); and barriers, of which one serves all who
 * were ready when it began.
 *
 * An edge is armed until somebody wants to write; then the other cache is flushed, then synced. If
 * it is wanted anew meanwhile, or a later write over there has failed and may have left anything,
 * that begins once more; if either fails it is armed again. */
#include "cache_internal.h"

static struct edge *edge_of(struct lethe_list *node) {
  return lethe_container_of(node, struct edge, node);
}

/* ---- barriers -------------------------------------------------------------------------------- */

void cache_sync(struct lethe_cache *c, struct lethe_cache_wait *w) {
  lethe_list_push(&c->sync_next, &w->node);
}

/* A wait for a barrier has ended; it is in no list. */
static void synced(struct lethe_cache *c, struct lethe_cache_wait *w, int code,
                   struct lethe_cache_value *said) {
  lethe_list_remove(&w->node);
  if (code != LETHE_OK && code != LETHE_ECLOSED) code = LETHE_EFLUSH;
  w->forced = c->unsure; /* for an edge: it must come again */
  if (w->kind == WAIT_SHUTDOWN)
    cache_shutdown_step(c, w, code, said);
  else
    cache_finish(c, w, code, said);
}

static void synced_all(struct lethe_cache *c, struct lethe_list *list, int code,
                       struct lethe_cache_value *said) {
  struct lethe_list all;
  lethe_list_move(&all, list);
  while (!lethe_list_empty(&all)) synced(c, wait_of(all.next), code, said);
}

/* What has been written before is durable already, or what is under way will make it so. */
bool cache_start_barrier(struct lethe_cache *c) {
  if (lethe_list_empty(&c->sync_next)) return false;
  if (!c->unsynced) {
    if (!c->syncing) {
      c->unsure = c->nfailing > 0;
      synced_all(c, &c->sync_next, LETHE_OK, NULL);
      return true;
    }
    bool moved = false;
    LETHE_LIST_EACH_SAFE(node, &c->sync_next) {
      lethe_list_remove(node);
      lethe_list_push(&c->sync_now, node);
      moved = true;
    }
    return moved;
  }
  if (c->syncing) return false;
  lethe_list_move(&c->sync_now, &c->sync_next);
  c->unsynced = false;
  c->unsure = c->nfailing > 0;
  c->syncing = true;
  c->stats.barriers++;
  if (c->backend->barrier) {
    c->refs++;
    c->backend->barrier(c->backend, &c->barrier);
  } else {
    c->synced = true;
    c->barrier_code = LETHE_OK;
  }
  return true;
}

void cache_barrier_answered(struct lethe_cache *c) {
  struct lethe_cache_value *said = c->barrier_said;
  c->barrier_said = NULL;
  c->syncing = false;
  if (c->barrier_code != LETHE_OK) c->unsynced = true;
  synced_all(c, &c->sync_now, c->barrier_code, said);
  lethe_cache_value_put(said);
}

void cache_drop_syncs(struct lethe_cache *c, int code) {
  synced_all(c, &c->sync_now, code, NULL);
  synced_all(c, &c->sync_next, code, NULL);
}

/* ---- edges ----------------------------------------------------------------------------------- */

static void free_edge(struct edge *e) {
  struct lethe_cache *from = e->from, *to = e->to;
  lethe_list_remove(&e->node);
  lethe_cache_cancel(&e->wait);
  lethe_free(from->alloc, e, sizeof *e);
  cache_unref(to);
}

/* A flush of the other cache, or the barrier after it, has ended. */
static void edge_done(struct lethe_cache_wait *w, int code) {
  struct edge *e = lethe_container_of(w, struct edge, wait);
  struct lethe_cache *from = e->from, *to = e->to;
  from->refs++;
  if (code == LETHE_OK && e->state == EDGE_FLUSHING) {
    e->state = EDGE_SYNCING;
    cache_begin(to, w, WAIT_SYNC);
    cache_sync(to, w);
    w->state = WAIT_WAITING;
    cache_pump(to);
  } else if (code == LETHE_OK || code == LETHE_ECLOSED) { /* of a closed cache nothing is left */
    if (code == LETHE_OK && (e->again || w->forced || to->nfailing > 0))
      e->state = EDGE_ARMED;
    else
      free_edge(e);
  } else {
    struct lethe_cache_value *said = cache_text(from, w->message);
    e->state = EDGE_ARMED;
    cache_fail_order(from, said);
    lethe_cache_value_put(said);
  }
  cache_pump(from);
  cache_unref(from);
}

/* Where somebody wants to write. */
bool cache_start_edge(struct lethe_cache *c) {
  if (lethe_list_empty(&c->edges)) return false;
  if (!cache_has_queue(c) && !cache_flush_unordered(c)) return false;
  LETHE_LIST_EACH(node, &c->edges) {
    struct edge *e = edge_of(node);
    if (e->state != EDGE_ARMED) continue;
    e->state = EDGE_FLUSHING;
    e->again = false;
    e->wait.done = edge_done;
    int code = lethe_cache_flush(e->to, NULL, &e->wait);
    if (code != LETHE_CACHE_WAITS) edge_done(&e->wait, code);
    return true;
  }
  return false;
}

void cache_drop_edges(struct lethe_cache *c, bool all) {
  LETHE_LIST_EACH_SAFE(node, &c->edges) {
    if (all || edge_of(node)->state == EDGE_ARMED) free_edge(edge_of(node));
  }
}

/* ---- cycles ---------------------------------------------------------------------------------- */

/* Whether edges lead from one to the other: a walk that marks what it has seen. */
static bool leads_to(struct lethe_cache *from, const struct lethe_cache *to) {
  struct lethe_cache *next = from;
  uint64_t walk = ++from->walks;
  from->walked_by = from;
  from->walk = walk;
  from->walk_next = NULL;
  while (next) {
    struct lethe_cache *c = next;
    next = c->walk_next;
    if (c == to) return true;
    LETHE_LIST_EACH(node, &c->edges) {
      struct lethe_cache *other = edge_of(node)->to;
      if (other->walked_by == from && other->walk == walk) continue;
      other->walked_by = from;
      other->walk = walk;
      other->walk_next = next;
      next = other;
    }
  }
  return false;
}

static struct edge *find_edge(const struct lethe_cache *c, const struct lethe_cache *other) {
  LETHE_LIST_EACH(node, &c->edges) {
    if (edge_of(node)->to == other) return edge_of(node);
  }
  return NULL;
}

static int add_edge(struct lethe_cache *c, struct lethe_cache *other) {
  struct edge *e = find_edge(c, other);
  if (e) {
    e->again = e->state != EDGE_ARMED;
    return LETHE_OK;
  }
  e = lethe_zalloc(c->alloc, sizeof *e);
  if (!e) return LETHE_ENOMEM;
  e->from = c;
  e->to = other;
  lethe_list_init(&e->wait.node);
  other->refs++;
  c->serial++; /* a flush that is under way may be past the edges */
  lethe_list_push(&c->edges, &e->node);
  return LETHE_OK;
}

/* ---- depend_on ------------------------------------------------------------------------------- */

/* The wait keeps both caches while it is in the list of a flush of `other`. */
static void depend(struct lethe_cache *c, struct lethe_cache *other, struct lethe_cache_wait *w) {
  if (c->closed) {
    cache_finish(c, w, LETHE_ECLOSED, NULL);
  } else if (other->closed) {
    cache_finish(c, w, LETHE_OK, NULL);
  } else if (!leads_to(other, c)) {
    cache_finish(c, w, add_edge(c, other), NULL);
  } else {
    c->refs++;
    other->refs++;
    w->other = other;
    if (!cache_join_flush(other, w)) cache_depend_step(w, LETHE_ENOMEM, NULL);
  }
}

void cache_depend_step(struct lethe_cache_wait *w, int code, struct lethe_cache_value *said) {
  struct lethe_cache *c = w->cache, *other = w->other;
  w->other = NULL;
  if (code != LETHE_OK && code != LETHE_ECLOSED)
    cache_finish(c, w, code, said);
  else if (c == other)
    cache_finish(c, w, code, NULL);
  else
    depend(c, other, w);
  cache_pump(c);
  cache_unref(other);
  cache_unref(c);
}

int lethe_cache_depend_on(struct lethe_cache *c, struct lethe_cache *other,
                          struct lethe_cache_wait *w) {
  cache_begin(c, w, WAIT_DEPEND);
  depend(c, other, w);
  c->refs++;
  cache_pump(other);
  int code = cache_end(c, w);
  cache_unref(c);
  return code;
}
