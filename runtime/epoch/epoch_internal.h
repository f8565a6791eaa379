/* SPDX-License-Identifier: MIT
 * The epoch manager's records and what its files give each other.
 *
 * A record's bags belong to its owner, but others may take them (a barrier, or a thread that
 * finds the owner idle). The owner shows `busy` while it changes them and then looks at `stop`;
 * a thief sets `stop`, fences heavily and then looks at `busy`. Thieves hold the manager's lock,
 * so an owner that holds it need not enter. No destructor runs, and no lock is taken, while
 * busy. */
#ifndef LETHE_EPOCH_INTERNAL_H
#define LETHE_EPOCH_INTERNAL_H

#include <pthread.h>

#include "lethe/epoch.h"
#include "lethe/ref.h"

struct retired {
  void *object;
  lethe_epoch_free *fn;
  void *ud;
  size_t bytes;
};

/* Objects that are freed together. Sealed: nothing more goes in, and `stamp` is set (I2). */
struct lethe_epoch_bag {
  struct lethe_epoch_bag *next;
  uint64_t first, last; /* G as the first and the last retire read it */
  uint64_t stamp;
  int64_t bytes; /* of what is left */
  uint32_t room, n;
  uint32_t done; /* what is freed, and before it what is kept */
  uint32_t kept; /* shown by hazards when the bag was looked at (I6) */
  bool looked_at;
  bool foreign; /* adopted */
  struct retired of[];
};

/* First in, first out, unless bags are inserted: these lie by their stamps. */
struct bags {
  struct lethe_epoch_bag *first, *last;
  uint32_t n;
};

struct lethe_epoch_limbo {
  struct lethe_epoch_limbo *next_record; /* of the manager; never unlinked */
  struct lethe_epoch_limbo *next_mine;   /* of the thread */
  struct lethe_epoch_rec *rec;
  void *memory; /* of the record and this */
  size_t memory_bytes;
  _Atomic bool in_use;
  bool extra;
  pthread_t owner; /* while in use; under the lock */

  _Atomic uint8_t busy, stop;
  _Atomic bool freeing; /* destructors are running: a nested reclaim does nothing */
  bool leaving;         /* one of them unregistered: the outer call gives the record back */
  struct lethe_epoch_bag *open, *spare;
  uint32_t spares;
  struct bags sealed; /* by their stamps */
  struct bags kept;   /* what hazards showed; looked at again with the next seal */
  /* Written by whoever is entered. */
  _Atomic uint64_t retired, reclaimed;
  _Atomic uint64_t moved;   /* adopted, less what was stolen; modulo 2^64 */
  _Atomic uint64_t foreign; /* adopted and still there */
  _Atomic uint64_t peak;    /* of its own; noted when a bag is sealed and before objects go */
  _Atomic int64_t bytes;
  _Atomic uint64_t hardened;
  _Atomic bool restartable; /* its hard pin is a section that a signal restarts */
  uint32_t seals, calls;    /* seals so far; calls of advance_every since it advanced */

  /* Under the lock: who looks for long pins and idle owners. */
  double seen_at, idle_since;
  uint64_t seen_retired;
};

struct lethe_epoch {
  struct lethe_ref refs; /* holders and records */
  const struct lethe_alloc *alloc;
  void *memory;
  enum lethe_epoch_mode mode;
  uint32_t max_threads, bag_size;
  int64_t max_limbo;
  void (*charge)(void *ud, int64_t by);
  void *charge_ud;

  alignas(64) _Atomic uint64_t global;
  alignas(64) _Atomic(struct lethe_epoch_limbo *) records;
  _Atomic uint32_t in_use;
  _Atomic uint64_t advances, ejections, fences;

  /* What destructors left to other threads, counted where the flips stood: odd or even. A flip is
   * made under the lock, and only while the side that it turns to is 0. */
  _Atomic uint64_t flips, away[2];
  bool forked; /* those threads are not in this process */

  pthread_mutex_t lock; /* guards registering, orphans and thieves */
  bool closed;
  uint32_t threads;
  struct bags orphans;
  _Atomic uint32_t orphan_bags;                         /* how many, for a glance */
  uint64_t past_retired, past_reclaimed, past_hardened; /* of owners that left */
  uintptr_t next_hidden;                                /* in the list of all; see fork.c */
};

/* ---- records.c ---- */
struct lethe_epoch_limbo *epoch_first(const struct lethe_epoch *m);
void epoch_await_thief(struct lethe_epoch_limbo *l);
/* Gives the record back, and its bags to the manager. The lock is held. True: the caller puts the
 * record's reference once it has let go of the lock. */
bool epoch_record_leaves(struct lethe_epoch_limbo *l);
/* One of its own destructors unregistered it; they have returned. */
void epoch_record_is_gone(struct lethe_epoch_limbo *l);

/* ---- fork.c ---- */
bool epoch_fork_init(void);
void epoch_fork_add(struct lethe_epoch *m);
void epoch_fork_remove(struct lethe_epoch *m);

/* ---- restart.c ---- */
/* The owner of this record holds G back by a hard word: makes it start anew if it can. */
void epoch_urge(struct lethe_epoch_limbo *l, uint64_t word);

/* ---- advance.c ---- */
void epoch_fence_full(struct lethe_epoch *m);
/* G, read before a heavy fence (I1). `mine`: the calling thread has a record, so that the fence is
 * not needed when there is but one. */
