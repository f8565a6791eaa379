/* SPDX-License-Identifier: MIT
 * Pictures that are loaded once and shared by whoever shows them: a map by name that keeps none of
 * them. The last one who lets go of a picture takes it out of the map.
 *
 *   cc weakmap.c $(pkg-config --cflags --libs lethe) && ./a.out */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lethe/weakmap.h"

struct picture {
  struct lethe_counted refs; /* first of all: an object of the map's */
  char name[16];
};

static int loaded, freed;

static void picture_free(struct lethe_counted *c) {
  freed++;
  free(lethe_container_of(c, struct picture, refs));
}

static const struct lethe_counted_class picture_class = {.free = picture_free};

/* A strong reference to the one picture of that name, which is loaded if nobody has it. */
static struct picture *picture_of(struct lethe_weakmap *map, const char *name) {
  struct lethe_weak_key key = lethe_weak_bytes(name, strlen(name));
  struct lethe_counted *there = lethe_weakmap_get(map, &key);
  if (there) return lethe_container_of(there, struct picture, refs);
  struct picture *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  lethe_counted_init(&p->refs, &picture_class);
  snprintf(p->name, sizeof p->name, "%s", name);
  if (lethe_weakmap_insert(map, &key, &p->refs, NULL)) {
    lethe_strong_put(&p->refs);
    return NULL;
  }
  loaded++;
  return p;
}

int main(void) {
  static const char *const names[] = {"sea", "tree", "moon", "sea"};
  struct picture *shown[4];
  struct lethe_weakmap *map;
  struct lethe_weak_walk walk;
  char order[64] = "";
  if (lethe_weakmap_new(&map, &lethe_alloc_libc, &(struct lethe_weakmap_options){.ordered = true}))
    return 1;
  for (int i = 0; i < 4; i++)
    if (!(shown[i] = picture_of(map, names[i]))) return 1;

  lethe_strong_put(&shown[0]->refs); /* the sea is shown twice: it stays */
  lethe_strong_put(&shown[1]->refs); /* the tree goes, here */
  size_t left = lethe_weakmap_len(map);

  if (lethe_weak_walk_begin(&walk, map, NULL, NULL, false)) return 1;
  while (lethe_weak_walk_step(&walk) == LETHE_OK)
    strcat(strcat(order, lethe_container_of(walk.object, struct picture, refs)->name), " ");
  lethe_weak_walk_end(&walk);
  printf("%d loaded for 4, %d freed, %zu left: %s\n", loaded, freed, left, order);

  lethe_strong_put(&shown[2]->refs);
  lethe_strong_put(&shown[3]->refs);
  bool good = loaded == 3 && freed == 3 && left == 2 && strcmp(order, "moon sea ") == 0 &&
              lethe_weakmap_len(map) == 0;
  lethe_weakmap_put_ref(map);
  return good ? 0 : 1;
}
