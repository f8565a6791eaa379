/* SPDX-License-Identifier: MIT
 * Traces: every format against what was put into it, what is wrong with a file and where, synthetic
 * ones, recorders; without memory, and with reads and writes that fail. */
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/unit.h"

#include "harness/alloc.h"
#include "harness/random.h"
#include "lethe/trace.h"

enum { RECORD = 24, MOST = 20000 };

static char path[64], other[64];
static char why[300];

static int make_paths(void **state) {
  (void)state;
  snprintf(path, sizeof path, "/tmp/lethe-trace-XXXXXX");
  snprintf(other, sizeof other, "/tmp/lethe-trace-XXXXXX");
  int a = mkstemp(path), b = mkstemp(other);
  if (a < 0 || b < 0) return -1;
  return close(a) | close(b);
}

static int drop_paths(void **state) {
  (void)state;
  return unlink(path) | unlink(other);
}

static void put_file(const char *to, const void *bytes, size_t n) {
  FILE *f = fopen(to, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  assert_int_equal(fclose(f), 0);
}

static void put_text(const char *text) { put_file(path, text, strlen(text)); }

static void store(char *p, int n, uint64_t x) {
  for (int i = 0; i < n; i++, x >>= 8) p[i] = (char)(unsigned char)x;
}

static void put_record(char *p, uint64_t time, uint64_t id, uint64_t size, int64_t next) {
  store(p, 4, time);
  store(p + 4, 8, id);
  store(p + 12, 4, size);
  store(p + 16, 8, (uint64_t)next);
}

static int try_open(struct lethe_trace **t, const char *from, struct lethe_trace_options o) {
  why[0] = '\0';
  *t = NULL;
  return lethe_trace_open(t, &lethe_alloc_libc, from, &o, why, sizeof why);
}

static struct lethe_trace *opened(const char *from, struct lethe_trace_options o) {
  struct lethe_trace *t;
  if (try_open(&t, from, o) != LETHE_OK) fail_msg("%s", why);
  return t;
}

#define ANY ((struct lethe_trace_options){0})
#define AS(f) ((struct lethe_trace_options){.format = LETHE_TRACE_##f})

/* All requests, the trace being given back. */
static size_t all_of(struct lethe_trace *t, struct lethe_request *to) {
  struct lethe_request buffer[LETHE_TRACE_BATCH];
  const struct lethe_request *requests;
  uint64_t at = 0;
  size_t n, count = 0;
  do {
    assert_int_equal(lethe_trace_read(t, &at, buffer, &requests, &n), LETHE_OK);
    assert_true(count + n <= MOST);
    if (n) memcpy(to + count, requests, n * sizeof *requests);
    count += n;
  } while (n > 0);
  assert_int_equal(count, lethe_trace_info(t)->len);
  lethe_trace_put(t);
  return count;
}

/* ---- formats against a model ----------------------------------------------------------------- */

static struct lethe_request model[MOST], found[MOST];

/* Requests with few ids and, of every seventh, no size; `next` by looking for it. */
static size_t make_model(struct test_random *r, size_t n, bool empty) {
  for (size_t i = 0; i < n; i++)
    model[i] = (struct lethe_request){
        .id = test_below(r, 50) == 0 ? 0 : test_below(r, n / 4 + 1),
        .size = empty && test_below(r, 7) == 0 ? 0 : (int64_t)test_below(r, 1 << 20) + 1,
        .time = (double)(i / 3),
        .cost = 1};
  for (size_t i = 0; i < n; i++) {
    model[i].next = -1;
    for (size_t k = i + 1; k < n && model[i].next < 0; k++)
      if (model[k].id == model[i].id) model[i].next = (int64_t)k + 1;
  }
  return n;
}

static void same(const struct lethe_request *a, const struct lethe_request *b) {
  assert_true(a->id == b->id);
  assert_int_equal(a->size, b->size);
  assert_int_equal(a->next, b->next);
  assert_true(a->time == b->time && a->cost == b->cost);
}

static void all_same(size_t n) {
  for (size_t i = 0; i < n; i++) same(&found[i], &model[i]);
}

static void write_oracle(size_t n, bool knows) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  for (size_t i = 0; i < n; i++) {
    char record[RECORD];
    put_record(record, (uint64_t)model[i].time, model[i].id, (uint64_t)model[i].size,
               knows ? model[i].next : 0);
    assert_int_equal(fwrite(record, RECORD, 1, f), 1);
  }
  assert_int_equal(fclose(f), 0);
}

