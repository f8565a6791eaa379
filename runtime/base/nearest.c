/* SPDX-License-Identifier: MIT
 * The nearest word by Levenshtein distance, one row of the table at a time. */
#include <string.h>

#include "lethe/nearest.h"

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Levenshtein distance of two short words. */
static size_t distance(const char *a, const char *b) {
  size_t n = strlen(b), row[64];
  if (n >= 64) return n;
  for (size_t j = 0; j <= n; j++) row[j] = j;
  for (size_t i = 1; *a; a++, i++) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= n; j++) {
      size_t change = diagonal + (*a != b[j - 1]);
      diagonal = row[j];
      row[j] = least(change, least(row[j - 1], row[j]) + 1);
    }
  }
  return row[n];
}

const char *lethe_nearest(const char *word, const char *const *names) {
  const char *best = NULL;
  size_t nearest = strlen(word) / 2 + 1;
  for (; *names; names++) {
    size_t d = distance(word, *names);
    if (d < nearest || (strncmp(word, *names, strlen(word)) == 0 && !best)) {
      best = *names;
      nearest = d;
    }
  }
  return best;
}
