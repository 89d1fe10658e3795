/* SPDX-License-Identifier: MIT */
#include "progress.h"

#include <crew/error.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { EVERY_MS = 100, USUAL_WIDTH = 80, MOST_WIDTH = 300 };

void progress_begin(struct progress *p, bool bar, bool eta)
{
        *p = (struct progress){ .fd = -1, .bar = bar, .eta = eta, .began = crew_clock() };
        if ((bar || eta) && isatty(STDERR_FILENO))
                p->fd = STDERR_FILENO;
}

static int duration(char *text, size_t size, int64_t ns)
{
        long long s = (ns + CREW_S(1) - 1) / CREW_S(1);

        if (s < 60)
                return snprintf(text, size, "%llds", s);
        if (s < 3600)
                return snprintf(text, size, "%lldm%02llds", s / 60, s % 60);
        return snprintf(text, size, "%lldh%02lldm", s / 3600, s / 60 % 60);
}

static void figures(char *text, size_t size, const struct tally *t, unsigned running, int64_t left)
{
        unsigned long long done = t->succeeded + t->failed;
        size_t n;

        if (t->total)
                n = (size_t)snprintf(text, size, "%llu/%llu %d%%", done,
                        (unsigned long long)t->total, (int)(100 * (double)done / (double)t->total));
        else
                n = (size_t)snprintf(text, size, "%llu done", done);
        n += (size_t)snprintf(text + n, size - n, ", %u running", running);
        if (t->failed)
                n += (size_t)snprintf(
                        text + n, size - n, ", %llu failed", (unsigned long long)t->failed);
        if (left >= 0) {
                n += (size_t)snprintf(text + n, size - n, ", ");
                n += (size_t)duration(text + n, size - n, left);
                (void)snprintf(text + n, size - n, " left");
        }
}

int progress_text(char *text, size_t size, unsigned width, bool bar, const struct tally *t,
        unsigned running, int64_t left)
{
        char words[160], graph[MOST_WIDTH + 4] = "";
        double part = t->total ? (double)(t->succeeded + t->failed) / (double)t->total : 0;
        size_t room;

        figures(words, sizeof words, t, running, left);
        room = width > strlen(words) + 5 ? width - strlen(words) - 5 : 0;
        if (bar && t->total && room >= 5) {
                if (room > MOST_WIDTH)
                        room = MOST_WIDTH;
                graph[0] = '[';
                memset(graph + 1, ' ', room);
                memset(graph + 1, '#', (size_t)(part * (double)room));
                memcpy(graph + 1 + room, "] ", 3);
        }
        return snprintf(text, size, "%s%.*s", graph, (int)width, words);
}

static unsigned width_of(int fd)
{
        struct winsize w;

        return ioctl(fd, TIOCGWINSZ, &w) == 0 && w.ws_col > 1 ? w.ws_col - 1U : USUAL_WIDTH - 1;
}

void progress_draw(struct progress *p, const struct tally *t, unsigned running, int64_t now)
{
        char text[MOST_WIDTH + 200] = "\r\033[K";
        uint64_t done = t->succeeded + t->failed;
        int64_t left = -1;
        int n = (int)strlen(text);

        if (p->fd < 0 || (p->drawn && now < p->due))
                return;
        if (t->total && done)
                left = (int64_t)((double)(now - p->began) / (double)done *
                                 (double)(t->total - done));
        n += progress_text(
                text + n, sizeof text - (size_t)n, width_of(p->fd), p->bar, t, running, left);
        if (write(p->fd, text, (size_t)n) < 0)
                p->fd = -1;
        p->drawn = true;
        p->due = now + CREW_MS(EVERY_MS);
}

void progress_clear(struct progress *p)
{
        static const char clear[] = "\r\033[K";

        if (p->fd < 0 || !p->drawn)
                return;
        if (write(p->fd, clear, sizeof clear - 1) < 0)
                p->fd = -1;
        p->drawn = false;
}
