/* SPDX-License-Identifier: MIT
 * "did you mean": which of the known words a mistyped one stands nearest to. */
#include <string.h>

#include "harness/unit.h"

#include "lethe/nearest.h"

static const char *const words[] = {"size", "policies", "lru", "max", "low_water", NULL};

static const char *near(const char *word) { return lethe_nearest(word, words); }

static void a_letter_may_be_wrong_missing_or_too_many(void **state) {
  (void)state;
  assert_string_equal(near("sise"), "size");
  assert_string_equal(near("sze"), "size");
  assert_string_equal(near("sizes"), "size");
}

static void neighbours_that_change_places_are_one_slip(void **state) {
  (void)state;
  assert_string_equal(near("lur"), "lru");
  assert_string_equal(near("low_watre"), "low_water");
}

static void what_is_far_from_all_has_no_nearest(void **state) {
  (void)state;
  assert_null(near("xyz"));
  assert_null(near("q"));
  assert_null(near("lowest_watermark"));
  assert_null(near(""));
}

static void a_beginning_will_do_unless_another_is_near(void **state) {
  static const char *const both[] = {"maximum_of_all", "mix", NULL};
  (void)state;
  assert_string_equal(near("pol"), "policies");
  assert_string_equal(lethe_nearest("max", both), "mix");
}

static void no_word_is_too_long(void **state) {
  char text[200] = "";
  const char *const one[] = {text, NULL};
  (void)state;
  memset(text, 'a', sizeof text - 1);
  assert_null(near(text));
  assert_null(lethe_nearest("b", one));
  text[63] = '\0';
  assert_string_equal(lethe_nearest(text, one), text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_letter_may_be_wrong_missing_or_too_many),
      cmocka_unit_test(neighbours_that_change_places_are_one_slip),
      cmocka_unit_test(what_is_far_from_all_has_no_nearest),
      cmocka_unit_test(a_beginning_will_do_unless_another_is_near),
      cmocka_unit_test(no_word_is_too_long),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
