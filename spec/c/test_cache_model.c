/* SPDX-License-Identifier: MIT
 * The cache against a naive reference: an array in order of use, on a backend that answers at once.
 * After each of many random calls both hold the same values, have asked the backend the same, in
 * the same order, and say the same. SEED= repeats a run; LETHE_WORK multiplies its length. */
#include "cache_world.h"

#include "harness/random.h"

enum { OPERATIONS = 200000, NAMES = 24, HELD = 4 };

/* An entry of the reference; the first in the array was used last. */
struct m_entry {
  int64_t key, value;
  bool dirty, refused; /* refused: it was in the way when a victim was looked for */
  int hits;            /* since then */
  uint64_t since;      /* when it became dirty */
  int holds;
};

static struct {
  struct world w;
  struct test_random r;
  struct lethe_cache *c;
  struct m_entry e[NAMES];
  int n, limit;
  int64_t stored[KEYS], next;
  uint64_t clock;
  char log[4096];
  struct lethe_cache_entry *held[HELD];
  int64_t held_key[HELD];
  uint64_t did[8];
} m;

static uint64_t below(uint64_t n) { return test_below(&m.r, n); }

/* ---- the reference --------------------------------------------------------------------------- */

static void say(char what, int64_t key) {
  size_t n = strlen(m.log);
  snprintf(m.log + n, sizeof m.log - n, "%s%c%lld", n ? " " : "", what, (long long)key);
}

static int find(int64_t key) {
  for (int i = 0; i < m.n; i++)
    if (m.e[i].key == key) return i;
  return -1;
}

static void move(int from, int to) {
  struct m_entry e = m.e[from];
  memmove(m.e + from, m.e + from + 1, (size_t)(m.n - from - 1) * sizeof e);
  memmove(m.e + to + 1, m.e + to, (size_t)(m.n - 1 - to) * sizeof e);
  m.e[to] = e;
}

static void use(int i) {
  if (m.e[i].refused)
    m.e[i].hits++;
  else
    move(i, 0);
}

static void write_back(int i) {
  say('f', m.e[i].key);
  m.stored[m.e[i].key] = m.e[i].value;
  m.e[i].dirty = false;
}

static void drop(int i) {
  memmove(m.e + i, m.e + i + 1, (size_t)(m.n - i - 1) * sizeof *m.e);
  m.n--;
}

/* The last that nobody holds; those behind it are passed over. */
static int victim(void) {
  int free = 0;
  for (int i = 0; i < m.n; i++) free += m.e[i].holds == 0;
  if (free == 0) return -1;
  for (int i = m.n - 1; i >= 0; i--) {
    if (m.e[i].refused) continue;
    if (m.e[i].holds == 0) return i;
    m.e[i].refused = true;
    m.e[i].hits = 0;
  }
  return -1;
}

static bool make_room(void) {
  while (m.n >= m.limit) {
    int i = victim();
    if (i < 0) return false;
    if (m.e[i].dirty) write_back(i);
    drop(i);
  }
  return true;
}

static void add(int64_t key, int64_t value, bool dirty) {
  memmove(m.e + 1, m.e, (size_t)m.n * sizeof *m.e);
  m.e[0] = (struct m_entry){.key = key, .value = value, .dirty = dirty, .since = ++m.clock};
  m.n++;
}

static int model_get(int64_t key, int64_t *value) {
  int i = find(key);
  if (i < 0) {
    say('l', key);
    if (m.stored[key] == 0) return LETHE_ENOTFOUND;
    if (!make_room()) return LETHE_EALLINUSE;
    add(key, m.stored[key], false);
    i = 0;
  } else {
    use(i);
    i = find(key);
  }
  *value = m.e[i].value;
  return LETHE_OK;
}

static int model_insert(int64_t key, int64_t value) {
  int i = find(key);
  if (i < 0) {
    if (!make_room()) return LETHE_EALLINUSE;
    add(key, value, true);
    return LETHE_OK;
  }
  if (m.e[i].holds > 0) return LETHE_EINUSE;
  if (m.e[i].dirty) write_back(i);
  use(i);
  i = find(key);
  m.e[i].value = value;
  m.e[i].dirty = true;
  m.e[i].since = ++m.clock;
  return LETHE_OK;
}

/* In the order in which they became dirty. */
static void model_flush(void) {
  for (;;) {
    int first = -1;
    for (int i = 0; i < m.n; i++)
      if (m.e[i].dirty && (first < 0 || m.e[i].since < m.e[first].since)) first = i;
    if (first < 0) return;
    write_back(first);
  }
}

static void trim(void) {
  while (m.n > m.limit) {
    int i = victim();
    if (i < 0) return;
    if (m.e[i].dirty) write_back(i);
    drop(i);
  }
}

static void model_release(int64_t key) {
  int i = find(key);
  if (--m.e[i].holds > 0) return;
  if (m.e[i].refused) { /* it is the next victim, unless it was used meanwhile */
    bool used = m.e[i].hits > 0;
    m.e[i].refused = false;
    move(i, used ? 0 : m.n - 1);
  }
  trim();
}

