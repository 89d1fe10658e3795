/* SPDX-License-Identifier: MIT */

/*
 * Takes system calls away and runs a program:
 *      forbid CALL,CALL...=ERRNO... -- PROGRAM [ARGUMENT...]
 *      forbid container -- PROGRAM [ARGUMENT...]
 * "container" is what the default profile of container engines refuses, with their errors: io_uring,
 * new namespaces, mounts, keyrings, bpf, other processes' memory, and clone3 as if there were none.
 */

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
        const char *name;
        int number;
} errors[] = { { "EPERM", EPERM }, { "ENOSYS", ENOSYS }, { "EINVAL", EINVAL },
        { "EOPNOTSUPP", EOPNOTSUPP } };

static const char container[] =
        "io_uring_setup,io_uring_enter,io_uring_register,mount,umount2,pivot_root,unshare,setns,"
        "move_mount,open_tree,fsopen,fsmount,keyctl,add_key,request_key,bpf,perf_event_open,"
        "userfaultfd,process_vm_readv,process_vm_writev,kexec_load,init_module,finit_module,"
        "name_to_handle_at,open_by_handle_at,kcmp,swapon,swapoff,reboot,acct,quotactl=EPERM";

static void refuse(const char *what, const char *why)
{
        (void)fprintf(stderr, "forbid: %s: %s\n", what, why);
        exit(2);
}

static void add(scmp_filter_ctx filter, const char *rule)
{
        char *copy = strdup(rule), *equals = copy ? strrchr(copy, '=') : NULL, *rest = copy;
        int error = 0;

        if (!equals)
                refuse(rule, "no error is named");
        for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
                if (strcmp(equals + 1, errors[i].name) == 0)
                        error = errors[i].number;
        if (!error)
                refuse(rule, "an error that is not known here");
        *equals = '\0';
        for (const char *call; (call = strsep(&rest, ","));) {
                int number = seccomp_syscall_resolve_name(call);

                if (number == __NR_SCMP_ERROR)
                        refuse(call, "no such system call");
                if (seccomp_rule_add(filter, SCMP_ACT_ERRNO((uint32_t)error), number, 0) < 0)
                        refuse(call, "no rule can be made");
        }
        free(copy);
}

static void add_container(scmp_filter_ctx filter)
{
        static const unsigned long spaces[] = { CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNS,
                CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP };

        add(filter, container);
        add(filter, "clone3=ENOSYS");
        for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++)
                if (seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                            SCMP_A0(SCMP_CMP_MASKED_EQ, spaces[i], spaces[i])) < 0)
                        refuse("clone", "no rule can be made");
}

int main(int argc, char **argv)
{
        scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
        int i = 1;

        if (!filter)
                refuse("seccomp", "no memory");
        for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
                if (strcmp(argv[i], "container") == 0)
                        add_container(filter);
                else
                        add(filter, argv[i]);
        }
        if (i + 1 >= argc)
                refuse("usage", "forbid RULE... -- PROGRAM [ARGUMENT...]");
        if (seccomp_load(filter) < 0)
                refuse("seccomp", strerror(errno));
        seccomp_release(filter);
        (void)execv(argv[i + 1], &argv[i + 1]);
        refuse(argv[i + 1], strerror(errno));
}
