/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_HOSTILE_CASE_H
#define CREW_TESTS_HOSTILE_CASE_H

/* A fuzz target without a fuzzer. */

#include "check.h"
#include "fuzz.h"
#include "peer.h"

enum { HOSTILE_MOST = 2048 };

/* Over so many random programs shorter than `most`. */
static inline void hostile_programs(long long rounds, size_t most)
{
        uint64_t random = peer_seed();
        uint8_t program[HOSTILE_MOST];

        REQUIRE(most <= sizeof program);
        for (long long i = 0; i < rounds; i++) {
                size_t size = peer_random(&random) % most;

                for (size_t k = 0; k < size; k += 8) {
                        uint64_t word = peer_random(&random);

                        memcpy(program + k, &word, size - k < 8 ? size - k : 8);
                }
                (void)LLVMFuzzerTestOneInput(program, size);
        }
}

#endif
