/* SPDX-License-Identifier: MIT */

/* The evaluator of filters against programs whose answers are known, and against the kernel. */

#include "check.h"
#include "kernel/syscall.h"
#include "peer.h"
#include "sandbox/bpf.h"

#include <errno.h>
#include <sys/prctl.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define ALLOW SECCOMP_RET_ALLOW
#define RETURN(k) BPF_STMT(BPF_RET | BPF_K, (k))
#define RETURN_A BPF_STMT(BPF_RET | BPF_A, 0)
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define SET(k) BPF_STMT(BPF_LD | BPF_IMM, (k))
#define SET_X(k) BPF_STMT(BPF_LDX | BPF_IMM, (k))
#define ALU(op, k) BPF_STMT(BPF_ALU | (op) | BPF_K, (k))
#define ALU_X(op) BPF_STMT(BPF_ALU | (op) | BPF_X, 0)
#define JUMP(op, k, t, f) BPF_JUMP(BPF_JMP | (op) | BPF_K, (k), (t), (f))

static const struct seccomp_data call = { .nr = 7,
        .arch = 0xc000003e,
        .instruction_pointer = 0x1122334455667788,
        .args = { 0x0102030405060708, 2, 3, 4, 5, UINT64_MAX } };

#define CHECK_RUN(wanted, ...)                                                                     \
        do {                                                                                       \
                const struct sock_filter code_[] = { __VA_ARGS__ };                                \
                CHECK_INT(crew__bpf_run(code_, COUNT(code_), &call), ==, (unsigned)(wanted));      \
        } while (0)

TEST(loads, "it loads the fields of a call", "[unit][sandbox]")
{
        CHECK_RUN(7, LOAD(nr), RETURN_A);
        CHECK_RUN(0xc000003e, LOAD(arch), RETURN_A);
        CHECK_RUN(0x05060708, LOAD(args[0]), RETURN_A);
        CHECK_RUN(0x01020304,
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args) + 4),
                RETURN_A);
        CHECK_RUN(UINT32_MAX, LOAD(args[5]), RETURN_A);
        CHECK_RUN(64, BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), RETURN_A);
        CHECK_RUN(9, SET(9), BPF_STMT(BPF_ST, 3), SET(1), BPF_STMT(BPF_LD | BPF_MEM, 3), RETURN_A);
        CHECK_RUN(8, SET_X(8), BPF_STMT(BPF_STX, 15), BPF_STMT(BPF_LD | BPF_MEM, 15), RETURN_A);
        CHECK_RUN(5, SET(5), BPF_STMT(BPF_MISC | BPF_TAX, 0), SET(0),
                BPF_STMT(BPF_MISC | BPF_TXA, 0), RETURN_A);
}

TEST(arithmetic, "it calculates", "[unit][sandbox]")
{
        CHECK_RUN(12, SET(5), ALU(BPF_ADD, 7), RETURN_A);
        CHECK_RUN(-2, SET(5), ALU(BPF_SUB, 7), RETURN_A);
        CHECK_RUN(35, SET(5), ALU(BPF_MUL, 7), RETURN_A);
        CHECK_RUN(3, SET(7), ALU(BPF_DIV, 2), RETURN_A);
        CHECK_RUN(4, SET(0xc), ALU(BPF_AND, 6), RETURN_A);
        CHECK_RUN(14, SET(0xc), ALU(BPF_OR, 6), RETURN_A);
        CHECK_RUN(10, SET(0xc), ALU(BPF_XOR, 6), RETURN_A);
        CHECK_RUN(48, SET(0xc), ALU(BPF_LSH, 2), RETURN_A);
        CHECK_RUN(3, SET(0xc), ALU(BPF_RSH, 2), RETURN_A);
        CHECK_RUN(-12, SET(0xc), ALU(BPF_NEG, 0), RETURN_A);
        CHECK_RUN(15, SET_X(3), SET(0xc), ALU_X(BPF_ADD), RETURN_A);
}

