/* SPDX-License-Identifier: MIT */
#include "kernel/features.h"

#include "base/fail.h"
#include "base/nearest.h"
#include "base/trace.h"
#include "kernel/probe.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct spec {
        const char *name;
        const char *what;
        const char *since;
        const char *instead;
        int needs; /* a feature without which this one is not there, or NONE */
};

enum { NONE = -1 };

/* The one table; its order is that of `crew features`. */
static const struct spec specs[CREW__FEATURES] = {
        [CREW__CLONE3] =
                {
                        .name = "clone3",
                        .what = "starts a child and its pidfd in one step",
                        .since = "5.3",
                        .instead = "fork() and pidfd_open()",
                        .needs = NONE,
                },
        [CREW__CLOSE_RANGE] =
                {
                        .name = "close_range",
                        .what = "closes all other descriptors in one call",
                        .since = "5.11",
                        .instead = "closes what /proc/self/fd lists",
                        .needs = NONE,
                },
        [CREW__PIDFD_INFO] =
                {
                        .name = "pidfd_info",
                        .what = "exit status after somebody else's wait",
                        .since = "6.15",
                        .instead = "the child's own note, else unknown",
                        .needs = NONE,
                },
        [CREW__IO_URING] =
                {
                        .name = "io_uring",
                        .what = "one system call for many waits",
                        .since = "6.1",
                        .instead = "epoll",
                        .needs = NONE,
                },
        [CREW__URING_WAITID] =
                {
                        .name = "uring_waitid",
                        .what = "joins inside the ring",
                        .since = "6.7",
                        .instead = "polls the pidfd",
                        .needs = CREW__IO_URING,
                },
        [CREW__URING_FUTEX] =
                {
                        .name = "uring_futex",
                        .what = "queue waits inside the ring",
                        .since = "6.7",
                        .instead = "an eventfd per queue and direction",
                        .needs = CREW__IO_URING,
                },
        [CREW__NOEXEC_SEAL] =
                {
                        .name = "noexec_seal",
                        .what = "shared memory that can never be executed",
                        .since = "6.3",
                        .instead = "memfd without that seal",
                        .needs = NONE,
                },
        [CREW__LANDLOCK] =
                {
                        .name = "landlock",
                        .what = "keeps a worker from files and ports",
                        .since = "5.13",
                        .instead = "no path rules: path words are refused",
                        .needs = NONE,
                },
        [CREW__SECCOMP_NOTIFY] =
                {
                        .name = "seccomp_notify",
                        .what = "reports a denied call of a foreign program",
                        .since = "5.0",
                        .instead = "denied without a report",
                        .needs = NONE,
                },
        [CREW__ROBUST_LIST] =
                {
                        .name = "robust_list",
                        .what = "the kernel marks locks of the dead",
                        .since = "2.6.17",
                        .instead = "looks for the owner every 20 ms",
                        .needs = NONE,
                },
        [CREW__USERNS] =
                {
                        .name = "userns",
                        .what = "ends a whole process tree at once",
                        .since = "3.8",
                        .instead = "kills what it can find",
                        .needs = NONE,
                },
        [CREW__CGROUP_MEMORY] =
                {
                        .name = "cgroup_memory",
                        .what = "limits the memory that is really used",
                        .since = "5.7",
                        .instead = "limits the address space",
                        .needs = NONE,
                },
        [CREW__FUTEX_WAITV] =
                {
                        .name = "futex_waitv",
                        .what = "sleeps on two words: one wake less a task",
                        .since = "5.16",
                        .instead = "the pool's thread passes the wake on",
                        .needs = NONE,
                },
};

_Atomic uint32_t crew__feature_answers[CREW__FEATURES];

/* An answer: state in the low byte, errno above it. */
static uint32_t answer_of(int state, int error)
{
        return (uint32_t)state | (uint32_t)error << 8;
}

static int state_of(uint32_t answer)
{
        return (int)(answer & 0xff);
}

static int error_of(uint32_t answer)
{
        return (int)(answer >> 8);
}

/* What a shortage of the moment says nothing about. */
static bool passing(int error)
{
        return error == EMFILE || error == ENFILE || error == ENOMEM || error == EAGAIN ||
               error == EINTR;
}

/*
 * EBUSY is a second seccomp listener; ENOSPC and EUSERS come from a limit of zero on namespaces:
 * the kernel has the thing, and this process does not get it.
 */
