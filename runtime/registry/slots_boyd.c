/* SPDX-License-Identifier: MIT
 * Bringing out the dead: what is to be said of whom, in byte order. */
#include <string.h>

#include "slots_internal.h"

/* ---- judging --------------------------------------------------------------------------------- */

/* Nothing keeps it, now. A collected body that no callback told of counts as up. */
static bool is_dead(const struct lethe_slot *s) {
  if (s->bits & LETHE_SLOT_ENTRY || s->vdata > 0) return false;
  return slots_is_import(s) || !(s->bits & LETHE_SLOT_REACHABLE);
}

void lethe_slots_judge(struct lethe_slots *t) {
  for (uint32_t slot = t->suspects; slot; slot = slots_at(t, slot)->next) {
    struct lethe_slot *s = slots_at(t, slot);
    if (!(s->bits & LETHE_SLOT_DEAD)) continue;
    if (is_dead(s) && !slots_is_import(s)) continue; /* its owner's turn */
    s->bits &= ~(unsigned)LETHE_SLOT_DEAD;
    if (is_dead(s)) s->bits |= LETHE_SLOT_DROP;
  }
}

uint32_t lethe_slots_dead_own(const struct lethe_slots *t, uint32_t after) {
  uint32_t slot = after ? slots_at(t, after)->next : t->suspects;
  while (slot && !(slots_at(t, slot)->bits & LETHE_SLOT_DEAD)) slot = slots_at(t, slot)->next;
  return slot;
}

void lethe_slots_bury(struct lethe_slots *t, uint32_t slot) {
  struct lethe_slot *s = slots_at(t, slot);
  s->bits &= ~(unsigned)LETHE_SLOT_DEAD;
  if (s->bits & LETHE_SLOT_RECOGNIZABLE) s->bits |= LETHE_SLOT_RETIRE_OWN;
}

/* ---- byte order ------------------------------------------------------------------------------ */

enum { PACKED = 15 }; /* characters after the type and sign that fit a word */

static uint64_t code_of(char c) {
  if (c >= '0' && c <= '9') return (uint64_t)(c - '0') + 2;
  return c == '/' ? 1 : c == ':' ? 12 : c == 'd' ? 13 : 14; /* 'v' */
}

/* Compares as the bytes do as far as it reaches: "o-10" before "o-2". */
static uint64_t pack(const char *text, size_t n) {
  uint64_t word = text[1] == '-';
  for (size_t i = 0; i < PACKED; i++) word = word << 4 | (i + 2 < n ? code_of(text[i + 2]) : 0);
  return word;
}

static size_t text_of(const struct lethe_slots *t, uint32_t slot, char *buf) {
  struct lethe_vref v;
  lethe_slots_name(t, slot, &v);
  return lethe_vref_text(&v, buf);
}

bool slots_before(const struct lethe_slots *t, uint32_t a, uint32_t b) {
  char x[LETHE_VREF_MAX], y[LETHE_VREF_MAX];
  text_of(t, a, x);
  text_of(t, b, y);
  return strcmp(x, y) < 0;
}

static bool before(const struct lethe_slots *t, const struct slots_suspect *a,
                   const struct slots_suspect *b) {
  return a->order != b->order ? a->order < b->order : slots_before(t, a->slot, b->slot);
}

/* Bottom-up merge sort; `spare` is as long as `list`. Where the result is. */
static struct slots_suspect *sort(const struct lethe_slots *t, struct slots_suspect *list,
                                  struct slots_suspect *spare, size_t n) {
  for (size_t width = 1; width < n; width *= 2) {
    for (size_t from = 0; from < n; from += 2 * width) {
      size_t middle = from + width < n ? from + width : n;
      size_t end = from + 2 * width < n ? from + 2 * width : n;
      size_t a = from, b = middle;
      for (size_t i = from; i < end; i++) {
        bool right = a == middle || (b < end && before(t, &list[b], &list[a]));
        spare[i] = right ? list[b++] : list[a++];
      }
    }
    struct slots_suspect *other = list;
    list = spare;
    spare = other;
  }
  return list;
}

/* ---- the backlog ----------------------------------------------------------------------------- */

