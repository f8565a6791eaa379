/* SPDX-License-Identifier: MIT
 * A world for tests of the quota tracker: a virtual loop, a tracker, one member, participants that
 * answer as they are told to, and a record of events. Its allocator counts, so world_end finds what
 * leaks. */
#ifndef SPEC_QUOTA_WORLD_H
#define SPEC_QUOTA_WORLD_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "harness/unit.h"

#include "harness/alloc.h"
#include "lethe/quota.h"

enum { KIB = 1024, MIB = 1024 * 1024, EVENTS = 512 };

/* What a participant does when it is asked for memory. */
enum manner { COLLAPSES, STAYS, LATER, NEVER };

struct part {
  struct lethe_quota_handle h;
  struct world *w;
  uint64_t id;
  int says; /* 1: age, 0: it has nothing, -1: it is lost */
  double age;
  enum manner manner;
  int64_t gives; /* released when it is asked, before it answers; at most what it has */
  unsigned ages, asked, collapsed;    /* how often it was called */
  struct lethe_quota_request request; /* the last one */
  struct lethe_quota_call *call;      /* of LATER and NEVER: still to be answered */
  void (*on_age)(struct part *p);
  void (*on_reclaim)(struct part *p); /* before it answers */
  void (*on_collapsed)(struct part *p);
};

struct world {
  struct test_alloc memory;
  struct lethe_loop *loop;
  struct lethe_quota *t;
  struct lethe_quota_member *m;
  struct lethe_quota_event events[EVENTS];
  size_t n;
  void (*on_event)(struct world *w, const struct lethe_quota_event *e);
  unsigned calls; /* participants asked for memory so far */
};

/* ---- what the tracker calls ------------------------------------------------------------------ */

static int part_oldest(void *member_ud, uint64_t id, void *ud, double *age) {
  struct part *p = ud;
  (void)member_ud;
  assert_true(p->id == id);
  p->ages++;
  *age = p->age;
  int says = p->says;
  if (p->on_age) p->on_age(p);
  return says;
}

static void part_reclaim(void *member_ud, uint64_t id, void *ud,
                         const struct lethe_quota_request *request, struct lethe_quota_call *call) {
  struct part *p = ud;
  struct world *w = member_ud;
  (void)id;
  w->calls++;
  p->asked++;
  p->request = *request;
  if (p->on_reclaim) p->on_reclaim(p);
  if (p->h.tracker && p->gives > 0) {
    int64_t has = lethe_quota_handle_used(&p->h);
    lethe_quota_release(&p->h, has < p->gives ? has : p->gives);
  }
  if (p->manner == LATER || p->manner == NEVER)
    p->call = call;
  else
    lethe_quota_answer(call, p->manner == STAYS);
}

static void part_collapsed(void *member_ud, uint64_t id, void *ud) {
  struct part *p = ud;
  (void)member_ud;
  (void)id;
  if (!p) return; /* its handles are closed */
  p->collapsed++;
  if (p->on_collapsed) p->on_collapsed(p);
}

static const struct lethe_quota_member_ops part_ops = {part_oldest, part_reclaim, part_collapsed};

static void world_event(void *ud, const struct lethe_quota_event *e) {
  struct world *w = ud;
  if (w->n < EVENTS) w->events[w->n++] = *e;
  if (w->on_event) w->on_event(w, e);
}

/* ---- the world ------------------------------------------------------------------------------- */

static inline void world_tracker(struct world *w, int64_t max, int64_t low) {
  struct lethe_quota_config config = {.max = max, .low_water = low};
  const char *why = NULL;
  int rc = lethe_quota_new(&w->t, &w->memory.alloc, &config, world_event, w, &why);
  if (rc) fail_msg("no tracker: %s", why);
}

static inline void world_begin(struct world *w, int64_t max, int64_t low) {
  memset(w, 0, sizeof *w);
  test_alloc_init(&w->memory);
  assert_int_equal(lethe_loop_new(&w->loop, &w->memory.alloc, LETHE_CLOCK_VIRTUAL, NULL), 0);
  world_tracker(w, max, low);
  assert_int_equal(lethe_quota_member_new(&w->m, w->t, w->loop, &part_ops, w), 0);
}

static inline void world_check(struct world *w) {
  char why[200];
  if (lethe_quota_check(w->t, why, sizeof why)) fail_msg("%s", why);
}

/* All that is due now. */
static inline void world_turn(struct world *w) {
  for (int i = 0; lethe_loop_ready(w->loop); i++) {
    lethe_loop_turn(w->loop);
    if (i > 100000) fail_msg("it never ends");
  }
}

/* Handles and accounts are closed already. */
static inline void world_end(struct world *w) {
  world_turn(w);
  if (w->t) {
    world_check(w);
    if (w->m) lethe_quota_member_delete(w->m);
    lethe_quota_put(w->t);
  }
  lethe_loop_close(w->loop);
  lethe_loop_put(w->loop);
  if (w->memory.blocks) fail_msg("%zu blocks leaked", w->memory.blocks);
}

