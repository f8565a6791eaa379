/* SPDX-License-Identifier: MIT
 * What declared queues must be, apart from their rules: names that a rule can say and does not mean
 * otherwise, shares that are shares, and a place for what comes in. */
#include <stdio.h>
#include <string.h>

#include "rules_internal.h"

static bool is_identifier(const char *name) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
  static const char others[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
  size_t n = strspn(name, others);
  return n > 0 && strchr(letters, *name) && name[n] == '\0' && n < RULE_WORD;
}

static bool is_one_of(const char *name, const char *const *words) {
  for (; *words; words++)
    if (strcmp(name, *words) == 0) return true;
  return false;
}

/* Words that would mean two things in a rule. */
static bool is_reserved(const char *name) {
  static const char *const words[] = {"and",  "or",   "not",      "true", "false", "nil",
                                      "min",  "max",  "log",      "sqrt", "floor", "c",
                                      "math", "move", "reinsert", "drop", NULL};
  return is_one_of(name, words) || is_one_of(name, rule_fields);
}

static bool check_queue(const struct lethe_evict_queue *q, char *why, size_t n) {
  if (!is_identifier(q->name))
    snprintf(why, n, "\"%.40s\" cannot name a queue", q->name);
  else if (is_reserved(q->name))
    snprintf(why, n, "\"%.40s\" cannot name a queue: it means something in rules", q->name);
  else if (!(q->share > 0 && q->share <= 1))
    snprintf(why, n, "the share of queue \"%s\" must be above 0 and at most 1", q->name);
  else if (!(q->ghost >= 0 && q->ghost <= 16))
    snprintf(why, n, "the share of ghost \"%s\" must be above 0 and at most 16", q->name);
  else
    return true;
  return false;
}

bool rules_check_queues(const struct lethe_evict_queues *s, char *why, size_t n) {
  double sum = 0;
  if (s->count == 0 || s->count > LETHE_EVICT_QUEUES) {
    snprintf(why, n, "1 to %d queues expected, got %u", LETHE_EVICT_QUEUES, s->count);
    return false;
  }
  for (unsigned i = 0; i < s->count; i++) {
    if (!check_queue(&s->queue[i], why, n)) return false;
    sum += s->queue[i].share;
  }
  if (sum > 1 + 1e-9)
    snprintf(why, n, "the shares of the queues make %g, more than 1", sum);
  else if (!s->insert && s->count > 1)
    snprintf(why, n, "insert must say to which of the queues an entry goes");
  else
    return true;
  return false;
}
