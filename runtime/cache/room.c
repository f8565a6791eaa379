/* SPDX-License-Identifier: MIT
 * Where values stand: a value that was loaded or inserted reserves its room piece by piece, makes
 * others leave for it, and is ready once all of it is there (I4). Whoever finds nobody that could
 * leave is stuck, first come first served, until somebody can or its time is over. */
#include <math.h>

#include "cache_internal.h"

/* ---- weights --------------------------------------------------------------------------------- */

int64_t cache_weigh(struct lethe_cache *c, const struct lethe_cache_key *key,
                    struct lethe_cache_value *value) {
  if (!c->hooks->weigh) return (int64_t)value->size;
  bool outer = c->pumping;
  c->pumping = true;
  int64_t size = c->hooks->weigh(c->ud, key, value);
  c->pumping = outer;
  return size > 0 ? size : 0;
}

void cache_resized(struct lethe_cache *c, struct lethe_cache_entry *e, int64_t size) {
  int64_t by = size - e->size;
  if (by == 0) return;
  e->size = size;
  c->bytes += by;
  c->taken_bytes += by;
  if (c->hooks->release) {
    if (by < 0) c->hooks->release(c->ud, -by);
    if (by > 0 && c->hooks->claim(c->ud, by) == LETHE_OK) by = 0;
    if (by > 0) c->unpaid += by; /* it is here, whatever the quota says */
  }
  cache_policy_resized(c, e);
  c->trim = c->room = true;
}

/* ---- reserving ------------------------------------------------------------------------------- */

void cache_reserve(struct lethe_cache *c, struct lethe_cache_entry *e) {
  struct placing *p = &e->p;
  if (!p->place && c->taken < c->limit) {
    p->place = true;
    c->taken++;
  }
  int64_t left = c->max_bytes - c->taken_bytes, need = e->size - p->bytes;
  if (need > left) need = left;
  if (need <= 0) return;
  p->bytes += need;
  c->taken_bytes += need;
}

/* ---- who waits for room ---------------------------------------------------------------------- */

static void stuck_fired(struct lethe_timer *t);

static void arm(struct lethe_cache *c) {
  double first = INFINITY;
  LETHE_LIST_EACH(node, &c->stuck) first = fmin(first, entry_of_work(node)->p.deadline);
  lethe_timer_stop(&c->stuck_timer);
  if (!isinf(first))
    lethe_timer_start(c->loop, &c->stuck_timer, first - cache_now(c), 0, stuck_fired);
}

static void unreserve(struct lethe_cache *c, struct lethe_cache_entry *e) {
  c->taken -= e->p.place;
  c->taken_bytes -= e->p.bytes;
  e->p.place = false;
  e->p.bytes = 0;
}

void cache_unplace(struct lethe_cache *c, struct lethe_cache_entry *e) {
  if (e->state != ENTRY_PLACING) return;
  if (e->p.victim) cache_unclaim(c, e->p.victim);
  lethe_list_remove(&e->work);
  unreserve(c, e);
  c->room = true;
}

/* Only the first keeps what it has reserved: two halves would wait for each other. */
static void stick(struct lethe_cache *c, struct lethe_cache_entry *e) {
  struct lethe_list *before = &c->stuck;
  while (before->prev != &c->stuck && entry_of_work(before->prev)->p.order > e->p.order)
    before = before->prev;
  lethe_list_insert(before, &e->work);
  for (struct lethe_list *node = c->stuck.next->next; node != &c->stuck; node = node->next) {
    struct lethe_cache_entry *behind = entry_of_work(node);
    if (behind->p.place || behind->p.bytes > 0) c->room = true;
    unreserve(c, behind);
  }
  if (isinf(e->p.deadline)) e->p.deadline = cache_now(c) + c->wait;
  if (!c->stuck_timer.loop || c->stuck_timer.due > e->p.deadline) arm(c);
}

/* What is being written for others is not in use: its turn may come. */
static void stuck_fired(struct lethe_timer *t) {
  struct lethe_cache *c = lethe_container_of(t, struct lethe_cache, stuck_timer);
  double now = cache_now(c);
  LETHE_LIST_EACH_SAFE(node, &c->stuck) {
    struct lethe_cache_entry *e = entry_of_work(node);
    if (!is_due(e->p.deadline, now)) continue;
    if (c->pinned == 0 && c->claims > 0)
      e->p.deadline = now + c->wait;
    else
      cache_refuse(c, e, LETHE_EALLINUSE);
  }
  arm(c);
  cache_pump(c);
}

void cache_place_stuck(struct lethe_cache *c) {
  while (!lethe_list_empty(&c->stuck)) {
    struct lethe_list *first = c->stuck.next;
    lethe_list_remove(first);
    cache_place_again(c, entry_of_work(first));
    if (c->stuck.next == first) break; /* and so are those behind it */
  }
  if (lethe_list_empty(&c->stuck)) lethe_timer_stop(&c->stuck_timer);
}

/* ---- placing --------------------------------------------------------------------------------- */

void cache_place(struct lethe_cache *c, struct lethe_cache_entry *e,
                 struct lethe_cache_value *value, int64_t size, bool clean) {
  e->state = ENTRY_PLACING;
  e->value = value;
  e->size = size;
  e->p = (struct placing){
      .order = ++c->places, .began = c->tick, .deadline = INFINITY, .clean = clean};
  lethe_list_remove(&e->work);
  lethe_list_push(&c->again, &e->work);
}

