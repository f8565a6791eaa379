/* SPDX-License-Identifier: MIT
 * Epoch manager: frees an object only when no reader can still hold it, and never waits for a
 * reader that sleeps.
 *
 * Readers pin before they follow shared pointers and unpin after. A writer unlinks an object and
 * retires it; the manager frees it once every reader that may have seen it has unpinned. A reader
 * that stays pinned while others retire is ejected: it is told so by its next guarded read and by
 * unpin, and what it still points to may be freed. So memory in limbo is bounded whatever readers
 * do, and no signal is needed.
 *
 *   lethe_epoch_new                    one manager for a set of structures
 *   lethe_epoch_register               a record for this thread
 *   lethe_epoch_pin  ..._read  ..._retire  lethe_epoch_unpin
 *   lethe_epoch_unregister             its limbo becomes the others'
 *   lethe_epoch_put
 *
 * After K. Fraser, Practical Lock-Freedom (2004); T. Brown, Reclaiming Memory for Lock-Free Data
 * Structures (DEBRA+, PODC 2015); J. Kang, J. Jung, A Marriage of Pointer- and Epoch-Based
 * Reclamation (PEBR, PLDI 2020), whose ejection this is.
 *
 * Invariants of auto mode (G is the manager's epoch, a record's word names the epoch it pinned in;
 * light and heavy are the halves of the fence in lethe/atomic.h: of a light and a heavy one, one
 * comes first, and then all that was done before it is seen after the other):
 *   I1  G goes from g to g + 1 only by whoever read g, fenced heavily, and then saw every record
 *       unpinned, ejected (I4) or at g. A pin is: read G, show it, fence lightly. A thread that
 *       slept between the two shows an old epoch; that holds G back and does no other harm.
 *   I2  A bag is stamped with the G that was read after its objects were unlinked and a heavy
 *       fence; or with 1 + the G that its last retire read after a light one, if that is less.
 *   I3  A bag is freed at G >= stamp + 2.
 *   I4  A record is ejected by raising `ejected` to its word, a heavy fence, and only then raising
 *       `confirmed`, which is what counts it out. A guarded read shows a hazard, fences lightly and
 *       then looks at `ejected`. Both words only grow, so no late ejector takes back another's.
 *   I5  Ejections name epochs that are over; whoever pins after one shows a later epoch. So an
 *       ejection that is late strikes no fresh pin, unless that shows such an old epoch itself.
 *   I6  Hazards are looked at after G was read, once for each bag: then I4 holds for all of it.
 *
 * Why it is sound. Let an object be unlinked at U and lie in a bag of stamp s, and let F be the
 * bag's fence, after U. (By the second form of I2 that is the fence of the step from s to s + 1:
 * who reads s - 1 after U was before it.) Let a reader pin at an epoch e, with light fence L. If F
 * came before L the reader sees U and cannot find the object. Else its word is seen after F, and e
 * <= s, as s was read after F. The object is freed after the step from s + 1 to s + 2, whose fence
 * came after s + 1 was read and so after F: its look at the records saw e or what came after e, and
 * by I1 the section was over, or confirmed as ejected. Then take the fence of the ejection. If it
 * came before that of a guarded read, the read gave up; else its hazard was seen by I6, and the
 * object was kept.
 *
 * With one record, its owner fences against nobody and skips the heavy fence; whoever registers
 * fences heavily before the first pin, and so sees all that was unlinked until then.
 *
 * Manual mode steps G whatever anybody shows. An object is stamped with the G that was read
 * after its unlinking and a full fence, and freed at stamp < safe - 1, where safe is the least
 * epoch shown after a heavy fence. Whoever could find the object had read G <= stamp before, and
 * shows that; so the rule, which is the model's, is an epoch more careful than it need be.
 *
 * Synchronization (-: free; r: callers must exclude each other on the same record; the calls on a
 * record are its owner's, which is the thread that registered it):
 *                pin/unpin  read  retire  advance/eject  unregister
 *   pin/unpin        r       r       r         -             r
 *   read             r       r       r         -             r
 *   retire           r       r       r         -             r
 *   advance/eject    -       -       -         -             -
 *   unregister       r       r       r         -             r
 * Progress: pin, unpin and read are wait-free. Retire, advance and eject are lock-free but for the
 * allocator, and wait while a barrier takes the record's bags. The other calls may block. */
