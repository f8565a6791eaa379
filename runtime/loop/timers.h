/* SPDX-License-Identifier: MIT
 * The timers of one loop: a pairing heap threaded through them, least (due, seq) on top.
 * Fredman, Sedgewick, Sleator, Tarjan: The pairing heap (1986). */
#ifndef LETHE_TIMERS_H
#define LETHE_TIMERS_H

#include "lethe/loop.h"

/* The heap with t added; t belongs to no heap. */
struct lethe_timer *lethe_timers_add(struct lethe_timer *heap, struct lethe_timer *t);
/* The heap without t, which is in it. */
struct lethe_timer *lethe_timers_remove(struct lethe_timer *heap, struct lethe_timer *t);

#endif
