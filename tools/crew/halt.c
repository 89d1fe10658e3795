/* SPDX-License-Identifier: MIT */
#include "halt.h"

#include "quantity.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

enum { MOST_FAILED = 100 };

static const struct {
        const char *text;
        struct halt rule;
} short_forms[] = {
        { "never", { HALT_NEVER, HALT_FAIL, 0, false } },
        { "0", { HALT_NEVER, HALT_FAIL, 0, false } },
        { "1", { HALT_SOON, HALT_FAIL, 1, false } },
        { "2", { HALT_NOW, HALT_FAIL, 1, false } },
        { "-1", { HALT_SOON, HALT_SUCCESS, 1, false } },
        { "-2", { HALT_NOW, HALT_SUCCESS, 1, false } },
};

static const struct {
        const char *text;
        int value;
} whens[] = { { "soon,", HALT_SOON }, { "now,", HALT_NOW } },
  whys[] = { { "fail=", HALT_FAIL }, { "success=", HALT_SUCCESS }, { "done=", HALT_DONE } };

int halt_parse(const char *text, struct halt *h)
{
        struct halt rule = { HALT_NEVER, HALT_FAIL, 0, false };
        bool known = false;

        for (size_t i = 0; i < sizeof short_forms / sizeof *short_forms; i++) {
                if (strcmp(text, short_forms[i].text) == 0) {
                        *h = short_forms[i].rule;
                        return 0;
                }
        }
        for (size_t i = 0; i < sizeof whens / sizeof *whens && !rule.when; i++) {
                if (strncmp(text, whens[i].text, strlen(whens[i].text)) == 0) {
                        rule.when = (enum halt_when)whens[i].value;
                        text += strlen(whens[i].text);
                }
        }
        for (size_t i = 0; i < sizeof whys / sizeof *whys && !known; i++) {
                if (strncmp(text, whys[i].text, strlen(whys[i].text)) == 0) {
                        rule.why = (enum halt_why)whys[i].value;
                        text += strlen(whys[i].text);
                        known = true;
                }
        }
        if (!rule.when || !known || quantity_share(text, 100, &rule.limit) < 0 || rule.limit <= 0)
                return -EINVAL;
        rule.percent = strchr(text, '%');
        if (rule.percent ? rule.limit > 100 : strchr(text, '.') != NULL)
                return -EINVAL;
        *h = rule;
        return 0;
}

static uint64_t counted(const struct halt *h, const struct tally *t)
{
        switch (h->why) {
        case HALT_FAIL:
                return t->failed;
        case HALT_SUCCESS:
                return t->succeeded;
        case HALT_DONE:
                break;
        }
        return t->failed + t->succeeded;
}

bool halt_reached(const struct halt *h, const struct tally *t)
{
        double n = (double)counted(h, t);

        if (h->when == HALT_NEVER || n == 0)
                return false;
        if (!h->percent)
                return n >= h->limit;
        return t->total && n * 100 >= h->limit * (double)t->total;
}

int halt_status(const struct halt *h, const struct tally *t)
{
        bool reached = halt_reached(h, t);

        if (h->when != HALT_NEVER && h->why == HALT_SUCCESS && reached)
                return 0;
        if (reached && h->why == HALT_FAIL && h->percent)
                return (int)(t->failed * 100 / t->total) ?: 1;
        if (reached && h->why == HALT_FAIL && h->limit == 1)
                return t->last_failed;
        return t->failed > MOST_FAILED ? MOST_FAILED + 1 : (int)t->failed;
}
