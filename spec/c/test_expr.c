/* SPDX-License-Identifier: MIT
 * Expressions: what they are worth, what is refused and how, limits, memory. */
#include <locale.h>
#include <math.h>
#include <string.h>

#include "harness/unit.h"

#include "harness/alloc.h"
#include "lethe/expr.h"

static const char *const fields[] = {"used", "age", "priority", "peak", "log", NULL};
static const double values[] = {1000, 2.5, 4, -3, 7};

static struct lethe_expr *compiled(const char *text) {
  struct lethe_expr *e = NULL;
  char why[200] = "";
  if (lethe_expr_compile(&e, &lethe_alloc_libc, text, fields, why, sizeof why) != LETHE_OK)
    fail_msg("%s: %s", text, why);
  return e;
}

static enum lethe_expr_kind run(const char *text, double *result, const char **why) {
  struct lethe_expr *e = compiled(text);
  enum lethe_expr_kind kind = lethe_expr_run(e, values, result, why);
  lethe_expr_delete(e);
  return kind;
}

static bool same(double a, double b) { return isnan(a) ? isnan(b) : !memcmp(&a, &b, sizeof a); }

struct worth {
  const char *text;
  double n;
};

static void expect_numbers(const struct worth *w, size_t n) {
  for (; n--; w++) {
    double result = 0;
    const char *why = "";
    enum lethe_expr_kind kind = run(w->text, &result, &why);
    if (kind != LETHE_EXPR_NUMBER || !same(result, w->n))
      fail_msg("%s: kind %d (%s), %.17g and not %.17g", w->text, kind, why, result, w->n);
  }
}
#define EXPECT_NUMBERS(list) expect_numbers(list, sizeof list / sizeof *list)

/* ---- worth ----------------------------------------------------------------------------------- */

static void arithmetic_is_that_of_luas_floats(void **state) {
  (void)state;
  static const struct worth list[] = {{"used * age / (1 + priority)", 500},
                                      {"1 + 2 * 3", 7},
                                      {"2 - 3 - 4", -5},
                                      {"2 ^ 3 ^ 2", 512},
                                      {"-2 ^ 2", -4},
                                      {"2 ^ -1", 0.5},
                                      {"2 ^ -2 ^ 2", 0.0625},
                                      {"- - 3", 3},
                                      {"7 // 2", 3},
                                      {"-7 // 2", -4},
                                      {"7 % 3", 1},
                                      {"-7 % 3", 2},
                                      {"7 % -3", -2},
                                      {"-7 % -3", -1},
                                      {"5 % (1/0)", 5},
                                      {"-5 % (1/0)", INFINITY},
                                      {"5 % -(1/0)", -INFINITY},
                                      {"1 // 0", INFINITY},
                                      {"1 % 0", NAN},
                                      {"0 / 0", NAN},
                                      {"-6 / 4 * 2", -3},
                                      {"2 * 3 % 4", 2},
                                      {"5.5 // 1.5", 3},
                                      {"-0.0", -0.0},
                                      {"9 ^ 0.5", 3},
                                      {"c.used-c . age", 997.5}};
  EXPECT_NUMBERS(list);
}

static void functions_are_those_of_luas_math(void **state) {
  (void)state;
  static const struct worth list[] = {{"min(3)", 3},
                                      {"max(1, used, age)", 1000},
                                      {"math.min(3, 2, peak, 9)", -3},
                                      {"max(0/0, 1)", NAN},
                                      {"max(1, 0/0)", 1},
                                      {"min(0/0, 1)", NAN},
                                      {"min(0.0, -0.0)", 0},
                                      {"max(-0.0, 0.0)", -0.0},
                                      {"log(1, nil)", 0},
                                      {"log(8, 2)", 3},
                                      {"log(1000, 10)", 3},
                                      {"math.log(0, 3)", -INFINITY},
                                      {"sqrt(-1)", NAN},
                                      {"sqrt(16)", 4},
                                      {"floor(-2.5)", -3},
                                      {"1 / floor(-0.0)", INFINITY},
                                      {"floor(1e300)", 1e300},
                                      {"floor ( age )", 2}};
  EXPECT_NUMBERS(list);
}

static void a_field_may_be_called_as_a_function_is(void **state) {
  (void)state;
  static const struct worth list[] = {{"log", 7}, {"c.log", 7}, {"log(1) + log", 7}};
  EXPECT_NUMBERS(list);
}

