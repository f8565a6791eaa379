/* SPDX-License-Identifier: MIT
 * Ranking by a policy that orders: it sees all candidates at once, those on the heap again and the
 * new ones, sorted by score where it has one, and says who comes first. */
#include "quota_internal.h"

struct all {
  struct lethe_quota_candidate *c;
  size_t n, room;
  double *scores;
  uint32_t *ranking;   /* indices into c, as the policy orders them */
  size_t ranked, size; /* size: of scores and ranking */
};

static int add(struct lethe_quota *t, struct all *all, const struct ranked *known) {
  void *array = all->c;
  uint32_t id = t->pass.id;
  if (lethe_grow(t->alloc, &array, &all->room, all->n + 1, sizeof *all->c)) return LETHE_ENOMEM;
  all->c = array;
  struct lethe_quota_candidate *c = &all->c[all->n];
  if (quota_candidate(t, known->account, t->pass.degraded, false, c)) {
    c->tried = known->tried;
    c->freed = known->freed;
    all->n++;
  } else if (t->pass.id == id) {
    quota_overlook(t, known->account);
  }
  return LETHE_OK;
}

static int gather(struct lethe_quota *t, struct all *all) {
  uint32_t id = t->pass.id;
  struct ranked known;
  int rc = LETHE_OK;
  while (rc == LETHE_OK && t->pass.id == id && quota_pop(t, &known)) rc = add(t, all, &known);
  while (rc == LETHE_OK && t->pass.id == id && !quota_all_ranked(t)) {
    if (quota_next_to_rank(t, &known))
      rc = add(t, all, &known);
    else
      quota_breathe(t);
  }
  return rc;
}

/* ---- outside the lock ------------------------------------------------------------------------ */

static bool before(const struct all *all, size_t i, size_t j, bool then_oldest) {
  const struct lethe_quota_account_info *a = &all->c[i].info, *b = &all->c[j].info;
  if (all->scores[i] != all->scores[j]) return all->scores[i] > all->scores[j];
  if (then_oldest && a->oldest != b->oldest) return a->oldest < b->oldest;
  return a->account < b->account;
}

static void swap(struct all *all, size_t i, size_t j) {
  struct lethe_quota_candidate c = all->c[i];
  double s = all->scores[i];
  all->c[i] = all->c[j];
  all->scores[i] = all->scores[j];
  all->c[j] = c;
  all->scores[j] = s;
}

/* Heap sort: in place, and n log n whatever the scores are. */
static void sift(struct all *all, size_t i, size_t n, bool then_oldest) {
  for (size_t child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && before(all, child, child + 1, then_oldest)) child++;
    if (!before(all, i, child, then_oldest)) return;
    swap(all, i, child);
  }
}

static void sort(struct all *all, bool then_oldest) {
  for (size_t i = all->n / 2; i-- > 0;) sift(all, i, all->n, then_oldest);
  for (size_t n = all->n; n-- > 1;) {
    swap(all, 0, n);
    sift(all, 0, n, then_oldest);
  }
}

/* Those that the score spares leave. */
static void drop_spared(struct all *all) {
  size_t kept = 0;
  for (size_t i = 0; i < all->n; i++)
    if (!isnan(all->scores[i])) swap(all, kept++, i);
  all->n = kept;
}

static int ask(struct lethe_quota_policy *policy, struct all *all) {
  int rc = LETHE_OK;
  if (policy->score) rc = policy->score(policy, all->c, all->n, all->scores);
  if (rc != LETHE_OK) return rc;
  drop_spared(all);
  sort(all, policy->then_oldest);
  rc = policy->order(policy, all->c, all->n, all->ranking, &all->ranked);
  for (size_t i = 0; rc == LETHE_OK && i < all->ranked; i++)
    if (all->ranked > all->n || all->ranking[i] >= all->n) rc = LETHE_EPOLICY;
  return rc;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int make_room(struct lethe_quota *t, struct all *all) {
  all->size = all->n + 1;
  all->scores = lethe_zalloc(t->alloc, all->size * sizeof *all->scores);
  all->ranking = lethe_zalloc(t->alloc, all->size * sizeof *all->ranking);
  return all->scores && all->ranking ? LETHE_OK : LETHE_ENOMEM;
}

static int push_all(struct lethe_quota *t, const struct all *all) {
  int rc = LETHE_OK;
  for (size_t i = 0; rc == LETHE_OK && i < all->ranked; i++) {
    const struct lethe_quota_candidate *c = &all->c[all->ranking[i]];
    rc = quota_push(t, (struct ranked){.score = all->scores[all->ranking[i]],
                                       .oldest = c->info.oldest,
                                       .account = c->info.account,
                                       .freed = c->freed,
                                       .tried = c->tried,
                                       .place = (uint32_t)i + 1});
  }
  return rc;
}

int quota_rank_by_order(struct lethe_quota *t, char *message) {
  struct lethe_quota_policy *policy = t->pass.policy;
  struct all all = {0};
  uint32_t id = t->pass.id;
  int rc = gather(t, &all);
  if (rc == LETHE_OK) rc = make_room(t, &all);
  if (rc == LETHE_OK && t->pass.id == id) {
    quota_unlock(t);
    quota_policy_enter(t, policy);
    rc = quota_policy_leave(t, policy, ask(policy, &all), message);
    quota_lock(t);
    if (rc == LETHE_OK && t->pass.id == id) rc = push_all(t, &all);
  }
  lethe_free(t->alloc, all.scores, all.size * sizeof *all.scores);
  lethe_free(t->alloc, all.ranking, all.size * sizeof *all.ranking);
  lethe_free(t->alloc, all.c, all.room * sizeof *all.c);
  return rc;
}
