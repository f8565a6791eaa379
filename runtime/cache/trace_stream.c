/* SPDX-License-Identifier: MIT
 * A file as a stream through one buffer: so many bytes ahead, or line by line. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "trace_internal.h"

int trace_wrong(struct trace_stream *s, uint64_t offset, const char *format, ...) {
  va_list args;
  int at = s->line ? snprintf(s->why, s->n, "line %llu, byte %llu: ", (unsigned long long)s->line,
                              (unsigned long long)offset)
                   : snprintf(s->why, s->n, "byte %llu: ", (unsigned long long)offset);
  if (at < 0 || (size_t)at >= s->n) return LETHE_EFORMAT;
  va_start(args, format);
  vsnprintf(s->why + at, s->n - (size_t)at, format, args);
  va_end(args);
  return LETHE_EFORMAT;
}

/* What is behind goes, and the rest of the buffer is filled. */
static void refill(struct trace_stream *s) {
  memmove(s->buffer, s->buffer + s->at, s->len - s->at);
  s->offset += s->at;
  s->len -= s->at;
  s->at = 0;
  while (!s->ended && s->len < TRACE_BUFFER) {
    ssize_t got = -1;
    if (!lethe_fault(LETHE_FAULT_READ)) {
      got = read(s->fd, s->buffer + s->len, TRACE_BUFFER - s->len);
      if (got < 0 && errno == EINTR) continue;
    }
    if (got < 0) s->rc = LETHE_ESYSTEM;
    s->ended = got <= 0;
    s->len += got > 0 ? (size_t)got : 0;
  }
}

size_t trace_stream_ahead(struct trace_stream *s, size_t n) {
  if (s->len - s->at < n && !s->ended) refill(s);
  return s->len - s->at;
}

char *trace_stream_take(struct trace_stream *s, size_t n) {
  if (trace_stream_ahead(s, n) < n) return NULL;
  s->at += n;
  return s->buffer + s->at - n;
}

int trace_stream_line(struct trace_stream *s, char **line, size_t *n) {
  size_t have = s->len - s->at;
  char *end = have ? memchr(s->buffer + s->at, '\n', have) : NULL;
  if (!end && !s->ended) {
    refill(s);
    have = s->len - s->at;
    end = have ? memchr(s->buffer + s->at, '\n', have) : NULL;
  }
  if (!end && have == 0) return 0;
  s->line++;
  if (!end && have == TRACE_BUFFER)
    return trace_wrong(s, trace_stream_offset(s), "a line of more than %d bytes", TRACE_BUFFER);
  *line = s->buffer + s->at;
  *n = end ? (size_t)(end - *line) : have;
  s->at += *n + (end != NULL);
  if (*n > 0 && (*line)[*n - 1] == '\r') --*n;
  return 1;
}
