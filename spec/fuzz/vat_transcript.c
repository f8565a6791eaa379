/* SPDX-License-Identifier: MIT
 * libFuzzer: any file is a transcript or is refused, and replays or says where not; see
 * vat_transcript.lua. */
#include "harness/lua.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  return fuzz_lua("spec/fuzz/vat_transcript.lua", data, size);
}
