/* SPDX-License-Identifier: MIT
 * Rules of declared queues: how they are read, what is refused and where, what they decide. */
#include <stdio.h>
#include <string.h>

#include "harness/unit.h"

#include "../../runtime/cache/policy/rules_internal.h"
#include "harness/alloc.h"

enum { SMALL, MAIN };

static struct lethe_evict_queues spec_of(const char *insert, const char *on_hit,
                                         const char *on_evict) {
  return (struct lethe_evict_queues){
      .count = 2,
      .queue =
          {{.name = "small", .share = 0.1, .ghost = 0.9, .on_hit = on_hit, .on_evict = on_evict},
           {.name = "main", .share = 0.9}},
      .insert = insert};
}

static struct rules *compiled(const char *insert, const char *on_hit, const char *on_evict) {
  struct lethe_evict_queues spec = spec_of(insert, on_hit, on_evict);
  struct rules *r = NULL;
  char why[200] = "";
  if (rules_compile(&r, &lethe_alloc_libc, &spec, why, sizeof why) != LETHE_OK) fail_msg("%s", why);
  return r;
}

/* ---- decisions ------------------------------------------------------------------------------- */

static double fields[RULE_FIELDS];

static const struct rule_step *decision(const struct rule *rule) {
  const char *why = NULL;
  const struct rule_step *step = rules_decide(rule, fields, &why);
  if (!step) fail_msg("%s", why);
  return step;
}

/* What the rule of small's on_evict does with an entry that was hit so often. */
static struct rule_step evicted(const char *text, double freq) {
  struct rules *r = compiled("small", NULL, text);
  fields[LETHE_EVICT_FREQ] = freq;
  struct rule_step step = *decision(&r->on_evict[SMALL]);
  rules_delete(r);
  return step;
}

static void the_first_choice_that_holds_decides(void **state) {
  (void)state;
  static const char text[] =
      "freq >= 2 and move(main, freq = 0) or freq == 1 and reinsert or drop(ghost)";
  assert_int_equal(evicted(text, 5).kind, RULE_MOVE);
  assert_int_equal(evicted(text, 5).queue, MAIN);
  assert_int_equal(evicted(text, 1).kind, RULE_REINSERT);
  assert_int_equal(evicted(text, 0).kind, RULE_DROP);
  assert_true(evicted(text, 0).ghost);
}

static void conditions_follow_each_other(void **state) {
  (void)state;
  static const char text[] = "freq > 1 and freq < 4 and not (freq == 2 or freq == 9) and reinsert";
  assert_int_equal(evicted(text, 3).kind, RULE_REINSERT);
  assert_int_equal(evicted(text, 2).kind, RULE_NONE);
  assert_int_equal(evicted(text, 1).kind, RULE_NONE);
  assert_int_equal(evicted(text, 4).kind, RULE_NONE);
}

static void rules_nest_in_parentheses(void **state) {
  (void)state;
  static const char text[] =
      "freq > 1 and (freq > 5 and move(main) or freq > 3 and (reinsert)) or (drop(ghost))";
  assert_int_equal(evicted(text, 6).kind, RULE_MOVE);
  assert_int_equal(evicted(text, 4).kind, RULE_REINSERT);
  assert_int_equal(evicted(text, 2).kind, RULE_DROP); /* what fails inside goes on outside */
  assert_int_equal(evicted(text, 0).kind, RULE_DROP);
}

static void a_number_holds_as_in_lua(void **state) {
  (void)state;
  assert_int_equal(evicted("freq and reinsert or drop", 0).kind, RULE_REINSERT);
  assert_int_equal(evicted("(freq > 9 or nil) and reinsert or drop", 0).kind, RULE_DROP);
}

static void bare_actions_and_empty_parentheses_are_alike(void **state) {
  (void)state;
  assert_int_equal(evicted("drop", 0).kind, RULE_DROP);
  assert_false(evicted("drop()", 0).ghost);
  assert_int_equal(evicted("reinsert()", 0).kind, RULE_REINSERT);
  assert_int_equal(evicted("move(small)", 0).queue, SMALL);
}

static void insert_chooses_a_queue_and_sees_ghosts(void **state) {
  (void)state;
  struct rules *r = compiled("ghost and main or size < 100 and small", NULL, NULL);
  fields[LETHE_EVICT_SIZE] = 50;
  fields[LETHE_EVICT_GHOST] = 1;
  assert_int_equal(decision(&r->insert)->queue, MAIN);
  fields[LETHE_EVICT_GHOST] = 0;
  assert_int_equal(decision(&r->insert)->queue, SMALL);
  fields[LETHE_EVICT_SIZE] = 100;
  assert_int_equal(decision(&r->insert)->kind, RULE_NONE);
  rules_delete(r);
}

