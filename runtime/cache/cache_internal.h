/* SPDX-License-Identifier: MIT
 * The inside of the cache: entries, and who may touch what when.
 *
 * All work that calls out (the backend, hooks, whoever waits) is done by the pump, one step after
 * the other, with every structure whole. A call of the public interface changes structures, puts
 * what follows from it on the lists that the pump works off, and runs the pump; inside of it,
 * called from a callback, it leaves the work to the pump that is running. So nothing nests,
 * whatever callbacks do.
 *
 * An entry is in the index while its key is taken. Of the lists, `work` is one of starting,
 * answered, again, stuck, dirty, bad, urgent and queue; `age` one of ttls and failures; `recent` is
 * that of accesses. */
#ifndef LETHE_CACHE_INTERNAL_H
#define LETHE_CACHE_INTERNAL_H

#include "lethe/cache.h"
#include "lethe/evict.h"
#include "lethe/slab.h"

enum entry_state {
  ENTRY_NEW,
  ENTRY_LOADING, /* the backend is asked */
  ENTRY_PLACING, /* has a value, has no room */
  ENTRY_READY,
  ENTRY_FAILED, /* value is the message, or NULL */
  ENTRY_DYING   /* has left; a call of the backend is under way, or the cache is closed */
};
enum entry_call { CALL_NONE, CALL_LOAD, CALL_FLUSH, CALL_EVICT };
/* Who wants the entry to leave once it is clean. */
enum entry_claim { CLAIM_NONE, CLAIM_PLACE, CLAIM_TRIM, CLAIM_RECLAIM, CLAIM_TTL };

enum {
  BUCKETS = 64,    /* at first */
  VICTIMS = 8,     /* that could not be written, before a placing gives up */
  FAILURES = 65536 /* that are remembered at most */
};

/* What a value that waits for room has so far. */
struct placing {
  struct lethe_cache_entry *victim; /* that is written for it */
  int64_t bytes;                    /* reserved */
  uint64_t order, began;
  uint64_t found;  /* by the policy, when it was asked */
  double deadline; /* INFINITY: it does not wait for what is in use */
  unsigned tries;  /* victims that could not be written */
  bool place;      /* reserved */
  bool admitted, clean;
};

/* What a value that is there has. */
struct standing {
  uint64_t version, clean; /* dirty while they differ */
  double retry_at;         /* 0: it does not back off */
  uint64_t writing;        /* the version under way */
  uint64_t since, again;   /* ticks of the first change not written; of that since `writing` */
  uint64_t failed_at;      /* tick of the last failure */
  struct lethe_cache_entry *claimant; /* of CLAIM_PLACE */
  unsigned failures;                  /* in a row */
};

/* What comes first is all that hits look at, and then what clean entries that leave do. What only
 * caches with ages need comes last: others have shorter entries. */
struct lethe_cache_entry {
  uint32_t generation, slot; /* of the slab */
  uint64_t handle;           /* in the policy; 0: it is not there */
  struct lethe_cache_value *value;
  uint32_t pins;
  uint8_t state, calling, claim;
  bool refused : 1;             /* the policy does not offer it */
  bool queued : 1;              /* to be written, or, while it is being written, written again */
  struct lethe_cache_call call; /* with the key */
  uint64_t hash;
  int64_t size;
  struct lethe_list waiters;
  union {
    struct placing p;
    struct standing s;
  };
  struct lethe_list work;
  struct lethe_list aside;        /* among those that were refused for a while, or are homeless */
  struct lethe_cache_value *said; /* what a call was answered with */
  struct lethe_cache_value *last; /* of a dying entry, for evict */
  uint64_t doomed; /* tick: the load under way is for those only who asked before; 0: it is not */
  float cost;      /* seconds of its load */
  int code;        /* of the answer, or of the failure */
  uint32_t asked;  /* how often, since it is on its way: watchers are still to be told */

