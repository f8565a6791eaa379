/* SPDX-License-Identifier: MIT
 * Limits: what max and low_water may be, and what "auto" means on this machine. */
#include "limits.h"

#include <stdio.h>
#include <unistd.h>

enum { MIB = 1 << 20 };
static const int64_t least_low_water = INT64_C(10) * LETHE_QUOTA_CACHE;
static const double greatest_ratio = 0.98;

int64_t lethe_quota_auto_max(int64_t memory) {
  const int64_t least = 256LL * MIB, greatest = 8192LL * MIB;
  if (memory < 0) return greatest;
  double share = memory >= greatest ? 0.40 : 0.75;
  int64_t max = (int64_t)((double)memory * share);
  return max < least ? least : max > greatest ? greatest : max;
}

static int64_t read_number(const char *path) {
  long long n = -1;
  FILE *f = fopen(path, "r");
  if (!f) return -1;
  if (fscanf(f, "%lld", &n) != 1) n = -1; /* "max" */
  fclose(f);
  return n;
}

int64_t lethe_quota_machine_memory(void) {
  static const char *const groups[] = {"/sys/fs/cgroup/memory.max",
                                       "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
  long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
  int64_t memory = pages > 0 && size > 0 ? (int64_t)pages * size : -1;
  for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
    int64_t limit = read_number(groups[i]);
    if (limit > 0 && (memory < 0 || limit < memory)) memory = limit;
  }
  return memory;
}

/* Rounded as the model rounds it: in single precision. */
static int64_t auto_low_water(int64_t max) { return (int64_t)((float)max * 0.75f); }

/* The greatest max of all: what is used is counted, and never reclaimed. */
static int no_limit(int64_t *max, int64_t *low, int64_t given_low, const char **why) {
  if (given_low >= 0) {
    *why = "low_water is set to a number of bytes, but max says that there is no limit";
    return LETHE_ELIMITS;
  }
  *max = *low = LETHE_QUOTA_NO_LIMIT;
  return LETHE_OK;
}

int quota_limits(const struct lethe_quota_config *c, int64_t *max, int64_t *low, const char **why) {
  int64_t m = c->max, l = c->low_water;
  if (m < 0) {
    if (l >= 0) {
      *why = "max is \"auto\", but low_water is set to a number of bytes";
      return LETHE_ELIMITS;
    }
    m = lethe_quota_auto_max(lethe_quota_machine_memory());
  }
  if (m == LETHE_QUOTA_NO_LIMIT) return no_limit(max, low, l, why);
  if (l < 0) l = auto_low_water(m);
  if (m == 0) {
    *why = "max must be above 0";
    return LETHE_ELIMITS;
  }
  if (l >= m) {
    *why = "low_water must be below max";
    return LETHE_ELIMITS;
  }
  if (m >= MIB && l < least_low_water) {
    *why = "low_water must be at least 163840";
    return LETHE_ELIMITS;
  }
  if (m >= MIB && (double)l / (double)m > greatest_ratio) {
    *why = "low_water / max must be <= 0.98";
    return LETHE_ELIMITS;
  }
  *max = m;
  *low = l;
  return LETHE_OK;
}

int64_t quota_resident(void) {
  long pages = 0, ignored = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  if (!f) return 0;
  if (fscanf(f, "%ld %ld", &ignored, &pages) != 2) pages = 0;
  fclose(f);
  return (int64_t)pages * sysconf(_SC_PAGESIZE);
}
