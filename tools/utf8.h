/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_UTF8_H
#define CREW_TOOLS_UTF8_H

#include <stddef.h>

/*
 * The length of the UTF-8 character at `text`, of which `n` bytes may be looked at; 0 if there is
 * none. No surrogates, shortest form only.
 */
static inline int utf8_length(const char *text, size_t n)
{
        const unsigned char *at = (const unsigned char *)text;
        unsigned lead, value;
        size_t length;

        if (n == 0)
                return 0;
        lead = at[0];
        length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
        if (lead > 0xf4 || length > n)
                return 0;
        if (length < 2)
                return (int)length;
        value = lead & (0xffU >> (length + 1));
        for (size_t i = 1; i < length; i++) {
                if ((at[i] & 0xc0) != 0x80)
                        return 0;
                value = value << 6 | (at[i] & 0x3f);
        }
        if (length == 3 && (value < 0x800 || (value >= 0xd800 && value <= 0xdfff)))
                return 0;
        if (length == 4 && (value < 0x10000 || value > 0x10ffff))
                return 0;
        return (int)length;
}

#endif
