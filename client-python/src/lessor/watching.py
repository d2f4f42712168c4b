"""A watch that outlives its connections; all of it runs on the link's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import grpc

from lessor import pauses
from lessor.connection import Connection
from lessor.durations import from_duration
from lessor.errors import DeadlineExceeded, LessorError, Unavailable
from lessor.events import Event, Page
from lessor.methods import WATCH_EVENTS
from lessor.v1 import event_pb2

_BOOKMARK_INTERVAL = 15.0
# A broker that was silent for so many bookmark intervals is given up.
_SILENCE = 3

_Call = grpc.aio.UnaryStreamCall[event_pb2.WatchEventsRequest, event_pb2.WatchEventsResponse]


class Watching:
    """Reads events page by page, and goes on after its cursor when the stream breaks."""

    def __init__(self, connection: Connection, request: event_pb2.WatchEventsRequest) -> None:
        self._connection = connection
        self._request = request
        self._call: _Call | None = None
        self._generation = 0
        self._pauses: Iterator[float] = pauses.between_streams()
        interval = from_duration(request.bookmark_interval) or _BOOKMARK_INTERVAL
        self._patience = _SILENCE * interval

    async def open(self) -> Page:
        """The first page, which comes at once. In a few tries, as any call."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._connection.settings.timeout
        waits = pauses.between_tries()
        while True:
            page = await self._read(max(deadline - loop.time(), 0))
            if isinstance(page, Page):
                return page
            if page is None:
                return Page([], self._request.cursor)
            pause = next(waits, None) if isinstance(page, Unavailable) else None
            if pause is None or loop.time() + pauses.no_sooner(pause, page) >= deadline:
                raise page
            await asyncio.sleep(pauses.no_sooner(pause, page))

    async def next(self) -> Page | None:
        """The next page, however long it takes; `None` after the end of the job watched."""
        while True:
            page = await self._read(self._patience)
            if not isinstance(page, LessorError):
                return page
            if not _is_passing(page):
                raise page
            await asyncio.sleep(pauses.no_sooner(next(self._pauses), page))

    async def close(self) -> None:
        """Ends the stream."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    async def _read(self, patience: float) -> Page | LessorError | None:
        await self._connection.ready()
        if self._call is None:
            self._generation = self._connection.generation
        generation = self._generation
        try:
            if self._call is None:
                self._call = self._connection.listen(WATCH_EVENTS, self._request)
            answer = await asyncio.wait_for(self._call.read(), patience)
        except asyncio.TimeoutError:
            await self.close()
            return self._connection.late()
        except LessorError as error:
            return error
        except grpc.aio.AioRpcError as error:
            await self.close()
            return self._connection.error(error)
        except asyncio.CancelledError:
            await self.close()
            if self._connection.generation == generation:
                raise
            return self._connection.cut_off()
        if not isinstance(answer, event_pb2.WatchEventsResponse):
            await self.close()
            return None
        self._pauses = pauses.between_streams()
        self._request.cursor = answer.cursor
        return Page([Event(event) for event in answer.events], answer.cursor)


def _is_passing(error: LessorError) -> bool:
    return isinstance(error, (Unavailable, DeadlineExceeded))
