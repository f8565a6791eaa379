/* SPDX-License-Identifier: MIT
 * Counted references: get adds a holder, put removes one and says whether it was the last. Any
 * thread may call them; whoever gets true from put owns the object alone and destroys it. */
#ifndef LETHE_REF_H
#define LETHE_REF_H

#include "lethe/atomic.h"

struct lethe_ref {
  _Atomic uint32_t count;
};

static inline void lethe_ref_init(struct lethe_ref *r) { store_rlx(&r->count, 1); }
static inline void lethe_ref_get(struct lethe_ref *r) { add_rlx(&r->count, 1); }
/* Acquire-release: pairs with the other holders' puts, so that the last one sees all they wrote. */
static inline bool lethe_ref_put(struct lethe_ref *r) { return sub_acqrel(&r->count, 1) == 1; }

#endif
