package lessor

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/lessor/lessor/client-go/lessorpb"
)

const (
	// With one call the broker would be idle while the client reads its answer.
	mostCalls = 2
	mostJobs  = 256
	mostBytes = 1 << 20
)

// joiner lets concurrent enqueues share calls, by the rules of docs/joined-enqueue.md.
type joiner struct {
	broker  lessorpb.JobBrokerClient
	address string
	timeout time.Duration
	ctx     context.Context
	close   context.CancelFunc

	mu      sync.Mutex
	waiting []*seat
	// Goroutines that make calls or are about to.
	busy int
	// One of them is about to take what waits.
	collecting bool
}

// seat is one caller and its job.
type seat struct {
	job  *lessorpb.EnqueueRequest
	size int
	// The end of the caller's patience.
	deadline time.Time
	reply    chan joined
	// What the broker said last, where that is no answer yet.
	refusal error
	told    bool
	left    atomic.Bool
	// The call that carries the job, once it does.
	call atomic.Pointer[joinedCall]
}

type joined struct {
	reply *lessorpb.EnqueueResponse
	err   error
}

// joinedCall ends when nobody waits for it.
type joinedCall struct {
	open   atomic.Int64
	cancel context.CancelFunc
}

func (c *joinedCall) leave() {
	if c.open.Add(-1) == 0 {
		c.cancel()
	}
}

func newJoiner(conn grpc.ClientConnInterface, address string, timeout time.Duration) *joiner {
	ctx, cancel := context.WithCancel(context.Background())
	return &joiner{
		broker:  lessorpb.NewJobBrokerClient(conn),
		address: address,
		timeout: timeout,
		ctx:     ctx,
		close:   cancel,
	}
}

// enqueue waits for the answer to one job. The context has a deadline.
func (j *joiner) enqueue(ctx context.Context, job *lessorpb.EnqueueRequest) (*lessorpb.EnqueueResponse, error) {
	if j.ctx.Err() != nil {
		return nil, ErrClosed
	}
	if ctx.Err() != nil {
		return nil, errorOf(ctx.Err(), j.address)
	}
	mine := &seat{job: job, size: proto.Size(job), reply: make(chan joined, 1)}
	mine.deadline, _ = ctx.Deadline()
	j.admit(mine)
	select {
	case answer := <-mine.reply:
		return answer.reply, answer.err
	case <-ctx.Done():
		j.leave(mine)
		return nil, errorOf(ctx.Err(), j.address)
	case <-j.ctx.Done():
		return nil, ErrClosed
	}
}

func (j *joiner) admit(newcomer *seat) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.waiting = append(j.waiting, newcomer)
	j.staff()
}

// leave: the job is left out if it has not been sent yet.
func (j *joiner) leave(mine *seat) {
	j.mu.Lock()
	defer j.mu.Unlock()
	mine.left.Store(true)
	if call := mine.call.Load(); call != nil {
		call.leave()
	}
}

// staff sees to it that somebody takes what waits, if a call more may be under way.
func (j *joiner) staff() {
	if j.collecting || j.busy == mostCalls || len(j.waiting) == 0 {
		return
	}
	j.collecting = true
	j.busy++
	go j.work()
}

// work makes calls until nothing waits.
func (j *joiner) work() {
	for {
		// Whoever is ready to enqueue as well does so first.
		runtime.Gosched()
		seats := j.collect()
		if seats == nil {
			return
		}
		j.travel(seats)
		if !j.resume() {
			return
		}
	}
}

// collect takes the jobs of the next call; nil when there are none.
func (j *joiner) collect() []*seat {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.collecting = false
	seats := j.take()
	if seats == nil {
		j.busy--
	}
	// What is too much for one call need not wait for its end.
	j.staff()
	return seats
}

// resume goes on, for those who were just answered may have more; unless another one takes that.
func (j *joiner) resume() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.collecting {
		j.busy--
		return false
	}
	j.collecting = true
	return true
}

// take is the longest run of jobs from the front that one call carries. Those whose callers are gone
// are left out.
func (j *joiner) take() []*seat {
	var seats []*seat
	var bytes, taken int
	chosen := make(map[string]bool)
	for _, next := range j.waiting {
		if len(seats) == mostJobs {
			break
		}
		if next.left.Load() {
			taken++
			continue
		}
		bytes += next.size
		if len(seats) > 0 && (bytes > mostBytes || chooses(chosen, next.job)) {
			break
		}
		choose(chosen, next.job)
		seats = append(seats, next)
		taken++
	}
	j.waiting = append([]*seat(nil), j.waiting[taken:]...)
	return seats
}

