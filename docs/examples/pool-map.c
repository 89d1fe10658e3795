/* SPDX-License-Identifier: MIT */

/* A map over an array of structs. The compiler checks the types; every item has a status of its
 * own. */

#include <crew/crew.h>
#include <errno.h>
#include <stdio.h>

struct point {
        double x, y;
};

CREW_TASK(norm, struct point, double)
(crew_task *t, const struct point *p, double *out)
{
        if (p->x < 0)
                return crew_task_fail(t, -EDOM, "x is %g", p->x);
        *out = p->x * p->x + p->y * p->y;
        return 0;
}

int main(void)
{
        static const struct point points[] = { { 3, 4 }, { 5, 12 }, { -1, 0 }, { 8, 15 } };
        enum { N = sizeof points / sizeof *points };
        crew_auto(pool) pool = NULL;
        double norms[N];
        int status[N];
        int r = crew_pool_new(&pool, 0, NULL);

        if (r < 0) {
                fprintf(stderr, "pool-map: %s\n", crew_error_detail());
                return 1;
        }
        r = norm_map(pool, points, N, norms, CREW_S(30),
                CREW_OPT(task, .name = "norm", .status = status));
        if (r == -ETIMEDOUT) {
                fprintf(stderr, "pool-map: %s\n", crew_error_detail());
                return 1;
        }
        /* Another error is that of the first item that failed; the others have their results. */
        if (r < 0)
                printf("%s\n", crew_error_detail());
        for (int i = 0; i < N; i++) {
                if (status[i] == CREW_OK)
                        printf("(%g, %g): %g\n", points[i].x, points[i].y, norms[i]);
                else
                        printf("(%g, %g): failed\n", points[i].x, points[i].y);
        }
        return 0;
}