#ifndef LETHE_EPOCH_H
#define LETHE_EPOCH_H

#include <stdalign.h>

#include "lethe/atomic.h"
#include "lethe/base.h"

struct lethe_epoch;
struct lethe_epoch_limbo;

enum {
  LETHE_EPOCH_BAG = 256, /* objects of a bag in auto mode */
  LETHE_EPOCH_BAG_MANUAL = 64,
  LETHE_EPOCH_BAGS = 8, /* sealed bags of a record before it ejects whoever blocks it */
  LETHE_EPOCH_THREADS = 64,
  LETHE_EPOCH_HAZARDS = 4,

  /* A word is epoch << LETHE_EPOCH_SHIFT | flags; 0: not pinned. A hard word is greater than the
   * soft ones of its epoch, so that an ejection of these (..._SOFT) does not reach it. */
  LETHE_EPOCH_PINNED = 1,
  LETHE_EPOCH_SEEN = 2, /* set by whoever looks for long pins */
  LETHE_EPOCH_SOFT = 3,
  LETHE_EPOCH_HARD = 4,
  LETHE_EPOCH_SHIFT = 3
};

/* Frees a retired object. Runs on any registered thread, pinned or not; it may retire, reclaim,
 * register and unregister, and returns. */
typedef void lethe_epoch_free(void *object, void *ud);

/* ---- records: the inline part --------------------------------------------------------------- */

/* One thread's place, or that of a section which outlives its thread's others. The first line is
 * written by the owner, the second by whoever ejects it. */
struct lethe_epoch_rec {
  alignas(64) _Atomic uint64_t word;
  _Atomic(void *) hazard[LETHE_EPOCH_HAZARDS]; /* what guarded reads are about to touch */
  uint32_t nest;                               /* pins under way */
  uint32_t hard;                               /* and how often it was hardened */
  const _Atomic uint64_t *global;
  alignas(64) _Atomic uint64_t ejected; /* words up to this one: what reads look at */
  _Atomic uint64_t confirmed;           /* follows after the fence */
  struct lethe_epoch *manager;
  struct lethe_epoch_limbo *limbo; /* bags; see runtime/epoch */
  uint64_t generation;             /* changes with each owner */
};

static inline bool lethe_epoch_pinned(const struct lethe_epoch_rec *r) { return r->nest > 0; }

/* True once this pin was ejected; it stays so until the outermost unpin, or repin. */
static inline bool lethe_epoch_neutralized(const struct lethe_epoch_rec *r) {
  uint64_t word = load_rlx(&r->word);
  return word != 0 && word <= load_acq(&r->ejected); /* acquire: then G is past the word, too */
}

/* Release: whoever sees this word sees the section before it as over. The fence pairs with the
 * heavy one of whoever advances or ejects. */
static inline void lethe_epoch_show_word(struct lethe_epoch_rec *r, uint64_t word) {
#if LETHE_TSAN
  atomic_exchange_explicit(&r->word, word, memory_order_seq_cst);
#else
  store_rel(&r->word, word);
  lethe_fence_light();
#endif
}

/* Shows the current epoch. */
static inline void lethe_epoch_show(struct lethe_epoch_rec *r, unsigned flags) {
  lethe_epoch_show_word(r, load_acq(r->global) << LETHE_EPOCH_SHIFT | flags);
}

/* Pins nest. Cannot fail. The counter is set to constants where it goes from and to 0: the
 * processor then does not wait for one pin to count the next. */
