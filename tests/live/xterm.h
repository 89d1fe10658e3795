/* SPDX-License-Identifier: MIT */
#ifndef CREW_TESTS_XTERM_H
#define CREW_TESTS_XTERM_H

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ROWS = 60, MOST_COLUMNS = 200 };

/*
 * As much of an xterm as its description in terminfo lets a program use. What else arrives is
 * `foreign`: a program's name that got through, say. A character that is not ASCII is shown as '?'.
 */
struct terminal {
        int rows, columns, y, x;
        int top, bottom; /* what scrolls */
        char cells[MOST_ROWS][MOST_COLUMNS + 1];
        char last;
        bool other_screen, hidden; /* the alternate screen is shown; the cursor is not */
        int foreign;
        char odd[128]; /* the first of them */
        char sequence[64];
        size_t n;
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

/* Moves the cursor, or says that this is another order. `a` and `b` are 0 if they are not given. */
static bool move_cursor(char final, int a, int b)
{
        int one = a > 0 ? a : 1;

        switch (final) {
        case 'H':
                t.y = one - 1;
                t.x = b > 0 ? b - 1 : 0;
                break;
        case 'A':
                t.y -= one;
                break;
        case 'B':
                t.y += one;
                break;
        case 'C':
                t.x += one;
                break;
        case 'D':
                t.x -= one;
                break;
        case 'G':
                t.x = one - 1;
                break;
        case 'd':
                t.y = one - 1;
                break;
        default:
                return false;
        }
        t.y = t.y < 0 ? 0 : t.y < t.rows ? t.y : t.rows - 1;
        t.x = t.x < 0 ? 0 : t.x < t.columns ? t.x : t.columns - 1;
        return true;
}

/* Changes what is on the screen, or says that this is another order. */
static bool change_text(char final, int a)
{
        int one = a > 0 ? a : 1;

        switch (final) {
        case 'J':
                blank(t.y, a == 0 ? t.x : 0, t.columns);
                clear_rows(a == 2 ? 0 : t.y + 1, t.rows);
                return true;
        case 'K':
                blank(t.y, a == 0 ? t.x : 0, a == 1 ? t.x + 1 : t.columns);
                return true;
        case 'X':
                blank(t.y, t.x, t.x + one);
                return true;
        case '@':
                shift_row(one);
                return true;
        case 'P':
                shift_row(-one);
                return true;
        case 'L':
                shift_rows(t.y, one);
                return true;
        case 'M':
                shift_rows(t.y, -one);
                return true;
        case 'S':
                shift_rows(t.top, -one);
                return true;
        case 'b':
                for (int i = 0; i < one; i++)
                        put(t.last);
                return true;
        default:
                return false;
        }
}

/* ESC [ NUMBERS FINAL, all of it in t.sequence. */
static void control(char final)
{
        int a = 0, b = 0;

        (void)sscanf(t.sequence + 2, "%d;%d", &a, &b);
        if (move_cursor(final, a, b) || change_text(final, a))
                return;
        switch (final) {
        case 'h':
        case 'l':
                t.sequence[t.n - 1] = '\0';
                set_mode(t.sequence + 2, final == 'h');
                break;
        case 'm': /* colours */
        case 't': /* xterm's stack of titles, by smcup and rmcup */
                break;
        case 'r':
                t.top = a > 0 ? a - 1 : 0;
                t.bottom = b > 0 && b <= t.rows ? b - 1 : t.rows - 1;
                t.y = t.x = 0;
                break;
        default:
                note_foreign();
        }
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

/* The next byte of what a program writes. */
static void xterm_take(char c)
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

/* Begins anew, with that size. */
static void xterm_begin(int rows, int columns)
{
        t = (struct terminal){ .rows = rows, .columns = columns, .bottom = rows - 1 };
        clear_rows(0, MOST_ROWS);
}

/* What is cut off is lost, and what is added is empty. */
static void xterm_resize(int rows, int columns)
{
        for (int y = 0; y < rows; y++)
                blank(y, columns, MOST_COLUMNS);
        clear_rows(rows, MOST_ROWS);
        t.rows = rows;
        t.columns = columns;
        t.top = 0;
        t.bottom = rows - 1;
        t.y = t.y < rows ? t.y : rows - 1;
        t.x = t.x < columns ? t.x : columns - 1;
}

#endif
