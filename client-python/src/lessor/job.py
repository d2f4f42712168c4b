"""A job as the broker tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf import json_format

from lessor.durations import from_timestamp
from lessor.payload import Payload
from lessor.v1 import job_pb2

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

_E = TypeVar("_E", bound="_Word")


class _Word(str, Enum):
    """A word of the protocol; one that this version does not know is UNSPECIFIED."""

    @classmethod
    def read(cls: type[_E], name: str, prefix: str) -> _E:
        try:
            return cls(name.removeprefix(prefix))
        except ValueError:
            return cls("UNSPECIFIED")

    def __str__(self) -> str:
        return str(self.value)


class JobState(_Word):
    """Where a job stands; the last four are final."""

    UNSPECIFIED = "UNSPECIFIED"
    SCHEDULED = "SCHEDULED"
    READY = "READY"
    LEASED = "LEASED"
    RETRYING = "RETRYING"
    BLOCKED = "BLOCKED"
    SUCCEEDED = "SUCCEEDED"
    DEAD = "DEAD"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"

    @property
    def is_final(self) -> bool:
        """Nothing will happen to the job any more."""
        return self in _FINAL

    @classmethod
    def of(cls, number: int) -> JobState:
        """By the number of the protocol."""
        try:
            name = job_pb2.Job.State.Name(number)
        except ValueError:
            return cls.UNSPECIFIED
        return cls.read(name, "STATE_")

    @property
    def number(self) -> int:
        """The number of the protocol."""
        return job_pb2.Job.State.Value(f"STATE_{self.value}")


_FINAL = frozenset({JobState.SUCCEEDED, JobState.DEAD, JobState.CANCELLED, JobState.EXPIRED})


class AttemptOutcome(_Word):
    """How an attempt ended."""

    UNSPECIFIED = "UNSPECIFIED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    LEASE_EXPIRED = "LEASE_EXPIRED"
    TIMED_OUT = "TIMED_OUT"
    RELEASED = "RELEASED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed."""

    code: str = ""
    message: str = ""
    stack: str = ""
    details: Mapping[str, Any] | None = None

    @classmethod
    def from_message(cls, message: job_pb2.Failure) -> Failure:
        """As the protocol has it."""
        details = (
            json_format.MessageToDict(message.details) if message.HasField("details") else None
        )
        return cls(message.code, message.message, message.stack, details)

    def to_message(self) -> job_pb2.Failure:
        """As the protocol has it."""
        message = job_pb2.Failure(code=self.code, message=self.message, stack=self.stack)
        if self.details is not None:
            message.details.update(self.details)
        return message


@dataclass(frozen=True)
class Progress:
    """How far an attempt has come."""

    percent: float = 0.0
    message: str = ""
    done: int = 0
    total: int = 0

    @classmethod
    def from_message(cls, message: job_pb2.Progress) -> Progress:
        """As the protocol has it."""
        return cls(message.percent, message.message, message.done, message.total)

    def to_message(self) -> job_pb2.Progress:
        """As the protocol has it."""
        return job_pb2.Progress(
            percent=self.percent, message=self.message, done=self.done, total=self.total
        )


@dataclass(frozen=True)
class Attempt:
    """One lease of a job, and how it ended."""

    number: int
    worker_id: str
    start_time: datetime | None
    end_time: datetime | None
    outcome: AttemptOutcome
    failure: Failure | None

    @classmethod
    def from_message(cls, message: job_pb2.Attempt) -> Attempt:
        """As the protocol has it."""
        outcome = job_pb2.Attempt.Outcome.Name(message.outcome)
        return cls(
            message.number,
            message.worker_id,
            _time(message, "start_time"),
            _time(message, "end_time"),
            AttemptOutcome.read(outcome, "OUTCOME_"),
            Failure.from_message(message.failure) if message.HasField("failure") else None,
        )