static int state_for(int error)
{
        switch (error) {
        case 0:
                return CREW_FEATURE_YES;
        case EPERM:
        case EACCES:
        case EBUSY:
        case ENOSPC:
        case EUSERS:
                return CREW_FEATURE_BLOCKED;
        default:
                return CREW_FEATURE_NO;
        }
}

/* Whether the name is an item of CREW_DISABLE: commas between, blanks around do not count. */
static bool named(const char *list, const char *name)
{
        static const char between[] = ", \t\n";
        size_t length = strlen(name);

        while (list && *(list += strspn(list, between))) {
                size_t item = strcspn(list, between);

                if (item == length && memcmp(list, name, length) == 0)
                        return true;
                list += item;
        }
        return false;
}

static bool disabled(enum crew__feature feature)
{
        return named(secure_getenv("CREW_DISABLE"), specs[feature].name);
}

/* Whoever answers first is right for all, so that no two parts of the library differ. */
static uint32_t publish(enum crew__feature feature, uint32_t answer)
{
        uint32_t earlier = 0;

        if (!atomic_compare_exchange_strong(&crew__feature_answers[feature], &earlier, answer))
                return earlier;
        if (state_of(answer) != CREW_FEATURE_YES && crew__debugs())
                crew__debug("%s is not there (%s): %s", specs[feature].name,
                        error_of(answer) ? crew_error_name(error_of(answer)) : "CREW_DISABLE",
                        specs[feature].instead);
        return answer;
}

/* Those that are tried in one go with this one and have no answer yet, nor one without a try. */
static unsigned askable(enum crew__feature feature)
{
        unsigned group = crew__probe_group(feature);

        for (int i = 0; i < CREW__FEATURES; i++) {
                int needs = specs[i].needs;

                if (!(group & 1U << i))
                        continue;
                if (atomic_load(&crew__feature_answers[i]) || disabled((enum crew__feature)i) ||
                        (needs != NONE && disabled((enum crew__feature)needs)))
                        group &= ~(1U << i);
        }
        return group;
}

static uint32_t try_group(enum crew__feature feature)
{
        unsigned wanted = askable(feature) | 1U << feature;
        int answer[CREW__FEATURES] = { 0 };
        uint32_t result = 0;

        crew__probe(wanted, answer);
        for (int i = 0; i < CREW__FEATURES; i++) {
                uint32_t found = answer_of(state_for(-answer[i]), -answer[i]);

                if (!(wanted & 1U << i))
                        continue;
                if (!passing(-answer[i]))
                        found = publish((enum crew__feature)i, found);
                if (i == (int)feature)
                        result = found;
        }
        return result;
}

uint32_t crew__feature_try(enum crew__feature feature)
{
        uint32_t answer = atomic_load(&crew__feature_answers[feature]);
        int needs = specs[feature].needs;

        if (answer)
                return answer;
        if (disabled(feature))
                return publish(feature, answer_of(CREW_FEATURE_DISABLED, 0));
        if (needs == NONE || crew__has((enum crew__feature)needs)) {
                answer = atomic_load(&crew__feature_answers[feature]);
                return answer ? answer : try_group(feature);
        }
        answer = crew__feature_try((enum crew__feature)needs);
        return passing(error_of(answer)) ? answer : publish(feature, answer);
}

static void downgrade(enum crew__feature feature, int error)
{
        uint32_t yes = answer_of(CREW_FEATURE_YES, 0);

        if (atomic_compare_exchange_strong(&crew__feature_answers[feature], &yes,
                    answer_of(state_for(error), error)) &&
                crew__debugs())
                crew__debug("%s fell short (%s): %s", specs[feature].name, crew_error_name(error),
                        specs[feature].instead);
}

static void downgrade_with_relatives(enum crew__feature feature, int error)
{
        downgrade(feature, error);
        for (int i = 0; i < CREW__FEATURES; i++) {
                if (specs[i].needs == (int)feature)
                        downgrade((enum crew__feature)i, error);
        }
}

void crew__feature_fell_short(enum crew__feature feature, int error)
{
        if (error > 0 && !passing(error))
                downgrade_with_relatives(feature, error);
}

void crew__feature_forbid(enum crew__feature feature)
{
        (void)publish(feature, answer_of(CREW_FEATURE_BLOCKED, EPERM));
        downgrade_with_relatives(feature, EPERM);
}

