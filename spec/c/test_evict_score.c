/* SPDX-License-Identifier: MIT
 * Scripted policies of all forms, without Lua: under random calls with callbacks that fail now and
 * then, against lru once they have failed for good, exchanged for others, and under want of
 * memory. */
#include <math.h>

#include "harness/unit.h"

#include "harness/evict.h"
#include "lethe/evict_hooks.h"

/* ---- policies -------------------------------------------------------------------------------- */

/* What the callbacks know. */
static struct script {
  struct lethe_evict *e;
  unsigned one_in; /* calls that fail; 0: none */
  unsigned calls, ended, strikes;
  uint64_t hand;
} u;

static bool fails(void) {
  u.calls++;
  if (!u.one_in || below(u.one_in)) return false;
  snprintf(lethe_evict_script_failing(u.e)->message, 20, "by chance");
  return true;
}

static int score(void *ud, const double *fields, double *value) {
  (void)ud;
  assert_true(fields[LETHE_EVICT_AGE] >= fields[LETHE_EVICT_SINCE]);
  *value = fields[LETHE_EVICT_L] + fields[LETHE_EVICT_FREQ];
  return fails() ? LETHE_EPOLICY : LETHE_OK;
}

static int admits(void *ud, double size, bool ghost, bool *yes) {
  (void)ud;
  *yes = ghost || size < 30;
  return fails() ? LETHE_EPOLICY : LETHE_OK;
}

static unsigned queue_of(uint64_t h) {
  unsigned q;
  assert_int_equal(lethe_evict_hooks_queue(u.e, h % 2 ? "odd" : "even", &q) == LETHE_OK, 1);
  return q;
}

static int on_insert(void *ud, uint64_t h) {
  unsigned q = 0;
  (void)ud;
  if (lethe_evict_hooks_queue(u.e, h % 2 ? "odd" : "even", &q) == LETHE_OK) {
    assert_int_equal(lethe_evict_hooks_push_front(u.e, q, h), LETHE_OK);
    assert_int_equal(lethe_evict_hooks_front(u.e, q), h);
  }
  return fails() ? LETHE_EPOLICY : LETHE_OK;
}

static int on_hit(void *ud, uint64_t h, bool *crowded) {
  (void)ud, (void)crowded;
  assert_int_equal(lethe_evict_hooks_mark(u.e, h, true), LETHE_OK);
  return fails() ? LETHE_EPOLICY : LETHE_OK;
}

static int on_remove(void *ud, uint64_t h) {
  struct lethe_evict_info info;
  (void)ud;
  assert_int_equal(lethe_evict_hooks_info(u.e, h, &info), LETHE_OK);
  return fails() ? LETHE_EPOLICY : LETHE_OK;
}

/* Every kind of answer that is wrong, now and then. */
static int on_evict(void *ud, unsigned want, uint64_t *victims, unsigned *n) {
  unsigned q = queue_of(below(2));
  (void)ud;
  *n = 0;
  lethe_evict_hooks_scan(u.e, q, &u.hand, &victims[0]);
  *n = victims[0] != 0;
  if (!*n) lethe_evict_hooks_scan(u.e, queue_of(q + 1), &u.hand, &victims[0]);
  *n = victims[0] != 0;
  if (fails()) return LETHE_EPOLICY;
  switch (u.one_in ? below(u.one_in) : 9) {
  case 0:
    victims[0] = below(1 << 20);
    *n = 1;
    break;
  case 1:
    *n = 0;
    break;
  case 2:
    *n = want + 1;
    break;
  case 3:
    victims[1] = victims[0];
    *n = want > 1 ? 2 : 1;
    break;
  default:
    break;
  }
  return LETHE_OK;
}

static void failed(void *ud) {
  (void)ud;
  u.strikes++;
}
static void end(void *ud) {
  (void)ud;
  u.ended++;
}

