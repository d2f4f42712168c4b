"""What producers are promised, on stubs alone; the names are those of tests/scenarios.toml."""

from __future__ import annotations

import uuid

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from lessor.v1 import broker_pb2, enqueue_pb2, event_pb2, job_pb2
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
)
from support import Relay

MIB = 1 << 20
WORDS = "größer ✓ 漢字 👩‍🚀 \u202eabc \U0001f980"
Outcome = enqueue_pb2.EnqueueResponse.Outcome


def test_scenario_enqueue_and_run(stub: JobBrokerStub, queue: str) -> None:
    enqueue(stub, queue=queue, type="other")
    made = enqueue(stub, queue=queue, type="greet", payload=text("Ada"))
    assert made.outcome == Outcome.OUTCOME_CREATED
    leased = lease(stub, queue, types=["greet"])
    assert (leased.job.name, leased.job.payload) == (made.job.name, text("Ada"))
    ack(stub, leased, result=text("hello Ada"))
    job = get(stub, made.job.name)
    assert (job.state, job.result) == (State.STATE_SUCCEEDED, text("hello Ada"))


def test_scenario_enqueue_options_are_kept(stub: JobBrokerStub, queue: str) -> None:
    given = {
        "priority": -7,
        "labels": {"a": "1", "b": "2"},
        "owner": "ada",
        "lease_duration": Duration(seconds=12),
        "attempt_timeout": Duration(seconds=90),
        "retry_policy": job_pb2.RetryPolicy(
            max_attempts=7,
            initial_backoff=Duration(seconds=3),
            multiplier=3,
            max_backoff=Duration(seconds=60),
            jitter=0.5,
            fatal_codes=["NEVER"],
        ),
        "retention": job_pb2.Retention(
            succeeded_ttl=Duration(seconds=60),
            succeeded_count=5,
            dead_ttl=Duration(seconds=70),
            dead_count=6,
        ),
    }
    job = get(stub, enqueue(stub, queue=queue, **given).job.name)
    assert {name: getattr(job, name) for name in given} == given


def test_scenario_unicode_everywhere(stub: JobBrokerStub, queue: str) -> None:
    words = {"type": WORDS, "payload": text(WORDS), "labels": {WORDS: WORDS}, "owner": WORDS}
    name = enqueue(stub, queue=queue, **words).job.name
    first = lease(stub, queue)
    extend(stub, first, progress=job_pb2.Progress(message=WORDS))
    nack(stub, first, failure=job_pb2.Failure(message=WORDS), retry={"delay": seconds(0)})
    second = lease(stub, queue)
    assert {field: getattr(second.job, field) for field in words} == words
    stub.CancelJob(broker_pb2.CancelJobRequest(name=name, reason=WORDS), timeout=SECONDS)
    assert extend(stub, second).cancel_reason == WORDS
    ack(stub, second, result=text(WORDS))
    job = get(stub, name)
    assert (job.progress.message, job.last_failure.message) == (WORDS, WORDS)
    assert job.result == text(WORDS)


def test_scenario_binary_payload(stub: JobBrokerStub, queue: str) -> None:
    data = bytes(range(256)) * 4
    noise = job_pb2.Payload(data=data, content_type="image/x-noise", encoding="gzip")
    name = enqueue(stub, queue=queue, payload=noise).job.name
    leased = lease(stub, queue)
    ack(stub, leased, result=leased.job.payload)
    assert get(stub, name).result == leased.job.payload == noise


def test_scenario_empty_payload(stub: JobBrokerStub, queue: str) -> None:
    enqueue(stub, queue=queue)
    assert lease(stub, queue).job.payload.data == b""


def test_scenario_payload_1_mib(stub: JobBrokerStub, queue: str) -> None:
    most = b"x" * MIB
    enqueue(stub, queue=queue, payload=job_pb2.Payload(data=most))
    assert lease(stub, queue).job.payload.data == most
    with pytest.raises(grpc.RpcError) as refused:
        enqueue(stub, queue=queue, payload=job_pb2.Payload(data=most + b"x"))
    fault = Fault.of(refused.value)
    assert (fault.code, fault.reason) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "PAYLOAD_TOO_LARGE",
    )
    assert fault.metadata["limitBytes"] == str(MIB)


