"""The worker: leases jobs, runs their handlers, settles them."""

from __future__ import annotations

from lessor.worker.leased import LeasedJob
from lessor.worker.outcome import (
    Done,
    JobStopped,
    Reject,
    Release,
    Retry,
    Snooze,
    StopReason,
    Verdict,
)
from lessor.worker.task import Task
from lessor.worker.worker import Worker

__all__ = [
    "Done",
    "JobStopped",
    "LeasedJob",
    "Reject",
    "Release",
    "Retry",
    "Snooze",
    "StopReason",
    "Task",
    "Verdict",
    "Worker",
]
