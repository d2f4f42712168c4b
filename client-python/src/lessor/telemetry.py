"""Spans, where OpenTelemetry is installed; the trace context of a job in any case."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

try:
    from opentelemetry import context as otel_context
    from opentelemetry import propagate, trace
except ImportError:
    _IS_THERE = False
else:
    _IS_THERE = True

if TYPE_CHECKING:
    from lessor.job import JobFields

_NAME = "lessor"
_SYSTEM = {"messaging.system": "lessor"}


class Sending:
    """The span of an enqueue. `trace_context` is what travels with the job."""

    def __init__(self, queue: str, kept: Mapping[str, str] | None) -> None:
        self.trace_context: Mapping[str, str] = kept or {}
        self._span: Any = None
        if not _IS_THERE:
            return
        parent = propagate.extract(dict(kept)) if kept else otel_context.get_current()
        if not trace.get_current_span(parent).get_span_context().is_valid:
            # Nobody traces here: a span of its own for each enqueue would be noise.
            return
        attributes = _SYSTEM | {
            "messaging.destination.name": queue,
            "messaging.operation.type": "send",
        }
        self._span = trace.get_tracer(_NAME).start_span(
            f"send {queue}", context=parent, kind=trace.SpanKind.PRODUCER, attributes=attributes
        )
        carrier: dict[str, str] = {}
        propagate.inject(carrier, trace.set_span_in_context(self._span, parent))
        self.trace_context = carrier or self.trace_context

    def end(self, answer: Future[Any]) -> None:
        """Ends it with the answer."""
        if self._span is None:
            return
        if not answer.cancelled() and (fault := answer.exception()) is not None:
            _fail(self._span, fault)
        self._span.end()


class Processing:
    """The span of one attempt, linked to that of the producer: they may lie hours apart."""

    def __init__(self, job: JobFields, worker_id: str) -> None:
        self._span: Any = None
        self._token: Any = None
        if not _IS_THERE:
            return
        producer = trace.get_current_span(propagate.extract(dict(job.trace_context)))
        context = producer.get_span_context()
        self._span = trace.get_tracer(_NAME).start_span(
            f"process {job.queue}",
            kind=trace.SpanKind.CONSUMER,
            links=[trace.Link(context)] if context.is_valid else [],
            attributes=_SYSTEM
            | {
                "messaging.destination.name": job.queue,
                "messaging.operation.type": "process",
                "messaging.message.id": job.name,
                "messaging.client.id": worker_id,
                "lessor.job.type": job.type,
                "lessor.job.attempt": job.attempt,
            },
        )

    def __enter__(self) -> Processing:
        """Makes it the current span of this thread or task."""
        if self._span is not None:
            self._token = otel_context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            otel_context.detach(self._token)

    def end(self, outcome: str, fault: BaseException | None = None) -> None:
        """Ends it, with how the attempt ended."""
        if self._span is None:
            return
        self._span.set_attribute("lessor.outcome", outcome)
        if fault is not None:
            _fail(self._span, fault)
        self._span.end()


def _fail(span: Any, fault: BaseException) -> None:
    span.record_exception(fault)
    span.set_status(trace.Status(trace.StatusCode.ERROR, str(fault)))
