/* SPDX-License-Identifier: MIT
 * The quota tracker against a naive reference: random operations on accounts, participants,
 * handles, claims and passes. The reference knows no caches and no index: it adds bytes up anew
 * wherever it needs a sum, and says what every call answers and what every pass takes. SEED=
 * repeats a run; LETHE_WORK multiplies its length. */
#include "quota_world.h"

#include "harness/random.h"

enum { ACCOUNTS = 60, PARTS = 90, HANDLES = 4, PARENTS = 4, OPERATIONS = 100000 };

struct m_account {
  bool alive;
  uint64_t id;
  int handles;
  int64_t max, reserve;
  int parents[PARENTS]; /* the latest first */
  int n;
};

struct m_part {
  bool record, live; /* its handles are open; it may claim */
  int account;
  uint64_t account_id;
  int64_t claimed, condemned;
  struct part part;
  struct lethe_quota_handle h[HANDLES]; /* the first is unused: part.h */
  bool open[HANDLES];
};

static struct {
  struct world w;
  struct test_random r;
  int64_t max, low;
  struct m_account a[ACCOUNTS];
  struct m_part p[PARTS];
  int64_t refused; /* bytes of the claim that was refused in this operation */
  struct by_hand hand;
  uint64_t count[12], passes, victims;
} m;

static uint64_t below(uint64_t n) { return test_below(&m.r, n); }
static bool one_in(uint64_t n) { return below(n) == 0; }

/* ---- the reference: sums --------------------------------------------------------------------- */

static int64_t used_of(int a) {
  int64_t sum = 0;
  for (int i = 0; i < PARTS; i++)
    if (m.p[i].live && m.p[i].account == a) sum += m.p[i].claimed;
  return sum;
}

static int64_t used_of_all(void) {
  int64_t sum = 0;
  for (int i = 0; i < PARTS; i++)
    if (m.p[i].live) sum += m.p[i].claimed;
  return sum;
}

static int64_t condemned_of_all(void) {
  int64_t sum = 0;
  for (int i = 0; i < PARTS; i++) sum += m.p[i].condemned;
  return sum;
}

static bool is_above(int a, int of) {
  if (a == of) return true;
  for (int k = 0; k < m.a[of].n; k++)
    if (is_above(a, m.a[of].parents[k])) return true;
  return false;
}

/* Of an account and all below it, each once. */
static int64_t used_of_tree(int a) {
  int64_t sum = 0;
  for (int i = 0; i < ACCOUNTS; i++)
    if (m.a[i].alive && is_above(a, i)) sum += used_of(i);
  return sum;
}

/* Above and including a, nearest first, as the core walks. */
static int walk_up(int a, int *out) {
  int n = 0;
  out[n++] = a;
  for (int i = 0; i < n; i++)
    for (int k = 0; k < m.a[out[i]].n; k++) {
      int parent = m.a[out[i]].parents[k];
      bool seen = false;
      for (int j = 0; j < n; j++) seen = seen || out[j] == parent;
      if (!seen) out[n++] = parent;
    }
  return n;
}

static int blocker(int a, int64_t n) {
  int up[ACCOUNTS], count = walk_up(a, up);
  for (int i = 0; i < count; i++)
    if (used_of_tree(up[i]) > m.a[up[i]].max - n) return up[i];
  return -1;
}

/* ---- the reference: ends --------------------------------------------------------------------- */

static void end_part(int i) {
  m.p[i].live = false;
  m.p[i].claimed = 0;
}

static void condemn_part(int i) {
  m.p[i].condemned = m.p[i].claimed;
  end_part(i);
}

static void end_account(int a) {
  for (int i = 0; i < PARTS; i++)
    if (m.p[i].live && m.p[i].account == a) end_part(i);
  m.a[a].alive = false;
  m.a[a].n = 0;
  for (int c = 0; c < ACCOUNTS; c++) {
    int kept = 0;
    for (int k = 0; k < m.a[c].n; k++)
      if (m.a[c].parents[k] != a) m.a[c].parents[kept++] = m.a[c].parents[k];
    m.a[c].n = kept;
  }
}

/* ---- the reference: passes ------------------------------------------------------------------- */

