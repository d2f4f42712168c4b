"""The thread that owns gRPC in this process.

grpc.aio has one poller per process and serves several event loops badly, its channels do not
survive a fork, and a blocked event loop would cost a worker its leases. So all calls of all clients
and workers of a process are made on one loop, in a thread of its own, on which no user's code runs.
It starts with the first use and ends with the process.

Before a fork the loop puts its connections down and stands still, so that parent and child do not
share a socket; both open new ones when they need them. See docs/decisions/0080-python-link.md.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

_PATIENCE = 5.0
_TURN = 0.002
# The thread in which grpc.aio waits for events, of which there is one while channels are open.
_POLLER = "_poll_wrapper"


class Suspendable(Protocol):
    """What must let go of its sockets before a fork."""

    async def suspend(self) -> None:
        """Closes the connection."""

    def resume(self) -> None:
        """May open it again."""


class Link:
    """One event loop in one thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.connections: weakref.WeakSet[Suspendable] = weakref.WeakSet()
        self._frozen = threading.Event()
        self._thaw = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lessor-link", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.loop.run_until_complete(_cancel_all())
            self.loop.close()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Runs it on the loop, from any other thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def post(self, function: Callable[..., object], *arguments: object) -> None:
        """Calls it on the loop, soon, from any thread."""
        try:
            self.loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            # The loop has ended, and with it whatever this was about.
            if not self.loop.is_closed():
                raise

    def answers(self, seconds: float) -> bool:
        """Whether the loop turns."""
        turned = threading.Event()
        self.post(turned.set)
        return turned.wait(seconds)

    @property
    def is_current(self) -> bool:
        """Whether this is the thread of the loop."""
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """Ends the loop and waits for its end."""
        self.post(self.loop.stop)
        if not self.is_current:
            self._thread.join(_PATIENCE)

    def freeze(self) -> None:
        """Closes the connections, and holds the thread until `thaw`."""
        self._frozen.clear()
        self._thaw.clear()
        self.submit(self._stand_still())
        self._frozen.wait(_PATIENCE)

    def thaw(self) -> None:
        """Lets the thread go on."""
        self._thaw.set()

    async def _stand_still(self) -> None:
        connections = list(self.connections)
        for connection in connections:
            await connection.suspend()
        deadline = self.loop.time() + _PATIENCE / 2
        while _is_polled() and self.loop.time() < deadline:
            # What was cut off hears of it, and lets go of its connection.
            await asyncio.sleep(_TURN)
            gc.collect()
        self._frozen.set()
        # The whole thread waits: no call may be under way while the process forks.
        self._thaw.wait(_PATIENCE)
        for connection in connections:
            connection.resume()


def _is_polled() -> bool:
    return any(_POLLER in thread.name for thread in threading.enumerate())


async def _cancel_all() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Process:
    """The link of this process, if there is one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.link: Link | None = None


_process = _Process()


def get() -> Link:
    """The link of this process."""
    with _process.lock:
        if _process.link is None:
            _process.link = Link()
        return _process.link


def _at_exit() -> None:
    link, _process.link = _process.link, None
    if link is not None:
        link.stop()


def _before_fork() -> None:
    _process.lock.acquire()
    if _process.link is not None and not _process.link.is_current:
        _process.link.freeze()


def _after_fork_in_parent() -> None:
    if _process.link is not None:
        _process.link.thaw()
    _process.lock.release()


def _after_fork_in_child() -> None:
    # Its thread stayed behind.
    _process.link = None
    _process.lock = threading.Lock()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
