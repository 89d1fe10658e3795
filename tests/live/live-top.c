/* SPDX-License-Identifier: MIT */

/* crew top on a terminal: what is on the screen, what keys do, and what is left of it afterwards.
 */

#include "peer.h"

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

enum { MOST_ROWS = 60, MOST_COLUMNS = 200, PATIENCE_S = 15 };

/*
 * As much of an xterm as its description in terminfo lets a program use. What else arrives is
 * `foreign`: a program's name that got through, say. A character that is not ASCII is shown as '?'.
 */
struct terminal {
        int fd, tty; /* both sides */
        pid_t pid;
        int rows, columns, y, x;
        int top, bottom; /* what scrolls */
        char cells[MOST_ROWS][MOST_COLUMNS + 1];
        char last;
        bool other_screen, hidden; /* the alternate screen is shown; the cursor is not */
        bool ended;
        int foreign;
        char odd[128]; /* the first of them */
        char sequence[64];
        size_t n;
        struct termios before;
};

static struct terminal t;

static void note_foreign(void)
{
        if (t.foreign++ == 0)
                (void)snprintf(
                        t.odd, sizeof t.odd, "ESC%.60s", t.n ? t.sequence + 1 : "-less byte");
}

static void blank(int y, int from, int to)
{
        for (int x = from; x < to && x < MOST_COLUMNS; x++)
                t.cells[y][x] = ' ';
}

static void clear_rows(int from, int to)
{
        for (int y = from; y < to && y < MOST_ROWS; y++)
                blank(y, 0, MOST_COLUMNS);
}

static void put(char c)
{
        if (t.x >= t.columns) {
                t.x = 0;
                t.y += t.y < t.rows - 1;
        }
        t.cells[t.y][t.x++] = c;
        t.last = c;
}

static void shift_row(int by)
{
        char *at = &t.cells[t.y][t.x];
        size_t width = (size_t)(t.columns - t.x), n = (size_t)abs(by);

        n = n < width ? n : width;
        if (by > 0) {
                memmove(at + n, at, width - n);
                memset(at, ' ', n);
        } else {
                memmove(at, at + n, width - n);
                memset(at + width - n, ' ', n);
        }
}

/* Rows from `y` on that scroll move down, or up if `by` is negative. */
static void shift_rows(int y, int by)
{
        size_t size = sizeof t.cells[0] * (size_t)(t.bottom - y);

        if (y < t.top || y > t.bottom)
                return;
        for (; by > 0; by--) {
                memmove(t.cells[y + 1], t.cells[y], size);
                clear_rows(y, y + 1);
        }
        for (; by < 0; by++) {
                memmove(t.cells[y], t.cells[y + 1], size);
                clear_rows(t.bottom, t.bottom + 1);
        }
}

static void set_mode(const char *modes, bool on)
{
        if (strcmp(modes, "?1049") == 0)
                t.other_screen = on;
        else if (strcmp(modes, "?25") == 0)
                t.hidden = !on;
        else if (strcmp(modes, "?12") != 0 && strcmp(modes, "?12;25") != 0 &&
                 strcmp(modes, "?1") != 0 && strcmp(modes, "?7") != 0 && strcmp(modes, "4") != 0)
                note_foreign();
        if (strcmp(modes, "?12;25") == 0)
                t.hidden = !on;
}