enum form { HEAP, SAMPLE, CELLS, CALLED, QUEUES, HOOKS, FORMS };

static const struct lethe_evict_queues queues = {
    .count = 2,
    .queue = {{"small", 0.1, 0.9, NULL, "freq >= 2 and move(main, freq = 0) or drop(ghost)"},
              {"main", 0.9, 0, "size < 3 and reinsert or size > 20 and freq > 2 and drop",
               "freq >= 1 and reinsert(freq = min(freq, 3) - 1) or drop"}},
    .insert = "ghost and main or small"};

/* A policy of a form; NULL without memory. */
static struct lethe_evict *make(enum form form, const char *text) {
  struct lethe_evict *e = NULL;
  struct lethe_evict_script script = {.failed = failed, .end = end};
  struct lethe_evict_score scored = {script, text, NULL, 0, form == CELLS};
  struct lethe_evict_queues declared = queues;
  struct lethe_evict_hooks hooked = {script, on_insert, on_hit, on_remove, on_evict, NULL};
  const struct lethe_alloc *a = &m.alloc.alloc;
  char why[200] = "";
  int rc = LETHE_OK;
  if (form == CALLED) {
    scored.text = NULL;
    scored.score = score;
  }
  if (form == SAMPLE || form == CELLS) scored.sample = 8;
  declared.script = script;
  scored.script.admit = form == HEAP ? "ghost or size < 35" : NULL;
  if (form == HOOKS || form == CALLED) hooked.script.admits = scored.script.admits = admits;
  if (form <= CALLED) rc = lethe_evict_new_score(&e, a, &scored, LIMIT, 7, why, sizeof why);
  if (form == QUEUES) rc = lethe_evict_new_queues(&e, a, &declared, LIMIT, 7, why, sizeof why);
  if (form == HOOKS) rc = lethe_evict_new_hooks(&e, a, &hooked, LIMIT, 7, why, sizeof why);
  if (rc != LETHE_OK && rc != LETHE_ENOMEM) fail_msg("%s", why);
  return e;
}

static struct lethe_evict *made(enum form form, const char *text) {
  struct lethe_evict *e = make(form, text);
  assert_non_null(e);
  u.e = e;
  return e;
}

static const char *const gdsf = "L + freq * 1e6 / (size + 1)";

/* ---- random calls ---------------------------------------------------------------------------- */

/* Another policy takes over, or gives back what it took. Names of entries stay what they are. */
static void exchange(enum form form) {
  static const char *const texts[] = {gdsf, "freq", "-age", "size > 3 and freq or nil"};
  if ((form == SAMPLE || form == CELLS) && below(3) == 0) form = form == CELLS ? SAMPLE : CELLS;
  struct lethe_evict *before = m.e, *after = make(form, texts[below(4)]);
  if (!after) return;
  lethe_evict_resize(after, before->limit);
  int rc = lethe_evict_script_inherit(after, before);
  if (rc == LETHE_OK && below(3) == 0) {
    lethe_evict_script_give_back(after, before);
    rc = LETHE_EINVAL;
  }
  m.e = u.e = rc == LETHE_OK ? after : before;
  lethe_evict_delete(rc == LETHE_OK ? before : after);
  audit();
}

static void run(enum form form, unsigned one_in, int calls) {
  begin();
  u = (struct script){.one_in = one_in};
  m.e = made(form, gdsf);
  for (int i = 0; i < calls; i++) {
    step();
    if (below(500) == 0) exchange(form);
  }
  unsigned ended = u.ended;
  finish();
  assert_int_equal(u.ended, ended + 1);
}

static void books_add_up_whatever_is_called(void **state) {
  (void)state;
  int calls = calls_to_make();
  m.random = test_seed("evict scripts");
  for (int form = 0; form < FORMS; form++) {
    run((enum form)form, 0, calls);
    run((enum form)form, 3000, calls);
    run((enum form)form, 50, calls / 4);
    run((enum form)form, 3, calls / 20);
  }
}

