/* SPDX-License-Identifier: MIT */
#include "check.h"
#include "crew/bytes.h"
#include "crew/environment.h"
#include "crew/gate.h"
#include "crew/log-read.h"
#include "crew/output-order.h"
#include "crew/progress.h"
#include "crew/results.h"
#include "crew/run-sandbox.h"
#include "crew/schedule.h"
#include "crew/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const struct {
        const char *line;
        int64_t seq; /* -1: no entry */
        bool succeeded;
        const char *command; /* whose hash it has; NULL: another */
} lines[] = {
        { "1\t:\t1.000\t     0.001\t0\t0\t0\t0\techo a", 1, true, "echo a" },
        { "7\t:\t1.000\t     0.001\t0\t0\t3\t0\tx\ty", 7, false, "x\ty" },
        { "7\t:\t1.000\t     0.001\t0\t0\t0\t9\tx", 7, false, "x" },
        { "7\t:\t1.000\t     0.001\t0\t0\t-1\t15\tx", 7, false, "x" },
        { "7\thost\t1.000\t     0.001\t0\t0\t0\t0\t", 7, true, "" },
        { "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand", -1, false,
                NULL },
        { "", -1, false, NULL },
        { "7\t:\t1.000\t0\t0\t0\t0\t0", -1, false, NULL },
        { "-7\t:\t1.000\t0\t0\t0\t0\t0\tx", -1, false, NULL },
        { "7x\t:\t1.000\t0\t0\t0\t0\t0\tx", -1, false, NULL },
        { "99999999999999999999999\t:\t1.000\t0\t0\t0\t0\t0\tx", -1, false, NULL },
        { "{\"seq\":5,\"exit\":0,\"signal\":0,\"hash\":\"85944171f73967e8\",\"command\":\"x\"}", 5,
                true, NULL },
        { "{\"seq\":5,\"exit\":1,\"signal\":0,\"hash\":\"85944171f73967e8\",\"command\":\"x\"}", 5,
                false, NULL },
        { "{\"seq\":5,\"exit\":0,\"signal\":9,\"hash\":\"85944171f73967e8\",\"command\":\"x\"}", 5,
                false, NULL },
        { "{\"seq\":5,\"exit\":0,\"signal\":0,\"hash\":\"8594\",\"command\":\"x\"}", -1, false,
                NULL },
        { "{\"seq\":5,\"exit\":0,\"signal\":0,\"hash\":\"85944171f73967e8\",\"comm", -1, false,
                NULL },
        { "{\"x\":1,{\"seq\":5,\"exit\":0,\"signal\":0,\"hash\":\"85944171f73967e8\"}", -1, false,
                NULL },
        { "{}", -1, false, NULL },
        { "{", -1, false, NULL },
};

TEST(log_lines, "a line of a log means what its table says", "[unit][run]")
{
        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
                struct log_entry e = { 0 };
                bool is = log_read_line(lines[i].line, &e);

                INFO("%s", lines[i].line);
                CHECK_INT(is, ==, lines[i].seq >= 0);
                if (!is)
                        continue;
                CHECK_INT(e.seq, ==, lines[i].seq);
                CHECK_INT(e.succeeded, ==, lines[i].succeeded);
                if (lines[i].command)
                        CHECK(e.hash == results_hash(lines[i].command, strlen(lines[i].command)));
        }
}

TEST(log_last, "of several lines about a job the last one counts", "[unit][run]")
{
        static const char text[] = "titles\n3\t:\t0\t0\t0\t0\t1\t0\ta\n1\t:\t0\t0\t0\t0\t0\t0\ta\n"
                                   "3\t:\t0\t0\t0\t0\t0\t0\ta\n2\t:\t0\t0\t0\t0\t0\t0\tcut sho";
        struct log_entries entries = { 0 };
        int fd = memfd_create("log", MFD_CLOEXEC);
        uint64_t whole;

        REQUIRE(fd >= 0 && write(fd, text, sizeof text - 1) == sizeof text - 1);
        REQUIRE(lseek(fd, 0, SEEK_SET) == 0);
        REQUIRE_OK(log_read(&entries, fd, &whole));
        CHECK_INT(whole, ==, strstr(text, "2\t:") - text);
        CHECK_INT(entries.n, ==, 3);
        CHECK(log_entries_find(&entries, 1) && log_entries_find(&entries, 1)->succeeded);
        CHECK(log_entries_find(&entries, 3) && log_entries_find(&entries, 3)->succeeded);
        CHECK(!log_entries_find(&entries, 0) && !log_entries_find(&entries, 2) &&
                !log_entries_find(&entries, 4));
        free(entries.at);
        (void)close(fd);
}

