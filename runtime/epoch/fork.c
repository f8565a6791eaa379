/* SPDX-License-Identifier: MIT
 * Forks. In the child only the forking thread lives: its records stay, those of the others are
 * given back, and their limbo becomes orphans. For that the bags of all managers must be whole
 * as the process is copied: the parent stops every owner, as a thief does, for as long as the
 * fork takes.
 *
 * What another thread's destructors were about to free stays as it was: nobody can tell how far
 * they had come. */
#include <sched.h>

#include "epoch_internal.h"

/* All managers of the process; guarded by the lock. The links are hidden, so that a leak checker
 * does not take a manager for one in use because it is in this list. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uintptr_t first_hidden;

static struct lethe_epoch *shown(uintptr_t hidden) {
  return hidden ? (struct lethe_epoch *)~hidden : NULL;
}

static struct lethe_epoch *first(void) { return shown(first_hidden); }
static struct lethe_epoch *next(const struct lethe_epoch *m) { return shown(m->next_hidden); }

void epoch_fork_add(struct lethe_epoch *m) {
  pthread_mutex_lock(&lock);
  m->next_hidden = first_hidden;
  first_hidden = ~(uintptr_t)m;
  pthread_mutex_unlock(&lock);
}

void epoch_fork_remove(struct lethe_epoch *m) {
  pthread_mutex_lock(&lock);
  uintptr_t *link = &first_hidden;
  while (*link != ~(uintptr_t)m) link = &shown(*link)->next_hidden;
  *link = m->next_hidden;
  pthread_mutex_unlock(&lock);
}

/* ---- handlers ------------------------------------------------------------------------------- */

static bool is_other(const struct lethe_epoch_limbo *l) {
  return load_acq(&l->in_use) && !pthread_equal(l->owner, pthread_self());
}

static void stop_owners(struct lethe_epoch *m) {
  for (struct lethe_epoch_limbo *l = epoch_first(m); l; l = l->next_record)
    if (is_other(l)) store_seq(&l->stop, 1);
}

static void await_owners(struct lethe_epoch *m) {
  for (struct lethe_epoch_limbo *l = epoch_first(m); l; l = l->next_record)
    while (is_other(l) && load_acq(&l->busy)) sched_yield();
}

static void prepare(void) {
  pthread_mutex_lock(&lock);
  for (struct lethe_epoch *m = first(); m; m = next(m)) {
    pthread_mutex_lock(&m->lock);
    stop_owners(m);
  }
  lethe_fence_heavy();
  for (struct lethe_epoch *m = first(); m; m = next(m)) await_owners(m);
}

static void go_on(void) {
  for (struct lethe_epoch *m = first(); m; m = next(m)) {
    for (struct lethe_epoch_limbo *l = epoch_first(m); l; l = l->next_record)
      store_rel(&l->stop, 0);
    pthread_mutex_unlock(&m->lock);
  }
  pthread_mutex_unlock(&lock);
}

/* A manager whose last reference was a lost record's stays: its destructors may want locks that
 * nobody will ever open. */
static void drop_others(struct lethe_epoch *m) {
  m->forked = true;
  for (struct lethe_epoch_limbo *l = epoch_first(m); l; l = l->next_record) {
    if (!is_other(l)) continue;
    store_rlx(&l->freeing, false);
    if (!l->leaving) epoch_record_leaves(l);
    l->leaving = false; /* then it had left, but for its destructors */
    store_rel(&l->in_use, false);
    (void)lethe_ref_put(&m->refs);
  }
}

static void child(void) {
  for (struct lethe_epoch *m = first(); m; m = next(m)) drop_others(m);
  go_on();
}

bool epoch_fork_init(void) { return pthread_atfork(prepare, go_on, child) == 0; }
