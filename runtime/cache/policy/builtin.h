/* SPDX-License-Identifier: MIT
 * The policies that are built in, each from a file of its own, or two. */
#ifndef LETHE_CACHE_BUILTIN_H
#define LETHE_CACHE_BUILTIN_H

#include "lethe/evict.h"

extern const struct lethe_evict_ops evict_lru, evict_fifo, evict_clock, evict_sieve, evict_s3fifo,
    evict_slru, evict_twoq, evict_arc, evict_lfu, evict_lirs, evict_gdsf, evict_wtinylfu,
    evict_hyperbolic, evict_random, evict_belady;

#endif
