/* SPDX-License-Identifier: MIT */

/* What a pool is made of, and the making. */

#include "base/cleanup.h"
#include "base/fail.h"
#include "pool/pool.h"
#include "process/confine.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>

enum { LANE_BYTES = 256 * 1024, MAX_WORKERS = 4096, RETRIES = 3, WINDOW_S = 10 };

static int check(const crew_pool_options *o, unsigned workers)
{
        if (o->flags & ~(uint64_t)CREW_POOL_NO_THREAD)
                return crew__fail(
                        EINVAL, "pool: unknown flags 0x%llx", (unsigned long long)o->flags);
        if (o->on_death < 0 || o->on_death > CREW_DEATH_FAIL_POOL)
                return crew__fail(
                        EINVAL, "pool: on_death is %d, not a CREW_DEATH_...", o->on_death);
        if (o->on_violation < 0 || o->on_violation > CREW_VIOLATION_DENY)
                return crew__fail(EINVAL, "pool: on_violation is %d, not a CREW_VIOLATION_...",
                        o->on_violation);
        if (o->restart_window < 0)
                return crew__fail(EINVAL, "pool: a negative restart_window");
        if (o->method < CREW_METHOD_DEFAULT || o->method > CREW_METHOD_SPAWN)
                return crew__fail(EINVAL, "pool: unknown start method %d", o->method);
        if (o->sandbox && o->policy)
                return crew__fail(EINVAL, "pool: sandbox and policy; give one of them");
        if (o->initializer == NULL && (o->init_arg || o->init_size))
                return crew__fail(EINVAL, "pool: init_arg without an initializer");
        if (o->init_size && !o->init_arg)
                return crew__fail(EINVAL, "pool: init_size without init_arg");
        if ((o->n_grants && !o->grants) || (o->n_keep_fds && !o->keep_fds))
                return crew__fail(EINVAL, "pool: a number of grants or keep_fds without an array");
        if (o->nice < -39 || o->nice > 39)
                return crew__fail(EINVAL, "pool: nice %d", o->nice);
        if (o->n_cpus && !o->cpus)
                return crew__fail(EINVAL, "pool: n_cpus is %zu but no array", o->n_cpus);
        for (size_t i = 0; i < o->n_cpus; i++) {
                if (o->cpus[i] >= (unsigned)get_nprocs_conf())
                        return crew__fail(EINVAL, "pool: there is no processor %u, only %d",
                                o->cpus[i], get_nprocs_conf());
        }
        if (workers > MAX_WORKERS)
                return crew__fail(EINVAL, "pool: %u workers, more than %d", workers, MAX_WORKERS);
        return 0;
}

static void take_over(crew_pool *p, const crew_pool_options *o)
{
        (void)snprintf(p->name, sizeof p->name, "%s", o->name ? o->name : "pool");
        p->flags = o->flags;
        p->fresh = o->method > CREW_METHOD_FORK;
        p->on_death = o->on_death;
        p->on_violation = o->on_violation;
        p->retries = o->retries ? o->retries : RETRIES;
        p->restarts = o->restarts ? o->restarts : 10 + 2 * p->n_workers;
        p->restart_window = o->restart_window ? o->restart_window : CREW_S(WINDOW_S);
        p->tasks_per_worker = o->tasks_per_worker;
        p->lane_bytes = o->lane_bytes ? o->lane_bytes : LANE_BYTES;
        p->backlog_limit = o->backlog;
        p->on_event = o->on_event;
        p->user = o->user;
        /* So many that nobody would keep their times. */
        if (p->restarts > 1000000)
                p->restarts = UINT_MAX;
}

static int make_locks(crew_pool *p)
{
        pthread_mutexattr_t kind;

        (void)pthread_mutexattr_init(&kind);
#ifdef PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP
        /* It is held for less than a sleep costs. */
        (void)pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ADAPTIVE_NP);