/* The footprint and the objects, counted anew. */
static void check_info(const struct lethe_trace_info *info, size_t n) {
  uint64_t objects = 0, footprint = 0, bytes = 0, len = 0;
  static bool known[MOST];
  memset(known, 0, sizeof known);
  for (size_t i = 0; i < n; i++) {
    if (model[i].size == 0) continue;
    len++;
    bytes += (uint64_t)model[i].size;
    if (known[model[i].id]) continue;
    known[model[i].id] = true;
    objects++;
    footprint += (uint64_t)model[i].size;
  }
  assert_int_equal(info->len, len);
  assert_int_equal(info->skipped, n - len);
  assert_int_equal(info->objects, objects);
  assert_int_equal(info->footprint, footprint);
  assert_int_equal(info->bytes, bytes);
}

static void oracle_records_come_back(void **state) {
  (void)state;
  struct test_random r = test_seed("oracle");
  size_t n = make_model(&r, 9000, false); /* more than a buffer */
  write_oracle(n, true);
  struct lethe_trace *t = opened(path, ANY);
  assert_int_equal(lethe_trace_info(t)->format, LETHE_TRACE_ORACLE);
  check_info(lethe_trace_info(t), n);
  assert_int_equal(all_of(t, found), n);
  all_same(n);
  write_oracle(n, false); /* what comes next is found */
  assert_int_equal(all_of(opened(path, ANY), found), n);
  all_same(n);
  assert_int_equal(all_of(opened(path, AS(RECORDED)), found), n);
  all_same(n);
}

static void records_of_no_size_are_skipped(void **state) {
  (void)state;
  struct test_random r = test_seed("skipped");
  size_t n = make_model(&r, 5000, true), kept = 0;
  write_oracle(n, true);
  struct lethe_trace *t = opened(path, ANY);
  check_info(lethe_trace_info(t), n);
  size_t count = all_of(t, found);
  for (size_t i = 0; i < n; i++)
    if (model[i].size > 0) same(&found[kept++], &model[i]); /* next is the file's own */
  assert_int_equal(kept, count);
}

static void lines_of_text_come_back(void **state) {
  (void)state;
  struct test_random r = test_seed("text");
  size_t n = make_model(&r, 9000, false);
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  for (size_t i = 0; i < n; i++)
    fprintf(f, "%lld;%llu;%.1f%s", (long long)model[i].size, (unsigned long long)model[i].id,
            model[i].time, i % 2 ? "\r\n" : "\n");
  fclose(f);
  struct lethe_trace_options o = {.columns = true,
                                  .column = {{.number = 3}, {.number = 2}, {.number = 1}}};
  struct lethe_trace *t = opened(path, o);
  assert_int_equal(lethe_trace_info(t)->format, LETHE_TRACE_CSV);
  check_info(lethe_trace_info(t), n);
  assert_int_equal(all_of(t, found), n);
  all_same(n);
  f = fopen(path, "wb");
  assert_non_null(f);
  for (size_t i = 0; i < n; i++) {
    fprintf(f, "%llu\n", (unsigned long long)model[i].id);
    model[i].size = 1;
    model[i].time = (double)i;
  }
  fclose(f);
  assert_int_equal(all_of(opened(path, ANY), found), n);
  all_same(n);
}

