/* SPDX-License-Identifier: MIT
 * libFuzzer: bytes are calls of an eviction policy, the first of them says which one. Whatever is
 * called, and where memory runs out, the policy's structures are sound, its victim is there and was
 * not refused, and all memory is given back. */
#include <stdio.h>
#include <stdlib.h>

#include "../c/harness/alloc.h"
#include "harness/require.h"
#include "lethe/evict.h"

enum { MOST = 32, KEYS = 64 };

static struct test_alloc alloc;
static struct lethe_evict *e;
static uint64_t handles[MOST];
static unsigned n, refused;

static void sound(void) {
  char why[200];
  if (lethe_evict_check(e, why, sizeof why) == LETHE_OK) return;
  fprintf(stderr, "%s: %s\n", e->ops->name, why);
  abort();
}

static bool is_refused(unsigned i) { return lethe_evict_get(e, handles[i])->refused > 0; }

static void drop(unsigned i, bool evicted) {
  uint64_t h = handles[i];
  refused -= is_refused(i);
  handles[i] = handles[--n];
  REQUIRE(lethe_evict_remove(e, h, evicted));
  REQUIRE(!lethe_evict_get(e, h));
}

/* Where the victim is, or MOST. */
static unsigned victim(const struct lethe_evict_request *r) {
  uint64_t h = lethe_evict_victim(e, r);
  unsigned i = 0;
  while (i < n && handles[i] != h) i++;
  REQUIRE(n == refused ? h == 0 : i < n && !is_refused(i));
  return h ? i : MOST;
}

static void come(uint64_t key, int64_t weight) {
  struct lethe_evict_request r = {.key = key, .size = weight, .cost = 1};
  for (unsigned i = 0; i < n; i++)
    if (lethe_evict_get(e, handles[i])->key == key) {
      lethe_evict_hit(e, handles[i]);
      return;
    }
  e->next = weight;
  if (!lethe_evict_admit(e, &r)) return;
  while (n == MOST || lethe_evict_full(e, &r)) {
    unsigned i = victim(&r);
    if (i == MOST && n < MOST) break;
    drop(i == MOST ? 0 : i, true);
  }
  if (lethe_evict_insert(e, &r, &handles[n]) == LETHE_OK) n++;
}

static void refuse(unsigned i) {
  refused += !is_refused(i);
  lethe_evict_refuse(e, handles[i]);
}

static void offer(unsigned i) {
  refused -= is_refused(i);
  lethe_evict_offer(e, handles[i]);
}

static void call(uint8_t what, uint8_t with) {
  unsigned i = n ? with % n : 0;
  if (what < 128 || n == 0)
    come(what % KEYS, with % 16 + 1);
  else if (what < 160)
    lethe_evict_hit(e, handles[i]);
  else if (what < 180)
    refuse(i);
  else if (what < 200)
    offer(i);
  else if (what < 220)
    drop(i, with & 1);
  else if (what < 235)
    lethe_evict_weigh(e, handles[i], with % 20);
  else if (what < 245)
    lethe_evict_resize(e, with % 100);
  else
    test_alloc_fail(&alloc, with % 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  unsigned names = 0;
  while (lethe_evict_names[names]) names++;
  if (size < 2) return 0;
  const char *name =
      data[0] % (names + 1) < names ? lethe_evict_names[data[0] % (names + 1)] : "belady";
  test_alloc_init(&alloc);
  n = refused = 0;
  REQUIRE(lethe_evict_new_with(&e, &alloc.alloc, lethe_evict_find(name, true), NULL, data[1] % 64,
                               1) == LETHE_OK);
  e->exact = data[1] & 64;
  for (size_t i = 2; i + 1 < size; i += 2) {
    call(data[i], data[i + 1]);
    sound();
    REQUIRE(e->len == n);
  }
  victim(NULL);
  lethe_evict_clear(e);
  sound();
  lethe_evict_delete(e);
  REQUIRE(alloc.blocks == 0);
  return 0;
}
