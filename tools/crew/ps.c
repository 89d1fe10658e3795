/* SPDX-License-Identifier: MIT */

/* crew ps: what programs that use crew are at. */

#include "cli.h"
#include "columns.h"
#include "commands.h"
#include "lines.h"

#include <crew/crew.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The leak checker traces the program at its end, which no word allows. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum { MOST_COLUMNS = 64, MOST_PIDS = 256 };

struct ps {
        bool all, queues, json, no_headings;
        int64_t every; /* seconds, 0 = once */
        const char *columns, *sort;
        int64_t pids[MOST_PIDS];
        int n_pids;

        const struct view_table *table;
        const struct view_column *shown[MOST_COLUMNS];
        size_t n_shown;
        const struct view_column *key; /* NULL = as a tree */
        bool falling;
};

static bool descends(crew_snapshot *s, pid_t pid, pid_t from)
{
        /* The tree is no deeper than there are processes in it, and parents come first. */
        while (pid) {
                const crew_process_info *p = view_process(s, pid);

                if (pid == from)
                        return true;
                pid = p && p->parent != pid ? p->parent : 0;
        }
        return false;
}

static bool wanted(crew_snapshot *s, pid_t pid, const void *info, const void *data)
{
        const struct ps *ps = data;
        bool any = ps->n_pids == 0;

        (void)info;

        for (int i = 0; i < ps->n_pids && !any; i++)
                any = descends(s, pid, (pid_t)ps->pids[i]);
        return any;
}

static void print_json(const struct ps *ps, const struct view *v, const struct lines *lines)
{
        struct view_value value;

        printf("{ \"schema\": \"crew-ps/1\", \"version\": \"%s\", \"%s\": [", crew_version(),
                ps->table->what);
        for (size_t i = 0; i < lines->n; i++) {
                printf("%s\n  {", i ? "," : "");
                for (size_t k = 0; k < ps->n_shown; k++) {
                        view_get(v, ps->shown[k], lines->line[i]->info, &value);
                        printf("%s \"%s\": ", k ? "," : "", ps->shown[k]->name);
                        view_json(stdout, ps->shown[k], &value);
                }
                printf(" }");
        }
        printf("%s] }\n", lines->n ? "\n" : "");
}

/* Every cell's text in one block; the colour of a cell is its value's. */
static int print_table(const struct ps *ps, const struct view *v, const struct lines *lines)
{
        size_t rows = lines->n + !ps->no_headings, n = 0;
        struct cli_cell *cells = calloc(rows * ps->n_shown + 1, sizeof *cells);
        char(*text)[384] = calloc(lines->n * ps->n_shown + 1, sizeof *text);
        struct view_value value;

        if (!cells || !text) {
                free(cells);
                free(text);
                cli_complain("no memory for the table");
                return CLI_FAILED;
        }
        for (size_t k = 0; k < ps->n_shown && !ps->no_headings; k++)
                cells[n++] = (struct cli_cell){ ps->shown[k]->title, CLI_BOLD,
                        ps->shown[k]->type != VIEW_TEXT };
        for (size_t i = 0; i < lines->n; i++) {
                for (size_t k = 0; k < ps->n_shown; k++, n++) {
                        const struct view_column *c = ps->shown[k];
                        char *to = text[i * ps->n_shown + k];
                        int indent = c == &ps->table->columns[ps->table->name]
                                             ? 2 * (lines->line[i]->depth % 32)
                                             : 0;

                        view_get(v, c, lines->line[i]->info, &value);
                        (void)snprintf(to, sizeof *text, "%*s", indent, "");
                        view_text(c, &value, to + indent, sizeof *text - (size_t)indent);
                        cells[n] = (struct cli_cell){ to, value.colour, c->type != VIEW_TEXT };
                }
        }
        cli_table(stdout, cells, rows, ps->n_shown);
        free(cells);
        free(text);
        return 0;
}

/* One look; the snapshot is kept for the next one's rates. */
static int show(const struct ps *ps, struct view *v)
{
        uint64_t flags = (ps->all ? CREW_SNAPSHOT_ALL : 0) |
                         (ps->table == &view_queues ? CREW_SNAPSHOT_QUEUES : 0);
        struct lines lines = { 0 };
        int status = CLI_DONE;

        (void)crew_snapshot_free(v->before);
        v->before = v->now;
        v->now = NULL;
        if (crew_snapshot_new(&v->now, flags) < 0) {
                cli_complain("%s", crew_error_detail());
                return CLI_FAILED;
        }
        if (!lines_collect(&lines, ps->table, v, wanted, ps)) {
                cli_complain("no memory for the list");
                status = CLI_FAILED;
        } else {
                if (ps->key)
                        lines_sort(&lines, v, ps->key, ps->falling);
                if (ps->json)
                        print_json(ps, v, &lines);
                else
                        status = print_table(ps, v, &lines);
        }
        if (status == CLI_DONE && ps->n_pids && !lines.n)
                status = CLI_FAILED;
        lines_free(&lines);
        return status;
}

