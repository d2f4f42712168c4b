package lessor

import (
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lessor/lessor/client-go/lessorpb"
)

// None is a duration of nothing where the zero value means the default: a [RetryPolicy] with
// InitialBackoff None tries again at once.
const None time.Duration = -1

// NewJob is a job to be. Queue is required; what else is unset is left to the settings of the queue.
type NewJob struct {
	Queue string
	// Type says what kind of work it is, and so which handler runs it.
	Type string
	// Data is the payload; see [Payload].
	Data any
	// ID is the job's own id, unique in its queue; a taken one is refused with [ErrAlreadyExists].
	ID string
	// RequestID is a UUID by which the broker knows a repeated request. Default: a random one.
	RequestID string
	// Priority is from -1000 to 1000; the greater runs sooner.
	Priority int
	// Delay puts the job off.
	Delay time.Duration
	// ScheduleTime is when the job may run, instead of Delay.
	ScheduleTime time.Time
	// TTL is how long after its enqueue the job may start at the latest.
	TTL time.Duration
	// ExpireTime is when the job may start at the latest, instead of TTL.
	ExpireTime time.Time
	// Retry says when a failed attempt is tried again.
	Retry *RetryPolicy
	// LeaseDuration is how long a worker may be silent before another one gets the job. Default 30 s.
	LeaseDuration time.Duration
	// AttemptTimeout is the longest time for one attempt. Default 30 min.
	AttemptTimeout time.Duration
	// Dedup says when another job counts as the same.
	Dedup *Dedup
	// Labels are for people, filters and events.
	Labels map[string]string
	// Retention says how long the job is kept once it has ended.
	Retention *Retention
	// Owner is on whose behalf the job is enqueued.
	Owner string
	// ValidateOnly checks the request and changes nothing.
	ValidateOnly bool
	// TraceContext travels with the job: traceparent, tracestate, baggage. Default: that of the
	// context.
	TraceContext map[string]string
}

// RetryPolicy says when a failed attempt is tried again.
type RetryPolicy struct {
	// MaxAttempts is how many there are in all, the first included; -1 means no limit. Default 3.
	MaxAttempts int
	// InitialBackoff is the wait after the first failed attempt. Default 2 s; [None] means at once.
	InitialBackoff time.Duration
	// Multiplier is the growth of the wait; 1 keeps it fixed. Default 2.
	Multiplier float64
	// MaxBackoff is the longest wait. Default 1 h.
	MaxBackoff time.Duration
	// Jitter is the share of the wait that is random, up to 1; it only shortens the wait. Default 0.2;
	// a negative one means none.
	Jitter float64
	// BackoffList has explicit waits instead of the formula; the last one repeats.
	BackoffList []time.Duration
	// FatalCodes are failure codes that make the job a dead letter at once.
	FatalCodes []string
	// MaxRetryDuration: no retry begins later than this after the first attempt.
	MaxRetryDuration time.Duration
}

// DedupScope is how long a job holds its dedup key.
type DedupScope int32

// The scopes of a dedup key.
const (
	// UntilFinished, the default: until the job has ended.
	UntilFinished = DedupScope(lessorpb.Dedup_SCOPE_UNSPECIFIED)
	// UntilStarted: until the job is leased for the first time.
	UntilStarted = DedupScope(lessorpb.Dedup_SCOPE_UNTIL_STARTED)
	// ForWindow: for [Dedup.Window] after the enqueue.
	ForWindow = DedupScope(lessorpb.Dedup_SCOPE_WINDOW)
)

// OnDuplicate is what becomes of a job whose dedup key is held.
type OnDuplicate int32

// What becomes of a duplicate.
const (
	// Keep, the default: the answer is the job that holds the key.
	Keep = OnDuplicate(lessorpb.Dedup_ON_DUPLICATE_UNSPECIFIED)
	// Replace: the job that holds the key does what this one asks for, if it has not started.
	Replace = OnDuplicate(lessorpb.Dedup_ON_DUPLICATE_REPLACE)
	// RunAfter: this job runs once the one that holds the key has ended.
	RunAfter = OnDuplicate(lessorpb.Dedup_ON_DUPLICATE_RUN_AFTER)
	// Refuse: the call fails with [ErrAlreadyExists].
	Refuse = OnDuplicate(lessorpb.Dedup_ON_DUPLICATE_REJECT)
)

// Dedup says when another job counts as the same.
type Dedup struct {
	Key   string
	Scope DedupScope
	// Window is the length of ForWindow; with the other scopes a cap.
	Window      time.Duration
	OnDuplicate OnDuplicate
}

