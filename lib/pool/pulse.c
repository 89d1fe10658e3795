/* SPDX-License-Identifier: MIT */

/*
 * How the pool hears of the death of a worker whose memory takes long to go: its pidfd tells when
 * that is gone, a word in its row before. The ring sleeps on the word; other waiters look at it
 * every 20 ms. Either way the end of the worker is one event, whoever tells of it first.
 *
 * When the word is marked the worker's main thread will do nothing more in its lane, and its exit
 * status stands: the kernel writes it before it goes through the list of robust locks. So the
 * verdict is the same as after the pidfd. What lives on is the process of a task that called
 * pthread_exit() or exec: neither can ever finish its task, and it is killed.
 */

#include "kernel/pulse.h"
#include "base/cleanup.h"
#include "event/operation.h"
#include "kernel/stat.h"
#include "kernel/syscall.h"
#include "pool/pool.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

/* In the flags of /proc/PID/stat. */
enum { EXITING = 4 };

static bool pulse_try(crew__op *op, int64_t *result)
{
        crew__worker *w = op->spec.object;

        *result = 0;
        return crew__pulse_stopped(
                atomic_load_explicit(op->spec.word, memory_order_acquire), &w->pulse);
}

static const crew__op_class pulse_class = {
        .kind = CREW_FD,
        .try = pulse_try,
};

int crew__watch_pulse(crew_pool *p, crew__worker *w, uint64_t tag)
{
        _Atomic uint32_t *word = crew__zygote_pulse(p->zygote, w->row);
        crew__op_spec spec = {
                .class = &pulse_class,
                .object = w,
                .tag = tag,
                .source = CREW__SOURCE_WORD,
                .fd = -1,
                .word = word,
        };

        return word ? crew__waiter_arm(p->waiter, &spec) : 0;
}

void crew__pulse_stops(crew_pool *p, crew__worker *w, int64_t now)
{
        if (!crew__worker_alive(w) && w->state != CREW__ENDING)
                return;
        (void)crew__sys_pidfd_send_signal(w->pidfd, SIGKILL);
        w->marked = true;
        crew__supervise(p, w, CREW__EVENT_DIED, now);
}

/* The number of the process in the /proc that is mounted here; <= 0: it was collected. */
static int number_of(int pidfd)
{
        char path[64], text[1024];
        CREW__AUTO_CLOSE int fd = -1;
        const char *at;
        ssize_t n;

        (void)snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
        text[n > 0 ? n : 0] = '\0';
        at = strstr(text, "\nPid:");
        return at ? atoi(at + 5) : 0;
}

bool crew__pulse_ending(const crew__worker *w, crew__ending *ending)
{
        int pid = number_of(w->pidfd), status;
        crew__stat stat;

        /* The number is the same process's before and after, so it was in between. */
        if (pid <= 0 || !crew__stat_read(pid, &stat) || number_of(w->pidfd) != pid ||
                stat.last < CREW__STAT_STATUS)
                return false;
        /* Who may not see the status sees 0, as in the address. */
        if (!(stat.field[CREW__STAT_FLAGS] & EXITING) ||
                (!stat.field[CREW__STAT_STATUS] && !stat.field[CREW__STAT_ADDRESS]))
                return false;
        status = (int)stat.field[CREW__STAT_STATUS];
        *ending = (crew__ending){ .known = true,
                .signal = status & 0x7f,
                .core = status & 0x80,
                .code = status >> 8 & 0xff };
        return true;
}
