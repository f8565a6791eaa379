/* SPDX-License-Identifier: MIT
 * The quota tracker's records and what its files give each other.
 *
 * Sums, all under the tracker's lock (lethe_quota_check audits them):
 *   I1  participant.used = sum over its handles of (cache + spent), + what granted waits have not
 *       collected yet
 *   I2  account.used     = sum of its living participants' used
 *   I3  extra.below      = sum of used over the distinct accounts below
 *   I4  tracker.used     = sum of account.used
 *   I5  tracker.condemned = sum of used over condemned participants
 *   I6  extra.handles    = living handles in the account and the distinct accounts below
 * A handle's cache and spent change without the lock by its owner while stop is 0; whoever else needs
 * them freezes the handle first (freeze.c).
 *
 * Functions that end in _locked, and all that take a struct account, are called under the lock. */
#ifndef LETHE_QUOTA_INTERNAL_H
#define LETHE_QUOTA_INTERNAL_H

#include <math.h>
#include <pthread.h>

#include "lethe/list.h"
#include "lethe/quota.h"
#include "lethe/ref.h"
#include "lethe/slab.h"

typedef uint32_t slot_t; /* in a slab; 0: none */

enum { CLASSES = 64 };
enum { STOP_SLOW = 1, STOP_DEAD = 2 };
enum participant_state { LIVE, CONDEMNED, DEAD };
enum participant_flags {
  TOLD = 1,  /* age holds an age; else it said that it has none, or was not asked yet */
  EXACT = 2, /* no cache, never a candidate */
  ASKED = 4, /* it was asked for its age at least once */
};

/* What few accounts have: names, limits, links, history. Made when first needed. */
struct extra {
  char *name;
  slot_t up, down; /* edges to parents, to children */
  int64_t max, reserve, below;
  uint32_t handles;
  int32_t priority;
  uint32_t reclaims;
  double reclaim_seconds;
  int64_t reclaim_bytes;
  slot_t up_next, down_next; /* links of the two walks (graph.c) */
  uint32_t up_mark, down_mark;
  uint32_t blocked; /* the serving round in which a wait met this account's max */
  int64_t wanted;   /* bytes that a refused claim wants; 0: no pass is asked for */
};

struct account {
  uint32_t generation, refs;
  int64_t used, peak;
  struct extra *x;
  slot_t participants;
  slot_t class_prev, class_next;
  uint32_t seen; /* the pass that has gathered it */
  uint8_t class; /* 1 + the size class whose list it is in; 0: none */
};

struct edge {
  uint32_t generation;
  slot_t parent, child;
  slot_t next_up, next_down; /* further parents of the child, further children of the parent */
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
  pthread_t thread; /* that of its loop */
  struct lethe_message ask; /* asks it for its participants' ages */
  uint32_t asked;           /* the pass that waits for the answer; 0: none */
  bool asking;              /* the message is on its way */
  struct lethe_message notice;
  bool noticing;
  uint64_t *collapsed; /* participants that it has not been told of */
  size_t collapsed_n, collapsed_room;
  uint32_t refs;            /* of the message and of the tracker, under the lock */
};

/* ---- passes ---------------------------------------------------------------------------------- */

struct ranked {
  double score, oldest;
  uint64_t account;
  int64_t freed;  /* by it, in this pass */
  uint32_t tried; /* times it was asked in this pass */
  uint32_t place; /* of an ordering policy: 1 is first; 0: by score */
};

enum phase { IDLE, DRAIN, ASK, ASKING, POLICY, POLICY_ELSEWHERE, CHOOSE, RECLAIM, RECLAIMING };

struct lethe_quota_call {
  struct lethe_message message;
  struct lethe_list node; /* pass.calls */
  struct lethe_quota *t;
  uint32_t refs; /* the pass and the callee, under the lock */
  uint32_t pass;
  uint64_t participant;
  struct lethe_quota_member *member;
  void *ud;
  size_t prey; /* whose participant it is */
  bool issued, answered, stays;
  struct lethe_quota_request request;
};

/* Where a walk over the participants of a pass stands; it survives the lock's being dropped. */
struct cursor {
  slot_t slot;     /* whole tracker: the next slot */
  size_t account;  /* a tree: index into pass.tree */
  uint64_t last;   /* the participant visited last in that account; 0: none yet */
  uint32_t lost;   /* how often it was gone when the walk went on; bounds the beginning anew */
};

/* An account that a victim takes along, the victim itself first. */
struct prey {
  uint64_t account;
  int64_t before; /* used when it was asked */
  bool spared;    /* its reserve protects it */
  bool asked, collapsed, stays;
};

