/* SPDX-License-Identifier: MIT
 * Memory quota tracker: who holds how much, and what gives memory back when it is too much.
 *
 * A tracker has a limit (max) and a target (low_water). Accounts hold participants; participants
 * claim bytes and release them. When the sum crosses max, a reclamation pass begins: it calls
 * unspent caches back, asks every participant how old its oldest data is, ranks the accounts by a
 * policy, and asks the worst of them, with all accounts below it, to give memory back, until the
 * sum is at low_water. An account that collapses ends; one that gives part stays. A claim is never
 * refused for the tracker's max (it starts a pass), but an account's own max is exact to the byte.
 *
 * Vocabulary. Account: a counted name for bytes; accounts form a directed acyclic graph, and an
 * account's max covers all below it. Participant: an object that can be asked for memory; it
 * belongs to one account and to one member. Handle: what a participant claims through, with a
 * private cache of claimed bytes, so that most claims are a compare and a subtraction. Member: a
 * thread's loop, where its participants are asked. Pass: one run of reclamation; one at a time per
 * tracker.
 *
 *   lethe_quota_new             lethe_quota_member_new       lethe_quota_account_new
 *   lethe_quota_handle_open     lethe_quota_claim            lethe_quota_release
 *   lethe_quota_handle_close    lethe_quota_account_close    lethe_quota_put
 *
 * The model is the memory quota tracker of the Tor project's Arti; what differs is in
 * runtime/README.md.
 *
 * Synchronization: a handle belongs to one thread at a time, a member to its loop's thread;
 * everything else may be called from any thread. Callbacks run on their member's loop, never with
 * the tracker's lock held, and may call anything here. Events are delivered one at a time and in
 * order, on a thread that causes some, before the call that caused them returns.
 *
 * Progress: claim and release on the cache are wait-free; the rest blocks on the tracker's mutex,
 * which no pass holds for more than 64 accounts and participants at a time. */
#ifndef LETHE_QUOTA_H
#define LETHE_QUOTA_H

#include "lethe/atomic.h"
#include "lethe/loop.h"
#include "lethe/ref.h"

struct lethe_quota;
struct lethe_quota_member;
struct lethe_quota_policy;

enum { LETHE_QUOTA_CACHE = 16384, LETHE_QUOTA_SLICE = 64 };
#define LETHE_QUOTA_NO_LIMIT INT64_MAX

/* ---- trackers -------------------------------------------------------------------------------- */

enum lethe_quota_event_type {
  LETHE_QUOTA_RECLAIM_START,
  LETHE_QUOTA_RECLAIM_STOP,
  LETHE_QUOTA_VICTIM,
  LETHE_QUOTA_POLICY_FAILED,
  LETHE_QUOTA_PARTICIPANT_LOST,
  LETHE_QUOTA_OVER_RELEASE,
  LETHE_QUOTA_STUCK,
  LETHE_QUOTA_RECONFIGURED,
  LETHE_QUOTA_PRESSURE,
  LETHE_QUOTA_NOT_FREED,
  LETHE_QUOTA_COLLECTED /* bindings: a handle was collected that nobody had closed */
};
enum lethe_quota_reason { LETHE_QUOTA_BY_MAX, LETHE_QUOTA_BY_ACCOUNT, LETHE_QUOTA_BY_HAND };
enum lethe_quota_outcome { LETHE_QUOTA_COMPLETE, LETHE_QUOTA_IS_STUCK, LETHE_QUOTA_MANUAL };
enum lethe_quota_level {
  LETHE_QUOTA_NORMAL,
  LETHE_QUOTA_SOFT,
  LETHE_QUOTA_HIGH,
  LETHE_QUOTA_CRITICAL
};

/* Fields that a type does not name are 0. bytes: of victim, what it freed; of over_release, the
 * excess; of participant_lost and not_freed, what was counted; of reclaim_stop, all that was
 * freed. */
struct lethe_quota_event {
  enum lethe_quota_event_type type;
  uint64_t account;
  char name[64]; /* of the account, cut to fit */
  int64_t bytes;
  int64_t used;     /* of the tracker then */
  int64_t goal;     /* reclaim_start: bytes wanted; stuck: bytes still wanted */
  double value;     /* pressure: 0..1; victim: its score; reclaim_stop: seconds */
  uint32_t victims; /* reclaim_stop */
  enum lethe_quota_reason reason;
  enum lethe_quota_outcome outcome;
  enum lethe_quota_level level;
  char message[200]; /* policy_failed; of collected, what it was */
};

