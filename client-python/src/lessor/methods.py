"""The calls of the broker, typed: what each takes and answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from lessor.v1 import broker_pb2, enqueue_pb2, event_pb2, job_pb2, lease_pb2, work_pb2

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)


@dataclass(frozen=True, eq=False)
class Method(Generic[Req, Res]):
    """One call: its path, and how its messages are read and written."""

    path: str
    write: Callable[[Req], bytes]
    read: Callable[[bytes], Res]


def _method(name: str, request: type[Req], response: type[Res]) -> Method[Req, Res]:
    path = f"/lessor.v1.JobBroker/{name}"
    return Method(path, request.SerializeToString, response.FromString)


ENQUEUE = _method("Enqueue", enqueue_pb2.EnqueueRequest, enqueue_pb2.EnqueueResponse)
BATCH_ENQUEUE = _method(
    "BatchEnqueue", enqueue_pb2.BatchEnqueueRequest, enqueue_pb2.BatchEnqueueResponse
)
GET_JOB = _method("GetJob", broker_pb2.GetJobRequest, job_pb2.Job)
WAIT_JOB = _method("WaitJob", broker_pb2.WaitJobRequest, broker_pb2.WaitJobResponse)
CANCEL_JOB = _method("CancelJob", broker_pb2.CancelJobRequest, job_pb2.Job)
LEASE = _method("Lease", lease_pb2.LeaseRequest, lease_pb2.LeaseResponse)
BATCH_SETTLE = _method("BatchSettle", lease_pb2.BatchSettleRequest, lease_pb2.BatchSettleResponse)
WORK = _method("Work", work_pb2.WorkRequest, work_pb2.WorkResponse)
WATCH_EVENTS = _method("WatchEvents", event_pb2.WatchEventsRequest, event_pb2.WatchEventsResponse)
