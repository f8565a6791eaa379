/* SPDX-License-Identifier: MIT
 * The pump: the one place from where a cache calls out. Each step takes one thing off a list and
 * deals with it; the order of the steps lets answers be told before new work begins, and a barrier
 * begin only when nobody else could still share it. */
#include <string.h>

#include "cache_internal.h"

double cache_now(const struct lethe_cache *c) { return lethe_loop_now(c->loop); }

/* ---- waits ----------------------------------------------------------------------------------- */

void cache_begin(struct lethe_cache *c, struct lethe_cache_wait *w, enum wait_kind kind) {
  lethe_list_init(&w->node);
  w->cache = c;
  w->other = NULL;
  w->held = NULL;
  w->value = w->given = NULL;
  w->message = NULL;
  w->code = LETHE_OK;
  w->kind = (uint8_t)kind;
  w->state = WAIT_STARTING;
  w->forced = false;
  w->version = c->tick;
}

/* What it was told lives until the next call that ends at once. */
int cache_end(struct lethe_cache *c, struct lethe_cache_wait *w) {
  c->refs++;
  cache_pump(c);
  bool over = w->state == WAIT_OVER;
  w->state = over ? WAIT_IDLE : WAIT_WAITING;
  if (over) {
    lethe_cache_value_put(c->told);
    c->told = w->given;
    w->given = NULL;
    w->message = c->told ? c->told->data : NULL;
  }
  int code = over ? w->code : LETHE_CACHE_WAITS;
  cache_unref(c);
  return code;
}

void cache_finish(struct lethe_cache *c, struct lethe_cache_wait *w, int code,
                  struct lethe_cache_value *said) {
  lethe_list_remove(&w->node);
  lethe_cache_value_put(w->given);
  w->given = lethe_cache_value_get(said);
  w->code = code;
  if (w->state != WAIT_STARTING) lethe_list_push(&c->over, &w->node);
  w->state = WAIT_OVER;
}

/* The wait is the caller's again as soon as it is called. */
static void tell(struct lethe_list *node) {
  struct lethe_cache_wait *w = wait_of(node);
  struct lethe_cache_value *said = w->given;
  w->given = NULL;
  w->message = said ? said->data : NULL;
  w->state = WAIT_IDLE;
  w->done(w, w->code);
  lethe_cache_value_put(said);
}

void lethe_cache_cancel(struct lethe_cache_wait *w) {
  struct lethe_cache *c = w->cache;
  if (w->state == WAIT_IDLE) return;
  lethe_list_remove(&w->node);
  lethe_cache_value_put(w->given);
  lethe_cache_value_put(w->value);
  w->given = w->value = NULL;
  struct lethe_cache_entry *held = w->state == WAIT_OVER ? w->held : NULL;
  struct lethe_cache *other = w->other;
  w->held = NULL;
  w->other = NULL;
  w->state = WAIT_IDLE;
  if (held) lethe_cache_release(c, held);
  if (other) { /* of depend_on: see there */
    cache_unref(other);
    cache_unref(c);
  }
}

/* ---- the backend's calls --------------------------------------------------------------------- */

void cache_call(struct lethe_cache *c, struct lethe_cache_entry *e, enum entry_call which) {
  e->calling = (uint8_t)which;
  lethe_list_remove(&e->work);
  lethe_list_push(&c->starting, &e->work);
}

static void start(struct lethe_cache *c, struct lethe_cache_entry *e) {
  struct lethe_cache_backend *b = c->backend;
  c->refs++;
  if (e->calling == CALL_LOAD) {
    c->stats.loads++;
    e->p.deadline = cache_now(c);
    b->load(b, &e->call);
  } else {
    b->evict(b, &e->call);
  }
}

struct lethe_cache_value *cache_text(struct lethe_cache *c, const char *message) {
  return message ? lethe_cache_bytes(c->alloc, message, strlen(message) + 1) : NULL;
}

void lethe_cache_answer(struct lethe_cache_call *call, int code, const char *message,
                        struct lethe_cache_value *value) {
  struct lethe_cache *c = call->cache;
  if (code != LETHE_OK) {
    lethe_cache_value_put(value);
    value = cache_text(c, message);
  }
  if (call == &c->barrier) {
    c->barrier_code = code;
    c->barrier_said = value;
    c->synced = true;
  } else {
    struct lethe_cache_entry *e = lethe_container_of(call, struct lethe_cache_entry, call);
    e->code = code;
    e->said = value;
    lethe_list_push(&c->answered, &e->work);
  }
  cache_pump(c);
  cache_unref(c);
}

static void answered(struct lethe_cache *c, struct lethe_cache_entry *e) {
  enum entry_call which = e->calling;
  lethe_cache_value_put(e->call.value);
  e->call.value = NULL;
  e->calling = CALL_NONE;
  if (which == CALL_FLUSH) c->writes--;
  if (c->swept) {
    if (e->pins == 0) cache_entry_free(c, e);
  } else if (which == CALL_LOAD) {
    cache_load_answered(c, e);
  } else if (which == CALL_FLUSH) {
    cache_write_answered(c, e);
  } else {
    cache_die(c, e);
  }
}

/* ---- the pump -------------------------------------------------------------------------------- */

static bool take(bool *flag) {
  bool was = *flag;
  *flag = false;
  return was;
}

/* The rest is only for a cache that is open. */
static bool step_open(struct lethe_cache *c) {
  struct lethe_list *node;
  if ((node = lethe_list_shift(&c->starting)) != NULL) {
    start(c, entry_of_work(node));
  } else if ((node = lethe_list_shift(&c->again)) != NULL) {
    cache_place_again(c, entry_of_work(node));
  } else if (take(&c->expire)) {
    cache_expire(c);
  } else if (take(&c->trim)) {
    cache_trim(c);
  } else if (take(&c->room)) {
    cache_place_stuck(c);
  } else {
    return cache_start_edge(c) || cache_start_write(c) || cache_end_flush(c) ||
           cache_start_barrier(c);
  }
  return true;
}

static bool step(struct lethe_cache *c) {
  struct lethe_list *node;
  if ((node = lethe_list_shift(&c->answered)) != NULL) {
    answered(c, entry_of_work(node));
  } else if (take(&c->synced)) {
    cache_barrier_answered(c);
  } else if ((node = lethe_list_shift(&c->over)) != NULL) {
    tell(node);
  } else if (c->closed) {
    if (c->swept) return false;
    cache_sweep(c);
  } else {
    return step_open(c);
  }
  return true;
}

void cache_pump(struct lethe_cache *c) {
  if (c->pumping || c->deciding) return; /* who asked the policy pumps */
  c->pumping = true;
  c->refs++;
  while (step(c)) {
  }
  c->pumping = false;
  cache_unref(c);
}
