"""Payloads: bytes with a content type, and JSON as the usual case."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from typing_extensions import Self

from lessor.v1 import job_pb2

JSON = "application/json"
BYTES = "application/octet-stream"


@dataclass(frozen=True)
class Payload:
    """Data of a job, its result or its checkpoint. The broker hands it on unread.

    Wherever one is taken, plain values will do: `bytes` are sent as they are, all else as JSON.
    """

    data: bytes = b""
    content_type: str = BYTES
    encoding: str = ""

    @classmethod
    def of(cls, value: object) -> Self:
        """The payload for a value: itself, bytes as they are, else JSON."""
        if isinstance(value, cls):
            return value
        if isinstance(value, (bytes, bytearray, memoryview)):
            return cls(bytes(value))
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return cls(text.encode(), JSON)

    def json(self) -> Any:
        """The value, read as JSON; `None` if there is no data."""
        return json.loads(self.data) if self.data else None

    def text(self) -> str:
        """The data, read as UTF-8."""
        return self.data.decode()

    @property
    def value(self) -> Any:
        """What was given to `of`: the value if it is JSON, else the bytes."""
        return self.json() if self.content_type.split(";")[0].strip() == JSON else self.data

    @classmethod
    def from_message(cls, message: job_pb2.Payload) -> Self:
        """As the protocol has it. A JSON value, as grpcurl sends it, becomes JSON text."""
        if message.WhichOneof("body") == "json":
            value = json_format.MessageToDict(message.json)
            data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
            return cls(data, message.content_type or JSON, message.encoding)
        return cls(message.data, message.content_type or BYTES, message.encoding)

    def to_message(self) -> job_pb2.Payload:
        """As the protocol has it."""
        return job_pb2.Payload(
            data=self.data, content_type=self.content_type, encoding=self.encoding
        )
