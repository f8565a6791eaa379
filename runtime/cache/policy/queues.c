/* SPDX-License-Identifier: MIT
 * Declared queues: the order that compiled rules keep.
 *
 * A queue's share is floor(share * limit); where the shares make 1, the largest has what the others
 * leave. Eviction asks one queue, entry by entry from its back, until its rule drops one; entries
 * that move or are reinserted go to a front. A rule that never drops is stopped after STEPS entries
 * for each one that is there. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "rules_internal.h"
#include "script_internal.h"

enum { STEPS = 8, MORE_STEPS = 64 };

/* The queue of those that on_hit dropped: they leave before all others. */
enum { DROPPED = LETHE_EVICT_QUEUES };

enum { NAME = 64 };

struct declared {
  char name[NAME];
  struct list list;
  double share, ghost_share;
  int64_t size, ghost_size;
  struct ghost ghost;
};

struct queues {
  struct script script;
  struct rules *rules;
  unsigned count;
  unsigned order[LETHE_EVICT_QUEUES]; /* the smallest share first */
  bool whole;                         /* the shares make 1 */
  struct declared queue[LETHE_EVICT_QUEUES + 1];
};

static struct queues *queues_of(struct script *s) {
  return lethe_container_of(s, struct queues, script);
}

/* ---- queues ---------------------------------------------------------------------------------- */

static void push(struct queues *p, unsigned q, uint32_t slot) {
  script_push(&p->script, &p->queue[q].list, slot);
  script_at(&p->script, slot)->node.queue = (uint8_t)q;
}

/* Whether there are some that were dropped, and are not refused. */
static void note_dropped(struct queues *p) {
  p->script.evict.dropped = p->queue[DROPPED].list.tail != 0;
}

static unsigned home_of(const struct queues *p, uint32_t slot) {
  return script_at(&p->script, slot)->node.queue;
}

/* Where it stands, also once lru has all. */
static struct list *place_of(struct script *s, uint32_t slot) {
  struct queues *p = queues_of(s);
  return script_is_out(s) ? &s->lru : &p->queue[home_of(p, slot)].list;
}

static void resize(struct lethe_evict *e) {
  struct queues *p = queues_of(script_of(e));
  int64_t left = e->limit;
  for (unsigned i = 0; i < p->count; i++) {
    struct declared *d = &p->queue[p->order[i]];
    d->size = (int64_t)floor(d->share * (double)e->limit);
    if (p->whole && i + 1 == p->count) d->size = left;
    left -= d->size;
    d->ghost_size = (int64_t)floor(d->ghost_share * (double)e->limit);
    ghost_trim(&d->ghost, SIZE_MAX, d->ghost_size);
  }
}

/* Whose entry should go: the largest queue if it is over its share or the others are empty, else
 * the smallest that has one. count: nobody has one. */
static unsigned asked(const struct queues *p) {
  unsigned largest = p->order[p->count - 1], i = 0;
  const struct declared *d = &p->queue[largest];
  if (d->list.used > d->size && d->list.tail) return largest;
  while (i < p->count && !p->queue[p->order[i]].list.tail) i++;
  return i < p->count ? p->order[i] : p->count;
}

/* ---- rules ----------------------------------------------------------------------------------- */

/* The step that decides about an entry, or NULL after a failure of `call`. */
static const struct rule_step *decide(struct queues *p, const struct rule *rule, const char *call,
                                      uint32_t slot, bool ghost) {
  double fields[LETHE_EVICT_FIELDS];
  const char *why = NULL;
  script_fields(&p->script, script_at(&p->script, slot), fields);
  fields[LETHE_EVICT_GHOST] = ghost;
  const struct rule_step *step = rules_decide(rule, fields, &why);
  if (step) return step;
  script_args(&p->script, LETHE_EVICT_L, fields);
  script_fail(&p->script, call, "%s", why);
  return NULL;
}

static bool set_freq(struct queues *p, const struct rule_step *step, const char *call,
                     uint32_t slot) {
  double fields[LETHE_EVICT_FIELDS], freq = NAN;
  const char *why = "freq must be a number";
  struct script_node *n = script_at(&p->script, slot);
  if (!step->expr) return true;
  script_fields(&p->script, n, fields);
  if (lethe_expr_run(step->expr, fields, &freq, &why) == LETHE_EXPR_NUMBER && !isnan(freq)) {
    n->freq = freq;
    return true;
  }
  script_args(&p->script, LETHE_EVICT_L, fields);
  script_fail(&p->script, call, "%s", why);
  return false;
}

