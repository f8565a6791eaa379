/* SPDX-License-Identifier: MIT
 * Limits of a tracker, checked together, and the process's resident size. */
#ifndef LETHE_QUOTA_LIMITS_H
#define LETHE_QUOTA_LIMITS_H

#include "lethe/quota.h"

/* The numbers that a configuration stands for; LETHE_ELIMITS and *why where they do not fit. */
int quota_limits(const struct lethe_quota_config *c, int64_t *max, int64_t *low, const char **why);
/* Bytes; 0 where the system does not tell. */
int64_t quota_resident(void);

#endif
