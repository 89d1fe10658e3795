/* SPDX-License-Identifier: MIT */
#ifndef CREW_PROCESS_SITE_H
#define CREW_PROCESS_SITE_H

/*
 * Where a function lies in this program, said so that another process that runs the same program
 * finds it: the module (the program itself or a shared library) by its build-id, and the offset in
 * it. Addresses differ from process to process, names may be stripped or static.
 *
 * A module that was linked without a build-id is known by a digest of its layout and of the code at
 * the function. The program itself is exec'd from /proc/self/exe, so it is the same file; its
 * identity is checked all the same.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CREW__BUILD_ID_MAX = 32, CREW__SITE_NAME = 96 };

typedef struct crew__module_id {
        uint32_t size;    /* bytes of the build-id; 0: there is none, `digest` stands for it */
        uint32_t program; /* is it the program itself? */
        unsigned char id[CREW__BUILD_ID_MAX];
        uint64_t digest; /* of the layout */
} crew__module_id;

typedef struct crew__site {
        crew__module_id module;
        uint64_t offset;
        uint64_t code; /* digest of the first bytes of the function, without build-id */
        char name[CREW__SITE_NAME]; /* for messages: "square in libx.so", "program+0x1234" */
} crew__site;

/* Any function, as dl_iterate_phdr's users need it. */
typedef void crew__function(void);

/*
 * Where `function` lies.
 * 0; -ENOENT: in no module (made at run time); place->name says what it is all the same.
 */
int crew__site_of(crew__site *place, crew__function *function);

/*
 * The function at that place in this process.
 * 0; -ENOENT: its module is not loaded here, or is another version of it.
 */
int crew__site_find(const crew__site *place, crew__function **function);

/*
 * The same for many functions: the modules of a process, in a table that another one reads.
 * crew__modules_list() fills `list` and returns how many there are, which may be more than `max`.
 */
typedef struct crew__module {
        crew__module_id id;
        uint64_t from, to; /* addresses, the last one excluded */
        uint64_t base;     /* what offsets are added to */
} crew__module;

size_t crew__modules_list(crew__module *list, size_t max);

/* The base of that module in this process: 0, -ENOENT. */
int crew__module_find(const crew__module_id *id, uint64_t *base);

#endif
