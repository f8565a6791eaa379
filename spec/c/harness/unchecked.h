/* SPDX-License-Identifier: MIT
 * A guarded read that does not look whether its pin was ejected: for the control that must fail. */
#ifndef SPEC_HARNESS_UNCHECKED_H
#define SPEC_HARNESS_UNCHECKED_H

#include <stdbool.h>

struct lethe_epoch_rec;
bool unchecked_read_begin(struct lethe_epoch_rec *r, const void *p);

#endif
