/* SPDX-License-Identifier: MIT
 * What the files of the quota tracker give each other.
 *
 * Everything here is called under the tracker's lock, but for what says that it is not. Whoever
 * drops the lock, be it for a call out of here or at the end of a slice, finds another world after
 * it: it has to look again whether the pass, the account and the participant are still the same. */
#ifndef LETHE_QUOTA_INTERNAL_H
#define LETHE_QUOTA_INTERNAL_H

#include "quota_records.h"

/* ---- what the files give each other ---------------------------------------------------------- */

/* events.c: the lock. Opening it delivers the events that were noted under it, and puts the policy
 * that was dropped; most often there is neither. */
void quota_measure_hold(struct lethe_quota *t);
void quota_unlock_and_deliver(struct lethe_quota *t);
static inline void quota_lock(struct lethe_quota *t) {
  pthread_mutex_lock(&t->lock);
  t->visited = 0;
  if (__builtin_expect(t->stepping, 0)) quota_measure_hold(t);
}
static inline void quota_unlock(struct lethe_quota *t) {
  if (__builtin_expect(lethe_list_empty(&t->events) && !t->dropped && t->held_since <= 0, 1))
    pthread_mutex_unlock(&t->lock);
  else
    quota_unlock_and_deliver(t);
}
/* A slice is over: others may have the lock. */
void quota_breathe(struct lethe_quota *t);
/* Counts n accounts or participants that this hold of the lock looks at; at 64 the slice is
 * over. */
static inline void quota_visit(struct lethe_quota *t, uint32_t n) {
  t->visited += n;
  if (t->visited > t->longest_hold) t->longest_hold = t->visited;
}
/* An event to be delivered at unlock, its account and name filled in; NULL without memory. */
struct lethe_quota_event *quota_note(struct lethe_quota *t, enum lethe_quota_event_type type,
                                     uint64_t account);

void quota_events_free(struct lethe_quota *t);

/* tracker.c */
void quota_memory_put(struct lethe_quota *t);
void quota_strong_put_locked(struct lethe_quota *t);
double quota_now(const struct lethe_quota *t);
/* Is this the thread that turns the loop? Known of the loops of members. */
bool quota_here(const struct lethe_quota *t, const struct lethe_loop *loop);

/* accounting.c: every change of a sum goes through these two. */
void quota_charge(struct lethe_quota *t, struct participant *p, int64_t n);
void quota_uncharge(struct lethe_quota *t, struct participant *p, int64_t n);
void quota_update_level(struct lethe_quota *t);
uint32_t quota_cap_below(const struct lethe_quota *t, slot_t account);
/* What the cache of a handle in the account may hold. */
static inline uint32_t quota_cap(const struct lethe_quota *t, slot_t account) {
  bool roomy = (uint64_t)t->max / (8 * LETHE_QUOTA_CACHE) >= t->handles;
  if (__builtin_expect(roomy && !account_at(t, account)->x, 1)) return LETHE_QUOTA_CACHE;
  return quota_cap_below(t, account);
}
void quota_class_add(struct lethe_quota *t, slot_t account);
void quota_class_remove(struct lethe_quota *t, slot_t account);

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
slot_t quota_blocker_above(struct lethe_quota *t, slot_t account, int64_t n);
/* The nearest account at or above that n more bytes would take past its max; 0: none. */
static inline slot_t quota_blocker(struct lethe_quota *t, slot_t account, int64_t n) {
  return account_at(t, account)->x ? quota_blocker_above(t, account, n) : 0;
}
void quota_handles_changed(struct lethe_quota *t, slot_t account, int32_t by);

/* account.c */
void quota_account_end(struct lethe_quota *t, slot_t account);

