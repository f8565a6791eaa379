/* SPDX-License-Identifier: MIT
 * A small machine whose stores wait in buffers of each thread (x86-TSO), and all the states that
 * it can reach. Whoever includes this has defined THREADS and WORDS, and defines move() for its
 * threads' programs.
 *
 * A heavy fence empties each thread's buffer, at some moment of its own between the fence's
 * begin and its end, as membarrier(2) does. */
#ifndef SPEC_HARNESS_TSO_H
#define SPEC_HARNESS_TSO_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* ---- the machine ---------------------------------------------------------------------------- */

enum { BUFFER = 4 };

struct thread {
  uint8_t at, rounds, awaited; /* awaited: threads whose buffers a heavy fence waits for */
  uint8_t now, word, confirmed, stamp, seen;
  uint8_t n, address[BUFFER], value[BUFFER];
};

/* All bytes count: states are compared as memory. */
struct state {
  uint8_t word[WORDS];
  uint8_t freed, violated;
  struct thread t[THREADS];
};

/* One step of a thread's program; false: it cannot go on now. */
static bool move(struct state *s, unsigned self);

static uint8_t load(const struct state *s, const struct thread *t, uint8_t address) {
  for (int i = t->n - 1; i >= 0; i--)
    if (t->address[i] == address) return t->value[i];
  return s->word[address];
}

static bool store(struct thread *t, uint8_t address, uint8_t value) {
  if (t->n == BUFFER) return false;
  t->address[t->n] = address;
  t->value[t->n++] = value;
  return true;
}

static void drain_one(struct state *s, struct thread *t) {
  s->word[t->address[0]] = t->value[0];
  t->n--;
  memmove(t->address, t->address + 1, t->n);
  memmove(t->value, t->value + 1, t->n);
  t->address[t->n] = t->value[t->n] = 0; /* equal states look alike */
}

/* A heavy fence, in two moves: it begins, and goes on when every buffer was empty once since. */
static bool fence(struct thread *t, unsigned self, uint8_t next) {
  if (t->n > 0) return false;
  t->awaited = (uint8_t)(((1 << THREADS) - 1) & ~(1 << self));
  t->at = next;
  return true;
}

static void raise_to(uint8_t *word, uint8_t value) {
  if (*word < value) *word = value;
}

/* ---- all states ----------------------------------------------------------------------------- */

static struct {
  struct state *of;
  size_t n, room;
  size_t *table, mask;
  bool violated;
} seen;

static uint64_t hash(const struct state *s) {
  const unsigned char *p = (const unsigned char *)s;
  uint64_t h = 1469598103934665603U;
  for (size_t i = 0; i < sizeof *s; i++) h = (h ^ p[i]) * 1099511628211U;
  return h ^ h >> 32;
}

static void insert(size_t index) {
  size_t i = hash(&seen.of[index]) & seen.mask;
  while (seen.table[i]) i = (i + 1) & seen.mask;
  seen.table[i] = index + 1;
}

static void grow(void) {
  seen.room = seen.room ? seen.room * 2 : 1 << 16;
  seen.of = realloc(seen.of, seen.room * sizeof *seen.of);
  free(seen.table);
  seen.mask = seen.room * 4 - 1;
  seen.table = calloc(seen.room * 4, sizeof *seen.table);
  if (!seen.of || !seen.table) abort();
  for (size_t i = 0; i < seen.n; i++) insert(i);
}

static void reach(const struct state *s) {
  if (seen.n == seen.room) grow();
  size_t i = hash(s) & seen.mask;
  for (; seen.table[i]; i = (i + 1) & seen.mask)
    if (memcmp(&seen.of[seen.table[i] - 1], s, sizeof *s) == 0) return;
  seen.of[seen.n++] = *s;
  seen.table[i] = seen.n;
  seen.violated = seen.violated || s->violated;
}

static void reach_from(const struct state *from) {
  for (unsigned i = 0; i < THREADS; i++) {
    struct state s = *from;
    if (move(&s, i)) reach(&s);
    s = *from;
    if (s.t[i].n > 0) {
      drain_one(&s, &s.t[i]);
      reach(&s);
      continue;
    }
    for (unsigned k = 0; k < THREADS; k++) { /* an empty buffer: a fence's moment on this thread */
      s = *from;
      if (!(s.t[k].awaited & 1 << i)) continue;
      s.t[k].awaited &= (uint8_t) ~(1 << i);
      reach(&s);
    }
  }
}

/* True if some order leads from there to a violation; seen.n says how many states there are. */
static bool explore(const struct state *from) {
  memset(&seen, 0, sizeof seen);
  reach(from);
  for (size_t i = 0; i < seen.n && !seen.violated; i++) {
    struct state s = seen.of[i];
    reach_from(&s);
  }
  free(seen.of);
  free(seen.table);
  return seen.violated;
}

#endif
