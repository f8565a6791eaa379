/* SPDX-License-Identifier: MIT
 * Compiles the rules of declared queues by recursive descent. Only the frame of a rule is read
 * here; conditions are cut out of it and given to the expression compiler, in a copy of the text
 * where all else is blank, so that the columns of its messages are those of the rule. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lethe/nearest.h"
#include "rules_internal.h"

enum { TEXT = 4096, NEST = 100 };

enum rule_place { INSERT, ON_HIT, ON_EVICT };

struct word {
  const char *at;
  size_t n;
  bool name; /* a word of letters; else a numeral, a sign, or nothing at the end */
};

struct reader {
  const struct lethe_alloc *alloc;
  const struct lethe_evict_queues *spec;
  enum rule_place place;
  unsigned queue; /* whose rule it is */
  struct rule *rule;
  const char *text;
  struct word next;
  unsigned nest;
  bool starved;
  char *why;
  size_t room;
};

static const char *const actions[] = {"move", "reinsert", "drop", NULL};
const char *const rule_fields[] = {"freq", "age",   "since", "size",  "cost", "L",
                                   "used", "limit", "len",   "ghost", NULL};
static const char *const fields_without_ghost[] = {"freq", "age",  "since", "size", "cost",
                                                   "L",    "used", "limit", "len",  NULL};

/* ---- words ----------------------------------------------------------------------------------- */

static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static struct word word_at(const char *at) {
  while (*at == ' ' || (*at >= '\t' && *at <= '\r')) at++;
  struct word w = {at, *at != '\0', is_letter(*at)};
  if (w.name || is_digit(*at))
    while (is_letter(at[w.n]) || is_digit(at[w.n]) || (!w.name && at[w.n] == '.')) w.n++;
  return w;
}

static bool is(const struct word *w, const char *text) {
  return strncmp(w->at, text, w->n) == 0 && text[w->n] == '\0';
}
static bool sees(const struct reader *r, const char *text) { return is(&r->next, text); }
static void skip(struct reader *r) { r->next = word_at(r->next.at + r->next.n); }

static unsigned queue_named(const struct reader *r, const struct word *w) {
  unsigned q = 0;
  while (q < r->spec->count && !is(w, r->spec->queue[q].name)) q++;
  return q;
}

/* True for a word that an outcome can begin with. */
static bool is_action(const struct reader *r, const struct word *w) {
  if (!w->name) return false;
  if (r->place == INSERT) return queue_named(r, w) < r->spec->count;
  return is(w, "move") || is(w, "reinsert") || is(w, "drop");
}

/* ---- refusals -------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static bool refuse(struct reader *r, const char *at,
                                                         const char *format, ...) {
  int column = snprintf(r->why, r->room, "column %zu: ", (size_t)(at - r->text) + 1);
  if (column < 0 || (size_t)column >= r->room) return false;
  va_list ap;
  va_start(ap, format);
  vsnprintf(r->why + column, r->room - (size_t)column, format, ap);
  va_end(ap);
  return false;
}

static bool starve(struct reader *r) {
  r->starved = true;
  return false;
}

struct shown {
  char text[RULE_WORD];
};

static struct shown show(const struct word *w) {
  struct shown s;
  unsigned char c = (unsigned char)*w->at;
  if (w->n == 0)
    snprintf(s.text, sizeof s.text, "the end");
  else if (w->n == 1 && (c < ' ' || c >= 0x7f))
    snprintf(s.text, sizeof s.text, "byte 0x%02x", c);
  else
    snprintf(s.text, sizeof s.text, "\"%.*s%s\"", w->n > 40 ? 40 : (int)w->n, w->at,
             w->n > 40 ? "..." : "");
  return s;
}

static bool expect(struct reader *r, const char *text) {
  if (!sees(r, text))
    return refuse(r, r->next.at, "expected \"%s\", got %s", text, show(&r->next).text);
  skip(r);
  return true;
}

/* A word that should be one of the names, and is none. */
static bool refuse_name(struct reader *r, const struct word *w, const char *what,
                        const char *const *names) {
  char text[RULE_WORD];
  snprintf(text, sizeof text, "%.*s", (int)w->n, w->at);
  const char *near = lethe_nearest(text, names);
  if (!near) return refuse(r, w->at, "unknown %s %s", what, show(w).text);
  return refuse(r, w->at, "unknown %s %s (did you mean \"%s\"?)", what, show(w).text, near);
}

