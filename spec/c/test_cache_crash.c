/* SPDX-License-Identifier: MIT
 * Crash states of two caches with an order between them. A table of counts and a table of
 * references are changed at random through their caches; the backend below takes its time, fails at
 * times, and logs every write and barrier. Then, for each moment at which something new was being
 * written, the disk is put together from what was durable and from every choice (exhaustive to
 * 2^12, drawn by the seed above) of the sectors that were not: no block that is referred to may
 * have a count that is too small. The same harness finds broken disks where the cache has no
 * barriers, and where nothing depends on anything. LETHE_WORK=10: ten times the seeds. */
#include <inttypes.h>
#include <math.h>

#include "harness/backend.h"
#include "harness/random.h"

#include "lethe/cache.h"
#include "lethe/evict.h"

enum { SECTOR = 512, BLOCK = 2 * SECTOR, ENTRIES = 8, STRIDE = BLOCK / ENTRIES };
enum { TABLES = 6, BLOCKS = 2 * TABLES, SLOTS = TABLES * ENTRIES };
enum { EXHAUSTIVE = 12, DRAWN = 1 << EXHAUSTIVE, STEPS = 4000 };

struct disk {
  char block[BLOCKS][BLOCK];
};

enum how { SOUND, NO_BARRIERS, NO_ORDER };

struct run {
  struct test_alloc alloc;
  struct test_random random;
  enum how how;
  struct lethe_loop *loop;
  struct lethe_backend *memory, *faulty;
  struct lethe_cache_backend *bridge;
  struct lethe_cache *counts, *refs;
  struct lethe_faulty_step steps[STEPS];
  uint64_t states, broken, moments, most;
};

/* ---- the tables ------------------------------------------------------------------------------ */

static uint32_t entry(const struct disk *d, int table, int i) {
  uint32_t n;
  memcpy(&n, d->block[table * TABLES + i / ENTRIES] + i % ENTRIES * STRIDE, sizeof n);
  return n;
}

static bool is_sound(const struct disk *d) {
  uint32_t times[SLOTS] = {0};
  for (int i = 0; i < SLOTS; i++) {
    uint32_t n = entry(d, 1, i);
    if (n > SLOTS) return false;
    if (n > 0) times[n - 1]++;
  }
  for (int b = 0; b < SLOTS; b++)
    if (times[b] > entry(d, 0, b)) return false;
  return true;
}

/* ---- calls that wait ------------------------------------------------------------------------- */

struct asked {
  struct lethe_cache_wait wait;
  int code;
};

static void on_asked(struct lethe_cache_wait *w, int code) {
  lethe_container_of(w, struct asked, wait)->code = code;
}

/* Until it is over; the clock moves meanwhile. */
static int over(struct run *r, struct asked *a, int code) {
  a->code = code;
  for (int i = 0; a->code == LETHE_CACHE_WAITS; i++) {
    assert_true(i < 100000); /* else it hangs */
    lethe_loop_advance(r->loop, 1);
  }
  return a->code;
}

#define ask(r, a, call) \
  (memset(&(a), 0, sizeof(a)), (a).wait.done = on_asked, over((r), &(a), (call)))

static struct lethe_cache *cache_of(struct run *r, int table) {
  return table == 0 ? r->counts : r->refs;
}

static struct lethe_cache_key key_of(int table, int i) {
  return (struct lethe_cache_key){.number = table * TABLES + i / ENTRIES};
}

static struct lethe_cache_entry *hold(struct run *r, int table, int i) {
  struct lethe_cache *c = cache_of(r, table);
  struct lethe_cache_key key = key_of(table, i);
  struct asked a;
  while (ask(r, a, lethe_cache_hold(c, &key, &a.wait)) != LETHE_OK) {
  }
  return a.wait.held;
}

static uint32_t get(struct run *r, int table, int i) {
  uint32_t n;
  struct lethe_cache_entry *held = hold(r, table, i);
  const struct lethe_cache_value *v = lethe_cache_held_value(held);
  memcpy(&n, (const char *)v->data + i % ENTRIES * STRIDE, sizeof n);
  lethe_cache_release(cache_of(r, table), held);
  return n;
}

