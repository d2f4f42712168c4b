package lessor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The kinds of failed calls, for [errors.Is]. A kind of a finer grain implies the coarser one: an
// [ErrLeaseLost] is an [ErrFailedPrecondition], too.
var (
	// ErrInvalidArgument says that the request is wrong; see [Error.Violations].
	ErrInvalidArgument error = &kind{code: codes.InvalidArgument}
	// ErrPayloadTooLarge says that data is over its limit: store it elsewhere and send a reference.
	ErrPayloadTooLarge error = &kind{codes.InvalidArgument, "PAYLOAD_TOO_LARGE"}
	// ErrNotFound says that there is no such job, queue or schedule, or no longer.
	ErrNotFound error = &kind{code: codes.NotFound}
	// ErrAlreadyExists says that the chosen id is taken, or the dedup key is held.
	ErrAlreadyExists error = &kind{code: codes.AlreadyExists}
	// ErrFailedPrecondition says that the state of things forbids the call.
	ErrFailedPrecondition error = &kind{code: codes.FailedPrecondition}
	// ErrLeaseLost says that the lease is somebody else's, or gone: drop the work. It is the cause of
	// a handler's context, too.
	ErrLeaseLost error = &kind{codes.FailedPrecondition, "LEASE_LOST"}
	// ErrLeaseSettled says that the lease was settled before, by another verb.
	ErrLeaseSettled error = &kind{codes.FailedPrecondition, "LEASE_SETTLED"}
	// ErrAborted says that what was read has changed since: read it again and decide anew.
	ErrAborted error = &kind{code: codes.Aborted}
	// ErrResourceExhausted says that a limit is reached: back off for [Error.RetryAfter] or longer.
	ErrResourceExhausted error = &kind{code: codes.ResourceExhausted}
	// ErrQueueFull says that the queue holds as many unfinished jobs as it may.
	ErrQueueFull error = &kind{codes.ResourceExhausted, "QUEUE_FULL"}
	// ErrUnavailable says that the broker or its store is away, and was for all tries.
	ErrUnavailable error = &kind{code: codes.Unavailable}
	// ErrUnauthenticated says that the credential is missing, wrong or has expired.
	ErrUnauthenticated error = &kind{code: codes.Unauthenticated}
	// ErrPermissionDenied says that the credential does not allow the call.
	ErrPermissionDenied error = &kind{code: codes.PermissionDenied}
	// ErrOutOfRange says that the events after a cursor are gone: list again, then watch.
	ErrOutOfRange error = &kind{code: codes.OutOfRange}
	// ErrUnimplemented says that the broker does not have the call.
	ErrUnimplemented error = &kind{code: codes.Unimplemented}
)

// What else can go wrong, for [errors.Is].
var (
	// ErrClosed says that the client was closed.
	ErrClosed = errors.New("lessor: the client is closed")
	// ErrNotFinished says that a wait ran out before its job was in one of the awaited states.
	ErrNotFinished = errors.New("lessor: the job has not got there yet")
	// ErrJobCancelled is the cause of a handler's context: somebody cancelled the job. The cause
	// itself is a [*CancelledError], which says why.
	ErrJobCancelled = errors.New("lessor: the job is cancelled")
	// ErrAttemptTimeout is the cause of a handler's context: the attempt took too long.
	ErrAttemptTimeout = errors.New("lessor: the attempt took too long")
	// ErrShutdown is the cause of a handler's context: the worker stops and its grace is over.
	ErrShutdown = errors.New("lessor: the worker stops")
)

// kind is a sentinel: a code, and a reason if that is finer.
type kind struct {
	code   codes.Code
	reason string
}

func (k *kind) Error() string {
	if k.reason != "" {
		return "lessor: " + k.reason
	}
	return "lessor: " + k.code.String()
}

// Is makes a finer sentinel match its coarser one.
func (k *kind) Is(target error) bool {
	other, ok := target.(*kind)
	return ok && other.code == k.code && (other.reason == "" || other.reason == k.reason)
}

// FieldViolation is a field of a request that is wrong, and why.
type FieldViolation struct {
	Field       string
	Description string
}

