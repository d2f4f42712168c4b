"""Times and durations, as Python and as the protocol have them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

#: A length of time: a `timedelta`, or seconds.
Span: TypeAlias = timedelta | float

_NANOS = 1_000_000_000


def to_seconds(span: Span) -> float:
    """The span in seconds."""
    return span.total_seconds() if isinstance(span, timedelta) else float(span)


def to_duration(span: Span) -> Duration:
    """The span as the protocol writes it."""
    message = Duration()
    if isinstance(span, timedelta):
        message.FromTimedelta(span)
    else:
        message.FromNanoseconds(round(span * _NANOS))
    return message


def from_duration(message: Duration) -> float:
    """In seconds."""
    return message.seconds + message.nanos / _NANOS


def to_timestamp(time: datetime) -> Timestamp:
    """The moment as the protocol writes it; it must know its time zone."""
    if time.tzinfo is None:
        raise ValueError("the time has no time zone; write datetime.now(timezone.utc), say")
    message = Timestamp()
    message.FromDatetime(time.astimezone(timezone.utc).replace(tzinfo=None))
    return message


def from_timestamp(message: Timestamp) -> datetime:
    """In UTC."""
    return message.ToDatetime(timezone.utc)
