/* SPDX-License-Identifier: MIT
 * Lines of text: an id in each, or fields. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "lethe/nearest.h"
#include "trace_internal.h"

enum { FIELDS = 64 };

/* ---- ids and numbers ------------------------------------------------------------------------- */

uint64_t lethe_trace_hash(const void *bytes, size_t n) { return XXH3_64bits(bytes, n); }

/* Decimal digits that fit into 64 bits. */
static bool to_digits(const char *p, size_t n, uint64_t *out) {
  uint64_t x = 0;
  if (n == 0 || n > 20) return false;
  for (size_t i = 0; i < n; i++) {
    unsigned digit = (unsigned)(p[i] - '0');
    if (digit > 9 || x > (UINT64_MAX - digit) / 10) return false;
    x = x * 10 + digit;
  }
  *out = x;
  return true;
}

/* An integer that is written as it would be printed. */
static bool to_integer(const char *text, size_t n, uint64_t *out) {
  bool minus = n > 1 && text[0] == '-';
  const char *digits = text + minus;
  uint64_t x;
  if (!to_digits(digits, n - minus, &x) || (digits[0] == '0' && (n > 1)) ||
      (minus && x > UINT64_C(1) << 63))
    return false;
  *out = minus ? -x : x;
  return true;
}

uint64_t lethe_trace_id(const char *text, size_t n) {
  uint64_t id;
  return to_integer(text, n, &id) ? id : lethe_trace_hash(text, n);
}

struct field {
  char *p;
  size_t n;
};

static bool to_number(struct field f, double *out) {
  char text[64], *end;
  if (f.n == 0 || f.n >= sizeof text) return false;
  memcpy(text, f.p, f.n);
  text[f.n] = '\0';
  *out = strtod(text, &end);
  return *end == '\0' && *out - *out == 0;
}

/* ---- an id per line -------------------------------------------------------------------------- */

static struct field trimmed(char *p, size_t n) {
  while (n > 0 && (*p == ' ' || *p == '\t')) p++, n--;
  while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\t')) n--;
  return (struct field){p, n};
}

/* No text has control characters. */
static int check_text(struct trace_stream *s, const char *line, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (((unsigned char)line[i] < ' ' && line[i] != '\t') || line[i] == 127)
      return trace_wrong(s, s->offset + (uint64_t)(line - s->buffer) + i,
                         "no text: a byte of value %u", (unsigned char)line[i]);
  return LETHE_OK;
}

/* Behind the last line, or one that is none. */
static int at_end(const struct trace_stream *s, int rc) { return rc != LETHE_OK ? rc : s->rc; }

static int bad_field(struct trace_stream *s, struct field f, const char *what) {
  return trace_wrong(s, s->offset + (uint64_t)(f.p - s->buffer), "%s expected (got \"%.*s\")", what,
                     (int)(f.n < 40 ? f.n : 40), f.p);
}

int trace_read_plain(struct lethe_trace *t, struct trace_seen *seen, struct trace_stream *s) {
  char *line;
  size_t n;
  int rc;
  while ((rc = trace_stream_line(s, &line, &n)) > 0) {
    struct field f = trimmed(line, n);
    if ((rc = check_text(s, line, n)) != LETHE_OK) return rc;
    if (f.n == 0) continue;
    struct lethe_request r = {.size = 1, .time = (double)t->info.len, .cost = 1};
    if (!to_integer(f.p, f.n, &r.id)) {
      if (s->guessed) return bad_field(s, f, "an id, which is a number where no format is told,");
      r.id = lethe_trace_hash(f.p, f.n);
    }
    if (trace_add(t, seen, &r) != LETHE_OK) return LETHE_ENOMEM;
  }
  return at_end(s, rc);
}

/* ---- fields ---------------------------------------------------------------------------------- */

char trace_separator(const char *text, size_t n) {
  static const char separators[] = ",;\t|";
  const char *end = n ? memchr(text, '\n', n) : NULL;
  size_t first = end ? (size_t)(end - text) : n;
  for (const char *c = separators; *c; c++)
    if (first && memchr(text, *c, first)) return *c;
  return 0;
}

