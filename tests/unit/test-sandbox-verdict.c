/* SPDX-License-Identifier: MIT */

/* What the exported filters answer: every call, every architecture, every set of words. */

#include "check.h"
#include "peer.h"
#include "sandbox-expected.h"
#include "sandbox/bpf.h"
#include "sandbox/filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Filters are made here and replayed, whatever this kernel could load. */
static void without_the_kernel(void)
{
        (void)seccomp_api_set(4);
}

__attribute__((constructor)) static void prepare(void)
{
        test_warm_up(without_the_kernel);
}

enum { NUMBERS = 1024, MOST = CREW__LAST_SYSCALL, PID = 4321, CONTROL = 77, EVENT = 78 };

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define X32_BIT 0x40000000

static const char *const presets[] = { "compute", "stdio", "rpath", "wpath", "cpath", "rwpath",
        "rcpath", "wcpath", "rwcpath", "fattr", "inet", "unix", "inet unix", "thread",
        "thread stdio", "proc", "exec", "proc exec thread", "sanitizer",
        "rwcpath fattr inet unix thread proc exec" };

static const int events[] = { EVENT };

static unsigned words_of(const char *text)
{
        crew_sandbox *s = NULL;
        unsigned words;

        REQUIRE_OK(crew_sandbox_new(&s, text, CREW_LANDLOCK_OFF));
        words = s->words;
        (void)crew_sandbox_free(s);
        return words;
}

static crew__filter filter_of(unsigned words, enum crew__refusal refusal)
{
        struct crew__scope scope = { .words = words, .control = CONTROL, .events = events,
                .n_events = 1, .self = PID };
        crew__filter f;

        peer_needs_seccomp();
        REQUIRE_OK(crew__filter_new(&f, &scope, refusal));
        return f;
}

static unsigned run(const crew__filter *f, unsigned arch, unsigned nr, const uint64_t args[6])
{
        struct seccomp_data call = { .nr = (int)nr, .arch = arch };

        memcpy(call.args, args, sizeof call.args);
        return crew__bpf_run(f->code, f->length, &call);
}

/* Arguments that rules look for, with rubbish in the half that the kernel ignores, and rubbish. */
static void random_arguments(uint64_t args[6], uint64_t *seed)
{
        static const uint64_t interesting[] = { 0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 15, 16, 17, 31, 32,
                0x40, 0x41, 64, 100, 0x80, 0x200, 0x241, 0x1000, 0x5401, 0x5412, 0x541c, 0x3d0f00,
                0x1200011, 0x4111, 0x10000000, PID, CONTROL, EVENT, UINT32_MAX, UINT64_MAX,
                UINT64_C(1) << 32, 0x53564d41 };

        for (int i = 0; i < 6; i++) {
                args[i] = interesting[peer_random(seed) % COUNT(interesting)];
                if (peer_random(seed) % 4 == 0)
                        args[i] |= peer_random(seed) << 32;
                if (peer_random(seed) % 8 == 0)
                        args[i] = peer_random(seed);
        }
}

enum { REFUSED, SOME, ALWAYS };

/* Marks the calls of a list; what is there already only rises. */
static void mark(unsigned char *table, const char *list, unsigned char as)
{
        char names[2000];

        snprintf(names, sizeof names, "%s", list);
        for (char *name = strtok(names, " "); name; name = strtok(NULL, " ")) {
                int nr = seccomp_syscall_resolve_name(name);

                if (nr >= 0 && nr < NUMBERS && table[nr] < as)
                        table[nr] = as;
        }
}

static void mark_word(unsigned char *table, const char *word)
{
        for (size_t i = 0; i < COUNT(expected); i++) {
                if (strcmp(expected[i].word, word) != 0)
                        continue;
                mark(table, expected[i].always, ALWAYS);
                mark(table, expected[i].some, SOME);
                if (*expected[i].brings)
                        mark_word(table, expected[i].brings);
                return;
        }
        REQUIRE(!"every word is expected");
}

static void mark_expected(unsigned char *table, unsigned words)
{
        memset(table, REFUSED, NUMBERS);
        for (unsigned word = 1; word < CREW__NONE; word <<= 1) {
                if (words & word)
                        mark_word(table, crew__word_name(word));
        }
        for (size_t i = 0; i < COUNT(together); i++) {
                unsigned needed = words_of(together[i].words);

                if ((words & needed) == needed)
                        mark(table, together[i].always, ALWAYS);
        }
}

