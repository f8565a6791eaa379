/* SPDX-License-Identifier: MIT
 * The quota tracker's records, and the sums that they keep.
 *
 * Sums, all under the tracker's lock (lethe_quota_check audits them):
 *   I1  participant.used = sum over its handles of (cache + spent), + what granted waits have not
 *       collected yet
 *   I2  account.used     = sum of its living participants' used
 *   I3  extra.below      = sum of used over the distinct accounts below
 *   I4  tracker.used     = sum of account.used
 *   I5  tracker.condemned = sum of used over condemned participants
 *   I6  extra.handles    = living handles in the account and the distinct accounts below;
 *       extra.own, in the account itself; tracker.handles, in all
 *   I7  every account is in the list of its size class, and in no other
 * A handle's cache and spent change without the lock by its owner while stop is 0; whoever else
 * needs them freezes the handle first (freeze.c). */
#ifndef LETHE_QUOTA_RECORDS_H
#define LETHE_QUOTA_RECORDS_H

#include <math.h>
#include <pthread.h>

#include "lethe/list.h"
#include "lethe/quota.h"
#include "lethe/ref.h"
#include "lethe/slab.h"
#include "vec.h"

typedef uint32_t slot_t; /* in a slab; 0: none */

enum { CLASSES = 64, QUOTA_MESSAGE = 200 };
enum { STOP_SLOW = 1, STOP_DEAD = 2 };
enum participant_state { LIVE, CONDEMNED, DEAD };
enum participant_flags {
  TOLD = 1,    /* age holds an age; else it said that it has none, or was not asked yet */
  EXACT = 2,   /* no cache, never a candidate */
  WATCHED = 8, /* condemned, and somebody will say when its object is gone */
  ASKED = 4,   /* it was asked for its age at least once */
};

/* What few accounts have: names, limits, links, history, a second participant. Made when first
 * needed. */
struct extra {
  char *name;
  slot_t up, down; /* edges to parents, to children */
  int64_t max, reserve, below;
  uint32_t own, handles;
  int32_t priority;
  uint32_t reclaims;
  double reclaim_seconds;
  int64_t reclaim_bytes;
  slot_t up_next, down_next; /* links of the two walks (graph.c) */
  uint64_t up_mark, down_mark;
  uint32_t touched; /* the pass that took it along with a victim since it was ranked */
  uint32_t blocked; /* the serving round in which a wait met this account's max */
  bool stuck;       /* a pass for its waits found nothing, and nothing was claimed below since */
  int64_t wanted;   /* bytes that a refused claim wants; 0: no pass is asked for */
};

/* One for each tenant of a program: kept small. */
struct account {
  uint32_t generation, refs;
  int64_t used, peak;
  struct extra *x;
  slot_t participants;
  slot_t class_prev, class_next;
  uint32_t seen; /* the gathering that has it, or had it and found nothing that is due again */
};

struct edge {
  uint32_t generation;
  slot_t parent, child;
  slot_t next_up;              /* further parents of the child: few */
  slot_t next_down, prev_down; /* further children of the parent: any number */
};

struct participant {
  uint32_t generation, refs; /* refs: its handles */
  slot_t account;
  uint32_t account_generation;
  slot_t prev, next; /* of the same account */
  uint16_t member;
  uint8_t state; /* enum participant_state */
  uint8_t flags;
  int64_t used;
  double age;
  void *ud;
  struct lethe_quota_handle *handles;
};

struct lethe_quota_member {
  struct lethe_quota *t;
  struct lethe_loop *loop;
  const struct lethe_quota_member_ops *ops; /* NULL once it left */
  void *ud;
  uint16_t index;
  pthread_t thread;          /* that of its loop */
  uint32_t refs;             /* of its messages and of the tracker, under the lock */
  uint32_t participants;     /* living ones */
  struct lethe_message kick; /* looks at the pass, if this is its driver */
  bool kicked;
  struct lethe_message ask; /* asks it for its participants' ages */
  uint32_t asked;           /* the pass that waits for the answer; 0: none */
  bool asking;              /* the message is on its way */
  struct lethe_message notice;
  bool noticing;
  struct vec collapsed; /* participants that it is to be told of; the first were told */
  size_t collapsed_told;
};