/* A field in quotes begins at p: it is put together in its place. What follows it, or NULL. */
static char *unquote(char *p, char *end, struct field *f) {
  char *to = p;
  f->p = p;
  for (p++; p < end; p++) {
    if (*p == '"' && (++p >= end || *p != '"')) {
      f->n = (size_t)(to - f->p);
      return p;
    }
    *to++ = *p;
  }
  return NULL;
}

/* The fields of a line; LETHE_EFORMAT. */
static int split(struct trace_stream *s, char *line, size_t n, char separator,
                 struct field fields[FIELDS], unsigned *count) {
  char *p = line, *end = line + n;
  *count = 0;
  for (;;) {
    struct field f;
    char *next;
    if (p < end && *p == '"') {
      uint64_t offset = s->offset + (uint64_t)(p - s->buffer);
      next = unquote(p, end, &f);
      if (!next || (next < end && *next != separator))
        return trace_wrong(s, offset, "a quote that does not end with its field");
    } else {
      next = p < end ? memchr(p, separator, (size_t)(end - p)) : NULL;
      if (!next) next = end;
      f = trimmed(p, (size_t)(next - p));
    }
    if (*count < FIELDS) fields[(*count)++] = f;
    if (next >= end) return LETHE_OK;
    p = next + 1;
  }
}

/* ---- which column is what -------------------------------------------------------------------- */

struct csv {
  char separator;
  unsigned at[LETHE_TRACE_ROLES]; /* from 1; 0: nowhere */
};

static const char *const role_names[] = {"time", "id", "size", "cost"};
/* As traces out in the world call them. */
static const char *const usual[LETHE_TRACE_ROLES][8] = {
    {"time", "timestamp", "ts", "clock_time", "seconds", NULL},
    {"id", "key", "obj_id", "object_id", "obj", "object", "lbn", NULL},
    {"size", "bytes", "obj_size", "object_size", "length", "len", NULL},
    {"cost", "latency", "penalty", NULL}};

static bool is_name(struct field f, const char *name) {
  return strlen(name) == f.n && strncasecmp(name, f.p, f.n) == 0;
}

/* The column of one of these names, or 0. */
static unsigned named(const struct field *fields, unsigned n, const char *const *names) {
  for (; *names; names++)
    for (unsigned i = 0; i < n; i++)
      if (is_name(fields[i], *names)) return i + 1;
  return 0;
}

static int no_column(struct trace_stream *s, const struct field *fields, unsigned n,
                     const char *name) {
  char text[FIELDS][40];
  const char *names[FIELDS + 1] = {NULL};
  for (unsigned i = 0; i < n; i++) {
    snprintf(text[i], sizeof text[i], "%.*s", (int)(fields[i].n < 39 ? fields[i].n : 39),
             fields[i].p);
    names[i] = text[i];
  }
  const char *near = lethe_nearest(name, names);
  if (near) return trace_wrong(s, 0, "no column \"%s\" (did you mean \"%s\"?)", name, near);
  return trace_wrong(s, 0, "no column \"%s\"", name);
}

/* Columns that were told. *header: the first line has their names. */
static int told_columns(struct csv *c, struct trace_stream *s, const struct field *fields,
                        unsigned n, const struct lethe_trace_options *o, bool *header) {
  for (int role = 0; role < LETHE_TRACE_ROLES; role++) {
    const struct lethe_trace_column *column = &o->column[role];
    c->at[role] = column->number;
    if (!column->name) continue;
    const char *names[] = {column->name, NULL};
    *header = true;
    c->at[role] = named(fields, n, names);
    if (!c->at[role]) return no_column(s, fields, n, column->name);
  }
  return LETHE_OK;
}

/* Columns of the usual names; without any, one is the id, two are time and id, three size as
 * well. */
