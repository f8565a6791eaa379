/* SPDX-License-Identifier: MIT
 * Compiles an expression in one pass by precedence climbing: what has been read is what has been
 * emitted, and the depth of the machine's stack is counted along. Recursion is bounded. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "expr_internal.h"
#include "lethe/nearest.h"

struct parser {
  const char *text;
  struct expr_token token; /* the next one */
  const char *const *fields;
  uint64_t booleans; /* fields that are */
  struct lethe_expr *out;
  size_t n; /* cells emitted */
  int nest, depth;
  char *why;
  size_t room;
};

static const struct binary {
  const char *word;
  int left, right; /* binding strengths; a weaker right side groups to the right */
  enum expr_op op;
} binaries[] = {{"or", 1, 1, EXPR_OR},   {"and", 2, 2, EXPR_AND}, {"<", 3, 3, EXPR_LT},
                {">", 3, 3, EXPR_GT},    {"<=", 3, 3, EXPR_LE},   {">=", 3, 3, EXPR_GE},
                {"==", 3, 3, EXPR_EQ},   {"~=", 3, 3, EXPR_NE},   {"+", 4, 4, EXPR_ADD},
                {"-", 4, 4, EXPR_SUB},   {"*", 5, 5, EXPR_MUL},   {"/", 5, 5, EXPR_DIV},
                {"//", 5, 5, EXPR_IDIV}, {"%", 5, 5, EXPR_MOD},   {"^", 8, 7, EXPR_POW}};
enum { UNARY = 6 };

static const char *const functions[] = {"min", "max", "log", "sqrt", "floor", NULL};
static const struct {
  enum expr_op one, two; /* what a single argument, and each further one, is followed by */
  int most;              /* arguments */
} calls[] = {{EXPR_NONE, EXPR_MIN, EXPR_TEXT},
             {EXPR_NONE, EXPR_MAX, EXPR_TEXT},
             {EXPR_LOG, EXPR_LOG_BASE, 2},
             {EXPR_SQRT, EXPR_NONE, 1},
             {EXPR_FLOOR, EXPR_NONE, 1}};

static const struct {
  const char *word;
  uint32_t kind;
} constants[] = {{"true", LETHE_EXPR_TRUE}, {"false", LETHE_EXPR_FALSE}, {"nil", LETHE_EXPR_NIL}};

/* ---- refusals -------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static bool refuse(struct parser *p, const char *at,
                                                         const char *format, ...) {
  int column = snprintf(p->why, p->room, "column %zu: ", (size_t)(at - p->text) + 1);
  if (column < 0 || (size_t)column >= p->room) return false;
  va_list ap;
  va_start(ap, format);
  vsnprintf(p->why + column, p->room - (size_t)column, format, ap);
  va_end(ap);
  return false;
}

/* A token as messages show it. */
struct shown {
  char text[64];
};

static struct shown show(const struct expr_token *t) {
  struct shown s;
  unsigned char c = (unsigned char)*t->at;
  if (t->kind == EXPR_END)
    snprintf(s.text, sizeof s.text, "the end");
  else if (t->n == 1 && (c < ' ' || c >= 0x7f))
    snprintf(s.text, sizeof s.text, "byte 0x%02x", c);
  else
    snprintf(s.text, sizeof s.text, "\"%.*s%s\"", t->n > 40 ? 40 : (int)t->n, t->at,
             t->n > 40 ? "..." : "");
  return s;
}

static bool refuse_name(struct parser *p, const struct expr_token *t, const char *what,
                        const char *const *names) {
  char word[64];
  snprintf(word, sizeof word, "%.*s", (int)t->n, t->at);
  const char *near = lethe_nearest(word, names);
  if (!near) return refuse(p, t->at, "unknown %s %s", what, show(t).text);
  return refuse(p, t->at, "unknown %s %s (did you mean \"%s\"?)", what, show(t).text, near);
}

