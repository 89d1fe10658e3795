/* SPDX-License-Identifier: MIT */

/* The pool's side of the zygote. */

#include "pool/zygote.h"

#include "base/cleanup.h"
#include "base/fail.h"
#include "base/trace.h"
#include "kernel/cell.h"
#include "kernel/features.h"
#include "kernel/generation.h"
#include "kernel/syscall.h"
#include "pool/egg.h"
#include "pool/lane-layout.h"
#include "pool/nest.h"
#include "process/clone.h"
#include "process/process.h"
#include "status/page.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

/* What SIGKILL gets to end it; the kernel gives back the memory of a large one first. */
#define FAREWELL CREW_S(1)
/* What it gets to end by itself. */
#define NOTICE CREW_MS(250)

struct row {
        pid_t worker;      /* last made */
        uint64_t question; /* that is out; 0: none */
        int lane;          /* that it asked for: the descriptor */
        crew__cell *cell;  /* of the last made, or NULL */
};

struct crew__zygote {
        uint64_t generation;
        pthread_mutex_t lock; /* one grant at a time */
        pid_t pid;
        int pidfd;
        int socket;       /* for grants */
        int births;       /* for spawns */
        uint64_t asked;   /* number of the last grant */
        uint64_t spawned; /* and of the last spawn */
        crew__segment *pages;
        crew__moved *modules; /* of a zygote that is no fork, or NULL */
        size_t n_modules;
        uint64_t memory; /* bytes for each worker, or 0 */
        unsigned rows;
        struct row row[];
};

static int make_process(crew__zygote *z, crew__nest *nest, int *pidfd)
{
        bool alone = crew__alone();
        int pid = CREW__USE_FORK;

        if (nest->options->method > CREW_METHOD_FORK)
                return crew__egg_lay(nest, z->socket, pidfd, &z->modules, &z->n_modules);
        nest->stale_out = crew__flush(stdout, alone);
        nest->stale_err = crew__flush(stderr, alone);
        if (alone && crew__has(CREW__CLONE3))
                pid = crew__clone_raw(pidfd, -1);
        if (pid == CREW__USE_FORK)
                pid = fork();
        if (pid == 0)
                crew__brood(nest);
        return pid == -1 ? -errno : pid;
}

static int connect_to(int *ours, int *its)
{
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return crew__fail(errno, "pool: socket to its zygote: %m");
        *ours = crew__above_stdio(pair[0]);
        *its = pair[1];
        return 0;
}

static int fork_zygote(crew__zygote *z, crew__nest *nest)
{
        static const uint64_t all = UINT64_MAX;
        int pidfd = -1, pid;
        uint64_t mask;

        nest->application = crew__self_pidfd();
        if (nest->application < 0)
                return nest->application;
        pid = connect_to(&z->socket, &nest->socket);
        if (pid == 0)
                pid = connect_to(&z->births, &nest->births);
        if (pid < 0) {
                nest->socket = crew__close(nest->socket);
                return pid;
        }
        (void)crew__has(CREW__CLOSE_RANGE);
        (void)crew__sys_sigmask(SIG_SETMASK, &all, &mask);
        pid = make_process(z, nest, &pidfd);
        (void)crew__sys_sigmask(SIG_SETMASK, &mask, NULL);
        (void)close(nest->socket);
        (void)close(nest->births);
        if (pid > 0 && pidfd < 0) {
                pidfd = crew__sys_pidfd_open(pid, 0);
                if (pidfd < 0) {
                        crew__clone_abandon(pid);
                        pid = pidfd;
                }
        }
        if (pid < 0)
                return nest->options->method > CREW_METHOD_FORK
                               ? pid
                               : crew__fail(-pid, "pool: making its zygote process: %s",
                                         strerror(-pid));
        z->pid = pid;
        z->pidfd = crew__above_stdio(pidfd);
        return 0;
}

