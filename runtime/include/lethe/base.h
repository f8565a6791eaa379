/* SPDX-License-Identifier: MIT
 * The base under every engine: error codes, the injected allocator, fault points and the clock.
 *
 * A function that can fail returns 0 or a negative LETHE_E* code and writes its results only on
 * success. Every code has a message for people and a stable lower-case word for programs. All
 * memory goes through struct lethe_alloc, which has the shape of lua_Alloc: a quota, a test that
 * fails the n-th allocation and an accountant are then one and the same thing, an allocator
 * around another. */
#ifndef LETHE_BASE_H
#define LETHE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef LETHE_API
#define LETHE_API
#endif

/* ---- errors ---------------------------------------------------------------------------------- */

enum lethe_error {
  LETHE_OK = 0,
  LETHE_ENOMEM = -1,        /* no_memory */
  LETHE_EINVAL = -2,        /* invalid: an argument that no caller may pass */
  LETHE_ECLOSED = -3,       /* closed */
  LETHE_ESHUTDOWN = -4,     /* tracker_shutdown */
  LETHE_EACCOUNT = -5,      /* account_closed */
  LETHE_EPARTICIPANT = -6,  /* participant_shutdown */
  LETHE_ELIMIT = -7,        /* over_limit */
  LETHE_EDUPLICATE = -8,    /* duplicate_child */
  LETHE_ECYCLE = -9,        /* cycle */
  LETHE_EFOREIGN = -10,     /* other_tracker */
  LETHE_ELIMITS = -11,      /* bad_limits */
  LETHE_EPOLICY = -12,      /* bad_policy */
  LETHE_ETIMEOUT = -13,     /* timeout */
  LETHE_ECANCELLED = -14,   /* cancelled */
  LETHE_EBROKEN = -15,      /* broken: an audit found a sum that does not add up */
  LETHE_ETHREAD = -16,      /* no_thread: the system refused a thread */
  LETHE_ESYSTEM = -17,      /* system: the system refused a call, memory apart */
  LETHE_EFULL = -18,        /* full */
  LETHE_EREGISTERED = -19,  /* already_registered */
  LETHE_ENEUTRALIZED = -20, /* neutralized: the pin was ejected */
  LETHE_EEXISTS = -21,      /* exists */
  LETHE_ENOTFOUND = -22,    /* not_found */
  LETHE_EEMPTY = -23,       /* empty */
  LETHE_ENUMBER = -24,      /* not_a_number */
  LETHE_EUNKNOWN = -25,     /* unknown: a name that nothing has */
  LETHE_ELOAD = -26,        /* load_failed: of a cache's backend */
  LETHE_EFLUSH = -27,       /* flush_failed: an entry could not be written */
  LETHE_EALLINUSE = -28,    /* all_in_use: no entry of the cache could make room in time */
  LETHE_EINUSE = -29,       /* in_use: the entry is held */
  LETHE_EUNWRITABLE = -30,  /* unwritable: a file that cannot be written */
  LETHE_EUNAVAILABLE = -31, /* unavailable: nothing answers there */
  LETHE_EFORMAT = -32,      /* bad_format: a file that holds something else */
  LETHE_ELAST = -32
};

/* The message for people; never NULL, never freed. */
LETHE_API const char *lethe_strerror(int code);
/* The stable word for programs ("over_limit"); never NULL, never freed. */
LETHE_API const char *lethe_errname(int code);

/* ---- memory ---------------------------------------------------------------------------------- */

/* Called as lua_Alloc is: nsize 0 frees, p NULL allocates, else it resizes; NULL says no memory and
 * leaves the old block. Shrinking and freeing never fail. */
struct lethe_alloc {
  void *(*realloc)(void *ud, void *p, size_t osize, size_t nsize);
  void *ud;
};

/* The C library's, with the fault point LETHE_FAULT_ALLOC in front in test builds. */
LETHE_API extern const struct lethe_alloc lethe_alloc_libc;

static inline void lethe_fault_allowed(void);

static inline void *lethe_malloc(const struct lethe_alloc *a, size_t n) {
  lethe_fault_allowed();
  return a->realloc(a->ud, NULL, 0, n);
}
static inline void lethe_free(const struct lethe_alloc *a, void *p, size_t n) {
  lethe_fault_allowed();
  if (p) a->realloc(a->ud, p, n, 0);
}
/* Zeroed memory, or NULL. */
LETHE_API void *lethe_zalloc(const struct lethe_alloc *a, size_t n);

/* Grows an array to hold at least `need` items, doubling; 0 or LETHE_ENOMEM, and then as it was. */
LETHE_API int lethe_grow(const struct lethe_alloc *a, void **array, size_t *room, size_t need,
                         size_t item);

/* ---- fault points ---------------------------------------------------------------------------- */

/* What can fail has a point where a test makes it fail. Product builds carry none of this:
 * without LETHE_FAULTS lethe_fault() is the constant false. */
enum lethe_fault {
  LETHE_FAULT_ALLOC,
  LETHE_FAULT_THREAD,
  LETHE_FAULT_READ,
  LETHE_FAULT_WRITE,
  LETHE_FAULT_SYNC,
  LETHE_FAULT_CALLBACK,
  LETHE_FAULT_COUNT
};

#ifdef LETHE_FAULTS
/* True where this call must fail. */
bool lethe_fault(enum lethe_fault point);
/* The n-th call of the point from now on fails, once; n = 0 disarms. Process-wide. */
void lethe_fault_arm(enum lethe_fault point, uint64_t n);
/* How often the point was passed since it was armed last. */
uint64_t lethe_fault_passed(enum lethe_fault point);
/* While it is forbidden, this thread traps where it would allocate, lock or pass a fault point: it
 * is in code that may be cut off anywhere (lethe/epoch_restart.h). */
void lethe_fault_forbid(bool forbid);
void lethe_fault_check(void);
static inline void lethe_fault_allowed(void) { lethe_fault_check(); }
#else
static inline void lethe_fault_forbid(bool forbid) { (void)forbid; }
static inline void lethe_fault_allowed(void) {}
static inline bool lethe_fault(enum lethe_fault point) {
  (void)point;
  return false;
}
#endif

/* ---- time ------------------------------------------------------------------------------------ */

/* Seconds of the system's monotonic clock. Engines ask their loop (lethe_loop_now) instead, whose
 * clock may be virtual. */
LETHE_API double lethe_clock_monotonic(void);

#endif
