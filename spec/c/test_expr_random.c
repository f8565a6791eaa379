/* SPDX-License-Identifier: MIT
 * Random expressions, as trees: each is printed with the parentheses that Lua's precedences demand
 * (and some that they do not), compiled, run, and compared with what a walk over the tree gives. */
#include <math.h>
#include <string.h>

#include "harness/unit.h"

#include "harness/random.h"
#include "lethe/expr.h"

enum op {
  LEAF,
  MINUS,
  NOT,
  OR,
  AND,
  LT,
  GT,
  LE,
  GE,
  EQ,
  NE,
  ADD,
  SUB,
  MUL,
  DIV,
  IDIV,
  MOD,
  POW,
  MIN,
  MAX,
  LOG,
  SQRT,
  FLOOR
};

/* Strength of an operator, and of what it takes on its left and right without parentheses. */
static const struct {
  const char *word;
  int strength, left, right;
} ops[] = {[MINUS] = {"-", 6, 0, 6},    [NOT] = {"not", 6, 0, 6}, [OR] = {"or", 1, 1, 2},
           [AND] = {"and", 2, 2, 3},    [LT] = {"<", 3, 3, 4},    [GT] = {">", 3, 3, 4},
           [LE] = {"<=", 3, 3, 4},      [GE] = {">=", 3, 3, 4},   [EQ] = {"==", 3, 3, 4},
           [NE] = {"~=", 3, 3, 4},      [ADD] = {"+", 4, 4, 5},   [SUB] = {"-", 4, 4, 5},
           [MUL] = {"*", 5, 5, 6},      [DIV] = {"/", 5, 5, 6},   [IDIV] = {"//", 5, 5, 6},
           [MOD] = {"%", 5, 5, 6},      [POW] = {"^", 7, 8, 6},   [MIN] = {"min", 9, 0, 0},
           [MAX] = {"max", 9, 0, 0},    [LOG] = {"log", 9, 0, 0}, [SQRT] = {"sqrt", 9, 0, 0},
           [FLOOR] = {"floor", 9, 0, 0}};

struct value {
  enum lethe_expr_kind kind;
  double n;
};

static const char *const fields[] = {"a", "bc", "used_2", NULL};
static const struct leaf {
  const char *text;
  struct value is;
} leaves[] = {{"0", {LETHE_EXPR_NUMBER, 0}},         {"1", {LETHE_EXPR_NUMBER, 1}},
              {"2", {LETHE_EXPR_NUMBER, 2}},         {"3.5e0", {LETHE_EXPR_NUMBER, 3.5}},
              {".25", {LETHE_EXPR_NUMBER, 0.25}},    {"0x10", {LETHE_EXPR_NUMBER, 16}},
              {"1e308", {LETHE_EXPR_NUMBER, 1e308}}, {"10.", {LETHE_EXPR_NUMBER, 10}},
              {"true", {LETHE_EXPR_TRUE, 0}},        {"false", {LETHE_EXPR_FALSE, 0}},
              {"nil", {LETHE_EXPR_NIL, 0}}};
enum { LEAVES = sizeof leaves / sizeof *leaves, FIELDS = 3, NODES = 40 };

struct node {
  enum op op;
  unsigned leaf; /* from LEAVES on: a field */
  int n;         /* children */
  struct node *child[3];
};

struct tree {
  struct test_random random;
  struct node nodes[NODES];
  unsigned used;
  double values[FIELDS];
  char text[4096], *end;
};

/* ---- making ---------------------------------------------------------------------------------- */

/* An operator; where a number is wanted nearly always one that makes a number of numbers, since one
 * error anywhere makes an error of all. */
static enum op choose(struct test_random *r, bool number) {
  if (!number || !test_below(r, 40)) return (enum op)(MINUS + test_below(r, FLOOR));
  if (!test_below(r, 6)) return test_below(r, 2) ? AND : OR;
  return test_below(r, 8) ? (enum op)(ADD + test_below(r, FLOOR - ADD + 1)) : MINUS;
}

