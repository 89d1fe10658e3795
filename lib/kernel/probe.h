/* SPDX-License-Identifier: MIT */
#ifndef CREW_KERNEL_PROBE_H
#define CREW_KERNEL_PROBE_H

/*
 * Trying the kernel's features by use, one function each: 0 = works, else the negative errno of
 * what went wrong. They allocate nothing, take no lock, leave nothing behind and may be called by
 * any thread. Answers are kept by features.c.
 */

int crew__probe_clone3(void);
int crew__probe_close_range(void);
int crew__probe_pidfd_info(void);
int crew__probe_io_uring(void);
int crew__probe_uring_waitid(void);
int crew__probe_uring_futex(void);
int crew__probe_noexec_seal(void);
int crew__probe_landlock(void);
int crew__probe_seccomp_notify(void);
int crew__probe_robust_list(void);
int crew__probe_userns(void);

#endif