int crew__zygote_start(crew__zygote **z, const crew__zygote_options *o)
{
        crew__nest nest = { .options = o,
                .rows = o->max_workers,
                .application_pid = getpid(),
                .traced = crew__traces(),
                .socket = -1,
                .births = -1 };
        crew__zygote *made;
        int r;

        made = calloc(1, sizeof *made + o->max_workers * sizeof *made->row);
        if (!made)
                return crew__fail(ENOMEM, "pool: no memory for its zygote");
        made->generation = crew__generation();
        made->rows = o->max_workers;
        made->memory = o->limits ? o->limits->memory_max : 0;
        /* Now, for the driver shall not wait for the answer. */
        if (made->memory)
                (void)crew__has(CREW__CGROUP_MEMORY);
        made->pidfd = made->socket = made->births = -1;
        (void)pthread_mutex_init(&made->lock, NULL);
        r = crew__segment_new(&made->pages, "pool", o->name,
                crew__perches_at(made->rows) + made->rows * crew__page_size(), 0, 0);
        nest.pages = made->pages;
        if (r == 0) {
                crew__status_publish(crew_current_process()->name);
                crew__pages_describe(made->pages, made->rows, o);
                r = fork_zygote(made, &nest);
        }
        if (r == 0)
                atomic_store(&crew__pool_page_of(made->pages)->zygote, (uint32_t)made->pid);
        if (r < 0) {
                (void)crew__zygote_free(made);
                return r;
        }
        *z = made;
        return 0;
}

bool crew__zygote_knows(const crew__zygote *z, crew_task_fn *function)
{
        return !z->modules ||
               crew__egg_function(z->modules, z->n_modules, (uint64_t)(uintptr_t)function);
}

int crew__zygote_fd(const crew__zygote *z)
{
        return z->pidfd;
}

pid_t crew__zygote_pid(const crew__zygote *z)
{
        return z->pid;
}

/* Somebody else may hold a copy of the zygote's end of a socket: ask its pidfd. */
static int send_question(
        crew__zygote *z, int socket, crew__ask *question, const crew__segment *s, int cell)
{
        const int send[1 + CREW__POST_FDS] = { cell, s->fd, s->events[0], s->events[1] };
        int r = crew__readable(z->pidfd, 0) == 0 ? -EPIPE : 0;

        question->celled = cell >= 0;
        if (r == 0)
                r = crew__post_send(socket, question, sizeof *question, send, 1 + CREW__POST_FDS);
        return r == -ECONNRESET ? -EPIPE : r;
}

static int dead(const crew__zygote *z)
{
        return crew__fail(EPIPE, "pool: its zygote (pid %d) is dead", (int)z->pid);
}

static int refused(const crew__zygote *z, int r)
{
        return crew__fail(-r, "pool: its zygote (pid %d): %s", (int)z->pid, strerror(-r));
}

static crew__perch *perch_of(const crew__zygote *z, unsigned row)
{
        return crew__perch_of(z->pages, z->rows, row);
}

uint64_t crew__zygote_memory(const crew__zygote *z)
{
        return z->memory;
}

bool crew__zygote_starved(const crew__zygote *z, unsigned row)
{
        return crew__cell_starved(z->row[row].cell);
}

void crew__zygote_vacate(crew__zygote *z, unsigned row)
{
        z->row[row].cell = crew__cell_vacate(z->row[row].cell);
}

int crew__zygote_ask(crew__zygote *z, unsigned row, crew__lane *lane)
{
        crew__ask question = { .errand = CREW__ERRAND_SPAWN, .row = row, .number = ++z->spawned };
        crew__perch *perch = perch_of(z, row);
        int r;

        /* A worker of this row that is dead to everybody but us may still come to its gate: it
         * must not find the next one's open. Not the page itself: what a worker maps stays. */
        memset(perch, 0, sizeof *perch);
        z->row[row].worker = 0;
        crew__seat_leave(z->pages, row);
        /* If its last worker is not quite gone, that one's cell is removed with the next. */
        (void)crew__cell_free(z->row[row].cell, 0);
        z->row[row].cell = crew__cell_for(z->memory);
        r = send_question(
                z, z->births, &question, crew__lane_segment(lane), crew__cell_fd(z->row[row].cell));
        if (r < 0)
                crew__zygote_vacate(z, row);
        if (r == -EPIPE)
                return dead(z);
        if (r < 0)
                return refused(z, r);
        z->row[row].question = question.number;
        z->row[row].lane = crew__lane_segment(lane)->fd;
        return 0;
}

