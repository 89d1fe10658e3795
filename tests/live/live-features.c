/* SPDX-License-Identifier: MIT */
#include "check.h"

#include <crew/crew.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* One run of the command: exit status and both outputs, cut at the size. */
struct run {
        int status;
        char out[16384], err[4096];
};

static void slurp(int fd, char *into, size_t size)
{
        ssize_t n = pread(fd, into, size - 1, 0);

        REQUIRE(n >= 0);
        into[n] = 0;
        close(fd);
}

/* `line` is split at blanks; quotes mean nothing. `to` is a file for stdout, NULL = captured. */
static void run(struct run *r, const char *line, const char *to)
{
        char words[256], *argv[16];
        const char *tool = getenv("CREW_TOOL");
        int argc = 0, status, out, err;
        pid_t pid;

        if (!tool)
                SKIP("CREW_TOOL does not name the command");
        INFO("crew %s", line);
        snprintf(words, sizeof words, "crew %s", line);
        for (char *w = strtok(words, " "); w && argc < 15; w = strtok(NULL, " "))
                argv[argc++] = w;
        argv[argc] = NULL;
        out = memfd_create("out", MFD_CLOEXEC);
        err = memfd_create("err", MFD_CLOEXEC);
        REQUIRE(out >= 0 && err >= 0);
        pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0) {
                int fd = to ? open(to, O_WRONLY | O_CLOEXEC) : out;

                if (fd < 0 || dup2(fd, 1) < 0 || dup2(err, 2) < 0)
                        _exit(126);
                execv(tool, argv);
                _exit(127);
        }
        REQUIRE(waitpid(pid, &status, 0) == pid);
        REQUIRE(WIFEXITED(status));
        r->status = WEXITSTATUS(status);
        slurp(out, r->out, sizeof r->out);
        slurp(err, r->err, sizeof r->err);
}

static size_t lines(const char *text)
{
        size_t n = 0;

        for (; *text; text++)
                n += *text == '\n';
        return n;
}

static unsigned features(void)
{
        crew_feature f = {.size = sizeof f};
        unsigned n = 0;

        while (crew_feature_get(n, &f) == 0)
                n++;
        return n;
}

TEST(table, "crew features prints an aligned table without colours into a file", "[live][tools]")
{
        crew_feature f = {.size = sizeof f};
        struct run r;
        char *state, *line;
        long column;

        setenv("CREW_DISABLE", "userns", 1);
        run(&r, "features", NULL);
        CHECK_INT(r.status, ==, 0);
        CHECK_STR(r.err, "");
        CHECK(!strchr(r.out, '\033'));
        CHECK(strncmp(r.out, "crew " /* version */, 5) == 0);
        line = strstr(r.out, "FEATURE");
        REQUIRE(line);
        state = strstr(line, "STATE");
        REQUIRE(state);
        column = state - line;
        for (unsigned i = 0; crew_feature_get(i, &f) == 0; i++) {
                line = strchr(line, '\n');
                REQUIRE(line);
                line++;
                CHECK(strncmp(line, f.name, strlen(f.name)) == 0);
                CHECK(line[column - 1] == ' ' && line[column] != ' ');
        }
        CHECK(strstr(r.out, "\nuserns: disabled: switched off by CREW_DISABLE\n"));
}

/* A reader of exactly JSON's grammar; returns what follows the value, NULL for a mistake. */
static const char *json_value(const char *at, int depth);

static const char *blanks(const char *at)
{
        return at ? at + strspn(at, " \t\r\n") : NULL;
}

static const char *json_string(const char *at)
{
        if (!at || *at++ != '"')
                return NULL;
        for (; *at != '"'; at++) {
                if ((unsigned char)*at < 0x20)
                        return NULL;
                if (*at == '\\' && !strchr("\"\\/bfnrtu", *++at))
                        return NULL;
        }
        return at + 1;
}

static const char *json_list(const char *at, char end, int depth)
{
        at = blanks(at + 1);
        if (*at == end)
                return at + 1;
        for (;;) {
                if (end == '}') {
                        at = blanks(json_string(blanks(at)));
                        if (!at || *at++ != ':')
                                return NULL;
                }
                at = blanks(json_value(at, depth + 1));
                if (!at || (*at != ',' && *at != end))
                        return NULL;
                if (*at++ == end)
                        return at;
        }
}

static const char *json_value(const char *at, int depth)
{
        at = blanks(at);
        if (depth > 8)
                return NULL;
        switch (*at) {
        case '{':
                return json_list(at, '}', depth);
        case '[':
                return json_list(at, ']', depth);
        case '"':
                return json_string(at);
        default:
                return strncmp(at, "null", 4) == 0 ? at + 4 : NULL;
        }
}

TEST(json, "--json prints one valid object with every feature", "[live][tools]")
{
        crew_feature f = {.size = sizeof f};
        struct run r;
        const char *end;
        char wanted[64];

        setenv("CREW_DISABLE", "io_uring", 1);
        run(&r, "features --json", NULL);
        CHECK_INT(r.status, ==, 0);
        CHECK_STR(r.err, "");
        end = blanks(json_value(r.out, 0));
        REQUIRE(end);
        CHECK_INT(*end, ==, 0);
        CHECK_INT(r.out[0], ==, '{');
        snprintf(wanted, sizeof wanted, "\"version\": \"%s\"", crew_version());
        CHECK(strstr(r.out, wanted));
        for (unsigned i = 0; crew_feature_get(i, &f) == 0; i++) {
                snprintf(wanted, sizeof wanted, "\"name\": \"%s\"", f.name);
                CHECK(strstr(r.out, wanted));
        }
        CHECK(strstr(r.out, "\"name\": \"uring_futex\", \"state\": \"disabled\""));
}

