package lessor

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lessor/lessor/client-go/lessorpb"
)

// State is where a job stands.
type State int32

// The states. The last four are final.
const (
	StateScheduled = State(lessorpb.Job_STATE_SCHEDULED)
	StateReady     = State(lessorpb.Job_STATE_READY)
	StateLeased    = State(lessorpb.Job_STATE_LEASED)
	StateRetrying  = State(lessorpb.Job_STATE_RETRYING)
	StateBlocked   = State(lessorpb.Job_STATE_BLOCKED)
	StateSucceeded = State(lessorpb.Job_STATE_SUCCEEDED)
	StateDead      = State(lessorpb.Job_STATE_DEAD)
	StateCancelled = State(lessorpb.Job_STATE_CANCELLED)
	StateExpired   = State(lessorpb.Job_STATE_EXPIRED)
)

// String is the state's word, such as succeeded.
func (s State) String() string {
	return word(lessorpb.Job_State(s).String(), "STATE_")
}

// IsFinal says whether jobs stay in this state.
func (s State) IsFinal() bool { return s >= StateSucceeded }

// Outcome is what an enqueue did.
type Outcome int32

// The outcomes of an enqueue.
const (
	// Created: there is a new job.
	Created = Outcome(lessorpb.EnqueueResponse_OUTCOME_CREATED)
	// Deduplicated: another job holds the dedup key, and is the answer.
	Deduplicated = Outcome(lessorpb.EnqueueResponse_OUTCOME_DEDUPLICATED)
	// Replaced: the job that holds the dedup key does from now on what was asked for.
	Replaced = Outcome(lessorpb.EnqueueResponse_OUTCOME_REPLACED)
	// Replayed: the same request was seen before.
	Replayed = Outcome(lessorpb.EnqueueResponse_OUTCOME_REPLAYED)
)

// String is the outcome's word, such as created.
func (o Outcome) String() string {
	return word(lessorpb.EnqueueResponse_Outcome(o).String(), "OUTCOME_")
}

// Enqueued is what became of an enqueue.
type Enqueued struct {
	// JobInfo is the job; without payload, checkpoint, result and attempts.
	JobInfo
	Outcome Outcome
}

// JobInfo is a job as the broker told of it. All times are the broker's.
type JobInfo struct {
	// Name is queues/{queue}/jobs/{job}.
	Name  string
	Queue string
	ID    string
	Type  string
	State State
	// Payload is the work to do.
	Payload  Payload
	Priority int
	Labels   map[string]string
	Owner    string

	CreateTime   time.Time
	ScheduleTime time.Time
	ExpireTime   time.Time
	StartTime    time.Time
	EndTime      time.Time
	PurgeTime    time.Time

	// Attempt counts the attempts, the present one included.
	Attempt int
	// DeliveryCount counts every lease, whether it counts as an attempt or not.
	DeliveryCount int
	// LeaseExpiredCount counts the leases that ran out.
	LeaseExpiredCount int

	Retry          RetryPolicy
	LeaseDuration  time.Duration
	AttemptTimeout time.Duration
	Dedup          *Dedup
	Retention      Retention

	// LastProgress is what a worker reported last; nil when none did.
	LastProgress *Progress
	// LastCheckpoint is what a worker saved last for the next attempt.
	LastCheckpoint Payload
	// Result is what the worker returned.
	Result Payload
	// LastFailure is why the latest failed attempt failed; nil when none did.
	LastFailure *Failure
	// Attempts are the latest ones, the newest first.
	Attempts []Attempt

	// CancelRequested: a cancel was asked for, and the worker has not settled yet.
	CancelRequested bool
	// WorkerID is the worker that holds the lease.
	WorkerID string
	// TraceContext is that of the producer: traceparent, tracestate, baggage.
	TraceContext map[string]string
	// ETag changes with every change of the job.
	ETag string
}

// Failure is why an attempt failed.
type Failure struct {
	// Code is a stable word, such as HTTP_429.
	Code    string
	Message string
	Stack   string
	// Details are further facts.
	Details map[string]any
}

// Progress is how far an attempt has come.
type Progress struct {
	// Percent is from 0 to 100. With Total it follows from Done, if it is 0.
	Percent float64
	Message string
	Done    int64
	Total   int64
}

// Attempt is one lease of a job and how it ended.
type Attempt struct {
	Number    int
	WorkerID  string
	StartTime time.Time
	EndTime   time.Time
	// Outcome is a word such as succeeded, failed, lease_expired, timed_out, released, cancelled;
	// empty while the attempt goes on.
	Outcome string
	Failure *Failure
}

