/* SPDX-License-Identifier: MIT
 * Every built-in policy under random calls; see harness/evict.h. */
#include "harness/unit.h"

#include "harness/evict.h"

static void run(const char *name, bool exact, int calls) {
  begin();
  assert_int_equal(
      lethe_evict_new_with(&m.e, &m.alloc.alloc, lethe_evict_find(name, true), NULL, LIMIT, 7),
      LETHE_OK);
  m.e->exact = exact;
  for (int i = 0; i < calls; i++) step();
  finish();
}

static void books_add_up_whatever_is_called(void **state) {
  (void)state;
  int calls = calls_to_make();
  m.random = test_seed("evict");
  for (int i = 0; lethe_evict_names[i]; i++) {
    run(lethe_evict_names[i], true, calls);
    run(lethe_evict_names[i], false, calls);
  }
  run("belady", false, calls);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(books_add_up_whatever_is_called)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
