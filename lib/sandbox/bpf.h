/* SPDX-License-Identifier: MIT */
#ifndef CREW_SANDBOX_BPF_H
#define CREW_SANDBOX_BPF_H

/*
 * The kernel's side of a seccomp filter, replayed: what does this program answer to this call?
 * A filter is looked at with it before it is loaded, whoever made it.
 */

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>

/*
 * Runs the program on the call and returns the action (SECCOMP_RET_...). A program that the kernel
 * would refuse (an unknown instruction, a jump or read out of bounds, no return at the end) answers
 * SECCOMP_RET_ALLOW: to who checks that something is refused, it does not hold.
 */
unsigned crew__bpf_run(
        const struct sock_filter *code, size_t length, const struct seccomp_data *call);

#endif