  struct lethe_list age, recent;
  double expires, used_at;
};

enum wait_kind {
  WAIT_GET,
  WAIT_HOLD,
  WAIT_INSERT,
  WAIT_FLUSH,
  WAIT_FLUSH_KEY,
  WAIT_DEPEND,
  WAIT_SHUTDOWN,
  WAIT_SYNC,
  WAIT_RECLAIM
};
enum wait_state { WAIT_IDLE, WAIT_STARTING, WAIT_WAITING, WAIT_OVER };

/* A flush of everything: those dirty entries that were so at its tick. */
struct flush {
  struct lethe_list node, waiters;
  uint64_t tick, serial, left;
  bool ordered; /* the edges have fallen, or it has failed by them */
  int code;
  struct lethe_cache_value *said;
};

enum edge_state { EDGE_ARMED, EDGE_FLUSHING, EDGE_SYNCING };

struct edge {
  struct lethe_list node;
  struct lethe_cache *from, *to;
  struct lethe_cache_wait wait;
  uint8_t state;
  bool again; /* wanted anew while it was at work */
};

struct bucket {
  uint32_t slot, tag; /* slot 0: empty */
  uint32_t node;      /* where the policy put it, or had it once: only a hint */
};

struct lethe_cache {
  const struct lethe_alloc *alloc;
  struct lethe_cache_backend *backend;
  struct lethe_loop *loop;
  struct lethe_evict *policy;
  bool weighted; /* the policy counts bytes */
  const struct lethe_cache_hooks *hooks;
  void *ud;
  uint32_t refs, calls; /* of holders; of the backend under way */
  bool closed, swept, pumping;
  unsigned deciding; /* times that the policy is asked just now: it may not call the cache */

  struct lethe_slab entries;
  struct bucket *buckets;
  size_t nbuckets, keys; /* keys: entries in the index */
  uint64_t seed;

  int64_t limit, max_bytes;
  int64_t taken, taken_bytes; /* by entries that are ready, and reserved */
  int64_t bytes;              /* of those that are ready */
  uint64_t ready, pinned, ndirty;
  uint64_t nfailing; /* dirty entries of which nobody knows what the last write has left */
  uint64_t free, free_dirty, free_bad; /* of those that are neither pinned nor claimed */
  double ttl, idle, error_ttl, wait;
  uint32_t write_depth, writes; /* writes: under way */
  uint64_t tick, serial, places;
  bool keeps_ages, keeps_recent;
  int64_t granted;    /* bytes: above that the quota refused the last time */
  double granted_for; /* until then that counts: it is not asked again */
  int64_t unpaid;     /* bytes that the quota did not grant to what grew while it was held */

  /* for the pump: entries whose calls begin and have ended, waits, placings */
  struct lethe_list starting, answered, over, again;
  struct lethe_list stuck;             /* placings that wait for what is in use, by order */
  struct lethe_list dirty, bad;        /* entries to be written when somebody asks, and not now */
  struct lethe_list urgent, queue;     /* next, and after that */
  struct lethe_list flushes, reclaims; /* struct flush; waits */
  struct lethe_list aside;             /* refused while clean ones are looked for */
  struct lethe_list homeless; /* the policy has no place for them: they leave as soon as they can */
  struct lethe_list ttls, late, failures, recent; /* late: time is over, but not yet theirs */
  uint64_t nfailures;
  bool room, trim, expire; /* for the pump: something came free; there is too much; it is time */
  uint64_t claims, trimming, reclaiming; /* entries claimed; of these, to trim and to reclaim */
  int64_t trimming_bytes, reclaiming_bytes;

  struct lethe_list edges;               /* of this cache to others */
  struct lethe_list sync_next, sync_now; /* waits for a barrier */
  struct lethe_cache_call barrier;
  bool unsynced, syncing, synced; /* written since; under way; answered */
  bool unsure; /* as it began, some write had failed and may have left anything */
  int barrier_code;
  struct lethe_cache_value *barrier_said;
  struct lethe_cache *walk_next; /* of a walk along edges */
  const struct lethe_cache *walked_by;
  uint64_t walk, walks;