static struct node *grow(struct tree *t, unsigned size, bool number) {
  struct node *x = &t->nodes[t->used++];
  *x = (struct node){.op = LEAF};
  if (size <= 1) {
    bool field = test_below(&t->random, 2), other = !test_below(&t->random, number ? 80 : 4);
    x->leaf = field   ? LEAVES + (unsigned)test_below(&t->random, FIELDS)
              : other ? 8 + (unsigned)test_below(&t->random, 3)
                      : (unsigned)test_below(&t->random, 8);
    return x;
  }
  x->op = choose(&t->random, number);
  x->n = x->op <= NOT || x->op >= SQRT ? 1 : x->op < MIN ? 2 : 1 + (int)test_below(&t->random, 3);
  if (x->op == LOG && x->n == 3) x->n = 2;
  if (x->n >= (int)size) x->n = (int)size - 1;
  if (x->n < 2 && x->op >= OR && x->op <= POW) x->op = MINUS;
  bool any = x->op == NOT || x->op == EQ || x->op == NE, logic = x->op == AND || x->op == OR;
  for (int i = 0; i < x->n; i++)
    x->child[i] = grow(t, (size - 1) / (unsigned)x->n, logic ? number : !any);
  return x;
}

static void put(struct tree *t, const char *word) {
  t->end = stpcpy(t->end, word);
  if (!test_below(&t->random, 4)) t->end = stpcpy(t->end, "\t ");
}

static void print(struct tree *t, const struct node *x, int at_least) {
  int strength = x->op == LEAF ? 9 : ops[x->op].strength;
  if (strength < at_least || !test_below(&t->random, 10)) {
    put(t, "(");
    print(t, x, 0);
    put(t, ")");
    return;
  }
  if (x->op == LEAF) {
    if (x->leaf >= LEAVES && !test_below(&t->random, 4)) put(t, "c.");
    put(t, x->leaf < LEAVES ? leaves[x->leaf].text : fields[x->leaf - LEAVES]);
  } else if (x->op >= MIN) {
    put(t, test_below(&t->random, 2) ? "math." : "");
    put(t, ops[x->op].word);
    for (int i = 0; i < x->n; i++) {
      put(t, i ? "," : "(");
      print(t, x->child[i], 0);
    }
    put(t, ")");
  } else {
    if (x->n == 2) print(t, x->child[0], ops[x->op].left);
    put(t, " ");
    put(t, ops[x->op].word);
    put(t, " ");
    print(t, x->child[x->n - 1], ops[x->op].right);
  }
}

/* ---- walking --------------------------------------------------------------------------------- */

static const struct value error = {LETHE_EXPR_ERROR, 0};
static struct value number(double n) { return (struct value){LETHE_EXPR_NUMBER, n}; }
static struct value boolean(bool b) {
  return (struct value){b ? LETHE_EXPR_TRUE : LETHE_EXPR_FALSE, 0};
}
static bool truth(struct value v) { return v.kind != LETHE_EXPR_FALSE && v.kind != LETHE_EXPR_NIL; }

static double numeric(enum op op, double a, double b, bool two) {
  double whole = floor(a), rest = fmod(a, b);
  switch (op) {
  case MINUS:
    return -a;
  case ADD:
    return a + b;
  case SUB:
    return a - b;
  case MUL:
    return a * b;
  case DIV:
    return a / b;
  case IDIV:
    return floor(a / b);
  case MOD:
    return rest != 0 && signbit(rest) != signbit(b) && !isnan(rest) ? rest + b : rest;
  case POW:
    return b == 2 ? a * a : pow(a, b);
  case LOG:
    return !two ? log(a) : b == 2 ? log2(a) : b == 10 ? log10(a) : log(a) / log(b);
  case SQRT:
    return sqrt(a);
  default:
    return whole == 0 ? 0 : whole;
  }
}

