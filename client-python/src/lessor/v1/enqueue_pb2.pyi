import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from lessor.v1 import job_pb2 as _job_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EnqueueRequest(_message.Message):
    __slots__ = ("queue", "type", "payload", "request_id", "job_id", "priority", "schedule_time", "delay", "expire_time", "ttl", "retry_policy", "lease_duration", "attempt_timeout", "order_key", "fairness_key", "fairness_weight", "limits", "dedup", "labels", "retention", "depends_on", "owner", "validate_only")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_TIME_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    RETRY_POLICY_FIELD_NUMBER: _ClassVar[int]
    LEASE_DURATION_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    ORDER_KEY_FIELD_NUMBER: _ClassVar[int]
    FAIRNESS_KEY_FIELD_NUMBER: _ClassVar[int]
    FAIRNESS_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    DEDUP_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    RETENTION_FIELD_NUMBER: _ClassVar[int]
    DEPENDS_ON_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    queue: str
    type: str
    payload: _job_pb2.Payload
    request_id: str
    job_id: str
    priority: int
    schedule_time: _timestamp_pb2.Timestamp
    delay: _duration_pb2.Duration
    expire_time: _timestamp_pb2.Timestamp
    ttl: _duration_pb2.Duration
    retry_policy: _job_pb2.RetryPolicy
    lease_duration: _duration_pb2.Duration
    attempt_timeout: _duration_pb2.Duration
    order_key: str
    fairness_key: str
    fairness_weight: float
    limits: _containers.RepeatedCompositeFieldContainer[_job_pb2.Limit]
    dedup: _job_pb2.Dedup
    labels: _containers.ScalarMap[str, str]
    retention: _job_pb2.Retention
    depends_on: _containers.RepeatedScalarFieldContainer[str]
    owner: str
    validate_only: bool
    def __init__(self, queue: _Optional[str] = ..., type: _Optional[str] = ..., payload: _Optional[_Union[_job_pb2.Payload, _Mapping]] = ..., request_id: _Optional[str] = ..., job_id: _Optional[str] = ..., priority: _Optional[int] = ..., schedule_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., retry_policy: _Optional[_Union[_job_pb2.RetryPolicy, _Mapping]] = ..., lease_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., attempt_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., order_key: _Optional[str] = ..., fairness_key: _Optional[str] = ..., fairness_weight: _Optional[float] = ..., limits: _Optional[_Iterable[_Union[_job_pb2.Limit, _Mapping]]] = ..., dedup: _Optional[_Union[_job_pb2.Dedup, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., retention: _Optional[_Union[_job_pb2.Retention, _Mapping]] = ..., depends_on: _Optional[_Iterable[str]] = ..., owner: _Optional[str] = ..., validate_only: bool = ...) -> None: ...

class EnqueueResponse(_message.Message):
    __slots__ = ("job", "outcome", "replicas_acked")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[EnqueueResponse.Outcome]
        OUTCOME_CREATED: _ClassVar[EnqueueResponse.Outcome]
        OUTCOME_DEDUPLICATED: _ClassVar[EnqueueResponse.Outcome]
        OUTCOME_REPLACED: _ClassVar[EnqueueResponse.Outcome]
        OUTCOME_REPLAYED: _ClassVar[EnqueueResponse.Outcome]
    OUTCOME_UNSPECIFIED: EnqueueResponse.Outcome
    OUTCOME_CREATED: EnqueueResponse.Outcome
    OUTCOME_DEDUPLICATED: EnqueueResponse.Outcome
    OUTCOME_REPLACED: EnqueueResponse.Outcome
    OUTCOME_REPLAYED: EnqueueResponse.Outcome
    JOB_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_ACKED_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    outcome: EnqueueResponse.Outcome
    replicas_acked: int
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., outcome: _Optional[_Union[EnqueueResponse.Outcome, str]] = ..., replicas_acked: _Optional[int] = ...) -> None: ...

class BatchEnqueueRequest(_message.Message):
    __slots__ = ("requests", "allow_partial", "request_id")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    ALLOW_PARTIAL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[EnqueueRequest]
    allow_partial: bool
    request_id: str
    def __init__(self, requests: _Optional[_Iterable[_Union[EnqueueRequest, _Mapping]]] = ..., allow_partial: bool = ..., request_id: _Optional[str] = ...) -> None: ...

class BatchEnqueueResponse(_message.Message):
    __slots__ = ("results",)
    class Result(_message.Message):
        __slots__ = ("response", "status")
        RESPONSE_FIELD_NUMBER: _ClassVar[int]
        STATUS_FIELD_NUMBER: _ClassVar[int]
        response: EnqueueResponse
        status: _status_pb2.Status
        def __init__(self, response: _Optional[_Union[EnqueueResponse, _Mapping]] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[BatchEnqueueResponse.Result]
    def __init__(self, results: _Optional[_Iterable[_Union[BatchEnqueueResponse.Result, _Mapping]]] = ...) -> None: ...
