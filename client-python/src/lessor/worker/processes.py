"""Processes for handlers that need a CPU of their own.

They are spawned, never forked: gRPC and threads do not survive a fork. Each runs one job at a time
and is kept for the next one; a handler that is told to stop is ended with its process.
"""

from __future__ import annotations

import importlib
import multiprocessing
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from lessor.errors import LessorError
from lessor.job import Progress
from lessor.payload import Payload
from lessor.v1 import job_pb2, lease_pb2
from lessor.worker.leased import LeasedJob, Saved, Stop
from lessor.worker.ledger import Ask, Held
from lessor.worker.outcome import ack_of, nack_of
from lessor.worker.task import Task

Reference = tuple[str, str]


@dataclass(frozen=True)
class _Job:
    """To the process: run this."""

    reference: Reference
    message: bytes


@dataclass(frozen=True)
class _Word:
    """From the process: progress or a checkpoint, to be answered."""

    progress: Progress | None
    checkpoint: Payload | None


@dataclass(frozen=True)
class _Ended:
    """From the process: what becomes of the job."""

    is_done: bool
    ask: bytes


class ProcessDied(Exception):
    """The process of a handler ended before its job did."""


class _Child:
    """A spawned process and the pipe to it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()

    def kill(self) -> None:
        """Ends it, whatever it does."""
        self.process.kill()

    def end(self) -> None:
        """Ends it when it has nothing to do."""
        self.pipe.close()
        self.process.join()


class Processes:
    """The processes of a worker."""

    def __init__(self) -> None:
        self._idle: list[_Child] = []
        self._lock = threading.Lock()

    def run(self, task: Task[Any], held: Held) -> Ask:
        """Runs a job to its end; what becomes of it. Blocks its thread meanwhile."""
        with self._lock:
            child = self._idle.pop() if self._idle else None
        child = child or _Child()
        held.stop.listen(lambda _: child.kill())
        try:
            ask = _converse(child, task.reference, held)
        except (EOFError, OSError):
            child.process.join()
            if held.stop.reason is not None:
                return held.stop.reason.nack()
            code = child.process.exitcode
            return nack_of(ProcessDied(f"the handler's process ended with exit code {code}"))
        with self._lock:
            if not held.stop.reason:
                self._idle.append(child)
        return ask

    def close(self) -> None:
        """Ends those that have nothing to do."""
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.end()


def _converse(child: _Child, reference: Reference, held: Held) -> Ask:
    child.pipe.send(_Job(reference, held.job.message.SerializeToString()))
    while True:
        word: _Word | _Ended = child.pipe.recv()
        if isinstance(word, _Ended):
            kind = lease_pb2.AckRequest if word.is_done else lease_pb2.NackRequest
            return kind.FromString(word.ask)
        try:
            held.extend(word.progress, word.checkpoint).result()
        except LessorError as error:
            child.pipe.send(error)
        else:
            child.pipe.send(None)


# From here on: the other process.


class _Parent:
    """What carries a handler's words to the worker."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def extend(self, progress: Progress | None, checkpoint: Payload | None) -> Saved:
        """Tells, and waits for the answer."""
        self._pipe.send(_Word(progress, checkpoint))
        answer: LessorError | None = self._pipe.recv()
        saved = Saved()
        if answer is None:
            saved.set_result(None)
        else:
            saved.set_exception(answer)
        return saved


def _serve(pipe: Connection) -> None:
    parent = _Parent(pipe)
    while True:
        try:
            job: _Job = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        ask = _run(job, parent)
        is_done = isinstance(ask, lease_pb2.AckRequest)
        pipe.send(_Ended(is_done, ask.SerializeToString()))


def _run(job: _Job, parent: _Parent) -> Ask:
    try:
        handler = _find(job.reference)
        return ack_of(handler(LeasedJob(job_pb2.Job.FromString(job.message), Stop(), parent)))
    except Exception as fault:
        return nack_of(fault)


def _find(reference: Reference) -> Any:
    module, path = reference
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    return found.function if isinstance(found, Task) else found
