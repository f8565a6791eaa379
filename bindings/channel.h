/* SPDX-License-Identifier: MIT
 * Channels: queues between threads whose waiting ends wait on their loops. Knows nothing of Lua.
 *
 * A channel carries items, which belong to it from a successful send to a successful receive. An
 * end that must wait hands in a waiter; the answer comes as a message to the waiter's loop, with
 * what was received in its hands, so that a receiver that was answered cannot lose a race for it.
 * Whoever gives a waiter up gives back what it may have been handed: no item is lost.
 *
 * A channel may be in messages, its own and others': channels that only each other's messages hold
 * are found when the last other holder goes, and emptied (channel_cycle.c).
 *
 * Holders are what may still use a channel: objects of Lua states, one in each state, references in
 * messages under way, workers. A waiter holds its loop (lethe_loop_hold) while there is another
 * holder than the one that waits; where there is none, nothing from elsewhere can end the wait.
 *
 *   call                     may be called
 *   new, get, put, close     from any thread
 *   send, recv               from any thread; with a waiter, from the thread of its loop
 *   give_up, done()          from the thread of the waiter's loop
 *
 * Synchronization: one mutex per channel, taken before a loop's and never held while anything is
 * called back. Blocking, for a few instructions. */
#ifndef LETHE_BINDINGS_CHANNEL_H
#define LETHE_BINDINGS_CHANNEL_H

#include "lethe/list.h"
#include "lethe/loop.h"

struct lethe_channel;

struct lethe_item {
  struct lethe_item *next;
  void (*free)(struct lethe_item *item);
  /* Visits the channels that the item holds; NULL: none. */
  void (*each)(struct lethe_item *item, void (*visit)(struct lethe_channel *c, void *ud), void *ud);
};

enum { LETHE_WAITING = 1 }; /* of send and recv: the answer comes to the waiter */

#define LETHE_UNBOUNDED UINT64_MAX

/* In its owner's memory, zeroed before the first use, until neither listed nor posted. */
struct lethe_waiter {
  struct lethe_loop *loop; /* borrowed from the owner, as is the channel while it waits */
  bool idle;               /* set before the wait: it does not keep the loop alive */
  /* On the loop's thread, once: the answer is in rc and item. `closed`: the loop closed. */
  void (*done)(struct lethe_waiter *w, bool closed);

  int rc;                  /* LETHE_OK or LETHE_ECLOSED */
  struct lethe_item *item; /* a receiver's: what it got; a sender's: what it could not send */

  struct lethe_channel *channel;
  struct lethe_list node;
  struct lethe_message message;
  bool listed, answered, posted, held, sending, linked;
};

/* Holds one holder's reference. LETHE_ENOMEM. */
int lethe_channel_new(struct lethe_channel **out, uint64_t capacity);
struct lethe_channel *lethe_channel_get(struct lethe_channel *c);
void lethe_channel_put(struct lethe_channel *c);

/* For all holders: what is in it can still be received; waiting ends are told. Idempotent. */
void lethe_channel_close(struct lethe_channel *c);
bool lethe_channel_is_closed(struct lethe_channel *c);
/* Closes it and frees what is in it: nobody will receive any more. */
void lethe_channel_end(struct lethe_channel *c);

/* LETHE_OK: the item is the channel's. LETHE_ECLOSED, or without a waiter LETHE_EFULL: it is still
 * the caller's. LETHE_WAITING: it is the waiter's until the answer, and after LETHE_ECLOSED. */
int lethe_channel_send(struct lethe_channel *c, struct lethe_item *item, struct lethe_waiter *w);
/* LETHE_OK and the item; LETHE_ECLOSED once drained; without a waiter LETHE_EEMPTY. */
int lethe_channel_recv(struct lethe_channel *c, struct lethe_item **item, struct lethe_waiter *w);

/* An item that could not be used after all goes back to the front, over the capacity if need be. */
void lethe_channel_give_back(struct lethe_channel *c, struct lethe_item *item);

/* Ends a wait whoever has the answer: it leaves the list, and what it received goes back to the
 * front of the channel. A message may still be under way: true, and done follows; else the memory
 * is free. */
bool lethe_channel_give_up(struct lethe_waiter *w);

#endif
