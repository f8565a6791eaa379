/* SPDX-License-Identifier: MIT
 * What the files of the quota binding share: the port of a state on a tracker, and the boxes.
 *
 * A port is a state's place on one tracker: the member through which its participants are asked,
 * and, in the state that made the tracker, the queue of events for its on_event. It is counted by
 * the boxes of that tracker in the state and goes with the last of them. */
#ifndef LETHE_BINDINGS_QUOTA_H
#define LETHE_BINDINGS_QUOTA_H

#include <pthread.h>

#include "common.h"
#include "lethe/quota.h"

/* Somebody who sees every claim that this state makes under a tracker: a recorder. Caller's memory
 * while it is in the list. */
struct quota_watcher {
  struct quota_watcher *next;
  void (*seen)(struct quota_watcher *w, uint64_t participant, int64_t bytes);
  void (*gone)(struct quota_watcher *w); /* the port is; it is out of the list */
};

struct port {
  struct port *next; /* of the state */
  struct lethe_state *state;
  struct lethe_quota *t;
  struct lethe_quota_member *member;
  struct lethe_loop *loop;
  unsigned refs;
  struct quota_watcher *watchers;

  struct lethe_settler settler;
  int on_event;         /* registry reference, or LUA_NOREF */
  bool closed;          /* the tracker was: on_event hears what is on its way, and no more */
  pthread_mutex_t lock; /* guards events and woken */
  struct lethe_list events;
  struct lethe_message wake;
  bool woken;
};

/* The state's port on t, made if it has none, counted once more; NULL without memory. */
struct port *quota_port(lua_State *L, struct lethe_quota *t, struct lethe_loop *loop);
void quota_port_put(struct port *p);
/* Makes the port hear of the tracker's events; the function is at stack index fn. */
void quota_port_listen(lua_State *L, struct port *p, int fn);
/* Tells the tracker that a handle was collected without close. */
void quota_collected(struct port *p, const char *what, uint64_t account, const char *name,
                     int64_t bytes);

/* An account's name, shared by the objects that stand for it or belong to it: it outlives the
 * account. */
struct quota_name {
  unsigned refs;
  char text[]; /* ends with a zero byte */
};
/* NULL for "", or without memory. */
struct quota_name *quota_name_new(const char *text);
struct quota_name *quota_name_get(struct quota_name *n);
void quota_name_put(struct quota_name *n);
static inline const char *quota_name_text(const struct quota_name *n) { return n ? n->text : ""; }

struct account_ref {
  struct port *port;
  uint64_t id;
  struct quota_name *name; /* NULL: none */
};
struct participation {
  struct port *port;
  struct lethe_quota_handle handle;
  struct track *track;     /* of track_state, else NULL */
  struct quota_name *name; /* of its account */
};

extern const struct lethe_class quota_tracker_class, quota_account_class, quota_weak_class,
    quota_participation_class;

/* A weak account's object. */
int quota_push_weak(lua_State *L, struct port *p, uint64_t id, struct quota_name *name);
/* The tracker's object in this state, made anew if it was collected. */
void quota_push_tracker(lua_State *L, struct port *p);
/* The same by the tracker alone, whose port here is made on `loop` if it has none. */
void quota_push_tracker_of(lua_State *L, struct lethe_quota *t, struct lethe_loop *loop);

/* What stats() says, a fresh table. */
void quota_push_stats(lua_State *L, struct lethe_quota *t);

/* The policy at stack index i: a reference in *out and 0, or the number of results (nil, m, code)
 * that were pushed. Raises for wrong types and unknown options. */
int quota_policy_at(lua_State *L, int i, struct port *port, struct lethe_quota_policy **out);

/* The candidate class of a state. */
void quota_candidate_class(lua_State *L);

/* track_state(account, limit | nil) -> Participation; see quota_track.c */
int quota_track_state(lua_State *L);
void quota_untrack(struct track *track);

extern const char *const quota_levels[], *const quota_reasons[], *const quota_outcomes[];

#endif
