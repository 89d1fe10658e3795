/* SPDX-License-Identifier: MIT */
#ifndef CREW_PROCESS_SERVER_H
#define CREW_PROCESS_SERVER_H

/*
 * A server: a small single-threaded process of crew's own beside the application, with one socket
 * to it, that ends with it. What it does is a service; the rest is here.
 *
 * It is a copy of the application (no exec), so its pages pin the application's as they were
 * (shared mappings it drops). From the fork on it uses system calls only: the application may have
 * had threads that held the locks of malloc or stdio. It blocks all signals, leads a session of its
 * own, keeps no descriptor but the socket and the application's pidfd, and raises its soft limit of
 * descriptors to the hard one.
 */

#include <stddef.h>
#include <sys/types.h>

/* The largest request. */
enum { CREW__REQUEST_MAX = 256 };

/* The application's side. */
typedef struct crew__server {
        pid_t pid;
        int pidfd; /* -1: there is none */
        int socket;
} crew__server;

#define CREW__NO_SERVER ((crew__server){ .pid = 0, .pidfd = -1, .socket = -1 })

/* The server's side: what a service sees of the loop it runs in; see serve.c. */
typedef struct crew__serving crew__serving;

typedef struct crew__service {
        const char *name; /* of the process, at most 15 bytes */

        /* Answers a request (0 or more, or a negative errno). `fd` came with it, or is -1; it
         * belongs to the service. */
        int (*request)(crew__serving *s, const void *request, size_t size, int fd);

        /* The watched process in `row` has ended; the row is free when this returns. */
        void (*ended)(crew__serving *s, unsigned row);

        /* The application is gone and all its requests were served; the server ends after this. */
        void (*bereaved)(crew__serving *s);
} crew__service;

/*
 * Makes the server process. Call it with all signals blocked.
 * Returns 0; -EMFILE, -ENFILE, -EAGAIN, -ENOMEM: nothing is left.
 */
int crew__server_start(crew__server *server, const crew__service *service);

/*
 * Sends a request with a copy of `fd` (-1: none) and waits for the answer.
 * Returns it; -EPIPE: the server is dead; -ETIMEDOUT: it does not answer.
 */
int crew__server_ask(const crew__server *server, const void *request, size_t size, int fd);

/*
 * Tells the server that there will be no more requests and waits for its end, which is at once when
 * it watches nothing; else it is killed. Bounded in time. The server is gone from *server.
 */
void crew__server_end(crew__server *server);

/* The life of the server process, from the fork on. */
void crew__serve(const crew__service *service, int socket, int application)
        __attribute__((noreturn));

/* For services. Watches a pidfd, which is the table's from now on: its row, or a negative errno. */
int crew__serving_watch(crew__serving *s, int pidfd);

/* Sends a signal to all that are watched. */
void crew__serving_signal(crew__serving *s, int sig);

#endif