struct lethe_quota_config {
  int64_t max;       /* bytes; -1: by the machine, see lethe_quota_auto_max */
  int64_t low_water; /* bytes; -1: 3/4 of max */
  double deadline;   /* seconds that a participant has to give memory back; 0: 5 */
};

/* 40 % of the memory from 8 GiB on, else 75 %, within 256 MiB and 8 GiB; memory < 0: unknown. */
LETHE_API int64_t lethe_quota_auto_max(int64_t memory);
/* The least of RAM and the cgroup's limit, or -1. */
LETHE_API int64_t lethe_quota_machine_memory(void);

/* A new tracker, one reference. Its passes run on the loop of its first member, and when that
 * leaves on another's. `event` (may be NULL) hears of them. LETHE_ELIMITS with *why set where the
 * limits do not fit. */
LETHE_API int lethe_quota_new(struct lethe_quota **out, const struct lethe_alloc *a,
                              const struct lethe_quota_config *config,
                              void (*event)(void *ud, const struct lethe_quota_event *e), void *ud,
                              const char **why);
/* A tracker that counts nothing and refuses nothing. */
LETHE_API int lethe_quota_noop(struct lethe_quota **out, const struct lethe_alloc *a);
LETHE_API struct lethe_quota *lethe_quota_get(struct lethe_quota *t);
/* The tracker shuts down when neither a reference nor an open account is left. */
LETHE_API void lethe_quota_put(struct lethe_quota *t);
/* Ends every account now; further calls answer LETHE_ESHUTDOWN. The event sink is not called
 * after. */
LETHE_API void lethe_quota_shutdown(struct lethe_quota *t);
/* Another sink from now on. */
LETHE_API void lethe_quota_listen(struct lethe_quota *t,
                                  void (*event)(void *ud, const struct lethe_quota_event *e),
                                  void *ud);
/* Delivers an event of the caller's making. */
LETHE_API void lethe_quota_emit(struct lethe_quota *t, const struct lethe_quota_event *e);
/* The sink's owner goes away: no event is delivered any more once this returns. */
LETHE_API void lethe_quota_mute(struct lethe_quota *t);

struct lethe_quota_change {
  bool set_max, set_low_water, set_deadline;
  struct lethe_quota_config to;      /* -1 again means auto */
  struct lethe_quota_policy *policy; /* NULL keeps it; a reference is taken */
};
/* All or nothing: LETHE_ELIMITS with *why set leaves everything as it was, as does
 * LETHE_ESHUTDOWN. */
LETHE_API int lethe_quota_configure(struct lethe_quota *t, const struct lethe_quota_change *change,
                                    const char **why);

struct lethe_quota_stats {
  int64_t used, peak, max, low_water, untracked, condemned, freed;
  uint64_t accounts, participants, reclaims, victims, policy_failures, stuck;
  double stall_seconds;  /* time in which at least one claim waited */
  uint32_t longest_hold; /* accounts and participants visited in one lock hold of a pass, at most */
  double longest_hold_time; /* seconds */
  double longest_pass;      /* seconds */
};
LETHE_API int64_t lethe_quota_used(struct lethe_quota *t);
LETHE_API void lethe_quota_read_stats(struct lethe_quota *t, struct lethe_quota_stats *out);
LETHE_API double lethe_quota_pressure(struct lethe_quota *t, enum lethe_quota_level *level);
/* Audits every sum; LETHE_EBROKEN with what is wrong in `why`. */
LETHE_API int lethe_quota_check(struct lethe_quota *t, char *why, size_t n);
LETHE_API bool lethe_quota_is_noop(const struct lethe_quota *t);

/* ---- accounts -------------------------------------------------------------------------------- */

struct lethe_quota_account_config {
  const char *name; /* may be NULL */
  int64_t max;      /* LETHE_QUOTA_NO_LIMIT: none */
  int64_t reserve;  /* bytes that no ordinary pass takes */
  int32_t priority;
};

/* An id with one handle on it. parent 0: none. LETHE_EACCOUNT, LETHE_ESHUTDOWN, LETHE_ENOMEM. */
LETHE_API int lethe_quota_account_new(struct lethe_quota *t,
                                      const struct lethe_quota_account_config *config,
                                      uint64_t parent, uint64_t *out);
