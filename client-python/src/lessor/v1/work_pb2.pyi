import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.rpc import status_pb2 as _status_pb2
from lessor.v1 import lease_pb2 as _lease_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WorkRequest(_message.Message):
    __slots__ = ("hello", "credit", "ack", "nack", "extend", "ping", "goodbye", "request_seq", "received_through")
    class Hello(_message.Message):
        __slots__ = ("worker", "queues", "types", "order", "weights", "lease_duration", "held_lease_tokens", "max_message_bytes", "auto_extend")
        class WeightsEntry(_message.Message):
            __slots__ = ("key", "value")
            KEY_FIELD_NUMBER: _ClassVar[int]
            VALUE_FIELD_NUMBER: _ClassVar[int]
            key: str
            value: int
            def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
        WORKER_FIELD_NUMBER: _ClassVar[int]
        QUEUES_FIELD_NUMBER: _ClassVar[int]
        TYPES_FIELD_NUMBER: _ClassVar[int]
        ORDER_FIELD_NUMBER: _ClassVar[int]
        WEIGHTS_FIELD_NUMBER: _ClassVar[int]
        LEASE_DURATION_FIELD_NUMBER: _ClassVar[int]
        HELD_LEASE_TOKENS_FIELD_NUMBER: _ClassVar[int]
        MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
        AUTO_EXTEND_FIELD_NUMBER: _ClassVar[int]
        worker: _lease_pb2.Worker
        queues: _containers.RepeatedScalarFieldContainer[str]
        types: _containers.RepeatedScalarFieldContainer[str]
        order: _lease_pb2.Order
        weights: _containers.ScalarMap[str, int]
        lease_duration: _duration_pb2.Duration
        held_lease_tokens: _containers.RepeatedScalarFieldContainer[str]
        max_message_bytes: int
        auto_extend: bool
        def __init__(self, worker: _Optional[_Union[_lease_pb2.Worker, _Mapping]] = ..., queues: _Optional[_Iterable[str]] = ..., types: _Optional[_Iterable[str]] = ..., order: _Optional[_Union[_lease_pb2.Order, str]] = ..., weights: _Optional[_Mapping[str, int]] = ..., lease_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., held_lease_tokens: _Optional[_Iterable[str]] = ..., max_message_bytes: _Optional[int] = ..., auto_extend: bool = ...) -> None: ...
    class Credit(_message.Message):
        __slots__ = ("max_delivery_seq",)
        MAX_DELIVERY_SEQ_FIELD_NUMBER: _ClassVar[int]
        max_delivery_seq: int
        def __init__(self, max_delivery_seq: _Optional[int] = ...) -> None: ...
    class Goodbye(_message.Message):
        __slots__ = ("release_held",)
        RELEASE_HELD_FIELD_NUMBER: _ClassVar[int]
        release_held: bool
        def __init__(self, release_held: bool = ...) -> None: ...
    HELLO_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    NACK_FIELD_NUMBER: _ClassVar[int]
    EXTEND_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_SEQ_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_THROUGH_FIELD_NUMBER: _ClassVar[int]
    hello: WorkRequest.Hello
    credit: WorkRequest.Credit
    ack: _lease_pb2.AckRequest
    nack: _lease_pb2.NackRequest
    extend: _lease_pb2.ExtendLeaseRequest
    ping: _empty_pb2.Empty
    goodbye: WorkRequest.Goodbye
    request_seq: int
    received_through: int
    def __init__(self, hello: _Optional[_Union[WorkRequest.Hello, _Mapping]] = ..., credit: _Optional[_Union[WorkRequest.Credit, _Mapping]] = ..., ack: _Optional[_Union[_lease_pb2.AckRequest, _Mapping]] = ..., nack: _Optional[_Union[_lease_pb2.NackRequest, _Mapping]] = ..., extend: _Optional[_Union[_lease_pb2.ExtendLeaseRequest, _Mapping]] = ..., ping: _Optional[_Union[_empty_pb2.Empty, _Mapping]] = ..., goodbye: _Optional[_Union[WorkRequest.Goodbye, _Mapping]] = ..., request_seq: _Optional[int] = ..., received_through: _Optional[int] = ...) -> None: ...