struct pass {
  enum lethe_quota_reason reason;
  int scope; /* -1: all */
  int64_t goal, freed;
  bool out[ACCOUNTS]; /* asked, and not to be asked again */
};

static int find_account(uint64_t id) {
  for (int i = 0; i < ACCOUNTS; i++)
    if (m.a[i].alive && m.a[i].id == id) return i;
  return -1;
}

static int64_t needs(const struct pass *p) {
  if (p->reason == LETHE_QUOTA_BY_HAND)
    return p->goal > 0 ? p->goal - p->freed : used_of_all() - m.low;
  if (p->reason == LETHE_QUOTA_BY_MAX) return used_of_all() - m.low;
  return m.a[p->scope].alive ? used_of_tree(p->scope) + p->goal - m.a[p->scope].max : 0;
}

static int handles_of(const struct m_part *p) {
  int n = 0;
  for (int k = 0; k < HANDLES; k++) n += p->open[k];
  return n;
}

/* The oldest of an account's participants; INFINITY: it is no candidate. */
static double oldest_of(int a) {
  double oldest = INFINITY;
  if (m.a[a].reserve > 0 && used_of(a) <= m.a[a].reserve) return INFINITY;
  for (int i = 0; i < PARTS; i++) {
    const struct m_part *p = &m.p[i];
    if (!p->live || p->account != a) continue;
    if (p->part.says == 1)
      oldest = fmin(oldest, p->part.age);
    else if (p->claimed > handles_of(p) * (int64_t)LETHE_QUOTA_CACHE)
      oldest = -INFINITY;
  }
  return oldest;
}

static int choose(const struct pass *p) {
  int best = -1;
  for (int a = 0; a < ACCOUNTS; a++) {
    if (!m.a[a].alive || p->out[a] || (p->scope >= 0 && !is_above(p->scope, a))) continue;
    double age = oldest_of(a), other = best < 0 ? INFINITY : oldest_of(best);
    if (age < other || (age == other && age < INFINITY && m.a[a].id < m.a[best].id)) best = a;
  }
  return best;
}

/* What one account of a victim's family does. False: it has nobody to ask. */
static bool ask_account(int a, bool *collapsed, bool *stays) {
  bool asked = false;
  for (int i = 0; i < PARTS; i++) {
    struct m_part *p = &m.p[i];
    if (!p->live || p->account != a) continue;
    asked = true;
    p->claimed -= p->part.gives < p->claimed ? p->part.gives : p->claimed;
    if (p->part.manner == STAYS)
      *stays = true;
    else
      *collapsed = true;
  }
  return asked;
}

/* The bytes that a victim and all below it give. */
static int64_t take_victim(int victim) {
  bool family[ACCOUNTS], asked[ACCOUNTS], collapsed[ACCOUNTS] = {0}, stays[ACCOUNTS] = {0};
  int64_t freed = 0;
  for (int a = 0; a < ACCOUNTS; a++) {
    bool spared = a != victim && m.a[a].reserve > 0 && used_of(a) <= m.a[a].reserve;
    family[a] = m.a[a].alive && is_above(victim, a) && !spared;
  }
  for (int a = 0; a < ACCOUNTS; a++) {
    if (!family[a]) continue;
    int64_t before = used_of(a);
    asked[a] = ask_account(a, &collapsed[a], &stays[a]);
    for (int i = 0; i < PARTS; i++)
      if (m.p[i].live && m.p[i].account == a && m.p[i].part.manner != STAYS) condemn_part(i);
    freed += before - used_of(a);
  }
  for (int a = 0; a < ACCOUNTS; a++) {
    if (!family[a]) continue;
    const int of = asked[a] ? a : victim;
    if (collapsed[of] && !stays[of]) end_account(a);
  }
  return freed;
}

/* Those that turn out to be gone when they are asked for their ages. */
static void lose(struct pass *p) {
  for (int i = 0; i < PARTS; i++)
    if (m.p[i].live && m.p[i].part.says == -1 &&
        (p->scope < 0 || is_above(p->scope, m.p[i].account))) {
      p->freed += m.p[i].claimed;
      end_part(i);
    }
}

