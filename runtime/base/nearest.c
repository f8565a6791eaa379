/* SPDX-License-Identifier: MIT
 * The nearest word by edit distance, in which a swap of two neighbours is one step. */
#include <string.h>

#include "lethe/nearest.h"

enum { LONGEST = 63, FARTHEST = 3 };

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Row i of the table says how far the first i letters of `a` are from those of `b`; a row is made
 * of the two before it. A longer word is near to none. */
static size_t distance(const char *a, const char *b) {
  size_t n = strlen(b), rows[3][LONGEST + 1];
  size_t *before = rows[0], *last = rows[1], *row = rows[2];
  if (n > LONGEST) return n;
  for (size_t j = 0; j <= n; j++) last[j] = j;
  for (size_t i = 1; a[i - 1]; i++) {
    row[0] = i;
    for (size_t j = 1; j <= n; j++) {
      row[j] = least(last[j - 1] + (a[i - 1] != b[j - 1]), least(row[j - 1], last[j]) + 1);
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = least(row[j], before[j - 2] + 1);
    }
    size_t *oldest = before;
    before = last;
    last = row;
    row = oldest;
  }
  return last[n];
}

const char *lethe_nearest(const char *word, const char *const *names) {
  const char *best = NULL;
  size_t length = strlen(word), nearest = least(length / 2, FARTHEST) + 1;
  for (; *names; names++) {
    size_t d = distance(word, *names);
    if (d < nearest) {
      best = *names;
      nearest = d;
    } else if (!best && length > 0 && strncmp(word, *names, length) == 0) {
      best = *names; /* its beginning will do as long as no other is near */
    }
  }
  return best;
}