static void set(struct run *r, int table, int i, uint32_t n) {
  struct lethe_cache_entry *held = hold(r, table, i);
  const struct lethe_cache_value *old = lethe_cache_held_value(held);
  struct lethe_cache_value *v = lethe_cache_bytes(&r->alloc.alloc, old->data, BLOCK);
  assert_non_null(v);
  memcpy((char *)(uintptr_t)v->data + i % ENTRIES * STRIDE, &n, sizeof n);
  assert_int_equal(lethe_cache_set(cache_of(r, table), held, v), LETHE_OK);
  lethe_cache_release(cache_of(r, table), held);
}

static void order(struct run *r, int later, int earlier) {
  struct asked a;
  if (r->how == NO_ORDER) return;
  while (ask(r, a, lethe_cache_depend_on(cache_of(r, later), cache_of(r, earlier), &a.wait)) !=
         LETHE_OK) {
  }
}

/* ---- the workload ---------------------------------------------------------------------------- */

static void link_slot(struct run *r, int slot) {
  int from = (int)test_below(&r->random, SLOTS);
  for (int k = 0; k < SLOTS; k++) {
    int b = (from + k) % SLOTS;
    if (get(r, 0, b) > 0) continue;
    set(r, 0, b, 1);
    order(r, 1, 0);
    set(r, 1, slot, (uint32_t)b + 1);
    return;
  }
}

static void unlink_slot(struct run *r, int slot, uint32_t block) {
  set(r, 1, slot, 0);
  order(r, 0, 1);
  set(r, 0, (int)block, get(r, 0, (int)block) - 1);
}

/* Links in spells and unlinks in spells, so that much is dirty at once. */
static void play(struct run *r, int changes) {
  struct asked a;
  bool linking = false;
  for (int spell = 0; changes > 0; changes--, spell--) {
    if (spell <= 0) {
      spell = 1 + (int)test_below(&r->random, 24);
      linking = !linking;
    }
    int slot = (int)test_below(&r->random, SLOTS);
    uint32_t n = get(r, 1, slot);
    if (n == 0 && linking)
      link_slot(r, slot);
    else if (n > 0 && !linking)
      unlink_slot(r, slot, n - 1);
    if (test_below(&r->random, 12) == 0)
      ask(r, a, lethe_cache_flush(cache_of(r, (int)test_below(&r->random, 2)), NULL, &a.wait));
  }
}

static void make_steps(struct run *r) {
  static const enum lethe_faulty_action wrong[] = {LETHE_FAULTY_FAIL, LETHE_FAULTY_TEAR,
                                                   LETHE_FAULTY_CANCEL};
  for (uint64_t i = 0; i < STEPS; i++) {
    uint64_t dice = test_below(&r->random, 100);
    r->steps[i] = (struct lethe_faulty_step){.call = i + 1};
    if (dice < 3) r->steps[i].action = wrong[dice];
    if (dice >= 50) {
      r->steps[i].action = LETHE_FAULTY_DELAY;
      r->steps[i].seconds = (double)test_below(&r->random, 5);
    }
  }
}

static struct lethe_cache *make_cache(struct run *r) {
  int64_t limit = 1 + (int64_t)test_below(&r->random, TABLES);
  struct lethe_cache_config config = {.backend = r->bridge,
                                      .loop = r->loop,
                                      .limit = limit,
                                      .bytes = LETHE_CACHE_NO_LIMIT,
                                      .wait = 1000};
  struct lethe_cache *c = NULL;
  assert_int_equal(lethe_evict_new(&config.policy, &r->alloc.alloc, "lru", limit, 1), LETHE_OK);
  assert_int_equal(lethe_cache_new(&c, &r->alloc.alloc, &config), LETHE_OK);
  return c;
}