/* participant.c: the end of participants. Their handles die with them. */
void quota_participant_end(struct lethe_quota *t, slot_t participant);
/* Leaves its bytes in t->condemned. */
void quota_participant_condemn(struct lethe_quota *t, slot_t participant);
/* Its bytes are not watched any more. */
void quota_participant_forget(struct lethe_quota *t, slot_t participant);
/* The handle leaves; with the last one the participant does. Returns the bytes that ended. */
int64_t quota_participant_leave(struct lethe_quota *t, slot_t participant,
                                struct lethe_quota_handle *h);

/* freeze.c: stops handles and waits until their owners are out of the hot path. */
void quota_freeze_participant(struct lethe_quota *t, struct participant *p);
void quota_freeze_account(struct lethe_quota *t, slot_t account);
/* Claimed by its handles and not spent. It is frozen. */
int64_t quota_unspent(const struct participant *p);
/* The slice of participants from the cursor on, frozen: *more says whether it was the last. */
uint32_t quota_freeze_slice(struct lethe_quota *t, struct cursor *c, slot_t *slice, bool *more);
/* Calls unspent caches back, a slice of participants from the cursor on; false at the end. The
 * bytes are added to *drained. */
bool quota_drain_slice(struct lethe_quota *t, struct cursor *c, int64_t *drained);
/* Calls the unspent caches of an account and of all below it back, dropping the lock between
 * slices. */
void quota_drain_tree(struct lethe_quota *t, uint64_t account);

/* tree.c */
int quota_tree_begin(struct lethe_quota *t, struct tree *tree, uint64_t root);
/* Finds a slice more of it: 1, 0 when it is whole, LETHE_ENOMEM. */
int quota_tree_grow(struct lethe_quota *t, struct tree *tree);
void quota_tree_free(struct lethe_quota *t, struct tree *tree);
/* tree NULL: all of the tracker. */
void quota_cursor_open(struct lethe_quota *t, struct cursor *c, const struct tree *tree);
void quota_cursor_account(struct lethe_quota *t, struct cursor *c, slot_t account);
void quota_cursor_close(struct cursor *c);
/* The next living participant; or 0: at the end, or, with *more set, at the end of the slice. */
slot_t quota_cursor_next(struct lethe_quota *t, struct cursor *c, bool *more);
/* The participant is about to leave its account. */
void quota_cursors_skip(struct lethe_quota *t, slot_t participant);

/* wait.c */
void quota_serve(struct lethe_quota *t);
/* The waits of a participant, or of one handle of it, end: with what a claim then answers. */
void quota_waits_fail(struct lethe_quota *t, slot_t participant, struct lethe_quota_handle *h);
int64_t quota_granted_to(const struct lethe_quota *t, slot_t participant);

/* member.c */
struct lethe_quota_member *quota_member(const struct lethe_quota *t, uint16_t index);
void quota_member_put_locked(struct lethe_quota_member *m);
/* Its participant has collapsed; quota_tell_collapsed lets all members know. */
void quota_collapsed(struct lethe_quota *t, uint16_t member, uint64_t participant);
void quota_tell_collapsed(struct lethe_quota *t);

/* ages.c */
/* Asks the participants of the calling thread's member for their ages. With `plan` nobody is torn
 * down. */
void quota_ask_here(struct lethe_quota_member *m, uint32_t pass, bool plan);
/* Asks the members of other threads; how many are asked. */
uint32_t quota_ask_elsewhere(struct lethe_quota *t, uint32_t pass);
/* Asks those of this thread again whose accounts are to be ranked anew: arrivals, a victim that
 * stays. */
void quota_ask_again(struct lethe_quota *t);
void quota_on_ask(struct lethe_message *message, bool closed);

