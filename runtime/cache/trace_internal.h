/* SPDX-License-Identifier: MIT
 * What the files of traces share: the trace itself, the stream that a file is read through, and the
 * set of ids that were seen. */
#ifndef LETHE_CACHE_TRACE_INTERNAL_H
#define LETHE_CACHE_TRACE_INTERNAL_H

#include "lethe/atomic.h"
#include "lethe/ref.h"
#include "lethe/trace.h"

enum { TRACE_RECORD = 24, TRACE_BUFFER = 1 << 16 };

struct lethe_trace {
  struct lethe_ref refs;
  const struct lethe_alloc *alloc;
  struct lethe_trace_info info;
  int fd; /* of records; -1: the requests are kept */
  struct lethe_request *requests;
  size_t room;
};

/* ---- trace.c --------------------------------------------------------------------------------- */

/* Ids, by open addressing; 0 has a place of its own. */
struct trace_seen {
  const struct lethe_alloc *alloc;
  uint64_t *ids;
  size_t room, len;
  bool zero;
};
void trace_seen_free(struct trace_seen *s);

/* An empty one that keeps its requests, or NULL. */
struct lethe_trace *trace_new(const struct lethe_alloc *a);
/* One request more: counted, and kept where the trace has no file. Size 0 is skipped. */
int trace_add(struct lethe_trace *t, struct trace_seen *seen, const struct lethe_request *r);
void trace_decode(const char *record, struct lethe_request *r);
void trace_encode(char *record, const struct lethe_request *r);
/* A little-endian integer of n bytes. */
static inline uint64_t trace_load(const char *p, int n) {
  uint64_t x = 0;
  for (int i = n - 1; i >= 0; i--) x = x << 8 | (unsigned char)p[i];
  return x;
}
static inline uint64_t trace_mix(uint64_t z) {
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

/* ---- trace_stream.c -------------------------------------------------------------------------- */

struct trace_stream {
  int fd;
  int rc;          /* LETHE_ESYSTEM once a read failed */
  bool ended;      /* there is nothing behind `len` */
  bool guessed;    /* nobody said what it is: a text has to look like a trace */
  uint64_t offset; /* of buffer[0] in the file */
  size_t at, len;
  uint64_t line; /* that was read last, from 1 */
  char *why;     /* what is wrong goes there */
  size_t n;
  char buffer[TRACE_BUFFER];
};
/* The next n bytes (at most a buffer) are there, if the file has so many; how many there are. */
size_t trace_stream_ahead(struct trace_stream *s, size_t n);
/* The next n bytes, which are then behind it; NULL if there are fewer. */
char *trace_stream_take(struct trace_stream *s, size_t n);
/* The next line, without its end, in the buffer and writable: 1, or 0 at the end; LETHE_EFORMAT for
 * one that is too long. */
int trace_stream_line(struct trace_stream *s, char **line, size_t *n);
static inline uint64_t trace_stream_offset(const struct trace_stream *s) {
  return s->offset + s->at;
}
/* Fills in why: LETHE_EFORMAT. */
int trace_wrong(struct trace_stream *s, uint64_t offset, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- trace_binary.c, trace_text.c: all that the stream has ----------------------------------- */

/* Whether the buffer begins as vscsi of that version does. */
bool trace_is_vscsi(const struct trace_stream *s, size_t ahead, int version);
/* `again`: a record does not know what comes next, and the trace keeps no requests: start anew. */
int trace_read_oracle(struct lethe_trace *t, struct trace_seen *seen, struct trace_stream *s,
                      bool *again);
int trace_read_vscsi(struct lethe_trace *t, struct trace_seen *seen, struct trace_stream *s);
int trace_read_plain(struct lethe_trace *t, struct trace_seen *seen, struct trace_stream *s);
int trace_read_csv(struct lethe_trace *t, struct trace_seen *seen, struct trace_stream *s,
                   const struct lethe_trace_options *options);
/* The separator that the first line in the buffer is likely to use, or 0. */
char trace_separator(const char *text, size_t n);

#endif
