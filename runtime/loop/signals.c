/* SPDX-License-Identifier: MIT
 * Signals of a loop: libevent notes that they came, the loop's turn calls back. */
#include "loop_internal.h"

/* Runs inside event_base_loop, which cannot be entered twice: only notes; the turn calls back. */
static void on_signal(evutil_socket_t fd, short what, void *ud) {
  struct lethe_signal *s = ud;
  (void)fd;
  (void)what;
  s->raised++;
  s->loop->raised++;
}

/* A callback may stop any signal, so the walk begins anew after each. */
unsigned lethe_signals_run(struct lethe_loop *l) {
  unsigned n = 0;
  while (l->raised > 0) {
    struct lethe_signal *found = NULL;
    LETHE_LIST_EACH(node, &l->signals) {
      struct lethe_signal *s = lethe_container_of(node, struct lethe_signal, node);
      if (s->raised > 0) {
        found = s;
        break;
      }
    }
    if (!found) {
      l->raised = 0;
      break;
    }
    l->raised -= found->raised;
    found->raised = 0; /* several deliveries before a turn count as one, as signals do */
    found->fire(found);
    n++;
  }
  return n;
}

int lethe_signal_start(struct lethe_loop *l, struct lethe_signal *s, int number,
                       void (*fire)(struct lethe_signal *s)) {
  if (l->closed) return LETHE_ECLOSED;
  s->loop = l;
  s->fire = fire;
  s->raised = 0;
  s->event = lethe_host_event(l->host, number, EV_SIGNAL | EV_PERSIST, on_signal, s);
  if (!s->event) return LETHE_ENOMEM;
  if (event_add(s->event, NULL) != 0) {
    event_free(s->event);
    s->event = NULL;
    return LETHE_ESYSTEM;
  }
  lethe_list_push(&l->signals, &s->node);
  return LETHE_OK;
}

void lethe_signal_stop(struct lethe_signal *s) {
  if (!s->event) return;
  event_free(s->event);
  s->event = NULL;
  s->loop->raised -= s->raised;
  s->raised = 0;
  lethe_list_remove(&s->node);
}

void lethe_signals_end(struct lethe_loop *l) {
  while (!lethe_list_empty(&l->signals)) {
    struct lethe_signal *s = lethe_container_of(l->signals.next, struct lethe_signal, node);
    lethe_signal_stop(s);
    if (s->closed) s->closed(s);
  }
}
