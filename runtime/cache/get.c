/* SPDX-License-Identifier: MIT
 * Getting and holding: one load for all who wait, and what becomes of them when it ends.
 *
 * Waiters stand in the list of their entry, which stays in the index as long as there are any. */
#include "cache_internal.h"

/* ---- watchers -------------------------------------------------------------------------------- */

/* They may be scripts, and may no more call the cache than its policy may. */
void cache_seen(struct lethe_cache *c, const struct lethe_cache_key *key, int64_t size, bool hit) {
  if (!c->hooks->seen) return;
  c->deciding++;
  c->hooks->seen(c->ud, key, size, hit);
  c->deciding--;
}

/* Those that missed are told of when it is known what they asked for. */
void cache_misses_seen(struct lethe_cache *c, struct lethe_cache_entry *e, int64_t size) {
  for (; e->asked > 0; e->asked--) cache_seen(c, &e->call.key, size, false);
}

/* ---- loading --------------------------------------------------------------------------------- */

static void begin_load(struct lethe_cache *c, struct lethe_cache_entry *e) {
  e->state = ENTRY_LOADING;
  e->doomed = 0;
  cache_call(c, e, CALL_LOAD);
}

/* Whether what a load brought is for w. */
static bool in_time(const struct lethe_cache_entry *e, const struct lethe_cache_wait *w) {
  return e->doomed == 0 || w->version < e->doomed;
}

void cache_restart(struct lethe_cache *c, struct lethe_cache_entry *e) {
  lethe_list_remove(&e->work);
  cache_end_age(c, e);
  lethe_cache_value_put(e->value);
  lethe_cache_value_put(e->said);
  e->value = e->said = NULL;
  while (!lethe_list_empty(&e->waiters)) {
    struct lethe_cache_wait *w = wait_of(e->waiters.next);
    if (w->kind == WAIT_GET || w->kind == WAIT_HOLD) {
      begin_load(c, e);
      return;
    }
    if (w->kind == WAIT_INSERT) {
      struct lethe_cache_value *given = w->given;
      w->given = NULL;
      e->doomed = 0;
      cache_place(c, e, given, w->size, w->forced);
      return;
    }
    cache_finish(c, w, LETHE_OK, NULL); /* there is nothing left to write */
  }
  cache_entry_free(c, e);
}

/* Ends the waiters that `with` is for: those that get, and an insert whose value this was. */
static void tell_failure(struct lethe_cache *c, struct lethe_cache_entry *e, int code,
                         struct lethe_cache_value *said) {
  LETHE_LIST_EACH_SAFE(node, &e->waiters) {
    struct lethe_cache_wait *w = wait_of(node);
    bool mine = w->kind == WAIT_INSERT ? !w->given : w->kind != WAIT_FLUSH_KEY && in_time(e, w);
    if (mine) cache_finish(c, w, code, said);
  }
}

static void remember_failure(struct lethe_cache *c, struct lethe_cache_entry *e, int code,
                             struct lethe_cache_value *said) {
  e->state = ENTRY_FAILED;
  e->code = code;
  e->value = said;
  cache_begin_age(c, e);
}

static void load_failed(struct lethe_cache *c, struct lethe_cache_entry *e, int code,
                        struct lethe_cache_value *said) {
  c->stats.load_failures++;
  cache_misses_seen(c, e, 0);
  tell_failure(c, e, code, said);
  if (c->error_ttl > 0 && e->doomed == 0 && lethe_list_empty(&e->waiters)) {
    remember_failure(c, e, code, said);
  } else {
    lethe_cache_value_put(said);
    cache_restart(c, e);
  }
}

void cache_load_answered(struct lethe_cache *c, struct lethe_cache_entry *e) {
  struct lethe_cache_value *said = e->said;
  int code = e->code;
  e->said = NULL;
  e->cost = (float)(cache_now(c) - e->p.deadline); /* when it began */
  if (code == LETHE_OK && !said) code = LETHE_ENOTFOUND;
  if (code == LETHE_OK && c->hooks->adopt) {
    said = c->hooks->adopt(c->ud, said);
    if (!said) code = LETHE_ENOMEM;
  }
  if (code == LETHE_OK)
    cache_place(c, e, said, -1, true);
  else
    load_failed(c, e, code == LETHE_ENOTFOUND || code == LETHE_ENOMEM ? code : LETHE_ELOAD, said);
}

void cache_refuse(struct lethe_cache *c, struct lethe_cache_entry *e, int code) {
  struct lethe_cache_value *said = e->said;
  e->said = NULL;
  cache_misses_seen(c, e, e->size);
  cache_unplace(c, e);
  tell_failure(c, e, code, said);
  lethe_cache_value_put(said);
  cache_restart(c, e);
}

void cache_pass(struct lethe_cache *c, struct lethe_cache_entry *e) {
  cache_misses_seen(c, e, e->size);
  cache_unplace(c, e);
  LETHE_LIST_EACH_SAFE(node, &e->waiters) {
    struct lethe_cache_wait *w = wait_of(node);
    bool inserted = w->kind == WAIT_INSERT && !w->given; /* and removed */
    if (!inserted && (w->kind != WAIT_GET || !in_time(e, w))) continue;
    if (!inserted) w->value = lethe_cache_value_get(e->value);
    cache_finish(c, w, LETHE_OK, NULL);
  }
  cache_restart(c, e);
}

