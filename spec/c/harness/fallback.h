/* SPDX-License-Identifier: MIT
 * Runs a program's tests as the kernel allows, and then once more in a process of its own where a
 * filter refuses membarrier(2), so that both halves of the asymmetric fence are full fences. */
#ifndef SPEC_HARNESS_FALLBACK_H
#define SPEC_HARNESS_FALLBACK_H

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lethe/atomic.h"

#include "unit.h"

#define FALLBACK "LETHE_TEST_FALLBACK"

/* For this process and what it executes; it cannot be undone. */
static inline bool refuse_membarrier(void) {
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_membarrier, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1 /* EPERM */),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {sizeof code / sizeof *code, code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static inline int run_refused(void) {
  char self[4096];
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  if (n <= 0) return 1;
  self[n] = 0;
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    setenv(FALLBACK, "1", 1);
    if (refuse_membarrier()) execl(self, self, (char *)NULL);
    _exit(99);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return 1;
  return status == 0 ? 0 : 1;
}

/* In main(): the tests, both ways. */
#define run_both_ways(tests)                                                          \
  (getenv(FALLBACK) ? run_in_fallback() + cmocka_run_group_tests((tests), NULL, NULL) \
                    : cmocka_run_group_tests((tests), NULL, NULL) + run_refused())

static inline int run_in_fallback(void) {
  lethe_fence_init();
  if (!lethe_fence_asymmetric) return 0;
  puts("not ok - the filter did not refuse membarrier");
  return 1;
}

#endif
