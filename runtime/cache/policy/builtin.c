/* SPDX-License-Identifier: MIT
 * The table of the policies that are built in. */
#include <string.h>

#include "builtin.h"

static const struct lethe_evict_ops *const builtins[] = {
    &evict_lru,  &evict_fifo,     &evict_clock,      &evict_sieve, &evict_s3fifo,
    &evict_slru, &evict_twoq,     &evict_arc,        &evict_lfu,   &evict_lirs,
    &evict_gdsf, &evict_wtinylfu, &evict_hyperbolic, &evict_random};

const char *const lethe_evict_names[] = {"lru",  "fifo",     "clock",      "sieve",  "s3fifo",
                                         "slru", "twoq",     "arc",        "lfu",    "lirs",
                                         "gdsf", "wtinylfu", "hyperbolic", "random", NULL};

const struct lethe_evict_ops *lethe_evict_find(const char *name, bool belady) {
  for (size_t i = 0; i < sizeof builtins / sizeof *builtins; i++)
    if (strcmp(builtins[i]->name, name) == 0) return builtins[i];
  return belady && strcmp(name, evict_belady.name) == 0 ? &evict_belady : NULL;
}