TEST(jumps, "it jumps", "[unit][sandbox]")
{
        CHECK_RUN(1, LOAD(nr), JUMP(BPF_JEQ, 7, 0, 1), RETURN(1), RETURN(2));
        CHECK_RUN(2, LOAD(nr), JUMP(BPF_JEQ, 8, 0, 1), RETURN(1), RETURN(2));
        CHECK_RUN(2, LOAD(nr), JUMP(BPF_JGT, 7, 0, 1), RETURN(1), RETURN(2));
        CHECK_RUN(1, LOAD(nr), JUMP(BPF_JGE, 7, 0, 1), RETURN(1), RETURN(2));
        CHECK_RUN(1, LOAD(nr), JUMP(BPF_JSET, 4, 0, 1), RETURN(1), RETURN(2));
        CHECK_RUN(2, LOAD(nr), JUMP(BPF_JSET, 8, 0, 1), RETURN(1), RETURN(2));
        CHECK_RUN(3, BPF_STMT(BPF_JMP | BPF_JA, 2), RETURN(1), RETURN(2), RETURN(3));
        CHECK_RUN(1, SET_X(7), LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_X, 0, 0, 1), RETURN(1),
                RETURN(2));
}

TEST(unfit, "what the kernel would not load refuses nothing", "[unit][sandbox]")
{
        CHECK_INT(crew__bpf_run(NULL, 0, &call), ==, ALLOW);
        CHECK_RUN(ALLOW, SET(1));
        CHECK_RUN(ALLOW, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 2), RETURN(1));
        CHECK_RUN(ALLOW, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), RETURN(1));
        CHECK_RUN(ALLOW, BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), RETURN(1));
        CHECK_RUN(ALLOW, BPF_STMT(BPF_LD | BPF_MEM, 16), RETURN(1));
        CHECK_RUN(ALLOW, BPF_STMT(BPF_ST, 16), RETURN(1));
        CHECK_RUN(ALLOW, BPF_STMT(BPF_LDX | BPF_MEM, 16), RETURN(1));
        CHECK_RUN(ALLOW, BPF_STMT(BPF_JMP | BPF_JA, 9), RETURN(1));
        CHECK_RUN(ALLOW, SET(1), ALU(BPF_DIV, 0), RETURN(1));
        CHECK_RUN(ALLOW, JUMP(0x50, 0, 0, 0), RETURN(1));
}

/* Answers each number below 64 with ERRNO(number * 3 + 1), by arithmetic and a table of jumps. */
static const struct sock_filter shuffle[] = {
        LOAD(nr),
        JUMP(BPF_JGE, 64, 0, 1),
        RETURN(ALLOW),
        BPF_STMT(BPF_MISC | BPF_TAX, 0),
        ALU(BPF_LSH, 1),
        ALU_X(BPF_ADD),
        ALU(BPF_ADD, 1),
        ALU(BPF_OR, SECCOMP_RET_ERRNO),
        RETURN_A,
};

static void ask_the_kernel(void *arg)
{
        struct sock_fprog program = { .len = COUNT(shuffle),
                .filter = (struct sock_filter *)(uintptr_t)shuffle };

        (void)arg;
        REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        REQUIRE(crew__sys_seccomp(SECCOMP_SET_MODE_FILTER, 0, &program) == 0);
        for (int nr = 0; nr < 64; nr++) {
                struct seccomp_data d = { .nr = nr };
                unsigned action = crew__bpf_run(shuffle, COUNT(shuffle), &d);

                CHECK_INT(action & SECCOMP_RET_ACTION_FULL, ==, SECCOMP_RET_ERRNO);
                CHECK_INT(action & SECCOMP_RET_DATA, ==, nr * 3 + 1);
                CHECK_INT(crew__syscall(nr, -1, -1, -1, -1, -1, -1), ==, -(nr * 3 + 1));
        }
}

TEST(like_the_kernel, "the kernel answers the same", "[unit][sandbox]")
{
        peer_needs_seccomp();
        CHECK_INT(peer_join(peer_start(ask_the_kernel, NULL)), ==, 0);
}