static inline void lethe_epoch_pin(struct lethe_epoch_rec *r) {
  if (__builtin_expect(r->nest == 0, 1)) {
    r->nest = 1;
    lethe_epoch_show(r, LETHE_EPOCH_PINNED);
  } else {
    r->nest++;
  }
}

/* True: all went well. False: this pin had been ejected, so what was read since may be out of
 * date. */
static inline bool lethe_epoch_unpin(struct lethe_epoch_rec *r) {
  bool sound = load_rlx(&r->word) > load_acq(&r->ejected);
  if (__builtin_expect(r->nest == 1, 1)) {
    r->nest = 0;
    store_rel(&r->word, 0); /* pairs with the acquire of whoever advances */
  } else {
    r->nest--;
  }
  return sound;
}

/* Shows the current epoch, for long loops, and ends an ejection: nothing read before counts any
 * more. */
static inline void lethe_epoch_repin(struct lethe_epoch_rec *r) {
  lethe_epoch_show(r, LETHE_EPOCH_PINNED | (r->hard ? LETHE_EPOCH_HARD : 0u));
}

/* Begins to guard the object that will be retired as p, found under this pin, by hazard i of
 * LETHE_EPOCH_HAZARDS: true if it may be touched until lethe_epoch_release. False: neutralized,
 * do not touch it. Between the two nothing waits. */
static inline bool lethe_epoch_hold(struct lethe_epoch_rec *r, unsigned i, const void *p) {
#if LETHE_TSAN
  atomic_exchange_explicit(&r->hazard[i], (void *)(uintptr_t)p, memory_order_seq_cst);
  bool sound = load_rlx(&r->word) > load_seq(&r->ejected);
#else
  store_rel(&r->hazard[i], (void *)(uintptr_t)p); /* release: the read before it is over */
  lethe_fence_light();
  bool sound = load_rlx(&r->word) > load_acq(&r->ejected);
#endif
#ifdef LETHE_EPOCH_NO_CHECK /* for the test that proves that the check is needed */
  sound = true;
#endif
  if (__builtin_expect(sound, 1)) return true;
  store_rlx(&r->hazard[i], NULL);
  return false;
}
static inline void lethe_epoch_release(struct lethe_epoch_rec *r, unsigned i) {
  store_rel(&r->hazard[i], NULL); /* pairs with the acquire of whoever frees */
}

/* A guarded read, by hazard 0. One at a time; where a step needs several objects whole (a compare-
 * and-swap whose expected value must not be freed and used anew), hold them with the others. */
static inline bool lethe_epoch_read_begin(struct lethe_epoch_rec *r, const void *p) {
  return lethe_epoch_hold(r, 0, p);
}
static inline void lethe_epoch_read_end(struct lethe_epoch_rec *r) { lethe_epoch_release(r, 0); }

/* LETHE_EPOCH_READ(rec, p) { ...touch *p... } runs its block unless the pin was neutralized. The
 * block is not left by break, return or goto. */
#define LETHE_EPOCH_READ(rec, p)                                           \
  for (bool lethe_read_ = lethe_epoch_read_begin((rec), (p)); lethe_read_; \
       lethe_read_ = (lethe_epoch_read_end(rec), false))

/* From now on until lethe_epoch_soften this pin is not ejected, and what it found may be touched
 * without guarded reads: for C sections alone, since while one lasts nothing bounds the limbo. They
 * are counted, and show in the records. False: neutralized, it stays soft. Nests. */
LETHE_API bool lethe_epoch_harden(struct lethe_epoch_rec *r);
LETHE_API void lethe_epoch_soften(struct lethe_epoch_rec *r);

/* ---- managers ------------------------------------------------------------------------------- */

enum lethe_epoch_mode {
  LETHE_EPOCH_AUTO,  /* bags are sealed, G advances, objects are freed a few per retire */
  LETHE_EPOCH_MANUAL /* only the caller advances and frees, by the rule E < safe_epoch - 1 */
};

