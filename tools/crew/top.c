/* SPDX-License-Identifier: MIT */

/* crew top: crew ps, live. */

#include "top.h"

#include "cli.h"
#include "commands.h"
#include "signals.h"

#include <crew/crew.h>
#include <curses.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FASTEST = 100, SLOWEST = 60000 };

static const char process_columns[] = "pid,name,state,cpu,memory,task,task_age,done_rate,p50,p99,"
                                      "done,queued,violations,status";
static const char queue_columns[] = "owner,name,state,depth,high,capacity,put_rate,get_rate,bytes,"
                                    "sleepers,put_lock,get_lock";

static void choose(struct top *t, const struct view_table *table)
{
        const char *list = table == &view_processes ? process_columns : queue_columns, *item;
        size_t length;

        t->table = table;
        t->n_shown = 0;
        t->key = NULL;
        t->first = t->at = 0;
        while ((item = cli_next_item(&list, &length)))
                t->shown[t->n_shown++] = view_find(table, item, length);
}

/* The filter is somewhere in what is shown of it as text. */
static bool wanted(crew_snapshot *s, pid_t pid, const void *info, const void *data)
{
        const struct top *t = data;
        struct view_value value;
        char text[400];

        (void)s;
        (void)pid;
        for (size_t k = 0; k < t->n_shown; k++) {
                view_get(&t->v, t->shown[k], info, &value);
                view_text(t->shown[k], &value, text, sizeof text);
                if (strcasestr(text, t->filter))
                        return true;
        }
        return false;
}

/* The lines of the snapshot as they are to be seen now; the mark stays with its process. */
static int arrange(struct top *t)
{
        size_t rows = top_screen_rows();

        lines_free(&t->lines);
        if (!lines_collect(&t->lines, t->table, &t->v, *t->filter ? wanted : NULL, t)) {
                (void)top_screen_close();
                cli_complain("no memory for the list");
                return CLI_FAILED;
        }
        if (t->key)
                lines_sort(&t->lines, &t->v, t->key, t->falling);
        for (size_t i = 0; t->marked && i < t->lines.n; i++) {
                if (t->lines.line[i]->pid == t->marked && t->table == &view_processes)
                        t->at = i;
        }
        if (t->at >= t->lines.n)
                t->at = t->lines.n ? t->lines.n - 1 : 0;
        if (t->at < t->first)
                t->first = t->at;
        if (t->at >= t->first + rows)
                t->first = t->at - rows + 1;
        return 0;
}

static int look(struct top *t)
{
        uint64_t flags = CREW_SNAPSHOT_QUEUES | (t->all ? CREW_SNAPSHOT_ALL : 0);
        crew_snapshot *now = NULL;

        if (crew_snapshot_new(&now, flags) < 0) {
                (void)top_screen_close();
                cli_complain("%s", crew_error_detail());
                return CLI_FAILED;
        }
        lines_free(&t->lines);
        (void)crew_snapshot_free(t->v.before);
        t->v.before = t->v.now;
        t->v.now = now;
        return arrange(t);
}

static void go(struct top *t, long by)
{
        long at = (long)t->at + by, last = (long)t->lines.n - 1;

        at = at > last ? last : at;
        t->at = at > 0 ? (size_t)at : 0;
        t->marked = t->at < t->lines.n ? t->lines.line[t->at]->pid : 0;
}

/* The next column to sort by, in the order of the screen; past an end there is the tree. */
static void next_key(struct top *t, int by)
{
        long at = -1, n = (long)t->n_shown;

        for (long i = 0; i < n; i++) {
                if (t->shown[i] == t->key)
                        at = i;
        }
        at += by;
        if (at < -1)
                at = n - 1;
        t->key = at >= 0 && at < n ? t->shown[at] : NULL;
        t->falling = t->key && t->key->type != VIEW_TEXT;
}

/*
 * A signal for the marked process, after a question. The descriptor is opened before it is asked
 * and the process looked up again after that: what is signalled is what was shown.
 */
static void signal_marked(struct top *t, int sig, const char *name)
{
        const crew_process_info *p, *again;
        crew_snapshot *s = NULL;
        char answer[8] = "", question[200];
        int64_t started;
        int fd;

        if (t->table != &view_processes || t->at >= t->lines.n)
                return;
        p = t->lines.line[t->at]->info;
        started = crew_snapshot_time(t->v.now) - p->age;
        fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
        (void)snprintf(question, sizeof question, "send %s to %s (pid %d)? type y: ", name, p->name,
                (int)p->pid);
        if (fd < 0 && errno == ESRCH) {
                (void)snprintf(t->message, sizeof t->message, "it has ended");
        } else if (fd < 0) {
                (void)snprintf(t->message, sizeof t->message, "%s: %s", name, strerror(errno));
        } else if (!top_screen_ask(question, answer, sizeof answer) || answer[0] != 'y') {
                (void)snprintf(t->message, sizeof t->message, "nothing was sent");
        } else if (crew_snapshot_new(&s, t->all ? CREW_SNAPSHOT_ALL : 0) < 0 ||
                   !(again = view_process(s, p->pid)) ||
                   llabs(crew_snapshot_time(s) - again->age - started) > CREW_MS(50)) {
                (void)snprintf(t->message, sizeof t->message, "it has ended");
        } else if (syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0) < 0) {
                (void)snprintf(t->message, sizeof t->message, "%s: %s", name, strerror(errno));
        } else {
                (void)snprintf(t->message, sizeof t->message, "%s was sent to %s (pid %d)", name,
                        p->name, (int)p->pid);
        }
        if (fd >= 0)
                (void)close(fd);
        (void)crew_snapshot_free(s);
}

