/* SPDX-License-Identifier: MIT
 * Slot tables against a naive reference: sets that are arrays, and a kernel that checks all that is
 * said. LETHE_WORK scales the number of operations. */
#include <string.h>

#include "harness/unit.h"

#include "harness/random.h"
#include "lethe/slots.h"

enum { NAMES = 24, NOTES = 400 };

/* One name as the reference has it. Even numbers are imports, odd ones the vat's own. */
struct name {
  bool entry, collected, dead, retired, reachable, recognizable;
  uint32_t generation, bodies, recognizers, vdata;
};

struct note {
  int name;
  uint32_t generation;
};

struct model {
  struct lethe_slots *t;
  struct name names[NAMES];
  struct note alive[NOTES]; /* bodies that no note has come for */
  int alive_n;
  int queue[NOTES];
  int queue_n;
  uint64_t violations, said;
};

static bool is_import(int i) { return i % 2 == 0; }

static struct lethe_vref vref_of(int i) {
  return (struct lethe_vref){.type = 'o', .own = !is_import(i), .id = (uint64_t)i * 7 + 1};
}

static uint32_t slot_of(struct model *m, int i) {
  struct lethe_vref v = vref_of(i);
  return lethe_slots_find(m->t, &v);
}

/* ---- what happens, to both ------------------------------------------------------------------- */

static void enter(struct model *m, int i) {
  struct name *n = &m->names[i];
  struct lethe_vref v = vref_of(i);
  uint32_t slot, generation;
  if (m->alive_n + m->queue_n >= NOTES || (n->entry && !n->collected)) return;
  assert_int_equal(lethe_slots_add(m->t, &v, &slot), LETHE_OK);
  assert_int_equal(lethe_slots_enter(m->t, slot, &generation), LETHE_OK);
  lethe_slots_deliver(m->t, slot);
  n->entry = n->reachable = n->recognizable = true;
  n->collected = n->dead = false;
  n->generation = generation;
  n->bodies++;
  m->alive[m->alive_n++] = (struct note){i, generation};
}

/* A body dies; the finalizer of an older one may come later than a newer one's. */
static void die(struct model *m, int k) {
  struct note note = m->alive[k];
  struct name *n = &m->names[note.name];
  bool pinned = !is_import(note.name) && (n->reachable || n->vdata > 0);
  if (pinned && note.generation == n->generation) return;
  lethe_slots_note(m->t, slot_of(m, note.name), note.generation);
  if (note.generation == n->generation) n->collected = true;
  m->alive[k] = m->alive[--m->alive_n];
  m->queue[m->queue_n++] = note.name;
}

static void callback(struct model *m, int k) {
  int i = m->queue[k];
  struct name *n = &m->names[i];
  bool acts = n->collected;
  assert_int_equal(lethe_slots_run(m->t, (uint32_t)k), acts);
  memmove(&m->queue[k], &m->queue[k + 1], (size_t)(m->queue_n - k - 1) * sizeof *m->queue);
  m->queue_n--;
  n->bodies--;
  if (!acts) return;
  n->entry = n->collected = false;
  n->dead = true;
}

static void recognize(struct model *m, int i) {
  if (!m->names[i].entry) return; /* a key is at hand */
  lethe_slots_recognize(m->t, slot_of(m, i));
  m->names[i].recognizers++;
}

static void unrecognize(struct model *m, int i) {
  struct name *n = &m->names[i];
  if (n->recognizers == 0) return;
  lethe_slots_unrecognize(m->t, slot_of(m, i));
  if (--n->recognizers == 0 && is_import(i) && n->recognizable) n->retired = true;
}

static void store(struct model *m, int i) {
  if (!m->names[i].entry || m->names[i].collected) return;
  lethe_slots_store(m->t, slot_of(m, i));
  m->names[i].vdata++;
}

static void unstore(struct model *m, int i) {
  struct name *n = &m->names[i];
  if (n->vdata == 0) return;
  lethe_slots_unstore(m->t, slot_of(m, i));
  if (--n->vdata == 0 && !n->entry) n->dead = true;
}

static void kernel(struct model *m, int i, uint64_t what) {
  struct name *n = &m->names[i];
  uint32_t slot = slot_of(m, i);
  if (!slot) return;
  bool may_retire = n->recognizable && !n->reachable;
  if (what == 0) {
    int rc = lethe_slots_drop_export(m->t, slot);
    assert_int_equal(rc, !is_import(i) && n->reachable ? LETHE_OK : LETHE_EINVAL);
    if (rc != LETHE_OK) return;
    n->reachable = false;
    if (!n->entry && n->vdata == 0) n->dead = true;
  } else if (what == 1) {
    int rc = lethe_slots_retire_export(m->t, slot);
    assert_int_equal(rc, !is_import(i) && may_retire ? LETHE_OK : LETHE_EINVAL);
    if (rc == LETHE_OK) n->recognizable = false;
  } else {
    int rc = lethe_slots_retire_import(m->t, slot);
    assert_int_equal(rc, is_import(i) && may_retire ? LETHE_OK : LETHE_EINVAL);
    if (rc != LETHE_OK) return;
    n->recognizable = n->retired = false;
    while (n->recognizers > 0) unrecognize(m, i);
  }
}

/* ---- bringing out the dead ------------------------------------------------------------------- */