/* Moves or reinserts it; false after a failure. */
static bool act(struct queues *p, const struct rule_step *step, const char *call, uint32_t slot) {
  unsigned to = step->kind == RULE_MOVE ? step->queue : home_of(p, slot);
  if (!set_freq(p, step, call, slot)) return false;
  script_take(&p->script, place_of(&p->script, slot), slot);
  push(p, to, slot);
  return true;
}

/* ---- what a cache does ----------------------------------------------------------------------- */

/* The key leaves the ghost list as soon as it is looked up. */
/* Looking a key up takes it out of the ghost lists, also where it is then refused. */
static bool admit(struct lethe_evict *e, struct lethe_evict_request *r) {
  struct queues *p = queues_of(script_of(e));
  for (unsigned q = 0; q < p->count; q++)
    if (ghost_take(&p->queue[q].ghost, r->key)) r->found = 1;
  return script_admit(e, r);
}

static int insert(struct script *s, uint32_t slot, const struct lethe_evict_request *r) {
  struct queues *p = queues_of(s);
  const struct rule_step *step = NULL;
  if (p->rules->insert.steps) {
    step = decide(p, &p->rules->insert, "insert", slot, r->found != 0);
    if (script_is_out(s)) return LETHE_OK; /* lru has it */
    if (step && step->kind == RULE_NONE) return LETHE_ELIMIT;
  }
  push(p, step ? step->queue : p->order[0], slot);
  return LETHE_OK;
}

static void drop(struct queues *p, const struct rule_step *step, uint32_t slot) {
  struct script_node *n = script_at(&p->script, slot);
  n->ghost = step->ghost;
  n->home = n->node.queue;
  script_take(&p->script, place_of(&p->script, slot), slot);
  push(p, DROPPED, slot);
  note_dropped(p);
}

static void hit(struct script *s, uint32_t slot) {
  struct queues *p = queues_of(s);
  if (script_is_out(s)) {
    list_to_head(&s->evict, &s->lru, slot);
    return;
  }
  if (home_of(p, slot) == DROPPED) return;
  const struct rule *rule = &p->rules->on_hit[home_of(p, slot)];
  if (!rule->steps) return;
  const struct rule_step *step = decide(p, rule, "on_hit", slot, false);
  if (!step || step->kind == RULE_NONE) return;
  if (step->kind == RULE_DROP)
    drop(p, step, slot);
  else
    act(p, step, "on_hit", slot);
}

/* True if the entry is to go; *failed, or it has moved. */
static bool drops(struct queues *p, uint32_t slot, bool *failed) {
  const struct rule *rule = &p->rules->on_evict[home_of(p, slot)];
  struct script_node *n = script_at(&p->script, slot);
  n->ghost = false;
  if (!rule->steps) return true;
  const struct rule_step *step = decide(p, rule, "on_evict", slot, false);
  *failed = !step;
  if (step && (step->kind == RULE_DROP || step->kind == RULE_NONE)) {
    n->ghost = step->ghost;
    return true;
  }
  if (step) *failed = !act(p, step, "on_evict", slot);
  return false;
}

static uint32_t victim(struct script *s, const struct lethe_evict_request *r) {
  struct queues *p = queues_of(s);
  int64_t budget = (int64_t)STEPS * s->evict.len + MORE_STEPS, spent = 0;
  bool failed = false;
  (void)r;
  if (script_is_out(s)) return s->lru.tail;
  if (p->queue[DROPPED].list.tail) return p->queue[DROPPED].list.tail;
  unsigned q = asked(p);
  for (; q < p->count && spent < budget; spent++) {
    uint32_t slot = p->queue[q].list.tail;
    if (!slot) {
      q = asked(p);
      continue;
    }
    if (drops(p, slot, &failed)) return slot;
    if (failed) return 0;
  }
  if (q == p->count) return 0;
  struct lethe_evict_failure *f = lethe_evict_script_failing(&s->evict);
  f->spent = spent;
  f->budget = budget;
  script_args(s, 0, NULL);
  script_fail(s, "on_evict", "the rules dropped nothing in %lld steps", (long long)spent);
  return 0;
}

