/* SPDX-License-Identifier: MIT
 * What all scripted policies do alike: they know their entries, keep the last events and what went
 * wrong, and make way for lru. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "script_internal.h"

static const char *const names[] = {"freq", "age",   "since", "size",  "cost", "L",
                                    "used", "limit", "len",   "ghost", NULL};
static const char *const names_without_ghost[] = {"freq", "age",  "since", "size", "cost",
                                                  "L",    "used", "limit", "len",  NULL};

const char *const *script_field_names(bool ghost) { return ghost ? names : names_without_ghost; }

/* ---- failures -------------------------------------------------------------------------------- */

static void note_event(struct script *s, enum lethe_evict_event_kind kind, uint64_t handle,
                       uint64_t key) {
  if (script_is_out(s)) return;
  s->ring[s->events++ % LETHE_EVICT_EVENTS] =
      (struct lethe_evict_event){kind, s->evict.now, handle, key};
}

void script_args(struct script *s, unsigned n, const double *args) {
  struct lethe_evict_failure *f = lethe_evict_script_failing(&s->evict);
  f->nargs = n;
  if (n) memcpy(f->args, args, n * sizeof *args);
}

void script_fail(struct script *s, const char *call, const char *format, ...) {
  if (script_is_out(s)) return;
  struct lethe_evict_failure *f = lethe_evict_script_failing(&s->evict);
  if (format) {
    va_list ap;
    va_start(ap, format);
    vsnprintf(f->message, sizeof f->message, format, ap);
    va_end(ap);
  }
  f->call = call;
  f->at = s->evict.now;
  note_event(s, LETHE_EVICT_EVENT_FAIL, 0, 0);
  s->strikes++;
  s->owed = true;
  if (script_is_out(s)) s->form->take_over(s);
  if (s->config.failed) s->config.failed(s->config.ud);
}

/* ---- making and ending ----------------------------------------------------------------------- */

int script_init(struct script *s, const struct script_form *form,
                const struct lethe_evict_script *config, char *why, size_t n) {
  s->form = form;
  s->first_freq = 1;
  s->ghosts = config->admit || config->admits;
  ghost_init(&s->ghost, s->evict.alloc);
  if (config->admit) {
    int rc = lethe_expr_compile_with(&s->admit, s->evict.alloc, config->admit, names,
                                     UINT64_C(1) << LETHE_EVICT_GHOST, why, n);
    if (rc != LETHE_OK) return rc;
  }
  s->config = *config;
  s->config.admit = NULL; /* not kept */
  return LETHE_OK;
}

void script_destroy(struct lethe_evict *e) {
  struct script *s = script_of(e);
  if (s->config.end) s->config.end(s->config.ud);
  lethe_expr_delete(s->admit);
  ghost_destroy(&s->ghost);
}

void script_forget(struct script *s) {
  ghost_trim(&s->ghost, 0, 0);
  s->last_score = 0;
}

/* ---- lru ------------------------------------------------------------------------------------- */

static bool newer(const struct script *s, uint32_t a, uint32_t b) {
  return script_at(s, a)->last >= script_at(s, b)->last;
}

/* Two lists, linked by next, newest first, as one. */
static uint32_t merge(struct script *s, uint32_t a, uint32_t b) {
  uint32_t first = 0, *at = &first;
  while (a && b) {
    uint32_t *from = newer(s, a, b) ? &a : &b;
    *at = *from;
    at = &script_at(s, *from)->node.next;
    *from = *at;
  }
  *at = a ? a : b;
  return first;
}

static bool is_there(const struct script *s, uint32_t slot) {
  return script_at(s, slot)->node.generation & 1;
}

/* All nodes, newest first, linked by next. Merges lists of 2^i nodes: runs[i] is empty or one. */
static uint32_t sorted(struct script *s) {
  uint32_t runs[32] = {0}, all = 0;
  for (uint32_t slot = 1; slot <= s->evict.high; slot++) {
    if (!is_there(s, slot)) continue;
    uint32_t run = slot;
    unsigned i = 0;
    script_at(s, slot)->node.next = 0;
    for (; i < 31 && runs[i]; runs[i++] = 0) run = merge(s, runs[i], run);
    runs[i] = runs[i] ? merge(s, runs[i], run) : run;
  }
  for (unsigned i = 0; i < 32; i++) all = merge(s, all, runs[i]);
  return all;
}

/* Those that are refused are counted in the list, but out of its chain. */
void script_take_over(struct script *s) {
  struct lethe_evict *e = &s->evict;
  e->dropped = false;
  for (uint32_t slot = sorted(s), next; slot; slot = next) {
    struct lethe_evict_node *n = lethe_evict_at(e, slot);
    next = n->next;
    n->queue = SCRIPT_LRU;
    s->lru.len++;
    s->lru.used += n->size;
    if (!n->refused) list_link_tail(e, &s->lru, slot);
  }
}

