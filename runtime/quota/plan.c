/* SPDX-License-Identifier: MIT
 * The plan: what a pass would take, in order, computed from the same candidates and the same policy
 * without asking anybody for memory. A pass calls unspent caches back first; the plan counts them
 * towards the goal, and leaves them out of what accounts use. Ages are fresh where the caller's own
 * member can be asked. */
#include <stdlib.h>

#include "quota_internal.h"

struct row {
  struct lethe_quota_candidate c;
  double score;
};

struct plan {
  struct lethe_quota *t;
  struct row *v; /* candidates, in the policy's order once ranked */
  size_t n, room;
  struct lethe_quota_planned *out;
  size_t planned, most;
  int64_t sum, goal; /* what the pass would have freed so far, and what it is to free */
  uint8_t *taken; /* a bit for each slot of an account; those made meanwhile are beyond its end */
  slot_t slots;
};

/* ---- candidates ------------------------------------------------------------------------------ */

static int64_t all_unspent(struct lethe_quota *t) {
  slot_t slice[LETHE_QUOTA_SLICE];
  struct cursor c;
  bool more = true;
  int64_t sum = 0;
  quota_lock(t);
  quota_cursor_open(t, &c, NULL);
  while (more) {
    uint32_t n = quota_freeze_slice(t, &c, slice, &more);
    for (uint32_t i = 0; i < n; i++) sum += quota_unspent(participant_at(t, slice[i]));
    if (more) quota_breathe(t);
  }
  quota_cursor_close(&c);
  quota_unlock(t);
  return sum;
}

static int gather(struct plan *plan, bool degraded) {
  struct lethe_quota *t = plan->t;
  int rc = LETHE_OK;
  plan->n = 0;
  quota_lock(t);
  for (slot_t s = 1; rc == LETHE_OK && s < t->accounts.slots; s++) {
    if (t->visited >= LETHE_QUOTA_SLICE) quota_breathe(t);
    const struct account *a = lethe_slab_used(&t->accounts, s);
    struct lethe_quota_candidate c;
    quota_visit(t, 1);
    if (!a || !quota_candidate(t, lethe_slab_id(a, s), degraded, true, &c)) continue;
    void *array = plan->v;
    rc = lethe_grow(t->alloc, &array, &plan->room, plan->n + 1, sizeof *plan->v);
    plan->v = array;
    if (rc == LETHE_OK) plan->v[plan->n++] = (struct row){c, 0};
  }
  quota_unlock(t);
  return rc;
}

/* ---- the policy's order ---------------------------------------------------------------------- */

/* What a policy is called with, and what it answers. */
struct table {
  struct lethe_quota_candidate *list;
  double *scores;
  uint32_t *ranking;
  struct row *rows;
  size_t n;
};

static int table_make(const struct plan *plan, struct table *table) {
  const struct lethe_alloc *a = plan->t->alloc;
  size_t n = table->n = plan->n + 1;
  table->list = lethe_malloc(a, n * sizeof *table->list);
  table->scores = lethe_zalloc(a, n * sizeof *table->scores);
  table->ranking = lethe_zalloc(a, n * sizeof *table->ranking);
  table->rows = lethe_malloc(a, n * sizeof *table->rows);
  return table->list && table->scores && table->ranking && table->rows ? LETHE_OK : LETHE_ENOMEM;
}

static void table_free(const struct plan *plan, struct table *table) {
  const struct lethe_alloc *a = plan->t->alloc;
  lethe_free(a, table->list, table->n * sizeof *table->list);
  lethe_free(a, table->scores, table->n * sizeof *table->scores);
  lethe_free(a, table->ranking, table->n * sizeof *table->ranking);
  lethe_free(a, table->rows, table->n * sizeof *table->rows);
}

static int by_score(const void *a, const void *b) {
  const struct row *x = a, *y = b;
  if (x->score != y->score) return x->score > y->score ? -1 : 1;
  return x->c.info.account < y->c.info.account ? -1 : 1;
}

static int by_score_then_age(const void *a, const void *b) {
  const struct row *x = a, *y = b;
  if (x->score == y->score && x->c.info.oldest != y->c.info.oldest)
    return x->c.info.oldest < y->c.info.oldest ? -1 : 1;
  return by_score(a, b);
}

/* All in one call: what the policy may spend, it may spend once. Who is spared leaves. */
static int score(struct plan *plan, struct lethe_quota_policy *policy, struct table *table) {
  size_t kept = 0;
  if (!policy->score || plan->n == 0) return LETHE_OK;
  for (size_t i = 0; i < plan->n; i++) table->list[i] = plan->v[i].c;
  int rc = policy->score(policy, table->list, plan->n, table->scores);
  if (rc != LETHE_OK) return rc;
  for (size_t i = 0; i < plan->n; i++) {
    if (isnan(table->scores[i])) continue;
    plan->v[kept] = plan->v[i];
    plan->v[kept++].score = table->scores[i];
  }
  plan->n = kept;
  return LETHE_OK;
}

/* The ordering policy's list becomes the order of the rows. */
static int order(struct plan *plan, struct lethe_quota_policy *policy, struct table *table) {
  size_t ranked = 0;
  for (size_t i = 0; i < plan->n; i++) table->list[i] = plan->v[i].c;
  int rc = policy->order(policy, table->list, plan->n, table->ranking, &ranked);
  if (rc == LETHE_OK && ranked > plan->n) rc = LETHE_EPOLICY;
  for (size_t i = 0; rc == LETHE_OK && i < ranked; i++) {
    if (table->ranking[i] >= plan->n)
      rc = LETHE_EPOLICY;
    else
      table->rows[i] = plan->v[table->ranking[i]];
  }
  for (size_t i = 0; rc == LETHE_OK && i < ranked; i++) plan->v[i] = table->rows[i];
  if (rc == LETHE_OK) plan->n = ranked;
  return rc;
}

