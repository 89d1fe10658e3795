/* SPDX-License-Identifier: MIT */
#include "kernel/namespace.h"

#include "kernel/generation.h"

#include <sys/stat.h>
#include <unistd.h>

static _Atomic uint64_t cached, cached_for;
static _Atomic uint32_t cached_place;

void crew__pid_namespace_inherit(void)
{
        if (atomic_load(&cached_for))
                atomic_store(&cached_for, crew__generation());
}

static uint64_t inode(const char *path)
{
        struct stat st;

        return stat(path, &st) < 0 ? 0 : st.st_ino;
}

static void learn(uint64_t generation)
{
        uint64_t pids = inode("/proc/self/ns/pid");
        /* Spread, for the inodes of namespaces follow one another. */
        uint32_t place = (uint32_t)pids ^ (uint32_t)inode("/proc/self/ns/time") * 0x9e3779b1U;

        atomic_store(&cached, pids);
        atomic_store(&cached_place, pids ? place | !place : 0);
        atomic_store(&cached_for, generation);
}

uint64_t crew__pid_namespace(void)
{
        uint64_t generation = crew__generation();

        if (atomic_load(&cached_for) != generation)
                learn(generation);
        return atomic_load(&cached);
}

uint32_t crew__place(void)
{
        return crew__pid_namespace() ? atomic_load(&cached_place) : 0;
}

static bool is_here(uint64_t here, uint64_t there)
{
        return here && there ? here == there : getppid() != 0;
}

bool crew__pid_namespace_is(uint64_t there)
{
        return is_here(crew__pid_namespace(), there);
}

bool crew__place_is(uint32_t place)
{
        return is_here(crew__place(), place);
}
