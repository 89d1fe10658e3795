/* SPDX-License-Identifier: MIT */
#include "sandbox/bpf.h"

#include <string.h>

enum { UNFIT = SECCOMP_RET_ALLOW };

static unsigned calculate(unsigned short code, unsigned a, unsigned b, int *unfit)
{
        switch (BPF_OP(code)) {
        case BPF_ADD:
                return a + b;
        case BPF_SUB:
                return a - b;
        case BPF_MUL:
                return a * b;
        case BPF_OR:
                return a | b;
        case BPF_AND:
                return a & b;
        case BPF_XOR:
                return a ^ b;
        case BPF_LSH:
                return b < 32 ? a << b : 0;
        case BPF_RSH:
                return b < 32 ? a >> b : 0;
        case BPF_NEG:
                return 0U - a;
        case BPF_DIV:
                *unfit = b == 0;
                return b ? a / b : 0;
        default:
                *unfit = 1;
                return 0;
        }
}

static int compare(unsigned short code, unsigned a, unsigned b, int *unfit)
{
        switch (BPF_OP(code)) {
        case BPF_JEQ:
                return a == b;
        case BPF_JGT:
                return a > b;
        case BPF_JGE:
                return a >= b;
        case BPF_JSET:
                return (a & b) != 0;
        default:
                *unfit = 1;
                return 0;
        }
}

unsigned crew__bpf_run(
        const struct sock_filter *code, size_t length, const struct seccomp_data *call)
{
        unsigned a = 0, x = 0, memory[BPF_MEMWORDS] = { 0 };
        int unfit = 0;

        for (size_t pc = 0; pc < length && !unfit; pc++) {
                const struct sock_filter *i = &code[pc];
                unsigned b = BPF_SRC(i->code) == BPF_X ? x : i->k;

                switch (BPF_CLASS(i->code)) {
                case BPF_LD:
                        if (i->code == (BPF_LD | BPF_W | BPF_ABS) && i->k % 4 == 0 &&
                                i->k < sizeof *call)
                                memcpy(&a, (const char *)call + i->k, sizeof a);
                        else if (i->code == (BPF_LD | BPF_IMM))
                                a = i->k;
                        else if (i->code == (BPF_LD | BPF_MEM) && i->k < BPF_MEMWORDS)
                                a = memory[i->k];
                        else if (i->code == (BPF_LD | BPF_W | BPF_LEN))
                                a = sizeof *call;
                        else
                                return UNFIT;
                        break;
                case BPF_LDX:
                        if (i->code == (BPF_LDX | BPF_IMM))
                                x = i->k;
                        else if (i->code == (BPF_LDX | BPF_MEM) && i->k < BPF_MEMWORDS)
                                x = memory[i->k];
                        else
                                return UNFIT;
                        break;
                case BPF_ST:
                case BPF_STX:
                        if (i->k >= BPF_MEMWORDS)
                                return UNFIT;
                        memory[i->k] = BPF_CLASS(i->code) == BPF_ST ? a : x;
                        break;
                case BPF_ALU:
                        a = calculate(i->code, a, b, &unfit);
                        break;
                case BPF_JMP:
                        if (BPF_OP(i->code) == BPF_JA)
                                pc += i->k;
                        else
                                pc += compare(i->code, a, b, &unfit) ? i->jt : i->jf;
                        break;
                case BPF_RET:
                        return BPF_RVAL(i->code) == BPF_A ? a : i->k;
                case BPF_MISC:
                        if (BPF_MISCOP(i->code) == BPF_TAX)
                                x = a;
                        else
                                a = x;
                        break;
                }
        }
        return UNFIT;
}
