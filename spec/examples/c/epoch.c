/* SPDX-License-Identifier: MIT
 * A configuration that many threads read and one replaces: the old one is freed when no reader can
 * still hold it, and a reader that sleeps in the middle is told so instead of reading freed memory.
 *
 *   cc epoch.c $(pkg-config --cflags --libs lethe) && ./a.out */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "lethe/epoch.h"

enum { READERS = 3, VERSIONS = 20000 };

struct config {
  int version, copy;
};

static struct lethe_epoch *manager;
static _Atomic(void *) current;
static _Atomic uint64_t reads, torn;
static _Atomic bool done;

static void *reader(void *ud) {
  struct lethe_epoch_rec *r;
  if (lethe_epoch_register(manager, &r) != LETHE_OK) return ud;
  while (!load_acq(&done)) {
    lethe_epoch_pin(r);
    struct config *c = load_acq(&current);
    LETHE_EPOCH_READ(r, c) {
      if (c->version != c->copy) add_rlx(&torn, 1);
      add_rlx(&reads, 1);
    }
    lethe_epoch_unpin(r); /* false: it was ejected, and is to read again */
  }
  lethe_epoch_unregister(r);
  return NULL;
}

static void free_config(void *object, void *ud) {
  struct config *c = object;
  (void)ud;
  c->version = -1; /* a reader that still looked would see a torn one */
  free(c);
}

static struct config *make(int version) {
  struct config *c = malloc(sizeof *c);
  if (c) *c = (struct config){version, version};
  return c;
}

int main(void) {
  pthread_t threads[READERS];
  struct lethe_epoch_rec *r;
  if (lethe_epoch_new(&manager, &lethe_alloc_libc, &(struct lethe_epoch_config){0}) ||
      lethe_epoch_register(manager, &r))
    return 1;
  store_rel(&current, make(0));
  for (int i = 0; i < READERS; i++) pthread_create(&threads[i], NULL, reader, NULL);
  for (int version = 1; version <= VERSIONS || load_rlx(&reads) == 0; version++) {
    lethe_epoch_pin(r);
    int rc = lethe_epoch_retire_on_publish(r, &current, make(version), free_config);
    lethe_epoch_unpin(r);
    if (rc) return 1;
  }
  store_rel(&done, true);
  for (int i = 0; i < READERS; i++) pthread_join(threads[i], NULL);

  struct lethe_epoch_stats stats;
  lethe_epoch_flush(r);
  lethe_epoch_read_stats(manager, &stats);
  printf("%llu retired, %llu freed so far, %llu torn reads\n", (unsigned long long)stats.retired,
         (unsigned long long)stats.reclaimed, (unsigned long long)load_rlx(&torn));
  free(load_rlx(&current));
  lethe_epoch_unregister(r);
  lethe_epoch_put(manager); /* frees the rest */
  return load_rlx(&torn) == 0 ? 0 : 1;
}
