/* SPDX-License-Identifier: MIT
 * Writing traces: requests one after the other with their `next` unknown (0), which is filled in
 * from the end once the last is there. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trace_internal.h"

enum { BATCH = 2048, FIRST_CELLS = 1024 };

struct lethe_recorder {
  const struct lethe_alloc *alloc;
  int fd;
  bool failed;
  uint64_t count;
  size_t used;
  char buffer[BATCH * TRACE_RECORD];
};

/* ---- files ----------------------------------------------------------------------------------- */

static bool write_at(int fd, const char *p, size_t n, uint64_t offset) {
  while (n > 0) {
    ssize_t done = lethe_fault(LETHE_FAULT_WRITE) ? -1 : pwrite(fd, p, n, (off_t)offset);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    p += done;
    n -= (size_t)done;
    offset += (uint64_t)done;
  }
  return true;
}

static bool read_at(int fd, char *p, size_t n, uint64_t offset) {
  while (n > 0) {
    ssize_t done = lethe_fault(LETHE_FAULT_READ) ? -1 : pread(fd, p, n, (off_t)offset);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) return false;
    p += done;
    n -= (size_t)done;
    offset += (uint64_t)done;
  }
  return true;
}

/* ---- the next access ------------------------------------------------------------------------- */

/* Where each id was seen last, from the end. */
struct places {
  const struct lethe_alloc *alloc;
  struct place {
    uint64_t id;
    int64_t at; /* 1 + an index; 0: empty */
  } * cells;
  size_t room, len;
};

static struct place *find(const struct places *p, uint64_t id) {
  size_t i = (size_t)trace_mix(id) & (p->room - 1);
  while (p->cells[i].at && p->cells[i].id != id) i = (i + 1) & (p->room - 1);
  return &p->cells[i];
}

static int widen(struct places *p) {
  struct places old = *p;
  p->room = old.room ? old.room * 2 : FIRST_CELLS;
  p->cells = lethe_zalloc(p->alloc, p->room * sizeof *p->cells);
  if (!p->cells) {
    *p = old;
    return LETHE_ENOMEM;
  }
  for (size_t i = 0; i < old.room; i++)
    if (old.cells[i].at) *find(p, old.cells[i].id) = old.cells[i];
  lethe_free(p->alloc, old.cells, old.room * sizeof *old.cells);
  return LETHE_OK;
}

static int fill_batch(struct places *p, char *records, size_t n, uint64_t first) {
  for (size_t i = n; i-- > 0;) {
    struct lethe_request r;
    trace_decode(records + i * TRACE_RECORD, &r);
    if (p->len + 1 > p->room / 2 && widen(p) != LETHE_OK) return LETHE_ENOMEM;
    struct place *place = find(p, r.id);
    r.next = place->at ? place->at : -1;
    p->len += place->at == 0;
    *place = (struct place){r.id, (int64_t)(first + i) + 1};
    trace_encode(records + i * TRACE_RECORD, &r);
  }
  return LETHE_OK;
}

/* `next` of all n records of the file. LETHE_EUNWRITABLE, LETHE_ENOMEM. */
static int fill_file(int fd, uint64_t n, const struct lethe_alloc *a) {
  char records[BATCH * TRACE_RECORD];
  struct places p = {.alloc = a};
  int rc = LETHE_OK;
  for (uint64_t left = n; left > 0 && rc == LETHE_OK;) {
    size_t count = left % BATCH ? (size_t)(left % BATCH) : BATCH;
    left -= count;
    if (!read_at(fd, records, count * TRACE_RECORD, left * TRACE_RECORD))
      rc = LETHE_EUNWRITABLE;
    else
      rc = fill_batch(&p, records, count, left);
    if (rc == LETHE_OK && !write_at(fd, records, count * TRACE_RECORD, left * TRACE_RECORD))
      rc = LETHE_EUNWRITABLE;
  }
  lethe_free(a, p.cells, p.room * sizeof *p.cells);
  return rc;
}

