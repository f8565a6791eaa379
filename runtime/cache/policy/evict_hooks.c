/* SPDX-License-Identifier: MIT
 * Hook policies: what the cache tells them, and who of those that they name is a victim. */
#include <stdio.h>
#include <string.h>

#include "hooks_internal.h"

enum { MAIN = 0 };

/* ---- what a cache does ----------------------------------------------------------------------- */

static int insert(struct script *s, uint32_t slot, const struct lethe_evict_request *r) {
  struct hooks *p = hooks_of(s);
  uint64_t h = lethe_evict_handle(&s->evict, slot);
  p->proposals = 0;
  p->request = r;
  if (!p->config.insert) {
    hooks_place(p, slot, MAIN, true);
  } else if (p->config.insert(s->config.ud, h) != LETHE_OK) {
    script_args(s, 1, (double[]){(double)h});
    script_fail(s, "on_insert", NULL);
  }
  p->request = NULL;
  return LETHE_OK;
}

static void hit(struct script *s, uint32_t slot) {
  struct hooks *p = hooks_of(s);
  uint64_t h = lethe_evict_handle(&s->evict, slot);
  bool crowded = false;
  if (script_is_out(s)) {
    list_to_head(&s->evict, &s->lru, slot);
  } else if (!p->config.hit) {
    hooks_place(p, slot, MAIN, true);
  } else if (p->config.hit(s->config.ud, h, &crowded) != LETHE_OK) {
    script_args(s, 1, (double[]){(double)h});
    script_fail(s, "on_hit", NULL);
  } else if (crowded && p->config.full) {
    s->evict.surplus = true;
  }
}

static bool admit(struct lethe_evict *e, struct lethe_evict_request *r) {
  struct hooks *p = hooks_of(script_of(e));
  p->request = p->admitting = r;
  bool yes = script_admit(e, r);
  p->request = p->admitting = NULL;
  return yes;
}

static bool full(struct lethe_evict *e, const struct lethe_evict_request *r) {
  struct script *s = script_of(e);
  struct hooks *p = hooks_of(s);
  bool yes = false;
  if (p->config.full && !script_is_out(s)) {
    p->request = r;
    script_args(s, 0, NULL);
    if (p->config.full(s->config.ud, &yes) != LETHE_OK) {
      yes = false;
      script_fail(s, "full", NULL);
    }
    p->request = NULL;
  }
  if (!yes) e->surplus = false;
  return yes;
}

/* It is in its queue until the hook has heard of it. */
static void leave(struct script *s, uint32_t slot, bool evicted) {
  struct hooks *p = hooks_of(s);
  uint64_t h = lethe_evict_handle(&s->evict, slot);
  (void)evicted;
  if (!script_is_out(s) && p->config.remove && p->config.remove(s->config.ud, h) != LETHE_OK) {
    script_args(s, 1, (double[]){(double)h});
    script_fail(s, "on_remove", NULL);
  }
  struct list *l = hooks_list(p, slot);
  if (l) script_take(s, l, slot);
}

static void refuse(struct script *s, uint32_t slot) {
  struct hooks *p = hooks_of(s);
  struct list *l = hooks_list(p, slot);
  if (l) list_unlink(&s->evict, l, slot);
}

static void offer(struct script *s, uint32_t slot) {
  struct hooks *p = hooks_of(s);
  struct list *l = hooks_list(p, slot);
  if (l) list_link_tail(&s->evict, l, slot);
}

static void weigh(struct lethe_evict *e, uint32_t slot, int64_t by) {
  struct list *l = hooks_list(hooks_of(script_of(e)), slot);
  if (l) l->used += by;
}

/* ---- victims --------------------------------------------------------------------------------- */

/* How many entries of average size make room for the request. */
static unsigned wanted(const struct lethe_evict *e, const struct lethe_evict_request *r) {
  if (e->used == e->limit && e->used >= e->len && r && r->size == 1)
    return 1; /* as nearly always */
  double need = (double)e->used + (r ? (double)r->size : 0) - (double)e->limit;
  double all = need * e->len, used = (double)e->used;
  if (all <= used) return 1;
  return all >= LETHE_EVICT_VICTIMS * used ? LETHE_EVICT_VICTIMS : (unsigned)(all / used);
}

/* What is wrong with what on_evict returned, or NULL. */
static const char *wrong(struct hooks *p, unsigned want, char *why, size_t size) {
  struct script *s = &p->script;
  p->calls++;
  if (p->proposals == 0) return "on_evict returned no victim";
  if (p->proposals > want) {
    snprintf(why, size, "on_evict returned %u victims where %u were wanted", p->proposals, want);
    return why;
  }
  for (unsigned i = 0; i < p->proposals; i++) {
    uint64_t h = p->proposal[i];
    struct lethe_evict_node *n = lethe_evict_get(&s->evict, h);
    if (!n) {
      lethe_evict_hooks_fault(&s->evict, h, why, size);
      return why;
    }
    if (((struct script_node *)n)->given == p->calls) return "on_evict returned a handle twice";
    ((struct script_node *)n)->given = p->calls;
  }
  return NULL;
}

