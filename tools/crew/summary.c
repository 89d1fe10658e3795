/* SPDX-License-Identifier: MIT */
#include "summary.h"

#include "cli.h"

#include <signal.h>
#include <string.h>

enum { MOST_KINDS = 4 };

static void kind_of_failure(struct bytes *into, size_t outcome)
{
        const char *name;

        if (outcome == OUTCOME_TIMEOUT)
                bytes_text(into, "timed out");
        else if (outcome < OUTCOME_SIGNAL)
                bytes_format(into, "exit %zu", outcome);
        else {
                name = sigabbrev_np((int)(outcome - OUTCOME_SIGNAL));
                if (name)
                        bytes_format(into, "SIG%s", name);
                else
                        bytes_format(into, "signal %zu", outcome - OUTCOME_SIGNAL);
        }
}

/* "38 × exit 1, 2 × SIGKILL": the most frequent first. */
static void kinds(const struct run *run, struct bytes *into)
{
        uint64_t left[OUTCOMES], others = 0;

        memcpy(left, run->outcomes, sizeof left);
        for (int n = 0; n < MOST_KINDS; n++) {
                size_t most = 0;

                for (size_t i = 1; i < OUTCOMES; i++)
                        most = left[i] > left[most] ? i : most;
                if (left[most] == 0)
                        return;
                bytes_format(
                        into, "%s%llu \xc3\x97 ", n ? ", " : "", (unsigned long long)left[most]);
                kind_of_failure(into, most);
                left[most] = 0;
        }
        for (size_t i = 0; i < OUTCOMES; i++)
                others += left[i];
        if (others)
                bytes_format(into, ", %llu \xc3\x97 other", (unsigned long long)others);
}

void summary_tell(const struct run *run)
{
        const struct tally *t = &run->tally;
        const struct profile *p = &run->o->sandbox.profile;
        struct bytes how = { 0 };
        char where[512];

        if (t->failed == 0 || run->ended_by == SIGPIPE)
                return;
        kinds(run, &how);
        profile_describe(p, where, sizeof where);
        cli_complain("%llu of %llu job%s failed (%s)%s%s", (unsigned long long)t->failed,
                (unsigned long long)(t->failed + t->succeeded),
                t->failed + t->succeeded == 1 ? "" : "s", bytes_ended(&how),
                p->kind == PROFILE_NONE ? "" : " in ", p->kind == PROFILE_NONE ? "" : where);
        if (p->kind != PROFILE_NONE)
                cli_complain(
                        "what one job needs is shown by crew run --explain ...; to allow it: --rw "
                        "DIR, --net, --allow WORDS, --sandbox none");
        if (run->blind)
                cli_complain(
                        "which system calls were refused cannot be told here: there is no seccomp "
                        "notification, or somebody else has it");
        bytes_free(&how);
}

int summary_status(const struct run *run)
{
        if (run->trouble)
                return RUN_TROUBLE;
        if (run->ended_by)
                return 128 + run->ended_by;
        if (run->not_runnable)
                return run->not_runnable;
        return halt_status(&run->o->halt, &run->tally);
}