static void a_new_freq_is_an_expression(void **state) {
  (void)state;
  struct rules *r =
      compiled("small", NULL, "freq >= 1 and reinsert(freq = min(freq, 3) - 1) or drop");
  const char *why = NULL;
  double freq = 0;
  fields[LETHE_EVICT_FREQ] = 7;
  const struct rule_step *step = decision(&r->on_evict[SMALL]);
  assert_int_equal(lethe_expr_run(step->expr, fields, &freq, &why), LETHE_EXPR_NUMBER);
  assert_true(freq == 2);
  rules_delete(r);
}

static void a_condition_that_makes_no_sense_says_so(void **state) {
  (void)state;
  struct rules *r = compiled("small", NULL, "freq + nil > 2 and reinsert or drop");
  const char *why = NULL;
  assert_null(rules_decide(&r->on_evict[SMALL], fields, &why));
  assert_string_equal(why, "arithmetic on nil");
  rules_delete(r);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static const char *refusal(struct lethe_evict_queues spec) {
  static char why[200];
  struct rules *r = NULL;
  strcpy(why, "");
  if (rules_compile(&r, &lethe_alloc_libc, &spec, why, sizeof why) == LETHE_OK)
    fail_msg("it was not refused");
  assert_null(r);
  return why;
}

static void refusals_name_the_place_and_the_column(void **state) {
  (void)state;
  static const char *const inserts[][2] = {
      {"", "insert: column 1: expected a queue, got the end"},
      {"smal", "insert: column 1: unknown queue \"smal\" (did you mean \"small\"?)"},
      {"freq >= 2",
       "insert: column 10: expected \"and\" and a queue behind the condition, got the end"},
      {"freq and", "insert: column 9: expected a queue, got the end"},
      {"(small", "insert: column 7: expected \")\", got the end"},
      {"small)", "insert: column 6: expected \"or\" or the end, got \")\""},
      {"small and main", "insert: column 7: expected \"or\" or the end, got \"and\""},
      {"freq >= and small", "insert: column 9: expected a value, got the end"},
      {"freq + gost and small", "insert: column 8: unknown name \"gost\" (did you mean \"cost\"?)"},
      {"main or", "insert: column 8: expected a queue, got the end"},
      {"size < 9 and\n smal or main",
       "insert: column 15: unknown queue \"smal\" (did you mean \"small\"?)"},
      {"drop", "insert: column 1: unknown queue \"drop\""},
  };
  static const char *const evicts[][2] = {
      {"drp", "on_evict.small: column 1: unknown action \"drp\" (did you mean \"drop\"?)"},
      {"drop(ghosts)", "on_evict.small: column 6: expected \"ghost\", got \"ghosts\""},
      {"main",
       "on_evict.small: column 1: a queue alone is no action (did you mean \"move(main)\"?)"},
      {"move", "on_evict.small: column 5: expected \"(\", got the end"},
      {"move(mian)", "on_evict.small: column 6: unknown queue \"mian\" (did you mean \"main\"?)"},
      {"move(main,)", "on_evict.small: column 11: expected \"freq = ...\", got \")\""},
      {"move(main, frq = 2)", "on_evict.small: column 12: expected \"freq = ...\", got \"frq\""},
      {"move(main, freq = )", "on_evict.small: column 19: expected a value, got the end"},
      {"reinsert(freq = bogus)", "on_evict.small: column 17: unknown name \"bogus\""},
      {"reinsert(2)", "on_evict.small: column 10: expected \"freq = ...\", got \"2\""},
      {"ghost and drop",
       "on_evict.small: column 1: unknown name \"ghost\" (did you mean \"cost\"?)"},
      {"freq > 1 and mov(main) or drop",
       "on_evict.small: column 14: unknown action \"mov\" (did you mean \"move\"?)"},
      {"\x01", "on_evict.small: column 2: expected \"and\" and an action behind the condition, got "
               "the end"},
  };
  for (size_t i = 0; i < sizeof inserts / sizeof *inserts; i++)
    assert_string_equal(refusal(spec_of(inserts[i][0], NULL, NULL)), inserts[i][1]);
  for (size_t i = 0; i < sizeof evicts / sizeof *evicts; i++)
    assert_string_equal(refusal(spec_of("small", NULL, evicts[i][0])), evicts[i][1]);
  assert_string_equal(refusal(spec_of("small", "dorp", NULL)),
                      "on_hit.small: column 1: unknown action \"dorp\" (did you mean \"drop\"?)");
}

static void ghosts_are_those_of_queues_that_have_one(void **state) {
  (void)state;
  struct lethe_evict_queues spec = spec_of("small", NULL, "drop(ghost)");
  spec.queue[SMALL].ghost = 0;
  assert_string_equal(refusal(spec), "on_evict.small: column 6: queue \"small\" has no ghost");
}

static void queues_are_checked(void **state) {
  (void)state;
  struct lethe_evict_queues spec = spec_of("small", NULL, NULL);
  spec.queue[MAIN].name = "freq";
  assert_string_equal(refusal(spec), "\"freq\" cannot name a queue: it means something in rules");
  spec.queue[MAIN].name = "2nd";
  assert_string_equal(refusal(spec), "\"2nd\" cannot name a queue");
  spec.queue[MAIN].name = "main";
  spec.queue[MAIN].share = 0.95;
  assert_string_equal(refusal(spec), "the shares of the queues make 1.05, more than 1");
  spec.queue[MAIN].share = 0;
  assert_string_equal(refusal(spec), "the share of queue \"main\" must be above 0 and at most 1");
  spec.queue[MAIN].share = 0.9;
  spec.queue[MAIN].ghost = -1;
  assert_string_equal(refusal(spec), "the share of ghost \"main\" must be above 0 and at most 16");
  spec = spec_of(NULL, NULL, NULL);
  assert_string_equal(refusal(spec), "insert must say to which of the queues an entry goes");
  spec.count = 0;
  assert_string_equal(refusal(spec), "1 to 16 queues expected, got 0");
}

static void length_and_nesting_are_limited(void **state) {
  (void)state;
  char text[5000];
  memset(text, ' ', sizeof text);
  strcpy(text + 4093, "drop");
  assert_string_equal(refusal(spec_of("small", NULL, text)),
                      "on_evict.small: a rule of 4097 bytes is too long (at most 4096)");
  memset(text, '(', 200);
  strcpy(text + 200, "drop");
  assert_string_equal(refusal(spec_of("small", NULL, text)),
                      "on_evict.small: column 101: nested too deeply");
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void without_memory_nothing_is_left(void **state) {
  (void)state;
  static const char *const evicts[] = {
      "freq >= 2 and move(main, freq = 0) or freq == 1 and (reinsert) or drop(ghost)",
      "freq >= 2 and move(main, freq = 0) or freq == 1 and (reinsert) or drp"};
  for (size_t i = 0; i < sizeof evicts / sizeof *evicts; i++) {
    struct lethe_evict_queues spec = spec_of("ghost and main or small", "reinsert", evicts[i]);
    int rc = LETHE_ENOMEM;
    for (uint64_t n = 1; rc == LETHE_ENOMEM; n++) {
      struct test_alloc t;
      struct rules *r = NULL;
      char why[200];
      test_alloc_init(&t);
      test_alloc_fail(&t, n);
      rc = rules_compile(&r, &t.alloc, &spec, why, sizeof why);
      assert_true(rc == LETHE_ENOMEM || n > 5);
      assert_true((rc == LETHE_OK) == (r != NULL));
      rules_delete(r);
      assert_int_equal(t.bytes, 0);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_first_choice_that_holds_decides),
      cmocka_unit_test(conditions_follow_each_other),
      cmocka_unit_test(rules_nest_in_parentheses),
      cmocka_unit_test(a_number_holds_as_in_lua),
      cmocka_unit_test(bare_actions_and_empty_parentheses_are_alike),
      cmocka_unit_test(insert_chooses_a_queue_and_sees_ghosts),
      cmocka_unit_test(a_new_freq_is_an_expression),
      cmocka_unit_test(a_condition_that_makes_no_sense_says_so),
      cmocka_unit_test(refusals_name_the_place_and_the_column),
      cmocka_unit_test(ghosts_are_those_of_queues_that_have_one),
      cmocka_unit_test(queues_are_checked),
      cmocka_unit_test(length_and_nesting_are_limited),
      cmocka_unit_test(without_memory_nothing_is_left),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
