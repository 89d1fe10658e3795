/* SPDX-License-Identifier: MIT */
#ifndef CREW_PROCESS_STARTER_H
#define CREW_PROCESS_STARTER_H

/*
 * A thread that is under a sandbox's filter and starts programs from there. A filter belongs to a
 * thread and is inherited by what that thread starts, so it is loaded once for any number of
 * programs: loading it, with its listener, costs a third of what a start costs otherwise.
 *
 * Landlock is not shared that way: programs of one domain may signal each other and whatever thread
 * is in it, which would be a thread of the host. Each program enters a domain of its own, which
 * costs little, under the filter that it has from birth.
 */

#include "process/image.h"

#include <crew/process.h>

crew_starter *crew__starter_ref(crew_starter *s);
crew_starter *crew__starter_unref(crew_starter *s);

/* -EINVAL: no starter; -ECHILD: of another process. */
int crew__starter_enter(const crew_starter *s);

/* What its programs are under: the plan, of which the filter is in force; its words. */
const crew__plan *crew__starter_plan(const crew_starter *s);
const char *crew__starter_words(const crew_starter *s);
bool crew__starter_denies(const crew_starter *s);

/* The listener of its filter, which stays the starter's; -1: nothing reports. */
int crew__starter_listener(const crew_starter *s);

/* For one program at a time, as its reports are told apart by that: 0, or -EBUSY. */
int crew__starter_take(crew_starter *s);
void crew__starter_give(crew_starter *s);

/* crew__image_start() by its thread, of an image whose filter is in force; only between _take and
 * _give. */
int crew__starter_start(crew_starter *s, crew__image *m, int *pidfd);

#endif
