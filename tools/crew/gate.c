/* SPDX-License-Identifier: MIT */
#include "gate.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The number behind a word at the beginning of a line. */
static bool number_behind(const char *text, const char *word, unsigned long long *value)
{
        size_t n = strlen(word);

        for (const char *line = text; line; line = strchr(line, '\n')) {
                line += *line == '\n';
                if (strncmp(line, word, n) == 0) {
                        char *end;

                        *value = strtoull(line + n, &end, 10);
                        return end != line + n;
                }
        }
        return false;
}

bool gate_load(const char *stat, double *load)
{
        unsigned long long running, blocked = 0;

        if (!number_behind(stat, "procs_running", &running))
                return false;
        (void)number_behind(stat, "procs_blocked", &blocked);
        *load = (double)(running + blocked) - 1;
        return true;
}

bool gate_memory(const char *meminfo, uint64_t *bytes)
{
        unsigned long long kilobytes;

        if (!number_behind(meminfo, "MemAvailable:", &kilobytes))
                return false;
        *bytes = kilobytes * 1024;
        return true;
}

/* /proc/stat has a line per processor before what is wanted. */
static const char *slurp(const char *path, char *text, size_t size)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        size_t n = 0;
        ssize_t got;

        if (fd < 0)
                return "";
        while (n < size - 1 && (got = read(fd, text + n, size - 1 - n)) > 0)
                n += (size_t)got;
        (void)close(fd);
        text[n] = 0;
        return text;
}

bool gate_open(double load, uint64_t memory)
{
        static char text[256 << 10];
        uint64_t free_bytes;
        double running;

        if (load >= 0 && gate_load(slurp("/proc/stat", text, sizeof text), &running) &&
                running >= load)
                return false;
        return memory == 0 ||
               !gate_memory(slurp("/proc/meminfo", text, sizeof text), &free_bytes) ||
               free_bytes >= memory;
}
