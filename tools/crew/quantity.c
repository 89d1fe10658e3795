/* SPDX-License-Identifier: MIT */
#include "quantity.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

struct unit {
        const char *name;
        double factor;
};

static const struct unit times[] = { { "ms", 1e6 }, { "s", 1e9 }, { "m", 60e9 }, { "h", 3600e9 },
        { "d", 86400e9 } };
static const struct unit sizes[] = { { "k", 0x1p10 }, { "m", 0x1p20 }, { "g", 0x1p30 },
        { "t", 0x1p40 }, { "p", 0x1p50 } };

/*
 * Digits with at most one point among them, and nothing that strtod() also takes: no sign, no
 * exponent, no "inf". Written out because strtod() goes by the locale's point.
 */
static const char *decimal(const char *at, double *value)
{
        double unit = 1;
        bool digits = false;

        *value = 0;
        for (; isdigit((unsigned char)*at); at++, digits = true)
                *value = *value * 10 + (*at - '0');
        if (*at == '.') {
                for (at++; isdigit((unsigned char)*at); at++, digits = true) {
                        unit /= 10;
                        *value += unit * (*at - '0');
                }
        }
        return digits ? at : NULL;
}

/* The unit at `at`, the longest that fits, or NULL. */
static const struct unit *unit_at(const char *at, const struct unit *units, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                if (strncasecmp(at, units[i].name, strlen(units[i].name)) == 0)
                        return &units[i];
        }
        return NULL;
}

int quantity_duration(const char *text, int64_t *ns)
{
        double sum = 0, value;
        const char *at = text;

        do {
                const struct unit *unit;

                at = decimal(at, &value);
                if (!at)
                        return -EINVAL;
                if (*at == 0 && sum == 0) {
                        sum = value * 1e9;
                        break;
                }
                unit = unit_at(at, times, sizeof times / sizeof *times);
                if (!unit)
                        return -EINVAL;
                at += strlen(unit->name);
                sum += value * unit->factor;
        } while (*at);
        if (!(sum < 0x1p62))
                return -EINVAL;
        *ns = (int64_t)(sum + 0.5);
        return 0;
}

int quantity_size(const char *text, uint64_t *bytes)
{
        const struct unit *unit;
        double value;
        const char *at = decimal(text, &value);

        if (!at)
                return -EINVAL;
        unit = unit_at(at, sizes, sizeof sizes / sizeof *sizes);
        if (unit) {
                value *= unit->factor;
                at++;
                if (strncasecmp(at, "ib", 2) == 0)
                        at += 2;
        }
        if (at[0] && strcasecmp(at, "b") != 0)
                return -EINVAL;
        if (!(value < 0x1p63))
                return -EINVAL;
        *bytes = (uint64_t)value;
        return 0;
}

int quantity_share(const char *text, double whole, double *value)
{
        double number;
        const char *at = decimal(text, &number);

        if (!at || (*at && strcmp(at, "%") != 0))
                return -EINVAL;
        *value = *at ? whole * number / 100 : number;
        return 0;
}

int quantity_slots(const char *text, unsigned cpus, uint32_t *slots)
{
        const char *digits = text + (*text == '+' || *text == '-');
        double value;

        if (quantity_share(digits, cpus, &value) < 0 || value > 0x1p30)
                return -EINVAL;
        if (!strchr(digits, '%') && strchr(digits, '.'))
                return -EINVAL;
        if (*text == '+')
                value = cpus + value;
        else if (*text == '-')
                value = cpus - value;
        else if (value == 0 && !strchr(text, '%')) {
                *slots = QUANTITY_UNLIMITED;
                return 0;
        }
        *slots = value < 1 ? 1 : (uint32_t)value;
        return 0;
}
