/* SPDX-License-Identifier: MIT
 * The policies that are built in, for the table of them. */
#ifndef LETHE_CACHE_BUILTIN_H
#define LETHE_CACHE_BUILTIN_H

#include "lethe/evict.h"

extern const struct lethe_evict_ops evict_lru, evict_fifo;

#endif
