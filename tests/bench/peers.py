#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Python's side of the benchmarks; prints one number.

peers.py queue|simple SIZE PRODUCERS CONSUMERS SECONDS CPU,CPU   messages/s
peers.py start SECONDS                                           us per start and join
"""
import multiprocessing as mp
import os
import sys
import time


def pin(cpus, index, alone):
    os.sched_setaffinity(0, {cpus[index]} if alone else set(cpus))


def produce(q, barrier, stop, size, cpus, alone):
    pin(cpus, 0, alone)
    message = b"x" * size
    barrier.wait()
    while not stop.value:
        for _ in range(16):
            q.put(message)


def consume(q, barrier, result, size, cpus, alone):
    pin(cpus, 1, alone)
    count = 0
    barrier.wait()
    start = time.monotonic()
    while True:
        message = q.get()
        if message is None:
            break
        if len(message) != size:
            sys.exit("torn message")
        count += 1
    result.put((count, start, time.monotonic()))


def queue(kind, size, producers, consumers, seconds, cpus):
    ctx = mp.get_context("fork")
    # As many messages as the other peers' rings hold; SimpleQueue has no bound but its pipe.
    q = ctx.Queue(min(4096, (1 << 20) // size)) if kind == "queue" else ctx.SimpleQueue()
    result = ctx.SimpleQueue()
    stop = ctx.Value("i", 0, lock=False)
    barrier = ctx.Barrier(producers + consumers + 1)
    alone = producers == consumers == 1
    puts = [ctx.Process(target=produce, args=(q, barrier, stop, size, cpus, alone))
            for _ in range(producers)]
    gets = [ctx.Process(target=consume, args=(q, barrier, result, size, cpus, alone))
            for _ in range(consumers)]
    for p in puts + gets:
        p.start()
    barrier.wait()
    time.sleep(seconds)
    stop.value = 1
    for p in puts:
        p.join()
    for _ in gets:
        q.put(None)
    counts = [result.get() for _ in gets]
    for p in gets:
        p.join()
    print(sum(c[0] for c in counts) / (max(c[2] for c in counts) - min(c[1] for c in counts)))


def nothing():
    pass


def start(seconds):
    ctx = mp.get_context("fork")
    times = []
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(times) < 3:
        before = time.perf_counter()
        p = ctx.Process(target=nothing)
        p.start()
        p.join()
        times.append(time.perf_counter() - before)
    print(sorted(times)[len(times) // 2] * 1e6)


def main(args):
    if args[0] == "start":
        start(float(args[1]))
    else:
        queue(args[0], *map(int, args[1:4]), float(args[4]), [int(c) for c in args[5].split(",")])


if __name__ == "__main__":
    main(sys.argv[1:])
