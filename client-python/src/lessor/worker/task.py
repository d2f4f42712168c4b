"""Tasks: job types and their handlers."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, cast

from typing_extensions import Unpack

from lessor.core import Enqueued
from lessor.options import JobOptions, NewJob
from lessor.worker.leased import LeasedJob

if TYPE_CHECKING:
    from lessor.client import Client

#: What runs a job: it returns the result, or raises.
Handler: TypeAlias = Callable[[LeasedJob], object] | Callable[[LeasedJob], Awaitable[object]]
H = TypeVar("H", bound=Handler)


class RunIn(Enum):
    """Where handlers run."""

    LOOP = "loop"
    THREAD = "thread"
    PROCESS = "process"


class Task(Generic[H]):
    """A job type and its handler; still callable as the function it was made of."""

    def __init__(
        self, name: str, function: H, run_in: RunIn, queue: str | None, options: JobOptions
    ) -> None:
        self.name = name
        self.function = function
        self.run_in = run_in
        self._queue = queue
        self._options = options
        self.__doc__ = function.__doc__
        self.__name__ = getattr(function, "__name__", name)
        self.__wrapped__ = function
        #: Where a process of its own finds it.
        self.reference = (
            getattr(function, "__module__", ""),
            getattr(function, "__qualname__", ""),
        )

    def __call__(self, job: LeasedJob) -> Any:
        """Runs the handler here and now."""
        return self.function(job)

    def job(self, payload: object = None, /, **options: Unpack[JobOptions]) -> NewJob:
        """A job of this type, for the worker's queue."""
        if self._queue is None:
            raise ValueError(f"{self.name}: its worker serves several queues, so name one")
        named = cast(JobOptions, {"type": self.name, **self._options, **options})
        return NewJob(self._queue, payload, **named)

    def enqueue(
        self, client: Client, payload: object = None, /, **options: Unpack[JobOptions]
    ) -> Enqueued:
        """Enqueues such a job. For an `AsyncClient`: `await client.enqueue_job(task.job(...))`."""
        return client.enqueue_job(self.job(payload, **options))

    def __repr__(self) -> str:
        return f"<Task {self.name}>"


def where(function: Handler, run_in: RunIn | str | None) -> RunIn:
    """Where a handler runs: coroutines on the loop, others in a thread, unless told otherwise."""
    is_coroutine = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004
    )
    if run_in is None:
        return RunIn.LOOP if is_coroutine else RunIn.THREAD
    chosen = RunIn(run_in)
    if is_coroutine != (chosen is RunIn.LOOP):
        kind = "a coroutine function" if is_coroutine else "no coroutine function"
        raise TypeError(f"{function!r} is {kind}, so it cannot run in a {chosen.value}")
    if chosen is RunIn.PROCESS and "<locals>" in getattr(function, "__qualname__", "<locals>"):
        raise TypeError(f"{function!r} must be at the top level of a module to run in a process")
    return chosen