static size_t count_suspects(const struct lethe_slots *t) {
  size_t n = 0;
  for (uint32_t slot = t->suspects; slot; slot = slots_at(t, slot)->next) n++;
  return n;
}

int lethe_slots_gather(struct lethe_slots *t) {
  size_t n = count_suspects(t), i = 0;
  char text[LETHE_VREF_MAX];
  if (n == 0) return LETHE_OK;
  struct slots_suspect *list = lethe_malloc(t->alloc, n * sizeof *list);
  struct slots_suspect *spare = lethe_malloc(t->alloc, n * sizeof *spare);
  if (!list || !spare) {
    lethe_free(t->alloc, list, n * sizeof *list);
    lethe_free(t->alloc, spare, n * sizeof *spare);
    return LETHE_ENOMEM;
  }
  for (uint32_t slot = t->suspects; slot; slot = slots_at(t, slot)->next) {
    size_t length = text_of(t, slot, text);
    list[i++] = (struct slots_suspect){pack(text, length), slot};
  }
  struct slots_suspect *sorted = sort(t, list, spare, n);
  lethe_free(t->alloc, sorted == list ? spare : list, n * sizeof *list);
  lethe_free(t->alloc, t->backlog, t->backlog_room * sizeof *t->backlog);
  t->backlog = sorted;
  t->backlog_room = t->backlog_n = n;
  t->backlog_first = 0;
  t->suspects = 0;
  return LETHE_OK;
}

size_t lethe_slots_backlog(const struct lethe_slots *t) { return t->backlog_n - t->backlog_first; }

/* A name may be retired once it is dropped, or with its drop. */
static unsigned verdict_on_import(const struct lethe_slot *s) {
  bool drop = s->bits & LETHE_SLOT_DROP && s->bits & LETHE_SLOT_REACHABLE;
  if (!is_dead(s) || !(s->bits & (LETHE_SLOT_DROP | LETHE_SLOT_RETIRED))) return LETHE_VERDICT_NONE;
  if (s->bits & LETHE_SLOT_REACHABLE && !drop) return LETHE_VERDICT_NONE;
  bool retire = s->bits & LETHE_SLOT_RECOGNIZABLE && s->recognizers == 0;
  return (drop ? LETHE_VERDICT_DROP : 0u) | (retire ? LETHE_VERDICT_RETIRE : 0u);
}

unsigned lethe_slots_verdict(const struct lethe_slots *t, size_t i, uint32_t *slot) {
  *slot = t->backlog[t->backlog_first + i].slot;
  const struct lethe_slot *s = slots_at(t, *slot);
  if (slots_is_import(s)) return verdict_on_import(s);
  return slots_is(s, LETHE_SLOT_RETIRE_OWN | LETHE_SLOT_RECOGNIZABLE) ? LETHE_VERDICT_RETIRE_OWN
                                                                      : LETHE_VERDICT_NONE;
}

static void carry_out(struct lethe_slots *t, uint32_t slot, unsigned verdict) {
  struct lethe_slot *s = slots_at(t, slot);
  s->bits &=
      ~(unsigned)(LETHE_SLOT_DROP | LETHE_SLOT_RETIRED | LETHE_SLOT_RETIRE_OWN | LETHE_SLOT_LINKED);
  if (verdict & LETHE_VERDICT_DROP) {
    s->bits &= ~(unsigned)LETHE_SLOT_REACHABLE;
    t->so_far.dropped++;
  }
  if (verdict & (LETHE_VERDICT_RETIRE | LETHE_VERDICT_RETIRE_OWN)) {
    s->bits &= ~(unsigned)LETHE_SLOT_RECOGNIZABLE;
    if (verdict & LETHE_VERDICT_RETIRE)
      t->so_far.retired++;
    else
      t->so_far.retired_own++;
  }
  if (s->bits & LETHE_SLOT_DEAD) /* it died once more while it waited here */
    slots_suspect(t, slot);
  else
    lethe_slots_settle(t, slot);
}

void lethe_slots_commit(struct lethe_slots *t, size_t n) {
  for (; n > 0; n--) {
    uint32_t slot;
    unsigned verdict = lethe_slots_verdict(t, 0, &slot);
    t->backlog_first++;
    carry_out(t, slot, verdict);
  }
}
