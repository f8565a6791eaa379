/* SPDX-License-Identifier: MIT
 * Keys: how they compare, and the words that the indexes order them by. */
#include <math.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "weakmap_internal.h"

#define TWO_63 9223372036854775808.0 /* the first float above all integers */

static int of_bytes(const void *a, size_t m, const void *b, size_t n) {
  size_t least = m < n ? m : n;
  int order = least ? memcmp(a, b, least) : 0;
  return order ? order : (m > n) - (m < n);
}

/* Exact, though neither type has all values of the other. */
static int of_mixed(int64_t i, double d) {
  if (d >= TWO_63) return -1;
  if (d < -TWO_63) return 1;
  double whole = floor(d);
  int64_t j = (int64_t)whole;
  if (i != j) return i < j ? -1 : 1;
  return d > whole ? -1 : 0;
}

int lethe_weak_compare(const struct lethe_weak_key *a, const struct lethe_weak_key *b) {
  if (a->kind == LETHE_WEAK_BYTES) return of_bytes(a->bytes, a->u.n, b->bytes, b->u.n);
  if (a->kind != b->kind)
    return a->kind == LETHE_WEAK_INTEGER ? of_mixed(a->u.integer, b->u.number)
                                         : -of_mixed(b->u.integer, a->u.number);
  if (a->kind == LETHE_WEAK_INTEGER)
    return (a->u.integer > b->u.integer) - (a->u.integer < b->u.integer);
  return (a->u.number > b->u.number) - (a->u.number < b->u.number);
}

int weak_key_compare_entry(const struct lethe_weak_key *k, const struct entry *e) {
  if (k->kind == LETHE_WEAK_BYTES) return of_bytes(k->bytes, k->u.n, e->key.bytes, e->n);
  struct lethe_weak_key other;
  weak_key_of(e, &other);
  return lethe_weak_compare(k, &other);
}

uint64_t weak_bytes_rank(const void *p, size_t n) {
  uint64_t word = 0;
  if (n >= sizeof word) {
    memcpy(&word, p, sizeof word);
  } else if (n) {
    memcpy(&word, p, n);
  }
  return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap64(word) : word;
}

bool weak_float_is_whole(double d) { return d >= -TWO_63 && d < TWO_63 && floor(d) == d; }

/* splitmix64's last step: every bit of the number shows in every bit, and none is lost. */
uint64_t weak_mixed(uint64_t z) {
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

uint64_t weak_other_hash(const struct lethe_weak_key *k, uint64_t seed) {
  if (k->kind == LETHE_WEAK_BYTES) return XXH3_64bits_withSeed(k->bytes, k->u.n, seed);
  if (weak_float_is_whole(k->u.number))
    return lethe_weak_hash((uint64_t)(int64_t)k->u.number, seed);
  uint64_t word;
  memcpy(&word, &k->u.number, sizeof word);
  return weak_mixed(word ^ seed);
}
