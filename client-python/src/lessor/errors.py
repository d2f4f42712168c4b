"""What can go wrong with a call, as exceptions to decide by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from google.protobuf.any_pb2 import Any

_DOMAIN = "lessor.dev"
_DETAILS_KEY = "grpc-status-details-bin"


@dataclass(frozen=True)
class FieldViolation:
    """A field of a request, and what is wrong with it."""

    field: str
    description: str


@dataclass(frozen=True)
class Details:
    """What the broker told about a failure."""

    reason: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    retry_after: timedelta | None = None
    field_violations: tuple[FieldViolation, ...] = ()


class LessorError(Exception):
    """A call failed. Decide by the class, then by `reason`; the message is for people.

    `reason` is a word of the error table of docs/protocol.md, `None` where no broker answered.
    """

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN

    def __init__(
        self, message: str, *, code: grpc.StatusCode | None = None, details: Details | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self._details = details or Details()

    @property
    def reason(self) -> str | None:
        """The broker's word for why, such as `QUEUE_FULL`."""
        return self._details.reason

    @property
    def metadata(self) -> Mapping[str, str]:
        """The variables of the reason, such as `limitBytes`."""
        return self._details.metadata

    @property
    def retry_after(self) -> timedelta | None:
        """Not to be tried again sooner than this, if the broker said so."""
        return self._details.retry_after

    @property
    def field_violations(self) -> tuple[FieldViolation, ...]:
        """The fields that are wrong, and why."""
        return self._details.field_violations

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.code, self._details))


class InvalidArgument(LessorError):
    """The request is wrong: fix it. `field_violations` names the fields."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class PayloadTooLarge(InvalidArgument):
    """A payload, result or checkpoint is over its limit: store it elsewhere, send a reference."""


class NotFound(LessorError):
    """There is no such job, queue or schedule, or no longer."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExists(LessorError):
    """The chosen job id is taken, or the dedup key is held and the job asked to be refused."""

    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(LessorError):
    """The state of things forbids it."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class LeaseLost(FailedPrecondition):
    """The lease is somebody else's, or gone: drop the work and do not try again."""


class LeaseSettled(FailedPrecondition):
    """The lease was settled before, by another verb."""


class Aborted(LessorError):
    """It has changed since it was read: read again, decide anew."""

    code = grpc.StatusCode.ABORTED


class ResourceExhausted(LessorError):
    """A limit is reached: back off for `retry_after` or longer."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class QueueFull(ResourceExhausted):
    """The queue holds as many unfinished jobs, or bytes of them, as it may."""


class Unavailable(LessorError):
    """The broker or its store is away, and was for all tries: try again later."""

    code = grpc.StatusCode.UNAVAILABLE


class DeadlineExceeded(LessorError):
    """No answer came in the time that the call had."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Unauthenticated(LessorError):
    """The broker wants a credential, or a better one."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(LessorError):
    """The credential does not allow it."""

    code = grpc.StatusCode.PERMISSION_DENIED


class OutOfRange(LessorError):
    """The events after a cursor are gone: list again, then watch."""

    code = grpc.StatusCode.OUT_OF_RANGE


class Unimplemented(LessorError):
    """The broker does not have the call."""

    code = grpc.StatusCode.UNIMPLEMENTED


class InternalError(LessorError):
    """A fault of the broker; `metadata["incident"]` is in its log, too."""

    code = grpc.StatusCode.INTERNAL


class ClientClosed(LessorError):
    """The client was closed."""

    code = grpc.StatusCode.CANCELLED


#: Who tries again would be told the same.
LASTING = (
    InvalidArgument,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    FailedPrecondition,
    OutOfRange,
    Unauthenticated,
    ClientClosed,
)

_BY_REASON: dict[str, type[LessorError]] = {
    "LEASE_LOST": LeaseLost,
    "LEASE_SETTLED": LeaseSettled,
    "PAYLOAD_TOO_LARGE": PayloadTooLarge,
    "QUEUE_FULL": QueueFull,
}
_BY_CODE: dict[grpc.StatusCode, type[LessorError]] = {
    one.code: one
    for one in (
        InvalidArgument,
        NotFound,
        AlreadyExists,
        FailedPrecondition,
        Aborted,
        ResourceExhausted,
        Unavailable,
        DeadlineExceeded,
        Unauthenticated,
        PermissionDenied,
        OutOfRange,
        Unimplemented,
        InternalError,
    )
}
_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def from_call(error: grpc.aio.AioRpcError, target: str) -> LessorError:
    """The error of a call that failed."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            return from_status(status_pb2.Status.FromString(value))
    message = error.details() or ""
    code = error.code()
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded(f"no answer from {target} in time")
    if code is grpc.StatusCode.UNAVAILABLE:
        message = f"no answer from {target}: {message}"
    return _make(code, message, Details())


def from_status(status: status_pb2.Status) -> LessorError:
    """The error that an item of a batch or a frame of a stream carries."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    return _make(code, status.message, _details(status.details))


def _make(code: grpc.StatusCode, message: str, details: Details) -> LessorError:
    kind = _BY_REASON.get(details.reason or "") or _BY_CODE.get(code, LessorError)
    return kind(message, code=code, details=details)


def _details(packed: Iterable[Any]) -> Details:
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    bad = error_details_pb2.BadRequest()
    reason: str | None = None
    metadata: Mapping[str, str] = {}
    retry_after: timedelta | None = None
    violations: tuple[FieldViolation, ...] = ()
    for one in packed:
        if one.Unpack(info) and info.domain == _DOMAIN:
            reason, metadata = info.reason, dict(info.metadata)
        elif one.Unpack(retry):
            retry_after = retry.retry_delay.ToTimedelta()
        elif one.Unpack(bad):
            violations = tuple(FieldViolation(v.field, v.description) for v in bad.field_violations)
    return Details(reason, metadata, retry_after, violations)


def _rebuild(
    kind: type[LessorError], message: str, code: grpc.StatusCode, details: Details
) -> LessorError:
    return kind(message, code=code, details=details)