void script_lru_insert(struct script *s, uint32_t slot) {
  lethe_evict_at(&s->evict, slot)->queue = SCRIPT_LRU;
  script_push(s, &s->lru, slot);
}

void script_list_each(struct script *s, const struct list *l, void (*fn)(void *ud, uint32_t slot),
                      void *ud) {
  for (uint32_t slot = l->tail, prev; slot; slot = prev) {
    prev = lethe_evict_at(&s->evict, slot)->prev;
    fn(ud, slot);
  }
}

const char *script_list_check(const struct script *s, const struct list *l, uint8_t queue) {
  uint32_t len = 0, before = 0;
  int64_t used = 0;
  for (uint32_t slot = l->head; slot; slot = lethe_evict_at(&s->evict, slot)->next) {
    const struct lethe_evict_node *n = lethe_evict_at(&s->evict, slot);
    if (n->prev != before || n->queue != queue || n->refused || !(n->generation & 1))
      return "a chain is broken";
    if (++len > s->evict.len) return "a chain goes around";
    before = slot;
  }
  if (l->tail != before) return "a chain ends elsewhere";
  len = 0;
  for (uint32_t slot = 1; slot <= s->evict.high; slot++) {
    const struct lethe_evict_node *n = lethe_evict_at(&s->evict, slot);
    if (!(n->generation & 1) || n->queue != queue) continue;
    len++;
    used += n->size;
  }
  return len != l->len || used != l->used ? "a list is counted wrong" : NULL;
}

int script_lru_check(const struct script *s, char *why, size_t n) {
  const char *wrong = script_list_check(s, &s->lru, SCRIPT_LRU);
  if (wrong) snprintf(why, n, "lru: %s", wrong);
  return wrong ? LETHE_EBROKEN : LETHE_OK;
}

/* ---- admission ------------------------------------------------------------------------------- */

static bool expression_admits(struct script *s, const double *fields, bool *yes) {
  const char *why = NULL;
  double number;
  enum lethe_expr_kind kind = lethe_expr_run(s->admit, fields, &number, &why);
  *yes = kind == LETHE_EXPR_TRUE || kind == LETHE_EXPR_NUMBER;
  if (kind == LETHE_EXPR_ERROR) script_fail(s, "admit", "%s", why);
  return kind != LETHE_EXPR_ERROR;
}

/* What the script says; yes, if it fails. */
static bool script_says(struct script *s, const struct lethe_evict_request *r) {
  bool yes = true, ghost;
  double fields[LETHE_EVICT_FIELDS];
  struct script_node n = {.node.size = r->size,
                          .freq = s->first_freq,
                          .cost = r->cost,
                          .inserted = s->evict.now,
                          .last = s->evict.now};
  if (!s->ghosts || script_is_out(s)) return true;
  ghost_trim(&s->ghost, s->evict.len, INT64_MAX);
  ghost = ghost_has(&s->ghost, r->key);
  script_fields(s, &n, fields);
  fields[LETHE_EVICT_GHOST] = ghost;
  script_args(s, 2, (double[]){(double)r->size, ghost});
  if (s->admit) return !expression_admits(s, fields, &yes) || yes;
  if (s->config.admits(s->config.ud, (double)r->size, ghost, &yes) == LETHE_OK) return yes;
  script_fail(s, "admit", NULL);
  return true;
}

/* The script is asked about what is too large as well: it may keep ghost lists, and has looked. */
bool script_admit(struct lethe_evict *e, struct lethe_evict_request *r) {
  struct script *s = script_of(e);
  if (script_says(s, r) && r->size <= e->limit) return true;
  note_event(s, LETHE_EVICT_EVENT_REFUSE, 0, r->key);
  return false;
}

/* ---- entries --------------------------------------------------------------------------------- */

int script_insert(struct lethe_evict *e, uint32_t slot, const struct lethe_evict_request *r) {
  struct script *s = script_of(e);
  struct script_node *n = script_at(s, slot);
  n->freq = s->first_freq;
  n->cost = r->cost;
  n->inserted = n->last = e->now;
  note_event(s, LETHE_EVICT_EVENT_INSERT, lethe_evict_handle(e, slot), r->key);
  if (!script_is_out(s)) return s->form->insert(s, slot, r);
  s->form->lru_insert(s, slot);
  return LETHE_OK;
}

/* What decides sees when the access before was; a script that fails for the last time here leaves
 * the entry to lru, which has to hear of this access too. */
void script_hit(struct lethe_evict *e, uint32_t slot) {
  struct script *s = script_of(e);
  struct script_node *n = script_at(s, slot);
  bool was_out = script_is_out(s);
  n->freq++;
  note_event(s, LETHE_EVICT_EVENT_HIT, lethe_evict_handle(e, slot), n->node.key);
  if (!was_out) s->form->hit(s, slot);
  n->last = e->now;
  if (script_is_out(s)) s->form->hit(s, slot);
}