/* ---- after failures -------------------------------------------------------------------------- */

/* The same requests to two policies, which find the same things. Every so many the first is
 * exchanged for its like; 0: never. */
static struct lethe_evict *requests(struct lethe_evict *a, struct lethe_evict *b, int n,
                                    enum form form, int every) {
  uint64_t handles[2][KEYS] = {{0}, {0}};
  for (int i = 0; i < n; i++) {
    if (every && i % every == 0) {
      struct lethe_evict *heir = made(form, gdsf);
      assert_int_equal(lethe_evict_script_inherit(heir, a), LETHE_OK);
      lethe_evict_delete(a);
      a = heir;
    }
    struct lethe_evict_request r = {.key = below(KEYS), .size = 1, .cost = 1};
    if (below(2)) r.key = below(KEYS / 8);
    bool found[2];
    for (int k = 0; k < 2; k++) {
      struct lethe_evict *e = k ? b : a;
      uint64_t *h = &handles[k][r.key], v;
      found[k] = *h && lethe_evict_get(e, *h);
      if (found[k]) {
        lethe_evict_hit(e, *h);
        continue;
      }
      assert_true(lethe_evict_admit(e, &r));
      while (lethe_evict_full(e, &r)) {
        assert_int_not_equal(v = lethe_evict_victim(e, &r), 0);
        lethe_evict_remove(e, v, true);
      }
      assert_int_equal(lethe_evict_insert(e, &r, h), LETHE_OK);
    }
    assert_int_equal(found[0], found[1]);
  }
  return a;
}

/* Expressions and callbacks that are wrong from the start. */
static void what_fails_for_good_is_lru(void **state) {
  (void)state;
  m.random = test_seed("lru stands in");
  for (int form = 0; form < FORMS; form++) {
    struct lethe_evict *lru, *e;
    begin();
    u = (struct script){.one_in = 1};
    assert_int_equal(lethe_evict_new(&lru, &lethe_alloc_libc, "lru", LIMIT, 1), LETHE_OK);
    if (form == QUEUES) {
      struct lethe_evict_queues never = {.count = 1, .queue = {{"all", 1, 0, NULL, "reinsert"}}};
      char why[100];
      assert_int_equal(
          lethe_evict_new_queues(&e, &m.alloc.alloc, &never, LIMIT, 1, why, sizeof why), LETHE_OK);
      u.e = e;
    } else {
      e = made((enum form)form, "freq and nil");
    }
    requests(e, lru, 4000, HEAP, 0);
    assert_int_equal(lethe_evict_script_strikes(e), LETHE_EVICT_STRIKES);
    unsigned calls = u.calls;
    requests(e, lru, 100, HEAP, 0); /* nobody is called any more */
    assert_int_equal(u.calls, calls);
    lethe_evict_delete(lru);
    m.e = e;
    finish();
  }
}

static void a_strike_is_told_with_its_call_and_events(void **state) {
  struct lethe_evict_event events[LETHE_EVICT_EVENTS];
  (void)state;
  begin();
  u = (struct script){.one_in = 1};
  m.e = made(CALLED, NULL);
  struct lethe_evict_request r = {.key = 77, .size = 3, .cost = 2};
  uint64_t h;
  assert_true(lethe_evict_admit(m.e, &r)); /* which fails, and lets it in */
  assert_int_equal(lethe_evict_insert(m.e, &r, &h), LETHE_OK);
  assert_int_equal(u.strikes, 2);
  const struct lethe_evict_failure *f = lethe_evict_script_failure(m.e, 0);
  assert_string_equal(f->call, "admit");
  assert_string_equal(f->message, "by chance");
  assert_int_equal(f->nargs, 2);
  assert_true(f->args[0] == 3);
  f = lethe_evict_script_failure(m.e, 1);
  assert_string_equal(f->call, "score");
  assert_int_equal(f->at, 1);
  assert_true(f->args[LETHE_EVICT_SIZE] == 3 && f->args[LETHE_EVICT_COST] == 2);
  assert_int_equal(lethe_evict_script_events(m.e, events), 3);
  assert_int_equal(events[0].kind, LETHE_EVICT_EVENT_FAIL);
  assert_int_equal(events[1].kind, LETHE_EVICT_EVENT_INSERT);
  assert_int_equal(events[1].handle, h);
  assert_int_equal(events[1].key, 77);
  finish();
}