/* Follows one pass through its events, from its start on; the event after its stop. */
static size_t follow(size_t at) {
  const struct lethe_quota_event *e = m.w.events;
  struct pass p = {.reason = e[at].reason, .scope = -1};
  size_t stop = at;
  int64_t by_victims = 0;
  while (e[stop].type != LETHE_QUOTA_RECLAIM_STOP) {
    if (e[stop].type == LETHE_QUOTA_VICTIM || e[stop].type == LETHE_QUOTA_PARTICIPANT_LOST)
      by_victims += e[stop].bytes;
    assert_true(++stop < m.w.n);
  }
  p.freed = e[stop].bytes - by_victims; /* unspent caches */
  p.goal = p.reason == LETHE_QUOTA_BY_HAND ? m.hand.manual.goal : m.refused;
  if (p.reason == LETHE_QUOTA_BY_ACCOUNT) p.scope = find_account(e[at].account);
  m.passes++;
  if (needs(&p) > 0) lose(&p);
  for (size_t i = at + 1; i < stop; i++) {
    if (e[i].type != LETHE_QUOTA_VICTIM) continue;
    assert_true(needs(&p) > 0);
    int victim = choose(&p);
    assert_true(victim >= 0);
    assert_int_equal(e[i].account, m.a[victim].id);
    int64_t freed = take_victim(victim);
    assert_int_equal(e[i].bytes, freed);
    p.freed += freed;
    if (freed == 0) p.out[victim] = true;
    m.victims++;
  }
  if (e[stop].outcome == LETHE_QUOTA_IS_STUCK)
    assert_true(needs(&p) > 0 && choose(&p) < 0);
  else
    assert_true(needs(&p) <= 0);
  if (p.reason == LETHE_QUOTA_BY_HAND) assert_int_equal(m.hand.freed, p.freed);
  return stop + 1;
}

static void follow_all(void) {
  world_turn(&m.w);
  assert_true(m.w.n < EVENTS);
  for (size_t at = 0; at < m.w.n;)
    at = m.w.events[at].type == LETHE_QUOTA_RECLAIM_START ? follow(at) : at + 1;
  m.w.n = 0;
}

/* ---- comparing ------------------------------------------------------------------------------- */

static int64_t cached(const struct m_part *p) {
  int64_t sum = 0;
  for (int k = 0; k < HANDLES; k++)
    if (p->open[k]) sum += k ? p->h[k].cache : p->part.h.cache;
  return sum;
}

static struct lethe_quota_handle *handle(int i, int k) { return k ? &m.p[i].h[k] : &m.p[i].part.h; }

static int any_handle(int i) {
  int k = (int)below(HANDLES);
  while (!m.p[i].open[k]) k = (k + 1) % HANDLES;
  return k;
}

static int expected(const struct m_part *p) {
  int a = find_account(p->account_id);
  return a < 0 ? LETHE_EACCOUNT : p->live ? LETHE_OK : LETHE_EPARTICIPANT;
}

static void compare_all(void) {
  int64_t caches = 0;
  for (int i = 0; i < PARTS; i++) {
    if (!m.p[i].record) continue;
    int k = any_handle(i);
    assert_int_equal(lethe_quota_handle_state(handle(i, k)), expected(&m.p[i]));
    assert_int_equal(lethe_quota_handle_used(handle(i, k)), m.p[i].claimed);
    if (m.p[i].live) caches += cached(&m.p[i]);
  }
  assert_int_equal(used(&m.w), used_of_all() + caches);
  assert_int_equal(stats(&m.w).condemned, condemned_of_all());
  for (int a = 0; a < ACCOUNTS; a++) {
    if (!m.a[a].handles) continue;
    assert_int_equal(lives(&m.w, m.a[a].id), m.a[a].alive);
    if (!m.a[a].alive) continue;
    struct lethe_quota_account_info i = info(&m.w, m.a[a].id);
    assert_true(i.used + i.children_used >= used_of_tree(a));
    assert_true(i.used + i.children_used <= m.a[a].max);
  }
  world_check(&m.w);
}

/* ---- operations ------------------------------------------------------------------------------ */

static int any_account(void) { return (int)below(ACCOUNTS); }