/* Until any key; false: a signal asks for the end. */
static bool help(void)
{
        static const char *const lines[] = {
                "q           quit",
                "Tab         queues, or processes",
                "< > arrows  the column to sort by",
                "r  t        reverse; as a tree",
                "/           only lines with a text",
                "j k arrows  mark a process",
                "T  K        send it TERM or KILL",
                "+  -        look more, less often",
                "any key goes back",
                NULL,
        };
        int key;

        do {
                top_screen_show(lines);
                key = top_screen_key(SLOWEST);
        } while (key == 0 || key == KEY_RESIZE);
        return key != TOP_END;
}

static void ask_filter(struct top *t)
{
        if (!top_screen_ask("filter: ", t->filter, sizeof t->filter))
                t->filter[0] = '\0';
}

/* What a key does; false: the end. */
static bool obey(struct top *t, int key)
{
        long page = (long)top_screen_rows();

        if (key != KEY_RESIZE)
                t->message[0] = '\0';
        switch (key) {
        case 'q':
        case TOP_END:
                return false;
        case '?':
        case 'h':
                return help();
        case '\t':
                choose(t, t->table == &view_processes ? &view_queues : &view_processes);
                break;
        case '<':
        case KEY_LEFT:
                next_key(t, -1);
                break;
        case '>':
        case KEY_RIGHT:
                next_key(t, 1);
                break;
        case 'r':
                t->falling = !t->falling;
                break;
        case 't':
                t->key = NULL;
                break;
        case '/':
                ask_filter(t);
                break;
        case 'T':
                signal_marked(t, SIGTERM, "TERM");
                break;
        case 'K':
                signal_marked(t, SIGKILL, "KILL");
                break;
        case '+':
                t->every = t->every / 2 > FASTEST ? t->every / 2 : FASTEST;
                break;
        case '-':
                t->every = t->every * 2 < SLOWEST ? t->every * 2 : SLOWEST;
                break;
        case KEY_UP:
        case 'k':
                go(t, -1);
                break;
        case KEY_DOWN:
        case 'j':
                go(t, 1);
                break;
        case KEY_PPAGE:
                go(t, -page);
                break;
        case KEY_NPAGE:
        case ' ':
                go(t, page);
                break;
        case KEY_HOME:
                go(t, -(long)t->lines.n);
                break;
        case KEY_END:
                go(t, (long)t->lines.n);
                break;
        }
        return true;
}

static int run(struct top *t)
{
        int64_t due = 0;
        int status = 0;

        for (;;) {
                int64_t now = crew_clock();
                int key;

                if (now >= due) {
                        status = look(t);
                        due = now + t->every * 1000000;
                } else {
                        status = arrange(t);
                }
                if (status)
                        return status;
                top_screen_draw(t);
                now = crew_clock();
                key = top_screen_key(due > now ? (due - now) / 1000000 + 1 : 0);
                if (key && !obey(t, key))
                        return 0;
        }
}

int crew_top_main(int argc, char **argv)
{
        struct top t = { .every = 1000 };
        const char *sort = NULL;
        bool queues = false;
        const struct cli_option options[] = {
                { 'A', "all", NULL, "processes of all users, as far as privileges reach", CLI_FLAG,
                        &t.all },
                { 'q', "queues", NULL, "begin with the queues", CLI_FLAG, &queues },
                { 's', "sort", "[-]NAME", "sort by a column of crew ps, - for falling", CLI_TEXT,
                        &sort },
                { 'd', "delay", "MILLISECONDS", "between two looks (1000)", CLI_INTEGER, &t.every,
                        NULL, FASTEST, SLOWEST },
        };
        const struct cli_command command = {
                .name = "crew top",
                .operands = "",
                .summary = "Shows the programs that use crew, live; see also crew ps.",
                .details = "Keys: q quits, ? shows all of them, Tab switches to queues and back,\n"
                           "< and > choose the column to sort by, r reverses, t shows the tree,\n"
                           "/ filters, T and K send TERM and KILL to the marked process after a\n"
                           "question, + and - change the speed, arrows and page keys move.",
                .options = options,
                .n_options = sizeof options / sizeof *options,
        };
        int status = cli_parse(&command, argc, argv, NULL), ended_by;

        if (status != CLI_RUN)
                return status;
        choose(&t, queues ? &view_queues : &view_processes);
        if (sort) {
                t.falling = *sort == '-';
                t.key = view_find(t.table, sort + t.falling, strlen(sort + t.falling));
                if (!t.key)
                        return CLI_USAGE;
        }
        status = top_screen_open();
        if (status)
                return status;
        status = run(&t);
        ended_by = top_screen_close();
        lines_free(&t.lines);
        (void)crew_snapshot_free(t.v.now);
        (void)crew_snapshot_free(t.v.before);
        /* Whoever started us sees why. */
        if (ended_by)
                signals_die(ended_by);
        return status;
}
