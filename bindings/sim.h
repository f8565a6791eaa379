/* SPDX-License-Identifier: MIT
 * What the files of the simulator's binding share. */
#ifndef LETHE_BINDINGS_SIM_H
#define LETHE_BINDINGS_SIM_H

#include "common.h"
#include "lethe/trace.h"

extern const struct lethe_class sim_trace_class, sim_run_class, sim_recorder_class;

/* The open trace at `arg`; raises for anything else. */
struct lethe_trace *sim_check_trace(lua_State *L, int arg);

/* lsim_run.c: run(trace, made | "belady", limit, unit, seed, seconds) -> Run | nil, m, code */
int sim_run(lua_State *L);
/* lsim_record.c: record(path) -> Recorder | nil, m, code;  watch(recorder, cache | tracker) */
int sim_record(lua_State *L);
int sim_watch(lua_State *L);

#endif
