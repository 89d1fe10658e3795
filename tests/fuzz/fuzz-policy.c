/* SPDX-License-Identifier: MIT */

/*
 * The text form of a sandbox. Any text is either refused in words or becomes a policy whose
 * description is a text of the same policy.
 *
 *      CC=clang meson setup build-fuzz && ninja -C build-fuzz tests/fuzz-policy
 *      build-fuzz/tests/fuzz-policy -max_len=512 CORPUS
 *
 * test-sandbox-policy runs the same function over random texts.
 */

#include "fuzz.h"
#include "sandbox/policy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 4096, ROOM = 8 * LONGEST };

/* The words of a description: all but the last parentheses. */
static char *described(const crew_sandbox *s)
{
        char *text = malloc(ROOM), *end;
        int length;

        demand(text);
        length = crew_sandbox_describe(s, text, ROOM);
        demand(length >= 0 && length < ROOM && (size_t)length == strlen(text));
        end = s->given & CREW__NONE ? NULL : strrchr(text, '(');
        if (end) {
                demand(end > text);
                end[-1] = 0;
        }
        return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        crew_sandbox *s = NULL, *again = NULL;
        char *text, *first, *second;
        int r;

        if (size > LONGEST)
                return 0;
        text = calloc(1, size + 1);
        demand(text);
        memcpy(text, data, size);
        r = crew_sandbox_new(&s, text, CREW_LANDLOCK_OFF);
        free(text);
        if (r < 0) {
                demand(r == -EINVAL && !s && *crew_error_detail());
                return 0;
        }
        demand(s->words == crew__words_closed(s->given));
        first = described(s);
        demand(crew_sandbox_new(&again, first, CREW_LANDLOCK_OFF) == 0);
        demand(again->given == s->given && again->limited == s->limited);
        second = described(again);
        demand(strcmp(first, second) == 0);
        free(first);
        free(second);
        (void)crew_sandbox_free(s);
        (void)crew_sandbox_free(again);
        return 0;
}
