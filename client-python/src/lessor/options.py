"""What a producer says about a job. What is left out is the queue's to decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from typing_extensions import TypedDict, Unpack

from lessor.durations import Span, to_duration, to_timestamp
from lessor.payload import Payload
from lessor.v1 import enqueue_pb2, job_pb2


@dataclass(frozen=True)
class Backoff:
    """When a failed attempt is tried again, and how often.

    The wait after attempt n is `initial * multiplier ** (n - 1)`, at most `longest`, less the share
    `jitter` at random; or the nth entry of `waits`, of which the last one repeats.
    """

    max_attempts: int = 0
    initial: Span | None = None
    multiplier: float = 0.0
    longest: Span | None = None
    jitter: float | None = None
    waits: Sequence[Span] = ()
    fatal_codes: Sequence[str] = ()
    max_duration: Span | None = None

    def to_message(self) -> job_pb2.RetryPolicy:
        """As the protocol has it."""
        message = job_pb2.RetryPolicy(
            max_attempts=self.max_attempts,
            multiplier=self.multiplier,
            backoff_list=[to_duration(wait) for wait in self.waits],
            fatal_codes=self.fatal_codes,
        )
        if self.initial is not None:
            message.initial_backoff.CopyFrom(to_duration(self.initial))
        if self.longest is not None:
            message.max_backoff.CopyFrom(to_duration(self.longest))
        if self.jitter is not None:
            message.jitter = self.jitter
        if self.max_duration is not None:
            message.max_retry_duration.CopyFrom(to_duration(self.max_duration))
        return message


class Scope(Enum):
    """How long a dedup key is held."""

    UNTIL_STARTED = job_pb2.Dedup.SCOPE_UNTIL_STARTED
    UNTIL_FINISHED = job_pb2.Dedup.SCOPE_UNTIL_FINISHED
    WINDOW = job_pb2.Dedup.SCOPE_WINDOW


class OnDuplicate(Enum):
    """What an enqueue does that finds its dedup key held."""

    KEEP = job_pb2.Dedup.ON_DUPLICATE_KEEP
    REPLACE = job_pb2.Dedup.ON_DUPLICATE_REPLACE
    RUN_AFTER = job_pb2.Dedup.ON_DUPLICATE_RUN_AFTER
    REJECT = job_pb2.Dedup.ON_DUPLICATE_REJECT


@dataclass(frozen=True)
class Dedup:
    """Two jobs of one queue with the same key are the same work."""

    key: str
    scope: Scope = Scope.UNTIL_FINISHED
    window: Span | None = None
    on_duplicate: OnDuplicate = OnDuplicate.KEEP

    def to_message(self) -> job_pb2.Dedup:
        """As the protocol has it."""
        message = job_pb2.Dedup(
            key=self.key, scope=self.scope.value, on_duplicate=self.on_duplicate.value
        )
        if self.window is not None:
            message.window.CopyFrom(to_duration(self.window))
        return message


@dataclass(frozen=True)
class Retention:
    """How long a finished job is kept; a count of -1 sets no limit by number."""

    succeeded_ttl: Span | None = None
    succeeded_count: int = 0
    dead_ttl: Span | None = None
    dead_count: int = 0

    def to_message(self) -> job_pb2.Retention:
        """As the protocol has it."""
        message = job_pb2.Retention(
            succeeded_count=self.succeeded_count, dead_count=self.dead_count
        )
        if self.succeeded_ttl is not None:
            message.succeeded_ttl.CopyFrom(to_duration(self.succeeded_ttl))
        if self.dead_ttl is not None:
            message.dead_ttl.CopyFrom(to_duration(self.dead_ttl))
        return message


class JobOptions(TypedDict, total=False):
    """The options of a job.

    type: what kind of work it is
    job_id: an id of your own, unique in the queue
    request_id: a UUID by which a repeated enqueue is known; one is made if there is none
    priority: -1000 to 1000, the greater runs sooner
    delay, schedule_time: when it may run
    ttl, expire_time: when it is no longer worth starting
    retry: a `Backoff`, or the number of attempts
    lease_duration: how long a worker may be silent
    attempt_timeout: how long one attempt may take
    dedup: a `Dedup`, or its key
    labels, owner: by which it is found
    retention: how long it is kept when it is finished
    trace_context: `traceparent`, `tracestate`, `baggage`; that of the current span by default
    validate_only: check the request and change nothing
    """

    type: str
    job_id: str
    request_id: str
    priority: int
    delay: Span
    schedule_time: datetime
    ttl: Span
    expire_time: datetime
    retry: Backoff | int
    lease_duration: Span
    attempt_timeout: Span
    dedup: Dedup | str
    labels: Mapping[str, str]
    owner: str
    retention: Retention
    trace_context: Mapping[str, str]
    validate_only: bool


class NewJob:
    """A job to be: where it goes, what it is to do, and its options."""

    __slots__ = ("request", "trace_context")

    def __init__(self, queue: str, payload: object = None, **options: Unpack[JobOptions]) -> None:
        self.request = _request(queue, payload, options)
        self.trace_context = options.get("trace_context")

    def __repr__(self) -> str:
        return f"<NewJob {self.request.queue} {self.request.type}>"


def _request(queue: str, payload: object, options: JobOptions) -> enqueue_pb2.EnqueueRequest:
    request = enqueue_pb2.EnqueueRequest(
        queue=queue,
        type=options.get("type", ""),
        job_id=options.get("job_id", ""),
        request_id=options.get("request_id", ""),
        priority=options.get("priority", 0),
        labels=options.get("labels"),
        owner=options.get("owner", ""),
        validate_only=options.get("validate_only", False),
    )
    if payload is not None:
        request.payload.CopyFrom(Payload.of(payload).to_message())
    if (delay := options.get("delay")) is not None:
        request.delay.CopyFrom(to_duration(delay))
    if (time := options.get("schedule_time")) is not None:
        _only_one("delay", "schedule_time", delay)
        request.schedule_time.CopyFrom(to_timestamp(time))
    if (ttl := options.get("ttl")) is not None:
        request.ttl.CopyFrom(to_duration(ttl))
    if (end := options.get("expire_time")) is not None:
        _only_one("ttl", "expire_time", ttl)
        request.expire_time.CopyFrom(to_timestamp(end))
    if (retry := options.get("retry")) is not None:
        policy = Backoff(retry) if isinstance(retry, int) else retry
        request.retry_policy.CopyFrom(policy.to_message())
    if (lease := options.get("lease_duration")) is not None:
        request.lease_duration.CopyFrom(to_duration(lease))
    if (timeout := options.get("attempt_timeout")) is not None:
        request.attempt_timeout.CopyFrom(to_duration(timeout))
    if (dedup := options.get("dedup")) is not None:
        rule = Dedup(dedup) if isinstance(dedup, str) else dedup
        request.dedup.CopyFrom(rule.to_message())
    if (retention := options.get("retention")) is not None:
        request.retention.CopyFrom(retention.to_message())
    return request


def _only_one(first: str, second: str, value: object) -> None:
    if value is not None:
        raise ValueError(f"{first} and {second} exclude each other")
