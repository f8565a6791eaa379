/* SPDX-License-Identifier: MIT
 * Scores: an expression or a callback gives each entry a number, and the lowest leaves first.
 *
 * One array holds all entries that are not refused. With a heap it is one, of four children: each
 * access scores its entry anew. With a sample its order says nothing: at eviction, N places are
 * drawn and scored; with cells, as many entries as are drawn out of these. Once lru has taken over
 * it is a heap in either case, in which all scores are 0, so that the last access decides; the
 * cells are empty then. */
#include <math.h>
#include <stdio.h>

#include "cells.h"
#include "script_internal.h"

enum { CHILDREN = 4, SAMPLES = 1024 };

struct scored {
  double score;
  uint64_t last;
  uint32_t slot;
};

struct score {
  struct script script;
  struct scored *heap; /* 1 .. n */
  size_t n, room;
  struct lethe_expr *expr;
  int (*call)(void *ud, const double *fields, double *score);
  unsigned sample; /* 0: a heap */
  bool in_cells;   /* the sample is drawn out of them */
  struct cells cells;
};

static struct score *score_of(struct script *s) {
  return lethe_container_of(s, struct score, script);
}

/* ---- the heap -------------------------------------------------------------------------------- */

static bool before(const struct scored *a, const struct scored *b) {
  return a->score != b->score ? a->score < b->score : a->last < b->last;
}

static void put(struct score *p, size_t i, const struct scored *item) {
  p->heap[i] = *item;
  script_at(&p->script, item->slot)->node.next = (uint32_t)i;
}

static size_t parent_of(size_t i) { return (i - 2) / CHILDREN + 1; }

static void sift_up(struct score *p, size_t i, struct scored item) {
  for (; i > 1 && before(&item, &p->heap[parent_of(i)]); i = parent_of(i))
    put(p, i, &p->heap[parent_of(i)]);
  put(p, i, &item);
}

static void sift_down(struct score *p, size_t i, struct scored item) {
  for (;;) {
    size_t first = (i - 1) * CHILDREN + 2, least = first;
    if (first > p->n) break;
    size_t last = first + CHILDREN - 1 < p->n ? first + CHILDREN - 1 : p->n;
    for (size_t c = first + 1; c <= last; c++)
      if (before(&p->heap[c], &p->heap[least])) least = c;
    if (!before(&p->heap[least], &item)) break;
    put(p, i, &p->heap[least]);
    i = least;
  }
  put(p, i, &item);
}

/* An item whose order may have changed, at a place whose item is of no concern. */
static void sift(struct score *p, size_t i, struct scored item) {
  if (i > 1 && before(&item, &p->heap[parent_of(i)]))
    sift_up(p, i, item);
  else
    sift_down(p, i, item);
}

static bool is_heap(const struct score *p) { return !p->sample || script_is_out(&p->script); }

static bool has_cells(const struct score *p) { return p->in_cells && !is_heap(p); }

/* There is room: reserve has seen to it. */
static void enter(struct score *p, uint32_t slot, double value, uint64_t last) {
  struct scored item = {value, last, slot};
  p->n++;
  if (has_cells(p)) cells_add(&p->cells, &p->script.evict, slot);
  if (is_heap(p))
    sift_up(p, p->n, item);
  else
    put(p, p->n, &item);
}

static void change(struct score *p, uint32_t slot, double value) {
  struct scored item = {value, p->script.evict.now, slot};
  size_t i = script_at(&p->script, slot)->node.next;
  if (is_heap(p))
    sift(p, i, item);
  else
    put(p, i, &item);
}

static void take_out(struct score *p, uint32_t slot) {
  size_t i = script_at(&p->script, slot)->node.next;
  struct scored last = p->heap[p->n--];
  if (has_cells(p)) cells_take(&p->cells, slot);
  if (i > p->n) return;
  if (is_heap(p))
    sift(p, i, last);
  else
    put(p, i, &last);
}

/* ---- scoring --------------------------------------------------------------------------------- */

enum { ARGS = LETHE_EVICT_L + 1 };

static bool by_expression(struct score *p, const double *fields, double *value) {
  const char *why = NULL;
  switch (lethe_expr_run(p->expr, fields, value, &why)) {
  case LETHE_EXPR_NUMBER:
    return true;
  case LETHE_EXPR_ERROR:
    break;
  default:
    why = "score must be a number";
  }
  script_args(&p->script, ARGS, fields);
  script_fail(&p->script, "score", "%s", why);
  return false;
}

static bool by_callback(struct score *p, const double *fields, double *value) {
  if (p->call(p->script.config.ud, fields, value) == LETHE_OK) return true;
  script_args(&p->script, ARGS, fields);
  script_fail(&p->script, "score", NULL);
  return false;
}