static void and_or_give_an_operand(void **state) {
  (void)state;
  static const struct worth list[] = {{"0 and 5", 5},
                                      {"nil or 3", 3},
                                      {"false and 1 or 2", 2},
                                      {"1 or 1 + nil", 1},
                                      {"(false and 1 + nil) or 4", 4},
                                      {"1 < 2 and 10 or 20", 10},
                                      {"not nil and 6", 6},
                                      {"1 or 2 and nil", 1},
                                      {"nil and 1 or false or 8", 8},
                                      {"2 + (nil or 1) * 3", 5}};
  EXPECT_NUMBERS(list);
}

static void other_kinds_come_out_as_they_are(void **state) {
  (void)state;
  static const struct {
    const char *text;
    enum lethe_expr_kind kind;
  } list[] = {{"true", LETHE_EXPR_TRUE},          {"nil", LETHE_EXPR_NIL},
              {"not 0", LETHE_EXPR_FALSE},        {"not nil", LETHE_EXPR_TRUE},
              {"1 == true", LETHE_EXPR_FALSE},    {"1 ~= true", LETHE_EXPR_TRUE},
              {"nil == false", LETHE_EXPR_FALSE}, {"true == true", LETHE_EXPR_TRUE},
              {"nil == nil", LETHE_EXPR_TRUE},    {"0/0 == 0/0", LETHE_EXPR_FALSE},
              {"0/0 ~= 0/0", LETHE_EXPR_TRUE},    {"0 == -0.0", LETHE_EXPR_TRUE},
              {"not 1 == 2", LETHE_EXPR_FALSE},   {"1 < 2 == true", LETHE_EXPR_TRUE},
              {"1 <= 0/0", LETHE_EXPR_FALSE},     {"used >= 1000", LETHE_EXPR_TRUE},
              {"used > 1000", LETHE_EXPR_FALSE},  {"1 and nil", LETHE_EXPR_NIL},
              {"false or nil", LETHE_EXPR_NIL},   {"nil and false", LETHE_EXPR_NIL},
              {"min(nil)", LETHE_EXPR_NIL},       {"max(true)", LETHE_EXPR_TRUE}};
  for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
    double result = 42;
    const char *why = "untouched";
    assert_int_equal(run(list[i].text, &result, &why), list[i].kind);
    assert_true(result == 42);
    assert_string_equal(why, "untouched");
  }
}

static void what_wants_numbers_says_what_it_got(void **state) {
  (void)state;
  static const char *const list[][2] = {{"1 + true", "arithmetic on a boolean"},
                                        {"nil * false", "arithmetic on nil"},
                                        {"-nil", "arithmetic on nil"},
                                        {"true ^ 0", "arithmetic on a boolean"},
                                        {"1 // nil", "arithmetic on nil"},
                                        {"1 < nil", "comparison of a number with nil"},
                                        {"true < false", "comparison of two booleans"},
                                        {"nil >= 2", "comparison of nil with a number"},
                                        {"1 < 2 < 3", "comparison of a boolean with a number"},
                                        {"min(nil, 1)", "min of nil"},
                                        {"max(1, 2, true)", "max of a boolean"},
                                        {"log(true, 2)", "log of a boolean"},
                                        {"log(nil, 2)", "log of nil"},
                                        {"sqrt(1 < 2)", "sqrt of a boolean"},
                                        {"floor(nil)", "floor of nil"},
                                        {"(used > 1 and nil) + 1", "arithmetic on nil"}};
  for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
    double result = 42;
    const char *why = NULL;
    assert_int_equal(run(list[i][0], &result, &why), LETHE_EXPR_ERROR);
    assert_string_equal(why, list[i][1]);
    assert_true(result == 42);
  }
}

static void numerals_are_luas_in_any_locale(void **state) {
  (void)state;
  static const struct worth list[] = {
      {"3", 3},
      {"3.", 3},
      {".5", 0.5},
      {"3.14159265358979", 3.14159265358979},
      {"0.1", 0.1},
      {"1e2", 100},
      {"1E+2", 100},
      {"25e-1", 2.5},
      {"1e999", INFINITY},
      {"1e-999", 0},
      {"0x10", 16},
      {"0XfF", 255},
      {"0x.8", 0.5},
      {"0xA.8p1", 21},
      {"0x1p-2", 0.25},
      {"0x1p4", 16},
      {"0xffffffffffffffff", -1},
      {"0x10000000000000005", 5},
      {"9223372036854775807", 9223372036854775807.0},
      {"18446744073709551616", 0x1p64},
      {"0e99999999999999999999", 0},
      {"2.2250738585072011e-308", 2.2250738585072011e-308},
      {"123456789012345678901234567890.5e-29", 1.234567890123456789012345678905}};
  EXPECT_NUMBERS(list);
  static const char *const commas[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "C.UTF-8"};
  for (size_t i = 0; i < sizeof commas / sizeof *commas; i++) {
    setlocale(LC_ALL, commas[i]);
    EXPECT_NUMBERS(list);
  }
  setlocale(LC_ALL, "C");
}

