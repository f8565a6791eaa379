/* SPDX-License-Identifier: MIT
 * An eviction policy under random calls in any order: entries of all sizes come, are hit, refused,
 * offered, weighed and removed, limits change, memory runs out. After each call the policy is
 * audited, and its victim is one that is there and was not refused. SEED= repeats a run, LETHE_WORK
 * multiplies its length. */
#ifndef SPEC_HARNESS_EVICT_H
#define SPEC_HARNESS_EVICT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alloc.h"
#include "lethe/evict.h"
#include "random.h"
#include "unit.h"

enum { MOST = 60, CALLS = 20000, KEYS = 150, LIMIT = 40 };

struct known {
  uint64_t handle, key;
  int64_t size;
  bool refused;
};

static struct {
  struct test_random random;
  struct test_alloc alloc;
  struct lethe_evict *e;
  struct known known[MOST];
  unsigned n, refused;
  int64_t used;
} m;

static inline uint64_t below(uint64_t n) { return test_below(&m.random, n); }

/* ---- what is known --------------------------------------------------------------------------- */

static inline unsigned index_of(uint64_t handle) {
  unsigned i = 0;
  while (i < m.n && m.known[i].handle != handle) i++;
  return i;
}

static inline void drop(unsigned i, bool evicted) {
  struct known k = m.known[i];
  m.known[i] = m.known[--m.n];
  m.refused -= k.refused;
  m.used -= k.size;
  assert_true(lethe_evict_remove(m.e, k.handle, evicted));
  assert_null(lethe_evict_get(m.e, k.handle));
}

static inline void audit(void) {
  char why[200] = "";
  if (lethe_evict_check(m.e, why, sizeof why) != LETHE_OK) fail_msg("%s: %s", m.e->ops->name, why);
  assert_int_equal(m.e->len, m.n);
  assert_int_equal(m.e->used, m.used);
}

/* The victim, by its place among the known; MOST if there is none. */
static inline unsigned victim(const struct lethe_evict_request *r) {
  uint64_t h = lethe_evict_victim(m.e, r);
  audit();
  if (m.n == m.refused) {
    assert_int_equal(h, 0);
    return MOST;
  }
  unsigned i = index_of(h);
  assert_true(i < m.n);
  assert_false(m.known[i].refused);
  return i;
}

/* ---- calls ----------------------------------------------------------------------------------- */

static inline int64_t random_size(void) {
  return (int64_t)(below(10) == 0 ? below(40) : below(3) == 0 ? below(8) : 1);
}

static inline void make_room(const struct lethe_evict_request *r) {
  while (m.n == MOST || lethe_evict_full(m.e, r)) {
    unsigned i = victim(r);
    if (i == MOST) {
      if (m.n < MOST) return;
      i = 0;
    }
    if (below(6) == 0) {
      lethe_evict_refuse(m.e, m.known[i].handle);
      m.refused += i < m.n && !m.known[i].refused;
      m.known[i].refused = true;
    } else {
      drop(i, true);
    }
  }
}

static inline void come(void) {
  struct lethe_evict_request r = {.key = below(KEYS), .size = random_size(), .cost = 1};
  uint64_t handle = 0;
  for (unsigned i = 0; i < m.n; i++)
    if (m.known[i].key == r.key) {
      lethe_evict_hit(m.e, m.known[i].handle);
      return;
    }
  m.e->next = (int64_t)below(1000);
  if (!lethe_evict_admit(m.e, &r)) return;
  make_room(&r);
  int code = lethe_evict_insert(m.e, &r, &handle);
  assert_true(code == LETHE_OK || code == LETHE_ENOMEM || code == LETHE_ELIMIT);
  if (code != LETHE_OK) return;
  assert_non_null(lethe_evict_get(m.e, handle));
  assert_int_equal(index_of(handle), m.n);
  m.known[m.n++] = (struct known){handle, r.key, r.size, false};
  m.used += r.size;
}

static inline void change(unsigned i) {
  struct known *k = &m.known[i];
  switch (below(8)) {
  case 0:
    drop(i, below(2));
    break;
  case 1:
    lethe_evict_refuse(m.e, k->handle);
    m.refused += !k->refused;
    k->refused = true;
    break;
  case 2:
  case 3:
    lethe_evict_offer(m.e, k->handle);
    m.refused -= k->refused;
    k->refused = false;
    break;
  case 4: {
    int64_t size = random_size();
    lethe_evict_weigh(m.e, k->handle, size);
    m.used += size - k->size;
    k->size = size;
    break;
  }
  default:
    lethe_evict_hit(m.e, k->handle);
  }
}

static inline void step(void) {
  uint64_t what = below(100);
  if (what < 60)
    come();
  else if (what < 97 && m.n)
    change((unsigned)below(m.n));
  else if (what == 97)
    lethe_evict_resize(m.e, (int64_t)below(70));
  else if (what == 98)
    test_alloc_fail(&m.alloc, below(3));
  else if (what == 99 && below(20) == 0) {
    lethe_evict_clear(m.e);
    m.n = m.refused = 0;
    m.used = 0;
  }
  audit();
}

/* Begins with an empty policy, which m.e becomes; its allocator is m.alloc. */
static inline void begin(void) {
  test_alloc_init(&m.alloc);
  m.n = m.refused = 0;
  m.used = 0;
}

static inline int calls_to_make(void) {
  const char *work = getenv("LETHE_WORK");
  return (int)(CALLS * (work ? strtod(work, NULL) : 1));
}

static inline void finish(void) {
  lethe_evict_delete(m.e);
  assert_int_equal(m.alloc.blocks, 0);
}

#endif
