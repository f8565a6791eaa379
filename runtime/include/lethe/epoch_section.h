/* SPDX-License-Identifier: MIT
 * Sections that outlive their thread's others: a coroutine that waits while pinned gets a record of
 * its own, so that it alone is ejected, and the thread goes on unpinned.
 *
 * The pin stays in the record where it began, since nothing may show it as gone for a moment; it is
 * the thread that moves to another record, with its limbo and its place among the manager's
 * threads.
 *
 * All three are calls of the record's owner; split and join may block. */
#ifndef LETHE_EPOCH_SECTION_H
#define LETHE_EPOCH_SECTION_H

#include "lethe/epoch.h"

/* `r`, the thread's record, is pinned and becomes an extra one that has nothing but its pins; *out
 * is the thread's record from now on. LETHE_ENOMEM, LETHE_ECLOSED: nothing has changed. */
LETHE_API int lethe_epoch_split(struct lethe_epoch_rec *r, struct lethe_epoch_rec **out);
/* The section is over: `extra` goes, and what it retired becomes `mine`'s. */
LETHE_API void lethe_epoch_join(struct lethe_epoch_rec *extra, struct lethe_epoch_rec *mine);
/* Objects in the record's limbo. */
LETHE_API uint64_t lethe_epoch_held(const struct lethe_epoch_rec *r);

#endif