// Retention says how long a job is kept once it has ended: until the age or the count is reached.
type Retention struct {
	// SucceededTTL is 1 h by default; [None] forgets the job at once.
	SucceededTTL time.Duration
	// SucceededCount is how many its queue keeps; -1 means no limit.
	SucceededCount int
	// DeadTTL is 7 days by default.
	DeadTTL   time.Duration
	DeadCount int
}

// request is the job as the protocol has it.
func (j *NewJob) request() (*lessorpb.EnqueueRequest, error) {
	payload, err := payloadFrom(j.Data)
	if err != nil {
		return nil, err
	}
	priority, err := small("Priority", j.Priority)
	if err != nil {
		return nil, err
	}
	retry, err := j.Retry.message()
	if err != nil {
		return nil, err
	}
	retention, err := j.Retention.message()
	if err != nil {
		return nil, err
	}
	request := &lessorpb.EnqueueRequest{
		Queue:          j.Queue,
		Type:           j.Type,
		Payload:        payload,
		RequestId:      j.RequestID,
		JobId:          j.ID,
		Priority:       priority,
		RetryPolicy:    retry,
		LeaseDuration:  spanOf(j.LeaseDuration),
		AttemptTimeout: spanOf(j.AttemptTimeout),
		Dedup:          j.Dedup.message(),
		Labels:         j.Labels,
		Retention:      retention,
		Owner:          j.Owner,
		ValidateOnly:   j.ValidateOnly,
	}
	if moment := momentOf(j.ScheduleTime); moment != nil {
		request.Start = &lessorpb.EnqueueRequest_ScheduleTime{ScheduleTime: moment}
	} else if delay := spanOf(j.Delay); delay != nil {
		request.Start = &lessorpb.EnqueueRequest_Delay{Delay: delay}
	}
	if moment := momentOf(j.ExpireTime); moment != nil {
		request.Expiry = &lessorpb.EnqueueRequest_ExpireTime{ExpireTime: moment}
	} else if ttl := spanOf(j.TTL); ttl != nil {
		request.Expiry = &lessorpb.EnqueueRequest_Ttl{Ttl: ttl}
	}
	return request, nil
}

func (p *RetryPolicy) message() (*lessorpb.RetryPolicy, error) {
	if p == nil {
		return nil, nil
	}
	attempts, err := small("Retry.MaxAttempts", p.MaxAttempts)
	if err != nil {
		return nil, err
	}
	message := &lessorpb.RetryPolicy{
		MaxAttempts:      attempts,
		InitialBackoff:   spanOf(p.InitialBackoff),
		Multiplier:       p.Multiplier,
		MaxBackoff:       spanOf(p.MaxBackoff),
		FatalCodes:       p.FatalCodes,
		MaxRetryDuration: spanOf(p.MaxRetryDuration),
	}
	if p.Jitter != 0 {
		jitter := max(p.Jitter, 0)
		message.Jitter = &jitter
	}
	for _, wait := range p.BackoffList {
		message.BackoffList = append(message.BackoffList, durationpb.New(max(wait, 0)))
	}
	return message, nil
}

func (d *Dedup) message() *lessorpb.Dedup {
	if d == nil {
		return nil
	}
	return &lessorpb.Dedup{
		Key:         d.Key,
		Scope:       lessorpb.Dedup_Scope(d.Scope),
		Window:      spanOf(d.Window),
		OnDuplicate: lessorpb.Dedup_OnDuplicate(d.OnDuplicate),
	}
}

func (r *Retention) message() (*lessorpb.Retention, error) {
	if r == nil {
		return nil, nil
	}
	succeeded, err := small("Retention.SucceededCount", r.SucceededCount)
	if err != nil {
		return nil, err
	}
	dead, err := small("Retention.DeadCount", r.DeadCount)
	if err != nil {
		return nil, err
	}
	return &lessorpb.Retention{
		SucceededTtl:   spanOf(r.SucceededTTL),
		SucceededCount: succeeded,
		DeadTtl:        spanOf(r.DeadTTL),
		DeadCount:      dead,
	}, nil
}

// small is a number that the protocol has as 32 bits.
func small(field string, number int) (int32, error) {
	if number < math.MinInt32 || number > math.MaxInt32 {
		return 0, fmt.Errorf("lessor: %s is out of range: %d", field, number)
	}
	return int32(number), nil
}
