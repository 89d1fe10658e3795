/* SPDX-License-Identifier: MIT */

/*
 * The border to Catch2: its command line, its reporters and its list of cases. Only what versions 2
 * and 3 have in common is used; version 2 has no skips, so they are counted and printed here.
 */

#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/interfaces/catch_interfaces_capture.hpp>
#else
#define CATCH_CONFIG_RUNNER
#define CATCH_CONFIG_CONSOLE_WIDTH 120
#include <catch2/catch.hpp>
#endif

#undef CHECK
#undef REQUIRE
#undef INFO
#undef SKIP
#include "isolate.h"

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <ostream>
#include <streambuf>
#include <string>
#include <vector>

namespace
{

struct outcome {
        const test_case *which;
        test_verdict verdict;
        std::string words;
};

std::vector<outcome> outcomes;

const test_case *current()
{
        const std::string name(Catch::getResultCapture().getCurrentTestName());

        for (const test_case *c = test_cases(); c; c = c->next) {
                if (name == c->name)
                        return c;
        }
        std::abort();
}

/*
 * Some reporters point the C++ streams at buffers of Catch2's own, which are gone by the time that
 * a case exits and flushes them. While a case runs, the streams are the program's.
 */
class own_streams
{
        struct redirection {
                std::ostream *stream;
                std::streambuf *own;
                std::streambuf *found;
        };
        static redirection redirections[3];

public:
        own_streams()
        {
                for (redirection &r : redirections) {
                        r.stream->flush();
                        r.found = r.stream->rdbuf(r.own);
                        r.stream->flush();
                }
        }
        ~own_streams()
        {
                for (redirection &r : redirections)
                        r.stream->rdbuf(r.found);
        }
};

own_streams::redirection own_streams::redirections[3] = {
        { &std::cout, std::cout.rdbuf(), nullptr },
        { &std::cerr, std::cerr.rdbuf(), nullptr },
        { &std::clog, std::clog.rdbuf(), nullptr },
};

/* Catch2 calls a function without arguments; which case it is, it knows itself. */
void run_current()
{
        const test_case *c = current();
        char *words = nullptr;
        test_verdict verdict;
        {
                const own_streams streams;

                verdict = isolate_run(c, &words);
        }
        outcomes.push_back({ c, verdict, words });
        std::free(words);
        if (verdict == TEST_FAILED)
                FAIL_CHECK(c->name << "\n" << outcomes.back().words);
        else
                SUCCEED(outcomes.back().words);
}

/* These lines are what the test scripts count; see docs/TESTING.md. */
int summarize(int status)
{
        int count[3] = { 0, 0, 0 };

        for (const outcome &o : outcomes) {
                count[o.verdict]++;
                if (o.verdict == TEST_SKIPPED)
                        std::printf("# skip: %s: %s\n", o.which->name, o.words.c_str());
                else if (o.verdict == TEST_FAILED)
                        std::printf("# fail: %s\n", o.which->name);
        }
        std::printf("# cases: passed=%d failed=%d skipped=%d\n", count[TEST_PASSED],
                count[TEST_FAILED], count[TEST_SKIPPED]);
        if (status == 0 && count[TEST_SKIPPED] && !count[TEST_PASSED])
                return 77;
        return status;
}

} // namespace

/* Weak: a test of the shim or of a tool links no libcrew. */
extern "C" void crew_spawn_main(void) __attribute__((weak));

int main(int argc, char **argv)
{
        isolate_attach();
        if (crew_spawn_main)
                crew_spawn_main();
        isolate_prepare();
        for (const test_case *c = test_cases(); c; c = c->next) {
                const std::string name(c->name), tags(c->tags);

                REGISTER_TEST_CASE(run_current, name, tags);
        }
        return summarize(Catch::Session().run(argc, argv));
}
