/* SPDX-License-Identifier: MIT */

/*
 * The terminal of crew top. However the program ends, but for SIGKILL, the terminal is as it was:
 * at its own end and at signals that ask for one through curses; at a crash with what was
 * remembered for that, as curses cannot be called then. Stopped and continued, it is drawn anew.
 */

#include "top.h"

#include "cli.h"

#include <curses.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 2, WIDEST = 28, COLOURS = 3 };

static volatile sig_atomic_t ending, stopping, redrawing;
static sigset_t unheld; /* what is heeded while keys are waited for, and only then */

/* What a crash needs. */
static struct termios before;
static char farewell[64];
static size_t farewell_size;

static void on_end(int sig)
{
        ending = sig;
}

static void on_stop(int sig)
{
        (void)sig;
        stopping = 1;
}

/* It goes on, or the size is another: what is on the terminal is not known any more. */
static void on_change(int sig)
{
        (void)sig;
        redrawing = 1;
}

static void on_crash(int sig)
{
        ssize_t n = write(STDOUT_FILENO, farewell, farewell_size);

        (void)n;
        (void)tcsetattr(STDOUT_FILENO, TCSANOW, &before);
        (void)signal(sig, SIG_DFL);
        (void)raise(sig);
}

static void remember(const char *capability)
{
        const char *text = tigetstr(capability);
        size_t n = text && text != (char *)-1 ? strcspn(text, "$") : 0;

        if (n == 0 || n > sizeof farewell - farewell_size)
                return;
        memcpy(farewell + farewell_size, text, n);
        farewell_size += n;
}

static void handle(void (*handler)(int), const int *signals)
{
        struct sigaction action = { .sa_handler = handler };

        for (; *signals; signals++)
                (void)sigaction(*signals, &action, NULL);
}

int top_screen_open(void)
{
        static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, 0 };
        static const int crashes[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS, 0 };
        static const int stop[] = { SIGTSTP, 0 }, changes[] = { SIGCONT, SIGWINCH, 0 };
        sigset_t held;

        if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
                cli_complain("this takes a terminal; crew ps -w 1 prints to anything");
                return CLI_FAILED;
        }
        (void)tcgetattr(STDOUT_FILENO, &before);
        /* Before curses installs its own. */
        handle(on_end, ends);
        handle(on_stop, stop);
        if (!newterm(NULL, stdout, stdin)) {
                cli_complain("curses does not know this terminal (TERM)");
                return CLI_FAILED;
        }
        handle(on_change, changes);
        /* Else one that comes before a wait would be seen only after it. */
        (void)sigemptyset(&held);
        for (int i = 0; ends[i]; i++)
                (void)sigaddset(&held, ends[i]);
        (void)sigaddset(&held, SIGTSTP);
        (void)sigaddset(&held, SIGCONT);
        (void)sigaddset(&held, SIGWINCH);
        (void)sigprocmask(SIG_BLOCK, &held, &unheld);
        remember("sgr0");
        remember("cnorm");
        remember("rmkx");
        remember("rmcup");
        handle(on_crash, crashes);
        (void)cbreak();
        (void)noecho();
        (void)nonl();
        (void)intrflush(stdscr, FALSE);
        (void)keypad(stdscr, TRUE);
        (void)curs_set(0);
        (void)set_escdelay(25);
        if (cli_colour(stdout) && has_colors()) {
                (void)start_color();
                (void)use_default_colors();
                (void)init_pair(1, COLOR_RED, -1);
                (void)init_pair(2, COLOR_GREEN, -1);
                (void)init_pair(3, COLOR_YELLOW, -1);
        }
        return 0;
}

int top_screen_close(void)
{
        if (!isendwin())
                (void)endwin();
        return ending;
}

size_t top_screen_rows(void)
{
        return LINES > HEAD + 2 ? (size_t)(LINES - HEAD - 1) : 1;
}

