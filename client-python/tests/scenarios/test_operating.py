"""What operators are promised; the names are those of tests/scenarios.toml."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support import Broker, Relay, certificate, eventually, worker_program

from lessor import (
    Backoff,
    Client,
    DeadlineExceeded,
    JobState,
    LeasedJob,
    Tls,
    Unauthenticated,
    Unavailable,
    Worker,
    telemetry,
)

MakeWorker = Callable[..., Worker]


@pytest.fixture(scope="session")
def exporter() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


def test_scenario_trace_context_is_carried(
    client: Client,
    make_worker: MakeWorker,
    queue: str,
    exporter: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = make_worker()
    inside: list[trace.SpanContext] = []

    @worker.task("*")
    def look(job: LeasedJob) -> dict[str, str]:
        inside.append(trace.get_current_span().get_span_context())
        return dict(job.trace_context)

    worker.start()
    with trace.get_tracer("test").start_as_current_span("checkout") as checkout:
        enqueued = client.enqueue(queue)
    job = client.wait(enqueued, 10)
    assert job.result is not None
    trace_id = f"{checkout.get_span_context().trace_id:032x}"
    assert trace_id in job.result.json()["traceparent"]

    def spans() -> dict[str, ReadableSpan]:
        return {span.name: span for span in exporter.get_finished_spans()}

    eventually(lambda: f"process {queue}" in spans())
    sent, processed = spans()[f"send {queue}"], spans()[f"process {queue}"]
    assert sent.parent is not None
    assert sent.parent.span_id == checkout.get_span_context().span_id
    assert (sent.kind, processed.kind) == (trace.SpanKind.PRODUCER, trace.SpanKind.CONSUMER)
    assert [link.context.span_id for link in processed.links] == [sent.context.span_id]
    assert inside[0].span_id == processed.context.span_id

    # Without a tracer the context travels all the same.
    monkeypatch.setattr(telemetry, "_IS_THERE", False)
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    job = client.wait(client.enqueue(queue, trace_context={"traceparent": parent}), 10)
    assert job.result is not None
    assert job.result.json() == {"traceparent": parent}


TOKEN = "a-secret-of-this-test"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that asks for a token."""
    folder = tmp_path_factory.mktemp("guarded")
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    tokens = folder / "tokens.toml"
    tokens.write_text(
        '[[identity]]\nname = "tester"\nroles = ["producer", "worker", "viewer"]\nqueues = ["*"]\n'
        f'tokens = ["sha256:{digest}"]\n'
    )
    broker = Broker(folder, "sqlite::memory:", "--auth-tokens", str(tokens))
    yield broker
    broker.stop()


def test_scenario_token_is_sent(guarded: Broker, make_worker: MakeWorker, queue: str) -> None:
    worker = make_worker(url=guarded.address, token=lambda: TOKEN)
    worker.handle("*", lambda job: "let in")
    worker.start()
    with Client(guarded.address, token=TOKEN) as client:
        enqueued = client.enqueue(queue)
        job = client.wait(enqueued, 15)
        assert job.result is not None
        assert job.result.json() == "let in"
        assert [event.state for event in client.watch(job=enqueued.name)] == [JobState.SUCCEEDED]
    worker.close()


def test_scenario_bad_token_is_final(guarded: Broker, make_worker: MakeWorker, queue: str) -> None:
    wrong = "wrong-secret"
    with Client(guarded.address, token=wrong) as client:
        begun = time.monotonic()
        with pytest.raises(Unauthenticated) as refused:
            client.enqueue(queue)
        assert refused.value.reason == "NO_CREDENTIAL"
        assert wrong not in repr(refused.value)
        # Less than the first pause before another try.
        assert time.monotonic() - begun < 5
    worker = make_worker(url=guarded.address, token=wrong)
    worker.handle("*", lambda job: None)
    with pytest.raises(Unauthenticated):
        worker.run()


def test_scenario_tls(make_worker: MakeWorker, queue: str, tmp_path: Path) -> None:
    (own, key), (other, _) = (certificate(tmp_path / name) for name in ("own", "other"))
    options = ("--tls-cert", str(own), "--tls-key", str(key))
    broker = Broker(tmp_path, "sqlite::memory:", *options)
    url, trust = f"https://{broker.address}", Tls(ca=own)
    worker = make_worker(url=url, tls=trust)
    worker.handle("*", lambda job: "in private")
    worker.start()
    with Client(url, tls=trust) as client:
        job = client.wait(client.enqueue(queue), 15)
    assert job.result is not None
    assert job.result.json() == "in private"
    with (
        Client(url, tls=Tls(ca=other), timeout=2) as stranger,
        pytest.raises((Unavailable, DeadlineExceeded)),
    ):
        stranger.enqueue(queue)
    worker.close()
    broker.stop()


def status(port: int | None, path: str) -> int:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status)
    except HTTPError as error:
        return int(error.code)


def test_scenario_health_probe(relay: Relay, make_worker: MakeWorker) -> None:
    worker = make_worker(url=relay.address, health=("127.0.0.1", 0))
    worker.start()
    eventually(lambda: status(worker.health_port, "/readyz") == 200)
    with urlopen(f"http://127.0.0.1:{worker.health_port}/readyz", timeout=5) as answer:
        assert json.load(answer)["worker_id"] == worker.worker_id
    relay.cut(refuse=True)
    eventually(lambda: status(worker.health_port, "/readyz") == 503)
    assert status(worker.health_port, "/livez") == 200
    relay.mend()
    eventually(lambda: status(worker.health_port, "/readyz") == 200)
    assert status(worker.health_port, "/other") == 404


def test_scenario_structured_logs(
    broker: Broker, client: Client, queue: str, tmp_path: Path
) -> None:
    program = worker_program(tmp_path, broker.address, queue, "quick")
    done = client.wait(client.enqueue(queue, "good", type="t"), 15)
    dead = client.wait(client.enqueue(queue, "bad", type="t", retry=Backoff(1)), 15)
    assert (done.state, dead.state) == (JobState.SUCCEEDED, JobState.DEAD)
    assert program.stop() == 0
    lines = [json.loads(line) for line in program.lines]
    ends = {line["job"]: line for line in lines if "outcome" in line}
    for job, outcome in ((done, "succeeded"), (dead, "failed")):
        line = ends[job.name]
        assert (line["job_type"], line["attempt"], line["outcome"]) == ("t", 1, outcome)
        assert line["worker_id"] == job.attempts[0].worker_id
        assert line["duration"] >= 0
    assert ends[dead.name]["code"] == "VALUE_ERROR"
    assert ends[dead.name]["level"] == "WARNING"
