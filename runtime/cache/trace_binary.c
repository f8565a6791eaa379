/* SPDX-License-Identifier: MIT
 * Records of fixed size: oracleGeneral, and the SCSI commands that vscsiStats writes down. */
#include <stdio.h>
#include <string.h>

#include "trace_internal.h"

static int cut_off(struct trace_stream *s, size_t record) {
  size_t left = trace_stream_ahead(s, record);
  if (s->rc != LETHE_OK) return s->rc;
  if (left == 0) return LETHE_OK;
  return trace_wrong(s, trace_stream_offset(s), "cut off: %zu bytes are left, and a record has %zu",
                     left, record);
}

/* ---- oracleGeneral --------------------------------------------------------------------------- */

/* What is wrong with the record, the i-th from 0, and at which byte; else NULL. The index of the
 * next access is that of a later record, here or in the trace that this one is a part of; the
 * numbers of records that the world has end somewhere. */
static const char *record_flaw(const char *record, uint64_t i, unsigned *at) {
  int64_t next = (int64_t)trace_load(record + 16, 8);
  *at = 16;
  if (next == -1 || next == 0 || next == INT64_MAX) return NULL;
  if (next < -1) return "the index of the next access is negative";
  if (next > INT64_C(1) << 48) return "the index of the next access is out of all reason";
  if ((uint64_t)next <= i) return "the next access comes before this one";
  return NULL;
}

/* Where more requests say that theirs is the last of an object than there are objects, -1 was
 * written for want of anything better. */
int trace_read_oracle(struct lethe_trace *t, struct trace_seen *seen, struct trace_stream *s,
                      bool *again) {
  uint64_t last = 0;
  bool recorded = t->info.format == LETHE_TRACE_RECORDED, unknown = false;
  const char *record;
  for (uint64_t i = 0; (record = trace_stream_take(s, TRACE_RECORD)) != NULL; i++) {
    struct lethe_request r;
    unsigned at;
    const char *flaw = recorded ? NULL : record_flaw(record, i, &at);
    uint64_t offset = trace_stream_offset(s) - TRACE_RECORD;
    if (flaw)
      return trace_wrong(s, offset + at, "no oracleGeneral trace: %s (record %llu)", flaw,
                         (unsigned long long)i + 1);
    trace_decode(record, &r);
    unknown = unknown || r.next == 0;
    if (unknown && t->fd >= 0) {
      *again = true;
      return LETHE_OK;
    }
    if (trace_add(t, seen, &r) != LETHE_OK) return LETHE_ENOMEM;
    last += r.next == -1 && r.size > 0;
  }
  int rc = cut_off(s, TRACE_RECORD);
  unknown = unknown || last > t->info.objects;
  *again = unknown && t->fd >= 0;
  if (rc != LETHE_OK || t->fd >= 0) return rc;
  if (!unknown && !recorded) return LETHE_OK; /* a pipe, that knows */
  return lethe_replay_fill_next(t->requests, (size_t)t->info.len, t->alloc);
}

/* ---- vscsi ----------------------------------------------------------------------------------- */

/* Version 1: u32 number, u32 bytes, u32 segments, u16 command, u16 version, u64 block, u64 us.
 * Version 2: u16 command, u16 version, u32 number, u32 bytes, u32 segments, u64 block, u64 us, u64
 * us that it took. The version's upper byte counts. */
static const struct {
  size_t record;
  unsigned version, bytes, block, time;
} layouts[] = {{32, 14, 4, 16, 24}, {40, 2, 8, 16, 24}};

bool trace_is_vscsi(const struct trace_stream *s, size_t ahead, int version) {
  size_t record = layouts[version - 1].record;
  size_t look = ahead < 64 * record ? ahead : 64 * record;
  if (ahead < record || (ahead < 2 * record && ahead != record)) return false;
  for (size_t i = 0; i + record <= look; i += record)
    if (s->buffer[s->at + i + layouts[version - 1].version + 1] != version) return false;
  return true;
}

int trace_read_vscsi(struct lethe_trace *t, struct trace_seen *seen, struct trace_stream *s) {
  size_t ahead = trace_stream_ahead(s, TRACE_BUFFER);
  if (s->rc != LETHE_OK) return s->rc;
  int version = ahead > 3 && s->buffer[s->at + 3] == 2 && s->buffer[s->at + 15] != 1 ? 2 : 1;
  size_t record = layouts[version - 1].record;
  const char *p;
  while ((p = trace_stream_take(s, record)) != NULL) {
    struct lethe_request r = {.id = trace_load(p + layouts[version - 1].block, 8),
                              .size = (int64_t)trace_load(p + layouts[version - 1].bytes, 4),
                              .time = (double)trace_load(p + layouts[version - 1].time, 8) / 1e6,
                              .cost = 1};
    unsigned at = layouts[version - 1].version;
    if (p[at + 1] != version)
      return trace_wrong(s, trace_stream_offset(s) - record + at, "no vscsi trace: version %u",
                         (unsigned char)p[at + 1]);
    if (trace_add(t, seen, &r) != LETHE_OK) return LETHE_ENOMEM;
  }
  return cut_off(s, record);
}