/* I1: no order of recency is kept as long as the script decides; it fails three times at most. */
static uint32_t least_recent(const struct script *s) {
  uint32_t best = 0;
  for (uint32_t slot = 1; slot <= s->evict.high; slot++)
    if (is_there(s, slot) && !script_at(s, slot)->node.refused && (!best || !newer(s, slot, best)))
      best = slot;
  return best;
}

uint32_t script_victim(struct lethe_evict *e, const struct lethe_evict_request *r) {
  struct script *s = script_of(e);
  uint32_t slot = 0;
  if (!s->owed || script_is_out(s)) slot = s->form->victim(s, r);
  return slot ? slot : least_recent(s);
}

void script_leave(struct lethe_evict *e, uint32_t slot, bool evicted) {
  struct script *s = script_of(e);
  const struct script_node *n = script_at(s, slot);
  note_event(s, evicted ? LETHE_EVICT_EVENT_EVICT : LETHE_EVICT_EVENT_REMOVE,
             lethe_evict_handle(e, slot), n->node.key);
  if (evicted) s->owed = false;
  /* Without memory the key is not remembered. */
  if (evicted && s->ghosts && !script_is_out(s))
    (void)ghost_add(&s->ghost, n->node.key, n->node.size);
  s->form->leave(s, slot, evicted);
}

void script_refuse(struct lethe_evict *e, uint32_t slot) {
  struct script *s = script_of(e);
  s->refused++;
  s->form->refuse(s, slot);
}

void script_offer(struct lethe_evict *e, uint32_t slot) {
  struct script *s = script_of(e);
  s->refused--;
  s->form->offer(s, slot);
}

/* ---- about one ------------------------------------------------------------------------------- */

static bool is_script(const struct lethe_evict *e) { return e->ops->hit == script_hit; }

struct lethe_evict_script *lethe_evict_script_of(struct lethe_evict *e) {
  return is_script(e) ? &script_of(e)->config : NULL;
}

unsigned lethe_evict_script_strikes(const struct lethe_evict *e) {
  return is_script(e) ? script_of((struct lethe_evict *)e)->strikes : 0;
}

const struct lethe_evict_failure *lethe_evict_script_failure(const struct lethe_evict *e,
                                                             unsigned i) {
  return &script_of((struct lethe_evict *)e)->failures[i];
}

struct lethe_evict_failure *lethe_evict_script_failing(struct lethe_evict *e) {
  struct script *s = script_of(e);
  unsigned i = s->strikes < LETHE_EVICT_STRIKES ? s->strikes : LETHE_EVICT_STRIKES - 1;
  return &s->failures[i];
}

unsigned lethe_evict_script_events(const struct lethe_evict *e, struct lethe_evict_event *out) {
  const struct script *s = script_of((struct lethe_evict *)e);
  unsigned n = s->events < LETHE_EVICT_EVENTS ? (unsigned)s->events : LETHE_EVICT_EVENTS;
  for (unsigned i = 0; i < n; i++) out[i] = s->ring[(s->events - n + i) % LETHE_EVICT_EVENTS];
  return n;
}

/* ---- succession ------------------------------------------------------------------------------ */

static void take_nodes(struct lethe_evict *e, struct lethe_evict *from) {
  struct script *s = script_of(e), *old = script_of(from);
  lethe_free(e->alloc, e->nodes, (size_t)e->room * e->stride);
  e->nodes = from->nodes;
  e->room = from->room;
  e->high = from->high;
  e->free = from->free;
  e->len = from->len;
  e->used = from->used;
  e->now = from->now;
  e->random = from->random;
  s->last_score = old->last_score;
  s->refused = old->refused;
  old->refused = 0;
  struct ghost ghost = s->ghost;
  s->ghost = old->ghost;
  old->ghost = ghost;
  if (!script_is_out(s)) {
    s->form->inherit(s, old);
  } else { /* it gets them back */
    s->lru = (struct list){0};
    s->form->take_over(s);
  }
  old->lru = (struct list){0};
  old->form->emptied(old);
  from->nodes = NULL;
  from->room = from->high = from->free = from->len = 0;
  from->used = 0;
}

int lethe_evict_script_inherit(struct lethe_evict *e, struct lethe_evict *from) {
  if (!is_script(e) || e->ops != from->ops || e->len || e == from) return LETHE_EINVAL;
  struct script *s = script_of(e), *old = script_of(from);
  int rc = e->ops->reserve ? e->ops->reserve(e, from->room) : LETHE_OK;
  if (rc == LETHE_OK) rc = s->form->prepare(s, old);
  if (rc == LETHE_OK) take_nodes(e, from);
  return rc;
}

void lethe_evict_script_give_back(struct lethe_evict *e, struct lethe_evict *to) {
  take_nodes(to, e);
}
