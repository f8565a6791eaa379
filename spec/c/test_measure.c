/* SPDX-License-Identifier: MIT
 * What benches are measured with: medians, the figures' file, rounds that do not count. */
#include "harness/unit.h"

#include "../bench/harness/pair.h"

static void a_median_knows_its_spread(void **state) {
  (void)state;
  const double odd[] = {5, 1, 3}, even[] = {4, 1, 3, 2};
  assert_true(median(odd, 3) == 3);
  assert_true(bench_last.low == 1 && bench_last.high == 5 && bench_last.n == 3);
  assert_true(median(even, 4) == 2.5);
  assert_true(odd[0] == 5 && even[0] == 4);
  const double a[] = {2, 9, 4}, b[] = {1, 3, 4};
  assert_true(median_ratio(a, b, 3) == 2);
  assert_true(bench_last.low == 1 && bench_last.high == 3);
}

static void a_round_that_is_not_calm_is_counted(void **state) {
  (void)state;
  setenv("LETHE_WORK", "1", 1);
  bench_thrown_away = 0;
  assert_true(pair_is_calm(1, 1.09));
  assert_true(pair_is_calm(1.09, 1));
  assert_int_equal(bench_thrown_away, 0);
  assert_false(pair_is_calm(1, 1.2));
  assert_false(pair_is_calm(1.2, 1));
  assert_int_equal(bench_thrown_away, 2);
  setenv("LETHE_WORK", "0.01", 1);
  assert_true(pair_is_calm(1, 1.2)); /* a short run measures nothing */
  assert_int_equal(bench_thrown_away, 2);
  unsetenv("LETHE_WORK");
}

/* Until there are enough, but not for ever on a machine that never is calm. */
static void rounds_go_on_until_enough_count(void **state) {
  (void)state;
  bench_thrown_away = 0;
  assert_true(pair_goes_on(0, 3));
  assert_true(pair_goes_on(2, 3));
  assert_false(pair_goes_on(3, 3));
  bench_thrown_away = 13;
  assert_true(pair_goes_on(1, 3));
  bench_thrown_away = 14;
  assert_false(pair_goes_on(1, 3));
  bench_thrown_away = 15;
  assert_false(pair_goes_on(0, 3));
}

static void figures_go_to_their_file(void **state) {
  (void)state;
  char path[] = "/tmp/lethe_figures_XXXXXX", line[300];
  const double values[] = {3, 1, 2};
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  setenv("LETHE_FIGURES", path, 1);
  setenv("LETHE_BENCH", "some.c", 1);
  bench_section = "claims";
  bench_thrown_away = 4;
  bench_figure("  two", median(values, 3), "<=", 2.5);
  bench_section = "";
  bench_figure("seven", 7, "-", 0);
  bench_thrown_away = 15;
  bench_figure("never calm", median(values, 0), ">=", 1.5);
  unsetenv("LETHE_FIGURES");
  bench_figure("nowhere", 8, "-", 0);
  FILE *file = fdopen(fd, "r");
  assert_non_null(fgets(line, sizeof line, file));
  assert_string_equal(line, "some.c\tclaims: two\t2\t1\t3\t3\t<=\t2.5\t4\n");
  assert_non_null(fgets(line, sizeof line, file));
  assert_string_equal(line, "some.c\tseven\t7\t7\t7\t1\t-\t0\t0\n");
  assert_non_null(fgets(line, sizeof line, file));
  assert_string_equal(line, "some.c\tnever calm\t0\t0\t0\t0\t>=\t1.5\t15\n");
  assert_null(fgets(line, sizeof line, file));
  fclose(file);
  remove(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_median_knows_its_spread),
      cmocka_unit_test(a_round_that_is_not_calm_is_counted),
      cmocka_unit_test(rounds_go_on_until_enough_count),
      cmocka_unit_test(figures_go_to_their_file),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
