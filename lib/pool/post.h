/* SPDX-License-Identifier: MIT */
#ifndef CREW_POOL_POST_H
#define CREW_POOL_POST_H

/* Messages with descriptors, over a SEQPACKET socket. Raw system calls, never blocking. */

#include <stddef.h>

enum { CREW__POST_FDS = 3 };

/* Sends copies of those of the descriptors that are not -1, which stand first. 0 or -errno. */
int crew__post_send(int socket, const void *message, size_t size, const int fds[CREW__POST_FDS]);

/*
 * Receives a message of exactly `size` bytes; fds that did not come are -1.
 * Returns 1; 0: the end; -EAGAIN: none is there; -EMFILE: it was lost for want of descriptors;
 * -EBADMSG: it has another size.
 */
int crew__post_receive(int socket, void *message, size_t size, int fds[CREW__POST_FDS]);

#endif
