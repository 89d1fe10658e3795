/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_BOARD_H
#define CREW_TESTS_BOARD_H

/* Where processes of several generations tell the case who they are and how far they got. */

#include "host.h"

/* What applications tell the case. */
struct board {
        atomic_int pid[16];
        atomic_int posted;
        atomic_int flag[4];
};

#define board ((struct board *)host_data)

__attribute__((unused)) static void post(pid_t pid)
{
        atomic_store(&board->pid[atomic_fetch_add(&board->posted, 1)], pid);
}

/* How many of the posted processes live. */
__attribute__((unused)) static int living(void)
{
        int n = 0;

        for (int i = 0; i < atomic_load(&board->posted); i++)
                n += peer_lives(atomic_load(&board->pid[i]));
        return n;
}

__attribute__((unused)) static bool all_posted(int n)
{
        for (int i = 0; i < n; i++) {
                if (!atomic_load(&board->pid[i]))
                        return false;
        }
        return true;
}

__attribute__((unused)) static void board_new(void)
{
        host_data = shared_new(sizeof *board);
}

__attribute__((unused)) static void board_free(void)
{
        for (int i = 0; i < 16; i++) {
                pid_t pid = atomic_load(&board->pid[i]);

                if (pid > 0 && peer_lives(pid))
                        (void)kill(pid, SIGKILL);
        }
        shared_free(board, sizeof *board);
}

__attribute__((unused)) static int spin(void *arg)
{
        (void)arg;
        post(getpid());
        for (;;)
                (void)sleep(1000);
        return 0;
}

__attribute__((unused)) static int spin_stubbornly(void *arg)
{
        (void)signal(SIGTERM, SIG_IGN);
        return spin(arg);
}

__attribute__((unused)) static int nap_and_flag(void *arg)
{
        (void)usleep(150000);
        atomic_store(&board->flag[(intptr_t)arg], 1);
        return 0;
}

__attribute__((unused)) static int start_daemon(crew_target_fn *target)
{
        crew_process *p = NULL;
        int r = host_launch(&p, target, NULL, CREW_OPT(process, .flags = CREW_PROCESS_DAEMON));

        (void)crew_process_free(p);
        return r;
}

#endif