/* ---- walks that survive the lock's being dropped --------------------------------------------- */

/* An account and all below it, each once, as ids; found a few at a time (tree.c). */
struct tree {
  struct vec v;
  size_t open;   /* v[open] is the first whose children are not all in yet */
  uint64_t edge; /* to the child of v[open] that is next; 0: the first */
  uint8_t *in;   /* a bit for each slot of an account: it is in v */
  size_t in_room;
};

/* The next participant of the tracker, of a tree or of one account. While it is open, whoever takes
 * a participant out moves it on, so it never stands on one that is gone. */
struct cursor {
  struct lethe_list node;  /* tracker.cursors */
  const struct tree *tree; /* NULL: all of the tracker, by slot */
  size_t account;          /* of the tree: the one after that in which it is */
  slot_t at;               /* the participant that is next; 0: at the end (of this account) */
};

/* ---- passes ---------------------------------------------------------------------------------- */

struct ranked {
  double score, oldest;
  uint64_t account;
  int64_t freed;  /* by it, in this pass */
  uint32_t tried; /* times it was asked in this pass */
  uint32_t place; /* of an ordering policy: 1 is first; 0: by score */
};

enum phase {
  IDLE,
  SCOPE,
  DRAIN,
  ASK,
  ASKING,
  CHOOSE,
  POLICY,
  POLICY_ELSEWHERE,
  RECLAIM,
  RECLAIMING
};

struct lethe_quota_call {
  struct lethe_message message;
  struct lethe_list node; /* pass.calls */
  struct lethe_quota *t;
  uint32_t refs; /* the pass and the callee, under the lock */
  uint64_t participant;
  struct lethe_quota_member *member;
  void *ud;
  size_t prey; /* whose participant it is */
  bool issued, answered, stays;
  int64_t used; /* of the tracker, when the victim was asked */
  struct lethe_quota_request request;
};

/* An account that a victim takes along; the victim is the first. */
struct prey {
  int64_t before; /* used when it was asked */
  bool spared;    /* its reserve protects it */
  bool asked, collapsed, stays;
};

/* The policy's turn on a loop of its own. */
struct hop {
  struct lethe_message message;
  struct lethe_quota *t;
  struct lethe_quota_policy *policy; /* a reference */
};

struct pass {
  uint32_t id; /* 0: no pass */
  enum phase phase;
  enum lethe_quota_reason reason;
  uint64_t scope; /* by account: its id; else 0 */
  int64_t goal;   /* by hand: bytes, 0 down to low_water; by account: the claim that must fit */
  bool for_wait;  /* by max: a wait wants room though used is not above max */
  struct lethe_quota_manual *manual;
  struct lethe_quota_policy *given;  /* what it began with, a reference */
  struct lethe_quota_policy *policy; /* in charge: that one, or after its failure the fallback */
  bool started, ended;               /* the policy's start was called; the outcome stands */
  bool degraded, degraded_done;
  enum lethe_quota_outcome outcome;
  double began;
  int64_t freed;
  uint32_t victims;

  struct tree tree; /* the accounts of the scope */
  struct cursor drain;
  slot_t scan; /* the next account of the first gathering (of a scope: 1 + index); 0: it is over */
  uint32_t stamp;  /* what account.seen holds once gathered */
  struct vec heap; /* of struct ranked */
  struct hop *hop; /* on its way, or at work; NULL: none, or it was given up */
  bool hop_began;

  struct tree family; /* the victim and all below it */
  struct vec prey;    /* a struct prey for each in the family */
  struct lethe_list calls;
  uint32_t outstanding;        /* answers awaited */
  struct ranked victim, again; /* asked now; to be ranked again (account 0: none) */
  bool tell_victim;            /* the policy's victim hook is due */
  struct lethe_quota_candidate victim_was;
  int64_t victim_freed;
  double victim_began;
};

struct condemned {
  uint64_t participant;
  uint64_t account;
  char *name; /* of the account, which ends before; NULL: none */
  double due;
};

struct lethe_quota {
  struct lethe_ref memory; /* the struct itself: trackers, accounts, participants, members */
  const struct lethe_alloc *alloc;
  bool noop;

