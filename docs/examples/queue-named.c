/* SPDX-License-Identifier: MIT */

/*
 * Two programs that share nothing but a name. "queue-named serve" publishes a queue and prints what
 * comes; "queue-named say TEXT" connects to it from another terminal. Without arguments it does
 * both: it serves, under a name that no other run has, and runs itself as the other program.
 */

#include <crew/crew.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int say(const char *name, const char *text)
{
        crew_auto(queue) q = NULL;
        int r = crew_queue_connect(&q, name);

        return r < 0 ? r : crew_queue_put(q, text, strlen(text), CREW_S(5));
}

static int serve(const char *name, const char *program)
{
        static const char *const texts[] = { "hello", "world" };
        crew_auto(queue) q = NULL;
        char text[256];
        int r = crew_queue_new(&q, 0, CREW_OPT(queue, .bytes = sizeof text));

        if (r == 0)
                r = crew_queue_publish(q, name);
        for (int i = 0; r == 0 && (i < 2 || !program); i++) {
                crew_auto(process) other = NULL;
                const char *const command[] = { program, "say", texts[i % 2], name, NULL };
                ssize_t n;

                if (program)
                        r = crew_process_new_exec(&other, command, NULL);
                if (r == 0 && program)
                        r = crew_process_start(other);
                if (r < 0)
                        break;
                n = crew_queue_get(q, text, sizeof text, program ? CREW_S(10) : CREW_FOREVER);
                if (n < 0)
                        return (int)n;
                printf("heard: %.*s\n", (int)n, text);
                fflush(stdout);
        }
        return r;
}

int main(int argc, char **argv)
{
        char name[64] = "crew-example";
        int r;

        if (argc >= 3 && strcmp(argv[1], "say") == 0) {
                r = say(argc > 3 ? argv[3] : name, argv[2]);
        } else if (argc == 2 && strcmp(argv[1], "serve") == 0) {
                r = serve(name, NULL);
        } else {
                (void)snprintf(name, sizeof name, "crew-example-%d", (int)getpid());
                r = serve(name, "/proc/self/exe");
        }
        if (r < 0)
                fprintf(stderr, "queue-named: %s\n", crew_error_detail());
        return r < 0;
}