func jobInfoOf(it *lessorpb.Job) JobInfo {
	queue, id := split(it.GetName())
	info := JobInfo{
		Name:              it.GetName(),
		Queue:             queue,
		ID:                id,
		Type:              it.GetType(),
		State:             State(it.GetState()),
		Payload:           payloadOf(it.GetPayload()),
		Priority:          int(it.GetPriority()),
		Labels:            it.GetLabels(),
		Owner:             it.GetOwner(),
		CreateTime:        timeOf(it.GetCreateTime()),
		ScheduleTime:      timeOf(it.GetScheduleTime()),
		ExpireTime:        timeOf(it.GetExpireTime()),
		StartTime:         timeOf(it.GetStartTime()),
		EndTime:           timeOf(it.GetEndTime()),
		PurgeTime:         timeOf(it.GetPurgeTime()),
		Attempt:           int(it.GetAttempt()),
		DeliveryCount:     int(it.GetDeliveryCount()),
		LeaseExpiredCount: int(it.GetLeaseExpiredCount()),
		Retry:             retryOf(it.GetRetryPolicy()),
		LeaseDuration:     it.GetLeaseDuration().AsDuration(),
		AttemptTimeout:    it.GetAttemptTimeout().AsDuration(),
		Dedup:             dedupOf(it.GetDedup()),
		Retention:         retentionOf(it.GetRetention()),
		LastProgress:      progressOf(it.GetProgress()),
		LastCheckpoint:    payloadOf(it.GetCheckpoint()),
		Result:            payloadOf(it.GetResult()),
		LastFailure:       failureOf(it.GetLastFailure()),
		CancelRequested:   it.GetCancelRequested(),
		WorkerID:          it.GetWorkerId(),
		TraceContext:      it.GetTraceContext(),
		ETag:              it.GetEtag(),
	}
	for _, one := range it.GetAttempts() {
		info.Attempts = append(info.Attempts, attemptOf(one))
	}
	return info
}

func attemptOf(it *lessorpb.Attempt) Attempt {
	attempt := Attempt{
		Number:    int(it.GetNumber()),
		WorkerID:  it.GetWorkerId(),
		StartTime: timeOf(it.GetStartTime()),
		EndTime:   timeOf(it.GetEndTime()),
		Failure:   failureOf(it.GetFailure()),
	}
	if it.GetOutcome() != lessorpb.Attempt_OUTCOME_UNSPECIFIED {
		attempt.Outcome = word(it.GetOutcome().String(), "OUTCOME_")
	}
	return attempt
}

func retryOf(it *lessorpb.RetryPolicy) RetryPolicy {
	policy := RetryPolicy{
		MaxAttempts:      int(it.GetMaxAttempts()),
		InitialBackoff:   it.GetInitialBackoff().AsDuration(),
		Multiplier:       it.GetMultiplier(),
		MaxBackoff:       it.GetMaxBackoff().AsDuration(),
		Jitter:           it.GetJitter(),
		FatalCodes:       it.GetFatalCodes(),
		MaxRetryDuration: it.GetMaxRetryDuration().AsDuration(),
	}
	for _, wait := range it.GetBackoffList() {
		policy.BackoffList = append(policy.BackoffList, wait.AsDuration())
	}
	return policy
}

func dedupOf(it *lessorpb.Dedup) *Dedup {
	if it == nil {
		return nil
	}
	return &Dedup{
		Key:         it.GetKey(),
		Scope:       DedupScope(it.GetScope()),
		Window:      it.GetWindow().AsDuration(),
		OnDuplicate: OnDuplicate(it.GetOnDuplicate()),
	}
}

func retentionOf(it *lessorpb.Retention) Retention {
	return Retention{
		SucceededTTL:   it.GetSucceededTtl().AsDuration(),
		SucceededCount: int(it.GetSucceededCount()),
		DeadTTL:        it.GetDeadTtl().AsDuration(),
		DeadCount:      int(it.GetDeadCount()),
	}
}

func failureOf(it *lessorpb.Failure) *Failure {
	if it == nil {
		return nil
	}
	failure := &Failure{Code: it.GetCode(), Message: it.GetMessage(), Stack: it.GetStack()}
	if it.GetDetails() != nil {
		failure.Details = it.GetDetails().AsMap()
	}
	return failure
}

// message is the failure as the protocol has it. Details that are no JSON are left out.
func (f *Failure) message() *lessorpb.Failure {
	message := &lessorpb.Failure{Code: f.Code, Message: utf8(f.Message), Stack: utf8(f.Stack)}
	if f.Details != nil {
		message.Details, _ = structpb.NewStruct(f.Details)
	}
	return message
}

func progressOf(it *lessorpb.Progress) *Progress {
	if it == nil {
		return nil
	}
	return &Progress{it.GetPercent(), it.GetMessage(), it.GetDone(), it.GetTotal()}
}

func (p Progress) message() *lessorpb.Progress {
	percent := p.Percent
	if percent == 0 && p.Total > 0 {
		percent = min(100*float64(p.Done)/float64(p.Total), 100)
	}
	return &lessorpb.Progress{Percent: percent, Message: utf8(p.Message), Done: p.Done, Total: p.Total}
}

// split takes a job's name apart.
func split(name string) (queue, id string) {
	rest, _ := strings.CutPrefix(name, "queues/")
	queue, id, _ = strings.Cut(rest, "/jobs/")
	return queue, id
}

// word is the name of an enum's value as one writes it here.
func word(name, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(name, prefix))
}

// utf8 is a text that the protocol carries.
func utf8(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }
