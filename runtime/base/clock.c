/* SPDX-License-Identifier: MIT
 * The monotonic clock in seconds. */
#include <time.h>

#include "lethe/base.h"

double lethe_clock_monotonic(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}