static void scsi_commands_are_read_in_both_versions(void **state) {
  (void)state;
  struct test_random r = test_seed("vscsi");
  size_t n = make_model(&r, 4000, false);
  for (int version = 1; version <= 2; version++) {
    size_t record = version == 1 ? 32 : 40;
    char *bytes = calloc(n, record);
    assert_non_null(bytes);
    for (size_t i = 0; i < n; i++) {
      char *p = bytes + i * record;
      store(p + (version == 1 ? 14 : 2), 2, (uint64_t)version << 8);
      store(p + (version == 1 ? 4 : 8), 4, (uint64_t)model[i].size);
      store(p + 16, 8, model[i].id);
      store(p + 24, 8, (uint64_t)model[i].time * 1000000);
    }
    put_file(path, bytes, n * record);
    struct lethe_trace *t = opened(path, ANY);
    assert_int_equal(lethe_trace_info(t)->format, LETHE_TRACE_VSCSI);
    assert_int_equal(all_of(t, found), n);
    all_same(n);
    put_file(path, bytes, n * record - 5);
    assert_int_equal(try_open(&t, path, ANY), LETHE_EFORMAT);
    char says[64];
    snprintf(says, sizeof says, "byte %zu: cut off", (n - 1) * record);
    assert_non_null(strstr(why, says));
    free(bytes);
  }
}

/* A pipe is read once: its requests are kept. */
static void a_pipe_will_do(void **state) {
  (void)state;
  int ends[2];
  char from[64], records[3 * RECORD];
  assert_int_equal(pipe(ends), 0);
  put_record(records, 1, 7, 10, 3);
  put_record(records + RECORD, 2, 8, 20, -1);
  put_record(records + 2 * RECORD, 3, 7, 10, -1);
  assert_int_equal(write(ends[1], records, sizeof records), sizeof records);
  close(ends[1]);
  snprintf(from, sizeof from, "/dev/fd/%d", ends[0]);
  assert_int_equal(all_of(opened(from, ANY), found), 3);
  assert_int_equal(found[0].next, 3);
  assert_int_equal(found[2].id, 7);
  close(ends[0]);
}

/* ---- what is wrong, and where ---------------------------------------------------------------- */

static void wrong(struct lethe_trace_options o, const char *says) {
  struct lethe_trace *t;
  assert_int_equal(try_open(&t, path, o), LETHE_EFORMAT);
  if (!strstr(why, says)) fail_msg("\"%s\" does not say \"%s\"", why, says);
}

static void bad_records_are_named_by_offset(void **state) {
  (void)state;
  char records[3 * RECORD];
  struct lethe_trace *t;
  for (int i = 0; i < 3; i++) put_record(records + i * RECORD, 1, 5, 1, -1);
  put_file(path, records, sizeof records - 1);
  wrong(ANY, "byte 48: cut off: 23 bytes are left");
  wrong(AS(RECORDED), "byte 48: cut off");
  store(records + RECORD + 16, 8, 1);
  put_file(path, records, sizeof records);
  wrong(ANY, "byte 40: no oracleGeneral trace: the next access comes before this one (record 2)");
  assert_int_equal(all_of(opened(path, AS(RECORDED)), found), 3);
  store(records + RECORD + 16, 8, UINT64_MAX - 1);
  put_file(path, records, sizeof records);
  wrong(ANY, "byte 40: no oracleGeneral trace: the index of the next access is negative");
  assert_int_equal(try_open(&t, "/tmp/no/such/trace", ANY), LETHE_ENOTFOUND);
  assert_int_equal(try_open(&t, "/tmp", ANY), LETHE_EFORMAT);
  put_file(path, "", 0);
  assert_int_equal(all_of(opened(path, ANY), found), 0);
}

static void bad_lines_are_named_by_number_and_offset(void **state) {
  (void)state;
  struct lethe_trace_options by_name = {.columns = true,
                                        .column = {{0}, {.name = "key"}, {.name = "sise"}}};
  put_text("this is prose\n");
  wrong(ANY, "line 1, byte 0: an id");
  put_text("1\n2\nthree\n");
  wrong(ANY, "line 3, byte 4: an id");
  assert_int_equal(all_of(opened(path, AS(PLAIN)), found), 3);
  put_text("this, is prose\n");
  wrong(ANY, "line 1, byte 0: a time expected (got \"this\")");
  put_text("1,2,3\n1,2,-3\n");
  wrong(ANY, "line 2, byte 10: a size expected (got \"-3\")");
  put_text("1,2,3\n1,2\n");
  wrong(ANY, "line 2, byte 6: no size: column 3 of 2");
  put_text("1,2,3\n1,,3\n");
  wrong(ANY, "line 2, byte 8: an id expected");
  put_text("1,\"2\"x,3\n");
  wrong(ANY, "line 1, byte 2: a quote that does not end");
  put_text("1,\"2,3\n");
  wrong(ANY, "line 1, byte 2: a quote");
  put_text("key,size\n1,2\n");
  wrong(by_name, "no column \"sise\" (did you mean \"size\"?)");
  put_file(path, "1\n2\0\n", 5);
  wrong(AS(PLAIN), "line 2, byte 3: no text: a byte of value 0");
}

