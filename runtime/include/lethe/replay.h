/* SPDX-License-Identifier: MIT
 * Replaying requests through an eviction policy: a cache of keys and sizes that holds nothing, and
 * counts what a real one would have found.
 *
 *   lethe_replay_new(&r, policy, unit)              takes the policy, uses its allocator
 *   lethe_replay_run(r, requests, n)                as often as there are batches
 *   r->requests, r->misses, r->bytes, r->missed     so far, exact
 *   lethe_replay_delete(r)
 *
 * A request hits if its id is there: the size stays what it was. Else it misses: where the policy
 * admits it, victims leave until it fits, and it is stored. That is how the published simulators
 * count, whose numbers the built-in policies reproduce; lethe_evict.exact is set for that. With
 * `unit` every size counts as 1 in the policy, as if the limit were one of entries; bytes are those
 * of the requests.
 *
 * Synchronization: none. Replays share nothing but the requests, which they only read: one thread
 * each. Progress: no call blocks. */
#ifndef LETHE_REPLAY_H
#define LETHE_REPLAY_H

#include "lethe/evict.h"

struct lethe_request {
  uint64_t id;
  int64_t size; /* at least 0 */
  double time;  /* seconds; of no concern to the replay */
  int64_t next; /* 1 + the index of the next request of this id; -1: there is none */
  double cost;  /* 1, or what the trace says */
};

struct lethe_replay {
  struct lethe_evict *policy;
  bool unit;
  uint64_t requests, misses, bytes, missed;
  /* Where each id is: open addressing, a power of 2 of cells. */
  struct lethe_replay_cell {
    uint32_t slot, hash; /* slot 0: empty */
  } * cells;
  size_t room;
};

/* Takes the policy, which has no entries; LETHE_ENOMEM: then it is still the caller's. */
LETHE_API int lethe_replay_new(struct lethe_replay **out, struct lethe_evict *policy, bool unit);
/* With its policy. NULL is allowed. */
LETHE_API void lethe_replay_delete(struct lethe_replay *r);
/* LETHE_ENOMEM: `requests` of the replay says how many it has seen, and it may go on from there. */
LETHE_API int lethe_replay_run(struct lethe_replay *r, const struct lethe_request *requests,
                               size_t n);
/* Another limit: what is too much leaves now. */
LETHE_API int lethe_replay_resize(struct lethe_replay *r, int64_t limit);
/* Fills in `next` of all requests of a trace. LETHE_ENOMEM: some may be filled in. */
LETHE_API int lethe_replay_fill_next(struct lethe_request *requests, size_t n,
                                     const struct lethe_alloc *a);

#endif