class WorkResponse(_message.Message):
    __slots__ = ("welcome", "delivery", "ack", "nack", "extend", "error", "directive", "pong", "request_seq")
    class Welcome(_message.Message):
        __slots__ = ("session_id", "ping_interval", "held")
        class Held(_message.Message):
            __slots__ = ("lease_token", "kept", "lease_remaining")
            LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
            KEPT_FIELD_NUMBER: _ClassVar[int]
            LEASE_REMAINING_FIELD_NUMBER: _ClassVar[int]
            lease_token: str
            kept: bool
            lease_remaining: _duration_pb2.Duration
            def __init__(self, lease_token: _Optional[str] = ..., kept: bool = ..., lease_remaining: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
        SESSION_ID_FIELD_NUMBER: _ClassVar[int]
        PING_INTERVAL_FIELD_NUMBER: _ClassVar[int]
        HELD_FIELD_NUMBER: _ClassVar[int]
        session_id: str
        ping_interval: _duration_pb2.Duration
        held: _containers.RepeatedCompositeFieldContainer[WorkResponse.Welcome.Held]
        def __init__(self, session_id: _Optional[str] = ..., ping_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., held: _Optional[_Iterable[_Union[WorkResponse.Welcome.Held, _Mapping]]] = ...) -> None: ...
    class Delivery(_message.Message):
        __slots__ = ("delivery_seq", "leased")
        DELIVERY_SEQ_FIELD_NUMBER: _ClassVar[int]
        LEASED_FIELD_NUMBER: _ClassVar[int]
        delivery_seq: int
        leased: _lease_pb2.LeasedJob
        def __init__(self, delivery_seq: _Optional[int] = ..., leased: _Optional[_Union[_lease_pb2.LeasedJob, _Mapping]] = ...) -> None: ...
    class Directive(_message.Message):
        __slots__ = ("kind", "lease_token", "reason", "within")
        class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
            __slots__ = ()
            KIND_UNSPECIFIED: _ClassVar[WorkResponse.Directive.Kind]
            KIND_CANCEL_JOB: _ClassVar[WorkResponse.Directive.Kind]
            KIND_LEASE_LOST: _ClassVar[WorkResponse.Directive.Kind]
            KIND_DRAIN: _ClassVar[WorkResponse.Directive.Kind]
            KIND_RECONNECT: _ClassVar[WorkResponse.Directive.Kind]
        KIND_UNSPECIFIED: WorkResponse.Directive.Kind
        KIND_CANCEL_JOB: WorkResponse.Directive.Kind
        KIND_LEASE_LOST: WorkResponse.Directive.Kind
        KIND_DRAIN: WorkResponse.Directive.Kind
        KIND_RECONNECT: WorkResponse.Directive.Kind
        KIND_FIELD_NUMBER: _ClassVar[int]
        LEASE_TOKEN_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        WITHIN_FIELD_NUMBER: _ClassVar[int]
        kind: WorkResponse.Directive.Kind
        lease_token: str
        reason: str
        within: _duration_pb2.Duration
        def __init__(self, kind: _Optional[_Union[WorkResponse.Directive.Kind, str]] = ..., lease_token: _Optional[str] = ..., reason: _Optional[str] = ..., within: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    NACK_FIELD_NUMBER: _ClassVar[int]
    EXTEND_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    DIRECTIVE_FIELD_NUMBER: _ClassVar[int]
    PONG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_SEQ_FIELD_NUMBER: _ClassVar[int]
    welcome: WorkResponse.Welcome
    delivery: WorkResponse.Delivery
    ack: _lease_pb2.AckResponse
    nack: _lease_pb2.NackResponse
    extend: _lease_pb2.ExtendLeaseResponse
    error: _status_pb2.Status
    directive: WorkResponse.Directive
    pong: _empty_pb2.Empty
    request_seq: int
    def __init__(self, welcome: _Optional[_Union[WorkResponse.Welcome, _Mapping]] = ..., delivery: _Optional[_Union[WorkResponse.Delivery, _Mapping]] = ..., ack: _Optional[_Union[_lease_pb2.AckResponse, _Mapping]] = ..., nack: _Optional[_Union[_lease_pb2.NackResponse, _Mapping]] = ..., extend: _Optional[_Union[_lease_pb2.ExtendLeaseResponse, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ..., directive: _Optional[_Union[WorkResponse.Directive, _Mapping]] = ..., pong: _Optional[_Union[_empty_pb2.Empty, _Mapping]] = ..., request_seq: _Optional[int] = ...) -> None: ...