/* ESC [ NUMBERS FINAL, all of it in t.sequence. */
static void control(char final)
{
        int a = 0, b = 0, given = sscanf(t.sequence + 2, "%d;%d", &a, &b);
        int one = given >= 1 && a > 0 ? a : 1;

        t.sequence[t.n - 1] = '\0';
        switch (final) {
        case 'H':
                t.y = one - 1 < t.rows ? one - 1 : t.rows - 1;
                t.x = b > 0 ? b - 1 : 0;
                break;
        case 'A':
                t.y = t.y > one ? t.y - one : 0;
                break;
        case 'B':
                t.y = t.y + one < t.rows ? t.y + one : t.rows - 1;
                break;
        case 'C':
                t.x += one;
                break;
        case 'D':
                t.x = t.x > one ? t.x - one : 0;
                break;
        case 'G':
                t.x = one - 1;
                break;
        case 'd':
                t.y = one - 1 < t.rows ? one - 1 : t.rows - 1;
                break;
        case 'J':
                blank(t.y, a == 0 ? t.x : 0, t.columns);
                clear_rows(a == 2 ? 0 : t.y + 1, t.rows);
                break;
        case 'K':
                blank(t.y, a == 0 ? t.x : 0, a == 1 ? t.x + 1 : t.columns);
                break;
        case 'X':
                blank(t.y, t.x, t.x + one);
                break;
        case '@':
                shift_row(one);
                break;
        case 'P':
                shift_row(-one);
                break;
        case 'L':
                shift_rows(t.y, one);
                break;
        case 'M':
                shift_rows(t.y, -one);
                break;
        case 'S':
                shift_rows(t.top, -one);
                break;
        case 'b':
                for (int i = 0; i < one; i++)
                        put(t.last);
                break;
        case 'h':
        case 'l':
                set_mode(t.sequence + 2, final == 'h');
                break;
        case 'm': /* colours */
        case 't': /* xterm's stack of titles, by smcup and rmcup */
                break;
        case 'r':
                t.top = one - 1;
                t.bottom = given == 2 && b <= t.rows ? b - 1 : t.rows - 1;
                t.y = t.x = 0;
                break;
        default:
                note_foreign();
        }
        if (t.x > t.columns)
                t.x = t.columns;
}

/* Within an escape sequence. */
static void escape(char c)
{
        bool ends;

        t.sequence[t.n++] = c;
        t.sequence[t.n] = '\0';
        if (t.n == 2 && (c == '[' || c == '(' || c == ')'))
                return;
        if (t.sequence[1] == 'M' && t.y == t.top)
                shift_rows(t.top, 1);
        else if (t.sequence[1] == 'M')
                t.y -= t.y > 0;
        ends = t.sequence[1] != '[' || isalpha((unsigned char)c) || c == '@';
        if (t.sequence[1] == '[' && ends)
                control(c);
        else if (ends && !strchr("()=>78M", t.sequence[1]))
                note_foreign();
        if (ends)
                t.n = 0;
        else if (t.n + 2 >= sizeof t.sequence) {
                note_foreign();
                t.n = 0;
        }
}

static void take(char c)
{
        if (t.n > 0)
                escape(c);
        else if (c == '\033')
                t.sequence[t.n++] = c;
        else if (c == '\r')
                t.x = 0;
        else if (c == '\b')
                t.x -= t.x > 0;
        else if (c == '\t')
                t.x = t.x + 8 - t.x % 8;
        else if (c == '\n' && t.y == t.bottom)
                shift_rows(t.top, -1);
        else if (c == '\n')
                t.y += t.y + 1 < t.rows;
        else if ((unsigned char)c >= 0xc0)
                put('?');
        else if ((unsigned char)c >= ' ' && (unsigned char)c < 0x7f)
                put(c);
        else if ((unsigned char)c < 0x80 && c != 0x0e && c != 0x0f)
                note_foreign();
}

/* What has come so far; waits a moment for more. */
static void listen(void)
{
        struct pollfd p = { .fd = t.fd, .events = POLLIN };
        char piece[4096];
        ssize_t n;

        if (poll(&p, 1, 20) <= 0)
                return;
        n = read(t.fd, piece, sizeof piece);
        if (n <= 0)
                t.ended = true;
        for (ssize_t i = 0; i < n; i++)
                take(piece[i]);
}

static int row_of(const char *text)
{
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

        while ((row = row_of(text), (row >= 0) != there) && peer_now() < until && !t.ended)
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

        while (!strstr(t.cells[row], text) && peer_now() < until && !t.ended)
                listen();
        if (!CHECK(strstr(t.cells[row], text) != NULL)) {
                show_screen();
                INFO("'%s' should be in row %d", text, row);
        }
}

static void keys(const char *text)
{
        REQUIRE(write(t.fd, text, strlen(text)) == (ssize_t)strlen(text));
}

static void resize(int rows, int columns)
{
        struct winsize size = { .ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns };

        for (int y = 0; y < rows; y++)
                blank(y, columns, MOST_COLUMNS);
        clear_rows(rows, MOST_ROWS);
        t.rows = rows;
        t.columns = columns;
        t.top = 0;
        t.bottom = rows - 1;
        t.y = t.y < rows ? t.y : rows - 1;
        REQUIRE(ioctl(t.fd, TIOCSWINSZ, &size) == 0);
}

