/* SPDX-License-Identifier: MIT */
#include "kernel/cgroup.h"

#include <stdlib.h>
#include <string.h>

FILE *crew__open_below(const char *root, const char *path)
{
        char full[2 * PATH_MAX];

        if (snprintf(full, sizeof full, "%s%s", root, path) >= (int)sizeof full)
                return NULL;
        return fopen(full, "re");
}

bool crew__cgroup_word(const char *list, const char *word)
{
        size_t n = strlen(word);

        for (; list; list = strchr(list, ',')) {
                list += *list == ',';
                if (strncmp(list, word, n) == 0 && (list[n] == ',' || !list[n] || list[n] == '\n'))
                        return true;
        }
        return false;
}

/* A line is "ID PARENT DEV INSIDE MOUNT OPTIONS ... - TYPE SOURCE SUPEROPTIONS". */
void crew__cgroup_mounts(const char *root, const char *controller, struct crew__hierarchy *v2,
        struct crew__hierarchy *v1)
{
        FILE *f = crew__open_below(root, "/proc/self/mountinfo");
        char *line = NULL;
        size_t size = 0;

        while (f && getline(&line, &size, f) > 0) {
                char inside[PATH_MAX], mount[PATH_MAX], type[64], super[1024] = "";
                const char *tail = strstr(line, " - ");
                struct crew__hierarchy *h = NULL;

                if (!tail || sscanf(line, "%*s %*s %*s %4095s %4095s", inside, mount) != 2 ||
                        sscanf(tail, " - %63s %*s %1023s", type, super) < 1)
                        continue;
                if (strcmp(type, "cgroup2") == 0)
                        h = v2;
                else if (strcmp(type, "cgroup") == 0 && crew__cgroup_word(super, controller))
                        h = v1;
                if (!h || h->found)
                        continue;
                h->found = true;
                (void)memcpy(h->inside, inside, sizeof inside);
                (void)memcpy(h->mount, mount, sizeof mount);
        }
        free(line);
        if (f)
                (void)fclose(f);
}

bool crew__cgroup_path(const struct crew__hierarchy *h, const char *group, char *path, size_t size)
{
        size_t inside = strcmp(h->inside, "/") == 0 ? 0 : strlen(h->inside);

        /* In a container the group may be named from outside of what is mounted here. */
        if (strncmp(group, h->inside, inside) == 0 && (group[inside] == '/' || !group[inside]))
                group += inside;
        else
                group = "";
        return snprintf(path, size, "%s%s", h->mount, strcmp(group, "/") == 0 ? "" : group) <
               (int)size;
}
