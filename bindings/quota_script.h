/* SPDX-License-Identifier: MIT
 * Scripted policies: functions in a Lua state, an expression, or both, behind the struct that a
 * pass calls.
 *
 * Functions of the caller's state (the host) run there, on the loop of the tracker in it. Those of
 * a text run in a sandbox, on whichever thread the pass is. A script may be let go of on any
 * thread; what it holds in the host's registry is given back by the host, at its next safe
 * moment. */
#ifndef LETHE_BINDINGS_QUOTA_SCRIPT_H
#define LETHE_BINDINGS_QUOTA_SCRIPT_H

#include <pthread.h>

#include "lethe/expr.h"
#include "meter.h"
#include "quota_candidate.h"
#include "sandbox.h"

enum script_function { SCORE, ORDER, ON_START, ON_VICTIM, ON_STOP, SCRIPT_FUNCTIONS };
enum { SCRIPT_BUDGET = 10000000, SCRIPT_SECONDS = 30 };

struct script {
  struct lethe_quota_policy policy;
  struct lethe_quota *t;         /* outlives the policy in it */
  lua_State *L;                  /* of a sandbox, its state; else the host's */
  struct lethe_state *host;      /* NULL for text */
  struct den *den;               /* of the host */
  struct lethe_list node;        /* of the den, once it is let go of */
  struct lethe_sandbox *sandbox; /* of text */
  pthread_mutex_t lock;          /* text: a plan and a pass may be on two threads */
  int refs[SCRIPT_FUNCTIONS];    /* registry references, or LUA_NOREF */
  struct lethe_expr *expr;       /* instead of SCORE */
  int64_t budget;
  struct lethe_meter meter; /* of the pass */
  bool renewed;             /* its sterner self got a budget of its own */
};

/* An empty one with one reference, or NULL without memory. */
struct script *quota_script_new(struct lethe_quota *t);
/* Its functions are of L's state, where it runs on that loop. LUA_OK, or an error with its message
 * on top. */
int quota_script_host(lua_State *L, struct script *s, struct lethe_loop *loop);
/* Sets the calls that it has functions for. */
void quota_script_ready(struct script *s);
/* Frees it; what it holds in L's registry is given back, unless L is NULL: then the state is over,
 * or its functions are not there. */
void quota_script_end(struct script *s, lua_State *L);

/* A state's den, where its scripts go that were let go of; see quota_den.c. */
struct den;
/* () -> the state's den, light; made on first use. */
int quota_den_open(lua_State *L);
struct den *quota_den_get(struct den *d);
void quota_den_put(struct den *d);
/* On any thread: the host will end it. False if the host is over. */
bool quota_den_take(struct den *d, struct script *s);

#endif
