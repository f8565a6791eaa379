/* SPDX-License-Identifier: MIT
 * Workers: their threads. */
#include "worker.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "epoch.h"

static const struct lethe_alloc *const mem = &lethe_alloc_libc;

/* ---- the record ------------------------------------------------------------------------------ */

static void free_channel(struct lethe_channel *c) {
  if (!c) return;
  lethe_channel_end(c);
  lethe_channel_put(c);
}

void worker_put(struct worker *w) {
  if (!w || !lethe_ref_put(&w->refs)) return;
  free_channel(w->to);
  free_channel(w->from);
  free_channel(w->end);
  lethe_packed_free(w->setup);
  lethe_packed_free(w->args);
  lethe_packed_free(w->results);
  if (w->loop) lethe_loop_put(w->loop);
  if (w->maker_loop) lethe_loop_put(w->maker_loop);
  keeper_put(w->home);
  if (w->name) lethe_free(mem, w->name, strlen(w->name) + 1);
  pthread_cond_destroy(&w->over);
  pthread_mutex_destroy(&w->lock);
  lethe_free(mem, w, sizeof *w);
}

struct worker *worker_get(struct worker *w) {
  lethe_ref_get(&w->refs);
  return w;
}

static void init_condition(pthread_cond_t *c) {
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_cond_init(c, &attr);
  pthread_condattr_destroy(&attr);
}

struct worker *worker_new(const char *name, size_t limit) {
  struct worker *w = lethe_zalloc(mem, sizeof *w);
  if (!w) return NULL;
  lethe_ref_init(&w->refs);
  pthread_mutex_init(&w->lock, NULL);
  init_condition(&w->over);
  lethe_list_init(&w->node);
  lethe_list_init(&w->orphan);
  w->limit = limit;
  w->outcome = WORKER_FAILED;
  bool made = lethe_channel_new(&w->to, LETHE_UNBOUNDED) == LETHE_OK &&
              lethe_channel_new(&w->from, LETHE_UNBOUNDED) == LETHE_OK &&
              lethe_channel_new(&w->end, LETHE_UNBOUNDED) == LETHE_OK;
  if (made && name) {
    size_t n = strlen(name) + 1;
    w->name = lethe_malloc(mem, n);
    if (w->name) memcpy(w->name, name, n);
    made = w->name != NULL;
  }
  if (made) return w;
  worker_put(w);
  return NULL;
}

/* ---- the thread ------------------------------------------------------------------------------ */

/* An error that worker_main did not foresee; without memory its text is lost. */
static void keep_error(struct worker *w, lua_State *L) {
  size_t n;
  const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &n) : NULL;
  lethe_packed_free(w->results);
  w->results = text ? lethe_pack_text(text, n) : NULL;
}

static void run(struct worker *w) {
  lua_State *L = w->L;
  lua_settop(L, 0);
  lua_pushcfunction(L, lethe_traceback);
  lua_pushcfunction(L, worker_main);
  lua_pushlightuserdata(L, w);
  int rc = lua_pcall(L, 1, 1, 1);
  if (rc != LUA_OK) keep_error(w, L);
  w->outcome = rc == LUA_OK && lua_toboolean(L, -1) ? WORKER_DONE : WORKER_FAILED;
  if (load_acq(&w->stop.wanted)) w->outcome = WORKER_CANCELLED;
  lua_settop(L, 0);
}

/* No signal is sent after `running` is false; nothing of the state is left when `end` is closed. */
static void *thread(void *ud) {
  struct worker *w = ud;
  lethe_stop_begin(&w->stop, w->L);
  run(w);
  pthread_mutex_lock(&w->lock);
  w->running = false;
  pthread_mutex_unlock(&w->lock);
  lethe_stop_end();
  epoch_end_state(w->L); /* destructors of what it retired can still use everything */
  lua_close(w->L);
  lethe_channel_end(w->to);
  lethe_channel_close(w->from);
  pthread_mutex_lock(&w->lock);
  w->ended = true;
  pthread_cond_broadcast(&w->over);
  pthread_mutex_unlock(&w->lock);
  lethe_channel_close(w->end);
  lethe_channel_put(w->to);
  lethe_channel_put(w->from);
  lethe_channel_put(w->end);
  worker_put(w);
  return NULL;
}

/* The thread is a holder of the channels too. */
static void join_in(struct worker *w) {
  worker_get(w);
  lethe_channel_get(w->to);
  lethe_channel_get(w->from);
  lethe_channel_get(w->end);
}

static void drop_out(struct worker *w) {
  lethe_channel_put(w->to);
  lethe_channel_put(w->from);
  lethe_channel_put(w->end);
  worker_put(w);
}

/* All signals are for the maker's threads; the one that stops it it lets in itself. */
int worker_start(struct worker *w) {
  sigset_t all, before;
  join_in(w);
  w->running = true;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int rc = lethe_fault(LETHE_FAULT_THREAD) ? -1 : pthread_create(&w->thread, NULL, thread, w);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (rc == 0) return LETHE_OK;
  w->running = false;
  drop_out(w);
  return LETHE_ETHREAD;
}

/* ---- its end --------------------------------------------------------------------------------- */

static void on_cancel(struct lethe_message *m, bool closed) {
  struct worker *w = lethe_container_of(m, struct worker, cancel);
  if (!closed) worker_on_cancel(w);
}

/* The message ends what waits, the signal stops what runs. */
void worker_cancel(struct worker *w) {
  pthread_mutex_lock(&w->lock);
  if (w->running && !w->cancelled) {
    w->cancelled = true;
    w->cancel.run = on_cancel;
    lethe_stop_want(&w->stop, w->thread);
    lethe_loop_post(w->loop, &w->cancel);
  }
  pthread_mutex_unlock(&w->lock);
}

void worker_reap(struct worker *w) {
  if (w->reaped) return;
  w->reaped = true;
  pthread_join(w->thread, NULL);
}

bool worker_wait(struct worker *w, double until) {
  struct timespec t = {.tv_sec = (time_t)until};
  t.tv_nsec = (long)((until - (double)t.tv_sec) * 1e9);
  int rc = 0;
  pthread_mutex_lock(&w->lock);
  while (!w->ended && rc == 0) rc = pthread_cond_timedwait(&w->over, &w->lock, &t);
  bool ended = w->ended;
  pthread_mutex_unlock(&w->lock);
  return ended;
}