TEST(order, "objects come out by number, however they went in", "[unit][run]")
{
        enum { MANY = 1000 };
        struct order o;
        int objects[MANY + 1], next = 1;

        order_init(&o);
        for (int i = 0; i < MANY; i++) {
                /* 7 and MANY have no common divisor: every number once. */
                int number = i * 7 % MANY + 1, *got;

                order_put(&o, (uint64_t)number, &objects[number]);
                while ((got = order_take(&o)))
                        CHECK_INT(got - objects, ==, next++);
        }
        CHECK_INT(next, ==, MANY + 1);
        order_put(&o, MANY + 5, &objects[5]);
        order_put(&o, MANY + 3, &objects[3]);
        CHECK(!order_take(&o));
        CHECK(order_take_any(&o) == &objects[3]);
        CHECK(order_take_any(&o) == &objects[5]);
        CHECK(!order_take_any(&o));
        order_free(&o);
}

TEST(gate, "load and memory are read from what the kernel says", "[unit][run]")
{
        double load = 0;
        uint64_t memory = 0;

        CHECK(gate_load("cpu  1 2\nintr 5\nprocs_running 4\nprocs_blocked 2\n", &load));
        CHECK(load == 5);
        CHECK(gate_load("procs_running 1\n", &load) && load == 0);
        CHECK(!gate_load("cpu 1\n", &load) && !gate_load("", &load) &&
                !gate_load("procs_running x", &load));
        CHECK(gate_memory("MemTotal: 9 kB\nMemAvailable:    2048 kB\n", &memory));
        CHECK_INT(memory, ==, 2048 * 1024);
        CHECK(!gate_memory("MemFree: 1 kB\n", &memory));
        CHECK(gate_open(-1, 0) && gate_open(1e9, 1));
        CHECK(!gate_open(-1, UINT64_MAX) && !gate_open(0, 0));
}

static const struct {
        unsigned width, running;
        bool bar;
        struct tally tally;
        int64_t left;
        const char *text;
} progress[] = {
        { 80, 2, false, { 3, 0, 0, 0 }, -1, "3 done, 2 running" },
        { 80, 2, false, { 3, 1, 8, 0 }, 90 * INT64_C(1000000000),
                "4/8 50%, 2 running, 1 failed, 1m30s left" },
        { 41, 0, true, { 5, 0, 10, 0 }, -1, "[########         ] 5/10 50%, 0 running" },
        { 60, 0, true, { 3, 0, 0, 0 }, -1, "3 done, 0 running" },
        { 8, 0, true, { 5, 0, 10, 0 }, -1, "5/10 50%" },
        { 80, 0, false, { 1, 0, 2, 0 }, INT64_C(7380) * 1000000000,
                "1/2 50%, 0 running, 2h03m left" },
};

TEST(progress_line,
        "the line of progress is what its table says, and never wider than the terminal",
        "[unit][run]")
{
        for (size_t i = 0; i < sizeof progress / sizeof *progress; i++) {
                char text[600];

                (void)progress_text(text, sizeof text, progress[i].width, progress[i].bar,
                        &progress[i].tally, progress[i].running, progress[i].left);
                CHECK_STR(text, progress[i].text);
                CHECK_INT(strlen(text), <=, progress[i].width);
        }
}

static const struct {
        const char *text;
        int r;
        uint64_t memory, cpu, files;
} limits[] = {
        { "mem=1G", 0, 1 << 30, 0, 0 },
        { "cpu=1.5m", 0, 0, UINT64_C(90000000000), 0 },
        { "mem=64k, files=20", 0, 65536, 0, 20 },
        { "", -EINVAL, 0, 0, 0 },
        { "mem", -EINVAL, 0, 0, 0 },
        { "mem=", -EINVAL, 0, 0, 0 },
        { "mem=0", -EINVAL, 0, 0, 0 },
        { "ram=1", -EINVAL, 0, 0, 0 },
        { "cpu=1G", -EINVAL, 0, 0, 0 },
};

TEST(limit, "limits are what their table says", "[unit][run]")
{
        for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
                crew_limits l = { .size = sizeof l };

                INFO("'%s'", limits[i].text);
                CHECK_INT(run_sandbox_limits(limits[i].text, &l), ==, limits[i].r);
                if (limits[i].r < 0)
                        continue;
                CHECK_INT(l.memory_max, ==, limits[i].memory);
                CHECK_INT(l.cpu_time, ==, limits[i].cpu);
                CHECK_INT(l.open_files, ==, limits[i].files);
        }
}

TEST(environment, "jobs find their number and slot, and what was asked for", "[unit][run]")
{
        char *from[] = { (char[]){ "PATH=/bin" }, (char[]){ "SECRET=1" }, (char[]){ "CREW_SEQ=9" },
                (char[]){ "A=old" }, (char[]){ "KEPT=2" }, NULL };
        const char *set[] = { "A=new" }, *pass[] = { "KEPT" };
        struct run_options o = {
                .set_env = set, .n_set_env = 1, .pass_env = pass, .n_pass_env = 1
        };
        struct environment e;
        struct bytes got = { 0 };

        for (int clean = 0; clean < 2; clean++) {
                o.clean_env = clean;
                environment_make(&e, &o, from);
                got.n = 0;
                for (const char *const *v = environment_of(&e, 3, 2); *v; v++)
                        bytes_format(&got, "%s ", *v);
                CHECK_STR(bytes_ended(&got),
                        clean ? "PATH=/bin KEPT=2 A=new CREW_SEQ=3 CREW_SLOT=2 PARALLEL_SEQ=3 "
                                "PARALLEL_JOBSLOT=2 "
                              : "PATH=/bin SECRET=1 KEPT=2 A=new CREW_SEQ=3 CREW_SLOT=2 "
                                "PARALLEL_SEQ=3 "
                                "PARALLEL_JOBSLOT=2 ");
                environment_free(&e);
        }
        bytes_free(&got);
}

