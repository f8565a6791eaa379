/* SPDX-License-Identifier: MIT
 * Restartable sections: C code under a pin that reads shared objects freely, without guarded reads,
 * and is started anew when it holds others back (as in DEBRA+ and NBR).
 *
 *   struct lethe_restart s = {0};
 *   lethe_restart_begin(&s, rec);          again from here when the section was asked to give way
 *   ...reads...
 *   lethe_restart_commit(&s);              from here on it is not restarted
 *   ...writes, retires...
 *   lethe_restart_end(&s);
 *
 * Until lethe_restart_commit the code may be cut off between any two instructions: no
 * allocation, no lock, no Lua, no input or output, and what it changed must not matter. Local
 * variables that it changes and reads after a restart are volatile. Builds with LETHE_FAULTS
 * trap where it allocates or locks. The section is a hard pin: what it found is not freed before
 * it ends or starts anew, so safety never waits for the signal, but the bound on what is in
 * limbo does. */
#ifndef LETHE_EPOCH_RESTART_H
#define LETHE_EPOCH_RESTART_H

#include <setjmp.h>
#include <signal.h>

#include "lethe/epoch.h"

struct lethe_restart {
  struct lethe_epoch_rec *rec;
  unsigned runs; /* how often the section began */
  volatile sig_atomic_t armed;
  sigjmp_buf env;
};

/* Sections are asked to give way by the signal SIGRTMIN + k from now on, process-wide. Without
 * it they are hard pins. LETHE_EINVAL: no such signal; LETHE_EEXISTS: another one is used, or
 * the signal has a handler that is not ours; LETHE_ESYSTEM. */
LETHE_API int lethe_restart_enable(int k);

/* `rec` is the calling thread's, and not pinned. Sections do not nest. */
#define lethe_restart_begin(s, rec) \
  do {                              \
    (void)sigsetjmp((s)->env, 0);   \
    lethe_restart_arm((s), (rec));  \
  } while (0)
LETHE_API void lethe_restart_arm(struct lethe_restart *s, struct lethe_epoch_rec *rec);
LETHE_API void lethe_restart_commit(struct lethe_restart *s);
/* How often the section began. */
LETHE_API unsigned lethe_restart_end(struct lethe_restart *s);

#endif