struct pass {
  uint32_t id; /* 0: no pass */
  enum phase phase;
  enum lethe_quota_reason reason;
  uint64_t scope; /* by account: its id; else 0 */
  int64_t goal;   /* by hand: bytes, 0 down to low_water; by account: the claim that must fit */
  bool for_wait;  /* by max: a wait wants room though used is not above max */
  struct lethe_quota_manual *manual;
  struct lethe_quota_policy *policy; /* in charge; becomes the fallback on failure */
  bool started, ended;               /* the policy's start and stop were called */
  bool failed, degraded, degraded_done;
  enum lethe_quota_outcome outcome;
  double began;
  int64_t freed;
  uint32_t victims;

  slot_t scan; /* the next account of the first gathering; 0: it is over */
  uint32_t stamp; /* what account.seen holds once gathered */
  slot_t drain;
  struct cursor ask;
  uint64_t *tree; /* the accounts of the scope */
  size_t tree_n, tree_room;
  struct prey *prey;
  size_t prey_n, prey_room;
  struct ranked *heap;
  size_t heap_n, heap_room;

  struct lethe_list calls;
  uint32_t outstanding; /* answers awaited */
  struct ranked victim, again; /* asked now; to be ranked again (account 0: none) */
  bool tell_victim; /* the policy's victim hook is due */
  struct lethe_quota_candidate victim_was;
  int64_t victim_freed;
  double victim_began;
};

struct condemned {
  uint64_t participant;
  uint64_t account;
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
  uint64_t handles, live_participants;
  slot_t classes[CLASSES + 1];
  enum lethe_quota_level level;

  struct lethe_quota_member **members;
  size_t members_n, members_room;
  struct lethe_quota_member *home; /* whose loop drives */

  struct lethe_quota_policy *policy, *fallback;
  struct lethe_list manuals;
  uint64_t *wanting; /* accounts whose refused claims want a pass */
  size_t wanting_n, wanting_room;
  uint64_t *arrivals; /* accounts that the running pass has not gathered */
  size_t arrivals_n, arrivals_room;
  bool arrivals_lost;
  struct lethe_message kick, hop; /* to the home loop; to the policy's */
  bool kicked, hopping, hop_began, stepping;
  struct lethe_timer timer, grave_timer;
  struct pass pass;
  uint32_t last_pass, mark, round;
  int64_t stuck_at; /* used when the last pass got stuck; -1: none since */
  double stuck_time;
  bool stuck_news; /* somebody arrived since */

  struct condemned *graves;
  size_t graves_n, graves_room;

  struct lethe_list waits;   /* by priority, then by arrival */
  struct lethe_list granted; /* not collected by their owners yet */
  double wait_since, stalled;
  bool max_blocks; /* the first wait is blocked by the tracker's max */

  struct lethe_list events;
  pthread_mutex_t sink_lock; /* held while the sink runs, so that mute can wait for it */
  void (*sink)(void *ud, const struct lethe_quota_event *e);
  void *sink_ud;

