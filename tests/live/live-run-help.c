/* SPDX-License-Identifier: MIT */
#include "run-help.h"

static struct shell s;

/* The options that bash would complete: all of the table. Each is called with the name behind --.
 */
static int each_option(bool (*fn)(const char *name, const void *data), const void *data)
{
        char *words, *word;
        int n = 0;

        shell_run(&s, "run --completion bash | sed -n \"s/.*compgen -W '\\(-[^']*\\)'.*/\\1/p\"");
        CHECK_INT(s.status, ==, 0);
        words = s.out;
        while ((word = strsep(&words, " \n"))) {
                if (strncmp(word, "--", 2) != 0)
                        continue;
                if (!CHECK(fn(word + 2, data)))
                        INFO("--%s", word + 2);
                n++;
        }
        return n;
}

/* In the page dashes are written \-. */
static bool in_page(const char *name, const void *page)
{
        char escaped[128] = "\\-\\-", *to = escaped + 4;
        const char *at = page;

        for (; *name && to < escaped + sizeof escaped - 3; name++) {
                if (*name == '-')
                        *to++ = '\\';
                *to++ = *name;
        }
        *to = 0;
        while ((at = strstr(at, escaped))) {
                at += strlen(escaped);
                if (!strchr("\\abcdefghijklmnopqrstuvwxyz", *at) || strncmp(at, "\\f", 2) == 0)
                        return true;
        }
        return false;
}

TEST(page, "the manual page has every option", "[live][run]")
{
        static char page[65536];
        const char *path = getenv("CREW_RUN_1");

        if (!path)
                SKIP("CREW_RUN_1 does not name the page");
        (void)snprintf(page, sizeof page, "%s", text_of(path));
        REQUIRE(page[0]);
        CHECK_INT(each_option(in_page, page), >, 40);
        CHECK(!in_page("no-such-option", page));
}

TEST(completion, "bash completes options, their arguments, and commands", "[live][run]")
{
        static const struct {
                const char *words;
                int at;
                const char *reply;
        } table[] = {
                { "crew run --keep", 2, "--keep-order" },
                { "crew run --joblog-format = j", 4, "json" },
                { "crew run --joblog-format =", 3, "gnu json" },
                { "crew run -a /proc/filesys", 3, "/proc/filesystems" },
                { "crew run --wd /et", 3, "/etc" },
                { "crew feat", 1, "features" },
                { "crew run -j ", 3, "" },
        };
        char line[512];

        if (access("/bin/bash", X_OK) != 0)
                SKIP("there is no bash");
        for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
                (void)snprintf(line, sizeof line,
                        "run --completion bash >/tmp/completion.$$; PATH=${CREW_RUN%%/*}:$PATH "
                        "bash -c '. "
                        "/tmp/completion.'$$'; COMP_WORDS=(%s); COMP_CWORD=%d; _crew; echo "
                        "\"${COMPREPLY[*]}\"'; "
                        "rm /tmp/completion.$$",
                        table[i].words, table[i].at);
                shell_run(&s, line);
                s.out[strcspn(s.out, "\n")] = 0;
                CHECK_STR(s.out, table[i].reply);
        }
}

/* Five recipes, each a command line that makes sense: only the programs are not run. */
TEST(recipes, "every recipe of --help is understood", "[live][run]")
{
        char line[1024], *at, *end;
        const char *path = scratch_enter();
        int n = 0;

        shell_run(&s, "run --help");
        at = strstr(s.out, "recipes:\n");
        REQUIRE(at);
        for (at = strchr(at, '\n') + 1; strncmp(at, "  ", 2) == 0; at = end + 1, n++) {
                static struct shell inner;
                char *run = strstr(at, "crew run");

                end = strchr(at, '\n');
                REQUIRE(end && run && run < end);
                (void)snprintf(line, sizeof line,
                        "touch hosts.txt a.log a.txt a.flac; %.*srun --dry-run %.*s",
                        (int)(run - at), at, (int)(end - run - 8), run + 8);
                shell_run(&inner, line);
                CHECK_INT(inner.status, ==, 0);
                CHECK_STR(inner.err, "");
        }
        CHECK_INT(n, ==, 5);
        scratch_leave(path);
}
