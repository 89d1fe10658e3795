/* SPDX-License-Identifier: MIT */

/* The sandboxes of crew run: real programs work, hostile ones do not. */

#include "exec-help.h"
#include "profile.h"

#include <ftw.h>
#include <limits.h>
#include <linux/io_uring.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

/* A place to work in, and one outside of it. */
struct place {
        char home[64], work[80], outside[80];
};

static struct place place_new(void)
{
        struct place p;

        (void)snprintf(p.home, sizeof p.home, "/var/tmp/crew-profile-XXXXXX");
        REQUIRE(mkdtemp(p.home) != NULL && chmod(p.home, 0755) == 0);
        (void)snprintf(p.work, sizeof p.work, "%s/work", p.home);
        (void)snprintf(p.outside, sizeof p.outside, "%s/outside", p.home);
        REQUIRE(mkdir(p.work, 0755) == 0 && mkdir(p.outside, 0755) == 0);
        return p;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
        (void)st;
        (void)type;
        (void)at;
        return remove(path);
}

static void place_free(struct place *p)
{
        CHECK(nftw(p->home, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

static crew_sandbox *make(const struct profile *p)
{
        crew_sandbox *s = NULL;
        char missing[128];

        REQUIRE_OK(profile_make(p, &s, missing, sizeof missing));
        if (missing[0])
                SKIP("%s", missing);
        return s;
}

/* Runs a command there; its exit code. What was refused is an INFO, and in *v. */
static int run_in(const struct profile *profile, const char *script, crew_violation *v)
{
        crew_sandbox *s = make(profile);
        crew_process *p = NULL;
        crew_violation own;
        int code;

        REQUIRE_OK(crew_process_new_exec(&p, SHELL(script),
                CREW_OPT(process, .policy = s, .cwd = profile->wd, .flags = CREW_PROCESS_REPORT,
                        .on_violation = CREW_VIOLATION_DENY, .in = { CREW_STDIO_NULL, 0 })));
        (void)crew_sandbox_free(s);
        REQUIRE_OK(crew_process_start(p));
        code = join_code(p);
        v = v ? v : &own;
        *v = (crew_violation){ .size = sizeof *v };
        if (crew_process_violation(p, v) == 0)
                INFO("%s (%llu)", v->text, (unsigned long long)v->count);
        (void)crew_process_free(p);
        return code;
}

static bool have(const char *program)
{
        char script[64];

        (void)snprintf(script, sizeof script, "command -v %s >/dev/null", program);
        return run(SHELL(script), NULL) == 0;
}

TEST(real, "everyday programs work in the standard sandbox and are refused nothing",
        "[live][profile]")
{
        static const struct {
                const char *needs, *script;
        } rows[] = {
                { "sh", "echo a > a && cat a | tr a b > b && [ $(cat b) = b ] && ls -l / >ls.txt" },
                { "sh", "date >d; id >>d; uname -a >>d; ps >>d; df . >>d; sleep 0.01" },
                { "sh", "cp /etc/passwd . && mv passwd p2 && chmod 600 p2 && touch -d yesterday p2 "
                        "&& "
                        "mkdir -p d/e && ln -s ../p2 d/e/l && tar cf t.tar d p2 && tar xf t.tar && "
                        "find . -name l >f && sort f >g && gzip -k p2 && gunzip -c p2.gz | cmp - "
                        "p2" },
                { "sh", "(sleep 60 & kill $!; wait $! 2>/dev/null; :); f=$(mktemp) && rm $f; nice "
                        "true; "
                        "timeout 5 true; nohup true 2>/dev/null; env -i /bin/true; seq 10 | xargs "
                        "-P2 -n1 true" },
                { "python3",
                        "python3 -c 'import subprocess,threading,tempfile,json,socket; "
                        "t=threading.Thread(target=print); t.start(); t.join(); "
                        "subprocess.run([\"true\"],check=True); tempfile.TemporaryFile().close(); "
                        "a,b=socket.socketpair(); a.close(); b.close()' >py.txt" },
                { "gcc", "echo 'int main(void){return 0;}' >m.c && gcc -O1 m.c -o m && ./m" },
                { "git", "export HOME=$PWD; git init -q . && echo x >x && git add x && "
                         "git -c user.name=a -c user.email=b commit -qm c && git log --oneline >l "
                         "&& "
                         "git status --short >/dev/null && git gc -q" },
                { "make", "printf 'a:\\n\\techo ok >ok\\nb: a\\n' >Makefile && make -s -j2 b && [ "
                          "-s ok ]" },
                { "perl", "perl -e 'open F,\">p\"; print F `echo hi`; close F; exit(-s \"p\" == 3 "
                          "? 0 : 1)'" },
        };

        TEST_DEADLINE(60);
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
                struct place at = place_new();
                struct profile profile = { .kind = PROFILE_STANDARD, .wd = at.work };
                crew_violation v;

                if (have(rows[i].needs)) {
                        INFO("%s", rows[i].script);
                        CHECK_INT(run_in(&profile, rows[i].script, &v), ==, 0);
                        CHECK_INT(v.count, ==, 0);
                }
                place_free(&at);
        }
}

TEST(files, "standard reads what the user reads and writes where it works; options add",
        "[live][profile]")
{
        struct place at = place_new();
        const char *const outside[] = { at.outside };
        char secret[128], script[512];
        struct profile p = { .kind = PROFILE_STANDARD, .wd = at.work };
        FILE *f;

        (void)snprintf(secret, sizeof secret, "%s/id_secret", at.outside);
        f = fopen(secret, "we");
        REQUIRE(f && fputs("key\n", f) >= 0 && fclose(f) == 0);
        (void)snprintf(script, sizeof script,
                "cat %s >/dev/null && echo >here && echo >${TMPDIR:-/tmp}/x$$ "
                "&& rm ${TMPDIR:-/tmp}/x$$",
                secret);
        CHECK_INT(run_in(&p, script, NULL), ==, 0);
        (void)snprintf(script, sizeof script, "(echo >%s/new) 2>/dev/null || exit 4", at.outside);
        CHECK_INT(run_in(&p, script, NULL), ==, 4);
        (void)snprintf(script, sizeof script, "rm -f %s 2>/dev/null || exit 4", secret);
        CHECK_INT(run_in(&p, script, NULL), ==, 4);
        p.rw = outside;
        p.n_rw = 1;
        (void)snprintf(script, sizeof script, "echo >%s/new && rm %s/new", at.outside, at.outside);
        CHECK_INT(run_in(&p, script, NULL), ==, 0);
        /* strict does not even read. */
        p = (struct profile){ .kind = PROFILE_STRICT, .wd = at.work };
        CHECK_INT(run_in(&p, "echo >here && cat here && ls /usr >ls && date >d", NULL), ==, 0);
        (void)snprintf(script, sizeof script, "cat %s 2>/dev/null || exit 4", secret);
        CHECK_INT(run_in(&p, script, NULL), ==, 4);
        p.ro = outside;
        p.n_ro = 1;
        (void)snprintf(script, sizeof script, "cat %s >/dev/null && ! (echo >%s/new) 2>/dev/null",
                secret, at.outside);
        CHECK_INT(run_in(&p, script, NULL), ==, 0);
        place_free(&at);
}

TEST(bad, "what is not there or no word is refused, and none is none", "[live][profile]")
{
        const char *const nowhere[] = { "/nonexistent/place" };
        crew_sandbox *s = (crew_sandbox *)-1;
        char missing[128];

        CHECK_INT(profile_make(&(struct profile){ .rw = nowhere, .n_rw = 1 }, &s, missing,
                          sizeof missing),
                ==, -ENOENT);
        CHECK_STR(missing, "--rw: '/nonexistent/place': No such file or directory");
        CHECK_INT(profile_make(&(struct profile){ .allow = "unx" }, &s, missing, sizeof missing),
                ==, -EINVAL);
        CHECK(strstr(missing, "unix") != NULL);
        CHECK_INT(profile_make(
                          &(struct profile){ .kind = PROFILE_NONE }, &s, missing, sizeof missing),
                ==, 0);
        CHECK(s == NULL);
        CHECK_INT(profile_find("strict"), ==, PROFILE_STRICT);
        CHECK_INT(profile_find("lax"), ==, -1);
}

TEST(words, "a summary and an advice name the options", "[live][profile]")
{
        const char *const more[] = { "/srv" };
        char text[256];

        (void)unsetenv("TMPDIR");
        /* What lies below the working directory is the job's: below / that would be all. */
        REQUIRE_OK(chdir("/usr"));
        profile_describe(&(struct profile){ .kind = PROFILE_STANDARD }, text, sizeof text);
        CHECK_STR(text, "the standard sandbox: writable . and /tmp, no network");
        profile_describe(
                &(struct profile){ .rw = more, .n_rw = 1, .net = true }, text, sizeof text);
        CHECK_STR(text, "the standard sandbox: writable . and /tmp, /srv, network");
        profile_advice(&(crew_violation){ .words = "inet" }, text, sizeof text);
        CHECK_STR(text, "--net");
        profile_advice(&(crew_violation){ .words = "unix" }, text, sizeof text);
        CHECK_STR(text, "--allow unix");
        profile_advice(&(crew_violation){ .words = "" }, text, sizeof text);
        CHECK_STR(text, "");
        CHECK(profile_writes(&(struct profile){ .kind = PROFILE_STANDARD }, "/tmp/a"));
        CHECK(!profile_writes(&(struct profile){ .kind = PROFILE_STANDARD }, "/tmpfile"));
        CHECK(!profile_reads(&(struct profile){ .kind = PROFILE_STRICT }, "/root/.ssh"));
        CHECK(profile_reads(&(struct profile){ .kind = PROFILE_STANDARD }, "/root/.ssh"));
}

/* What the program below does, by name; its exit code is 0 if it was refused. */
static int attack(const char *what)
{
        struct io_uring_params params = { 0 };
        char c = 'x';

        if (strcmp(what, "io_uring") == 0)
                return syscall(SYS_io_uring_setup, 4, &params) >= 0;
        if (strcmp(what, "ptrace") == 0)
                return ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0;
        if (strcmp(what, "inet") == 0)
                return socket(AF_INET, SOCK_STREAM, 0) >= 0;
        if (strcmp(what, "unix") == 0)
                return socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
        if (strcmp(what, "packet") == 0)
                return socket(AF_PACKET, SOCK_RAW, 0) >= 0;
        if (strcmp(what, "keyring") == 0)
                return syscall(SYS_keyctl, 0, -3, 1) >= 0;
        if (strcmp(what, "bpf") == 0)
                return syscall(SYS_bpf, 0, NULL, 0) >= 0 || errno == EFAULT || errno == EINVAL;
        if (strcmp(what, "mount") == 0)
                return mount("none", "/mnt", "tmpfs", 0, NULL) == 0;
        if (strcmp(what, "userns") == 0)
                return syscall(SYS_unshare, CLONE_NEWUSER) == 0;
        if (strcmp(what, "clone") == 0)
                return syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0) >= 0;
        if (strcmp(what, "tiocsti") == 0)
                return ioctl(0, TIOCSTI, &c) == 0 || errno == ENOTTY;
        if (strcmp(what, "setns") == 0)
                return syscall(SYS_setns, 0, CLONE_NEWUSER) == 0 || errno == EINVAL;
        if (strcmp(what, "kill") == 0)
                return kill(getppid(), 0) == 0;
        if (strcmp(what, "vm") == 0)
                return syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0) == 0;
        return 99;
}