// chosenIDs names what a batch refuses to hold twice. One UUID may be written in several ways; what
// is none is refused anyway.
func chosenIDs(job *lessorpb.EnqueueRequest) []string {
	var ids []string
	if id, err := uuid.Parse(job.GetRequestId()); err == nil {
		ids = append(ids, job.GetQueue()+"?"+id.String())
	}
	if job.GetJobId() != "" {
		ids = append(ids, job.GetQueue()+"/"+job.GetJobId())
	}
	return ids
}

func chooses(chosen map[string]bool, job *lessorpb.EnqueueRequest) bool {
	for _, id := range chosenIDs(job) {
		if chosen[id] {
			return true
		}
	}
	return false
}

func choose(chosen map[string]bool, job *lessorpb.EnqueueRequest) {
	for _, id := range chosenIDs(job) {
		chosen[id] = true
	}
}

// travel makes one call with all its tries.
func (j *joiner) travel(seats []*seat) {
	end := seats[0].deadline
	for _, one := range seats {
		if one.deadline.After(end) {
			end = one.deadline
		}
	}
	ctx, cancel := context.WithDeadline(j.ctx, end)
	defer cancel()
	call := &joinedCall{cancel: cancel}
	call.open.Store(int64(len(seats)))
	j.board(call, seats)
	try := j.trip(seats)
	err := persist(ctx, func() error { return settle(seats, try(ctx)) })
	for _, one := range seats {
		// What the broker said last of this job, or else the fault of the call.
		if one.refusal != nil {
			one.tell(joined{err: one.refusal})
		} else {
			one.tell(joined{err: errorOf(err, j.address)})
		}
	}
}

// board ties the callers to the call; some may just have left.
func (j *joiner) board(call *joinedCall, seats []*seat) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, one := range seats {
		one.call.Store(call)
		if one.left.Load() {
			call.leave()
		}
	}
}

// answers are the results of one try, or its fault.
type answers struct {
	results []joined
	err     error
}

// trip writes the call once: each try sends the same.
func (j *joiner) trip(seats []*seat) func(context.Context) answers {
	if len(seats) == 1 {
		job := seats[0].job
		if job.GetRequestId() == "" {
			job.RequestId = uuid.NewString()
		}
		return func(ctx context.Context) answers {
			reply, err := j.broker.Enqueue(ctx, job)
			return answers{[]joined{{reply: reply}}, errorOf(err, j.address)}
		}
	}
	jobs := make([]*lessorpb.EnqueueRequest, 0, len(seats))
	for _, one := range seats {
		jobs = append(jobs, one.job)
	}
	request := together(jobs, true)
	return func(ctx context.Context) answers {
		reply, err := j.broker.BatchEnqueue(ctx, request)
		if err != nil {
			return answers{err: errorOf(err, j.address)}
		}
		if len(reply.GetResults()) != len(seats) {
			return answers{err: &Error{Code: codes.Internal, Message: "the broker answered another number of jobs"}}
		}
		results := make([]joined, 0, len(seats))
		for _, result := range reply.GetResults() {
			if told := result.GetStatus(); told != nil {
				results = append(results, joined{err: errorOfStatus(status.FromProto(told))})
			} else {
				results = append(results, joined{reply: result.GetResponse()})
			}
		}
		return answers{results: results}
	}
}

// settle gives each its answer; the fault when the call must be repeated.
//
// A job that was made is told at once. What else the broker said is kept back until nothing in the
// call is open, because the repetition decides it anew.
func settle(seats []*seat, told answers) error {
	if told.err != nil {
		return told.err
	}
	var passing error
	for i, result := range told.results {
		if result.err == nil {
			seats[i].tell(result)
			continue
		}
		seats[i].refusal = result.err
		if isUnavailable(result.err) {
			passing = result.err
		}
	}
	return passing
}

// tell answers a caller, once.
func (s *seat) tell(answer joined) {
	if s.told {
		return
	}
	s.told = true
	s.reply <- answer
}

// together is a batch that is safe to repeat. A job that has an id of its caller's keeps it: then each
// job has an id, else the batch has one, which costs less.
func together(jobs []*lessorpb.EnqueueRequest, partial bool) *lessorpb.BatchEnqueueRequest {
	batch := &lessorpb.BatchEnqueueRequest{Requests: jobs, AllowPartial: partial}
	for _, job := range jobs {
		if job.GetRequestId() != "" || job.GetJobId() != "" {
			for _, one := range jobs {
				if one.GetRequestId() == "" {
					one.RequestId = uuid.NewString()
				}
			}
			return batch
		}
	}
	batch.RequestId = uuid.NewString()
	return batch
}