static void open_run(struct run *r, uint64_t seed, enum how how) {
  static const char empty[BLOCK];
  memset(r, 0, sizeof *r);
  r->random.state = seed;
  r->how = how;
  test_alloc_init(&r->alloc);
  r->loop = make_loop(LETHE_CLOCK_VIRTUAL, NULL);
  make_steps(r);
  const struct lethe_alloc *a = &r->alloc.alloc;
  assert_int_equal(lethe_memory_new(&r->memory, a), LETHE_OK);
  for (int k = 0; k < BLOCKS; k++)
    assert_int_equal(do_flush(r->memory, r->loop, number_key(k), empty, BLOCK), LETHE_OK);
  assert_int_equal(lethe_faulty_new(&r->faulty, a, r->memory, r->steps, STEPS), LETHE_OK);
  assert_int_equal(lethe_backend_for_cache(&r->bridge, r->faulty), LETHE_OK);
  if (how == NO_BARRIERS) r->bridge->barrier = NULL;
  r->counts = make_cache(r);
  r->refs = make_cache(r);
}

/* Everything was written in the end, whatever failed. */
static void close_run(struct run *r) {
  struct disk d;
  struct asked a;
  while (ask(r, a, lethe_cache_shutdown(r->refs, &a.wait)) != LETHE_OK) {
  }
  while (ask(r, a, lethe_cache_shutdown(r->counts, &a.wait)) != LETHE_OK) {
  }
  lethe_cache_put_ref(r->refs);
  lethe_cache_put_ref(r->counts);
  lethe_cache_backend_put(r->bridge);
  for (int k = 0; k < BLOCKS; k++) {
    size_t size = 0;
    struct lethe_backend_key key = number_key(k);
    memcpy(d.block[k], lethe_memory_peek(r->memory, &key, &size), BLOCK);
  }
  assert_true(is_sound(&d));
}

static void free_run(struct run *r) {
  lethe_backend_put(r->faulty);
  lethe_backend_put(r->memory);
  end_loop(r->loop);
  assert_int_equal(r->alloc.blocks, 0);
  assert_int_equal(r->alloc.bytes, 0);
}

/* ---- what a crash may leave ------------------------------------------------------------------ */

struct write {
  const struct lethe_faulty_record *record;
  size_t size;      /* what of it may have been written */
  uint64_t durable; /* from this moment on; UINT64_MAX: never for sure */
};

struct choice {
  const struct write *write;
  int sector;
};

static uint64_t durable_from(const struct lethe_faulty_record *log, size_t n,
                             const struct lethe_faulty_record *w) {
  uint64_t first = UINT64_MAX;
  if (w->ended == 0 || w->rc != LETHE_OK) return first;
  for (size_t i = 0; i < n; i++)
    if (log[i].kind == LETHE_BACKEND_BARRIER && log[i].rc == LETHE_OK && log[i].ended &&
        log[i].begun > w->ended && log[i].ended < first)
      first = log[i].ended;
  return first;
}

static size_t writes_of(struct run *r, struct write *out) {
  size_t n, count = 0;
  const struct lethe_faulty_record *log = lethe_faulty_log(r->faulty, &n);
  for (size_t i = 0; i < n; i++) {
    if (log[i].kind != LETHE_BACKEND_FLUSH || log[i].action == LETHE_FAULTY_FAIL) continue;
    size_t size = log[i].action == LETHE_FAULTY_TEAR ? BLOCK / 2 : BLOCK;
    out[count++] = (struct write){&log[i], size, durable_from(log, n, &log[i])};
  }
  return count;
}

static void apply(struct disk *d, const struct choice *c) {
  size_t at = (size_t)c->sector * SECTOR;
  memcpy(d->block[c->write->record->key.number] + at, (const char *)c->write->record->data + at,
         SECTOR);
}

