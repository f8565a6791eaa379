/* SPDX-License-Identifier: MIT
 * Limbo bytes under a quota account. They come and go on any thread, and what is in limbo cannot be
 * refused: what the account has no room for is carried here, uncounted, and is the first to go.
 *
 * The participant is exact (no cache) and is never asked to reclaim; a lock makes its one handle
 * every thread's. It belongs to the state that gave the account: once that ends, the bytes are not
 * counted any more. */
#include <pthread.h>

#include "epoch_parts.h"
#include "quota.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

struct epoch_charge {
  struct lethe_alloc alloc;
  _Atomic int64_t blocks; /* of the manager's memory */
  pthread_mutex_t lock;
  struct lethe_quota_handle handle;
  int64_t uncounted;
};

void epoch_charge_delete(struct epoch_charge *c) {
  lethe_quota_handle_close(&c->handle);
  pthread_mutex_destroy(&c->lock);
  lethe_free(mem, c, sizeof *c);
}

/* The manager makes itself first and frees itself last. */
static void *counted(void *ud, void *p, size_t osize, size_t nsize) {
  struct epoch_charge *c = ud;
  void *q = mem->realloc(mem->ud, p, osize, nsize);
  if (!p && q) add_rlx(&c->blocks, 1);
  /* acquire-release: whoever frees the last block sees all that the others did */
  if (p && nsize == 0 && sub_acqrel(&c->blocks, 1) == 1) epoch_charge_delete(c);
  return q;
}

struct epoch_charge *epoch_charge_new(lua_State *L, int account, int *rc) {
  struct account_ref *a = lethe_check(L, account, &quota_account_class)->what;
  struct epoch_charge *c = lethe_zalloc(mem, sizeof *c);
  uint64_t id;
  *rc = LETHE_ENOMEM;
  if (!c) return NULL;
  *rc = lethe_quota_handle_open(&c->handle, a->port->member, a->id, NULL, true, &id);
  if (*rc) {
    lethe_free(mem, c, sizeof *c);
    return NULL;
  }
  c->alloc = (struct lethe_alloc){counted, c};
  pthread_mutex_init(&c->lock, NULL);
  return c;
}

const struct lethe_alloc *epoch_charge_alloc(struct epoch_charge *c) { return &c->alloc; }

static void release(struct epoch_charge *c, int64_t n) {
  int64_t uncounted = n < c->uncounted ? n : c->uncounted;
  c->uncounted -= uncounted;
  if (n > uncounted) lethe_quota_release(&c->handle, n - uncounted);
}

void epoch_charge_bytes(void *charge, int64_t by) {
  struct epoch_charge *c = charge;
  pthread_mutex_lock(&c->lock);
  if (by < 0)
    release(c, -by);
  else if (lethe_quota_claim(&c->handle, by) != LETHE_OK)
    c->uncounted += by;
  pthread_mutex_unlock(&c->lock);
}
