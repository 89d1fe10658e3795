/* SPDX-License-Identifier: MIT */
#ifndef CREW_TOOLS_CREW_LOG_READ_H
#define CREW_TOOLS_CREW_LOG_READ_H

/* The lines of a log, read again. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_entry {
        uint64_t seq;
        uint64_t hash; /* of the command */
        uint32_t line; /* later ones count */
        bool succeeded;
};

/* Takes a line of either format apart (ended with a zero, no newline). False: it is not one. */
bool log_read_line(const char *line, struct log_entry *e);

struct log_entries {
        struct log_entry *at;
        size_t n, cap;
};

/*
 * Reads a log from where the descriptor stands. *whole is where its last whole line ends. 0, or a
 * negative errno.
 */
int log_read(struct log_entries *entries, int fd, uint64_t *whole);

/* The last entry for this number, or NULL. */
const struct log_entry *log_entries_find(const struct log_entries *entries, uint64_t seq);

#endif
