/* SPDX-License-Identifier: MIT */
#include "kernel/namespace.h"

#include "kernel/generation.h"

#include <sys/stat.h>
#include <unistd.h>

static _Atomic uint64_t cached, cached_for;

void crew__pid_namespace_inherit(void)
{
        if (atomic_load(&cached_for))
                atomic_store(&cached_for, crew__generation());
}

uint64_t crew__pid_namespace(void)
{
        uint64_t generation = crew__generation();
        struct stat st;

        if (atomic_load(&cached_for) == generation)
                return atomic_load(&cached);
        if (stat("/proc/self/ns/pid", &st) < 0)
                st.st_ino = 0;
        atomic_store(&cached, st.st_ino);
        atomic_store(&cached_for, generation);
        return st.st_ino;
}

bool crew__pid_namespace_is(uint64_t inode)
{
        uint64_t here = crew__pid_namespace();

        if (here && inode)
                return here == inode;
        return getppid() != 0;
}