static void a_field_may_be_a_boolean(void **state) {
  (void)state;
  static const double zero[] = {0, 2.5, 4, -3, 7};
  struct lethe_expr *e = NULL;
  double result = 0;
  const char *why = NULL;
  char text[200] = "";
  assert_int_equal(lethe_expr_compile_with(&e, &lethe_alloc_libc, "used and age or -age", fields, 1,
                                           text, sizeof text),
                   LETHE_OK);
  assert_int_equal(lethe_expr_run(e, values, &result, &why), LETHE_EXPR_NUMBER);
  assert_true(result == 2.5);
  assert_int_equal(lethe_expr_run(e, zero, &result, &why), LETHE_EXPR_NUMBER);
  assert_true(result == -2.5);
  lethe_expr_delete(e);
  assert_int_equal(
      lethe_expr_compile_with(&e, &lethe_alloc_libc, "used + 1", fields, 1, text, sizeof text),
      LETHE_OK);
  assert_int_equal(lethe_expr_run(e, values, &result, &why), LETHE_EXPR_ERROR);
  assert_string_equal(why, "arithmetic on a boolean");
  lethe_expr_delete(e);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void refusals_name_the_column_and_the_word(void **state) {
  (void)state;
  static const char *const list[][2] = {
      {"1 + usd", "column 5: unknown name \"usd\" (did you mean \"used\"?)"},
      {"c.usd", "column 3: unknown name \"usd\" (did you mean \"used\"?)"},
      {"xyzzy", "column 1: unknown name \"xyzzy\""},
      {"mx(1)", "column 1: unknown function \"mx\" (did you mean \"max\"?)"},
      {"math.flor(1)", "column 6: unknown function \"flor\" (did you mean \"floor\"?)"},
      {"used(1)", "column 1: unknown function \"used\""},
      {"c.max(1)", "column 3: unknown name \"max\""},
      {"max + 1", "column 5: expected \"(\", got \"+\""},
      {"math.min", "column 9: expected \"(\", got the end"},
      {"c.1", "column 1: unknown name \"c\""},
      {"c. + 1", "column 4: expected a name, got \"+\""},
      {"", "column 1: expected a value, got the end"},
      {" \t\n", "column 4: expected a value, got the end"},
      {"1 +", "column 4: expected a value, got the end"},
      {"max()", "column 5: expected a value, got \")\""},
      {"(1 + 2", "column 7: expected \")\", got the end"},
      {"min(1, 2", "column 9: expected \")\", got the end"},
      {"sqrt(1, 2)", "column 7: too many arguments to \"sqrt\""},
      {"log(1, 2, 3)", "column 9: too many arguments to \"log\""},
      {"1 2", "column 3: unexpected \"2\""},
      {"used age", "column 6: unexpected \"age\""},
      {"1 and or 2", "column 7: expected a value, got \"or\""},
      {"1 != 2", "column 3: unexpected \"!=\" (did you mean \"~=\"?)"},
      {"used = 1", "column 6: unexpected \"=\" (did you mean \"==\"?)"},
      {"1 && 2", "column 3: unexpected \"&&\" (did you mean \"and\"?)"},
      {"!used", "column 1: unexpected \"!\" (did you mean \"not\"?)"},
      {"1 -- 2", "column 3: unexpected \"--\""},
      {"1 << 2", "column 3: unexpected \"<<\""},
      {"\"used\"", "column 1: expected a value, got \"\"\""},
      {"1 \303\227 2", "column 3: unexpected \"\303\227\""},
      {"1 \303", "column 3: unexpected byte 0xc3"},
      {"1 \001", "column 3: unexpected byte 0x01"},
      {"3x", "column 1: malformed number \"3x\""},
      {"1..2", "column 1: malformed number \"1..2\""},
      {"1 + 2e", "column 5: malformed number \"2e\""},
      {"0x", "column 1: malformed number \"0x\""},
      {"0x.p1", "column 1: malformed number \"0x.p1\""},
      {"0x1p", "column 1: malformed number \"0x1p\""},
      {"1e+", "column 1: malformed number \"1e+\""}};
  for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
    struct lethe_expr *e = NULL;
    char why[200] = "";
    int rc = lethe_expr_compile(&e, &lethe_alloc_libc, list[i][0], fields, why, sizeof why);
    assert_string_equal(why, list[i][1]);
    assert_int_equal(rc, LETHE_EPOLICY);
    assert_null(e);
  }
}

