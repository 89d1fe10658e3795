/* SPDX-License-Identifier: MIT */
#include "base/nearest.h"

#include <string.h>

enum { LONGEST = 48 };

static unsigned least(unsigned a, unsigned b)
{
        return a < b ? a : b;
}

/* Edits (insert, drop, replace, swap neighbours) between a and b, which are at most LONGEST. */
static unsigned distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
        unsigned rows[3][LONGEST + 1];

        for (size_t j = 0; j <= b_len; j++)
                rows[0][j] = (unsigned)j;
        for (size_t i = 1; i <= a_len; i++) {
                unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *two = rows[(i + 1) % 3];

                row[0] = (unsigned)i;
                for (size_t j = 1; j <= b_len; j++) {
                        row[j] = above[j - 1] + (a[i - 1] != b[j - 1]);
                        row[j] = least(row[j], least(above[j], row[j - 1]) + 1);
                        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                                row[j] = least(row[j], two[j - 2] + 1);
                }
        }
        return rows[a_len % 3][b_len];
}

const char *crew__nearest(const char *word, const char *const *candidates, size_t n)
{
        size_t length = strlen(word);
        unsigned best = (unsigned)(length + 2) / 3 + 1;
        const char *nearest = NULL;

        if (length == 0 || length > LONGEST)
                return NULL;
        for (size_t i = 0; i < n; i++) {
                size_t candidate = strlen(candidates[i]);
                unsigned d;

                if (candidate > LONGEST)
                        continue;
                d = distance(word, length, candidates[i], candidate);
                if (d < best) {
                        best = d;
                        nearest = candidates[i];
                }
        }
        return nearest;
}
