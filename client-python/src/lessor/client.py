"""The client for programs without an event loop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any

from google.protobuf.message import Message
from typing_extensions import Self, Unpack

from lessor.address import Address, Tls, Token
from lessor.connection import Settings
from lessor.core import Core, Enqueued, name_of
from lessor.durations import Span, to_seconds
from lessor.errors import LessorError
from lessor.events import Event, Page, WatchOptions, watch_request
from lessor.job import Job, JobState
from lessor.options import JobOptions, NewJob
from lessor.v1 import enqueue_pb2
from lessor.watching import Watching


class Client:
    """A client of one broker, or of the address that many share. Any thread may use it.

    url: `http://host:port` or `https://host:port`; LESSOR_SERVER or the local broker by default
    token: a bearer token, or a function that tells the present one
    tls: whom to trust, and the client's own certificate
    timeout: how long a call may take, its repeats included

    Nothing is opened before the first call. A call that fails with UNAVAILABLE is repeated up to
    three times within its timeout; every call bears that.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: Token | None = None,
        tls: Tls | None = None,
        timeout: Span = 10.0,
        channel_options: Mapping[str, str | int] | None = None,
    ) -> None:
        address = Address.parse(url)
        self._core = Core(Settings(address, tls, token, to_seconds(timeout), channel_options))

    def enqueue(
        self, queue: str, payload: object = None, /, **options: Unpack[JobOptions]
    ) -> Enqueued:
        """Hands one job to the broker. A repeated call does not make a second job.

        Concurrent calls of a client share calls to the broker; one that is alone is not delayed.
        """
        return self.enqueue_job(NewJob(queue, payload, **options))

    def enqueue_job(self, job: NewJob) -> Enqueued:
        """As `enqueue`, with a job that was made before."""
        return Enqueued.of(self._core.enqueue(job).result())

    def enqueue_batch(self, jobs: Iterable[NewJob]) -> list[Enqueued]:
        """Hands many jobs of one queue to the broker, all of them or none; in their order."""
        answers = self._core.enqueue_many(jobs, partial=False).result()
        return [Enqueued.of(answer) for answer in all_made(answers)]

    def enqueue_each(self, jobs: Iterable[NewJob]) -> list[Enqueued | LessorError]:
        """Hands many jobs to the broker, of any queues, each of which may fail alone."""
        answers = self._core.enqueue_many(jobs, partial=True).result()
        return [one if isinstance(one, LessorError) else Enqueued.of(one) for one in answers]

    def get(self, job: Job | Enqueued | str) -> Job:
        """One job in full: with payload, result and attempts."""
        return self._core.get(name_of(job)).result()

    def wait(
        self,
        job: Job | Enqueued | str,
        timeout: Span | None = None,
        *,
        until: Iterable[JobState] = (),
    ) -> Job:
        """Waits for a job to end, or to reach one of these states. `WaitTimeout` if it does not."""
        return self._core.wait(name_of(job), timeout, until).result()

    def cancel(
        self,
        job: Job | Enqueued | str,
        reason: str = "",
        *,
        grace: Span | None = None,
        etag: str = "",
    ) -> Job:
        """Calls a job off: at once if it waits, else through its worker, within the grace."""
        return self._core.cancel(name_of(job), reason, grace, etag).result()

    def watch(self, **options: Unpack[WatchOptions]) -> Watch:
        """What happens from now on, or from where the options say; it outlives connections."""
        return Watch(self._core, options)

    def call(self, method: str, request: Message, *, timeout: Span | None = None) -> Any:
        """Any call of the protocol with one answer, for what has no method here.

        `client.call("GetQueueStats", admin_pb2.GetQueueStatsRequest(name="emails"))`, with the
        messages of `lessor.v1`; those of operators, too.
        """
        return self._core.call(method, request, timeout).result()

    def close(self) -> None:
        """Ends the connection."""
        self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Watch(Iterator[Event]):
    """Events, one after the other, and a `cursor` from which a later watch may go on."""

    def __init__(self, core: Core, options: WatchOptions) -> None:
        self._core = core
        self._watching = Watching(core.opened().connection, watch_request(**options))
        page = core.run(lambda _: self._watching.open()).result()
        self._take(page)

    def _take(self, page: Page) -> None:
        self._events = iter(page.events)
        #: Where the events end that came so far.
        self.cursor = page.cursor

    def __next__(self) -> Event:
        while True:
            for event in self._events:
                return event
            page = self._core.run(lambda _: self._watching.next()).result()
            if page is None:
                raise StopIteration
            self._take(page)

    def close(self) -> None:
        """Ends it."""
        self._core.run(lambda _: self._watching.close()).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def all_made(
    answers: list[enqueue_pb2.EnqueueResponse | LessorError],
) -> list[enqueue_pb2.EnqueueResponse]:
    """The answers of a batch of which all or none were made."""
    made = []
    for answer in answers:
        if isinstance(answer, LessorError):
            raise answer
        made.append(answer)
    return made
