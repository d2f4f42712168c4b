import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from lessor.v1 import enqueue_pb2 as _enqueue_pb2
from lessor.v1 import event_pb2 as _event_pb2
from lessor.v1 import job_pb2 as _job_pb2
from lessor.v1 import lease_pb2 as _lease_pb2
from lessor.v1 import work_pb2 as _work_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetJobRequest(_message.Message):
    __slots__ = ("name", "view")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    name: str
    view: _job_pb2.JobView
    def __init__(self, name: _Optional[str] = ..., view: _Optional[_Union[_job_pb2.JobView, str]] = ...) -> None: ...

class WaitJobRequest(_message.Message):
    __slots__ = ("name", "wait", "until")
    NAME_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    name: str
    wait: _duration_pb2.Duration
    until: _containers.RepeatedScalarFieldContainer[_job_pb2.Job.State]
    def __init__(self, name: _Optional[str] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., until: _Optional[_Iterable[_Union[_job_pb2.Job.State, str]]] = ...) -> None: ...

class WaitJobResponse(_message.Message):
    __slots__ = ("job", "reached")
    JOB_FIELD_NUMBER: _ClassVar[int]
    REACHED_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    reached: bool
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., reached: bool = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("name", "reason", "grace", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GRACE_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    reason: str
    grace: _duration_pb2.Duration
    etag: str
    def __init__(self, name: _Optional[str] = ..., reason: _Optional[str] = ..., grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., etag: _Optional[str] = ...) -> None: ...