static void columns_are_found_by_name_and_number(void **state) {
  (void)state;
  put_text("when,obj_id,\"obj_size\",penalty\n0.5,x,10,2.5\n1.5,\"a \"\"b\"\", c\",20,1\n");
  assert_int_equal(all_of(opened(path, ANY), found), 2);
  assert_true(found[0].id == lethe_trace_hash("x", 1));
  assert_true(found[1].id == lethe_trace_hash("a \"b\", c", 8));
  assert_int_equal(found[1].size, 20);
  assert_true(found[0].cost == 2.5 && found[0].time == 0); /* no column is called time */
  struct lethe_trace_options o = {
      .columns = true, .column = {{.name = "when"}, {.number = 2}, {.name = "OBJ_SIZE"}}};
  assert_int_equal(all_of(opened(path, o), found), 2);
  assert_true(found[1].time == 1.5 && found[1].size == 20 && found[0].cost == 1);
}

static void ids_are_the_integers_that_they_look_like(void **state) {
  (void)state;
  assert_true(lethe_trace_id("0", 1) == 0);
  assert_true(lethe_trace_id("18446744073709551615", 20) == UINT64_MAX);
  assert_true(lethe_trace_id("-9223372036854775808", 20) == (uint64_t)INT64_MIN);
  const char *texts[] = {
      "007", "18446744073709551616", "-9223372036854775809", "+1", "-", "-0", "1e3", "0x10", " 1",
      ""};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
    assert_true(lethe_trace_id(texts[i], strlen(texts[i])) ==
                lethe_trace_hash(texts[i], strlen(texts[i])));
  assert_true(lethe_trace_hash("abc", 3) == UINT64_C(0x78af5f94892f3950));
}

static void a_file_that_shrinks_is_a_failure(void **state) {
  (void)state;
  struct lethe_request buffer[LETHE_TRACE_BATCH];
  const struct lethe_request *requests;
  uint64_t at = 0;
  size_t n;
  struct test_random r = test_seed("shrinks");
  write_oracle(make_model(&r, 3000, false), true);
  struct lethe_trace *t = opened(path, ANY);
  assert_int_equal(lethe_trace_read(t, &at, buffer, &requests, &n), LETHE_OK);
  assert_int_equal(truncate(path, 1500 * RECORD), 0);
  assert_int_equal(lethe_trace_read(t, &at, buffer, &requests, &n), LETHE_ESYSTEM);
  lethe_trace_put(t);
}

/* ---- synthetic traces ------------------------------------------------------------------------ */

static uint64_t digest(struct lethe_trace *t) {
  uint64_t sum = 0;
  size_t n = all_of(t, found);
  for (size_t i = 0; i < n; i++) {
    uint64_t parts[4] = {sum, found[i].id, (uint64_t)found[i].size, (uint64_t)found[i].next};
    sum = lethe_trace_hash(parts, sizeof parts);
  }
  return sum;
}

static struct lethe_trace *synthetic(struct lethe_synthetic s) {
  struct lethe_trace *t = NULL;
  assert_int_equal(lethe_trace_synthetic(&t, &lethe_alloc_libc, &s), LETHE_OK);
  return t;
}

