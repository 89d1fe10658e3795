/* SPDX-License-Identifier: MIT */
#include "kernel/thread.h"

#include "kernel/features.h"
#include "kernel/namespace.h"
#include "kernel/owner.h"
#include "kernel/syscall.h"

_Thread_local crew__thread crew__thread_cache __attribute__((tls_model("initial-exec")));

crew__thread *crew__thread_refresh(void)
{
        crew__thread *self = &crew__thread_cache;
        struct robust_list_head *head = NULL;
        size_t size = 0;

        self->tid = (uint32_t)crew__sys_gettid();
        /* Asked per thread: the list belongs to whoever registered it (the C library), and a
         * thread that another runtime made may have none. */
        if (!crew__has(CREW__ROBUST_LIST) || crew__sys_get_robust_list(0, &head, &size) < 0)
                head = NULL;
        self->robust = head;
        self->claim = crew__claim_make(self->tid);
        self->place = crew__place();
        self->generation = crew__generation();
        return self;
}
