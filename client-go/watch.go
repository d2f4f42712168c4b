package lessor

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lessor/lessor/client-go/lessorpb"
)

const (
	bookmarkInterval = 15 * time.Second
	// A watch that was silent for so many intervals is opened again.
	bookmarksMissed = 3
	// How many events are remembered to tell repeats apart.
	mostRemembered = 4096
)

// EventType is what happened.
type EventType int32

// The types of events.
const (
	EventJobCreated         = EventType(lessorpb.Event_JOB_CREATED)
	EventJobDeduplicated    = EventType(lessorpb.Event_JOB_DEDUPLICATED)
	EventJobScheduled       = EventType(lessorpb.Event_JOB_SCHEDULED)
	EventJobReady           = EventType(lessorpb.Event_JOB_READY)
	EventJobBlocked         = EventType(lessorpb.Event_JOB_BLOCKED)
	EventJobLeased          = EventType(lessorpb.Event_JOB_LEASED)
	EventJobProgress        = EventType(lessorpb.Event_JOB_PROGRESS)
	EventJobAttemptFailed   = EventType(lessorpb.Event_JOB_ATTEMPT_FAILED)
	EventJobRetrying        = EventType(lessorpb.Event_JOB_RETRYING)
	EventJobSnoozed         = EventType(lessorpb.Event_JOB_SNOOZED)
	EventJobReleased        = EventType(lessorpb.Event_JOB_RELEASED)
	EventJobLeaseExpired    = EventType(lessorpb.Event_JOB_LEASE_EXPIRED)
	EventJobTimedOut        = EventType(lessorpb.Event_JOB_TIMED_OUT)
	EventJobCancelRequested = EventType(lessorpb.Event_JOB_CANCEL_REQUESTED)
	EventJobSucceeded       = EventType(lessorpb.Event_JOB_SUCCEEDED)
	EventJobDead            = EventType(lessorpb.Event_JOB_DEAD)
	EventJobCancelled       = EventType(lessorpb.Event_JOB_CANCELLED)
	EventJobExpired         = EventType(lessorpb.Event_JOB_EXPIRED)
	EventJobPurged          = EventType(lessorpb.Event_JOB_PURGED)
	EventQueuePaused        = EventType(lessorpb.Event_QUEUE_PAUSED)
	EventQueueResumed       = EventType(lessorpb.Event_QUEUE_RESUMED)
	EventQueueUpdated       = EventType(lessorpb.Event_QUEUE_UPDATED)
)

// String is the protocol's word, such as JOB_LEASED.
func (t EventType) String() string { return lessorpb.Event_Type(t).String() }

// Event is something that happened.
type Event struct {
	// ID is the same in every delivery of the event.
	ID    string
	Type  EventType
	Time  time.Time
	Queue string
	// Job is the name of the job; empty for an event that is not about one.
	Job      string
	JobType  string
	Labels   map[string]string
	From, To State
	Attempt  int
	WorkerID string
	Progress *Progress
	Failure  *Failure
	// Result is set with [WatchOptions.IncludeResult].
	Result Payload
	// Waited is how long the job was ready before it was leased.
	Waited time.Duration
	// Ran is how long the attempt ran.
	Ran    time.Duration
	Reason string
	// TraceContext is that of the job's producer.
	TraceContext map[string]string
	// Cursor is where a later watch may go on. It is that of the answer which the event came with, so
	// it is set on the last event of an answer only.
	Cursor string
}

// WatchOptions say what to watch, and from where. The zero value watches all queues from now on.
type WatchOptions struct {
	// Queues are names, prefixes such as mail-*, or * for all.
	Queues []string
	// Job is the name of one job: the watch begins with its present state and ends with its end.
	Job string
	// Types are those wanted; none means all.
	Types []EventType
	// Labels: only events of jobs with all of these.
	Labels map[string]string
	// Cursor, StartTime and Oldest say where to begin; at most one is set.
	Cursor    string
	StartTime time.Time
	Oldest    bool
	// IncludeResult puts the result into [EventJobSucceeded].
	IncludeResult bool
}

