"""Client and worker for the Lessor job broker.

    from lessor import Client, LeasedJob, Worker

    worker = Worker("emails")

    @worker.task
    async def welcome(job: LeasedJob) -> dict[str, str]:
        return {"sent_to": job.payload.json()["to"]}

    Client().enqueue("emails", {"to": "a@example.com"}, type="welcome")
    worker.run()

The protocol itself is in `lessor.v1`.
"""

from __future__ import annotations

from lessor.address import Tls, Token
from lessor.aio import AsyncClient, AsyncWatch
from lessor.client import Client, Watch
from lessor.core import Enqueued, Outcome, WaitTimeout
from lessor.durations import Span
from lessor.errors import (
    Aborted,
    AlreadyExists,
    ClientClosed,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    InternalError,
    InvalidArgument,
    LeaseLost,
    LeaseSettled,
    LessorError,
    NotFound,
    OutOfRange,
    PayloadTooLarge,
    PermissionDenied,
    QueueFull,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from lessor.events import Event
from lessor.job import Attempt, AttemptOutcome, Failure, Job, JobState, Progress
from lessor.logs import JsonFormatter
from lessor.options import Backoff, Dedup, JobOptions, NewJob, OnDuplicate, Retention, Scope
from lessor.payload import Payload
from lessor.version import VERSION as __version__
from lessor.worker import (
    Done,
    JobStopped,
    LeasedJob,
    Reject,
    Release,
    Retry,
    Snooze,
    StopReason,
    Task,
    Verdict,
    Worker,
)
from lessor.worker.task import RunIn
from lessor.worker.worker import Order

__all__ = [
    "Aborted",
    "AlreadyExists",
    "AsyncClient",
    "AsyncWatch",
    "Attempt",
    "AttemptOutcome",
    "Backoff",
    "Client",
    "ClientClosed",
    "DeadlineExceeded",
    "Dedup",
    "Done",
    "Enqueued",
    "Event",
    "FailedPrecondition",
    "Failure",
    "FieldViolation",
    "InternalError",
    "InvalidArgument",
    "Job",
    "JobOptions",
    "JobState",
    "JobStopped",
    "JsonFormatter",
    "LeaseLost",
    "LeaseSettled",
    "LeasedJob",
    "LessorError",
    "NewJob",
    "NotFound",
    "OnDuplicate",
    "Order",
    "OutOfRange",
    "Outcome",
    "Payload",
    "PayloadTooLarge",
    "PermissionDenied",
    "Progress",
    "QueueFull",
    "Reject",
    "Release",
    "ResourceExhausted",
    "Retention",
    "Retry",
    "RunIn",
    "Scope",
    "Snooze",
    "Span",
    "StopReason",
    "Task",
    "Tls",
    "Token",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Verdict",
    "WaitTimeout",
    "Watch",
    "Worker",
    "__version__",
]