  pthread_mutex_t lock;
  uint32_t strong; /* references and account handles: at 0 the tracker shuts down */
  bool shut;
  int64_t used, peak, max, low_water, condemned, freed;
  bool low_water_auto, max_auto;
  double deadline;
  struct lethe_slab accounts, participants, edges;
  uint64_t handles, live_participants, condemned_n;
  slot_t classes[CLASSES + 1];
  enum lethe_quota_level level;

  struct lethe_quota_member **members;
  size_t members_n, members_room;
  struct lethe_quota_member *home; /* whose loop drives */

  struct lethe_quota_policy *policy, *fallback;
  struct lethe_quota_policy *dropped; /* a reference to be put once the lock is open */
  pthread_mutex_t policy_lock; /* policies without a loop are called by one thread at a time */
  struct lethe_list manuals;
  struct vec wanting;  /* accounts whose refused claims want a pass; the first were served */
  struct vec arrivals; /* accounts that the running pass has not gathered; the first were asked */
  size_t wanting_served, arrivals_asked;
  bool arrivals_lost;
  bool stepping;
  struct lethe_timer timer, grave_timer;
  double restart; /* seconds that the timer has left, once there is a home again; below 0: none */
  struct pass pass;
  struct lethe_list cursors;
  uint32_t last_pass, round;
  uint64_t mark;
  int64_t stuck_at; /* used when the last pass got stuck; -1: none since */
  double stuck_time;
  bool stuck_news;   /* somebody arrived since */
  bool account_last; /* the last pass was one over an account */

  struct vec graves; /* of struct condemned */

  struct lethe_list waits;   /* by priority, then by arrival */
  struct lethe_list granted; /* not collected by their owners yet */
  double wait_since, stalled;
  int64_t max_wants;      /* bytes of the first wait that the tracker's max blocks; 0: none */
  uint64_t account_wants; /* the account that blocks the first wait of its kind; 0: none */
  int64_t account_wants_n;

  struct lethe_list events;
  pthread_mutex_t sink_lock; /* held while the sink runs, so that mute can wait for it; recursive */
  void (*sink)(void *ud, const struct lethe_quota_event *e);
  void *sink_ud;

  uint64_t reclaims, victims, policy_failures, stuck;
  uint32_t visited; /* accounts and participants, in this hold of the lock */
  uint32_t longest_hold;
  double longest_hold_time, longest_pass;
  double held_since; /* this hold of the lock, if it is one of a pass; 0: not measured */
};

/* ---- records --------------------------------------------------------------------------------- */

static inline struct account *account_at(const struct lethe_quota *t, slot_t s) {
  return lethe_slab_slot(&t->accounts, s);
}
static inline struct account *account_find(const struct lethe_quota *t, uint64_t id) {
  return lethe_slab_find(&t->accounts, id);
}
static inline struct participant *participant_at(const struct lethe_quota *t, slot_t s) {
  return lethe_slab_slot(&t->participants, s);
}
static inline struct edge *edge_at(const struct lethe_quota *t, slot_t s) {
  return lethe_slab_slot(&t->edges, s);
}
static inline uint64_t account_id_of(const struct participant *p) {
  return (uint64_t)p->account_generation << 32 | p->account;
}
/* No pass runs and nobody waits: handles may hold what they do not use. */
static inline bool quota_may_cache(const struct lethe_quota *t) {
  return !t->pass.id && lethe_list_empty(&t->waits);
}
/* The size class of so many bytes: 0 for nothing, else 1 + the position of the highest bit. */
static inline uint8_t quota_class_of(int64_t used) {
  return used <= 0 ? 0 : (uint8_t)(64 - __builtin_clzll((unsigned long long)used));
}
/* The living account of a participant, or NULL. */
static inline struct account *account_of(const struct lethe_quota *t, const struct participant *p) {
  return account_find(t, account_id_of(p));
}
/* What a claim for the participant would answer before it looks at limits. */
static inline int quota_participant_check(const struct lethe_quota *t,
                                          const struct participant *p) {
  if (__builtin_expect(p->state == LIVE, 1)) return LETHE_OK; /* its account is there then */
  if (t->shut) return LETHE_ESHUTDOWN;
  return account_of(t, p) ? LETHE_EPARTICIPANT : LETHE_EACCOUNT;
}

#endif
