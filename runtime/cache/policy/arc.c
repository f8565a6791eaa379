/* SPDX-License-Identifier: MIT
 * arc, the adaptive replacement cache (Megiddo and Modha, FAST 2003), for entries that have sizes.
 *
 * T1 holds what was asked for once, T2 what was asked for again, both LRU; B1 and B2 remember the
 * keys of what left each. A miss that B1 knows says that T1 should have been larger, one that B2
 * knows the opposite: p, the share that T1 should have, moves by how much longer the other list is,
 * and by one at least. A victim comes from T1 if that is above p, else from T2. T1 with B1 has at
 * most the limit, all four twice that. */
#include "builtin.h"
#include "ghost.h"
#include "order.h"

enum { T1, T2 };
enum { IN_B1 = 1, IN_B2 = 2 }; /* request.found */

struct arc {
  struct queued q;
  struct ghost b[2];
  double p;
  uint32_t victim;        /* the last proposal, */
  struct ghost *gives_up; /* whose oldest key is forgotten when it leaves, */
  bool forgets;           /* and its own as well */
};

static struct arc *arc_of(struct lethe_evict *e) { return (struct arc *)(void *)e; }

static int init(struct lethe_evict *e, void *arg) {
  (void)arg;
  ghost_init(&arc_of(e)->b[T1], e->alloc);
  ghost_init(&arc_of(e)->b[T2], e->alloc);
  return LETHE_OK;
}

static void destroy(struct lethe_evict *e) {
  ghost_destroy(&arc_of(e)->b[T1]);
  ghost_destroy(&arc_of(e)->b[T2]);
}

static double step(const struct ghost *other, const struct ghost *this) {
  double delta = (double)other->used / (double)this->used;
  return delta > 1 ? delta : 1;
}

static bool admit(struct lethe_evict *e, struct lethe_evict_request *r) {
  struct arc *a = arc_of(e);
  struct ghost *b1 = &a->b[T1], *b2 = &a->b[T2];
  if (ghost_has(b1, r->key)) {
    double p = a->p + step(b2, b1);
    a->p = p < (double)e->limit ? p : (double)e->limit;
    ghost_take(b1, r->key);
    r->found = IN_B1;
  } else if (ghost_has(b2, r->key)) {
    double p = a->p - step(b1, b2);
    a->p = p > 0 ? p : 0;
    ghost_take(b2, r->key);
    r->found = IN_B2;
  }
  return r->size <= e->limit;
}

static int insert(struct lethe_evict *e, uint32_t slot, const struct lethe_evict_request *r) {
  list_push(e, r->found ? T2 : T1, slot);
  return LETHE_OK;
}

static void hit(struct lethe_evict *e, uint32_t slot) { list_move(e, T2, slot); }

/* The paper's REPLACE. */
static uint32_t replace(struct lethe_evict *e, uint64_t found) {
  const struct list *t1 = list_at(e, T1);
  uint32_t second = list_at(e, T2)->tail;
  double p = arc_of(e)->p, used = (double)t1->used;
  if (!second || (t1->tail && (used > p || (found == IN_B2 && used == p)))) return t1->tail;
  return second;
}

/* The paper's case IV, a key that nothing is known of: what history is given up for it, and whether
 * its victim is remembered. It comes to pass when the victim leaves. */
static void plan(struct lethe_evict *e, const struct lethe_evict_request *r) {
  struct arc *a = arc_of(e);
  const struct ghost *b1 = &a->b[T1], *b2 = &a->b[T2];
  int64_t l1 = list_at(e, T1)->used + b1->used;
  a->gives_up = NULL;
  a->forgets = false;
  if (!r || r->found) return;
  if (l1 > e->limit - r->size) {
    if (b1->len) a->gives_up = &a->b[T1];
    a->forgets = !b1->len;
  } else if (b2->len && list_at(e, T2)->used + b2->used - e->limit >= e->limit - l1) {
    a->gives_up = &a->b[T2];
  }
}

static uint32_t victim(struct lethe_evict *e, const struct lethe_evict_request *r) {
  struct arc *a = arc_of(e);
  plan(e, r);
  a->victim =
      a->forgets && list_at(e, T1)->tail ? list_at(e, T1)->tail : replace(e, r ? r->found : 0);
  return a->victim;
}

static void leave(struct lethe_evict *e, uint32_t slot, bool evicted) {
  struct arc *a = arc_of(e);
  const struct lethe_evict_node *n = lethe_evict_at(e, slot);
  bool planned = evicted && slot == a->victim;
  if (planned && a->gives_up) ghost_trim(a->gives_up, a->gives_up->len - 1, INT64_MAX);
  if (evicted && !(planned && a->forgets)) ghost_add(&a->b[n->queue], n->key, n->size);
  if (slot == a->victim) a->victim = 0;
  list_remove(e, slot);
}

/* The history is bounded as the paper bounds it. */
static void resize(struct lethe_evict *e) {
  struct arc *a = arc_of(e);
  if (a->p > (double)e->limit) a->p = (double)e->limit;
  ghost_trim(&a->b[T1], SIZE_MAX, e->limit);
  ghost_trim(&a->b[T2], SIZE_MAX, e->limit);
}

static void forget(struct lethe_evict *e) {
  ghost_trim(&arc_of(e)->b[T1], 0, 0);
  ghost_trim(&arc_of(e)->b[T2], 0, 0);
  arc_of(e)->p = 0;
}

const struct lethe_evict_ops evict_arc = {.name = "arc",
                                          .size = sizeof(struct arc),
                                          .node = sizeof(struct lethe_evict_node),
                                          .init = init,
                                          .destroy = destroy,
                                          .admit = admit,
                                          .insert = insert,
                                          .hit = hit,
                                          .victim = victim,
                                          .leave = leave,
                                          .resize = resize,
                                          .forget = forget,
                                          QUEUED_OPS};
