/* SPDX-License-Identifier: MIT */

/* Strings that others wrote, made fit to be printed. */

#include "status/decode.h"

#include <string.h>

/* The character at `text`, of which `left` bytes may be looked at: its length, 0 if it is none. */
static size_t decode(const unsigned char *text, size_t left, uint32_t *value)
{
        static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
        unsigned char lead = text[0];
        size_t n = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;

        if (lead > 0xf4 || n > left || n == 0)
                return 0;
        *value = n == 1 ? lead : lead & (0xffU >> (n + 1));
        for (size_t i = 1; i < n; i++) {
                if ((text[i] & 0xc0) != 0x80)
                        return 0;
                *value = *value << 6 | (text[i] & 0x3f);
        }
        if (*value < least[n] || *value > 0x10ffff || (*value >= 0xd800 && *value <= 0xdfff))
                return 0;
        return n;
}

/* What steers a terminal, ends a line, or shows text in another order than it is written. */
static bool steers(uint32_t c)
{
        return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x061c ||
               (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
               (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb) ||
               c >= 0xe0000;
}

void crew__clean_text(char *to, size_t size, const char *from, size_t most)
{
        const unsigned char *at = (const unsigned char *)from;
        size_t left = strnlen(from, most), used = 0;

        while (left > 0) {
                uint32_t c = 0;
                size_t n = decode(at, left, &c);
                bool bad = n == 0 || steers(c);

                if (used + (bad ? 1 : n) >= size)
                        break;
                if (bad)
                        to[used++] = '?';
                else
                        for (size_t i = 0; i < n; i++)
                                to[used++] = (char)at[i];
                n = n ? n : 1;
                at += n;
                left -= n;
        }
        to[used] = '\0';
}
