/* SPDX-License-Identifier: MIT
 * The state machine of a name: bodies come, are noted gone, and their callbacks run. */
#include <string.h>

#include "slots_internal.h"

enum lethe_slot_state lethe_slots_state(const struct lethe_slots *t, uint32_t slot) {
  const struct lethe_slot *s = slot ? slots_at(t, slot) : NULL;
  if (!s) return LETHE_SLOT_IS_UNKNOWN;
  if (s->bits & LETHE_SLOT_COLLECTED) return LETHE_SLOT_IS_COLLECTED;
  if (s->bits & LETHE_SLOT_ENTRY) return LETHE_SLOT_IS_UP;
  return s->bits & (LETHE_SLOT_DEAD | LETHE_SLOT_DROP) ? LETHE_SLOT_IS_FINALIZED
                                                       : LETHE_SLOT_IS_UNKNOWN;
}

/* ---- bodies ---------------------------------------------------------------------------------- */

/* Room for one more body's note; keeps I2. */
static int reserve(struct lethe_slots *t) {
  if (t->bodies < t->ring_room) return LETHE_OK;
  if (t->ring_room > UINT32_MAX / 2) return LETHE_ENOMEM;
  uint32_t room = t->ring_room ? t->ring_room * 2 : 16;
  struct slots_note *ring = lethe_malloc(t->alloc, room * sizeof *ring);
  if (!ring) return LETHE_ENOMEM;
  for (uint32_t i = 0; i < t->queued; i++)
    ring[i] = t->ring[(t->ring_first + i) & (t->ring_room - 1)];
  lethe_free(t->alloc, t->ring, t->ring_room * sizeof *t->ring);
  t->ring = ring;
  t->ring_room = room;
  t->ring_first = 0;
  return LETHE_OK;
}

int lethe_slots_enter(struct lethe_slots *t, uint32_t slot, uint32_t *generation) {
  struct lethe_slot *s = slots_at(t, slot);
  if (reserve(t)) return LETHE_ENOMEM;
  t->bodies++;
  t->so_far.entered++;
  s->bodies++;
  s->bits &= ~(unsigned)(LETHE_SLOT_COLLECTED | LETHE_SLOT_DEAD | LETHE_SLOT_DROP);
  s->bits |= LETHE_SLOT_ENTRY;
  *generation = ++s->generation;
  return LETHE_OK;
}

void lethe_slots_note(struct lethe_slots *t, uint32_t slot, uint32_t generation) {
  struct lethe_slot *s = slots_at(t, slot);
  if (s->generation == generation) s->bits |= LETHE_SLOT_COLLECTED;
  t->ring[(t->ring_first + t->queued++) & (t->ring_room - 1)] =
      (struct slots_note){slot, generation};
  t->so_far.noted++;
}

uint32_t lethe_slots_queued(const struct lethe_slots *t) { return t->queued; }

static struct slots_note *note_at(const struct lethe_slots *t, uint32_t i) {
  return &t->ring[(t->ring_first + i) & (t->ring_room - 1)];
}

uint32_t lethe_slots_peek(const struct lethe_slots *t, uint32_t i) { return note_at(t, i)->slot; }

/* By insertion: it is a short stretch of the queue that somebody looks at. */
void lethe_slots_order(struct lethe_slots *t, uint32_t from) {
  for (uint32_t i = from + 1; i < t->queued; i++) {
    struct slots_note note = *note_at(t, i);
    uint32_t j = i;
    for (; j > from && slots_before(t, note.slot, note_at(t, j - 1)->slot); j--)
      *note_at(t, j) = *note_at(t, j - 1);
    *note_at(t, j) = note;
  }
}

/* The others keep their order. */
static void unqueue(struct lethe_slots *t, uint32_t i) {
  for (; i > 0; i--) *note_at(t, i) = *note_at(t, i - 1);
  t->ring_first = (t->ring_first + 1) & (t->ring_room - 1);
  t->queued--;
  t->bodies--;
}