/* ---- recorders ------------------------------------------------------------------------------- */

int lethe_recorder_open(struct lethe_recorder **out, const struct lethe_alloc *a,
                        const char *path) {
  struct lethe_recorder *r = lethe_malloc(a, sizeof *r);
  if (!r) return LETHE_ENOMEM;
  r->alloc = a;
  r->failed = false;
  r->count = 0;
  r->used = 0;
  r->fd = lethe_fault(LETHE_FAULT_WRITE) ? -1
                                         : open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (r->fd < 0) {
    lethe_free(a, r, sizeof *r);
    return LETHE_EUNWRITABLE;
  }
  *out = r;
  return LETHE_OK;
}

static void put_out(struct lethe_recorder *r) {
  uint64_t offset = r->count * TRACE_RECORD - r->used;
  if (!r->failed) r->failed = !write_at(r->fd, r->buffer, r->used, offset);
  r->used = 0;
}

static void append(struct lethe_recorder *r, const struct lethe_request *request) {
  trace_encode(r->buffer + r->used, request);
  r->used += TRACE_RECORD;
  r->count++;
  if (r->used == sizeof r->buffer) put_out(r);
}

void lethe_recorder_add(struct lethe_recorder *r, double seconds, uint64_t id, int64_t size) {
  if (size < 1) size = 1;
  if (size > UINT32_MAX) size = UINT32_MAX;
  append(r, &(struct lethe_request){.time = seconds, .id = id, .size = size});
}

uint64_t lethe_recorder_count(const struct lethe_recorder *r) { return r->count; }

/* `fill`: what comes next is not known yet. */
static int finish(struct lethe_recorder *r, bool fill) {
  put_out(r);
  int rc = r->failed ? LETHE_EUNWRITABLE : LETHE_OK;
  if (rc == LETHE_OK && fill) rc = fill_file(r->fd, r->count, r->alloc);
  if (close(r->fd) != 0 && rc == LETHE_OK) rc = LETHE_EUNWRITABLE;
  lethe_free(r->alloc, r, sizeof *r);
  return rc;
}

int lethe_recorder_close(struct lethe_recorder *r) { return finish(r, true); }

/* ---- whole traces ---------------------------------------------------------------------------- */

/* Is that the file that the trace is read from? It would be gone before it is read. */
static bool is_source(const struct lethe_trace *t, const char *path) {
  struct stat mine, other;
  return t->fd >= 0 && fstat(t->fd, &mine) == 0 && stat(path, &other) == 0 &&
         mine.st_dev == other.st_dev && mine.st_ino == other.st_ino;
}

int lethe_trace_save(const struct lethe_trace *t, const char *path) {
  struct lethe_request *buffer;
  const struct lethe_request *requests;
  struct lethe_recorder *r;
  uint64_t at = 0;
  size_t n;
  int rc, limit = LETHE_OK;
  if (is_source(t, path)) return LETHE_EUNWRITABLE;
  buffer = lethe_malloc(t->alloc, LETHE_TRACE_BATCH * sizeof *buffer);
  rc = buffer ? lethe_recorder_open(&r, t->alloc, path) : LETHE_ENOMEM;
  while (rc == LETHE_OK && limit == LETHE_OK) {
    limit = lethe_trace_read(t, &at, buffer, &requests, &n);
    if (limit != LETHE_OK || n == 0) break;
    for (size_t i = 0; i < n && limit == LETHE_OK; i++) {
      if (requests[i].size > UINT32_MAX)
        limit = LETHE_ELIMIT;
      else
        append(r, &requests[i]);
    }
  }
  lethe_free(t->alloc, buffer, LETHE_TRACE_BATCH * sizeof *buffer);
  if (rc != LETHE_OK) return rc;
  rc = finish(r, t->info.skipped > 0 && limit == LETHE_OK);
  return limit != LETHE_OK ? limit : rc;
}
