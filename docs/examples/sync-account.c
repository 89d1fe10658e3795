/* SPDX-License-Identifier: MIT */

/*
 * A value that processes share, and its lock: both lie in one struct, in shared memory. (Python's
 * Value; an array beside a lock is its Array.) The last child is killed while it holds the lock:
 * the next owner is told, mends what the lock guards, and everybody goes on.
 */

#include <crew/crew.h>
#include <stdio.h>
#include <unistd.h>

struct account {
        crew_lock lock;
        int balance, deposits; /* 10 in each deposit */
};

static int take(struct account *a)
{
        int r = crew_lock_acquire(&a->lock, CREW_S(5));

        if (r == CREW_OWNER_DIED)
                a->balance = 10 * a->deposits;
        return r;
}

static int deposit(void *arg)
{
        struct account *a = arg;

        for (int i = 0; i < 1000; i++) {
                if (take(a) < 0)
                        return 1;
                a->deposits++;
                a->balance += 10;
                if (crew_lock_release(&a->lock) < 0)
                        return 1;
        }
        return 0;
}

static int die_inside(void *arg)
{
        struct account *a = arg;

        if (take(a) < 0)
                return 1;
        a->deposits++;
        _exit(3);
}

static int run(struct account *a)
{
        crew_auto(process) one = NULL;
        crew_auto(process) other = NULL;
        crew_auto(process) last = NULL;
        int r = crew_lock_init(&a->lock);

        if (r < 0 || (r = crew_process_launch(&one, deposit, a, NULL)) < 0 ||
                (r = crew_process_launch(&other, deposit, a, NULL)) < 0 ||
                (r = crew_process_join(one, CREW_FOREVER)) < 0 ||
                (r = crew_process_join(other, CREW_FOREVER)) < 0)
                return r;
        printf("余额:%d\n", a->balance);
        if ((r = crew_process_launch(&last, die_inside, a, NULL)) < 0 ||
                (r = crew_process_join(last, CREW_FOREVER)) < 0)
                return r;
        r = take(a);
        printf("%s, 余额:%d\n", r == CREW_OWNER_DIED ? "its owner died" : "as usual", a->balance);
        return r < 0 ? r : crew_lock_release(&a->lock);
}

int main(void)
{
        crew_auto(shm) shm = NULL;
        int r = crew_shm_new(&shm, sizeof(struct account), "account");

        if (r == 0)
                r = run(crew_shm_data(shm));
        if (r < 0)
                fprintf(stderr, "sync-account: %s\n", crew_error_detail());
        return r < 0;
}
