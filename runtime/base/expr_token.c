/* SPDX-License-Identifier: MIT
 * Cuts the text of an expression into words and reads numerals, by Lua's rules. Characters are told
 * apart by their codes: what <ctype.h> says depends on the locale. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "expr_internal.h"

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static int lower(int c) { return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c; }
static bool is_hex(char c) { return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'f'); }
static bool is_letter(char c) { return (lower(c) >= 'a' && lower(c) <= 'z') || c == '_'; }
static bool is_hex_prefix(const char *s) { return s[0] == '0' && lower(s[1]) == 'x'; }

bool expr_token_is(const struct expr_token *t, const char *word) {
  return strncmp(t->at, word, t->n) == 0 && word[t->n] == '\0';
}

/* ---- words ----------------------------------------------------------------------------------- */

/* All that a numeral may be made of, so that "3x" is one malformed word and not two good ones. */
static size_t numeral_length(const char *at) {
  const char *s = at, exponent = is_hex_prefix(at) ? 'p' : 'e';
  if (exponent == 'p') s += 2;
  for (;;) {
    if (lower(*s) == exponent) {
      s++;
      if (*s == '+' || *s == '-') s++;
    } else if (is_digit(*s) || is_letter(*s) || *s == '.') {
      s++;
    } else {
      return (size_t)(s - at);
    }
  }
}

/* Symbols of Lua or of C that are no operators here are cut whole too: messages name them. */
static size_t symbol_length(const char *at) {
  static const char pairs[][3] = {"//", "==", "~=", "<=", ">=", "--", "..",
                                  "<<", ">>", "!=", "&&", "||", "**", "::"};
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
    if (strncmp(at, pairs[i], 2) == 0) return 2;
  unsigned char c = (unsigned char)*at;
  size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 1;
  for (size_t i = 1; i < n; i++)
    if (((unsigned char)at[i] & 0xc0) != 0x80) return 1; /* no UTF-8 */
  return n;
}

struct expr_token expr_token(const char *at) {
  struct expr_token t = {EXPR_END, at, 0};
  while (is_space(*t.at)) t.at++;
  if (*t.at == '\0') return t;
  if (is_digit(*t.at) || (*t.at == '.' && is_digit(t.at[1]))) {
    t.kind = EXPR_NUMBER;
    t.n = numeral_length(t.at);
  } else if (is_letter(*t.at)) {
    t.kind = EXPR_NAME;
    while (is_letter(t.at[t.n]) || is_digit(t.at[t.n])) t.n++;
  } else {
    t.kind = EXPR_SYMBOL;
    t.n = symbol_length(t.at);
  }
  return t;
}

/* ---- numerals -------------------------------------------------------------------------------- */

struct numeral {
  char digits[EXPR_NUMERAL + 32]; /* what strtod is given: no point, and so nothing of a locale */
  size_t n;
  uint64_t integer; /* of hexadecimal digits, modulo 2^64 */
  long scale;       /* digits behind the point, negative */
  bool point;
};

/* Reads the digits and the point; where the exponent or the end should be, or NULL. */
static const char *mantissa(struct numeral *m, const char *s, bool hex) {
  bool any = false;
  for (;; s++) {
    if (*s == '.') {
      if (m->point) return NULL;
      m->point = true;
    } else if (hex ? is_hex(*s) : is_digit(*s)) {
      any = true;
      m->digits[m->n++] = *s;
      m->integer = m->integer * 16 + (uint64_t)(is_digit(*s) ? *s - '0' : lower(*s) - 'a' + 10);
      m->scale -= m->point;
    } else {
      return any ? s : NULL;
    }
  }
}

/* Reads the digits of an exponent. Past the largest it is as good as infinite. */
static const char *exponent(const char *s, long *value) {
  bool negative = *s == '-';
  if (*s == '+' || *s == '-') s++;
  if (!is_digit(*s)) return NULL;
  for (; is_digit(*s); s++)
    if (*value < 100000) *value = *value * 10 + (*s - '0');
  if (negative) *value = -*value;
  return s;
}

bool expr_numeral(const struct expr_token *t, double *value) {
  struct numeral m = {.n = 0};
  bool hex = is_hex_prefix(t->at);
  if (hex) {
    memcpy(m.digits, "0x", 2);
    m.n = 2;
  }
  const char *end = t->at + t->n, *s = mantissa(&m, t->at + (hex ? 2 : 0), hex);
  if (!s) return false;
  long power = 0;
  if (s == end && hex && !m.point) {
    *value = (double)(int64_t)m.integer;
    return true;
  }
  if (s != end) {
    if (lower(*s) != (hex ? 'p' : 'e')) return false;
    s = exponent(s + 1, &power);
    if (s != end) return false;
  }
  power += hex ? 4 * m.scale : m.scale;
  snprintf(m.digits + m.n, sizeof m.digits - m.n, "%c%ld", hex ? 'p' : 'e', power);
  *value = strtod(m.digits, NULL);
  return true;
}
