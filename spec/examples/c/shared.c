/* SPDX-License-Identifier: MIT
 * Threads that count together in one lock-free map.
 *
 *   cc shared.c $(pkg-config --cflags --libs lethe) && ./a.out */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "lethe/shared.h"

enum { THREADS = 4, ROUNDS = 10000 };

static struct lethe_map *map;

struct sum {
  uint64_t n; /* the new value; it lives until the update has copied it */
};

/* Asked again when another thread was first, so it only looks and decides. */
static int plus_one(void *ud, const struct lethe_buffer *old, const void **value, size_t *n) {
  struct sum *s = ud;
  s->n = 0;
  if (old) memcpy(&s->n, old->p, sizeof s->n);
  s->n++;
  *value = &s->n;
  *n = sizeof s->n;
  return LETHE_MAP_REPLACE;
}

static void *count(void *ud) {
  static const char *const words[] = {"epoch", "limbo", "bag"};
  struct lethe_epoch_rec *r;
  struct sum s;
  if (lethe_epoch_register(lethe_map_epoch(map), &r)) return ud;
  for (int i = 0; i < ROUNDS; i++) {
    const char *word = words[i % 3];
    if (lethe_map_update(map, r, word, strlen(word), plus_one, &s)) break;
  }
  lethe_epoch_unregister(r);
  return NULL;
}

int main(void) {
  pthread_t threads[THREADS];
  struct lethe_epoch *manager;
  struct lethe_epoch_rec *r;
  struct lethe_buffer word = {.alloc = &lethe_alloc_libc}, value = {.alloc = &lethe_alloc_libc};
  uint64_t total = 0, n;
  if (lethe_epoch_new(&manager, &lethe_alloc_libc, &(struct lethe_epoch_config){0}) ||
      lethe_map_new(&map, &lethe_alloc_libc, manager))
    return 1;
  for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, count, NULL);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);

  if (lethe_epoch_register(manager, &r)) return 1;
  while (lethe_map_next(map, r, &word, &value) == LETHE_OK) {
    memcpy(&n, value.p, sizeof n);
    printf("%.*s %llu\n", (int)word.n, (const char *)word.p, (unsigned long long)n);
    total += n;
  }
  lethe_buffer_free(&word);
  lethe_buffer_free(&value);
  lethe_map_put_ref(map);
  lethe_epoch_unregister(r);
  lethe_epoch_put(manager);
  return total == (uint64_t)THREADS * ROUNDS ? 0 : 1;
}
