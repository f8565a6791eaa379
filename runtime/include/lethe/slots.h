/* SPDX-License-Identifier: MIT
 * The slot tables of one vat: what it imports and exports, told apart from what it only names.
 *
 * A vat speaks of foreign objects by name (a vref). Inside it each name has at most one object, a
 * *body*, which a collector may take at any moment. This table has one slot per name, and its one
 * rule is that the moment must not show: a body's death is only noted; what follows from it waits
 * until the vat is told to bring out its dead, and comes out in the byte order of names. One
 * imported name moves like this:
 *
 *   UNKNOWN -- import --> REACHABLE -- the collector takes the body --> COLLECTED
 *      ^                      ^   ^----------------- import, new body ------+
 *      |                      |                                             | callback
 *      |                      +-------------------- import, new body -- FINALIZED
 *      +---------------- bring out the dead: dropped, retired -------------+
 *
 *   lethe_slots_add(t, &vref, &slot)        a slot for the name
 *   lethe_slots_enter(t, slot, &gen)        it gets a body, in the slot's next generation
 *   lethe_slots_note(t, slot, gen)          a finalizer: that body is gone. A few stores: no lock,
 *                                           no allocation, no call; memory was set aside
 *   lethe_slots_run(t, i)                   a queued callback runs: COLLECTED becomes FINALIZED
 *   lethe_slots_judge(t)                    looks at the dead-set: imports that nothing keeps
 *   lethe_slots_gather(t)                   what is to be said, in byte order
 *   lethe_slots_verdict(t, i, &slot)        the i-th of it: dropped, retired, or nothing
 *   lethe_slots_commit(t, n)                the first n were said
 *
 * A callback acts if the slot's body is gone *now*, whichever body it was queued for: callbacks may
 * be late, reordered or lost, and there may be several for one slot. Comparing generations in the
 * callback instead would be wrong; they are compared in the note alone.
 *
 * A name is kept alive by its body, by stored data that mentions it (vdata), or, if the vat made
 * it, by the kernel. A name that nothing keeps is dropped; it is retired once no recognizer (a weak
 * collection that uses it as a key) is left either.
 *
 * I1 a slot exists as long as anything is known of its name: a body, a body that was not yet heard
 *    of, a recognizer, stored data, what the kernel knows, or a place among the suspects. So no
 *    note ever comes for a slot that was given up
 * I2 queued callbacks + bodies alive <= the ring's room: a note always finds a place
 * I3 COLLECTED implies ENTRY
 * I4 note and run move names between sets and do nothing else
 *
 * One thread. Nothing here calls out but lethe_slots_each. */
#ifndef LETHE_SLOTS_H
#define LETHE_SLOTS_H

#include "lethe/base.h"

/* ---- names ----------------------------------------------------------------------------------- */

enum { LETHE_VREF_MAX = 48 }; /* bytes of a name as text, with its end */

enum lethe_vref_form { LETHE_VREF_PLAIN, LETHE_VREF_DURABLE, LETHE_VREF_VIRTUAL };

/* T(+|-)N, o+dK/I[:F] or o+vK/I[:F]; numbers have at most 15 digits, I and F at most 9. 'w' names a
 * weak collection of the vat: such a name is never read and never leaves. */
struct lethe_vref {
  char type; /* 'o' object, 'p' promise, 'd' device, 'w' */
  bool own;  /* '+': the vat allocated it */
  bool has_facet;
  enum lethe_vref_form form;
  uint32_t instance, facet;
  uint64_t id;
};

/* LETHE_EINVAL for what is no name. */
LETHE_API int lethe_vref_parse(const char *text, size_t n, struct lethe_vref *v);
/* Its length; buf has LETHE_VREF_MAX bytes. */
LETHE_API size_t lethe_vref_text(const struct lethe_vref *v, char *buf);

/* ---- slots ----------------------------------------------------------------------------------- */

enum lethe_slot_bits {
  LETHE_SLOT_USED = 1,
  LETHE_SLOT_ENTRY = 2,         /* it has a body, or had one whose end no callback told */
  LETHE_SLOT_COLLECTED = 4,     /* and that body is gone */
  LETHE_SLOT_DEAD = 8,          /* in the dead-set: it lost what kept it, or seemed to */
  LETHE_SLOT_RETIRED = 16,      /* its last recognizer went */
  LETHE_SLOT_REACHABLE = 32,    /* the kernel's flag: delivered or exported, and not dropped */
  LETHE_SLOT_RECOGNIZABLE = 64, /* the kernel knows the name */
  LETHE_SLOT_DROP = 128,        /* judged: an import that nothing keeps */
  LETHE_SLOT_RETIRE_OWN = 256,  /* judged: a dead object of the vat's that the kernel knows */
  LETHE_SLOT_LINKED = 512       /* among the suspects */
};

struct lethe_slot {
  uint64_t key; /* the name but for its instance; never 0 */
  uint32_t instance;
  uint32_t generation; /* of the current body */
  uint32_t bodies;     /* alive or not yet heard of: what will still be noted, or is queued */
  uint32_t recognizers;
  uint32_t vdata; /* how often stored data mentions it */
  uint32_t next;  /* suspects, or free slots */
  uint32_t bits;
};

struct lethe_slots;

enum lethe_slot_state {
  LETHE_SLOT_IS_UNKNOWN,
  LETHE_SLOT_IS_UP, /* REACHABLE or UNREACHABLE: only an engine that sees the heap can tell */
  LETHE_SLOT_IS_COLLECTED,
  LETHE_SLOT_IS_FINALIZED
};

/* LETHE_ENOMEM. The allocator outlives the table. */
LETHE_API int lethe_slots_new(struct lethe_slots **t, const struct lethe_alloc *a);
LETHE_API void lethe_slots_delete(struct lethe_slots *t);

