/* SPDX-License-Identifier: MIT
 * Expressions of configurations ("used * age / (1 + priority)"): compiled once, evaluated often,
 * with Lua's syntax and meaning and without Lua.
 *
 *   expression = operand { binary operand }
 *   operand    = number | "true" | "false" | "nil" | field | call
 *              | "(" expression ")" | unary operand
 *   field      = [ "c." ] NAME                            of the names that the compiler is given
 *   call       = [ "math." ] function "(" expression { "," expression } ")"
 *   function   = "min" | "max" (1 argument or more) | "log" (1 or 2) | "sqrt" | "floor" (1)
 *   unary      = "-" | "not"                              binds tighter than all binary but ^
 *   binary     = "or" | "and" | "<" ">" "<=" ">=" "==" "~=" | "+" "-" | "*" "/" "//" "%" | "^"
 *                loosest first; all group to the left, but ^ to the right: -x^2^3 is -(x^(2^3))
 *   number     = Lua's numerals, decimal and hexadecimal, with fractions and exponents
 *
 * Every number is a double: 7 // 2 is 3.0 and 1 // 0 is infinite, as with Lua's floats; of Lua's
 * integers only one trace is left, hexadecimal ones wrap around at 64 bits. `and` and `or` give one
 * of their operands and leave the right one alone when the left one decides; only false and nil are
 * false, 0 is true. == and ~= take operands of any kinds. What else wants numbers and is given a
 * boolean or nil is an error at run time, and only where evaluation comes by. No locale has a say.
 *
 * An expression never changes once compiled: any number of threads may run it at the same time.
 * Progress: run is wait-free and linear in the length of the text; jumps lead forward only. */
#ifndef LETHE_EXPR_H
#define LETHE_EXPR_H

#include "lethe/base.h"

struct lethe_expr;

enum lethe_expr_kind {
  LETHE_EXPR_NUMBER,
  LETHE_EXPR_FALSE,
  LETHE_EXPR_TRUE,
  LETHE_EXPR_NIL,
  LETHE_EXPR_ERROR
};

/* Compiles `text`, at most 4096 bytes, over the NULL-ended field names; keeps neither. The
 * allocator outlives *out. Fails with LETHE_ENOMEM, or with LETHE_EPOLICY and then writes `why`, of
 * `n` bytes: the column, counted in bytes from 1, the word that offends, and what may have been
 * meant. */
LETHE_API int lethe_expr_compile(struct lethe_expr **out, const struct lethe_alloc *a,
                                 const char *text, const char *const *fields, char *why, size_t n);
/* The same; field i is a boolean if bit i of `booleans` is set: true unless its value is 0. */
LETHE_API int lethe_expr_compile_with(struct lethe_expr **out, const struct lethe_alloc *a,
                                      const char *text, const char *const *fields,
                                      uint64_t booleans, char *why, size_t n);
/* NULL is allowed. Cannot fail. */
LETHE_API void lethe_expr_delete(struct lethe_expr *e);
/* Both compute the same, from texts that differ in no more than blanks and parentheses. NULL is
 * allowed. */
LETHE_API bool lethe_expr_same(const struct lethe_expr *a, const struct lethe_expr *b);
/* Evaluates; values[i] is the field i. A NUMBER sets *result, NaN included; an ERROR sets *why to a
 * static text. Allocates nothing. */
LETHE_API enum lethe_expr_kind lethe_expr_run(const struct lethe_expr *e, const double *values,
                                              double *result, const char **why);

#endif