static struct value walk(const struct tree *t, const struct node *x) {
  if (x->op == LEAF)
    return x->leaf < LEAVES ? leaves[x->leaf].is : number(t->values[x->leaf - LEAVES]);
  struct value v[3] = {walk(t, x->child[0])};
  if (v[0].kind == LETHE_EXPR_ERROR) return error;
  if (x->op == NOT) return boolean(!truth(v[0]));
  if (x->op == AND || x->op == OR)
    return truth(v[0]) == (x->op == AND) ? walk(t, x->child[1]) : v[0];
  bool numbers = v[0].kind == LETHE_EXPR_NUMBER;
  for (int i = 1; i < x->n; i++) {
    v[i] = walk(t, x->child[i]);
    if (v[i].kind == LETHE_EXPR_ERROR) return error;
    numbers = numbers && v[i].kind == LETHE_EXPR_NUMBER;
  }
  if (x->op == EQ || x->op == NE) {
    bool equal = v[0].kind == v[1].kind && (!numbers || v[0].n == v[1].n);
    return boolean(equal == (x->op == EQ));
  }
  if ((x->op == MIN || x->op == MAX) && x->n == 1) return v[0];
  if (x->op == LOG && v[1].kind == LETHE_EXPR_NIL && x->n == 2 && v[0].kind == LETHE_EXPR_NUMBER)
    return number(log(v[0].n));
  if (!numbers) return error;
  switch (x->op) {
  case LT:
    return boolean(v[0].n < v[1].n);
  case GT:
    return boolean(v[1].n < v[0].n);
  case LE:
    return boolean(v[0].n <= v[1].n);
  case GE:
    return boolean(v[1].n <= v[0].n);
  case MIN:
  case MAX:
    for (int i = 1; i < x->n; i++)
      if (x->op == MIN ? v[i].n < v[0].n : v[0].n < v[i].n) v[0] = v[i];
    return v[0];
  default:
    return number(numeric(x->op, v[0].n, v[1].n, x->n == 2));
  }
}

/* ---- the comparison -------------------------------------------------------------------------- */

static double random_value(struct test_random *r) {
  static const double odd[] = {0, -0.0, 1, -1, INFINITY, -INFINITY, NAN, 1e-300, 0x1p53};
  if (!test_below(r, 3)) return odd[test_below(r, sizeof odd / sizeof *odd)];
  return ((double)test_below(r, 2000001) - 1000000) / (double)(1 + test_below(r, 1000));
}

static bool same(struct value v, double n) {
  return v.kind != LETHE_EXPR_NUMBER || (isnan(v.n) ? isnan(n) : !memcmp(&v.n, &n, sizeof n));
}

static void random_expressions_are_worth_what_their_trees_are(void **state) {
  (void)state;
  static struct tree t;
  t.random = test_seed("expressions");
  int errors = 0, rounds = 40000;
  for (int i = 0; i < rounds; i++) {
    t.used = 0;
    t.end = t.text;
    struct node *root = grow(&t, 1 + (unsigned)test_below(&t.random, NODES), i % 2);
    print(&t, root, 0);
    char why[200] = "";
    struct lethe_expr *e = NULL;
    if (lethe_expr_compile(&e, &lethe_alloc_libc, t.text, fields, why, sizeof why) != LETHE_OK)
      fail_msg("%s: %s", t.text, why);
    for (int k = 0; k < 4; k++) {
      for (int f = 0; f < FIELDS; f++) t.values[f] = random_value(&t.random);
      double result = 0;
      const char *reason = NULL;
      enum lethe_expr_kind kind = lethe_expr_run(e, t.values, &result, &reason);
      struct value wanted = walk(&t, root);
      if (kind != wanted.kind || !same(wanted, result))
        fail_msg("%s with %a %a %a: kind %d, %a and not kind %d, %a", t.text, t.values[0],
                 t.values[1], t.values[2], kind, result, wanted.kind, wanted.n);
      assert_true((kind == LETHE_EXPR_ERROR) == (reason != NULL));
      errors += kind == LETHE_EXPR_ERROR;
    }
    lethe_expr_delete(e);
  }
  assert_in_range(errors, rounds / 10, rounds * 3); /* of four runs a round: both sides were seen */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_expressions_are_worth_what_their_trees_are)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
