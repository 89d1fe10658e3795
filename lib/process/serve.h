/* SPDX-License-Identifier: MIT */
#ifndef CREW_PROCESS_SERVE_H
#define CREW_PROCESS_SERVE_H

/* What goes through a server's socket. */

#include "process/server.h"

typedef struct crew__question {
        uint64_t number; /* comes back in the answer: an answer that comes too late is dropped */
        char request[CREW__REQUEST_MAX] __attribute__((aligned(16)));
} crew__question;

typedef struct crew__reply { /* perhaps with a descriptor */
        uint64_t number;
        int32_t result;
        int32_t padding;
} crew__reply;

#endif
