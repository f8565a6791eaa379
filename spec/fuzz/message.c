/* SPDX-License-Identifier: MIT
 * libFuzzer: what a message is made of comes out of it as it went in; see message.lua. */
#include "harness/lua.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  return fuzz_lua("spec/fuzz/message.lua", data, size);
}
