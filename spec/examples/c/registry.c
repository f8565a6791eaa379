/* SPDX-License-Identifier: MIT
 * What a collector's finalizers may do, and when the program hears of it: notes now, in any order;
 * consequences later, in slot order.
 *
 *   cc registry.c $(pkg-config --cflags --libs lethe) && ./a.out */
#include <stdio.h>
#include <string.h>

#include "lethe/registry.h"

static char order[16];

static void took(void *ud, uint64_t id, void *what, const void *kind) {
  (void)ud;
  (void)id;
  (void)kind;
  strcat(order, what);
}

int main(void) {
  struct lethe_registry r;
  static char names[][2] = {"a", "b", "c", "d"};
  uint64_t ids[4];
  lethe_registry_init(&r, &lethe_alloc_libc);
  for (int i = 0; i < 4; i++) ids[i] = lethe_registry_add(&r, names[i], NULL);

  lethe_registry_note(&r, ids[3]); /* from finalizers, at moments that the collector chose */
  lethe_registry_note(&r, ids[0]);
  lethe_registry_remove(&r, ids[1]); /* closed in order: nothing to report */
  lethe_registry_note(&r, ids[1]);
  size_t n = lethe_registry_take(&r, took, NULL); /* a moment that the program chose */

  printf("%zu dead: %s; %u alive\n", n, order, lethe_registry_live(&r));
  lethe_registry_destroy(&r);
  return n == 2 && strcmp(order, "ad") == 0 ? 0 : 1;
}
