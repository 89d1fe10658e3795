// SPDX-License-Identifier: MIT
#include <crew/crew.h>
#include <cstdio>

namespace {
struct message {
        int number, square;
};

int square(void *arg)
{
        auto *results = static_cast<crew_queue *>(arg);

        for (int i = 1; i <= 5; i++) {
                const message m = {i, i * i};

                if (CREW_PUT(results, &m, CREW_S(5)) < 0)
                        return 1;
        }
        return crew_queue_close(results) < 0;
}
} // namespace

int main()
{
        crew_auto(queue) results = nullptr;
        crew_auto(process) child = nullptr;
        message m = {};
        int code = -1;

        if (crew_queue_new(&results, 2,
                    CREW_OPT(queue, .name = "squares", .message_size = sizeof m)) < 0 ||
                crew_process_launch(&child, square, results,
                        CREW_OPT(process, .name = "squarer", .flags = CREW_PROCESS_DAEMON)) < 0) {
                std::fprintf(stderr, "%s\n", crew_error_detail());
                return 1;
        }
        while (CREW_GET(results, &m, CREW_S(10)) == 0)
                std::printf("%d\n", m.square);
        if (crew_process_join(child, CREW_S(10)) < 0 || crew_process_exitcode(child, &code) < 0)
                return 1;
        return code;
}