static void check_number(const crew__filter *f, unsigned nr, int wanted, uint64_t *seed)
{
        const int least = (int)test_scale(6400, 64);
        int allowed = 0, rounds = 0;
        uint64_t args[6];

        /* Where some arguments are refused, as long as it takes to draw one of them. */
        for (; rounds < least || (wanted == SOME && allowed == rounds && rounds < 100 * least);
                rounds++) {
                unsigned action;

                random_arguments(args, seed);
                action = run(f, crew__native_arch(), nr, args);
                if (action == SECCOMP_RET_ALLOW)
                        allowed++;
                else
                        REQUIRE((action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO ||
                                action == SECCOMP_RET_TRAP);
        }
        if ((wanted == REFUSED && allowed) || (wanted == ALWAYS && allowed < rounds) ||
                (wanted == SOME && allowed == rounds)) {
                char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, (int)nr);

                INFO("%s (%u): %d of %d allowed", name ? name : "?", nr, allowed, rounds);
                free(name);
                CHECK(!"as expected");
        }
}

TEST(each_number, "each word allows its calls and no other", "[unit][sandbox]")
{
        uint64_t seed = peer_seed();

        TEST_DEADLINE(100);
        for (size_t p = 0; p < COUNT(presets); p++) {
                unsigned words = words_of(presets[p]);
                crew__filter f = filter_of(words, CREW__REFUSE_TRAP);
                unsigned char table[NUMBERS];

                INFO("%s: %u instructions", presets[p], f.length);
                mark_expected(table, words);
                for (unsigned nr = 0; nr <= MOST; nr++)
                        check_number(&f, nr, table[nr], &seed);
                crew__filter_free(&f);
        }
}

TEST(beyond, "calls beyond the table do not exist", "[unit][sandbox]")
{
        static const unsigned far[] = { 0x3fffffff, 100000, 4096 };
        static const uint64_t args[6] = { 0 };

        for (size_t p = 0; p < COUNT(presets); p++) {
                crew__filter f = filter_of(words_of(presets[p]), CREW__REFUSE_TRAP);

                for (unsigned nr = MOST + 1; nr < NUMBERS; nr++)
                        CHECK_INT(run(&f, crew__native_arch(), nr, args), ==,
                                SECCOMP_RET_ERRNO | ENOSYS);
                for (size_t i = 0; i < COUNT(far); i++)
                        CHECK_INT(run(&f, crew__native_arch(), far[i], args), ==,
                                SECCOMP_RET_ERRNO | ENOSYS);
                CHECK(run(&f, crew__native_arch(), UINT32_MAX, args) != SECCOMP_RET_ALLOW);
                crew__filter_free(&f);
        }
}

TEST(foreign, "calls of other architectures end the process, whatever they are",
        "[unit][sandbox]")
{
        static const unsigned archs[] = { AUDIT_ARCH_I386, AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64,
                AUDIT_ARCH_ARM, AUDIT_ARCH_RISCV64, AUDIT_ARCH_PPC64LE, 0, UINT32_MAX };
        uint64_t seed = peer_seed(), args[6];

        for (size_t p = 0; p < COUNT(presets); p++) {
                crew__filter f = filter_of(words_of(presets[p]), CREW__REFUSE_ERRNO);

                for (unsigned nr = 0; nr < NUMBERS; nr++) {
                        random_arguments(args, &seed);
                        for (size_t i = 0; i < COUNT(archs); i++) {
                                if (archs[i] != crew__native_arch())
                                        CHECK_INT(run(&f, archs[i], nr, args), ==,
                                                SECCOMP_RET_KILL_PROCESS);
                        }
#if defined(__x86_64__)
                        CHECK_INT(run(&f, AUDIT_ARCH_X86_64, nr | X32_BIT, args), ==,
                                SECCOMP_RET_KILL_PROCESS);
#endif
                }
                crew__filter_free(&f);
        }
}

/* All sets of words, without those that are the same once closed. */
static size_t each_set(void (*visit)(unsigned words, const int *numbers), const int *numbers)
{
        static unsigned char done[CREW__NONE];
        size_t n = 0;

        memset(done, 0, sizeof done);
        for (unsigned set = 1; set < CREW__NONE; set++) {
                unsigned words = crew__words_closed(set);

                if (done[words]++)
                        continue;
                visit(words, numbers);
                n++;
        }
        return n;
}