/* ---- both ------------------------------------------------------------------------------------ */

static void compare(void) {
  struct lethe_cache_stats s = stats_of(m.c);
  uint64_t dirty = 0, in_use = 0;
  for (int i = 0; i < m.n; i++) {
    dirty += m.e[i].dirty;
    in_use += m.e[i].holds > 0;
  }
  assert_string_equal(m.w.disk.log, m.log);
  assert_int_equal(s.entries, m.n);
  assert_int_equal(s.dirty, dirty);
  assert_int_equal(s.in_use, in_use);
  for (int64_t k = 0; k < NAMES; k++) {
    int i = find(k);
    assert_int_equal(do_peek(m.c, k), i < 0 ? 0 : m.e[i].value);
    assert_int_equal(m.w.disk.stored[k], m.stored[k]);
  }
  m.log[0] = m.w.disk.log[0] = 0;
}

static void get(int64_t key) {
  struct asked a;
  int64_t value = 0;
  int code = model_get(key, &value);
  assert_int_equal(ask_get(m.c, key, &a), code);
  assert_int_equal(a.number, value);
}

static void hold(int64_t key) {
  struct asked a;
  int64_t value = 0;
  int at = 0;
  while (at < HELD && m.held[at]) at++;
  if (at == HELD) return;
  int code = model_get(key, &value);
  assert_int_equal(ask_hold(m.c, key, &a), code);
  if (code != LETHE_OK) return;
  m.e[find(key)].holds++;
  m.held[at] = a.w.held;
  m.held_key[at] = key;
}

static void release(void) {
  int at = (int)below(HELD);
  if (!m.held[at]) return;
  model_release(m.held_key[at]);
  lethe_cache_release(m.c, m.held[at]);
  m.held[at] = NULL;
}

static void set(void) {
  int at = (int)below(HELD);
  if (!m.held[at]) return;
  struct m_entry *e = &m.e[find(m.held_key[at])];
  if (!e->dirty) e->since = ++m.clock;
  e->dirty = true;
  e->value = ++m.next;
  lethe_cache_set(m.c, m.held[at], value_of(&m.w, e->value));
}

static void insert(int64_t key) {
  struct asked a;
  int64_t value = ++m.next;
  int code = model_insert(key, value);
  assert_int_equal(ask_insert(&m.w, m.c, key, value, &a), code);
}

static void flush(int64_t key) {
  struct asked a;
  int i = find(key);
  if (below(2)) {
    if (i >= 0 && m.e[i].dirty) write_back(i);
    assert_int_equal(ask_flush_key(m.c, key, &a), LETHE_OK);
  } else {
    model_flush();
    assert_int_equal(ask_flush(m.c, &a), LETHE_OK);
  }
}

static void forget(int64_t key) {
  int i = find(key);
  bool held = i >= 0 && m.e[i].holds > 0;
  if (i >= 0 && !held) drop(i);
  assert_int_equal(do_remove(m.c, key), held ? LETHE_EINUSE : LETHE_OK);
}

static void invalidate(void) {
  bool all = true;
  for (int i = m.n - 1; i >= 0; i--) {
    if (m.e[i].holds > 0)
      all = false;
    else
      drop(i);
  }
  assert_int_equal(lethe_cache_invalidate(m.c, NULL, NULL), all ? LETHE_OK : LETHE_EINUSE);
}

static void resize(void) {
  m.limit = 2 + (int)below(8);
  trim();
  lethe_cache_resize(m.c, m.limit, -1);
}

static void operation(void) {
  int64_t key = (int64_t)below(NAMES);
  uint64_t what = below(100);
  if (what < 40)
    get(key);
  else if (what < 52)
    hold(key);
  else if (what < 64)
    release();
  else if (what < 74)
    set();
  else if (what < 88)
    insert(key);
  else if (what < 93)
    flush(key);
  else if (what < 97)
    forget(key);
  else if (what < 98)
    invalidate();
  else
    resize();
}

static void agrees_with_the_reference(void **state) {
  const char *work = getenv("LETHE_WORK");
  double n = OPERATIONS * (work ? atof(work) : 1);
  (void)state;
  m.r = test_seed("model");
  world_open(&m.w);
  for (int k = 0; k < KEYS; k++) m.w.disk.stored[k] = k % 7 ? k + 1 : 0;
  memcpy(m.stored, m.w.disk.stored, sizeof m.stored);
  m.next = 1000;
  m.limit = 6;
  struct lethe_cache_config config = world_config(&m.w, m.limit);
  config.wait = 0;
  m.c = world_cache_with(&m.w, config);
  for (int i = 0; i < n; i++) {
    operation();
    compare();
  }
  for (int i = 0; i < HELD; i++)
    if (m.held[i]) lethe_cache_release(m.c, m.held[i]);
  lethe_cache_close(m.c);
  lethe_cache_put_ref(m.c);
  world_close(&m.w);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_the_reference)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