void crew__zygote_withdraw(crew__zygote *z, unsigned row)
{
        z->row[row].question = 0;
}

static int receive_answer(int socket, crew__answer *answer, int *fd)
{
        int fds[CREW__POST_FDS] = { -1, -1, -1 };
        int r = (int)crew__post_receive(socket, answer, sizeof *answer, fds, CREW__POST_FDS);

        *fd = fds[0];
        if (r == 0 || r == -ECONNRESET)
                return -EPIPE;
        return r > 0 ? 1 : r;
}

int crew__zygote_birth(crew__zygote *z, crew__birth *birth)
{
        crew__answer answer = { .result = 0 };
        struct row *row;
        int fd, r;

        for (;;) {
                r = receive_answer(z->births, &answer, &fd);
                if (r == -EPIPE)
                        return dead(z);
                if (r < 0 && r != -EMFILE)
                        return r == -EAGAIN ? 0 : refused(z, r);
                row = answer.row < z->rows ? &z->row[answer.row] : NULL;
                if (row && row->question == answer.number)
                        break;
                /* The answer to a question that nobody waits for any more. */
                (void)crew__close(fd);
        }
        row->question = 0;
        *birth = (crew__birth){ .row = answer.row, .pidfd = -1, .pid = answer.result };
        if (r == 1 && answer.result < 0)
                birth->result = refused(z, answer.result);
        else if (fd < 0)
                birth->result =
                        crew__fail(EMFILE, "pool: no descriptor is left for a worker's pidfd");
        if (birth->result < 0)
                return 1;
        row->worker = birth->pid;
        crew__seat_take(z->pages, birth->row, row->lane, birth->pid);
        birth->pidfd = crew__above_stdio(fd);
        return 1;
}

int crew__zygote_births_fd(const crew__zygote *z)
{
        return z->births;
}

int crew__zygote_await(crew__zygote *z, int64_t deadline)
{
        struct pollfd fds[2] = { { .fd = z->births, .events = POLLIN },
                { .fd = z->pidfd, .events = POLLIN } };
        int64_t left = crew_until(deadline);
        struct timespec timeout = crew__timespec(left > 0 ? left : 0);
        int r = ppoll(fds, 2, &timeout, NULL);

        if (r < 0)
                return -errno;
        if (r > 0)
                return 0;
        return crew__fail(ETIMEDOUT, "pool: its zygote (pid %d) does not answer", (int)z->pid);
}

crew__pool_page *crew__zygote_page(const crew__zygote *z)
{
        return crew__pool_page_of(z->pages);
}

crew__seat *crew__zygote_seat(const crew__zygote *z, unsigned row)
{
        return crew__seat_of(z->pages, row);
}

const crew__tape *crew__zygote_tape(const crew__zygote *z, unsigned row)
{
        return &perch_of(z, row)->tape;
}

int crew__zygote_release(crew__zygote *z, unsigned row)
{
        crew__perch *perch = perch_of(z, row);

        atomic_store(&perch->gate, CREW__GATE_OPEN);
        (void)crew__sys_futex_wake(&perch->gate, INT_MAX);
        return 0;
}

int crew__zygote_ending(crew__zygote *z, unsigned row, crew__ending *ending)
{
        const crew__epitaph *epitaph = crew__epitaph_of(z->pages, z->rows, row);

        if (!z->row[row].worker ||
                atomic_load_explicit(&epitaph->pid, memory_order_acquire) != z->row[row].worker)
                return 0;
        *ending = epitaph->ending;
        return 1;
}

