"""What the scenarios leave open: the shape of the Python worker."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable

import pytest
from support import Broker

from lessor import (
    Client,
    JobState,
    LeasedJob,
    LessorError,
    NewJob,
    Release,
    Worker,
)

MakeWorker = Callable[..., Worker]


def spin(job: LeasedJob) -> list[int]:
    """Runs in a process of its own."""
    until_ = time.monotonic() + job.payload.json()
    while time.monotonic() < until_:
        pass
    job.progress(50, "half").result(5)
    job.save_checkpoint({"pid": os.getpid()})
    return [os.getpid(), job.attempt]


def crash(job: LeasedJob) -> None:
    os._exit(7)


def fail(job: LeasedJob) -> None:
    raise ValueError("in the process")


def test_processes_run_what_needs_a_cpu(
    client: Client, make_worker: MakeWorker, queue: str
) -> None:
    worker = make_worker(concurrency=2)
    for handler in (spin, crash, fail):
        worker.handle(handler.__name__, handler, run_in="process")
    worker.start()
    spinning = client.enqueue(queue, 1.5, type="spin")
    crashing = client.enqueue(queue, type="crash", retry=1)
    job = client.wait(crashing, 15)
    assert job.last_failure is not None
    assert (job.state, job.last_failure.code) == (JobState.DEAD, "PROCESS_DIED")
    job = client.wait(client.enqueue(queue, type="fail", retry=1), 15)
    assert job.last_failure is not None
    assert (job.last_failure.code, job.last_failure.message) == ("VALUE_ERROR", "in the process")
    job = client.wait(spinning, 15)
    assert job.result is not None
    pid, attempt = job.result.json()
    assert (attempt, job.delivery_count) == (1, 1)
    assert pid != os.getpid()
    assert job.progress is not None
    assert job.progress.message == "half"
    assert job.checkpoint is not None
    assert job.checkpoint.json() == {"pid": pid}


def test_a_task_is_a_function_and_a_helper(
    client: Client, make_worker: MakeWorker, queue: str
) -> None:
    worker = make_worker()

    @worker.task("add", priority=5, labels={"from": "task"})
    def add(job: LeasedJob) -> int:
        """Adds."""
        return sum(job.payload.json())

    @worker.task
    async def echo(job: LeasedJob) -> object:
        return job.payload.json()

    assert (add.name, echo.name, add.__doc__) == ("add", "echo", "Adds.")
    worker.start()
    job = client.wait(add.enqueue(client, [1, 2], priority=7), 10)
    assert (job.type, job.priority, job.labels) == ("add", 7, {"from": "task"})
    assert job.result is not None
    assert job.result.json() == 3
    assert client.wait(client.enqueue_job(echo.job("x")), 10).state is JobState.SUCCEEDED


def test_methods_of_objects_are_handlers(
    client: Client, make_worker: MakeWorker, queue: str
) -> None:
    class Mailer:
        def __init__(self, sender: str) -> None:
            self.sender = sender

        async def send(self, job: LeasedJob) -> str:
            return f"{self.sender} to {job.payload.json()}"

    worker = make_worker()
    worker.handle("send", Mailer("ada").send)
    worker.start()
    job = client.wait(client.enqueue(queue, "bob", type="send"), 10)
    assert job.result is not None
    assert job.result.json() == "ada to bob"


def test_wrong_handlers_are_refused_at_once() -> None:
    worker = Worker("q")

    async def coroutine(job: LeasedJob) -> None: ...

    def local(job: LeasedJob) -> None: ...

    with pytest.raises(TypeError, match="cannot run in a thread"):
        worker.handle("a", coroutine, run_in="thread")
    with pytest.raises(TypeError, match="top level of a module"):
        worker.handle("b", local, run_in="process")
    worker.handle("c", local)
    with pytest.raises(ValueError, match="has a handler already"):
        worker.handle("c", local)
    with pytest.raises(ValueError, match="concurrency"):
        Worker("q", concurrency=0)


def test_a_worker_that_is_refused_for_good_raises(make_worker: MakeWorker) -> None:
    worker = make_worker(["no spaces here"])
    worker.handle("*", lambda job: None)
    with pytest.raises(LessorError, match="queues"):
        worker.run()


def test_a_worker_runs_beside_other_coroutines(broker: Broker, client: Client, queue: str) -> None:
    worker = Worker(queue, broker.address, lease_duration=1)
    loops: list[bool] = []

    @worker.task("*")
    async def note(job: LeasedJob) -> None:
        loops.append(asyncio.get_running_loop() is loop[0])

    async def main() -> None:
        loop.append(asyncio.get_running_loop())
        running = asyncio.create_task(worker.run_async())
        enqueued = await asyncio.to_thread(client.enqueue, queue)
        job = await asyncio.to_thread(client.wait, enqueued, 10)
        assert job.state is JobState.SUCCEEDED
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    loop: list[asyncio.AbstractEventLoop] = []
    asyncio.run(main())
    assert loops == [True]


def test_a_released_job_goes_to_another_worker(
    client: Client, make_worker: MakeWorker, queue: str
) -> None:
    worker = make_worker()

    @worker.task("*")
    def pass_on(job: LeasedJob) -> int:
        if job.delivery_count < 3:
            raise Release
        return job.attempt

    worker.start()
    job = client.wait(client.enqueue(queue), 10)
    assert (job.attempt, job.delivery_count) == (1, 3)


def test_a_worker_takes_only_types_that_it_knows(
    client: Client, make_worker: MakeWorker, queue: str
) -> None:
    worker = make_worker(types="known")
    worker.handle("known", lambda job: None)
    worker.start()
    other = client.enqueue(queue, type="other")
    client.wait(client.enqueue(queue, type="known"), 10)
    assert client.get(other).delivery_count == 0


def test_many_jobs_are_run_once_each(client: Client, make_worker: MakeWorker, queue: str) -> None:
    worker = make_worker(concurrency=50, lease_duration=30)
    seen: list[int] = []
    all_there = threading.Event()

    @worker.task("*")
    async def note(job: LeasedJob) -> None:
        seen.append(job.payload.json())
        if len(seen) == 1000:
            all_there.set()

    worker.start()
    client.enqueue_batch([NewJob(queue, n) for n in range(1000)])
    assert all_there.wait(30)
    worker.close()
    assert sorted(seen) == list(range(1000))
