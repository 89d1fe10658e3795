#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Python's side of the benchmarks; prints one number.

peers.py queue|simple SIZE PRODUCERS CONSUMERS SECONDS CPU,CPU   messages/s
peers.py start SECONDS                                           us per start and join
peers.py pool pool|executor|joblib CELL SECONDS CPU,CPU          as bench-pool.c says, by CELL:
         tasks (tasks/s), asleep and one (us), map (ms), start (us)
peers.py has-joblib                                              yes or no (a word)
"""
import concurrent.futures
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


WORKERS = 2
BATCH = 10000
ITEMS = 1000000


def increment(v):
    return v + 1


class Pool:
    """multiprocessing.Pool."""

    def __init__(self):
        self.pool = mp.get_context("fork").Pool(WORKERS)

    def one(self):
        self.pool.apply(nothing)

    def tasks(self):
        for r in [self.pool.apply_async(nothing) for _ in range(BATCH)]:
            r.get()

    def map(self):
        return self.pool.map(increment, range(ITEMS))

    def end(self):
        self.pool.terminate()
        self.pool.join()


class Executor:
    """concurrent.futures; its default of one item a chunk would take minutes: Pool's is used."""

    def __init__(self):
        self.pool = concurrent.futures.ProcessPoolExecutor(WORKERS, mp.get_context("fork"))

    def one(self):
        self.pool.submit(nothing).result()

    def tasks(self):
        for r in [self.pool.submit(nothing) for _ in range(BATCH)]:
            r.result()

    def map(self):
        return list(self.pool.map(increment, range(ITEMS), chunksize=ITEMS // (4 * WORKERS)))

    def end(self):
        self.pool.shutdown()


class Joblib(Executor):
    """Its executor for single tasks, joblib itself, which chooses its chunks, for the map."""

    def __init__(self):
        # Not loky's own executor, even as joblib's: joblib.Parallel would meet it and fail.
        from joblib.executor import get_memmapping_executor
        self.pool = get_memmapping_executor(WORKERS)

    def map(self):
        import joblib
        with joblib.Parallel(n_jobs=WORKERS) as parallel:
            return parallel(joblib.delayed(increment)(i) for i in range(ITEMS))

    def end(self):
        self.pool.shutdown(wait=True)


def timed(call, *, pause=0.0):
    if pause:
        time.sleep(pause)
    before = time.perf_counter()
    result = call()
    return time.perf_counter() - before, result


def start_pool(make):
    before = time.perf_counter()
    p = make()
    p.one()
    took = time.perf_counter() - before
    p.end()
    return took


def pool(kind, cell, seconds, cpus):
    make = {"pool": Pool, "executor": Executor, "joblib": Joblib}[kind]
    os.sched_setaffinity(0, set(cpus))
    p = None if cell == "start" else make()
    for _ in range(50 if p else 0):
        p.one()
    # A batch or a map takes longer than a run does anyway.
    least = 1 if cell in ("tasks", "map") else 3
    times = []
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(times) < least:
        if cell == "start":
            times.append(start_pool(make))
        elif cell == "map":
            took, result = timed(p.map)
            if result != list(range(1, ITEMS + 1)):
                sys.exit("wrong results")
            times.append(took)
        else:
            call = p.tasks if cell == "tasks" else p.one
            times.append(timed(call, pause=300e-6 if cell == "asleep" else 0)[0])
    if p:
        p.end()
    median = sorted(times)[len(times) // 2]
    print(BATCH / median if cell == "tasks" else median * (1e3 if cell == "map" else 1e6))


def has_joblib():
    try:
        import joblib  # noqa: F401
        print("yes")
    except ImportError:
        print("no")


def main(args):
    if args[0] == "start":
        start(float(args[1]))
    elif args[0] == "has-joblib":
        has_joblib()
    elif args[0] == "pool":
        pool(args[1], args[2], float(args[3]), [int(c) for c in args[4].split(",")])
    else:
        queue(args[0], *map(int, args[1:4]), float(args[4]), [int(c) for c in args[5].split(",")])


if __name__ == "__main__":
    main(sys.argv[1:])