static int rank(struct plan *plan, struct lethe_quota_policy *policy, bool degraded) {
  struct table table = {0};
  char ignored[QUOTA_MESSAGE];
  int rc = gather(plan, degraded);
  if (rc == LETHE_OK) rc = table_make(plan, &table);
  if (rc == LETHE_OK) {
    quota_policy_enter(plan->t, policy);
    rc = score(plan, policy, &table);
    if (rc == LETHE_OK && plan->n > 0)
      qsort(plan->v, plan->n, sizeof *plan->v, policy->then_oldest ? by_score_then_age : by_score);
    if (rc == LETHE_OK && policy->order) rc = order(plan, policy, &table);
    rc = quota_policy_leave(plan->t, policy, rc, ignored);
  }
  table_free(plan, &table);
  return rc;
}

/* ---- victims --------------------------------------------------------------------------------- */

static bool is_taken(const struct plan *plan, slot_t s) {
  return s >= plan->slots || plan->taken[s / 8] & 1u << s % 8;
}

/* The account goes with the victim, once, whatever leads to it; a reserve may protect it. */
static void take(struct plan *plan, slot_t s, int64_t reserve, struct lethe_quota_planned *out) {
  struct lethe_quota *t = plan->t;
  const struct account *a = account_at(t, s);
  int64_t used = a->used;
  uint32_t n = 0;
  quota_freeze_account(t, s);
  for (slot_t i = a->participants; i; i = participant_at(t, i)->next, n++)
    used -= quota_unspent(participant_at(t, i));
  if (is_taken(plan, s) || (reserve > 0 && used <= reserve)) return;
  plan->taken[s / 8] = (uint8_t)(plan->taken[s / 8] | 1u << s % 8);
  out->used += used;
  out->participants += n;
}

/* Unless it is gone, or goes with an earlier victim. */
static void take_victim(struct plan *plan, const struct row *row) {
  struct lethe_quota *t = plan->t;
  slot_t root = (slot_t)row->c.info.account;
  if (!account_find(t, row->c.info.account) || is_taken(plan, root)) return;
  struct lethe_quota_planned *out = &plan->out[plan->planned++];
  *out = (struct lethe_quota_planned){.account = row->c.info.account, .score = row->score};
  quota_walk_down(t, root);
  for (slot_t s = root; s; s = quota_down(t, s)) {
    const struct extra *x = account_at(t, s)->x;
    take(plan, s, x && s != root && !row->c.degraded ? x->reserve : 0, out);
  }
  plan->sum += out->used;
}

static void take_all(struct plan *plan) {
  quota_lock(plan->t);
  for (size_t i = 0; i < plan->n && plan->planned < plan->most && plan->sum < plan->goal; i++) {
    take_victim(plan, &plan->v[i]);
    quota_breathe(plan->t);
  }
  quota_unlock(plan->t);
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* The policy, its sterner self where it fails or runs out of candidates, "oldest" where that
 * fails. */
static int follow(struct plan *plan, struct lethe_quota_policy *policy) {
  bool stern = false;
  for (;;) {
    int rc = rank(plan, policy, stern);
    if (rc == LETHE_OK) take_all(plan);
    bool more = rc == LETHE_EPOLICY || (rc == LETHE_OK && plan->sum < plan->goal);
    if (more && policy->degraded && !stern) {
      stern = true;
    } else if (rc == LETHE_EPOLICY && policy != plan->t->fallback) {
      policy = plan->t->fallback;
      stern = false;
    } else {
      return rc;
    }
  }
}

/* Asks for ages, and finds the tracker's policy, or "oldest" where that cannot be called here. */
static struct lethe_quota_policy *begin(struct plan *plan, struct lethe_quota_member *m) {
  struct lethe_quota *t = plan->t;
  quota_lock(t);
  if (m && t->pass.id == 0) {
    m->refs++; /* a callback may delete it */
    quota_ask_here(m, 0, true);
    quota_member_put_locked(m);
  }
  struct lethe_quota_policy *policy = t->policy;
  if (policy->loop && !quota_here(t, policy->loop)) policy = t->fallback;
  lethe_ref_get(&policy->refs);
  plan->slots = t->accounts.slots;
  quota_unlock(t);
  return policy;
}

int lethe_quota_plan(struct lethe_quota *t, struct lethe_quota_member *m, int64_t goal,
                     struct lethe_quota_planned *out, size_t n, size_t *planned) {
  struct plan plan = {.t = t, .out = out, .most = n, .goal = goal};
  *planned = 0;
  if (t->noop) return LETHE_OK;
  struct lethe_quota_policy *policy = begin(&plan, m);
  plan.taken = lethe_zalloc(t->alloc, plan.slots / 8 + 1);
  plan.sum = all_unspent(t);
  int rc = !plan.taken ? LETHE_ENOMEM : plan.sum < goal ? follow(&plan, policy) : LETHE_OK;
  if (rc == LETHE_OK) *planned = plan.planned;
  lethe_free(t->alloc, plan.v, plan.room * sizeof *plan.v);
  lethe_free(t->alloc, plan.taken, plan.slots / 8 + 1);
  lethe_quota_policy_put(policy);
  return rc;
}