/* The command in a session of its own, on a new terminal of that size. */
static void open_top(int rows, int columns, const char *option, const char *argument)
{
        const char *tool = getenv("CREW_TOOL");
        struct winsize size = { .ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns };
        char name[64];
        int tty;

        if (!tool)
                SKIP("CREW_TOOL does not name the command");
        if (access("/lib/terminfo/x/xterm", R_OK) != 0 &&
                access("/usr/share/terminfo/x/xterm", R_OK) != 0)
                SKIP("nobody has described an xterm here");
        t = (struct terminal){ .rows = rows, .columns = columns, .bottom = rows - 1 };
        clear_rows(0, MOST_ROWS);
        if (openpty(&t.fd, &tty, name, NULL, &size) != 0)
                SKIP("no pseudo terminal: %s", strerror(errno));
        (void)fcntl(t.fd, F_SETFD, FD_CLOEXEC);
        (void)fcntl(tty, F_SETFD, FD_CLOEXEC);
        t.tty = tty;
        REQUIRE(tcgetattr(tty, &t.before) == 0);
        t.pid = fork();
        REQUIRE(t.pid >= 0);
        if (t.pid == 0) {
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

        while (poll(&(struct pollfd){ .fd = t.fd, .events = POLLIN }, 1, 0) > 0 && !t.ended)
                listen();
        CHECK(!t.other_screen);
        CHECK(!t.hidden);
        if (t.foreign)
                INFO("foreign: %s", t.odd);
        CHECK_INT(t.foreign, ==, 0);
        REQUIRE(tcgetattr(t.tty, &after) == 0);
        CHECK_INT(after.c_iflag, ==, t.before.c_iflag);
        CHECK_INT(after.c_oflag, ==, t.before.c_oflag);
        CHECK_INT(after.c_lflag, ==, t.before.c_lflag);
        CHECK_INT(after.c_cflag, ==, t.before.c_cflag);
        CHECK(memcmp(after.c_cc, t.before.c_cc, sizeof after.c_cc) == 0);
}

/* Its exit status, or 1000 + the signal that ended it, or 2000 + the one that stopped it. */
static int end_of(int options)
{
        int64_t until = peer_now() + test_slow(PEER_MS(1000) * PATIENCE_S);
        int status = 0;
        pid_t got;

        while ((got = waitpid(t.pid, &status, options | WNOHANG)) == 0 && peer_now() < until)
                listen();
        if (!CHECK(got == t.pid)) {
                show_screen();
                (void)kill(t.pid, SIGKILL);
                REQUIRE(waitpid(t.pid, &status, 0) == t.pid);
        }
        return WIFSTOPPED(status)    ? 2000 + WSTOPSIG(status)
               : WIFSIGNALED(status) ? 1000 + WTERMSIG(status)
                                     : WEXITSTATUS(status);
}

static void close_top(void)
{
        (void)close(t.fd);
        (void)close(t.tty);
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

        REQUIRE_OK(crew_process_new(&p, stay, NULL, CREW_OPT(process, .name = name)));
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
        REQUIRE(kill(t.pid, SIGTSTP) == 0);
        CHECK_INT(end_of(WUNTRACED), ==, 2000 + SIGSTOP);
        check_clean();
        clear_rows(0, MOST_ROWS);
        resize(12, 60);
        REQUIRE(kill(t.pid, SIGCONT) == 0);
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
        int first, second;

        open_top(24, 100, "--sort", "name");
        keys("/top-\r");
        await("filter: top-", true);
        first = await("top-aaa", true);
        second = await("top-bbb", true);
        CHECK_INT(first, <, second);
        keys("r");
        for (int i = 0; i < 500 && row_of("top-aaa") <= row_of("top-bbb"); i++)
                listen();
        CHECK_INT(row_of("top-aaa"), >, row_of("top-bbb"));
        keys("/\b\b\b\baaa\r");
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

TEST(ended, "whatever ends or stops it, the terminal is as it was", "[live][top]")
{
        static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGSEGV };

        for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
                open_top(24, 80, NULL, NULL);
                INFO("signal %d", signals[i]);
                REQUIRE(kill(t.pid, signals[i]) == 0);
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
        REQUIRE(kill(t.pid, SIGCONT) == 0);
        keys("xq");
        CHECK_INT(end_of(0), ==, 0);
        check_clean();
        close_top();
}

TEST(hung_up, "a terminal that goes away ends it", "[live][top]")
{
        int status;

        open_top(24, 80, NULL, NULL);
        REQUIRE(close(t.tty) == 0);
        REQUIRE(close(t.fd) == 0);
        t.fd = t.tty = -1;
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
