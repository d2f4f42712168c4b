"""What `Client` and `AsyncClient` have in common: the calls, made on the link's loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from google.protobuf.message import Message

from lessor import link, pauses, telemetry
from lessor.connection import Connection, Settings
from lessor.durations import Span, to_duration, to_seconds
from lessor.errors import ClientClosed, LessorError, Unavailable
from lessor.job import Job, JobState
from lessor.join import Joiner, replies, together
from lessor.methods import BATCH_ENQUEUE, CANCEL_JOB, GET_JOB, WAIT_JOB, unary
from lessor.options import NewJob
from lessor.v1 import broker_pb2, enqueue_pb2

T = TypeVar("T")

_LONGEST_WAIT = 30.0


class Outcome(str, Enum):
    """What an enqueue did."""

    CREATED = "CREATED"
    DEDUPLICATED = "DEDUPLICATED"
    REPLACED = "REPLACED"
    REPLAYED = "REPLAYED"
    UNSPECIFIED = "UNSPECIFIED"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Enqueued:
    """A job that the broker has: the new one, or the earlier one that answers for it."""

    job: Job
    outcome: Outcome

    @property
    def name(self) -> str:
        """The name of the job."""
        return self.job.name

    @property
    def id(self) -> str:
        """The last part of the name."""
        return self.job.id

    @classmethod
    def of(cls, response: enqueue_pb2.EnqueueResponse) -> Enqueued:
        """As the protocol has it."""
        try:
            name = enqueue_pb2.EnqueueResponse.Outcome.Name(response.outcome)
            outcome = Outcome(name.removeprefix("OUTCOME_"))
        except ValueError:
            outcome = Outcome.UNSPECIFIED
        return cls(Job(response.job), outcome)


class WaitTimeout(LessorError, TimeoutError):
    """The job is not where it was waited for. `job` is how it stood last."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"{job.name} is {job.state} still")
        self.job = job

    def __reduce__(self) -> tuple[object, ...]:
        return (WaitTimeout, (self.job,))


def name_of(job: Job | Enqueued | str) -> str:
    """The name that calls take."""
    return job if isinstance(job, str) else job.name


@dataclass(frozen=True)
class _Open:
    """What there is while a client is open, in one process."""

    link: link.Link
    connection: Connection
    joiner: Joiner
    pid: int


class Core:
    """A client's state, made by the first call and made anew in a forked process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._open: _Open | None = None
        self._is_closed = False
        self._lock = threading.Lock()

    def opened(self) -> _Open:
        """What calls need."""
        state = self._open
        if state is not None and state.pid == os.getpid():
            return state
        if self._is_closed:
            raise ClientClosed("the client is closed")
        if state is not None:
            # A fork may have happened while another thread held it.
            self._lock = threading.Lock()
        with self._lock:
            if self._open is None or self._open.pid != os.getpid():
                shared = link.get()
                connection = Connection(self.settings)
                shared.post(shared.connections.add, connection)
                joiner = Joiner(connection, shared)
                self._open = _Open(shared, connection, joiner, os.getpid())
            return self._open

    def run(self, work: Callable[[Connection], Coroutine[Any, Any, T]]) -> Future[T]:
        """Does the work on the link's loop."""
        state = self.opened()
        return state.link.submit(work(state.connection))

    def enqueue(self, job: NewJob) -> Future[enqueue_pb2.EnqueueResponse]:
        """Lets the job ride with others."""
        joiner = self.opened().joiner
        span = telemetry.Sending(job.request.queue, job.trace_context)
        answer = joiner.enqueue(job.request, span.trace_context)
        answer.add_done_callback(span.end)
        return answer

    def enqueue_many(
        self, jobs: Iterable[NewJob], *, partial: bool
    ) -> Future[list[enqueue_pb2.EnqueueResponse | LessorError]]:
        """One batch."""
        batch = list(jobs)
        if not batch:
            none: Future[list[enqueue_pb2.EnqueueResponse | LessorError]] = Future()
            none.set_result([])
            return none
        request = together((job.request for job in batch), partial=partial)
        span = telemetry.Sending(batch[0].request.queue, batch[0].trace_context)
        metadata = tuple(span.trace_context.items())

        async def send(connection: Connection) -> list[enqueue_pb2.EnqueueResponse | LessorError]:
            return replies(await connection.call(BATCH_ENQUEUE, request, metadata=metadata))

        answer = self.run(send)
        answer.add_done_callback(span.end)
        return answer

    def get(self, name: str) -> Future[Job]:
        """Reads a job in full."""

        async def ask(connection: Connection) -> Job:
            return Job(await connection.call(GET_JOB, broker_pb2.GetJobRequest(name=name)))

        return self.run(ask)

    def cancel(self, name: str, reason: str, grace: Span | None, etag: str) -> Future[Job]:
        """Calls a job off."""
        request = broker_pb2.CancelJobRequest(name=name, reason=reason, etag=etag)
        if grace is not None:
            request.grace.CopyFrom(to_duration(grace))

        async def ask(connection: Connection) -> Job:
            return Job(await connection.call(CANCEL_JOB, request))

        return self.run(ask)

    def wait(self, name: str, timeout: Span | None, until: Iterable[JobState]) -> Future[Job]:
        """Waits for a job to end, or to come into one of these states."""
        bound = None if timeout is None else to_seconds(timeout)
        states = [state.number for state in until]
        return self.run(lambda connection: _wait(connection, name, bound, states))

    def call(self, name: str, request: Message, timeout: Span | None) -> Future[Any]:
        """Makes any call that has one answer."""
        method = unary(name)
        bound = None if timeout is None else to_seconds(timeout)
        return self.run(lambda connection: connection.call(method, request, timeout=bound))

    def close(self) -> None:
        """Ends it; what is under way fails."""
        self._is_closed = True
        state, self._open = self._open, None
        if state is None or state.pid != os.getpid():
            return

        async def end() -> None:
            state.joiner.close()
            await state.connection.close()

        closing = state.link.submit(end())
        if not state.link.is_current:
            # What takes longer ends on the link by itself; it must not hide why the client is left.
            wait([closing], self.settings.timeout)


async def _wait(connection: Connection, name: str, bound: float | None, states: list[Any]) -> Job:
    loop = asyncio.get_running_loop()
    deadline = None if bound is None else loop.time() + bound
    waits = pauses.between_streams()
    while True:
        left = _LONGEST_WAIT if deadline is None else max(deadline - loop.time(), 0)
        wait = min(left, _LONGEST_WAIT)
        request = broker_pb2.WaitJobRequest(name=name, wait=to_duration(wait), until=states)
        try:
            timeout = wait + connection.settings.timeout
            answer = await connection.call(WAIT_JOB, request, timeout=timeout)
        except Unavailable as error:
            # The job goes on without us: so does the wait, within its time.
            pause = pauses.no_sooner(next(waits), error)
            if deadline is None or loop.time() + pause < deadline:
                await asyncio.sleep(pause)
                continue
            raise
        job = Job(answer.job)
        if answer.reached or (job.state.is_final and not states):
            return job
        if job.state.is_final or (deadline is not None and loop.time() >= deadline):
            raise WaitTimeout(job)
