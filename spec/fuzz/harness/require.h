/* SPDX-License-Identifier: MIT
 * Fuzzers whose property is written in C: what must hold of an input, or libFuzzer keeps the input.
 *
 *   int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
 *     REQUIRE(holds_of(data, size));
 *     return 0;
 *   } */
#ifndef LETHE_SPEC_FUZZ_REQUIRE_H
#define LETHE_SPEC_FUZZ_REQUIRE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define REQUIRE(c)                                            \
  do {                                                        \
    if (!(c)) {                                               \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #c); \
      abort();                                                \
    }                                                         \
  } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
