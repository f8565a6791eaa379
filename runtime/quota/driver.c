/* SPDX-License-Identifier: MIT
 * The driver of passes: the loop of the home member, which steps a pass on when it is kicked or
 * when time is up. When the home leaves another member takes over, with what time was left; when
 * nobody is left the pass ends, and whoever waits for one is told. */
#include "quota_internal.h"

void quota_on_kick(struct lethe_message *message, bool closed) {
  struct lethe_quota_member *m = lethe_container_of(message, struct lethe_quota_member, kick);
  struct lethe_quota *t = m->t;
  quota_lock(t);
  m->kicked = false;
  m->thread = pthread_self(); /* where its loop is turned now, whoever made it */
  if (!closed) quota_step(t);
  quota_member_put_locked(m);
  quota_unlock(t);
  quota_memory_put(t);
}

void quota_kick(struct lethe_quota *t) {
  struct lethe_quota_member *m = t->home;
  if (!m || m->kicked) return;
  m->kicked = lethe_loop_post(m->loop, &m->kick);
  if (!m->kicked) return;
  m->refs++;
  lethe_ref_get(&t->memory);
}

void quota_wake_if_wanted(struct lethe_quota *t) {
  if (t->pass.id == 0 && quota_wanted(t)) quota_kick(t);
}

/* ---- time ------------------------------------------------------------------------------------ */

static void on_timer(struct lethe_timer *timer) {
  struct lethe_quota *t = lethe_container_of(timer, struct lethe_quota, timer);
  lethe_ref_get(&t->memory);
  quota_lock(t);
  quota_step(t);
  quota_unlock(t);
  quota_memory_put(t);
}

bool quota_is_driver(const struct lethe_quota *t) {
  return t->home && pthread_equal(t->home->thread, pthread_self());
}

/* The home may have left in a callback: then the next one starts the timer. */
void quota_wait_at_most(struct lethe_quota *t, double seconds) {
  t->restart = quota_is_driver(t) ? -1 : seconds;
  if (t->restart < 0) lethe_timer_start(t->home->loop, &t->timer, seconds, 0, on_timer);
}

bool quota_timed_out(const struct lethe_quota *t) { return !t->timer.loop && t->restart < 0; }

void quota_restart_timers(struct lethe_quota *t) {
  if (t->restart >= 0) quota_wait_at_most(t, t->restart);
  quota_graves_timer(t);
}

/* ---- another home ---------------------------------------------------------------------------- */

/* What is left of the timer's time, whatever the clock of the next home shows. */
static void stop_timers(struct lethe_quota *t) {
  if (t->timer.loop) t->restart = fmax(t->timer.due - lethe_loop_now(t->timer.loop), 0);
  lethe_timer_stop(&t->timer);
  lethe_timer_stop(&t->grave_timer);
}

void quota_rehome(struct lethe_quota *t, struct lethe_quota_member *leaving) {
  if (t->home != leaving) return;
  stop_timers(t);
  t->home = NULL;
  for (size_t i = 0; i < t->members_n && !t->home; i++) t->home = t->members[i];
  if (t->home) {
    quota_kick(t);
  } else {
    quota_pass_abort(t, t->pass.freed);
    quota_manuals_done(t, NULL, 0);
  }
}
