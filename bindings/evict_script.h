/* SPDX-License-Identifier: MIT
 * Eviction policies for the bindings that need one: from what a program gives (a name, a function,
 * a table, a text) to a struct lethe_evict.
 *
 *   Lua   made = core.make(policy, limit, seed)       nil, message, "bad_policy"; raises for misuse
 *   C     struct lethe_evict *e = evict_take(L, i);   the policy in it, now the caller's
 *         evict_set_keys(e, push_key, ud);            how a hook's c:key(h) gets a key
 *
 * Functions of a program run in its state, on a thread of their own; those of a text in a sandbox.
 * Each call is under a meter of its own. What fails goes to lethe.on_error, once the call of the
 * engine is over, unless the policy was made quiet. */
#ifndef LETHE_BINDINGS_EVICT_SCRIPT_H
#define LETHE_BINDINGS_EVICT_SCRIPT_H

#include "lethe/evict_hooks.h"
#include "policy_text.h"

enum { EVICT_BUDGET = 10000000, EVICT_SECONDS = 30 };

/* Functions, by their place on the script's stack, behind the object that hooks get. */
enum evict_function {
  EVICT_FACE = 1,
  EVICT_SCORE,
  EVICT_ADMIT,
  EVICT_INIT,
  EVICT_ON_INSERT,
  EVICT_ON_HIT,
  EVICT_ON_EVICT,
  EVICT_ON_REMOVE,
  EVICT_FULL,
  EVICT_EXPORT,
  EVICT_IMPORT,
  EVICT_FUNCTIONS,
  EVICT_HANDLER = EVICT_FUNCTIONS /* of the meter's */
};

struct evict_face;
struct lethe_packed;
struct reports;

/* What is kept of a policy that is gone before its failures were told. */
struct evict_record {
  unsigned strikes, events;
  struct lethe_evict_failure failure[LETHE_EVICT_STRIKES];
  struct lethe_evict_event event[LETHE_EVICT_EVENTS];
};

/* Pushes the key of an entry on L, a state of its own maybe; may raise there. */
typedef void evict_push_key(lua_State *L, void *ud, const struct lethe_evict_info *info);

/* The Lua side of a policy; it lives as long as that, and longer while something is to be
 * reported. */
struct evict_script {
  struct lethe_evict *e;         /* NULL: it is over */
  lua_State *L;                  /* the sandbox's, or a thread of the host */
  struct lethe_state *host;      /* where failures are reported */
  struct lethe_sandbox *sandbox; /* of text */
  struct evict_face *face;       /* of hooks */
  struct lethe_meter meter;
  int64_t budget;
  evict_push_key *push_key;
  void *keys;
  bool has[EVICT_FUNCTIONS];
  bool reading; /* export or import runs: entries stay where they are */
  bool faulted; /* the call under way was given a handle that names nothing */
  bool calling; /* a call is under way */
  char name[64];
  struct reports *reports;   /* NULL: it is quiet */
  struct lethe_list node;    /* among those that have something to report */
  unsigned reported;         /* strikes */
  struct evict_record *left; /* of a policy that is gone */
};

/* ---- for other bindings ---------------------------------------------------------------------- */

/* The policy that core.make made, at i; raises for anything else. After take the object is
 * empty. */
struct lethe_evict *evict_peek(lua_State *L, int i);
struct lethe_evict *evict_take(lua_State *L, int i);
/* The Lua side, or NULL for a policy that has none. */
struct evict_script *evict_script_of(struct lethe_evict *e);
void evict_set_keys(struct lethe_evict *e, evict_push_key *push, void *ud);
/* (policy, limit [, seed [, quiet]]) -> Made | nil, message, code */
int evict_make(lua_State *L);
void evict_open(lua_State *L);

/* ---- among the files of this one ------------------------------------------------------------- */

/* What a table says, borrowed from the stack of the state that it is in. */
struct evict_form {
  struct evict_script *s;
  struct lethe_evict_score score;
  struct lethe_evict_queues queues;
  struct lethe_evict_hooks hooks;
  enum { EVICT_FORM_SCORE, EVICT_FORM_QUEUES, EVICT_FORM_HOOKS } kind;
  struct reports *reports;
  int64_t limit;
  uint64_t seed;
  bool refused; /* for what it says, not for what it is */
};
/* (form, value): reads a function or a table; its functions go to the script's stack. Raises. */
int evict_read_form(lua_State *L);

/* What the script's export returns, packed; *out stays NULL where there is none, or it returned
 * nil. What import makes of that. LETHE_OK, or a code with a message in `why`. Never raise. */
int evict_export(struct evict_script *s, struct lethe_packed **out, char *why, size_t n);
int evict_import(struct evict_script *s, const struct lethe_packed *p, char *why, size_t n);

/* The script whose function this thread runs, or NULL. */
extern _Thread_local struct evict_script *evict_running
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* Calls the function with n arguments, which are on the stack above it. LETHE_OK, with `results` on
 * the stack above `base`; else the failure is filled in and the stack is as before. */
int evict_call(struct evict_script *s, int n, int results);
/* evict_call of what evict_push began. */
void evict_push(struct evict_script *s, enum evict_function f);
extern const struct lethe_evict_score evict_score_calls;
extern const struct lethe_evict_hooks evict_hooks_calls;
int evict_admits_score(void *ud, double size, bool ghost, bool *yes);
int evict_admits_hooks(void *ud, double size, bool ghost, bool *yes);

/* (script): makes the object that hooks get, at EVICT_FACE of the script's stack. Raises. */
int evict_open_face(lua_State *L);
/* The object is of no use from now on. */
void evict_end_face(struct evict_script *s);

/* A strike was noted; the policy is gone. */
void evict_failed(void *ud);
void evict_end(void *ud);
/* What tells of failures in this state; made on first use, which may raise. */
struct reports *evict_reports(lua_State *L);
/* Lua's part ends; all of it does, where nothing is to be reported. */
void evict_end_lua(struct evict_script *s);
void evict_free(struct evict_script *s);

#endif
