/* SPDX-License-Identifier: MIT */

/* crew top on a terminal: what is on the screen, what keys do, and what is left of it afterwards.
 */

#include "peer.h"
#include "xterm.h"

#include <crew/crew.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { PATIENCE_S = 15 };

static int side, tty; /* of the pseudo terminal */
static pid_t top;
static bool ended; /* nobody has the other side any more */
static struct termios before;

/* What has come so far; waits a moment for more. */
static void listen(void)
{
        struct pollfd p = { .fd = side, .events = POLLIN };
        char piece[4096];
        ssize_t n;

        if (poll(&p, 1, 20) <= 0)
                return;
        n = read(side, piece, sizeof piece);
        if (n <= 0)
                ended = true;
        for (ssize_t i = 0; i < n; i++)
                xterm_take(piece[i]);
}

/* Runs of this test see each other's processes: "top-" stands for what no other calls its own. */
static const char *mine(const char *text)
{
        static char own[256];
        size_t n = 0;

        for (; *text && n + 20 < sizeof own; text++) {
                if (strncmp(text, "top-", 4) == 0) {
                        n += (size_t)snprintf(own + n, sizeof own - n, "t%d", (int)getpid());
                        text += 2;
                } else
                        own[n++] = *text;
        }
        own[n] = 0;
        return own;
}

static int row_of(const char *text)
{
        text = mine(text);
        for (int y = 0; y < t.rows; y++) {
                t.cells[y][t.columns] = '\0';
                if (strstr(t.cells[y], text))
                        return y;
        }
        return -1;
}

static void show_screen(void)
{
        for (int y = 0; y < t.rows; y++)
                INFO("%2d|%.*s|", y, t.columns, t.cells[y]);
}

/* Until the text is on the screen, or is not any more. */
static int await(const char *text, bool there)
{
        int64_t until = peer_now() + test_slow(PEER_MS(1000) * PATIENCE_S);
        int row;

        while ((row = row_of(text), (row >= 0) != there) && peer_now() < until && !ended)
                listen();
        if ((row >= 0) != there) {
                show_screen();
                INFO("'%s' should%s be there", text, there ? "" : " not");
        }
        CHECK((row >= 0) == there);
        return row;
}

/* Until it is in that row. */
static void await_at(const char *text, int row)
{
        int64_t until = peer_now() + test_slow(PEER_MS(1000) * PATIENCE_S);

        while (!strstr(t.cells[row], text) && peer_now() < until && !ended)
                listen();
        if (!CHECK(strstr(t.cells[row], text) != NULL)) {
                show_screen();
                INFO("'%s' should be in row %d", text, row);
        }
}

/* Until both are there, in this order. Of a screen that is being drawn some rows may be old. */
static void await_order(const char *above, const char *below)
{
        int64_t until = peer_now() + test_slow(PEER_MS(1000) * PATIENCE_S);

        while ((row_of(above) < 0 || row_of(above) >= row_of(below)) && peer_now() < until &&
                !ended)
                listen();
        if (!CHECK(row_of(above) >= 0 && row_of(above) < row_of(below))) {
                show_screen();
                INFO("'%s' should be above '%s'", above, below);
        }
}

static void keys(const char *text)
{
        text = mine(text);
        REQUIRE(write(side, text, strlen(text)) == (ssize_t)strlen(text));
}

static void resize(int rows, int columns)
{
        struct winsize size = { .ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns };

        xterm_resize(rows, columns);
        REQUIRE(ioctl(side, TIOCSWINSZ, &size) == 0);
}

/* The command in a session of its own, on a new terminal of that size. */
static void open_top(int rows, int columns, const char *option, const char *argument)
{
        const char *tool = getenv("CREW_TOOL");
        struct winsize size = { .ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns };
        char name[64];

        if (!tool)
                SKIP("CREW_TOOL does not name the command");
        if (access("/lib/terminfo/x/xterm", R_OK) != 0 &&
                access("/usr/share/terminfo/x/xterm", R_OK) != 0)
                SKIP("nobody has described an xterm here");
        xterm_begin(rows, columns);
        ended = false;
        if (openpty(&side, &tty, name, NULL, &size) != 0)
                SKIP("no pseudo terminal: %s", strerror(errno));
        (void)fcntl(side, F_SETFD, FD_CLOEXEC);
        (void)fcntl(tty, F_SETFD, FD_CLOEXEC);
        REQUIRE(tcgetattr(tty, &before) == 0);
        top = fork();
        REQUIRE(top >= 0);
        if (top == 0) {
                (void)setsid();
                (void)ioctl(tty, TIOCSCTTY, 0);
                for (int i = 0; i < 3; i++)
                        (void)dup2(tty, i);
                (void)setenv("TERM", "xterm", 1);
                (void)setenv("LC_ALL", "C.UTF-8", 1);
                for (int i = 1; i < 32; i++)
                        (void)signal(i, SIG_DFL);
                (void)execl(tool, tool, "top", "-d", "100", option, argument, (char *)NULL);
                _exit(127);
        }
        await("crew top", true);
        CHECK(t.other_screen);
        CHECK(t.hidden);
}

