package lessor

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/lessor/lessor/client-go/lessorpb"
)

// How long handlers that are told to stop at the end have to say what becomes of their jobs.
const lastWords = time.Second

// How often is looked for what is due.
const clockTick = 50 * time.Millisecond

// shift is one run of a worker, from its first stream to its goodbye.
type shift struct {
	client    *Client
	worker    *Worker
	known     map[string]Handler
	log       *slog.Logger
	ledger    *ledger
	connected atomic.Bool
	// What the contexts of handlers come from.
	handlers context.Context
	// Ends when no more jobs are wanted.
	stopping context.Context
}

func newShift(worker *Worker, handlers map[string]Handler) *shift {
	run := &shift{
		client: worker.client,
		worker: worker,
		known:  handlers,
		log:    worker.client.options.Logger.With("worker", worker.options.ID),
	}
	run.ledger = newLedger(run, worker.options.Concurrency, worker.options.StopGrace)
	return run
}

// work works until it is told to end, one way or another.
func (s *shift) work(ctx context.Context, drained <-chan struct{}) error {
	hello, err := s.worker.hello(s.known)
	if err != nil {
		return err
	}
	// Handlers outlive the end of the context by the grace.
	handlers, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(ErrShutdown)
	s.handlers = handlers
	stopping, stop := context.WithCancel(ctx)
	defer stop()
	s.stopping = stopping
	life, leave := context.WithCancel(context.WithoutCancel(ctx))
	defer leave()

	s.log.InfoContext(ctx, "the worker begins", "queues", s.worker.options.Queues)
	go s.watchClock(life)
	lines := make(chan error, 1)
	go func() { lines <- s.lines(life, hello) }()
	select {
	case err := <-lines:
		s.log.ErrorContext(ctx, "the worker has ended", errAttr(err))
		return err
	case <-ctx.Done():
	case <-drained:
	case <-s.ledger.drained:
	}
	stop()
	s.log.InfoContext(ctx, "draining", "running", s.worker.Busy())
	s.ledger.refuseMore()
	s.finish()
	leave()
	err = <-lines
	s.log.InfoContext(ctx, "the worker has ended")
	return err
}

// watchClock does what is due, also while there is no line to a broker.
func (s *shift) watchClock(ctx context.Context) {
	tick := time.NewTicker(clockTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			s.ledger.ring(now)
		}
	}
}

// finish lets handlers end within the grace, and gives the rest back.
func (s *shift) finish() {
	idle := s.ledger.whenIdle()
	if s.await(idle, s.worker.options.Grace) {
		return
	}
	s.ledger.hurry()
	if s.await(idle, lastWords) {
		return
	}
	s.ledger.giveBack()
	s.await(idle, lastWords)
}

func (*shift) await(idle <-chan struct{}, patience time.Duration) bool {
	timer := time.NewTimer(max(patience, 0))
	defer timer.Stop()
	select {
	case <-idle:
		return true
	case <-timer.C:
		return false
	}
}

// lines works over a stream, or over calls where the broker has none.
func (s *shift) lines(ctx context.Context, hello *lessorpb.WorkRequest_Hello) error {
	defer s.connected.Store(false)
	if !s.worker.options.WithoutStream {
		line := &streamLine{worker: s, hello: hello}
		err := line.run(ctx)
		if !errors.Is(err, ErrUnimplemented) {
			return err
		}
		s.log.InfoContext(ctx, "the broker has no work streams: leasing by calls")
	}
	line, end, err := newCallLine(s, hello)
	if err != nil {
		return err
	}
	defer func() { _ = end() }()
	return line.run(ctx)
}

// begin runs the handler of a job.
func (s *shift) begin(one *held) {
	handler := s.known[one.job.Type]
	if handler == nil {
		handler = s.known[AnyType]
	}
	if handler == nil {
		s.log.WarnContext(one.ctx, "no handler", jobAttrs(one)...)
		nack := nackRelease()
		nack.Failure = (&Failure{Code: codeUnknown, Message: "no handler for the type " + one.job.Type}).message()
		s.ledger.finish(one, nack)
		return
	}
	go s.attempt(one, handler)
}

