/* SPDX-License-Identifier: MIT
 * Two words that change together: a pointer and the version that tells it from its earlier uses.
 *
 * Every operation is one atomic step on both words, and a full fence. A cell is aligned to 16
 * bytes, as its type is, and writable: a load is a compare-and-swap of equal values. There is no
 * fallback with a lock: where the processor has no such instruction, this does not compile.
 * Progress: lethe_pair_cas and _load are wait-free, the others lock-free. */
#ifndef LETHE_PAIR_H
#define LETHE_PAIR_H

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>

#include "lethe/atomic.h"

struct lethe_pair {
  alignas(16) uint64_t lo;
  uint64_t hi;
};
_Static_assert(sizeof(struct lethe_pair) == 16 && alignof(struct lethe_pair) == 16,
               "a pair is one 16-byte word");

/* ThreadSanitizer does not see into assembler. */
#if defined(__x86_64__) && !LETHE_TSAN
static inline bool lethe_pair_cas(struct lethe_pair *cell, struct lethe_pair *expected,
                                  struct lethe_pair desired) {
  bool swapped;
  __asm__ volatile("lock cmpxchg16b %1"
                   : "=@ccz"(swapped), "+m"(*cell), "+a"(expected->lo), "+d"(expected->hi)
                   : "b"(desired.lo), "c"(desired.hi)
                   : "memory");
  return swapped;
}
#elif defined(__x86_64__) || defined(__GCC_HAVE_SYNC_COMPARE_AND_SWAP_16)
__extension__ typedef unsigned __int128 lethe_pair_word;
static inline bool lethe_pair_cas(struct lethe_pair *cell, struct lethe_pair *expected,
                                  struct lethe_pair desired) {
  union {
    struct lethe_pair pair;
    lethe_pair_word word;
  } old = {.pair = *expected}, new = {.pair = desired};
  bool swapped = __atomic_compare_exchange_n((lethe_pair_word *)(void *)cell, &old.word, new.word,
                                             false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  *expected = old.pair;
  return swapped;
}
#else
#error "lethe/pair.h needs a 16-byte compare-and-swap (gcc and clang: -mcx16)"
#endif

/* The strong compare-and-swap above: true if *cell was *expected and is now `desired`; else
 * *expected is what is there. */

static inline struct lethe_pair lethe_pair_load(struct lethe_pair *cell) {
  struct lethe_pair seen = {0, 0};
  lethe_pair_cas(cell, &seen, seen);
  return seen;
}

static inline struct lethe_pair lethe_pair_exchange(struct lethe_pair *cell,
                                                    struct lethe_pair desired) {
  struct lethe_pair old = lethe_pair_load(cell);
  while (!lethe_pair_cas(cell, &old, desired)) {
  }
  return old;
}

static inline void lethe_pair_store(struct lethe_pair *cell, struct lethe_pair desired) {
  (void)lethe_pair_exchange(cell, desired);
}

/* Each word by its own operand, nothing carried from one to the other; the pair before. */
#define LETHE_PAIR_FETCH(name, op)                                                               \
  static inline struct lethe_pair lethe_pair_fetch_##name(struct lethe_pair *cell,               \
                                                          struct lethe_pair by) {                \
    struct lethe_pair old = lethe_pair_load(cell);                                               \
    while (!lethe_pair_cas(cell, &old, (struct lethe_pair){old.lo op by.lo, old.hi op by.hi})) { \
    }                                                                                            \
    return old;                                                                                  \
  }
LETHE_PAIR_FETCH(add, +)
LETHE_PAIR_FETCH(sub, -)
LETHE_PAIR_FETCH(and, &)
LETHE_PAIR_FETCH(or, |)
LETHE_PAIR_FETCH(xor, ^)
#undef LETHE_PAIR_FETCH

#endif