class JobFields:
    """What a job is. All times are the broker's.

    `message` is the same as the protocol has it, with what has no property here.
    """

    __slots__ = ("message",)

    def __init__(self, message: job_pb2.Job) -> None:
        self.message = message

    @property
    def name(self) -> str:
        """`queues/{queue}/jobs/{id}`: what names the job in calls."""
        return self.message.name

    @property
    def queue(self) -> str:
        """The queue that it is in."""
        return self.message.name.split("/")[1]

    @property
    def id(self) -> str:
        """The last part of its name."""
        return self.message.name.rsplit("/", 1)[1]

    @property
    def type(self) -> str:
        """What kind of work it is; handlers are chosen by it."""
        return self.message.type

    @property
    def state(self) -> JobState:
        """Where it stands."""
        return JobState.of(self.message.state)

    @property
    def payload(self) -> Payload:
        """The work to do. Empty where the broker told the job without it."""
        return Payload.from_message(self.message.payload)

    @property
    def result(self) -> Payload | None:
        """What its worker returned."""
        return self._payload("result")

    @property
    def checkpoint(self) -> Payload | None:
        """What an attempt saved for the next one."""
        return self._payload("checkpoint")

    @property
    def priority(self) -> int:
        """From -1000 to 1000; the greater runs sooner."""
        return self.message.priority

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels by which it is found."""
        return dict(self.message.labels)

    @property
    def owner(self) -> str:
        """On whose behalf it was enqueued."""
        return self.message.owner

    @property
    def attempt(self) -> int:
        """Attempts that count, from 1 on while it runs."""
        return self.message.attempt

    @property
    def delivery_count(self) -> int:
        """How often it was leased, whether that counts or not."""
        return self.message.delivery_count

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The newest ten, newest first."""
        return tuple(Attempt.from_message(one) for one in self.message.attempts)

    @property
    def last_failure(self) -> Failure | None:
        """Why the latest attempt that failed did so."""
        if not self.message.HasField("last_failure"):
            return None
        return Failure.from_message(self.message.last_failure)

    @property
    def cancel_requested(self) -> bool:
        """Somebody wants it cancelled, and its worker has not given in yet."""
        return self.message.cancel_requested

    @property
    def worker_id(self) -> str:
        """The worker that holds it; empty when none does."""
        return self.message.worker_id

    @property
    def create_time(self) -> datetime | None:
        """When it was enqueued."""
        return _time(self.message, "create_time")

    @property
    def schedule_time(self) -> datetime | None:
        """When it may run, or run again."""
        return _time(self.message, "schedule_time")

    @property
    def expire_time(self) -> datetime | None:
        """It never starts after this."""
        return _time(self.message, "expire_time")

    @property
    def start_time(self) -> datetime | None:
        """When it was leased first."""
        return _time(self.message, "start_time")

    @property
    def end_time(self) -> datetime | None:
        """When it reached its final state."""
        return _time(self.message, "end_time")

    @property
    def trace_context(self) -> Mapping[str, str]:
        """The producer's `traceparent`, `tracestate` and `baggage`."""
        return dict(self.message.trace_context)

    @property
    def etag(self) -> str:
        """Its version."""
        return self.message.etag

    def _payload(self, field: str) -> Payload | None:
        if not self.message.HasField(field):
            return None
        return Payload.from_message(getattr(self.message, field))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} {self.state}>"


class Job(JobFields):
    """A job as it was when the broker told it."""

    __slots__ = ()

    @property
    def progress(self) -> Progress | None:
        """What its worker said last."""
        if not self.message.HasField("progress"):
            return None
        return Progress.from_message(self.message.progress)

    def __reduce__(self) -> tuple[object, ...]:
        return (_unpickle, (self.message.SerializeToString(),))


def _unpickle(data: bytes) -> Job:
    return Job(job_pb2.Job.FromString(data))


def _time(message: Any, field: str) -> datetime | None:
    if not message.HasField(field):
        return None
    time: Timestamp = getattr(message, field)
    return from_timestamp(time)