static inline int64_t used(struct world *w) { return lethe_quota_used(w->t); }

static inline struct lethe_quota_stats stats(struct world *w) {
  struct lethe_quota_stats s;
  lethe_quota_read_stats(w->t, &s);
  return s;
}

/* The k-th event of the type, from 0 on; NULL if there are not so many. */
static inline const struct lethe_quota_event *event_of(const struct world *w,
                                                       enum lethe_quota_event_type type, size_t k) {
  for (size_t i = 0; i < w->n; i++)
    if (w->events[i].type == type && k-- == 0) return &w->events[i];
  return NULL;
}

static inline size_t events_of(const struct world *w, enum lethe_quota_event_type type) {
  size_t n = 0;
  for (size_t i = 0; i < w->n; i++) n += w->events[i].type == type;
  return n;
}

/* ---- accounts and participants --------------------------------------------------------------- */

static inline uint64_t account_with(struct world *w, uint64_t parent,
                                    struct lethe_quota_account_config c) {
  uint64_t id = 0;
  if (c.max == 0) c.max = LETHE_QUOTA_NO_LIMIT;
  assert_int_equal(lethe_quota_account_new(w->t, &c, parent, &id), 0);
  return id;
}

static inline uint64_t account(struct world *w, const char *name) {
  return account_with(w, 0, (struct lethe_quota_account_config){.name = name});
}

static inline uint64_t child(struct world *w, uint64_t parent) {
  return account_with(w, parent, (struct lethe_quota_account_config){0});
}

static inline void close_account(struct world *w, uint64_t id) {
  lethe_quota_account_close(w->t, id);
}

static inline struct lethe_quota_account_info info(struct world *w, uint64_t id) {
  struct lethe_quota_account_info i;
  assert_int_equal(lethe_quota_account_read(w->t, id, &i), 0);
  return i;
}

static inline bool lives(struct world *w, uint64_t id) {
  struct lethe_quota_account_info i;
  return lethe_quota_account_read(w->t, id, &i) == LETHE_OK;
}

/* A participant whose data has this age; NAN: it has none. */
static inline void part_open(struct world *w, struct part *p, uint64_t account, double age) {
  *p = (struct part){.w = w, .says = !isnan(age), .age = age};
  assert_int_equal(lethe_quota_handle_open(&p->h, w->m, account, p, false, &p->id), 0);
}

static inline void part_close(struct part *p) { lethe_quota_handle_close(&p->h); }

static inline void claim(struct part *p, int64_t n) {
  assert_int_equal(lethe_quota_claim(&p->h, n), LETHE_OK);
}

/* A participant that holds n bytes and nothing unspent. */
static inline void part_holding(struct world *w, struct part *p, uint64_t account, double age,
                                int64_t n) {
  part_open(w, p, account, age);
  claim(p, n);
}

/* ---- passes by hand -------------------------------------------------------------------------- */

struct by_hand {
  struct lethe_quota_manual manual;
  bool done;
  int64_t freed;
};

static void by_hand_done(struct lethe_quota_manual *m, int64_t freed) {
  struct by_hand *h = lethe_container_of(m, struct by_hand, manual);
  h->done = true;
  h->freed = freed;
}

static inline void by_hand_ask(struct world *w, struct by_hand *h, int64_t goal) {
  memset(h, 0, sizeof *h);
  assert_int_equal(lethe_quota_reclaim(w->t, &h->manual, w->loop, goal, by_hand_done), 0);
}

/* A whole pass; the bytes that it freed. */
static inline int64_t by_hand(struct world *w, int64_t goal) {
  struct by_hand h;
  by_hand_ask(w, &h, goal);
  world_turn(w);
  assert_true(h.done);
  return h.freed;
}

/* ---- many accounts ------------------------------------------------------------------------- */

enum { MANY = 8 };

/* A tracker of 20 MiB, low water 15 MiB, and up to MANY accounts with one participant each. */
struct many {
  struct world w;
  uint64_t a[MANY];
  struct part p[MANY];
  int n;
};

static inline struct part *many_add(struct many *m, double age, int64_t holds) {
  int i = m->n++;
  m->a[i] = account(&m->w, NULL);
  part_holding(&m->w, &m->p[i], m->a[i], age, holds);
  return &m->p[i];
}

static inline void many_begin(struct many *m) {
  m->n = 0;
  world_begin(&m->w, 20 * MIB, -1);
}

static inline void many_end(struct many *m) {
  for (int i = 0; i < m->n; i++) {
    part_close(&m->p[i]);
    close_account(&m->w, m->a[i]);
  }
  assert_int_equal(used(&m->w), 0);
  world_end(&m->w);
}

static inline const struct lethe_quota_event *many_stop(struct many *m, size_t k) {
  return event_of(&m->w, LETHE_QUOTA_RECLAIM_STOP, k);
}

#endif