static attr_t attribute(const char *colour)
{
        if (!colour || !has_colors())
                return A_NORMAL;
        switch (colour[1]) {
        case '1':
                return (attr_t)COLOR_PAIR(1);
        case '2':
                return (attr_t)COLOR_PAIR(2);
        case '3':
                return (attr_t)COLOR_PAIR(3);
        default:
                return A_NORMAL;
        }
}

/* At most `most` columns of the text. */
static void put_cut(const char *text, size_t most)
{
        char one[8];

        while (*text) {
                size_t n = 1, width;

                while (((unsigned char)text[n] & 0xc0) == 0x80 && n < sizeof one - 1)
                        n++;
                memcpy(one, text, n);
                one[n] = '\0';
                width = cli_width(one);
                if (width > most)
                        return;
                (void)addstr(one);
                most -= width;
                text += n;
        }
}

/* Bytes of text to stop at so that it fits. */
static void put_cell(const char *text, size_t width, bool right, attr_t how)
{
        size_t wide = cli_width(text), blanks = wide < width ? width - wide : 0;

        for (size_t i = 0; right && i < blanks; i++)
                (void)addch(' ');
        (void)attron(how);
        put_cut(text, width);
        (void)attroff(how);
        for (size_t i = 0; !right && i < blanks; i++)
                (void)addch(' ');
}

static void cell_text(const struct top *t, size_t column, const struct line *l, char *text,
        size_t size, struct view_value *value)
{
        const struct view_column *c = t->shown[column];
        int indent = c == &t->table->columns[t->table->name] ? 2 * (l->depth % 16) : 0;

        view_get(&t->v, c, l->info, value);
        (void)snprintf(text, size, "%*s", indent, "");
        view_text(c, value, text + indent, size - (size_t)indent);
}

/* How wide each column is for what is on the screen. */
static void measure(const struct top *t, size_t *width)
{
        struct view_value value;
        char text[400];

        for (size_t k = 0; k < t->n_shown; k++) {
                width[k] = cli_width(t->shown[k]->title);
                for (size_t i = t->first; i < t->lines.n && i < t->first + top_screen_rows(); i++) {
                        size_t w;

                        cell_text(t, k, t->lines.line[i], text, sizeof text, &value);
                        w = cli_width(text);
                        width[k] = w > width[k] ? w : width[k];
                }
                if (width[k] > WIDEST && k + 1 < t->n_shown)
                        width[k] = WIDEST;
        }
}

static void draw_line(const struct top *t, const size_t *width, const struct line *l, bool marked)
{
        struct view_value value = { .known = false };
        char text[400];
        size_t left = (size_t)COLS;

        for (size_t k = 0; k < t->n_shown && left > 0; k++) {
                const struct view_column *c = t->shown[k];
                size_t w = width[k] < left ? width[k] : left;
                attr_t how = A_BOLD;

                /* Half a number is another number. */
                if (w < width[k] && c->type != VIEW_TEXT)
                        return;
                if (l) {
                        cell_text(t, k, l, text, sizeof text, &value);
                        how = marked ? A_REVERSE : attribute(value.colour);
                } else {
                        (void)snprintf(text, sizeof text, "%s", c->title);
                        if (c == t->key)
                                how |= A_UNDERLINE;
                }
                if (marked)
                        (void)attron(A_REVERSE);
                put_cell(text, w, c->type != VIEW_TEXT, how);
                left -= w;
                for (int i = 0; i < 2 && left > 0; i++, left--)
                        (void)addch(' ');
                if (marked)
                        (void)attroff(A_REVERSE);
        }
}

static void draw_head(const struct top *t)
{
        const crew_process_info *p;
        unsigned processes = 0, pools = 0, workers = 0, busy = 0;
        char text[256], clock[16] = "";
        time_t now = time(NULL);
        struct tm tm;

        for (size_t i = 0; crew_snapshot_process(t->v.now, i, &p) == 0; i++) {
                processes++;
                pools += p->role == CREW_ROLE_POOL;
                workers += p->role == CREW_ROLE_WORKER;
                busy += p->role == CREW_ROLE_WORKER && p->state == CREW_STATE_BUSY;
        }
        if (localtime_r(&now, &tm))
                (void)strftime(clock, sizeof clock, "%H:%M:%S", &tm);
        (void)snprintf(text, sizeof text,
                "crew top %s  %u processes, %u pools, %u workers (%u busy)  every %.1fs%s%s", clock,
                processes, pools, workers, busy, (double)t->every / 1e3,
                *t->filter ? "  filter: " : "", t->filter);
        (void)move(0, 0);
        put_cut(text, (size_t)COLS);
        (void)clrtoeol();
}

