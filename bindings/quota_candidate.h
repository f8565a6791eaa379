/* SPDX-License-Identifier: MIT
 * Candidates as scripted policies see them: read-only objects, and vectors of numbers for
 * expressions. */
#ifndef LETHE_BINDINGS_QUOTA_CANDIDATE_H
#define LETHE_BINDINGS_QUOTA_CANDIDATE_H

#include "quota.h"

#define QUOTA_CANDIDATE "lethe.quota.Candidate"

struct quota_candidate_object {
  struct lethe_quota_candidate c;
  uint32_t index; /* in the list of an ordering policy */
};

/* The number fields, in the order of quota_candidate_values. */
enum { QUOTA_FIELDS = 14 };
extern const char *const quota_field_names[];
void quota_candidate_values(const struct lethe_quota_candidate *c, double *values);

/* Makes the classes in a state; idempotent. */
int quota_open_candidate(lua_State *L);
/* A candidate's object on the stack; luaL_getmetatable(L, QUOTA_CANDIDATE) stands at stack index
 * `metatable`, not counted from the top. May raise for memory. */
struct quota_candidate_object *quota_push_candidate(lua_State *L, int metatable,
                                                    const struct lethe_quota_candidate *c);
/* A Tracker to be read, for a state that has none: used, pressure, stats. */
void quota_push_reader(lua_State *L, struct lethe_quota *t);

#endif
