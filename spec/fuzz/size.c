/* SPDX-License-Identifier: MIT
 * libFuzzer: any text is a size, or raises an error that says why not; see size.lua. */
#include "harness/lua.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  return fuzz_lua("spec/fuzz/size.lua", data, size);
}