  uint64_t reclaims, victims, policy_failures, stuck;
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
/* The living account of a participant, or NULL. */
static inline struct account *account_of(const struct lethe_quota *t, const struct participant *p) {
  return account_find(t, account_id_of(p));
}

/* ---- what the files give each other ----------------------------------------------------------- */

/* tracker.c: the lock; unlocking delivers the events that were noted under it. */
void quota_lock(struct lethe_quota *t);
void quota_unlock(struct lethe_quota *t);
void quota_memory_put(struct lethe_quota *t);
void quota_strong_put_locked(struct lethe_quota *t);
double quota_now(const struct lethe_quota *t);
/* An event to be delivered at unlock, its account and name filled in; NULL without memory. */
struct lethe_quota_event *quota_note(struct lethe_quota *t, enum lethe_quota_event_type type,
                                     uint64_t account);

/* accounting.c: every change of a sum goes through these two. */
void quota_charge(struct lethe_quota *t, struct participant *p, int64_t n);
void quota_uncharge(struct lethe_quota *t, struct participant *p, int64_t n);
void quota_update_level(struct lethe_quota *t);
uint32_t quota_cap(const struct lethe_quota *t, slot_t account);
void quota_reclass(struct lethe_quota *t, slot_t account);
void quota_unclass(struct lethe_quota *t, slot_t account);

/* graph.c */
struct extra *quota_extra(struct lethe_quota *t, slot_t account);
/* The accounts above (or below), the one itself first, each once: the first is `account`, then
 * quota_up (quota_down) until 0. One walk of each kind at a time. */
void quota_walk_up(struct lethe_quota *t, slot_t account);
void quota_walk_down(struct lethe_quota *t, slot_t account);
slot_t quota_up(const struct lethe_quota *t, slot_t account);
slot_t quota_down(const struct lethe_quota *t, slot_t account);
/* Makes child a child of parent; the sums above are the caller's matter. */
int quota_link(struct lethe_quota *t, slot_t child, slot_t parent, uint64_t *id);
void quota_unlink_all(struct lethe_quota *t, slot_t account);
/* The nearest account at or above that n more bytes would take past its max; 0: none. */
slot_t quota_blocker(struct lethe_quota *t, slot_t account, int64_t n);
void quota_handles_changed(struct lethe_quota *t, slot_t account, int32_t by);

/* account.c */
void quota_account_end(struct lethe_quota *t, slot_t account);
void quota_account_info(const struct lethe_quota *t, slot_t account,
                        struct lethe_quota_account_info *out);

/* handle.c */
/* Its handles die with it. Condemn leaves its bytes in t->condemned. */
void quota_participant_end(struct lethe_quota *t, slot_t participant);
void quota_participant_condemn(struct lethe_quota *t, slot_t participant);
void quota_participant_forget(struct lethe_quota *t, slot_t participant);
int quota_handle_check(const struct lethe_quota *t, const struct participant *p);

/* freeze.c: stops handles and waits until their owners are out of the hot path. */
void quota_freeze_participant(struct lethe_quota *t, struct participant *p);
/* Calls the unspent caches of the account's handles back, and those below it with `tree`. Drops and
 * takes the lock again between slices. */
void quota_drain_tree(struct lethe_quota *t, uint64_t account);
/* One slice of participants from *cursor on; false at the end. */
bool quota_drain_slice(struct lethe_quota *t, slot_t *cursor);

/* wait.c */
void quota_serve(struct lethe_quota *t);
/* The waits of a participant, or of one handle of it, end with what a claim would answer now. */
void quota_waits_fail(struct lethe_quota *t, slot_t participant, struct lethe_quota_handle *h);
int64_t quota_granted_to(const struct lethe_quota *t, slot_t participant);

/* member.c */
struct lethe_quota_member *quota_member(const struct lethe_quota *t, uint16_t index);
void quota_member_put_locked(struct lethe_quota_member *m);
/* Asks the participants of the calling thread's member for their ages. */
void quota_ask_here(struct lethe_quota_member *m, uint32_t pass);
/* Asks the members of other threads; how many are asked. */
uint32_t quota_ask_elsewhere(struct lethe_quota *t, uint32_t pass);
/* Asks those of this thread again whose accounts are to be ranked anew: arrivals, a victim that stays. */
void quota_ask_again(struct lethe_quota *t);
/* Its participant has collapsed; quota_tell_collapsed lets all members know. */
void quota_collapsed(struct lethe_quota *t, uint16_t member, uint64_t participant);
void quota_tell_collapsed(struct lethe_quota *t);

/* pass.c: the state machine */
/* Something may call for a pass: wakes the driver if so. */
void quota_wake(struct lethe_quota *t);
/* Has the driver look at the pass. */
void quota_kick(struct lethe_quota *t);
/* Has it look again after that long, at the latest. On the home loop's thread. */
void quota_wait_at_most(struct lethe_quota *t, double seconds);
/* A member leaves: the pass goes on without it, driven by another if it was its driver. */
void quota_rehome(struct lethe_quota *t, struct lethe_quota_member *leaving);
void quota_pass_abort(struct lethe_quota *t);
void quota_manual_done(struct lethe_quota_manual *m, int64_t freed);
int64_t quota_pass_needs(struct lethe_quota *t);

/* request.c: what passes are asked for */
bool quota_wanted(struct lethe_quota *t);
bool quota_next_request(struct lethe_quota *t);
void quota_want_account(struct lethe_quota *t, slot_t account, int64_t n);
void quota_arrive(struct lethe_quota *t, slot_t account);

/* candidates.c: gathering, the heap, plan */
void quota_cursor_reset(struct cursor *c);
/* The next participant of the pass, or 0 at the end; counts it against `*left`, and answers 0 with *left 0
 * when the slice is used up. */
slot_t quota_cursor_next(struct lethe_quota *t, struct cursor *c, uint32_t *left);
int quota_tree_of(struct lethe_quota *t, slot_t account);
slot_t quota_next_in_account(struct lethe_quota *t, uint64_t account, struct cursor *c);
bool quota_candidate(struct lethe_quota *t, uint64_t account, bool degraded,
                     struct lethe_quota_candidate *out);
/* Ranks what is to be ranked: the first gathering, arrivals, a victim that stays. On the policy's thread. */
void quota_rank(struct lethe_quota *t);
bool quota_pop(struct lethe_quota *t, struct ranked *out);
void quota_visited(struct lethe_quota *t, uint32_t participants);

/* victims.c: asking one victim, and what follows from the answers */
void quota_victim_ask(struct lethe_quota *t);
void quota_victim_settle(struct lethe_quota *t);
void quota_calls_drop(struct lethe_quota *t, const struct lethe_quota_member *of);

/* graves.c: condemned bytes that are still there after a deadline */
void quota_bury(struct lethe_quota *t, uint64_t participant, uint64_t account);
void quota_graves_timer(struct lethe_quota *t);

#endif
