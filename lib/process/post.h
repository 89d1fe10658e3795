/* SPDX-License-Identifier: MIT */
#ifndef CREW_PROCESS_POST_H
#define CREW_PROCESS_POST_H

/*
 * Messages with descriptors, over a SEQPACKET socket. Raw system calls and stack only, never
 * blocking.
 */

#include <stddef.h>
#include <sys/types.h>

enum {
        CREW__POST_MOST = 250, /* descriptors in a message; the kernel takes 253 */
        CREW__POST_FDS = 3,    /* those of a segment: its memfd and its eventfds */
};

/* Sends copies of those of the `n` descriptors that are not -1, in their order. 0 or -errno. */
int crew__post_send(int socket, const void *message, size_t size, const int *fds, size_t n);

/*
 * Receives a message of at most `size` bytes; fds that did not come are -1, more than `n` make it
 * -EMFILE.
 * Returns its size; 0: the end; -EAGAIN: none is there; -EMFILE: its descriptors were lost;
 * -EBADMSG: it is longer. In the last two cases as much of it as fits is in *message.
 */
ssize_t crew__post_receive(int socket, void *message, size_t size, int *fds, size_t n);

#endif
