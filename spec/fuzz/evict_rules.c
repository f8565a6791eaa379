/* SPDX-License-Identifier: MIT
 * libFuzzer: any text compiles as a rule of each place or is refused with a reason that names a
 * column inside it; what compiles comes to the same decision twice; all memory is given back. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/cache/policy/rules_internal.h"
#include "../c/harness/alloc.h"
#include "harness/require.h"

static void check_reason(const char *why, const char *place, size_t length) {
  size_t column = 0, n = strlen(place);
  REQUIRE(strncmp(why, place, n) == 0);
  if (length > 4096)
    REQUIRE(strstr(why, "too long"));
  else
    REQUIRE(sscanf(why + n, "column %zu: ", &column) == 1 && column >= 1 && column <= length + 1);
}

static void check_decides(const struct rule *rule) {
  static const double sets[][RULE_FIELDS] = {{0},
                                             {3, 10, 2, 4096, 1, 0.5, 100, 200, 7, 1},
                                             {NAN, INFINITY, -1, 1e300, -0.0, 2, 0, 1, 1, 0}};
  for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
    const char *why = NULL, *again = NULL;
    const struct rule_step *step = rules_decide(rule, sets[i], &why);
    REQUIRE(rules_decide(rule, sets[i], &again) == step && why == again);
    REQUIRE(step ? step->kind != RULE_TEST : why != NULL);
  }
}

static void check_place(char *text, int place) {
  static const char *const places[] = {"insert: ", "on_hit.small: ", "on_evict.small: "};
  struct lethe_evict_queues spec = {
      .count = 2,
      .queue = {{.name = "small", .share = 0.1, .ghost = 1}, {"main", 0.9, 0, NULL, NULL}}};
  struct test_alloc t;
  struct rules *rules = NULL;
  char why[160] = "";
  spec.insert = place == 0 ? text : "small";
  if (place == 1) spec.queue[0].on_hit = text;
  if (place == 2) spec.queue[0].on_evict = text;
  test_alloc_init(&t);
  int rc = rules_compile(&rules, &t.alloc, &spec, why, sizeof why);
  REQUIRE(rc == LETHE_OK || rc == LETHE_EPOLICY);
  if (rc)
    check_reason(why, places[place], strlen(text));
  else
    check_decides(place == 0   ? &rules->insert
                  : place == 1 ? &rules->on_hit[0]
                               : &rules->on_evict[0]);
  rules_delete(rules);
  REQUIRE(t.blocks == 0 && t.bytes == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char *text = malloc(size + 1); /* of exactly this size, for the address sanitizer */
  if (!text) return 0;
  memcpy(text, data, size);
  text[size] = '\0';
  for (int place = 0; place < 3; place++) check_place(text, place);
  free(text);
  return 0;
}