static void usual_columns(struct csv *c, const struct field *fields, unsigned n, bool *header) {
  *header = named(fields, n, usual[LETHE_TRACE_ID]) > 0;
  for (int role = 0; role < LETHE_TRACE_ROLES; role++)
    c->at[role] = *header ? named(fields, n, usual[role]) : 0;
  if (*header) return;
  c->at[LETHE_TRACE_ID] = n > 1 ? 2 : 1;
  if (n > 1) c->at[LETHE_TRACE_TIME] = 1;
  if (n > 2) c->at[LETHE_TRACE_SIZE] = 3;
}

/* Whether the first line, of columns known by number, has none of the numbers that it should
 * have. */
static bool is_header(const struct csv *c, const struct field *fields, unsigned n) {
  bool numbers = false;
  for (int role = 0; role < LETHE_TRACE_ROLES; role++) {
    double x;
    if (role == LETHE_TRACE_ID || !c->at[role] || c->at[role] > n) continue;
    if (to_number(fields[c->at[role] - 1], &x)) return false;
    numbers = true;
  }
  unsigned id = c->at[LETHE_TRACE_ID];
  return numbers || (id <= n && named(&fields[id - 1], 1, usual[LETHE_TRACE_ID]));
}

/* ---- requests -------------------------------------------------------------------------------- */

static int to_request(const struct csv *c, struct trace_stream *s, uint64_t offset,
                      const struct field *fields, unsigned n, struct lethe_request *r) {
  for (int role = 0; role < LETHE_TRACE_ROLES; role++) {
    if (!c->at[role]) continue;
    if (c->at[role] > n)
      return trace_wrong(s, offset, "no %s: column %u of %u", role_names[role], c->at[role], n);
    struct field f = fields[c->at[role] - 1];
    uint64_t size;
    if (role == LETHE_TRACE_ID) {
      if (f.n == 0) return bad_field(s, f, "an id");
      r->id = lethe_trace_id(f.p, f.n);
    } else if (role == LETHE_TRACE_SIZE) {
      if (!to_digits(f.p, f.n, &size) || size > INT64_C(1) << 48) return bad_field(s, f, "a size");
      r->size = (int64_t)size;
    } else if (!to_number(f, role == LETHE_TRACE_TIME ? &r->time : &r->cost) || r->cost < 0) {
      return bad_field(s, f, role == LETHE_TRACE_TIME ? "a time" : "a cost");
    }
  }
  return LETHE_OK;
}

/* Which columns are what, from the first line, which may be no request. */
static int begin(struct csv *c, struct trace_stream *s, const struct field *fields, unsigned n,
                 const struct lethe_trace_options *o, bool *header) {
  if (o->columns) {
    int rc = told_columns(c, s, fields, n, o, header);
    if (rc != LETHE_OK) return rc;
  } else {
    usual_columns(c, fields, n, header);
  }
  *header = *header || (!s->guessed && is_header(c, fields, n));
  return LETHE_OK;
}

int trace_read_csv(struct lethe_trace *t, struct trace_seen *seen, struct trace_stream *s,
                   const struct lethe_trace_options *o) {
  struct csv c = {0};
  struct field fields[FIELDS];
  bool begun = false;
  char *line;
  size_t n;
  unsigned count;
  int rc;
  while ((rc = trace_stream_line(s, &line, &n)) > 0) {
    bool header = false;
    uint64_t offset = s->offset + (uint64_t)(line - s->buffer);
    struct lethe_request r = {.size = 1, .time = (double)t->info.len, .cost = 1};
    if ((rc = check_text(s, line, n)) != LETHE_OK) return rc;
    if (n == 0) continue;
    if (!begun) c.separator = trace_separator(line, n);
    char separator = ',';
    if (c.separator) separator = c.separator;
    if ((rc = split(s, line, n, separator, fields, &count)) != LETHE_OK) return rc;
    if (!begun && (rc = begin(&c, s, fields, count, o, &header)) != LETHE_OK) return rc;
    begun = true;
    if (header) continue;
    if ((rc = to_request(&c, s, offset, fields, count, &r)) != LETHE_OK) return rc;
    if (trace_add(t, seen, &r) != LETHE_OK) return LETHE_ENOMEM;
  }
  return at_end(s, rc);
}
