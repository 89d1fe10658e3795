/* SPDX-License-Identifier: MIT */
#ifndef CREW_CREW_H
#define CREW_CREW_H

/* All of libcrew. */

#include <crew/error.h>
#include <crew/features.h>
#include <crew/inspect.h>
#include <crew/pipe.h>
#include <crew/pool.h>
#include <crew/process.h>
#include <crew/queue.h>
#include <crew/sandbox.h>
#include <crew/shm.h>
#include <crew/sync.h>
#include <crew/wait.h>

#endif
