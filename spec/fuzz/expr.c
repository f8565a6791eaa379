/* SPDX-License-Identifier: MIT
 * libFuzzer: any text compiles or is refused with a reason that names a column inside it; what
 * compiles runs to the same end twice; the allocator is given back all that it gave. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../c/harness/alloc.h"
#include "harness/require.h"
#include "lethe/expr.h"

static void check_reason(const char *why, size_t length) {
  size_t column = 0;
  if (length > 4096)
    REQUIRE(strstr(why, "too long"));
  else
    REQUIRE(sscanf(why, "column %zu: ", &column) == 1 && column >= 1 && column <= length + 1);
}

static void check_runs(const struct lethe_expr *e) {
  static const double sets[][3] = {{0, 0, 0}, {1, -2.5, 1e300}, {NAN, INFINITY, -0.0}};
  for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
    double first = 42, second = 42;
    const char *why = NULL, *again = NULL;
    enum lethe_expr_kind kind = lethe_expr_run(e, sets[i], &first, &why);
    REQUIRE(kind <= LETHE_EXPR_ERROR && (kind == LETHE_EXPR_ERROR) == (why != NULL));
    REQUIRE(lethe_expr_run(e, sets[i], &second, &again) == kind && why == again);
    REQUIRE(isnan(first) ? isnan(second) : first == second);
    REQUIRE(kind == LETHE_EXPR_NUMBER || first == 42);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const fields[] = {"used", "age", "max", NULL};
  struct test_alloc t;
  struct lethe_expr *e = NULL;
  char why[160] = "";
  char *text = malloc(size + 1); /* of exactly this size, for the address sanitizer */
  if (!text) return 0;
  memcpy(text, data, size);
  text[size] = '\0';
  test_alloc_init(&t);
  int rc = lethe_expr_compile(&e, &t.alloc, text, fields, why, sizeof why);
  REQUIRE(rc == LETHE_OK || rc == LETHE_EPOLICY);
  if (rc)
    check_reason(why, strlen(text));
  else
    check_runs(e);
  free(text);
  lethe_expr_delete(e);
  REQUIRE(t.blocks == 0 && t.bytes == 0);
  return 0;
}
