/* SPDX-License-Identifier: MIT
 * Channels. Invariants, under the lock:
 *   I1  receivers wait only while there is neither an item nor a sender that waits
 *   I2  senders wait only while there are `capacity` items or more
 *   I3  a waiter is listed or answered, never both; it is posted at most once at a time
 *   I4  a listed waiter that is not idle holds its loop if and only if holders > 1; one that is
 *       answered holds it until the answer is delivered, so that the loop has no moment without
 *       either */
#include "channel_parts.h"

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

static void add_queued(struct lethe_channel *c, void *ud) { add_rlx(&c->queued, *(int *)ud); }

/* Each channel knows in how many items that are queued somewhere it is. */
static void count_links(struct lethe_channel *c, struct lethe_item *item, int by) {
  if (!item->each) return;
  c->linked = (uint64_t)((int64_t)c->linked + by);
  item->each(item, add_queued, &by);
}

/* Locks the channel; and before it the graph, if `linked` or if a message with channels in it might
 * move: true then. */
static bool enter(struct lethe_channel *c, bool linked) {
  if (linked) channel_graph_lock();
  pthread_mutex_lock(&c->lock);
  if (linked || c->linked + c->linked_waiting == 0) return linked;
  pthread_mutex_unlock(&c->lock);
  return enter(c, true);
}

static void leave(struct lethe_channel *c, bool linked) {
  pthread_mutex_unlock(&c->lock);
  if (linked) channel_graph_unlock();
}

static void unref(struct lethe_channel *c) {
  if (!lethe_ref_put(&c->refs)) return;
  pthread_mutex_destroy(&c->lock);
  lethe_free(&lethe_alloc_libc, c, sizeof *c);
}

/* ---- items, under the lock ------------------------------------------------------------------- */

static void push_last(struct lethe_channel *c, struct lethe_item *item) {
  count_links(c, item, 1);
  item->next = NULL;
  *c->last = item;
  c->last = &item->next;
  c->count++;
}

static void push_first(struct lethe_channel *c, struct lethe_item *item) {
  count_links(c, item, 1);
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
  count_links(c, item, -1);
  return item;
}

struct lethe_item *channel_take_all(struct lethe_channel *c) {
  struct lethe_item *all = c->first;
  for (struct lethe_item *item = all; item && c->linked > 0; item = item->next)
    count_links(c, item, -1);
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

static void set_held(struct lethe_waiter *w, bool should) {
  if (should == w->held) return;
  w->held = should;
  if (should)
    lethe_loop_hold(w->loop);
  else
    lethe_loop_release(w->loop);
}

/* Keeps I4, of one that is listed. */
static void hold(struct lethe_waiter *w) { set_held(w, !w->idle && w->channel->holders > 1); }

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
  w->linked = item && item->each;
  if (w->linked) c->linked_waiting++;
  hold(w);
}

static void delist(struct lethe_waiter *w) {
  lethe_list_remove(&w->node);
  w->listed = false;
  if (w->sending && w->linked) w->channel->linked_waiting--;
}

/* False when the loop is closed: its state is ending, nobody hears of the answer. */
static bool answer(struct lethe_waiter *w, int rc, struct lethe_item *item) {
  w->rc = rc;
  w->item = item;
  w->answered = true;
  delist(w);
  if (post(w)) return true;
  set_held(w, false);
  return false;
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
  channel_graph_lock();
  pthread_mutex_lock(&c->lock);
  if (++c->holders == 2) holders_changed(c);
  pthread_mutex_unlock(&c->lock);
  channel_graph_unlock();
  return c;
}

/* What is in a channel that nobody holds is out of reach. */
void lethe_channel_put(struct lethe_channel *c) {
  struct lethe_item *lost = NULL;
  channel_graph_lock();
  pthread_mutex_lock(&c->lock);
  c->holders--;
  if (c->holders == 1) holders_changed(c);
  if (c->holders == 0) lost = channel_take_all(c);
  bool suspect = c->holders > 0 && c->holders <= (unsigned)load_rlx(&c->queued);
  pthread_mutex_unlock(&c->lock);
  if (suspect) lost = channel_take_cycle(c);
  channel_graph_unlock();
  free_items(lost);
  unref(c);
}

static struct lethe_item *close_channel(struct lethe_channel *c, bool end) {
  struct lethe_waiter *w;
  struct lethe_item *lost = NULL;
  bool linked = enter(c, false);
  c->closed = true;
  while ((w = first_of(&c->receivers)) != NULL) answer(w, LETHE_ECLOSED, NULL);
  while ((w = first_of(&c->senders)) != NULL) answer(w, LETHE_ECLOSED, w->item);
  if (end) lost = channel_take_all(c);
  leave(c, linked);
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
  bool linked = enter(c, item->each != NULL);
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
  leave(c, linked);
  return rc;
}

int lethe_channel_recv(struct lethe_channel *c, struct lethe_item **item, struct lethe_waiter *w) {
  int rc = LETHE_OK;
  struct lethe_waiter *sender;
  bool linked = enter(c, false);
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
  leave(c, linked);
  return rc;
}

/* A message without an answer only made the loop turn. */
static void on_message(struct lethe_message *m, bool closed) {
  struct lethe_waiter *w = lethe_container_of(m, struct lethe_waiter, message);
  struct lethe_channel *c = w->channel;
  pthread_mutex_lock(&c->lock);
  w->posted = false;
  bool answered = w->answered;
  if (answered) set_held(w, false);
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
  bool linked = enter(c, item->each != NULL);
  item = give_back(c, item);
  leave(c, linked);
  if (item) item->free(item);
}

static bool has_received(const struct lethe_waiter *w) {
  return !w->listed && !w->sending && w->item;
}

bool lethe_channel_give_up(struct lethe_waiter *w) {
  struct lethe_channel *c = w->channel;
  struct lethe_item *lost = NULL;
  if (!c) return false;
  bool linked = enter(c, false);
  if (!linked && has_received(w) && w->item->each) { /* the answer stands: it is not listed again */
    leave(c, false);
    linked = enter(c, true);
  }
  if (w->listed) {
    delist(w);
  } else if (has_received(w)) {
    lost = give_back(c, w->item);
    w->item = NULL;
  }
  set_held(w, false);
  bool posted = w->posted;
  w->answered = true; /* done is called for a message under way, whatever it was */
  leave(c, linked);
  if (lost) lost->free(lost);
  if (posted) return true;
  w->channel = NULL;
  unref(c);
  return false;
}
