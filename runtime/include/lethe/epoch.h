/* SPDX-License-Identifier: MIT
 * Epoch manager: frees an object only when no reader can still hold it, and never waits for a reader
 * that sleeps.
 *
 * Readers pin before they follow shared pointers and unpin after. A writer unlinks an object and
 * retires it; the manager frees it once every reader that may have seen it has unpinned. A reader that
 * stays pinned while others retire is ejected: it is told so by its next guarded read and by unpin,
 * and what it still points to may be freed. So memory in limbo is bounded whatever readers do, and
 * no signal is needed.
 *
 *   lethe_epoch_new                    one manager for a set of structures
 *   lethe_epoch_register               a record for this thread
 *   lethe_epoch_pin  ..._read  ..._retire  lethe_epoch_unpin
 *   lethe_epoch_unregister             its limbo becomes the others'
 *   lethe_epoch_put
 *
 * After K. Fraser, Practical Lock-Freedom (2004); T. Brown, Reclaiming Memory for Lock-Free Data
 * Structures (DEBRA+, PODC 2015); J. Kang, J. Jung, A Marriage of Pointer- and Epoch-Based Reclamation
 * (PEBR, PLDI 2020), whose ejection this is.
 *
 * Invariants (G is the manager's epoch; a record's word names the epoch it pinned in and which of its
 * pins that is):
 *   I1  A record that is pinned and not ejected shows an epoch >= G - 1: G advances only when all such
 *       records show G.
 *   I2  A bag is stamped with G after all its objects were unlinked and a heavy fence; so whoever pins
 *       once G >= stamp + 1 cannot find them, and whoever pinned before shows an epoch <= stamp.
 *   I3  A bag is freed at G >= stamp + 2: by I1 no record that could see its objects is pinned and not
 *       ejected.
 *   I4  A record is ejected by storing its word into `ejected`, a heavy fence, and only then into
 *       `confirmed`, which is what lets G move past it. A guarded read shows a hazard and then looks at `ejected`; so after that fence either the
 *       read gives up or its hazard is seen, and what a hazard shows is not freed.
 *   I5  Each pin of a record has a word of its own, so an ejection meant for one pin never strikes the
 *       next (of 2^15 in the same epoch).
 *
 * Why it is sound: an object is freed at time f, in a bag with stamp s, at G >= s + 2. Let r be a record
 * that touches it at time t. If r pinned at an epoch > s it cannot have found the object (I2). Else r's
 * word shows an epoch <= s, and G moved past s + 1 while it was pinned, which I1 allows only if r was
 * ejected before f. The guarded read's check came after its hazard was shown; if it came after the
 * ejection's fence it gave up, else the hazard was visible at f and the object was kept (I4).
 *
 * Synchronization (X: callers must exclude each other; -: free; r: same record):
 *                pin/unpin  read  retire  advance/eject  unregister
 *   pin/unpin        Xr       Xr     Xr         -             Xr
 *   read             Xr       Xr     Xr         -             Xr
 *   retire           Xr       Xr     Xr         -             Xr
 *   advance/eject    -        -      -          -             -
 *   unregister       Xr       Xr     Xr         -             Xr
 * Progress: pin, unpin and read are wait-free; retire and advance are lock-free but for the allocator. */
#ifndef LETHE_EPOCH_H
#define LETHE_EPOCH_H

#include <sched.h>
#include <stdalign.h>

#include "lethe/atomic.h"
#include "lethe/base.h"
#include "lethe/ref.h"

struct lethe_epoch;
struct lethe_epoch_bag;

enum {
  LETHE_EPOCH_BAG = 256,      /* objects of a bag in auto mode */
  LETHE_EPOCH_BAG_MANUAL = 64,
  LETHE_EPOCH_BAGS = 8,       /* sealed bags of a record before it ejects whoever blocks it */
  LETHE_EPOCH_THREADS = 64,
  LETHE_EPOCH_SHIFT = 16      /* a word is epoch << 16 | pin << 1 | 1; 0: not pinned */
};

/* Frees a retired object. Runs on any registered thread, pinned or not, and may retire and reclaim. */
typedef void lethe_epoch_free(void *object, void *ud);

/* ---- records: the inline part ------------------------------------------------------------------- */

/* One thread's place, or that of a section which outlives its thread's others. The first line is
 * written by the owner, the second by whoever ejects it: `ejected` is what its reads look at,
 * `confirmed` follows after the fence and lets others count it out. */
struct lethe_epoch_rec {
  alignas(64) _Atomic uint64_t word;
  _Atomic(void *) hazard; /* what a guarded read is about to touch */
  uint32_t nest;          /* pins under way */
  uint32_t pins;          /* that there were: makes each word its own */
  const _Atomic uint64_t *global;
  alignas(64) _Atomic uint64_t ejected;
  _Atomic uint64_t confirmed;
  struct lethe_epoch *manager;
  struct lethe_epoch_limbo *limbo; /* bags; see runtime/epoch */
};

