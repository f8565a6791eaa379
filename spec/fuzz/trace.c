/* SPDX-License-Identifier: MIT
 * libFuzzer: the input is a file, its first byte the format that it is said to have. Any file opens
 * or is refused with a reason that names an offset inside it; what opens gives as many requests as
 * it says, comes back from what it saves, and replays to the same end; the allocator is given back
 * all that it gave. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../c/harness/alloc.h"
#include "harness/require.h"
#include "lethe/trace.h"

static int files[2] = {-1, -1}; /* what is opened, and what is saved */

static const char *path_of(int which) {
  static char paths[2][32];
  if (files[which] < 0) {
    files[which] = memfd_create("trace", 0);
    REQUIRE(files[which] >= 0);
    snprintf(paths[which], sizeof paths[which], "/proc/self/fd/%d", files[which]);
  }
  return paths[which];
}

static void put_file(const uint8_t *data, size_t size) {
  const char *path = path_of(0);
  REQUIRE(path && ftruncate(files[0], 0) == 0);
  REQUIRE(pwrite(files[0], data, size, 0) == (ssize_t)size);
}

static void check_reason(const char *why, size_t size) {
  const char *byte = strstr(why, "byte ");
  unsigned long long offset = 0;
  REQUIRE(byte && sscanf(byte, "byte %llu: ", &offset) == 1 && offset <= size);
}

static uint64_t walk(const struct lethe_trace *t, struct lethe_replay *r) {
  static struct lethe_request buffer[LETHE_TRACE_BATCH];
  const struct lethe_request *requests;
  uint64_t at = 0, count = 0;
  size_t n;
  do {
    REQUIRE(lethe_trace_read(t, &at, buffer, &requests, &n) == LETHE_OK);
    for (size_t i = 0; i < n; i++) REQUIRE(requests[i].size > 0 && requests[i].cost >= 0);
    REQUIRE(lethe_replay_run(r, requests, n) == LETHE_OK);
    count += n;
  } while (n > 0);
  REQUIRE(count == lethe_trace_info(t)->len);
  return r->misses;
}

static uint64_t replay(const struct lethe_trace *t, const struct lethe_alloc *a) {
  struct lethe_evict *e;
  struct lethe_replay *r;
  REQUIRE(lethe_evict_new(&e, a, "lru", 5, 1) == LETHE_OK);
  REQUIRE(lethe_replay_new(&r, e, true) == LETHE_OK);
  uint64_t misses = walk(t, r);
  lethe_replay_delete(r);
  return misses;
}

static void check_trace(struct lethe_trace *t, const struct lethe_alloc *a) {
  const struct lethe_trace_info *info = lethe_trace_info(t);
  uint64_t misses = replay(t, a);
  REQUIRE(misses <= info->len && info->objects <= info->len);
  REQUIRE(misses >= info->objects || info->len == 0);
  int rc = lethe_trace_save(t, path_of(1));
  REQUIRE(rc == LETHE_OK || rc == LETHE_ELIMIT);
  if (rc == LETHE_OK) {
    struct lethe_trace *saved = NULL;
    struct lethe_trace_options o = {.format = LETHE_TRACE_RECORDED};
    char why[300];
    REQUIRE(lethe_trace_open(&saved, a, path_of(1), &o, why, sizeof why) == LETHE_OK);
    REQUIRE(lethe_trace_info(saved)->len == info->len);
    REQUIRE(lethe_trace_info(saved)->footprint == info->footprint);
    REQUIRE(replay(saved, a) == misses);
    lethe_trace_put(saved);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct test_alloc memory;
  struct lethe_trace *t = NULL;
  char why[300] = "";
  if (size == 0) return 0;
  struct lethe_trace_options o = {.format = (enum lethe_trace_format)(data[0] % 6)};
  if (data[0] & 64)
    o = (struct lethe_trace_options){
        .columns = true, .column = {{.number = 1}, {.name = "id"}, {.number = 3}, {.number = 4}}};
  put_file(data + 1, size - 1);
  test_alloc_init(&memory);
  int rc = lethe_trace_open(&t, &memory.alloc, path_of(0), &o, why, sizeof why);
  REQUIRE(rc == LETHE_OK || rc == LETHE_EFORMAT);
  if (rc == LETHE_OK)
    check_trace(t, &memory.alloc);
  else
    check_reason(why, size);
  lethe_trace_put(t);
  REQUIRE(memory.blocks == 0);
  return 0;
}