/* ---- an entry that is ready, and a wait ------------------------------------------------------ */

static bool settle(struct lethe_cache *c, struct lethe_cache_entry *e, struct lethe_cache_wait *w) {
  switch (w->kind) {
  case WAIT_HOLD:
    cache_pin(c, e);
    w->held = e;
    cache_finish(c, w, LETHE_OK, NULL);
    return true;
  case WAIT_GET:
    w->value = lethe_cache_value_get(e->value);
    cache_finish(c, w, LETHE_OK, NULL);
    return true;
  case WAIT_INSERT:
    return cache_settle_insert(c, e, w);
  default: /* WAIT_FLUSH_KEY, of what was there at w->version */
    if (is_dirty(e) && w->version > e->s.clean) {
      if (w->version > e->s.version) w->version = e->s.version; /* it was on its way here */
      cache_want(c, e, true);
      return false;
    }
    cache_finish(c, w, LETHE_OK, NULL);
    return true;
  }
}

void cache_settle(struct lethe_cache *c, struct lethe_cache_entry *e) {
  struct lethe_list waiting;
  lethe_list_move(&waiting, &e->waiters);
  while (!lethe_list_empty(&waiting)) {
    struct lethe_cache_wait *w = wait_of(waiting.next);
    if (e->state == ENTRY_READY && settle(c, e, w)) continue;
    lethe_list_remove(&w->node);
    lethe_list_push(&e->waiters, &w->node);
  }
}

/* ---- the calls ------------------------------------------------------------------------------- */

/* The entry of a key, made if there is none; one that is too old leaves first. */
struct lethe_cache_entry *cache_entry_for(struct lethe_cache *c,
                                          const struct lethe_cache_key *key) {
  struct lethe_cache_entry *e = cache_find(c, key);
  if (e && cache_is_stale(c, e)) {
    if (e->state == ENTRY_READY)
      cache_leave(c, e, LETHE_CACHE_TTL, NULL);
    else
      cache_entry_free(c, e);
    e = cache_find(c, key);
  }
  return e ? e : cache_entry_new(c, key);
}

static void hit(struct lethe_cache *c, struct lethe_cache_entry *e) {
  c->stats.hits++;
  cache_seen(c, &e->call.key, e->size, true);
  cache_touch(c, e);
  cache_policy_hit(c, e);
}

/* LETHE_OK if there can be any entry. */
int cache_usable(const struct lethe_cache *c) {
  if (c->closed) return LETHE_ECLOSED;
  if (c->deciding) return LETHE_EINVAL;
  return c->limit == 0 ? LETHE_EALLINUSE : LETHE_OK;
}

static int ask(struct lethe_cache *c, const struct lethe_cache_key *key, struct lethe_cache_wait *w,
               enum wait_kind kind) {
  int code = cache_usable(c);
  cache_begin(c, w, kind);
  struct lethe_cache_entry *e = code ? NULL : cache_entry_for(c, key);
  if (!e) {
    cache_finish(c, w, code ? code : LETHE_ENOMEM, NULL);
    return cache_end(c, w);
  }
  if (e->state == ENTRY_READY) {
    hit(c, e);
    settle(c, e, w);
    return cache_end(c, w);
  }
  c->stats.misses++;
  if (e->state == ENTRY_FAILED) {
    cache_seen(c, &e->call.key, 0, false);
    cache_finish(c, w, e->code, e->value);
    return cache_end(c, w);
  }
  e->asked++;
  lethe_list_push(&e->waiters, &w->node);
  if (e->state == ENTRY_NEW) begin_load(c, e);
  return cache_end(c, w);
}

int lethe_cache_get(struct lethe_cache *c, const struct lethe_cache_key *key,
                    struct lethe_cache_wait *w) {
  return ask(c, key, w, WAIT_GET);
}

int lethe_cache_hold(struct lethe_cache *c, const struct lethe_cache_key *key,
                     struct lethe_cache_wait *w) {
  return ask(c, key, w, WAIT_HOLD);
}

struct lethe_cache_entry *lethe_cache_find(struct lethe_cache *c,
                                           const struct lethe_cache_key *key) {
  struct lethe_cache_entry *e = c->closed || c->deciding ? NULL : cache_find(c, key);
  if (!e || e->state != ENTRY_READY || c->limit == 0 || cache_is_stale(c, e)) return NULL;
  return e;
}

struct lethe_cache_value *lethe_cache_value_of(const struct lethe_cache_entry *e) {
  return e->value;
}

/* The policy may close it. */
bool lethe_cache_use(struct lethe_cache *c, struct lethe_cache_entry *e) {
  hit(c, e);
  return !c->closed;
}

struct lethe_cache_value *lethe_cache_hit(struct lethe_cache *c,
                                          const struct lethe_cache_key *key) {
  struct lethe_cache_entry *e = lethe_cache_find(c, key);
  return e && lethe_cache_use(c, e) ? e->value : NULL;
}

void lethe_cache_let_go(struct lethe_cache *c) {
  if (c->trim && !c->closed && !c->deciding) cache_pump(c);
}

struct lethe_cache_value *lethe_cache_peek(struct lethe_cache *c,
                                           const struct lethe_cache_key *key) {
  struct lethe_cache_entry *e = c->closed ? NULL : cache_find(c, key);
  return e && e->state == ENTRY_READY && !cache_is_stale(c, e) ? e->value : NULL;
}
