/* SPDX-License-Identifier: MIT */

/*
 * Workers of a pool fill one array between them: the memory is granted to the pool, each task is
 * given its part and the memory's name. What waits for the result in between sleeps on a condition.
 */

#include <crew/crew.h>
#include <stdio.h>

enum { PARTS = 4, EACH = 250 };

struct table {
        crew_lock lock;
        crew_condition grown;
        int parts;
        int64_t square[PARTS * EACH];
};

struct part {
        crew_ref table;
        int number;
};

CREW_TASK(fill, struct part, crew_none)
(crew_task *t, const struct part *p, crew_none *none)
{
        struct table *table;
        void *data;
        int r = crew_task_shm(t, p->table, &data);

        (void)none;
        if (r < 0)
                return r;
        table = data;
        for (int i = p->number * EACH; i < (p->number + 1) * EACH; i++)
                table->square[i] = (int64_t)i * i;
        r = crew_lock_acquire(&table->lock, CREW_S(5));
        if (r < 0)
                return r;
        table->parts++;
        r = crew_condition_notify_all(&table->grown);
        (void)crew_lock_release(&table->lock);
        return r;
}

/* Until all parts are there. */
static int await(struct table *table, int64_t *sum)
{
        int64_t until = crew_clock() + CREW_S(10);
        int r = crew_lock_acquire(&table->lock, CREW_S(5));

        if (r < 0)
                return r;
        while (r >= 0 && table->parts < PARTS)
                r = crew_condition_wait(&table->grown, &table->lock, crew_until(until));
        *sum = 0;
        for (int i = 0; i < PARTS * EACH; i++)
                *sum += table->square[i];
        (void)crew_lock_release(&table->lock);
        return r;
}

int main(void)
{
        crew_auto(shm) shm = NULL;
        crew_auto(pool) pool = NULL;
        struct table *table;
        int64_t sum = 0;
        crew_ref ref;
        int r = crew_shm_new(&shm, sizeof *table, "squares");

        if (r == 0) {
                table = crew_shm_data(shm);
                ref = crew_shm_ref(shm);
                r = crew_lock_init(&table->lock);
        }
        if (r == 0)
                r = crew_condition_init(&table->grown);
        if (r == 0)
                r = crew_pool_new(&pool, 2, CREW_OPT(pool, .grants = &ref, .n_grants = 1));
        for (int i = 0; r == 0 && i < PARTS; i++)
                r = fill_async(pool, &(struct part){ ref, i }, NULL, NULL);
        if (r == 0)
                r = await(table, &sum);
        if (r >= 0)
                printf("%lld\n", (long long)sum);
        else
                fprintf(stderr, "sync-pool: %s\n", crew_error_detail());
        return r < 0;
}