void crew__zygote_note(crew__zygote *z, unsigned row, crew__worker_note *n)
{
        crew__perch *perch = perch_of(z, row);
        uint32_t stage = atomic_load_explicit(&perch->stage, memory_order_acquire);
        int code = atomic_load(&perch->code), step = atomic_load(&perch->step);

        /* The worker writes these: anything else is no stage, errno or step. */
        n->stage = stage <= CREW__STAGE_REFUSED ? (enum crew__worker_stage)stage : CREW__STAGE_GATE;
        n->code = code < 0 && code > -4096 ? code : 0;
        memcpy(n->text, perch->text, sizeof n->text);
        n->text[sizeof n->text - 1] = '\0';
        n->step = step > 0 && step <= CREW__STEP_CPUS ? step : 0;
}

_Atomic uint32_t *crew__zygote_pulse(const crew__zygote *z, unsigned row)
{
        return crew__pulse_word(&perch_of(z, row)->pulse);
}

crew__report *crew__zygote_report(crew__zygote *z, unsigned row)
{
        return &perch_of(z, row)->report;
}

/* The answer to the last grant; those to earlier ones, which nobody waited for, are dropped. */
static int await_answer(crew__zygote *z, crew__answer *answer)
{
        int64_t deadline = crew_clock() + CREW__ZYGOTE_PATIENCE;
        int fd, r;

        do {
                r = receive_answer(z->socket, answer, &fd);
                (void)crew__close(fd);
                if (r == -EAGAIN) {
                        r = crew__readable(z->socket, deadline);
                        if (r == 0 || r == -EINTR)
                                r = -EMFILE;
                }
        } while (r == -EMFILE || (r == 1 && answer->number != z->asked));
        return r < 0 ? r : 0;
}

int crew__zygote_grant(crew__zygote *z, crew__segment *segment)
{
        crew__ask question = { .errand = CREW__ERRAND_GRANT,
                .ref = segment->ref,
                .head = segment->used,
                .ring = segment->ring };
        crew__answer answer = { .result = 0 };
        int r;

        (void)pthread_mutex_lock(&z->lock);
        question.number = ++z->asked;
        r = send_question(z, z->socket, &question, segment, -1);
        if (r == 0)
                r = await_answer(z, &answer);
        (void)pthread_mutex_unlock(&z->lock);
        if (r == -EPIPE)
                return dead(z);
        if (r == -EAGAIN || r == -ETIMEDOUT)
                return crew__fail(
                        ETIMEDOUT, "pool: its zygote (pid %d) does not answer", (int)z->pid);
        if (r == 0)
                r = answer.result;
        return r < 0 ? refused(z, r) : 0;
}

void crew__zygote_dismiss(const crew__zygote *z)
{
        (void)shutdown(z->socket, SHUT_RDWR);
        (void)shutdown(z->births, SHUT_RDWR);
}

/* Asked first, as it collects its workers then; one that is stopped does not. */
static void end_process(const crew__zygote *z)
{
        crew__ending ending;

        crew__zygote_dismiss(z);
        if (crew__readable(z->pidfd, crew_clock() + NOTICE) < 0) {
                (void)crew__sys_pidfd_send_signal(z->pidfd, SIGKILL);
                (void)crew__readable(z->pidfd, crew_clock() + FAREWELL);
        }
        (void)crew__pidfd_collect(z->pidfd, &ending);
}

crew__zygote *crew__zygote_free(crew__zygote *z)
{
        int64_t until;

        if (!z)
                return NULL;
        if (z->pidfd >= 0 && z->generation == crew__generation())
                end_process(z);
        until = crew_clock() + FAREWELL;
        for (unsigned row = 0; row < z->rows; row++)
                (void)crew__cell_free(z->row[row].cell, until);
        crew__cell_tidy(until);
        (void)crew__close(z->socket);
        (void)crew__close(z->births);
        (void)crew__close(z->pidfd);
        (void)crew__segment_unref(z->pages);
        free(z->modules);
        (void)pthread_mutex_destroy(&z->lock);
        free(z);
        return NULL;
}
