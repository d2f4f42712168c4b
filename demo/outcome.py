"""What a run came to: the figures, and everything that is wrong with it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp
from lessor.v1 import job_pb2

from files import Facts

SUCCEEDED = job_pb2.Attempt.OUTCOME_SUCCEEDED
LEASE_EXPIRED = job_pb2.Attempt.OUTCOME_LEASE_EXPIRED


@dataclass
class Worker:
    """One process that worked, by what the broker says of it."""

    language: str
    worker_id: str
    end: str = ""
    jobs: int = 0
    bytes: int = 0
    leases_expired: int = 0


@dataclass(frozen=True)
class Times:
    """In seconds."""

    p50: float
    p95: float
    max: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Times | None:
        ordered = sorted(seconds)
        if not ordered:
            return None
        return cls(nearest_rank(ordered, 0.5), nearest_rank(ordered, 0.95), ordered[-1])


@dataclass(frozen=True)
class Rescue:
    """The job whose worker was killed in the middle of it."""

    path: str
    killed: str
    finished_by: str
    deliveries: int
    seconds: float  # from the kill to the next lease of the job


@dataclass
class Outcome:
    files: int
    workers: list[Worker]
    deliveries: int = 0
    requeues: int = 0
    identical: int = 0
    wait: Times | None = None
    run: Times | None = None
    rescue: Rescue | None = None
    problems: list[str] = field(default_factory=list)


def count(files: int, jobs: list[job_pb2.Job], workers: list[Worker]) -> Outcome:
    """The figures of a run, from what its jobs tell about themselves."""
    outcome = Outcome(files, workers)
    by_id = {worker.worker_id: worker for worker in workers}
    runs = []
    for job in jobs:
        outcome.deliveries += job.delivery_count
        outcome.requeues += max(0, job.delivery_count - 1)
        for attempt in job.attempts:
            worker = by_id[attempt.worker_id]
            if attempt.outcome == LEASE_EXPIRED:
                worker.leases_expired += 1
            elif attempt.outcome == SUCCEEDED:
                worker.jobs += 1
                if (result := result_of(job)) is not None:
                    worker.bytes += result.size
                runs.append(between(attempt.start_time, attempt.end_time))
    outcome.run = Times.of(runs)
    outcome.wait = Times.of(
        between(job.create_time, job.start_time) for job in jobs if job.HasField("start_time")
    )
    return outcome


def compare(job: job_pb2.Job | None, expected: Facts | None) -> str | None:
    """What is wrong with one job, or None: its result must be what the system's tools say."""
    if job is None:
        return "lost: the broker does not know the job any more"
    if job.state != job_pb2.Job.STATE_SUCCEEDED:
        state = job_pb2.Job.State.Name(job.state)
        return f"not done: {state} {job.last_failure.code} {job.last_failure.message}".rstrip()
    if expected is None:
        return "cannot be read any more, so there is nothing to compare with"
    result = result_of(job)
    if result is None:
        return f"has a result that is none: {job.result.data!r}"
    if result.sha256 != expected.sha256:
        return f"differs: worker {result.sha256}, sha256sum {expected.sha256}"
    return None if result == expected else f"differs: worker {result}, file {expected}"


def result_of(job: job_pb2.Job) -> Facts | None:
    try:
        return Facts(**json.loads(job.result.data))
    except (ValueError, TypeError):
        return None


def rescue(job: job_pb2.Job, path: str, killed: str, killed_at: float) -> Rescue | None:
    """How the job of the killed worker was saved; None if it never ran again."""
    saved = [attempt for attempt in job.attempts if attempt.outcome == SUCCEEDED]
    if not saved or saved[0].worker_id == killed:
        return None
    seconds = saved[0].start_time.ToNanoseconds() / 1e9 - killed_at
    return Rescue(path, killed, saved[0].worker_id, job.delivery_count, seconds)


def between(start: Timestamp, end: Timestamp) -> float:
    return (end.ToNanoseconds() - start.ToNanoseconds()) / 1e9


def nearest_rank(ordered: list[float], share: float) -> float:
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
