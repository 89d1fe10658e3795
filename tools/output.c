/* SPDX-License-Identifier: MIT */
#include "cli.h"

#include "utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* Characters, taking every one to be as wide as its neighbours. */
static size_t width(const char *text)
{
        size_t n = 0;

        for (; *text; text++)
                n += ((unsigned char)*text & 0xc0) != 0x80;
        return n;
}

void cli_table(FILE *out, const struct cli_cell *cells, size_t n_rows, size_t n_columns)
{
        bool colour = cli_colour(out);

        for (size_t i = 0; i < n_rows * n_columns; i++) {
                size_t column = i % n_columns, widest = 0;
                const struct cli_cell *cell = &cells[i];

                if (colour && cell->colour)
                        fprintf(out, "\033[%sm%s\033[0m", cell->colour, cell->text);
                else
                        fputs(cell->text, out);
                if (column == n_columns - 1) {
                        fputc('\n', out);
                        continue;
                }
                for (size_t row = 0; row < n_rows; row++) {
                        size_t w = width(cells[row * n_columns + column].text);

                        widest = w > widest ? w : widest;
                }
                fprintf(out, "%*s", (int)(widest - width(cell->text)) + 2, "");
        }
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