static void synthetic_traces_are_the_same_everywhere(void **state) {
  static const uint64_t digests[] = {UINT64_C(0xc0000ca070bea027), UINT64_C(0xc5cc7cb26a991cdd),
                                     UINT64_C(0x7a0e453b49036182), UINT64_C(0x688abe17f952bf65)};
  (void)state;
  for (int kind = 0; lethe_synthetic_kinds[kind]; kind++) {
    struct lethe_synthetic s = {(enum lethe_synthetic_kind)kind, 1000, 10000, 0.9, 1, 4096, 1};
    uint64_t first = digest(synthetic(s));
    if (first != digests[kind])
      fail_msg("%s: 0x%016llx", lethe_synthetic_kinds[kind], (unsigned long long)first);
    s.seed = 2;
    assert_true(digest(synthetic(s)) != first);
  }
}

/* Of n draws of something that has the probability p, within 5 standard deviations. */
static void likely(double count, double n, double p) {
  if (fabs(count - n * p) > 5 * sqrt(n * p * (1 - p)) + 1) fail_msg("%g of %g at %g", count, n, p);
}

static void popularity_falls_by_the_power(void **state) {
  (void)state;
  static const double alphas[] = {0, 0.7, 1, 1.3, 3};
  for (size_t a = 0; a < sizeof alphas / sizeof *alphas; a++) {
    static double counts[101];
    double sum = 0;
    memset(counts, 0, sizeof counts);
    for (int i = 1; i <= 100; i++) sum += pow(i, -alphas[a]);
    size_t n = all_of(
        synthetic((struct lethe_synthetic){LETHE_SYNTHETIC_ZIPF, 100, MOST, alphas[a], 1, 1, 5}),
        found);
    for (size_t i = 0; i < n; i++) counts[found[i].id]++;
    for (int i = 1; i <= 100; i++) likely(counts[i], (double)n, pow(i, -alphas[a]) / sum);
  }
}

static void loops_and_scans_go_around(void **state) {
  (void)state;
  size_t n = all_of(synthetic((struct lethe_synthetic){LETHE_SYNTHETIC_LOOP, 70, 1000, 1, 1, 1, 1}),
                    found);
  for (size_t i = 0; i < n; i++) assert_int_equal(found[i].id, i % 70 + 1);
  n = all_of(synthetic((struct lethe_synthetic){LETHE_SYNTHETIC_SCAN, 70, 1000, 1, 1, 1, 1}),
             found);
  for (size_t i = 0; i < n; i++)
    if (i % 70) assert_int_equal(found[i].id, found[i - 1].id % 70 + 1);
  struct lethe_trace *t =
      synthetic((struct lethe_synthetic){LETHE_SYNTHETIC_MIXED, 70, 3000, 1, 5, 9, 1});
  assert_int_equal(lethe_trace_info(t)->objects, 70);
  n = all_of(t, found);
  for (size_t i = 0; i < n; i++) assert_in_range(found[i].size, 5, 9);
}

/* ---- writing --------------------------------------------------------------------------------- */

static size_t read_bytes(const char *from, char *to, size_t room) {
  FILE *f = fopen(from, "rb");
  assert_non_null(f);
  size_t n = fread(to, 1, room, f);
  fclose(f);
  return n;
}

static void saved_traces_are_the_same_bytes(void **state) {
  (void)state;
  static char a[9001 * RECORD], b[9001 * RECORD];
  struct test_random r = test_seed("saved");
  size_t n = make_model(&r, 9000, false);
  write_oracle(n, true);
  struct lethe_trace *t = opened(path, ANY);
  assert_int_equal(lethe_trace_save(t, path), LETHE_EUNWRITABLE); /* its own file */
  assert_int_equal(lethe_trace_save(t, "/tmp/no/such"), LETHE_EUNWRITABLE);
  assert_int_equal(lethe_trace_save(t, other), LETHE_OK);
  lethe_trace_put(t);
  assert_int_equal(read_bytes(path, a, sizeof a), n * RECORD);
  assert_int_equal(read_bytes(other, b, sizeof b), n * RECORD);
  assert_memory_equal(a, b, n * RECORD);
}

/* Indices of skipped records are not those of the file that is saved. */
static void what_was_skipped_is_not_saved(void **state) {
  (void)state;
  struct test_random r = test_seed("not saved");
  size_t n = make_model(&r, 5000, true), kept = 0;
  write_oracle(n, true);
  struct lethe_trace *t = opened(path, ANY);
  assert_int_equal(lethe_trace_save(t, other), LETHE_OK);
  lethe_trace_put(t);
  for (size_t i = 0; i < n; i++)
    if (model[i].size > 0) model[kept++] = model[i];
  assert_int_equal(lethe_replay_fill_next(model, kept, &lethe_alloc_libc), LETHE_OK);
  assert_int_equal(all_of(opened(other, ANY), found), kept);
  all_same(kept);
}