  struct lethe_cache_wait last;   /* of lethe_cache_abandon */
  struct lethe_cache_value *told; /* the message of a call that ended at once */
  struct lethe_timer stuck_timer, age_timer, retry_timer;
  struct lethe_cache_stats stats;
};

static inline struct lethe_cache_entry *entry_of_work(struct lethe_list *node) {
  return lethe_container_of(node, struct lethe_cache_entry, work);
}
static inline struct lethe_cache_wait *wait_of(struct lethe_list *node) {
  return lethe_container_of(node, struct lethe_cache_wait, node);
}
/* Clocks count in steps of their own: what is due so nearly is due, or its timer fires too
 * early. */
static inline bool is_due(double at, double now) { return at <= now + 1e-6; }
static inline bool is_dirty(const struct lethe_cache_entry *e) {
  return e->state == ENTRY_READY && e->s.version != e->s.clean;
}

/* ---- index.c --------------------------------------------------------------------------------- */

struct lethe_cache_entry *cache_find(const struct lethe_cache *c,
                                     const struct lethe_cache_key *key);
/* A new entry with that key, LOADING, in the index; NULL without memory. */
struct lethe_cache_entry *cache_entry_new(struct lethe_cache *c, const struct lethe_cache_key *key);
/* The policy has put it there. */
void cache_note_node(struct lethe_cache *c, const struct lethe_cache_entry *e);
/* Out of the index, and its memory given back: nothing refers to it any more. */
void cache_entry_free(struct lethe_cache *c, struct lethe_cache_entry *e);

/* ---- pump.c: calls and answers --------------------------------------------------------------- */

void cache_pump(struct lethe_cache *c);
/* A call of the interface begins, and what it returns. */
void cache_begin(struct lethe_cache *c, struct lethe_cache_wait *w, enum wait_kind kind);
int cache_end(struct lethe_cache *c, struct lethe_cache_wait *w);
/* The wait is over: told by the pump, or returned by the call that began it. */
void cache_finish(struct lethe_cache *c, struct lethe_cache_wait *w, int code,
                  struct lethe_cache_value *said);
/* The entry has a call of the backend to make. */
void cache_call(struct lethe_cache *c, struct lethe_cache_entry *e, enum entry_call which);
/* A message, or NULL for NULL and without memory. */
struct lethe_cache_value *cache_text(struct lethe_cache *c, const char *message);
double cache_now(const struct lethe_cache *c);

/* ---- get.c: entries and who waits for them --------------------------------------------------- */

/* The waiters of an entry that is ready are told. */
void cache_settle(struct lethe_cache *c, struct lethe_cache_entry *e);
/* It is nothing now: what its waiters want begins, or it is freed. */
void cache_restart(struct lethe_cache *c, struct lethe_cache_entry *e);
void cache_load_answered(struct lethe_cache *c, struct lethe_cache_entry *e);
/* Its value finds no place: an error for all who wait. */
void cache_refuse(struct lethe_cache *c, struct lethe_cache_entry *e, int code);
/* The value goes to those who get it, and is not kept. */
void cache_pass(struct lethe_cache *c, struct lethe_cache_entry *e);
/* LETHE_OK if it can have entries. */
int cache_usable(const struct lethe_cache *c);
/* The entry of a key, made if there is none; NULL without memory. */
struct lethe_cache_entry *cache_entry_for(struct lethe_cache *c, const struct lethe_cache_key *key);

void cache_seen(struct lethe_cache *c, const struct lethe_cache_key *key, int64_t size, bool hit);
void cache_misses_seen(struct lethe_cache *c, struct lethe_cache_entry *e, int64_t size);