/* driver.c: what makes the pass go on */
void quota_wake_if_wanted(struct lethe_quota *t);
static inline void quota_wake(struct lethe_quota *t) {
  bool idle = t->used <= t->max && !t->max_wants && !t->account_wants && !t->wanting.n;
  if (!idle || !lethe_list_empty(&t->manuals)) quota_wake_if_wanted(t);
}
/* Has the driver look at the pass. */
void quota_kick(struct lethe_quota *t);
void quota_on_kick(struct lethe_message *message, bool closed);
/* Is this the home loop's thread? Nobody else touches the timers. */
bool quota_is_driver(const struct lethe_quota *t);
/* Has it look again after that long, at the latest. */
void quota_wait_at_most(struct lethe_quota *t, double seconds);
bool quota_timed_out(const struct lethe_quota *t);
/* The timer of a home that left goes on with the new one. On its thread. */
void quota_restart_timers(struct lethe_quota *t);
/* A member leaves: the pass goes on without it, driven by another if it was its driver. */
void quota_rehome(struct lethe_quota *t, struct lethe_quota_member *leaving);

/* pass.c: the state machine */
void quota_step(struct lethe_quota *t);
/* Ends the pass without an outcome. On whatever thread; the driver cleans up. */
void quota_pass_abort(struct lethe_quota *t, int64_t answer);
int64_t quota_pass_needs(const struct lethe_quota *t);
void quota_gather_anew(struct lethe_quota *t);

/* turn.c: the policy's turn in a pass */
void quota_policy_phase(struct lethe_quota *t);
/* The turn elsewhere: true once it is over, or was given up. */
bool quota_policy_waited(struct lethe_quota *t);
/* Around every call into a policy, outside the lock. */
void quota_policy_enter(struct lethe_quota *t, struct lethe_quota_policy *policy);
/* Returns rc; where the call failed, its message is kept. */
int quota_policy_leave(struct lethe_quota *t, struct lethe_quota_policy *policy, int rc,
                       char *message);

/* request.c: what passes are asked for */
bool quota_wanted(struct lethe_quota *t);
bool quota_next_request(struct lethe_quota *t);
void quota_want_account(struct lethe_quota *t, slot_t account, int64_t n);
void quota_arrive(struct lethe_quota *t, slot_t account);
/* Would the pass's scope be served by what this account gives? */
bool quota_in_scope(struct lethe_quota *t, slot_t account);
void quota_manual_done(struct lethe_quota_manual *m, int64_t freed);
/* Answers all that are queued, or those whose loop this is. */
void quota_manuals_done(struct lethe_quota *t, const struct lethe_loop *loop, int64_t freed);

/* candidates.c: what a policy sees */
bool quota_candidate(struct lethe_quota *t, uint64_t account, bool degraded, bool plan,
                     struct lethe_quota_candidate *out);

/* rank.c and order.c: the heap of candidates */
/* LETHE_EPOLICY with the message written, or LETHE_ENOMEM. */
int quota_rank(struct lethe_quota *t, char *message);
bool quota_pop(struct lethe_quota *t, struct ranked *out);
int quota_push(struct lethe_quota *t, struct ranked r);
/* The next account that is to be ranked, and what the pass knows of it; false: none in this
 * slice. */
bool quota_next_to_rank(struct lethe_quota *t, struct ranked *out);
bool quota_all_ranked(const struct lethe_quota *t);
/* It has nothing now: once it claims something it arrives anew. */
void quota_overlook(struct lethe_quota *t, uint64_t account);
int quota_rank_by_order(struct lethe_quota *t, char *message);

/* calls.c: requests to participants */
int quota_call_add(struct lethe_quota *t, slot_t participant, size_t prey);
void quota_calls_issue(struct lethe_quota *t, const struct lethe_quota_request *request);
void quota_call_put(struct lethe_quota_call *call);
/* All of them, or those of a member that leaves: they count as answered. */
void quota_calls_drop(struct lethe_quota *t, const struct lethe_quota_member *of);

/* victims.c: asking one victim, and what follows from the answers */
void quota_victim_ask(struct lethe_quota *t);
void quota_victim_settle(struct lethe_quota *t);

/* graves.c: condemned bytes that are still there after a deadline */
void quota_bury(struct lethe_quota *t, uint64_t participant, uint64_t account);
void quota_graves_timer(struct lethe_quota *t);
/* No condemned participant is left. */
void quota_graves_close(struct lethe_quota *t);

#endif
