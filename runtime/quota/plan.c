/* SPDX-License-Identifier: MIT
 * The plan: what a pass would take, in order, computed from the same candidates and the same policy
 * without asking anybody for memory. Ages are fresh where the caller's own member can be asked. */
#include <stdlib.h>

#include "quota_internal.h"

struct row {
  struct lethe_quota_candidate c;
  double score;
};

struct rows {
  struct row *v;
  size_t n, room;
};

static int gather(struct lethe_quota *t, bool degraded, struct rows *rows) {
  rows->n = 0;
  quota_lock(t);
  for (slot_t s = 1; s < t->accounts.slots; s++) {
    struct account *a = lethe_slab_used(&t->accounts, s);
    struct lethe_quota_candidate c;
    if (!a || !quota_candidate(t, lethe_slab_id(a, s), degraded, &c)) continue;
    void *array = rows->v;
    if (lethe_grow(t->alloc, &array, &rows->room, rows->n + 1, sizeof *rows->v)) {
      quota_unlock(t);
      return LETHE_ENOMEM;
    }
    rows->v = array;
    c.plan = true;
    rows->v[rows->n++] = (struct row){c, 0};
    quota_unlock(t);
    quota_lock(t);
  }
  quota_unlock(t);
  return LETHE_OK;
}

/* All in one call: what the policy may spend, it may spend once. */
static int score(const struct lethe_alloc *a, struct lethe_quota_policy *policy,
                 struct rows *rows) {
  size_t n = rows->n;
  if (!policy->score || n == 0) return LETHE_OK;
  struct lethe_quota_candidate *list = lethe_malloc(a, n * sizeof *list);
  double *scores = lethe_malloc(a, n * sizeof *scores);
  int rc = list && scores ? LETHE_OK : LETHE_ENOMEM;
  for (size_t i = 0; rc == LETHE_OK && i < n; i++) list[i] = rows->v[i].c;
  if (rc == LETHE_OK) rc = policy->score(policy, list, n, scores);
  for (size_t i = 0; rc == LETHE_OK && i < n; i++) rows->v[i].score = scores[i];
  lethe_free(a, list, n * sizeof *list);
  lethe_free(a, scores, n * sizeof *scores);
  return rc;
}

static int by_score(const void *a, const void *b) {
  const struct row *x = a, *y = b;
  if (x->score != y->score) return x->score > y->score ? -1 : 1;
  return x->c.info.account < y->c.info.account ? -1 : 1;
}

static int by_score_then_age(const void *a, const void *b) {
  const struct row *x = a, *y = b;
  if (x->score != y->score) return x->score > y->score ? -1 : 1;
  if (x->c.info.oldest != y->c.info.oldest) return x->c.info.oldest < y->c.info.oldest ? -1 : 1;
  return x->c.info.account < y->c.info.account ? -1 : 1;
}

/* Spared ones leave; the rest in the policy's order. */
static int sort(const struct lethe_alloc *a, struct lethe_quota_policy *policy, struct rows *rows) {
  size_t kept = 0, ranked = 0;
  for (size_t i = 0; i < rows->n; i++)
    if (!isnan(rows->v[i].score)) rows->v[kept++] = rows->v[i];
  rows->n = kept;
  if (kept == 0) return LETHE_OK;
  qsort(rows->v, kept, sizeof *rows->v, policy->then_oldest ? by_score_then_age : by_score);
  if (!policy->order) return LETHE_OK;
  struct lethe_quota_candidate *list = lethe_malloc(a, kept * sizeof *list);
  uint32_t *ranking = lethe_malloc(a, kept * sizeof *ranking);
  struct row *sorted = lethe_malloc(a, kept * sizeof *sorted);
  int rc = list && ranking && sorted ? LETHE_OK : LETHE_ENOMEM;
  if (rc == LETHE_OK) {
    for (size_t i = 0; i < kept; i++) list[i] = rows->v[i].c;
    rc = policy->order(policy, list, kept, ranking, &ranked);
  }
  for (size_t i = 0; rc == LETHE_OK && i < ranked; i++) sorted[i] = rows->v[ranking[i]];
  for (size_t i = 0; rc == LETHE_OK && i < ranked; i++) rows->v[i] = sorted[i];
  if (rc == LETHE_OK) rows->n = ranked;
  lethe_free(a, list, kept * sizeof *list);
  lethe_free(a, ranking, kept * sizeof *ranking);
  lethe_free(a, sorted, kept * sizeof *sorted);
  return rc;
}

