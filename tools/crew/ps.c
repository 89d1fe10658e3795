/* SPDX-License-Identifier: MIT */

/* crew ps: what programs that use crew are at. */

#include "cli.h"
#include "columns.h"
#include "commands.h"

#include <crew/crew.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

/* One row to be printed. */
struct line {
        const void *info;
        int depth;
        struct view_value key;
};

struct lines {
        struct line **line; /* each stays where it is: its key may point into itself */
        size_t n, room;
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

static bool wanted(const struct ps *ps, crew_snapshot *s, pid_t pid)
{
        bool any = ps->n_pids == 0;

        for (int i = 0; i < ps->n_pids && !any; i++)
                any = descends(s, pid, (pid_t)ps->pids[i]);
        return any;
}

static bool add(struct lines *lines, const void *info, int depth)
{
        struct line *made;

        if (lines->n == lines->room) {
                size_t room = lines->room ? 2 * lines->room : 64;
                struct line **grown = realloc(lines->line, room * sizeof(struct line *));

                if (!grown)
                        return false;
                lines->line = grown;
                lines->room = room;
        }
        made = calloc(1, sizeof *made);
        if (!made)
                return false;
        made->info = info;
        made->depth = depth;
        lines->line[lines->n++] = made;
        return true;
}

static void release(struct lines *lines)
{
        for (size_t i = 0; i < lines->n; i++)
                free(lines->line[i]);
        free(lines->line);
}

static bool collect(const struct ps *ps, const struct view *v, struct lines *lines)
{
        const crew_process_info *p;
        const crew_queue_info *q;

        for (size_t i = 0;
                ps->table == &view_processes && crew_snapshot_process(v->now, i, &p) == 0; i++) {
                if (wanted(ps, v->now, p->pid) && !add(lines, p, p->depth))
                        return false;
        }
        for (size_t i = 0; ps->table == &view_queues && crew_snapshot_queue(v->now, i, &q) == 0;
                i++) {
                if (wanted(ps, v->now, q->owner) && !add(lines, q, 0))
                        return false;
        }
        return true;
}

/* What the comparison needs to know; qsort hands nothing through. */
static enum view_type order_type;
static bool order_falling;

static int order(const void *a, const void *b)
{
        const struct line *left = *(const struct line *const *)a;
        const struct line *right = *(const struct line *const *)b;
        int r = view_compare(&left->key, &right->key, order_type);

        return order_falling ? -r : r;
}

static void sort(const struct ps *ps, const struct view *v, struct lines *lines)
{
        if (!ps->key)
                return;
        for (size_t i = 0; i < lines->n; i++) {
                struct line *l = lines->line[i];

                view_get(v, ps->key, l->info, &l->key);
                l->depth = 0;
        }
        order_type = ps->key->type;
        order_falling = ps->falling;
        if (lines->n)
                qsort(lines->line, lines->n, sizeof(struct line *), order);
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
        if (!collect(ps, v, &lines)) {
                cli_complain("no memory for the list");
                status = CLI_FAILED;
        } else {
                sort(ps, v, &lines);
                if (ps->json)
                        print_json(ps, v, &lines);
                else
                        status = print_table(ps, v, &lines);
        }
        if (status == CLI_DONE && ps->n_pids && !lines.n)
                status = CLI_FAILED;
        release(&lines);
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
        if (crew_sandbox_new(&own, "stdio rpath", CREW_LANDLOCK_OFF) == 0)
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
