/* SPDX-License-Identifier: MIT
 * Scripted eviction policies: the three forms in which a user writes one, and what keeps the cache
 * whole where it is wrong. Each is a struct lethe_evict like any other.
 *
 *   score   an expression or a callback gives each entry a number; the lowest leaves first, of
 *           equal ones the entry whose last access is older. A heap scores at each access, a sample
 *           of N entries at eviction. It may be drawn out of cells: there the entry that came last
 *           hides others, so that some of what is old lives longer by chance.
 *   queues  declared queues, and rules that run in C:
 *
 *     rule      = choice { "or" choice }              the first whose conditions hold decides
 *     choice    = { condition "and" } outcome
 *     outcome   = action | "(" rule ")"
 *     action    = QUEUE                               of insert: to the front of that queue
 *               | "move" "(" QUEUE [ "," freq ] ")"   of on_hit and on_evict: the same
 *               | "reinsert" [ "(" [ freq ] ")" ]     to the front of the queue where it is
 *               | "drop" [ "(" [ "ghost" ] ")" ]      likewise: it leaves, remembered or not
 *     freq      = "freq" "=" expression               from now on it counts as used that often
 *     condition = an expression (lethe/expr.h) with no "and", "or" outside of parentheses
 *
 *           Where no choice holds, insert does not store, on_hit leaves the entry where it is,
 *           on_evict drops it. Eviction asks the largest queue if it is over its share or the
 *           others are empty, else the smallest, until one entry drops.
 *   hooks   callbacks over handles, and the queues, marks and ghost lists of lethe/evict_hooks.h.
 *
 * A policy that fails (a callback says so, a score is no number, a victim is none, a rule never
 * drops) has a strike, and the next victim is the least recently used entry. LETHE_EVICT_STRIKES of
 * them, and it stays so: nothing of the policy is called again. What happened is kept, and takes no
 * memory.
 *
 * Synchronization: none, as for all of lethe/evict.h. Callbacks may call what this header and
 * evict_hooks.h say of reading, nothing else of the policy. */
#ifndef LETHE_EVICT_SCRIPT_H
#define LETHE_EVICT_SCRIPT_H

#include "lethe/evict.h"

enum { LETHE_EVICT_STRIKES = 3, LETHE_EVICT_QUEUES = 16, LETHE_EVICT_EVENTS = 64 };

/* What expressions name, in this order: freq age since size cost L used limit len; in admit and
 * insert also ghost, a boolean. freq is 1 at insert, in rules 0. Ages are in accesses; since, at an
 * access, is the distance to the one before. */
enum lethe_evict_field {
  LETHE_EVICT_FREQ,
  LETHE_EVICT_AGE,
  LETHE_EVICT_SINCE,
  LETHE_EVICT_SIZE,
  LETHE_EVICT_COST,
  LETHE_EVICT_L,
  LETHE_EVICT_USED,
  LETHE_EVICT_LIMIT,
  LETHE_EVICT_LEN,
  LETHE_EVICT_GHOST,
  LETHE_EVICT_FIELDS
};

/* ---- what went wrong ------------------------------------------------------------------------- */

struct lethe_evict_failure {
  const char *call; /* "score", "on_evict", ... */
  char message[400];
  char trace[1000]; /* of the script, if it has one */
  double args[6];   /* of the call, behind the cache itself */
  unsigned nargs;
  uint64_t at;           /* the access */
  int64_t spent, budget; /* in what the call is charged by; budget 0: it has none */
};

enum lethe_evict_event_kind {
  LETHE_EVICT_EVENT_INSERT,
  LETHE_EVICT_EVENT_HIT,
  LETHE_EVICT_EVENT_EVICT,
  LETHE_EVICT_EVENT_REMOVE,
  LETHE_EVICT_EVENT_REFUSE, /* not admitted: no handle */
  LETHE_EVICT_EVENT_FAIL    /* no handle, no key */
};

struct lethe_evict_event {
  enum lethe_evict_event_kind kind;
  uint64_t at, handle, key;
};

/* ---- making one ------------------------------------------------------------------------------ */

/* What all forms are given. Callbacks return LETHE_OK, or a code after they have filled message,
 * trace, spent and budget of lethe_evict_script_failing. */
struct lethe_evict_script {
  const char *admit; /* an expression, true or any number: yes. NULL: all that fits */
  int (*admits)(void *ud, double size, bool ghost, bool *yes); /* instead; may be NULL */
  void (*failed)(void *ud);                                    /* after a strike; may be NULL */
  void (*end)(void *ud);                                       /* the policy is gone; may be NULL */
  void *ud;
};

/* `why`, of n bytes, gets what is wrong with a text: LETHE_EPOLICY. LETHE_ENOMEM. On failure `end`
 * is not called. Texts are not kept. */
struct lethe_evict_score {
  struct lethe_evict_script script;
  const char *text; /* an expression, or NULL */
  int (*score)(void *ud, const double *fields, double *score);
  unsigned sample; /* 0: a heap */
  bool cells;      /* a sample is drawn out of cells */
};
LETHE_API int lethe_evict_new_score(struct lethe_evict **out, const struct lethe_alloc *a,
                                    const struct lethe_evict_score *config, int64_t limit,
                                    uint64_t seed, char *why, size_t n);

struct lethe_evict_queue {
  const char *name;
  double share, ghost;           /* of the limit; ghost 0: it has none */
  const char *on_hit, *on_evict; /* rules, or NULL */
};
struct lethe_evict_queues {
  struct lethe_evict_script script;
  unsigned count;
  struct lethe_evict_queue queue[LETHE_EVICT_QUEUES];
  const char *insert; /* a rule; NULL: into the only queue */
};
LETHE_API int lethe_evict_new_queues(struct lethe_evict **out, const struct lethe_alloc *a,
                                     const struct lethe_evict_queues *config, int64_t limit,
                                     uint64_t seed, char *why, size_t n);

/* ---- about one ------------------------------------------------------------------------------- */

/* NULL for a policy that is no script. */
LETHE_API struct lethe_evict_script *lethe_evict_script_of(struct lethe_evict *e);
LETHE_API unsigned lethe_evict_script_strikes(const struct lethe_evict *e);
/* The i-th strike, from 0 on, borrowed. */
LETHE_API const struct lethe_evict_failure *lethe_evict_script_failure(const struct lethe_evict *e,
                                                                       unsigned i);
/* The one that a callback which fails fills. */
LETHE_API struct lethe_evict_failure *lethe_evict_script_failing(struct lethe_evict *e);
/* Copies the last events, oldest first; how many. */
LETHE_API unsigned lethe_evict_script_events(const struct lethe_evict *e,
                                             struct lethe_evict_event *out);
/* Takes over the entries of another script of the same form, which is empty then: handles stay,
 * queues of the same name keep their order and their ghosts, scores stay where they are computed
 * alike. Only into a policy that has no entries. LETHE_ENOMEM; LETHE_EPOLICY: a score failed, which
 * is noted as a strike; LETHE_EINVAL: of another form, or not empty. On failure nothing has
 * moved. */
LETHE_API int lethe_evict_script_inherit(struct lethe_evict *e, struct lethe_evict *from);
/* Undoes that, before any entry has come or gone. Cannot fail. */
LETHE_API void lethe_evict_script_give_back(struct lethe_evict *e, struct lethe_evict *to);

#endif