/* As the shell finds it. */
static void check_clean(void)
{
        struct termios after;

        while (poll(&(struct pollfd){ .fd = side, .events = POLLIN }, 1, 0) > 0 && !ended)
                listen();
        CHECK(!t.other_screen);
        CHECK(!t.hidden);
        if (t.foreign)
                INFO("foreign: %s", t.odd);
        CHECK_INT(t.foreign, ==, 0);
        REQUIRE(tcgetattr(tty, &after) == 0);
        CHECK_INT(after.c_iflag, ==, before.c_iflag);
        CHECK_INT(after.c_oflag, ==, before.c_oflag);
        CHECK_INT(after.c_lflag, ==, before.c_lflag);
        CHECK_INT(after.c_cflag, ==, before.c_cflag);
        CHECK(memcmp(after.c_cc, before.c_cc, sizeof after.c_cc) == 0);
}

/* Its exit status, or 1000 + the signal that ended it, or 2000 + the one that stopped it. */
static int end_of(int options)
{
        int64_t until = peer_now() + test_slow(PEER_MS(1000) * PATIENCE_S);
        int status = 0;
        pid_t got;

        while ((got = waitpid(top, &status, options | WNOHANG)) == 0 && peer_now() < until)
                listen();
        if (!CHECK(got == top)) {
                show_screen();
                (void)kill(top, SIGKILL);
                REQUIRE(waitpid(top, &status, 0) == top);
        }
        return WIFSTOPPED(status)    ? 2000 + WSTOPSIG(status)
               : WIFSIGNALED(status) ? 1000 + WTERMSIG(status)
                                     : WEXITSTATUS(status);
}

static void close_top(void)
{
        (void)close(side);
        (void)close(tty);
}

/* A child that is there until it is ended, with a name. */
static int stay(void *data)
{
        (void)data;
        for (;;)
                (void)pause();
        return 0;
}

static crew_process *named(const char *name)
{
        crew_process *p = NULL;

        REQUIRE_OK(crew_process_new(&p, stay, NULL, CREW_OPT(process, .name = mine(name))));
        REQUIRE_OK(crew_process_start(p));
        return p;
}

static void end(crew_process *p)
{
        (void)crew_process_signal(p, SIGKILL);
        REQUIRE_OK(crew_process_join(p, CREW_S(10)));
        (void)crew_process_free(p);
}

static int leave(void *data)
{
        (void)data;
        return 0;
}

/* The page of this process stays for its life. */
static void warm_up(void)
{
        crew_process *p = NULL;

        (void)crew_process_launch(&p, leave, NULL, NULL);
        (void)crew_process_join(p, CREW_S(10));
        (void)crew_process_free(p);
}

__attribute__((constructor)) static void register_warm_up(void)
{
        test_warm_up(warm_up);
}

TEST(sizes, "the first screen has the header, the titles and the program, at any size",
        "[live][top]")
{
        static const int sizes[][2] = { { 24, 80 }, { 10, 40 }, { 3, 20 }, { 50, 160 } };
        crew_process *child = named("top-child");

        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                int rows = sizes[i][0], columns = sizes[i][1];

                open_top(rows, columns, NULL, NULL);
                CHECK_INT(row_of("crew top"), ==, 0);
                if (rows > 3) {
                        keys("/top-child\r");
                        CHECK_INT(await("top-child  s", true), >=, 2);
                        CHECK_INT(row_of("PID"), ==, 1);
                        CHECK_INT(await("q quit", true), ==, rows - 1);
                }
                keys("q");
                CHECK_INT(end_of(0), ==, 0);
                check_clean();
                close_top();
        }
        end(child);
}

TEST(resized, "it follows the size of the terminal, while stopped, too", "[live][top]")
{
        static const int sizes[][2] = { { 10, 40 }, { 30, 100 }, { 24, 80 }, { 1, 1 }, { 24, 80 } };

        open_top(24, 80, NULL, NULL);
        await("q quit", true);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                resize(sizes[i][0], sizes[i][1]);
                if (sizes[i][0] == 1)
                        continue;
                CHECK_INT(await("crew top", true), ==, 0);
                await_at("q quit", sizes[i][0] - 1);
        }
        REQUIRE(kill(top, SIGTSTP) == 0);
        CHECK_INT(end_of(WUNTRACED), ==, 2000 + SIGSTOP);
        check_clean();
        clear_rows(0, MOST_ROWS);
        resize(12, 60);
        REQUIRE(kill(top, SIGCONT) == 0);
        await_at("q quit", 11);
        CHECK(t.other_screen && t.hidden);
        keys("q");
        CHECK_INT(end_of(0), ==, 0);
        check_clean();
        close_top();
}