bool lethe_slots_run(struct lethe_slots *t, uint32_t i) {
  uint32_t slot = note_at(t, i)->slot;
  struct lethe_slot *s = slots_at(t, slot);
  bool acts = s->bits & LETHE_SLOT_COLLECTED;
  unqueue(t, i);
  s->bodies--;
  if (acts) {
    s->bits &= ~(unsigned)(LETHE_SLOT_COLLECTED | LETHE_SLOT_ENTRY);
    t->so_far.finalized++;
    if ((s->key & 3) != 3) { /* a weak collection has no name that anybody knows */
      s->bits |= LETHE_SLOT_DEAD;
      slots_suspect(t, slot);
    }
  } else {
    t->so_far.stale++;
    lethe_slots_settle(t, slot);
  }
  return acts;
}

/* ---- what else keeps a name ------------------------------------------------------------------ */

void lethe_slots_deliver(struct lethe_slots *t, uint32_t slot) {
  slots_at(t, slot)->bits |= LETHE_SLOT_REACHABLE | LETHE_SLOT_RECOGNIZABLE;
}

void lethe_slots_recognize(struct lethe_slots *t, uint32_t slot) {
  slots_at(t, slot)->recognizers++;
}

void lethe_slots_unrecognize(struct lethe_slots *t, uint32_t slot) {
  struct lethe_slot *s = slots_at(t, slot);
  if (--s->recognizers > 0) return;
  if (slots_is_import(s) && s->bits & LETHE_SLOT_RECOGNIZABLE) {
    s->bits |= LETHE_SLOT_RETIRED;
    slots_suspect(t, slot);
  }
  lethe_slots_settle(t, slot);
}

void lethe_slots_store(struct lethe_slots *t, uint32_t slot) { slots_at(t, slot)->vdata++; }

void lethe_slots_unstore(struct lethe_slots *t, uint32_t slot) {
  struct lethe_slot *s = slots_at(t, slot);
  if (--s->vdata > 0) return;
  if (!(s->bits & LETHE_SLOT_ENTRY)) {
    s->bits |= LETHE_SLOT_DEAD;
    slots_suspect(t, slot);
  }
}

int lethe_slots_drop_export(struct lethe_slots *t, uint32_t slot) {
  struct lethe_slot *s = slots_at(t, slot);
  if (!slots_is_own(s) || !slots_is(s, LETHE_SLOT_REACHABLE)) return LETHE_EINVAL;
  s->bits &= ~(unsigned)LETHE_SLOT_REACHABLE;
  if (!(s->bits & LETHE_SLOT_ENTRY) && s->vdata == 0) {
    s->bits |= LETHE_SLOT_DEAD;
    slots_suspect(t, slot);
  }
  return LETHE_OK;
}

/* The kernel may say so only of what it knows and does not reach. */
static bool may_retire(const struct lethe_slot *s) {
  return slots_is(s, LETHE_SLOT_RECOGNIZABLE) && !(s->bits & LETHE_SLOT_REACHABLE);
}

int lethe_slots_retire_export(struct lethe_slots *t, uint32_t slot) {
  struct lethe_slot *s = slots_at(t, slot);
  if (!slots_is_own(s) || !may_retire(s)) return LETHE_EINVAL;
  s->bits &= ~(unsigned)(LETHE_SLOT_RECOGNIZABLE | LETHE_SLOT_RETIRE_OWN);
  lethe_slots_settle(t, slot);
  return LETHE_OK;
}

int lethe_slots_retire_import(struct lethe_slots *t, uint32_t slot) {
  struct lethe_slot *s = slots_at(t, slot);
  if (!slots_is_import(s) || !may_retire(s)) return LETHE_EINVAL;
  s->bits &= ~(unsigned)(LETHE_SLOT_RECOGNIZABLE | LETHE_SLOT_RETIRED);
  lethe_slots_settle(t, slot);
  return LETHE_OK;
}