static bool score_of_fields(struct score *p, const double *fields, double *value) {
  bool ok = p->expr ? by_expression(p, fields, value) : by_callback(p, fields, value);
  if (!ok || !isnan(*value)) return ok;
  script_args(&p->script, ARGS, fields);
  script_fail(&p->script, "score", "score must be a number (got NaN)");
  return false;
}

/* The score of an entry now; false after a failure. */
static bool score_now(struct score *p, const struct script_node *n, double *value) {
  double fields[LETHE_EVICT_FIELDS];
  script_fields(&p->script, n, fields);
  return score_of_fields(p, fields, value);
}

/* An entry that could not be scored has the score of the last victim: neither kept for good nor the
 * first to go. */
static int insert(struct script *s, uint32_t slot, const struct lethe_evict_request *r) {
  struct score *p = score_of(s);
  const struct script_node *n = script_at(s, slot);
  double value = s->last_score;
  (void)r;
  if (!p->sample && !score_now(p, n, &value)) {
    if (script_is_out(s)) return LETHE_OK; /* and has its place */
    value = s->last_score;
  }
  enter(p, slot, value, n->last);
  return LETHE_OK;
}

static void hit(struct script *s, uint32_t slot) {
  struct score *p = score_of(s);
  const struct script_node *n = script_at(s, slot);
  double value = 0;
  if (p->sample || script_is_out(s))
    change(p, slot, 0);
  else if (score_now(p, n, &value))
    change(p, slot, value);
  else if (!script_is_out(s))
    change(p, slot, p->heap[n->node.next].score);
}

/* Built-in policies draw likewise: with the same seed they meet the same entries. */
static size_t draw(struct score *p) {
  struct lethe_evict *e = &p->script.evict;
  if (!p->in_cells) return 1 + (size_t)((lethe_evict_random(e) >> 32) * p->n >> 32);
  return script_at(&p->script, cells_draw(&p->cells, e))->node.next;
}

static uint32_t least_of_sample(struct script *s) {
  struct score *p = score_of(s);
  struct scored best = {0};
  for (unsigned i = 0; i < p->sample; i++) {
    struct scored *at = &p->heap[draw(p)];
    struct scored item = *at;
    if (!score_now(p, script_at(s, item.slot), &item.score)) return 0;
    at->score = item.score;
    if (!best.slot || before(&item, &best)) best = item;
  }
  return best.slot;
}

static uint32_t victim(struct script *s, const struct lethe_evict_request *r) {
  struct score *p = score_of(s);
  (void)r;
  if (p->n == 0) return 0;
  return is_heap(p) ? p->heap[1].slot : least_of_sample(s);
}

static void leave(struct script *s, uint32_t slot, bool evicted) {
  struct score *p = score_of(s);
  if (evicted) s->last_score = p->heap[script_at(s, slot)->node.next].score;
  take_out(p, slot);
}

static void refuse(struct script *s, uint32_t slot) {
  struct score *p = score_of(s);
  struct script_node *n = script_at(s, slot);
  n->score = p->heap[n->node.next].score;
  take_out(p, slot);
}

static void offer(struct script *s, uint32_t slot) {
  const struct script_node *n = script_at(s, slot);
  enter(score_of(s), slot, n->score, n->last);
}

/* ---- lru ------------------------------------------------------------------------------------- */

/* All that is there has a place, but for an entry that is being inserted. */
static void take_over(struct script *s) {
  struct score *p = score_of(s);
  p->n = 0;
  cells_clear(&p->cells);
  for (uint32_t slot = 1; slot <= s->evict.high; slot++) {
    struct script_node *n = script_at(s, slot);
    n->score = 0;
    if (n->node.generation & 1 && !n->node.refused) enter(p, slot, 0, n->last);
  }
}