static bool gone(const struct name *n, bool import) {
  return !n->entry && n->vdata == 0 && (import || !n->reachable);
}

/* What must be said of a name now; the reference says it. */
static unsigned expected_of(struct name *n, bool import) {
  unsigned verdict = LETHE_VERDICT_NONE;
  if (!import) {
    if (n->dead && gone(n, false) && n->recognizable) {
      verdict = LETHE_VERDICT_RETIRE_OWN;
      n->recognizable = false;
    }
  } else if (gone(n, true)) {
    if (n->dead && n->reachable) verdict = LETHE_VERDICT_DROP;
    if ((verdict || (n->retired && !n->reachable)) && n->recognizable && n->recognizers == 0)
      verdict |= LETHE_VERDICT_RETIRE;
    if (verdict & LETHE_VERDICT_DROP) n->reachable = false;
    if (verdict & LETHE_VERDICT_RETIRE) n->recognizable = false;
  }
  n->dead = n->retired = false;
  return verdict;
}

static int number_of(const struct model *m, uint32_t slot) {
  struct lethe_vref v;
  lethe_slots_name(m->t, slot, &v);
  return (int)((v.id - 1) / 7);
}

static void bring(struct model *m) {
  unsigned expected[NAMES], got[NAMES] = {0};
  for (int i = 0; i < NAMES; i++) expected[i] = expected_of(&m->names[i], is_import(i));
  lethe_slots_judge(m->t);
  for (uint32_t slot = 0; (slot = lethe_slots_dead_own(m->t, 0));) lethe_slots_bury(m->t, slot);
  assert_int_equal(lethe_slots_gather(m->t), LETHE_OK);
  while (lethe_slots_backlog(m->t) > 0) {
    uint32_t slot;
    unsigned verdict = lethe_slots_verdict(m->t, 0, &slot);
    got[number_of(m, slot)] |= verdict;
    m->said += verdict != 0;
    lethe_slots_commit(m->t, 1);
  }
  assert_memory_equal(expected, got, sizeof got);
  lethe_slots_trim(m->t);
}

/* ---- comparing ------------------------------------------------------------------------------- */

static void compare(struct model *m) {
  uint32_t bodies = 0;
  for (int i = 0; i < NAMES; i++) {
    const struct name *n = &m->names[i];
    uint32_t slot = slot_of(m, i);
    bool known = n->entry || n->bodies || n->recognizers || n->vdata || n->recognizable || n->dead;
    bodies += n->bodies;
    if (known) assert_int_not_equal(slot, 0);
    if (!slot) continue;
    const struct lethe_slot *s = lethe_slots_at(m->t, slot);
    assert_int_equal(!!(s->bits & LETHE_SLOT_ENTRY), n->entry);
    assert_int_equal(!!(s->bits & LETHE_SLOT_COLLECTED), n->collected);
    assert_int_equal(!!(s->bits & LETHE_SLOT_REACHABLE), n->reachable);
    assert_int_equal(!!(s->bits & LETHE_SLOT_RECOGNIZABLE), n->recognizable);
    assert_int_equal(s->bodies, n->bodies);
    assert_int_equal(s->recognizers, n->recognizers);
    assert_int_equal(s->vdata, n->vdata);
    bool finalized = lethe_slots_state(m->t, slot) == LETHE_SLOT_IS_FINALIZED;
    assert_int_equal(finalized, n->dead && !n->entry);
  }
  struct lethe_slots_stats s;
  lethe_slots_read_stats(m->t, &s);
  assert_int_equal(s.bodies + s.queued, bodies);
  assert_int_equal(s.queued, m->queue_n);
}

static void step(struct model *m, struct test_random *r) {
  int i = (int)test_below(r, NAMES);
  uint64_t dice = test_below(r, 100);
  if (dice < 25) {
    enter(m, i);
  } else if (dice < 50) {
    if (m->alive_n) die(m, (int)test_below(r, (uint64_t)m->alive_n));
  } else if (dice < 65) {
    if (m->queue_n) callback(m, (int)test_below(r, (uint64_t)m->queue_n));
  } else if (dice < 72) {
    recognize(m, i);
  } else if (dice < 80) {
    unrecognize(m, i);
  } else if (dice < 84) {
    store(m, i);
  } else if (dice < 89) {
    unstore(m, i);
  } else if (dice < 97) {
    kernel(m, i, test_below(r, 3));
  } else {
    bring(m);
  }
}

static void random_operations_give_what_the_reference_gives(void **state) {
  (void)state;
  const char *work = getenv("LETHE_WORK");
  uint64_t steps = (uint64_t)(3000000 * (work ? strtod(work, NULL) : 1));
  struct test_random random = test_seed("slots model");
  for (uint64_t round = 0; round * 3000 < steps; round++) {
    struct model m = {.alive_n = 0};
    assert_int_equal(lethe_slots_new(&m.t, &lethe_alloc_libc), LETHE_OK);
    for (int i = 0; i < 3000; i++) {
      step(&m, &random);
      if (i % 16 == 0) compare(&m);
    }
    bring(&m);
    bring(&m); /* says what the first left: nothing, as `expected` had it */
    compare(&m);
    assert_true(m.said > 0);
    lethe_slots_delete(m.t);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_operations_give_what_the_reference_gives),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
