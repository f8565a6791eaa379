/* SPDX-License-Identifier: MIT
 * What loops call back: a userdata that holds the C record in its memory and a Lua function in a
 * user value. While a loop knows the record, a chain from the Lua registry through the user values
 * keeps the userdata alive: linking and unlinking allocate nothing, so that a task's wake-up, whose
 * message was made with the task, cannot fail.
 *
 * The functions are made so that they can be called again where memory was short. So a call of a
 * message or of a timer's last that failed for that is not lost: it starves, in the chain, until
 * the next turn gives it back to its loop. */
#ifndef LETHE_BINDINGS_CALLBACK_H
#define LETHE_BINDINGS_CALLBACK_H

#include "object.h"

struct lethe_callback {
  struct lethe_state *state;
  struct lethe_loop *loop; /* that it was given to last */
  bool known;              /* to the loop, or starved, and so in the chain */
  bool kept;               /* its function serves more than once */
  bool is_timer;
  struct lethe_callback *next_starved;
  union {
    struct lethe_message message;
    struct lethe_timer timer;
    struct lethe_signal signal;
  } u;
};

/* The names of the metatables. */
#define LETHE_MESSAGE "lethe.core.message"
#define LETHE_TIMER "lethe.core.timer"
#define LETHE_SIGNAL "lethe.core.signal"

/* What the calls below need; once per state. */
void lethe_callback_open(lua_State *L);
/* A callback for the function at stack index `fn`, on the stack. */
struct lethe_callback *lethe_callback_new(lua_State *L, int fn, const char *name);
/* Into the chain; its userdata is on top of the stack. */
void lethe_callback_chain(lua_State *L, struct lethe_callback *c);
/* Out of the chain; nothing happens if it is not there. */
void lethe_callback_unchain(lua_State *L, struct lethe_callback *c);

/* What loops are given. */
void lethe_callback_on_message(struct lethe_message *m, bool closed);
void lethe_callback_on_timer(struct lethe_timer *t);
void lethe_callback_timer_closed(struct lethe_timer *t);
void lethe_callback_on_signal(struct lethe_signal *s);
void lethe_callback_signal_closed(struct lethe_signal *s);

/* Before a turn: gives the starved back to their loops, in their order. */
void lethe_callback_feed(struct lethe_state *s);
/* After a turn: raises where some have starved for too long. */
void lethe_callback_patience(lua_State *L, struct lethe_state *s);
/* The loop ends, or the one is stopped: nothing starves for it any more. */
void lethe_callback_forget(struct lethe_state *s, const struct lethe_loop *loop,
                           const struct lethe_callback *one);

#endif