static bool refuse_queue(struct reader *r, const struct word *w) {
  const char *names[LETHE_EVICT_QUEUES + 1] = {NULL};
  if (!w->name) return refuse(r, w->at, "expected a queue, got %s", show(w).text);
  for (unsigned q = 0; q < r->spec->count; q++) names[q] = r->spec->queue[q].name;
  return refuse_name(r, w, "queue", names);
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* A new step, or NULL without memory. */
static struct rule_step *add(struct reader *r, enum rule_kind kind) {
  struct rule *rule = r->rule;
  void *steps = rule->steps;
  size_t room = rule->room;
  if (lethe_grow(r->alloc, &steps, &room, rule->count + 1, sizeof *rule->steps) != LETHE_OK) {
    starve(r);
    return NULL;
  }
  rule->steps = steps;
  rule->room = (unsigned)room;
  struct rule_step *s = &rule->steps[rule->count++];
  *s = (struct rule_step){.kind = kind};
  return s;
}

/* The expression between two places of the text. */
static bool compile(struct reader *r, struct lethe_expr **out, const char *from, const char *to) {
  char copy[TEXT + 1];
  bool ghost = r->place == INSERT;
  size_t start = (size_t)(from - r->text), end = (size_t)(to - r->text);
  memset(copy, ' ', start);
  memcpy(copy + start, from, end - start);
  copy[end] = '\0';
  int rc = lethe_expr_compile_with(out, r->alloc, copy, ghost ? rule_fields : fields_without_ghost,
                                   UINT64_C(1) << RULE_GHOST, r->why, r->room);
  return rc == LETHE_ENOMEM ? starve(r) : rc == LETHE_OK;
}

/* ---- actions --------------------------------------------------------------------------------- */

/* Behind "freq": "=" and an expression up to the closing parenthesis, which stays. */
static bool read_freq(struct reader *r, struct rule_step *s) {
  struct word name = r->next;
  if (!sees(r, "freq"))
    return refuse(r, name.at, "expected \"freq = ...\", got %s", show(&name).text);
  skip(r);
  if (!expect(r, "=")) return false;
  const char *from = r->next.at;
  for (int depth = 0; r->next.n && (depth > 0 || !sees(r, ")")); skip(r)) {
    if (sees(r, "(")) depth++;
    if (sees(r, ")")) depth--;
  }
  return compile(r, &s->expr, from, r->next.at);
}

static bool read_move(struct reader *r) {
  struct rule_step *s = add(r, RULE_MOVE);
  if (!s || !expect(r, "(")) return false;
  s->queue = queue_named(r, &r->next);
  if (s->queue == r->spec->count) return refuse_queue(r, &r->next);
  skip(r);
  if (sees(r, ",")) {
    skip(r);
    if (!read_freq(r, s)) return false;
  }
  return expect(r, ")");
}

static bool read_reinsert(struct reader *r) {
  struct rule_step *s = add(r, RULE_REINSERT);
  if (!s) return false;
  if (!sees(r, "(")) return true;
  skip(r);
  return (sees(r, ")") || read_freq(r, s)) && expect(r, ")");
}

static bool read_drop(struct reader *r) {
  struct rule_step *s = add(r, RULE_DROP);
  if (!s) return false;
  if (!sees(r, "(")) return true;
  skip(r);
  if (sees(r, ")")) {
    skip(r);
    return true;
  }
  const char *at = r->next.at;
  if (!expect(r, "ghost")) return false;
  if (!(r->spec->queue[r->queue].ghost > 0))
    return refuse(r, at, "queue \"%s\" has no ghost", r->spec->queue[r->queue].name);
  s->ghost = true;
  return expect(r, ")");
}

static bool read_action(struct reader *r) {
  struct word name = r->next;
  skip(r);
  if (r->place == INSERT) {
    struct rule_step *s = add(r, RULE_MOVE);
    if (s) s->queue = queue_named(r, &name);
    return s != NULL;
  }
  if (is(&name, "move")) return read_move(r);
  if (is(&name, "reinsert")) return read_reinsert(r);
  return read_drop(r);
}

/* ---- rules ----------------------------------------------------------------------------------- */

/* What begins at the next word, up to "and", "or", ")" or the end of its depth. */
struct extent {
  const char *end;
  bool action; /* the word of one is inside */
  bool conjunct;
  struct word first, second;
  unsigned words;
};

static struct extent measure(const struct reader *r) {
  struct extent e = {.first = r->next};
  struct word w = r->next;
  for (int depth = 0; w.n; w = word_at(w.at + w.n)) {
    if (depth == 0 && (is(&w, "and") || is(&w, "or") || is(&w, ")"))) break;
    if (is(&w, "(")) depth++;
    if (is(&w, ")")) depth--;
    if (is_action(r, &w)) e.action = true;
    if (++e.words == 2) e.second = w;
  }
  e.end = w.at;
  e.conjunct = is(&w, "and");
  return e;
}

/* A choice that ends without an action. */
static bool refuse_end(struct reader *r, const struct extent *e) {
  const char *names[LETHE_EVICT_QUEUES + 1] = {NULL};
  bool insert = r->place == INSERT;
  const char *what = insert ? "a queue" : "an action";
  if (e->words == 0)
    return refuse(r, e->first.at, "expected %s, got %s", what, show(&r->next).text);
  for (unsigned q = 0; q < r->spec->count; q++) names[q] = r->spec->queue[q].name;
  bool alone = e->words == 1 || (is(&e->second, "(") && !is(&e->first, "not"));
  if (e->first.name && alone && queue_named(r, &e->first) < r->spec->count)
    return refuse(r, e->first.at, "a queue alone is no action (did you mean \"move(%.*s)\"?)",
                  (int)e->first.n, e->first.at);
  if (e->first.name && alone)
    return refuse_name(r, &e->first, insert ? "queue" : "action", insert ? names : actions);
  struct word end = word_at(e->end);
  return refuse(r, e->end, "expected \"and\" and %s behind the condition, got %s", what,
                show(&end).text);
}

static bool read_rule(struct reader *r);

static bool read_outcome(struct reader *r) {
  if (!sees(r, "(")) return read_action(r);
  skip(r);
  return read_rule(r) && expect(r, ")");
}

/* Tests and an outcome; the tests lead behind it, where the next choice will stand. */
static bool read_choice(struct reader *r) {
  unsigned first = r->rule->count;
  for (;;) {
    struct extent e = measure(r);
    bool outcome = is_action(r, &e.first) || (e.action && is(&e.first, "("));
    if (outcome) break;
    if (!e.conjunct) return refuse_end(r, &e);
    struct lethe_expr *condition;
    if (!compile(r, &condition, e.first.at, e.end)) return false;
    struct rule_step *s = add(r, RULE_TEST);
    if (!s) {
      lethe_expr_delete(condition);
      return false;
    }
    s->expr = condition;
    r->next = word_at(e.end);
    skip(r);
  }
  unsigned tests = r->rule->count;
  if (!read_outcome(r)) return false;
  for (unsigned i = first; i < tests; i++) r->rule->steps[i].otherwise = r->rule->count;
  return true;
}

static bool read_rule(struct reader *r) {
  if (++r->nest > NEST) return refuse(r, r->next.at, "nested too deeply");
  for (;;) {
    if (!read_choice(r)) return false;
    if (!sees(r, "or")) break;
    skip(r);
  }
  r->nest--;
  return true;
}

static bool read_whole(struct reader *r) {
  if (strlen(r->text) > TEXT) {
    snprintf(r->why, r->room, "a rule of %zu bytes is too long (at most %d)", strlen(r->text),
             TEXT);
    return false;
  }
  r->next = word_at(r->text);
  if (!read_rule(r)) return false;
  if (r->next.n)
    return refuse(r, r->next.at, "expected \"or\" or the end, got %s", show(&r->next).text);
  return add(r, RULE_NONE) != NULL;
}

/* ---- all rules ------------------------------------------------------------------------------- */

/* Puts the place before the message that compiling one left. */
static void name_place(struct reader *r, const char *place) {
  char message[400];
  snprintf(message, sizeof message, "%s", r->why);
  snprintf(r->why, r->room, "%s%s%s: %s", place, r->place == INSERT ? "" : ".",
           r->place == INSERT ? "" : r->spec->queue[r->queue].name, message);
}

static bool read_rules(struct reader *r, struct rules *rules) {
  static const char *const places[] = {"insert", "on_hit", "on_evict"};
  for (unsigned i = 0; i < 1 + 2 * rules->queues; i++) {
    r->place = i == 0 ? INSERT : i % 2 ? ON_HIT : ON_EVICT;
    r->queue = i == 0 ? 0 : (i - 1) / 2;
    const struct lethe_evict_queue *q = &r->spec->queue[r->queue];
    r->text = r->place == INSERT ? r->spec->insert : r->place == ON_HIT ? q->on_hit : q->on_evict;
    r->rule = r->place == INSERT   ? &rules->insert
              : r->place == ON_HIT ? &rules->on_hit[r->queue]
                                   : &rules->on_evict[r->queue];
    r->nest = 0;
    if (!r->text || read_whole(r)) continue;
    if (!r->starved) name_place(r, places[r->place]);
    return false;
  }
  return true;
}

int rules_compile(struct rules **out, const struct lethe_alloc *a,
                  const struct lethe_evict_queues *spec, char *why, size_t n) {
  struct reader r = {.alloc = a, .spec = spec, .why = why, .room = n};
  if (!rules_check_queues(spec, why, n)) return LETHE_EPOLICY;
  struct rules *rules = lethe_zalloc(a, sizeof *rules);
  if (!rules) return LETHE_ENOMEM;
  rules->alloc = a;
  rules->queues = spec->count;
  if (read_rules(&r, rules)) {
    *out = rules;
    return LETHE_OK;
  }
  rules_delete(rules);
  return r.starved ? LETHE_ENOMEM : LETHE_EPOLICY;
}
