"""What the scenarios leave open: the shape of the Python interface."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
from support import Broker

from lessor import (
    AsyncClient,
    Backoff,
    Client,
    ClientClosed,
    Dedup,
    InvalidArgument,
    JobState,
    LeasedJob,
    LessorError,
    NewJob,
    NotFound,
    OnDuplicate,
    Outcome,
    Payload,
    Worker,
)
from lessor.v1 import admin_pb2, broker_pb2

MakeWorker = Callable[..., Worker]


def test_the_async_client_has_the_same_calls(
    broker: Broker, make_worker: MakeWorker, queue: str
) -> None:
    worker = make_worker()

    @worker.task("*")
    async def double(job: LeasedJob) -> int:
        return 2 * int(job.payload.json())

    async def produce() -> None:
        async with AsyncClient(broker.address) as client:
            watch = await client.watch(queues=[queue])
            made = await asyncio.gather(*(client.enqueue(queue, n) for n in range(20)))
            assert len({one.name for one in made}) == 20
            assert (await watch.__anext__()).type == "JOB_CREATED"
            await watch.close()
            worker.start()
            for n, one in enumerate(made):
                job = await client.wait(one, 10)
                assert job.result is not None
                assert job.result.json() == 2 * n
            each = await client.enqueue_each([NewJob(queue, 1), NewJob(queue, 1, priority=9999)])
            assert isinstance(each[1], InvalidArgument)
            assert len(await client.enqueue_batch([NewJob(queue, 1)])) == 1
            assert await client.enqueue_batch([]) == []
            late = await client.enqueue(queue, 1, delay=timedelta(hours=1))
            assert (await client.cancel(late)).state is JobState.CANCELLED
            assert (await client.get(late)).state is JobState.CANCELLED

    asyncio.run(produce())


def test_any_call_of_the_protocol_can_be_made(client: Client, broker: Broker, queue: str) -> None:
    enqueued = client.enqueue(queue, delay=60)
    request = admin_pb2.GetQueueStatsRequest(name=queue)
    stats: admin_pb2.QueueStats = client.call("GetQueueStats", request)
    assert (stats.scheduled, stats.ready) == (1, 0)
    job = client.call("GetJob", broker_pb2.GetJobRequest(name=enqueued.name), timeout=5)
    assert job.name == enqueued.name
    with pytest.raises(NotFound):
        client.call("GetSchedule", admin_pb2.GetScheduleRequest(name="schedules/none"))
    for name in ("WatchEvents", "Guess"):
        with pytest.raises(ValueError, match="no call"):
            client.call(name, request)

    async def ask() -> int:
        async with AsyncClient(broker.address) as other:
            answer: admin_pb2.QueueStats = await other.call("GetQueueStats", request)
            return answer.scheduled

    assert asyncio.run(ask()) == 1


def test_a_cancelled_caller_takes_nobody_with_it(broker: Broker, queue: str) -> None:
    async def produce() -> None:
        async with AsyncClient(broker.address) as client:
            callers = [asyncio.ensure_future(client.enqueue(queue, n)) for n in range(10)]
            callers[3].cancel()
            made = await asyncio.gather(*callers, return_exceptions=True)
            assert isinstance(made[3], asyncio.CancelledError)
            assert sum(isinstance(one, BaseException) for one in made) == 1

    asyncio.run(produce())


def test_a_client_outlives_event_loops(broker: Broker, queue: str) -> None:
    client = AsyncClient(broker.address)
    for _ in range(2):
        assert asyncio.run(client.enqueue(queue)).outcome is Outcome.CREATED
    asyncio.run(client.close())


def test_a_closed_client_says_so(broker: Broker) -> None:
    client = Client(broker.address)
    client.close()
    with pytest.raises(ClientClosed):
        client.enqueue("q")


def test_a_client_is_left_for_the_reason_that_its_user_had(broker: Broker, queue: str) -> None:
    # Nothing can be done in so little time, and neither can the end.
    with pytest.raises(LessorError), Client(broker.address, timeout=1e-6) as hasty:
        hasty.enqueue(queue)


def test_a_program_need_not_close_its_client(broker: Broker, queue: str) -> None:
    program = f"import lessor; print(lessor.Client({broker.address!r}).enqueue({queue!r}).name)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)
    assert done.stdout.startswith(f"queues/{queue}/jobs/")
    assert done.stderr == ""


@pytest.mark.parametrize("url", ["ftp://broker", "http://", "http://a b", "https://host/path"])
def test_a_bad_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="bad broker address"):
        Client(url)


def test_the_environment_names_the_broker(
    broker: Broker, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LESSOR_SERVER", f"http://{broker.address}")
    with Client() as client:
        assert client.enqueue(queue).outcome is Outcome.CREATED


def test_times_need_a_zone_and_options_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        NewJob("q", schedule_time=datetime(2030, 1, 1))
    with pytest.raises(ValueError, match="exclude each other"):
        NewJob("q", delay=1, schedule_time=datetime.now(timezone.utc))


def test_a_later_job_takes_the_place_of_an_earlier_one(client: Client, queue: str) -> None:
    rule = Dedup("report", on_duplicate=OnDuplicate.REPLACE)
    first = client.enqueue(queue, 1, dedup=rule, delay=60)
    again = client.enqueue(queue, 2, dedup=rule, delay=60)
    assert (again.name, again.outcome) == (first.name, Outcome.REPLACED)
    assert client.get(first).payload.json() == 2


def test_errors_and_jobs_can_be_pickled(client: Client, queue: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        client.enqueue("no spaces here")
    copy = pickle.loads(pickle.dumps(refused.value))
    assert type(copy) is InvalidArgument
    assert (copy.reason, copy.field_violations) == ("INVALID_FIELD", refused.value.field_violations)
    job = client.enqueue(queue, retry=Backoff(5)).job
    assert pickle.loads(pickle.dumps(job)).name == job.name


def test_values_become_payloads() -> None:
    assert Payload.of(b"x") == Payload(b"x", "application/octet-stream")
    assert Payload.of({"a": "ü"}).data == '{"a":"ü"}'.encode()
    assert Payload.of("text").value == "text"
    assert Payload.of(Payload(b"1", "text/csv")) == Payload(b"1", "text/csv")
