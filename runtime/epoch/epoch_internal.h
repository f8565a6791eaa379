/* SPDX-License-Identifier: MIT
 * The epoch manager's records and what its files give each other.
 *
 * A record's bags belong to its owner, but others may steal them (flush of a dead thread, barrier). The
 * owner shows `busy` while it changes them and looks at `stop` first; a thief sets `stop`, fences
 * heavily and waits until `busy` is clear. No destructor runs while busy is shown or a lock is held. */
#ifndef LETHE_EPOCH_INTERNAL_H
#define LETHE_EPOCH_INTERNAL_H

#include <pthread.h>

#include "lethe/epoch.h"
#include "lethe/list.h"

struct retired {
  void *object;
  lethe_epoch_free *fn;
  void *ud;
  size_t bytes;
};

/* Objects retired in one epoch. Sealed: nothing more goes in, and `stamp` is set (I2). */
struct lethe_epoch_bag {
  struct lethe_epoch_bag *next;
  uint64_t stamp;
  uint32_t room, n;
  uint32_t done, kept; /* freeing goes on at `done`; what a hazard shows is kept in front */
  struct retired of[];
};

/* First in, first out. */
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
  pthread_t owner;

  _Atomic uint8_t busy, stop;
  _Atomic bool freeing; /* destructors are running: a nested reclaim does nothing */
  struct lethe_epoch_bag *open, *spare;
  uint32_t spares;
  struct bags sealed;
  _Atomic uint64_t retired, reclaimed; /* totals; written by the owner and thieves */
  _Atomic int64_t bytes;
  _Atomic uint64_t held, peak; /* objects in its limbo */
  uint32_t advances_every;     /* calls of advance_every */

  uint64_t seen_word; /* the pin that somebody looked at, and when; under the lock */
  double seen_at;
};

struct lethe_epoch {
  struct lethe_ref refs; /* holders and records */
  const struct lethe_alloc *alloc;
  enum lethe_epoch_mode mode;
  uint32_t max_threads, bag_size;
  int64_t max_limbo;
  void (*charge)(void *ud, int64_t by);
  void *charge_ud;

  alignas(64) _Atomic uint64_t global;
  alignas(64) _Atomic(struct lethe_epoch_limbo *) records;
  _Atomic uint32_t in_use;
  _Atomic uint64_t advances, ejections, fences, orphaned, orphans_reclaimed;

  pthread_mutex_t lock; /* guards registering, orphans and thieves */
  bool closed;
  uint32_t threads;
  struct bags orphans;
  _Atomic uint32_t orphan_bags;
};

/* ---- records.c ---- */
struct lethe_epoch_limbo *epoch_first(const struct lethe_epoch *m);
bool epoch_enter(struct lethe_epoch_limbo *l);
void epoch_leave(struct lethe_epoch_limbo *l);

/* ---- advance.c ---- */
/* The epoch a pinned record shows that still counts, or 0. */
uint64_t epoch_shown(const struct lethe_epoch_rec *r);
void epoch_fence(struct lethe_epoch *m);
bool epoch_try_advance(struct lethe_epoch *m);
/* Ejects whoever keeps G from advancing, never `but`; how many. */
uint32_t epoch_eject_blockers(struct lethe_epoch *m, const struct lethe_epoch_rec *but);

/* ---- bags.c ---- */
void bags_push(struct bags *to, struct lethe_epoch_bag *bag);
struct lethe_epoch_bag *bags_shift(struct bags *from);
void bags_move(struct bags *to, struct bags *from);
struct lethe_epoch_bag *epoch_bag_fresh(struct lethe_epoch *m);
struct lethe_epoch_bag *epoch_bag_new(struct lethe_epoch *m, struct lethe_epoch_limbo *l);
void epoch_bag_free(struct lethe_epoch *m, struct lethe_epoch_bag *bag);
void epoch_recycle(struct lethe_epoch *m, struct lethe_epoch_limbo *l, struct lethe_epoch_bag *bag);
/* Closes the open bag; the caller is entered. `fenced`: a heavy fence came after its last unlink. */
void epoch_seal(struct lethe_epoch_limbo *l, bool fenced);
bool epoch_can_free(const struct lethe_epoch *m, const struct lethe_epoch_bag *bag, uint64_t safe);

/* ---- reclaim.c ---- */
/* Frees at most `budget` objects that are safe; how many. */
size_t epoch_free_some(struct lethe_epoch_limbo *l, size_t budget, uint64_t safe);
void epoch_adopt(struct lethe_epoch_limbo *l);
/* Takes all bags of another record, its open one sealed. The lock is held. */
void epoch_steal(struct lethe_epoch_limbo *from, struct bags *to);
void epoch_free_all(struct lethe_epoch *m, struct bags *bags);

#endif
