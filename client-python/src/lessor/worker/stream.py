"""The Work stream: jobs come as far as the credit goes, settles and heartbeats go back on it."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from enum import Enum
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty

from lessor import errors, pauses
from lessor.connection import Connection
from lessor.durations import from_duration
from lessor.errors import LASTING, LessorError, Unavailable, Unimplemented
from lessor.methods import WORK
from lessor.v1 import lease_pb2, work_pb2
from lessor.worker.ledger import Held, Ledger

log = logging.getLogger("lessor.worker")

# A broker that was silent for so many ping intervals is given up.
_SILENCE = 3
# The part of a ping interval after which a ping is sent.
_EARLY = 0.75
_TICKS = 4
_SHORTEST_TICK, _LONGEST_TICK = 0.05, 1.0
# For a broker that does not name the interval.
_PING_INTERVAL = 10.0

_Call = grpc.aio.StreamStreamCall[work_pb2.WorkRequest, work_pb2.WorkResponse]
Kind = work_pb2.WorkResponse.Directive


class _End(Enum):
    """How a stream ended."""

    OVER = "over"
    BROKEN = "broken"
    MOVED = "moved"
    ANEW = "anew"
    TAKEN_OVER = "taken over"


class StreamLine:
    """The streams of a worker, one after the other."""

    def __init__(
        self, connection: Connection, hello: work_pb2.WorkRequest.Hello, ledger: Ledger
    ) -> None:
        self._connection = connection
        self._hello = hello
        self._ledger = ledger
        self._is_closing = False
        self._closing = asyncio.Event()
        self._pauses: Iterator[float] = pauses.between_streams()
        self._session: _Session | None = None

    async def run(self) -> bool:
        """Works until closed. False if there can be no stream: calls must do."""
        while not self._is_closing:
            await self._connection.ready()
            session = _Session(self._connection, self._hello, self._ledger, self._is_closing)
            self._session = session
            end = await session.run()
            self._ledger.is_connected = False
            if isinstance(end, Unimplemented):
                return False
            if isinstance(end, LASTING):
                raise end
            if session.is_proven:
                self._pauses = pauses.between_streams()
            pause = 0.0
            if isinstance(end, LessorError):
                pause = pauses.no_sooner(next(self._pauses), end)
                log.warning("the work stream broke: %s", str(end), extra={"retry_in": pause})
            elif end is _End.BROKEN:
                pause = next(self._pauses)
            if end is _End.OVER:
                break
            if end is _End.TAKEN_OVER:
                # Its own leases are still its own, but a stream would take them for another's.
                self._rename()
                return False
            if end is _End.MOVED:
                await self._connection.renew()
            await self._sleep(pause)
        return True

    def stop(self) -> None:
        """No more jobs are wanted. Credit stays as given, but a new stream begins with none."""
        if self._session is not None:
            self._session.begin_anew()

    def close(self) -> None:
        """Ends the stream in good order, after all that was said so far; what is held goes back."""
        self._is_closing = True
        self._closing.set()
        if self._session is not None:
            self._session.close()

    async def _sleep(self, pause: float) -> None:
        """Waits, unless the worker leaves."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._closing.wait(), pause)

    def _rename(self) -> None:
        old = self._hello.worker.worker_id
        self._hello.worker.worker_id = f"{old[:119]}-{secrets.token_hex(4)}"
        log.error(
            "another worker has the id %s: going on as %s",
            old,
            self._hello.worker.worker_id,
            extra={"worker_id": self._hello.worker.worker_id},
        )


