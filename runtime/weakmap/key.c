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

void weak_key_of(const struct entry *e, struct lethe_weak_key *k) {
  k->kind = (enum lethe_weak_kind)e->kind;
  k->bytes = NULL;
  if (k->kind == LETHE_WEAK_INTEGER) {
    k->u.integer = e->key.integer;
  } else if (k->kind == LETHE_WEAK_FLOAT) {
    k->u.number = e->key.number;
  } else {
    k->u.n = e->n;
    k->bytes = e->key.bytes;
  }
}

int weak_key_compare_entry(const struct lethe_weak_key *k, const struct entry *e) {
  if (k->kind == LETHE_WEAK_BYTES) return of_bytes(k->bytes, k->u.n, e->key.bytes, e->n);
  struct lethe_weak_key other;
  weak_key_of(e, &other);
  return lethe_weak_compare(k, &other);
}

bool weak_key_is_nan(const struct lethe_weak_key *k) {
  return k->kind == LETHE_WEAK_FLOAT && isnan(k->u.number);
}

/* A word whose order is that of the keys, equal ones telling nothing: the number as a double, which
 * rounds in order, or the first eight bytes. */
uint64_t weak_key_prefix(const struct lethe_weak_key *k) {
  uint64_t word = 0;
  if (k->kind == LETHE_WEAK_BYTES) {
    if (k->u.n >= sizeof word) {
      memcpy(&word, k->bytes, sizeof word);
    } else if (k->u.n) {
      memcpy(&word, k->bytes, k->u.n);
    }
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap64(word) : word;
  }
  double d = k->kind == LETHE_WEAK_INTEGER ? (double)k->u.integer : k->u.number;
  if (d == 0) d = 0; /* -0.0 is 0 */
  memcpy(&word, &d, sizeof word);
  return word >> 63 ? ~word : word | UINT64_C(1) << 63;
}

/* splitmix64's last step: every bit of the number shows in every bit. */
static uint64_t mixed(uint64_t z) {
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

/* Equal numbers have equal hashes: a float that is a whole number has that of the integer. */
uint64_t weak_key_hash(const struct lethe_weak_key *k, uint64_t seed) {
  if (k->kind == LETHE_WEAK_BYTES) return XXH3_64bits_withSeed(k->bytes, k->u.n, seed);
  if (k->kind == LETHE_WEAK_INTEGER) return mixed((uint64_t)k->u.integer ^ seed);
  double d = k->u.number;
  if (d >= -TWO_63 && d < TWO_63 && floor(d) == d) return mixed((uint64_t)(int64_t)d ^ seed);
  uint64_t word;
  memcpy(&word, &d, sizeof word);
  return mixed(word ^ ~seed);
}
