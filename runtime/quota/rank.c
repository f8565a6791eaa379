/* SPDX-License-Identifier: MIT
 * Ranking: which accounts are to be looked at, their scores, and the heap of them.
 *
 * Gathering goes over the accounts in slices; the policy scores batches of them outside the lock.
 * What arrived since, and a victim that stays, are ranked the same way before the next victim is
 * chosen. */
#include "quota_internal.h"

enum { BATCH = 32 };

/* ---- the heap -------------------------------------------------------------------------------- */

static bool before(const struct lethe_quota *t, const struct ranked *a, const struct ranked *b) {
  if (a->place != b->place) return a->place < b->place;
  if (a->score != b->score) return a->score > b->score;
  if (t->pass.policy->then_oldest && a->oldest != b->oldest) return a->oldest < b->oldest;
  return a->account < b->account;
}

static struct ranked *at(struct pass *p, size_t i) { return VEC_AT(&p->heap, struct ranked, i); }

int quota_push(struct lethe_quota *t, struct ranked r) {
  struct pass *p = &t->pass;
  if (vec_add(t->alloc, &p->heap, sizeof r)) return LETHE_ENOMEM;
  size_t i = p->heap.n - 1;
  for (; i > 0 && before(t, &r, at(p, (i - 1) / 2)); i = (i - 1) / 2)
    *at(p, i) = *at(p, (i - 1) / 2);
  *at(p, i) = r;
  return LETHE_OK;
}

bool quota_pop(struct lethe_quota *t, struct ranked *out) {
  struct pass *p = &t->pass;
  if (p->heap.n == 0) return false;
  *out = *at(p, 0);
  struct ranked last = *at(p, --p->heap.n);
  size_t i = 0, child;
  while ((child = 2 * i + 1) < p->heap.n) {
    if (child + 1 < p->heap.n && before(t, at(p, child + 1), at(p, child))) child++;
    if (!before(t, at(p, child), &last)) break;
    *at(p, i) = *at(p, child);
    i = child;
  }
  *at(p, i) = last;
  return true;
}

/* ---- what is to be ranked -------------------------------------------------------------------- */

void quota_overlook(struct lethe_quota *t, uint64_t account) {
  struct account *a = account_find(t, account);
  if (a) a->seen = 0;
}

/* One that was asked for its age since it arrived. The last one not asked takes its place. */
static uint64_t next_arrival(struct lethe_quota *t) {
  if (t->arrivals_asked == 0) return 0;
  size_t i = --t->arrivals_asked;
  uint64_t id = vec_id(&t->arrivals, i);
  *VEC_AT(&t->arrivals, uint64_t, i) = vec_id(&t->arrivals, --t->arrivals.n);
  return id;
}

static size_t scan_end(const struct lethe_quota *t) {
  return t->pass.scope ? t->pass.tree.v.n + 1 : t->accounts.slots;
}

/* The account at a place of the scan, unless it is gone or was seen. */
static uint64_t scan_one(struct lethe_quota *t, slot_t place) {
  const struct pass *p = &t->pass;
  struct account *a = p->scope ? account_find(t, vec_id(&p->tree.v, place - 1))
                               : lethe_slab_used(&t->accounts, place);
  if (!a || a->seen == p->stamp) return 0;
  a->seen = p->stamp;
  return p->scope ? vec_id(&p->tree.v, place - 1) : lethe_slab_id(a, place);
}

bool quota_next_to_rank(struct lethe_quota *t, struct ranked *out) {
  struct pass *p = &t->pass;
  *out = p->again;
  p->again.account = 0;
  if (out->account) return true;
  *out = (struct ranked){.account = next_arrival(t)};
  while (!out->account && p->scan && p->scan < scan_end(t) && t->visited < LETHE_QUOTA_SLICE) {
    quota_visit(t, 1);
    out->account = scan_one(t, p->scan++);
  }
  return out->account != 0;
}

bool quota_all_ranked(const struct lethe_quota *t) {
  const struct pass *p = &t->pass;
  return !p->again.account && t->arrivals_asked == 0 && (!p->scan || p->scan >= scan_end(t));
}

/* ---- by score -------------------------------------------------------------------------------- */

struct batch {
  struct lethe_quota_candidate c[BATCH];
  double scores[BATCH];
  size_t n;
};

/* Fills the batch with what a slice holds. */
static void fill(struct lethe_quota *t, struct batch *b) {
  uint32_t id = t->pass.id;
  struct ranked known;
  b->n = 0;
  while (b->n < BATCH && t->pass.id == id && quota_next_to_rank(t, &known)) {
    struct lethe_quota_candidate *c = &b->c[b->n];
    if (quota_candidate(t, known.account, t->pass.degraded, false, c)) {
      c->tried = known.tried;
      c->freed = known.freed;
      b->n++;
    } else if (t->pass.id == id) {
      quota_overlook(t, known.account);
    }
  }
}

/* Scores the batch outside the lock and puts it on the heap. */
static int score(struct lethe_quota *t, struct lethe_quota_policy *policy, struct batch *b,
                 char *message) {
  uint32_t id = t->pass.id;
  if (b->n == 0) return LETHE_OK;
  quota_unlock(t);
  quota_policy_enter(t, policy);
  int rc = policy->score(policy, b->c, b->n, b->scores);
  rc = quota_policy_leave(t, policy, rc, message);
  quota_lock(t);
  for (size_t i = 0; rc == LETHE_OK && t->pass.id == id && i < b->n; i++) {
    const struct lethe_quota_candidate *c = &b->c[i];
    if (isnan(b->scores[i])) continue;
    rc = quota_push(t, (struct ranked){.score = b->scores[i],
                                       .oldest = c->info.oldest,
                                       .account = c->info.account,
                                       .freed = c->freed,
                                       .tried = c->tried});
  }
  return rc;
}

static int rank_by_score(struct lethe_quota *t, char *message) {
  struct lethe_quota_policy *policy = t->pass.policy;
  struct batch b;
  uint32_t id = t->pass.id;
  int rc = LETHE_OK;
  while (rc == LETHE_OK && t->pass.id == id && !quota_all_ranked(t)) {
    fill(t, &b);
    if (t->pass.id == id) rc = score(t, policy, &b, message);
    quota_breathe(t);
  }
  return rc;
}

int quota_rank(struct lethe_quota *t, char *message) {
  struct pass *p = &t->pass;
  uint32_t id = p->id;
  if (t->arrivals_lost) {
    t->arrivals_lost = false;
    p->scan = 1; /* they are those that were not seen */
  }
  if (!p->scan && !p->again.account && t->arrivals_asked == 0) return LETHE_OK;
  int rc = p->policy->order ? quota_rank_by_order(t, message) : rank_by_score(t, message);
  if (rc == LETHE_OK && p->id == id) p->scan = 0;
  return rc;
}