static void lru_insert(struct script *s, uint32_t slot) {
  enter(score_of(s), slot, 0, script_at(s, slot)->last);
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* A heap's order, which is about that of its scores. */
static void each(struct lethe_evict *e, void (*fn)(void *ud, uint32_t slot), void *ud) {
  const struct score *p = score_of(script_of(e));
  for (size_t i = 1; i <= p->n; i++) fn(ud, p->heap[i].slot);
}

static void forget(struct lethe_evict *e) { script_forget(script_of(e)); }

static int check(const struct lethe_evict *e, char *why, size_t n) {
  const struct score *p = score_of(script_of((struct lethe_evict *)e));
  const char *wrong = NULL;
  size_t there = 0;
  for (uint32_t slot = 1; slot <= e->high; slot++) {
    const struct lethe_evict_node *node = lethe_evict_at(e, slot);
    if (!(node->generation & 1) || node->refused) continue;
    there++;
    if (node->next == 0 || node->next > p->n || p->heap[node->next].slot != slot)
      wrong = "an entry is not where it says";
  }
  if (there != p->n) wrong = "there are more or fewer places than entries";
  for (size_t i = 2; i <= p->n && is_heap(p); i++)
    if (before(&p->heap[i], &p->heap[parent_of(i)])) wrong = "the heap is out of order";
  if (!cells_check(&p->cells, e, &there) || (there != p->n && has_cells(p)) ||
      (there && !has_cells(p)))
    wrong = "the cells are out of order";
  if (wrong) snprintf(why, n, "score: %s", wrong);
  return wrong ? LETHE_EBROKEN : LETHE_OK;
}

/* ---- succession ------------------------------------------------------------------------------ */

/* Callbacks cannot be compared: what replaces one is taken for its newer version. */
static bool keeps_scores(const struct score *p, const struct score *from) {
  return !p->sample && !from->sample && !script_is_out(&from->script) &&
         lethe_expr_same(p->expr, from->expr);
}

/* Where scores differ they are computed first, to be seen to go well: nothing has changed until
 * then. */
static int prepare(struct script *s, struct script *from) {
  struct score *p = score_of(s), *old = score_of(from);
  bool keep = p->sample || keeps_scores(p, old);
  for (size_t i = 1; i <= old->n; i++) {
    struct script_node *n = script_at(from, old->heap[i].slot);
    double fields[LETHE_EVICT_FIELDS];
    n->score = old->heap[i].score;
    if (keep) continue;
    script_fields(from, n, fields);
    if (!score_of_fields(p, fields, &n->score)) return LETHE_EPOLICY;
  }
  return LETHE_OK;
}

/* Of the same nodes the same cells: what was drawn from goes on as it was. */
static void inherit(struct script *s, struct script *from) {
  struct score *p = score_of(s), *old = score_of(from);
  bool swap = has_cells(p) && has_cells(old);
  if (swap) {
    struct cells cells = p->cells;
    p->cells = old->cells;
    old->cells = cells;
  }
  for (size_t i = 1; i <= old->n; i++) {
    const struct script_node *n = script_at(s, old->heap[i].slot);
    struct scored item = {n->score, n->last, old->heap[i].slot};
    if (swap)
      put(p, ++p->n, &item);
    else
      enter(p, item.slot, item.score, item.last);
  }
}

static void emptied(struct script *s) {
  score_of(s)->n = 0;
  cells_clear(&score_of(s)->cells);
}

/* ---- making one ------------------------------------------------------------------------------ */

static const struct script_form form = {.insert = insert,
                                        .hit = hit,
                                        .victim = victim,
                                        .leave = leave,
                                        .refuse = refuse,
                                        .offer = offer,
                                        .take_over = take_over,
                                        .lru_insert = lru_insert,
                                        .prepare = prepare,
                                        .inherit = inherit,
                                        .emptied = emptied};

static void destroy(struct lethe_evict *e) {
  struct score *p = score_of(script_of(e));
  script_destroy(e);
  lethe_expr_delete(p->expr);
  lethe_free(e->alloc, p->heap, p->room * sizeof *p->heap);
  cells_destroy(&p->cells, e);
}

static int init(struct lethe_evict *e, void *arg) {
  const struct script_making *m = arg;
  const struct lethe_evict_score *config = m->config;
  struct score *p = score_of(script_of(e));
  p->sample = config->sample < SAMPLES ? config->sample : SAMPLES;
  p->in_cells = config->cells && p->sample;
  p->call = config->score;
  int rc = LETHE_OK;
  if (config->text)
    rc = lethe_expr_compile(&p->expr, e->alloc, config->text, script_field_names(false), m->why,
                            m->n);
  if (rc != LETHE_OK) return rc;
  rc = script_init(&p->script, &form, &config->script, m->why, m->n);
  if (rc != LETHE_OK) lethe_expr_delete(p->expr);
  return rc;
}

static int reserve(struct lethe_evict *e, uint32_t room) {
  struct score *p = score_of(script_of(e));
  void *heap = p->heap;
  int rc = lethe_grow(e->alloc, &heap, &p->room, (size_t)room + 1, sizeof *p->heap);
  p->heap = heap;
  return rc == LETHE_OK && p->in_cells ? cells_reserve(&p->cells, e, room) : rc;
}

static const struct lethe_evict_ops ops = {
    SCRIPT_OPS,         .name = "score",    .size = sizeof(struct score), .init = init,
    .destroy = destroy, .reserve = reserve, .admit = script_admit,        .forget = forget,
    .each = each,       .check = check};

int lethe_evict_new_score(struct lethe_evict **out, const struct lethe_alloc *a,
                          const struct lethe_evict_score *config, int64_t limit, uint64_t seed,
                          char *why, size_t n) {
  struct script_making m = {config, why, n};
  return lethe_evict_new_with(out, a, &ops, &m, limit, seed);
}
