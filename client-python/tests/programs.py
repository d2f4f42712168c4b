"""Workers as programs of their own. usage: programs.py NAME ADDRESS QUEUE"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
import threading
import time

from lessor import JobStopped, JsonFormatter, LeasedJob, Worker

LEASE = 1.0


def say(*words: object) -> None:
    print(*words, flush=True)


def worker(address: str, queue: str, **options: object) -> Worker:
    return Worker(queue, address, lease_duration=LEASE, **options)  # type: ignore[arg-type]


def hold(address: str, queue: str) -> None:
    """Holds its job until it is killed."""
    one = worker(address, queue)

    @one.task("*")
    def stay(job: LeasedJob) -> None:
        say("holding", job.name)
        threading.Event().wait()

    one.run()


def poison(address: str, queue: str) -> None:
    """Dies of its job."""
    one = worker(address, queue)

    @one.task("*")
    def die(job: LeasedJob) -> None:
        say("dying of", job.name)
        os.kill(os.getpid(), signal.SIGKILL)

    one.run()


def pause(address: str, queue: str) -> None:
    """Takes a little longer than its lease."""
    one = worker(address, queue)

    @one.task("*")
    def stay(job: LeasedJob) -> str:
        say("running", job.name)
        try:
            job.sleep(1.5 * LEASE)
        except JobStopped as stopped:
            say("told", stopped.reason)
            raise
        say("ends late")
        return "too late"

    one.run()


def linger(address: str, queue: str) -> None:
    """Finishes its job after SIGTERM."""
    one = worker(address, queue)

    @one.task("*")
    async def stay(job: LeasedJob) -> str:
        say("running", job.name)
        while not one.is_draining:
            await asyncio.sleep(0.01)
        await asyncio.sleep(2 * LEASE)
        return "finished"

    one.run()
    say("ended")


def quick(address: str, queue: str) -> None:
    """Does its jobs at once, and logs with fields."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.getLogger("lessor").addHandler(handler)
    logging.getLogger("lessor").setLevel(logging.INFO)
    one = worker(address, queue)

    @one.task("*")
    def work(job: LeasedJob) -> str:
        if job.payload.value == "bad":
            raise ValueError("a bad job")
        return job.payload.text()

    one.run()


def shifted(address: str, queue: str) -> None:
    """Its clock is off, and jumps while it works; see shifted_clock.c."""
    clock = ctypes.CDLL(None)
    ahead = int(os.environ["CLOCK_OFFSET"])
    say("the clock is off by", round(time.time() - float(os.environ["TRUE_TIME"])))
    one = worker(address, queue)

    @one.task("*")
    def work(job: LeasedJob) -> str:
        clock.shift_clock(-ahead)
        job.sleep(2.5 * LEASE)
        return "in time"

    one.run()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
