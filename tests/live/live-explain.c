/* SPDX-License-Identifier: MIT */

/* What crew run --explain finds out about a command. */

#include "explain.h"
#include "host.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/stat.h>

struct run {
        int code;
        char text[4096], words[512];
};

static struct run explain(const struct profile *p, const char *script)
{
        struct run run = { .code = -1 };
        const char *const argv[] = { "/bin/sh", "-c", script, NULL };
        FILE *out = fmemopen(run.text, sizeof run.text - 1, "w");

        REQUIRE(out != NULL);
        run.code = explain_run(p, argv, NULL, out, run.words, sizeof run.words);
        (void)fclose(out);
        if (run.code == -EOPNOTSUPP)
                SKIP("nobody may listen here: %s", run.words);
        INFO("%s", run.text);
        return run;
}

/* Its last line. */
static const char *options(const struct run *run)
{
        const char *at = strstr(run->text, "options:");

        return at ? at : "";
}

TEST(nothing, "a command that needs nothing more is said to", "[live][explain]")
{
        const struct profile p = { .kind = PROFILE_STANDARD, .wd = "/tmp" };
        struct run run = explain(&p, "cat /etc/passwd >/dev/null; ls / >/dev/null; exit 3");

        CHECK_INT(run.code, ==, 3);
        CHECK(strstr(run.text, "it needs nothing beyond the standard sandbox") != NULL);
}

TEST(writes, "directories that it writes to are options, whatever process does it",
        "[live][explain]")
{
        char home[] = "/var/tmp/crew-explain-XXXXXX", script[512], wanted[128];
        struct profile p = { .kind = PROFILE_STANDARD, .wd = "/tmp" };
        struct run run;

        REQUIRE(mkdtemp(home) != NULL);
        (void)snprintf(script, sizeof script,
                "cd %s && sh -c 'echo >a; mkdir d; mv a d/b; (cd d && ln -s b c); rm -r d'; "
                "rm -f /nonexistent/place",
                home);
        run = explain(&p, script);
        CHECK_INT(run.code, ==, 0);
        (void)snprintf(wanted, sizeof wanted, "options: --rw %s --rw %s/d\n", home, home);
        CHECK_STR(options(&run), wanted);
        (void)snprintf(wanted, sizeof wanted, "it wrote %s/a\n", home);
        CHECK(strstr(run.text, wanted) != NULL);
        /* And with the option it needs nothing. */
        p.rw = (const char *const[]){ home };
        p.n_rw = 1;
        run = explain(&p, script);
        CHECK(strstr(run.text, "it needs nothing beyond") != NULL);
        REQUIRE(rmdir(home) == 0);
}

TEST(reads, "in the strict sandbox what it reads is an option, too", "[live][explain]")
{
        char file[] = "/var/tmp/crew-explain-XXXXXX", script[128];
        const struct profile p = { .kind = PROFILE_STRICT, .wd = "/tmp" };
        int fd = mkostemp(file, O_CLOEXEC);
        struct run run;

        REQUIRE(fd >= 0);
        (void)close(fd);
        (void)snprintf(
                script, sizeof script, "cat %s /var/tmp/there-is-no-such-file 2>/dev/null", file);
        run = explain(&p, script);
        CHECK_STR(options(&run), "options: --ro /var/tmp\n");
        REQUIRE(unlink(file) == 0);
}

TEST(network, "the network is an option", "[live][explain]")
{
        struct profile p = { .kind = PROFILE_STANDARD, .wd = "/tmp" };
        struct run run;

        if (access("/bin/bash", X_OK) < 0)
                SKIP("no bash, whose /dev/tcp makes a socket");
        run = explain(&p, "bash -c 'exec 3<>/dev/tcp/127.0.0.1/9' 2>/dev/null");
        CHECK_STR(options(&run), "options: --net\n");
        p.net = true;
        run = explain(&p, "bash -c 'exec 3<>/dev/tcp/127.0.0.1/9' 2>/dev/null");
        CHECK_STR(options(&run), "");
}

/* The filter of a container that refuses it comes before ours, which then hears nothing of it. */
static bool may_unshare(void)
{
        /* No such flag. */
        return unshare(1) < 0 && errno == EINVAL;
}

TEST(closed, "what no option allows is named", "[live][explain]")
{
        const struct profile p = { .kind = PROFILE_STANDARD, .wd = "/tmp" };
        struct run run;

        if (!may_unshare())
                SKIP("unshare is refused already");
        run = explain(&p, "unshare -U true 2>/dev/null; exit 0");
        CHECK(strstr(run.text, "  unshare, which no option allows\n") != NULL);
}

TEST(absent, "a command that is not there is 127, and what it leaves behind ends",
        "[live][explain]")
{
        const struct profile p = { .kind = PROFILE_STANDARD };
        char text[256] = "", words[64];
        FILE *out = fmemopen(text, sizeof text - 1, "w");
        int r = explain_run(&p, (const char *const[]){ "crew-no-such-program", NULL }, NULL, out,
                words, sizeof words);

        (void)fclose(out);
        if (r == -EOPNOTSUPP)
                SKIP("nobody may listen here: %s", words);
        CHECK_INT(r, ==, 127);
        CHECK_STR(text, "cannot run 'crew-no-such-program': No such file or directory\n");
        CHECK_INT(explain(&p, "sleep 60 & exit 2").code, ==, 2);
        CHECK_INT(explain(&p, "kill -TERM $$").code, ==, 128 + SIGTERM);
}

/* As a container's filter does it, for this process and all that it starts. */
static void refuse_calls(const char *const calls[])
{
        scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

        for (; filter && *calls; calls++)
                REQUIRE(seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM),
                                seccomp_syscall_resolve_name(*calls), 0) == 0);
        if (!filter || seccomp_load(filter) < 0)
                SKIP("no filter here");
        seccomp_release(filter);
}

TEST(container, "where one way to look is refused, the other is taken", "[live][explain]")
{
        struct profile p = { .kind = PROFILE_STANDARD, .wd = "/tmp" };
        struct run run;

        refuse_calls((const char *const[]){ "process_vm_readv", NULL });
        run = explain(&p, "cd /var/tmp && : >crew-$$ && rm crew-$$");
        CHECK_INT(run.code, ==, 0);
        CHECK_STR(options(&run), "options: --rw /var/tmp\n");
}

TEST(blind, "where nobody may look, that is said, and not that nothing is needed",
        "[live][explain]")
{
        struct profile p = { .kind = PROFILE_STANDARD, .wd = "/tmp" };
        struct run run;

        refuse_calls((const char *const[]){ "process_vm_readv", "preadv", NULL });
        run = explain(&p, "cd /var/tmp && : >crew-$$ && rm crew-$$");
        CHECK_INT(run.code, ==, -EPERM);
        CHECK_STR(run.text, "");
        CHECK(strstr(run.words, "could not look at") && strstr(run.words, "not permitted"));
        if (!may_unshare())
                return;
        /* What needs no look is found all the same. */
        run = explain(&p, "unshare -U true 2>/dev/null; exit 0");
        CHECK_INT(run.code, ==, -EPERM);
        CHECK(strstr(run.text, "  unshare, which no option allows\n") != NULL);
}