// attempt is one run of a handler: its span, its log line, its end.
func (s *shift) attempt(one *held, handler Handler) {
	begun := time.Now()
	ctx, span := s.client.tracing.process(one.ctx, &one.job.JobInfo, s.worker.options.ID)
	var result any
	// Stays so where the handler ends its goroutine.
	var err error = &panicked{value: "the handler ended its goroutine"}
	defer func() {
		settle, err := settlement(one.job, result, err, context.Cause(one.ctx))
		outcome := outcomeOf(settle)
		if !s.ledger.isOurs(one) {
			outcome = "lost"
		}
		s.conclude(one, outcome, time.Since(begun), err)
		if outcome != string(retried) && outcome != string(rejected) {
			err = nil
		}
		span.end(err)
		s.ledger.finish(one, settle)
	}()
	result, err = guard(ctx, handler, one.job)
}

// settlement is what becomes of a job, and the error that made it so.
func settlement(job *Job, result any, err, cause error) (proto.Message, error) {
	if err == nil && errors.Is(cause, ErrAttemptTimeout) {
		// It is too late for success.
		err = ErrAttemptTimeout
	}
	if err == nil {
		ack, fault := ackOf(job.Queue, result)
		if fault == nil {
			return ack, nil
		}
		err = fault
	}
	return nackOf(err, cause), err
}

// guard runs a handler; its panic is an error.
func guard(ctx context.Context, handler Handler, job *Job) (result any, err error) {
	defer func() {
		if value := recover(); value != nil {
			result, err = nil, &panicked{value, debug.Stack()}
		}
	}()
	return handler(ctx, job)
}

func (s *shift) conclude(one *held, outcome string, took time.Duration, err error) {
	level := slog.LevelDebug
	if outcome == string(retried) || outcome == string(rejected) || outcome == "lost" {
		level = slog.LevelWarn
	}
	if !s.log.Enabled(one.ctx, level) {
		return
	}
	attrs := append(jobAttrs(one), slog.String("outcome", outcome), slog.Duration("duration", took))
	if err != nil {
		attrs = append(attrs, errAttr(err))
	}
	s.log.Log(context.WithoutCancel(one.ctx), level, "attempt ended", attrs...)
}

// refused: the broker did not take what was said of a job.
func (s *shift) refused(one *held, err error) {
	s.log.WarnContext(one.ctx, "the broker refused", append(jobAttrs(one), errAttr(err))...)
}

// told: a handler is told to stop.
func (s *shift) told(one *held, cause error) {
	s.log.WarnContext(one.ctx, "the handler is told to stop", append(jobAttrs(one), slog.Any("cause", cause))...)
}

// hung: a handler did not stop when it was told.
func (s *shift) hung(one *held) {
	s.log.ErrorContext(one.ctx, "the handler does not stop; its place is given away", jobAttrs(one)...)
}

// isLasting says whether whoever tries again would be told the same.
func isLasting(err error) bool {
	for _, kind := range []error{
		ErrInvalidArgument, ErrNotFound, ErrAlreadyExists, ErrFailedPrecondition, ErrOutOfRange,
		ErrUnauthenticated, ErrPermissionDenied, ErrUnimplemented, ErrClosed,
	} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

func jobAttrs(one *held) []any {
	return []any{
		slog.String("job", one.job.Name),
		slog.String("type", one.job.Type),
		slog.Int("attempt", one.job.Attempt),
	}
}

func errAttr(err error) slog.Attr { return slog.Any("error", err) }

func pauseAttr(pause time.Duration) slog.Attr { return slog.Duration("again_in", pause) }

func levelOf(err error) slog.Level {
	if errors.Is(err, errTakenOver) {
		return slog.LevelInfo
	}
	return slog.LevelWarn
}