static inline bool lethe_epoch_pinned(const struct lethe_epoch_rec *r) { return r->nest > 0; }

/* True once this pin was ejected; it stays so until the outermost unpin, or repin. */
static inline bool lethe_epoch_neutralized(const struct lethe_epoch_rec *r) {
  uint64_t word = load_rlx(&r->word);
  return word != 0 && load_acq(&r->ejected) == word;
}

/* Shows the current epoch. The fence pairs with the heavy one of whoever advances or ejects. */
static inline void lethe_epoch_show(struct lethe_epoch_rec *r) {
  uint64_t pin = (uint64_t)(++r->pins & 0x7fff) << 1 | 1;
#if LETHE_TSAN
  atomic_exchange_explicit(&r->word, load_acq(r->global) << LETHE_EPOCH_SHIFT | pin,
                           memory_order_seq_cst);
#else
  store_rlx(&r->word, load_acq(r->global) << LETHE_EPOCH_SHIFT | pin);
  lethe_fence_light();
#endif
}

/* Pins nest. Cannot fail. */
static inline void lethe_epoch_pin(struct lethe_epoch_rec *r) {
  if (r->nest++ == 0) lethe_epoch_show(r);
}

/* True: all went well. False: this pin had been ejected, so what was read since may be out of date. */
static inline bool lethe_epoch_unpin(struct lethe_epoch_rec *r) {
  bool sound = !lethe_epoch_neutralized(r);
  if (--r->nest == 0) store_rel(&r->word, 0); /* pairs with the acquire of whoever advances */
  return sound;
}

/* Shows the current epoch, for long loops, and ends an ejection: nothing read before counts any more. */
static inline void lethe_epoch_repin(struct lethe_epoch_rec *r) {
  store_rel(&r->word, 0);
  lethe_epoch_show(r);
}

/* Begins a guarded read of the object at p, found under this pin: true if it may be touched until
 * lethe_epoch_read_end. False: neutralized, do not touch it. Between the two no lock is taken and
 * nothing waits; one read at a time. */
static inline bool lethe_epoch_read_begin(struct lethe_epoch_rec *r, const void *p) {
#if LETHE_TSAN
  atomic_exchange_explicit(&r->hazard, (void *)(uintptr_t)p, memory_order_seq_cst);
  bool ejected = load_seq(&r->ejected) == load_rlx(&r->word);
#else
  store_rlx(&r->hazard, (void *)(uintptr_t)p);
  lethe_fence_light();
  bool ejected = load_rlx(&r->ejected) == load_rlx(&r->word);
#endif
  if (__builtin_expect(!ejected, 1)) return true;
  store_rlx(&r->hazard, NULL);
  return false;
}
static inline void lethe_epoch_read_end(struct lethe_epoch_rec *r) {
  store_rel(&r->hazard, NULL); /* pairs with the acquire of whoever frees */
}

/* LETHE_EPOCH_READ(rec, p) { ...touch *p... } runs its block unless the pin was neutralized. The block is
 * not left by break, return or goto. */
#define LETHE_EPOCH_READ(rec, p)                                                          \
  for (bool lethe_read_ = lethe_epoch_read_begin((rec), (p)); lethe_read_;                \
       lethe_read_ = (lethe_epoch_read_end(rec), false))

/* ---- managers ---------------------------------------------------------------------------------- */

enum lethe_epoch_mode {
  LETHE_EPOCH_AUTO,  /* bags are sealed, G advances, objects are freed a few per retire */
  LETHE_EPOCH_MANUAL /* only the caller advances and frees, by the rule E < safe_epoch - 1 */
};

struct lethe_epoch_config {
  uint32_t max_threads; /* 0: 64 */
  enum lethe_epoch_mode mode;
  uint32_t bag_size;    /* 0: 256, manual 64 */
  int64_t max_limbo;    /* bytes of one record before it ejects; 0: no bound by bytes */
  /* Told of limbo bytes as they come (by > 0) and go; may be NULL. Any thread, outside locks. */
  void (*charge)(void *ud, int64_t by);
  void *ud;
};

LETHE_API int lethe_epoch_new(struct lethe_epoch **out, const struct lethe_alloc *a,
                              const struct lethe_epoch_config *config);
LETHE_API struct lethe_epoch *lethe_epoch_get(struct lethe_epoch *m);
/* With the last reference and the last record what is in limbo is freed, and the manager with it. */
LETHE_API void lethe_epoch_put(struct lethe_epoch *m);
/* For all holders: registering answers LETHE_ECLOSED from now on; live records work on. */
LETHE_API void lethe_epoch_close(struct lethe_epoch *m);

/* A record for the calling thread: LETHE_EFULL when all are taken, LETHE_EREGISTERED when the thread has
 * one already, LETHE_ECLOSED, LETHE_ENOMEM. */
