/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_GUEST_H
#define CREW_TESTS_GUEST_H

int guest_linked(void *arg);
int guest_plugged(void *arg);

#endif
