/* SPDX-License-Identifier: MIT
 * Compiled rules of declared queues. A rule is code for a machine without a stack: it tests
 * conditions one after another until it comes to an action.
 *
 * The grammar, below the table of queues:
 *
 *   rule      = choice { "or" choice }                the first whose conditions hold decides
 *   choice    = { condition "and" } outcome
 *   outcome   = action | "(" rule ")"                 one whose choices all fail fails as a choice
 *   action    = QUEUE                                 of insert: to the front of that queue
 *             | "move" "(" QUEUE [ "," freq ] ")"     of on_hit and on_evict: likewise
 *             | "reinsert" [ "(" [ freq ] ")" ]       to the front of the queue where it is
 *             | "drop" [ "(" [ "ghost" ] ")" ]        likewise: it leaves, remembered or not
 *   freq      = "freq" "=" expression                 from now on it counts as used that often
 *   condition = expression of lethe/expr.h without "and", "or" outside of parentheses
 *
 * Names in a condition are those of scores (freq age since size cost L used limit len), freq
 * counting the hits since insertion; in insert also ghost. Where no choice holds: insert does not
 * store the entry, on_hit leaves it where it is, on_evict drops it.
 *
 * I1 A test's `otherwise` is the index of a later step.
 * I2 The last step of a rule is RULE_NONE. */
#ifndef LETHE_CACHE_RULES_INTERNAL_H
#define LETHE_CACHE_RULES_INTERNAL_H

#include "lethe/evict_script.h"
#include "lethe/expr.h"

enum rule_kind { RULE_TEST, RULE_MOVE, RULE_REINSERT, RULE_DROP, RULE_NONE };

struct rule_step {
  enum rule_kind kind;
  bool ghost;              /* of RULE_DROP */
  unsigned queue;          /* of RULE_MOVE */
  unsigned otherwise;      /* of RULE_TEST: where a condition that does not hold leads */
  struct lethe_expr *expr; /* the condition, or the new freq, which may be missing */
};

struct rule {
  struct rule_step *steps; /* NULL: none was given */
  unsigned count, room;
};

struct rules {
  const struct lethe_alloc *alloc;
  unsigned queues;
  struct rule insert, on_hit[LETHE_EVICT_QUEUES], on_evict[LETHE_EVICT_QUEUES];
};

/* Fields of conditions; the last is a boolean, and in insert alone. */
enum { RULE_GHOST = LETHE_EVICT_GHOST, RULE_FIELDS = LETHE_EVICT_FIELDS };

/* Their names, NULL-ended. */
extern const char *const rule_fields[];
/* Names that rules look at, with their end: a queue's is shorter. */
enum { RULE_WORD = 64 };

/* What a spec says of its queues, apart from rules; else a message in `why`. */
bool rules_check_queues(const struct lethe_evict_queues *spec, char *why, size_t n);
/* Compiles all rules of a spec. LETHE_ENOMEM, or LETHE_EPOLICY and then a message in `why`:
 * "on_evict.small: column 7: ...". Nothing of the spec is kept. */
int rules_compile(struct rules **out, const struct lethe_alloc *a,
                  const struct lethe_evict_queues *spec, char *why, size_t n);
/* NULL is allowed. Cannot fail. */
void rules_delete(struct rules *r);
/* The step that decides, never a RULE_TEST; NULL and a reason where a condition cannot be told. */
const struct rule_step *rules_decide(const struct rule *rule, const double *values,
                                     const char **why);

#endif
