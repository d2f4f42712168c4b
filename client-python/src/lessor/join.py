"""Enqueues that ride together: while calls are under way, the jobs that come make the next one.

The rules are those of docs/joined-enqueue.md. There is no timer. All of this runs on the link's
loop but for `Joiner.enqueue`, which any thread may call.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lessor import errors, pauses
from lessor.connection import Connection
from lessor.errors import LessorError, Unavailable
from lessor.link import Link
from lessor.methods import BATCH_ENQUEUE, ENQUEUE, Method
from lessor.v1 import enqueue_pb2

# With one call the broker would be idle while its answer is read.
_MOST_CALLS = 2
_MOST_JOBS = 256
_MOST_BYTES = 1 << 20

Response = enqueue_pb2.EnqueueResponse
# A call is written once: each try sends the same bytes.
_ONE: Method[Any, Response] = Method(ENQUEUE.path, bytes, ENQUEUE.read)
_MANY: Method[Any, enqueue_pb2.BatchEnqueueResponse] = Method(
    BATCH_ENQUEUE.path, bytes, BATCH_ENQUEUE.read
)


class _Seat:
    """One caller of a call."""

    __slots__ = ("chosen", "deadline", "refusal", "reply", "request", "size", "trace")

    def __init__(
        self,
        request: enqueue_pb2.EnqueueRequest,
        trace: tuple[tuple[str, str], ...],
        deadline: float,
    ) -> None:
        self.request = request
        self.trace = trace
        self.deadline = deadline
        self.size = request.ByteSize()
        self.chosen = _chosen(request)
        self.reply: Future[Response] = Future()
        # What the broker said last, where that is no answer yet.
        self.refusal: LessorError | None = None

    @property
    def is_left(self) -> bool:
        """Answered, or its caller went away."""
        return self.reply.done()

    def tell(self, answer: Response | LessorError) -> None:
        try:
            if isinstance(answer, LessorError):
                self.reply.set_exception(answer)
            else:
                self.reply.set_result(answer)
        except InvalidStateError:
            # Whoever left does not want to know.
            pass


def _chosen(request: enqueue_pb2.EnqueueRequest) -> tuple[tuple[str, ...], ...]:
    """The ids that the caller chose: each names one thing in its queue."""
    ids: list[tuple[str, ...]] = []
    if request.job_id:
        ids.append(("job", request.queue, request.job_id))
    if request.request_id:
        # One UUID may be written in several ways; what is none is refused anyway.
        with suppress(ValueError):
            ids.append(("request", request.queue, uuid.UUID(request.request_id).hex))
    return tuple(ids)


class Joiner:
    """The enqueues of one client."""

    def __init__(self, connection: Connection, link: Link) -> None:
        self._connection = connection
        self._link = link
        self._arrived: deque[_Seat] = deque()
        self._is_called = False
        self._waiting: deque[_Seat] = deque()
        self._calls: set[asyncio.Task[None]] = set()

    def enqueue(
        self, request: enqueue_pb2.EnqueueRequest, trace: Mapping[str, str] | None
    ) -> Future[Response]:
        """Hands a job to the next call; from any thread."""
        deadline = self._link.loop.time() + self._connection.settings.timeout
        seat = _Seat(request, tuple(sorted((trace or {}).items())), deadline)
        self._arrived.append(seat)
        if not self._is_called:
            self._is_called = True
            self._link.post(self._admit)
        return seat.reply

    def _admit(self) -> None:
        self._is_called = False
        while self._arrived:
            self._waiting.append(self._arrived.popleft())
        # Whoever is ready to enqueue as well does so first.
        self._link.loop.call_soon(self._staff)

    def _staff(self) -> None:
        while len(self._calls) < _MOST_CALLS:
            seats = self._take()
            if not seats:
                return
            task = self._link.loop.create_task(self._travel(seats))
            self._calls.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self._link.loop.call_exception_handler({"message": "enqueue", "exception": fault})
        # Those who were just answered may have more.
        self._link.loop.call_soon(self._staff)

    def _take(self) -> list[_Seat]:
        """The longest run of jobs from the front that one call carries."""
        seats: list[_Seat] = []
        size, chosen = 0, set[tuple[str, ...]]()
        while self._waiting and len(seats) < _MOST_JOBS:
            seat = self._waiting[0]
            if seat.is_left:
                self._waiting.popleft()
                continue
            size += seat.size
            if seats and (
                size > _MOST_BYTES
                # A batch refuses an id that stands in it twice, and has one trace context.
                or not chosen.isdisjoint(seat.chosen)
                or seat.trace != seats[0].trace
            ):
                break
            chosen.update(seat.chosen)
            seats.append(self._waiting.popleft())
        return seats

    async def _travel(self, seats: list[_Seat]) -> None:
        """One call with all its tries."""
        call = _Call.of(seats)
        deadline = seats[-1].deadline
        waits = pauses.between_tries()
        try:
            while True:
                fault = await self._patiently(seats, call.send(self._connection, deadline))
                if fault is None:
                    return
                pause = next(waits, None)
                now = self._link.loop.time()
                if pause is None or now + pauses.no_sooner(pause, fault) >= deadline:
                    break
                await asyncio.sleep(pauses.no_sooner(pause, fault))
            # There is no further try: each is told what the broker said last.
            for seat in seats:
                seat.tell(seat.refusal or fault)
        except asyncio.CancelledError:
            for seat in seats:
                seat.tell(errors.ClientClosed("the client was closed"))
            raise

    async def _patiently(self, seats: list[_Seat], sending: Any) -> LessorError | None:
        """Waits for the call, while those whose deadline passes are told so."""
        task = self._link.loop.create_task(sending)
        try:
            while not task.done():
                left = [seat.deadline for seat in seats if not seat.is_left]
                if not left:
                    return None
                now = self._link.loop.time()
                await asyncio.wait({task}, timeout=max(left[0] - now, 0))
                now = self._link.loop.time()
                for seat in seats:
                    if not task.done() and seat.deadline <= now:
                        seat.tell(self._connection.late())
            return _answer(seats, task.result())
        finally:
            task.cancel()

    def close(self) -> None:
        """Ends the calls; who waits is told."""
        for seat in (*self._arrived, *self._waiting):
            seat.tell(errors.ClientClosed("the client was closed"))
        self._arrived.clear()
        self._waiting.clear()
        for task in self._calls:
            task.cancel()


@dataclass(frozen=True)
class _Call:
    method: Method[Any, Any]
    data: bytes
    trace: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, seats: list[_Seat]) -> _Call:
        if len(seats) == 1:
            request = seats[0].request
            if not request.request_id:
                request.request_id = str(uuid.uuid4())
            return cls(_ONE, request.SerializeToString(), seats[0].trace)
        batch = together((seat.request for seat in seats), partial=True)
        return cls(_MANY, batch.SerializeToString(), seats[0].trace)

    async def send(
        self, connection: Connection, deadline: float
    ) -> list[Response | LessorError] | LessorError:
        answer = await connection.attempt(self.method, self.data, deadline, self.trace)
        if isinstance(answer, LessorError):
            return answer
        return [answer] if self.method is _ONE else replies(answer)


def together(
    requests: Iterable[enqueue_pb2.EnqueueRequest], *, partial: bool
) -> enqueue_pb2.BatchEnqueueRequest:
    """A batch that is safe to repeat.

    One id for all costs the broker less than one for each; but a job whose caller chose an id keeps
    it, and then every other one needs its own.
    """
    batch = enqueue_pb2.BatchEnqueueRequest(requests=requests, allow_partial=partial)
    if any(request.request_id or request.job_id for request in batch.requests):
        for request in batch.requests:
            request.request_id = request.request_id or str(uuid.uuid4())
    else:
        batch.request_id = str(uuid.uuid4())
    return batch


def replies(answer: enqueue_pb2.BatchEnqueueResponse) -> list[Response | LessorError]:
    """The answer to each job of a batch."""
    return [
        one.response if one.HasField("response") else errors.from_status(one.status)
        for one in answer.results
    ]


def _answer(
    seats: list[_Seat], outcome: list[Response | LessorError] | LessorError
) -> LessorError | None:
    """Gives each its answer. The fault, when the call must be repeated.

    A job that was made is told at once. What else the broker said is kept back until nothing in the
    call is open, because the repetition decides it anew.
    """
    if isinstance(outcome, Unavailable):
        return outcome
    if isinstance(outcome, LessorError):
        for seat in seats:
            seat.tell(outcome)
        return None
    passing: LessorError | None = None
    for seat, result in zip(seats, outcome, strict=True):
        if isinstance(result, LessorError):
            seat.refusal = result
            if isinstance(result, Unavailable):
                passing = result
        else:
            seat.tell(result)
    if passing is None:
        for seat in seats:
            if seat.refusal is not None:
                seat.tell(seat.refusal)
    return passing