/* One handle more; of an account that ended it does nothing. */
LETHE_API void lethe_quota_account_clone(struct lethe_quota *t, uint64_t account);
/* One handle less; the account ends with the last. Returns the bytes that ended with it. */
LETHE_API int64_t lethe_quota_account_close(struct lethe_quota *t, uint64_t account);
/* One handle more on an account known by its id: LETHE_EACCOUNT or LETHE_ESHUTDOWN if it ended. */
LETHE_API int lethe_quota_account_upgrade(struct lethe_quota *t, uint64_t account);
LETHE_API int lethe_quota_account_add_parent(struct lethe_quota *t, uint64_t account,
                                             uint64_t parent);

struct lethe_quota_account_info {
  uint64_t account;
  char name[64];
  int64_t used, peak, reserve, limit, children_used; /* limit: LETHE_QUOTA_NO_LIMIT if none */
  double oldest; /* -INFINITY: never told though it holds bytes; INFINITY: nothing to tell */
  uint32_t participants, reclaims;
  int32_t priority;
};
LETHE_API int lethe_quota_account_read(struct lethe_quota *t, uint64_t account,
                                       struct lethe_quota_account_info *out);
/* The n largest accounts into out, largest first; how many there are. */
LETHE_API size_t lethe_quota_top(struct lethe_quota *t, struct lethe_quota_account_info *out,
                                 size_t n);
/* Asks the account's participants on this thread how old their data is, as a plan does. */
LETHE_API void lethe_quota_ask(struct lethe_quota *t, uint64_t account);
/* Walks the accounts: the first one after slot `*cursor` (0 at the start), or false at the end. */
LETHE_API bool lethe_quota_next_account(struct lethe_quota *t, uint32_t *cursor,
                                        struct lethe_quota_account_info *out);

/* ---- members and participants ---------------------------------------------------------------- */

struct lethe_quota_request {
  int64_t goal;      /* bytes that the pass still needs, 1 where others of the account gave all */
  double older_than; /* what is older may go before another victim's; NAN: no such age */
  double deadline;   /* seconds, from when it was posted */
  enum lethe_quota_reason reason;
};
struct lethe_quota_call; /* a reclaim request under way */

struct lethe_quota_member_ops {
  /* 1 and *age: the oldest data of the participant; 0: it has none; -1: it is gone, or failed; then
   * it is torn down. Must not wait. */
  int (*oldest)(void *member_ud, uint64_t participant, void *ud, double *age);
  /* Starts giving memory back; ends with one lethe_quota_answer(call), at once or later, from this
   * thread. */
  void (*reclaim)(void *member_ud, uint64_t participant, void *ud,
                  const struct lethe_quota_request *request, struct lethe_quota_call *call);
  /* The participant has collapsed; its bytes are condemned until they are released or
   * lethe_quota_buried says that its object is gone. `ud` is NULL if its handles are closed by now.
   * May be NULL. */
  void (*collapsed)(void *member_ud, uint64_t participant, void *ud);
};

LETHE_API int lethe_quota_member_new(struct lethe_quota_member **out, struct lethe_quota *t,
                                     struct lethe_loop *loop,
                                     const struct lethe_quota_member_ops *ops, void *ud);
/* From its thread, before its loop closes; its handles are closed already (a participant that is
 * left ends). Calls that it has not answered count as collapsing; each is still to be answered
 * once, for its memory's sake. Claims that wait and passes by hand on its loop are answered, on
 * that loop. */
LETHE_API void lethe_quota_member_delete(struct lethe_quota_member *m);

/* `stays`: it gave what it could and lives on ("partial"); else it is collapsing. */
LETHE_API void lethe_quota_answer(struct lethe_quota_call *call, bool stays);
/* False once its participant ended by other ways: there is nobody left to ask. */
LETHE_API bool lethe_quota_call_stands(const struct lethe_quota_call *call);
/* The bytes of one that collapsed stay condemned though all its handles close, until _buried. */
LETHE_API void lethe_quota_watch(struct lethe_quota *t, uint64_t participant);
LETHE_API void lethe_quota_buried(struct lethe_quota *t, uint64_t participant);

/* ---- handles: claim and release -------------------------------------------------------------- */

/* Caller's memory, not moved while open. The fields are for the inline functions below. */
struct lethe_quota_handle {
  struct lethe_quota *tracker; /* NULL: closed */
  struct lethe_quota_handle *next;
  int64_t spent;  /* claimed through this handle and not released */
  uint32_t cache; /* claimed from the tracker and not spent */
  uint32_t cap;   /* what the cache may hold */
  uint32_t participant;
  _Atomic uint8_t busy; /* the owner is between the checks and the stores below */
  _Atomic uint8_t stop; /* not 0: take the slow path */
};

/* Registers a participant with its first handle; claims a cache for it where there is room.
 * `exact`: no cache ever, and never a candidate (a Lua state's allocator). */
