/* SPDX-License-Identifier: MIT
 * What the files of the executable share: main.c reads the command line, run.c runs chunks as tasks
 * and answers SIGINT, repl.c is the prompt. */
#ifndef LETHE_BINDINGS_PROGRAM_H
#define LETHE_BINDINGS_PROGRAM_H

#include "common.h"

/* ---- run.c ----------------------------------------------------------------------------------- */

/* As the program was called; it stands before messages. */
extern const char *lethe_program_name;

/* Loads lethe.loop into the main thread `L`; raises. Only then the calls below work. Leaves a value
 * on the stack that must stay there until the end. */
void lethe_program_begin(lua_State *L);
/* Calls the function below `nargs` arguments as a task of the default loop, and turns the loop
 * until it ends. All its results replace them; on failure one message does, with a traceback. */
int lethe_run_task(lua_State *L, int nargs);
/* The same on the main thread itself: waiting calls in it turn the loop. */
int lethe_run_plain(lua_State *L, int nargs, int nresults);
/* Functions without arguments for lethe_run_plain: turn the loop until nothing is left, or while
 * there is something to do now. */
int lethe_run_loop(lua_State *L);
int lethe_run_ready(lua_State *L);
/* Pops a message and prints it on stderr, behind the program's name if `named`. */
void lethe_say_error(lua_State *L, bool named);
/* Whether the last run was ended by SIGINT. */
bool lethe_was_interrupted(void);
/* How many tasks ended with an error that nobody joined. */
lua_Integer lethe_failed_tasks(lua_State *L);
/* From on to off SIGINT stops what runs; before and after it does what it would do anywhere. */
void lethe_interrupts_on(void);
void lethe_interrupts_off(void);

/* ---- repl.c ---------------------------------------------------------------------------------- */

/* Reads and runs lines until the end of the input. */
void lethe_repl(lua_State *L);

#endif
