"""A job in the hands of its handler."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any, Protocol

from lessor.durations import Span, to_seconds
from lessor.job import JobFields, Progress
from lessor.payload import Payload
from lessor.v1 import job_pb2
from lessor.worker.outcome import JobStopped


class Saved(Future[None]):
    """The broker's answer to a word of a handler: `await` it, ask its `result()`, or leave it."""

    def __await__(self) -> Generator[Any, None, None]:
        return asyncio.wrap_future(self).__await__()


class Line(Protocol):
    """What carries a handler's words to the broker."""

    def extend(self, progress: Progress | None, checkpoint: Payload | None) -> Saved:
        """Tells progress, or saves a checkpoint."""


class Stop:
    """Whether a handler should stop. Told by one thread, heard by another."""

    def __init__(self) -> None:
        self.reason: JobStopped | None = None
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._listeners: list[Callable[[JobStopped], object]] = []

    def tell(self, reason: JobStopped) -> bool:
        """Tells why; the first reason holds. Whether this was the first."""
        with self._lock:
            if self.reason is not None:
                return False
            self.reason = reason
            listeners = list(self._listeners)
        self._event.set()
        for listener in listeners:
            listener(reason)
        return True

    def listen(self, listener: Callable[[JobStopped], object]) -> None:
        """Calls it when told, at once if that has happened."""
        with self._lock:
            if self.reason is None:
                self._listeners.append(listener)
                return
        listener(self.reason)

    def wait(self, seconds: float | None) -> bool:
        """Waits until told."""
        return self._event.wait(seconds)


class LeasedJob(JobFields):
    """A job that is this worker's until its handler ends or its lease is lost.

    The lease is extended by the worker. What is said here returns at once, in handlers of every
    kind; the answer may be awaited (`await job.progress(50)`, `job.progress(50).result()`).
    """

    __slots__ = ("_line", "_stop")

    def __init__(self, message: job_pb2.Job, stop: Stop, line: Line) -> None:
        super().__init__(message)
        self._stop = stop
        self._line = line

    def progress(
        self, percent: float = 0.0, message: str = "", *, done: int = 0, total: int = 0
    ) -> Saved:
        """Tells how far the work has come; watchers and readers of the job see it.

        With `total` the percentage follows from `done`. May be called as often as wanted: while one
        report is under way, only the newest of the others is kept.
        """
        if total and not percent:
            percent = 100.0 * done / total
        return self._line.extend(Progress(percent, message, done, total), None)

    def save_checkpoint(self, value: object) -> Saved:
        """Keeps this for a next attempt, where it is `job.checkpoint`."""
        return self._line.extend(None, Payload.of(value))

    @property
    def stop_reason(self) -> JobStopped | None:
        """Why the handler should stop, if it should."""
        return self._stop.reason

    @property
    def should_stop(self) -> bool:
        """The lease is lost, the job cancelled, its time over, or the worker about to end."""
        return self._stop.reason is not None

    def check(self) -> None:
        """Raises `JobStopped` once the handler should stop: for handlers in threads.

        Handlers that are coroutines are cancelled, and those in processes ended, without asking.
        """
        if self._stop.reason is not None:
            raise self._stop.reason

    def sleep(self, span: Span) -> None:
        """Sleeps, and raises `JobStopped` as soon as the handler should stop: for threads."""
        self._stop.wait(to_seconds(span))
        self.check()
