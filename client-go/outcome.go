package lessor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/lessor/lessor/client-go/lessorpb"
)

// Handler runs a job.
//
// What it returns becomes the job's result; see [Payload], and [Success] for more. An error fails the
// attempt: the job is tried again by its policy, unless the error is one of [Retry], [Reject],
// [Snooze] or [Release]. A panic fails the attempt, too.
//
// The context ends when the handler should stop, and [context.Cause] says why: [ErrLeaseLost],
// [ErrJobCancelled], [ErrAttemptTimeout] or [ErrShutdown].
type Handler func(ctx context.Context, job *Job) (any, error)

// Typed makes a [Handler] of a function that takes the payload, read from JSON, and returns a result.
// A payload that can't be read makes the job a dead letter, with code BAD_PAYLOAD.
func Typed[In, Out any](handle func(ctx context.Context, job *Job, in In) (Out, error)) Handler {
	return func(ctx context.Context, job *Job) (any, error) {
		var in In
		if err := json.Unmarshal(job.Payload.Data, &in); err != nil {
			return nil, Reject(WithCode(err, "BAD_PAYLOAD"))
		}
		return handle(ctx, job, in)
	}
}

// Success is a result that brings further jobs of the same queue: they are made together with the
// end of this one, or not at all. At most 16; Queue may be left out.
type Success struct {
	Result any
	Then   []NewJob
}

// FailureError gives the failure of an attempt a code and details. See [WithCode].
type FailureError struct {
	// Code is a stable word in upper snake case, such as HTTP_429.
	Code string
	// Details are further facts, as of a JSON object.
	Details map[string]any
	Err     error
}

func (e *FailureError) Error() string {
	if e.Err == nil {
		return e.Code
	}
	return e.Err.Error()
}

func (e *FailureError) Unwrap() error { return e.Err }

// WithCode gives a failure a code, which [RetryPolicy.FatalCodes] may name.
func WithCode(err error, code string) error { return &FailureError{Code: code, Err: err} }

// verdict is an error that says what becomes of the job.
type verdict struct {
	what  disposition
	delay time.Duration
	err   error
}

type disposition string

const (
	retried  disposition = "failed"
	rejected disposition = "dead"
	snoozed  disposition = "snoozed"
	released disposition = "released"
)

func (v *verdict) Error() string {
	if v.err != nil {
		return v.err.Error()
	}
	return "lessor: " + string(v.what)
}

func (v *verdict) Unwrap() error { return v.err }

// Retry fails the attempt and says when to try again, instead of the job's policy.
func Retry(err error, after time.Duration) error { return &verdict{retried, max(after, 0), err} }

// Reject makes the job a dead letter at once: it can never be done.
func Reject(err error) error { return &verdict{what: rejected, err: err} }

// Snooze puts the job off. The attempt does not count.
func Snooze(delay time.Duration) error { return &verdict{what: snoozed, delay: max(delay, 0)} }

// Release gives the job back at once. The attempt does not count.
func Release() error { return &verdict{what: released} }

const (
	codeError    = "ERROR"
	codePanic    = "PANIC"
	codeRejected = "REJECTED"
	codeTimeout  = "ATTEMPT_TIMEOUT"
	codeCancel   = "CANCELLED"
	codeUnknown  = "NO_HANDLER"
)

// panicked is what a handler's panic becomes.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprint(p.value) }

// ackOf is what becomes of a job whose handler returned a result.
func ackOf(queue string, returned any) (*lessorpb.AckRequest, error) {
	var then []NewJob
	switch success := returned.(type) {
	case Success:
		returned, then = success.Result, success.Then
	case *Success:
		returned, then = success.Result, success.Then
	}
	result, err := payloadFrom(returned)
	if err != nil {
		return nil, WithCode(err, "BAD_RESULT")
	}
	ack := &lessorpb.AckRequest{Result: result}
	for i, job := range then {
		if job.Queue == "" {
			job.Queue = queue
		}
		request, err := job.request()
		if err != nil {
			return nil, fmt.Errorf("then[%d]: %w", i, err)
		}
		ack.Then = append(ack.Then, request)
	}
	return ack, nil
}

// nackOf is what becomes of a job whose handler returned an error. The cause is why its context
// ended, if it did.
func nackOf(err, cause error) *lessorpb.NackRequest {
	var said *verdict
	if !errors.As(err, &said) {
		if errors.Is(cause, ErrShutdown) {
			return nackRelease()
		}
		said = &verdict{what: retried, delay: None, err: err}
	}
	switch said.what {
	case snoozed:
		snooze := &lessorpb.NackRequest_Snooze{Delay: durationpb.New(said.delay)}
		return &lessorpb.NackRequest{Disposition: &lessorpb.NackRequest_Snooze_{Snooze: snooze}}
	case released:
		return nackRelease()
	case rejected:
		return &lessorpb.NackRequest{
			Failure:     failureFrom(said.err, cause, codeRejected).message(),
			Disposition: &lessorpb.NackRequest_Dead{Dead: &emptypb.Empty{}},
		}
	default:
		retry := &lessorpb.NackRequest_Retry{}
		if said.delay >= 0 {
			retry.Delay = durationpb.New(said.delay)
		}
		return nackRetry(failureFrom(said.err, cause, codeError), retry)
	}
}

func nackRetry(failure *Failure, retry *lessorpb.NackRequest_Retry) *lessorpb.NackRequest {
	return &lessorpb.NackRequest{
		Failure:     failure.message(),
		Disposition: &lessorpb.NackRequest_Retry_{Retry: retry},
	}
}

func nackRelease() *lessorpb.NackRequest {
	return &lessorpb.NackRequest{Disposition: &lessorpb.NackRequest_Release{Release: &emptypb.Empty{}}}
}

func failureFrom(err, cause error, code string) *Failure {
	switch {
	case errors.Is(cause, ErrAttemptTimeout):
		code = codeTimeout
	case errors.Is(cause, ErrJobCancelled):
		code = codeCancel
	}
	if err == nil {
		return &Failure{Code: code}
	}
	failure := &Failure{Code: code, Message: err.Error(), Stack: chain(err)}
	var named *FailureError
	if errors.As(err, &named) {
		failure.Details = named.Details
		if named.Code != "" {
			failure.Code = named.Code
		}
	}
	var fault *panicked
	if errors.As(err, &fault) {
		failure.Code, failure.Stack = codePanic, string(fault.stack)
	}
	return failure
}

// chain is what an error was made of, the outermost first: Go's errors have no stack of their own.
func chain(err error) string {
	var lines []string
	for err != nil {
		lines = append(lines, fmt.Sprintf("%T: %v", err, err))
		err = errors.Unwrap(err)
	}
	return strings.Join(lines, "\n")
}

// outcomeOf is the word for what becomes of a job.
func outcomeOf(settle any) string {
	nack, ok := settle.(*lessorpb.NackRequest)
	if !ok {
		return "succeeded"
	}
	switch nack.GetDisposition().(type) {
	case *lessorpb.NackRequest_Snooze_:
		return string(snoozed)
	case *lessorpb.NackRequest_Release:
		return string(released)
	case *lessorpb.NackRequest_Dead:
		return string(rejected)
	default:
		return string(retried)
	}
}

// refusedSettle is what a settle that the broker does not take becomes: the attempt has failed.
func refusedSettle(fault *Error) *lessorpb.NackRequest {
	code := fault.Reason
	if code == "" {
		code = codeError
		if fault.Code != codes.OK {
			code = strings.ToUpper(fault.Code.String())
		}
	}
	return nackRetry(&Failure{Code: code, Message: fault.Message}, &lessorpb.NackRequest_Retry{})
}
