/* SPDX-License-Identifier: MIT */

/*
 * A host program for the start methods that run it anew: linked in several ways (meson.build), with
 * one function of its own, one in a library that it is linked with and one in a library that it
 * loads. What it does is told by GUEST_MODE, since a new image of it has other arguments.
 */

#include "guest.h"

#include <crew/crew.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int own(void *arg)
{
        (void)arg;
        return 5;
}

static int start(crew_target_fn *target, int method)
{
        crew_auto(process) p = NULL;
        int code = -1, r;

        r = crew_process_launch(&p, target, NULL, CREW_OPT(process, .method = method));
        if (r < 0)
                return r;
        r = crew_process_join(p, CREW_S(30));
        if (r == 0)
                r = crew_process_exitcode(p, &code);
        return r < 0 ? r : code;
}

static void say(const char *what, int r)
{
        if (r >= 0)
                (void)printf("%s: %d\n", what, r);
        else
                (void)printf("%s: %s: %s\n", what, crew_error_name(r), crew_error_detail());
        (void)fflush(stdout);
}

static crew_target_fn *plugin(void)
{
        void *library = dlopen(getenv("GUEST_PLUGIN"), RTLD_NOW), *at;
        crew_target_fn *function;

        at = library ? dlsym(library, "guest_plugged") : NULL;
        if (!at) {
                (void)printf("plugin: %s\n", dlerror());
                exit(1);
        }
        memcpy(&function, &at, sizeof function);
        return function;
}

/* Machine code of no module: it is refused, so what it does does not matter. */
static crew_target_fn *made_at_run_time(void)
{
        void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        crew_target_fn *function;

        memcpy(&function, &at, sizeof function);
        return function;
}

static void all(int method)
{
        say("own", start(own, method));
        say("linked", start(guest_linked, method));
        say("plugged", start(plugin(), method));
        say("made", start(made_at_run_time(), method));
}

int main(void)
{
        const char *mode = getenv("GUEST_MODE");

        if (!mode)
                return 2;
        /* "once" is the program that thinks it needs the call only the first time. */
        if (strcmp(mode, "never") != 0 && !getenv("GUEST_SEEN"))
                crew_spawn_main();
        if (strcmp(mode, "once") == 0) {
                (void)printf("main\n");
                (void)fflush(stdout);
                (void)setenv("GUEST_SEEN", "1", 1);
        }
        if (strcmp(mode, "forkserver") == 0)
                all(CREW_METHOD_FORKSERVER);
        else if (strcmp(mode, "spawn") == 0)
                all(CREW_METHOD_SPAWN);
        else
                say("own", start(own, CREW_METHOD_SPAWN));
        return 0;
}
