"""What the library costs: the same work with it and with plain stubs, in turns, in one run.

usage: compare.py [BROKER_BINARY] [--jobs N] [--rounds N]; without a binary, LESSOR_BIN or `lessor`.

Ratios are what counts: figures depend on the machine. Each round starts with an empty queue on a
broker of its own with its jobs in memory, so that the broker's part is as small as it can be.
"""

from __future__ import annotations

import argparse
import logging
import os
import queue as queues
import re
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import grpc

from lessor import Client, LeasedJob, NewJob, Worker
from lessor.v1 import broker_pb2_grpc, enqueue_pb2, job_pb2, lease_pb2

CONCURRENCY = 16
PAYLOAD = b'{"to":"someone@example.com","subject":"hello"}'

Measure = Callable[[str, int], "Cost"]


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, and of this process's CPU."""

    wall: float
    cpu: float


@contextmanager
def broker(binary: str) -> Iterator[str]:
    """A broker with its jobs in memory; its address."""
    command = [binary, "serve", "--store", "sqlite::memory:", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        found = re.search(r"serving on (\S+?),", process.stdout.readline())
        assert found is not None
        try:
            yield found[1]
        finally:
            process.terminate()


def fill(address: str, jobs: int) -> None:
    with Client(address) as client:
        for begin in range(0, jobs, 1000):
            count = min(1000, jobs - begin)
            client.enqueue_batch([NewJob("bench", PAYLOAD) for _ in range(count)])


def plain_enqueue(address: str, jobs: int) -> Cost:
    """A call per job, from as many threads as the worker has places."""
    with grpc.insecure_channel(address) as channel, ThreadPoolExecutor(CONCURRENCY) as pool:
        stub = broker_pb2_grpc.JobBrokerStub(channel)

        def one(_: int) -> None:
            payload = job_pb2.Payload(data=PAYLOAD)
            request = enqueue_pb2.EnqueueRequest(
                queue="bench", payload=payload, request_id=str(uuid.uuid4())
            )
            stub.Enqueue(request, timeout=10)

        return timed(lambda: list(pool.map(one, range(jobs))))


def library_enqueue(address: str, jobs: int) -> Cost:
    with Client(address) as client, ThreadPoolExecutor(CONCURRENCY) as pool:
        return timed(
            lambda: list(pool.map(lambda _: client.enqueue("bench", PAYLOAD), range(jobs)))
        )


def plain_work(address: str, jobs: int) -> Cost:
    """As many threads as the worker has places; each leases a job, acks it, and so on."""
    fill(address, jobs)
    left = queues.SimpleQueue[int]()
    for n in range(jobs):
        left.put(n)
    with grpc.insecure_channel(address) as channel, ThreadPoolExecutor(CONCURRENCY) as pool:
        stub = broker_pb2_grpc.JobBrokerStub(channel)

        def loop(number: int) -> None:
            while not left.empty():
                request = lease_pb2.LeaseRequest(
                    queues=["bench"], worker_id=f"plain-{number}", request_id=str(uuid.uuid4())
                )
                for leased in stub.Lease(request, timeout=10).jobs:
                    stub.Ack(lease_pb2.AckRequest(lease_token=leased.lease_token), timeout=10)
                    left.get()

        return timed(lambda: list(pool.map(loop, range(CONCURRENCY))))


def library_work(kind: str) -> Measure:
    def measure(address: str, jobs: int) -> Cost:
        fill(address, jobs)
        worker = Worker("bench", address, concurrency=CONCURRENCY)
        left, done = iter(range(jobs - 1, -1, -1)), threading.Event()

        def count(job: LeasedJob) -> None:
            if next(left, 0) == 0:
                done.set()

        async def count_on_loop(job: LeasedJob) -> None:
            count(job)

        worker.handle("*", count_on_loop if kind == "loop" else count)

        def run() -> None:
            worker.start()
            done.wait()
            worker.close()

        return timed(run)

    return measure


def timed(work: Callable[[], object]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", nargs="?", default=os.environ.get("LESSOR_BIN", "lessor"))
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    logging.getLogger("lessor").setLevel(logging.ERROR)
    pairs: dict[str, tuple[Measure, Measure]] = {
        "enqueue, 16 threads": (plain_enqueue, library_enqueue),
        "work, coroutine handlers": (plain_work, library_work("loop")),
        "work, handlers in threads": (plain_work, library_work("thread")),
    }
    print(f"{'jobs/s (CPU of the client per job)':34} {'plain':>18} {'library':>18}  ratio")
    for name, pair in pairs.items():
        costs: tuple[list[Cost], list[Cost]] = ([], [])
        for _ in range(options.rounds):
            for measure, kept in zip(pair, costs, strict=True):
                with broker(options.binary) as address:
                    kept.append(measure(address, options.jobs))
        rates = [options.jobs / median(one.wall for one in kept) for kept in costs]
        cpus = [1e6 * median(one.cpu for one in kept) / options.jobs for kept in costs]
        shown = [f"{rate:6.0f} ({cpu:4.0f} us)" for rate, cpu in zip(rates, cpus, strict=True)]
        ratio = f"{rates[1] / rates[0]:.2f} ({cpus[1] / cpus[0]:.2f})"
        print(f"{name:34} {shown[0]:>18} {shown[1]:>18}  {ratio}", flush=True)


if __name__ == "__main__":
    main()
