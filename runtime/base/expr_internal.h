/* SPDX-License-Identifier: MIT
 * What the parts of the expression compiler share: the code that a compiled expression is, and the
 * words that its text is cut into.
 *
 * The code is for a stack machine. A cell is an instruction or, behind EXPR_CONSTANT, a number.
 * I1 At each cell the stack has one depth, whichever way led there, of at most EXPR_STACK values.
 * I2 The argument of EXPR_AND and EXPR_OR is the index of a later cell that holds an instruction.
 * I3 The last cell is EXPR_RETURN. */
#ifndef LETHE_EXPR_INTERNAL_H
#define LETHE_EXPR_INTERNAL_H

#include "lethe/expr.h"

enum {
  EXPR_TEXT = 4096,   /* bytes of the longest expression */
  EXPR_NUMERAL = 200, /* bytes of the longest numeral */
  EXPR_NEST = 200,    /* of the compiler's recursion; Lua has the same limit */
  EXPR_STACK = 64     /* values that wait at most: (1+(1+(1+ ... */
};

enum expr_op {
  EXPR_CONSTANT, /* push the number in the next cell */
  EXPR_FIELD,    /* push field `arg` */
  EXPR_FLAG,     /* push field `arg` as a boolean */
  EXPR_KIND,     /* push the lethe_expr_kind `arg` */
  EXPR_AND,      /* false or nil stays and control goes to cell `arg`; else it is popped */
  EXPR_OR,       /* the other way round */
  EXPR_LT,       /* pop two, push one; so do all down to EXPR_LOG_BASE */
  EXPR_GT,
  EXPR_LE,
  EXPR_GE,
  EXPR_EQ,
  EXPR_NE,
  EXPR_ADD,
  EXPR_SUB,
  EXPR_MUL,
  EXPR_DIV,
  EXPR_IDIV,
  EXPR_MOD,
  EXPR_POW,
  EXPR_MIN,
  EXPR_MAX,
  EXPR_LOG_BASE, /* of the first to the base of the second, which may be nil */
  EXPR_MINUS,    /* replace one; so do the others */
  EXPR_NOT,
  EXPR_LOG,
  EXPR_SQRT,
  EXPR_FLOOR,
  EXPR_RETURN,
  EXPR_NONE = EXPR_RETURN
};

union expr_cell {
  struct {
    uint32_t op, arg;
  } insn;
  double number;
};

struct lethe_expr {
  const struct lethe_alloc *alloc;
  size_t size; /* of the whole block */
  union expr_cell code[];
};

enum expr_token_kind { EXPR_END, EXPR_NUMBER, EXPR_NAME, EXPR_SYMBOL };

struct expr_token {
  enum expr_token_kind kind;
  const char *at;
  size_t n; /* bytes; 0 at the end of the text */
};

/* The token at or behind `at`. Cannot fail: a byte that begins nothing is a symbol. */
struct expr_token expr_token(const char *at);
bool expr_token_is(const struct expr_token *t, const char *word);
/* The value of a numeral of at most EXPR_NUMERAL bytes; false if it is malformed. */
bool expr_numeral(const struct expr_token *t, double *value);

#endif
