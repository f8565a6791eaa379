/* SPDX-License-Identifier: MIT
 * Names: from text and back. A number has no leading zero, so that each name is written one way. */
#include "lethe/slots.h"

enum { ID_DIGITS = 15, PART_DIGITS = 9 };

/* A number of at most `most` digits; where it ends, or NULL. */
static const char *read_number(const char *p, const char *end, int most, uint64_t *n) {
  const char *from = p;
  for (*n = 0; p < end && *p >= '0' && *p <= '9'; p++) *n = *n * 10 + (uint64_t)(*p - '0');
  if (p == from || p - from > most || (*from == '0' && p - from > 1)) return NULL;
  return p;
}

/* "/I" and ":F" of what is stored; where they end, or NULL. */
static const char *read_parts(const char *p, const char *end, struct lethe_vref *v) {
  uint64_t n;
  if (p == end || *p != '/') return NULL;
  p = read_number(p + 1, end, PART_DIGITS, &n);
  if (!p) return NULL;
  v->instance = (uint32_t)n;
  if (p == end || *p != ':') return p;
  p = read_number(p + 1, end, PART_DIGITS, &n);
  v->facet = (uint32_t)n;
  v->has_facet = true;
  return p;
}

int lethe_vref_parse(const char *text, size_t n, struct lethe_vref *v) {
  const char *p = text, *end = text + n;
  struct lethe_vref r = {.form = LETHE_VREF_PLAIN};
  if (n < 3 || (p[0] != 'o' && p[0] != 'p' && p[0] != 'd') || (p[1] != '+' && p[1] != '-'))
    return LETHE_EINVAL;
  r.type = p[0];
  r.own = p[1] == '+';
  p += 2;
  if (r.type == 'o' && r.own && (*p == 'd' || *p == 'v'))
    r.form = *p++ == 'd' ? LETHE_VREF_DURABLE : LETHE_VREF_VIRTUAL;
  p = read_number(p, end, ID_DIGITS, &r.id);
  if (p && r.form != LETHE_VREF_PLAIN) p = read_parts(p, end, &r);
  if (p != end) return LETHE_EINVAL;
  *v = r;
  return LETHE_OK;
}

static char *write_number(char *p, uint64_t n) {
  char digits[20];
  int i = 0;
  do digits[i++] = (char)('0' + n % 10);
  while ((n /= 10) > 0);
  while (i > 0) *p++ = digits[--i];
  return p;
}

size_t lethe_vref_text(const struct lethe_vref *v, char *buf) {
  char *p = buf;
  *p++ = v->type;
  if (v->type != 'w') *p++ = v->own ? '+' : '-';
  if (v->form != LETHE_VREF_PLAIN) *p++ = v->form == LETHE_VREF_DURABLE ? 'd' : 'v';
  p = write_number(p, v->id);
  if (v->form != LETHE_VREF_PLAIN) {
    *p++ = '/';
    p = write_number(p, v->instance);
  }
  if (v->has_facet) {
    *p++ = ':';
    p = write_number(p, v->facet);
  }
  *p = '\0';
  return (size_t)(p - buf);
}
