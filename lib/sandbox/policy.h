/* SPDX-License-Identifier: MIT */
#ifndef CREW_SANDBOX_POLICY_H
#define CREW_SANDBOX_POLICY_H

/* A policy: a set of words and the paths that limit some of them. */

#include <crew/sandbox.h>

/*
 * The words: X(CONSTANT, text, the words it brings along). Never the bare word as an identifier:
 * `unix` is a macro under gnu11.
 */
#define CREW__WORDS(X)                                                                             \
        X(COMPUTE, "compute", 0)                                                                   \
        X(STDIO, "stdio", CREW__COMPUTE)                                                           \
        X(RPATH, "rpath", CREW__STDIO)                                                             \
        X(WPATH, "wpath", CREW__STDIO)                                                             \
        X(CPATH, "cpath", CREW__STDIO)                                                             \
        X(FATTR, "fattr", CREW__STDIO)                                                             \
        X(INET, "inet", CREW__STDIO)                                                               \
        X(UNIX, "unix", CREW__STDIO)                                                               \
        X(THREAD, "thread", CREW__COMPUTE)                                                         \
        X(PROC, "proc", CREW__STDIO)                                                               \
        X(EXEC, "exec", CREW__STDIO)                                                               \
        X(SANITIZER, "sanitizer", CREW__STDIO)                                                     \
        X(NONE, "none", 0)

enum crew__word_number {
#define CREW__NUMBER(constant, text, brings) CREW__NUMBER_##constant,
        CREW__WORDS(CREW__NUMBER)
#undef CREW__NUMBER
                CREW__WORD_COUNT
};

enum crew__word {
#define CREW__BIT(constant, text, brings) CREW__##constant = 1U << CREW__NUMBER_##constant,
        CREW__WORDS(CREW__BIT)
#undef CREW__BIT
};

struct crew__path {
        char *path;
        int rights; /* CREW_PATH_... */
};

struct crew_sandbox {
        unsigned given; /* as the text has them */
        unsigned words; /* with what they bring along */
        int limited;    /* CREW_PATH_... that hold for the listed paths only */
        int mode;
        struct crew__path *paths;
        size_t n_paths;
        struct crew__shared_plan *plans; /* see share.h */
};

/* The set with everything that its words bring along. */
unsigned crew__words_closed(unsigned words);

/* The words with their paths, cut at `cap`, always ended. */
void crew__words_text(const crew_sandbox *s, char *buf, size_t cap);

/* The name of the lowest word in the set; NULL for the empty set. */
const char *crew__word_name(unsigned words);

/*
 * What a process that has a sanitizer's run time linked in needs beyond its policy:
 * CREW__SANITIZER, or 0. Also for a sanitizer that only the host was built with.
 */
unsigned crew__words_of_host(void);

#endif