static void leave(struct script *s, uint32_t slot, bool evicted) {
  struct queues *p = queues_of(s);
  const struct script_node *n = script_at(s, slot);
  unsigned home = home_of(p, slot) == DROPPED ? n->home : home_of(p, slot);
  script_take(s, place_of(s, slot), slot);
  if (script_is_out(s)) return;
  note_dropped(p);
  if (!evicted || !n->ghost) return;
  struct declared *d = &p->queue[home];
  if (n->node.size > d->ghost_size) return;
  /* Without memory the key is not remembered. */
  if (ghost_add(&d->ghost, n->node.key, n->node.size) == LETHE_OK)
    ghost_trim(&d->ghost, SIZE_MAX, d->ghost_size);
}

static void refuse(struct script *s, uint32_t slot) {
  list_unlink(&s->evict, place_of(s, slot), slot);
  if (!script_is_out(s)) note_dropped(queues_of(s));
}

static void offer(struct script *s, uint32_t slot) {
  list_link_tail(&s->evict, place_of(s, slot), slot);
  if (!script_is_out(s)) note_dropped(queues_of(s));
}

static bool full(struct lethe_evict *e, const struct lethe_evict_request *r) {
  (void)r;
  return e->dropped;
}

static void weigh(struct lethe_evict *e, uint32_t slot, int64_t by) {
  place_of(script_of(e), slot)->used += by;
}

static void each(struct lethe_evict *e, void (*fn)(void *ud, uint32_t slot), void *ud) {
  struct queues *p = queues_of(script_of(e));
  script_list_each(&p->script, &p->script.lru, fn, ud);
  if (!script_is_out(&p->script)) script_list_each(&p->script, &p->queue[DROPPED].list, fn, ud);
  for (unsigned i = 0; i < p->count && !script_is_out(&p->script); i++)
    script_list_each(&p->script, &p->queue[p->order[i]].list, fn, ud);
}

static void forget(struct lethe_evict *e) {
  struct queues *p = queues_of(script_of(e));
  script_forget(&p->script);
  for (unsigned q = 0; q < p->count; q++) ghost_trim(&p->queue[q].ghost, 0, 0);
}

static int check(const struct lethe_evict *e, char *why, size_t n) {
  const struct queues *p = queues_of(script_of((struct lethe_evict *)e));
  if (script_is_out(&p->script)) return script_lru_check(&p->script, why, n);
  for (unsigned q = 0; q <= DROPPED; q = q + 1 == p->count ? DROPPED : q + 1) {
    const char *wrong = script_list_check(&p->script, &p->queue[q].list, (uint8_t)q);
    if (q == DROPPED && e->dropped != (p->queue[q].list.tail != 0)) wrong = "dropped is wrong";
    if (!wrong) continue;
    snprintf(why, n, "queue %u: %s", q, wrong);
    return LETHE_EBROKEN;
  }
  return LETHE_OK;
}

/* ---- succession ------------------------------------------------------------------------------ */

static int prepare(struct script *s, struct script *from) {
  (void)s, (void)from;
  return LETHE_OK;
}

/* The queue of that name; of a name that is no more, the smallest. */
static unsigned successor(const struct queues *p, const char *name) {
  for (unsigned q = 0; q < p->count; q++)
    if (strcmp(p->queue[q].name, name) == 0) return q;
  return p->order[0];
}

/* All of a list behind what stands in the queue already. */
static void take_list(struct queues *p, unsigned q, struct list *l, uint8_t queue) {
  struct script *s = &p->script;
  struct declared *d = &p->queue[q];
  for (uint32_t slot = l->head, next; slot; slot = next) {
    next = lethe_evict_at(&s->evict, slot)->next;
    list_link_tail(&s->evict, &d->list, slot);
  }
  for (uint32_t slot = 1; slot <= s->evict.high; slot++) {
    struct script_node *n = script_at(s, slot);
    if (!(n->node.generation & 1) || n->node.queue != queue || n->given) continue;
    n->node.queue = (uint8_t)q;
    n->given = 1; /* moved already: numbers of the old and the new are alike */
  }
  d->list.len += l->len;
  d->list.used += l->used;
}

