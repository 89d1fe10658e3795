/* SPDX-License-Identifier: MIT */
#include "cli.h"
#include "commands.h"

#include <crew/features.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

enum { COLUMNS = 5, MOST = 64 };

/* All features, asked once; required marks what --require named. */
struct list {
        crew_feature features[MOST];
        unsigned n;
        bool any_required;
        bool required[MOST];
};

static const char *const states[] = {
        [CREW_FEATURE_YES] = "yes",
        [CREW_FEATURE_NO] = "no",
        [CREW_FEATURE_BLOCKED] = "blocked",
        [CREW_FEATURE_DISABLED] = "disabled",
};

static const char *const colours[] = {
        [CREW_FEATURE_YES] = CLI_GREEN,
        [CREW_FEATURE_NO] = CLI_RED,
        [CREW_FEATURE_BLOCKED] = CLI_RED,
        [CREW_FEATURE_DISABLED] = CLI_YELLOW,
};

static int load(struct list *list)
{
        for (; list->n < MOST; list->n++) {
                crew_feature *f = &list->features[list->n];
                int r;

                f->size = sizeof *f;
                r = crew_feature_get(list->n, f);
                if (r == -ENOENT)
                        break;
                if (r < 0) {
                        cli_complain("%s", crew_error_detail());
                        return CLI_FAILED;
                }
        }
        return 0;
}

/* The index of the feature that a list item names, or -ENOENT with words in crew_error_detail(). */
static int find(const char *item, size_t length)
{
        char name[64];

        snprintf(name, sizeof name, "%.*s", (int)length, item);
        return crew_feature_find(name);
}

/* "no (ENOSYS): not in this kernel" */
static void print_reason(FILE *out, const crew_feature *f)
{
        fputs(states[f->state], out);
        if (f->error)
                fprintf(out, " (%s)", crew_error_name(f->error));
        fprintf(out, ": %s", f->why);
}

static void print_table(const struct list *list, const struct utsname *system)
{
        static const char *const titles[COLUMNS] = {
                "FEATURE", "STATE", "SINCE", "WHAT", "WITHOUT IT"};
        struct cli_cell cells[(MOST + 1) * COLUMNS];
        size_t n = 0;
        bool first = true;

        for (int i = 0; i < COLUMNS; i++)
                cells[n++] = (struct cli_cell){titles[i], CLI_BOLD};
        for (unsigned i = 0; i < list->n; i++) {
                const crew_feature *f = &list->features[i];

                cells[n++] = (struct cli_cell){f->name, NULL};
                cells[n++] = (struct cli_cell){states[f->state], colours[f->state]};
                cells[n++] = (struct cli_cell){f->since, NULL};
                cells[n++] = (struct cli_cell){f->what, NULL};
                cells[n++] = (struct cli_cell){f->instead, NULL};
        }
        printf("crew %s on %s %s (%s)\n\n", crew_version(), system->sysname, system->release,
                system->machine);
        cli_table(stdout, cells, list->n + 1, COLUMNS);
        for (unsigned i = 0; i < list->n; i++) {
                if (list->features[i].state == CREW_FEATURE_YES)
                        continue;
                printf("%s%s: ", first ? "\n" : "", list->features[i].name);
                print_reason(stdout, &list->features[i]);
                putchar('\n');
                first = false;
        }
}

static void json_field(const char *before, const char *name, const char *value)
{
        printf("%s\"%s\": ", before, name);
        cli_json_string(stdout, value);
}

static void print_json(const struct list *list, const struct utsname *system)
{
        json_field("{\n  ", "version", crew_version());
        json_field(",\n  ", "kernel", system->release);
        json_field(",\n  ", "machine", system->machine);
        printf(",\n  \"features\": [");
        for (unsigned i = 0; i < list->n; i++) {
                const crew_feature *f = &list->features[i];

                json_field(i ? ",\n    { " : "\n    { ", "name", f->name);
                json_field(", ", "state", states[f->state]);
                json_field(", ", "error", f->error ? crew_error_name(f->error) : NULL);
                json_field(", ", "since", f->since);
                json_field(",\n      ", "what", f->what);
                json_field(",\n      ", "instead", f->instead);
                json_field(",\n      ", "why", f->why);
                printf(" }");
        }
        printf("\n  ]\n}\n");
}

/* A missing feature is no failure, as crew works without it: it is skipped with the reason. */
static void print_tap(const struct list *list)
{
        printf("KTAP version 1\n1..%u\n", list->n);
        for (unsigned i = 0; i < list->n; i++) {
                const crew_feature *f = &list->features[i];

                printf("ok %u %s", i + 1, f->name);
                if (f->state != CREW_FEATURE_YES) {
                        printf(" # SKIP ");
                        print_reason(stdout, f);
                }
                putchar('\n');
        }
}

static int require(const char *value, void *target)
{
        struct list *list = target;
        const char *item;
        size_t length;
        bool any = false;

        while ((item = cli_next_item(&value, &length))) {
                int index = find(item, length);

                if (index < 0)
                        return cli_misused("--require: %s", crew_error_detail());
                if (index < MOST)
                        list->required[index] = true;
                list->any_required = any = true;
        }
        return any ? 0 : cli_misused("--require: name at least one feature");
}

/* One line with everything that is missing, or nothing. */
static int judge(const struct list *list)
{
        bool missing = false;

        for (unsigned i = 0; i < list->n; i++) {
                const crew_feature *f = &list->features[i];

                if (!list->required[i] || f->state == CREW_FEATURE_YES)
                        continue;
                fprintf(stderr, "%s%s ", missing ? "; " : "crew features: missing: ", f->name);
                print_reason(stderr, f);
                missing = true;
        }
        if (missing)
                fputc('\n', stderr);
        return missing ? CLI_FAILED : CLI_DONE;
}

/* The library ignores what it does not know, so a slip of the pen would go unseen. */
static void check_environment(void)
{
        const char *list = getenv("CREW_DISABLE"), *item;
        size_t length;

        while (list && (item = cli_next_item(&list, &length))) {
                if (find(item, length) < 0)
                        cli_complain("CREW_DISABLE: %s", crew_error_detail());
        }
}

int crew_features_main(int argc, char **argv)
{
        struct list list = {.n = 0};
        bool json = false, tap = false;
        const struct cli_option options[] = {
                {'j', "json", NULL, "print one JSON object", CLI_FLAG, &json},
                {'t', "tap", NULL, "print KTAP, a missing feature as skipped", CLI_FLAG, &tap},
                {'r', "require", "NAME,...", "print nothing; exit 1 if one of these is missing",
                        CLI_CALL, &list, require},
        };
        const struct cli_command command = {
                .name = "crew features",
                .operands = "",
                .summary = "Tries what crew can use of this kernel and prints what was found.",
                .details = "CREW_DISABLE=NAME,... in the environment makes crew act as if those\n"
                           "features were missing.",
                .options = options,
                .n_options = sizeof options / sizeof *options,
        };
        struct utsname system;
        int r = cli_parse(&command, argc, argv, NULL);

        if (r != CLI_RUN)
                return r;
        if (json && tap)
                return cli_misused("--json and --tap cannot go together");
        check_environment();
        if (load(&list) != 0)
                return CLI_FAILED;
        (void)uname(&system);
        if (json)
                print_json(&list, &system);
        else if (tap)
                print_tap(&list);
        else if (!list.any_required)
                print_table(&list, &system);
        return judge(&list);
}