static void a_reason_is_cut_to_its_room(void **state) {
  (void)state;
  static const char whole[] = "column 5: unknown name \"usd\" (did you mean \"used\"?)";
  for (size_t n = 0; n <= sizeof whole; n++) {
    struct lethe_expr *e = NULL;
    char why[sizeof whole + 1];
    memset(why, '#', sizeof why);
    assert_int_equal(lethe_expr_compile(&e, &lethe_alloc_libc, "1 + usd", fields, why, n),
                     LETHE_EPOLICY);
    if (n) assert_memory_equal(why, whole, n - 1 < strlen(whole) ? n - 1 : strlen(whole));
    if (n && n <= sizeof whole) assert_int_equal(why[n - 1], '\0');
    assert_int_equal(why[n], '#');
  }
}

/* ---- limits ---------------------------------------------------------------------------------- */

/* `head` n times, then `middle`, then `tail` n times. */
static char *nested(const char *head, int n, const char *middle, const char *tail) {
  static char text[20000];
  char *s = text;
  for (int i = 0; i < n; i++) s = stpcpy(s, head);
  s = stpcpy(s, middle);
  for (int i = 0; i < n; i++) s = stpcpy(s, tail);
  return text;
}

static bool refused(const char *text, const char *reason) {
  struct lethe_expr *e = NULL;
  char why[200] = "";
  bool is =
      lethe_expr_compile(&e, &lethe_alloc_libc, text, fields, why, sizeof why) == LETHE_EPOLICY &&
      strstr(why, reason);
  lethe_expr_delete(e);
  return is;
}

static void nesting_is_limited(void **state) {
  (void)state;
  static const struct {
    const char *head, *tail;
    int most;
  } list[] = {{"(", ")", 199},  {"- ", "", 199},     {"not ", "", 199},    {"1^", "", 63},
              {"1+(", ")", 63}, {"max(1,", ")", 63}, {"nil or (", ")", 99}};
  for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
    int most = list[i].most;
    lethe_expr_delete(compiled(nested(list[i].head, most, "1", list[i].tail)));
    assert_true(refused(nested(list[i].head, most + 1, "1", list[i].tail), "nested too deeply"));
    assert_true(refused(nested(list[i].head, 400, "1", list[i].tail), "nested too deeply"));
  }
  double result;
  const char *why;
  assert_int_equal(run(nested("1+(", 63, "1", ")"), &result, &why), LETHE_EXPR_NUMBER);
  assert_true(result == 64);
}

static void length_is_limited(void **state) {
  (void)state;
  double result;
  const char *why;
  assert_int_equal(run(nested("1+", 2047, "1 ", ""), &result, &why), LETHE_EXPR_NUMBER);
  assert_true(result == 2048);
  assert_true(refused(nested(" ", 4096, "1", ""), "an expression of 4097 bytes is too long"));
  lethe_expr_delete(compiled(nested("1", 200, "", "")));
  assert_true(refused(nested("1", 201, "", ""), "a number of 201 digits is too long"));
  assert_true(refused(nested("u", 300, "", ""), "uuuuu...\""));
}

static void without_memory_nothing_is_left(void **state) {
  (void)state;
  static const char *const texts[] = {"1", "max(1, used) / (1 + age) or nil", "1 + usd"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    int rc = LETHE_ENOMEM;
    for (uint64_t n = 1; rc == LETHE_ENOMEM; n++) {
      struct test_alloc t;
      struct lethe_expr *e = NULL;
      char why[200];
      test_alloc_init(&t);
      test_alloc_fail(&t, n);
      rc = lethe_expr_compile(&e, &t.alloc, texts[i], fields, why, sizeof why);
      assert_true(rc == LETHE_ENOMEM || n > 1);
      assert_true((rc == LETHE_OK) == (e != NULL));
      assert_int_equal(t.blocks, e ? 1 : 0);
      lethe_expr_delete(e);
      assert_int_equal(t.bytes, 0);
    }
  }
  lethe_expr_delete(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(arithmetic_is_that_of_luas_floats),
      cmocka_unit_test(functions_are_those_of_luas_math),
      cmocka_unit_test(a_field_may_be_called_as_a_function_is),
      cmocka_unit_test(a_field_may_be_a_boolean),
      cmocka_unit_test(and_or_give_an_operand),
      cmocka_unit_test(other_kinds_come_out_as_they_are),
      cmocka_unit_test(what_wants_numbers_says_what_it_got),
      cmocka_unit_test(numerals_are_luas_in_any_locale),
      cmocka_unit_test(refusals_name_the_column_and_the_word),
      cmocka_unit_test(a_reason_is_cut_to_its_room),
      cmocka_unit_test(nesting_is_limited),
      cmocka_unit_test(length_is_limited),
      cmocka_unit_test(without_memory_nothing_is_left),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
