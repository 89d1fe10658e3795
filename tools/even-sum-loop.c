/* SPDX-License-Identifier: MIT */
#include "even-sum-loop.h"

/*
 * The compiler vectorises the loop once per kind of CPU, and the dynamic loader picks the one that
 * this machine has. Sanitizers instrument the picking itself, before they are set up, so they get
 * the plain loop, as does every CPU but x86-64.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define INSTRUMENTED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
        __has_feature(undefined_behavior_sanitizer)
#define INSTRUMENTED 1
#endif
#endif

#if defined(__x86_64__) && defined(__GLIBC__) && !defined(INSTRUMENTED)
#if __has_attribute(target_clones)
#define FOR_EACH_CPU __attribute__((target_clones("avx512f", "avx2", "default")))
#endif
#endif
#ifndef FOR_EACH_CPU
#define FOR_EACH_CPU
#endif

/*
 * Every number is looked at: in a loop that went from even number to even number a compiler would
 * recognise the series and put its closed form in place of the work. Counting in unsigned keeps the
 * last step past INT64_MAX defined.
 */
FOR_EACH_CPU
static uint64_t sum_of_even(uint64_t from, uint64_t count)
{
        uint64_t sum = 0;

        for (uint64_t i = 0; i < count; i++) {
                uint64_t x = from + i;

                sum += x & 1 ? 0 : x;
        }
        return sum;
}

int64_t even_sum_loop(int64_t from, int64_t to)
{
        if (from > to)
                return 0;
        /* The last one apart: the count of all numbers there are would be one too many. */
        return (int64_t)(sum_of_even((uint64_t)from, (uint64_t)to - (uint64_t)from) +
                (to & 1 ? 0 : (uint64_t)to));
}