TEST(keyed, "keys sort, filter, help and look at queues", "[live][top]")
{
        crew_process *one = named("top-aaa"), *two = named("top-bbb");

        open_top(24, 100, "--sort", "name");
        keys("/top-\r");
        await("filter: top-", true);
        await_order("top-aaa", "top-bbb");
        keys("r");
        await_order("top-bbb", "top-aaa");
        keys("/\033/top-aaa\r");
        await("top-bbb", false);
        await("top-aaa", true);
        keys("/\033");
        await("filter:", false);
        keys("?");
        await("any key goes back", true);
        CHECK_INT(row_of("crew top"), ==, -1);
        keys("x");
        CHECK_INT(await("crew top", true), ==, 0);
        keys("\t");
        await("OWNER", true);
        keys("\t");
        await("OWNER", false);
        keys("><tjk+- ");
        keys("\033[A\033[B\033[5~\033[6~");
        await("every 0.1s", true);
        keys("q");
        CHECK_INT(end_of(0), ==, 0);
        check_clean();
        close_top();
        end(one);
        end(two);
}

TEST(killed, "a process is signalled only after a question that was answered with y", "[live][top]")
{
        static const struct {
                const char *key, *name;
                int sig;
        } kinds[] = { { "T", "TERM", SIGTERM }, { "K", "KILL", SIGKILL } };
        char pid[16], question[64], said[64];

        open_top(24, 100, NULL, NULL);
        keys("/top-victim\r");
        for (int i = 0; i < 2; i++) {
                crew_process *victim = named("top-victim");
                crew_exit how = { .size = sizeof how };

                (void)snprintf(question, sizeof question, "send %s to top-victim (pid %d)?",
                        kinds[i].name, (int)crew_process_pid(victim));
                (void)snprintf(said, sizeof said, "%s was sent to top-victim", kinds[i].name);
                (void)snprintf(pid, sizeof pid, "%d  ", (int)crew_process_pid(victim));
                await(pid, true);
                for (int j = 0; j < 3; j++) {
                        keys(kinds[i].key);
                        CHECK_INT(await(question, true), ==, 23);
                        /* No, nothing, and not at all. */
                        keys(j == 0 ? "n\r" : j == 1 ? "\r" : "\033");
                        await("nothing was sent", true);
                        keys("t");
                        await("nothing was sent", false);
                }
                CHECK_INT(crew_process_join(victim, CREW_MS(50)), ==, -ETIMEDOUT);
                keys(kinds[i].key);
                await(question, true);
                keys("y\r");
                await(said, true);
                REQUIRE_OK(crew_process_join(victim, CREW_S(10)));
                REQUIRE_OK(crew_process_exit(victim, &how));
                CHECK_INT(how.signal, ==, kinds[i].sig);
                (void)crew_process_free(victim);
                keys("t");
                await(said, false);
        }
        keys("q");
        CHECK_INT(end_of(0), ==, 0);
        check_clean();
        close_top();
}

TEST(left_clean, "whatever ends or stops it, the terminal is as it was", "[live][top]")
{
        static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGSEGV };

        for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
                open_top(24, 80, NULL, NULL);
                /* The end of what is drawn: a crash in the middle of it could cut an order in two.
                 */
                await("q quit", true);
                INFO("signal %d", signals[i]);
                REQUIRE(kill(top, signals[i]) == 0);
                CHECK_INT(end_of(0), ==, 1000 + signals[i]);
                check_clean();
                close_top();
        }
        /* In the middle of a question, and from the keyboard. */
        open_top(24, 80, NULL, NULL);
        keys("/");
        await("filter: ", true);
        keys("\003");
        CHECK_INT(end_of(0), ==, 1000 + SIGINT);
        check_clean();
        close_top();
        open_top(24, 80, NULL, NULL);
        keys("?");
        await("crew top", false);
        keys("\032");
        CHECK_INT(end_of(WUNTRACED), ==, 2000 + SIGSTOP);
        check_clean();
        REQUIRE(kill(top, SIGCONT) == 0);
        keys("xq");
        CHECK_INT(end_of(0), ==, 0);
        check_clean();
        close_top();
}

TEST(hung_up, "a terminal that goes away ends it", "[live][top]")
{
        int status;

        open_top(24, 80, NULL, NULL);
        REQUIRE(close(tty) == 0);
        REQUIRE(close(side) == 0);
        side = tty = -1;
        status = end_of(0);
        CHECK(status == 0 || status == 1000 + SIGHUP);
}

TEST(hostile, "names give no orders to the terminal", "[live][top]")
{
        crew_process *children[] = {
                named("top-\033]0;x\007\033[2Jend"),
                named("top-\r\n\b\033c\233"
                      "3Jend"),
                named("top-\x0e\xff\xc3\033[?1049lend"),
        };

        open_top(24, 100, NULL, NULL);
        keys("/top-\r");
        await("filter: top-", true);
        await("end", true);
        keys("q");
        CHECK_INT(end_of(0), ==, 0);
        if (t.foreign)
                INFO("foreign: %s", t.odd);
        CHECK_INT(t.foreign, ==, 0);
        check_clean();
        close_top();
        for (int i = 0; i < 3; i++)
                end(children[i]);
}