static void sizes_that_do_not_fit_are_not_saved(void **state) {
  (void)state;
  put_text("1,2,4294967296\n");
  struct lethe_trace *t = opened(path, ANY);
  assert_int_equal(lethe_trace_save(t, other), LETHE_ELIMIT);
  lethe_trace_put(t);
}

static void recorders_write_what_comes_next(void **state) {
  (void)state;
  struct test_random r = test_seed("recorder");
  struct lethe_recorder *recorder = NULL;
  size_t n = make_model(&r, 9000, false);
  assert_int_equal(lethe_recorder_open(&recorder, &lethe_alloc_libc, path), LETHE_OK);
  for (size_t i = 0; i < n; i++)
    lethe_recorder_add(recorder, model[i].time, model[i].id, model[i].size);
  assert_int_equal(lethe_recorder_count(recorder), n);
  assert_int_equal(lethe_recorder_close(recorder), LETHE_OK);
  assert_int_equal(all_of(opened(path, ANY), found), n);
  all_same(n);
}

static void a_recording_that_was_cut_off_can_be_read(void **state) {
  (void)state;
  struct test_random r = test_seed("cut off");
  struct lethe_recorder *recorder = NULL;
  size_t n = make_model(&r, 5000, false);
  assert_int_equal(lethe_recorder_open(&recorder, &lethe_alloc_libc, path), LETHE_OK);
  for (size_t i = 0; i < n; i++)
    lethe_recorder_add(recorder, model[i].time, model[i].id, model[i].size);
  size_t there = all_of(opened(path, AS(RECORDED)), found); /* as if it had crashed here */
  assert_in_range(there, 4096, n);
  assert_true(found[there - 1].next == -1 && found[0].id == model[0].id);
  assert_int_equal(lethe_recorder_close(recorder), LETHE_OK);
}

static void recorders_clip_what_does_not_fit(void **state) {
  (void)state;
  struct lethe_recorder *recorder = NULL;
  assert_int_equal(lethe_recorder_open(&recorder, &lethe_alloc_libc, "/tmp/no/such"),
                   LETHE_EUNWRITABLE);
  assert_int_equal(lethe_recorder_open(&recorder, &lethe_alloc_libc, path), LETHE_OK);
  lethe_recorder_add(recorder, -5, 1, 0);
  lethe_recorder_add(recorder, 1e300, 2, INT64_MAX);
  assert_int_equal(lethe_recorder_close(recorder), LETHE_OK);
  assert_int_equal(all_of(opened(path, ANY), found), 2);
  assert_true(found[0].time == 0 && found[1].time == UINT32_MAX);
  assert_int_equal(found[0].size, 1);
  assert_int_equal(found[1].size, UINT32_MAX);
}

/* ---- without memory, with broken disks ------------------------------------------------------- */

/* All that takes memory, or reads and writes: 0, or the first code that is none. */
static int everything(const struct lethe_alloc *a, const char *from,
                      enum lethe_trace_format format) {
  struct lethe_trace_options o = {.format = format};
  struct lethe_trace *t = NULL;
  struct lethe_recorder *recorder = NULL;
  int rc = lethe_trace_open(&t, a, from, &o, why, sizeof why);
  if (rc == LETHE_OK) rc = lethe_trace_save(t, other);
  if (rc == LETHE_OK) {
    struct lethe_request buffer[LETHE_TRACE_BATCH];
    const struct lethe_request *requests;
    uint64_t at = 0;
    size_t n = 1;
    while (rc == LETHE_OK && n > 0) rc = lethe_trace_read(t, &at, buffer, &requests, &n);
  }
  lethe_trace_put(t);
  if (rc == LETHE_OK) rc = lethe_recorder_open(&recorder, a, other);
  if (rc != LETHE_OK) return rc;
  for (uint64_t i = 0; i < 3000; i++) lethe_recorder_add(recorder, 1, i, 1);
  rc = lethe_recorder_close(recorder);
  struct lethe_synthetic s = {LETHE_SYNTHETIC_MIXED, 300, 3000, 1, 1, 9, 1};
  if (rc != LETHE_OK || (rc = lethe_trace_synthetic(&t, a, &s)) != LETHE_OK) return rc;
  lethe_trace_put(t);
  return LETHE_OK;
}