struct lethe_epoch_config {
  uint32_t max_threads; /* 0: 64 */
  enum lethe_epoch_mode mode;
  uint32_t bag_size; /* 0: 256, manual 64 */
  int64_t max_limbo; /* bytes of one record before it ejects; 0: no bound by bytes */
  /* Told of limbo bytes as they come (by > 0) and go; may be NULL. Any thread, outside locks. */
  void (*charge)(void *ud, int64_t by);
  void *ud;
};

LETHE_API int lethe_epoch_new(struct lethe_epoch **out, const struct lethe_alloc *a,
                              const struct lethe_epoch_config *config);
LETHE_API struct lethe_epoch *lethe_epoch_get(struct lethe_epoch *m);
/* With the last reference and the last record what is in limbo is freed, and the manager with
 * it. */
LETHE_API void lethe_epoch_put(struct lethe_epoch *m);
/* For all holders: registering answers LETHE_ECLOSED from now on; live records work on. */
LETHE_API void lethe_epoch_close(struct lethe_epoch *m);

/* A record for the calling thread: LETHE_EFULL when all are taken, LETHE_EREGISTERED when the
 * thread has one already, LETHE_ECLOSED, LETHE_ENOMEM. */
LETHE_API int lethe_epoch_register(struct lethe_epoch *m, struct lethe_epoch_rec **out);
/* A further record that counts for nothing but its own pins (a section that waits while pinned). */
LETHE_API int lethe_epoch_register_extra(struct lethe_epoch *m, struct lethe_epoch_rec **out);
/* The calling thread's record, or NULL. */
LETHE_API struct lethe_epoch_rec *lethe_epoch_current(struct lethe_epoch *m);
/* Unpins, hands the limbo to the manager, gives the record back, and the reference to the manager
 * that it held. The record is stale from now on. A thread that ends without it is unregistered as
 * it ends. In the child of a fork only the forking thread's records are left. */
LETHE_API void lethe_epoch_unregister(struct lethe_epoch_rec *r);

/* ---- retiring ------------------------------------------------------------------------------- */

/* Frees `object` later by fn(object, ud); takes ownership. The caller is pinned on r and has
 * unlinked the object. fn NULL only counts. LETHE_ENOMEM: nothing has changed, and the object is
 * still the caller's. Destructors of older objects may run in it. */
LETHE_API int lethe_epoch_retire(struct lethe_epoch_rec *r, void *object, lethe_epoch_free *fn,
                                 void *ud, size_t bytes);
/* Makes the next n retires on r unable to fail, those of destructors included. LETHE_ENOMEM. */
LETHE_API int lethe_epoch_reserve(struct lethe_epoch_rec *r, size_t n);
struct lethe_epoch_garbage {
  void *object;
  lethe_epoch_free *fn;
};
/* Retires n objects in one go, NULLs skipped: all or none. */
LETHE_API int lethe_epoch_retire_batch(struct lethe_epoch_rec *r,
                                       const struct lethe_epoch_garbage *objects, size_t n);
/* Compare-and-swap of *cell; on success what it displaced is retired, unless it is NULL. 1:
 * swapped; 0: not, and *expected is what is there; LETHE_ENOMEM: not tried. */
LETHE_API int lethe_epoch_retire_on_cas(struct lethe_epoch_rec *r, _Atomic(void *) *cell,
                                        void **expected, void *desired, lethe_epoch_free *fn);
/* Publishes a pointer and retires the one it displaces; a single writer per cell. */
LETHE_API int lethe_epoch_retire_on_publish(struct lethe_epoch_rec *r, _Atomic(void *) *cell,
                                            void *desired, lethe_epoch_free *fn);
/* Pins, retires, unpins, and then reclaims unless !eager. *freed, unless NULL, says how many. */
LETHE_API int lethe_epoch_retire_and_reclaim(struct lethe_epoch_rec *r, void *object,
                                             lethe_epoch_free *fn, void *ud, size_t bytes,
                                             bool eager, size_t *freed);

