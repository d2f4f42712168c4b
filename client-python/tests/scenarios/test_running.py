"""What handlers are promised; the names are those of tests/scenarios.toml."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Queue

import pytest
from support import LEASE, Broker, eventually, until, worker_program

from lessor import (
    AttemptOutcome,
    Backoff,
    Client,
    Done,
    JobState,
    JobStopped,
    LeasedJob,
    NewJob,
    Reject,
    Retry,
    Snooze,
    StopReason,
    Worker,
)
from lessor.v1 import admin_pb2

MakeWorker = Callable[..., Worker]
AT_ONCE = Backoff(3, initial=0)


def test_scenario_concurrency_is_bounded(
    client: Client, make_worker: MakeWorker, queue: str
) -> None:
    worker = make_worker(concurrency=3)
    running: set[str] = set()
    most: list[int] = []
    enough = asyncio.Event()

    @worker.task("*")
    async def count(job: LeasedJob) -> None:
        running.add(job.name)
        most.append(len(running))
        if len(running) == 3:
            enough.set()
        await enough.wait()
        await asyncio.sleep(0.01)
        running.discard(job.name)

    jobs = client.enqueue_batch([NewJob(queue, n) for n in range(20)])
    worker.start()
    for job in jobs:
        client.wait(job, 10)
    assert max(most) == 3


def test_scenario_several_queues(client: Client, make_worker: MakeWorker, queue: str) -> None:
    worker = make_worker([f"{queue}-a", f"{queue}-p*"])
    seen: list[str] = []

    @worker.task("*")
    def note(job: LeasedJob) -> None:
        seen.append(job.queue)

    client.enqueue(f"{queue}-a")
    worker.start()
    names = [f"{queue}-a", f"{queue}-p1", f"{queue}-p2"]
    for name in names:
        client.wait(client.enqueue(name), 10)
    assert sorted(seen) == sorted([f"{queue}-a", *names])


def test_scenario_handler_throws(client: Client, make_worker: MakeWorker, queue: str) -> None:
    worker = make_worker()

    @worker.task("bad")
    async def bad(job: LeasedJob) -> str:
        if job.attempt < 3:
            raise LookupError("no such user")
        return "third time"

    @worker.task("good")
    def good(job: LeasedJob) -> None: ...

    worker.start()
    enqueued = client.enqueue(queue, type="bad", retry=AT_ONCE)
    job = client.wait(enqueued, 10)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 3)
    failed = job.attempts[-1]
    assert failed.outcome is AttemptOutcome.FAILED
    assert failed.failure is not None
    assert (failed.failure.code, failed.failure.message) == ("LOOKUP_ERROR", "no such user")
    assert "in bad" in failed.failure.stack
    assert client.wait(client.enqueue(queue, type="good"), 10).state is JobState.SUCCEEDED


def test_scenario_retry_delay_of_handler(
    client: Client, make_worker: MakeWorker, queue: str
) -> None:
    worker = make_worker()

    @worker.task("*")
    async def busy(job: LeasedJob) -> None:
        if job.attempt == 1:
            raise Retry("the other side is busy", after=0.2, code="HTTP_429")

    worker.start()
    job = client.wait(client.enqueue(queue, retry=Backoff(3, initial=3600)), 10)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)
    assert job.last_failure is not None
    assert job.last_failure.code == "HTTP_429"


def test_scenario_fatal_code(client: Client, make_worker: MakeWorker, queue: str) -> None:
    worker = make_worker()

    @worker.task("*")
    async def refuse(job: LeasedJob) -> None:
        raise ValueError("nonsense")

    worker.start()
    job = client.wait(client.enqueue(queue, retry=Backoff(9, fatal_codes=["VALUE_ERROR"])), 10)
    assert (job.state, job.attempt) == (JobState.DEAD, 1)


def test_scenario_reject_to_dead(client: Client, make_worker: MakeWorker, queue: str) -> None:
    worker = make_worker()

    @worker.task("*")
    async def reject(job: LeasedJob) -> None:
        raise Reject("this user is gone", code="USER_GONE", details={"user": 7})

    worker.start()
    job = client.wait(client.enqueue(queue, retry=9), 10)
    assert (job.state, job.attempt) == (JobState.DEAD, 1)
    assert job.last_failure is not None
    assert (job.last_failure.code, job.last_failure.message) == ("USER_GONE", "this user is gone")
    assert job.last_failure.details == {"user": 7}


def test_scenario_snooze(client: Client, make_worker: MakeWorker, queue: str) -> None:
    worker = make_worker()

    @worker.task("*")
    def later(job: LeasedJob) -> int:
        if job.delivery_count < 3:
            raise Snooze(0.1)
        return job.attempt

    worker.start()
    job = client.wait(client.enqueue(queue, retry=1), 10)
    assert (job.attempt, job.delivery_count) == (1, 3)
    assert job.result is not None
    assert job.result.json() == 1


def test_scenario_no_handler(client: Client, make_worker: MakeWorker, queue: str) -> None:
    ignorant, able = make_worker(), make_worker()

    @ignorant.task("other")
    def other(job: LeasedJob) -> None: ...

    @able.task("known")
    def known(job: LeasedJob) -> int:
        return job.attempt

    ignorant.start()
    enqueued = client.enqueue(queue, type="known", retry=Backoff(1, initial=0.2))
    until(client, enqueued.name, "JOB_RELEASED")
    held = client.get(enqueued)
    assert held.last_failure is not None
    assert held.last_failure.code == "NO_HANDLER"
    able.start()
    ignorant.close()
    job = client.wait(enqueued, 10)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)


@pytest.mark.parametrize("kind", ["loop", "thread", "process"])
def test_scenario_handler_hangs(
    client: Client, make_worker: MakeWorker, queue: str, kind: str
) -> None:
    worker = make_worker(concurrency=1, stop_grace=0.2)
    released = threading.Event()
    reasons: list[StopReason] = []

    async def on_loop(job: LeasedJob) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert job.stop_reason is not None
            reasons.append(job.stop_reason.reason)
            raise

    def in_thread(job: LeasedJob) -> None:
        released.wait()
        assert job.stop_reason is not None
        reasons.append(job.stop_reason.reason)

    handlers = {"loop": on_loop, "thread": in_thread, "process": hang}
    worker.handle("hang", handlers[kind], run_in=kind)
    worker.handle("after", lambda job: None)
    worker.start()
    hung = client.enqueue(queue, type="hang", attempt_timeout=1, retry=Backoff(2, initial=3600))
    after = client.enqueue(queue, type="after")
    assert client.wait(after, 10).state is JobState.SUCCEEDED
    job = client.wait(hung, 10, until=[JobState.RETRYING])
    assert job.attempts[0].outcome in (AttemptOutcome.TIMED_OUT, AttemptOutcome.FAILED)
    assert job.last_failure is not None
    assert job.last_failure.code == "ATTEMPT_TIMEOUT"
    released.set()
    if kind != "process":
        eventually(lambda: reasons == [StopReason.TIMED_OUT])


def hang(job: LeasedJob) -> None:
    threading.Event().wait()


def test_scenario_long_job_is_extended(client: Client, make_worker: MakeWorker, queue: str) -> None:
    worker = make_worker()

    @worker.task("*")
    async def long(job: LeasedJob) -> None:
        await asyncio.sleep(2.5 * LEASE)

    worker.start()
    job = client.wait(client.enqueue(queue), 10)
    assert (job.state, job.delivery_count) == (JobState.SUCCEEDED, 1)


def test_scenario_event_loop_blocked(client: Client, make_worker: MakeWorker, queue: str) -> None:
    worker = make_worker()
    began = threading.Event()

    @worker.task("blocking")
    async def block(job: LeasedJob) -> None:
        began.set()
        time.sleep(2.5 * LEASE)  # noqa: ASYNC251

    @worker.task("waiting")
    async def wait(job: LeasedJob) -> None:
        await asyncio.to_thread(began.wait)

    worker.start()
    waiting = client.enqueue(queue, type="waiting")
    until(client, waiting.name, "JOB_LEASED")
    blocking = client.enqueue(queue, type="blocking")
    for enqueued in (blocking, waiting):
        job = client.wait(enqueued, 10)
        assert (job.state, job.delivery_count) == (JobState.SUCCEEDED, 1)


def test_scenario_progress_is_seen(client: Client, make_worker: MakeWorker, queue: str) -> None:
    worker = make_worker()
    seen = threading.Event()

    @worker.task("*")
    def report(job: LeasedJob) -> None:
        job.progress(message="half", done=5, total=10)
        seen.wait(10)

    worker.start()
    enqueued = client.enqueue(queue)
    event = until(client, enqueued.name, "JOB_PROGRESS")
    now = client.get(enqueued)
    seen.set()
    for progress in (event.progress, now.progress):
        assert progress is not None
        assert (progress.percent, progress.message, progress.done) == (50, "half", 5)
    assert now.state is JobState.LEASED
    client.wait(enqueued, 10)


def test_scenario_checkpoint_is_handed_on(
    client: Client, make_worker: MakeWorker, queue: str
) -> None:
    worker = make_worker()

    @worker.task("*")
    async def resume(job: LeasedJob) -> object:
        if job.checkpoint is None:
            await job.save_checkpoint({"page": 3})
            raise ConnectionError("broke off")
        return job.checkpoint.json()

    worker.start()
    job = client.wait(client.enqueue(queue, retry=AT_ONCE), 10)
    assert job.attempt == 2
    assert job.result is not None
    assert job.result.json() == {"page": 3}


def test_scenario_follow_up_jobs(client: Client, make_worker: MakeWorker, queue: str) -> None:
    worker = make_worker()
    client.enqueue(f"{queue}", "taken", job_id="taken", delay=3600)

    @worker.task("first")
    def first(job: LeasedJob) -> Done:
        names = ["second", job.payload.json()]
        return Done("made", then=[NewJob(queue, type="second", job_id=name) for name in names])

    @worker.task("second")
    def second(job: LeasedJob) -> None: ...

    worker.start()
    refused = client.wait(client.enqueue(queue, "taken", type="first", retry=1), 10)
    assert refused.state is JobState.DEAD
    assert refused.last_failure is not None
    assert refused.last_failure.code == "JOB_EXISTS"
    made = client.wait(client.enqueue(queue, "third", type="first"), 10)
    assert made.state is JobState.SUCCEEDED
    for name in ("second", "third"):
        job = client.wait(f"queues/{queue}/jobs/{name}", 10)
        assert (job.type, job.state) == ("second", JobState.SUCCEEDED)


def test_scenario_result_too_large(client: Client, make_worker: MakeWorker, queue: str) -> None:
    worker = make_worker()

    @worker.task("large")
    async def large(job: LeasedJob) -> bytes:
        return b"x" * (256 * 1024 + 1)

    @worker.task("strange")
    async def strange(job: LeasedJob) -> object:
        return object()

    worker.start()
    job = client.wait(client.enqueue(queue, type="large", retry=Backoff(2, initial=0)), 10)
    assert (job.state, job.attempt) == (JobState.DEAD, 2)
    assert job.last_failure is not None
    assert job.last_failure.code == "PAYLOAD_TOO_LARGE"
    job = client.wait(client.enqueue(queue, type="strange", retry=1), 10)
    assert job.last_failure is not None
    assert job.last_failure.code == "TYPE_ERROR"


@pytest.mark.parametrize("kind", ["loop", "thread", "process"])
def test_scenario_cancel_while_running(
    client: Client, make_worker: MakeWorker, queue: str, kind: str
) -> None:
    worker = make_worker()
    told: list[str] = []

    async def on_loop(job: LeasedJob) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as cancelled:
            told.append(str(cancelled))
            raise

    def in_thread(job: LeasedJob) -> None:
        try:
            job.sleep(60)
        except JobStopped as stopped:
            told.append(str(stopped))
            raise

    worker.handle("*", {"loop": on_loop, "thread": in_thread, "process": hang}[kind], run_in=kind)
    worker.start()
    enqueued = client.enqueue(queue)
    until(client, enqueued.name, "JOB_LEASED")
    client.cancel(enqueued, "changed my mind", grace=60)
    assert client.wait(enqueued, 10).state is JobState.CANCELLED
    if kind != "process":
        assert told == ["CANCELLED: changed my mind"]


def test_scenario_lease_lost_mid_job(
    broker: Broker, client: Client, make_worker: MakeWorker, queue: str
) -> None:
    worker = make_worker(concurrency=1)
    told: Queue[StopReason] = Queue()

    @worker.task("*")
    async def stubborn(job: LeasedJob) -> str:
        if job.delivery_count > 1:
            return "the second"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert job.stop_reason is not None
            told.put(job.stop_reason.reason)
        return "the first, too late"

    worker.start()
    enqueued = client.enqueue(queue)
    until(client, enqueued.name, "JOB_LEASED")
    broker.revoke(enqueued.name)
    job = client.wait(enqueued, 10)
    assert job.result is not None
    assert (job.result.json(), job.delivery_count) == ("the second", 2)
    assert told.get(timeout=10) is StopReason.LEASE_LOST


def test_scenario_drain_with_job_running(
    broker: Broker, client: Client, queue: str, tmp_path: Path
) -> None:
    program = worker_program(tmp_path, broker.address, queue, "linger")
    enqueued = client.enqueue(queue)
    program.says("running")
    assert program.stop() == 0
    job = client.get(enqueued)
    assert (job.state, job.delivery_count) == (JobState.SUCCEEDED, 1)
    after = client.enqueue(queue)
    assert client.get(after).delivery_count == 0


def test_scenario_drain_releases_what_is_left(
    client: Client, make_worker: MakeWorker, queue: str
) -> None:
    leaving, staying = make_worker(grace=0.1), make_worker()

    @leaving.task("loop")
    async def on_loop(job: LeasedJob) -> None:
        await asyncio.Event().wait()

    @leaving.task("thread")
    def in_thread(job: LeasedJob) -> None:
        threading.Event().wait()

    @staying.task("*")
    async def finish(job: LeasedJob) -> int:
        return job.attempt

    leaving.start()
    jobs = [client.enqueue(queue, type=kind) for kind in ("loop", "thread")]
    for enqueued in jobs:
        until(client, enqueued.name, "JOB_LEASED")
    leaving.close()
    for enqueued in jobs:
        assert client.get(enqueued).state is JobState.READY
    staying.start()
    for enqueued in jobs:
        job = client.wait(enqueued, 10)
        assert (job.attempt, job.delivery_count) == (1, 2)


def test_scenario_drained_by_operator(
    broker: Broker, client: Client, make_worker: MakeWorker, queue: str
) -> None:
    worker = make_worker(worker_id=f"{queue}-worker")
    go_on = threading.Event()

    @worker.task("*")
    def hold(job: LeasedJob) -> None:
        go_on.wait(10)

    worker.start()
    held = client.enqueue(queue)
    until(client, held.name, "JOB_LEASED")

    def is_drained() -> bool:
        # Workers are written down every few seconds.
        with broker.admin() as admin:
            workers = admin.ListWorkers(admin_pb2.ListWorkersRequest(), timeout=10).workers
            if any(one.worker_id == worker.worker_id for one in workers):
                request = admin_pb2.DrainWorkerRequest(worker_id=worker.worker_id)
                admin.DrainWorker(request, timeout=10)
                return True
        return False

    eventually(is_drained)
    eventually(lambda: worker.is_draining)
    left = client.enqueue(queue)
    go_on.set()
    assert client.wait(held, 10).state is JobState.SUCCEEDED
    worker.close()
    assert client.get(left).delivery_count == 0