#endif
        (void)pthread_mutex_init(&p->lock, &kind);
        (void)pthread_mutexattr_destroy(&kind);
        (void)pthread_mutex_init(&p->driver, NULL);
        (void)pthread_mutex_init(&p->zygote_lock, NULL);
        return 0;
}

static int make_tables(crew_pool *p)
{
        p->workers = calloc(p->n_workers, sizeof *p->workers);
        p->units = calloc(p->n_workers, sizeof(crew__unit) * CREW__UNITS);
        if (p->restarts != UINT_MAX)
                p->deaths = calloc(p->restarts, sizeof *p->deaths);
        if (!p->workers || !p->units || (p->restarts != UINT_MAX && !p->deaths))
                return crew__fail(
                        ENOMEM, "pool %s: no memory for %u workers", p->name, p->n_workers);
        for (unsigned i = 0; i < p->n_workers; i++) {
                p->workers[i].row = i;
                p->workers[i].pidfd = -1;
                p->workers[i].due = CREW__NEVER;
                p->workers[i].units = p->units + (size_t)i * CREW__UNITS;
        }
        return crew_waiter_new(&p->waiter, 2 * p->n_workers + 8);
}

static int find_grants(crew_pool *p, const crew_pool_options *o)
{
        int r = 0;

        if (!o->n_grants)
                return 0;
        p->grants = calloc(o->n_grants, sizeof(crew__segment *));
        if (!p->grants)
                return crew__fail(
                        ENOMEM, "pool %s: no memory for %zu grants", p->name, o->n_grants);
        while (r == 0 && p->n_grants < o->n_grants) {
                r = crew__segment_find(&p->grants[p->n_grants], o->grants[p->n_grants]);
                if (r < 0)
                        return crew__fail(ENOENT,
                                "pool %s: grant %zu names nothing that this process "
                                "holds",
                                p->name, p->n_grants);
                r = crew__granted_add(p, p->grants[p->n_grants++]);
        }
        return r;
}

static int make_plan(crew_pool *p, const crew_pool_options *o)
{
        int numbers[CREW__WORKER_NUMBERS], n;
        crew_sandbox *own = NULL;
        const crew_sandbox *policy = o->policy;
        struct crew__plan_options how = {
                .strictness = o->on_violation == CREW_VIOLATION_DENY ? CREW__SOFT : CREW__HARD,
                .reports = true,
        };
        int r = 0;

        if (!policy) {
                r = crew_sandbox_new(&own, o->sandbox ? o->sandbox : "stdio", CREW_BEST_EFFORT);
                policy = own;
        }
        if (r < 0)
                return r;
        n = crew__worker_numbers(o->keep_fds, o->n_keep_fds, numbers, 3 + 2 * o->n_grants);
        (void)n;
        how.control = numbers[0];
        how.events = numbers + 1;
        how.n_events = 2 + 2 * o->n_grants;
        if (how.n_events > CREW__WORKER_NUMBERS - 1)
                how.n_events = CREW__WORKER_NUMBERS - 1;
        r = crew__plan_new(&p->plan, policy, &how);
        p->planned = r == 0;
        crew__words_text(policy, p->words, sizeof p->words);
        p->sandboxed = r == 0 && !p->plan.none;
        (void)crew_sandbox_free(own);
        return r;
}

static int make_zygote(crew_pool *p, const crew_pool_options *o)
{
        CREW__AUTO_FREE unsigned long *cpus = NULL;
        crew__zygote_options zo = {
                .nice = o->nice,
                .plan = &p->plan,
                .limits = o->limits,
                .initializer = o->initializer,
                .init_arg = o->init_arg,
                .init_size = o->init_size,
                .grants = p->grants,
                .n_grants = p->n_grants,
                .keep_fds = o->keep_fds,
                .n_keep_fds = o->n_keep_fds,
                .max_workers = p->n_workers,
                .name = p->name,
                .words = p->words,
                .method = o->method,
        };
        int r = crew__cpus_new(&cpus, &zo.cpus_size, o->cpus, o->n_cpus, "pool");

        zo.cpus = cpus;
        if (r == 0)
                r = crew__zygote_start(&p->zygote, &zo);
        return r < 0 ? r : crew__watch_zygote(p);
}

