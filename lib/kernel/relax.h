/* SPDX-License-Identifier: MIT */
#ifndef CREW_KERNEL_RELAX_H
#define CREW_KERNEL_RELAX_H

/* Telling the CPU that this is a spin. */
static inline void crew__relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ __volatile__("isb" ::: "memory");
#else
        __asm__ __volatile__("" ::: "memory");
#endif
}

static inline void crew__relax_for(unsigned rounds)
{
        for (unsigned i = 0; i <= rounds; i++)
                crew__relax();
}

#endif
