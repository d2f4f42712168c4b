"""What is promised when things break; the names are those of tests/scenarios.toml."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import grpc
import pytest
from support import HERE, LEASE, Broker, Refusing, Relay, eventually, until, worker_program

from lessor import (
    Client,
    DeadlineExceeded,
    InvalidArgument,
    JobState,
    LeasedJob,
    NewJob,
    Outcome,
    QueueFull,
    StopReason,
    Unavailable,
    Worker,
)
from lessor.v1 import lease_pb2

MakeWorker = Callable[..., Worker]


def test_scenario_process_killed(
    broker: Broker, client: Client, make_worker: MakeWorker, queue: str, tmp_path: Path
) -> None:
    program = worker_program(tmp_path, broker.address, queue, "hold")
    enqueued = client.enqueue(queue)
    program.says("holding")
    program.kill()
    rescuer = make_worker()

    @rescuer.task("*")
    async def finish(job: LeasedJob) -> int:
        return job.attempt

    rescuer.start()
    job = client.wait(enqueued, 15)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 2)


def test_scenario_process_frozen(
    broker: Broker, client: Client, make_worker: MakeWorker, queue: str, tmp_path: Path
) -> None:
    program = worker_program(tmp_path, broker.address, queue, "pause")
    enqueued = client.enqueue(queue)
    program.says("running")
    program.send(signal.SIGSTOP)
    rescuer = make_worker()

    @rescuer.task("*")
    async def finish(job: LeasedJob) -> str:
        return "the rescuer"

    rescuer.start()
    job = client.wait(enqueued, 15)
    program.send(signal.SIGCONT)
    program.says("told LEASE_LOST|ends late")
    assert program.stop() == 0
    assert job.result is not None
    assert client.get(enqueued).result == job.result
    assert job.result.json() == "the rescuer"


def test_scenario_poison_job(broker: Broker, client: Client, queue: str, tmp_path: Path) -> None:
    enqueued = client.enqueue(queue, retry=9)
    for _ in range(3):
        program = worker_program(tmp_path, broker.address, queue, "poison")
        program.says("dying")
        assert program.ends() == -signal.SIGKILL
    job = client.wait(enqueued, 15)
    assert (job.state, job.attempt) == (JobState.DEAD, 3)
    assert job.last_failure is not None
    assert job.last_failure.code == "CRASH_LOOP"


class Holding:
    """A handler that waits until it may go on; it answers how often the job was leased."""

    def __init__(self, worker: Worker) -> None:
        self.go_on = threading.Event()
        self.began = threading.Event()
        worker.handle("*", self.hold)

    def hold(self, job: LeasedJob) -> int:
        # Once this is answered, the broker counts on us.
        job.progress(1).result(10)
        self.began.set()
        while not self.go_on.wait(0.01):
            job.check()
        return job.delivery_count


def finished_by_first_attempt(client: Client, name: str) -> None:
    job = client.wait(name, 15)
    assert (job.state, job.attempt, job.delivery_count) == (JobState.SUCCEEDED, 1, 1)
    assert job.result is not None
    assert job.result.json() == 1


def test_scenario_connection_lost_mid_job(
    relay: Relay, client: Client, make_worker: MakeWorker, queue: str
) -> None:
    worker = make_worker(url=relay.address)
    holding = Holding(worker)
    worker.start()
    enqueued = client.enqueue(queue)
    assert holding.began.wait(15)
    relay.cut()
    eventually(lambda: relay.connections == 2)
    holding.go_on.set()
    finished_by_first_attempt(client, enqueued.name)


def test_scenario_reconnect_keeps_leases(
    relay: Relay, client: Client, make_worker: MakeWorker, queue: str
) -> None:
    worker = make_worker(url=relay.address)
    holding = Holding(worker)
    worker.start()
    enqueued = client.enqueue(queue)
    assert holding.began.wait(15)
    ends = client.get(enqueued).message.lease_expire_time.ToDatetime()
    relay.cut()

    def has_moved_on() -> bool:
        now = client.get(enqueued).message.lease_expire_time.ToDatetime()
        return (now - ends).total_seconds() > 2 * LEASE

    eventually(has_moved_on)
    assert relay.connections >= 2
    holding.go_on.set()
    finished_by_first_attempt(client, enqueued.name)


def test_scenario_ack_answer_lost(
    relay: Relay, client: Client, make_worker: MakeWorker, queue: str
) -> None:
    worker = make_worker(url=relay.address)
    holding = Holding(worker)
    worker.start()
    enqueued = client.enqueue(queue)
    assert holding.began.wait(15)
    relay.swallow()
    holding.go_on.set()
    until(client, enqueued.name, "JOB_SUCCEEDED")
    relay.cut()
    # It may have been sent on the broken connection, where it was not received.
    assert client.wait(client.enqueue(queue), 15).attempt == 1
    finished_by_first_attempt(client, enqueued.name)
    eventually(lambda: worker.busy == 0)


def test_scenario_broker_restart_mid_job(
    own_broker: Broker, make_worker: MakeWorker, queue: str
) -> None:
    worker = make_worker(url=own_broker.address, lease_duration=5)
    holding = Holding(worker)
    worker.start()
    with Client(own_broker.address) as client:
        enqueued = client.enqueue(queue)
        assert holding.began.wait(15)
        own_broker.kill()
        own_broker.start()
        holding.go_on.set()
        finished_by_first_attempt(client, enqueued.name)
        finished_by_first_attempt(client, client.enqueue(queue).name)
        worker.close()


def test_scenario_broker_gone_30_s(own_broker: Broker, make_worker: MakeWorker, queue: str) -> None:
    # As long as it takes until the lease has been ended, not 30 s: what is promised is the same.
    worker = make_worker(url=own_broker.address)
    told: Queue[StopReason] = Queue()
    began = threading.Event()

    @worker.task("*")
    def hold(job: LeasedJob) -> int:
        job.progress(1).result(10)
        began.set()
        while job.delivery_count == 1 and job.payload.value == "held":
            if job.stop_reason is not None:
                told.put(job.stop_reason.reason)
                job.check()
            time.sleep(0.01)
        return job.delivery_count

    worker.start()
    with Client(own_broker.address) as client:
        enqueued = client.enqueue(queue, "held")
        assert began.wait(15)
        own_broker.kill()
        eventually(lambda: not worker.is_connected)
        # A broker may keep an overdue lease that nobody has ended yet for the worker that shows it.
        with own_broker.elsewhere() as address, Client(address) as beside:
            beside.wait(enqueued, 15, until=[JobState.RETRYING, JobState.READY])
        own_broker.start()
        job = client.wait(enqueued, 20)
        assert (job.state, job.delivery_count) == (JobState.SUCCEEDED, 2)
        # The first attempt may learn of it after the second one has ended.
        assert told.get(timeout=15) is StopReason.LEASE_LOST
        finished_by_first_attempt(client, client.enqueue(queue, "after").name)
        worker.close()


def test_scenario_silent_broker_is_given_up(
    relay: Relay, client: Client, make_worker: MakeWorker, queue: str
) -> None:
    worker = make_worker(url=relay.address)
    holding = Holding(worker)
    holding.go_on.set()
    worker.start()
    finished_by_first_attempt(client, client.enqueue(queue).name)
    # The connection stays open, but nothing comes back on it.
    relay.freeze()
    job = client.wait(client.enqueue(queue), 15)
    # It may have been sent on the old one, where it was not received.
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
    assert relay.connections >= 2


def test_scenario_broker_absent_at_start(
    own_broker: Broker, make_worker: MakeWorker, queue: str
) -> None:
    own_broker.stop()
    worker = make_worker(url=own_broker.address)
    Holding(worker).go_on.set()
    worker.start()
    assert not worker.is_connected
    own_broker.start()
    with Client(own_broker.address) as client:
        finished_by_first_attempt(client, client.enqueue(queue).name)
    worker.close()


@pytest.fixture(scope="session")
def shifted_clock(tmp_path_factory: pytest.TempPathFactory) -> str:
    library = tmp_path_factory.mktemp("clock") / "shifted_clock.so"
    source = str(HERE / "shifted_clock.c")
    command = [os.environ.get("CC", "cc"), "-shared", "-fPIC", "-o", str(library), source, "-ldl"]
    subprocess.run(command, check=True)
    return str(library)


@pytest.mark.parametrize("offset", [3600, -3600], ids=["ahead", "behind"])
def test_scenario_clock_off_by_an_hour(
    broker: Broker, client: Client, queue: str, tmp_path: Path, shifted_clock: str, offset: int
) -> None:
    settings = {
        "LD_PRELOAD": shifted_clock,
        "CLOCK_OFFSET": str(offset),
        "TRUE_TIME": str(time.time()),
    }
    program = worker_program(tmp_path, broker.address, queue, "shifted", **settings)
    off = int(program.says(r"off by (-?\d+)")[1])
    assert abs(off - offset) < 30
    job = client.wait(client.enqueue(queue), 15)
    assert (job.state, job.delivery_count) == (JobState.SUCCEEDED, 1)
    assert job.result is not None
    assert job.result.json() == "in time"
    assert program.stop() == 0


def test_scenario_two_workers_same_id(client: Client, make_worker: MakeWorker, queue: str) -> None:
    workers = [make_worker(worker_id=f"{queue}-twin", concurrency=2) for _ in range(2)]
    runs: list[str] = []
    for worker in workers:

        @worker.task("*")
        async def run(job: LeasedJob) -> int:
            runs.append(job.name)
            await asyncio.sleep(0.05)
            return job.delivery_count

    workers[0].start()
    jobs = client.enqueue_batch([NewJob(queue, n) for n in range(20)])
    until(client, jobs[0].name, "JOB_LEASED")
    workers[1].start()
    jobs += client.enqueue_batch([NewJob(queue, n) for n in range(20)])
    for enqueued in jobs:
        job = client.wait(enqueued, 15)
        assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)
    assert sorted(runs) == sorted(one.name for one in jobs)


def test_scenario_fallback_to_lease(
    broker: Broker, client: Client, make_worker: MakeWorker, queue: str
) -> None:
    old = Refusing(broker.address)
    worker = make_worker(url=old.address)
    told: list[str] = []

    @worker.task("long")
    async def long(job: LeasedJob) -> int:
        await job.progress(50, "half")
        await asyncio.sleep(2.5 * LEASE)
        return job.delivery_count

    @worker.task("cancelled")
    async def cancelled(job: LeasedJob) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as why:
            told.append(str(why))
            raise

    @worker.task("fails")
    def fails(job: LeasedJob) -> None:
        raise ValueError("no")

    try:
        worker.start()
        held = client.enqueue(queue, type="cancelled")
        running = client.enqueue(queue, type="long")
        failing = client.enqueue(queue, type="fails", retry=1)
        until(client, held.name, "JOB_LEASED")
        client.cancel(held, "enough", grace=60)
        assert client.wait(held, 15).state is JobState.CANCELLED
        assert told == ["CANCELLED: enough"]
        assert client.wait(failing, 15).state is JobState.DEAD
        finished_by_first_attempt(client, running.name)
        assert old.refused == ["/lessor.v1.JobBroker/Work"]
        worker.close()
    finally:
        old.close()


def test_scenario_deadline_is_always_set() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with Client(address, timeout=0.3) as client:
            calls: list[Callable[[], object]] = [
                lambda: client.enqueue("q"),
                lambda: client.enqueue_batch([NewJob("q"), NewJob("q")]),
                lambda: client.get("queues/q/jobs/j"),
                lambda: client.wait("queues/q/jobs/j", 0.1),
                lambda: client.cancel("queues/q/jobs/j"),
                lambda: client.watch(queues=["q"]),
            ]
            for call in calls:
                with pytest.raises(DeadlineExceeded):
                    call()


def test_scenario_unavailable_is_retried(own_broker: Broker, queue: str) -> None:
    with Client(own_broker.address) as client, ThreadPoolExecutor() as pool:
        own_broker.stop()
        with pytest.raises(Unavailable), Client(own_broker.address, timeout=1) as hasty:
            hasty.enqueue(queue)
        answer = pool.submit(client.enqueue, queue, "patient")
        own_broker.start()
        assert answer.result(15).outcome is Outcome.CREATED
        with pytest.raises(InvalidArgument):
            client.enqueue("no spaces here")


def test_scenario_retry_after_is_honoured(broker: Broker, client: Client, queue: str) -> None:
    broker.settings(queue, max_jobs=1)
    client.enqueue(queue)
    with pytest.raises(QueueFull) as full:
        client.enqueue(queue)
    assert full.value.retry_after is not None
    assert full.value.retry_after.total_seconds() == 1
    assert full.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    busy = Refusing(broker.address, path="/lessor.v1.JobBroker/GetJob", retry_after=0.4)
    try:
        with Client(busy.address) as patient:
            begun = time.monotonic()
            with pytest.raises(Unavailable) as away:
                patient.get(f"queues/{queue}/jobs/x")
            assert time.monotonic() - begun >= 3 * 0.4
        assert away.value.retry_after is not None
        assert len(busy.refused) == 4
    finally:
        busy.close()


def test_scenario_fork_is_safe(broker: Broker, queue: str) -> None:
    with Client(broker.address) as client:
        before = client.enqueue(queue, "before")
        child = os.fork()
        if child == 0:
            try:
                client.enqueue(queue, "child")
                os._exit(0 if client.get(before).payload.value == "before" else 2)
            except BaseException:
                os._exit(1)
        after = client.enqueue(queue, "parent")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        names = []
        with broker.stub() as stub:
            request = lease_pb2.LeaseRequest(queues=[queue], worker_id="me", max_jobs=9)
            names = [leased.job.name for leased in stub.Lease(request, timeout=9).jobs]
        assert len(names) == 3
        assert {before.name, after.name} < set(names)
