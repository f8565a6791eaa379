/* SPDX-License-Identifier: MIT
 * What the files of channels share. */
#ifndef LETHE_BINDINGS_CHANNEL_PARTS_H
#define LETHE_BINDINGS_CHANNEL_PARTS_H

#include <pthread.h>

#include "channel.h"
#include "lethe/ref.h"

struct lethe_channel {
  struct lethe_ref refs; /* holders, and waiters from their wait to their end */
  _Atomic int queued;    /* items, in whatever channel, that hold this one */
  pthread_mutex_t lock;  /* guards what follows */
  unsigned holders;      /* changes under the graph's lock too */
  bool closed;
  uint64_t capacity, count;
  uint64_t linked;         /* items with channels in them: under the graph's lock */
  uint64_t linked_waiting; /* senders of such, likewise */
  struct lethe_item *first, **last;
  struct lethe_list senders, receivers;

  /* A search's, under the graph's lock. */
  struct lethe_channel *next_found, *next_live;
  unsigned inner; /* of its holders, those in the channels that were found */
  bool found, live;
};

/* Under the channel's lock: all that is in it. */
struct lethe_item *channel_take_all(struct lethe_channel *c);

/* One lock for all channels: while it is held no holder comes or goes, and no message that holds
 * channels moves. Taken before a channel's. */
void channel_graph_lock(void);
void channel_graph_unlock(void);
/* Under it: if nothing but messages in channels that are themselves out of reach holds c, all that
 * is in c; else NULL. */
struct lethe_item *channel_take_cycle(struct lethe_channel *c);

#endif
