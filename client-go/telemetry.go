package lessor

import (
	"context"
	"maps"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"
)

// w3c is how a trace context travels with a job: the broker knows this form and no other.
var w3c = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

// tracing makes the spans of producers and workers.
type tracing struct{ tracer trace.Tracer }

func newTracing(provider trace.TracerProvider) tracing {
	if provider == nil {
		provider = otel.GetTracerProvider()
	}
	return tracing{provider.Tracer("github.com/lessor/lessor/client-go", trace.WithInstrumentationVersion(Version))}
}

// span is one, or none.
type span struct{ trace.Span }

// end ends the span with how its work went.
func (s span) end(err error) {
	if s.Span == nil {
		return
	}
	if err != nil {
		s.RecordError(err)
		s.SetStatus(otelcodes.Error, err.Error())
	}
	s.End()
}

// send is the span of an enqueue, where somebody traces: one of its own for each would be noise.
func (t tracing) send(ctx context.Context, job *NewJob) (context.Context, span) {
	if job.TraceContext != nil {
		ctx = w3c.Extract(ctx, propagation.MapCarrier(job.TraceContext))
	}
	return t.sending(ctx, job.Queue, attribute.String("lessor.job.type", job.Type))
}

func (t tracing) sendMany(ctx context.Context, jobs []NewJob) (context.Context, span) {
	queue := ""
	if len(jobs) > 0 {
		queue = jobs[0].Queue
	}
	return t.sending(ctx, queue, attribute.Int("messaging.batch.message_count", len(jobs)))
}

func (t tracing) sending(ctx context.Context, queue string, more attribute.KeyValue) (context.Context, span) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx, span{}
	}
	ctx, made := t.tracer.Start(ctx, "send "+queue, trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(
			attribute.String("messaging.system", "lessor"),
			attribute.String("messaging.destination.name", queue),
			attribute.String("messaging.operation.type", "send"),
			more,
		))
	return ctx, span{made}
}

// process is the span of one attempt, linked to that of the producer: they may lie hours apart.
func (t tracing) process(ctx context.Context, job *JobInfo, worker string) (context.Context, span) {
	var links []trace.Link
	if len(job.TraceContext) > 0 {
		producer := trace.SpanContextFromContext(
			w3c.Extract(context.Background(), propagation.MapCarrier(job.TraceContext)))
		if producer.IsValid() {
			links = append(links, trace.Link{SpanContext: producer})
		}
	}
	ctx, made := t.tracer.Start(ctx, "process "+job.Queue,
		trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(links...))
	if made.IsRecording() {
		made.SetAttributes(
			attribute.String("messaging.system", "lessor"),
			attribute.String("messaging.destination.name", job.Queue),
			attribute.String("messaging.operation.type", "process"),
			attribute.String("messaging.message.id", job.Name),
			attribute.String("messaging.client.id", worker),
			attribute.String("lessor.job.type", job.Type),
			attribute.Int("lessor.job.attempt", job.Attempt),
		)
	}
	return ctx, span{made}
}

// carried is the trace context that travels with a job: that of the span, or what the caller gave.
func carried(ctx context.Context, given map[string]string) map[string]string {
	carrier := propagation.MapCarrier{}
	w3c.Inject(ctx, carrier)
	if len(carrier) == 0 {
		return given
	}
	if given == nil {
		return carrier
	}
	all := maps.Clone(given)
	maps.Copy(all, carrier)
	return all
}

func withMetadata(ctx context.Context, pairs map[string]string) context.Context {
	for key, value := range pairs {
		ctx = metadata.AppendToOutgoingContext(ctx, key, value)
	}
	return ctx
}