static void new_account(int a) {
  struct lethe_quota_account_config c = {.max = LETHE_QUOTA_NO_LIMIT};
  int parent = one_in(2) ? any_account() : -1;
  if (m.a[a].handles) return;
  if (parent >= 0 && !m.a[parent].id) parent = -1;
  if (one_in(3)) c.max = (int64_t)below(4 * MIB) + 1;
  if (one_in(4)) c.reserve = (int64_t)below(MIB);
  if (one_in(2)) c.name = "named";
  uint64_t id = 0;
  int rc = lethe_quota_account_new(m.w.t, &c, parent >= 0 ? m.a[parent].id : 0, &id);
  if (parent >= 0 && !m.a[parent].alive) {
    assert_int_equal(rc, LETHE_EACCOUNT);
    return;
  }
  assert_int_equal(rc, LETHE_OK);
  m.a[a] =
      (struct m_account){.alive = true, .id = id, .handles = 1, .max = c.max, .reserve = c.reserve};
  if (parent >= 0) m.a[a].parents[m.a[a].n++] = parent;
}

static void close_an_account(int a) {
  if (!m.a[a].handles) return;
  lethe_quota_account_close(m.w.t, m.a[a].id);
  if (--m.a[a].handles == 0 && m.a[a].alive) end_account(a);
}

static void clone_account(int a) {
  if (!m.a[a].handles || m.a[a].handles > 2) return;
  lethe_quota_account_clone(m.w.t, m.a[a].id);
  m.a[a].handles++;
}

static int expected_link(int a, int parent) {
  if (!m.a[a].alive || !m.a[parent].alive) return LETHE_EACCOUNT;
  if (is_above(a, parent)) return LETHE_ECYCLE;
  for (int k = 0; k < m.a[a].n; k++)
    if (m.a[a].parents[k] == parent) return LETHE_EDUPLICATE;
  struct m_account *x = &m.a[a];
  for (int k = x->n++; k > 0; k--) x->parents[k] = x->parents[k - 1];
  x->parents[0] = parent;
  if (blocker(parent, 0) < 0) return LETHE_OK;
  for (int k = 0; k + 1 < x->n; k++) x->parents[k] = x->parents[k + 1];
  x->n--;
  return LETHE_ELIMIT;
}

static void add_parent(int a, int parent) {
  if (!m.a[a].id || !m.a[parent].id || m.a[a].n == PARENTS) return;
  int rc = expected_link(a, parent);
  assert_int_equal(lethe_quota_account_add_parent(m.w.t, m.a[a].id, m.a[parent].id), rc);
}

static void tell(int i) {
  struct part *p = &m.p[i].part;
  p->says = one_in(300) ? -1 : one_in(4) ? 0 : 1;
  p->age = (double)below(50);
  p->manner = one_in(2) ? STAYS : COLLAPSES;
  p->gives = one_in(2) ? 100000 + (int64_t)below(400000) : 0;
}

static void close_handle(int i) {
  struct m_part *p = &m.p[i];
  if (!p->record) return;
  int k = any_handle(i);
  if (k == 0 && handles_of(p) > 1) return; /* the one that the participant releases through */
  int64_t ended = handles_of(p) == 1 ? p->claimed : 0;
  assert_int_equal(lethe_quota_handle_close(handle(i, k)), ended);
  p->open[k] = false;
  if (handles_of(p)) return;
  p->record = p->live = false;
  p->claimed = p->condemned = 0;
}

/* Handles of the dead go sooner or later. */
static void bury(int i) {
  while (m.p[i].record && !m.p[i].live) close_handle(i);
}

static void open_part(int i) {
  int a = any_account();
  struct m_part *p = &m.p[i];
  bury(i);
  if (p->record || !m.a[a].id) return;
  *p = (struct m_part){.account = a, .account_id = m.a[a].id, .part.w = &m.w};
  int rc = lethe_quota_handle_open(&p->part.h, m.w.m, m.a[a].id, &p->part, false, &p->part.id);
  assert_int_equal(rc, m.a[a].alive ? LETHE_OK : LETHE_EACCOUNT);
  if (rc) return;
  p->record = p->live = p->open[0] = true;
  tell(i);
}

