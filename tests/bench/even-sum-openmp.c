/* SPDX-License-Identifier: MIT */

/* The sum of the even numbers from 1 to 1,000,000,000 in ten threads: what even-sum is held to. */

#include <stdint.h>
#include <stdio.h>

#define FROM UINT64_C(1)
#define TO UINT64_C(1000000000)

int main(void)
{
        uint64_t sum = 0;

#pragma omp parallel for num_threads(10) reduction(+ : sum) schedule(static)
        for (uint64_t i = FROM; i <= TO; i++)
                if (i % 2 == 0)
                        sum += i;
        printf("%llu\n", (unsigned long long)sum);
        return 0;
}
