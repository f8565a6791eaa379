/* SPDX-License-Identifier: MIT
 * A loop whose clock the program moves: timers fall due in order, and an hour costs nothing.
 *
 *   cc loop.c $(pkg-config --cflags --libs lethe) && ./a.out */
#include <stdio.h>

#include "lethe/loop.h"

static int ticks;
static double last;

static void tick(struct lethe_timer *t) {
  ticks++;
  last = lethe_loop_now(t->loop);
}

int main(void) {
  struct lethe_loop *loop;
  struct lethe_timer every_minute = {0};
  if (lethe_loop_new(&loop, &lethe_alloc_libc, LETHE_CLOCK_VIRTUAL, NULL) != LETHE_OK) return 1;
  lethe_timer_start(loop, &every_minute, 60, 60, tick);
  lethe_loop_advance(loop, 3600);
  printf("%d ticks, the last at %.0f s\n", ticks, last);
  lethe_timer_stop(&every_minute);
  lethe_loop_close(loop);
  lethe_loop_put(loop);
  return ticks == 60 && last == 3600 ? 0 : 1;
}