static int told;

static void tell(struct receipt *r)
{
        (void)r;
        told++;
}

TEST(sink_waits, "a full pipe makes a sink wait and not block, and tells when all was written",
        "[unit][run]")
{
        static char text[200000], back[200000];
        struct receipt receipt = { .done = tell };
        struct sink s;
        int ends[2];
        size_t n = 0;
        bool left;

        REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
        memset(text, 'x', sizeof text);
        sink_open(&s, ends[1]);
        receipt.pending++;
        sink_put(&s, text, sizeof text, &receipt);
        sink_put(&s, "", 0, &receipt);
        receipt_drop(&receipt);
        CHECK(sink_flush(&s));
        CHECK_INT(told, ==, 0);
        /* Whoever shares the pipe keeps a blocking one. */
        CHECK(!(fcntl(ends[1], F_GETFL) & O_NONBLOCK));
        do {
                ssize_t got = read(ends[0], back + n, sizeof back - n);

                REQUIRE(got > 0);
                n += (size_t)got;
                left = sink_flush(&s);
        } while (left || n < sizeof back);
        CHECK_INT(told, ==, 1);
        CHECK(memcmp(text, back, sizeof back) == 0);
        (void)close(ends[0]);
        sink_put(&s, "more", 4, NULL);
        (void)signal(SIGPIPE, SIG_IGN);
        CHECK(!sink_flush(&s));
        CHECK(s.gone && !s.error);
        sink_close(&s);
        (void)close(ends[1]);
}

static const struct {
        const char *value, *name;
} names[] = {
        { "plain", "plain" },
        { "", "+e" },
        { "a/b", "a+zb" },
        { "+", "++" },
        { ".", "+." },
        { "..", "+.." },
        { "../../etc/passwd", "+..+z..+zetc+zpasswd" },
        { "a.b", "a.b" },
        { "+e", "++e" },
        { "\n", "\n" },
};

TEST(names_of_results, "a value as a name leaves no directory and is no other's", "[unit][run]")
{
        struct bytes b = { 0 };
        char text[1000];

        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
                b.n = 0;
                results_name(&b, names[i].value);
                CHECK_STR(bytes_ended(&b), names[i].name);
        }
        memset(text, 'x', sizeof text - 1);
        text[sizeof text - 1] = 0;
        b.n = 0;
        results_name(&b, text);
        CHECK_INT(b.n, <, 256);
        bytes_free(&b);
}

TEST(next_start, "a run does not sleep while it could start a job", "[unit][run]")
{
        struct run_options o = { 0 };
        struct run run = { .o = &o, .n_slots = 1 };
        struct job waiting = { 0 };
        struct sink *err;

        crew__link_init(&run.running);
        crew__link_init(&run.retrying);
        output_new(&run.maker.output, &o);
        err = output_sink(run.maker.output, OUTPUT_ERR);

        /* A time that passed after the last look. */
        run.next = &waiting;
        run.next_start = crew_clock() - 1;
        CHECK_INT(schedule_next_start(&run), <=, crew_clock());
        run.next_start = INT64_MAX - 1;
        CHECK_INT(schedule_next_start(&run), ==, INT64_MAX - 1);

        /* Output that is full, until its reader is there again or has gone. */
        run.next_start = 0;
        run.sinks_wait[OUTPUT_ERR] = true;
        err->files = OUTPUT_BACKLOG_FILES + 1;
        CHECK_INT(schedule_next_start(&run), ==, INT64_MAX);
        run.sinks_wait[OUTPUT_ERR] = false;
        err->files = 0;
        CHECK_INT(schedule_next_start(&run), <=, crew_clock());

        /* A slot, which a job's end frees; values, of which the input tells. */
        run.n_busy = 1;
        CHECK_INT(schedule_next_start(&run), ==, INT64_MAX);
        run.n_busy = 0;
        run.next = NULL;
        CHECK_INT(schedule_next_start(&run), <=, crew_clock());
        run.input_waits = true;
        CHECK_INT(schedule_next_start(&run), ==, INT64_MAX);
        run.input_waits = false;
        run.input_ended = true;
        CHECK_INT(schedule_next_start(&run), ==, INT64_MAX);

        /* A retry in its time, and not before the machine is asked again. */
        waiting.deadline = 5;
        crew__link_append(&run.retrying, &waiting.link);
        CHECK_INT(schedule_next_start(&run), ==, 5);
        run.next_start = 7;
        CHECK_INT(schedule_next_start(&run), ==, 7);
        output_free(run.maker.output);
}
