"""What a worker holds, what it asked and was not answered, and how many more jobs it has room for.

It lives on the link's loop and knows no wire: lines carry its questions and bring the answers.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from lessor import pauses
from lessor.durations import from_duration
from lessor.errors import LeaseLost, LeaseSettled, LessorError, Unavailable
from lessor.job import Failure, JobFields, Progress
from lessor.payload import Payload
from lessor.v1 import lease_pb2
from lessor.worker.leased import LeasedJob, Saved, Stop
from lessor.worker.outcome import JobStopped, StopReason, failed

Ask = lease_pb2.AckRequest | lease_pb2.NackRequest | lease_pb2.ExtendLeaseRequest
Answer = lease_pb2.AckResponse | lease_pb2.NackResponse | lease_pb2.ExtendLeaseResponse

_MORE_TIME = 2.0
#: The broker ends an attempt that takes too long by itself, and may be the first to say so.
_ATTEMPT_SLACK = 0.5


class Crew(Protocol):
    """Who runs the jobs, and wants to know what became of them. Called on the link's loop."""

    def begin(self, held: Held) -> None:
        """A job has come."""

    def settled(self, held: Held, word: str) -> None:
        """The broker has it: what the handler wanted is done."""

    def refused(self, held: Held, error: LessorError) -> None:
        """The broker did not take what the handler said."""

    def lost(self, held: Held, reason: JobStopped) -> None:
        """A handler was told to stop."""

    def hung(self, held: Held) -> None:
        """A handler was told to stop and did not; its place is given away."""

    def drain(self, reason: str) -> None:
        """An operator wants the worker to end."""


@dataclass(eq=False)
class Held:
    """A leased job on its way through the worker."""

    token: str
    job: LeasedJob
    stop: Stop
    ledger: Ledger
    begun: float
    #: A third of the lease: how long until it should be extended.
    interval: float
    extend_at: float
    #: When the attempt has taken too long.
    attempt_ends: float = math.inf
    #: Nobody else has it, as far as is known.
    is_ours: bool = True
    #: Its handler takes up a place.
    is_running: bool = True
    #: A settle is under way.
    is_settling: bool = False
    #: A heartbeat is under way.
    is_extending: bool = False
    timers: list[asyncio.TimerHandle] = field(default_factory=list)
    reports: _Reports | None = None

    def extend(self, progress: Progress | None, checkpoint: Payload | None) -> Saved:
        """A word of the handler, from any thread."""
        saved = Saved()
        self.ledger.post(self.ledger.report, self, progress, checkpoint, saved)
        return saved


@dataclass
class _Reports:
    """A report that waits for the one before to be answered."""

    request: lease_pb2.ExtendLeaseRequest
    saved: list[Saved]


@dataclass(eq=False)
class Question:
    """Something the broker is to answer; it is asked until it is."""

    number: int
    held: Held
    ask: Ask
    saved: list[Saved] = field(default_factory=list)
    waits: Iterator[float] = field(default_factory=pauses.between_streams)
    #: When it is to be asked again; `None` while it is under way.
    due: float | None = None

    @property
    def settles(self) -> bool:
        """Whether it ends the lease."""
        return not isinstance(self.ask, lease_pb2.ExtendLeaseRequest)


