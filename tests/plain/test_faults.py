"""What holds when things break, on stubs alone; the names are those of tests/scenarios.toml."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest
from lessor.v1 import broker_pb2, job_pb2, lease_pb2
from lessor.v1.broker_pb2_grpc import JobBrokerStub
from processes import free_port

from calls import (
    LONGER,
    SECONDS,
    WAIT,
    Event,
    State,
    ack,
    connect,
    enqueue,
    get,
    lease,
    text,
    told,
    wait,
)
from support import ROOT, Broker, Relay, eventually, program, saying, working
from worker import Worker

FIRST_ATTEMPT = (State.STATE_SUCCEEDED, 1, 1)


def counted(job: job_pb2.Job) -> tuple[State, int, int]:
    return job.state, job.attempt, job.delivery_count


def test_scenario_process_killed(
    broker: Broker, stub: JobBrokerStub, queue: str, tmp_path: Path
) -> None:
    with program(tmp_path, "hold", broker.address, queue) as holder:
        name = enqueue(stub, queue=queue).job.name
        assert saying(holder, "holding (.*)") == name
        holder.kill()
        ack(stub, lease(stub, queue))
    assert counted(get(stub, name)) == (State.STATE_SUCCEEDED, 2, 2)


def test_scenario_process_frozen(
    broker: Broker, stub: JobBrokerStub, queue: str, tmp_path: Path
) -> None:
    with program(tmp_path, "freeze", broker.address, queue) as frozen:
        name = enqueue(stub, queue=queue).job.name
        assert saying(frozen, "running (.*)") == name
        frozen.process.send_signal(signal.SIGSTOP)
        ack(stub, lease(stub, queue), result=text("the rescuer"))
        frozen.process.send_signal(signal.SIGUSR1)
        frozen.process.send_signal(signal.SIGCONT)
        assert saying(frozen, "refused (.*)") == "LEASE_LOST"
    assert get(stub, name).result == text("the rescuer")


def test_scenario_poison_job(
    broker: Broker, stub: JobBrokerStub, queue: str, tmp_path: Path
) -> None:
    policy = job_pb2.RetryPolicy(max_attempts=9)
    name = enqueue(stub, queue=queue, retry_policy=policy).job.name
    for _ in range(3):
        with program(tmp_path, "poison", broker.address, queue) as worker:
            assert worker.process.wait(LONGER) == -signal.SIGKILL
    job = wait(stub, name)
    assert counted(job) == (State.STATE_DEAD, 3, 3)
    assert job.last_failure.code == "CRASH_LOOP"


def test_scenario_connection_lost_mid_job(
    stub: JobBrokerStub, breakable: JobBrokerStub, relay: Relay, queue: str
) -> None:
    name = enqueue(stub, queue=queue).job.name
    leased = lease(breakable, queue)
    relay.cut()
    ack(breakable, leased)
    assert counted(get(stub, name)) == FIRST_ATTEMPT


def test_scenario_ack_answer_lost(
    stub: JobBrokerStub, breakable: JobBrokerStub, relay: Relay, queue: str
) -> None:
    name = enqueue(stub, queue=queue).job.name
    leased = lease(breakable, queue)
    relay.swallow()
    request = lease_pb2.AckRequest(lease_token=leased.lease_token)
    answer = breakable.Ack.future(request, timeout=LONGER)
    told(stub, name, Event.JOB_SUCCEEDED)
    relay.cut()
    assert answer.result().outcome == lease_pb2.SETTLE_OUTCOME_ALREADY_SETTLED
    assert counted(get(stub, name)) == FIRST_ATTEMPT


def test_scenario_broker_restart_mid_job(
    own_store: tuple[str, str], queue: str, tmp_path: Path
) -> None:
    began, go_on = threading.Event(), threading.Event()

    def hold(_: lease_pb2.LeasedJob) -> lease_pb2.AckRequest:
        began.set()
        go_on.wait(LONGER)
        return lease_pb2.AckRequest()

    with Broker(tmp_path, *own_store) as broker, connect(broker.address) as channel:
        stub = JobBrokerStub(channel)
        with working(Worker(stub, queue, handler=hold, lease_seconds=10)):
            during = enqueue(stub, queue=queue).job.name
            assert began.wait(LONGER)
            broker.kill()
            broker.start()
            go_on.set()
            with connect(broker.address) as later:
                stub = JobBrokerStub(later)
                assert counted(wait(stub, during)) == FIRST_ATTEMPT
                after = enqueue(stub, queue=queue).job.name
                assert counted(wait(stub, after)) == FIRST_ATTEMPT


def test_scenario_broker_absent_at_start(queue: str, tmp_path: Path) -> None:
    listen = f"127.0.0.1:{free_port()}"
    broker = Broker(tmp_path, "--store", "sqlite::memory:", listen=listen)

    def work(_: lease_pb2.LeasedJob) -> lease_pb2.AckRequest:
        return lease_pb2.AckRequest()

    with connect(listen) as channel:
        stub = JobBrokerStub(channel)
        with working(Worker(stub, queue, handler=work)):
            is_refused(channel)
            with broker, connect(listen) as later:
                stub = JobBrokerStub(later)
                made = enqueue(stub, queue=queue).job
                assert counted(wait(stub, made.name)) == FIRST_ATTEMPT


def is_refused(channel: grpc.Channel) -> None:
    """Waits until a channel has met nobody."""
    met_nobody = threading.Event()

    def note(state: grpc.ChannelConnectivity) -> None:
        if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            met_nobody.set()

    channel.subscribe(note, try_to_connect=True)
    assert met_nobody.wait(LONGER)
    channel.unsubscribe(note)


def test_scenario_unavailable_is_retried(
    own_store: tuple[str, str], queue: str, tmp_path: Path
) -> None:
    with Broker(tmp_path, *own_store) as broker, connect(broker.address) as channel:
        stub = JobBrokerStub(channel)
        name = enqueue(stub, queue=queue).job.name
        request = broker_pb2.WaitJobRequest(name=name, wait=WAIT, until=[State.STATE_LEASED])
        waiting = stub.WaitJob.future(request, timeout=LONGER, wait_for_ready=True)
        eventually(lambda: measured(broker, "lessor_calls_active", "/WaitJob") == 1)
        broker.kill()
        broker.start()
        with connect(broker.address) as later:
            lease(JobBrokerStub(later), queue)
        assert waiting.result().reached
        with pytest.raises(grpc.RpcError):
            enqueue(stub, queue="no spaces here")
        calls = "rpc_server_call_duration_seconds_count"
        eventually(lambda: measured(broker, calls, "/Enqueue", "INVALID_ARGUMENT") == 1)


def measured(broker: Broker, *words: str) -> float:
    """What the broker's metrics say now of a series, by words of its line."""
    with urlopen(f"http://{broker.address}/metrics", timeout=SECONDS) as page:
        lines = page.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if all(word in line for word in words))


