/* SPDX-License-Identifier: MIT */

/* What even-sum is held to: its own loop over the same ten parts, in ten threads. */

#include "even-sum-loop.h"

#include <inttypes.h>
#include <stdio.h>

#define TASKS 10
#define NUMBERS INT64_C(1000000000)

int main(void)
{
        int64_t sum = 0;

#pragma omp parallel for num_threads(TASKS) reduction(+ : sum) schedule(static)
        for (int64_t i = 0; i < TASKS; i++)
                sum += even_sum_loop(i * (NUMBERS / TASKS) + 1, (i + 1) * (NUMBERS / TASKS));
        printf("%" PRId64 "\n", sum);
        return 0;
}
