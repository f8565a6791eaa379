/* SPDX-License-Identifier: MIT
 * "did you mean": the word of a list that a mistyped one stands nearest to. */
#ifndef LETHE_NEAREST_H
#define LETHE_NEAREST_H

#include "lethe/base.h"

/* The nearest of the NULL-ended names to `word`, or NULL when none is near. Cannot fail. */
LETHE_API const char *lethe_nearest(const char *word, const char *const *names);

#endif
