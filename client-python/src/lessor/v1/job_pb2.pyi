import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobView(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_VIEW_UNSPECIFIED: _ClassVar[JobView]
    JOB_VIEW_BASIC: _ClassVar[JobView]
    JOB_VIEW_FULL: _ClassVar[JobView]
JOB_VIEW_UNSPECIFIED: JobView
JOB_VIEW_BASIC: JobView
JOB_VIEW_FULL: JobView

class Payload(_message.Message):
    __slots__ = ("data", "json", "content_type", "encoding")
    DATA_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    json: _struct_pb2.Value
    content_type: str
    encoding: str
    def __init__(self, data: _Optional[bytes] = ..., json: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., content_type: _Optional[str] = ..., encoding: _Optional[str] = ...) -> None: ...

class RetryPolicy(_message.Message):
    __slots__ = ("max_attempts", "initial_backoff", "multiplier", "max_backoff", "jitter", "backoff_list", "fatal_codes", "max_retry_duration")
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    INITIAL_BACKOFF_FIELD_NUMBER: _ClassVar[int]
    MULTIPLIER_FIELD_NUMBER: _ClassVar[int]
    MAX_BACKOFF_FIELD_NUMBER: _ClassVar[int]
    JITTER_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_LIST_FIELD_NUMBER: _ClassVar[int]
    FATAL_CODES_FIELD_NUMBER: _ClassVar[int]
    MAX_RETRY_DURATION_FIELD_NUMBER: _ClassVar[int]
    max_attempts: int
    initial_backoff: _duration_pb2.Duration
    multiplier: float
    max_backoff: _duration_pb2.Duration
    jitter: float
    backoff_list: _containers.RepeatedCompositeFieldContainer[_duration_pb2.Duration]
    fatal_codes: _containers.RepeatedScalarFieldContainer[str]
    max_retry_duration: _duration_pb2.Duration
    def __init__(self, max_attempts: _Optional[int] = ..., initial_backoff: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., multiplier: _Optional[float] = ..., max_backoff: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., jitter: _Optional[float] = ..., backoff_list: _Optional[_Iterable[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]]] = ..., fatal_codes: _Optional[_Iterable[str]] = ..., max_retry_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Dedup(_message.Message):
    __slots__ = ("key", "scope", "window", "on_duplicate")
    class Scope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SCOPE_UNSPECIFIED: _ClassVar[Dedup.Scope]
        SCOPE_UNTIL_STARTED: _ClassVar[Dedup.Scope]
        SCOPE_UNTIL_FINISHED: _ClassVar[Dedup.Scope]
        SCOPE_WINDOW: _ClassVar[Dedup.Scope]
    SCOPE_UNSPECIFIED: Dedup.Scope
    SCOPE_UNTIL_STARTED: Dedup.Scope
    SCOPE_UNTIL_FINISHED: Dedup.Scope
    SCOPE_WINDOW: Dedup.Scope
    class OnDuplicate(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ON_DUPLICATE_UNSPECIFIED: _ClassVar[Dedup.OnDuplicate]
        ON_DUPLICATE_KEEP: _ClassVar[Dedup.OnDuplicate]
        ON_DUPLICATE_REPLACE: _ClassVar[Dedup.OnDuplicate]
        ON_DUPLICATE_RUN_AFTER: _ClassVar[Dedup.OnDuplicate]
        ON_DUPLICATE_REJECT: _ClassVar[Dedup.OnDuplicate]
    ON_DUPLICATE_UNSPECIFIED: Dedup.OnDuplicate
    ON_DUPLICATE_KEEP: Dedup.OnDuplicate
    ON_DUPLICATE_REPLACE: Dedup.OnDuplicate
    ON_DUPLICATE_RUN_AFTER: Dedup.OnDuplicate
    ON_DUPLICATE_REJECT: Dedup.OnDuplicate
    KEY_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    ON_DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    key: str
    scope: Dedup.Scope
    window: _duration_pb2.Duration
    on_duplicate: Dedup.OnDuplicate
    def __init__(self, key: _Optional[str] = ..., scope: _Optional[_Union[Dedup.Scope, str]] = ..., window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., on_duplicate: _Optional[_Union[Dedup.OnDuplicate, str]] = ...) -> None: ...

class Limit(_message.Message):
    __slots__ = ("key", "cost")
    KEY_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    key: str
    cost: float
    def __init__(self, key: _Optional[str] = ..., cost: _Optional[float] = ...) -> None: ...

class Retention(_message.Message):
    __slots__ = ("succeeded_ttl", "succeeded_count", "dead_ttl", "dead_count")
    SUCCEEDED_TTL_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDED_COUNT_FIELD_NUMBER: _ClassVar[int]
    DEAD_TTL_FIELD_NUMBER: _ClassVar[int]
    DEAD_COUNT_FIELD_NUMBER: _ClassVar[int]
    succeeded_ttl: _duration_pb2.Duration
    succeeded_count: int
    dead_ttl: _duration_pb2.Duration
    dead_count: int
    def __init__(self, succeeded_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., succeeded_count: _Optional[int] = ..., dead_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., dead_count: _Optional[int] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("code", "message", "stack", "details")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STACK_FIELD_NUMBER: _ClassVar[int]
    DETAILS_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    stack: str
    details: _struct_pb2.Struct
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., stack: _Optional[str] = ..., details: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("percent", "message", "done", "total")
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    percent: float
    message: str
    done: int
    total: int
    def __init__(self, percent: _Optional[float] = ..., message: _Optional[str] = ..., done: _Optional[int] = ..., total: _Optional[int] = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("number", "worker_id", "start_time", "end_time", "outcome", "failure")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[Attempt.Outcome]
        OUTCOME_SUCCEEDED: _ClassVar[Attempt.Outcome]
        OUTCOME_FAILED: _ClassVar[Attempt.Outcome]
        OUTCOME_LEASE_EXPIRED: _ClassVar[Attempt.Outcome]
        OUTCOME_TIMED_OUT: _ClassVar[Attempt.Outcome]
        OUTCOME_RELEASED: _ClassVar[Attempt.Outcome]
        OUTCOME_CANCELLED: _ClassVar[Attempt.Outcome]
    OUTCOME_UNSPECIFIED: Attempt.Outcome
    OUTCOME_SUCCEEDED: Attempt.Outcome
    OUTCOME_FAILED: Attempt.Outcome
    OUTCOME_LEASE_EXPIRED: Attempt.Outcome
    OUTCOME_TIMED_OUT: Attempt.Outcome
    OUTCOME_RELEASED: Attempt.Outcome
    OUTCOME_CANCELLED: Attempt.Outcome
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    number: int
    worker_id: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    outcome: Attempt.Outcome
    failure: Failure
    def __init__(self, number: _Optional[int] = ..., worker_id: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., outcome: _Optional[_Union[Attempt.Outcome, str]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("name", "type", "state", "payload", "priority", "labels", "owner", "create_time", "schedule_time", "expire_time", "start_time", "end_time", "purge_time", "attempt", "delivery_count", "lease_expired_count", "retry_policy", "lease_duration", "attempt_timeout", "order_key", "fairness_key", "fairness_weight", "limits", "dedup", "retention", "parent", "depends_on", "progress", "checkpoint", "result", "last_failure", "attempts", "cancel_requested", "worker_id", "lease_expire_time", "trace_context", "etag")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Job.State]
        STATE_SCHEDULED: _ClassVar[Job.State]
        STATE_READY: _ClassVar[Job.State]
        STATE_LEASED: _ClassVar[Job.State]
        STATE_RETRYING: _ClassVar[Job.State]
        STATE_BLOCKED: _ClassVar[Job.State]
        STATE_SUCCEEDED: _ClassVar[Job.State]
        STATE_DEAD: _ClassVar[Job.State]
        STATE_CANCELLED: _ClassVar[Job.State]
        STATE_EXPIRED: _ClassVar[Job.State]
    STATE_UNSPECIFIED: Job.State
    STATE_SCHEDULED: Job.State
    STATE_READY: Job.State
    STATE_LEASED: Job.State
    STATE_RETRYING: Job.State
    STATE_BLOCKED: Job.State
    STATE_SUCCEEDED: Job.State
    STATE_DEAD: Job.State
    STATE_CANCELLED: Job.State
    STATE_EXPIRED: Job.State
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
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    PURGE_TIME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_COUNT_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRED_COUNT_FIELD_NUMBER: _ClassVar[int]
    RETRY_POLICY_FIELD_NUMBER: _ClassVar[int]
    LEASE_DURATION_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    ORDER_KEY_FIELD_NUMBER: _ClassVar[int]
    FAIRNESS_KEY_FIELD_NUMBER: _ClassVar[int]
    FAIRNESS_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    DEDUP_FIELD_NUMBER: _ClassVar[int]
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    DEPENDS_ON_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    LAST_FAILURE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    TRACE_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    state: Job.State
    payload: Payload
    priority: int
    labels: _containers.ScalarMap[str, str]
    owner: str
    create_time: _timestamp_pb2.Timestamp
    schedule_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    purge_time: _timestamp_pb2.Timestamp
    attempt: int
    delivery_count: int
    lease_expired_count: int
    retry_policy: RetryPolicy
    lease_duration: _duration_pb2.Duration
    attempt_timeout: _duration_pb2.Duration
    order_key: str
    fairness_key: str
    fairness_weight: float
    limits: _containers.RepeatedCompositeFieldContainer[Limit]
    dedup: Dedup
    retention: Retention
    parent: str
    depends_on: _containers.RepeatedScalarFieldContainer[str]
    progress: Progress
    checkpoint: Payload
    result: Payload
    last_failure: Failure
    attempts: _containers.RepeatedCompositeFieldContainer[Attempt]
    cancel_requested: bool
    worker_id: str
    lease_expire_time: _timestamp_pb2.Timestamp
    trace_context: _containers.ScalarMap[str, str]
    etag: str
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., state: _Optional[_Union[Job.State, str]] = ..., payload: _Optional[_Union[Payload, _Mapping]] = ..., priority: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., owner: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., schedule_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., purge_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attempt: _Optional[int] = ..., delivery_count: _Optional[int] = ..., lease_expired_count: _Optional[int] = ..., retry_policy: _Optional[_Union[RetryPolicy, _Mapping]] = ..., lease_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., attempt_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., order_key: _Optional[str] = ..., fairness_key: _Optional[str] = ..., fairness_weight: _Optional[float] = ..., limits: _Optional[_Iterable[_Union[Limit, _Mapping]]] = ..., dedup: _Optional[_Union[Dedup, _Mapping]] = ..., retention: _Optional[_Union[Retention, _Mapping]] = ..., parent: _Optional[str] = ..., depends_on: _Optional[_Iterable[str]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., checkpoint: _Optional[_Union[Payload, _Mapping]] = ..., result: _Optional[_Union[Payload, _Mapping]] = ..., last_failure: _Optional[_Union[Failure, _Mapping]] = ..., attempts: _Optional[_Iterable[_Union[Attempt, _Mapping]]] = ..., cancel_requested: bool = ..., worker_id: _Optional[str] = ..., lease_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., trace_context: _Optional[_Mapping[str, str]] = ..., etag: _Optional[str] = ...) -> None: ...
