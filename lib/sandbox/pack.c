/* SPDX-License-Identifier: MIT */
#include "sandbox/pack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Then the filter's instructions, the numbers of the eventfds, the path of the self-test. */
struct packed {
        crew__plan plan;             /* its pointers mean nothing */
        uint32_t code, events, path; /* bytes of each */
};

static uint32_t path_bytes(const crew__plan *p)
{
        return p->ruleset.test_path ? (uint32_t)strlen(p->ruleset.test_path) + 1 : 0;
}

static struct packed head_of(const crew__plan *p)
{
        return (struct packed){
                .plan = *p,
                .code = (uint32_t)(p->filter.length * sizeof *p->filter.code),
                .events = (uint32_t)(p->scope.n_events * sizeof *p->events),
                .path = path_bytes(p),
        };
}

size_t crew__plan_packed(const crew__plan *p)
{
        struct packed head = head_of(p);

        return sizeof head + head.code + head.events + head.path;
}

static char *append(char *to, const void *from, size_t size)
{
        if (size)
                memcpy(to, from, size);
        return to + size;
}

void crew__plan_pack(const crew__plan *p, void *into)
{
        struct packed head = head_of(p);
        char *to = append(into, &head, sizeof head);

        to = append(to, p->filter.code, head.code);
        to = append(to, p->scope.events, head.events);
        (void)append(to, p->ruleset.test_path, head.path);
}

/* A copy; NULL for nothing. */
static int take(void *pointer, const char **from, size_t size)
{
        void *copy = NULL;

        if (size) {
                copy = malloc(size);
                if (!copy)
                        return -ENOMEM;
                memcpy(copy, *from, size);
        }
        *from += size;
        memcpy(pointer, &copy, sizeof copy);
        return 0;
}

int crew__plan_unpack(crew__plan *p, const void *from, size_t size, int ruleset)
{
        const char *at = from;
        struct packed head;
        int r;

        if (size < sizeof head)
                return -EBADMSG;
        memcpy(&head, at, sizeof head);
        at += sizeof head;
        if (head.code != head.plan.filter.length * sizeof *head.plan.filter.code ||
                head.events != head.plan.scope.n_events * sizeof *head.plan.events ||
                size - sizeof head != (size_t)head.code + head.events + head.path ||
                (head.path && at[head.code + head.events + head.path - 1]))
                return -EBADMSG;
        *p = head.plan;
        p->filter.code = NULL;
        p->events = NULL;
        p->ruleset.fd = ruleset;
        p->ruleset.test_path = NULL;
        r = take(&p->filter.code, &at, head.code);
        if (r == 0)
                r = take(&p->events, &at, head.events);
        p->scope.events = p->events;
        /* The path is for the life of the process, as in the plan that this is a copy of. */
        if (r == 0)
                r = take(&p->ruleset.test_path, &at, head.path);
        if (r < 0) {
                p->ruleset.fd = -1;
                crew__plan_free(p);
        }
        return r;
}