// Error is a call that failed, or one item of a batch that did. Decide with [errors.Is], or by Code
// and Reason; the message is for people.
type Error struct {
	// Code is the gRPC status.
	Code codes.Code
	// Reason is the broker's stable word for what happened, such as QUEUE_FULL; empty when no broker
	// answered.
	Reason string
	// Message is for people.
	Message string
	// Metadata has the facts behind the reason, such as limitBytes.
	Metadata map[string]string
	// RetryAfter is how long the broker asks callers to wait before they try again.
	RetryAfter time.Duration
	// Violations are the fields of the request that are wrong.
	Violations []FieldViolation

	cause error
}

func (e *Error) Error() string {
	if e.Reason != "" {
		return fmt.Sprintf("lessor: %s (%s): %s", e.Code, e.Reason, e.Message)
	}
	return fmt.Sprintf("lessor: %s: %s", e.Code, e.Message)
}

// Unwrap is [context.Canceled] or [context.DeadlineExceeded] where the call ended by that.
func (e *Error) Unwrap() error { return e.cause }

// Is matches the kinds of errors.
func (e *Error) Is(target error) bool {
	return (&kind{e.Code, e.Reason}).Is(target)
}

// GRPCStatus is what [status.FromError] looks for.
func (e *Error) GRPCStatus() *status.Status { return status.New(e.Code, e.Message) }

// CancelledError is the cause of the context of a handler whose job is cancelled.
type CancelledError struct {
	// Reason is why, in the words of whoever cancelled.
	Reason string
	// Within is how long there is until the lease ends; 0 when that was not told.
	Within time.Duration
}

func (e *CancelledError) Error() string {
	if e.Reason == "" {
		return ErrJobCancelled.Error()
	}
	return ErrJobCancelled.Error() + ": " + e.Reason
}

// Is matches [ErrJobCancelled].
func (e *CancelledError) Is(target error) bool { return target == ErrJobCancelled }

// JobFailedError says that a job whose result was waited for ended without one.
type JobFailedError struct {
	// Job is its name.
	Job string
	// State is how it ended.
	State State
	// Failure is why its last failed attempt failed; nil when none did.
	Failure *Failure
}

func (e *JobFailedError) Error() string {
	if e.Failure == nil {
		return fmt.Sprintf("lessor: %s is %s", e.Job, e.State)
	}
	return fmt.Sprintf("lessor: %s is %s: %s: %s", e.Job, e.State, e.Failure.Code, e.Failure.Message)
}

// errorOf makes the error of a call that failed; nil stays nil.
func errorOf(err error, address string) error {
	if err == nil {
		return nil
	}
	var made *Error
	if errors.As(err, &made) || errors.Is(err, ErrClosed) {
		return err
	}
	told, _ := status.FromError(err)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		told = status.FromContextError(err)
	}
	fault := errorOfStatus(told)
	switch {
	case fault.Reason != "":
	case fault.Code == codes.DeadlineExceeded:
		fault.cause, fault.Message = context.DeadlineExceeded, "no answer from "+address+" in time"
	case fault.Code == codes.Canceled:
		fault.cause, fault.Message = context.Canceled, "the call was cancelled"
	case fault.Code == codes.Unavailable:
		fault.Message = "no answer from " + address + ": " + fault.Message
	}
	return fault
}

// errorOfStatus reads the details of a status.
func errorOfStatus(told *status.Status) *Error {
	fault := &Error{Code: told.Code(), Message: told.Message()}
	for _, detail := range told.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == "lessor.dev" {
				fault.Reason, fault.Metadata = detail.GetReason(), detail.GetMetadata()
			}
		case *errdetails.RetryInfo:
			fault.RetryAfter = detail.GetRetryDelay().AsDuration()
		case *errdetails.BadRequest:
			for _, one := range detail.GetFieldViolations() {
				violation := FieldViolation{one.GetField(), one.GetDescription()}
				fault.Violations = append(fault.Violations, violation)
			}
		}
	}
	return fault
}

func isUnavailable(err error) bool { return errors.Is(err, ErrUnavailable) }

func retryAfter(err error) time.Duration {
	var fault *Error
	if errors.As(err, &fault) {
		return fault.RetryAfter
	}
	return 0
}

func unavailable(why string) *Error { return &Error{Code: codes.Unavailable, Message: why} }
