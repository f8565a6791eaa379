/* SPDX-License-Identifier: MIT
 * The instruction meter: Lua code under a budget that it cannot swallow.
 *
 * A meter is a number of VM instructions that many calls share: one per pass, one per crank. While
 * a call runs under it, a hook takes what was executed off the budget, in the coroutines made
 * inside too, and C helpers charge what they burn (lethe_meter_charge). Once the budget is spent,
 * nothing more runs: a coroutine is left suspended where it stands, and what cannot be suspended
 * gets an error at every further instruction and call, one that no message handler is shown. So
 * pcall, xpcall, to-be-closed variables, comparators, callbacks of gsub, metamethods and nested
 * coroutines each lose control at once, and the caller learns of it by the result of
 * lethe_meter_pcall.
 *
 * The count is exact up to the interval of 16 instructions, always rounded up: a call, and each
 * coroutine at its start, pays one interval in advance, so that many short ones cannot run unseen.
 * The same call costs the same count every time. With `charged`, calls that hand on a great many
 * arguments are charged for the copies, by what is seen of them every few hundred instructions.
 *
 * What the hook cannot see: finalizers (stock Lua runs __gc with hooks off), coroutines made
 * outside any metered call, and the time of a single instruction (comparing two very long strings,
 * `next` on a table that was emptied) or of one catch by stock pcall far down a deep stack. `until`
 * bounds the last two by the clock, for those who may use one.
 *
 * Meters nest: a metered call that comes to another metered call pays for it afterwards. A meter
 * belongs to its thread; it is used in one Lua state at a time. */
#ifndef LETHE_BINDINGS_METER_H
#define LETHE_BINDINGS_METER_H

#include <stdbool.h>
#include <stdint.h>

#include <lua.h>

struct lethe_meter {
  int64_t budget; /* instructions in all */
  int64_t left;   /* below 0: spent */
  int64_t until;  /* nanoseconds of CLOCK_MONOTONIC after which it counts as spent; 0: no clock */
  int64_t within; /* nanoseconds from the first look at the clock: until is set then; 0: no clock */
  bool charged;   /* coroutines charge for themselves, as those of the sandbox: calls cost less; and
                     copies of arguments are charged */
  bool spent;     /* for good: every further call fails at once */
  bool late;      /* spent by the clock */
  unsigned fires; /* of the hook, for looking at clock and arguments now and then */
  lua_State *base; /* the thread of the call under way */
  /* Of that call's state, or NULL: while it is not 0, an instruction may compare long strings, and
   * is weighed by its time. */
  const size_t *longest;
  int64_t seen, cpu,
      cpu_left; /* nanoseconds at the last fire, and of the thread when `left` was that */
  char *trace;  /* NULL, or room for a traceback of the first failure, "" before it */
  size_t trace_size;
};

/* A fresh meter. The caller owns it; nothing needs to be undone. */
void lethe_meter_init(struct lethe_meter *m, int64_t budget);

/* What was used so far; it may be more than the budget. */
static inline int64_t lethe_meter_used(const struct lethe_meter *m) { return m->budget - m->left; }

/* lua_pcall under the meter: pops function and arguments, leaves results or one message.
 * The message is a string, without a traceback, cut to 1000 bytes; an error value that is no
 * string goes through its __tostring, under the meter too. A meter that was spent, before the
 * call or by it, makes it LUA_ERRRUN with "policy passed its budget of N instructions" (or
 * "policy passed its deadline"), whatever the function did with that. The thread's debug hook
 * is put away during the call and stands as before after it; the call cannot yield. Never
 * raises. */
int lethe_meter_pcall(lua_State *L, int nargs, int nresults, struct lethe_meter *m);

/* For many short calls: on a thread where nothing else ever runs, and where there is room for two
 * values more. `settle` pushes what `run` wants as its handler, to stay where it is; function and
 * arguments are right above it. run is as pcall, under a meter that no call is using and that is
 * not spent; m->longest is the caller's to set. */
int lethe_meter_settle(lua_State *L);
int lethe_meter_run(lua_State *L, int handler, int nargs, int nresults, struct lethe_meter *m);

/* From a C function that runs under a meter, before it does what n instructions stand for: charges
 * them, or raises where that many are not left. A negative n hands back what an estimate took too
 * much. Nothing without an active meter. */
void lethe_meter_charge(lua_State *L, int64_t n);

/* The same from where nothing may be raised (an allocator): false, and the next instruction
 * raises. */
bool lethe_meter_note(int64_t n);

/* Spends the meter of this thread, if there is one, also in the midst of lethe_meter_quiet. */
void lethe_meter_spend(void);

/* lua_pcall of a function that is not to be counted, because what it takes depends on hashes or on
 * the collector; it calls no foreign code. It is for the caller to charge a sum instead, of at
 * least LETHE_METER_CALL: the count begins anew after it. Without an active meter, lua_pcall. */
int lethe_meter_quiet(lua_State *L, int nargs, int nresults);

enum { LETHE_METER_CALL = 16 };

/* The meter under which this thread runs now, or NULL. */
struct lethe_meter *lethe_meter_active(void);

#endif
