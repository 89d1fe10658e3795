/* SPDX-License-Identifier: MIT */
#include "process/guardian.h"

int crew__guardian_add(crew_process *p)
{
        (void)p;
        return 0;
}
void crew__guardian_end(void)
{
}
void crew__guardian_forget(void)
{
}
void crew__guardian_reset(void)
{
}
