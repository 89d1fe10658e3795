/* SPDX-License-Identifier: MIT */
#include "queue-bench.h"

#include <boost/interprocess/ipc/message_queue.hpp>
#include <cerrno>
#include <cstdio>
#include <string>
#include <unistd.h>

namespace ipc = boost::interprocess;

static int setup(struct queue_run *r)
{
        std::string name = "bench-" + std::to_string(getpid());

        try {
                r->state = new ipc::message_queue(
                        ipc::create_only, name.c_str(), queue_slots(r->size), r->size);
                /* The name only: the mapping is inherited by the processes of the run. */
                ipc::message_queue::remove(name.c_str());
        } catch (const ipc::interprocess_exception &e) {
                snprintf(r->why, 160, "message_queue: %s", e.what());
                return -1;
        }
        return 0;
}

static long produce(struct queue_run *r, unsigned n)
{
        auto *q = static_cast<ipc::message_queue *>(r->state);

        try {
                for (unsigned i = 0; i < n; i++) {
                        queue_stamp(r, r->out);
                        q->send(r->out, r->size, 0);
                }
        } catch (const ipc::interprocess_exception &e) {
                return queue_fail(r, "send", EIO);
        }
        return n;
}

static long consume(struct queue_run *r, unsigned n)
{
        auto *q = static_cast<ipc::message_queue *>(r->state);

        try {
                for (unsigned i = 0; i < n; i++) {
                        ipc::message_queue::size_type size;
                        unsigned priority;

                        q->receive(r->in, r->size, size, priority);
                        if (queue_is_stop(r->in))
                                return -static_cast<long>(i) - 1;
                        queue_check(r, r->in);
                }
        } catch (const ipc::interprocess_exception &e) {
                return queue_fail(r, "receive", EIO);
        }
        return n;
}

static void finish(struct queue_run *r)
{
        auto *q = static_cast<ipc::message_queue *>(r->state);

        memset(r->out, 0xff, r->size);
        for (unsigned i = 0; i < r->consumers; i++)
                q->send(r->out, r->size, 0);
}

static void teardown(struct queue_run *r)
{
        delete static_cast<ipc::message_queue *>(r->state);
}

extern "C" const struct queue_peer peer_boost;
extern "C" const struct queue_peer peer_boost = {
        .name = "boost-mq",
        .setup = setup,
        .produce = produce,
        .consume = consume,
        .finish = finish,
        .teardown = teardown,
};
