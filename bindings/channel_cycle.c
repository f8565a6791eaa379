/* SPDX-License-Identifier: MIT
 * Channels that only messages in channels hold: trial deletion, as of cycles of counted references.
 *
 * From a suspect all channels are found that its messages lead to. Of each one's holders those are
 * counted that are messages in the channels found; one that has others is in reach, and so is all
 * that its messages lead to. If the suspect is not, what is in it is taken out.
 *
 * The graph's lock stops what would mislead a search: holders neither come nor go, and messages
 * that hold channels neither enter a channel nor leave one. Others do. */
#include "channel_parts.h"

static pthread_mutex_t graph = PTHREAD_MUTEX_INITIALIZER;

void channel_graph_lock(void) { pthread_mutex_lock(&graph); }
void channel_graph_unlock(void) { pthread_mutex_unlock(&graph); }

struct search {
  struct lethe_channel **last; /* of those found */
  struct lethe_channel *live;  /* to be followed */
};

static void find(struct lethe_channel *c, void *ud) {
  struct search *s = ud;
  c->inner++;
  if (c->found) return;
  c->found = true;
  c->next_found = NULL;
  *s->last = c;
  s->last = &c->next_found;
}

static void revive(struct lethe_channel *c, void *ud) {
  struct search *s = ud;
  if (c->live) return;
  c->live = true;
  c->next_live = s->live;
  s->live = c;
}

static void follow(struct lethe_channel *c, void (*visit)(struct lethe_channel *, void *),
                   struct search *s) {
  uint64_t left = c->linked;
  if (left == 0) return;
  pthread_mutex_lock(&c->lock);
  for (struct lethe_item *item = c->first; item && left > 0; item = item->next) {
    if (!item->each) continue;
    item->each(item, visit, s);
    left--;
  }
  pthread_mutex_unlock(&c->lock);
}

static void forget(struct lethe_channel *c) {
  while (c) {
    struct lethe_channel *next = c->next_found;
    c->found = c->live = false;
    c->inner = 0;
    c->next_found = c->next_live = NULL;
    c = next;
  }
}

struct lethe_item *channel_take_cycle(struct lethe_channel *c) {
  struct lethe_channel *first = NULL;
  struct search s = {&first, NULL};
  find(c, &s);
  c->inner--; /* nobody led to it */
  for (struct lethe_channel *each = first; each; each = each->next_found) follow(each, find, &s);
  for (struct lethe_channel *each = first; each; each = each->next_found)
    if (each->holders > each->inner) revive(each, &s);
  while (s.live) {
    struct lethe_channel *each = s.live;
    s.live = each->next_live;
    follow(each, revive, &s);
  }
  bool live = c->live;
  forget(first);
  if (live) return NULL;
  pthread_mutex_lock(&c->lock);
  struct lethe_item *lost = channel_take_all(c);
  pthread_mutex_unlock(&c->lock);
  return lost;
}
