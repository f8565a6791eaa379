/* SPDX-License-Identifier: MIT
 * Asynchronous cache: entries that a backend loads and writes back, in an order that survives a
 * power failure.
 *
 * A cache keeps values by key. What is missing is loaded, once however many ask; what was changed
 * is dirty until its backend has written it, and is written before it leaves. No call waits for the
 * backend: it answers at once, or says that it waits and calls back from the loop. The cache owns
 * its loads and writes, so whoever waits may stop waiting at any point and nothing is lost.
 *
 *   lethe_cache_new
 *   lethe_cache_get   lethe_cache_hold   lethe_cache_insert   lethe_cache_mark_dirty
 *   lethe_cache_depend_on   lethe_cache_flush
 *   lethe_cache_shutdown or lethe_cache_close, lethe_cache_put_ref
 *
 * An entry is absent, loading (or waiting for room: first its value, then its place), clean, dirty,
 * being written, being written and dirty again, failed (an error that is remembered for a while),
 * or dying (removed while the backend is at work with it; its key is free again when that ends).
 *
 * Invariants:
 *   I1  A key has one entry, and an entry at most one call of the backend under way.
 *   I2  What is dirty or held is in the cache: an entry leaves clean and free, or by a call that
 *       says that it drops what is dirty (remove, invalidate, close).
 *   I3  A write carries the version that it began with, and makes the entry clean if it is still
 *       that one's when it ends well; any other end leaves it dirty.
 *   I4  used <= limit + held, of entries and of bytes: room is reserved before a value takes it.
 *   I5  No write of a cache starts while an edge of it stands; an edge falls when a flush of the
 *       other cache that began after it was last wanted, and a barrier after that, have ended well.
 *   I6  Edges form no cycle.
 *
 * Synchronization: everything belongs to the thread of the cache's loop. Caches that depend on each
 * other belong to one thread. Callbacks may call anything here, also on the cache that calls.
 * Progress: no call blocks; each ends when the backend's calls that it needs have ended. */
#ifndef LETHE_CACHE_H
#define LETHE_CACHE_H

#include "lethe/loop.h"
#include "lethe/ref.h"

struct lethe_cache;
struct lethe_evict;

/* ---- keys and values ------------------------------------------------------------------------- */

/* A string of n bytes, or an integer. */
struct lethe_cache_key {
  const char *bytes; /* NULL: the integer */
  size_t n;
  int64_t number;
};

/* A value, counted by the loop's thread alone; whoever makes one has the first reference. `data` is
 * there for backends that store bytes, and NULL for a value that is none. It never changes. */
struct lethe_cache_value {
  uint32_t refs;
  void (*free)(struct lethe_cache_value *v); /* after the last reference */
  const void *data;
  size_t size;
};
static inline struct lethe_cache_value *lethe_cache_value_get(struct lethe_cache_value *v) {
  if (v) v->refs++;
  return v;
}
static inline void lethe_cache_value_put(struct lethe_cache_value *v) {
  if (v && --v->refs == 0) v->free(v);
}
/* A value of n bytes, copied unless data is NULL: then they are the caller's to fill, through
 * (void *)v->data, before anybody else sees it. NULL without memory. */
LETHE_API struct lethe_cache_value *lethe_cache_bytes(const struct lethe_alloc *a, const void *data,
                                                      size_t n);

/* ---- backends -------------------------------------------------------------------------------- */

/* A call of a backend under way. Key and value are borrowed until it is answered. */
struct lethe_cache_call {
  struct lethe_cache_key key;      /* of load, flush and evict */
  struct lethe_cache_value *value; /* of flush and evict, else NULL */
  struct lethe_cache *cache;       /* that made it; see lethe_cache_loop and lethe_cache_ud */
  void *ud;                        /* the backend's */
};

/* Each starts something that ends with one lethe_cache_answer, at once or later, in the thread of
 * the cache's loop, also after the cache was closed. One backend may serve several caches. Between
 * its start and its answer a call may not be forgotten: the cache lives until then. */
