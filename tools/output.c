/* SPDX-License-Identifier: MIT */
#include "cli.h"

#include "utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

int cli_finish(int status)
{
        bool failed = ferror(stdout);

        errno = 0;
        /* Some file systems tell of a full disk only when the file is closed. */
        if (fflush(stdout) != 0 || fclose(stdout) != 0)
                failed = true;
        if (!failed)
                return status;
        cli_complain("cannot write the output: %s", strerror(errno ? errno : EIO));
        return status ? status : CLI_FAILED;
}

const char *cli_next_item(const char **list, size_t *length)
{
        static const char blanks[] = " \t\n";
        const char *item = *list + strspn(*list, ", \t\n");

        if (!*item)
                return NULL;
        *length = strcspn(item, ",");
        *list = item + *length;
        while (strchr(blanks, item[*length - 1]))
                --*length;
        return item;
}

bool cli_colour(FILE *out)
{
        const char *no = getenv("NO_COLOR"), *terminal = getenv("TERM");

        if (no && *no)
                return false;
        return isatty(fileno(out)) && terminal && strcmp(terminal, "dumb") != 0;
}

size_t cli_width(const char *text)
{
        const unsigned char *at = (const unsigned char *)text, *end = at + strlen(text);
        size_t n = 0;

        while (*at) {
                int length = utf8_length((const char *)at, (size_t)(end - at)), columns;
                wchar_t c = *at;

                if (length > 1) {
                        c = *at & (0xffU >> (length + 1));
                        for (int i = 1; i < length; i++)
                                c = c << 6 | (at[i] & 0x3f);
                }
                columns = wcwidth(c);
                n += columns < 0 ? 1 : (size_t)columns;
                at += length ? length : 1;
        }
        return n;
}

static void print_cell(FILE *out, const struct cli_cell *cell, size_t widest, bool last, bool colour)
{
        int blanks = (int)(widest - cli_width(cell->text));

        if (cell->right)
                fprintf(out, "%*s", blanks, "");
        if (colour && cell->colour)
                fprintf(out, "\033[%sm%s\033[0m", cell->colour, cell->text);
        else
                fputs(cell->text, out);
        if (last)
                fputc('\n', out);
        else
                fprintf(out, "%*s", (cell->right ? 0 : blanks) + 2, "");
}

void cli_table(FILE *out, const struct cli_cell *cells, size_t n_rows, size_t n_columns)
{
        size_t *widest = calloc(n_columns + 1, sizeof *widest);
        bool colour = cli_colour(out);

        for (size_t i = 0; widest && i < n_rows * n_columns; i++) {
                size_t w = cli_width(cells[i].text);

                if (w > widest[i % n_columns])
                        widest[i % n_columns] = w;
        }
        /* Without memory it is a table still, only not aligned. */
        for (size_t i = 0; i < n_rows * n_columns; i++)
                print_cell(out, &cells[i],
                        widest ? widest[i % n_columns] : cli_width(cells[i].text),
                        i % n_columns == n_columns - 1, colour);
        free(widest);
}

void cli_json_string(FILE *out, const char *text)
{
        const unsigned char *at = (const unsigned char *)text;
        size_t left;

        if (!text) {
                fputs("null", out);
                return;
        }
        fputc('"', out);
        left = strlen(text);
        while (left) {
                int n = utf8_length((const char *)at, left);

                if (n == 0)
                        fputs("\\ufffd", out);
                else if (*at == '"' || *at == '\\')
                        fprintf(out, "\\%c", *at);
                else if (*at < 0x20 || *at == 0x7f)
                        fprintf(out, "\\u%04x", *at);
                else
                        fwrite(at, 1, (size_t)n, out);
                at += n ? n : 1;
                left -= n ? (size_t)n : 1;
        }
        fputc('"', out);
}