LETHE_API int lethe_epoch_register(struct lethe_epoch *m, struct lethe_epoch_rec **out);
/* A further record that counts for nothing but its own pins (a section that waits while pinned). */
LETHE_API int lethe_epoch_register_extra(struct lethe_epoch *m, struct lethe_epoch_rec **out);
/* The calling thread's record, or NULL. */
LETHE_API struct lethe_epoch_rec *lethe_epoch_current(struct lethe_epoch *m);
/* Unpins, hands the limbo to the manager, gives the record back. The record is stale from now on.
 * A thread that ends without it is unregistered as it ends. */
LETHE_API void lethe_epoch_unregister(struct lethe_epoch_rec *r);

/* ---- retiring ---------------------------------------------------------------------------------- */

/* Frees `object` later by fn(object, ud); takes ownership. The caller is pinned on r and has unlinked the
 * object. fn NULL only counts. LETHE_ENOMEM: nothing has changed, and the object is still the caller's. */
LETHE_API int lethe_epoch_retire(struct lethe_epoch_rec *r, void *object, lethe_epoch_free *fn,
                                 void *ud, size_t bytes);
struct lethe_epoch_pair_of {
  void *object;
  lethe_epoch_free *fn;
};
/* Retires n objects in one go, NULLs skipped: all or none. */
LETHE_API int lethe_epoch_retire_batch(struct lethe_epoch_rec *r,
                                       const struct lethe_epoch_pair_of *objects, size_t n);
/* Compare-and-swap of *cell; on success what it displaced is retired, unless it is NULL. 1: swapped;
 * 0: not, and *expected is what is there; LETHE_ENOMEM: not tried. */
LETHE_API int lethe_epoch_retire_on_cas(struct lethe_epoch_rec *r, _Atomic(void *) *cell,
                                        void **expected, void *desired, lethe_epoch_free *fn);
/* Publishes a pointer and retires the one it displaces; a single writer per cell. */
LETHE_API int lethe_epoch_retire_on_publish(struct lethe_epoch_rec *r, _Atomic(void *) *cell,
                                            void *desired, lethe_epoch_free *fn);

/* ---- reclaiming -------------------------------------------------------------------------------- */

LETHE_API uint64_t lethe_epoch_now(const struct lethe_epoch *m);
/* The least epoch that a pinned record shows which is not ejected, or else the epoch. */
LETHE_API uint64_t lethe_epoch_safe(struct lethe_epoch *m);
/* Manual mode: G + 1, whatever anybody shows. Auto mode: if I1 allows it. The epoch after. */
LETHE_API uint64_t lethe_epoch_advance(struct lethe_epoch *m);
/* Ejects pinned records more than `lag` epochs behind, never the one given; how many. */
LETHE_API uint32_t lethe_epoch_neutralize(struct lethe_epoch *m, const struct lethe_epoch_rec *but,
                                          uint64_t lag);
/* Frees what this record retired and what is safe by now; how many. Adopts orphans first. */
LETHE_API size_t lethe_epoch_reclaim(struct lethe_epoch_rec *r);
/* The same with a safe epoch that was read before. */
LETHE_API size_t lethe_epoch_reclaim_below(struct lethe_epoch_rec *r, uint64_t safe);
/* Seals the record's open bag, advances as far as that goes, frees what is safe. */
LETHE_API size_t lethe_epoch_flush(struct lethe_epoch_rec *r);

/* A cookie for all that is retired so far; poll says whether it can all be freed. Wait-free. */
LETHE_API uint64_t lethe_epoch_start_poll(struct lethe_epoch *m);
LETHE_API bool lethe_epoch_poll(struct lethe_epoch *m, uint64_t cookie);
/* One turn of a barrier: advances, frees; true once what was retired before `cookie` is freed. Ejects nobody. */
LETHE_API bool lethe_epoch_barrier_step(struct lethe_epoch *m, struct lethe_epoch_rec *r,
                                        uint64_t cookie);

struct lethe_epoch_rec_stats {
  bool pinned, neutralized, extra;
  uint64_t epoch; /* of its pin */
  uint64_t limbo, peak;
  int64_t limbo_bytes;
  double pinned_for; /* seconds since somebody first saw this pin */
};
struct lethe_epoch_stats {
  uint64_t epoch, safe_epoch, retired, reclaimed, limbo, orphans, advances, ejections, fences;
  int64_t limbo_bytes;
  uint32_t threads;
};
LETHE_API void lethe_epoch_read_stats(struct lethe_epoch *m, struct lethe_epoch_stats *out);
/* The records in use, at most n; how many there are. */
LETHE_API uint32_t lethe_epoch_records(struct lethe_epoch *m, struct lethe_epoch_rec_stats *out,
                                       uint32_t n);

#endif