/* ---- change.c -------------------------------------------------------------------------------- */

void cache_pin(struct lethe_cache *c, struct lethe_cache_entry *e);
/* Of an insert that waits for an entry which is ready: false if it goes on waiting. */
bool cache_settle_insert(struct lethe_cache *c, struct lethe_cache_entry *e,
                         struct lethe_cache_wait *w);

/* ---- room.c: where values stand -------------------------------------------------------------- */

/* The entry gets a value, whose reference is taken, and looks for room. size -1: not yet
 * weighed. */
void cache_place(struct lethe_cache *c, struct lethe_cache_entry *e,
                 struct lethe_cache_value *value, int64_t size, bool clean);
/* Goes on with that. */
void cache_place_again(struct lethe_cache *c, struct lethe_cache_entry *e);
/* What it has reserved is free again. */
void cache_unplace(struct lethe_cache *c, struct lethe_cache_entry *e);
void cache_reserve(struct lethe_cache *c, struct lethe_cache_entry *e);
void cache_place_stuck(struct lethe_cache *c);
/* May call a script; the pump rests meanwhile. */
int64_t cache_weigh(struct lethe_cache *c, const struct lethe_cache_key *key,
                    struct lethe_cache_value *value);
/* A ready entry that is held has another size. */
void cache_resized(struct lethe_cache *c, struct lethe_cache_entry *e, int64_t size);

/* ---- leave.c: who goes ----------------------------------------------------------------------- */

/* Around a change of pins, claim, dirt or back-off of an entry that is ready: by = -1, then 1. */
void cache_count(struct lethe_cache *c, struct lethe_cache_entry *e, int by);
enum victim_kind { VICTIM_ANY, VICTIM_CLEAN };
/* A ready entry that is neither pinned nor claimed, nor backs off, to make room for `into` (or
 * NULL); NULL if there is none. */
struct lethe_cache_entry *cache_victim(struct lethe_cache *c, enum victim_kind kind,
                                       struct lethe_cache_entry *into);
void cache_claim(struct lethe_cache *c, struct lethe_cache_entry *e, enum entry_claim claim,
                 struct lethe_cache_entry *claimant);
void cache_unclaim(struct lethe_cache *c, struct lethe_cache_entry *e);
/* The write of a claimed entry has ended. */
void cache_claim_written(struct lethe_cache *c, struct lethe_cache_entry *e, bool well,
                         struct lethe_cache_value *said);
/* A ready entry leaves; its room goes to `into` as far as that has a use for it. */
void cache_leave(struct lethe_cache *c, struct lethe_cache_entry *e, enum lethe_cache_reason reason,
                 struct lethe_cache_entry *into);
/* Bytes go back to the quota. */
void cache_pay_back(struct lethe_cache *c, int64_t n);
/* It is not ready any more, to be placed anew or to go. */
void cache_abdicate(struct lethe_cache *c, struct lethe_cache_entry *e);
/* A dying entry's call has ended. */
void cache_die(struct lethe_cache *c, struct lethe_cache_entry *e);
/* Gives back what is above the limits, and what a reclaim wants. */
void cache_trim(struct lethe_cache *c);

/* ---- policy.c -------------------------------------------------------------------------------- */

/* Is it worth a place? Also counts as its access. */
bool cache_policy_admit(struct lethe_cache *c, struct lethe_cache_entry *e);
/* Must another leave first, though there is room? */
bool cache_policy_full(struct lethe_cache *c, struct lethe_cache_entry *e);
/* LETHE_ENOMEM, LETHE_ELIMIT: it has no place for such a one. */
int cache_policy_insert(struct lethe_cache *c, struct lethe_cache_entry *e);
void cache_policy_hit(struct lethe_cache *c, struct lethe_cache_entry *e);
struct lethe_cache_entry *cache_policy_victim(struct lethe_cache *c,
                                              struct lethe_cache_entry *into);