/* For a token that can stand nowhere behind an operand. */
static bool refuse_token(struct parser *p) {
  static const char *const habits[][2] = {{"!=", "~="}, {"=", "=="},  {"&&", "and"},
                                          {"||", "or"}, {"!", "not"}, {"**", "^"}};
  for (size_t i = 0; i < sizeof habits / sizeof *habits; i++)
    if (expr_token_is(&p->token, habits[i][0]))
      return refuse(p, p->token.at, "unexpected \"%s\" (did you mean \"%s\"?)", habits[i][0],
                    habits[i][1]);
  return refuse(p, p->token.at, "unexpected %s", show(&p->token).text);
}

/* ---- emission -------------------------------------------------------------------------------- */

static void next(struct parser *p) { p->token = expr_token(p->token.at + p->token.n); }
static bool sees(const struct parser *p, const char *word) {
  return expr_token_is(&p->token, word);
}

static bool expect(struct parser *p, const char *word) {
  if (!sees(p, word))
    return refuse(p, p->token.at, "expected \"%s\", got %s", word, show(&p->token).text);
  next(p);
  return true;
}

/* An instruction that leaves the stack deeper by `effect`. There is room: an instruction comes of
 * at least one byte of text, and the one with two cells is alone with its byte. */
static bool emit(struct parser *p, enum expr_op op, uint32_t arg, int effect) {
  p->depth += effect;
  if (p->depth > EXPR_STACK) return refuse(p, p->token.at, "nested too deeply");
  p->out->code[p->n].insn.op = op;
  p->out->code[p->n++].insn.arg = arg;
  return true;
}

/* ---- operands -------------------------------------------------------------------------------- */

static bool expression(struct parser *p, int limit);

static bool number(struct parser *p) {
  const struct expr_token t = p->token;
  double value;
  if (t.n > EXPR_NUMERAL) return refuse(p, t.at, "a number of %zu digits is too long", t.n);
  if (!expr_numeral(&t, &value)) return refuse(p, t.at, "malformed number %s", show(&t).text);
  if (!emit(p, EXPR_CONSTANT, 0, 1)) return false;
  p->out->code[p->n++].number = value;
  next(p);
  return true;
}

/* The minimum of one value is that value, whatever its kind: so it is in Lua. */
static bool call(struct parser *p, const struct expr_token *name, size_t f) {
  if (!expect(p, "(") || !expression(p, 0)) return false;
  if (!sees(p, ",") && calls[f].one != EXPR_NONE && !emit(p, calls[f].one, 0, 0)) return false;
  for (int n = 2; sees(p, ","); n++) {
    if (n > calls[f].most)
      return refuse(p, p->token.at, "too many arguments to %s", show(name).text);
    next(p);
    if (!expression(p, 0) || !emit(p, calls[f].two, 0, -1)) return false;
  }
  return expect(p, ")");
}

/* The index of a word in a NULL-ended list, or that of its end. */
static size_t find(const struct expr_token *t, const char *const *names) {
  size_t i = 0;
  while (names[i] && !expr_token_is(t, names[i])) i++;
  return i;
}

static bool name(struct parser *p) {
  struct expr_token t = p->token;
  next(p);
  bool c = expr_token_is(&t, "c") && sees(p, "."), math = expr_token_is(&t, "math") && sees(p, ".");
  if (c || math) {
    next(p);
    t = p->token;
    if (t.kind != EXPR_NAME) return refuse(p, t.at, "expected a name, got %s", show(&t).text);
    next(p);
  }
  size_t field = find(&t, p->fields), f = find(&t, functions);
  bool called = sees(p, "(") || (functions[f] && !p->fields[field]);
  if (math || (called && !c))
    return functions[f] ? call(p, &t, f) : refuse_name(p, &t, "function", functions);
  if (!p->fields[field]) return refuse_name(p, &t, "name", p->fields);
  bool flag = field < 64 && p->booleans >> field & 1;
  return emit(p, flag ? EXPR_FLAG : EXPR_FIELD, (uint32_t)field, 1);
}

