/* SPDX-License-Identifier: MIT
 * Channels. Invariants, under the lock:
 *   I1  receivers wait only while there is neither an item nor a sender that waits
 *   I2  senders wait only while there are `capacity` items or more
 *   I3  a waiter is listed or answered, never both; it is posted at most once at a time
 *   I4  a listed waiter that is not idle holds its loop if and only if holders > 1 */
#include "channel.h"

#include <pthread.h>

#include "lethe/ref.h"

struct lethe_channel {
  struct lethe_ref refs; /* holders, and waiters from their wait to their end */
  pthread_mutex_t lock;  /* guards what follows */
  unsigned holders;
  bool closed;
  uint64_t capacity, count;
  struct lethe_item *first, **last;
  struct lethe_list senders, receivers;
};

static void free_items(struct lethe_item *item) {
  while (item) {
    struct lethe_item *next = item->next;
    item->free(item);
    item = next;
  }
}

int lethe_channel_new(struct lethe_channel **out, uint64_t capacity) {
  struct lethe_channel *c = lethe_zalloc(&lethe_alloc_libc, sizeof *c);
  if (!c) return LETHE_ENOMEM;
  lethe_ref_init(&c->refs);
  pthread_mutex_init(&c->lock, NULL);
  c->holders = 1;
  c->capacity = capacity;
  c->last = &c->first;
  lethe_list_init(&c->senders);
  lethe_list_init(&c->receivers);
  *out = c;
  return LETHE_OK;
}

static void unref(struct lethe_channel *c) {
  if (!lethe_ref_put(&c->refs)) return;
  pthread_mutex_destroy(&c->lock);
  lethe_free(&lethe_alloc_libc, c, sizeof *c);
}

/* ---- items, under the lock ------------------------------------------------------------------- */

static void push_last(struct lethe_channel *c, struct lethe_item *item) {
  item->next = NULL;
  *c->last = item;
  c->last = &item->next;
  c->count++;
}

static void push_first(struct lethe_channel *c, struct lethe_item *item) {
  item->next = c->first;
  if (!c->first) c->last = &item->next;
  c->first = item;
  c->count++;
}

static struct lethe_item *shift(struct lethe_channel *c) {
  struct lethe_item *item = c->first;
  c->first = item->next;
  if (!c->first) c->last = &c->first;
  c->count--;
  return item;
}

static struct lethe_item *take_all(struct lethe_channel *c) {
  struct lethe_item *all = c->first;
  c->first = NULL;
  c->last = &c->first;
  c->count = 0;
  return all;
}

/* ---- waiters, under the lock ----------------------------------------------------------------- */

static void on_message(struct lethe_message *m, bool closed);

static bool post(struct lethe_waiter *w) {
  if (!w->posted) w->posted = lethe_loop_post(w->loop, &w->message);
  return w->posted;
}

/* Keeps I4. */
static void hold(struct lethe_waiter *w) {
  bool should = w->listed && !w->idle && w->channel->holders > 1;
  if (should == w->held) return;
  w->held = should;
  if (should)
    lethe_loop_hold(w->loop);
  else
    lethe_loop_release(w->loop);
}

static void enlist(struct lethe_channel *c, struct lethe_waiter *w, bool sending,
                   struct lethe_item *item) {
  lethe_ref_get(&c->refs);
  w->channel = c;
  w->message.run = on_message;
  w->sending = sending;
  w->item = item;
  w->answered = false;
  w->listed = true;
  lethe_list_push(sending ? &c->senders : &c->receivers, &w->node);
  hold(w);
}

static void delist(struct lethe_waiter *w) {
  lethe_list_remove(&w->node);
  w->listed = false;
  hold(w);
}

/* The loop is held until the answer is in its inbox. False when the loop is closed: its state is
 * ending, nobody hears of the answer. */
static bool answer(struct lethe_waiter *w, int rc, struct lethe_item *item) {
  w->rc = rc;
  w->item = item;
  w->answered = true;
  bool posted = post(w);
  delist(w);
  return posted;
}

static struct lethe_waiter *first_of(struct lethe_list *waiters) {
  return lethe_list_empty(waiters) ? NULL
                                   : lethe_container_of(waiters->next, struct lethe_waiter, node);
}

/* To the first receiver that can hear of it; false if there is none. */
static bool hand_over(struct lethe_channel *c, struct lethe_item *item) {
  struct lethe_waiter *w;
  while ((w = first_of(&c->receivers)) != NULL) {
    if (answer(w, LETHE_OK, item)) return true;
    w->item = NULL;
    w->rc = LETHE_ECLOSED;
  }
  return false;
}

/* Room was made: waiting senders' items move up. Keeps I2. */
static void refill(struct lethe_channel *c) {
  struct lethe_waiter *w;
  while (c->count < c->capacity && (w = first_of(&c->senders)) != NULL) {
    push_last(c, w->item);
    answer(w, LETHE_OK, NULL);
  }
}

/* A holder came or went: the waits of the only one left hear of it, to look again what their loops
 * wait for. */