struct lethe_cache_backend {
  struct lethe_ref refs; /* of caches and whoever else; see lethe_cache_backend_put */
  void (*destroy)(struct lethe_cache_backend *b);
  void (*load)(struct lethe_cache_backend *b, struct lethe_cache_call *call);
  void (*flush)(struct lethe_cache_backend *b, struct lethe_cache_call *call);
  /* Optional. The value has left the cache: not for what is dirty and dropped by close. Its code is
   * of no concern, but a load of the key waits for the answer. */
  void (*evict)(struct lethe_cache_backend *b, struct lethe_cache_call *call);
  /* Optional. Answered once all writes that were answered before it began are durable. */
  void (*barrier)(struct lethe_cache_backend *b, struct lethe_cache_call *call);
};
static inline void lethe_cache_backend_put(struct lethe_cache_backend *b) {
  if (lethe_ref_put(&b->refs)) b->destroy(b);
}

/* Ends a call. LETHE_OK; of a load LETHE_ENOTFOUND: there is no such thing; anything else is a
 * failure. `message` (may be NULL) says why, and is copied. `value`, of a load that went well, else
 * NULL: the reference is taken. Cannot fail. */
LETHE_API void lethe_cache_answer(struct lethe_cache_call *call, int code, const char *message,
                                  struct lethe_cache_value *value);

/* ---- caches ---------------------------------------------------------------------------------- */

enum lethe_cache_reason {
  LETHE_CACHE_CAPACITY,
  LETHE_CACHE_TTL, /* or idle */
  LETHE_CACHE_REMOVED,
  LETHE_CACHE_RECLAIMED
};

#define LETHE_CACHE_NO_LIMIT INT64_MAX

/* What a cache asks of whoever made it; all optional. None may wait. */
struct lethe_cache_hooks {
  /* Bytes of a value, at least 0. Without it: value->size. */
  int64_t (*weigh)(void *ud, const struct lethe_cache_key *key, struct lethe_cache_value *value);
  /* A loaded value of the backend's making becomes one of the embedder's: takes the reference,
   * gives another; NULL without memory. */
  struct lethe_cache_value *(*adopt)(void *ud, struct lethe_cache_value *value);
  /* After the fact. */
  void (*evicted)(void *ud, const struct lethe_cache_key *key, struct lethe_cache_value *value,
                  enum lethe_cache_reason reason);
  /* A write that nobody waits for failed (to make room, on expiry): once until it goes well. */
  void (*failed)(void *ud, const struct lethe_cache_key *key, const char *message);
  /* close drops this; called for each dirty entry. */
  void (*dropped)(void *ud, const struct lethe_cache_key *key, struct lethe_cache_value *value);
  /* A quota: n bytes more, or less. A claim is refused with a code: LETHE_ELIMIT makes the cache
   * evict and try again, any other passes to whoever wanted the room. */
  int (*claim)(void *ud, int64_t n);
  void (*release)(void *ud, int64_t n);
  /* Every access, for recorders and shadows: a get, a hold or an insert; a miss once it is known
   * how large it is (0: the load failed). It may not call the cache. */
  void (*seen)(void *ud, const struct lethe_cache_key *key, int64_t size, bool hit);
  /* The last reference was put. */
  void (*gone)(void *ud);
};

struct lethe_cache_config {
  struct lethe_cache_backend *backend; /* a reference is taken */
  struct lethe_loop *loop;             /* likewise */
  struct lethe_evict *policy;  /* is taken over; counts entries, or bytes where they are limited */
  int64_t limit, bytes;        /* LETHE_CACHE_NO_LIMIT: none; at least one is limited */
  double ttl, idle, error_ttl; /* seconds; 0: none */
  double wait;                 /* seconds for room when all is in use */
  uint32_t write_depth;        /* writes under way at once; 0: 32 */
  uint64_t seed;               /* of hashes */
  const struct lethe_cache_hooks *hooks; /* borrowed for good; may be NULL */
  void *ud;
};

/* One reference. LETHE_ENOMEM: then the policy is still the caller's. */
LETHE_API int lethe_cache_new(struct lethe_cache **out, const struct lethe_alloc *a,
                              const struct lethe_cache_config *config);
LETHE_API struct lethe_cache *lethe_cache_get_ref(struct lethe_cache *c);
LETHE_API void lethe_cache_put_ref(struct lethe_cache *c);
/* Ends it now: who waits gets LETHE_ECLOSED, what is dirty is dropped and told to `dropped`; calls
 * of the backend under way end by themselves. Idempotent. */
