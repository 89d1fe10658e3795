/* SPDX-License-Identifier: MIT */
#include "kernel/stat.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool crew__stat_parse(const char *text, crew__stat *stat)
{
        /* The name in field 2 may hold blanks and brackets; the last bracket ends it. */
        const char *at = strrchr(text, ')');
        char *end;

        if (!at || at[1] != ' ' || !at[2])
                return false;
        *stat = (crew__stat){ .state = at[2], .last = 3 };
        at += 3;
        while (*at == ' ' && stat->last + 1 < CREW__STAT_FIELDS) {
                unsigned long long value = strtoull(at, &end, 10);

                if (end == at)
                        break;
                stat->field[++stat->last] = value;
                at = end;
        }
        return true;
}

bool crew__stat_read(pid_t pid, crew__stat *stat)
{
        char path[64], text[2048];
        ssize_t n;
        int fd;

        (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return false;
        n = read(fd, text, sizeof text - 1);
        (void)close(fd);
        if (n <= 0)
                return false;
        text[n] = '\0';
        return crew__stat_parse(text, stat);
}