class Ledger:
    """The books of a worker."""

    def __init__(
        self,
        concurrency: int,
        stop_grace: float,
        crew: Crew,
        post: Callable[..., None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.post = post
        self.held: dict[str, Held] = {}
        self.questions: dict[int, Question] = {}
        self.unsent: deque[Question] = deque()
        self.is_stopped = False
        self.is_connected = False
        #: Set when there is something to say to the broker, or room to fill.
        self.news = asyncio.Event()
        #: Set while no handler runs and no answer is open.
        self.idle = asyncio.Event()
        self.idle.set()
        self._concurrency = concurrency
        self._busy = 0
        self._stop_grace = stop_grace
        self._crew = crew
        self._loop = loop
        self._asked = 0

    @property
    def room(self) -> int:
        """How many more jobs are wanted."""
        return 0 if self.is_stopped else max(self._concurrency - self._busy, 0)

    @property
    def concurrency(self) -> int:
        """How many jobs may run at once."""
        return self._concurrency

    @property
    def busy(self) -> int:
        """How many jobs run."""
        return self._busy

    def take(self, leased: lease_pb2.LeasedJob) -> Held:
        """A job has come. It takes up a place, and is to be begun or let go."""
        now = self._loop.time()
        stop = Stop()
        token, lease = leased.lease_token, from_duration(leased.lease_remaining)
        held = Held(token, None, stop, self, now, lease / 3, now + lease / 3)  # type: ignore[arg-type]
        held.job = LeasedJob(leased.job, stop, held)
        self.held[token] = held
        self._busy += 1
        self.idle.clear()
        if leased.HasField("attempt_remaining"):
            held.attempt_ends = now + from_duration(leased.attempt_remaining)
            timer = self._loop.call_at(held.attempt_ends, self.stop, held, _too_long())
            held.timers.append(timer)
        return held

    def begin(self, held: Held) -> None:
        """The broker will count the attempt: its handler starts."""
        self._crew.begin(held)

    def let_go(self, held: Held) -> None:
        """A job that was not begun goes back by itself."""
        self._forget(held)
        self.finish(held, None)

    def finish(self, held: Held, ask: Ask | None) -> None:
        """A handler has ended, and wants this; nothing if its job is not ours any more."""
        for timer in held.timers:
            timer.cancel()
        self._vacate(held)
        if ask is not None and held.is_ours and not held.is_settling:
            self.settle(held, ask)
        else:
            self._look()

    def settle(self, held: Held, ask: Ask) -> None:
        """Says what becomes of a job."""
        held.is_settling = True
        ask.lease_token = held.token
        self._question(held, ask)

    def report(
        self, held: Held, progress: Progress | None, checkpoint: Payload | None, saved: Saved
    ) -> None:
        """A word of a handler. What comes while one is under way waits, newest over older."""
        if not held.is_ours or held.is_settling:
            saved.set_exception(held.stop.reason or LeaseLost("the job is not held any more"))
            return
        request = lease_pb2.ExtendLeaseRequest(lease_token=held.token)
        if progress is not None:
            request.progress.CopyFrom(progress.to_message())
        if checkpoint is not None:
            request.checkpoint.CopyFrom(checkpoint.to_message())
        if held.reports is None:
            held.reports = _Reports(lease_pb2.ExtendLeaseRequest(), [])
            self._question(held, request, [saved])
        else:
            held.reports.request.MergeFrom(request)
            held.reports.saved.append(saved)

    def extend(self, held: Held) -> None:
        """A heartbeat, on lines that do not carry it by themselves."""
        held.extend_at = self._loop.time() + held.interval
        held.is_extending = True
        self._question(held, lease_pb2.ExtendLeaseRequest(lease_token=held.token))

    def ask_again(self) -> None:
        """The line is a new one: all that is open is said again, in its order."""
        self.unsent = deque(self.questions.values())
        for question in self.questions.values():
            question.due = None

    def wake(self, now: float) -> None:
        """Questions that were put off and whose time has come are asked again."""
        for question in self.questions.values():
            if question.due is not None and question.due <= now:
                question.due = None
                self.unsent.append(question)
                self.news.set()

    def answer(self, number: int, answer: Answer | LessorError) -> None:
        """The answer to a question."""
        question = self.questions.get(number)
        if question is None:
            return
        if isinstance(answer, Unavailable):
            pause = pauses.no_sooner(min(next(question.waits), _MORE_TIME), answer)
            question.due = self._loop.time() + pause
            return
        del self.questions[number]
        if question.settles:
            self._settled(question, answer)
        else:
            self._extended(question, answer)
        self._look()

    def stop(self, held: Held, reason: JobStopped) -> None:
        """Tells a handler to stop; when it does not, its place is given away after a while."""
        if not held.is_running or not held.stop.tell(reason):
            return
        self._crew.lost(held, reason)
        held.timers.append(self._loop.call_later(self._stop_grace, self._give_up, held))

    def lose(self, token: str, reason: str) -> None:
        """The lease is somebody else's, or nobody's."""
        held = self.held.get(token)
        if held is None:
            return
        if not held.is_settling:
            self._forget(held)
        is_over = held.attempt_ends - self._loop.time() < _ATTEMPT_SLACK
        self.stop(held, _too_long() if is_over else JobStopped(StopReason.LEASE_LOST, reason))
        self._look()

    def cancel(self, token: str, reason: str) -> None:
        """Somebody wants the job cancelled."""
        held = self.held.get(token)
        if held is not None:
            self.stop(held, JobStopped(StopReason.CANCELLED, reason))

    def drain(self, reason: str) -> None:
        """An operator wants the worker to end."""
        self._crew.drain(reason)

    def refuse_more(self) -> None:
        """No more jobs are wanted."""
        self.is_stopped = True
        self.news.set()

    def hurry(self) -> None:
        """The worker ends now: what still runs is told, and goes back."""
        for held in list(self.held.values()):
            if held.is_running:
                self.stop(held, JobStopped(StopReason.DRAINING, "the worker ends"))

    def give_back(self) -> None:
        """What still runs goes back, uncounted, whatever its handler does."""
        for held in list(self.held.values()):
            if held.is_running:
                self.finish(held, JobStopped(StopReason.DRAINING).nack())

    def _question(self, held: Held, ask: Ask, saved: list[Saved] | None = None) -> None:
        self._asked += 1
        question = Question(self._asked, held, ask, saved or [])
        self.questions[self._asked] = question
        self.unsent.append(question)
        self.idle.clear()
        self.news.set()

    def _settled(self, question: Question, answer: Answer | LessorError) -> None:
        held = question.held
        if isinstance(answer, LessorError):
            self._crew.refused(held, answer)
            if not isinstance(answer, (LeaseLost, LeaseSettled)) and held.is_ours:
                self._settle_otherwise(question, answer)
                return
        elif not isinstance(answer, lease_pb2.ExtendLeaseResponse):
            word = lease_pb2.SettleOutcome.Name(answer.outcome)
            self._crew.settled(held, word.removeprefix("SETTLE_OUTCOME_"))
        self._forget(held)

    def _settle_otherwise(self, question: Question, error: LessorError) -> None:
        """What the handler said cannot be kept: then the attempt has failed."""
        code = error.reason or error.code.name
        ask = failed(Failure(code, error.message))
        before = question.ask
        if isinstance(before, lease_pb2.NackRequest) and before.failure.code == code:
            # Not even that is taken: the lease will run out.
            self._forget(question.held)
        else:
            self.settle(question.held, ask)

    def _extended(self, question: Question, answer: Answer | LessorError) -> None:
        held = question.held
        for saved in question.saved:
            if isinstance(answer, LessorError):
                saved.set_exception(answer)
            else:
                saved.set_result(None)
        if not question.saved:
            held.is_extending = False
        else:
            reports, held.reports = held.reports, None
            if reports is not None and reports.saved and held.is_ours and not held.is_settling:
                held.reports = _Reports(lease_pb2.ExtendLeaseRequest(), [])
                self._question(held, reports.request, reports.saved)
        if isinstance(answer, LeaseLost):
            self.lose(held.token, answer.message)
        elif isinstance(answer, LessorError):
            self._crew.refused(held, answer)
        elif isinstance(answer, lease_pb2.ExtendLeaseResponse):
            if answer.cancel_requested:
                self.cancel(held.token, answer.cancel_reason)
            if answer.drain:
                self.drain("an operator drains the worker")

    def _give_up(self, held: Held) -> None:
        if held.is_running and held.stop.reason is not None:
            self._crew.hung(held)
            self.finish(held, held.stop.reason.nack())

    def _vacate(self, held: Held) -> None:
        if held.is_running:
            held.is_running = False
            self._busy -= 1
            self.news.set()

    def _forget(self, held: Held) -> None:
        held.is_ours = False
        self.held.pop(held.token, None)

    def _look(self) -> None:
        if self._busy == 0 and not self.questions:
            self.idle.set()


def describe(job: JobFields) -> dict[str, object]:
    """The fields by which logs name a job."""
    return {"job": job.name, "job_type": job.type, "attempt": job.attempt}


def _too_long() -> JobStopped:
    return JobStopped(StopReason.TIMED_OUT, "the attempt has taken too long")