def test_scenario_invalid_field_is_named(stub: JobBrokerStub) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        enqueue(stub, queue="no spaces here", priority=5000)
    fault = Fault.of(refused.value)
    assert (fault.code, fault.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert fault.fields == {"queue", "priority"}


def test_scenario_request_id_makes_one_job(stub: JobBrokerStub, queue: str) -> None:
    request_id = str(uuid.uuid4())
    first, again = (enqueue(stub, queue=queue, request_id=request_id) for _ in range(2))
    assert first.outcome == Outcome.OUTCOME_CREATED
    assert again.outcome == Outcome.OUTCOME_REPLAYED
    assert again.job.name == first.job.name


def test_scenario_enqueue_answer_lost(
    stub: JobBrokerStub, breakable: JobBrokerStub, relay: Relay, queue: str
) -> None:
    enqueue(breakable, queue=f"{queue}-before")
    relay.swallow()
    request = enqueue_pb2.EnqueueRequest(queue=queue, job_id="it", request_id=str(uuid.uuid4()))
    answer = breakable.Enqueue.future(request, timeout=LONGER)
    name = f"queues/{queue}/jobs/it"
    told(stub, name, Event.JOB_CREATED)
    relay.cut()
    again = answer.result()
    assert (again.outcome, again.job.name) == (Outcome.OUTCOME_REPLAYED, name)


def test_scenario_chosen_job_id(stub: JobBrokerStub, queue: str) -> None:
    made = enqueue(stub, queue=queue, job_id="order-17")
    assert made.job.name == f"queues/{queue}/jobs/order-17"
    with pytest.raises(grpc.RpcError) as refused:
        enqueue(stub, queue=queue, job_id="order-17")
    fault = Fault.of(refused.value)
    assert (fault.code, fault.reason) == (grpc.StatusCode.ALREADY_EXISTS, "JOB_EXISTS")


def test_scenario_dedup_key(stub: JobBrokerStub, queue: str) -> None:
    same = job_pb2.Dedup(key="same")
    first, again = (enqueue(stub, queue=queue, dedup=same) for _ in range(2))
    assert again.outcome == Outcome.OUTCOME_DEDUPLICATED
    assert again.job.name == first.job.name


def test_scenario_delay(stub: JobBrokerStub, queue: str) -> None:
    delayed = enqueue(stub, queue=queue, delay=seconds(1)).job
    assert delayed.state == State.STATE_SCHEDULED
    now = enqueue(stub, queue=queue).job
    assert lease(stub, queue).job.name == now.name
    job = lease(stub, queue).job
    assert job.name == delayed.name
    assert job.start_time.ToNanoseconds() - job.create_time.ToNanoseconds() >= 10**9


def test_scenario_priority(stub: JobBrokerStub, queue: str) -> None:
    priorities = [0, 5, -3, 1000, -1000]
    for priority in priorities:
        enqueue(stub, queue=queue, priority=priority)
    order = [lease(stub, queue).job.priority for _ in priorities]
    assert order == sorted(priorities, reverse=True)


def test_scenario_batch_with_one_bad_item(stub: JobBrokerStub, queue: str) -> None:
    requests = [
        enqueue_pb2.EnqueueRequest(queue=queue),
        enqueue_pb2.EnqueueRequest(queue=queue, priority=5000),
        enqueue_pb2.EnqueueRequest(queue=f"{queue}-other"),
    ]
    batch = enqueue_pb2.BatchEnqueueRequest(requests=requests, allow_partial=True)
    first, bad, third = stub.BatchEnqueue(batch, timeout=SECONDS).results
    for good in (first, third):
        assert get(stub, good.response.job.name).state == State.STATE_READY
    fault = Fault(bad.status)
    assert (fault.reason, fault.fields) == ("INVALID_FIELD", {"priority"})


def test_scenario_batch_all_or_nothing(stub: JobBrokerStub, queue: str) -> None:
    good = enqueue_pb2.EnqueueRequest(queue=queue, job_id="good")
    bad = enqueue_pb2.EnqueueRequest(queue=queue, priority=5000)
    with pytest.raises(grpc.RpcError) as refused:
        stub.BatchEnqueue(enqueue_pb2.BatchEnqueueRequest(requests=[good, bad]), timeout=SECONDS)
    assert "requests[1]" in Fault.of(refused.value).message
    with pytest.raises(grpc.RpcError) as missing:
        get(stub, f"queues/{queue}/jobs/good")
    assert missing.value.code() is grpc.StatusCode.NOT_FOUND


def test_scenario_wait_for_result(stub: JobBrokerStub, queue: str) -> None:
    name = enqueue(stub, queue=queue).job.name
    short = broker_pb2.WaitJobRequest(name=name, wait=seconds(0.05))
    still = stub.WaitJob(short, timeout=SECONDS)
    assert (still.reached, still.job.state) == (False, State.STATE_READY)
    waiting = stub.WaitJob.future(broker_pb2.WaitJobRequest(name=name, wait=WAIT), timeout=LONGER)
    ack(stub, lease(stub, queue), result=text("done"))
    ended = waiting.result()
    assert (ended.reached, ended.job.state) == (True, State.STATE_SUCCEEDED)
    assert ended.job.result == text("done")


def test_scenario_job_not_found(stub: JobBrokerStub, queue: str) -> None:
    name = f"queues/{queue}/jobs/nobody"
    for call, request in (
        (stub.GetJob, broker_pb2.GetJobRequest(name=name)),
        (stub.WaitJob, broker_pb2.WaitJobRequest(name=name, wait=WAIT)),
        (stub.CancelJob, broker_pb2.CancelJobRequest(name=name)),
    ):
        # Shorter than the wait: it is answered at once.
        with pytest.raises(grpc.RpcError) as missing:
            call(request, timeout=SECONDS / 2)
        fault = Fault.of(missing.value)
        assert (fault.code, fault.reason) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")


def test_scenario_cancel_pending(stub: JobBrokerStub, queue: str) -> None:
    name = enqueue(stub, queue=queue).job.name
    cancel = broker_pb2.CancelJobRequest(name=name, reason="not needed")
    assert stub.CancelJob(cancel, timeout=SECONDS).state == State.STATE_CANCELLED
    assert told(stub, name, Event.JOB_CANCELLED).reason == "not needed"
    after = enqueue(stub, queue=queue).job
    assert lease(stub, queue).job.name == after.name
    assert get(stub, name).delivery_count == 0


def test_scenario_watch_one_job(stub: JobBrokerStub, queue: str) -> None:
    name = enqueue(stub, queue=queue).job.name
    request = event_pb2.WatchEventsRequest(job=name, include_result=True)
    watch = stub.WatchEvents(request, timeout=LONGER)
    events = (event for answer in watch for event in answer.events)
    first = next(events)
    assert (first.reason, first.to_state) == ("PRESENT_STATE", State.STATE_READY)
    ack(stub, lease(stub, queue), result=text("done"))
    leased, succeeded = events
    assert (leased.type, succeeded.type) == (Event.JOB_LEASED, Event.JOB_SUCCEEDED)
    assert succeeded.result == text("done")
