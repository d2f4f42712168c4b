"""Runs handlers: on their loop, in threads, in processes; and tells what became of each job."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.empty_pb2 import Empty

from lessor.errors import LeaseLost, LessorError
from lessor.job import Failure
from lessor.telemetry import Processing
from lessor.v1 import lease_pb2
from lessor.worker.ledger import Ask, Held, describe
from lessor.worker.outcome import JobStopped, StopReason, ack_of, nack_of
from lessor.worker.processes import Processes
from lessor.worker.task import RunIn, Task
from lessor.worker.threads import Threads

log = logging.getLogger("lessor.worker")

#: The task that takes jobs of any type.
ANY = "*"


class Handlers:
    """The handlers of a worker, at work. The ledger tells it of jobs, on the link's loop."""

    def __init__(
        self,
        tasks: Mapping[str, Task[Any]],
        loop: asyncio.AbstractEventLoop,
        worker_id: str,
        on_drain: Callable[[str], None],
    ) -> None:
        self._tasks = tasks
        self._loop = loop
        self._worker_id = worker_id
        self._on_drain = on_drain
        self._threads = Threads()
        self._processes = Processes()
        self._running: set[asyncio.Task[None]] = set()

    def begin(self, held: Held) -> None:
        """Starts the handler of a job."""
        task = self._tasks.get(held.job.type) or self._tasks.get(ANY)
        if task is None:
            log.warning("no handler for %s", held.job.type, extra=self._fields(held))
            failure = Failure("NO_HANDLER", f"no handler for the type {held.job.type!r}")
            ask = lease_pb2.NackRequest(failure=failure.to_message(), release=Empty())
            held.ledger.finish(held, ask)
        elif task.run_in is RunIn.LOOP:
            self._loop.call_soon_threadsafe(self._spawn, task, held)
        elif task.run_in is RunIn.THREAD:
            self._threads.run(lambda: self._in_thread(held, lambda: _returned(task, held)))
        else:
            self._threads.run(
                lambda: self._in_thread(held, lambda: self._processes.run(task, held))
            )

    def settled(self, held: Held, word: str) -> None:
        """The broker has it."""
        # The fields cost more than the rest of a small job, so nobody pays for them in vain.
        if log.isEnabledFor(logging.DEBUG):
            log.debug("settled", extra=self._fields(held) | {"settle": word})

    def refused(self, held: Held, error: LessorError) -> None:
        """The broker did not take it."""
        what = "the lease was lost" if isinstance(error, LeaseLost) else "refused"
        log.warning("%s: %s", what, str(error), extra=self._fields(held) | {"reason": error.reason})

    def lost(self, held: Held, reason: JobStopped) -> None:
        """A handler was told to stop."""
        log.warning(
            "told to stop: %s", reason, extra=self._fields(held) | {"reason": str(reason.reason)}
        )

    def hung(self, held: Held) -> None:
        """A handler did not stop when told."""
        log.error("the handler does not stop; its place is given away", extra=self._fields(held))

    def drain(self, reason: str) -> None:
        """An operator wants the worker to end."""
        self._on_drain(reason)

    def close(self) -> None:
        """Ends what waits for jobs. Called where the handlers' loop runs."""
        for running in self._running:
            running.cancel()
        self._processes.close()

    def _spawn(self, task: Task[Any], held: Held) -> None:
        running = self._loop.create_task(self._on_loop(task, held))
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def _on_loop(self, task: Task[Any], held: Held) -> None:
        attempt = _Attempt(self, held)
        job = asyncio.ensure_future(_Spanned(attempt.span, task, held).run())
        held.stop.listen(lambda reason: self._loop.call_soon_threadsafe(job.cancel, str(reason)))
        try:
            await asyncio.wait({job})
        except asyncio.CancelledError:
            # The loop ends, not the job.
            job.cancel()
            attempt.end(JobStopped(StopReason.DRAINING).nack(), None)
            raise
        try:
            ask = ack_of(job.result())
        except asyncio.CancelledError as cancelled:
            fault = held.stop.reason or cancelled
            attempt.end(nack_of(fault), fault)
        except (Exception, JobStopped) as fault:
            attempt.end(nack_of(fault), fault)
        else:
            attempt.end(ask, None)

    def _in_thread(self, held: Held, work: Callable[[], Ask]) -> None:
        attempt = _Attempt(self, held)
        try:
            with attempt.span:
                ask = work()
        except BaseException as fault:
            attempt.end(nack_of(fault), fault)
        else:
            attempt.end(ask, None)

    def _fields(self, held: Held) -> dict[str, object]:
        return describe(held.job) | {"worker_id": self._worker_id}


class _Attempt:
    """One run of a handler: its span, its log lines, its end."""

    def __init__(self, handlers: Handlers, held: Held) -> None:
        self._handlers = handlers
        self._held = held
        self._begun = time.monotonic()
        self.span = Processing(held.job, handlers._worker_id)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("started", extra=handlers._fields(held))

    def end(self, ask: Ask, fault: BaseException | None) -> None:
        """Tells what becomes of the job."""
        held, word = self._held, _word(ask)
        is_failure = isinstance(ask, lease_pb2.NackRequest) and bool(ask.failure.code)
        if log.isEnabledFor(logging.WARNING if is_failure else logging.INFO):
            self._tell(ask, word)
        self.span.end(word, fault if word in ("failed", "dead") else None)
        held.ledger.post(held.ledger.finish, held, ask)

    def _tell(self, ask: Ask, word: str) -> None:
        fields = self._handlers._fields(self._held) | {
            "outcome": word,
            "duration": round(time.monotonic() - self._begun, 6),
        }
        if isinstance(ask, lease_pb2.NackRequest) and ask.failure.code:
            fields["code"] = ask.failure.code
            log.warning("%s: %s", word, ask.failure.message, extra=fields)
        else:
            log.info(word, extra=fields)


class _Spanned:
    """A handler on the loop, in its span."""

    def __init__(self, span: Processing, task: Task[Any], held: Held) -> None:
        self._span = span
        self._task = task
        self._held = held

    async def run(self) -> object:
        with self._span:
            return await self._task.function(self._held.job)


def _returned(task: Task[Any], held: Held) -> Ask:
    return ack_of(task.function(held.job))


def _word(ask: Ask) -> str:
    if isinstance(ask, lease_pb2.AckRequest):
        return "succeeded"
    if not isinstance(ask, lease_pb2.NackRequest):
        raise TypeError(f"{ask!r} settles nothing")
    words = {"snooze": "snoozed", "release": "released", "dead": "dead"}
    return words.get(ask.WhichOneof("disposition") or "", "failed")