/* ---- reclaiming ----------------------------------------------------------------------------- */

LETHE_API uint64_t lethe_epoch_now(const struct lethe_epoch *m);
/* The least epoch that a pinned record shows which is not ejected, or else the epoch. */
LETHE_API uint64_t lethe_epoch_safe(struct lethe_epoch *m);
/* Manual mode: G + 1, whatever anybody shows. Auto mode: seals the calling thread's open bag, and
 * G + 1 if I1 allows it. The epoch after. */
LETHE_API uint64_t lethe_epoch_advance(struct lethe_epoch *m);
/* Advances on every n-th call for this record, and says so; n >= 1. */
LETHE_API bool lethe_epoch_advance_every(struct lethe_epoch_rec *r, uint32_t n);
/* Ejects pinned records more than `lag` epochs behind, never the one given; how many. */
LETHE_API uint32_t lethe_epoch_neutralize(struct lethe_epoch *m, const struct lethe_epoch_rec *but,
                                          uint64_t lag);
/* Frees what this record retired and what is safe by now; how many. Adopts orphans first. Within a
 * destructor that this record is calling it frees nothing: the outer call goes on. */
LETHE_API size_t lethe_epoch_reclaim(struct lethe_epoch_rec *r);
/* The same with a safe epoch that was read before. */
LETHE_API size_t lethe_epoch_reclaim_below(struct lethe_epoch_rec *r, uint64_t safe);
/* Seals the record's open bag, advances as far as that goes, frees what is safe. Manual mode: does
 * not advance. */
LETHE_API size_t lethe_epoch_flush(struct lethe_epoch_rec *r);

/* A cookie for all that is unlinked so far; poll says whether it can all be freed. In auto mode
 * poll advances as far as that goes. */
LETHE_API uint64_t lethe_epoch_start_poll(struct lethe_epoch *m);
LETHE_API bool lethe_epoch_poll(struct lethe_epoch *m, uint64_t cookie);
/* One turn of a barrier: advances, frees; true once what was retired before `cookie` is freed.
 * Ejects nobody. */
LETHE_API bool lethe_epoch_barrier_step(struct lethe_epoch *m, struct lethe_epoch_rec *r,
                                        uint64_t cookie);

/* A destructor may leave its work to another thread. It calls away, which holds the manager;
 * whoever has done the work calls back with the answer, unless that is -1: the manager ends. A
 * barrier whose steps are through waits for that as well, by turns from *turn = 0: true once all
 * that was away is back, whatever goes away since. */
LETHE_API int lethe_epoch_away(struct lethe_epoch *m);
LETHE_API void lethe_epoch_back(struct lethe_epoch *m, int side);
LETHE_API bool lethe_epoch_barrier_turn(struct lethe_epoch *m, uint64_t *turn);

/* ---- statistics ----------------------------------------------------------------------------- */

struct lethe_epoch_rec_stats {
  bool pinned, neutralized, hard, extra;
  uint64_t epoch; /* of its pin */
  uint64_t limbo, peak, retired, reclaimed;
  int64_t limbo_bytes;
  double pinned_for; /* seconds since somebody first saw this pin */
};
struct lethe_epoch_stats {
  uint64_t epoch, safe_epoch, retired, reclaimed, limbo, orphans, advances, ejections, fences;
  uint64_t hardened;
  int64_t limbo_bytes;
  uint32_t threads;
};
LETHE_API void lethe_epoch_read_stats(struct lethe_epoch *m, struct lethe_epoch_stats *out);
/* The records in use, at most n; how many there are. */
LETHE_API uint32_t lethe_epoch_records(struct lethe_epoch *m, struct lethe_epoch_rec_stats *out,
                                       uint32_t n);
/* True if what can be checked of its lists adds up; nobody else uses it meanwhile. */
LETHE_API bool lethe_epoch_is_valid(struct lethe_epoch *m);

#endif
