"""The worker, as its users see it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from types import TracebackType
from typing import Any, TypeVar, overload

from typing_extensions import Self, Unpack

from lessor.address import Address, Tls, Token
from lessor.connection import Settings
from lessor.durations import Span, to_duration, to_seconds
from lessor.options import JobOptions
from lessor.v1 import lease_pb2, work_pb2
from lessor.version import SDK
from lessor.worker.crew import ANY
from lessor.worker.shift import Line, Plan, Shift
from lessor.worker.task import H, RunIn, Task, where

log = logging.getLogger("lessor.worker")

T = TypeVar("T")


class Order(Enum):
    """How to choose between several queues."""

    FAIR = lease_pb2.ORDER_FAIR
    STRICT = lease_pb2.ORDER_STRICT
    WEIGHTED = lease_pb2.ORDER_WEIGHTED


class Worker:
    """Leases jobs and runs their handlers.

    queues: names, prefixes such as `mail-*`, or `*`
    url, token, tls, timeout: as of `Client`
    concurrency: how many jobs run at once
    worker_id: unique per start of the process, which the default is
    display_name, labels: what operators see of it
    types: only jobs of these types; `"known"` means those that it has handlers for
    order, weights: how to choose between the queues
    lease_duration: how long the worker may be silent before its jobs go to others
    grace: how long a stopping worker lets its handlers finish
    stop_grace: how long a handler that was told to stop keeps its place
    health: the port of an HTTP address that says how it is, or (host, port)
    use_stream: whether to use the Work stream, where the broker has it

    Nothing is opened before `run`, so a worker may be made when its module is imported.
    """

    def __init__(
        self,
        queues: str | Iterable[str],
        url: str | None = None,
        *,
        token: Token | None = None,
        tls: Tls | None = None,
        timeout: Span = 10.0,
        concurrency: int = 10,
        worker_id: str | None = None,
        display_name: str = "",
        labels: Mapping[str, str] | None = None,
        types: Iterable[str] | str = (),
        order: Order = Order.FAIR,
        weights: Mapping[str, int] | None = None,
        lease_duration: Span | None = None,
        grace: Span = 30.0,
        stop_grace: Span = 10.0,
        health: int | tuple[str, int] | None = None,
        use_stream: bool = True,
        channel_options: Mapping[str, str | int] | None = None,
    ) -> None:
        if concurrency < 1:
            raise ValueError("concurrency must be at least 1")
        address = Address.parse(url)
        self._settings = Settings(address, tls, token, to_seconds(timeout), channel_options)
        self._queues = (queues,) if isinstance(queues, str) else tuple(queues)
        self._types = types
        self._worker = lease_pb2.Worker(
            worker_id=worker_id or "",
            display_name=display_name,
            labels=labels,
            sdk=SDK,
            concurrency=concurrency,
        )
        self._order = order
        self._weights = dict(weights or {})
        self._lease_duration = lease_duration
        self._concurrency = concurrency
        self._grace = to_seconds(grace)
        self._stop_grace = to_seconds(stop_grace)
        self._health = ("0.0.0.0", health) if isinstance(health, int) else health
        self._use_stream = use_stream
        self._tasks: dict[str, Task[Any]] = {}
        self._shift: Shift | None = None
        self._thread: threading.Thread | None = None
        self._fault: BaseException | None = None
        self._started = threading.Event()

    # What it can do.

    @overload
    def task(
        self,
        name: str | None = None,
        /,
        *,
        run_in: RunIn | str | None = None,
        **options: Unpack[JobOptions],
    ) -> Callable[[H], Task[H]]: ...

    @overload
    def task(self, name: H, /) -> Task[H]: ...

    def task(
        self,
        name: str | H | None = None,
        /,
        *,
        run_in: RunIn | str | None = None,
        **options: Unpack[JobOptions],
    ) -> Callable[[H], Task[H]] | Task[H]:
        """Makes a function the handler of a job type, which is the function's name by default.

        Coroutine functions run on the event loop, others in threads; with `run_in="process"` each
        job has a process of its own, for work that needs a CPU. `"*"` takes all types that have no
        handler. The options are those of the jobs that the task itself enqueues.
        """
        if callable(name):
            return self.handle(name.__name__, name)

        def decorate(function: H) -> Task[H]:
            return self.handle(name or function.__name__, function, run_in=run_in, **options)

        return decorate

    def handle(
        self,
        name: str,
        function: H,
        *,
        run_in: RunIn | str | None = None,
        **options: Unpack[JobOptions],
    ) -> Task[H]:
        """As `task`, for functions and methods that are there already."""
        if name in self._tasks:
            raise ValueError(f"{name!r} has a handler already")
        queue = self._queues[0] if len(self._queues) == 1 and "*" not in self._queues[0] else None
        task = Task(name, function, where(function, run_in), queue, options)
        self._tasks[name] = task
        return task

    # Its life.

    def run(self) -> None:
        """Works until SIGTERM, SIGINT or `drain`; then finishes what runs, within the grace.

        Raises when the broker refuses the worker for good.
        """
        asyncio.run(self.run_async())

    async def run_async(self) -> None:
        """As `run`, with coroutine handlers on this event loop."""
        if self._shift is not None:
            raise RuntimeError("the worker runs already")
        loop = asyncio.get_running_loop()
        shift = self._shift = Shift(self._plan(), loop)
        signals = _listen(loop, shift.drain)
        try:
            with shift:
                self._started.set()
                await shift.work()
        finally:
            for number in signals:
                loop.remove_signal_handler(number)
            self._shift = None
            self._started.clear()

    def start(self) -> None:
        """As `run`, in a thread of its own; see `drain` and `close`."""
        if self._thread is not None:
            raise RuntimeError("the worker runs already")
        self._fault = None
        self._thread = threading.Thread(target=self._in_thread, name="lessor-worker", daemon=True)
        self._thread.start()
        self._started.wait(self._settings.timeout)

    def drain(self) -> None:
        """Takes no more jobs, and ends when those that run are finished. From any thread."""
        if (shift := self._shift) is not None:
            shift.drain()

    def close(self) -> None:
        """Drains a worker that was started, and waits for its end."""
        self.drain()
        if (thread := self._thread) is not None:
            thread.join()
            self._thread = None
            if self._fault is not None:
                raise self._fault

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # How it is.

    @property
    def worker_id(self) -> str:
        """The name under which it leases; one is made when it starts."""
        return self._shift.worker_id if self._shift else self._worker.worker_id

    @property
    def is_connected(self) -> bool:
        """Whether it hears from a broker."""
        return self._shift is not None and self._shift.is_connected

    @property
    def is_draining(self) -> bool:
        """Whether it is about to end."""
        return self._shift is not None and self._shift.is_draining

    @property
    def busy(self) -> int:
        """How many jobs run."""
        return self._shift.busy if self._shift else 0

    @property
    def health_port(self) -> int | None:
        """Where it says how it is."""
        return self._shift.health_port if self._shift else None

    @property
    def tasks(self) -> Sequence[Task[Any]]:
        """What it has handlers for."""
        return tuple(self._tasks.values())

    def _in_thread(self) -> None:
        try:
            self.run()
        except BaseException as fault:
            self._fault = fault
            log.error("the worker has ended: %s", repr(fault))
        finally:
            self._started.set()

    def _plan(self) -> Plan:
        worker = lease_pb2.Worker()
        worker.CopyFrom(self._worker)
        worker.worker_id = worker.worker_id or f"{os.uname().nodename[:60]}-{uuid.uuid4()}"
        known = [name for name in self._tasks if name != ANY]
        types = known if self._types == "known" else list(self._types)
        hello = work_pb2.WorkRequest.Hello(
            worker=worker,
            queues=self._queues,
            types=types,
            order=self._order.value,
            weights=self._weights,
            auto_extend=True,
        )
        if self._lease_duration is not None:
            hello.lease_duration.CopyFrom(to_duration(self._lease_duration))
        lines = (Line.STREAM, Line.CALLS) if self._use_stream else (Line.CALLS,)
        return Plan(
            self._settings,
            hello,
            dict(self._tasks),
            self._concurrency,
            self._grace,
            self._stop_grace,
            self._health,
            lines,
        )


def _listen(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> list[signal.Signals]:
    """Drains on the signals that end programs. The main thread alone hears signals."""
    if threading.current_thread() is not threading.main_thread():
        return []
    signals = [signal.SIGTERM, signal.SIGINT]
    for number in signals:
        loop.add_signal_handler(number, stop)
    return signals
