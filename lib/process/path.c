/* SPDX-License-Identifier: MIT */
#include "process/setup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* 0 if it is a file that may be run; -ENOENT or -EACCES. A directory of PATH that this user may not
 * enter says nothing about the program: shells do not find it there either. */
static int runnable(int directory, const char *candidate)
{
        struct stat st;

        if (fstatat(directory, candidate, &st, 0) < 0)
                return -ENOENT;
        if (!S_ISREG(st.st_mode) || faccessat(directory, candidate, X_OK, AT_EACCESS) < 0)
                return -EACCES;
        return 0;
}

int crew__program_find(const char *name, const char *path, int directory, char *found, size_t cap)
{
        size_t length = strlen(name);
        int answer = -ENOENT;

        if (length == 0)
                return -ENOENT;
        if (strchr(name, '/')) {
                if (length >= cap)
                        return -ENAMETOOLONG;
                (void)memcpy(found, name, length + 1);
                return (int)length;
        }
        if (!path)
                path = "/bin:/usr/bin";
        for (const char *at = path;; at++) {
                size_t n = strcspn(at, ":");
                int r;

                /* An empty entry is the directory that the program will work in. */
                if (n + 1 + length < cap) {
                        (void)memcpy(found, at, n);
                        if (n)
                                found[n] = '/';
                        (void)memcpy(found + n + !!n, name, length + 1);
                        r = runnable(directory, found);
                        if (r == 0)
                                return (int)(n + !!n + length);
                        if (r == -EACCES)
                                answer = r;
                }
                at += n;
                if (!*at)
                        return answer;
        }
}