/* Somebody needs it to be here. */
static bool is_needed(const struct lethe_cache_entry *e) {
  if (!e->p.clean) return true;
  LETHE_LIST_EACH(node, &e->waiters) {
    uint8_t kind = wait_of(node)->kind;
    if (kind == WAIT_HOLD || kind == WAIT_INSERT) return true;
  }
  return false;
}

/* It will find no place here. */
static void give_up(struct lethe_cache *c, struct lethe_cache_entry *e, int code) {
  if (is_needed(e))
    cache_refuse(c, e, code);
  else
    cache_pass(c, e);
}

static void stand(struct lethe_cache *c, struct lethe_cache_entry *e) {
  bool clean = e->p.clean;
  e->state = ENTRY_READY;
  e->s = (struct standing){.version = 1, .clean = 1};
  lethe_cache_value_put(e->said);
  e->said = NULL;
  c->bytes += e->size;
  cache_count(c, e, 1);
  cache_begin_age(c, e);
  cache_touch(c, e);
  cache_misses_seen(c, e, e->size);
  if (!clean) cache_dirty(c, e);
  cache_settle(c, e);
}

/* Every refusal starts a pass over the account: so for a while it is not asked for more than it
 * gave. */
static int claim(struct lethe_cache *c, const struct lethe_cache_entry *e) {
  double now = cache_now(c);
  if (c->bytes + e->size > c->granted && now < c->granted_for && c->free > 0) return LETHE_ELIMIT;
  int code = c->hooks->claim(c->ud, e->size);
  if (code == LETHE_ELIMIT) {
    c->granted = c->bytes;
    c->granted_for = now + 1;
  } else if (c->bytes + e->size > c->granted) {
    c->granted = LETHE_CACHE_NO_LIMIT;
  }
  return code;
}

/* All the room is there: the policy and the quota have a word. False: somebody must leave first. */
static bool commit(struct lethe_cache *c, struct lethe_cache_entry *e) {
  if (cache_policy_full(c, e)) return false;
  int code = c->hooks->claim ? claim(c, e) : LETHE_OK;
  if (code == LETHE_ELIMIT) return false;
  if (code == LETHE_OK) {
    code = cache_policy_insert(c, e);
    if (code == LETHE_ELIMIT && is_needed(e)) {
      lethe_list_push(&c->homeless, &e->aside);
      code = LETHE_OK;
    }
    if (code != LETHE_OK && c->hooks->release) c->hooks->release(c->ud, e->size);
  }
  if (code == LETHE_OK)
    stand(c, e);
  else
    give_up(c, e, code);
  return true;
}

static void no_victim(struct lethe_cache *c, struct lethe_cache_entry *e, bool whole) {
  bool others = c->pinned > 0 || c->claims > 0;
  if (whole && !others && c->free == 0)
    give_up(c, e, LETHE_ELIMIT);
  else if ((e->p.tries > 0 || c->free_bad > 0) && !others)
    cache_refuse(c, e, LETHE_EFLUSH);
  else if (c->wait <= 0)
    cache_refuse(c, e, LETHE_EALLINUSE);
  else
    stick(c, e);
}

/* An entry that can leave for e. One that could not be written is tried again if there is no
 * other. */
static struct lethe_cache_entry *victim_for(struct lethe_cache *c, struct lethe_cache_entry *e) {
  struct lethe_cache_entry *v = NULL;
  if (e->p.tries > 0) v = cache_victim(c, VICTIM_CLEAN, e);
  if (!v && e->p.tries < VICTIMS) v = cache_victim(c, VICTIM_ANY, e);
  if (v || e->p.tries >= VICTIMS) return v;
  LETHE_LIST_EACH(node, &c->bad) {
    v = entry_of_work(node);
    if (v->pins == 0 && !v->claim && v->s.failed_at <= e->p.began) return v;
  }
  return NULL;
}

static void find_room(struct lethe_cache *c, struct lethe_cache_entry *e) {
  for (;;) {
    cache_reserve(c, e);
    bool whole = e->p.place && e->p.bytes == e->size;
    if (whole && commit(c, e)) return;
    struct lethe_cache_entry *v = victim_for(c, e);
    if (!v) {
      no_victim(c, e, whole);
      return;
    }
    if (is_dirty(v)) {
      e->p.victim = v;
      cache_claim(c, v, CLAIM_PLACE, e);
      return;
    }
    cache_leave(c, v, LETHE_CACHE_CAPACITY, whole ? NULL : e);
  }
}

void cache_place_again(struct lethe_cache *c, struct lethe_cache_entry *e) {
  if (e->size < 0) e->size = cache_weigh(c, &e->call.key, e->value);
  if (c->closed) return;
  cache_misses_seen(c, e, e->size);
  if (e->doomed) {
    cache_pass(c, e);
  } else if (c->limit == 0 || e->size > c->max_bytes) {
    give_up(c, e, LETHE_EALLINUSE);
  } else if (!e->p.admitted && !cache_policy_admit(c, e) && !is_needed(e)) {
    cache_pass(c, e);
  } else if (!lethe_list_empty(&c->stuck) && entry_of_work(c->stuck.next)->p.order < e->p.order) {
    e->p.admitted = true;
    stick(c, e);
  } else {
    e->p.admitted = true;
    find_room(c, e);
  }
}
