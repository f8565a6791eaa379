/* SPDX-License-Identifier: MIT
 * What scripted policies have in common: what is known of an entry, how a script failed, and the
 * lru that stands in for it.
 *
 * I1 Whatever a script does, victim gives a node that is there and not refused, if there is one.
 * I2 After a failure the next victim is lru's; after LETHE_EVICT_STRIKES all are, and nothing of
 *    the script runs again. Neither takes memory.
 * I3 Nodes of all forms are struct script_node: entries can pass from one to another. */
#ifndef LETHE_CACHE_SCRIPT_INTERNAL_H
#define LETHE_CACHE_SCRIPT_INTERNAL_H

#include "ghost.h"
#include "order.h"
#include "lethe/evict_script.h"
#include "lethe/expr.h"
#include "lethe/list.h"

struct script_node {
  struct lethe_evict_node node; /* queue: 1 + its index, 0: in none; in a heap, next: its place */
  bool ghost;                   /* to be remembered when it leaves */
  uint8_t home;                 /* of one that on_hit dropped: the queue where it was */
  uint32_t given;               /* the call of on_evict that returned it */
  double freq, cost;
  double score;            /* of a refused one, in a heap */
  uint64_t inserted, last; /* accesses */
};

struct script;

/* What a form does of struct lethe_evict_ops; the rest is common. */
struct script_form {
  /* LETHE_ENOMEM, LETHE_ELIMIT: it has no place for it. */
  int (*insert)(struct script *s, uint32_t slot, const struct lethe_evict_request *r);
  void (*hit)(struct script *s, uint32_t slot);
  uint32_t (*victim)(struct script *s,
                     const struct lethe_evict_request *r); /* 0: failed, or none */
  void (*leave)(struct script *s, uint32_t slot, bool evicted);
  void (*refuse)(struct script *s, uint32_t slot);
  void (*offer)(struct script *s, uint32_t slot);
  /* From now on all that is there stands in the order of lru, and hit, victim, leave, refuse and
   * offer are those of it. */
  void (*take_over)(struct script *s);
  void (*lru_insert)(struct script *s, uint32_t slot);
  /* `from` is of this form: sees to what its entries need, while they are still there. */
  int (*prepare)(struct script *s, struct script *from);
  /* The nodes are s's; takes over their order, that of lru if from is out. Cannot fail. */
  void (*inherit)(struct script *s, struct script *from);
  void (*emptied)(struct script *s); /* the nodes are somebody else's */
};

struct script {
  struct lethe_evict evict;
  const struct script_form *form;
  struct lethe_evict_script config;
  struct lethe_expr *admit;
  struct ghost ghost; /* of admit: the keys that left last */
  bool ghosts;        /* admit wants them */
  double first_freq;  /* of a new entry */
  double last_score;  /* L */
  unsigned strikes;
  uint32_t refused; /* nodes */
  bool owed;        /* the next victim is lru's */
  struct list lru;  /* of forms with queues, once they are out */
  struct lethe_evict_failure failures[LETHE_EVICT_STRIKES];
  struct lethe_evict_event ring[LETHE_EVICT_EVENTS];
  uint64_t events;
};

static inline struct script *script_of(struct lethe_evict *e) {
  return lethe_container_of(e, struct script, evict);
}
static inline struct script_node *script_at(const struct script *s, uint32_t slot) {
  return (struct script_node *)(void *)lethe_evict_at(&s->evict, slot);
}
static inline bool script_is_out(const struct script *s) {
  return s->strikes >= LETHE_EVICT_STRIKES;
}

/* What expressions read, about an entry. */
static inline void script_fields(const struct script *s, const struct script_node *n, double *f) {
  f[LETHE_EVICT_FREQ] = n->freq;
  f[LETHE_EVICT_AGE] = (double)(s->evict.now - n->inserted);
  f[LETHE_EVICT_SINCE] = (double)(s->evict.now - n->last);
  f[LETHE_EVICT_SIZE] = (double)n->node.size;
  f[LETHE_EVICT_COST] = n->cost;
  f[LETHE_EVICT_L] = s->last_score;
  f[LETHE_EVICT_USED] = (double)s->evict.used;
  f[LETHE_EVICT_LIMIT] = (double)s->evict.limit;
  f[LETHE_EVICT_LEN] = s->evict.len;
}

/* The names of the fields; without ghost the list ends before it. */
const char *const *script_field_names(bool ghost);
/* Notes a failure. The message is that of lethe_evict_script_failing if format is NULL. */
__attribute__((format(printf, 3, 4))) void script_fail(struct script *s, const char *call,
                                                       const char *format, ...);
/* The arguments of the call that may fail now. */
void script_args(struct script *s, unsigned n, const double *args);

/* ---- lists ----------------------------------------------------------------------------------- */

/* Into the chain and the counts, out of both. */
static inline void script_push(struct script *s, struct list *l, uint32_t slot) {
  list_link_head(&s->evict, l, slot);
  l->len++;
  l->used += lethe_evict_at(&s->evict, slot)->size;
}
static inline void script_take(struct script *s, struct list *l, uint32_t slot) {
  list_unlink(&s->evict, l, slot);
  l->len--;
  l->used -= lethe_evict_at(&s->evict, slot)->size;
}
/* fn for each node of the chain, from the tail. */
void script_list_each(struct script *s, const struct list *l, void (*fn)(void *ud, uint32_t slot),
                      void *ud);
/* The chain is whole, and it and those that are refused make the counts: else what is wrong. */
const char *script_list_check(const struct script *s, const struct list *l, uint8_t queue);
/* The lru of forms with queues: one list, made by sorting, whose nodes say that it is their
 * queue. */
enum { SCRIPT_LRU = 1 };
void script_take_over(struct script *s);
void script_lru_insert(struct script *s, uint32_t slot);
int script_lru_check(const struct script *s, char *why, size_t n);

/* ---- for ops tables -------------------------------------------------------------------------- */

int script_init(struct script *s, const struct script_form *form,
                const struct lethe_evict_script *config, char *why, size_t n);
void script_destroy(struct lethe_evict *e);
void script_forget(struct script *s);
bool script_admit(struct lethe_evict *e, struct lethe_evict_request *r);
int script_insert(struct lethe_evict *e, uint32_t slot, const struct lethe_evict_request *r);
void script_hit(struct lethe_evict *e, uint32_t slot);
uint32_t script_victim(struct lethe_evict *e, const struct lethe_evict_request *r);
void script_leave(struct lethe_evict *e, uint32_t slot, bool evicted);
void script_refuse(struct lethe_evict *e, uint32_t slot);
void script_offer(struct lethe_evict *e, uint32_t slot);

/* ---- making one ------------------------------------------------------------------------------ */

/* What an `init` is given: the form's own config, and where it may say what is wrong with it. */
struct script_making {
  const void *config;
  char *why;
  size_t n;
};

/* The part of their ops that all forms share. */
#define SCRIPT_OPS                                                                \
  .node = sizeof(struct script_node), .insert = script_insert, .hit = script_hit, \
  .victim = script_victim, .leave = script_leave, .refuse = script_refuse, .offer = script_offer

#endif
