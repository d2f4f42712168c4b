"""What happens to jobs and queues, as the broker tells it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from typing_extensions import TypedDict, Unpack

from lessor.durations import Span, from_timestamp, to_duration, to_timestamp
from lessor.job import Failure, JobState, Progress
from lessor.payload import Payload
from lessor.v1 import event_pb2


class Event:
    """Something that happened. `message` is the same as the protocol has it."""

    __slots__ = ("message",)

    def __init__(self, message: event_pb2.Event) -> None:
        self.message = message

    @property
    def id(self) -> str:
        """A repeated delivery has the same."""
        return self.message.id

    @property
    def type(self) -> str:
        """What happened, such as `JOB_SUCCEEDED`; the words are those of the protocol."""
        try:
            return event_pb2.Event.Type.Name(self.message.type)
        except ValueError:
            return "TYPE_UNSPECIFIED"

    @property
    def time(self) -> datetime:
        """When, by the broker's clock."""
        return from_timestamp(self.message.time)

    @property
    def queue(self) -> str:
        """The queue concerned."""
        return self.message.queue

    @property
    def job(self) -> str:
        """The name of the job; empty for an event that is not about one."""
        return self.message.job

    @property
    def job_type(self) -> str:
        """The type of the job."""
        return self.message.job_type

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels of the job."""
        return dict(self.message.labels)

    @property
    def state(self) -> JobState:
        """The state of the job afterwards."""
        return JobState.of(self.message.to_state)

    @property
    def state_before(self) -> JobState:
        """The state of the job before."""
        return JobState.of(self.message.from_state)

    @property
    def attempt(self) -> int:
        """Attempts of the job that count."""
        return self.message.attempt

    @property
    def worker_id(self) -> str:
        """The worker concerned."""
        return self.message.worker_id

    @property
    def progress(self) -> Progress | None:
        """What the worker reported."""
        if not self.message.HasField("progress"):
            return None
        return Progress.from_message(self.message.progress)

    @property
    def failure(self) -> Failure | None:
        """Why the attempt failed or the job died."""
        if not self.message.HasField("failure"):
            return None
        return Failure.from_message(self.message.failure)

    @property
    def result(self) -> Payload | None:
        """The job's result, if the watch asked for it."""
        if not self.message.HasField("result"):
            return None
        return Payload.from_message(self.message.result)

    @property
    def run_duration(self) -> timedelta:
        """How long the attempt ran."""
        return self.message.run_duration.ToTimedelta()

    @property
    def reason(self) -> str:
        """Why, in the words of the caller or the broker."""
        return self.message.reason

    def __repr__(self) -> str:
        return f"<Event {self.type} {self.job or self.queue}>"


class WatchOptions(TypedDict, total=False):
    """What to watch, and where to begin: now, unless one of the last three says otherwise.

    queues: names, prefixes such as `mail-*`, or `*`; all by default
    job: the name of one job: its present state comes first, and its end is the end of the watch
    types: only these events, such as `JOB_DEAD`
    labels: only of jobs with all of these labels
    include_result: put the result into `JOB_SUCCEEDED`
    bookmark_interval: the longest silence of the broker, 15 s by default
    cursor: strictly after this one of an earlier watch
    start_time: from this time on
    oldest: all that is kept
    """

    queues: Iterable[str]
    job: str
    types: Iterable[str]
    labels: Mapping[str, str]
    include_result: bool
    bookmark_interval: Span
    cursor: str
    start_time: datetime
    oldest: bool


def watch_request(**options: Unpack[WatchOptions]) -> event_pb2.WatchEventsRequest:
    """The options as the protocol has them."""
    request = event_pb2.WatchEventsRequest(
        queues=options.get("queues", ()),
        job=options.get("job", ""),
        types=list(options.get("types", ())),
        labels=options.get("labels"),
        include_result=options.get("include_result", False),
    )
    if (interval := options.get("bookmark_interval")) is not None:
        request.bookmark_interval.CopyFrom(to_duration(interval))
    if (cursor := options.get("cursor")) is not None:
        request.cursor = cursor
    elif (time := options.get("start_time")) is not None:
        request.start_time.CopyFrom(to_timestamp(time))
    elif options.get("oldest"):
        request.oldest = True
    return request


@dataclass
class Page:
    """Events that came together, and the cursor after them."""

    events: list[Event]
    cursor: str
