/* SPDX-License-Identifier: MIT */
#include "base/fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local struct {
        const char *literal;
        char text[512];
} detail;

int crew__fail(int err, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        (void)vsnprintf(detail.text, sizeof detail.text, format, args);
        va_end(args);
        detail.literal = NULL;
        return -err;
}

int crew__fail_quick(int err, const char *literal)
{
        detail.literal = literal;
        return -err;
}

const char *crew_error_detail(void)
{
        return detail.literal ? detail.literal : detail.text;
}

int crew__options(void *into, size_t known, const void *options, const char *what)
{
        const unsigned char *bytes = options;
        size_t size;

        memset(into, 0, known);
        if (!options)
                return 0;
        memcpy(&size, options, sizeof size);
        if (size < sizeof size)
                return crew__fail(EINVAL, "%s: size is %zu; set it with CREW_OPT", what, size);
        for (size_t i = known; i < size; i++) {
                if (bytes[i])
                        return crew__fail(EINVAL,
                                "%s: the caller sets a field at byte %zu that this libcrew (%s) "
                                "does not have",
                                what, i, crew_version());
        }
        memcpy(into, options, size < known ? size : known);
        return 0;
}
