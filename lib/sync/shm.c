/* SPDX-License-Identifier: MIT */
#include "base/fail.h"
#include "kernel/segment.h"

#include <crew/shm.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_BYTES = 63 };

/* The segment knows all; a handle is a reference of its own to it. */
struct crew_shm {
        crew__segment *segment;
};

static int handle(crew_shm **s, crew__segment *segment)
{
        crew_shm *made = malloc(sizeof *made);

        if (!made) {
                (void)crew__segment_unref(segment);
                return crew__fail(ENOMEM, "shm: no memory for its handle");
        }
        made->segment = segment;
        *s = made;
        return 0;
}

int crew_shm_new(crew_shm **s, size_t bytes, const char *name)
{
        crew__segment *segment;
        int r;

        if (!s)
                return crew__fail(EINVAL, "shm: nowhere to store the handle");
        if (!bytes || bytes > PTRDIFF_MAX - crew__page_size())
                return crew__fail(EINVAL,
                        "shm: %zu bytes; at least 1, and an address space has an end", bytes);
        if (name && strlen(name) > NAME_MAX_BYTES)
                return crew__fail(EINVAL, "shm: the name is longer than %d bytes: %.20s...",
                        NAME_MAX_BYTES, name);
        r = crew__segment_new(&segment, "shm", name, bytes, 0, 0);
        return r < 0 ? r : handle(s, segment);
}

int crew_shm_open(crew_shm **s, crew_ref ref)
{
        crew__segment *segment;
        int r;

        if (!s)
                return crew__fail(EINVAL, "shm: nowhere to store the handle");
        if (!crew__ref_is(ref, "shm"))
                return crew__fail_quick(ENOENT, "the object with this ref is not shared memory");
        r = crew__segment_find(&segment, ref);
        return r < 0 ? r : handle(s, segment);
}

void *crew_shm_data(crew_shm *s)
{
        return s->segment->address;
}

size_t crew_shm_size(crew_shm *s)
{
        return s->segment->used;
}

crew_ref crew_shm_ref(const crew_shm *s)
{
        return s->segment->ref;
}

crew_shm *crew_shm_free(crew_shm *s)
{
        if (s)
                (void)crew__segment_unref(s->segment);
        free(s);
        return NULL;
}
