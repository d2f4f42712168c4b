import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from lessor.v1 import enqueue_pb2 as _enqueue_pb2
from lessor.v1 import job_pb2 as _job_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Order(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ORDER_UNSPECIFIED: _ClassVar[Order]
    ORDER_FAIR: _ClassVar[Order]
    ORDER_STRICT: _ClassVar[Order]
    ORDER_WEIGHTED: _ClassVar[Order]

class SettleOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SETTLE_OUTCOME_UNSPECIFIED: _ClassVar[SettleOutcome]
    SETTLE_OUTCOME_SETTLED: _ClassVar[SettleOutcome]
    SETTLE_OUTCOME_ALREADY_SETTLED: _ClassVar[SettleOutcome]
    SETTLE_OUTCOME_SETTLED_LATE: _ClassVar[SettleOutcome]
ORDER_UNSPECIFIED: Order
ORDER_FAIR: Order
ORDER_STRICT: Order
ORDER_WEIGHTED: Order
SETTLE_OUTCOME_UNSPECIFIED: SettleOutcome
SETTLE_OUTCOME_SETTLED: SettleOutcome
SETTLE_OUTCOME_ALREADY_SETTLED: SettleOutcome
SETTLE_OUTCOME_SETTLED_LATE: SettleOutcome

class Worker(_message.Message):
    __slots__ = ("worker_id", "display_name", "labels", "sdk", "concurrency", "last_seen_time", "queues", "draining")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SDK_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_TIME_FIELD_NUMBER: _ClassVar[int]
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    display_name: str
    labels: _containers.ScalarMap[str, str]
    sdk: str
    concurrency: int
    last_seen_time: _timestamp_pb2.Timestamp
    queues: _containers.RepeatedScalarFieldContainer[str]
    draining: bool
    def __init__(self, worker_id: _Optional[str] = ..., display_name: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., sdk: _Optional[str] = ..., concurrency: _Optional[int] = ..., last_seen_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., queues: _Optional[_Iterable[str]] = ..., draining: bool = ...) -> None: ...

class LeaseRequest(_message.Message):
    __slots__ = ("queues", "worker_id", "max_jobs", "lease_duration", "wait", "request_id", "types", "order", "weights", "max_bytes", "min_jobs", "linger", "worker")
    class WeightsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_JOBS_FIELD_NUMBER: _ClassVar[int]
    LEASE_DURATION_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    MIN_JOBS_FIELD_NUMBER: _ClassVar[int]
    LINGER_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    queues: _containers.RepeatedScalarFieldContainer[str]
    worker_id: str
    max_jobs: int
    lease_duration: _duration_pb2.Duration
    wait: _duration_pb2.Duration
    request_id: str
    types: _containers.RepeatedScalarFieldContainer[str]
    order: Order
    weights: _containers.ScalarMap[str, int]
    max_bytes: int
    min_jobs: int
    linger: _duration_pb2.Duration
    worker: Worker
    def __init__(self, queues: _Optional[_Iterable[str]] = ..., worker_id: _Optional[str] = ..., max_jobs: _Optional[int] = ..., lease_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., request_id: _Optional[str] = ..., types: _Optional[_Iterable[str]] = ..., order: _Optional[_Union[Order, str]] = ..., weights: _Optional[_Mapping[str, int]] = ..., max_bytes: _Optional[int] = ..., min_jobs: _Optional[int] = ..., linger: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., worker: _Optional[_Union[Worker, _Mapping]] = ...) -> None: ...

class LeaseResponse(_message.Message):
    __slots__ = ("jobs", "empty_reason", "retry_after", "server_time")
    class EmptyReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        EMPTY_REASON_UNSPECIFIED: _ClassVar[LeaseResponse.EmptyReason]
        EMPTY_REASON_NO_JOBS: _ClassVar[LeaseResponse.EmptyReason]
        EMPTY_REASON_PAUSED: _ClassVar[LeaseResponse.EmptyReason]
        EMPTY_REASON_LIMITED: _ClassVar[LeaseResponse.EmptyReason]
        EMPTY_REASON_DRAINING: _ClassVar[LeaseResponse.EmptyReason]
    EMPTY_REASON_UNSPECIFIED: LeaseResponse.EmptyReason
    EMPTY_REASON_NO_JOBS: LeaseResponse.EmptyReason
    EMPTY_REASON_PAUSED: LeaseResponse.EmptyReason
    EMPTY_REASON_LIMITED: LeaseResponse.EmptyReason
    EMPTY_REASON_DRAINING: LeaseResponse.EmptyReason
    JOBS_FIELD_NUMBER: _ClassVar[int]
    EMPTY_REASON_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[LeasedJob]
    empty_reason: LeaseResponse.EmptyReason
    retry_after: _duration_pb2.Duration
    server_time: _timestamp_pb2.Timestamp
    def __init__(self, jobs: _Optional[_Iterable[_Union[LeasedJob, _Mapping]]] = ..., empty_reason: _Optional[_Union[LeaseResponse.EmptyReason, str]] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., server_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class LeasedJob(_message.Message):
    __slots__ = ("job", "lease_token", "lease_expire_time", "lease_remaining", "attempt_remaining")
    JOB_FIELD_NUMBER: _ClassVar[int]
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    LEASE_REMAINING_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_REMAINING_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    lease_token: str
    lease_expire_time: _timestamp_pb2.Timestamp
    lease_remaining: _duration_pb2.Duration
    attempt_remaining: _duration_pb2.Duration
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., lease_token: _Optional[str] = ..., lease_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., lease_remaining: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., attempt_remaining: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AckRequest(_message.Message):
    __slots__ = ("lease_token", "result", "then")
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    THEN_FIELD_NUMBER: _ClassVar[int]
    lease_token: str
    result: _job_pb2.Payload
    then: _containers.RepeatedCompositeFieldContainer[_enqueue_pb2.EnqueueRequest]
    def __init__(self, lease_token: _Optional[str] = ..., result: _Optional[_Union[_job_pb2.Payload, _Mapping]] = ..., then: _Optional[_Iterable[_Union[_enqueue_pb2.EnqueueRequest, _Mapping]]] = ...) -> None: ...

class AckResponse(_message.Message):
    __slots__ = ("outcome", "job")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    outcome: SettleOutcome
    job: _job_pb2.Job
    def __init__(self, outcome: _Optional[_Union[SettleOutcome, str]] = ..., job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ...) -> None: ...

class NackRequest(_message.Message):
    __slots__ = ("lease_token", "failure", "retry", "snooze", "release", "dead", "checkpoint", "throttle_key_for")
    class Retry(_message.Message):
        __slots__ = ("delay",)
        DELAY_FIELD_NUMBER: _ClassVar[int]
        delay: _duration_pb2.Duration
        def __init__(self, delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
    class Snooze(_message.Message):
        __slots__ = ("delay",)
        DELAY_FIELD_NUMBER: _ClassVar[int]
        delay: _duration_pb2.Duration
        def __init__(self, delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    SNOOZE_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    THROTTLE_KEY_FOR_FIELD_NUMBER: _ClassVar[int]
    lease_token: str
    failure: _job_pb2.Failure
    retry: NackRequest.Retry
    snooze: NackRequest.Snooze
    release: _empty_pb2.Empty
    dead: _empty_pb2.Empty
    checkpoint: _job_pb2.Payload
    throttle_key_for: _duration_pb2.Duration
    def __init__(self, lease_token: _Optional[str] = ..., failure: _Optional[_Union[_job_pb2.Failure, _Mapping]] = ..., retry: _Optional[_Union[NackRequest.Retry, _Mapping]] = ..., snooze: _Optional[_Union[NackRequest.Snooze, _Mapping]] = ..., release: _Optional[_Union[_empty_pb2.Empty, _Mapping]] = ..., dead: _Optional[_Union[_empty_pb2.Empty, _Mapping]] = ..., checkpoint: _Optional[_Union[_job_pb2.Payload, _Mapping]] = ..., throttle_key_for: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class NackResponse(_message.Message):
    __slots__ = ("outcome", "job")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    outcome: SettleOutcome
    job: _job_pb2.Job
    def __init__(self, outcome: _Optional[_Union[SettleOutcome, str]] = ..., job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ...) -> None: ...

class ExtendLeaseRequest(_message.Message):
    __slots__ = ("lease_token", "lease_duration", "progress", "checkpoint")
    LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LEASE_DURATION_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    lease_token: str
    lease_duration: _duration_pb2.Duration
    progress: _job_pb2.Progress
    checkpoint: _job_pb2.Payload
    def __init__(self, lease_token: _Optional[str] = ..., lease_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., progress: _Optional[_Union[_job_pb2.Progress, _Mapping]] = ..., checkpoint: _Optional[_Union[_job_pb2.Payload, _Mapping]] = ...) -> None: ...

class ExtendLeaseResponse(_message.Message):
    __slots__ = ("lease_expire_time", "lease_remaining", "cancel_requested", "cancel_reason", "drain")
    LEASE_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    LEASE_REMAINING_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REASON_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    lease_expire_time: _timestamp_pb2.Timestamp
    lease_remaining: _duration_pb2.Duration
    cancel_requested: bool
    cancel_reason: str
    drain: bool
    def __init__(self, lease_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., lease_remaining: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., cancel_requested: bool = ..., cancel_reason: _Optional[str] = ..., drain: bool = ...) -> None: ...

class BatchSettleRequest(_message.Message):
    __slots__ = ("items",)
    class Item(_message.Message):
        __slots__ = ("ack", "nack", "extend")
        ACK_FIELD_NUMBER: _ClassVar[int]
        NACK_FIELD_NUMBER: _ClassVar[int]
        EXTEND_FIELD_NUMBER: _ClassVar[int]
        ack: AckRequest
        nack: NackRequest
        extend: ExtendLeaseRequest
        def __init__(self, ack: _Optional[_Union[AckRequest, _Mapping]] = ..., nack: _Optional[_Union[NackRequest, _Mapping]] = ..., extend: _Optional[_Union[ExtendLeaseRequest, _Mapping]] = ...) -> None: ...
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[BatchSettleRequest.Item]
    def __init__(self, items: _Optional[_Iterable[_Union[BatchSettleRequest.Item, _Mapping]]] = ...) -> None: ...

class BatchSettleResponse(_message.Message):
    __slots__ = ("results",)
    class Result(_message.Message):
        __slots__ = ("ack", "nack", "extend", "error")
        ACK_FIELD_NUMBER: _ClassVar[int]
        NACK_FIELD_NUMBER: _ClassVar[int]
        EXTEND_FIELD_NUMBER: _ClassVar[int]
        ERROR_FIELD_NUMBER: _ClassVar[int]
        ack: AckResponse
        nack: NackResponse
        extend: ExtendLeaseResponse
        error: _status_pb2.Status
        def __init__(self, ack: _Optional[_Union[AckResponse, _Mapping]] = ..., nack: _Optional[_Union[NackResponse, _Mapping]] = ..., extend: _Optional[_Union[ExtendLeaseResponse, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchSettleResponse.Result]
    def __init__(self, results: _Optional[_Iterable[_Union[BatchSettleResponse.Result, _Mapping]]] = ...) -> None: ...
