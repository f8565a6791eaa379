/* SPDX-License-Identifier: MIT
 * Policies given as text: a file's source, which each use of it runs in a sandbox of its own.
 *
 * policy.load(path) makes an object that keeps the text (lethe.policy.Text), once it has seen it
 * return a policy of some kind; a path in its place is read when it is used. What a text returns, a
 * function or a table, is left on the stack of the sandbox's state for whoever knows what kind of
 * policy it wants. */
#ifndef LETHE_BINDINGS_POLICY_TEXT_H
#define LETHE_BINDINGS_POLICY_TEXT_H

#include "lethe/ref.h"
#include "sandbox.h"

struct policy_text {
  struct lethe_ref refs;
  char *bytes;
  size_t n;
  char name[]; /* of the file, without folders */
};

/* Reads a file. LETHE_ENOMEM, or LETHE_EPOLICY; with a message in `why` either way. Never
 * raises. */
int policy_text_read(struct policy_text **out, const char *path, char *why, size_t size);
void policy_text_put(struct policy_text *t);
/* The text of the open object at i, borrowed; NULL for anything else. */
struct policy_text *policy_text_at(lua_State *L, int i);
/* A string that names a file, and no built-in. */
bool policy_text_is_path(const char *name);
/* A new sandbox in which the text has run under the meter; its result is on top of the stack. NULL
 * with a message in `why`. Never raises. */
struct lethe_sandbox *policy_text_run(lua_State *from, const struct policy_text *t,
                                      struct lethe_meter *m, char *why, size_t size);
/* (path) -> a lethe.policy.Text | nil, message, "bad_policy" */
int policy_text_load(lua_State *L);
/* Makes the class; once per state however often it is called. */
void policy_text_open(lua_State *L);

#endif