uint64_t epoch_fence(struct lethe_epoch *m, bool mine);
/* From `now`, which was read before a fence, to now + 1. True if G is past `now`. */
bool epoch_try_advance(struct lethe_epoch *m, uint64_t now);
/* Up to `steps` advances, as far as they go. */
void epoch_push(struct lethe_epoch *m, unsigned steps, bool mine);
/* Ejects whoever shows an epoch below `bound`, never `but`; how many. *others: how many records it
 * had to count out, those included that somebody else was about to. */
uint32_t epoch_eject(struct lethe_epoch *m, const struct lethe_epoch_rec *but, uint64_t bound,
                     uint32_t *others);
/* Raises *at to `word`; true if it was less. */
bool epoch_raise(_Atomic uint64_t *at, uint64_t word);
/* True if this record is pinned and ejected: then its hazards count. */
bool epoch_counted_out(const struct lethe_epoch_rec *r);
/* What the stamp + 2 of a bag must not exceed that is freed: G, or in manual mode the safe
 * epoch. */
uint64_t epoch_bound(struct lethe_epoch *m);

/* ---- bags.c ---- */
void bags_push(struct bags *to, struct lethe_epoch_bag *bag);
struct lethe_epoch_bag *bags_shift(struct bags *from);
void bags_insert(struct bags *to, struct lethe_epoch_bag *bag);
void bags_merge(struct bags *to, struct bags *from);
uint32_t bag_left(const struct lethe_epoch_bag *bag);
/* The open bag with room for one more object, or NULL. Entered. */
struct lethe_epoch_bag *epoch_room(struct lethe_epoch_limbo *l, uint64_t now);
/* Makes sure that n bags are spare. They are the owner's alone. */
int epoch_reserve(struct lethe_epoch_limbo *l, size_t n);
void epoch_recycle(struct lethe_epoch *m, struct lethe_epoch_limbo *l, struct lethe_epoch_bag *bag);
void epoch_bag_free(struct lethe_epoch *m, struct lethe_epoch_bag *bag);
/* Closes the open bag. Entered; in auto mode a heavy fence came after its last unlinking. */
void epoch_seal(struct lethe_epoch_limbo *l);
/* The same without a fence, if it can then be freed at once. */
void epoch_seal_old(struct lethe_epoch_limbo *l, uint64_t bound);

/* ---- reclaim.c ---- */
enum { EPOCH_CHUNK = 32 };
struct chunk {
  uint32_t n;
  int64_t bytes;
  struct retired of[EPOCH_CHUNK];
};
/* Takes at most n objects that nobody can touch any more off the bags. Entered, freeing. */
void epoch_take(struct lethe_epoch_limbo *l, struct chunk *out, uint32_t n, uint64_t bound);
/* Calls their destructors. Not entered. */
void epoch_call(struct lethe_epoch *m, const struct chunk *chunk);
/* Frees all that is safe below `bound`; *freed says how many. False: the record is gone. */
bool epoch_free_ready(struct lethe_epoch_limbo *l, uint64_t bound, size_t *freed);
void epoch_free_all(struct lethe_epoch *m, struct bags *bags);

/* ---- barrier.c ---- */
/* The orphans become this record's. Else than by a retire, which does not wait for the lock. */
void epoch_adopt(struct lethe_epoch_limbo *l, bool wait);
/* Takes all bags of a record, its open one sealed. The lock is held. False: its owner is busy, and
 * the caller does not wait. */
bool epoch_steal(struct lethe_epoch_limbo *from, bool wait);
/* What owners hold that have retired nothing since the last look goes to the orphans. */
void epoch_steal_idle(struct lethe_epoch *m, const struct lethe_epoch_limbo *but);

/* ---- the hot part of retiring ---- */

/* The owner is about to change its bags. A thief is waited for: it moves a few pointers only. */
static inline void epoch_enter(struct lethe_epoch_limbo *l) {
  lethe_fault_allowed();
#if LETHE_TSAN
  store_seq(&l->busy, 1);
  if (load_seq(&l->stop) != 0) epoch_await_thief(l);
#else
  store_rlx(&l->busy, 1);
  lethe_fence_light();
  if (__builtin_expect(load_acq(&l->stop) != 0, 0)) epoch_await_thief(l);
#endif
}

static inline void epoch_leave(struct lethe_epoch_limbo *l) { store_rel(&l->busy, 0); }

/* The destructors that this record called have returned. False: one of them unregistered it, and it
 * is gone now. */
static inline bool epoch_freed(struct lethe_epoch_limbo *l) {
  if (__builtin_expect(l->leaving, 0)) {
    epoch_record_is_gone(l);
    return false;
  }
  store_rel(&l->freeing, false); /* pairs with a barrier's acquire */
  return true;
}

/* Objects in the limbo. What goes is read before what comes, so that it is never below 0. */
static inline uint64_t epoch_held(const struct lethe_epoch_limbo *l) {
  uint64_t gone = load_acq(&l->reclaimed);
  return load_rlx(&l->retired) + load_rlx(&l->moved) - gone;
}

/* Entered. */
static inline void epoch_note_peak(struct lethe_epoch_limbo *l) {
  uint64_t own = epoch_held(l) - load_rlx(&l->foreign);
  if (own > load_rlx(&l->peak)) store_rlx(&l->peak, own);
}

#endif