/* ---- heirs ----------------------------------------------------------------------------------- */

static void heirs_go_on_as_if_nothing_had_happened(void **state) {
  static const enum form forms[] = {HEAP, SAMPLE, CELLS, CALLED,
                                    QUEUES}; /* those without a hand of their own */
  (void)state;
  m.random = test_seed("heirs");
  for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
    begin();
    u = (struct script){.one_in = 0};
    struct lethe_evict *b = made(forms[i], gdsf), *a = made(forms[i], gdsf);
    a = requests(a, b, 5000, forms[i], 37);
    assert_int_equal(u.ended, 5000 / 37 + 1);
    lethe_evict_delete(a);
    m.e = b;
    finish();
  }
}

static void heirs_are_of_one_form_and_empty(void **state) {
  (void)state;
  begin();
  u = (struct script){.one_in = 0};
  struct lethe_evict *heap = made(HEAP, gdsf), *hooks = made(HOOKS, NULL), *lru;
  struct lethe_evict_request r = {.key = 1, .size = 1, .cost = 1};
  uint64_t h;
  assert_int_equal(lethe_evict_new(&lru, &m.alloc.alloc, "lru", LIMIT, 1), LETHE_OK);
  assert_int_equal(lethe_evict_script_inherit(heap, hooks), LETHE_EINVAL);
  assert_int_equal(lethe_evict_script_inherit(heap, lru), LETHE_EINVAL);
  assert_int_equal(lethe_evict_script_inherit(lru, heap), LETHE_EINVAL);
  assert_int_equal(lethe_evict_script_inherit(heap, heap), LETHE_EINVAL);
  assert_int_equal(lethe_evict_insert(heap, &r, &h), LETHE_OK);
  struct lethe_evict *other = made(HEAP, gdsf);
  assert_int_equal(lethe_evict_script_inherit(heap, other), LETHE_EINVAL);
  assert_int_equal(lethe_evict_script_inherit(other, heap), LETHE_OK);
  assert_non_null(lethe_evict_get(other, h));
  assert_null(lethe_evict_get(heap, h));
  assert_null(lethe_evict_script_of(lru));
  assert_int_equal(lethe_evict_script_strikes(lru), 0);
  lethe_evict_delete(lru);
  lethe_evict_delete(hooks);
  lethe_evict_delete(heap);
  m.e = other;
  finish();
}

/* ---- handles, queues, ghosts ----------------------------------------------------------------- */

static uint64_t come_in(uint64_t key) {
  struct lethe_evict_request r = {.key = key, .size = 1, .cost = 1};
  uint64_t h = 0;
  assert_int_equal(lethe_evict_insert(m.e, &r, &h), LETHE_OK);
  return h;
}

