/* SPDX-License-Identifier: MIT
 * Opening traces: what format a file has, and the one pass over it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trace_internal.h"

const char *const lethe_trace_formats[] = {"oraclegeneral", "csv",      "vscsi",
                                           "plain",         "recorded", NULL};

/* ---- the format ------------------------------------------------------------------------------ */

static bool is_text(const char *p, size_t n) {
  for (size_t i = 0; i < n; i++) {
    unsigned char c = (unsigned char)p[i];
    if ((c < ' ' && c != '\n' && c != '\r' && c != '\t') || c == 127) return false;
  }
  return true;
}

/* By what is in the first buffer: text, or the version in each record, or else what has to be
 * oracleGeneral, and is told so where it is not. */
static enum lethe_trace_format recognize(struct trace_stream *s,
                                         const struct lethe_trace_options *o) {
  size_t ahead = trace_stream_ahead(s, TRACE_BUFFER);
  if (is_text(s->buffer, ahead)) {
    bool fields = o->columns || trace_separator(s->buffer, ahead) != 0;
    return fields ? LETHE_TRACE_CSV : LETHE_TRACE_PLAIN;
  }
  if (trace_is_vscsi(s, ahead, 1) || trace_is_vscsi(s, ahead, 2)) return LETHE_TRACE_VSCSI;
  return LETHE_TRACE_ORACLE;
}

/* ---- the pass -------------------------------------------------------------------------------- */

static int read_all(struct lethe_trace *t, struct trace_stream *s,
                    const struct lethe_trace_options *o, bool *again) {
  struct trace_seen seen = {.alloc = t->alloc};
  int rc = LETHE_EFORMAT;
  if (t->info.format == LETHE_TRACE_ORACLE || t->info.format == LETHE_TRACE_RECORDED)
    rc = trace_read_oracle(t, &seen, s, again);
  else if (t->info.format == LETHE_TRACE_VSCSI)
    rc = trace_read_vscsi(t, &seen, s);
  else if (t->info.format == LETHE_TRACE_PLAIN)
    rc = trace_read_plain(t, &seen, s);
  else
    rc = trace_read_csv(t, &seen, s, o);
  trace_seen_free(&seen);
  bool knows = t->info.format == LETHE_TRACE_ORACLE || t->info.format == LETHE_TRACE_RECORDED;
  if (rc == LETHE_OK && !knows)
    rc = lethe_replay_fill_next(t->requests, (size_t)t->info.len, t->alloc);
  return rc;
}

/* `whole`: requests are kept, whatever the file is. The file is the trace's where it has one. */
static int read_stream(struct lethe_trace **out, const struct lethe_alloc *a,
                       struct trace_stream *s, const struct lethe_trace_options *o, bool regular,
                       bool whole, bool *again) {
  struct lethe_trace *t = trace_new(a);
  if (!t) return LETHE_ENOMEM;
  s->guessed = o->format == LETHE_TRACE_ANY && !o->columns;
  t->info.format = o->format != LETHE_TRACE_ANY ? o->format : recognize(s, o);
  bool file = regular && !whole && t->info.format == LETHE_TRACE_ORACLE;
  if (file) t->fd = s->fd;
  int rc = read_all(t, s, o, again);
  if (rc == LETHE_OK && !*again) {
    *out = t;
    return LETHE_OK;
  }
  t->fd = -1;
  lethe_trace_put(t);
  return rc;
}

static int read_file(struct lethe_trace **out, const struct lethe_alloc *a, int fd,
                     const struct lethe_trace_options *o, char *why, size_t n) {
  struct stat st;
  bool regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode), again = false;
  if (!regular && S_ISDIR(st.st_mode)) {
    snprintf(why, n, "it is a directory");
    return LETHE_EFORMAT;
  }
  struct trace_stream *s = lethe_malloc(a, sizeof *s);
  int rc = LETHE_ENOMEM;
  if (!s) return rc;
  for (int whole = 0; whole < 2; whole++) {
    memset(s, 0, offsetof(struct trace_stream, buffer));
    s->fd = fd;
    s->why = why;
    s->n = n;
    rc = read_stream(out, a, s, o, regular, whole, &again);
    if (rc != LETHE_OK || !again) break;
    again = false;
    rc = LETHE_ESYSTEM;
    if (lseek(fd, 0, SEEK_SET) != 0) break;
  }
  lethe_free(a, s, sizeof *s);
  return rc;
}

int lethe_trace_open(struct lethe_trace **out, const struct lethe_alloc *a, const char *path,
                     const struct lethe_trace_options *options, char *why, size_t n) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    int rc = errno == ENOENT || errno == ENOTDIR ? LETHE_ENOTFOUND : LETHE_ESYSTEM;
    snprintf(why, n, rc == LETHE_ENOTFOUND ? "there is no such file" : "it cannot be read");
    return rc;
  }
  int rc = read_file(out, a, fd, options, why, n);
  if (rc == LETHE_ESYSTEM) snprintf(why, n, "it cannot be read");
  if (rc == LETHE_ENOMEM) snprintf(why, n, "%s", lethe_strerror(rc));
  if (rc != LETHE_OK || (*out)->fd != fd) close(fd);
  return rc;
}
