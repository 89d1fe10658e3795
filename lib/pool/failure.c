/* SPDX-License-Identifier: MIT */

/* What went wrong, in words. */

#include "base/fail.h"
#include "pool/pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *crew__reason_words(int reason)
{
        static const char *const words[] = {
                [CREW_OK] = "succeeded",
                [CREW_FAILED] = "failed",
                [CREW_DIED] = "its worker died",
                [CREW_VIOLATED] = "its worker made a call that the sandbox refuses",
                [CREW_DEADLINE] = "it ran past its deadline",
                [CREW_CANCELLED] = "it was cancelled",
                [CREW_BROKEN] = "the pool cannot make workers any more",
                [CREW_MEMORY] = "its worker went past its memory limit",
        };

        return reason >= 0 && reason <= CREW_MEMORY ? words[reason] : "unknown";
}

int crew__reason_errno(int reason, int code)
{
        switch (reason) {
        case CREW_OK:
                return 0;
        case CREW_FAILED:
                return code;
        case CREW_DIED:
                return -EOWNERDEAD;
        case CREW_VIOLATED:
                return -EPERM;
        case CREW_DEADLINE:
                return -ETIME;
        case CREW_BROKEN:
                return -ENOTRECOVERABLE;
        case CREW_MEMORY:
                return -ENOMEM;
        default:
                return -ECANCELED;
        }
}

crew__failure *crew__failure_new(const crew_result *job, size_t item, const crew__unit *unit,
        const crew__worker *w, int reason)
{
        crew__failure *f = calloc(1, sizeof *f);
        int n;

        if (!f)
                return NULL;
        f->said = (crew_failure){
                .size = sizeof f->said,
                .reason = reason,
                .syscall = -1,
                .syscall_name = f->call,
                .message = f->text,
                .pid = w ? w->pid : 0,
                .worker = w ? w->row : 0,
                .attempt = unit ? unit->attempt : 0,
                .task = unit ? unit->id : 0,
                .item = job->index + item,
        };
        n = snprintf(f->text, sizeof f->text, "task");
        if (job->name[0])
                n += snprintf(f->text + n, sizeof f->text - (size_t)n, " %s", job->name);
        if (job->map || job->imap)
                n += snprintf(f->text + n, sizeof f->text - (size_t)n, ", item %zu", f->said.item);
        if (unit && unit->attempt > 1)
                n += snprintf(f->text + n, sizeof f->text - (size_t)n, ", attempt %u",
                        (unsigned)unit->attempt);
        (void)snprintf(f->text + n, sizeof f->text - (size_t)n, ": %s", crew__reason_words(reason));
        return f;
}

void crew__failure_say(crew__failure *f, const char *format, ...)
{
        char *at;
        va_list args;

        if (!f)
                return;
        at = strstr(f->text, ": ");
        at = at ? at + 2 : f->text;
        va_start(args, format);
        (void)vsnprintf(at, sizeof f->text - (size_t)(at - f->text), format, args);
        va_end(args);
}

void crew__ending_words(const crew__ending *ending, char *text, size_t size)
{
        if (!ending->known)
                (void)snprintf(text, size, "ended, and nobody knows how");
        else if (ending->signal)
                (void)snprintf(text, size, "was ended by signal %d (SIG%s)", ending->signal,
                        sigabbrev_np(ending->signal) ? sigabbrev_np(ending->signal) : "?");
        else
                (void)snprintf(text, size, "called exit(%d)", ending->code);
}

const crew_failure *crew__failure_of(
        const crew__failure *f, int reason, size_t item, crew_failure *bare)
{
        if (f)
                return &f->said;
        *bare = (crew_failure){
                .size = sizeof *bare,
                .reason = reason,
                .code = reason == CREW_FAILED ? -ENOMEM : 0,
                .syscall = -1,
                .syscall_name = "",
                .message = crew__reason_words(reason),
                .item = item,
        };
        return bare;
}

void crew__failure_copy(crew_failure *to, const crew_failure *from)
{
        size_t size = to->size < sizeof *to ? to->size : sizeof *to, own = to->size;

        if (size < sizeof to->size)
                return;
        memcpy(to, from, size);
        to->size = own;
}

void crew__failure_keep(crew_failure *to, const crew_failure *from)
{
        static _Thread_local crew__failure kept;

        kept.said = *from;
        (void)snprintf(kept.text, sizeof kept.text, "%s", from->message ? from->message : "");
        (void)snprintf(
                kept.call, sizeof kept.call, "%s", from->syscall_name ? from->syscall_name : "");
        kept.said.message = kept.text;
        kept.said.syscall_name = kept.call;
        crew__failure_copy(to, &kept.said);
}