/* The victim cannot go, and may be one again. */
void cache_policy_refuse(struct lethe_cache *c, struct lethe_cache_entry *e);
void cache_policy_offer(struct lethe_cache *c, struct lethe_cache_entry *e);
void cache_policy_resized(struct lethe_cache *c, struct lethe_cache_entry *e);
void cache_policy_limits(struct lethe_cache *c);
void cache_policy_removed(struct lethe_cache *c, struct lethe_cache_entry *e, bool evicted);
void cache_policy_destroy(struct lethe_cache *c);

/* ---- write.c --------------------------------------------------------------------------------- */

/* It has changed. */
void cache_dirty(struct lethe_cache *c, struct lethe_cache_entry *e);
/* Has it written; `soon`: before others. */
void cache_want(struct lethe_cache *c, struct lethe_cache_entry *e, bool soon);
/* It will not be written any more. */
void cache_undirty(struct lethe_cache *c, struct lethe_cache_entry *e);
/* Whether anything waits to be written. */
bool cache_has_queue(const struct lethe_cache *c);
/* True if one began. */
bool cache_start_write(struct lethe_cache *c);
void cache_write_answered(struct lethe_cache *c, struct lethe_cache_entry *e);
/* What is queued cannot be written. */
void cache_fail_queue(struct lethe_cache *c, struct lethe_cache_value *said);

/* ---- flush.c --------------------------------------------------------------------------------- */

/* The wait is for a flush of all that is dirty now; false without memory. */
bool cache_join_flush(struct lethe_cache *c, struct lethe_cache_wait *w);
/* What was dirty from `since` to before `until` has been dealt with. */
void cache_flushed(struct lethe_cache *c, struct lethe_cache_entry *e, uint64_t since,
                   uint64_t until, int code, struct lethe_cache_value *said);
bool cache_end_flush(struct lethe_cache *c);
/* Whether a flush waits for edges; they cannot fall. */
bool cache_flush_unordered(const struct lethe_cache *c);
void cache_fail_order(struct lethe_cache *c, struct lethe_cache_value *said);
/* Whether a flush is under way that concerns a change of that tick. */
bool cache_flush_wants(const struct lethe_cache *c, uint64_t since);
/* All flushes end, with that. */
void cache_drop_flushes(struct lethe_cache *c, int code);
void cache_shutdown_step(struct lethe_cache *c, struct lethe_cache_wait *w, int code,
                         struct lethe_cache_value *said);

/* ---- order.c: edges and barriers ------------------------------------------------------------- */

/* True if one began. */
bool cache_start_edge(struct lethe_cache *c);
bool cache_start_barrier(struct lethe_cache *c);
void cache_barrier_answered(struct lethe_cache *c);
/* All, or those that are armed. */
void cache_drop_edges(struct lethe_cache *c, bool all);
void cache_drop_syncs(struct lethe_cache *c, int code);
/* The wait is for all that has been written to be durable. */
void cache_sync(struct lethe_cache *c, struct lethe_cache_wait *w);
/* A flush that a depend_on waited for has ended. */
void cache_depend_step(struct lethe_cache_wait *w, int code, struct lethe_cache_value *said);

/* ---- age.c ----------------------------------------------------------------------------------- */

bool cache_is_stale(const struct lethe_cache *c, const struct lethe_cache_entry *e);
void cache_touch(struct lethe_cache *c, struct lethe_cache_entry *e);
/* It has got a value, or an error. */
void cache_begin_age(struct lethe_cache *c, struct lethe_cache_entry *e);
void cache_end_age(struct lethe_cache *c, struct lethe_cache_entry *e);
void cache_expire(struct lethe_cache *c);

/* ---- cache.c --------------------------------------------------------------------------------- */

void cache_unref(struct lethe_cache *c);
/* Ends all that is left of a closed cache. */
void cache_sweep(struct lethe_cache *c);

#endif
