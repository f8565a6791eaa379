/* SPDX-License-Identifier: MIT
 * Runs compiled expressions: a stack machine with its top in registers. An instruction that wants
 * numbers tests both kinds at once; all that is slow stands behind that test. */
#include <math.h>

#include "expr_internal.h"

struct value {
  double n; /* of a NUMBER */
  enum lethe_expr_kind kind;
};

_Static_assert(LETHE_EXPR_NUMBER == 0, "two kinds are numbers if their bits together are 0");

/* ---- errors ---------------------------------------------------------------------------------- */

/* The texts are made by kind: never NUMBER alone, and both booleans are alike. */
static const char *ordering_error(enum lethe_expr_kind a, enum lethe_expr_kind b) {
  static const char *const texts[3][3] = {
      {"", "comparison of a number with a boolean", "comparison of a number with nil"},
      {"comparison of a boolean with a number", "comparison of two booleans",
       "comparison of a boolean with nil"},
      {"comparison of nil with a number", "comparison of nil with a boolean",
       "comparison of two nils"}};
  static const unsigned char rows[] = {0, 1, 1, 2};
  return texts[rows[a]][rows[b]];
}

__attribute__((cold, noinline)) static const char *error(uint32_t op, enum lethe_expr_kind a,
                                                         enum lethe_expr_kind b) {
  bool nil = (a == LETHE_EXPR_NUMBER ? b : a) == LETHE_EXPR_NIL;
  switch (op) {
  case EXPR_LT:
  case EXPR_LE:
  case EXPR_GT:
  case EXPR_GE:
    return ordering_error(a, b);
  case EXPR_MIN:
    return nil ? "min of nil" : "min of a boolean";
  case EXPR_MAX:
    return nil ? "max of nil" : "max of a boolean";
  case EXPR_LOG:
  case EXPR_LOG_BASE:
    return nil ? "log of nil" : "log of a boolean";
  case EXPR_SQRT:
    return nil ? "sqrt of nil" : "sqrt of a boolean";
  case EXPR_FLOOR:
    return nil ? "floor of nil" : "floor of a boolean";
  default:
    return nil ? "arithmetic on nil" : "arithmetic on a boolean";
  }
}

/* ---- arithmetic where Lua is not C ----------------------------------------------------------- */

/* The remainder takes the sign of the divisor. */
static double modulo(double a, double b) {
  double m = fmod(a, b);
  if (m > 0 ? b < 0 : m < 0 && b > 0) m += b;
  return m;
}

static double power(double a, double b) { return b == 2 ? a * a : pow(a, b); }

static double logarithm(double x, double base) {
  return base == 2 ? log2(x) : base == 10 ? log10(x) : log(x) / log(base);
}

/* Lua's floor is an integer wherever it can be, and so never -0.0. */
static double floor_of(double x) { return floor(x) + 0.0; }

static bool equal(struct value a, struct value b) {
  return a.kind == b.kind && (a.kind != LETHE_EXPR_NUMBER || a.n == b.n);
}

static bool falsy(enum lethe_expr_kind k) { return k == LETHE_EXPR_FALSE || k == LETHE_EXPR_NIL; }

static enum lethe_expr_kind boolean(bool b) { return b ? LETHE_EXPR_TRUE : LETHE_EXPR_FALSE; }

/* ---- the machine ----------------------------------------------------------------------------- */

/* What is done with two numbers, and with one. */
#define TWO(OP, RESULT)                              \
  {                                                  \
    const struct value left = *--sp;                 \
    if (__builtin_expect(left.kind | top.kind, 0)) { \
      *why = error(OP, left.kind, top.kind);         \
      return LETHE_EXPR_ERROR;                       \
    }                                                \
    const double a = left.n, b = top.n;              \
    RESULT;                                          \
    break;                                           \
  }
#define BINARY(OP, RESULT) \
  case OP:                 \
    TWO(OP, RESULT)
#define UNARY(OP, RESULT)                                     \
  case OP: {                                                  \
    if (__builtin_expect(top.kind != LETHE_EXPR_NUMBER, 0)) { \
      *why = error(OP, top.kind, top.kind);                   \
      return LETHE_EXPR_ERROR;                                \
    }                                                         \
    const double a = top.n;                                   \
    top.n = (RESULT);                                         \
    break;                                                    \
  }
#define NUMBER(RESULT) top.n = (RESULT)
#define BOOLEAN(RESULT) top.kind = boolean(RESULT)

enum lethe_expr_kind lethe_expr_run(const struct lethe_expr *e, const double *values,
                                    double *result, const char **why) {
  struct value stack[EXPR_STACK], *sp = stack, top = {0, LETHE_EXPR_NIL};
  for (const union expr_cell *c = e->code;; c++) {
    switch ((enum expr_op)c->insn.op) {
    case EXPR_CONSTANT:
      *sp++ = top;
      top = (struct value){(++c)->number, LETHE_EXPR_NUMBER};
      break;
    case EXPR_FIELD:
      *sp++ = top;
      top = (struct value){values[c->insn.arg], LETHE_EXPR_NUMBER};
      break;
    case EXPR_FLAG:
      *sp++ = top;
      top = (struct value){0, boolean(values[c->insn.arg] != 0)};
      break;
    case EXPR_KIND:
      *sp++ = top;
      top = (struct value){0, (enum lethe_expr_kind)c->insn.arg};
      break;
    case EXPR_AND:
    case EXPR_OR:
      if (falsy(top.kind) == (c->insn.op == EXPR_AND))
        c = e->code + c->insn.arg - 1;
      else
        top = *--sp;
      break;
    case EXPR_EQ:
      top.kind = boolean(equal(*--sp, top));
      break;
    case EXPR_NE:
      top.kind = boolean(!equal(*--sp, top));
      break;
    case EXPR_NOT:
      top.kind = boolean(falsy(top.kind));
      break;
      BINARY(EXPR_LT, BOOLEAN(a < b))
      BINARY(EXPR_GT, BOOLEAN(a > b))
      BINARY(EXPR_LE, BOOLEAN(a <= b))
      BINARY(EXPR_GE, BOOLEAN(a >= b))
      BINARY(EXPR_ADD, NUMBER(a + b))
      BINARY(EXPR_SUB, NUMBER(a - b))
      BINARY(EXPR_MUL, NUMBER(a * b))
      BINARY(EXPR_DIV, NUMBER(a / b))
      BINARY(EXPR_IDIV, NUMBER(floor(a / b)))
      BINARY(EXPR_MOD, NUMBER(modulo(a, b)))
      BINARY(EXPR_POW, NUMBER(power(a, b)))
      BINARY(EXPR_MIN, NUMBER(b < a ? b : a)) /* of equal ones, and beside NaN, the left one */
      BINARY(EXPR_MAX, NUMBER(a < b ? b : a))
    case EXPR_LOG_BASE:
      if (top.kind == LETHE_EXPR_NIL && sp[-1].kind == LETHE_EXPR_NUMBER) { /* as if left out */
        top = (struct value){log((--sp)->n), LETHE_EXPR_NUMBER};
        break;
      }
      TWO(EXPR_LOG_BASE, NUMBER(logarithm(a, b)))
      UNARY(EXPR_MINUS, -a)
      UNARY(EXPR_LOG, log(a))
      UNARY(EXPR_SQRT, sqrt(a))
      UNARY(EXPR_FLOOR, floor_of(a))
    case EXPR_RETURN:
      if (top.kind == LETHE_EXPR_NUMBER) *result = top.n;
      return top.kind;
    }
  }
}