/* What is durable at a moment, and what may or may not be there: sectors that change something. */
static size_t situation(const struct write *writes, size_t n, uint64_t at, struct disk *d,
                        struct choice *out) {
  uint64_t since[BLOCKS] = {0};
  size_t count = 0;
  memset(d, 0, sizeof *d);
  for (size_t i = 0; i < n; i++) {
    const struct lethe_faulty_record *w = writes[i].record;
    if (w->begun > at || writes[i].durable > at) continue;
    memcpy(d->block[w->key.number], w->data, BLOCK);
    since[w->key.number] = w->begun;
  }
  struct disk all = *d;
  for (size_t i = 0; i < n; i++) {
    const struct lethe_faulty_record *w = writes[i].record;
    if (w->begun > at || writes[i].durable <= at) continue;
    if (w->ended && w->ended < since[w->key.number]) continue; /* overwritten for good */
    for (int s = 0; (size_t)s * SECTOR < writes[i].size; s++) {
      struct choice c = {&writes[i], s};
      char *have = all.block[w->key.number] + s * SECTOR, *base = d->block[w->key.number];
      bool same = memcmp(have, (const char *)w->data + s * SECTOR, SECTOR) == 0 &&
                  memcmp(base + s * SECTOR, (const char *)w->data + s * SECTOR, SECTOR) == 0;
      if (same) continue;
      apply(&all, &c);
      out[count++] = c;
    }
  }
  return count;
}

static void look(struct run *r, const struct disk *base, const struct choice *choices, size_t n,
                 const uint64_t *mask) {
  struct disk d = *base;
  for (size_t i = 0; i < n; i++)
    if (mask[i / 64] >> i % 64 & 1) apply(&d, &choices[i]);
  r->states++;
  if (!is_sound(&d)) r->broken++;
}

static void look_at_all(struct run *r, const struct disk *base, const struct choice *choices,
                        size_t n) {
  enum { WORDS = 64 };
  uint64_t mask[WORDS] = {0};
  assert_true(n <= WORDS * 64);
  if (n > r->most) r->most = n;
  for (uint64_t k = 0; k < (n <= EXHAUSTIVE ? UINT64_C(1) << n : DRAWN); k++) {
    for (size_t i = 0; i * 64 < n; i++)
      mask[i] = n <= EXHAUSTIVE ? k : k == 0 ? 0 : k == 1 ? UINT64_MAX : test_next(&r->random);
    look(r, base, choices, n, mask);
  }
}

static void look_at_every_moment(struct run *r) {
  static struct write writes[STEPS];
  static struct choice choices[2 * STEPS];
  struct disk base;
  size_t n = writes_of(r, writes);
  for (size_t i = 0; i < n && r->broken == 0; i++) {
    size_t count = situation(writes, n, writes[i].record->begun, &base, choices);
    r->moments++;
    look_at_all(r, &base, choices, count);
  }
}

/* ---- tests ----------------------------------------------------------------------------------- */

static double work(double amount) {
  const char *text = getenv("LETHE_WORK");
  return fmax(1, amount * (text ? strtod(text, NULL) : 1));
}

static struct run run;

static void one_run(uint64_t seed, enum how how, int changes) {
  open_run(&run, seed, how);
  play(&run, changes);
  close_run(&run);
  look_at_every_moment(&run);
  free_run(&run);
}

static void no_reference_is_durable_without_its_count(void **state) {
  struct test_random r = test_seed("crash states");
  uint64_t states = 0, moments = 0, most = 0;
  (void)state;
  int runs = (int)work(40);
  for (int i = 0; i < runs; i++) {
    uint64_t seed = test_next(&r);
    one_run(seed, SOUND, 80);
    if (run.broken) fail_msg("a broken disk: run %d of SEED, %" PRIu64, i, seed);
    states += run.states;
    moments += run.moments;
    if (run.most > most) most = run.most;
  }
  printf("%" PRIu64 " states at %" PRIu64 " moments, at most %" PRIu64 " sectors in doubt\n",
         states, moments, most);
  assert_true(states >= (uint64_t)runs * 2500); /* 100,000 of 40 */
}

static void without_barriers_some_disks_are_broken(void **state) {
  struct test_random r = test_seed("without barriers");
  (void)state;
  for (int i = 0; i < 8; i++) {
    one_run(test_next(&r), NO_BARRIERS, 80);
    assert_true(run.broken > 0);
  }
}

static void without_order_some_disks_are_broken(void **state) {
  struct test_random r = test_seed("without order");
  (void)state;
  for (int i = 0; i < 8; i++) {
    one_run(test_next(&r), NO_ORDER, 80);
    assert_true(run.broken > 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(no_reference_is_durable_without_its_count),
      cmocka_unit_test(without_barriers_some_disks_are_broken),
      cmocka_unit_test(without_order_some_disks_are_broken),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
