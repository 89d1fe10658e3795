/* SPDX-License-Identifier: MIT */
#include "guest.h"

int guest_plugged(void *arg)
{
        (void)arg;
        return 7;
}