static void clone_handle(int i) {
  struct m_part *p = &m.p[i];
  int k = 1 + (int)below(HANDLES - 1);
  if (!p->record || p->open[k]) return;
  lethe_quota_handle_clone(&p->h[k], handle(i, any_handle(i)));
  p->open[k] = true;
}

static void destroy(int i) {
  if (!m.p[i].record) return;
  lethe_quota_handle_destroy(handle(i, any_handle(i)));
  m.p[i].condemned = 0;
  if (m.p[i].live) end_part(i);
}

static void claim_some(int i) {
  struct m_part *p = &m.p[i];
  if (!p->record) return;
  int64_t n = (int64_t)(one_in(8) ? below(3 * MIB) : one_in(3) ? below(40000) : below(500));
  int rc = expected(p);
  if (rc == LETHE_OK && blocker(p->account, n) >= 0) rc = LETHE_ELIMIT;
  assert_int_equal(lethe_quota_claim(handle(i, any_handle(i)), n), rc);
  if (rc == LETHE_OK) p->claimed += n;
  if (rc == LETHE_ELIMIT) m.refused = n;
}

static void release_some(int i) {
  struct m_part *p = &m.p[i];
  if (!p->record) return;
  int64_t n = (int64_t)(one_in(8) ? below(2 * MIB) : one_in(3) ? below(60000) : below(500));
  lethe_quota_release(handle(i, any_handle(i)), n);
  size_t blamed = events_of(&m.w, LETHE_QUOTA_OVER_RELEASE);
  if (p->live) {
    assert_int_equal(blamed, n > p->claimed);
    p->claimed -= n < p->claimed ? n : p->claimed;
  } else {
    p->condemned -= n < p->condemned ? n : p->condemned;
  }
}

static void reclaim(void) { by_hand_ask(&m.w, &m.hand, one_in(2) ? 0 : (int64_t)below(2 * MIB)); }

static void configure(void) {
  const char *why;
  struct lethe_quota_change c = {.set_max = true, .to.max = 8 * MIB + (int64_t)below(8 * MIB)};
  assert_int_equal(lethe_quota_configure(m.w.t, &c, &why), 0);
  m.max = c.to.max;
  m.low = stats(&m.w).low_water;
}

static void operate(void) {
  int a = any_account(), i = (int)below(PARTS);
  uint64_t what = below(100);
  m.refused = 0;
  if (what < 5)
    new_account(a);
  else if (what < 7)
    close_an_account(a);
  else if (what < 8)
    clone_account(a);
  else if (what < 12)
    add_parent(a, any_account());
  else if (what < 20)
    open_part(i);
  else if (what < 24)
    clone_handle(i);
  else if (what < 28)
    close_handle(i);
  else if (what < 29)
    destroy(i);
  else if (what < 70)
    claim_some(i);
  else if (what < 90)
    release_some(i);
  else if (what < 98)
    tell(i);
  else if (what < 99)
    reclaim();
  else if (one_in(10))
    configure();
  follow_all();
}

/* ---- the run --------------------------------------------------------------------------------- */

static void end_all(void) {
  for (int i = 0; i < PARTS; i++)
    while (m.p[i].record) close_handle(i);
  for (int a = 0; a < ACCOUNTS; a++)
    while (m.a[a].handles) close_an_account(a);
  assert_int_equal(used(&m.w), 0);
  assert_int_equal(stats(&m.w).condemned, 0);
  world_end(&m.w);
}

static void the_core_agrees_with_a_naive_reference(void **state) {
  const char *work = getenv("LETHE_WORK");
  long operations = OPERATIONS * (work && atol(work) > 0 ? atol(work) : 1);
  (void)state;
  m.r = test_seed("quota model");
  world_begin(&m.w, 12 * MIB, -1);
  m.max = 12 * MIB;
  m.low = 9 * MIB;
  for (long n = 1; n <= operations; n++) {
    operate();
    if (n % 1000 == 0) {
      compare_all();
      lethe_loop_advance(m.w.loop, 1);
      follow_all();
    }
  }
  compare_all();
  printf("%ld operations, %llu passes, %llu victims\n", operations, (unsigned long long)m.passes,
         (unsigned long long)m.victims);
  assert_true(m.passes > 50 && m.victims > 50);
  end_all();
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_core_agrees_with_a_naive_reference),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