class _Session:
    """One stream: read here, written by one task, watched by another."""

    def __init__(
        self,
        connection: Connection,
        hello: work_pb2.WorkRequest.Hello,
        ledger: Ledger,
        is_closing: bool,
    ) -> None:
        self._connection = connection
        self._hello = hello
        self._ledger = ledger
        self._loop = asyncio.get_running_loop()
        self._generation = connection.generation
        self._is_closing = is_closing
        self._is_parting = False
        self._begins_anew = False
        self._call: _Call | None = None
        #: Why this side has ended the stream.
        self._fault = ""
        self._leads_on: _End | None = None
        self._wants_ping = False
        #: Jobs that are begun once the broker knows that they have come: one that ends its worker
        #: at once must count, or it would go round for ever.
        self._arrived: deque[tuple[int, Held]] = deque()
        self._received = 0
        self._told = 0
        self._allowed = 0
        self._ping_interval = _PING_INTERVAL
        self._heard_at = self._said_at = self._loop.time()
        #: The broker has answered more than the greeting.
        self.is_proven = False

    async def run(self) -> _End | LessorError:
        """Serves the stream to its end. An error is an answer, too: raised, it would hold on to the
        frames in which it arose, and so to the call.
        """
        helpers: list[asyncio.Task[None]] = []
        call: _Call | None = None
        try:
            call = self._call = self._connection.stream(WORK)
            await self._greet(call)
            helpers = [
                asyncio.ensure_future(self._help(call, work)) for work in (self._write, self._watch)
            ]
            return await self._read(call)
        except asyncio.TimeoutError:
            # Whatever the connection is good for, it is not this.
            await self._connection.renew()
            return self._connection.late()
        except LessorError as error:
            return error.with_traceback(None)
        except grpc.aio.AioRpcError as error:
            return self._connection.error(error)
        except asyncio.CancelledError:
            if self._begins_anew:
                return _End.ANEW
            if self._fault:
                await self._connection.renew()
                return Unavailable(self._fault)
            if self._connection.generation != self._generation:
                return self._connection.cut_off()
            raise
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            if call is not None:
                call.cancel()
            self._call = None
            for _, held in self._arrived:
                self._ledger.let_go(held)

    def begin_anew(self) -> None:
        """The next stream takes over what is held."""
        self._begins_anew = True
        if self._call is not None and self._ledger.held:
            self._call.cancel()

    def close(self) -> None:
        """The worker leaves."""
        self._is_closing = True
        self._ledger.news.set()

    async def _greet(self, call: _Call) -> None:
        hello = work_pb2.WorkRequest.Hello()
        hello.CopyFrom(self._hello)
        hello.held_lease_tokens.extend(self._ledger.held)
        reply = await asyncio.wait_for(
            self._exchange(call, hello), self._connection.settings.timeout
        )
        if not isinstance(reply, work_pb2.WorkResponse):
            # The status says why there is no welcome.
            code, details = await call.code(), await call.details()
            raise Unavailable(f"the work stream ended at once: {code.name} {details}")
        welcome = reply.welcome
        self._ping_interval = from_duration(welcome.ping_interval) or _PING_INTERVAL
        for verdict in welcome.held:
            held = self._ledger.held.get(verdict.lease_token)
            # Whose settle is under way hears of it by its answer.
            if not verdict.kept and held is not None and not held.is_settling:
                self._ledger.lose(verdict.lease_token, "it ended while the stream was broken")
        self._ledger.ask_again()
        self._ledger.is_connected = True
        self._ledger.news.set()
        self._heard_at = self._said_at = self._loop.time()
        log.info("connected", extra={"session": welcome.session_id})

    async def _exchange(
        self, call: _Call, hello: work_pb2.WorkRequest.Hello
    ) -> work_pb2.WorkResponse | object:
        await call.write(work_pb2.WorkRequest(hello=hello))
        return await call.read()

    async def _read(self, call: _Call) -> _End:
        while True:
            reply = await call.read()
            if not isinstance(reply, work_pb2.WorkResponse):
                break
            self._heard_at = self._loop.time()
            self.is_proven = True
            self._hear(reply)
        if self._is_parting:
            return _End.OVER
        code = await call.code()
        if code is not grpc.StatusCode.OK:
            raise Unavailable(f"the work stream ended: {code.name} {await call.details()}")
        return self._leads_on or _End.TAKEN_OVER

    def _hear(self, reply: work_pb2.WorkResponse) -> None:
        frame = reply.WhichOneof("frame")
        if frame == "delivery" and self._ledger.is_stopped:
            # Without a receipt it goes back, uncounted, when the stream ends.
            pass
        elif frame == "delivery":
            self._received = max(self._received, reply.delivery.delivery_seq)
            held = self._ledger.take(reply.delivery.leased)
            self._arrived.append((reply.delivery.delivery_seq, held))
            self._ledger.news.set()
        elif frame == "ack":
            self._ledger.answer(reply.request_seq, reply.ack)
        elif frame == "nack":
            self._ledger.answer(reply.request_seq, reply.nack)
        elif frame == "extend":
            self._ledger.answer(reply.request_seq, reply.extend)
        elif frame == "error":
            self._ledger.answer(reply.request_seq, errors.from_status(reply.error))
        elif frame == "directive":
            self._follow(reply.directive)

    def _follow(self, directive: work_pb2.WorkResponse.Directive) -> None:
        if directive.kind == Kind.KIND_CANCEL_JOB:
            self._ledger.cancel(directive.lease_token, directive.reason)
        elif directive.kind == Kind.KIND_LEASE_LOST:
            self._ledger.lose(directive.lease_token, directive.reason)
        elif directive.kind == Kind.KIND_RECONNECT:
            self._leads_on = _End.MOVED
        elif directive.kind == Kind.KIND_DRAIN and directive.HasField("within"):
            # The broker shuts down; another one may have jobs.
            self._leads_on = _End.BROKEN
        elif directive.kind == Kind.KIND_DRAIN:
            self._ledger.drain(directive.reason)

    async def _write(self, call: _Call) -> None:
        while True:
            # Handlers that are ready to end do so first, so that their words travel together.
            await asyncio.sleep(0)
            self._ledger.news.clear()
            for frame in self._frames():
                self._said_at = self._loop.time()
                await call.write(frame)
                self._begin(frame.received_through)
            if self._is_closing:
                self._is_parting = True
                goodbye = work_pb2.WorkRequest.Goodbye(release_held=True)
                await call.write(work_pb2.WorkRequest(goodbye=goodbye))
                await call.done_writing()
                return
            await self._ledger.news.wait()

    def _begin(self, received: int) -> None:
        while self._arrived and self._arrived[0][0] <= received:
            self._ledger.begin(self._arrived.popleft()[1])

    def _frames(self) -> Iterator[work_pb2.WorkRequest]:
        unsent = self._ledger.unsent
        while unsent:
            question = unsent.popleft()
            frame = work_pb2.WorkRequest(request_seq=question.number)
            if isinstance(question.ask, lease_pb2.AckRequest):
                frame.ack.CopyFrom(question.ask)
            elif isinstance(question.ask, lease_pb2.NackRequest):
                frame.nack.CopyFrom(question.ask)
            else:
                frame.extend.CopyFrom(question.ask)
            yield self._receipt(frame)
        allowed = self._received + self._ledger.room
        # A little room may wait for more of it, as long as the broker may send some.
        is_short = self._allowed - self._received <= self._ledger.concurrency // 2
        if allowed > self._allowed and is_short:
            self._allowed = allowed
            credit = work_pb2.WorkRequest.Credit(max_delivery_seq=allowed)
            yield self._receipt(work_pb2.WorkRequest(credit=credit))
        if self._wants_ping or self._told < self._received:
            self._wants_ping = False
            yield self._receipt(work_pb2.WorkRequest(ping=Empty()))

    def _receipt(self, frame: work_pb2.WorkRequest) -> work_pb2.WorkRequest:
        self._told = self._received
        frame.received_through = self._received
        return frame

    async def _help(self, call: _Call, work: Callable[[_Call], Coroutine[Any, Any, None]]) -> None:
        try:
            await work(call)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # Whoever reads hears of it, too.
            pass
        except Exception as fault:
            if not isinstance(fault, Unavailable):
                log.exception("the work stream failed")
            self._fault = str(fault)
            call.cancel()

    async def _watch(self, _: _Call) -> None:
        tick = min(max(self._ping_interval / _TICKS, _SHORTEST_TICK), _LONGEST_TICK)
        while True:
            await asyncio.sleep(tick)
            now = self._loop.time()
            if now - self._heard_at > _SILENCE * self._ping_interval:
                raise Unavailable("the broker is silent")
            if now - self._said_at >= _EARLY * self._ping_interval - tick:
                self._wants_ping = True
                self._ledger.news.set()
            self._ledger.wake(now)