static void handles_that_name_nothing_are_told_apart(void **state) {
  (void)state;
  char why[100];
  begin();
  u = (struct script){.one_in = 0};
  m.e = made(HOOKS, NULL);
  uint64_t h = come_in(1), next;
  bool yes;
  lethe_evict_remove(m.e, h, false);
  uint64_t bad[] = {h, 0, 5, h + 7, UINT64_MAX};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct lethe_evict_info info;
    assert_int_equal(lethe_evict_hooks_info(m.e, bad[i], &info), LETHE_EINVAL);
    assert_int_equal(lethe_evict_hooks_mark(m.e, bad[i], true), LETHE_EINVAL);
    assert_int_equal(lethe_evict_hooks_push_front(m.e, 0, bad[i]), LETHE_EINVAL);
    assert_int_equal(lethe_evict_hooks_push_back(m.e, 0, bad[i]), LETHE_EINVAL);
    assert_int_equal(lethe_evict_hooks_remove(m.e, 0, bad[i], &yes), LETHE_EINVAL);
    assert_int_equal(lethe_evict_hooks_next(m.e, 0, bad[i], &next), LETHE_EINVAL);
    assert_int_equal(lethe_evict_hooks_prev(m.e, 0, bad[i], &next), LETHE_EINVAL);
    lethe_evict_hooks_fault(m.e, bad[i], why, sizeof why);
    assert_non_null(strstr(why, i == 0 ? "stale handle" : "none of this cache's"));
  }
  finish();
}

static void scanning_clears_marks_on_its_way_around(void **state) {
  (void)state;
  uint64_t h[4], hand = 0, victim;
  unsigned q;
  begin();
  u = (struct script){.one_in = 0};
  m.e = made(HOOKS, NULL);
  assert_int_equal(lethe_evict_hooks_queue(m.e, "q", &q), LETHE_OK);
  assert_int_equal(lethe_evict_hooks_scan(m.e, q, &hand, &victim), 0);
  assert_int_equal(victim, 0);
  for (int i = 0; i < 4; i++) {
    h[i] = come_in((uint64_t)i);
    lethe_evict_hooks_push_front(m.e, q, h[i]);
    lethe_evict_hooks_mark(m.e, h[i], i != 2);
  }
  assert_int_equal(lethe_evict_hooks_scan(m.e, q, &hand, &victim), 2);
  assert_int_equal(victim, h[2]);
  assert_int_equal(hand, h[3]);
  lethe_evict_hooks_mark(m.e, h[2], true);
  assert_int_equal(lethe_evict_hooks_scan(m.e, q, &hand, &victim), 1); /* around to the back */
  assert_int_equal(victim, h[0]);
  assert_int_equal(hand, h[1]);
  for (int i = 0; i < 4; i++) lethe_evict_hooks_mark(m.e, h[i], true);
  hand = h[3];
  assert_int_equal(lethe_evict_hooks_scan(m.e, q, &hand, &victim), 4); /* all were marked */
  assert_int_equal(victim, h[3]);
  assert_int_equal(hand, 0);
  lethe_evict_refuse(m.e, h[0]); /* out of sight, but counted */
  assert_int_equal(lethe_evict_hooks_len(m.e, q), 4);
  assert_int_equal(lethe_evict_hooks_back(m.e, q), h[1]);
  lethe_evict_offer(m.e, h[0]);
  assert_int_equal(lethe_evict_hooks_back(m.e, q), h[0]);
  finish();
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void without_memory_none_is_made(void **state) {
  (void)state;
  for (int form = 0; form < FORMS; form++) {
    struct lethe_evict *e = NULL;
    for (uint64_t n = 1; !e; n++) {
      begin();
      u = (struct script){.one_in = 0};
      test_alloc_fail(&m.alloc, n);
      e = make((enum form)form, gdsf);
      assert_true(e || n < 50);
      if (!e) assert_int_equal(m.alloc.blocks, 0);
    }
    m.e = e;
    finish();
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(books_add_up_whatever_is_called),
      cmocka_unit_test(what_fails_for_good_is_lru),
      cmocka_unit_test(a_strike_is_told_with_its_call_and_events),
      cmocka_unit_test(heirs_go_on_as_if_nothing_had_happened),
      cmocka_unit_test(heirs_are_of_one_form_and_empty),
      cmocka_unit_test(handles_that_name_nothing_are_told_apart),
      cmocka_unit_test(scanning_clears_marks_on_its_way_around),
      cmocka_unit_test(without_memory_none_is_made),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
