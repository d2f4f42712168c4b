"""What producers are promised; the names are those of tests/scenarios.toml."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from support import Relay, until

from lessor import (
    AlreadyExists,
    Backoff,
    Client,
    Enqueued,
    InvalidArgument,
    JobState,
    LeasedJob,
    NewJob,
    NotFound,
    Outcome,
    Payload,
    PayloadTooLarge,
    Retention,
    WaitTimeout,
    Worker,
)
from lessor.connection import Connection

MakeWorker = Callable[..., Worker]
MIB = 1 << 20
WORDS = "größer ✓ 漢字 👩‍🚀 \u202eabc \U0001f980"


def echo(worker: Worker) -> Worker:
    """A worker whose handler returns the payload."""

    @worker.task("*")
    async def back(job: LeasedJob) -> Payload:
        return job.payload

    worker.start()
    return worker


def test_scenario_enqueue_and_run(client: Client, make_worker: MakeWorker, queue: str) -> None:
    worker = make_worker()

    @worker.task("greet")
    async def greet(job: LeasedJob) -> dict[str, str]:
        return {"text": "hello " + job.payload.json()["name"]}

    worker.start()
    enqueued = client.enqueue(queue, {"name": "Ada"}, type="greet")
    assert enqueued.outcome is Outcome.CREATED
    job = client.wait(enqueued, 10)
    assert job.state is JobState.SUCCEEDED
    assert job.result is not None
    assert job.result.json() == {"text": "hello Ada"}


def test_scenario_enqueue_options_are_kept(client: Client, queue: str) -> None:
    retry = Backoff(7, initial=3, multiplier=3, longest=60, jitter=0.5, fatal_codes=["NEVER"])
    name = client.enqueue(
        queue,
        b"x",
        type="t",
        priority=-7,
        labels={"a": "1", "b": "2"},
        owner="ada",
        retry=retry,
        lease_duration=12,
        attempt_timeout=90,
        ttl=3600,
        retention=Retention(succeeded_ttl=60, succeeded_count=5),
    ).name
    job = client.get(name)
    kept = job.message
    assert (job.type, job.priority, job.labels, job.owner) == ("t", -7, {"a": "1", "b": "2"}, "ada")
    assert kept.retry_policy.max_attempts == 7
    assert kept.retry_policy.initial_backoff.seconds == 3
    assert list(kept.retry_policy.fatal_codes) == ["NEVER"]
    assert (kept.lease_duration.seconds, kept.attempt_timeout.seconds) == (12, 90)
    assert (kept.retention.succeeded_ttl.seconds, kept.retention.succeeded_count) == (60, 5)
    assert job.expire_time is not None


def test_scenario_unicode_everywhere(client: Client, make_worker: MakeWorker, queue: str) -> None:
    worker = make_worker()
    began = threading.Event()

    @worker.task(WORDS)
    async def echo(job: LeasedJob) -> str:
        await job.progress(50, WORDS)
        if job.attempt == 1:
            raise ValueError(WORDS)
        value: str = job.payload.json()
        return value

    @worker.task("slow")
    def slow(job: LeasedJob) -> None:
        began.set()
        job.sleep(10)

    worker.start()
    enqueued = client.enqueue(
        queue, WORDS, type=WORDS, labels={WORDS: WORDS}, owner=WORDS, retry=Backoff(2, initial=0)
    )
    job = client.wait(enqueued, 10)
    assert (job.type, job.payload.json(), job.labels) == (WORDS, WORDS, {WORDS: WORDS})
    assert job.owner == WORDS
    assert job.result is not None
    assert job.result.json() == WORDS
    assert job.progress is not None
    assert job.progress.message == WORDS
    assert job.last_failure is not None
    assert job.last_failure.message == WORDS
    held = client.enqueue(queue, type="slow")
    assert began.wait(10)
    client.cancel(held, WORDS)
    assert until(client, held.name, "JOB_CANCEL_REQUESTED").reason == WORDS


def test_scenario_binary_payload(client: Client, make_worker: MakeWorker, queue: str) -> None:
    echo(make_worker())
    data = bytes(range(256)) * 4
    enqueued = client.enqueue(queue, Payload(data, "image/x-noise", "gzip"))
    job = client.wait(enqueued, 10)
    assert job.payload == job.result == Payload(data, "image/x-noise", "gzip")


def test_scenario_empty_payload(client: Client, make_worker: MakeWorker, queue: str) -> None:
    worker = make_worker()

    @worker.task("*")
    def look(job: LeasedJob) -> list[object]:
        return [job.payload.data.decode(), job.payload.json()]

    worker.start()
    job = client.wait(client.enqueue(queue), 10)
    assert job.result is not None
    assert job.result.json() == ["", None]


def test_scenario_payload_1_mib(client: Client, make_worker: MakeWorker, queue: str) -> None:
    worker = make_worker()

    @worker.task("*")
    def measure(job: LeasedJob) -> bool:
        return job.payload.data == b"x" * MIB

    worker.start()
    job = client.wait(client.enqueue(queue, b"x" * MIB), 10)
    assert job.result is not None
    assert job.result.json() is True
    with pytest.raises(PayloadTooLarge) as refused:
        client.enqueue(queue, b"x" * (MIB + 1))
    assert refused.value.reason == "PAYLOAD_TOO_LARGE"
    assert refused.value.metadata["limitBytes"] == str(MIB)


def test_scenario_invalid_field_is_named(client: Client) -> None:
    with pytest.raises(InvalidArgument) as refused:
        client.enqueue("no spaces here", priority=5000)
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.reason == "INVALID_FIELD"
    assert {one.field for one in refused.value.field_violations} == {"queue", "priority"}


def test_scenario_request_id_makes_one_job(client: Client, queue: str) -> None:
    request_id = "4b3c2a10-0000-4000-8000-00000000beef"
    first = client.enqueue(queue, 1, request_id=request_id)
    again = client.enqueue(queue, 1, request_id=request_id)
    assert (first.outcome, again.outcome) == (Outcome.CREATED, Outcome.REPLAYED)
    assert again.name == first.name


def test_scenario_enqueue_answer_lost(relay: Relay, client: Client, queue: str) -> None:
    with Client(relay.address) as lossy, client.watch(queues=[queue]) as watch:
        lossy.enqueue(queue, "the connection is open")
        next(event for event in watch if event.type == "JOB_CREATED")
        relay.swallow()
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(lossy.enqueue, queue, "once")
            made = next(event for event in watch if event.type == "JOB_CREATED")
            relay.cut()
            enqueued = answer.result(15)
        assert enqueued.outcome is Outcome.REPLAYED
        assert enqueued.name == made.job


def test_scenario_chosen_job_id(client: Client, queue: str) -> None:
    enqueued = client.enqueue(queue, job_id="order-17")
    assert enqueued.name == f"queues/{queue}/jobs/order-17"
    with pytest.raises(AlreadyExists) as taken:
        client.enqueue(queue, job_id="order-17")
    assert taken.value.reason == "JOB_EXISTS"
    assert taken.value.metadata["state"] == "READY"


def test_scenario_dedup_key(client: Client, queue: str) -> None:
    first = client.enqueue(queue, 1, dedup="same")
    again = client.enqueue(queue, 2, dedup="same")
    assert (again.name, again.outcome) == (first.name, Outcome.DEDUPLICATED)


def test_scenario_delay(client: Client, make_worker: MakeWorker, queue: str) -> None:
    echo(make_worker())
    delayed = client.enqueue(queue, "later", delay=1)
    assert delayed.job.state is JobState.SCHEDULED
    now = client.enqueue(queue, "now")
    client.wait(now, 10)
    assert client.get(delayed).state is JobState.SCHEDULED
    job = client.wait(delayed, 10)
    assert job.create_time is not None
    assert job.start_time is not None
    assert (job.start_time - job.create_time).total_seconds() >= 1


def test_scenario_priority(client: Client, make_worker: MakeWorker, queue: str) -> None:
    priorities = [0, 5, -3, 1000, -1000]
    jobs = [client.enqueue(queue, number, priority=number) for number in priorities]
    order: list[int] = []
    worker = make_worker(concurrency=1)

    @worker.task("*")
    async def note(job: LeasedJob) -> None:
        order.append(job.payload.json())

    worker.start()
    for job in jobs:
        client.wait(job, 10)
    assert order == sorted(priorities, reverse=True)


def test_scenario_concurrent_enqueues_join(client: Client, queue: str) -> None:
    calls: list[str] = []
    attempt = Connection.attempt

    async def counted(self, method, *arguments):  # type: ignore[no-untyped-def]
        calls.append(method.path)
        return await attempt(self, method, *arguments)

    count = 300
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(count) as pool:
        patch.setattr(Connection, "attempt", counted)
        made = list(pool.map(lambda n: client.enqueue(queue, n), range(count)))
    assert len({one.name for one in made}) == count
    assert len(calls) <= count / 4
    assert [client.get(one).payload.json() for one in made[:5]] == [0, 1, 2, 3, 4]


def test_scenario_batch_with_one_bad_item(client: Client, queue: str) -> None:
    jobs = [NewJob(queue, 1), NewJob(queue, 2, priority=5000), NewJob(f"{queue}-other", 3)]
    first, bad, third = client.enqueue_each(jobs)
    assert isinstance(first, Enqueued)
    assert isinstance(third, Enqueued)
    assert client.get(third).payload.json() == 3
    assert isinstance(bad, InvalidArgument)
    assert bad.field_violations[0].field == "priority"


def test_scenario_batch_all_or_nothing(client: Client, queue: str) -> None:
    jobs = [NewJob(queue, 1, job_id="one"), NewJob(queue, 2, priority=5000)]
    with pytest.raises(InvalidArgument) as refused:
        client.enqueue_batch(jobs)
    assert "requests[1]" in str(refused.value)
    with pytest.raises(NotFound):
        client.get(f"queues/{queue}/jobs/one")
    made = client.enqueue_batch([NewJob(queue, 1), NewJob(queue, 2)])
    assert [client.get(one).payload.json() for one in made] == [1, 2]


def test_scenario_wait_for_result(client: Client, make_worker: MakeWorker, queue: str) -> None:
    enqueued = client.enqueue(queue, {"n": 1})
    with pytest.raises(WaitTimeout) as still:
        client.wait(enqueued, 0.05)
    assert still.value.job.state is JobState.READY
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(client.wait, enqueued, 10)
        echo(make_worker())
        job = answer.result(10)
    assert job.state is JobState.SUCCEEDED
    assert job.result is not None
    assert job.result.json() == {"n": 1}


def test_scenario_job_not_found(client: Client, queue: str) -> None:
    for call in (client.get, client.wait, client.cancel):
        with pytest.raises(NotFound) as missing:
            call(f"queues/{queue}/jobs/nobody")
        assert missing.value.reason == "JOB_NOT_FOUND"


def test_scenario_cancel_pending(client: Client, make_worker: MakeWorker, queue: str) -> None:
    enqueued = client.enqueue(queue, "never")
    assert client.cancel(enqueued, "not needed").state is JobState.CANCELLED
    assert until(client, enqueued.name, "JOB_CANCELLED").reason == "not needed"
    echo(make_worker())
    client.wait(client.enqueue(queue, "after it"), 10)
    assert client.get(enqueued).delivery_count == 0


def test_scenario_watch_one_job(client: Client, make_worker: MakeWorker, queue: str) -> None:
    enqueued = client.enqueue(queue, "x")
    with client.watch(job=enqueued.name, include_result=True) as watch:
        first = next(watch)
        assert (first.reason, first.state) == ("PRESENT_STATE", JobState.READY)
        echo(make_worker())
        events = list(watch)
    assert [event.type for event in events] == ["JOB_LEASED", "JOB_SUCCEEDED"]
    assert events[-1].result is not None
    assert events[-1].result.json() == "x"


def test_scenario_watch_resumes(relay: Relay, client: Client, queue: str) -> None:
    with Client(relay.address) as lossy, lossy.watch(queues=[queue]) as watch:
        made = [client.enqueue(queue, n).name for n in range(5)]
        seen = [next(watch) for _ in range(3)]
        relay.cut()
        made += [client.enqueue(queue, n).name for n in range(5)]
        seen += [next(watch) for _ in range(17)]
    assert relay.connections == 2
    assert [event.job for event in seen if event.type == "JOB_CREATED"] == made
    assert len({event.id for event in seen}) == 20
