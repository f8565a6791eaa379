/* SPDX-License-Identifier: MIT
 * Managers and records: made, registered, given back when a thread leaves or ends, freed.
 *
 * A record is never freed before its manager: whoever scans the list need not ask. The records of a
 * thread are linked from a thread-local list, whose key's destructor unregisters what a thread that
 * ends has left. */
#include "epoch_internal.h"

#include <string.h>

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static _Thread_local struct lethe_epoch_limbo *mine; /* a cache of what the key holds */

static void thread_ends(void *list) {
  mine = list;
  while (mine) lethe_epoch_unregister(mine->rec);
}

static void make_key(void) { pthread_key_create(&key, thread_ends); }

struct lethe_epoch_limbo *epoch_first(const struct lethe_epoch *m) { return load_acq(&m->records); }

/* ---- managers --------------------------------------------------------------------------------- */

int lethe_epoch_new(struct lethe_epoch **out, const struct lethe_alloc *a,
                    const struct lethe_epoch_config *c) {
  bool manual = c->mode == LETHE_EPOCH_MANUAL;
  struct lethe_epoch *m = lethe_zalloc(a, sizeof *m);
  if (!m) return LETHE_ENOMEM;
  pthread_once(&key_once, make_key);
  lethe_fence_init();
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
  epoch_free_all(m, &m->orphans);
  for (struct lethe_epoch_limbo *l = load_rlx(&m->records), *next; l; l = next) {
    next = l->next_record;
    free_record(m, l);
  }
  pthread_mutex_destroy(&m->lock);
  lethe_free(m->alloc, m, sizeof *m);
}

void lethe_epoch_close(struct lethe_epoch *m) {
  pthread_mutex_lock(&m->lock);
  m->closed = true;
  pthread_mutex_unlock(&m->lock);
}

/* ---- registering ------------------------------------------------------------------------------ */

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
  char *memory = lethe_zalloc(m->alloc, bytes);
  if (!memory) return NULL;
  struct lethe_epoch_rec *r = (void *)(((uintptr_t)memory + 63) & ~(uintptr_t)63);
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
  if (mine == NULL && pthread_setspecific(key, NULL) != 0) return LETHE_ENOMEM;
  struct lethe_epoch_limbo *l = take_record(m);
  if (!l) return LETHE_ENOMEM;
  l->extra = extra;
  l->owner = pthread_self();
  l->advances_every = 0;
  store_rlx(&l->rec->word, 0);
  store_rlx(&l->rec->ejected, 0);
  store_rlx(&l->rec->confirmed, 0);
  l->rec->nest = 0;
  store_rel(&l->in_use, true);
  if (!extra) m->threads++;
  add_acqrel(&m->in_use, 1);
  l->next_mine = mine;
  mine = l;
  pthread_setspecific(key, mine);
  lethe_ref_get(&m->refs);
  *out = l->rec;
  return LETHE_OK;
}

int lethe_epoch_register(struct lethe_epoch *m, struct lethe_epoch_rec **out) {
  pthread_mutex_lock(&m->lock);
  int rc = register_locked(m, false, out);
  pthread_mutex_unlock(&m->lock);
  if (rc == LETHE_OK) lethe_fence_heavy(); /* who skipped a fence for want of others sees this one */
  return rc;
}

int lethe_epoch_register_extra(struct lethe_epoch *m, struct lethe_epoch_rec **out) {
  pthread_mutex_lock(&m->lock);
  int rc = register_locked(m, true, out);
  pthread_mutex_unlock(&m->lock);
  if (rc == LETHE_OK) lethe_fence_heavy();
  return rc;
}

static void forget_mine(struct lethe_epoch_limbo *l) {
  struct lethe_epoch_limbo **link = &mine;
  while (*link && *link != l) link = &(*link)->next_mine;
  if (*link) *link = l->next_mine;
  pthread_setspecific(key, mine);
}

/* The bags become orphans, for whoever reclaims next. */
void lethe_epoch_unregister(struct lethe_epoch_rec *r) {
  struct lethe_epoch_limbo *l = r->limbo;
  struct lethe_epoch *m = r->manager;
  r->nest = 0;
  store_rel(&r->hazard, NULL);
  store_rel(&r->word, 0);
  forget_mine(l);
  pthread_mutex_lock(&m->lock);
  epoch_steal(l, &m->orphans);
  store_rlx(&m->orphan_bags, m->orphans.n);
  if (!l->extra) m->threads--;
  sub_acqrel(&m->in_use, 1);
  store_rel(&l->in_use, false);
  pthread_mutex_unlock(&m->lock);
  lethe_epoch_put(m);
}

/* ---- entering a limbo -------------------------------------------------------------------------- */

/* The owner is about to change its bags. A thief is waited for: it moves a few pointers only. */
bool epoch_enter(struct lethe_epoch_limbo *l) {
  for (;;) {
#if LETHE_TSAN
    store_seq(&l->busy, 1);
    if (load_seq(&l->stop) == 0) return true;
#else
    store_rlx(&l->busy, 1);
    lethe_fence_light();
    if (__builtin_expect(load_rlx(&l->stop) == 0, 1)) return true;
#endif
    store_rel(&l->busy, 0);
    while (load_acq(&l->stop)) sched_yield();
  }
}

void epoch_leave(struct lethe_epoch_limbo *l) { store_rel(&l->busy, 0); }
