"""One run of a worker, from its first stream to its goodbye."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from typing_extensions import Self

from lessor import link
from lessor.connection import Connection, Settings
from lessor.v1 import lease_pb2, work_pb2
from lessor.worker.calls import CallLine
from lessor.worker.crew import Handlers
from lessor.worker.health import Health
from lessor.worker.ledger import Ledger
from lessor.worker.stream import StreamLine
from lessor.worker.task import Task

log = logging.getLogger("lessor.worker")

# How long handlers that were told to stop at the end have to say what becomes of their jobs.
_LAST_WORDS = 1.0


class Line(Enum):
    """A way to get jobs."""

    STREAM = "stream"
    CALLS = "calls"


@dataclass(frozen=True)
class Plan:
    """What a worker is to do."""

    settings: Settings
    hello: work_pb2.WorkRequest.Hello
    tasks: Mapping[str, Task[Any]]
    concurrency: int
    grace: float
    stop_grace: float
    health: tuple[str, int] | None
    lines: tuple[Line, ...]


class Shift:
    """Connects the link's loop, where jobs come and go, with where handlers run."""

    def __init__(self, plan: Plan, loop: asyncio.AbstractEventLoop) -> None:
        self._plan = plan
        self._link = link.get()
        self._connection = Connection(plan.settings)
        self._handlers = Handlers(plan.tasks, loop, self.worker_id, self._drained_by_operator)
        self._ledger = Ledger(
            plan.concurrency, plan.stop_grace, self._handlers, self._link.post, self._link.loop
        )
        self._draining = asyncio.Event()
        self._line: StreamLine | CallLine | None = None
        self._is_alive = True
        self._health = Health(*plan.health, self._report) if plan.health else None

    @property
    def worker_id(self) -> str:
        """The name under which it leases."""
        return self._plan.hello.worker.worker_id

    @property
    def is_connected(self) -> bool:
        """Whether it hears from a broker."""
        return self._ledger.is_connected

    @property
    def is_draining(self) -> bool:
        """Whether it is about to end."""
        return self._draining.is_set()

    @property
    def busy(self) -> int:
        """How many jobs run."""
        return self._ledger.busy

    @property
    def health_port(self) -> int | None:
        """Where it says how it is."""
        return self._health.port if self._health else None

    def __enter__(self) -> Self:
        self._link.post(self._link.connections.add, self._connection)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_alive = False
        if self._health is not None:
            self._health.close()
        self._handlers.close()

    async def work(self) -> None:
        """Works until drained."""
        fields = {"worker_id": self.worker_id, "queues": list(self._plan.hello.queues)}
        log.info("the worker begins", extra=fields)
        working = asyncio.wrap_future(self._link.submit(self._on_link()))
        try:
            await asyncio.shield(working)
        except asyncio.CancelledError:
            # Whoever cancels a worker wants it to end in good order as well.
            self.drain()
            await working
            raise
        finally:
            log.info("the worker has ended", extra=fields)

    def drain(self) -> None:
        """Takes no more jobs, and ends when those that run are finished."""
        self._link.post(self._draining.set)

    async def _on_link(self) -> None:
        working = asyncio.ensure_future(self._lines())
        draining = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait({working, draining}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                await self._part(working)
            if not working.cancelled():
                await working
        finally:
            draining.cancel()
            await self._connection.close()

    async def _lines(self) -> None:
        for kind in self._plan.lines:
            if kind is Line.STREAM:
                self._line = StreamLine(self._connection, self._plan.hello, self._ledger)
            else:
                self._line = CallLine(self._connection, _lease(self._plan.hello), self._ledger)
            if await self._line.run():
                return
            log.info("no work stream: leasing by calls", extra={"worker_id": self.worker_id})

    async def _part(self, working: asyncio.Future[None]) -> None:
        """Finishes what runs, within the grace; gives the rest back; says goodbye."""
        log.info("draining", extra={"worker_id": self.worker_id, "running": self._ledger.busy})
        self._ledger.refuse_more()
        if self._line is not None:
            self._line.stop()
        if not await self._idle(self._plan.grace, working):
            self._ledger.hurry()
            await self._idle(_LAST_WORDS, working)
            self._ledger.give_back()
            await self._idle(self._plan.settings.timeout, working)
        if self._line is not None:
            self._line.close()
        await asyncio.wait({working}, timeout=self._plan.settings.timeout)
        # A broker that is away cannot be told; what is held runs out.
        working.cancel()
        await asyncio.wait({working})

    async def _idle(self, seconds: float, working: asyncio.Future[None]) -> bool:
        """Waits until nothing runs and all is answered; whether it is so."""
        idle = asyncio.ensure_future(self._ledger.idle.wait())
        both: set[asyncio.Future[Any]] = {idle, working}
        await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        idle.cancel()
        return self._ledger.idle.is_set()

    def _drained_by_operator(self, reason: str) -> None:
        log.warning("drained: %s", reason, extra={"worker_id": self.worker_id})
        self._draining.set()

    def _report(self) -> dict[str, Any]:
        return {
            "alive": self._is_alive and self._link.answers(_LAST_WORDS),
            "connected": self._ledger.is_connected,
            "worker_id": self.worker_id,
            "running": self._ledger.busy,
            "concurrency": self._plan.concurrency,
            "draining": self.is_draining,
        }


def _lease(hello: work_pb2.WorkRequest.Hello) -> lease_pb2.LeaseRequest:
    """The wish of a stream as that of a call."""
    request = lease_pb2.LeaseRequest(
        queues=hello.queues,
        worker_id=hello.worker.worker_id,
        types=hello.types,
        order=hello.order,
        weights=hello.weights,
        worker=hello.worker,
    )
    if hello.HasField("lease_duration"):
        request.lease_duration.CopyFrom(hello.lease_duration)
    return request
