/* SPDX-License-Identifier: MIT */
#include "process/starter.h"

#include "base/cleanup.h"
#include "base/fail.h"
#include "kernel/features.h"
#include "kernel/generation.h"
#include "kernel/syscall.h"
#include "process/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>
#include <pthread.h>

/*
 * One word says whose turn it is. The caller fills in the question and stores ASKED (release); the
 * thread reads it after it has seen that (acquire), and its answer is stored before DONE. Nobody
 * else asks meanwhile, see _take. A thread that dies takes the process along, so there is nobody
 * left to wait for an answer.
 */
enum { IDLE, ASKED, DONE, END };

enum { STACK = 64 * 1024 }; /* room for a filter's copy (9 KiB) and a few calls */

struct crew_starter {
        _Atomic unsigned references;
        uint64_t generation;
        const crew__plan *plan;
        char words[40];
        bool deny;
        _Atomic bool taken;
        pthread_t thread;
        int ask[2], answered[2]; /* pipes */
        int listener;

        /* The question. */
        crew__image *image;
        int *pidfd;
        /* The answer: of the entry, at first. */
        int answer, step;
};

static void pass(int pipe, char turn)
{
        while (crew__syscall(SYS_write, pipe, (long)&turn, 1, 0, 0, 0) == -EINTR)
                ;
}

static char await_turn(int pipe)
{
        char turn = END;

        while (crew__syscall(SYS_read, pipe, (long)&turn, 1, 0, 0, 0) == -EINTR)
                ;
        return turn;
}

/* The thread's life. All signals are blocked in it. */
static void *live(void *starter)
{
        crew_starter *s = starter;
        bool failed;

        s->answer = crew__plan_load(s->plan, &s->listener, &s->step);
        failed = s->answer < 0;
        pass(s->answered[1], DONE);
        while (!failed && await_turn(s->ask[0]) == ASKED) {
                s->answer = crew__image_start(s->image, s->pidfd);
                pass(s->answered[1], DONE);
        }
        return NULL;
}

static int begin(crew_starter *s)
{
        const uint64_t everything = ~UINT64_C(0);
        pthread_attr_t attributes;
        uint64_t mask;
        int r;

        /* Asked before the thread is where it cannot be tried. */
        (void)crew__has(CREW__CLOSE_RANGE);
        if (pipe2(s->ask, O_CLOEXEC) < 0 || pipe2(s->answered, O_CLOEXEC) < 0) return -errno;
        r = pthread_attr_init(&attributes);
        if (r)
                return -r;
        (void)pthread_attr_setstacksize(&attributes, STACK + PTHREAD_STACK_MIN);
        (void)crew__sys_sigmask(SIG_BLOCK, &everything, &mask);
        r = pthread_create(&s->thread, &attributes, live, s);
        (void)crew__sys_sigmask(SIG_SETMASK, &mask, NULL);
        (void)pthread_attr_destroy(&attributes);
        return -r;
}

static void end(crew_starter *s)
{
        pass(s->ask[1], END);
        (void)pthread_join(s->thread, NULL);
        (void)crew__close(s->listener);
}

/* Everything that the thread and a child of it do before the exec has to be allowed. */
static int check(const crew_sandbox *policy)
{
        const unsigned need = CREW__STDIO | CREW__RPATH | CREW__PROC | CREW__EXEC | CREW__THREAD;
        const char *missing = crew__word_name(need & ~policy->words);

        if (policy->words & CREW__NONE)
                return crew__fail(EINVAL, "starter: the sandbox is 'none', which needs no starter");
        if (missing)
                return crew__fail(EINVAL, "starter: its sandbox lacks the word %s", missing);
        return 0;
}

static int make(crew_starter *s, const crew_sandbox *policy, enum crew__strictness strictness)
{
        int r = crew__plan_get(&s->plan, policy, strictness, false);

        if (r < 0)
                return r;
        if (s->plan->filter.n_self)
                return crew__fail(EINVAL, "starter: a sandbox whose filter knows its process");
        r = begin(s);
        if (r < 0)
                return crew__fail(-r, "starter: no thread: %s", crew_error_text(r));
        (void)await_turn(s->answered[0]);
        if (s->answer < 0) {
                (void)pthread_join(s->thread, NULL);
                return crew__fail(-s->answer, "starter: %s: %s", crew__step_name(s->step),
                        crew_error_text(s->answer));
        }
        if (s->listener >= 0)
                s->listener = crew__above_stdio(s->listener);
        return 0;
}

int crew_starter_new(
        crew_starter **starter, const crew_sandbox *policy, int on_violation, uint64_t flags)
{
        crew_starter *s;
        int r;

        if (!starter || !policy)
                return crew__fail(EINVAL, "starter: no policy, or nowhere to store it");
        if (flags & ~(uint64_t)CREW_PROCESS_REPORT)
                return crew__fail(
                        EINVAL, "starter: unknown flags %#llx", (unsigned long long)flags);
        if (on_violation != CREW_VIOLATION_KILL && on_violation != CREW_VIOLATION_DENY)
                return crew__fail(EINVAL, "starter: unknown on_violation %d", on_violation);
        r = check(policy);
        if (r < 0)
                return r;
        s = calloc(1, sizeof *s);
        if (!s)
                return crew__fail(ENOMEM, "starter: no memory");
        atomic_init(&s->references, 1);
        s->generation = crew__generation();
        s->listener = -1;
        s->deny = on_violation == CREW_VIOLATION_DENY;
        crew__words_text(policy, s->words, sizeof s->words);
        r = make(s, policy, crew__confine_strictness(flags & CREW_PROCESS_REPORT, s->deny));
        if (r < 0) {
                crew__plan_put(s->plan);
                free(s);
                return r;
        }
        *starter = s;
        return 0;
}

crew_starter *crew__starter_ref(crew_starter *s)
{
        (void)atomic_fetch_add_explicit(&s->references, 1, memory_order_relaxed);
        return s;
}

crew_starter *crew__starter_unref(crew_starter *s)
{
        if (!s || atomic_fetch_sub_explicit(&s->references, 1, memory_order_acq_rel) > 1)
                return NULL;
        /* In a forked child there is no such thread. */
        if (s->generation == crew__generation())
                end(s);
        else
                (void)crew__close(s->listener);
        crew__plan_put(s->plan);
        free(s);
        return NULL;
}

crew_starter *crew_starter_free(crew_starter *s)
{
        return crew__starter_unref(s);
}

int crew__starter_enter(const crew_starter *s)
{
        if (s->generation != crew__generation())
                return crew__fail(ECHILD, "process: its starter is a thread of another process");
        return 0;
}

const crew__plan *crew__starter_plan(const crew_starter *s)
{
        return s->plan;
}

const char *crew__starter_words(const crew_starter *s)
{
        return s->words;
}

bool crew__starter_denies(const crew_starter *s)
{
        return s->deny;
}

int crew__starter_listener(const crew_starter *s)
{
        return s->listener;
}

int crew__starter_take(crew_starter *s)
{
        return atomic_exchange(&s->taken, true) ? -EBUSY : 0;
}

void crew__starter_give(crew_starter *s)
{
        atomic_store(&s->taken, false);
}

int crew__starter_start(crew_starter *s, crew__image *m, int *pidfd)
{
        s->image = m;
        s->pidfd = pidfd;
        pass(s->ask[1], ASKED);
        (void)await_turn(s->answered[0]);
        return s->answer;
}
