"""What workers are promised, on stubs alone; the names are those of tests/scenarios.toml."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Struct
from lessor.v1 import admin_pb2, enqueue_pb2, job_pb2, lease_pb2
from lessor.v1.admin_pb2_grpc import JobBrokerAdminStub
from lessor.v1.broker_pb2_grpc import JobBrokerStub

from calls import (
    LONGER,
    SECONDS,
    WAIT,
    Event,
    Fault,
    State,
    ack,
    enqueue,
    extend,
    get,
    lease,
    nack,
    seconds,
    text,
    told,
    wait,
)
from support import eventually, working
from worker import Worker

AN_HOUR = seconds(3600)


def test_scenario_several_queues(stub: JobBrokerStub, queue: str) -> None:
    def note(leased: lease_pb2.LeasedJob) -> lease_pb2.AckRequest:
        return lease_pb2.AckRequest(result=text(leased.job.name))

    with working(Worker(stub, f"{queue}-a", f"{queue}-p*", handler=note)):
        # Each queue is made by its first job.
        for name in ("a", "p1", "p2"):
            made = enqueue(stub, queue=f"{queue}-{name}").job
            assert wait(stub, made.name).result == text(made.name)


def test_scenario_retry_delay_of_handler(stub: JobBrokerStub, queue: str) -> None:
    enqueue(stub, queue=queue, retry_policy=job_pb2.RetryPolicy(initial_backoff=AN_HOUR))
    busy = job_pb2.Failure(code="HTTP_429", message="the other side is busy")
    nack(stub, lease(stub, queue), failure=busy, retry={"delay": seconds(0.2)})
    again = lease(stub, queue)
    assert (again.job.attempt, again.job.last_failure) == (2, busy)


def test_scenario_fatal_code(stub: JobBrokerStub, queue: str) -> None:
    policy = job_pb2.RetryPolicy(max_attempts=9, fatal_codes=["NONSENSE"])
    name = enqueue(stub, queue=queue, retry_policy=policy).job.name
    nack(stub, lease(stub, queue), failure={"code": "NONSENSE"})
    job = get(stub, name)
    assert (job.state, job.attempt) == (State.STATE_DEAD, 1)


def test_scenario_reject_to_dead(stub: JobBrokerStub, queue: str) -> None:
    policy = job_pb2.RetryPolicy(max_attempts=9)
    name = enqueue(stub, queue=queue, retry_policy=policy).job.name
    details = Struct()
    details.update({"user": 7})
    gone = job_pb2.Failure(code="USER_GONE", message="this user is gone", details=details)
    nack(stub, lease(stub, queue), failure=gone, dead=Empty())
    job = get(stub, name)
    assert (job.state, job.attempt, job.last_failure) == (State.STATE_DEAD, 1, gone)


def test_scenario_snooze(stub: JobBrokerStub, queue: str) -> None:
    enqueue(stub, queue=queue, retry_policy=job_pb2.RetryPolicy(max_attempts=1))
    for _ in range(2):
        nack(stub, lease(stub, queue), snooze={"delay": seconds(0.1)})
    job = lease(stub, queue).job
    assert (job.attempt, job.delivery_count) == (1, 3)


def test_scenario_no_handler(stub: JobBrokerStub, queue: str) -> None:
    policy = job_pb2.RetryPolicy(max_attempts=1, initial_backoff=seconds(0.2))
    name = enqueue(stub, queue=queue, type="unknown", retry_policy=policy).job.name
    nack(stub, lease(stub, queue), failure={"code": "NO_HANDLER"})
    job = get(stub, name)
    assert (job.state, job.attempt) == (State.STATE_RETRYING, 0)
    assert job.last_failure.code == "NO_HANDLER"
    able = lease(stub, queue, worker_id="able", types=["unknown"])
    ack(stub, able)
    job = get(stub, name)
    assert (job.state, job.attempt) == (State.STATE_SUCCEEDED, 1)


def test_scenario_progress_is_seen(stub: JobBrokerStub, queue: str) -> None:
    name = enqueue(stub, queue=queue).job.name
    half = job_pb2.Progress(percent=50, message="half", done=5, total=10)
    extend(stub, lease(stub, queue), progress=half)
    assert told(stub, name, Event.JOB_PROGRESS).progress == half
    job = get(stub, name)
    assert (job.state, job.progress) == (State.STATE_LEASED, half)


def test_scenario_checkpoint_is_handed_on(stub: JobBrokerStub, queue: str) -> None:
    enqueue(stub, queue=queue)
    first = lease(stub, queue)
    extend(stub, first, checkpoint=text("page 3"))
    nack(stub, first, retry={"delay": seconds(0)})
    second = lease(stub, queue)
    assert (second.job.attempt, second.job.checkpoint) == (2, text("page 3"))


def test_scenario_follow_up_jobs(stub: JobBrokerStub, queue: str) -> None:
    def named(*names: str) -> list[enqueue_pb2.EnqueueRequest]:
        return [enqueue_pb2.EnqueueRequest(queue=queue, job_id=name) for name in names]

    enqueue(stub, queue=queue, job_id="taken", delay=AN_HOUR)
    enqueue(stub, queue=queue)
    leased = lease(stub, queue)
    with pytest.raises(grpc.RpcError) as refused:
        ack(stub, leased, then=named("second", "taken"))
    assert Fault.of(refused.value).reason == "JOB_EXISTS"
    assert get(stub, leased.job.name).state == State.STATE_LEASED
    # The first of the two was not made either.
    ack(stub, leased, then=named("second", "third"))
    for name in ("second", "third"):
        assert get(stub, f"queues/{queue}/jobs/{name}").state == State.STATE_READY


def test_scenario_drained_by_operator(
    stub: JobBrokerStub, admin: JobBrokerAdminStub, queue: str
) -> None:
    me = f"{queue}-worker"
    held = enqueue(stub, queue=queue).job.name
    leased = lease(stub, queue, worker_id=me)
    drain(admin, me)
    assert extend(stub, leased).drain
    left = enqueue(stub, queue=queue).job.name
    request = lease_pb2.LeaseRequest(queues=[queue], worker_id=me, wait=WAIT)
    answer = stub.Lease(request, timeout=LONGER)
    assert not answer.jobs
    assert answer.empty_reason == lease_pb2.LeaseResponse.EMPTY_REASON_DRAINING
    ack(stub, leased)
    assert get(stub, held).state == State.STATE_SUCCEEDED
    assert get(stub, left).delivery_count == 0


def drain(admin: JobBrokerAdminStub, worker_id: str) -> None:
    """Drains a worker once it is known: whom it saw, the broker writes down every few seconds."""

    def is_drained() -> bool:
        try:
            admin.DrainWorker(admin_pb2.DrainWorkerRequest(worker_id=worker_id), timeout=SECONDS)
        except grpc.RpcError as error:
            assert Fault.of(error).reason == "WORKER_NOT_FOUND"
            return False
        return True

    eventually(is_drained)