void top_screen_draw(struct top *t)
{
        static const char keys[] = "q quit  ? help  Tab queues  < > sort  r reverse  t tree  / "
                                   "filter  T TERM  K KILL";
        size_t width[TOP_MOST_COLUMNS] = { 0 }, rows = top_screen_rows();

        (void)erase();
        draw_head(t);
        measure(t, width);
        (void)move(1, 0);
        draw_line(t, width, NULL, false);
        for (size_t i = 0; i < rows && t->first + i < t->lines.n; i++) {
                (void)move((int)(HEAD + i), 0);
                draw_line(t, width, t->lines.line[t->first + i], t->first + i == t->at);
        }
        if (LINES > HEAD + 1) {
                (void)move(LINES - 1, 0);
                (void)attron(A_DIM);
                put_cut(*t->message ? t->message : keys, (size_t)COLS - 1);
                (void)attroff(A_DIM);
        }
        (void)refresh();
}

/* The size that the terminal has now; nobody is told of a change while stopped. */
static void measure_screen(void)
{
        struct winsize size;

        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row && size.ws_col)
                (void)resizeterm(size.ws_row, size.ws_col);
}

void top_screen_show(const char *const lines[])
{
        (void)erase();
        for (int i = 0; lines[i] && i < LINES; i++) {
                (void)move(i, 0);
                put_cut(lines[i], (size_t)COLS - (i == LINES - 1));
        }
        (void)refresh();
}

/* Gives the terminal back, stops as the user wished, and takes it again. */
static void stop(void)
{
        stopping = 0;
        (void)endwin();
        (void)raise(SIGSTOP);
        redrawing = 1;
}

/* Waits for a key or a signal. False: the terminal is gone. */
static bool await_key(int64_t ms)
{
        struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
        struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

        return ppoll(&p, 1, &time, &unheld) <= 0 || !(p.revents & (POLLHUP | POLLERR | POLLNVAL));
}

int top_screen_key(int64_t ms)
{
        int key;

        if (stopping)
                stop();
        if (redrawing) {
                redrawing = 0;
                /* The shell may have set it to its liking. */
                (void)reset_prog_mode();
                measure_screen();
                (void)curs_set(0);
                (void)clearok(stdscr, TRUE);
                (void)refresh();
                return KEY_RESIZE;
        }
        if (ending)
                return TOP_END;
        /* Curses may have read one already. */
        timeout(0);
        key = getch();
        if (key != ERR)
                return key;
        if (!await_key(ms) || ending)
                return TOP_END;
        if (stopping || redrawing)
                return top_screen_key(0);
        key = getch();
        return key == ERR ? 0 : key;
}

bool top_screen_ask(const char *question, char *text, size_t size)
{
        size_t n = strlen(text);

        for (;;) {
                int key;

                (void)move(LINES - 1, 0);
                (void)clrtoeol();
                put_cut(question, (size_t)COLS - 1);
                put_cut(text, (size_t)COLS > cli_width(question) + 1
                                      ? (size_t)COLS - 1 - cli_width(question)
                                      : 0);
                (void)refresh();
                key = top_screen_key(1000);
                if (key == TOP_END || key == 27)
                        return false;
                if (key == '\r' || key == '\n' || key == KEY_ENTER)
                        return true;
                if ((key == KEY_BACKSPACE || key == 127 || key == 8) && n > 0) {
                        do
                                n--;
                        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80);
                        text[n] = '\0';
                } else if (key >= ' ' && key < 256 && key != 127 && n + 1 < size) {
                        text[n++] = (char)key;
                        text[n] = '\0';
                }
        }
}
