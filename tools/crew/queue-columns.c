/* SPDX-License-Identifier: MIT */

/* What is shown of queues. */

#include "columns.h"

#include "cli.h"

#define QUEUE(name_)                                                                               \
        static void get_##name_(const struct view *view, const void *info, struct view_value *v)
#define Q                                                                                          \
        const crew_queue_info *q = info;                                                           \
        (void)view

static void text(struct view_value *v, const char *value)
{
        v->known = value && *value;
        v->text = value;
}

static void number(struct view_value *v, uint64_t value)
{
        v->known = true;
        v->number = value < INT64_MAX ? (int64_t)value : INT64_MAX;
}

QUEUE(name)
{
        Q;
        text(v, q->name);
}

QUEUE(id)
{
        Q;
        number(v, q->id);
}

QUEUE(owner)
{
        Q;
        number(v, (uint64_t)q->owner);
}

QUEUE(state)
{
        Q;
        text(v, q->broken ? q->stuck ? "stuck" : "broken" : q->closed ? "closed" : "open");
        v->colour = q->broken ? CLI_RED : NULL;
}

QUEUE(capacity)
{
        Q;
        if (q->capacity)
                number(v, q->capacity);
}

QUEUE(capacity_bytes)
{
        Q;
        number(v, q->capacity_bytes);
}

QUEUE(message_size)
{
        Q;
        if (q->message_size)
                number(v, q->message_size);
}

QUEUE(depth)
{
        Q;
        if (q->valid)
                number(v, q->depth);
}

QUEUE(bytes)
{
        Q;
        if (q->valid)
                number(v, q->bytes);
}

QUEUE(high)
{
        Q;
        number(v, q->high);
}

QUEUE(put)
{
        Q;
        number(v, q->put);
}

QUEUE(got)
{
        Q;
        number(v, q->got);
}

static const crew_queue_info *earlier(const struct view *view, const crew_queue_info *q)
{
        const crew_queue_info *was;

        for (size_t i = 0; view->before && crew_snapshot_queue(view->before, i, &was) == 0; i++) {
                if (was->id == q->id)
                        return was;
        }
        return NULL;
}

QUEUE(put_rate)
{
        Q;
        const crew_queue_info *was = earlier(view, q);

        if (was)
                view_set_rate(view, v, q->put - was->put);
}

QUEUE(get_rate)
{
        Q;
        const crew_queue_info *was = earlier(view, q);

        if (was)
                view_set_rate(view, v, q->got - was->got);
}

QUEUE(sleepers)
{
        Q;
        text(v, q->getters ? q->putters ? "get,put" : "get" : q->putters ? "put" : NULL);
}

QUEUE(holders)
{
        Q;
        number(v, q->holders);
}

QUEUE(granted)
{
        Q;
        number(v, q->granted);
}

static void lock(const struct view *view, const crew_lock_info *l, struct view_value *v)
{
        const crew_process_info *owner = l->pid ? view_process(view->now, l->pid) : NULL;
        const char *how = l->alive < 0 ? "elsewhere" : view_state_name(l->state);

        if (!l->thread)
                return;
        if (!l->alive || l->died)
                how = "dead";
        (void)snprintf(v->store, sizeof v->store, "%d %s%s%s", (int)l->thread,
                owner ? owner->name : "", owner ? " " : "", how);
        text(v, v->store);
        if (!l->alive || l->died || l->state == CREW_STATE_STOPPED)
                v->colour = CLI_RED;
}

QUEUE(put_lock)
{
        Q;
        lock(view, &q->producers, v);
}

QUEUE(get_lock)
{
        Q;
        lock(view, &q->consumers, v);
}

#define LOCK(side, field, value, known_)                                                           \
        QUEUE(side##_##field)                                                                      \
        {                                                                                          \
                Q;                                                                                 \
                if (known_)                                                                        \
                        number(v, (uint64_t)(value));                                              \
        }

LOCK(put_lock, thread, q->producers.thread, q->producers.thread)
LOCK(put_lock, pid, q->producers.pid, q->producers.pid)
LOCK(put_lock, alive, q->producers.alive, q->producers.thread && q->producers.alive >= 0)
LOCK(get_lock, thread, q->consumers.thread, q->consumers.thread)
LOCK(get_lock, pid, q->consumers.pid, q->consumers.pid)
LOCK(get_lock, alive, q->consumers.alive, q->consumers.thread && q->consumers.alive >= 0)

static const struct view_column columns[] = {
        COLUMN(owner, "OWNER", VIEW_NUMBER, true,
                "a process that holds it, its maker if that does"),
        COLUMN(name, "NAME", VIEW_TEXT, true, "as given to it"),
        COLUMN(state, "STATE", VIEW_TEXT, true, "open, closed, broken, stuck (a lock was kept)"),
        COLUMN(capacity, "CAPACITY", VIEW_NUMBER, true, "messages it takes"),
        COLUMN(depth, "DEPTH", VIEW_NUMBER, true, "messages in it"),
        COLUMN(high, "HIGH", VIEW_NUMBER, true, "the most messages that either side found in it"),
        COLUMN(bytes, "BYTES", VIEW_BYTES, true, "what the messages in it take"),
        COLUMN(capacity_bytes, "ROOM", VIEW_BYTES, true, "bytes of its ring"),
        COLUMN(put, "MESSAGES", VIEW_NUMBER, true, "messages ever put, modulo 2^32"),
        COLUMN(sleepers, "SLEEPERS", VIEW_TEXT, true, "which sides somebody sleeps on"),
        COLUMN(put_lock, "PUT-LOCK", VIEW_TEXT, true, "thread and process in a put, and how it is"),
        COLUMN(get_lock, "GET-LOCK", VIEW_TEXT, true, "the same for a get"),
        COLUMN(id, "ID", VIEW_NUMBER, false, "the same in all processes that hold it"),
        COLUMN(message_size, "SIZE", VIEW_BYTES, false, "of each message, if fixed"),
        COLUMN(got, "GOT", VIEW_NUMBER, false, "messages ever got, modulo 2^32"),
        COLUMN(put_rate, "PUT/s", VIEW_RATE, false, "messages put per second since the last look"),
        COLUMN(get_rate, "GET/s", VIEW_RATE, false, "messages got per second since the last look"),
        COLUMN(holders, "HOLDERS", VIEW_NUMBER, false, "processes that were seen with it"),
        COLUMN(granted, "GRANTED", VIEW_FLAG, false, "workers that are not trusted have it"),
        COLUMN(put_lock_thread, "PUT-TID", VIEW_NUMBER, false, "thread that holds the put lock"),
        COLUMN(put_lock_pid, "PUT-PID", VIEW_NUMBER, false, "its process"),
        COLUMN(put_lock_alive, "PUT-ALIVE", VIEW_FLAG, false, "whether it lives"),
        COLUMN(get_lock_thread, "GET-TID", VIEW_NUMBER, false, "thread that holds the get lock"),
        COLUMN(get_lock_pid, "GET-PID", VIEW_NUMBER, false, "its process"),
        COLUMN(get_lock_alive, "GET-ALIVE", VIEW_FLAG, false, "whether it lives"),
};

const struct view_table view_queues = {
        .what = "queues",
        .columns = columns,
        .n_columns = sizeof columns / sizeof *columns,
        .name = 1,
};
