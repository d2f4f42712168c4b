"""What a program needs around the generated stubs: a channel, deadlines, request ids, errors."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from lessor.v1 import broker_pb2, enqueue_pb2, event_pb2, job_pb2, lease_pb2
from lessor.v1.broker_pb2_grpc import JobBrokerStub

# Every call has a deadline; one that waits has a few seconds more than it waits.
SECONDS = 10
WAIT = Duration(seconds=SECONDS)
LONGER = SECONDS + 5
RETRY = (Path(__file__).parents[2] / "demo" / "retry.json").read_text()
OPTIONS: list[tuple[str, Any]] = [
    # What docs/protocol.md says of retries: gRPC does it by itself.
    ("grpc.service_config", RETRY),
    # A connection is tried again after this, not after a second; and at least as often as that.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5000),
]
State = job_pb2.Job.State
Event = event_pb2.Event


def connect(address: str, ca: bytes | None = None) -> grpc.Channel:
    """A channel, encrypted if there is an authority to trust."""
    if ca is None:
        return grpc.insecure_channel(address, OPTIONS)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(ca), OPTIONS)


def enqueue(stub: JobBrokerStub, **fields: Any) -> enqueue_pb2.EnqueueResponse:
    """Enqueues one job. With a request id the call may be repeated, and makes one job."""
    request = enqueue_pb2.EnqueueRequest(**{"request_id": str(uuid.uuid4())} | fields)
    answer: enqueue_pb2.EnqueueResponse = stub.Enqueue(request, timeout=SECONDS)
    return answer


def lease(stub: JobBrokerStub, *queues: str, **fields: Any) -> lease_pb2.LeasedJob:
    """Waits for one job."""
    settings: dict[str, Any] = {
        "worker_id": "tester",
        "wait": WAIT,
        "request_id": str(uuid.uuid4()),
    } | fields
    request = lease_pb2.LeaseRequest(queues=queues, **settings)
    [leased] = stub.Lease(request, timeout=LONGER).jobs
    one: lease_pb2.LeasedJob = leased
    return one


def ack(stub: JobBrokerStub, leased: lease_pb2.LeasedJob, **fields: Any) -> lease_pb2.AckResponse:
    """Settles a lease: done."""
    request = lease_pb2.AckRequest(lease_token=leased.lease_token, **fields)
    answer: lease_pb2.AckResponse = stub.Ack(request, timeout=SECONDS)
    return answer


def nack(stub: JobBrokerStub, leased: lease_pb2.LeasedJob, **fields: Any) -> lease_pb2.NackResponse:
    """Settles a lease: not done."""
    request = lease_pb2.NackRequest(lease_token=leased.lease_token, **fields)
    answer: lease_pb2.NackResponse = stub.Nack(request, timeout=SECONDS)
    return answer


def extend(
    stub: JobBrokerStub, leased: lease_pb2.LeasedJob, **fields: Any
) -> lease_pb2.ExtendLeaseResponse:
    """A heartbeat, which carries progress and a checkpoint."""
    request = lease_pb2.ExtendLeaseRequest(lease_token=leased.lease_token, **fields)
    answer: lease_pb2.ExtendLeaseResponse = stub.ExtendLease(request, timeout=SECONDS)
    return answer


def get(stub: JobBrokerStub, name: str) -> job_pb2.Job:
    """Reads a job."""
    job: job_pb2.Job = stub.GetJob(broker_pb2.GetJobRequest(name=name), timeout=SECONDS)
    return job


def wait(stub: JobBrokerStub, name: str, *until: State) -> job_pb2.Job:
    """Waits until a job is in one of these states, by default until it has ended."""
    request = broker_pb2.WaitJobRequest(name=name, wait=WAIT, until=until)
    answer: broker_pb2.WaitJobResponse = stub.WaitJob(request, timeout=LONGER)
    assert answer.reached, f"the job is {State.Name(answer.job.state)}"
    return answer.job


def told(stub: JobBrokerStub, name: str, kind: Event.Type) -> Event:
    """Waits for an event of a job that may have come already."""
    request = event_pb2.WatchEventsRequest(queues=[name.split("/")[1]], oldest=True, types=[kind])
    watch = stub.WatchEvents(request, timeout=LONGER)
    event: Event = next(one for answer in watch for one in answer.events if one.job == name)
    watch.cancel()
    return event


def text(value: str) -> job_pb2.Payload:
    """A payload of text. Bytes come back as they were, whatever they say."""
    return job_pb2.Payload(data=value.encode(), content_type="text/plain; charset=utf-8")


def seconds(value: float) -> Duration:
    """A duration."""
    duration = Duration()
    duration.FromMilliseconds(round(value * 1000))
    return duration


class Fault:
    """What an error says to a program: of a call, or of one item of a batch."""

    def __init__(self, status: status_pb2.Status) -> None:
        info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        for detail in status.details:
            # Each takes what is of its kind.
            detail.Unpack(info)
            detail.Unpack(request)
        self.code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
        self.reason = info.reason
        self.metadata = dict(info.metadata)
        self.fields = {violation.field for violation in request.field_violations}
        self.message = status.message

    @classmethod
    def of(cls, error: grpc.RpcError) -> Fault:
        """The fault of a call, whose details travel behind the answer."""
        trailers: Any = error.trailing_metadata()
        for key, value in trailers or ():
            if key == "grpc-status-details-bin":
                return cls(status_pb2.Status.FromString(value))
        raise ValueError(f"not an answer of a broker: {error}")