static void holders_changed(struct lethe_channel *c) {
  struct lethe_list *lists[] = {&c->senders, &c->receivers};
  for (int i = 0; i < 2; i++) LETHE_LIST_EACH(node, lists[i]) {
      struct lethe_waiter *w = lethe_container_of(node, struct lethe_waiter, node);
      bool held = w->held;
      if (held && c->holders == 1) post(w);
      hold(w);
    }
}

/* ---- holders --------------------------------------------------------------------------------- */

struct lethe_channel *lethe_channel_get(struct lethe_channel *c) {
  lethe_ref_get(&c->refs);
  pthread_mutex_lock(&c->lock);
  if (++c->holders == 2) holders_changed(c);
  pthread_mutex_unlock(&c->lock);
  return c;
}

/* What is in a channel that nobody holds is out of reach. */
void lethe_channel_put(struct lethe_channel *c) {
  struct lethe_item *lost = NULL;
  pthread_mutex_lock(&c->lock);
  c->holders--;
  if (c->holders == 1) holders_changed(c);
  if (c->holders == 0) lost = take_all(c);
  pthread_mutex_unlock(&c->lock);
  free_items(lost);
  unref(c);
}

static struct lethe_item *close_channel(struct lethe_channel *c, bool end) {
  struct lethe_waiter *w;
  struct lethe_item *lost = NULL;
  pthread_mutex_lock(&c->lock);
  c->closed = true;
  while ((w = first_of(&c->receivers)) != NULL) answer(w, LETHE_ECLOSED, NULL);
  while ((w = first_of(&c->senders)) != NULL) answer(w, LETHE_ECLOSED, w->item);
  if (end) lost = take_all(c);
  pthread_mutex_unlock(&c->lock);
  return lost;
}

void lethe_channel_close(struct lethe_channel *c) { close_channel(c, false); }

void lethe_channel_end(struct lethe_channel *c) { free_items(close_channel(c, true)); }

bool lethe_channel_is_closed(struct lethe_channel *c) {
  pthread_mutex_lock(&c->lock);
  bool closed = c->closed;
  pthread_mutex_unlock(&c->lock);
  return closed;
}

/* ---- sending and receiving ------------------------------------------------------------------- */

int lethe_channel_send(struct lethe_channel *c, struct lethe_item *item, struct lethe_waiter *w) {
  int rc = LETHE_OK;
  pthread_mutex_lock(&c->lock);
  if (c->closed) {
    rc = LETHE_ECLOSED;
  } else if (hand_over(c, item)) {
    /* gone */
  } else if (c->count < c->capacity) {
    push_last(c, item);
  } else if (w) {
    enlist(c, w, true, item);
    rc = LETHE_WAITING;
  } else {
    rc = LETHE_EFULL;
  }
  pthread_mutex_unlock(&c->lock);
  return rc;
}

int lethe_channel_recv(struct lethe_channel *c, struct lethe_item **item, struct lethe_waiter *w) {
  int rc = LETHE_OK;
  struct lethe_waiter *sender;
  pthread_mutex_lock(&c->lock);
  if (c->first) {
    *item = shift(c);
    refill(c);
  } else if ((sender = first_of(&c->senders)) != NULL) { /* a rendezvous */
    *item = sender->item;
    answer(sender, LETHE_OK, NULL);
  } else if (c->closed) {
    rc = LETHE_ECLOSED;
  } else if (w) {
    enlist(c, w, false, NULL);
    rc = LETHE_WAITING;
  } else {
    rc = LETHE_EEMPTY;
  }
  pthread_mutex_unlock(&c->lock);
  return rc;
}

/* A message without an answer only made the loop turn. */
static void on_message(struct lethe_message *m, bool closed) {
  struct lethe_waiter *w = lethe_container_of(m, struct lethe_waiter, message);
  struct lethe_channel *c = w->channel;
  pthread_mutex_lock(&c->lock);
  w->posted = false;
  bool answered = w->answered;
  pthread_mutex_unlock(&c->lock);
  if (answered || closed) w->done(w, closed);
}

/* Under the lock; the item, if it is to be freed: nobody holds the channel any more. */
static struct lethe_item *give_back(struct lethe_channel *c, struct lethe_item *item) {
  if (c->holders == 0) return item;
  if (!hand_over(c, item)) push_first(c, item);
  return NULL;
}

void lethe_channel_give_back(struct lethe_channel *c, struct lethe_item *item) {
  pthread_mutex_lock(&c->lock);
  item = give_back(c, item);
  pthread_mutex_unlock(&c->lock);
  if (item) item->free(item);
}

bool lethe_channel_give_up(struct lethe_waiter *w) {
  struct lethe_channel *c = w->channel;
  struct lethe_item *lost = NULL;
  if (!c) return false;
  pthread_mutex_lock(&c->lock);
  if (w->listed) {
    delist(w);
  } else if (!w->sending && w->item) {
    lost = give_back(c, w->item);
    w->item = NULL;
  }
  bool posted = w->posted;
  w->answered = true; /* done is called for a message under way, whatever it was */
  pthread_mutex_unlock(&c->lock);
  if (lost) lost->free(lost);
  if (posted) return true;
  w->channel = NULL;
  unref(c);
  return false;
}
