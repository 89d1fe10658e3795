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
#include <pthread.h>
#include <unistd.h>

/*
 * A byte through a pair of sockets is the question, one back the answer: what is asked and answered
 * lies in the struct, written before the byte and read after it (the kernel's locks are the
 * barrier). Nobody else asks meanwhile, see _take. A thread that dies takes the process along, so
 * there is nobody left to wait for an answer.
 *
 * Not a futex: who writes to a socket wakes the reader on its own processor, as it is about to
 * sleep itself. A futex wake goes to another one, and waking that costs more than the clone().
 */
enum { ASKED = 'a', DONE = 'd', END = 'e' };

enum { STACK = 64 * 1024 }; /* room for a filter's copy (9 KiB) and a few calls */

struct crew_starter {
        _Atomic unsigned references;
        uint64_t generation;
        const crew__plan *plan;
        char words[40];
        bool deny;
        _Atomic bool taken;
        pthread_t thread;
        int questions[2], answers[2]; /* pipes */
        int listener;

        /* The question. */
        crew__image *image;
        int *pidfd;
        /* The answer: of the entry, at first. */
        int answer, step;
};

static void pass(int end, char what)
{
        while (write(end, &what, 1) < 0 && errno == EINTR)
                ;
}

/* END if somebody closed what is not theirs. */
static char await_byte(int end)
{
        char what;
        ssize_t n;

        do
                n = read(end, &what, 1);
        while (n < 0 && errno == EINTR);
        return n == 1 ? what : END;
}

/* The thread's life. All signals are blocked in it. */
static void *live(void *starter)
{
        crew_starter *s = starter;
        bool failed;

        s->answer = crew__plan_load(s->plan, &s->listener, &s->step);
        failed = s->answer < 0;
        pass(s->answers[1], DONE);
        while (!failed && await_byte(s->questions[0]) == ASKED) {
                s->answer = crew__image_start(s->image, s->pidfd);
                pass(s->answers[1], DONE);
        }
        return NULL;
}

static int open_pipe(int pipe[2])
{
        int ends[2];

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        pipe[0] = crew__above_stdio(ends[0]);
        pipe[1] = crew__above_stdio(ends[1]);
        return 0;
}

static void close_all(crew_starter *s)
{
        for (int i = 0; i < 2; i++) {
                (void)crew__close(s->questions[i]);
                (void)crew__close(s->answers[i]);
        }
        (void)crew__close(s->listener);
}

static int begin(crew_starter *s)
{
        const uint64_t everything = ~UINT64_C(0);
        pthread_attr_t attributes;
        uint64_t mask;
        int r;

        /* Asked before the thread is where it cannot be tried. */
        (void)crew__has(CREW__CLOSE_RANGE);
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
        pass(s->questions[1], END);
        (void)pthread_join(s->thread, NULL);
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
        r = open_pipe(s->questions);
        if (r == 0)
                r = open_pipe(s->answers);
        if (r < 0)
                return crew__fail(-r, "starter: no pipe: %s", crew_error_text(r));
        r = begin(s);
        if (r < 0)
                return crew__fail(-r, "starter: no thread: %s", crew_error_text(r));
        (void)await_byte(s->answers[0]);
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
        s->listener = s->questions[0] = s->questions[1] = s->answers[0] = s->answers[1] = -1;
        s->deny = on_violation == CREW_VIOLATION_DENY;
        crew__words_text(policy, s->words, sizeof s->words);
        r = make(s, policy, crew__confine_strictness(flags & CREW_PROCESS_REPORT, s->deny));
        if (r < 0) {
                close_all(s);
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
        close_all(s);
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
        pass(s->questions[1], ASKED);
        return await_byte(s->answers[0]) == DONE ? s->answer : -EBADF;
}
