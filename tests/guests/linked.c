/* SPDX-License-Identifier: MIT */
#include "guest.h"

int guest_linked(void *arg)
{
        (void)arg;
        return 6;
}
