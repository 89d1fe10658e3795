/* SPDX-License-Identifier: MIT */
#ifndef CREW_PROCESS_CPU_H
#define CREW_PROCESS_CPU_H

/*
 * The CPU quota of this process's cgroup and its ancestors, rounded up to whole processors; INT_MAX
 * without one. All paths are looked up below `root`: "" outside of tests.
 */
int crew__cpu_quota(const char *root);

#endif
