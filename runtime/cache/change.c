/* SPDX-License-Identifier: MIT
 * Changing what is there: holds, inserts, removals. Whatever calls a script (weighing) is done
 * before anything is changed. */
#include "cache_internal.h"

/* ---- pins ------------------------------------------------------------------------------------ */

void cache_pin(struct lethe_cache *c, struct lethe_cache_entry *e) {
  c->refs++;
  if (e->pins == 0 && e->state == ENTRY_READY) {
    if (e->claim) cache_unclaim(c, e);
    cache_count(c, e, -1);
    e->pins = 1;
    cache_count(c, e, 1);
  } else {
    e->pins++;
  }
}

static void unpin(struct lethe_cache *c, struct lethe_cache_entry *e) {
  if (e->state != ENTRY_READY) {
    if (--e->pins == 0 && c->swept && e->calling == CALL_NONE) cache_entry_free(c, e);
    return;
  }
  if (e->pins > 1) {
    e->pins--;
    return;
  }
  cache_count(c, e, -1);
  e->pins = 0;
  cache_count(c, e, 1);
  c->trim = true; /* it may be what is too much */
  if (!lethe_list_empty(&c->late) || cache_is_stale(c, e)) c->expire = true;
}

void lethe_cache_release(struct lethe_cache *c, struct lethe_cache_entry *held) {
  unpin(c, held);
  cache_pump(c);
  cache_unref(c);
}

struct lethe_cache_value *lethe_cache_held_value(const struct lethe_cache_entry *held) {
  return held->value;
}

int lethe_cache_mark_dirty(struct lethe_cache *c, struct lethe_cache_entry *held) {
  if (c->closed) return LETHE_ECLOSED;
  if (c->deciding) return LETHE_EINVAL;
  cache_dirty(c, held);
  cache_pump(c);
  return LETHE_OK;
}

int lethe_cache_set(struct lethe_cache *c, struct lethe_cache_entry *held,
                    struct lethe_cache_value *value) {
  if (c->deciding) {
    lethe_cache_value_put(value);
    return LETHE_EINVAL;
  }
  cache_pin(c, held); /* whatever weighing does */
  int64_t size = c->closed ? 0 : cache_weigh(c, &held->call.key, value);
  int code = c->closed ? LETHE_ECLOSED : LETHE_OK;
  if (code) {
    lethe_cache_value_put(value);
  } else {
    lethe_cache_value_put(held->value);
    held->value = value;
    cache_resized(c, held, size);
    cache_dirty(c, held);
  }
  lethe_cache_release(c, held);
  return code;
}

/* ---- inserting ------------------------------------------------------------------------------- */

static void replace(struct lethe_cache *c, struct lethe_cache_entry *e,
                    struct lethe_cache_wait *w) {
  struct lethe_cache_value *value = w->given;
  w->given = NULL;
  if (w->size == e->size) {
    lethe_cache_value_put(e->value);
    e->value = value;
    cache_end_age(c, e);
    cache_begin_age(c, e);
    cache_policy_hit(c, e);
    if (!w->forced) cache_dirty(c, e);
    cache_finish(c, w, LETHE_OK, NULL);
  } else { /* its room is free, and it is the first to look for some */
    lethe_list_remove(&w->node);
    lethe_list_insert(e->waiters.next, &w->node);
    cache_policy_removed(c, e, false);
    cache_abdicate(c, e);
    cache_place(c, e, value, w->size, w->forced);
  }
}

/* False if it goes on waiting. What is dirty is written first. */
bool cache_settle_insert(struct lethe_cache *c, struct lethe_cache_entry *e,
                         struct lethe_cache_wait *w) {
  if (!w->given) {
    cache_finish(c, w, LETHE_OK, NULL);
  } else if (e->pins > 0) {
    cache_finish(c, w, LETHE_EINUSE, NULL);
  } else if (is_dirty(e)) {
    cache_want(c, e, true);
    return false;
  } else {
    replace(c, e, w);
  }
  return true;
}

static int insert(struct lethe_cache *c, const struct lethe_cache_key *key,
                  struct lethe_cache_wait *w) {
  int code = cache_usable(c);
  struct lethe_cache_entry *e = code ? NULL : cache_entry_for(c, key);
  if (!e) return code ? code : LETHE_ENOMEM;
  cache_seen(c, &e->call.key, w->size, e->state == ENTRY_READY);
  lethe_list_push(&e->waiters, &w->node);
  if (e->state == ENTRY_NEW || e->state == ENTRY_FAILED)
    cache_restart(c, e);
  else if (e->state == ENTRY_READY)
    cache_settle(c, e);
  return LETHE_OK;
}

int lethe_cache_insert(struct lethe_cache *c, const struct lethe_cache_key *key,
                       struct lethe_cache_value *value, bool clean, struct lethe_cache_wait *w) {
  c->refs++;
  int64_t size = c->closed ? 0 : cache_weigh(c, key, value);
  cache_begin(c, w, WAIT_INSERT);
  w->given = value;
  w->size = size;
  w->forced = clean;
  int code = insert(c, key, w);
  if (code) cache_finish(c, w, code, NULL);
  code = cache_end(c, w);
  cache_unref(c);
  return code;
}

/* ---- removing -------------------------------------------------------------------------------- */

/* What has no pins. */
static void drop(struct lethe_cache *c, struct lethe_cache_entry *e) {
  if (e->state == ENTRY_READY)
    cache_leave(c, e, LETHE_CACHE_REMOVED, NULL);
  else if (e->state == ENTRY_FAILED)
    cache_entry_free(c, e);
  else if (e->state != ENTRY_DYING)
    e->doomed = ++c->tick; /* who has asked is told, nobody else */
}

int lethe_cache_remove(struct lethe_cache *c, const struct lethe_cache_key *key) {
  if (c->closed) return LETHE_ECLOSED;
  if (c->deciding) return LETHE_EINVAL;
  struct lethe_cache_entry *e = cache_find(c, key);
  if (!e) return LETHE_OK;
  if (e->pins > 0) return LETHE_EINUSE;
  drop(c, e);
  cache_pump(c);
  return LETHE_OK;
}

int lethe_cache_invalidate(struct lethe_cache *c,
                           void (*in_use)(void *ud, const struct lethe_cache_key *key), void *ud) {
  bool all = true;
  if (c->closed) return LETHE_ECLOSED;
  if (c->deciding) return LETHE_EINVAL;
  for (uint32_t slot = 1; slot < c->entries.slots; slot++) {
    struct lethe_cache_entry *e = lethe_slab_used(&c->entries, slot);
    if (!e) continue;
    if (e->pins == 0) {
      drop(c, e);
      continue;
    }
    if (in_use) in_use(ud, &e->call.key);
    all = false;
  }
  if (all) cache_drop_edges(c, false);
  cache_pump(c);
  return all ? LETHE_OK : LETHE_EINUSE;
}
