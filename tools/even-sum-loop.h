/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_EVEN_SUM_LOOP_H
#define CREW_TOOLS_EVEN_SUM_LOOP_H

#include <stdint.h>

/*
 * The sum of the even numbers from `from` to `to`, both included, found by looking at each number
 * in between. The true sum must fit in an int64_t; from > to sums nothing.
 */
int64_t even_sum_loop(int64_t from, int64_t to);

#endif
