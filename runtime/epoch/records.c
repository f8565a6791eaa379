/* SPDX-License-Identifier: MIT
 * Managers and records: made, registered, given back when a thread leaves or ends, freed.
 *
 * A record is never freed before its manager: whoever scans the list need not ask. The records of a
 * thread are linked from a thread-local list, whose key's destructor unregisters what a thread that
 * ends has left. */
#include <sched.h>

#include "epoch_internal.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool usable; /* the key and the fork handlers are there */
static pthread_key_t key;
static _Thread_local struct lethe_epoch_limbo *mine; /* a cache of what the key holds */

static void thread_ends(void *list) {
  mine = list;
  while (mine) lethe_epoch_unregister(mine->rec);
}

static void init(void) {
  lethe_fence_init();
  usable = pthread_key_create(&key, thread_ends) == 0 && epoch_fork_init();
}

struct lethe_epoch_limbo *epoch_first(const struct lethe_epoch *m) {
  return load_acq(&m->records);
}

static void *aligned(void *memory) { return (void *)(((uintptr_t)memory + 63) & ~(uintptr_t)63); }

/* ---- managers ------------------------------------------------------------------------------- */

enum { MANAGER_BYTES = sizeof(struct lethe_epoch) + 64 };

int lethe_epoch_new(struct lethe_epoch **out, const struct lethe_alloc *a,
                    const struct lethe_epoch_config *c) {
  bool manual = c->mode == LETHE_EPOCH_MANUAL;
  pthread_once(&once, init);
  if (!usable) return LETHE_ESYSTEM;
  void *memory = lethe_zalloc(a, MANAGER_BYTES);
  if (!memory) return LETHE_ENOMEM;
  struct lethe_epoch *m = aligned(memory);
  m->memory = memory;
  lethe_ref_init(&m->refs);
  m->alloc = a;
  m->mode = c->mode;
  m->max_threads = c->max_threads ? c->max_threads : LETHE_EPOCH_THREADS;
  m->bag_size = c->bag_size ? c->bag_size : manual ? LETHE_EPOCH_BAG_MANUAL : LETHE_EPOCH_BAG;
  m->max_limbo = c->max_limbo;
  m->charge = c->charge;
  m->charge_ud = c->ud;
  store_rlx(&m->global, 1);
  pthread_mutex_init(&m->lock, NULL);
  epoch_fork_add(m);
  *out = m;
  return LETHE_OK;
}

struct lethe_epoch *lethe_epoch_get(struct lethe_epoch *m) {
  lethe_ref_get(&m->refs);
  return m;
}

static void free_record(struct lethe_epoch *m, struct lethe_epoch_limbo *l) {
  struct lethe_epoch_bag *bag;
  while ((bag = l->spare) != NULL) {
    l->spare = bag->next;
    epoch_bag_free(m, bag);
  }
  lethe_free(m->alloc, l->memory, l->memory_bytes);
}

/* Nobody is registered and nobody holds it: what is in limbo is nobody's any more. */
void lethe_epoch_put(struct lethe_epoch *m) {
  if (!lethe_ref_put(&m->refs)) return;
  epoch_fork_remove(m);
  m->closed = true; /* for destructors that would register */
  epoch_free_all(m, &m->orphans);
  for (struct lethe_epoch_limbo *l = load_rlx(&m->records), *next; l; l = next) {
    next = l->next_record;
    free_record(m, l);
  }
  pthread_mutex_destroy(&m->lock);
  lethe_free(m->alloc, m->memory, MANAGER_BYTES);
}

void lethe_epoch_close(struct lethe_epoch *m) {
  pthread_mutex_lock(&m->lock);
  m->closed = true;
  pthread_mutex_unlock(&m->lock);
}

/* ---- registering ---------------------------------------------------------------------------- */

struct lethe_epoch_rec *lethe_epoch_current(struct lethe_epoch *m) {
  for (struct lethe_epoch_limbo *l = mine; l; l = l->next_mine)
    if (l->rec->manager == m && !l->extra) return l->rec;
  return NULL;
}

/* A record that is free, or a new one; on lines of its own. The lock is held. */
static struct lethe_epoch_limbo *take_record(struct lethe_epoch *m) {
  for (struct lethe_epoch_limbo *l = epoch_first(m); l; l = l->next_record)
    if (!load_acq(&l->in_use)) return l;
  size_t bytes = sizeof(struct lethe_epoch_rec) + sizeof(struct lethe_epoch_limbo) + 64;
  void *memory = lethe_zalloc(m->alloc, bytes);
  if (!memory) return NULL;
  struct lethe_epoch_rec *r = aligned(memory);
  struct lethe_epoch_limbo *l = (void *)(r + 1);
  r->limbo = l;
  r->manager = m;
  r->global = &m->global;
  l->rec = r;
  l->memory = memory;
  l->memory_bytes = bytes;
  l->next_record = load_rlx(&m->records);
  store_rel(&m->records, l); /* pairs with epoch_first */
  return l;
}