/* Those that are to leave, with the queues where they were. */
static void take_dropped(struct queues *p, struct queues *old) {
  struct lethe_evict *e = &p->script.evict;
  for (uint32_t slot = 1; slot <= e->high; slot++) {
    struct script_node *n = script_at(&p->script, slot);
    if (n->node.generation & 1 && n->node.queue == DROPPED)
      n->home = (uint8_t)successor(p, old->queue[n->home].name);
  }
  take_list(p, DROPPED, &old->queue[DROPPED].list, DROPPED);
  note_dropped(p);
}

static void inherit(struct script *s, struct script *from) {
  struct queues *p = queues_of(s), *old = queues_of(from);
  for (uint32_t slot = 1; slot <= s->evict.high; slot++) script_at(s, slot)->given = 0;
  if (script_is_out(from)) take_list(p, p->order[0], &from->lru, SCRIPT_LRU);
  for (unsigned i = 0; i < old->count && !script_is_out(from); i++) {
    unsigned q = successor(p, old->queue[i].name);
    struct ghost *ghost = &p->queue[q].ghost;
    take_list(p, q, &old->queue[i].list, (uint8_t)i);
    if (ghost->len) continue;
    struct ghost empty = *ghost;
    *ghost = old->queue[i].ghost;
    old->queue[i].ghost = empty;
  }
  if (!script_is_out(from)) take_dropped(p, old);
  resize(&s->evict);
}

static void emptied(struct script *s) {
  struct queues *p = queues_of(s);
  for (unsigned q = 0; q < p->count; q++) p->queue[q].list = (struct list){0};
  p->queue[DROPPED].list = (struct list){0};
  note_dropped(p);
}

/* ---- making one ------------------------------------------------------------------------------ */

static const struct script_form form = {.insert = insert,
                                        .hit = hit,
                                        .victim = victim,
                                        .leave = leave,
                                        .refuse = refuse,
                                        .offer = offer,
                                        .take_over = script_take_over,
                                        .lru_insert = script_lru_insert,
                                        .prepare = prepare,
                                        .inherit = inherit,
                                        .emptied = emptied};

static void destroy(struct lethe_evict *e) {
  struct queues *p = queues_of(script_of(e));
  script_destroy(e);
  rules_delete(p->rules);
  for (unsigned q = 0; q < p->count; q++) ghost_destroy(&p->queue[q].ghost);
}

/* Orders the queues by their shares, equal ones as they were declared. */
static void declare(struct queues *p, const struct lethe_evict_queues *config) {
  double sum = 0;
  p->count = config->count;
  for (unsigned q = 0; q < p->count; q++) {
    struct declared *d = &p->queue[q];
    snprintf(d->name, sizeof d->name, "%s", config->queue[q].name);
    d->share = config->queue[q].share;
    d->ghost_share = config->queue[q].ghost;
    ghost_init(&d->ghost, p->script.evict.alloc);
    sum += d->share;
    unsigned i = q;
    for (; i > 0 && p->queue[p->order[i - 1]].share > d->share; i--) p->order[i] = p->order[i - 1];
    p->order[i] = q;
  }
  p->whole = fabs(sum - 1) < 1e-9;
}

static int init(struct lethe_evict *e, void *arg) {
  const struct script_making *m = arg;
  const struct lethe_evict_queues *config = m->config;
  struct queues *p = queues_of(script_of(e));
  int rc = rules_compile(&p->rules, e->alloc, config, m->why, m->n);
  if (rc != LETHE_OK) return rc;
  rc = script_init(&p->script, &form, &config->script, m->why, m->n);
  if (rc != LETHE_OK) {
    rules_delete(p->rules);
    return rc;
  }
  p->script.first_freq = 0;
  declare(p, config);
  resize(e);
  return LETHE_OK;
}

static const struct lethe_evict_ops ops = {
    SCRIPT_OPS,     .name = "queues",   .size = sizeof(struct queues),
    .init = init,   .destroy = destroy, .admit = admit,
    .weigh = weigh, .resize = resize,   .forget = forget,
    .full = full,   .each = each,       .check = check};

int lethe_evict_new_queues(struct lethe_evict **out, const struct lethe_alloc *a,
                           const struct lethe_evict_queues *config, int64_t limit, uint64_t seed,
                           char *why, size_t n) {
  struct script_making m = {config, why, n};
  return lethe_evict_new_with(out, a, &ops, &m, limit, seed);
}