TEST(tap, "--tap skips what is missing and fails nothing", "[live][tools]")
{
        crew_feature f = {.size = sizeof f};
        struct run r;
        char wanted[96];

        setenv("CREW_DISABLE", "landlock", 1);
        run(&r, "features -t", NULL);
        CHECK_INT(r.status, ==, 0);
        CHECK(strncmp(r.out, "KTAP version 1\n", 15) == 0);
        snprintf(wanted, sizeof wanted, "\n1..%u\n", features());
        CHECK(strstr(r.out, wanted));
        CHECK_INT(lines(r.out), ==, features() + 2);
        CHECK(!strstr(r.out, "not ok"));
        for (unsigned i = 0; crew_feature_get(i, &f) == 0; i++) {
                snprintf(wanted, sizeof wanted, "\nok %u %s", i + 1, f.name);
                CHECK(strstr(r.out, wanted));
        }
        CHECK(strstr(r.out, " landlock # SKIP disabled: switched off by CREW_DISABLE\n"));
}

TEST(require, "--require answers by its exit status and names what is missing", "[live][tools]")
{
        crew_feature f = {.size = sizeof f};
        struct run r;
        char line[64];
        unsigned i = 0;

        while (crew_feature_get(i, &f) == 0 && f.state != CREW_FEATURE_YES)
                i++;
        if (f.state != CREW_FEATURE_YES)
                SKIP("no feature at all is here");
        snprintf(line, sizeof line, "features --require %s", f.name);
        run(&r, line, NULL);
        CHECK_INT(r.status, ==, 0);
        CHECK_STR(r.out, "");
        CHECK_STR(r.err, "");

        setenv("CREW_DISABLE", "close_range,userns,noexec_seal", 1);
        run(&r, "features -rclose_range,noexec_seal --require=userns", NULL);
        CHECK_INT(r.status, ==, 1);
        CHECK_STR(r.out, "");
        CHECK_INT(lines(r.err), ==, 1);
        CHECK(strstr(r.err, "close_range disabled") && strstr(r.err, "userns disabled") &&
                strstr(r.err, "noexec_seal disabled"));

        run(&r, "features -r userns --json", NULL);
        CHECK_INT(r.status, ==, 1);
        CHECK(json_value(r.out, 0));
}

TEST(slip, "an unknown name in CREW_DISABLE is named, and ignored", "[live][tools]")
{
        struct run r;

        setenv("CREW_DISABLE", "landlok , quite-wrong", 1);
        run(&r, "features", NULL);
        CHECK_INT(r.status, ==, 0);
        CHECK_INT(lines(r.err), ==, 2);
        CHECK(strstr(r.err, "'landlok'; did you mean 'landlock'?"));
        CHECK(strstr(r.err, "'quite-wrong'"));
        CHECK(!strstr(r.out, "switched off"));
}

static const struct {
        const char *line, *words;
} misuse[] = {
        {"", "Usage: crew"},
        {"fetures", "did you mean 'features'?"},
        {"--hlep", "did you mean '--help'?"},
        {"--version now", "unexpected argument 'now'"},
        {"quite-something-else", "there is no command"},
        {"features --jsno", "did you mean '--json'?"},
        {"features --json=1", "takes no argument"},
        {"features -x", "'-x'"},
        {"features -jx", "'-x'"},
        {"features --require", "needs an argument: NAME"},
        {"features -r", "needs an argument: NAME"},
        {"features --require=", "at least one"},
        {"features -r,", "at least one"},
        {"features -r clone3,iouring", "did you mean 'io_uring'?"},
        {"features extra", "unexpected argument 'extra'"},
        {"features -- --json", "unexpected argument '--json'"},
        {"features -", "unexpected argument '-'"},
        {"features --tap --json", "cannot go together"},
};

TEST(misused, "a wrong command line is 2, with words and no output", "[live][tools]")
{
        struct run r;

        for (size_t i = 0; i < sizeof misuse / sizeof *misuse; i++) {
                run(&r, misuse[i].line, NULL);
                CHECK_INT(r.status, ==, 2);
                CHECK_STR(r.out, "");
                if (!CHECK(strstr(r.err, misuse[i].words)))
                        INFO("said: %s", r.err);
        }
}

TEST(help, "--help and --version print and succeed", "[live][tools]")
{
        struct run r;

        run(&r, "--help", NULL);
        CHECK_INT(r.status, ==, 0);
        CHECK(strstr(r.out, "features"));
        run(&r, "--version", NULL);
        CHECK_INT(r.status, ==, 0);
        CHECK(strstr(r.out, crew_version()));
        run(&r, "features -jh", NULL);
        CHECK_INT(r.status, ==, 0);
        CHECK(strstr(r.out, "--require=NAME"));
        CHECK(strstr(r.out, "-h, --help"));
}

TEST(full_disk, "output that cannot be written is a failure", "[live][tools]")
{
        static const char *const commands[] = {"features", "features --json", "features --tap",
                "features --help", "--help", "--version"};
        struct run r;

        if (access("/dev/full", W_OK) != 0)
                SKIP("no /dev/full here");
        for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
                run(&r, commands[i], "/dev/full");
                CHECK_INT(r.status, ==, 1);
                CHECK(strstr(r.err, "No space left"));
        }
        setenv("CREW_DISABLE", "userns", 1);
        run(&r, "features -r userns", "/dev/full");
        CHECK_INT(r.status, ==, 1);
        CHECK(!strstr(r.err, "No space left"));
}
