/* SPDX-License-Identifier: MIT
 * cmocka with the headers that it wants before it. */
#ifndef SPEC_HARNESS_UNIT_H
#define SPEC_HARNESS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
