"""One side of one workload, through the library or through plain stubs.

The interface of all drivers is in bench/drivers/README.md of the repository; this one has W1 and
W2. With `--form threads` handlers are functions in threads, with `library` coroutines.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import queue as queues
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc

from lessor import Client, LeasedJob, Worker
from lessor.v1 import broker_pb2_grpc, enqueue_pb2, job_pb2, lease_pb2, work_pb2

Span = tuple[int, int]


def callers(asked: argparse.Namespace, call: Callable[[], object]) -> Span:
    """As many threads as calls may be in flight, each one call after the other."""
    with ThreadPoolExecutor(asked.in_flight) as pool:
        begun = time.monotonic_ns()
        for _ in pool.map(lambda _: call(), range(asked.jobs)):
            pass
        return begun, time.monotonic_ns()


def channel(asked: argparse.Namespace) -> grpc.Channel:
    return grpc.insecure_channel(asked.address.removeprefix("http://"))


def enqueue_by_stubs(asked: argparse.Namespace) -> Span:
    payload = job_pb2.Payload(data=b"x" * asked.payload)
    with channel(asked) as opened:
        stub = broker_pb2_grpc.JobBrokerStub(opened)

        def one() -> None:
            request = enqueue_pb2.EnqueueRequest(
                queue=asked.queue, payload=payload, request_id=str(uuid.uuid4())
            )
            stub.Enqueue(request, timeout=10)

        return callers(asked, one)


def work_by_stubs(asked: argparse.Namespace) -> Span:
    """Acks on a stream, as little as works."""
    frames = queues.SimpleQueue[work_pb2.WorkRequest | None]()

    def allow(most: int) -> None:
        frames.put(work_pb2.WorkRequest(credit={"max_delivery_seq": most}))

    def said() -> Iterator[work_pb2.WorkRequest]:
        while (frame := frames.get()) is not None:
            yield frame

    hello = work_pb2.WorkRequest.Hello(
        worker=lease_pb2.Worker(worker_id="bare"),
        queues=[asked.queue],
        auto_extend=True,
    )
    begun = done = 0
    with channel(asked) as opened:
        frames.put(work_pb2.WorkRequest(hello=hello))
        allow(asked.in_flight)
        for reply in broker_pb2_grpc.JobBrokerStub(opened).Work(said()):
            if reply.HasField("ack"):
                done += 1
                if done == asked.jobs:
                    break
            elif reply.HasField("error"):
                raise RuntimeError(reply.error.message)
            elif reply.HasField("delivery"):
                begun = begun or time.monotonic_ns()
                number = reply.delivery.delivery_seq
                ack = lease_pb2.AckRequest(lease_token=reply.delivery.leased.lease_token)
                frames.put(
                    work_pb2.WorkRequest(ack=ack, request_seq=number, received_through=number)
                )
                if number % (asked.in_flight // 2) == 0:
                    allow(min(number + asked.in_flight, asked.jobs))
        ended = time.monotonic_ns()
        frames.put(None)
    return begun, ended


def enqueue_by_library(asked: argparse.Namespace) -> Span:
    payload = b"x" * asked.payload
    with Client(asked.address) as client:
        return callers(asked, lambda: client.enqueue(asked.queue, payload))


def work_by_library(asked: argparse.Namespace) -> Span:
    begun: list[int] = []
    taken, all_taken = itertools.count(1), threading.Event()

    def count() -> None:
        if not begun:
            begun.append(time.monotonic_ns())
        if next(taken) == asked.jobs:
            all_taken.set()

    def handle(job: LeasedJob) -> None:
        count()

    async def handle_on_loop(job: LeasedJob) -> None:
        count()

    worker = Worker(asked.queue, asked.address, concurrency=asked.in_flight)
    worker.handle("*", handle if asked.form == "threads" else handle_on_loop)
    worker.start()
    all_taken.wait()
    # Returns when the last acks are confirmed.
    worker.close()
    return begun[0], time.monotonic_ns()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=["W1", "W2"])
    parser.add_argument("--form", choices=["stubs", "library", "threads"], required=True)
    parser.add_argument("--role", choices=["producer", "worker"], required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--queue", required=True)
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--payload", type=int, default=256)
    asked = parser.parse_args()
    logging.getLogger("lessor").setLevel(logging.ERROR)
    sides = {
        ("producer", True): enqueue_by_stubs,
        ("producer", False): enqueue_by_library,
        ("worker", True): work_by_stubs,
        ("worker", False): work_by_library,
    }
    cpu = time.process_time()
    start, end = sides[asked.role, asked.form == "stubs"](asked)
    line = {
        "role": asked.role,
        "jobs": asked.jobs,
        "start_ns": start,
        "end_ns": end,
        "rate": asked.jobs / ((end - start) / 1e9),
        "cpu_s": time.process_time() - cpu,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