LETHE_API void lethe_cache_close(struct lethe_cache *c);
/* The caller forgets it: what is dirty is written, then it closes. What cannot be written is
 * dropped as close does. Holds a reference meanwhile. */
LETHE_API void lethe_cache_abandon(struct lethe_cache *c);
LETHE_API bool lethe_cache_is_closed(const struct lethe_cache *c);

/* ---- calls that may wait --------------------------------------------------------------------- */

/* Lives in the caller's memory until the call is over: the call returned something else than
 * LETHE_CACHE_WAITS, or done was called, or it was cancelled. */
struct lethe_cache_wait {
  /* Set by the caller. Never called from within the call that began the wait. */
  void (*done)(struct lethe_cache_wait *w, int code);
  /* Of flush and shutdown, optional: each key that could not be written, before done. */
  void (*failed)(struct lethe_cache_wait *w, const struct lethe_cache_key *key,
                 const char *message);
  /* The result. `message`, of a failure, is borrowed until done returns (or until the next call, of
   * one that ended at once) and may be NULL: lethe_strerror says it then. */
  const char *message;
  struct lethe_cache_value *value; /* of get: a reference, the caller's */
  struct lethe_cache_entry *held;  /* of hold: to be released */
  /* The engine's. */
  struct lethe_list node;
  struct lethe_cache *cache, *other;
  struct lethe_cache_value *given;
  uint64_t version;
  int64_t size, *freed;
  int code;
  uint8_t kind, state;
  bool forced;
};
enum { LETHE_CACHE_WAITS = 1 };

/* The value of a key: LETHE_OK, or LETHE_ELOAD, LETHE_ENOTFOUND, LETHE_EFLUSH (it is here, but what
 * should make room for it cannot be written), LETHE_EALLINUSE, LETHE_ECLOSED, LETHE_ENOMEM, or what
 * a claim was refused with. */
LETHE_API int lethe_cache_get(struct lethe_cache *c, const struct lethe_cache_key *key,
                              struct lethe_cache_wait *w);
/* The same for what is there: the value, borrowed until the next call, or NULL where get would have
 * to look further; then nothing is counted. */
LETHE_API struct lethe_cache_value *lethe_cache_hit(struct lethe_cache *c,
                                                    const struct lethe_cache_key *key);
/* That in steps, for whoever has something to do with the value while what the policy keeps of it
 * is on its way from memory: the entry, or NULL; its value; and the hit itself, before any other
 * call, false if the policy has closed the cache. */
LETHE_API struct lethe_cache_entry *lethe_cache_find(struct lethe_cache *c,
                                                     const struct lethe_cache_key *key);
LETHE_API struct lethe_cache_value *lethe_cache_value_of(const struct lethe_cache_entry *e);
LETHE_API bool lethe_cache_use(struct lethe_cache *c, struct lethe_cache_entry *e);
/* What the policy lets go of at such a hit (an on_hit rule that drops) leaves now; else with the
 * next call that may wait. */
LETHE_API void lethe_cache_let_go(struct lethe_cache *c);
/* As get, and the entry is in use until lethe_cache_release(w->held). */
LETHE_API int lethe_cache_hold(struct lethe_cache *c, const struct lethe_cache_key *key,
                               struct lethe_cache_wait *w);
/* Puts a value, which becomes dirty; the reference is taken, whatever happens. What is there is
 * written first if it is dirty. As get, and LETHE_EINUSE. `clean`: it need not be written. */
LETHE_API int lethe_cache_insert(struct lethe_cache *c, const struct lethe_cache_key *key,
                                 struct lethe_cache_value *value, bool clean,
                                 struct lethe_cache_wait *w);
/* Writes what is dirty now (key NULL), or one entry. LETHE_EFLUSH: not all of it; each was
 * tried. */
LETHE_API int lethe_cache_flush(struct lethe_cache *c, const struct lethe_cache_key *key,
                                struct lethe_cache_wait *w);
/* Nothing of c is written before what is dirty in `other` was, and its barrier has passed.
 * LETHE_EFLUSH where a cycle had to be flushed and could not be. */
LETHE_API int lethe_cache_depend_on(struct lethe_cache *c, struct lethe_cache *other,
                                    struct lethe_cache_wait *w);
