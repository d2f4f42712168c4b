"""What lets a client in, on stubs alone; the names are those of tests/scenarios.toml."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from lessor.v1 import enqueue_pb2, event_pb2, lease_pb2, work_pb2
from lessor.v1.broker_pb2_grpc import JobBrokerStub

from calls import SECONDS, Fault, State, ack, connect, enqueue, get, lease
from conftest import IN_MEMORY
from support import Broker, certificate

TOKEN = "a-secret-of-this-test"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobBrokerStub]:
    """The calls of a broker that asks for a token."""
    folder = tmp_path_factory.mktemp("guarded")
    tokens = folder / "tokens.toml"
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    tokens.write_text(
        '[[identity]]\nname = "tester"\nroles = ["producer", "worker", "viewer"]\nqueues = ["*"]\n'
        f'tokens = ["sha256:{digest}"]\n'
    )
    broker = Broker(folder, *IN_MEMORY, "--auth-tokens", str(tokens))
    with broker, connect(broker.address) as channel:
        yield JobBrokerStub(channel)


def test_scenario_token_is_sent(guarded: JobBrokerStub, queue: str) -> None:
    # gRPC has credentials for a whole channel too, but sends them over TLS only.
    let_in = {"timeout": SECONDS, "metadata": [("authorization", f"Bearer {TOKEN}")]}
    request = enqueue_pb2.EnqueueRequest(queue=queue)
    name = guarded.Enqueue(request, **let_in).job.name
    hello = work_pb2.WorkRequest.Hello(worker={"worker_id": queue}, queues=[queue])
    frames = guarded.Work(iter([work_pb2.WorkRequest(hello=hello)]), **let_in)
    assert next(frames).HasField("welcome")
    frames.cancel()
    wish = lease_pb2.LeaseRequest(queues=[queue], worker_id=f"{queue}-2")
    [leased] = guarded.Lease(wish, **let_in).jobs
    guarded.Ack(lease_pb2.AckRequest(lease_token=leased.lease_token), **let_in)
    watch = guarded.WatchEvents(event_pb2.WatchEventsRequest(job=name), **let_in)
    states = [event.to_state for answer in watch for event in answer.events]
    assert states == [State.STATE_SUCCEEDED]


def test_scenario_bad_token_is_final(guarded: JobBrokerStub, queue: str) -> None:
    wrong = [("authorization", "Bearer wrong-secret")]
    with pytest.raises(grpc.RpcError) as refused:
        guarded.Enqueue(enqueue_pb2.EnqueueRequest(queue=queue), timeout=SECONDS, metadata=wrong)
    fault = Fault.of(refused.value)
    assert (fault.code, fault.reason) == (grpc.StatusCode.UNAUTHENTICATED, "NO_CREDENTIAL")
    assert "wrong-secret" not in repr(refused.value)


def test_scenario_tls(queue: str, tmp_path: Path) -> None:
    (own, key), (other, _) = (certificate(tmp_path, name) for name in ("own", "other"))
    options = (*IN_MEMORY, "--tls-cert", str(own), "--tls-key", str(key))
    with Broker(tmp_path, *options) as broker:
        with connect(broker.address, own.read_bytes()) as channel:
            stub = JobBrokerStub(channel)
            name = enqueue(stub, queue=queue).job.name
            ack(stub, lease(stub, queue))
            assert get(stub, name).state == State.STATE_SUCCEEDED
        with connect(broker.address, other.read_bytes()) as channel:
            with pytest.raises(grpc.RpcError) as refused:
                enqueue(JobBrokerStub(channel), queue=queue)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert "CERTIFICATE_VERIFY_FAILED" in str(refused.value.details())