/* The first proposal that can go, or 0. */
static uint32_t next_proposal(const struct hooks *p) {
  for (unsigned i = 0; i < p->proposals; i++) {
    const struct lethe_evict_node *n = lethe_evict_get(&p->script.evict, p->proposal[i]);
    if (n && !n->refused) return (uint32_t)p->proposal[i];
  }
  return 0;
}

/* `what` is wrong with what it returned, or it has failed. */
static void strike(struct hooks *p, unsigned want, const char *what) {
  struct script *s = &p->script;
  p->proposals = 0;
  script_args(s, 1, (double[]){want});
  if (what) {
    lethe_evict_script_failing(&s->evict)->trace[0] = '\0';
    script_fail(s, "on_evict", "%s", what);
  } else {
    script_fail(s, "on_evict", NULL);
  }
}

static void ask(struct hooks *p, unsigned want) {
  struct script *s = &p->script;
  char why[120];
  p->asked_at = s->evict.now;
  p->proposals = 0;
  int rc = p->config.evict(s->config.ud, want, p->proposal, &p->proposals);
  const char *what = rc == LETHE_OK ? wrong(p, want, why, sizeof why) : NULL;
  if (rc != LETHE_OK || what) strike(p, want, what);
}

/* What was proposed serves until the next access; a handle that the cache refused is no fault of
 * who named it. */
static uint32_t victim(struct script *s, const struct lethe_evict_request *r) {
  struct hooks *p = hooks_of(s);
  if (script_is_out(s)) return s->lru.tail;
  if (s->refused == s->evict.len) return 0;
  if (!p->config.evict) return p->queue[MAIN].list.tail;
  uint32_t slot = p->asked_at == s->evict.now ? next_proposal(p) : 0;
  if (slot) return slot;
  p->request = r;
  ask(p, wanted(&s->evict, r));
  p->request = NULL;
  return next_proposal(p);
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
                                        .prepare = hooks_prepare,
                                        .inherit = hooks_inherit,
                                        .emptied = hooks_emptied};

static void destroy(struct lethe_evict *e) {
  struct hooks *p = hooks_of(script_of(e));
  script_destroy(e);
  hooks_end(p);
}

static int init(struct lethe_evict *e, void *arg) {
  const struct script_making *m = arg;
  const struct lethe_evict_hooks *config = m->config;
  struct hooks *p = hooks_of(script_of(e));
  unsigned index;
  int rc = script_init(&p->script, &form, &config->script, m->why, m->n);
  if (rc != LETHE_OK) return rc;
  p->config = *config;
  rc = lethe_evict_hooks_queue(e, "main", &index);
  if (rc != LETHE_OK) {
    p->script.config.end = NULL;
    destroy(e);
  }
  return rc;
}

static void forget(struct lethe_evict *e) {
  script_forget(script_of(e));
  hooks_forget(hooks_of(script_of(e)));
}

static int check(const struct lethe_evict *e, char *why, size_t n) {
  const struct hooks *p = hooks_of(script_of((struct lethe_evict *)e));
  if (script_is_out(&p->script)) return script_lru_check(&p->script, why, n);
  for (size_t q = 0; q < p->queues; q++) {
    const char *wrong = script_list_check(&p->script, &p->queue[q].list, (uint8_t)(q + 1));
    if (!wrong) continue;
    snprintf(why, n, "queue %s: %s", p->queue[q].name, wrong);
    return LETHE_EBROKEN;
  }
  return LETHE_OK;
}

static void each(struct lethe_evict *e, void (*fn)(void *ud, uint32_t slot), void *ud) {
  struct hooks *p = hooks_of(script_of(e));
  if (script_is_out(&p->script)) { /* queues are as they were then */
    script_list_each(&p->script, &p->script.lru, fn, ud);
    return;
  }
  for (unsigned q = 0; q < p->queues; q++) script_list_each(&p->script, &p->queue[q].list, fn, ud);
  for (uint32_t slot = 1; slot <= e->high; slot++) {
    const struct lethe_evict_node *n = lethe_evict_at(e, slot);
    if (n->generation & 1 && !n->refused && !n->queue) fn(ud, slot);
  }
}

static const struct lethe_evict_ops ops = {
    SCRIPT_OPS,     .name = "hooks",    .size = sizeof(struct hooks),
    .init = init,   .destroy = destroy, .admit = admit,
    .full = full,   .weigh = weigh,     .each = each,
    .check = check, .forget = forget};

int lethe_evict_new_hooks(struct lethe_evict **out, const struct lethe_alloc *a,
                          const struct lethe_evict_hooks *config, int64_t limit, uint64_t seed,
                          char *why, size_t n) {
  struct script_making m = {config, why, n};
  return lethe_evict_new_with(out, a, &ops, &m, limit, seed);
}
