"""Hashes the files it is told to, on nothing but the generated gRPC stubs.

The main thread leases and hashes; a second thread extends the leases, so that a long file never
costs one. Settings come from the environment: see `Settings`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from lessor.v1 import broker_pb2_grpc, job_pb2, lease_pb2

CHUNK = 1 << 20
BATCH = 4
WAIT_SECONDS = 20
CALL_SECONDS = 30
# Without a word from the broker for this long, the worker gives up.
PATIENCE_SECONDS = 60
# A connection on which nothing comes back for this long is pinged, and lost if that does not help
# within as long again.
KEEP_ALIVE_MS = 5000
RETRY = (Path(__file__).parent.parent / "retry.json").read_text()
# Another try may succeed where these failed; anything else is a mistake worth stopping for.
TRANSIENT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """The environment, read once. `hold_job` is the number of the job to sit on; 0 is none."""

    address: str = os.environ.get("LESSOR_ADDRESS", "127.0.0.1:7077")
    queue: str = os.environ.get("DEMO_QUEUE", "files")
    worker_id: str = os.environ.get("DEMO_WORKER_ID", f"python-{uuid.uuid4()}")
    lease_seconds: float = float(os.environ.get("DEMO_LEASE_SECONDS", "3"))
    hold_job: int = int(os.environ.get("DEMO_HOLD_JOB", "0"))
    hold_seconds: float = float(os.environ.get("DEMO_HOLD_SECONDS", "3600"))


class LeaseLost(Exception):
    """The job belongs to somebody else by now: drop it without a word to the broker."""


@dataclass(eq=False)
class Held:
    """A job this worker has the lease of."""

    leased: lease_pb2.LeasedJob
    lost: threading.Event = field(default_factory=threading.Event)

    @property
    def token(self) -> str:
        return self.leased.lease_token


class Worker:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.channel = grpc.insecure_channel(
            settings.address,
            options=[
                ("grpc.service_config", RETRY),
                ("grpc.keepalive_time_ms", KEEP_ALIVE_MS),
                # With `grpc.keepalive_timeout_ms` alone, grpcio waits a minute for the answer.
                ("grpc.http2.ping_timeout_ms", KEEP_ALIVE_MS),
                # Without limit: a lease that waits sends nothing but pings.
                ("grpc.http2.max_pings_without_data", 0),
            ],
        )
        self.stub = broker_pb2_grpc.JobBrokerStub(self.channel)
        self.stopping = threading.Event()
        self.held: set[Held] = set()
        self.held_changes = threading.Lock()
        self.jobs_begun = 0
        self.poll: grpc.Future[lease_pb2.LeaseResponse] | None = None

    def run(self) -> None:
        grpc.channel_ready_future(self.channel).result(timeout=CALL_SECONDS)
        threading.Thread(target=self.heartbeat, daemon=True).start()
        say("ready")
        while not self.stopping.is_set():
            batch = deque(self.lease())
            while batch and not self.stopping.is_set():
                self.work_on(batch.popleft())
            for job in batch:
                self.settle(job, lease_pb2.NackRequest(lease_token=job.token, release=Empty()))
        say("stopped")

    def stop(self, *_signal: object) -> None:
        """Asks the worker to end: the running job is finished, the others are given back."""
        self.stopping.set()
        if self.poll is not None:
            self.poll.cancel()

    def lease(self) -> list[Held]:
        """Waits for jobs. One `request_id` until an answer comes: a lost answer is replayed."""
        request = lease_pb2.LeaseRequest(
            queues=[self.settings.queue],
            worker_id=self.settings.worker_id,
            max_jobs=BATCH,
            lease_duration=seconds(self.settings.lease_seconds),
            wait=Duration(seconds=WAIT_SECONDS),
            request_id=str(uuid.uuid4()),
        )

        def ask() -> lease_pb2.LeaseResponse:
            self.poll = self.stub.Lease.future(
                request, timeout=WAIT_SECONDS + CALL_SECONDS, wait_for_ready=True
            )
            # Whoever stopped in the meantime could not know this call.
            if self.stopping.is_set():
                self.poll.cancel()
            return self.poll.result()

        try:
            answer = retried(ask)
        except grpc.FutureCancelledError:
            return []
        self.stopping.wait(answer.retry_after.ToTimedelta().total_seconds())
        jobs = [Held(leased) for leased in answer.jobs]
        with self.held_changes:
            self.held.update(jobs)
        return jobs

    def work_on(self, job: Held) -> None:
        name = job.leased.job.name
        self.jobs_begun += 1
        try:
            if self.jobs_begun == self.settings.hold_job:
                say("holding", name)
                self.stopping.wait(self.settings.hold_seconds)
            task = json.loads(job.leased.job.payload.data)
            result = digest(base64.b64decode(task["path_base64"]), job.lost)
        except LeaseLost:
            self.drop(job)
            say("lost", name)
        except (OSError, ValueError, KeyError) as error:
            say("failed", name, repr(error))
            code = "FILE_UNREADABLE" if isinstance(error, OSError) else "BAD_TASK"
            failure = job_pb2.Failure(code=code, message=str(error))
            retry = lease_pb2.NackRequest.Retry()
            self.settle(
                job, lease_pb2.NackRequest(lease_token=job.token, failure=failure, retry=retry)
            )
        else:
            body = job_pb2.Payload(
                data=json.dumps(result).encode(), content_type="application/json"
            )
            if self.settle(job, lease_pb2.AckRequest(lease_token=job.token, result=body)):
                say("done", name, f"{result['size']} bytes, {result['lines']} lines")

    def settle(self, job: Held, request: lease_pb2.AckRequest | lease_pb2.NackRequest) -> bool:
        """Acks or nacks; repeating either with the same token is safe."""
        call = self.stub.Ack if isinstance(request, lease_pb2.AckRequest) else self.stub.Nack
        try:
            retried(lambda: call(request, timeout=CALL_SECONDS, wait_for_ready=True))
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                raise
            say("lost", job.leased.job.name, str(error.details()))
            return False
        finally:
            self.drop(job)
        return True

    def drop(self, job: Held) -> None:
        with self.held_changes:
            self.held.discard(job)

    def heartbeat(self) -> None:
        pause = self.settings.lease_seconds / 3
        while True:
            time.sleep(pause)
            with self.held_changes:
                jobs = list(self.held)
            # All at once: a slow answer must not cost the lease of another job.
            for job, answer in [(job, self.extend(job, pause)) for job in jobs]:
                self.note_extension(job, answer)

    def extend(self, job: Held, timeout: float) -> grpc.Future[lease_pb2.ExtendLeaseResponse]:
        request = lease_pb2.ExtendLeaseRequest(lease_token=job.token)
        return self.stub.ExtendLease.future(request, timeout=timeout)

    def note_extension(self, job: Held, answer: grpc.Future[lease_pb2.ExtendLeaseResponse]) -> None:
        try:
            drain = answer.result().drain
        except grpc.RpcError as error:
            # Any other failure may pass: the next beat comes before the lease ends.
            if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                job.lost.set()
                self.drop(job)
        else:
            if drain:
                self.stop()


def retried(call: Callable[[], T]) -> T:
    """Repeats a call beyond what the channel does, which pauses between its own few tries."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            if error.code() not in TRANSIENT or time.monotonic() > give_up:
                raise


def digest(path: bytes, lost: threading.Event) -> dict[str, str | int]:
    """SHA-256, size in bytes and number of newlines of a file of any size."""
    sha, size, lines = hashlib.sha256(), 0, 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            if lost.is_set():
                raise LeaseLost
            sha.update(chunk)
            size += len(chunk)
            lines += chunk.count(b"\n")
    return {"sha256": sha.hexdigest(), "size": size, "lines": lines}


def seconds(value: float) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(round(value * 1000))
    return duration


def say(*words: str) -> None:
    print(*words, flush=True)


def main() -> int:
    worker = Worker(Settings())
    signal.signal(signal.SIGTERM, worker.stop)
    signal.signal(signal.SIGINT, worker.stop)
    try:
        worker.run()
    except (grpc.RpcError, grpc.FutureTimeoutError) as error:
        print(f"{worker.settings.worker_id}: {error!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
