/* SPDX-License-Identifier: MIT
 * Traces: what is counted of their requests, and how these are read, from where they are kept or
 * from their file. */
#include <string.h>
#include <unistd.h>

#include "trace_internal.h"

enum { FIRST_IDS = 1024, FIRST_REQUESTS = 1024 };

/* ---- ids that were seen ---------------------------------------------------------------------- */

static uint64_t *place(const struct trace_seen *s, uint64_t id) {
  size_t i = (size_t)trace_mix(id) & (s->room - 1);
  while (s->ids[i] && s->ids[i] != id) i = (i + 1) & (s->room - 1);
  return &s->ids[i];
}

static int widen(struct trace_seen *s) {
  struct trace_seen old = *s;
  s->room = old.room ? old.room * 2 : FIRST_IDS;
  s->ids = lethe_zalloc(s->alloc, s->room * sizeof *s->ids);
  if (!s->ids) {
    *s = old;
    return LETHE_ENOMEM;
  }
  for (size_t i = 0; i < old.room; i++)
    if (old.ids[i]) *place(s, old.ids[i]) = old.ids[i];
  trace_seen_free(&old);
  return LETHE_OK;
}

/* 1: it is new, 0: it is not; LETHE_ENOMEM. */
static int see(struct trace_seen *s, uint64_t id) {
  if (id == 0) {
    bool before = s->zero;
    s->zero = true;
    return !before;
  }
  if (s->len + 1 > s->room / 2 && widen(s) != LETHE_OK) return LETHE_ENOMEM;
  uint64_t *at = place(s, id);
  if (*at) return 0;
  *at = id;
  s->len++;
  return 1;
}

void trace_seen_free(struct trace_seen *s) {
  lethe_free(s->alloc, s->ids, s->room * sizeof *s->ids);
  s->ids = NULL;
  s->room = s->len = 0;
}

/* ---- the trace ------------------------------------------------------------------------------- */

struct lethe_trace *trace_new(const struct lethe_alloc *a) {
  struct lethe_trace *t = lethe_zalloc(a, sizeof *t);
  if (!t) return NULL;
  lethe_ref_init(&t->refs);
  t->alloc = a;
  t->fd = -1;
  return t;
}

struct lethe_trace *lethe_trace_get(struct lethe_trace *t) {
  lethe_ref_get(&t->refs);
  return t;
}

void lethe_trace_put(struct lethe_trace *t) {
  if (!t || !lethe_ref_put(&t->refs)) return;
  if (t->fd >= 0) close(t->fd);
  lethe_free(t->alloc, t->requests, t->room * sizeof *t->requests);
  lethe_free(t->alloc, t, sizeof *t);
}

const struct lethe_trace_info *lethe_trace_info(const struct lethe_trace *t) { return &t->info; }

static int keep(struct lethe_trace *t, const struct lethe_request *r) {
  void *requests = t->requests;
  size_t need = (size_t)t->info.len + 1;
  if (need > t->room) {
    if (need < FIRST_REQUESTS) need = FIRST_REQUESTS;
    if (lethe_grow(t->alloc, &requests, &t->room, need, sizeof *r) != LETHE_OK) return LETHE_ENOMEM;
    t->requests = requests;
  }
  t->requests[t->info.len] = *r;
  return LETHE_OK;
}

int trace_add(struct lethe_trace *t, struct trace_seen *seen, const struct lethe_request *r) {
  if (r->size <= 0) {
    t->info.skipped++;
    return LETHE_OK;
  }
  int new = see(seen, r->id);
  if (new < 0) return new;
  if (t->fd < 0 && keep(t, r) != LETHE_OK) return LETHE_ENOMEM;
  t->info.len++;
  t->info.bytes += (uint64_t)r->size;
  t->info.objects += (uint64_t) new;
  if (new) t->info.footprint += (uint64_t)r->size;
  return LETHE_OK;
}

/* ---- records --------------------------------------------------------------------------------- */

static void store(char *p, int n, uint64_t x) {
  for (int i = 0; i < n; i++, x >>= 8) p[i] = (char)(unsigned char)x;
}

void trace_decode(const char *record, struct lethe_request *r) {
  *r = (struct lethe_request){.id = trace_load(record + 4, 8),
                              .size = (int64_t)trace_load(record + 12, 4),
                              .time = (double)trace_load(record, 4),
                              .next = (int64_t)trace_load(record + 16, 8),
                              .cost = 1};
}

void trace_encode(char *record, const struct lethe_request *r) {
  double seconds = r->time > 0 ? r->time : 0;
  store(record, 4, seconds < UINT32_MAX ? (uint64_t)seconds : UINT32_MAX);
  store(record + 4, 8, r->id);
  store(record + 12, 4, (uint64_t)r->size);
  store(record + 16, 8, (uint64_t)r->next);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* All n bytes; false where there are fewer, or it fails. */
static bool read_at(int fd, char *to, size_t n, uint64_t offset) {
  while (n > 0) {
    ssize_t got = lethe_fault(LETHE_FAULT_READ) ? -1 : pread(fd, to, n, (off_t)offset);
    if (got <= 0) return false;
    to += got;
    n -= (size_t)got;
    offset += (uint64_t)got;
  }
  return true;
}

static int read_file(const struct lethe_trace *t, uint64_t *at, struct lethe_request *buffer,
                     size_t *n) {
  char records[LETHE_TRACE_BATCH * TRACE_RECORD];
  uint64_t left = t->info.len + t->info.skipped - *at;
  size_t count = left < LETHE_TRACE_BATCH ? (size_t)left : LETHE_TRACE_BATCH, kept = 0;
  if (!read_at(t->fd, records, count * TRACE_RECORD, *at * TRACE_RECORD)) return LETHE_ESYSTEM;
  for (size_t i = 0; i < count; i++) {
    trace_decode(records + i * TRACE_RECORD, &buffer[kept]);
    kept += buffer[kept].size > 0;
  }
  *at += count;
  *n = kept;
  return LETHE_OK;
}

int lethe_trace_read(const struct lethe_trace *t, uint64_t *at,
                     struct lethe_request buffer[LETHE_TRACE_BATCH],
                     const struct lethe_request **requests, size_t *n) {
  uint64_t end = t->info.len + (t->fd < 0 ? 0 : t->info.skipped);
  *n = 0;
  *requests = buffer;
  if (t->fd >= 0) {
    while (*n == 0 && *at < end) { /* all of a batch may be skipped */
      int rc = read_file(t, at, buffer, n);
      if (rc != LETHE_OK) return rc;
    }
    return LETHE_OK;
  }
  if (*at >= end) return LETHE_OK;
  *n = end - *at < LETHE_TRACE_BATCH ? (size_t)(end - *at) : LETHE_TRACE_BATCH;
  *requests = t->requests + *at;
  *at += *n;
  return LETHE_OK;
}
