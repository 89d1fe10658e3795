/* SPDX-License-Identifier: MIT */
#ifndef CREW_PROCESS_SERVER_H
#define CREW_PROCESS_SERVER_H

/*
 * A server: a small single-threaded process of crew's own beside the application, with one socket
 * to it, that ends with it. What it does is a service; the loop that all of them live in, and the
 * questions and answers, are here.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The largest request. */
enum { CREW__REQUEST_MAX = 256 };

/* The application's side. */
typedef struct crew__server {
        pid_t pid;
        int pidfd; /* -1: there is none */
        int socket;
        uint64_t asked; /* number of the last question */
} crew__server;

#define CREW__NO_SERVER ((crew__server){ .pid = 0, .pidfd = -1, .socket = -1 })

/* The server's side: what a service sees of the loop it runs in; see serve.c. */
typedef struct crew__serving crew__serving;

typedef struct crew__service {
        const char *name; /* of the process, at most 15 bytes */

        /* Answers a request (0 or more, or a negative errno). `fds` came with it, CREW__POST_MOST
         * at most, then -1; those that the service keeps it sets to -1. *with goes with the answer:
         * -1, or a descriptor of the service's. */
        int (*request)(crew__serving *s, const void *request, size_t size, int *fds, int *with);

        /* The watched process in `row` has ended; the row is free when this returns. */
        void (*ended)(crew__serving *s, unsigned row);

        /* The application is gone and all its requests were served; the server ends after this. */
        void (*bereaved)(crew__serving *s);
} crew__service;

/*
 * Makes a server of which the application is copied (no exec). Its pages pin the application's as
 * they were (shared mappings it drops). It uses system calls only: the application may have had
 * threads that held the locks of malloc or stdio. It blocks all signals, leads a session of its
 * own, keeps no descriptor but the socket and the application's pidfd, and raises its soft limit of
 * descriptors to the hard one. Call it with all signals blocked.
 * Returns 0; -EMFILE, -ENFILE, -EAGAIN, -ENOMEM: nothing is left.
 */
int crew__server_start(crew__server *server, const crew__service *service);

/*
 * Sends a request with copies of the `n` descriptors (-1: none) and waits for the answer,
 * `patience` at most; one question at a time. An answer that comes too late is dropped by the next
 * question. Returns it, and in *with (may be NULL) the descriptor that came with it or -1; -EPIPE:
 * the server is dead; -ETIMEDOUT: it does not answer; -EMFILE: no descriptor was left for the
 * answer's.
 */
int crew__server_ask(crew__server *server, const void *request, size_t size, const int *fds,
        size_t n, int *with, int64_t patience);

/*
 * Tells the server that there will be no more requests and waits for its end, which is at once when
 * it watches nothing; else it is killed. Bounded in time. The server is gone from *server.
 */
void crew__server_end(crew__server *server);

/* The life of a server that was copied, from the fork on. */
void crew__serve(const crew__service *service, int socket, int application)
        __attribute__((noreturn));

/* The loop of every server: serves requests and tells of ends, until the socket has ended and
 * nothing is watched, or the application is gone. */
void crew__serving_run(const crew__service *service, int socket, int application)
        __attribute__((noreturn));

/* For services. Watches a pidfd, which is the table's from now on: its row, or a negative errno. */
int crew__serving_watch(crew__serving *s, int pidfd);

/* The pidfd in a row. */
int crew__serving_pidfd(const crew__serving *s, unsigned row);

/* Sends a signal to all that are watched. */
void crew__serving_signal(crew__serving *s, int sig);

#endif
