/* SPDX-License-Identifier: MIT
 * The built-in policies. Each is one line of arithmetic on a candidate; scripts and expressions go
 * through the same struct. */
#include <string.h>

#include "quota_internal.h"

struct builtin {
  struct lethe_quota_policy policy;
  const struct lethe_alloc *alloc;
  struct lethe_quota *tracker; /* outlives the policy in it */
  double (*score_one)(const struct builtin *b, const struct lethe_quota_candidate *c);
};

static double oldest(const struct builtin *b, const struct lethe_quota_candidate *c) {
  (void)b;
  return -c->info.oldest;
}

static double largest(const struct builtin *b, const struct lethe_quota_candidate *c) {
  (void)b;
  return (double)c->info.used;
}

static double oldest_weighted(const struct builtin *b, const struct lethe_quota_candidate *c) {
  (void)b;
  return c->info.used > 0 ? c->age * (double)c->info.used : 0;
}

/* Used over what it may call its own: its reserve, or else an equal share of max. */
static double fair_share(const struct builtin *b, const struct lethe_quota_candidate *c) {
  double own = (double)c->info.reserve;
  if (own <= 0) {
    quota_lock(b->tracker);
    own = (double)b->tracker->max / (double)b->tracker->accounts.live;
    quota_unlock(b->tracker);
  }
  return (double)c->info.used / own;
}

static double priority(const struct builtin *b, const struct lethe_quota_candidate *c) {
  (void)b;
  return -(double)c->info.priority;
}

static const struct {
  const char *name;
  double (*score_one)(const struct builtin *b, const struct lethe_quota_candidate *c);
  bool then_oldest;
} builtins[] = {{"oldest", oldest, false},
                {"largest", largest, false},
                {"oldest_weighted", oldest_weighted, false},
                {"fair_share", fair_share, false},
                {"priority", priority, true}};

const char *const lethe_quota_policy_names[] = {"oldest",     "largest",  "oldest_weighted",
                                                "fair_share", "priority", NULL};

static int score(struct lethe_quota_policy *p, const struct lethe_quota_candidate *c, size_t n,
                 double *scores) {
  const struct builtin *b = lethe_container_of(p, struct builtin, policy);
  for (size_t i = 0; i < n; i++) {
    scores[i] = b->score_one(b, &c[i]);
    if (isnan(scores[i])) scores[i] = -INFINITY;
  }
  return LETHE_OK;
}

static void destroy(struct lethe_quota_policy *p) {
  struct builtin *b = lethe_container_of(p, struct builtin, policy);
  lethe_free(b->alloc, b, sizeof *b);
}

struct lethe_quota_policy *lethe_quota_policy_builtin(const struct lethe_alloc *a, const char *name,
                                                      struct lethe_quota *t) {
  for (size_t i = 0; i < sizeof builtins / sizeof *builtins; i++) {
    if (strcmp(builtins[i].name, name) != 0) continue;
    struct builtin *b = lethe_zalloc(a, sizeof *b);
    if (!b) return NULL;
    lethe_ref_init(&b->policy.refs);
    b->policy.destroy = destroy;
    b->policy.score = score;
    b->policy.then_oldest = builtins[i].then_oldest;
    b->alloc = a;
    b->tracker = t;
    b->score_one = builtins[i].score_one;
    return &b->policy;
  }
  return NULL;
}

void lethe_quota_policy_put(struct lethe_quota_policy *p) {
  if (lethe_ref_put(&p->refs)) p->destroy(p);
}