@pytest.fixture(params=[3600, -3600], ids=["ahead", "behind"])
def shifted_clock(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Settings that give a program another wall clock."""
    library = str(tmp_path / "shifted_clock.so")
    source = str(ROOT / "client-python" / "tests" / "shifted_clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    offset, now = str(request.param), str(time.time())
    return {"LD_PRELOAD": library, "CLOCK_OFFSET": offset, "TRUE_TIME": now}


def test_scenario_clock_off_by_an_hour(
    broker: Broker, stub: JobBrokerStub, queue: str, tmp_path: Path, shifted_clock: dict[str, str]
) -> None:
    with program(tmp_path, "shifted", broker.address, queue, **shifted_clock) as worker:
        offset = int(shifted_clock["CLOCK_OFFSET"])
        assert int(saying(worker, r"off by (-?\d+)")) == pytest.approx(offset, abs=30)
        job = wait(stub, enqueue(stub, queue=queue).job.name)
        assert counted(job) == FIRST_ATTEMPT
        assert job.result == text("in time")


def test_scenario_two_workers_same_id(stub: JobBrokerStub, queue: str) -> None:
    both = threading.Barrier(2)

    def meet(_: lease_pb2.LeasedJob) -> lease_pb2.AckRequest:
        # One of them alone would wait here in vain.
        both.wait(SECONDS)
        return lease_pb2.AckRequest()

    twins = [Worker(stub, queue, handler=meet, worker_id=f"{queue}-twin") for _ in range(2)]
    with working(*twins):
        jobs = [enqueue(stub, queue=queue).job.name for _ in range(20)]
        for name in jobs:
            assert counted(wait(stub, name)) == FIRST_ATTEMPT
