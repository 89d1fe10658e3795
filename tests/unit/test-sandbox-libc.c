/* SPDX-License-Identifier: MIT */

/* What the C library does under a word, and does not die of. */

#include "kernel/segment.h"
#include "sandbox-case.h"

#include <crew/queue.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>

static void memory(void)
{
        for (size_t size = 1; size < (size_t)64 << 20; size *= 3) {
                char *p = malloc(size);

                REQUIRE(p);
                memset(p, 1, size);
                p = realloc(p, size * 2);
                REQUIRE(p);
                free(p);
        }
        (void)malloc_trim(0);
}

static void clocks(void)
{
        struct timespec now, nap = { .tv_nsec = 1000 };

        CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
        CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now) == 0);
        CHECK(clock_getres(CLOCK_REALTIME, &now) == 0);
        CHECK(time(NULL) > 0);
        CHECK(nanosleep(&nap, NULL) == 0);
        CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, NULL) == 0);
}

static void on_signal(int signal)
{
        (void)signal;
}

static void signals(void)
{
        struct sigaction action = { .sa_handler = on_signal };
        sigset_t set;

        CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
        sigemptyset(&set);
        sigaddset(&set, SIGUSR2);
        CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
        CHECK(raise(SIGUSR1) == 0);
        CHECK(kill(getpid(), 0) == 0);
}

static void compute(void *arg)
{
        unsigned char bytes[16];

        (void)arg;
        memory();
        clocks();
        signals();
        CHECK(getrandom(bytes, sizeof bytes, 0) == sizeof bytes);
        CHECK(sqrt((double)bytes[0]) >= 0);
        CHECK(getpid() > 0);
        CHECK(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
        CHECK(pthread_setname_np(pthread_self(), "worker") == 0);
}

TEST(under_compute, "memory, clocks and signals work under compute", "[unit][sandbox]")
{
        struct confined c = { .words = "compute", .body = compute };

        confine(&c);
        INFO("%s", c.violation.text);
        CHECK_INT(c.code, ==, 0);
}

static void streams(void)
{
        int ends[2];
        char text[64];
        struct stat st;
        FILE *out, *in;

        REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
        out = fdopen(ends[1], "w");
        in = fdopen(ends[0], "r");
        REQUIRE(out && in);
        CHECK(fprintf(out, "%d %.3f %s\n", 7, 0.25, "words") > 0);
        CHECK(fflush(out) == 0);
        CHECK(fgets(text, sizeof text, in) != NULL);
        CHECK_STR(text, "7 0.250 words\n");
        CHECK(fstat(ends[0], &st) == 0);
        CHECK(S_ISFIFO(st.st_mode));
        CHECK(fstat(999, &st) == -1);
        CHECK_INT(errno, ==, EBADF);
        CHECK(!isatty(ends[0]));
        CHECK(fclose(out) == 0);
        CHECK(fgets(text, sizeof text, in) == NULL);
        CHECK(fclose(in) == 0);
}

static void descriptors(void)
{
        int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), pair[2], timer;
        struct itimerspec soon = { .it_value = { .tv_nsec = 1000 } };
        struct pollfd poll_for = { .events = POLLIN };
        struct rlimit limit;
        uint64_t n = 1;

        CHECK(write(event, &n, sizeof n) == sizeof n);
        CHECK(read(event, &n, sizeof n) == sizeof n);
        CHECK(fcntl(event, F_SETFL, O_NONBLOCK) == 0);
        CHECK(fcntl(event, F_DUPFD_CLOEXEC, 3) >= 0);
        CHECK(dup2(event, event + 5) == event + 5);
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
        CHECK(send(pair[0], "x", 1, 0) == 1);
        CHECK(recv(pair[1], &n, 1, 0) == 1);
        timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
        CHECK(timer >= 0);
        CHECK(timerfd_settime(timer, 0, &soon, NULL) == 0);
        poll_for.fd = timer;
        CHECK_INT(poll(&poll_for, 1, 1000), ==, 1);
        CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
        CHECK(sysconf(_SC_OPEN_MAX) > 0);
}

static void stdio(void *arg)
{
        struct tm tm;
        time_t now = time(NULL);
        char text[100];

        (void)arg;
        compute(NULL);
        streams();
        descriptors();
        CHECK(localtime_r(&now, &tm) != NULL);
        CHECK(localtime(&now) != NULL);
        CHECK(strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %Z", &tm) > 0);
        CHECK(mktime(&tm) == now);
        CHECK(snprintf(text, sizeof text, "%s", strerror(EPERM)) > 0);
        CHECK(socket(AF_INET, SOCK_STREAM, 0) == -1);
        CHECK_INT(errno, ==, EACCES);
        CHECK(fflush(NULL) == 0);
}

TEST(under_stdio, "streams, descriptors and the time of day work under stdio", "[unit][sandbox]")
{
        struct confined c = { .words = "stdio", .body = stdio };

        confine(&c);
        INFO("%s", c.violation.text);
        CHECK_INT(c.code, ==, 0);
        c.strictness = CREW__SOFT;
        confine(&c);
        CHECK_INT(c.code, ==, 0);
        CHECK_INT(c.refused, ==, 0);
}

static void *crowd(void *arg)
{
        for (int i = 0; i < 100; i++) {
                void *p = malloc(1000 + (size_t)i * 100);

                REQUIRE(p);
                memset(p, 1, 1000);
                free(p);
        }
        return arg;
}

static void threads(void *arg)
{
        enum { N = 16 };
        pthread_t thread[N];

        (void)arg;
        for (int i = 0; i < N; i++)
                REQUIRE(pthread_create(&thread[i], NULL, crowd, NULL) == 0);
        for (int i = 0; i < N; i++)
                REQUIRE(pthread_join(thread[i], NULL) == 0);
}

TEST(under_thread, "threads start, allocate and end under thread", "[unit][sandbox]")
{
        struct confined c = { .words = "thread", .body = threads };

        confine(&c);
        INFO("%s", c.violation.text);
        CHECK_INT(c.code, ==, 0);
}

static void give_up(void *arg)
{
        (void)arg;
        abort();
}

TEST(aborts, "abort ends a child by SIGABRT", "[unit][sandbox]")
{
        static const char *const words[] = { "compute", "stdio", "stdio thread", "proc" };

        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
                struct confined c = { .words = words[i], .body = give_up };

                confine(&c);
                CHECK_INT(c.code, ==, PEER_KILLED + SIGABRT);
        }
}