/* The slot of a name, 0 if nothing is known of it. A facet shares the slot of its object. */
LETHE_API uint32_t lethe_slots_find(const struct lethe_slots *t, const struct lethe_vref *v);
/* The same, made if need be; LETHE_ENOMEM. An empty slot goes with the next lethe_slots_settle. */
LETHE_API int lethe_slots_add(struct lethe_slots *t, const struct lethe_vref *v, uint32_t *slot);
/* The record; never NULL for a slot in use. It moves no more, and dies with the slot. */
LETHE_API struct lethe_slot *lethe_slots_at(const struct lethe_slots *t, uint32_t slot);
LETHE_API void lethe_slots_name(const struct lethe_slots *t, uint32_t slot, struct lethe_vref *v);
/* Gives the slot up if nothing is known of it any more (I1). */
LETHE_API void lethe_slots_settle(struct lethe_slots *t, uint32_t slot);
LETHE_API enum lethe_slot_state lethe_slots_state(const struct lethe_slots *t, uint32_t slot);

/* ---- bodies ---------------------------------------------------------------------------------- */

/* The slot has a new body, whose generation is told. LETHE_ENOMEM, and then nothing has changed. */
LETHE_API int lethe_slots_enter(struct lethe_slots *t, uint32_t slot, uint32_t *generation);
/* From a finalizer, at any moment: that body is gone. Never fails. */
LETHE_API void lethe_slots_note(struct lethe_slots *t, uint32_t slot, uint32_t generation);
/* Callbacks that are queued. */
LETHE_API uint32_t lethe_slots_queued(const struct lethe_slots *t);
/* The slot of the i-th of them, from 0, the oldest first. */
LETHE_API uint32_t lethe_slots_peek(const struct lethe_slots *t, uint32_t i);
/* Puts the callbacks from the i-th on in the byte order of their names: for whoever shows the
 * queue. */
LETHE_API void lethe_slots_order(struct lethe_slots *t, uint32_t from);
/* Runs it: true if the slot became FINALIZED by it, which adds it to the dead-set. */
LETHE_API bool lethe_slots_run(struct lethe_slots *t, uint32_t i);

/* ---- what else keeps a name ------------------------------------------------------------------ */

/* The kernel delivered the name, or got it: reachable and recognizable from now on. */
LETHE_API void lethe_slots_deliver(struct lethe_slots *t, uint32_t slot);
/* A weak collection took the name as a key, or let go of it. The last one to go makes an import a
 * candidate for retirement. */
LETHE_API void lethe_slots_recognize(struct lethe_slots *t, uint32_t slot);
LETHE_API void lethe_slots_unrecognize(struct lethe_slots *t, uint32_t slot);
/* Stored data mentions the name once more, once less; the last mention makes it suspect. */
LETHE_API void lethe_slots_store(struct lethe_slots *t, uint32_t slot);
LETHE_API void lethe_slots_unstore(struct lethe_slots *t, uint32_t slot);
/* The kernel's deliveries. LETHE_EINVAL where the kernel's own record would not allow it. */
LETHE_API int lethe_slots_drop_export(struct lethe_slots *t, uint32_t slot);
LETHE_API int lethe_slots_retire_export(struct lethe_slots *t, uint32_t slot);
LETHE_API int lethe_slots_retire_import(struct lethe_slots *t, uint32_t slot);

/* ---- bringing out the dead ------------------------------------------------------------------- */

enum lethe_verdict {
  LETHE_VERDICT_NONE = 0, /* delivered again, or retired by the kernel, since it was judged */
  LETHE_VERDICT_DROP = 1,
  LETHE_VERDICT_RETIRE = 2,
  LETHE_VERDICT_RETIRE_OWN = 4
};

/* Looks at the dead-set: imports that nothing keeps are to be dropped. Dead objects of the vat's
 * own stay in it for the owner, who lets go of what they recognized or stored, and then buries
 * them. */
LETHE_API void lethe_slots_judge(struct lethe_slots *t);
/* The next dead object of the vat's own after that one, 0 = from the first; 0 when there is
 * none. */
LETHE_API uint32_t lethe_slots_dead_own(const struct lethe_slots *t, uint32_t after);
LETHE_API void lethe_slots_bury(struct lethe_slots *t, uint32_t slot);

/* All suspects become the backlog, sorted by bytes. LETHE_ENOMEM, and then nothing has changed.
 * Only where the backlog is empty. */
LETHE_API int lethe_slots_gather(struct lethe_slots *t);
LETHE_API size_t lethe_slots_backlog(const struct lethe_slots *t);
/* Verdicts on the i-th name of the backlog as things stand now. */
LETHE_API unsigned lethe_slots_verdict(const struct lethe_slots *t, size_t i, uint32_t *slot);
/* Carries out the first n verdicts. Cannot fail. */
LETHE_API void lethe_slots_commit(struct lethe_slots *t, size_t n);
/* Memory that is no longer needed goes back. Cannot fail. True if there are far fewer slots now
 * than there were: what the owner has by slot may be made anew. */
LETHE_API bool lethe_slots_trim(struct lethe_slots *t);

/* Every slot in use, in no order. */
LETHE_API void lethe_slots_each(const struct lethe_slots *t, void (*fn)(void *ud, uint32_t slot),
                                void *ud);

/* stale: callbacks that did nothing */
struct lethe_slots_stats {
  uint64_t slots, bodies, queued;                                           /* now */
  uint64_t entered, noted, finalized, stale, dropped, retired, retired_own; /* so far */
  size_t bytes;
};
LETHE_API void lethe_slots_read_stats(const struct lethe_slots *t, struct lethe_slots_stats *s);

#endif