static void check_never(unsigned words, const int *numbers)
{
        crew__filter f = filter_of(words | CREW__NARROWING, CREW__REFUSE_TRAP);
        uint64_t seed = 88172645463325252u + words, args[6];

        for (; *numbers >= 0; numbers++) {
                for (int i = 0; i < 8; i++) {
                        random_arguments(args, &seed);
                        if (run(&f, crew__native_arch(), (unsigned)*numbers, args) !=
                                SECCOMP_RET_ALLOW)
                                continue;
                        INFO("call %d with words %#x", *numbers, words);
                        CHECK(!"refused");
                }
        }
        crew__filter_free(&f);
}

TEST(never_allowed, "no set of words lets the closed calls through", "[unit][sandbox]")
{
        static int numbers[NUMBERS];
        char names[2000];
        int n = 0;
        size_t sets;

        TEST_DEADLINE(100);
        snprintf(names, sizeof names, "%s", never);
        for (char *name = strtok(names, " "); name; name = strtok(NULL, " ")) {
                int nr = seccomp_syscall_resolve_name(name);

                if (nr >= 0)
                        numbers[n++] = nr;
        }
        CHECK(n > 80);
        numbers[n] = -1;
        sets = each_set(check_never, numbers);
        INFO("%zu sets of words, %d calls", sets, n);
        CHECK_INT(sets, >, 500);
}

TEST(closed_list, "the library's list of closed calls holds what it must", "[unit][sandbox]")
{
        char names[2000];

        /* What the library itself replays before it uses a filter. */
        snprintf(names, sizeof names, "%s",
                "io_uring_setup io_uring_enter io_uring_register ptrace process_vm_readv "
                "process_vm_writev memfd_create execveat add_key request_key keyctl bpf "
                "userfaultfd perf_event_open kexec_load kexec_file_load init_module finit_module "
                "mount unshare setns pidfd_getfd clone3 openat2");
        for (char *name = strtok(names, " "); name; name = strtok(NULL, " ")) {
                const char *const *c = crew__closed_calls;

                while (*c && strcmp(*c, name) != 0)
                        c++;
                INFO("%s", name);
                CHECK(*c != NULL);
        }
        for (const char *const *c = crew__closed_calls; *c; c++) {
                INFO("%s", *c);
                CHECK(seccomp_syscall_resolve_name(*c) != __NR_SCMP_ERROR);
        }
}

TEST(table_of_functions, "each row of functions is allowed by its words and not by fewer",
        "[unit][sandbox]")
{
        for (const struct crew__function *f = crew__functions; f->name; f++) {
                int nr = seccomp_syscall_resolve_name(f->call);
                unsigned words = crew__words_closed(f->words);
                unsigned char with[NUMBERS], without[NUMBERS];

                INFO("%s, %s", f->name, f->call);
                CHECK(nr != __NR_SCMP_ERROR);
                if (nr < 0)
                        continue;
                mark_expected(with, words);
                CHECK(with[nr] != REFUSED);
                mark_expected(without, CREW__COMPUTE);
                if (!(f->words & CREW__COMPUTE))
                        CHECK(without[nr] < with[nr] || f->words & CREW__EXEC ||
                                strcmp(f->call, "write") == 0);
        }
}

static bool has_row(const char *document, const struct crew__function *f)
{
        char row[200];
        int n = snprintf(row, sizeof row, "| `%s` |", f->name);

        for (unsigned word = 1; word < CREW__NONE; word <<= 1) {
                if (f->words & word)
                        n += snprintf(row + n, sizeof row - (size_t)n, " %s", crew__word_name(word));
        }
        snprintf(row + n, sizeof row - (size_t)n, " |\n");
        INFO("%s", row);
        return strstr(document, row) != NULL;
}

TEST(documented, "docs/SECURITY.md has the table of functions", "[unit][sandbox]")
{
        static char document[65536];
        const char *path = getenv("CREW_SECURITY_MD"), *line;
        size_t rows = 0, wanted = 0;
        FILE *f;

        if (!path)
                SKIP("CREW_SECURITY_MD does not name the document");
        f = fopen(path, "r");
        REQUIRE(f);
        REQUIRE(fread(document, 1, sizeof document - 1, f) > 1000);
        fclose(f);
        for (const struct crew__function *fn = crew__functions; fn->name; fn++, wanted++)
                CHECK(has_row(document, fn));
        line = strstr(document, "| function | words |\n|---|---|\n");
        REQUIRE(line);
        for (line = strchr(line, '\n') + 1; *line == '|'; line = strchr(line, '\n') + 1)
                rows++;
        CHECK_INT(rows - 1, ==, wanted);
}