/* Writes what is dirty, until nothing is; a barrier; closes. On a failure it stays open. */
LETHE_API int lethe_cache_shutdown(struct lethe_cache *c, struct lethe_cache_wait *w);
/* Gives back `goal` bytes, clean entries first; LETHE_OK when it has tried; `freed` adds up
 * there. */
LETHE_API int lethe_cache_reclaim(struct lethe_cache *c, int64_t goal, struct lethe_cache_wait *w,
                                  int64_t *freed);
/* Ends the wait without done: what it waited for goes on. Of a wait that is over it does
 * nothing. */
LETHE_API void lethe_cache_cancel(struct lethe_cache_wait *w);

/* ---- holds ----------------------------------------------------------------------------------- */

/* Borrowed until the hold is released or another value is set; legal in a closed cache. */
LETHE_API struct lethe_cache_value *lethe_cache_held_value(const struct lethe_cache_entry *held);
/* LETHE_ECLOSED. */
LETHE_API int lethe_cache_mark_dirty(struct lethe_cache *c, struct lethe_cache_entry *held);
/* Another value, dirty; the reference is taken. LETHE_ECLOSED. */
LETHE_API int lethe_cache_set(struct lethe_cache *c, struct lethe_cache_entry *held,
                              struct lethe_cache_value *value);
LETHE_API void lethe_cache_release(struct lethe_cache *c, struct lethe_cache_entry *held);

/* ---- calls that never wait ------------------------------------------------------------------- */

/* Borrowed until the next call, or NULL; touches nothing. */
LETHE_API struct lethe_cache_value *lethe_cache_peek(struct lethe_cache *c,
                                                     const struct lethe_cache_key *key);
/* Drops an entry without writing it; LETHE_OK also when there is none. LETHE_EINUSE,
 * LETHE_ECLOSED. */
LETHE_API int lethe_cache_remove(struct lethe_cache *c, const struct lethe_cache_key *key);
/* Drops all that is not in use, without writing it; LETHE_EINUSE if some was, with in_use called
 * for each. */
LETHE_API int lethe_cache_invalidate(struct lethe_cache *c,
                                     void (*in_use)(void *ud, const struct lethe_cache_key *key),
                                     void *ud);
/* Other limits; -1 leaves one as it is. What is too much leaves now, or once it is written or
 * free. */
LETHE_API void lethe_cache_resize(struct lethe_cache *c, int64_t limit, int64_t bytes);
/* Another policy, empty, takes over all entries: as they stand, if it is a script of the form of
 * the one before (lethe_evict_script_inherit), else the likeliest victims first. The one before is
 * given back. `moved`, optional, is called when it has them; another code than LETHE_OK undoes it.
 * On failure all is as it was, but that the new policy may have been asked about entries:
 * LETHE_ENOMEM, LETHE_EPOLICY (a script that failed at once), LETHE_EINVAL (from within a policy),
 * LETHE_ECLOSED. */
LETHE_API int lethe_cache_swap_policy(struct lethe_cache *c, struct lethe_evict *policy,
                                      int (*moved)(void *ud), void *ud,
                                      struct lethe_evict **before);
LETHE_API struct lethe_evict *lethe_cache_policy(struct lethe_cache *c);
/* Open or closed: answers come on its thread. */
LETHE_API struct lethe_loop *lethe_cache_loop(const struct lethe_cache *c);
LETHE_API void *lethe_cache_ud(const struct lethe_cache *c);
/* Loop seconds of the access that is longest ago, false when nothing is there. */
LETHE_API bool lethe_cache_oldest(const struct lethe_cache *c, double *seconds);
/* The key of an entry, which is the owner of its node in the policy; borrowed. */
LETHE_API const struct lethe_cache_key *lethe_cache_key_of(const struct lethe_cache_entry *owner);

struct lethe_cache_stats {
  uint64_t hits, misses, loads, load_failures, evictions, flushes, flush_failures;
  uint64_t barriers, dirty, in_use, entries;
  int64_t bytes, limit, max_bytes;
};
LETHE_API void lethe_cache_read_stats(const struct lethe_cache *c, struct lethe_cache_stats *out);

/* Audits the invariants that can be seen; LETHE_EBROKEN with what is wrong in `why`. */
LETHE_API int lethe_cache_check(const struct lethe_cache *c, char *why, size_t n);

#endif
