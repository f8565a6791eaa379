/* SPDX-License-Identifier: MIT
 * Graves: condemned participants, watched for one deadline. Bytes that are still held then are
 * reported: what was to be freed was not. */
#include <string.h>

#include "quota_internal.h"

static const double due_now = 1e-9; /* a virtual clock rounds to that */

static struct condemned *grave(struct lethe_quota *t, size_t i) {
  return VEC_AT(&t->graves, struct condemned, i);
}

static void drop(struct lethe_quota *t, const struct condemned *g) {
  if (g->name) lethe_free(t->alloc, g->name, strlen(g->name) + 1);
}

static void report(struct lethe_quota *t, const struct condemned *g, int64_t bytes) {
  struct lethe_quota_event *e = quota_note(t, LETHE_QUOTA_NOT_FREED, 0);
  if (!e) return;
  e->account = g->account;
  e->bytes = bytes;
  if (g->name) strncpy(e->name, g->name, sizeof e->name - 1);
}

static void look(struct lethe_quota *t) {
  double now = quota_now(t);
  size_t kept = 0;
  for (size_t i = 0; i < t->graves.n; i++) {
    struct condemned g = *grave(t, i);
    const struct participant *p = lethe_slab_find(&t->participants, g.participant);
    bool stands = p && p->state == CONDEMNED;
    if (stands && g.due > now + due_now) {
      *grave(t, kept++) = g;
      continue;
    }
    if (stands) report(t, &g, p->used);
    drop(t, &g);
  }
  t->graves.n = kept;
}

static void on_timer(struct lethe_timer *timer) {
  struct lethe_quota *t = lethe_container_of(timer, struct lethe_quota, grave_timer);
  lethe_ref_get(&t->memory);
  quota_lock(t);
  look(t);
  quota_graves_timer(t);
  quota_unlock(t);
  quota_memory_put(t);
}

void quota_graves_timer(struct lethe_quota *t) {
  if (t->graves.n == 0 || t->grave_timer.loop || !quota_is_driver(t)) return;
  t->grave_timer.idle = true; /* nobody waits for a look at graves */
  lethe_timer_start(t->home->loop, &t->grave_timer, grave(t, 0)->due - quota_now(t), 0, on_timer);
}

void quota_graves_close(struct lethe_quota *t) {
  for (size_t i = 0; i < t->graves.n; i++) drop(t, grave(t, i));
  t->graves.n = 0;
  if (quota_is_driver(t)) lethe_timer_stop(&t->grave_timer);
}

/* A copy: without memory for it the report goes without a name. */
static char *name_of(const struct lethe_quota *t, uint64_t account) {
  const struct account *a = account_find(t, account);
  if (!a || !a->x || !a->x->name) return NULL;
  size_t n = strlen(a->x->name) + 1;
  char *name = lethe_malloc(t->alloc, n);
  if (name) memcpy(name, a->x->name, n);
  return name;
}

void quota_bury(struct lethe_quota *t, uint64_t participant, uint64_t account) {
  const struct participant *p = lethe_slab_find(&t->participants, participant);
  if (!p || p->state != CONDEMNED) return;
  if (vec_add(t->alloc, &t->graves, sizeof(struct condemned))) return;
  *grave(t, t->graves.n - 1) = (struct condemned){.participant = participant,
                                                  .account = account,
                                                  .name = name_of(t, account),
                                                  .due = quota_now(t) + t->deadline};
  quota_graves_timer(t);
}
