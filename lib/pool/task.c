/* SPDX-License-Identifier: MIT */

/* What a task may ask of its worker. */

#include "pool/task.h"

#include "base/cleanup.h"
#include "base/fail.h"
#include "pool/nest.h"
#include "status/page.h"

#include <stdio.h>
#include <string.h>

/* Something granted that was lent once; the handle lives as long as the worker. */
typedef struct loan {
        struct loan *next;
        crew_ref ref;
        int (*open)(void **object, crew_ref ref);
        void *object;
} loan;

static loan *loans;

int crew__task_run(crew_task *t, crew_task_fn *function, const void *arg, size_t size)
{
        int r = function(t, arg, size);

        if (r == 0)
                r = t->code;
        if (r > 0)
                r = crew_task_fail(t, -EINVAL,
                        "the task returned %d; a task returns 0 or a negative errno", r);
        if (r < 0)
                t->result = 0;
        return r;
}

void *crew_task_result(crew_task *t, size_t size)
{
        void *at = t && t->track ? crew__track_reserve(t->track, size) : NULL;

        if (at)
                t->result = size;
        return at;
}

int crew_task_return(crew_task *t, const void *data, size_t size)
{
        void *at;

        if (!t || (!data && size))
                return crew__fail(EINVAL, "task: no task, or no data");
        if (!t->track)
                return crew__fail(EINVAL, "task: an initializer has no result");
        at = crew_task_result(t, size);
        if (!at)
                return crew__fail(EMSGSIZE,
                        "task: a result of %zu bytes is larger than the lane of its worker "
                        "(lane_bytes of the pool)",
                        size);
        if (size)
                memcpy(at, data, size);
        return 0;
}

int crew_task_fail(crew_task *t, int code, const char *format, ...)
{
        va_list args;

        if (!t)
                return crew__fail(EINVAL, "task: no task");
        t->code = code < 0 ? code : -EINVAL;
        va_start(args, format);
        (void)vsnprintf(t->text, sizeof t->text, format, args);
        va_end(args);
        return t->code;
}

/* Takes in what was granted since the last look. */
static void receive_grants(int control)
{
        int fds[CREW__POST_FDS], r;
        crew__segment *s;
        crew__ask grant;

        while ((r = (int)crew__post_receive(control, &grant, sizeof grant, fds, CREW__POST_FDS)) >
                        0 ||
                r == -EMFILE) {
                if (r == -EMFILE)
                        continue;
                r = crew__segment_find(&s, grant.ref);
                if (r == 0) {
                        (void)crew__segment_unref(s);
                } else {
                        /* The reference is the process's: granted until it ends. */
                        r = crew__segment_attach(
                                &s, grant.ref, grant.head, grant.ring, fds[0], &fds[1]);
                        if (r == 0) {
                                s->fd = -1; /* mapped, it is of no more use */
                                fds[1] = fds[2] = -1;
                        }
                }
                for (size_t i = 0; i < CREW__POST_FDS; i++)
                        (void)crew__close(fds[i]);
        }
}

static int lend(crew_task *t, crew_ref ref, const char *what,
        int (*open)(void **object, crew_ref ref), void **object)
{
        loan *l;
        int r;

        for (l = loans; l; l = l->next) {
                if (memcmp(&l->ref, &ref, sizeof ref) == 0 && l->open == open) {
                        *object = l->object;
                        return 0;
                }
        }
        l = malloc(sizeof *l);
        if (!l)
                return crew__fail(ENOMEM, "task: no memory for a %s", what);
        r = open(&l->object, ref);
        if (r == -ENOENT) {
                receive_grants(t->control);
                r = open(&l->object, ref);
        }
        if (r < 0) {
                free(l);
                return r == -ENOENT ? crew__fail(ENOENT,
                                              "this pool was not granted a %s with this ref; name "
                                              "it in the grants of the pool or call "
                                              "crew_pool_grant()",
                                              what)
                                    : r;
        }
        l->ref = ref;
        l->open = open;
        l->next = loans;
        loans = l;
        *object = l->object;
        return 0;
}

static int open_queue(void **object, crew_ref ref)
{
        crew_queue *q;
        int r = crew_queue_open(&q, ref);

        if (r == 0)
                *object = q;
        return r;
}

int crew_task_queue(crew_task *t, crew_ref ref, crew_queue **q)
{
        void *object = NULL;
        int r;

        if (!t || !q)
                return crew__fail(EINVAL, "task: no task, or nowhere to store the queue");
        r = lend(t, ref, "queue", open_queue, &object);
        if (r == 0)
                *q = object;
        return r;
}

static int open_connection(void **object, crew_ref ref)
{
        crew_connection *c;
        int r = crew_connection_open(&c, ref);

        if (r == 0)
                *object = c;
        return r;
}

int crew_task_connection(crew_task *t, crew_ref ref, crew_connection **c)
{
        void *object = NULL;
        int r;

        if (!t || !c)
                return crew__fail(EINVAL, "task: no task, or nowhere to store the connection");
        r = lend(t, ref, "connection", open_connection, &object);
        if (r == 0)
                *c = object;
        return r;
}

static int open_shm(void **object, crew_ref ref)
{
        crew_shm *s;
        int r = crew_shm_open(&s, ref);

        if (r == 0)
                *object = s;
        return r;
}

int crew_task_shm(crew_task *t, crew_ref ref, void **data)
{
        void *object = NULL;
        int r;

        if (!t || !data)
                return crew__fail(EINVAL, "task: no task, or nowhere to store the address");
        r = lend(t, ref, "segment of shared memory", open_shm, &object);
        if (r == 0)
                *data = crew_shm_data(object);
        return r;
}

void crew_task_status(crew_task *t, const char *text)
{
        if (t && t->status)
                crew__status_text(t->status, CREW__STATUS_BYTES, text);
}

bool crew_task_cancelled(crew_task *t)
{
        return t && t->track && crew__track_cancelled(t->track);
}

unsigned crew_task_worker(crew_task *t)
{
        return t ? t->worker : 0;
}

unsigned crew_task_attempt(crew_task *t)
{
        return t ? t->attempt : 0;
}

uint64_t crew_task_id(crew_task *t)
{
        return t ? t->id : 0;
}