static const struct binary *binary(const struct parser *p) {
  for (size_t i = 0; i < sizeof binaries / sizeof *binaries; i++)
    if (sees(p, binaries[i].word)) return &binaries[i];
  return NULL;
}

static bool operand(struct parser *p) {
  if (p->token.kind == EXPR_NUMBER) return number(p);
  bool minus = sees(p, "-");
  if (minus || sees(p, "not")) {
    next(p);
    return expression(p, UNARY) && emit(p, minus ? EXPR_MINUS : EXPR_NOT, 0, 0);
  }
  if (sees(p, "(")) {
    next(p);
    return expression(p, 0) && expect(p, ")");
  }
  for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
    if (sees(p, constants[i].word)) {
      next(p);
      return emit(p, EXPR_KIND, constants[i].kind, 1);
    }
  if (p->token.kind == EXPR_NAME && !binary(p)) return name(p);
  if (sees(p, "!")) return refuse_token(p);
  return refuse(p, p->token.at, "expected a value, got %s", show(&p->token).text);
}

/* ---- expressions ----------------------------------------------------------------------------- */

static bool right_side(struct parser *p, const struct binary *b) {
  if (b->op != EXPR_AND && b->op != EXPR_OR)
    return expression(p, b->right) && emit(p, b->op, 0, -1);
  size_t jump = p->n;
  if (!emit(p, b->op, 0, -1) || !expression(p, b->right)) return false;
  p->out->code[jump].insn.arg = (uint32_t)p->n;
  return true;
}

/* An operand and all binary operators behind it that bind tighter than `limit`. */
static bool expression(struct parser *p, int limit) {
  if (++p->nest > EXPR_NEST) return refuse(p, p->token.at, "nested too deeply");
  if (!operand(p)) return false;
  for (const struct binary *b; (b = binary(p)) != NULL && b->left > limit;) {
    next(p);
    if (!right_side(p, b)) return false;
  }
  p->nest--;
  return true;
}

static bool whole(struct parser *p) {
  if (!expression(p, 0)) return false;
  return p->token.kind == EXPR_END ? emit(p, EXPR_RETURN, 0, 0) : refuse_token(p);
}

static size_t size_of(size_t cells) {
  return sizeof(struct lethe_expr) + cells * sizeof(union expr_cell);
}

int lethe_expr_compile_with(struct lethe_expr **out, const struct lethe_alloc *a, const char *text,
                            const char *const *fields, uint64_t booleans, char *why, size_t n) {
  size_t length = strlen(text);
  if (length > EXPR_TEXT) {
    snprintf(why, n, "an expression of %zu bytes is too long (at most %d)", length, EXPR_TEXT);
    return LETHE_EPOLICY;
  }
  size_t most = size_of(2 * length + 1);
  struct lethe_expr *e = lethe_malloc(a, most);
  if (!e) return LETHE_ENOMEM;
  e->alloc = a;
  struct parser p = {text, expr_token(text), fields, booleans, e, 0, 0, 0, why, n};
  if (!whole(&p)) {
    lethe_free(a, e, most);
    return LETHE_EPOLICY;
  }
  e->size = size_of(p.n);
  *out = e->size < most ? a->realloc(a->ud, e, most, e->size) : e;
  return LETHE_OK;
}

int lethe_expr_compile(struct lethe_expr **out, const struct lethe_alloc *a, const char *text,
                       const char *const *fields, char *why, size_t n) {
  return lethe_expr_compile_with(out, a, text, fields, 0, why, n);
}

bool lethe_expr_same(const struct lethe_expr *a, const struct lethe_expr *b) {
  if (!a || !b) return a == b;
  return a->size == b->size && memcmp(a->code, b->code, a->size - size_of(0)) == 0;
}

void lethe_expr_delete(struct lethe_expr *e) {
  if (e) lethe_free(e->alloc, e, e->size);
}
