import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from lessor.v1 import job_pb2 as _job_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WatchEventsRequest(_message.Message):
    __slots__ = ("queues", "job", "types", "labels", "cursor", "start_time", "oldest", "bookmark_interval", "include_result")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    OLDEST_FIELD_NUMBER: _ClassVar[int]
    BOOKMARK_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_RESULT_FIELD_NUMBER: _ClassVar[int]
    queues: _containers.RepeatedScalarFieldContainer[str]
    job: str
    types: _containers.RepeatedScalarFieldContainer[Event.Type]
    labels: _containers.ScalarMap[str, str]
    cursor: str
    start_time: _timestamp_pb2.Timestamp
    oldest: bool
    bookmark_interval: _duration_pb2.Duration
    include_result: bool
    def __init__(self, queues: _Optional[_Iterable[str]] = ..., job: _Optional[str] = ..., types: _Optional[_Iterable[_Union[Event.Type, str]]] = ..., labels: _Optional[_Mapping[str, str]] = ..., cursor: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., oldest: bool = ..., bookmark_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., include_result: bool = ...) -> None: ...

class WatchEventsResponse(_message.Message):
    __slots__ = ("events", "cursor")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    cursor: str
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., cursor: _Optional[str] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("id", "type", "time", "queue", "job", "job_type", "labels", "from_state", "to_state", "attempt", "worker_id", "progress", "failure", "result", "wait_duration", "run_duration", "reason", "actor", "trace_context")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_UNSPECIFIED: _ClassVar[Event.Type]
        JOB_CREATED: _ClassVar[Event.Type]
        JOB_DEDUPLICATED: _ClassVar[Event.Type]
        JOB_SCHEDULED: _ClassVar[Event.Type]
        JOB_READY: _ClassVar[Event.Type]
        JOB_BLOCKED: _ClassVar[Event.Type]
        JOB_LEASED: _ClassVar[Event.Type]
        JOB_PROGRESS: _ClassVar[Event.Type]
        JOB_ATTEMPT_FAILED: _ClassVar[Event.Type]
        JOB_RETRYING: _ClassVar[Event.Type]
        JOB_SNOOZED: _ClassVar[Event.Type]
        JOB_RELEASED: _ClassVar[Event.Type]
        JOB_LEASE_EXPIRED: _ClassVar[Event.Type]
        JOB_TIMED_OUT: _ClassVar[Event.Type]
        JOB_CANCEL_REQUESTED: _ClassVar[Event.Type]
        JOB_SUCCEEDED: _ClassVar[Event.Type]
        JOB_DEAD: _ClassVar[Event.Type]
        JOB_CANCELLED: _ClassVar[Event.Type]
        JOB_EXPIRED: _ClassVar[Event.Type]
        JOB_PURGED: _ClassVar[Event.Type]
        QUEUE_PAUSED: _ClassVar[Event.Type]
        QUEUE_RESUMED: _ClassVar[Event.Type]
        QUEUE_DRAINED: _ClassVar[Event.Type]
        QUEUE_UPDATED: _ClassVar[Event.Type]
        WORKER_JOINED: _ClassVar[Event.Type]
        WORKER_LEFT: _ClassVar[Event.Type]
        SCHEDULE_FIRED: _ClassVar[Event.Type]
        STORE_RESET: _ClassVar[Event.Type]
    TYPE_UNSPECIFIED: Event.Type
    JOB_CREATED: Event.Type
    JOB_DEDUPLICATED: Event.Type
    JOB_SCHEDULED: Event.Type
    JOB_READY: Event.Type
    JOB_BLOCKED: Event.Type
    JOB_LEASED: Event.Type
    JOB_PROGRESS: Event.Type
    JOB_ATTEMPT_FAILED: Event.Type
    JOB_RETRYING: Event.Type
    JOB_SNOOZED: Event.Type
    JOB_RELEASED: Event.Type
    JOB_LEASE_EXPIRED: Event.Type
    JOB_TIMED_OUT: Event.Type
    JOB_CANCEL_REQUESTED: Event.Type
    JOB_SUCCEEDED: Event.Type
    JOB_DEAD: Event.Type
    JOB_CANCELLED: Event.Type
    JOB_EXPIRED: Event.Type
    JOB_PURGED: Event.Type
    QUEUE_PAUSED: Event.Type
    QUEUE_RESUMED: Event.Type
    QUEUE_DRAINED: Event.Type
    QUEUE_UPDATED: Event.Type
    WORKER_JOINED: Event.Type
    WORKER_LEFT: Event.Type
    SCHEDULE_FIRED: Event.Type
    STORE_RESET: Event.Type
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class TraceContextEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    FROM_STATE_FIELD_NUMBER: _ClassVar[int]
    TO_STATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    WAIT_DURATION_FIELD_NUMBER: _ClassVar[int]
    RUN_DURATION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    TRACE_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    id: str
    type: Event.Type
    time: _timestamp_pb2.Timestamp
    queue: str
    job: str
    job_type: str
    labels: _containers.ScalarMap[str, str]
    from_state: _job_pb2.Job.State
    to_state: _job_pb2.Job.State
    attempt: int
    worker_id: str
    progress: _job_pb2.Progress
    failure: _job_pb2.Failure
    result: _job_pb2.Payload
    wait_duration: _duration_pb2.Duration
    run_duration: _duration_pb2.Duration
    reason: str
    actor: str
    trace_context: _containers.ScalarMap[str, str]
    def __init__(self, id: _Optional[str] = ..., type: _Optional[_Union[Event.Type, str]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., queue: _Optional[str] = ..., job: _Optional[str] = ..., job_type: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., from_state: _Optional[_Union[_job_pb2.Job.State, str]] = ..., to_state: _Optional[_Union[_job_pb2.Job.State, str]] = ..., attempt: _Optional[int] = ..., worker_id: _Optional[str] = ..., progress: _Optional[_Union[_job_pb2.Progress, _Mapping]] = ..., failure: _Optional[_Union[_job_pb2.Failure, _Mapping]] = ..., result: _Optional[_Union[_job_pb2.Payload, _Mapping]] = ..., wait_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., run_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reason: _Optional[str] = ..., actor: _Optional[str] = ..., trace_context: _Optional[_Mapping[str, str]] = ...) -> None: ...
