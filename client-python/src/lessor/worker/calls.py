"""Leasing by calls, where the broker has no Work stream."""

from __future__ import annotations

import asyncio
import logging
import uuid

from lessor import errors, pauses
from lessor.connection import Connection
from lessor.durations import from_duration, to_duration
from lessor.errors import LASTING, DeadlineExceeded, LessorError, Unavailable
from lessor.methods import BATCH_SETTLE, LEASE
from lessor.v1 import lease_pb2
from lessor.worker.ledger import Ledger, Question

log = logging.getLogger("lessor.worker")

_WAIT = 20.0
_MOST_JOBS = 256
_MOST_SETTLES = 256
_TICK = 0.1


class CallLine:
    """Lease, ExtendLease and BatchSettle, as needed."""

    def __init__(
        self, connection: Connection, lease: lease_pb2.LeaseRequest, ledger: Ledger
    ) -> None:
        self._connection = connection
        self._lease = lease
        self._ledger = ledger
        self._is_closing = False
        self._room = asyncio.Event()
        self._filling: asyncio.Future[None] | None = None

    async def run(self) -> bool:
        """Works until closed."""
        self._ledger.ask_again()
        self._ledger.news.set()
        works = [asyncio.ensure_future(work()) for work in (self._fill, self._settle, self._tick)]
        self._filling, settling, _ = works
        try:
            while not settling.done():
                done, _ = await asyncio.wait(works, return_when=asyncio.FIRST_COMPLETED)
                for work in done:
                    works.remove(work)
                    if not work.cancelled():
                        work.result()
        finally:
            self._ledger.is_connected = False
            self._filling = None
            for work in works:
                work.cancel()
        return True

    def stop(self) -> None:
        """No more jobs are wanted: a lease that waits is withdrawn."""
        if self._filling is not None:
            self._filling.cancel()

    def close(self) -> None:
        """Ends it after all that was said so far. Nothing is held then."""
        self._is_closing = True
        self._ledger.news.set()

    async def _fill(self) -> None:
        while True:
            await self._room.wait()
            if self._ledger.room == 0:
                self._room.clear()
                continue
            request = lease_pb2.LeaseRequest()
            request.CopyFrom(self._lease)
            request.max_jobs = min(self._ledger.room, _MOST_JOBS)
            request.wait.CopyFrom(to_duration(_WAIT))
            # One id until an answer comes: a lost answer is repeated.
            request.request_id = str(uuid.uuid4())
            answer = await self._ask(request)
            for leased in answer.jobs:
                self._ledger.begin(self._ledger.take(leased))
            if not answer.jobs:
                await asyncio.sleep(from_duration(answer.retry_after))

    async def _ask(self, request: lease_pb2.LeaseRequest) -> lease_pb2.LeaseResponse:
        waits = pauses.between_streams()
        timeout = _WAIT + self._connection.settings.timeout
        while True:
            try:
                answer = await self._connection.call(LEASE, request, timeout=timeout)
            except LASTING:
                raise
            except LessorError as error:
                self._ledger.is_connected = False
                pause = pauses.no_sooner(next(waits), error)
                log.warning("leasing failed: %s", str(error), extra={"retry_in": pause})
                await asyncio.sleep(pause)
            else:
                self._ledger.is_connected = True
                return answer

    async def _settle(self) -> None:
        while True:
            await self._ledger.news.wait()
            self._ledger.news.clear()
            if self._ledger.room:
                self._room.set()
            while self._ledger.unsent:
                await self._send()
            if self._is_closing:
                return

    async def _send(self) -> None:
        """One batch of settles and extensions."""
        unsent = self._ledger.unsent
        asked = [unsent.popleft() for _ in range(min(len(unsent), _MOST_SETTLES))]
        request = lease_pb2.BatchSettleRequest(items=[_item(question) for question in asked])
        try:
            answer = await self._connection.call(BATCH_SETTLE, request)
        except LessorError as error:
            passing = isinstance(error, (Unavailable, DeadlineExceeded))
            fault = Unavailable(error.message) if passing else error
            for question in asked:
                self._ledger.answer(question.number, fault)
            return
        self._ledger.is_connected = True
        for question, result in zip(asked, answer.results, strict=True):
            kind = result.WhichOneof("response")
            if kind == "error":
                self._ledger.answer(question.number, errors.from_status(result.error))
            elif kind is not None:
                self._ledger.answer(question.number, getattr(result, kind))

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_TICK)
            now = loop.time()
            for held in list(self._ledger.held.values()):
                if held.extend_at <= now and not held.is_settling and not held.is_extending:
                    self._ledger.extend(held)
            self._ledger.wake(now)


def _item(question: Question) -> lease_pb2.BatchSettleRequest.Item:
    if isinstance(question.ask, lease_pb2.AckRequest):
        return lease_pb2.BatchSettleRequest.Item(ack=question.ask)
    if isinstance(question.ask, lease_pb2.NackRequest):
        return lease_pb2.BatchSettleRequest.Item(nack=question.ask)
    return lease_pb2.BatchSettleRequest.Item(extend=question.ask)