/* While the zygote makes one, the lane of the next is made here. */
static int make_workers(crew_pool *p)
{
        unsigned next = 0, row = 0;

        while (next < p->n_workers || p->asked) {
                bool more = next < p->n_workers && p->asked < CREW__ASK_AT_ONCE;
                int asked = more ? crew__worker_ask(p, &p->workers[next]) : -EAGAIN;
                int r;

                if (asked == 0)
                        next++;
                else if (asked != -EAGAIN || !p->asked)
                        return asked;
                r = crew__worker_birth(p, &row);
                if (r == 0 && asked < 0)
                        r = crew__zygote_await(p->zygote, p->heard + CREW__ZYGOTE_PATIENCE);
                if (r < 0 && r != -EINTR)
                        return r;
        }
        return 0;
}

static int make_thread(crew_pool *p)
{
        pthread_attr_t attr;
        sigset_t all, old;
        int r;

        if (p->flags & CREW_POOL_NO_THREAD)
                return 0;
        (void)sigfillset(&all);
        (void)pthread_attr_init(&attr);
        (void)pthread_sigmask(SIG_SETMASK, &all, &old);
        r = pthread_create(&p->thread, &attr, crew__pool_thread, p);
        (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
        (void)pthread_attr_destroy(&attr);
        if (r)
                return crew__fail(r, "pool %s: no thread to drive it: %s", p->name, strerror(r));
        (void)pthread_setname_np(p->thread, "crew-pool");
        p->threaded = true;
        return 0;
}

/* What the sandbox does without here. */
static void tell_gaps(crew_pool *p)
{
        crew__failure words = { .said = { .size = sizeof words.said } };

        if (!p->sandboxed || !p->plan.ruleset.gaps)
                return;
        (void)snprintf(words.text, sizeof words.text,
                "%s: paths are limited by the filter alone (kernel's Landlock ABI %d)",
                p->plan.ruleset.gaps & CREW__GAP_ALL ? "there is no Landlock here"
                                                     : "Landlock is older than the policy needs",
                p->plan.ruleset.abi);
        crew__notify(p, CREW_EVENT_DOWNGRADED, NULL, &words);
}

static int fill(crew_pool *p, const crew_pool_options *o)
{
        int r = make_tables(p);

        if (r == 0)
                r = find_grants(p, o);
        if (r == 0)
                r = make_plan(p, o);
        if (r == 0)
                r = make_zygote(p, o);
        if (r == 0)
                r = make_workers(p);
        if (r == 0)
                tell_gaps(p);
        if (r == 0)
                r = make_thread(p);
        return r;
}

int crew_pool_new(crew_pool **pool, unsigned workers, const crew_pool_options *o)
{
        crew_pool_options options;
        crew_pool *p;
        int r = crew__options(&options, sizeof options, o, "pool options");

        if (r == 0 && !pool)
                r = crew__fail(EINVAL, "pool: nowhere to store the handle");
        if (r == 0)
                r = check(&options, workers);
        if (r < 0)
                return r;
        if (!workers)
                workers = (unsigned)crew_cpu_count();
        p = calloc(1, sizeof *p);
        if (!p)
                return crew__fail(ENOMEM, "pool: no memory for it");
        p->stock = crew__stock_new();
        if (!p->stock) {
                free(p);
                return crew__fail(ENOMEM, "pool: no memory for it");
        }
        p->generation = crew__generation();
        p->n_workers = workers ? workers : 1;
        crew__link_init(&p->jobs);
        crew__link_init(&p->backlog);
        crew__link_init(&p->again);
        crew__link_init(&p->called);
        crew__link_init(&p->notices);
        take_over(p, &options);
        (void)make_locks(p);
        r = fill(p, &options);
        if (r < 0) {
                crew__pool_destroy(p);
                return r;
        }
        *pool = p;
        return 0;
}
