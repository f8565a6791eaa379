/* SPDX-License-Identifier: MIT
 * How many threads a test starts: as many as THREADS says, else its usual number. */
#ifndef SPEC_HARNESS_THREADS_H
#define SPEC_HARNESS_THREADS_H

#include <stdlib.h>

enum { MOST_THREADS = 64 };

static inline int test_threads(int usual) {
  const char *text = getenv("THREADS");
  long n = text && *text ? strtol(text, NULL, 10) : usual;
  return n < 1 ? 1 : n > MOST_THREADS ? MOST_THREADS : (int)n;
}

#endif
