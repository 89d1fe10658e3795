/* SPDX-License-Identifier: MIT */
#ifndef CREW_SANDBOX_NOTIFY_H
#define CREW_SANDBOX_NOTIFY_H

/*
 * Refused calls of foreign programs, told by the kernel: the caller sleeps until its listener has
 * answered. Numbers and arguments are the kernel's word, and it makes no difference what signals
 * the program has blocked. Nothing is ever let through here: what memory holds may have changed by
 * the time the kernel looks again, so a listener's yes would be no limit.
 */

#include "sandbox/apply.h"

/* What one listener was told so far. */
typedef struct crew__notes {
        uint64_t since; /* a claim, or 0: whoever started before is under the filter, too, and none
                           of those that this is about; it is answered, and not counted */
        uint64_t count;
        crew__violation first; /* if count */
} crew__notes;

/*
 * Answers all that wait, without sleeping: a call that no rule speaks of is noted, and ends its
 * process (`kill`) or fails with EPERM; the polite errnos of rules stay what they are. One thread
 * at a time. Returns how many calls were answered; -EPIPE: nobody is left under the filter.
 */
int crew__notify_serve(int listener, const crew__plan *plan, bool kill, crew__notes *notes);

#endif