LETHE_API int lethe_quota_handle_open(struct lethe_quota_handle *h, struct lethe_quota_member *m,
                                      uint64_t account, void *ud, bool exact,
                                      uint64_t *participant);
/* A second handle on the participant, with an empty cache. */
LETHE_API void lethe_quota_handle_clone(struct lethe_quota_handle *h,
                                        struct lethe_quota_handle *from);
/* Gives the cache back; the participant ends, and its bytes with it, when it was the last. Claims
 * that wait through it fail. Returns the bytes that ended with it. */
LETHE_API int64_t lethe_quota_handle_close(struct lethe_quota_handle *h);
/* Ends the participant: its bytes count as freed, condemned ones too; every clone answers
 * LETHE_EPARTICIPANT. */
LETHE_API void lethe_quota_handle_destroy(struct lethe_quota_handle *h);
/* Bytes claimed and not released by the participant (unspent caches apart). */
LETHE_API int64_t lethe_quota_handle_used(struct lethe_quota_handle *h);
LETHE_API uint64_t lethe_quota_handle_account(const struct lethe_quota_handle *h);
LETHE_API uint64_t lethe_quota_handle_participant(const struct lethe_quota_handle *h);
/* LETHE_OK while the handle may claim, else what a claim would answer. */
LETHE_API int lethe_quota_handle_state(struct lethe_quota_handle *h);

/* True once a pass has condemned its participant and the bytes are not all released. */
LETHE_API bool lethe_quota_handle_condemned(struct lethe_quota_handle *h);

LETHE_API int lethe_quota_claim_slow(struct lethe_quota_handle *h, int64_t n);
LETHE_API void lethe_quota_release_slow(struct lethe_quota_handle *h, int64_t n);

/* The hot path is fenced against whoever calls caches back: the owner shows `busy` before it looks
 * at `stop`; the other side sets `stop`, makes every thread see it (lethe_fence_heavy) and waits
 * until `busy` is clear. One of the two sees the other. */
static inline bool lethe_quota_enter(struct lethe_quota_handle *h) {
#if LETHE_TSAN
  store_seq(&h->busy, 1);
  return load_seq(&h->stop) == 0;
#else
  store_rlx(&h->busy, 1);
  lethe_fence_light();
  return load_rlx(&h->stop) == 0;
#endif
}
static inline void lethe_quota_leave(struct lethe_quota_handle *h) { store_rel(&h->busy, 0); }

/* n >= 0. 0 or LETHE_ESHUTDOWN, LETHE_EACCOUNT, LETHE_EPARTICIPANT, LETHE_ELIMIT. */
static inline int lethe_quota_claim(struct lethe_quota_handle *h, int64_t n) {
  if (__builtin_expect(lethe_quota_enter(h) && n <= h->cache, 1)) {
    h->cache -= (uint32_t)n;
    h->spent += n;
    lethe_quota_leave(h);
    return LETHE_OK;
  }
  lethe_quota_leave(h);
  return lethe_quota_claim_slow(h, n);
}
/* n >= 0. Cannot fail; more than the participant has is clamped and reported. */
static inline void lethe_quota_release(struct lethe_quota_handle *h, int64_t n) {
  if (__builtin_expect(lethe_quota_enter(h) && n <= h->spent && n <= (int64_t)h->cap - h->cache,
                       1)) {
    h->cache += (uint32_t)n;
    h->spent -= n;
    lethe_quota_leave(h);
    return;
  }
  lethe_quota_leave(h);
  lethe_quota_release_slow(h, n);
}

/* A claim that waits for room below max instead of pushing past it: higher priority first, first
 * come first served within one. Caller's memory until done was called or it was cancelled. */
struct lethe_quota_wait {
  struct lethe_list node;
  struct lethe_message message;
  struct lethe_quota *tracker; /* NULL once it is over */
  struct lethe_quota_handle *handle;
  uint64_t account;
  int64_t n;
  int32_t priority;
  uint8_t state;
  bool held; /* its loop is */
  struct lethe_loop *loop;
  void (*done)(struct lethe_quota_wait *w, int code); /* on the loop of the handle's member */
};
/* 0: claimed at once. 1: waits; done follows, with 0 or with what a claim would answer then. Else
 * refused: LETHE_ELIMIT means it can never fit. While anybody waits no handle of the tracker
 * caches. */
LETHE_API int lethe_quota_claim_wait(struct lethe_quota_handle *h, int64_t n,
                                     struct lethe_quota_wait *w,
                                     void (*done)(struct lethe_quota_wait *w, int code));
