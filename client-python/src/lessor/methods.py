"""The calls of the broker, typed: what each takes and answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

from google.protobuf import message_factory
from google.protobuf.message import Message

from lessor.v1 import admin_pb2, broker_pb2, enqueue_pb2, event_pb2, job_pb2, lease_pb2, work_pb2

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


@cache
def unary(name: str) -> Method[Any, Any]:
    """The call of the protocol that has this name and one answer."""
    for file in (broker_pb2, admin_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            method = service.methods_by_name.get(name)
            if method is not None and not method.server_streaming:
                request = message_factory.GetMessageClass(method.input_type)
                answer = message_factory.GetMessageClass(method.output_type)
                path = f"/{service.full_name}/{name}"
                return Method(path, request.SerializeToString, answer.FromString)
    raise ValueError(f"the protocol has no call {name!r} with one answer")