static int register_locked(struct lethe_epoch *m, bool extra, struct lethe_epoch_rec **out) {
  if (m->closed) return LETHE_ECLOSED;
  if (!extra && lethe_epoch_current(m)) return LETHE_EREGISTERED;
  if (!extra && m->threads == m->max_threads) return LETHE_EFULL;
  struct lethe_epoch_limbo *l = take_record(m);
  if (!l || pthread_setspecific(key, l) != 0) return LETHE_ENOMEM;
  l->next_mine = mine;
  mine = l;
  l->extra = extra;
  l->owner = pthread_self();
  l->rec->generation++;
  store_rel(&l->in_use, true);
  if (!extra) m->threads++;
  add_acqrel(&m->in_use, 1);
  lethe_ref_get(&m->refs);
  *out = l->rec;
  return LETHE_OK;
}

static int take_part(struct lethe_epoch *m, bool extra, struct lethe_epoch_rec **out) {
  lethe_fault_allowed();
  pthread_mutex_lock(&m->lock);
  int rc = register_locked(m, extra, out);
  pthread_mutex_unlock(&m->lock);
  if (rc == LETHE_OK) lethe_fence_heavy(); /* see epoch_fence */
  return rc;
}

int lethe_epoch_register(struct lethe_epoch *m, struct lethe_epoch_rec **out) {
  return take_part(m, false, out);
}

int lethe_epoch_register_extra(struct lethe_epoch *m, struct lethe_epoch_rec **out) {
  return take_part(m, true, out);
}

/* ---- leaving -------------------------------------------------------------------------------- */

static void forget_mine(struct lethe_epoch_limbo *l) {
  struct lethe_epoch_limbo **link = &mine;
  while (*link && *link != l) link = &(*link)->next_mine;
  if (*link) *link = l->next_mine;
  pthread_setspecific(key, mine);
}

/* The totals stay with the manager. */
static void take_totals(struct lethe_epoch *m, struct lethe_epoch_limbo *l) {
  m->past_retired += load_rlx(&l->retired);
  m->past_reclaimed += load_rlx(&l->reclaimed);
  m->past_hardened += load_rlx(&l->hardened);
  store_rlx(&l->retired, 0);
  store_rlx(&l->reclaimed, 0);
  store_rlx(&l->hardened, 0);
  store_rlx(&l->moved, 0);
  store_rlx(&l->peak, 0);
  l->seen_retired = 0;
  l->seals = l->calls = 0;
}

bool epoch_record_leaves(struct lethe_epoch_limbo *l) {
  struct lethe_epoch_rec *r = l->rec;
  struct lethe_epoch *m = r->manager;
  r->nest = r->hard = 0;
  store_rlx(&l->restartable, false);
  for (int i = 0; i < LETHE_EPOCH_HAZARDS; i++) store_rel(&r->hazard[i], NULL);
  store_rel(&r->word, 0);
  epoch_steal(l, true);
  take_totals(m, l);
  if (!l->extra) m->threads--;
  sub_acqrel(&m->in_use, 1);
  l->leaving = load_rlx(&l->freeing);
  if (!l->leaving) store_rel(&l->in_use, false);
  return !l->leaving;
}

/* The bags become orphans, for whoever reclaims next. */
void lethe_epoch_unregister(struct lethe_epoch_rec *r) {
  struct lethe_epoch *m = r->manager;
  forget_mine(r->limbo);
  pthread_mutex_lock(&m->lock);
  bool gone = epoch_record_leaves(r->limbo);
  pthread_mutex_unlock(&m->lock);
  if (gone) lethe_epoch_put(m);
}

void epoch_record_is_gone(struct lethe_epoch_limbo *l) {
  struct lethe_epoch *m = l->rec->manager;
  pthread_mutex_lock(&m->lock);
  l->leaving = false;
  store_rel(&l->freeing, false);
  store_rel(&l->in_use, false);
  pthread_mutex_unlock(&m->lock);
  lethe_epoch_put(m);
}

/* ---- entering a limbo ----------------------------------------------------------------------- */

void epoch_await_thief(struct lethe_epoch_limbo *l) {
  do {
    store_rel(&l->busy, 0);
    while (load_acq(&l->stop)) sched_yield();
    store_seq(&l->busy, 1);
    lethe_fence_light();
  } while (load_seq(&l->stop) != 0);
}
