/* SPDX-License-Identifier: MIT
 * The table of the policies that are built in. */
#include <string.h>

#include "builtin.h"

static const struct lethe_evict_ops *const builtins[] = {&evict_lru, &evict_fifo};
const char *const lethe_evict_names[] = {"lru", "fifo", NULL};

const struct lethe_evict_ops *lethe_evict_find(const char *name, bool belady) {
  (void)belady;
  for (size_t i = 0; i < sizeof builtins / sizeof *builtins; i++)
    if (strcmp(builtins[i]->name, name) == 0) return builtins[i];
  return NULL;
}
