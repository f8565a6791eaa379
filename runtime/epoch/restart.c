/* SPDX-License-Identifier: MIT
 * Restartable sections. The one signal handler of the runtime's core, and so its one thread-local
 * state that is no cache: a handler has nothing else to go by. */
#include "lethe/epoch_restart.h"

#include "epoch_internal.h"

/* Initial-exec: a handler must not make the thread's block of variables. */
static _Thread_local struct lethe_restart *volatile section
    __attribute__((tls_model("initial-exec")));
static _Atomic int signal_in_use;

/* True if this pin was asked to give way, and not one before it: the word is the pin's own. */
static bool asked(const struct lethe_epoch_rec *r) {
  return load_rlx(&r->word) <= load_acq(&r->ejected);
}

static void on_signal(int number) {
  struct lethe_restart *s = section;
  (void)number;
  if (s && s->armed && asked(s->rec)) siglongjmp(s->env, 1);
}

int lethe_restart_enable(int k) {
  int number = SIGRTMIN + k, none = 0;
  struct sigaction old, action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_NODEFER};
  if (k < 0 || number > SIGRTMAX) return LETHE_EINVAL;
  if (sigaction(number, NULL, &old) != 0) return LETHE_ESYSTEM;
  if (old.sa_handler != SIG_DFL && old.sa_handler != on_signal) return LETHE_EEXISTS;
  if (!atomic_compare_exchange_strong_explicit(&signal_in_use, &none, number, memory_order_acq_rel,
                                               memory_order_acquire))
    return none == number ? LETHE_OK : LETHE_EEXISTS;
  sigemptyset(&action.sa_mask); /* and SA_NODEFER: jumping out leaves the mask as it was */
  return sigaction(number, &action, NULL) == 0 ? LETHE_OK : LETHE_ESYSTEM;
}

/* ---- the section's side --------------------------------------------------------------------- */

void lethe_restart_arm(struct lethe_restart *s, struct lethe_epoch_rec *r) {
  s->rec = r;
  s->runs++;
  r->nest = r->hard = 1;
  store_rel(&r->limbo->restartable, true);
  section = s;
  /* A signal before the section is armed does nothing, so that case is looked for. */
  do {
    s->armed = 0;
    atomic_signal_fence(memory_order_seq_cst);
    lethe_epoch_show(r, LETHE_EPOCH_PINNED | LETHE_EPOCH_HARD);
    lethe_fault_forbid(true);
    s->armed = 1;
    atomic_signal_fence(memory_order_seq_cst);
  } while (asked(r));
}

void lethe_restart_commit(struct lethe_restart *s) {
  s->armed = 0;
  atomic_signal_fence(memory_order_seq_cst);
  store_rel(&s->rec->limbo->restartable, false);
  lethe_fault_forbid(false);
}

unsigned lethe_restart_end(struct lethe_restart *s) {
  struct lethe_epoch_rec *r = s->rec;
  lethe_restart_commit(s);
  section = NULL;
  r->hard = 0;
  lethe_epoch_unpin(r);
  return s->runs;
}

/* ---- the ejector's side --------------------------------------------------------------------- */

/* Once for each pin. The lock keeps the owner from ending before the signal is sent. */
void epoch_urge(struct lethe_epoch_limbo *l, uint64_t word) {
  struct lethe_epoch *m = l->rec->manager;
  int number = load_acq(&signal_in_use);
  if (number == 0 || !load_acq(&l->restartable)) return;
  if (pthread_mutex_trylock(&m->lock) != 0) return;
  if (load_acq(&l->in_use) && load_acq(&l->rec->word) == word &&
      epoch_raise(&l->rec->ejected, word | LETHE_EPOCH_SOFT))
    pthread_kill(l->owner, number);
  pthread_mutex_unlock(&m->lock);
}