static void fork_and_wait(void *arg)
{
        int status = -1;
        pid_t pid = fork();

        (void)arg;
        REQUIRE(pid >= 0);
        if (pid == 0)
                _exit(7);
        REQUIRE(waitpid(pid, &status, 0) == pid);
        CHECK_INT(WEXITSTATUS(status), ==, 7);
}

TEST(under_proc, "fork and wait work under proc", "[unit][sandbox]")
{
        struct confined c = { .words = "proc", .body = fork_and_wait };

        confine(&c);
        CHECK_INT(c.code, ==, 0);
}

static void run_programs(void *arg)
{
        (void)arg;
        CHECK_INT(system("exit 3"), ==, 3 << 8);
        CHECK_INT(system("/bin/ls /etc >/dev/null && cat /proc/self/status | grep -q Seccomp"), ==,
                0);
        CHECK_INT(system("sh -c 'echo $(date) | wc -c' >/dev/null"), ==, 0);
}

TEST(under_exec, "programs run under exec", "[unit][sandbox]")
{
        struct confined c = { .words = "rwcpath proc exec", .body = run_programs,
                .strictness = CREW__FOREIGN, .no_report = true };

        confine(&c);
        CHECK_INT(c.code, ==, 0);
}

static void use_a_queue(void *arg)
{
        char text[16];

        CHECK_INT(crew_queue_put(arg, "hello", 6, CREW_S(1)), ==, 0);
        CHECK_INT(crew_queue_get(arg, text, sizeof text, CREW_S(1)), ==, 6);
        CHECK_INT(crew_queue_get(arg, text, sizeof text, CREW_MS(50)), ==, -ETIMEDOUT);
        CHECK_INT(crew_queue_put(arg, "again", 6, CREW_S(1)), ==, 0);
}

TEST(queues, "a queue works under compute", "[unit][sandbox]")
{
        struct confined c = { .words = "compute", .body = use_a_queue };
        crew__segment *segment;
        crew_queue *q;
        char text[16];

        peer_needs_seccomp();
        REQUIRE_OK(crew_queue_new(&q, 0, NULL));
        REQUIRE_OK(crew__segment_find(&segment, crew_queue_ref(q)));
        c.events = segment->events;
        c.n_events = CREW__SEGMENT_EVENTS;
        c.arg = q;
        confine(&c);
        INFO("%s", c.violation.text);
        CHECK_INT(c.code, ==, 0);
        CHECK_INT(crew_queue_get(q, text, sizeof text, CREW_S(1)), ==, 6);
        CHECK_STR(text, "again");
        (void)crew__segment_unref(segment);
        (void)crew_queue_free(q);
}

static int control[2];

static void talk(void *arg)
{
        uint64_t one = 1;
        char text[8], ancillary[CMSG_SPACE(sizeof(int))];
        struct iovec part = { .iov_base = text, .iov_len = sizeof text };
        struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = ancillary,
                .msg_controllen = sizeof ancillary };

        CHECK_INT(write(*(int *)arg, &one, sizeof one), ==, sizeof one);
        CHECK_INT(recvmsg(control[1], &message, MSG_CMSG_CLOEXEC), ==, 2);
        CHECK(CMSG_FIRSTHDR(&message) != NULL);
        CHECK_INT(write(control[1], "ok", 2), ==, 2);
        if (crew__words_of_host())
                return; /* a sanitizer writes its findings */
        (void)!write(2, "", 0);
        CHECK(!"survived");
}

TEST(granted_descriptors, "compute reads, writes and is given descriptors only where granted",
        "[unit][sandbox]")
{
        int event = -1;
        char ancillary[CMSG_SPACE(sizeof(int))] = { 0 }, answer[4] = "";
        struct iovec part = { .iov_base = (char *)(uintptr_t) "hi", .iov_len = 2 };
        struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = ancillary,
                .msg_controllen = sizeof ancillary };
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        struct confined c = { .words = "compute", .body = talk, .arg = &event, .events = &event,
                .n_events = 1 };

        peer_needs_seccomp();
        event = eventfd(0, EFD_CLOEXEC);
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) == 0);
        *head = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET,
                .cmsg_type = SCM_RIGHTS };
        memcpy(CMSG_DATA(head), &event, sizeof event);
        REQUIRE(sendmsg(control[0], &message, 0) == 2);
        c.control = control[1];
        confine(&c);
        if (!crew__words_of_host()) {
                CHECK_INT(c.code, ==, CONFINED_DIED);
                CHECK_STR(c.violation.name, "write");
                CHECK_INT(c.violation.words, ==, CREW__STDIO);
        }
        CHECK_INT(recv(control[0], answer, sizeof answer, MSG_DONTWAIT), ==, 2);
        close(event);
        close(control[0]);
        close(control[1]);
}