static enum lethe_trace_format write_as(int i) {
  static const enum lethe_trace_format formats[] = {LETHE_TRACE_ORACLE, LETHE_TRACE_RECORDED,
                                                    LETHE_TRACE_CSV, LETHE_TRACE_PLAIN};
  struct test_random r = test_seed("faults");
  size_t n = make_model(&r, 3000, true);
  if (i < 2) {
    write_oracle(n, i == 0);
  } else {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (size_t k = 0; k < n; k++)
      fprintf(f, i == 2 ? "1,%llu,7\n" : "%llu\n", (unsigned long long)model[k].id);
    fclose(f);
  }
  return formats[i];
}

static void every_allocation_may_fail(void **state) {
  struct test_alloc memory;
  (void)state;
  for (int i = 0; i < 4; i++) {
    enum lethe_trace_format format = write_as(i);
    for (uint64_t n = 1;; n++) {
      test_alloc_init(&memory);
      test_alloc_fail(&memory, n);
      int rc = everything(&memory.alloc, path, format);
      assert_int_equal(rc, memory.failed ? LETHE_ENOMEM : LETHE_OK);
      assert_int_equal(memory.blocks, 0);
      if (!memory.failed) {
        assert_true(n > 10);
        break;
      }
    }
  }
}

static void every_read_and_write_may_fail(void **state) {
  (void)state;
#ifdef LETHE_FAULTS
  static const enum lethe_fault points[] = {LETHE_FAULT_READ, LETHE_FAULT_WRITE};
  for (int i = 0; i < 4; i++) {
    enum lethe_trace_format format = write_as(i);
    for (int p = 0; p < 2; p++)
      for (uint64_t n = 1;; n++) {
        lethe_fault_arm(points[p], n);
        int rc = everything(&lethe_alloc_libc, path, format);
        bool failed = lethe_fault_passed(points[p]) >= n;
        lethe_fault_arm(points[p], 0);
        if (failed)
          assert_true(rc == LETHE_ESYSTEM || rc == LETHE_EUNWRITABLE);
        else
          assert_int_equal(rc, LETHE_OK);
        if (!failed) break;
      }
  }
#endif
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(oracle_records_come_back),
      cmocka_unit_test(records_of_no_size_are_skipped),
      cmocka_unit_test(lines_of_text_come_back),
      cmocka_unit_test(scsi_commands_are_read_in_both_versions),
      cmocka_unit_test(a_pipe_will_do),
      cmocka_unit_test(bad_records_are_named_by_offset),
      cmocka_unit_test(bad_lines_are_named_by_number_and_offset),
      cmocka_unit_test(columns_are_found_by_name_and_number),
      cmocka_unit_test(ids_are_the_integers_that_they_look_like),
      cmocka_unit_test(a_file_that_shrinks_is_a_failure),
      cmocka_unit_test(synthetic_traces_are_the_same_everywhere),
      cmocka_unit_test(popularity_falls_by_the_power),
      cmocka_unit_test(loops_and_scans_go_around),
      cmocka_unit_test(saved_traces_are_the_same_bytes),
      cmocka_unit_test(what_was_skipped_is_not_saved),
      cmocka_unit_test(sizes_that_do_not_fit_are_not_saved),
      cmocka_unit_test(recorders_write_what_comes_next),
      cmocka_unit_test(a_recording_that_was_cut_off_can_be_read),
      cmocka_unit_test(recorders_clip_what_does_not_fit),
      cmocka_unit_test(every_allocation_may_fail),
      cmocka_unit_test(every_read_and_write_may_fail),
  };
  return cmocka_run_group_tests_name("trace", tests, make_paths, drop_paths);
}