/* What is planned so far. */
struct taken {
  struct lethe_quota_planned *out;
  size_t n, room;
  int64_t sum, goal;
  bool *seen; /* by slot: it is in the plan; those made meanwhile are beyond its end, and not planned */
  slot_t slots;
};

/* Victims until their bytes, each account counted once, reach the goal. */
static void take(struct lethe_quota *t, const struct rows *rows, bool degraded, struct taken *k) {
  quota_lock(t);
  for (size_t i = 0; i < rows->n && k->n < k->room && k->sum < k->goal; i++) {
    const struct row *row = &rows->v[i];
    struct account *a = account_find(t, row->c.info.account);
    if (!a || (slot_t)row->c.info.account >= k->slots || k->seen[(slot_t)row->c.info.account])
      continue;
    struct lethe_quota_planned *p = &k->out[k->n++];
    *p = (struct lethe_quota_planned){row->c.info.account, 0, 0, row->score};
    quota_walk_down(t, (slot_t)p->account);
    for (slot_t s = (slot_t)p->account; s; s = quota_down(t, s)) {
      a = account_at(t, s);
      if (s >= k->slots || k->seen[s]) continue;
      if (s != (slot_t)p->account && !degraded && a->x && a->x->reserve > 0 &&
          a->used <= a->x->reserve)
        continue;
      k->seen[s] = true;
      p->used += a->used;
      for (slot_t q = a->participants; q; q = participant_at(t, q)->next) p->participants++;
    }
    k->sum += p->used;
  }
  quota_unlock(t);
}

static int rank(struct lethe_quota *t, struct lethe_quota_policy *policy, bool degraded,
                struct rows *rows) {
  int rc = gather(t, degraded, rows);
  if (rc == LETHE_OK) rc = score(t->alloc, policy, rows);
  return rc == LETHE_OK ? sort(t->alloc, policy, rows) : rc;
}

/* The policy, its sterner self where it fails or runs out of candidates, "oldest" where that fails. */
static int follow(struct lethe_quota *t, struct lethe_quota_policy *policy, struct taken *k) {
  struct rows rows = {0};
  bool stern = false;
  int rc;
  for (;;) {
    rc = rank(t, policy, stern, &rows);
    if (rc == LETHE_OK) take(t, &rows, stern, k);
    bool more = rc == LETHE_EPOLICY || (rc == LETHE_OK && k->sum < k->goal);
    if (more && policy->degraded && !stern) {
      stern = true;
    } else if (rc == LETHE_EPOLICY) {
      policy = t->fallback;
      stern = false;
    } else {
      break;
    }
  }
  lethe_free(t->alloc, rows.v, rows.room * sizeof *rows.v);
  return rc;
}

int lethe_quota_plan(struct lethe_quota *t, struct lethe_quota_member *m, int64_t goal,
                     struct lethe_quota_planned *out, size_t n, size_t *planned) {
  struct taken k = {.out = out, .room = n, .goal = goal};
  *planned = 0;
  if (t->noop) return LETHE_OK;
  quota_lock(t);
  k.slots = t->accounts.slots;
  if (t->pass.id == 0 && m) quota_ask_here(m, 0);
  /* A policy of another loop cannot be asked from here. */
  struct lethe_quota_policy *policy = t->policy;
  if (policy->loop && (!m || m->loop != policy->loop)) policy = t->fallback;
  lethe_ref_get(&policy->refs);
  quota_unlock(t);
  size_t size = (k.slots + 1) * sizeof *k.seen;
  k.seen = lethe_zalloc(t->alloc, size);
  int rc = k.seen ? follow(t, policy, &k) : LETHE_ENOMEM;
  if (rc == LETHE_OK) *planned = k.n;
  lethe_free(t->alloc, k.seen, size);
  lethe_quota_policy_put(policy);
  return rc;
}