__attribute__((constructor)) static void attack_if_told(void)
{
        const char *what = getenv("CREW_TEST_ATTACK");

        if (what)
                _exit(attack(what));
}

TEST(hostile, "what no job needs is refused to it", "[live][profile]")
{
        static const char *const attacks[] = { "io_uring", "ptrace", "inet", "unix", "packet",
                "keyring", "bpf", "mount", "userns", "clone", "tiocsti", "setns", "vm" };
        struct place at = place_new();
        char self[PATH_MAX] = "", script[PATH_MAX + 64];

        REQUIRE(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
        for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++) {
                struct profile p = { .kind = PROFILE_STANDARD, .wd = at.work };

                INFO("%s", attacks[i]);
                (void)snprintf(
                        script, sizeof script, "CREW_TEST_ATTACK=%s exec %s", attacks[i], self);
                CHECK_INT(run_in(&p, script, NULL), ==, 0);
        }
        place_free(&at);
}

TEST(outside, "with Landlock of Linux 6.12 a job cannot signal who started it", "[live][profile]")
{
        struct place at = place_new();
        struct profile p = { .kind = PROFILE_STANDARD, .wd = at.work };
        char self[PATH_MAX] = "", script[PATH_MAX + 64], text[2048];
        crew_sandbox *s = make(&p);

        REQUIRE_OK(crew_sandbox_describe(s, text, sizeof text) > 0 ? 0 : -1);
        (void)crew_sandbox_free(s);
        REQUIRE(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
        /* Its parent is this program: exec. */
        (void)snprintf(script, sizeof script, "CREW_TEST_ATTACK=kill exec %s", self);
        if (!strstr(text, "signals"))
                CHECK_INT(run_in(&p, script, NULL), ==, 0);
        place_free(&at);
}

TEST(net, "--net gives TCP and UDP", "[live][profile]")
{
        struct place at = place_new();
        struct profile p = { .kind = PROFILE_STANDARD, .wd = at.work, .net = true };
        char self[PATH_MAX] = "", script[PATH_MAX + 64];
        crew_violation v;

        REQUIRE(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
        (void)snprintf(script, sizeof script, "CREW_TEST_ATTACK=inet exec %s", self);
        CHECK_INT(run_in(&p, script, &v), ==, 1);
        CHECK_INT(v.count, ==, 0);
        (void)snprintf(script, sizeof script, "CREW_TEST_ATTACK=packet exec %s", self);
        CHECK_INT(run_in(&p, script, &v), ==, 0);
        if (have("curl")) {
                /* Nobody listens there: refused by the other side, 7, not by the sandbox. */
                CHECK_INT(run_in(&p, "curl -s http://127.0.0.1:9/ >/dev/null", &v), ==, 7);
                CHECK_INT(v.count, ==, 0);
        }
        place_free(&at);
}
