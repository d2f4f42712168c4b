"""How a handler says what becomes of its job, and how it is told to stop."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from google.protobuf.empty_pb2 import Empty

from lessor.durations import Span, to_duration
from lessor.job import Failure
from lessor.options import NewJob
from lessor.payload import Payload
from lessor.v1 import lease_pb2

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_LONGEST_CODE = 64


@dataclass(frozen=True)
class Done:
    """Returned by a handler: the job is done, and these jobs of its queue are made with that."""

    result: object = None
    then: Iterable[NewJob] = ()


class Verdict(Exception):
    """Raised by a handler: what becomes of its job."""

    def nack(self) -> lease_pb2.NackRequest:
        """As the protocol has it."""
        raise NotImplementedError


class _Failed(Verdict):
    def __init__(
        self, message: str = "", *, code: str, details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.failure = Failure(code, message, "", details)


class Retry(_Failed):
    """The attempt has failed: try again, after this time rather than by the job's policy."""

    def __init__(
        self,
        message: str = "",
        *,
        after: Span | None = None,
        code: str = "RETRY",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, code=code, details=details)
        self.after = after

    def nack(self) -> lease_pb2.NackRequest:
        """As the protocol has it."""
        request = failed(self.failure)
        if self.after is not None:
            request.retry.delay.CopyFrom(to_duration(self.after))
        return request


class Reject(_Failed):
    """The job can never be done: it becomes a dead letter at once."""

    def __init__(
        self, message: str = "", *, code: str = "REJECTED", details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message, code=code, details=details)

    def nack(self) -> lease_pb2.NackRequest:
        """As the protocol has it."""
        return lease_pb2.NackRequest(failure=self.failure.to_message(), dead=Empty())


class Snooze(Verdict):
    """Not now: run the job after this time. The attempt does not count."""

    def __init__(self, delay: Span) -> None:
        super().__init__(f"snoozed for {delay}")
        self.delay = delay

    def nack(self) -> lease_pb2.NackRequest:
        """As the protocol has it."""
        request = lease_pb2.NackRequest()
        request.snooze.delay.CopyFrom(to_duration(self.delay))
        return request


class Release(Verdict):
    """Give the job back at once, uncounted."""

    def nack(self) -> lease_pb2.NackRequest:
        """As the protocol has it."""
        return lease_pb2.NackRequest(release=Empty())


class StopReason(str, Enum):
    """Why a handler should stop."""

    CANCELLED = "CANCELLED"
    LEASE_LOST = "LEASE_LOST"
    TIMED_OUT = "TIMED_OUT"
    DRAINING = "DRAINING"

    def __str__(self) -> str:
        return self.value


class JobStopped(BaseException):
    """Raised in a handler that asks `job.check()` once it should stop.

    Like `asyncio.CancelledError` it is no `Exception`, so that a handler's own `except Exception`
    does not catch it by mistake.
    """

    def __init__(self, reason: StopReason, message: str = "") -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}" if self.message else str(self.reason)

    def nack(self) -> lease_pb2.NackRequest:
        """What becomes of a job whose handler stopped because of this."""
        if self.reason is StopReason.DRAINING:
            return Release().nack()
        code = "ATTEMPT_TIMEOUT" if self.reason is StopReason.TIMED_OUT else str(self.reason)
        return failed(Failure(code, self.message or "the handler was told to stop"))


def failed(failure: Failure) -> lease_pb2.NackRequest:
    """The attempt has failed; the job's policy decides."""
    retry = lease_pb2.NackRequest.Retry()
    return lease_pb2.NackRequest(failure=failure.to_message(), retry=retry)


def nack_of(fault: BaseException) -> lease_pb2.NackRequest:
    """What becomes of a job whose handler raised this."""
    if isinstance(fault, (Verdict, JobStopped)):
        return fault.nack()
    stack = "".join(traceback.format_exception(type(fault), fault, fault.__traceback__))
    return failed(Failure(code_of(fault), str(fault), stack))


def code_of(fault: BaseException) -> str:
    """The name of its class as a failure code: `ValueError` is VALUE_ERROR."""
    words = _WORD.sub("_", type(fault).__name__).upper()
    return re.sub(r"[^A-Z0-9_]", "_", words).lstrip("_0123456789")[:_LONGEST_CODE] or "ERROR"


def ack_of(returned: object) -> lease_pb2.AckRequest:
    """What becomes of a job whose handler returned this."""
    done = returned if isinstance(returned, Done) else Done(returned)
    request = lease_pb2.AckRequest(then=[job.request for job in done.then])
    if done.result is not None:
        request.result.CopyFrom(Payload.of(done.result).to_message())
    return request