/* True: it will not happen any more. False: it was answered; done has run or is about to. */
LETHE_API bool lethe_quota_wait_cancel(struct lethe_quota_wait *w);

/* ---- reclamation ----------------------------------------------------------------------------- */

/* What a policy sees of an account, a snapshot. */
struct lethe_quota_candidate {
  struct lethe_quota_account_info info;
  double age;     /* seconds since info.oldest */
  uint32_t tried; /* times it was asked in this pass */
  int64_t freed;  /* bytes that it gave in this pass */
  double cost;    /* seconds per byte that its reclaims took; 0 before the first */
  bool degraded;  /* this is the second, sterner call */
  bool plan;      /* for a plan: a pass may be under way, on another thread even */
};

/* A policy ranks candidates. Built-ins, expressions and scripts are all this struct. Functions that
 * fail return LETHE_EPOLICY with `message` written; the pass then goes on with "oldest".
 * Counted; calls are made from one thread at a time: that of `loop`, or, without one, whichever (a
 * pass's, a plan's), under a lock of policies. */
struct lethe_quota_policy {
  struct lethe_ref refs;
  void (*destroy)(struct lethe_quota_policy *p);
  struct lethe_loop *loop; /* where it must run; NULL: wherever the pass is */
  bool degraded;           /* wants the second call */
  bool then_oldest;        /* equal scores go by age before they go by account id */
  char message[200];
  int (*start)(struct lethe_quota_policy *p); /* may be NULL, as may the next three */
  int (*order)(struct lethe_quota_policy *p, const struct lethe_quota_candidate *c, size_t n,
               uint32_t *ranking, size_t *ranked); /* indices, first victim first */
  int (*victim)(struct lethe_quota_policy *p, const struct lethe_quota_candidate *c, int64_t freed);
  int (*stop)(struct lethe_quota_policy *p, enum lethe_quota_outcome outcome);
  /* scores[i]: the highest is reclaimed first; NAN spares. */
  int (*score)(struct lethe_quota_policy *p, const struct lethe_quota_candidate *c, size_t n,
               double *scores);
};

/* "oldest" "largest" "oldest_weighted" "fair_share" "priority": a reference, or NULL if it has
 * another name, or without memory. lethe_quota_policy_names is the NULL-ended list of them. */
LETHE_API struct lethe_quota_policy *lethe_quota_policy_builtin(const struct lethe_alloc *a,
                                                                const char *name,
                                                                struct lethe_quota *t);
LETHE_API extern const char *const lethe_quota_policy_names[];
LETHE_API void lethe_quota_policy_put(struct lethe_quota_policy *p);

/* A pass by hand: goal bytes, or down to low_water when goal is 0. Caller's memory until done,
 * which is called on `loop`, a member's: with what the pass freed, unspent caches included, or 0 at
 * once if the tracker has no member, or below 0 if it shut down or the loop's member leaves. */
struct lethe_quota_manual {
  struct lethe_list node;
  struct lethe_message message;
  struct lethe_quota *tracker;
  struct lethe_loop *loop;
  bool held; /* its loop is */
  int64_t goal, freed;
  void (*done)(struct lethe_quota_manual *m, int64_t freed);
};
LETHE_API int lethe_quota_reclaim(struct lethe_quota *t, struct lethe_quota_manual *m,
                                  struct lethe_loop *loop, int64_t goal,
                                  void (*done)(struct lethe_quota_manual *m, int64_t freed));
/* On the same loop's thread, before done: true if done will not be called. A pass that runs already
 * goes on. */
LETHE_API bool lethe_quota_reclaim_cancel(struct lethe_quota_manual *m);

struct lethe_quota_planned {
  uint64_t account;
  uint32_t participants;
  int64_t used; /* of it and of what would go with it */
  double score;
};
/* What a pass for goal bytes would take, in order: at most n into out; touches nothing. Ages are
 * asked of the calling thread's member `m` (may be NULL) and taken as last told elsewhere; where
 * the policy runs on another thread's loop, or fails, "oldest" ranks. Unspent caches count towards
 * the goal. */
LETHE_API int lethe_quota_plan(struct lethe_quota *t, struct lethe_quota_member *m, int64_t goal,
                               struct lethe_quota_planned *out, size_t n, size_t *planned);

#ifdef LETHE_FAULTS
/* Test builds: puts `which` of the audited sums off by `delta`, for lethe_quota_check to find.
 * False when there is no such sum. */
bool lethe_quota_corrupt(struct lethe_quota *t, int which, int64_t delta);
#endif

#endif
