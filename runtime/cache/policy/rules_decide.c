/* SPDX-License-Identifier: MIT
 * Deciding by compiled rules, and their end. */
#include "rules_internal.h"

static bool holds(enum lethe_expr_kind kind) {
  return kind == LETHE_EXPR_NUMBER || kind == LETHE_EXPR_TRUE;
}

const struct rule_step *rules_decide(const struct rule *rule, const double *values,
                                     const char **why) {
  const struct rule_step *s = rule->steps;
  while (s->kind == RULE_TEST) {
    double unused;
    enum lethe_expr_kind kind = lethe_expr_run(s->expr, values, &unused, why);
    if (kind == LETHE_EXPR_ERROR) return NULL;
    s = holds(kind) ? s + 1 : rule->steps + s->otherwise;
  }
  return s;
}

static void end_rule(struct rule *rule, const struct lethe_alloc *a) {
  for (unsigned i = 0; i < rule->count; i++) lethe_expr_delete(rule->steps[i].expr);
  lethe_free(a, rule->steps, rule->room * sizeof *rule->steps);
}

void rules_delete(struct rules *r) {
  if (!r) return;
  end_rule(&r->insert, r->alloc);
  for (unsigned q = 0; q < r->queues; q++) {
    end_rule(&r->on_hit[q], r->alloc);
    end_rule(&r->on_evict[q], r->alloc);
  }
  lethe_free(r->alloc, r, sizeof *r);
}