// Watch tells what happens to jobs and queues, as it happens:
//
//	for event, err := range client.Watch(ctx, lessor.WatchOptions{Job: job.Name}) {
//
// A connection that breaks is opened again, after the last event. An error is the last thing that
// comes. The watch ends with the loop, with the context, and that of one job with its job.
func (c *Client) Watch(ctx context.Context, options WatchOptions) iter.Seq2[*Event, error] {
	return func(yield func(*Event, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		watch := &watch{client: c, request: options.request(), seen: make(map[string]bool)}
		if err := watch.run(ctx, yield); err != nil {
			yield(nil, c.fault(err))
		}
	}
}

func (o *WatchOptions) request() *lessorpb.WatchEventsRequest {
	request := &lessorpb.WatchEventsRequest{
		Queues:           o.Queues,
		Job:              o.Job,
		Labels:           o.Labels,
		BookmarkInterval: durationpb.New(bookmarkInterval),
		IncludeResult:    o.IncludeResult,
	}
	for _, one := range o.Types {
		request.Types = append(request.Types, lessorpb.Event_Type(one))
	}
	switch {
	case o.Cursor != "":
		request.Start = &lessorpb.WatchEventsRequest_Cursor{Cursor: o.Cursor}
	case !o.StartTime.IsZero():
		request.Start = &lessorpb.WatchEventsRequest_StartTime{StartTime: momentOf(o.StartTime)}
	case o.Oldest:
		request.Start = &lessorpb.WatchEventsRequest_Oldest{Oldest: true}
	}
	return request
}

type watch struct {
	client  *Client
	request *lessorpb.WatchEventsRequest
	pauses  reopening
	// Events that were told, and their order.
	seen  map[string]bool
	order []string
}

// errStopped says that the reader has had enough.
var errStopped = errors.New("the loop was left")

// run watches over one stream after the other. Nil when there is nothing more to tell.
func (w *watch) run(ctx context.Context, yield func(*Event, error) bool) error {
	for {
		err := w.stream(ctx, yield)
		switch {
		case errors.Is(err, errStopped):
			return nil
		case ctx.Err() != nil:
			return errorOf(ctx.Err(), w.client.link.address.written)
		case err == nil && w.request.GetJob() != "":
			return nil
		case err != nil && !isUnavailable(err):
			return err
		}
		if !sleep(ctx, w.pauses.next(err)) {
			return errorOf(ctx.Err(), w.client.link.address.written)
		}
	}
}

// stream reads one stream to its end.
func (w *watch) stream(ctx context.Context, yield func(*Event, error) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The first answer comes at once.
	silence := time.AfterFunc(w.client.options.Timeout, cancel)
	defer silence.Stop()
	told := func(err error) error {
		if !silence.Stop() {
			return unavailable("the broker is silent")
		}
		return errorOf(err, w.client.link.address.written)
	}
	stream, err := w.client.broker.WatchEvents(ctx, w.request)
	if err != nil {
		return told(err)
	}
	for {
		reply, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return told(err)
		}
		silence.Stop()
		if !w.tell(reply, yield) {
			return errStopped
		}
		silence.Reset(bookmarksMissed * bookmarkInterval)
		w.pauses.reset()
		w.request.Start = &lessorpb.WatchEventsRequest_Cursor{Cursor: reply.GetCursor()}
	}
}

// tell hands an answer's events to the reader.
func (w *watch) tell(reply *lessorpb.WatchEventsResponse, yield func(*Event, error) bool) bool {
	last := len(reply.GetEvents()) - 1
	for i, one := range reply.GetEvents() {
		if w.seen[one.GetId()] {
			continue
		}
		w.remember(one.GetId())
		event := eventOf(one)
		if i == last {
			event.Cursor = reply.GetCursor()
		}
		if !yield(event, nil) {
			return false
		}
	}
	return true
}

func (w *watch) remember(id string) {
	if len(w.order) == mostRemembered {
		delete(w.seen, w.order[0])
		w.order = w.order[1:]
	}
	w.seen[id] = true
	w.order = append(w.order, id)
}

func eventOf(it *lessorpb.Event) *Event {
	return &Event{
		ID:           it.GetId(),
		Type:         EventType(it.GetType()),
		Time:         timeOf(it.GetTime()),
		Queue:        it.GetQueue(),
		Job:          it.GetJob(),
		JobType:      it.GetJobType(),
		Labels:       it.GetLabels(),
		From:         State(it.GetFromState()),
		To:           State(it.GetToState()),
		Attempt:      int(it.GetAttempt()),
		WorkerID:     it.GetWorkerId(),
		Progress:     progressOf(it.GetProgress()),
		Failure:      failureOf(it.GetFailure()),
		Result:       payloadOf(it.GetResult()),
		Waited:       it.GetWaitDuration().AsDuration(),
		Ran:          it.GetRunDuration().AsDuration(),
		Reason:       it.GetReason(),
		TraceContext: it.GetTraceContext(),
	}
}

var _ grpc.ClientConnInterface = (*caller)(nil)