static int watch(const struct ps *ps, struct view *v)
{
        struct timespec due;
        int status = show(ps, v);

        (void)clock_gettime(CLOCK_MONOTONIC, &due);
        while (ps->every && status != CLI_FAILED && !ferror(stdout)) {
                if (fflush(stdout) != 0)
                        break;
                due.tv_sec += ps->every;
                while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
                        ;
                if (!ps->json)
                        putchar('\n');
                status = show(ps, v);
        }
        return status;
}

static int choose(struct ps *ps)
{
        const char *list = ps->columns, *item, *key = ps->sort;
        const struct view_column *c;
        size_t length;

        ps->table = ps->queues ? &view_queues : &view_processes;
        for (size_t i = 0; i < ps->table->n_columns && !list; i++) {
                if (ps->json || ps->table->columns[i].shown)
                        ps->shown[ps->n_shown++] = &ps->table->columns[i];
        }
        while (list && (item = cli_next_item(&list, &length))) {
                c = view_find(ps->table, item, length);
                if (!c)
                        return CLI_USAGE;
                if (ps->n_shown == MOST_COLUMNS)
                        return cli_misused("-o: more than %d columns", MOST_COLUMNS);
                ps->shown[ps->n_shown++] = c;
        }
        if (!ps->n_shown)
                return cli_misused("-o: name at least one column");
        if (!key)
                return 0;
        ps->falling = *key == '-';
        ps->key = view_find(ps->table, key + ps->falling, strlen(key + ps->falling));
        return ps->key ? 0 : CLI_USAGE;
}

static int take_pids(struct ps *ps, int n, char **operands)
{
        if (n > MOST_PIDS)
                return cli_misused("more than %d processes", MOST_PIDS);
        for (int i = 0; i < n; i++) {
                char *end;

                errno = 0;
                ps->pids[i] = strtoll(operands[i], &end, 10);
                if (end == operands[i] || *end || errno || ps->pids[i] < 1 ||
                        ps->pids[i] > INT32_MAX)
                        return cli_misused("'%s' is no process id", operands[i]);
        }
        ps->n_pids = n;
        return 0;
}

/*
 * What is read comes from anybody. Landlock would hide the descriptors of others; where there is no
 * seccomp the reader's own care is what is left.
 */
void crew_ps_confine(void)
{
        crew_sandbox *own = NULL;
        crew_snapshot *s = NULL;

        (void)crew_snapshot_new(&s, CREW_SNAPSHOT_PREPARE);
        (void)crew_snapshot_free(s);
        if (!SANITIZED && crew_sandbox_new(&own, "stdio rpath", CREW_LANDLOCK_OFF) == 0)
                (void)crew_sandbox_enter(own);
        (void)crew_sandbox_free(own);
}

/* For --help: the columns by table, made once. */
static const char *details(void)
{
        static char text[8192];
        static const struct view_table *const tables[] = { &view_processes, &view_queues };
        size_t n = 0;

        for (size_t i = 0; i < 2; i++) {
                n += (size_t)snprintf(text + n, sizeof text - n,
                        "%sColumns of %s (* shown without -o):\n", i ? "\n" : "", tables[i]->what);
                for (size_t k = 0; k < tables[i]->n_columns; k++) {
                        const struct view_column *c = &tables[i]->columns[k];

                        n += (size_t)snprintf(text + n, sizeof text - n, "  %c %-18s%s\n",
                                c->shown ? '*' : ' ', c->name, c->help);
                }
        }
        if (n)
                text[n - 1] = '\0';
        return text;
}

int crew_ps_main(int argc, char **argv)
{
        struct ps ps = { .all = false };
        const struct cli_option options[] = {
                { 'A', "all", NULL, "processes of all users, as far as privileges reach", CLI_FLAG,
                        &ps.all },
                { 'q', "queues", NULL, "queues instead of processes", CLI_FLAG, &ps.queues },
                { 'j', "json", NULL, "print JSON, all columns unless -o is given", CLI_FLAG,
                        &ps.json },
                { 'o', "columns", "NAME,...", "the columns to show", CLI_TEXT, &ps.columns },
                { 's', "sort", "[-]NAME", "sort by a column, - for falling; else as a tree",
                        CLI_TEXT, &ps.sort },
                { 'n', "no-headings", NULL, "leave out the line of headings", CLI_FLAG,
                        &ps.no_headings },
                { 'w', "watch", "SECONDS", "again and again, for ever", CLI_INTEGER, &ps.every,
                        NULL, 1, 86400 },
        };
        const struct cli_command command = {
                .name = "crew ps",
                .operands = "[PID]...",
                .summary = "Shows the programs that use crew: their processes, pools, workers and\n"
                           "tasks, or their queues. With PID, those processes and all below them.",
                .details = details(),
                .options = options,
                .n_options = sizeof options / sizeof *options,
                .most_operands = -1,
        };
        struct view v = { 0 };
        int n = 0, r = cli_parse(&command, argc, argv, &n);

        if (r == CLI_RUN)
                r = choose(&ps) ? CLI_USAGE : CLI_RUN;
        if (r == CLI_RUN)
                r = take_pids(&ps, n, argv + 1) ? CLI_USAGE : CLI_RUN;
        if (r != CLI_RUN)
                return r;
        crew_ps_confine();
        r = watch(&ps, &v);
        (void)crew_snapshot_free(v.now);
        (void)crew_snapshot_free(v.before);
        return r;
}