/* The number in a file under /proc/sys, or -1. */
static int sysctl(const char *path)
{
        char text[16];
        ssize_t n;
        int fd = open(path, O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                return -1;
        n = read(fd, text, sizeof text - 1);
        (void)close(fd);
        if (n <= 0)
                return -1;
        text[n] = 0;
        return atoi(text);
}

/* The usual suspects, by what the system says about itself; NULL when nothing is known. */
static const char *culprit(int feature, int error)
{
        switch (feature) {
        case CREW__IO_URING:
                if (error == EINVAL)
                        return "the kernel's rings are older than 6.1";
                if (state_for(error) != CREW_FEATURE_BLOCKED)
                        return NULL;
                switch (sysctl("/proc/sys/kernel/io_uring_disabled")) {
                case 1:
                        return "sysctl kernel.io_uring_disabled is 1: only for root and one group";
                case 2:
                        return "sysctl kernel.io_uring_disabled is 2: for nobody";
                default:
                        return NULL;
                }
        case CREW__USERNS:
                if (sysctl("/proc/sys/user/max_user_namespaces") == 0)
                        return "sysctl user.max_user_namespaces is 0";
                if (sysctl("/proc/sys/kernel/unprivileged_userns_clone") == 0)
                        return "sysctl kernel.unprivileged_userns_clone is 0";
                if (sysctl("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1)
                        return "sysctl kernel.apparmor_restrict_unprivileged_userns is 1";
                return NULL;
        case CREW__CGROUP_MEMORY:
                if (error == ENOENT)
                        return "no control groups of version 2 are mounted here";
                if (error == EOPNOTSUPP)
                        return "this control group was not given the memory controller";
                if (error == EBUSY)
                        return "processes are in the control group that would have the leaves";
                if (error == EACCES)
                        return "its control group and the one above are not this user's";
                return NULL;
        case CREW__LANDLOCK:
                if (error == EOPNOTSUPP)
                        return "built in but not switched on: see the boot parameter lsm=";
                return NULL;
        case CREW__SECCOMP_NOTIFY:
                if (error == EBUSY)
                        return "a filter around this process has a listener already";
                return NULL;
        case CREW__ROBUST_LIST:
                if (error == ENODATA)
                        return "the C library registered no list for this thread";
                return NULL;
        default:
                return NULL;
        }
}

static const char *why(int feature, uint32_t answer)
{
        int state = state_of(answer), error = error_of(answer);
        const char *known;

        if (state == CREW_FEATURE_YES)
                return "";
        if (specs[feature].needs != NONE && !crew__has((enum crew__feature)specs[feature].needs) &&
                !disabled((enum crew__feature)feature))
                return "needs io_uring";
        if (state == CREW_FEATURE_DISABLED)
                return "switched off by CREW_DISABLE";
        if (passing(error))
                return "short of descriptors, processes or memory: tried again when asked again";
        known = culprit(feature, error);
        if (known)
                return known;
        if (state == CREW_FEATURE_BLOCKED)
                return "a seccomp filter or security module forbids it, as containers often do";
        if (error == ENOSYS)
                return "not in this kernel, or a seccomp filter pretends so";
        return "not in this kernel";
}

int crew_feature_find(const char *name)
{
        const char *names[CREW__FEATURES], *nearest;

        if (!name)
                return crew__fail(EINVAL, "the name of the feature is NULL");
        for (int i = 0; i < CREW__FEATURES; i++) {
                names[i] = specs[i].name;
                if (strcmp(name, names[i]) == 0)
                        return i;
        }
        nearest = crew__nearest(name, names, CREW__FEATURES);
        if (nearest)
                return crew__fail(
                        ENOENT, "there is no feature '%s'; did you mean '%s'?", name, nearest);
        return crew__fail(ENOENT, "there is no feature '%s'; `crew features` lists them", name);
}

int crew_feature_get(unsigned index, crew_feature *f)
{
        enum { FIRST_SIZE = sizeof(crew_feature) }; /* of the first version; later ones grow */
        crew_feature known;
        uint32_t answer;

        if (!f || f->size < FIRST_SIZE)
                return crew__fail(EINVAL, "crew_feature: size must be sizeof(crew_feature)");
        if (index >= CREW__FEATURES)
                return crew__fail_quick(ENOENT, "there is no feature with that index");

        answer = crew__feature_try((enum crew__feature)index);
        known = (crew_feature){
                .size = f->size,
                .name = specs[index].name,
                .what = specs[index].what,
                .since = specs[index].since,
                .instead = specs[index].instead,
                .why = why((int)index, answer),
                .state = state_of(answer),
                .error = error_of(answer),
        };
        memcpy(f, &known, f->size < sizeof known ? f->size : sizeof known);
        return 0;
}
